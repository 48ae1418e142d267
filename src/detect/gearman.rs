//! Gearman job server. <https://github.com/gearman/gearmand/blob/master/PROTOCOL>
//!
//! Binary packets: `\0REQ` or `\0RES`, type, length. The line-based administration commands are not recognised.
use super::frames::{self, Read, fits, mark, need, tag};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Gearman;

impl Detector for Gearman {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(
            view,
            |said| Ok(message(Side::Client, said.bytes)?.1),
            |said| Ok(message(Side::Server, said.bytes)?.1),
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        frames::follow_briefly(state, side, said, |_, bytes| {
            let (consumed, _) = message(side, bytes)?;
            Ok(Step::read(consumed, fits(side)))
        })
    }
}

/// Magic, type and length of a packet; returns how long it is.
fn message(side: Side, bytes: &[u8]) -> Read<(usize, Mark)> {
    let mut cursor = Cursor::new(bytes);
    let (magic, constant): (&[u8], _) = match side {
        Side::Client => (b"\0REQ\0\0\0", "REQ"),
        Side::Server => (b"\0RES\0\0\0", "RES"),
    };
    tag(&mut cursor, magic)?;
    need((1..=TYPE_MAX).contains(&cursor.u8()?))?;
    let declared = frames::length(&mut cursor, 0, SIZE_MAX)?;
    let rule = "gearman.packet";
    Ok((declared.saturating_add(HEADER_BYTES), mark(rule, side, HEADER_BYTES, constant)))
}

const TYPE_MAX: u8 = 42;
const HEADER_BYTES: usize = 12;
const SIZE_MAX: u32 = 256 << 20;

static INFO: Info = Info {
    name: "gearman",
    title: "Gearman",
    spec: "https://github.com/gearman/gearmand/blob/master/PROTOCOL",
    ports: &[4730],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{hear, hear_from, matches, probe_side},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    const ECHO: &[u8] = b"\0REQ\0\0\0\x10\0\0\0\x02hi";
    const ECHOED: &[u8] = b"\0RES\0\0\0\x11\0\0\0\x02hi";

    #[test]
    fn a_packet_header_proves_its_side() {
        assert!(matches(probe_side(&Gearman, C, ECHO)) && matches(probe_side(&Gearman, S, ECHOED)));
        assert!(matches(probe_side(&Gearman, C, b"\0REQ\0\0\0\x01\0\0\0\x05resize")));
        for bytes in [
            ECHOED,
            b"\0REQ\0\0\0\0\0\0\0\0",
            b"\0REQ\0\0\x01\x01",
            b"\0REQ\0\0\0\x01\x70",
            b"GET ",
        ] {
            assert_eq!(probe_side(&Gearman, C, bytes), Probe::No);
        }
    }

    #[test]
    fn both_sides_are_a_session() {
        let heard = hear(&Gearman, &[(C, ECHO), (S, ECHOED)]);
        assert_eq!(heard.fits, [true, true]);
        let heard = hear_from(&Gearman, &[(S, ECHOED)], Start::Unknown);
        assert_eq!(heard.fits, [false, true]);
        let heard = hear(&Gearman, &[(C, ECHO), (S, b"HTTP/1.1 400 Bad Request\r\n\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
