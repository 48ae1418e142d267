//! RADIUS: a code, the datagram's length, and attributes that fill it. <https://www.rfc-editor.org/rfc/rfc2865#section-3>
//! Accounting: RFC 2866; dynamic authorization: RFC 5176. A reply without attributes needs its request.
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, demand},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const RADIUS: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    let code = cursor.u8()?;
    let (name, from) = match code {
        1 => ("Access-Request", Side::Client),
        2 => ("Access-Accept", Side::Server),
        3 => ("Access-Reject", Side::Server),
        4 => ("Accounting-Request", Side::Client),
        5 => ("Accounting-Response", Side::Server),
        11 => ("Access-Challenge", Side::Server),
        12 => ("Status-Server", Side::Client),
        40 => ("Disconnect-Request", Side::Client),
        41 => ("Disconnect-ACK", Side::Server),
        42 => ("Disconnect-NAK", Side::Server),
        43 => ("CoA-Request", Side::Client),
        44 => ("CoA-ACK", Side::Server),
        45 => ("CoA-NAK", Side::Server),
        _ => ("", heard.side.other()),
    };
    demand(from == heard.side)?;
    let _identifier = cursor.u8()?;
    let length = usize::from(cursor.u16_be()?);
    demand((HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length))?;
    heard.exactly(length)?;
    cursor.skip(AUTHENTICATOR_BYTES)?;
    let (telling, credentials) = attributes(&mut cursor)?;
    // A request names who asks, or what it is about; a reply may say anything.
    demand(telling > 0 || heard.side == Side::Server)?;
    let mut message = match telling {
        0 | 1 => Message::weak(length),
        _ => Message::proof(length, "radius.packet", name),
    };
    message.facts.credentials = credentials;
    message.facts.refused = code == ACCESS_REJECT;
    message.more = code == ACCESS_CHALLENGE;
    Ok(message)
}

/// Reads all attributes: how many have the form their type demands, and what they give away.
fn attributes(cursor: &mut Cursor<'_>) -> Read<(u32, Credentials)> {
    let (mut telling, mut credentials) = (0_u32, Credentials::NONE);
    while !cursor.is_empty() {
        let (kind, length) = (cursor.u8()?, cursor.u8()?);
        demand(length >= 2 && kind != 0)?;
        let value = cursor.take(usize::from(length.saturating_sub(2)))?;
        let formed = match kind {
            USER_NAME | NAS_IDENTIFIER | ACCT_SESSION_ID => {
                !value.is_empty() && is_printable(value)
            }
            USER_PASSWORD => !value.is_empty() && value.len() <= 128 && value.len() % 16 == 0,
            CHAP_PASSWORD => value.len() == 17,
            MESSAGE_AUTHENTICATOR => value.len() == 16,
            _ if NUMBERS.contains(&kind) => matches!(value, [0, 0, _, _]),
            _ if WORDS_OF_FOUR.contains(&kind) => value.len() == 4,
            VENDOR_SPECIFIC => matches!(value, [0, _, _, _, _, ..]),
            _ => {
                telling = telling.saturating_sub(1);
                true
            }
        };
        demand(formed)?;
        telling = telling.saturating_add(1);
        credentials = credentials.with(secret(kind, value));
    }
    Ok((telling, credentials))
}

/// What an attribute gives away: all of these can be tried offline by one who guesses the shared secret or the password.
const fn secret(kind: u8, value: &[u8]) -> Credentials {
    let answered = matches!(
        (kind, value),
        (USER_PASSWORD | CHAP_PASSWORD, _)
            // EAP response of type MD5, LEAP or MSCHAPv2 (RFC 3748).
            | (EAP_MESSAGE, [2, _, _, _, 4 | 17 | 26, ..])
            // MS-CHAP-Response and MS-CHAP2-Response (RFC 2548).
            | (VENDOR_SPECIFIC, [0, 0, 1, 55, 1 | 25, ..])
    );
    if answered { Credentials::PASSWORD_HASH_CHALLENGE } else { Credentials::NONE }
}

fn is_printable(value: &[u8]) -> bool {
    value.iter().all(|b| !b.is_ascii_control())
}

