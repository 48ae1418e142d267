//! DDS Real-Time Publish-Subscribe. <https://www.omg.org/spec/DDSI-RTPS/>
//!
//! With DDS Security a message, or its submessages, stand behind a prefix that names the transformation: only GCM seals.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info, model::Encryption};

pub(super) struct Rtps;

impl Grammar for Rtps {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, b"RTPS")? && c.u8()? == 2);
        c.skip(15)?;
        let message = Message::new(bytes.len(), 56, "rtps.message", "RTPS 2");
        let mut sealed = false;
        for _ in 0..SUBMESSAGES_MAX {
            if c.is_empty() {
                break;
            }
            let (kind, flags) = (c.u8()?, c.u8()?);
            let length = if flags & 1 == 1 { c.u16_le()? } else { c.u16_be()? };
            demand!(matches!(kind, 1..=0x3f | 0x80..));
            // Zero: to the end of the message.
            let length =
                if length == 0 && !matches!(kind, 1 | 9) { c.left() } else { usize::from(length) };
            let body = c.take(length)?;
            sealed |= matches!(kind, 0x31 | 0x33) && matches!(body, [0, 0, 0, 2 | 4, ..]);
        }
        Ok(Some(if sealed { message.with(Some(Encryption::OtherEncrypted)) } else { message }))
    }
}

const SUBMESSAGES_MAX: usize = 64;

static INFO: Info = Info {
    midstream: true,
    ..info(
        "rtps",
        "DDS Real-Time Publish-Subscribe",
        "https://www.omg.org/spec/DDSI-RTPS/",
        &[7400, 7410],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, hear_udp, proves_udp};
    use super::*;
    use crate::model::Transport;

    const HEAD: &[u8] = b"RTPS\x02\x03\x01\x0fabcdefghijkl";

    #[test]
    fn submessages_to_the_end() {
        let plain = [HEAD, b"\x09\x01\x08\0\0\0\0\0\0\0\0\0\x15\x05\x04\0abcd"].concat();
        let sealed =
            [HEAD, b"\x33\x01\x08\0\0\0\0\x04\0\0\0\0\x30\x01\x04\0\x5a\x5a\x5a\x5a"].concat();
        proves_udp(&Rtps, &[("plain", C, &plain), ("sealed", S, &sealed)]);
        let heard = hear_udp(&Rtps, &[(C, &sealed), (S, &sealed)]);
        assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
        let long = [HEAD, b"\x15\x05\x05\0abcd"].concat();
        denies(
            &Rtps,
            Transport::Udp,
            &[("length", &long), ("version", b"RTPS\x01\0\x01\x0fabcdefghijkl")],
        );
    }
}
