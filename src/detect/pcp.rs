//! Port Control Protocol. <https://www.rfc-editor.org/rfc/rfc6887#section-7>
//!
//! NAT-PMP, its version 0, is too short to be told.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Pcp;

impl Grammar for Pcp {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let (version, code) = (c.u8()?, c.u8()?);
        let request = place.side == Side::Client;
        demand!(version == 2 && (code & 0x80 == 0) == request && c.u8()? == 0);
        let (result, _lifetime) = (c.u8()?, c.u32_be()?);
        demand!(if request { result == 0 } else { result <= 13 });
        // A request names the client's address; an answer has a time and zeros in its place.
        let mapped = magic(&mut c, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        let fits = if request {
            mapped?
        } else {
            bytes.get(12..24).is_some_and(|b| b.iter().all(|b| *b == 0))
        };
        let body = match code & 0x7f {
            0 => 0,
            1 => 36,
            2 => 56,
            _ => return Ok(None),
        };
        let length = bytes.len().saturating_sub(24);
        demand!(fits && length >= body && length.is_multiple_of(4) && length <= 1076);
        // Behind the nonce: the protocol, zeros, ports and an address.
        let zeros = bytes.get(37..40).is_none_or(|b| b.iter().all(|b| *b == 0));
        demand!(zeros);
        let proof = if request { 44 } else { 30 };
        Ok(Some(Message::new(bytes.len(), proof, "pcp.message", "version 2")))
    }

    fn pair(&self, client: &[u8], server: &[u8]) -> u32 {
        if client.get(24..40) == server.get(24..40) && client.len() > 24 { 64 } else { 0 }
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "pcp",
        "Port Control Protocol",
        "https://www.rfc-editor.org/rfc/rfc6887",
        &[5351],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, hear_udp, probe_udp, proves_udp};
    use super::*;
    use crate::detect::Probe;
    use crate::model::Transport;

    #[test]
    fn a_mapping() {
        let map = [&b"abcdefghijkl\x06\0\0\0\x1f\x90\x1f\x90"[..], &[0; 16]].concat();
        let head = b"\x02\x01\0\0\0\0\x0e\x10\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x01";
        let request = [&head[..], &map].concat();
        let answer = [&b"\x02\x81\0\0\0\0\x0e\x10\0\0\x01\x02"[..], &[0; 12], &map].concat();
        proves_udp(&Pcp, &[("map", C, &request)]);
        assert_eq!(probe_udp(&Pcp, S, &[&answer]), Probe::More);
        assert_eq!(hear_udp(&Pcp, &[(C, &request), (S, &answer)]).fits, [true, true]);
        let mut version = request.clone();
        version[0] = 1;
        denies(&Pcp, Transport::Udp, &[("version 1", &version), ("NAT-PMP", &[0, 0])]);
    }
}