const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;
const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const CHAP_PASSWORD: u8 = 3;
const VENDOR_SPECIFIC: u8 = 26;
const NAS_IDENTIFIER: u8 = 32;
const ACCT_SESSION_ID: u8 = 44;
const EAP_MESSAGE: u8 = 79;
const MESSAGE_AUTHENTICATOR: u8 = 80;
/// Service-Type, Framed-Protocol, Framed-Routing, Framed-MTU, Framed-Compression, Login-Service, Termination-Action,
/// Acct-Status-Type, Acct-Authentic, Acct-Terminate-Cause, NAS-Port-Type, Error-Cause.
const NUMBERS: [u8; 12] = [6, 7, 10, 12, 13, 15, 29, 40, 45, 49, 61, 101];
/// Addresses, counters, times.
const WORDS_OF_FOUR: [u8; 16] = [4, 5, 8, 9, 14, 27, 28, 41, 42, 43, 46, 47, 48, 52, 53, 55];
const AUTHENTICATOR_BYTES: usize = 16;
const HEADER_BYTES: usize = 20;
const PACKET_BYTES_MAX: usize = 4096;

static INFO: Info = Info {
    name: "radius",
    title: "Remote Authentication Dial In User Service",
    spec: "https://www.rfc-editor.org/rfc/rfc2865",
    ports: &[1812, 1813, 1645, 1646, 3799],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, datagram, hear_datagrams, is_choosy};

    const NAS: &[u8] = b"\x04\x06\x0a\x4d\x01\x0a\x05\x06\x00\x00\x00\x07";

    fn packet(code: u8, attributes: &[&[u8]]) -> Vec<u8> {
        let attributes = attributes.concat();
        let length = u16::try_from(20 + attributes.len()).unwrap().to_be_bytes();
        [&[code, 9][..], &length, &[0xa5; 16], &attributes].concat()
    }

    fn request() -> Vec<u8> {
        packet(1, &[b"\x01\x07alice\x02\x12", &[0x9c; 16], NAS])
    }

    #[test]
    fn attributes_fill_the_packet() {
        let status = b"\x28\x06\x00\x00\x00\x01\x2c\x0aABCD0123";
        let cases: [(_, Vec<u8>, Option<bool>); 9] = [
            (C, request(), Some(true)),
            (C, packet(4, &[status]), Some(true)),
            (S, packet(2, &[b"\x06\x06\x00\x00\x00\x02\x07\x06\x00\x00\x00\x01"]), Some(true)),
            (S, packet(3, &[]), None),
            (C, packet(1, &[]), Some(false)),
            (S, request(), Some(false)),
            (C, packet(1, &[b"\x01\x07alice\x02\x11", &[0x9c; 15], NAS]), Some(false)),
            (C, packet(1, &[b"\x01\x07ali\x00e", NAS]), Some(false)),
            (C, packet(1, &[NAS, b"\x06\x06\x00\x00\x00"]), Some(false)),
        ];
        for (side, bytes, expected) in cases {
            assert_eq!(datagram(&RADIUS, side, &bytes), expected, "{}", bytes.escape_ascii());
        }
        let padded = [request(), vec![0]].concat();
        assert_eq!(datagram(&RADIUS, C, &padded), Some(false));
    }

    #[test]
    fn accept_and_reject() {
        for (code, refused) in [(2, false), (3, true)] {
            let heard = hear_datagrams(&RADIUS, &[(C, &request()), (S, &packet(code, &[]))]);
            assert_eq!((heard.fits, heard.refused), ([true, true], refused));
            assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        }
        let words = packet(2, &[b"\x12\x07hello\x19\x04ab"]);
        assert_eq!(datagram(&RADIUS, S, &words), None, "too little alone");
        let heard = hear_datagrams(&RADIUS, &[(C, &request()), (S, &words)]);
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
        let heard = hear_datagrams(&RADIUS, &[(C, &request()), (S, b"no such service")]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
    }

    #[test]
    fn nothing_else_is_radius() {
        is_choosy(&RADIUS, &[b"\x01\x05\x00\x40", b"\x02\x05\x00\x14", b"\x0b\x05\x00\x20"]);
    }
}
