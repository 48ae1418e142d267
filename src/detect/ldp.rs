//! Label Distribution Protocol: hellos over UDP, sessions over TCP. <https://www.rfc-editor.org/rfc/rfc5036#section-3.1>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP_UDP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info};

pub(super) struct Ldp;

impl Grammar for Ldp {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, &[0, 1])?);
        let length = usize::from(c.u16_be()?);
        demand!((14..=4096).contains(&length));
        demand!(!place.datagram || length.saturating_add(4) == bytes.len());
        let router = c.u32_be()?;
        c.skip(2)?;
        let (kind, inner) = (c.u16_be()?, usize::from(c.u16_be()?));
        // Discovery has hellos only; a session begins with Initialization.
        let known = if place.datagram {
            kind == 0x0100
        } else if place.opening {
            matches!(kind, 0x0200 | 0x0001)
        } else {
            matches!(kind, 1 | 0x0200 | 0x0201 | 0x0300 | 0x0301 | 0x0400..=0x0404)
        };
        demand!(known && router != 0 && inner >= 4 && inner.saturating_add(10) <= length);
        // The first parameter of a hello and of an Initialization is the common one.
        if matches!(kind, 0x0100 | 0x0200) {
            c.skip(4)?;
            let (parameter, size) = (c.u16_be()?, c.u16_be()?);
            demand!(if kind == 0x0100 {
                (parameter, size) == (0x0400, 4)
            } else {
                (parameter, size) == (0x0500, 14)
            });
            demand!(kind == 0x0100 || c.u16_be()? == 1);
        }
        let proof = if matches!(kind, 0x0100 | 0x0200) { 56 } else { 26 };
        Ok(Some(Message::new(length.saturating_add(4), proof, "ldp.pdu", "version 1")))
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "ldp",
        "Label Distribution Protocol",
        "https://www.rfc-editor.org/rfc/rfc5036",
        &[646],
        TCP_UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp, proves_udp};
    use super::*;
    use crate::model::Transport;

    const HELLO: &[u8] =
        b"\0\x01\0\x16\x0a\0\0\x01\0\0\x01\0\0\x0c\0\0\0\x01\x04\0\0\x04\0\x0f\0\0";
    const INIT: &[u8] = b"\0\x01\0\x20\x0a\0\0\x01\0\0\x02\0\0\x16\0\0\0\x01\x05\0\0\x0e\0\x01\0\xb4\0\0\0\0\x0a\0\0\x02\0\0";

    #[test]
    fn hellos_and_sessions() {
        proves_udp(&Ldp, &[("hello", C, HELLO)]);
        proves_tcp(&Ldp, &[("initialization", C, INIT), ("answer", S, INIT)]);
        converses(&Ldp, &[(C, INIT), (S, INIT)]);
        let mut parameter = HELLO.to_vec();
        parameter[19] = 1;
        denies(&Ldp, Transport::Udp, &[("session", INIT), ("parameter", &parameter)]);
        denies(&Ldp, Transport::Tcp, &[("hello", HELLO)]);
    }
}
