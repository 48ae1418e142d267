//! RethinkDB client protocol. <https://rethinkdb.com/docs/writing-drivers/>
//!
//! The client begins with a magic number; from version 1.0 on JSON texts that end with a zero byte follow.
use super::grammar::{Grammar, Learnt, Message, Place, Read, TCP, demand, info, magic, size};
use super::{Directions, Facts};
use crate::{
    bytes::Cursor,
    detect::Info,
    model::{Credentials, Side},
};

pub(super) struct Rethinkdb;

impl Grammar for Rethinkdb {
    const INFO: &'static Info = &INFO;
    const LEARN_BYTES: usize = 1024;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        match (place.side, place.opening) {
            (Side::Server, true) => {
                let error = c.peek()? != b'{';
                let (text, proof) = if error { (ERROR, 20) } else { (OFFER, 80) };
                demand!(magic(&mut c, text)?);
                c.until(0)?;
                Ok(Some(Message::new(c.at(), proof, "rethinkdb.version", "protocol version")))
            }
            (Side::Client, true) => {
                let seen = bytes.len().min(4);
                let known = MAGICS.iter().find(|(m, _)| m.get(..seen) == bytes.get(..seen));
                let Some((_, constant)) = known else { return Ok(None) };
                c.skip(4)?;
                if *constant == "V1_0" {
                    // What comes next, perhaps only after the server's word, makes it certain.
                    return Ok(Some(Message::new(4, 34, "rethinkdb.magic", constant)));
                }
                let key = c.u32_le()?;
                demand!(key <= KEY_BYTES_MAX);
                c.skip(size(key))?;
                demand!(matches!(c.u32_le()?, 0x271f_fc41 | 0x7e69_70c7));
                Ok(Some(Message::new(c.at(), 64, "rethinkdb.magic", constant)))
            }
            _ => {
                demand!(magic(&mut c, b"{\"")?);
                c.until(0)?;
                Ok(Some(Message::new(c.at(), 14, "rethinkdb.handshake", "JSON text")))
            }
        }
    }

    fn learn(&self, _: &mut [u32; 6], side: Side, bytes: &[u8]) -> Learnt {
        let key = bytes.get(4..8).is_some_and(|length| length != [0; 4]);
        let credentials = match side {
            Side::Client if key && bytes.first() != Some(&b'{') => Credentials::PASSWORD_CLEARTEXT,
            Side::Client if bytes.first() == Some(&b'{') => Credentials::PASSWORD_HASH_CHALLENGE,
            _ => Credentials::NONE,
        };
        let facts = Facts { credentials, ..Facts::NONE };
        if side == Side::Client && bytes.len() > 4 {
            Learnt::facts(facts)
        } else {
            Learnt::more(facts)
        }
    }
}

const MAGICS: [(&[u8; 4], &str); 5] = [
    (b"\xc3\xbd\xc2\x34", "V1_0"),
    (b"\x20\x2d\x0c\x40", "V0_4"),
    (b"\x3e\xe8\x75\x5f", "V0_3"),
    (b"\xe1\x81\x30\x72", "V0_2"),
    (b"\x36\xba\x61\x3f", "V0_1"),
];
const OFFER: &[u8] = b"{\"max_protocol_version\":";
const ERROR: &[u8] = b"ERROR: ";
const KEY_BYTES_MAX: u32 = 1024;

static INFO: Info = Info {
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
    ..info(
        "rethinkdb",
        "RethinkDB",
        "https://rethinkdb.com/docs/writing-drivers/",
        &[28015],
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

    const V1_0: &[u8] = b"\xc3\xbd\xc2\x34";
    const SCRAM: &[u8] =
        b"{\"protocol_version\":0,\"authentication_method\":\"SCRAM-SHA-256\",\"authentication\":\"n,,\"}\0";
    const SERVER: &[u8] =
        b"{\"max_protocol_version\":0,\"min_protocol_version\":0,\"success\":true}\0";

    #[test]
    fn magic_numbers_and_what_follows() {
        let v0_4 = b"\x20\x2d\x0c\x40\x06\0\0\0secret\xc7\x70\x69\x7e";
        let both = [V1_0, SCRAM].concat();
        proves_tcp(&Rethinkdb, &[("0.4", C, v0_4), ("1.0", C, &both), ("server", S, SERVER)]);
        converses(&Rethinkdb, &[(C, V1_0), (S, SERVER), (C, SCRAM)]);
        let heard = hear(&Rethinkdb, &[(C, V1_0), (S, SERVER), (C, SCRAM)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        let heard = hear(&Rethinkdb, &[(C, v0_4), (S, b"SUCCESS\0")]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        denies(
            &Rethinkdb,
            Transport::Tcp,
            &[
                ("magic", b"\xc3\xbd\xc2\x35{"),
                ("wire", b"\x20\x2d\x0c\x40\0\0\0\0\xc7\x70\x69\x7f"),
            ],
        );
    }
}
