//! HBase RPC. <https://hbase.apache.org/book.html#_hbase_rpc>
//!
//! The client's preamble names the kind of authentication. With Kerberos or tokens SASL may seal what follows, which is
//! then not said. The server's answers have no signature.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Hbase;

impl Grammar for Hbase {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        if place.side == Side::Client && !place.opening && !place.late {
            return Ok(Some(Message::rest("hbase.call")));
        }
        demand!(place.opening);
        if place.side == Side::Server {
            // A length and a protobuf header behind it: only good to say that it answered.
            demand!((2..=ANSWER_BYTES_MAX).contains(&c.u32_be()?));
            return Ok(Some(Message::new(4, 0, "hbase.answer", "length")));
        }
        demand!(magic(&mut c, b"HBas\0")?);
        let (constant, simple) = match c.u8()? {
            80 => ("HBas, SIMPLE", true),
            81 => ("HBas, KERBEROS", false),
            82 => ("HBas, DIGEST", false),
            _ => return Ok(None),
        };
        let message = Message::new(6, 46, "hbase.preamble", constant);
        Ok(Some(if simple { message } else { message.with(None) }))
    }
}

const ANSWER_BYTES_MAX: u32 = 1 << 24;

static INFO: Info = info(
    "hbase",
    "HBase RPC",
    "https://hbase.apache.org/book.html#_hbase_rpc",
    &[16000, 16020],
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
    fn the_preamble_names_the_authentication() {
        proves_tcp(&Hbase, &[("simple", C, b"HBas\0\x50"), ("kerberos", C, b"HBas\0\x51")]);
        converses(&Hbase, &[(C, b"HBas\0\x50\0\0\0\x05hello"), (S, b"\0\0\0\x06\x02\x08\x01x")]);
        let sealed =
            hear(&Hbase, &[(C, b"HBas\0\x51\0\0\0\x05hello"), (S, b"\0\0\0\0\0\0\0\x06abc")]);
        assert_eq!(sealed.encryption, None, "SASL may seal it");
        denies(&Hbase, Transport::Tcp, &[("text", b"HBase"), ("kind", b"HBas\0\x53")]);
    }
}
