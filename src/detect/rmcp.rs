//! Remote Management Control Protocol: ASF presence and IPMI sessions over UDP.
//! <https://www.dmtf.org/sites/default/files/standards/documents/DSP0136.pdf>
//! (the IPMI v2.0 specification, section 13, has the session headers).
//!
//! IPMI v1.5 may send the password as it is; v2.0 (RAKP) answers anyone with a salted hash of it, and may then seal.
use super::Directions;
use super::grammar::{Grammar, Learnt, Message, Place, Read, UDP, demand, info, magic};
use crate::{
    bytes::Cursor,
    detect::{Facts, Info},
    model::{Credentials, Encryption, Side},
};

pub(super) struct Rmcp;

impl Grammar for Rmcp {
    const INFO: &'static Info = &INFO;
    const LEARN_BYTES: usize = 64;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, &[6, 0])?);
        let (sequence, class) = (c.u8()?, c.u8()?);
        match class {
            // An acknowledgement is the header alone.
            0x86 | 0x87 if bytes.len() == 4 => {
                Ok(Some(Message::new(4, 24, "rmcp.acknowledge", "class 0x86")))
            }
            6 => asf(place, &mut c, bytes.len()),
            7 if sequence == 0xff => ipmi(&mut c, bytes.len()),
            _ => Ok(None),
        }
    }

    fn learn(&self, _: &mut [u32; 6], _: Side, bytes: &[u8]) -> Learnt {
        let authenticator = bytes.get(13..29);
        let credentials = match (bytes.get(3), bytes.get(4)) {
            (Some(7), Some(4)) if authenticator.is_some_and(|b| b.iter().any(|b| *b != 0)) => {
                Credentials::PASSWORD_CLEARTEXT
            }
            (Some(7), Some(1 | 2)) => Credentials::PASSWORD_HASH_CHALLENGE,
            // RAKP 2 and 3 with an authentication code (their fixed part is 40 and 8 bytes).
            (Some(7), Some(6)) => match (bytes.get(5).map(|b| b & 0x3f), bytes.get(14)) {
                (Some(0x13), Some(41..)) | (Some(0x14), Some(9..)) => {
                    Credentials::PASSWORD_HASH_CHALLENGE
                }
                _ => Credentials::NONE,
            },
            _ => Credentials::NONE,
        };
        Learnt::more(Facts { credentials, ..Facts::NONE })
    }
}

/// An ASF message: IANA enterprise number of ASF, type, tag, data length.
fn asf(place: Place, c: &mut Cursor<'_>, whole: usize) -> Read {
    demand!(magic(c, &[0, 0, 0x11, 0xbe])?);
    let (kind, _tag) = (c.u8()?, c.u8()?);
    demand!(c.u8()? == 0 && usize::from(c.u8()?) == c.left());
    let constant = match (kind, place.side) {
        (0x40, Side::Server) => "presence pong",
        (0x80, Side::Client) => "presence ping",
        (0x10..=0x13 | 0x41..=0x44 | 0x81..=0x84 | 0xc0..=0xc3, _) => "ASF 4542",
        _ => return Ok(None),
    };
    Ok(Some(Message::new(whole, 60, "rmcp.asf", constant)))
}

fn ipmi(c: &mut Cursor<'_>, whole: usize) -> Read {
    let kind = c.u8()?;
    if kind == 6 {
        return session_2_0(c, whole);
    }
    demand!(matches!(kind, 0 | 1 | 2 | 4 | 5));
    c.skip(8)?;
    if kind != 0 {
        c.skip(16)?;
    }
    let length = usize::from(c.u8()?);
    // Old network chips wanted a pad byte at certain lengths.
    demand!(length >= 7 && (c.left() == length || c.left() == length.saturating_add(1)));
    demand!(checksums(c.take(length)?));
    Ok(Some(Message::new(whole, 48, "rmcp.ipmi", "IPMI v1.5 session")))
}

