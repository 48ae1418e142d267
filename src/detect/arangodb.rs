//! `VelocyStream` of `ArangoDB`. <https://github.com/arangodb/velocystream>
//!
//! Its HTTP interface is `http`.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Arangodb;

impl Grammar for Arangodb {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        if !place.opening && !place.late {
            return Ok(Some(Message::rest("arangodb.chunks")));
        }
        demand!(place.opening);
        if place.side == Side::Server {
            // A chunk: its length, only good to say that it answered.
            demand!((16..=CHUNK_BYTES_MAX).contains(&c.u32_le()?));
            return Ok(Some(Message::new(4, 0, "arangodb.chunk", "length")));
        }
        demand!(magic(&mut c, b"VST/1.")? && matches!(c.u8()?, b'0' | b'1'));
        demand!(magic(&mut c, b"\r\n\r\n")?);
        Ok(Some(Message::new(11, 88, "arangodb.version", "VST/1")))
    }
}

const CHUNK_BYTES_MAX: u32 = 1 << 26;

static INFO: Info = info(
    "arangodb",
    "ArangoDB VelocyStream",
    "https://github.com/arangodb/velocystream",
    &[8529],
    TCP,
    Directions::Client,
);

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    #[test]
    fn the_client_names_the_version() {
        proves_tcp(&Arangodb, &[("1.1", C, b"VST/1.1\r\n\r\n")]);
        converses(&Arangodb, &[(C, b"VST/1.0\r\n\r\n\x20\0\0\0"), (S, b"\x20\0\0\0\x03\0\0\0")]);
        denies(
            &Arangodb,
            Transport::Tcp,
            &[("version 2", b"VST/2.0\r\n\r\n"), ("line", b"VST/1.0\n\n")],
        );
    }
}
