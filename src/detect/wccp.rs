//! Web Cache Communication Protocol, version 2. <https://datatracker.ietf.org/doc/html/draft-wilson-wrec-wccp-v2-01>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info};

pub(super) struct Wccp;

impl Grammar for Wccp {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, &[0, 0, 0])? && matches!(c.u8()?, 10..=13));
        demand!(magic(&mut c, &[2])? && c.u8()? <= 1);
        demand!(usize::from(c.u16_be()?) == c.left());
        // Components, of which the first is the security.
        demand!(c.u16_be()? == 0 && matches!(c.u16_be()?, 4 | 20) && c.u32_be()? <= 1);
        Ok(Some(Message::new(bytes.len(), 48, "wccp.message", "version 2")))
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "wccp",
        "Web Cache Communication Protocol",
        "https://datatracker.ietf.org/doc/html/draft-wilson-wrec-wccp-v2-01",
        &[2048],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, proves_udp};
    use super::*;
    use crate::model::Transport;

    #[test]
    fn here_i_am() {
        let hello = b"\0\0\0\x0a\x02\0\0\x0e\0\0\0\x04\0\0\0\0\0\x01\0\x02\0\0";
        proves_udp(&Wccp, &[("here I am", C, hello), ("I see you", S, hello)]);
        denies(
            &Wccp,
            Transport::Udp,
            &[("longer", &[&hello[..], b"x"].concat()), ("zeros", &[0; 22])],
        );
    }
}
