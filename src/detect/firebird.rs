//! Firebird remote protocol. <https://firebirdsql.org/file/documentation/html/en/firebirddocs/wireprotocol/firebird-wire-protocol.html>
//!
//! `op_connect` comes in clear; `op_crypt` may then seal all that follows. Who attaches to a database without it stays in
//! clear.
use super::grammar::{Grammar, Learnt, Message, Place, Read, TCP, demand, info, magic, size};
use super::{Directions, Facts, Next};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
    model::{Credentials, Encryption, PlaintextReason, Side},
};

pub(super) struct Firebird;

impl Grammar for Firebird {
    const INFO: &'static Info = &INFO;
    const REASON: Option<PlaintextReason> = None;
    const LEARN_BYTES: usize = 4;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        match (place.side, place.opening) {
            (Side::Client, true) => connect(&mut c),
            (Side::Client, false) => later(&mut c),
            (Side::Server, true) => accept(&mut c),
            // What the server says after its first answer is passed over.
            _ if !place.late => Ok(Some(Message::rest("firebird.operation"))),
            _ => Ok(None),
        }
    }

    fn learn(&self, _: &mut [u32; 6], side: Side, bytes: &[u8]) -> Learnt {
        let encryption = match (side, bytes.get(3)) {
            (Side::Server, Some(4)) => {
                let facts = Facts { refused: true, ..Facts::NONE };
                return Learnt { next: Some(Next::Done), ..Learnt::facts(facts) };
            }
            (Side::Client, Some(19 | 20)) => Encryption::Plaintext,
            (Side::Client, Some(96)) => Encryption::OtherEncrypted,
            _ => return Learnt::more(Facts::NONE),
        };
        let reason = Some(PlaintextReason::ClientNeverAsked);
        let facts = Facts { encryption: Some(encryption), reason, ..Facts::NONE };
        Learnt { next: Some(Next::Done), ..Learnt::facts(facts) }
    }
}

/// `op_connect`: operation, version, architecture, database, then the protocols offered and who asks.
fn connect(c: &mut Cursor<'_>) -> Read {
    demand!(magic(c, &[0, 0, 0, 1, 0, 0, 0])?);
    demand!(matches!(c.u8()?, 19 | 20));
    demand!(magic(c, &[0, 0, 0])? && matches!(c.u8()?, 2 | 3));
    demand!(c.u32_be()? <= ARCHITECTURE_MAX && buffer(c)?);
    let protocols = c.u32_be()?;
    demand!((1..=PROTOCOLS_MAX).contains(&protocols) && buffer(c)?);
    c.skip(size(protocols).saturating_mul(PROTOCOL_BYTES))?;
    Ok(Some(Message::new(c.at(), 64, "firebird.connect", "op_connect").with(None)))
}

/// What a client says next: more of the authentication, the encryption of the line, or a database.
fn later(c: &mut Cursor<'_>) -> Read {
    demand!(magic(c, &[0, 0, 0])?);
    let (buffers, constant) = match c.u8()? {
        92 => (4, "op_cont_auth"),
        96 => (2, "op_crypt"),
        19 => return Ok(Some(Message::new(c.at(), 0, "firebird.attach", "op_attach"))),
        20 => return Ok(Some(Message::new(c.at(), 0, "firebird.attach", "op_create"))),
        _ => return Ok(None),
    };
    for _ in 0..buffers {
        demand!(buffer(c)?);
    }
    Ok(Some(Message::new(c.at(), 0, "firebird.operation", constant)))
}

/// `op_accept` and its later forms: protocol version with its mark, architecture, type.
fn accept(c: &mut Cursor<'_>) -> Read {
    demand!(magic(c, &[0, 0, 0])?);
    let (proof, constant) = match c.u8()? {
        3 => (48, "op_accept"),
        94 => (52, "op_accept_data"),
        98 => (52, "op_cond_accept"),
        4 => return Ok(Some(Message::new(c.at(), 12, "firebird.reject", "op_reject").with(None))),
        _ => return Ok(None),
    };
    let version = c.u32_be()?;
    demand!(matches!(version, 8..=10 | 0xffff_800b..=0xffff_8020));
    demand!(c.u32_be()? <= ARCHITECTURE_MAX && c.u32_be()? & 0xff <= 5);
    // Before version 11 there is no mark in it.
    let proof = if version < 16 { 30 } else { proof };
    Ok(Some(Message::new(c.at(), proof, "firebird.accept", constant).with(None)))
}

/// A counted string, padded to four bytes.
fn buffer(c: &mut Cursor<'_>) -> Result<bool, Short> {
    let length = size(c.u32_be()?);
    if length > BUFFER_BYTES_MAX {
        return Ok(false);
    }
    c.skip(length.div_ceil(4).saturating_mul(4))?;
    Ok(true)
}

const ARCHITECTURE_MAX: u32 = 64;
const PROTOCOLS_MAX: u32 = 16;
const PROTOCOL_BYTES: usize = 20;
const BUFFER_BYTES_MAX: usize = 8192;

static INFO: Info = Info {
    credentials: Credentials::NONE,
    ..info(
        "firebird",
        "Firebird",
        "https://firebirdsql.org/file/documentation/html/en/firebirddocs/wireprotocol/firebird-wire-protocol.html",
        &[3050],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::{Heard, hear};
    use super::super::grammar::bench::{C, S, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    fn connect() -> Vec<u8> {
        let mut out = b"\0\0\0\x01\0\0\0\x13\0\0\0\x03\0\0\0\x01\0\0\0\x06db.fdb\0\0".to_vec();
        out.extend_from_slice(b"\0\0\0\x02\0\0\0\x05\x01\x03usr\0\0\0");
        for version in [0x0d, 0x0f] {
            out.extend_from_slice(&[0xff, 0xff, 0x80, version, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]);
            out.extend_from_slice(&[0, 0, 0, 2]);
        }
        out
    }

    const ACCEPT: &[u8] =
        b"\0\0\0\x5e\xff\xff\x80\x0f\0\0\0\x01\0\0\x01\x05\0\0\0\0\0\0\0\x03Srp\0";
    const CRYPT: &[u8] = b"\0\0\0\x60\0\0\0\x04Arc4\0\0\0\x09Symmetric\0\0\0\x5a\x5a\x5a\x5a";
    const ATTACH: &[u8] = b"\0\0\0\x13\0\0\0\0\0\0\0\x06db.fdb\0\0";

    fn after(next: &[u8]) -> Heard {
        hear(&Firebird, &[(C, &connect()), (S, ACCEPT), (C, next)])
    }

    #[test]
    fn what_follows_the_connection_tells() {
        proves_tcp(&Firebird, &[("connect", C, &connect()), ("accept", S, ACCEPT)]);
        assert_eq!(after(CRYPT).encryption, Some(Encryption::OtherEncrypted));
        assert_eq!(after(ATTACH).encryption, Some(Encryption::Plaintext));
        let nothing = after(b"");
        assert_eq!((nothing.fits, nothing.encryption), ([true, true], None));
        let refused = hear(&Firebird, &[(C, &connect()), (S, b"\0\0\0\x04")]);
        assert!(refused.refused && refused.fits == [true, true]);
        let mut version = connect();
        version[11] = 9;
        denies(
            &Firebird,
            Transport::Tcp,
            &[("version", &version), ("zeros", &[0; 40]), ("crypt first", CRYPT)],
        );
    }
}
