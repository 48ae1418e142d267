//! OPC UA binary over TCP. <https://reference.opcfoundation.org/Core/Part6/v105/docs/7.1>
//!
//! Hello and Acknowledge settle buffers. `OpenSecureChannel` names a security policy: with `None` all is clear; with any
//! other its own body is sealed, but whether the messages are sealed or only signed stands in that body. The first
//! message tells: if its sequence header and type id can be read, it was only signed.
use super::grammar::{Grammar, Learnt, Message, Place, Read, TCP, demand, info, magic, size};
use super::{Directions, Facts, Next};
use crate::{
    bytes::{Cursor, Short, find},
    detect::Info,
    model::{Credentials, Encryption, PlaintextReason, Side},
};

pub(super) struct Opcua;

impl Grammar for Opcua {
    const INFO: &'static Info = &INFO;
    const REASON: Option<PlaintextReason> = None;
    const LEARN_BYTES: usize = 4096;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let Some((kind, _)) = kind(&mut c)? else { return Ok(None) };
        let length = c.u32_le()?;
        demand!((12..=CHUNK_BYTES_MAX).contains(&length));
        let message =
            |proof, constant| Message::new(size(length), proof, "opcua.message", constant);
        // The first message of a side is one of these.
        let first = if place.side == Side::Client {
            matches!(kind, Kind::Hel)
        } else {
            !matches!(kind, Kind::Msg)
        };
        demand!(first || !place.opening);
        Ok(Some(match kind {
            Kind::Hel => {
                demand!(c.u32_le()? <= VERSION_MAX && (BUFFER_BYTES_MIN..).contains(&c.u32_le()?));
                c.skip(12)?;
                let url = c.u32_le()?;
                demand!(url == u32::MAX || url.checked_add(32) == Some(length));
                message(64, "HELF").with(None)
            }
            Kind::Rhe => {
                demand!(place.side == Side::Server);
                message(44, "RHEF").with(None)
            }
            Kind::Ack => {
                demand!(place.side == Side::Server && length == 28 && c.u32_le()? <= VERSION_MAX);
                message(64, "ACKF").with(None)
            }
            Kind::Err => {
                // Bad status codes have the top bit.
                let reason = c.u32_le()? & 0x8000_0000 != 0;
                demand!(place.side == Side::Server && length >= 16 && reason);
                message(60, "ERRF").with(None)
            }
            Kind::Opn => {
                c.skip(4)?;
                let policy = c.u32_le()?;
                demand!((20..=255).contains(&policy) && magic(&mut c, POLICY)?);
                let none = c.take(size(policy).saturating_sub(POLICY.len()))? == b"None";
                let clear = if none { Some(Encryption::Plaintext) } else { None };
                message(99, "OPNF SecurityPolicy").with(clear)
            }
            Kind::Msg => {
                demand!(length >= 24);
                message(40, "MSG").with(None)
            }
        }))
    }

    fn learn(&self, words: &mut [u32; 6], side: Side, bytes: &[u8]) -> Learnt {
        learn(words, side, bytes).unwrap_or(Learnt::more(Facts::NONE))
    }
}

