//! DICOM upper layer: an association is asked for with a PDU of fixed fields, entity titles and the name of the DICOM
//! application context. <https://dicom.nema.org/medical/dicom/current/output/html/part08.html#sect_9.3>
use super::{
    Directions, Facts, FollowState, Info,
    whole::{Heard, MESSAGE_BYTES_MAX, Message, Protocol, Read, Turns, demand, expect},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const DICOM: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    let (kind, client) = (cursor.u8()?, heard.side == Side::Client);
    let known = match kind {
        REQUEST => client,
        ACCEPT | REJECT => !client,
        ABORT => true,
        DATA => heard.late,
        _ => false,
    };
    demand(known && cursor.u8()? == 0)?;
    let length = usize::try_from(cursor.u32_be()?).unwrap_or(usize::MAX);
    let end = cursor.at().saturating_add(length);
    match kind {
        REQUEST | ACCEPT => {
            demand((ASSOCIATE_BYTES_MIN..=ASSOCIATE_BYTES_MAX).contains(&length))?;
            associate(&mut cursor)?;
            let name = if kind == REQUEST { "A-ASSOCIATE-RQ" } else { "A-ASSOCIATE-AC" };
            let message = Message::proof(end, "dicom.associate", name);
            // The names prove it before all of it is there; what it gives away is read when it is.
            let credentials = match heard.whole(end) {
                Ok(_) if kind == REQUEST => user_identity(cursor, end).unwrap_or_default(),
                Err(flaw) if heard.follows && end < MESSAGE_BYTES_MAX => return Err(flaw),
                _ => Credentials::NONE,
            };
            Ok(Message { facts: Facts { credentials, ..Facts::NONE }, ..message })
        }
        REJECT => {
            expect(&mut cursor, &[0])?;
            let [result, source, reason] = cursor.array()?;
            demand(length == 4 && matches!((result, source, reason), (1..=2, 1..=3, 1..=10)))?;
            let message = Message::proof(end, "dicom.associate", "A-ASSOCIATE-RJ");
            Ok(Message { facts: Facts { refused: true, ..Facts::NONE }, ..message })
        }
        ABORT => {
            let [zero, other, source, reason] = cursor.array()?;
            demand(length == 4 && zero == 0 && other == 0 && source <= 2 && reason <= 6)?;
            let refused = !client;
            Ok(Message { facts: Facts { refused, ..Facts::NONE }, ..Message::weak(end) })
        }
        _ => data(&mut cursor, length, end),
    }
}

/// Version, titles, and the application context's name.
fn associate(cursor: &mut Cursor<'_>) -> Read<()> {
    expect(cursor, &[0, 1, 0, 0])?;
    for _ in 0..2 {
        for _ in 0..TITLE_BYTES {
            demand(matches!(cursor.u8()?, b' '..=b'~'))?;
        }
    }
    cursor.skip(RESERVED_BYTES)?;
    expect(cursor, b"\x10\x00\x00\x151.2.840.10008.3.1.1.1")
}

/// Looks for the user identity (PS3.7 annex D.3.3.7) among the items that follow.
fn user_identity(mut cursor: Cursor<'_>, end: usize) -> Read<Credentials> {
    while cursor.at() < end {
        let (kind, _reserved, length) = (cursor.u8()?, cursor.u8()?, cursor.u16_be()?);
        if kind == USER_INFORMATION {
            // Its items follow one by one.
            continue;
        }
        if kind == USER_IDENTITY {
            return Ok(match cursor.u8()? {
                2 => Credentials::PASSWORD_CLEARTEXT,
                4 | 5 => Credentials::BEARER_TOKEN,
                _ => Credentials::NONE,
            });
        }
        cursor.skip(usize::from(length))?;
    }
    Ok(Credentials::NONE)
}