/// The RMCP+ session header of IPMI v2.0.
fn session_2_0(c: &mut Cursor<'_>, whole: usize) -> Read {
    let payload = c.u8()?;
    let (sealed, signed) = (payload & 0x80 != 0, payload & 0x40 != 0);
    demand!(matches!(payload & 0x3f, 0..=2 | 0x10..=0x15 | 0x20..=0x27));
    if payload & 0x3f == 2 {
        c.skip(6)?;
    }
    let (session, _sequence) = (c.u32_le()?, c.u32_le()?);
    let length = usize::from(c.u16_le()?);
    let behind = c.left().saturating_sub(length);
    demand!(length > 0 && c.left() >= length);
    // Session setup has no session yet; what is signed has padding, its length, 07 and a code behind it.
    demand!(!(sealed || signed) || session != 0);
    demand!(if signed { (2..=40).contains(&behind) } else { behind <= 1 });
    let message = Message::new(whole, 44, "rmcp.ipmi", "IPMI v2.0 session");
    Ok(Some(if sealed { message.with(Some(Encryption::OtherEncrypted)) } else { message }))
}

/// Both checksums of an IPMI message: over its first two bytes, and over the rest.
fn checksums(message: &[u8]) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b));
    message.split_at_checked(3).is_some_and(|(head, rest)| sum(head) == 0 && sum(rest) == 0)
}

static INFO: Info = Info {
    midstream: true,
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
    ..info(
        "rmcp",
        "Remote Management Control Protocol (IPMI)",
        "https://www.dmtf.org/sites/default/files/standards/documents/DSP0136.pdf",
        &[623, 664],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, hear_udp, proves_udp};
    use super::*;
    use crate::model::Transport;

    const PING: &[u8] = b"\x06\x00\xff\x06\x00\x00\x11\xbe\x80\x00\x00\x00";
    const ASK: &[u8] =
        b"\x06\x00\xff\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x20\x18\xc8\x81\x00\x38\x8e\x04\xb5";

    fn v2(payload: u8, session: u8, body: &[u8], behind: &[u8]) -> Vec<u8> {
        let head = [6, 0, 0xff, 7, 6, payload, session, 0, 0, 0, 1, 0, 0, 0];
        let length = u16::try_from(body.len()).unwrap().to_le_bytes();
        [&head[..], &length, body, behind].concat()
    }

    #[test]
    fn presence_and_sessions() {
        let pong = [&b"\x06\x00\xff\x06\x00\x00\x11\xbe\x40\x00\x00\x10"[..], &[0; 16]].concat();
        proves_udp(&Rmcp, &[("ping", C, PING), ("pong", S, &pong), ("v1.5", C, ASK)]);
        proves_udp(&Rmcp, &[("open session", C, &v2(0x10, 0, &[7; 32], b""))]);
    }

    #[test]
    fn what_an_observer_learns() {
        let mut login = ASK.to_vec();
        login[4] = 4;
        login.splice(13..13, *b"hunter2\0\0\0\0\0\0\0\0\0");
        assert_eq!(hear_udp(&Rmcp, &[(C, &login)]).credentials, Credentials::PASSWORD_CLEARTEXT);
        let rakp = v2(0x13, 0, &[1; 60], b"");
        let heard = hear_udp(&Rmcp, &[(C, &v2(0x12, 0, &[1; 32], b"")), (S, &rakp)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        assert_eq!((heard.fits, heard.encryption), ([true, true], None));
        let sealed = v2(0xc0, 9, &[0x5a; 48], b"\xff\xff\x02\x07abcdefghijkl");
        let heard = hear_udp(&Rmcp, &[(C, &sealed), (S, &sealed)]);
        assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
    }

    #[test]
    fn flaws_are_not_rmcp() {
        let mut sum = ASK.to_vec();
        sum[22] ^= 1;
        denies(
            &Rmcp,
            Transport::Udp,
            &[
                ("checksum", &sum),
                ("another enterprise", b"\x06\x00\xff\x06\x00\x00\x11\xbf\x80\x00\x00\x00"),
                ("length", b"\x06\x00\xff\x06\x00\x00\x11\xbe\x80\x00\x00\x01"),
                ("version 5", b"\x05\x00\xff\x06\x00\x00\x11\xbe\x80\x00\x00\x00"),
                ("sealed without a session", &v2(0xc0, 0, &[0x5a; 48], b"\x00\x07abcdefghijkl")),
            ],
        );
    }
}
