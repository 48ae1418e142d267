//! IBM MQ channels (FAP): transmission segment headers.
//! <https://www.ibm.com/docs/en/ibm-mq/9.4?topic=information-mq-channel-protocols>
//!
//! The eye catcher is in the sender's character set, ASCII or EBCDIC. TLS comes before all of it.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, size};
use crate::{bytes::Cursor, detect::Info};

pub(super) struct Ibmmq;

impl Grammar for Ibmmq {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let seen = bytes.len().min(4);
        let known = CATCHERS.iter().find(|(catcher, _)| catcher.get(..seen) == bytes.get(..seen));
        let Some((catcher, constant)) = known else { return Ok(None) };
        c.skip(4)?;
        let length = c.u32_be()?;
        // The multiplexed form has a conversation and a request id in it.
        let multiplexed = matches!(catcher, [_, _, _, b'M' | 0xd4]);
        let header = if multiplexed { 36 } else { 28 };
        demand!((header..=SEGMENT_BYTES_MAX).contains(&length));
        if multiplexed {
            c.skip(8)?;
        }
        let (order, kind) = (c.u8()?, c.u8()?);
        demand!(matches!(order, 1 | 2) && kind > 0);
        Ok(Some(Message::new(size(length), 56, "ibmmq.segment", constant)))
    }
}

const CATCHERS: [(&[u8; 4], &str); 6] = [
    (b"TSH ", "TSH"),
    (b"TSHC", "TSHC"),
    (b"TSHM", "TSHM"),
    (b"\xe3\xe2\xc8\x40", "TSH in EBCDIC"),
    (b"\xe3\xe2\xc8\xc3", "TSHC in EBCDIC"),
    (b"\xe3\xe2\xc8\xd4", "TSHM in EBCDIC"),
];
const SEGMENT_BYTES_MAX: u32 = 104_857_600 + 4096;

static INFO: Info = Info {
    midstream: true,
    ..info(
        "ibmmq",
        "IBM MQ",
        "https://www.ibm.com/docs/en/ibm-mq/9.4?topic=information-mq-channel-protocols",
        &[1414],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    fn segment(catcher: &[u8], order: u8, kind: u8) -> Vec<u8> {
        [catcher, &[0, 0, 0, 40, order, kind, 0x31, 0], &[0; 28]].concat()
    }

    #[test]
    fn eye_catchers_of_both_character_sets() {
        let (initial, answer) = (segment(b"TSH ", 2, 1), segment(b"\xe3\xe2\xc8\x40", 1, 1));
        proves_tcp(&Ibmmq, &[("ASCII", C, &initial), ("EBCDIC", S, &answer)]);
        converses(&Ibmmq, &[(C, &initial), (S, &answer)]);
        let multiplexed = [&b"TSHM\0\0\0\x24\0\0\0\x01\0\0\0\x01\x02\x83"[..], &[0; 18]].concat();
        proves_tcp(&Ibmmq, &[("multiplexed", C, &multiplexed)]);
        denies(
            &Ibmmq,
            Transport::Tcp,
            &[
                ("words", b"TSH is a hormone\r\n"),
                ("byte order", &segment(b"TSH ", 3, 1)),
                ("catcher", &segment(b"TSHX", 1, 1)),
            ],
        );
    }
}
