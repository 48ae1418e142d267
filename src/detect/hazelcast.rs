//! Hazelcast members and clients. <https://docs.hazelcast.org/docs/protocol/>
//!
//! Three letters say which protocol follows: `HZC` between members, `CB2` and `CP2` from clients. They count only together
//! with the frame behind them.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info};
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Hazelcast;

impl Grammar for Hazelcast {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        if !place.opening && !place.late {
            return Ok(Some(Message::rest("hazelcast.frames")));
        }
        demand!(place.opening);
        if place.side == Side::Server && c.peek()? != b'H' {
            // The answer to a client: a frame, only good to say that it answered.
            demand!((22..=FRAME_BYTES_MAX).contains(&c.u32_le()?));
            return Ok(Some(Message::new(4, 0, "hazelcast.answer", "frame")));
        }
        let seen = bytes.len().min(3);
        let letters: &[&[u8]] = &[b"HZC", b"CP2", b"CB2"];
        demand!(letters.iter().any(|l| l.get(..seen) == bytes.get(..seen)));
        let kind = c.take(3)?;
        let member = kind == b"HZC";
        demand!(member || place.side == Side::Client);
        if place.side == Side::Server {
            // A member answers with the same letters.
            return Ok(Some(Message::new(3, 22, "hazelcast.letters", "HZC")));
        }
        if member {
            // Packet version, flags, partition (none yet), size.
            demand!(c.u8()? == 4);
            c.skip(2)?;
            demand!(c.u32_be()? == u32::MAX && c.u32_be()? <= FRAME_BYTES_MAX);
            return Ok(Some(Message::new(14, 56, "hazelcast.letters", "HZC and packet")));
        }
        demand!((22..=FRAME_BYTES_MAX).contains(&c.u32_le()?));
        // An unfragmented message: of version 2 in one frame, before that behind a version byte.
        let flags = c.u16_le()?;
        demand!(if kind == b"CP2" { flags & 0xe000 == 0xc000 } else { flags & 0xc0ff == 0xc001 });
        let constant = if kind == b"CP2" { "CP2 and frame" } else { "CB2 and frame" };
        Ok(Some(Message::new(3, 46, "hazelcast.letters", constant)))
    }
}

const FRAME_BYTES_MAX: u32 = 1 << 24;

static INFO: Info = info(
    "hazelcast",
    "Hazelcast",
    "https://docs.hazelcast.org/docs/protocol/",
    &[5701],
    TCP,
    Directions::Client,
);

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, converses, denies, probe_udp, proves_tcp};
    use super::*;
    use crate::detect::Probe;
    use crate::detect::check::probe_side;
    use crate::model::Transport;

    #[test]
    fn letters_and_the_frame_behind_them() {
        let client = b"CP2\x2a\0\0\0\0\xc0\0\x01\0\0\x01\0\0\0\0\0\0\0";
        let older = b"CB2\x2a\0\0\0\x01\xc0\x02\0\x01\0\0\0\0\0\0\0";
        let member = b"HZC\x04\0\x10\xff\xff\xff\xff\0\0\x01\0";
        let answer = b"\x2a\0\0\0\0\xc0\x01\x01\0\0\x01\0\0\0\0\0\0\0";
        converses(&Hazelcast, &[(C, client), (S, answer)]);
        converses(&Hazelcast, &[(C, member), (S, member)]);
        proves_tcp(
            &Hazelcast,
            &[("client", C, client), ("older", C, older), ("member", C, member)],
        );
        assert_eq!(probe_side(&Hazelcast, S, b"HZC"), Probe::More, "three letters are few");
        assert_eq!(probe_udp(&Hazelcast, C, &[member]), Probe::No);
        denies(
            &Hazelcast,
            Transport::Tcp,
            &[
                ("text", b"CP2 is a part\r\n"),
                ("a partition", b"HZC\x04\0\x10\0\0\0\x01\0\0\x01\0"),
            ],
        );
    }
}
