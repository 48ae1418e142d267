//! SMPP, short messages to and from a provider: PDUs of length, command, status, sequence number.
//! <https://smpp.org/SMPP_v3_4_Issue1_2.pdf> (section 3.2)
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const SMPP: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(state: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    demand(cursor.peek()? == 0)?;
    let length = usize::try_from(cursor.u32_be()?).unwrap_or(usize::MAX);
    demand((HEADER_BYTES..=PDU_BYTES_MAX).contains(&length))?;
    let (id, status, sequence) = (cursor.u32_be()?, cursor.u32_be()?, cursor.u32_be()?);
    let answer = id & RESPONSE != 0;
    demand(sequence != 0 || id == RESPONSE)?;
    demand(if answer { status <= STATUS_MAX } else { status == 0 })?;
    let body = |cursor: &mut Cursor<'_>| {
        let body = heard.whole(length)?;
        Ok::<_, Flaw>(Cursor::new(body.get(cursor.at()..).unwrap_or_default()))
    };
    let client = heard.side == Side::Client;
    let mut message = match id & !RESPONSE {
        BIND_RECEIVER | BIND_TRANSMITTER | BIND_TRANSCEIVER if client != answer => {
            let mut body = body(&mut cursor)?;
            let secret = if answer { response(&mut body, status)? } else { bind(&mut body)? };
            let constant = if answer { "bind_resp" } else { "bind" };
            let mut message = Message::proof(length, "smpp.bind", constant);
            message.facts.refused = answer && status != 0;
            message.facts.credentials = secret;
            message
        }
        OUTBIND if !client && !answer => {
            let mut body = body(&mut cursor)?;
            let (_system, password) = (text(&mut body, 16)?, text(&mut body, 9)?);
            demand(body.is_empty())?;
            let mut message = Message::proof(length, "smpp.bind", "outbind");
            message.facts.credentials = secret(password);
            message
        }
        ENQUIRE_LINK | UNBIND if length == HEADER_BYTES && (heard.late || state.flags != 0) => {
            Message::proof(length, "smpp.pdu", "enquire_link")
        }
        0..=COMMAND_MAX if state.flags != 0 => Message::weak(length),
        _ => return Err(Flaw::Foreign),
    };
    state.flags = 1;
    message.more = false;
    Ok(message)
}

/// Who binds, with what, and how (section 4.1).
fn bind(body: &mut Cursor<'_>) -> Read<Credentials> {
    let _system = text(body, 16)?;
    let password = text(body, PASSWORD_BYTES_MAX)?;
    let _system_type = text(body, 13)?;
    demand(matches!(body.u8()?, 0..=0x34 | 0x50))?;
    let (ton, npi) = (body.u8()?, body.u8()?);
    let _range = text(body, 41)?;
    demand(ton <= 7 && npi <= 18 && body.is_empty())?;
    Ok(secret(password))
}

/// The server's name, then optional parameters; an error may leave all of it out.
fn response(body: &mut Cursor<'_>, status: u32) -> Read<Credentials> {
    if status != 0 && body.is_empty() {
        return Ok(Credentials::NONE);
    }
    text(body, 16)?;
    while !body.is_empty() {
        let (_tag, length) = (body.u16_be()?, usize::from(body.u16_be()?));
        body.skip(length)?;
    }
    Ok(Credentials::NONE)
}

/// A C-octet string of at most `max` bytes with its NUL; what lies beyond the PDU cannot be one.
fn text<'a>(body: &mut Cursor<'a>, max: usize) -> Read<&'a [u8]> {
    let text = body.until(0).map_err(|_| Flaw::Foreign)?;
    demand(text.len() < max && text.iter().all(|b| matches!(b, b' '..=b'~')))?;
    Ok(text)
}

const fn secret(password: &[u8]) -> Credentials {
    if password.is_empty() { Credentials::NONE } else { Credentials::PASSWORD_CLEARTEXT }
}

const BIND_RECEIVER: u32 = 1;
const BIND_TRANSMITTER: u32 = 2;
const UNBIND: u32 = 6;
const BIND_TRANSCEIVER: u32 = 9;
const OUTBIND: u32 = 0x0b;
const ENQUIRE_LINK: u32 = 0x15;
const COMMAND_MAX: u32 = 0x0fff;
const RESPONSE: u32 = 0x8000_0000;
const STATUS_MAX: u32 = 0x04ff;
const HEADER_BYTES: usize = 16;
const PDU_BYTES_MAX: usize = 4096;
/// Nine in the specification; providers give out longer ones.
const PASSWORD_BYTES_MAX: usize = 33;

static INFO: Info = Info {
    name: "smpp",
    title: "Short Message Peer-to-Peer",
    spec: "https://smpp.org/SMPP_v3_4_Issue1_2.pdf",
    ports: &[2775],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream};

    fn pdu(id: u32, status: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap();
        [length, id, status, 1]
            .map(u32::to_be_bytes)
            .concat()
            .into_iter()
            .chain(body.to_vec())
            .collect()
    }

    #[test]
    fn a_bind_proves_each_direction() {
        let bind = b"shop\0secret\0\0\x34\x00\x00\0";
        let cases = [
            (C, pdu(9, 0, bind), Some(true)),
            (C, pdu(1, 0, b"shop\0\0\0\x34\x00\x00\0"), Some(true)),
            (S, pdu(0x8000_0009, 0, b"smsc\0\x02\x10\x00\x01\x34"), Some(true)),
            (S, pdu(0x8000_0002, 0x0e, b""), Some(true)),
            (S, pdu(0x0b, 0, b"smsc\0secret\0"), Some(true)),
            (C, pdu(9, 0, bind)[..30].to_vec(), None),
            (C, pdu(9, 1, bind), Some(false)),
            (C, pdu(9, 0, b"shop\0secret\0\0\x34\x00\x00\0x"), Some(false)),
            (C, pdu(9, 0, b"sh\x01p\0secret\0\0\x34\x00\x00\0"), Some(false)),
            (C, pdu(4, 0, bind), Some(false)),
            (C, pdu(0x8000_0009, 0, b"smsc\0"), Some(false)),
        ];
        for (side, bytes, expected) in cases {
            assert_eq!(stream(&SMPP, side, &bytes), expected, "{bytes:02x?}");
        }
        assert_eq!(late(&SMPP, S, &pdu(0x15, 0, b"")), Some(true));
        assert_eq!(stream(&SMPP, C, &pdu(0x15, 0, b"")), Some(false), "nobody begins so");
    }

    #[test]
    fn a_bind_with_a_password_and_its_answer() {
        for (status, refused) in [(0, false), (0x0e, true)] {
            let ask = pdu(9, 0, b"shop\0secret\0\0\x34\x00\x00\0");
            let heard =
                hear_streams(&SMPP, &[(C, &ask), (S, &pdu(0x8000_0009, status, b"smsc\0"))]);
            assert_eq!((heard.fits, heard.refused), ([true, true], refused));
            assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        }
    }

    #[test]
    fn nothing_else_is_smpp() {
        is_choosy(&SMPP, &[b"\0\0\0\x30\0\0\0\x09", b"\0\0\0\x15\x80"]);
    }
}
