use super::*;
use crate::detect::check::{hear, hear_from, probe_side};

const C: Side = Side::Client;
const S: Side = Side::Server;

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
    [&[kind, 1], &length[..], &[0, 0, 1, 0], body].concat()
}

/// VERSION and ENCRYPTION, as MS-TDS section 4.1 has them.
fn prelogin(kind: u8, encryption: u8) -> Vec<u8> {
    let options = b"\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x0b\0\x0c\x38\0\0";
    packet(kind, &[&options[..], &[encryption]].concat())
}

fn login(password: u8, sspi: bool) -> Vec<u8> {
    let mut body = vec![0; 94];
    body[0] = 94;
    body[4..8].copy_from_slice(&[4, 0, 0, 0x74]);
    body[8..12].copy_from_slice(&[0, 0x10, 0, 0]);
    body[25] = if sspi { 0x83 } else { 3 };
    body[46] = password;
    packet(LOGIN7, &body)
}

const ACK: &[u8] = b"\xe3\x03\0\x01\0\0\xad\x03\0\x01\x74\0\xfd\0\0\0\0\0\0\0\0\0\0\0\0";
const DENIED: &[u8] = b"\xaa\x04\0\x18\x48\0\0\xfd\x02\0\0\0\0\0\0\0\0\0\0\0";
const HELLO: &[u8] = b"\x16\x03\x01\0\x05\x01\0\0\x01\0";

fn batch() -> Vec<u8> {
    let headers = b"\x16\0\0\0\x12\0\0\0\x02\0\0\0\0\0\0\0\0\0\x01\0\0\0";
    packet(BATCH, &[&headers[..], b"s\0e\0l\0e\0c\0t\0 \x001\0"].concat())
}

#[test]
fn prelogin_and_login_prove_either_side() {
    let found = |side, bytes: &[u8]| matches!(probe_side(&Tds, side, bytes), Probe::Match(_));
    assert!(found(C, &prelogin(PRELOGIN, 0)) && !found(S, &prelogin(PRELOGIN, 0)));
    assert!(found(S, &prelogin(RESPONSE, 3)) && !found(C, &prelogin(RESPONSE, 3)));
    assert!(found(C, &login(1, false)) && found(S, &packet(RESPONSE, ACK)));
    assert!(!found(C, &batch()), "no session begins with a request");
    let name = |text: &[u8]| {
        [text, &vec![0; 30 - text.len()], &[u8::try_from(text.len()).unwrap()]].concat()
    };
    let names = [name(b"host"), name(b"user"), name(b"secret"), name(b"42")].concat();
    let mut sybase = [names, b"\x03\x01\x06\x0a\x09\x01".to_vec()].concat();
    sybase.resize(504, 0);
    let heard = hear(&Tds, &[(C, &packet(OLD_LOGIN, &sybase))]);
    assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
    let others: [&[u8]; 5] = [
        b"\x12\x01\0\x2f\0\0\x01\0\x01\0\x1a\0\x06",
        b"\x12\x01\0\x2f\0\0\x01\0\0\0\x40\0\x06",
        b"\x10\x1a\0\x04MQTT\x04\x02\0\x3c\0\x0eclient",
        b"\x04\x01\0\x50\x7f\0\0\x01user\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
    ];
    for bytes in others {
        assert!(!found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_login_in_clear_shows_the_password_and_tells_why() {
    use PlaintextReason::{ClientDeclined, ClientNeverAsked, ServerRefused};
    let cases = [(2, 2, ServerRefused), (0, 2, ServerRefused), (2, 0, ClientDeclined)];
    for (client, server, reason) in cases {
        let reason = if (client, server) == (2, 2) { ClientNeverAsked } else { reason };
        let heard = hear(
            &Tds,
            &[
                (C, &prelogin(PRELOGIN, client)),
                (S, &prelogin(RESPONSE, server)),
                (C, &login(6, false)),
                (S, &packet(RESPONSE, ACK)),
                (C, &batch()),
            ],
        );
        assert_eq!((heard.encryption, heard.reason), (Some(Encryption::Plaintext), Some(reason)));
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert!(heard.fits == [true, true] && !heard.refused);
    }
    let heard = hear(&Tds, &[(C, &login(6, false)), (S, &packet(RESPONSE, DENIED))]);
    assert!(heard.refused && heard.reason == Some(ClientNeverAsked));
    let ntlm = packet(SSPI, b"NTLMSSP\0\x03\0\0\0");
    let heard =
        hear(&Tds, &[(C, &login(0, true)), (S, &packet(RESPONSE, b"\xed\x02\0ab")), (C, &ntlm)]);
    assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
}

#[test]
fn a_handshake_inside_packets_is_handed_over() {
    for (client, server, sealed) in [
        (0, Some(0), Some(false)),
        (0, Some(3), Some(true)),
        (1, None, Some(true)),
        (0, None, None),
    ] {
        let (asked, told) =
            (prelogin(PRELOGIN, client), server.map(|value| prelogin(RESPONSE, value)));
        let hello = packet(PRELOGIN, HELLO);
        let mut lines = vec![(C, &asked[..])];
        lines.extend(told.as_deref().map(|told| (S, told)));
        lines.push((C, &hello));
        let heard = hear(&Tds, &lines);
        assert_eq!(heard.encryption, None);
        assert_eq!(heard.wrapped, Some((UPGRADE, sealed)));
    }
    let heard = hear(&Tds, &[(C, &prelogin(PRELOGIN, 1)), (S, &prelogin(RESPONSE, 2))]);
    assert!(heard.refused);
    let heard = hear(&Tds, &[(C, &prelogin(PRELOGIN, 0)), (S, b"HTTP/1.1 400 Bad Request\r\n")]);
    assert_eq!(heard.mismatch, [false, true]);
}

#[test]
fn joined_late_requests_and_whole_responses_are_proof() {
    let late =
        |side, bytes: &[u8]| hear_from(&Tds, &[(side, bytes)], Start::Unknown).matched.is_some();
    assert!(late(C, &batch()) && !late(S, &batch()));
    assert!(late(C, &packet(BATCH, b"C\0O\0M\0M\0I\0T\0 \0T\0R\0A\0N\0")));
    assert!(late(C, &packet(RPC, b"\x06\0g\0e\0t\0A\0l\0l\0\0\0")));
    let rows = b"\xd1\x01\xfd\x10\0\xc1\0\x01\0\0\0\0\0\0\0";
    assert!(late(S, &packet(RESPONSE, &[&[0x81, 0, 0], &rows[2..]].concat())));
    assert!(!late(
        S,
        &packet(RESPONSE, b"\x81\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d")
    ));
    let part = [&[RESPONSE, 0, 2, 0, 0, 0x33, 1, 0, 0x81][..], &[7; 503]].concat();
    let next = [RESPONSE, 1, 0, 0x20, 0, 0x33, 2, 0];
    assert!(late(S, &[&part[..], &next].concat()) && !late(S, &part));
    for other in [[RESPONSE, 1, 0, 0x20, 0, 0x34, 2, 0], [RESPONSE, 1, 0, 0x20, 0, 0x33, 9, 0]] {
        assert!(!late(S, &[&part[..], &other].concat()), "no packet of the same message");
    }
}
