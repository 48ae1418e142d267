//! SPICE remote display, link messages. <https://www.spice-space.org/spice-protocol.html>
//!
//! The ticket is sealed with the key of the server's answer; what follows it is in clear.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, magic, size};
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Spice;

impl Grammar for Spice {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(place.opening && magic(&mut c, b"REDQ")?);
        let (major, _minor, length) = (c.u32_le()?, c.u32_le()?, c.u32_le()?);
        let least = if place.side == Side::Client { 18 } else { 4 };
        demand!(matches!(major, 1 | 2 | u32::MAX) && (least..=LINK_BYTES_MAX).contains(&length));
        let whole = size(length).saturating_add(HEADER_BYTES);
        Ok(Some(Message::new(whole, 64, "spice.link", "REDQ")))
    }
}

const HEADER_BYTES: usize = 16;
const LINK_BYTES_MAX: u32 = 4096;

static INFO: Info = info(
    "spice",
    "SPICE",
    "https://www.spice-space.org/spice-protocol.html",
    &[5900],
    TCP,
    Directions::Either,
);

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    #[test]
    fn link_messages_of_both_sides() {
        let link = [&b"REDQ\x02\0\0\0\x02\0\0\0\x12\0\0\0"[..], &[1; 18]].concat();
        let reply = [&b"REDQ\x02\0\0\0\x02\0\0\0\xb2\0\0\0"[..], &[1; 178]].concat();
        proves_tcp(&Spice, &[("link", C, &link), ("reply", S, &reply)]);
        converses(&Spice, &[(C, &link), (S, &reply)]);
        let text = b"REDQ is a word\r\n";
        denies(&Spice, Transport::Tcp, &[("text", text), ("short", &link[..4].repeat(4))]);
    }
}