fn learn(words: &mut [u32; 6], side: Side, bytes: &[u8]) -> Result<Learnt, Short> {
    let mut c = Cursor::new(bytes);
    let [policy_seen, ..] = words;
    let Some((kind, last)) = kind(&mut c)? else { return Ok(Learnt::NOTHING) };
    c.skip(4)?;
    let plaintext = Facts {
        encryption: Some(Encryption::Plaintext),
        reason: Some(PlaintextReason::ClientNeverAsked),
        ..Facts::NONE
    };
    Ok(match kind {
        Kind::Err => {
            let facts = Facts { refused: true, ..Facts::NONE };
            Learnt { next: Some(Next::Done), ..Learnt::facts(facts) }
        }
        Kind::Opn => {
            c.skip(4)?;
            let length = size(c.u32_le()?);
            let none = c.take(length)?.strip_prefix(POLICY) == Some(b"None");
            *policy_seen = if none { NONE } else { SECURED };
            Learnt::more(if none { plaintext } else { Facts::NONE })
        }
        Kind::Msg if *policy_seen == NONE => {
            let credentials = user(bytes);
            let facts = Facts { credentials, ..Facts::NONE };
            // The user's token comes in the first requests; answers have none.
            let over = !credentials.is_empty();
            Learnt { next: over.then_some(Next::Done), ..Learnt::more(facts) }
        }
        Kind::Msg => {
            c.skip(8)?;
            let (sequence, request) = (c.u32_le()?, c.u32_le()?);
            let type_id = c.take(2)? == [1, 0];
            let readable = sequence < COUNTER_MAX && request < COUNTER_MAX && type_id;
            let facts = match (readable, *policy_seen) {
                (true, _) => Facts { credentials: user(bytes), ..plaintext },
                // The first chunk after the policy begins with all of that, unless it is sealed.
                (false, SECURED) if last && side == Side::Client => {
                    Facts { encryption: Some(Encryption::OtherEncrypted), ..Facts::NONE }
                }
                _ => return Ok(Learnt::more(Facts::NONE)),
            };
            Learnt { next: Some(Next::Done), ..Learnt::facts(facts) }
        }
        _ => Learnt::more(Facts::NONE),
    })
}

