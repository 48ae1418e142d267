//! IP Flow Information Export. <https://www.rfc-editor.org/rfc/rfc7011#section-3>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP_UDP, demand, info, magic};
use super::netflow::sets;
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Ipfix;

impl Grammar for Ipfix {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(place.side == Side::Client && magic(&mut c, &[0, 10])?);
        let length = usize::from(c.u16_be()?);
        demand!(length > HEADER_BYTES && (!place.datagram || length == bytes.len()));
        demand!(c.u32_be()? >= SECONDS_MIN);
        c.skip(8)?;
        let mut body = Cursor::new(c.take(length.saturating_sub(HEADER_BYTES))?);
        // What a complete message lacks will not come.
        let Some(proof) = sets(&mut body, 2..=3).unwrap_or(None) else { return Ok(None) };
        let proof = proof.saturating_add(24);
        Ok(Some(Message::new(length, proof, "ipfix.message", "version 10")))
    }
}

const HEADER_BYTES: usize = 16;
/// 2001: exporters have a clock.
const SECONDS_MIN: u32 = 978_307_200;

static INFO: Info = Info {
    midstream: true,
    ..info(
        "ipfix",
        "IP Flow Information Export",
        "https://www.rfc-editor.org/rfc/rfc7011",
        &[4739],
        TCP_UDP,
        Directions::Client,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, denies, proves_tcp, proves_udp};
    use super::*;
    use crate::model::Transport;

    const MESSAGE: &[u8] = b"\x00\x0a\x00\x1c\x65\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x07\
        \x00\x02\x00\x0c\x01\x00\x00\x01\x00\x08\x00\x04";

    #[test]
    fn a_message_whose_sets_end_where_it_ends() {
        proves_udp(&Ipfix, &[("templates", C, MESSAGE)]);
        proves_tcp(&Ipfix, &[("templates", C, MESSAGE)]);
        let mut long = MESSAGE.to_vec();
        long[3] += 1;
        let mut other = MESSAGE.to_vec();
        other[17] = 4;
        denies(&Ipfix, Transport::Udp, &[("length", &long), ("set 4", &other)]);
    }
}
