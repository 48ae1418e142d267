//! Skinny Client Control Protocol (SCCP). <https://www.cisco.com/c/en/us/tech/voice/skinny-call-control-protocol-sccp/index.html>
//!
//! A phone begins by registering its name, which is made of its kind and its hardware address.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, size};
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Skinny;

impl Grammar for Skinny {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let length = c.u32_le()?;
        demand!((4..=2048).contains(&length));
        let (version, kind) = (c.u32_le()?, c.u32_le()?);
        demand!(version <= 0x20 && kind < 0x400);
        let whole = size(length).saturating_add(8);
        // The server acknowledges (81), asks for what the phone can do (9b), or refuses (9d).
        if place.side == Side::Server {
            demand!(kind > 0x80);
            return Ok(Some(Message::new(whole, 0, "skinny.message", "message")));
        }
        if !place.opening {
            return Ok(Some(Message::new(whole, 0, "skinny.message", "message")));
        }
        demand!(kind == 1);
        let name = c.take(15)?;
        demand!(name.iter().take(3).all(u8::is_ascii_uppercase));
        demand!(name.iter().skip(3).all(u8::is_ascii_hexdigit));
        Ok(Some(Message::new(whole, 64, "skinny.register", "RegisterMessage")))
    }
}

static INFO: Info = info(
    "skinny",
    "Skinny Client Control Protocol",
    "https://www.cisco.com/c/en/us/tech/voice/skinny-call-control-protocol-sccp/index.html",
    &[2000],
    TCP,
    Directions::Client,
);

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    #[test]
    fn a_phone_registers() {
        let register = [&b"\x24\0\0\0\0\0\0\0\x01\0\0\0SEP001122AABBCC\0"[..], &[0; 16]].concat();
        let answer = b"\x0c\0\0\0\0\0\0\0\x81\0\0\0\x1e\0\0\0M/D/";
        proves_tcp(&Skinny, &[("register", C, &register)]);
        converses(&Skinny, &[(C, &register), (S, answer)]);
        let alive = b"\x04\0\0\0\0\0\0\0\0\0\0\0";
        denies(&Skinny, Transport::Tcp, &[("keepalive first", alive), ("name", &[b'S'; 40])]);
    }
}