/// P-DATA-TF whose first fragment is a command: the length of group 0000 comes first (PS3.7 section 6.3.1).
fn data(cursor: &mut Cursor<'_>, length: usize, end: usize) -> Read<Message> {
    demand((DATA_BYTES_MIN..=DATA_BYTES_MAX).contains(&length))?;
    let item = usize::try_from(cursor.u32_be()?).unwrap_or(usize::MAX);
    demand(item.saturating_add(4) <= length)?;
    let (context, header) = (cursor.u8()?, cursor.u8()?);
    demand(context % 2 == 1 && matches!(header, 1 | 3))?;
    expect(cursor, &[0, 0, 0, 0, 4, 0, 0, 0])?;
    Ok(Message::proof(end, "dicom.command", "P-DATA-TF"))
}

const REQUEST: u8 = 1;
const ACCEPT: u8 = 2;
const REJECT: u8 = 3;
const DATA: u8 = 4;
const ABORT: u8 = 7;
const USER_INFORMATION: u8 = 0x50;
const USER_IDENTITY: u8 = 0x58;
const TITLE_BYTES: usize = 16;
const RESERVED_BYTES: usize = 32;
const ASSOCIATE_BYTES_MIN: usize = 93;
const ASSOCIATE_BYTES_MAX: usize = 1 << 16;
const DATA_BYTES_MIN: usize = 14;
const DATA_BYTES_MAX: usize = 1 << 20;

static INFO: Info = Info {
    name: "dicom",
    title: "DICOM upper layer",
    spec: "https://dicom.nema.org/medical/dicom/current/output/html/part08.html",
    ports: &[104, 11112, 4242],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream};

    const CONTEXT: &[u8] = b"\x10\x00\x00\x151.2.840.10008.3.1.1.1";
    const USER: &[u8] = b"\x50\x00\x00\x16\x51\x00\x00\x04\x00\x00\x40\x00\
        \x58\x00\x00\x0a\x02\x00\x00\x01u\x00\x03pwd";

    fn pdu(kind: u8, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        [&[kind, 0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), &body].concat()
    }

    fn associate(kind: u8, items: &[u8]) -> Vec<u8> {
        let titles = b"ANY-SCP         ECHOSCU         ";
        pdu(kind, &[b"\x00\x01\x00\x00", titles, &[0; 32], CONTEXT, items])
    }

    #[test]
    fn the_application_context_proves_an_association() {
        let mut other = associate(1, USER);
        other[90] ^= 1;
        let cases = [
            (C, associate(1, USER), Some(true)),
            (S, associate(2, b""), Some(true)),
            (S, b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x07".to_vec(), Some(true)),
            (C, associate(2, b""), Some(false)),
            (C, associate(1, b"")[..90].to_vec(), None),
            (C, other, Some(false)),
            (C, b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x07".to_vec(), Some(false)),
            (C, b"\x01\x00\x00\x00\x00\x04\x00\x01\x00\x00".to_vec(), Some(false)),
        ];
        for (side, bytes, expected) in cases {
            assert_eq!(stream(&DICOM, side, &bytes), expected, "{}", bytes.escape_ascii());
        }
        let command = b"\x04\0\0\0\0\x14\0\0\0\x10\x01\x03\0\0\0\0\x04\0\0\0\x42\0\0\0\0\0";
        assert_eq!(late(&DICOM, C, command), Some(true));
        assert_eq!(stream(&DICOM, C, command), Some(false), "not at the start");
    }

    #[test]
    fn associations_with_a_password_and_without() {
        let accept = associate(2, b"");
        let heard = hear_streams(&DICOM, &[(C, &associate(1, USER)), (S, &accept)]);
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        let reject = b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x07";
        let heard = hear_streams(&DICOM, &[(C, &associate(1, b"")), (S, reject)]);
        assert_eq!((heard.refused, heard.credentials), (true, Credentials::NONE));
    }

    #[test]
    fn nothing_else_is_dicom() {
        is_choosy(&DICOM, &[b"\x01\x00\x00\x00\x00\xc0\x00\x01", b"\x04\x00\x00\x00\x00\x20"]);
    }
}