/// Looks for a `UserNameIdentityToken` (type id 324): policy, name, password and the algorithm that seals it, if any.
fn user(bytes: &[u8]) -> Credentials {
    let token = find(bytes, &[1, 0, 0x44, 1, 1]);
    let password = || -> Result<bool, Short> {
        let mut c = Cursor::new(bytes);
        c.skip(token.ok_or(Short)?.saturating_add(9))?;
        let mut last = 0;
        for _ in 0..4 {
            last = c.u32_le()?;
            if last != u32::MAX {
                c.skip(size(last))?;
            }
        }
        Ok(matches!(last, 0 | u32::MAX))
    };
    match password() {
        Ok(true) => Credentials::PASSWORD_CLEARTEXT,
        _ => Credentials::NONE,
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Hel,
    Rhe,
    Ack,
    Err,
    Opn,
    Msg,
}

/// Message type, and whether this chunk is the last of its message.
fn kind(c: &mut Cursor<'_>) -> Result<Option<(Kind, bool)>, Short> {
    let rest = c.rest();
    let known = KINDS.iter().find(|(name, _)| {
        let seen = rest.len().min(name.len());
        rest.get(..seen) == name.as_bytes().get(..seen)
    });
    let Some((name, kind)) = known else { return Ok(None) };
    c.skip(name.len())?;
    let chunk = c.u8()?;
    let messages = matches!(kind, Kind::Msg | Kind::Opn);
    let sound = chunk == b'F' || messages && matches!(chunk, b'C' | b'A');
    Ok(sound.then_some((*kind, chunk == b'F')))
}

const KINDS: [(&str, Kind); 7] = [
    ("HEL", Kind::Hel),
    ("ACK", Kind::Ack),
    ("ERR", Kind::Err),
    ("RHE", Kind::Rhe),
    ("OPN", Kind::Opn),
    ("MSG", Kind::Msg),
    ("CLO", Kind::Msg),
];
const POLICY: &[u8] = b"http://opcfoundation.org/UA/SecurityPolicy#";
const VERSION_MAX: u32 = 16;
const BUFFER_BYTES_MIN: u32 = 1024;
const CHUNK_BYTES_MAX: u32 = 1 << 24;
/// Sequence numbers and request ids of a session's beginning.
const COUNTER_MAX: u32 = 1 << 24;
const NONE: u32 = 1;
const SECURED: u32 = 2;

static INFO: Info = Info {
    midstream: true,
    credentials: Credentials::PASSWORD_CLEARTEXT,
    ..info(
        "opcua",
        "OPC Unified Architecture",
        "https://reference.opcfoundation.org/Core/Part6/v105/docs/7.1",
        &[4840],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::{hear, hear_from};
    use super::super::grammar::bench::{C, S, denies, proves_tcp};
    use super::*;
    use crate::detect::Start;
    use crate::model::Transport;

    fn message(kind: &str, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let length = u32::try_from(8 + body.len()).unwrap().to_le_bytes();
        [kind.as_bytes(), &length, &body].concat()
    }

    fn hello() -> Vec<u8> {
        let limits: &[u8] = b"\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0";
        message("HELF", &[limits, b"\x15\0\0\0opc.tcp://server:4840"])
    }

    fn acknowledge() -> Vec<u8> {
        message("ACKF", &[b"\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\0\0"])
    }

    fn open(policy: &str) -> Vec<u8> {
        let uri = [POLICY, policy.as_bytes()].concat();
        let length = u32::try_from(uri.len()).unwrap().to_le_bytes();
        message(
            "OPNF",
            &[&[0; 4], &length, &uri, &[0xff; 8], &[1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0xbe, 1]],
        )
    }

    fn request(rest: &[u8]) -> Vec<u8> {
        message("MSGF", &[&[7, 0, 0, 0, 1, 0, 0, 0], &[2, 0, 0, 0, 2, 0, 0, 0], &[1, 0], rest])
    }

    fn login(algorithm: &[u8]) -> Vec<u8> {
        let token: &[u8] =
            b"\x01\x00\x44\x01\x01\x30\0\0\0\x01\0\0\0p\x04\0\0\0user\x06\0\0\0secret";
        request(&[&[0xd3, 1][..], &[9; 40], token, algorithm].concat())
    }

    #[test]
    fn hello_and_its_answer_leave_open_what_follows() {
        let refusal = message("ERRF", &[b"\0\0\x7e\x80", b"\xff\xff\xff\xff"]);
        let cases =
            [("hello", C, hello()), ("answer", S, acknowledge()), ("error", S, refusal.clone())];
        for (what, side, bytes) in &cases {
            proves_tcp(&Opcua, &[(what, *side, bytes)]);
        }
        let heard = hear(&Opcua, &[(C, &hello()), (S, &refusal)]);
        assert_eq!((heard.fits, heard.refused, heard.encryption), ([true, true], true, None));
    }

    #[test]
    fn the_policy_tells_and_then_the_first_message() {
        let session = |policy: &str, request: &[u8]| {
            let (hello, ack, open) = (hello(), acknowledge(), open(policy));
            hear(&Opcua, &[(C, &hello), (S, &ack), (C, &open), (S, &open), (C, request)])
        };
        let clear = session("None", &login(b"\xff\xff\xff\xff"));
        assert_eq!(clear.encryption, Some(Encryption::Plaintext));
        assert_eq!(clear.reason, Some(PlaintextReason::ClientNeverAsked));
        assert_eq!(clear.credentials, Credentials::PASSWORD_CLEARTEXT);
        let sealed_password = session("None", &login(b"\x03\0\0\0rsa"));
        assert_eq!(sealed_password.credentials, Credentials::NONE);
        let signed = session("Basic256Sha256", &request(&[0xcf, 1, 0, 0]));
        assert_eq!(signed.encryption, Some(Encryption::Plaintext));
        let sealed =
            session("Basic256Sha256", &message("MSGF", &[&[7, 0, 0, 0, 1, 0, 0, 0], &[0xa7; 64]]));
        assert_eq!(sealed.encryption, Some(Encryption::OtherEncrypted));
    }

    #[test]
    fn a_late_view_needs_two_messages() {
        let late = |bytes: &[u8]| hear_from(&Opcua, &[(C, bytes)], Start::Unknown);
        assert!(late(&request(&[0; 30])).matched.is_none());
        assert_eq!(late(&request(&[0; 30]).repeat(2)).encryption, Some(Encryption::Plaintext));
    }

    #[test]
    fn flaws_are_not_opcua() {
        let mut url = hello();
        url[28] += 1;
        denies(
            &Opcua,
            Transport::Tcp,
            &[
                ("SMTP", b"HELO client.example\r\n"),
                ("address of another length", &url),
                ("message first", &request(&[0; 30])),
                (
                    "policy of another",
                    &message("OPNF", &[&[0; 4], b"\x30\0\0\0http://example.com/"]),
                ),
            ],
        );
    }
}
