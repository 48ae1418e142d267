//! `TACACS+`: version, type, sequence number, flags, session, length. <https://www.rfc-editor.org/rfc/rfc8907#section-4.1>
//!
//! The body is hidden under an MD5 pad made of a shared secret (obfuscation: weak, but it takes the secret to read it)
//! unless a flag says that it is not. Some without a secret forget the flag: a body that can be read is in clear.
use super::{
    Directions, Facts, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Encryption, Side, Transport},
};

pub(super) const TACACS: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(state: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    demand(matches!(cursor.u8()?, 0xc0 | 0xc1))?;
    let kind = cursor.u8()?;
    let name = match kind {
        AUTHENTICATION => "authentication",
        2 => "authorization",
        3 => "accounting",
        _ => return Err(Flaw::Foreign),
    };
    let sequence = cursor.u8()?;
    // The client begins with one and takes the odd numbers.
    let first = if heard.side == Side::Client { 1 } else { 2 };
    let fits = match (heard.late, state.flags & OPEN) {
        (false, 0) => sequence == first,
        _ => sequence % 2 == first % 2 && sequence <= SEQUENCE_MAX,
    };
    demand(fits)?;
    let flags = cursor.u8()?;
    demand(flags & !(UNENCRYPTED | SINGLE_CONNECT) == 0)?;
    let _session = cursor.u32_be()?;
    let length = usize::try_from(cursor.u32_be()?).unwrap_or(usize::MAX);
    demand((BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(&length))?;
    let body = heard.whole(cursor.at().saturating_add(length))?;
    let body = body.get(cursor.at()..).unwrap_or_default();
    let mut message = Message::proof(cursor.at().saturating_add(length), "tacacs.packet", name);
    message.encryption = Encryption::OtherEncrypted;
    let clear = flags & UNENCRYPTED != 0 || state.flags & CLEAR != 0;
    let read = match (kind, heard.side, sequence) {
        (AUTHENTICATION, Side::Client, 1) => Some(start(body)),
        (AUTHENTICATION, Side::Server, _) => Some(reply(&mut state.flags, body)),
        (AUTHENTICATION, Side::Client, _) if clear => Some(carry_on(state.flags, body)),
        (_, Side::Client, _) if clear => Some(request(body)),
        _ => None,
    };
    match read {
        Some(Ok(facts)) => {
            message.facts = facts;
            message.encryption = Encryption::Plaintext;
            state.flags |= CLEAR;
        }
        Some(Err(_)) if clear => return Err(Flaw::Foreign),
        _ if clear => message.encryption = Encryption::Plaintext,
        _ => {}
    }
    // What is hidden tells no more; a reply that decides ends it.
    let decided = message.facts.accepted || message.facts.refused;
    message.more = message.encryption == Encryption::Plaintext && !decided;
    state.flags |= OPEN;
    Ok(message)
}

/// Authentication START (section 5.1): its four lengths fill the body.
fn start(body: &[u8]) -> Read<Facts> {
    let mut cursor = Cursor::new(body);
    let [action, privilege, method, service, user, port, address, data] = cursor.array()?;
    let lengths = [user, port, address, data].map(usize::from);
    let total = lengths.iter().fold(cursor.at(), |sum, length| sum.saturating_add(*length));
    demand(matches!(action, 1 | 2 | 4) && privilege <= 15 && service <= 9 && total == body.len())?;
    let credentials = match method {
        1 => Credentials::NONE,
        PAP if data > 0 => Credentials::PASSWORD_CLEARTEXT,
        2..=6 => Credentials::PASSWORD_HASH_CHALLENGE,
        _ => return Err(Flaw::Foreign),
    };
    Ok(Facts { credentials, ..Facts::NONE })
}

/// Authentication CONTINUE (section 5.3): what the user typed.
fn carry_on(flags: u16, body: &[u8]) -> Read<Facts> {
    let mut cursor = Cursor::new(body);
    let (typed, data) = (usize::from(cursor.u16_be()?), usize::from(cursor.u16_be()?));
    let _flags = cursor.u8()?;
    demand(typed.saturating_add(data).saturating_add(cursor.at()) == body.len())?;
    let asked = typed > 0 && flags & PASSWORD_ASKED != 0;
    let credentials = if asked { Credentials::PASSWORD_CLEARTEXT } else { Credentials::NONE };
    Ok(Facts { credentials, ..Facts::NONE })
}

/// Authentication REPLY (section 5.2).
fn reply(flags: &mut u16, body: &[u8]) -> Read<Facts> {
    let mut cursor = Cursor::new(body);
    let (status, hidden) = (cursor.u8()?, cursor.u8()?);
    let (text, data) = (usize::from(cursor.u16_be()?), usize::from(cursor.u16_be()?));
    let total = text.saturating_add(data).saturating_add(cursor.at());
    demand(total == body.len() && matches!(status, 1..=7 | 0x21) && hidden <= 1)?;
    *flags &= !PASSWORD_ASKED;
    if status == GETPASS {
        *flags |= PASSWORD_ASKED;
    }
    let (accepted, refused) = (status == PASS, matches!(status, FAIL | ERROR));
    Ok(Facts { refused, accepted, ..Facts::NONE })
}

/// Authorization and accounting REQUEST (sections 6.1 and 7.1): only their shape.
fn request(body: &[u8]) -> Read<Facts> {
    demand(body.len() >= REQUEST_BYTES_MIN)?;
    Ok(Facts::NONE)
}

const AUTHENTICATION: u8 = 1;
const UNENCRYPTED: u8 = 0x01;
const SINGLE_CONNECT: u8 = 0x04;
const PAP: u8 = 2;
const PASS: u8 = 1;
const FAIL: u8 = 2;
const GETPASS: u8 = 5;
const ERROR: u8 = 7;
/// A packet was read: the next may have any number.
const OPEN: u16 = 1;
/// The server wants a password next.
const PASSWORD_ASKED: u16 = 2;
/// What was read is in clear.
const CLEAR: u16 = 4;
const SEQUENCE_MAX: u8 = 64;
const BODY_BYTES_MIN: usize = 5;
const BODY_BYTES_MAX: usize = 8192;
const REQUEST_BYTES_MIN: usize = 8;

static INFO: Info = Info {
    name: "tacacs",
    title: "TACACS+",
    spec: "https://www.rfc-editor.org/rfc/rfc8907",
    ports: &[49],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream};

    fn packet(kind: u8, sequence: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[0xc0, kind, sequence, flags, 0xde, 0xad, 0xbe, 0xef][..], &length, body].concat()
    }

    #[test]
    fn a_header_and_its_body_prove_each_direction() {
        let sealed = [0x5a; 30];
        let cases = [
            (C, packet(1, 1, 0, &sealed), Some(true)),
            (S, packet(1, 2, 4, &sealed), Some(true)),
            (C, packet(2, 1, 4, &sealed), Some(true)),
            (C, packet(1, 1, 0, &sealed)[..30].to_vec(), None),
            (C, packet(1, 2, 0, &sealed), Some(false)),
            (C, packet(1, 3, 0, &sealed), Some(false)),
            (C, packet(4, 1, 0, &sealed), Some(false)),
            (C, packet(1, 1, 2, &sealed), Some(false)),
            (C, packet(1, 1, 1, &sealed), Some(false)),
        ];
        for (side, bytes, expected) in cases {
            assert_eq!(stream(&TACACS, side, &bytes), expected, "{bytes:02x?}");
        }
        assert_eq!(late(&TACACS, C, &packet(1, 3, 0, &sealed)), Some(true));
        assert_eq!(late(&TACACS, S, &packet(1, 3, 0, &sealed)), None);
    }

    #[test]
    fn an_unencrypted_session_shows_the_password() {
        let pap = packet(1, 1, 1, b"\x01\x00\x02\x01\x05\x04\x01\x06alicetty0xsecret");
        let pass = packet(1, 2, 1, b"\x01\x00\x00\x00\x00\x00");
        let heard = hear_streams(&TACACS, &[(C, &pap), (S, &pass)]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        let flagless = |packet: &[u8]| [&packet[..3], &[0], &packet[4..]].concat();
        let heard = hear_streams(&TACACS, &[(C, &flagless(&pap)), (S, &flagless(&pass))]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext), "the flag forgotten");
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);

        let ascii = packet(1, 1, 1, b"\x01\x00\x01\x01\x05\x04\x00\x00alicetty0");
        let ask = packet(1, 2, 1, b"\x05\x01\x00\x0a\x00\x00Password: ");
        let typed = packet(1, 3, 1, b"\x00\x06\x00\x00\x00secret");
        let fail = packet(1, 4, 1, b"\x02\x00\x00\x00\x00\x00");
        let heard = hear_streams(&TACACS, &[(C, &ascii), (S, &ask), (C, &typed), (S, &fail)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert_eq!((heard.fits, heard.refused), ([true, true], true));
    }

    #[test]
    fn an_obfuscated_session_shows_nothing() {
        let heard = hear_streams(
            &TACACS,
            &[(C, &packet(1, 1, 0, &[0x77; 28])), (S, &packet(1, 2, 0, &[0x12; 6]))],
        );
        assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
        assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::NONE));
    }

    #[test]
    fn nothing_else_is_tacacs() {
        is_choosy(&TACACS, &[b"\xc0\x01\x01\x00", b"\xc1\x01\x02", b"\xc0\x01\x01\x01"]);
    }
}
