use super::*;
use crate::detect::check::{hear, hear_from, probe_side};

const C: Side = Side::Client;
const S: Side = Side::Server;
const TEXT: &[u8] = b"(DESCRIPTION=(CONNECT_DATA=(SID=orcl)))";
const RESENT: &[u8] = b"\0\x08\0\0\x0b\0\0\0";

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
    [&length[..], &[0, 0, kind, 0, 0, 0], body].concat()
}

/// As after ACCEPT since version 315.
fn long(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 10).unwrap().to_be_bytes();
    [&length[..], &[DATA, 0, 0, 0, 0, 0], body].concat()
}

fn connect() -> Vec<u8> {
    let fixed = b"\x01\x3b\x01\x2c\x0c\x41\x20\0\xff\xff\x7f\x08\0\0\x01\0";
    let at = [&39_u16.to_be_bytes()[..], &[0, 0x46]].concat();
    packet(CONNECT, &[&fixed[..], &at, &[0; 42], TEXT].concat())
}

fn accept() -> Vec<u8> {
    let fixed = b"\x01\x3b\x0c\x41\0\0\0\0\x01\0\0\0\0\x29\x41\x01";
    packet(ACCEPT, &[&fixed[..], &[0; 17]].concat())
}

/// The encryption service of native negotiation, as offered (a list) or chosen.
fn negotiation(kind: u8, algorithms: &[u8]) -> Vec<u8> {
    let version = b"\0\x04\0\x05\x0c\x10\x02\0";
    let length = u8::try_from(algorithms.len()).unwrap();
    let service =
        [&b"\0\x02\0\x02\0\0\0\0"[..], version, &[0, length, 0, kind], algorithms].concat();
    long(&[MAGIC, &[0, 0x30, 0, 0, 0, 0, 0, 1, 0], &service].concat())
}

#[test]
fn the_handshake_proves_either_side() {
    let found = |side, bytes: &[u8]| matches!(probe_side(&Oracle, side, bytes), Probe::Match(_));
    assert!(found(C, &connect()) && !found(S, &connect()));
    let refused = packet(REFUSE, &[&b"\x22\0\0\x27"[..], TEXT].concat());
    let redirected = packet(REDIRECT, &[&b"\0\x27"[..], TEXT].concat());
    for server in [&accept()[..], RESENT, &refused, &redirected] {
        assert!(found(S, server) && !found(C, server), "{}", server.escape_ascii());
    }
    let others: [&[u8]; 5] = [
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\x28\0\0\x01\0\0\0\x00\x03\0\0",
        b"\0\x26\xd0\x41\0\x01\0\x20\x10\x41\0\x06\x11\x5e",
        b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
    ];
    for bytes in others {
        assert!(!found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_login_in_clear_is_a_challenge_and_its_answer() {
    let open = long(b"\x01\x06\x05\x04\x03\x02\x01\0x86_64/Linux\0");
    let login = long(b"\x03\x73\x03AUTH_SESSKEY..AUTH_PASSWORD..");
    for (answer, refused) in
        [(long(b"\x08AUTH_SESSION_ID"), false), (long(b"\x04ORA-01017: invalid"), true)]
    {
        let lines = [
            (C, connect()),
            (S, RESENT.to_vec()),
            (C, connect()),
            (S, accept()),
            (C, open.clone()),
            (S, open.clone()),
            (C, login.clone()),
            (S, answer),
        ];
        let lines: Vec<_> = lines.iter().map(|(side, bytes)| (*side, &bytes[..])).collect();
        let heard = hear(&Oracle, &lines);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
        assert_eq!(
            (heard.credentials, heard.refused),
            (Credentials::PASSWORD_HASH_CHALLENGE, refused)
        );
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
    }
}

#[test]
fn native_encryption_seals_what_follows_if_the_server_chooses_one() {
    use PlaintextReason::{ClientNeverAsked, ServerRefused};
    let open = long(b"\x01\x06\x05\x04\x03\x02\x01\0x86_64/Linux\0");
    let cases: [(&[u8], u8, Encryption, Option<PlaintextReason>); 3] = [
        (&[0, 17, 6], 0, Encryption::Plaintext, Some(ClientNeverAsked)),
        (&[17, 6, 0], 0, Encryption::Plaintext, Some(ServerRefused)),
        (&[17, 6], 17, Encryption::OtherEncrypted, None),
    ];
    for (offered, chosen, encryption, reason) in cases {
        let next = if chosen == 0 { open.clone() } else { long(&[0x9c; 40]) };
        let (offer, choice) = (negotiation(1, offered), negotiation(2, &[chosen]));
        let lines: [(Side, &[u8]); 5] =
            [(C, &connect()), (S, &accept()), (C, &offer), (S, &choice), (C, &next)];
        let heard = hear(&Oracle, &lines);
        assert_eq!((heard.encryption, heard.reason), (Some(encryption), reason), "{chosen}");
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
        let alone = hear(&Oracle, &[(C, &connect()), (C, &offer), (C, &next)]);
        assert_eq!(alone.encryption, Some(encryption), "the client alone");
    }
}

#[test]
fn another_answer_is_a_mismatch_and_a_refusal_is_one() {
    let heard = hear(&Oracle, &[(C, &connect()), (S, b"HTTP/1.1 400 Bad Request\r\n\r\n")]);
    assert_eq!(heard.mismatch, [false, true]);
    let refused = packet(REFUSE, &[&b"\x22\0\0\x27"[..], TEXT].concat());
    let heard = hear(&Oracle, &[(C, &connect()), (S, &refused)]);
    assert!(heard.refused && heard.encryption == Some(Encryption::Plaintext));
}

#[test]
fn joined_late_calls_in_sequence_or_an_error_text_are_proof() {
    let late =
        |side, bytes: &[u8]| hear_from(&Oracle, &[(side, bytes)], Start::Unknown).matched.is_some();
    let (first, second) = (long(b"\x03\x5e\x07SELECT"), long(b"\x11\x69\x08\x03\x5e\x09x"));
    assert!(late(C, &[&first[..], &second].concat()));
    assert!(!late(C, &[&first[..], &first].concat()) && !late(C, &first));
    assert!(!late(C, &[long(&[0x9c; 40]), long(&[0x8d; 40])].concat()));
    assert!(late(S, &long(b"\x04\x01ORA-01403: no data found\n")) && !late(S, &long(&[0x9c; 40])));
}
