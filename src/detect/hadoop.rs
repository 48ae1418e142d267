//! Hadoop RPC (HDFS, YARN). <https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-common/SecureMode.html>
//!
//! The connection header names version, service class and authentication. With SASL the quality of protection decides
//! what can be read, which is then not said.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Hadoop;

impl Grammar for Hadoop {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        if place.side == Side::Client && !place.opening && !place.late {
            return Ok(Some(Message::rest("hadoop.call")));
        }
        demand!(place.opening);
        if place.side == Side::Server {
            // A length and a protobuf header behind it: only good to say that it answered.
            demand!((2..=ANSWER_BYTES_MAX).contains(&c.u32_be()?));
            return Ok(Some(Message::new(4, 0, "hadoop.answer", "length")));
        }
        demand!(magic(&mut c, b"hrpc")?);
        demand!(matches!(c.u8()?, 7..=10));
        c.skip(1)?;
        let message = Message::new(7, 46, "hadoop.header", "hrpc");
        match c.u8()? {
            0 => Ok(Some(message)),
            0xdf => Ok(Some(message.with(None))),
            _ => Ok(None),
        }
    }
}

const ANSWER_BYTES_MAX: u32 = 1 << 27;

static INFO: Info = info(
    "hadoop",
    "Hadoop RPC",
    "https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-common/SecureMode.html",
    &[8020, 9000],
    TCP,
    Directions::Client,
);

#[cfg(test)]
mod tests {
    use super::super::check::hear;
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    #[test]
    fn the_header_names_the_authentication() {
        proves_tcp(&Hadoop, &[("none", C, b"hrpc\x09\0\0"), ("SASL", C, b"hrpc\x09\0\xdf")]);
        converses(&Hadoop, &[(C, b"hrpc\x09\0\0\0\0\0\x05hello"), (S, b"\0\0\0\x06\x02\x08\x01x")]);
        assert_eq!(hear(&Hadoop, &[(C, b"hrpc\x09\0\xdf")]).encryption, None, "SASL may seal it");
        denies(&Hadoop, Transport::Tcp, &[("text", b"hrpcs\r\n"), ("other", b"hrpc\x09\0\x01")]);
    }
}
