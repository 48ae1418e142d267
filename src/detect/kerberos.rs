//! Kerberos 5: DER messages whose application tag, version and message type agree, in datagrams or behind four bytes of
//! length. <https://www.rfc-editor.org/rfc/rfc4120#section-5.4> The change password protocol
//! (<https://www.rfc-editor.org/rfc/rfc3244#section-2>) wraps the same messages.
//!
//! Tickets and keys are sealed by the protocol itself; names of users and services are not.
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Encryption, Side, Transport},
};

pub(super) const KERBEROS: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    let length = if let Some(whole) = heard.datagram {
        whole
    } else {
        demand(cursor.peek()? == 0)?;
        usize::try_from(cursor.u32_be()?).unwrap_or(usize::MAX)
    };
    demand((MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&length))?;
    let end = cursor.at().saturating_add(length);
    if cursor.peek()? <= PASSWORD_LENGTH_MAX {
        return password(&mut cursor, heard.side, length, end);
    }
    let kind = kind(&mut cursor, end)?;
    demand(kind.from == Some(heard.side))?;
    let mut message = Message {
        encryption: Encryption::OtherEncrypted,
        ..Message::proof(end, "kerberos.message", kind.name)
    };
    message.facts.refused = kind.number == KRB_ERROR && is_final(&mut cursor)?;
    Ok(message)
}

/// Message length, version, length of the AP message, then that message (or an error).
fn password(cursor: &mut Cursor<'_>, side: Side, length: usize, end: usize) -> Read<Message> {
    let start = cursor.at();
    demand(usize::from(cursor.u16_be()?) == length)?;
    demand(matches!(cursor.u16_be()?, 0x0001 | 0xff80))?;
    let ap = usize::from(cursor.u16_be()?);
    let inner = match ap {
        0 if side == Side::Server => end,
        _ => cursor.at().saturating_add(ap),
    };
    demand(ap < length.saturating_sub(cursor.at().saturating_sub(start)))?;
    let kind = kind(cursor, inner)?;
    let mine = match side {
        Side::Client => kind.number == AP_REQ,
        Side::Server => matches!(kind.number, AP_REP | KRB_ERROR),
    };
    demand(mine)?;
    let encryption = Encryption::OtherEncrypted;
    Ok(Message { encryption, ..Message::proof(end, "kerberos.password", kind.name) })
}

/// A message type of section 5.10.
struct Kind {
    number: u8,
    name: &'static str,
    /// Who sends it to a KDC or gets it from there.
    from: Option<Side>,
}

