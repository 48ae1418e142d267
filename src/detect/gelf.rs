//! GELF, Graylog's log format: JSON with fixed keys, over UDP perhaps in chunks, over TCP up to a NUL.
//! <https://go2docs.graylog.org/current/getting_in_log_data/gelf.html>
//!
//! A compressed datagram in one piece could be anything compressed, and is left alone.
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand, expect},
};
use crate::{
    bytes::{Cursor, find, is_text},
    model::{Credentials, Side, Transport},
};

pub(super) const GELF: Protocol = Protocol { info: &INFO, turns: Turns::Client, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    demand(heard.side == Side::Client)?;
    let mut cursor = heard.cursor();
    if heard.datagram.is_some() && cursor.peek()? == CHUNK[0] {
        return chunk(&mut cursor, heard);
    }
    expect(&mut cursor, b"{")?;
    let rest = cursor.rest();
    let blank = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
    cursor.skip(blank)?;
    first_key(cursor.rest())?;
    let whole = heard.bytes.split(|b| *b == 0).next().unwrap_or_default();
    let ended = whole.len() < heard.bytes.len() || heard.datagram == Some(heard.bytes.len());
    let behind = |key: &&[u8]| find(whole, key).map(|at| at.saturating_add(key.len()));
    // What follows the keys that prove it may be anything: an answer once given stays.
    let proven = ASKED.iter().map(behind).try_fold(0, |end, key| key.map(|key| end.max(key)));
    demand(is_text(whole.get(..proven.unwrap_or(whole.len())).unwrap_or(whole)))?;
    if proven.is_some() {
        return Ok(Message::proof(heard.bytes.len(), "gelf.message", "short_message"));
    }
    Err(if ended { Flaw::Foreign } else { Flaw::Short })
}

/// The first key is one of GELF's, or an additional field, which begins with an underscore.
fn first_key(rest: &[u8]) -> Read<()> {
    let fits = |key: &&[u8]| rest.iter().zip(*key).all(|(byte, want)| byte == want);
    demand(KEYS.iter().any(fits))
}

/// Magic, message id, number and count of chunks; the first shows what is in it.
fn chunk(cursor: &mut Cursor<'_>, heard: &Heard<'_>) -> Read<Message> {
    expect(cursor, &CHUNK)?;
    let _id = cursor.u64_be()?;
    let (number, count) = (cursor.u8()?, cursor.u8()?);
    demand(number == 0 && (2..=CHUNKS_MAX).contains(&count))?;
    let known = match cursor.array::<4>()? {
        // gzip, zlib, or JSON in clear.
        [0x1f, 0x8b, 8, flags] => flags & 0xe0 == 0,
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, first, _] => first & 0x06 != 0x06,
        [b'{', b'"', _, _] => {
            first_key(cursor_back(heard))?;
            true
        }
        [_, _, _, _] => false,
    };
    demand(known && cursor.left() >= CHUNK_BYTES_MIN)?;
    Ok(Message::proof(heard.bytes.len(), "gelf.chunk", "1E0F"))
}

/// The JSON of a first chunk, behind its brace.
fn cursor_back<'a>(heard: &Heard<'a>) -> &'a [u8] {
    heard.bytes.get(CHUNK_HEADER_BYTES.saturating_add(1)..).unwrap_or_default()
}

const CHUNK: [u8; 2] = [0x1e, 0x0f];
const CHUNK_HEADER_BYTES: usize = 12;
/// A message is cut because it does not fit a packet.
const CHUNK_BYTES_MIN: usize = 400;
const CHUNKS_MAX: u8 = 128;
/// A message has all three.
const ASKED: [&[u8]; 3] = [b"\"short_message\"", b"\"version\"", b"\"host\""];
const KEYS: [&[u8]; 10] = [
    b"\"version\":",
    b"\"host\":",
    b"\"short_message\":",
    b"\"full_message\":",
    b"\"timestamp\":",
    b"\"level\":",
    b"\"facility\":",
    b"\"line\":",
    b"\"file\":",
    b"\"_",
];

static INFO: Info = Info {
    name: "gelf",
    title: "Graylog Extended Log Format",
    spec: "https://go2docs.graylog.org/current/getting_in_log_data/gelf.html",
    ports: &[12201],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, datagram, hear_streams, is_choosy, stream};

    const JSON: &[u8] =
        b"{\"version\":\"1.1\",\"host\":\"web1\",\"short_message\":\"hello\",\"_a\":1}";

    #[test]
    fn its_keys_prove_it() {
        let cases: [(&[u8], Option<bool>, bool); 7] = [
            (JSON, Some(true), true),
            (
                b"{\"_a\":1,\"version\":\"1.1\",\"host\":\"a\",\"short_message\":\"\"}\0",
                Some(true),
                true,
            ),
            (b"{\"version\":\"1.1\",\"host\":\"a\"}\0", Some(false), false),
            (b"{\"version\":\"1.1\",", None, false),
            (b"{\"jsonrpc\":\"2.0\"}", Some(false), false),
            (b"{\"version\":\x01", Some(false), false),
            (b"{\"version\":\"1.1\",\"host\":\"a\",\"short_message\":\"\x01\"}", Some(true), true),
        ];
        for (bytes, tcp, udp) in cases {
            assert_eq!(stream(&GELF, C, bytes), tcp, "{}", bytes.escape_ascii());
            assert_eq!(datagram(&GELF, C, bytes), Some(udp), "{}", bytes.escape_ascii());
            assert_eq!(datagram(&GELF, S, bytes), Some(false));
        }
        assert_eq!(hear_streams(&GELF, &[(C, JSON), (C, b"\0")]).fits, [true, false]);
    }

    #[test]
    fn the_first_chunk_proves_it() {
        let chunk = |number, inside: &[u8]| {
            [&b"\x1e\x0f\x01\x02\x03\x04\x05\x06\x07\x08"[..], &[number, 3], inside, &[7; 1000]]
                .concat()
        };
        assert_eq!(datagram(&GELF, C, &chunk(0, b"\x1f\x8b\x08\x00")), Some(true));
        assert_eq!(datagram(&GELF, C, &chunk(0, b"{\"version\":")), Some(true));
        assert_eq!(datagram(&GELF, C, &chunk(0, b"\x12\x34\x56\x78")), Some(false));
        assert_eq!(datagram(&GELF, C, &chunk(1, b"\x1f\x8b\x08\x00")), Some(false));
    }

    #[test]
    fn nothing_else_is_gelf() {
        is_choosy(&GELF, &[b"\x1e\x0f\0\0\0\0\0\0\0\0\x00\x02", b"{\"version\":"]);
    }
}
