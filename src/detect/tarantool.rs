//! Tarantool binary protocol (IPROTO). <https://www.tarantool.io/en/doc/latest/reference/internals/iproto/>
//!
//! The server greets with two lines of 64 bytes; a request is a `MessagePack` length, a header map and a body map.
use super::grammar::{Grammar, Learnt, Message, Place, Read, TCP, demand, info, magic, size};
use super::{Directions, Facts};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
    model::{Credentials, Side},
};

pub(super) struct Tarantool;

impl Grammar for Tarantool {
    const INFO: &'static Info = &INFO;
    const LEARN_BYTES: usize = 64;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        if place.side == Side::Server && c.peek()? == b'T' {
            demand!(place.opening && magic(&mut c, GREETING)?);
            return Ok(Some(Message::new(GREETING_BYTES, 80, "tarantool.greeting", "Tarantool")));
        }
        demand!(magic(&mut c, &[0xce])?);
        let length = c.u32_be()?;
        demand!((4..=BODY_BYTES_MAX).contains(&length));
        let Some(kind) = header(&mut c)? else { return Ok(None) };
        let known = match place.side {
            Side::Client => matches!(kind, 1..=14 | 0x40..=0x4f),
            // Errors have the top bit of sixteen.
            Side::Server => matches!(kind, 0 | 0x80 | 0x8000..=0x9000),
        };
        demand!(known && c.at() <= size(length).saturating_add(5));
        let whole = size(length).saturating_add(5);
        Ok(Some(Message::new(whole, 44, "tarantool.iproto", "header map")))
    }

    fn learn(&self, _: &mut [u32; 6], side: Side, bytes: &[u8]) -> Learnt {
        let mut c = Cursor::new(bytes.get(5..).unwrap_or_default());
        let login = side == Side::Client && header(&mut c) == Ok(Some(AUTH));
        let credentials =
            if login { Credentials::PASSWORD_HASH_CHALLENGE } else { Credentials::NONE };
        Learnt::more(Facts { credentials, ..Facts::NONE })
    }
}

/// Reads a header map, its keys in any order; the type of the request, or the code of the answer.
fn header(c: &mut Cursor<'_>) -> Result<Option<u64>, Short> {
    let entries = c.u8()?;
    demand!(matches!(entries, 0x82..=0x85));
    let (mut kind, mut sync) = (None, false);
    for _ in 0x80..entries {
        let (key, tag) = (c.u8()?, c.u8()?);
        let value = match tag {
            0..=0x7f => u64::from(tag),
            0xcc => u64::from(c.u8()?),
            0xcd => u64::from(c.u16_be()?),
            0xce => u64::from(c.u32_be()?),
            0xcf => c.u64_be()?,
            _ => return Ok(None),
        };
        match key {
            0 => kind = Some(value),
            1 => sync = true,
            2..=0x0f => {}
            _ => return Ok(None),
        }
    }
    Ok(kind.filter(|_| sync))
}

const GREETING: &[u8] = b"Tarantool ";
const GREETING_BYTES: usize = 128;
const BODY_BYTES_MAX: u32 = 1 << 24;
const AUTH: u64 = 7;

static INFO: Info = Info {
    midstream: true,
    credentials: Credentials::PASSWORD_HASH_CHALLENGE,
    ..info(
        "tarantool",
        "Tarantool",
        "https://www.tarantool.io/en/doc/latest/reference/internals/iproto/",
        &[3301],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::hear;
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    const AUTHENTICATE: &[u8] = b"\xce\0\0\0\x0a\x82\0\x07\x01\x01\x82\x23\xa1u\x21\x90";
    const SELECT: &[u8] = b"\xce\0\0\0\x08\x82\x01\x02\0\x01\x81\x10\x01";
    const PING: &[u8] = b"\xce\0\0\0\x06\x82\0\x40\x01\x01\x80";
    const OK: &[u8] = b"\xce\0\0\0\x0b\x83\0\xce\0\0\0\0\x01\x01\x05\x01";

    #[test]
    fn greeting_requests_and_answers() {
        let mut greeting = b"Tarantool 2.11.0 (Binary) 5a5a".to_vec();
        greeting.resize(63, b' ');
        greeting.push(b'\n');
        greeting.resize(127, b'A');
        greeting.push(b'\n');
        proves_tcp(
            &Tarantool,
            &[("greeting", S, &greeting), ("ping", C, PING), ("select", C, SELECT), ("ok", S, OK)],
        );
        converses(&Tarantool, &[(S, &greeting), (C, PING), (S, OK)]);
        let heard = hear(&Tarantool, &[(S, &greeting), (C, AUTHENTICATE), (S, OK)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        denies(
            &Tarantool,
            Transport::Tcp,
            &[
                ("no header", b"\xce\0\0\0\x06\x92\0\x40\x01\x01\x80"),
                ("no type", b"\xce\0\0\0\x06\x82\0\x3f\x01\x01\x80"),
            ],
        );
    }
}