/// Reads tag, sequence, version and message type; all must agree and end at `end`.
fn kind(cursor: &mut Cursor<'_>, end: usize) -> Read<&'static Kind> {
    let number = cursor.u8()? ^ 0x60;
    let kind = KINDS.iter().find(|kind| kind.number == number).ok_or(Flaw::Foreign)?;
    for sequence in [false, true] {
        demand(!sequence || cursor.u8()? == 0x30)?;
        let length = length(cursor)?;
        demand(cursor.at().saturating_add(length) == end)?;
    }
    // A request to the KDC numbers its fields from one.
    let first: u8 = if matches!(number, 10 | 12) { 0xa1 } else { 0xa0 };
    for (tag, value) in [(first, VERSION), (first.saturating_add(1), number)] {
        for want in [tag, 3, 2, 1, value] {
            demand(cursor.u8()? == want)?;
        }
    }
    Ok(kind)
}

/// The length of a DER value.
fn length(cursor: &mut Cursor<'_>) -> Read<usize> {
    let length = match cursor.u8()? {
        0x81 => u32::from(cursor.u8()?),
        0x82 => u32::from(cursor.u16_be()?),
        0x83 => cursor.u24_be()?,
        short @ 0..=0x7f => u32::from(short),
        _ => return Err(Flaw::Foreign),
    };
    usize::try_from(length).map_err(|_| Flaw::Foreign)
}

/// Whether an error ends the exchange; some only ask for another try.
fn is_final(cursor: &mut Cursor<'_>) -> Read<bool> {
    for _ in 0..ERROR_FIELDS_MAX {
        let tag = cursor.u8()?;
        let value = length(cursor)?;
        let value = cursor.take(value)?;
        if tag == ERROR_CODE {
            let code = value.last().copied().unwrap_or(0);
            return Ok(value.len() != 3 || !RETRIES.contains(&code));
        }
    }
    Ok(false)
}

const VERSION: u8 = 5;
const AP_REQ: u8 = 14;
const AP_REP: u8 = 15;
const KRB_ERROR: u8 = 30;
const KINDS: [Kind; 7] = [
    Kind { number: 10, name: "AS-REQ", from: Some(Side::Client) },
    Kind { number: 11, name: "AS-REP", from: Some(Side::Server) },
    Kind { number: 12, name: "TGS-REQ", from: Some(Side::Client) },
    Kind { number: 13, name: "TGS-REP", from: Some(Side::Server) },
    Kind { number: AP_REQ, name: "AP-REQ", from: None },
    Kind { number: AP_REP, name: "AP-REP", from: None },
    Kind { number: KRB_ERROR, name: "KRB-ERROR", from: Some(Side::Server) },
];
/// Tag of the error code (section 5.9.1), and the fields before it.
const ERROR_CODE: u8 = 0xa6;
const ERROR_FIELDS_MAX: usize = 5;
/// Pre-authentication required, too big for a datagram, other realm, more pre-authentication data (section 7.5.9, RFC
/// 6113).
const RETRIES: [u8; 4] = [25, 52, 68, 91];
const MESSAGE_BYTES_MIN: usize = 12;
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// High byte of the length that begins a password message; lower than any application tag.
const PASSWORD_LENGTH_MAX: u8 = 0x1f;

static INFO: Info = Info {
    name: "kerberos",
    title: "Kerberos 5",
    spec: "https://www.rfc-editor.org/rfc/rfc4120",
    ports: &[88, 464, 750],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{
        C, S, datagram, hear_datagrams, hear_streams, is_choosy, late, stream,
    };

    /// A message: tag, number of the first field, message type, further fields.
    fn der(tag: u8, first: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
        let mut fields = vec![first, 3, 2, 1, 5, first + 1, 3, 2, 1, kind];
        fields.extend_from_slice(rest);
        let sequence = [&[0x30, u8::try_from(fields.len()).unwrap()][..], &fields].concat();
        [&[tag, 0x81, u8::try_from(sequence.len()).unwrap()][..], &sequence].concat()
    }

    fn request() -> Vec<u8> {
        der(0x6a, 0xa1, 10, &[0xa4, 2, 0x30, 0])
    }

    fn error(code: u8) -> Vec<u8> {
        let time = b"\xa4\x11\x18\x0f20260101000000Z\xa5\x03\x02\x01\x00";
        der(0x7e, 0xa0, 30, &[time, &[0xa6, 3, 2, 1, code][..], b"\xa9\x02\x1b\x00"].concat())
    }

    fn tcp(message: &[u8]) -> Vec<u8> {
        [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
    }

    #[test]
    fn tag_version_and_type_prove_each_direction() {
        let reply = der(0x6b, 0xa0, 11, &[0xa3, 2, 0x1b, 0]);
        let cases = [(C, request()), (S, reply), (S, error(25)), (C, der(0x6c, 0xa1, 12, &[]))];
        for (side, message) in cases {
            assert_eq!(datagram(&KERBEROS, side, &message), Some(true), "{message:02x?}");
            assert_eq!(datagram(&KERBEROS, side.other(), &message), Some(false));
            assert_eq!(stream(&KERBEROS, side, &tcp(&message)), Some(true));
            assert_eq!(late(&KERBEROS, side, &tcp(&message)), Some(true));
            assert_eq!(datagram(&KERBEROS, side, &message[..message.len() - 1]), Some(false));
        }
        let flaws = [der(0x6a, 0xa1, 12, &[]), der(0x6a, 0xa0, 10, &[]), der(0x6e, 0xa0, 14, &[])];
        for message in flaws {
            assert_eq!(stream(&KERBEROS, C, &tcp(&message)), Some(false), "{message:02x?}");
        }
    }

    #[test]
    fn an_error_refuses_unless_it_asks_for_another_try() {
        for (code, refused) in [(25, false), (52, false), (24, true), (6, true)] {
            let lines = [(C, request()), (S, error(code))];
            let heard = hear_datagrams(&KERBEROS, &[(C, &lines[0].1), (S, &lines[1].1)]);
            assert_eq!((heard.fits, heard.refused), ([true, true], refused), "{code}");
            let heard = hear_streams(&KERBEROS, &[(C, &tcp(&lines[0].1)), (S, &tcp(&lines[1].1))]);
            assert_eq!((heard.fits, heard.refused), ([true, true], refused), "{code}");
            assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
        }
    }

    #[test]
    fn a_new_password_travels_behind_an_ap_request() {
        let ap = der(0x6e, 0xa0, 14, &[]);
        let length = u16::try_from(6 + ap.len() + 4).unwrap().to_be_bytes();
        let inner = u16::try_from(ap.len()).unwrap().to_be_bytes();
        let whole = [&length[..], b"\xff\x80", &inner, &ap, b"\x75\x02\x30\x00"].concat();
        assert_eq!(datagram(&KERBEROS, C, &whole), Some(true));
        assert_eq!(stream(&KERBEROS, C, &tcp(&whole)), Some(true));
        assert_eq!(datagram(&KERBEROS, S, &whole), Some(false));
    }

    #[test]
    fn nothing_else_is_kerberos() {
        is_choosy(&KERBEROS, &[b"\x6a", b"\x00\x00\x00\x40\x6a\x3e\x30\x3c", b"\x6b\x5e\x30\x5c"]);
    }
}
