//! Openings, dialogues and late views of AMQP.
use super::*;
use crate::detect::check::{Heard, hear, hear_from, matches, probe_side};

const C: Side = Side::Client;
const S: Side = Side::Server;
const START_FRAME: &[u8] = b"\x01\0\0\0\0\0\x27\0\x0a\0\x0a\0\x09\0\0\0\x07\x01aS\0\0\0\0\0\0\0\x0ePLAIN AMQPLAIN\0\0\0\0\xce";
const OLD: &[u8] = b"AMQP\x00\x00\x09\x01";

/// A 0-9-1 method frame.
fn method(channel: u8, class: u8, method: u8, arguments: &[u8]) -> Vec<u8> {
    let length = u8::try_from(arguments.len() + 4).unwrap();
    [&[1, 0, channel, 0, 0, 0, length, 0, class, 0, method][..], arguments, b"\xce"].concat()
}

/// Connection.Start-Ok.
fn start_ok(mechanism: &[u8], response: &[u8]) -> Vec<u8> {
    let (m, r) = (u8::try_from(mechanism.len()).unwrap(), u8::try_from(response.len()).unwrap());
    let rest = [&b"\0\0\0\x05\x03abcV"[..], &[m], mechanism, &[0, 0, 0, r], response, b"\x05en_US"];
    method(0, 10, 11, &rest.concat())
}

/// A 1.0 frame with a described list.
fn listed(kind: u8, code: u8, fields: &[u8]) -> Vec<u8> {
    let size = u8::try_from(fields.len() + 1).unwrap();
    [&[0, 0, 0, size + 13, 2, kind, 0, 0, 0, 0x53, code, 0xc0, size, 1][..], fields].concat()
}

#[test]
fn headers_and_connection_start_prove_it() {
    let cases: [(&[u8], bool, bool); 10] = [
        (OLD, true, true),
        (b"AMQP\x00\x01\x00\x00", true, true),
        (b"AMQP\x02\x01\x00\x00", true, true),
        (b"AMQP\x03\x01\x00\x00\x00\x00", true, true),
        (b"AMQP\x01\x01\x00\x09", true, true),
        (START_FRAME, false, true),
        (b"AMQP\x00\x02\x00\x00", false, false),
        (b"AMQP GET / HTTP/1.1\r\n", false, false),
        (b"\x01\0\0\0\0\0\x23\0\x0a\0\x0b\0\x09", false, false),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", false, false),
    ];
    for (bytes, client, server) in cases {
        assert_eq!(matches(probe_side(&Amqp, C, bytes)), client, "{bytes:02x?}");
        assert_eq!(matches(probe_side(&Amqp, S, bytes)), server, "{bytes:02x?}");
    }
    assert_eq!(probe_side(&Amqp, C, b"AMQX"), Probe::No);
}

#[test]
fn a_login_of_0_9_1_tells_its_mechanism() {
    let logins: [(&[u8], &[u8], Credentials); 4] = [
        (b"PLAIN", b"\0u\0p", Credentials::SASL_PLAIN),
        (b"AMQPLAIN", b"\x05LOGINS", Credentials::PASSWORD_CLEARTEXT),
        (b"EXTERNAL", b"", Credentials::NONE),
        (b"RABBIT-CR-DEMO", b"u", Credentials::PASSWORD_HASH_CHALLENGE),
    ];
    for (mechanism, response, credentials) in logins {
        let login = start_ok(mechanism, response);
        let tune = method(0, 10, 30, b"\x07\xff\0\x02\0\0\0\x3c");
        let answer = [tune, method(0, 10, 41, b"\0")].concat();
        let open = method(0, 10, 40, b"\x01/\0\0");
        let heard =
            hear(&Amqp, &[(C, OLD), (S, START_FRAME), (C, &login), (C, &open), (S, &answer)]);
        assert_eq!(heard.credentials, credentials, "{}", mechanism.escape_ascii());
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        assert!(heard.fits == [true, true] && !heard.refused);
        let close = method(0, 10, 50, b"\x01\x93\x00\0\0\0\0");
        let heard = hear(&Amqp, &[(C, OLD), (S, START_FRAME), (C, &login), (S, &close)]);
        assert!(heard.refused);
    }
}

#[test]
fn a_version_the_server_does_not_speak_is_answered_with_another() {
    let refused = |client: &[u8], server: &[u8]| hear(&Amqp, &[(C, client), (S, server)]);
    let heard = refused(OLD, b"AMQP\x00\x01\x00\x00");
    assert!(heard.refused && heard.fits == [true, true]);
    let heard = refused(b"AMQP\x02\x01\x00\x00", b"AMQP\x03\x01\x00\x00");
    assert!(heard.refused && heard.encryption.is_none());
    assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
    let heard = refused(OLD, b"HTTP/1.1 400 Bad Request\r\n");
    assert_eq!(heard.mismatch, [false, true]);
}

#[test]
fn amqp_1_0_logs_in_or_goes_on_to_tls() {
    let (sasl, tls): (&[u8], &[u8]) = (b"AMQP\x03\x01\x00\x00", b"AMQP\x02\x01\x00\x00");
    let login = |mechanism: &[u8], outcome: u8| -> Heard {
        let name = [&[0xa3, u8::try_from(mechanism.len()).unwrap()], mechanism].concat();
        let init = listed(1, 0x41, &[&name[..], b"\xa0\x04\0u\0p"].concat());
        let mechanisms = listed(1, 0x40, b"\xa3\x05PLAIN");
        let outcome = listed(1, 0x44, &[0x50, outcome]);
        hear(&Amqp, &[(C, sasl), (S, sasl), (S, &mechanisms), (C, &init), (S, &outcome)])
    };
    let heard = login(b"PLAIN", 0);
    assert_eq!((heard.credentials, heard.refused), (Credentials::SASL_PLAIN, false));
    assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
    assert!(login(b"PLAIN", 1).refused);
    assert!(login(b"ANONYMOUS", 0).credentials.is_empty());

    let hello = b"\x16\x03\x01\x02\x00";
    let heard = hear(&Amqp, &[(C, tls), (S, tls), (C, hello)]);
    assert_eq!(heard.encryption, None);
    assert_eq!(heard.layer, Some((Some(UPGRADE), Some(8), Some(8))));
    let heard = hear(&Amqp, &[(C, tls), (C, hello)]);
    assert_eq!(heard.layer, Some((Some(UPGRADE), Some(8), None)), "one direction");
    let heard = hear(&Amqp, &[(S, tls), (S, hello)]);
    assert_eq!(heard.layer, Some((Some(UPGRADE), None, Some(8))), "one direction");
}

#[test]
fn a_late_view_needs_a_frame_with_something_we_know() {
    let publish = method(1, 60, 40, b"\0\0\0\x01q\0");
    let deliver = method(1, 60, 60, b"\x01c\0\0\0\0\0\0\0\x01\0\0\x01q");
    let body = b"\x03\0\x01\0\0\0\x05hello\xce";
    let beat = b"\x08\0\0\0\0\0\0\xce";
    let cases: [(Side, Vec<u8>, bool); 10] = [
        (C, publish.clone(), true),
        (S, publish.clone(), false),
        (S, deliver.clone(), true),
        (C, beat.to_vec(), true),
        (C, body.to_vec(), false),
        (C, [&body[..], &publish].concat(), true),
        (C, publish[..publish.len() - 1].to_vec(), false),
        (C, [&publish[..publish.len() - 1], b"\x00"].concat(), false),
        (S, listed(0, 0x14, b"\x43"), true),
        (S, b"\0\0\0\x08\x02\0\0\0".to_vec(), false),
    ];
    for (side, bytes, expected) in cases {
        let heard = hear_from(&Amqp, &[(side, &bytes)], Start::Unknown);
        assert_eq!(heard.matched.is_some(), expected, "{side:?} {bytes:02x?}");
        assert!(heard.credentials.is_empty() && heard.mismatch == [false, false]);
    }
}
