use super::Postgresql;
use crate::{
    detect::{
        Detector, Probe, Said, Start, View,
        check::{Heard, Line, hear, hear_from, probe_side},
    },
    model::{
        Credentials, Encryption, PlaintextReason, Side,
        Side::{Client, Server},
        Transport,
    },
};

const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
const CANCEL: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x1c\x7a\x12\x34\x56\x78";
const STARTUP: &[u8] = b"\0\0\0\x1e\0\x03\0\0user\0app\0database\0db\0\0";
const STARTUP_3_2: &[u8] = b"\0\0\0\x12\0\x03\0\x02user\0app\0\0";
const HELLO: &[u8] = b"\x16\x03\x01\x00\x05\x01\0\0\x01\0";
const AUTH_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const AUTH_CLEAR: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
const AUTH_MD5: &[u8] = b"R\0\0\0\x0c\0\0\0\x05\xa1\xb2\xc3\xd4";
const AUTH_SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
const AUTH_OAUTH: &[u8] = b"R\0\0\0\x15\0\0\0\x0aOAUTHBEARER\0\0";
const READY: &[u8] = b"S\0\0\0\x19client_encoding\0UTF8\0Z\0\0\0\x05I";
const QUERY: &[u8] = b"Q\0\0\0\x0dSELECT 1\0";
const PASSWORD: &[u8] = b"p\0\0\0\x0chunter2\0";
const MD5: &[u8] = b"p\0\0\0\x28md50123456789abcdef0123456789abcdef\0";
const SCRAM: &[u8] = b"p\0\0\0\x1cSCRAM-SHA-256\0\0\0\0\x06n,,n=x";
const OAUTH: &[u8] = b"p\0\0\0\x19OAUTHBEARER\0\0\0\0\x05n,,\x01\x01";
const ROW: &[u8] = b"T\0\0\0\x1e\0\x01count\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0";
const DONE: &[u8] = b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
/// An `ErrorResponse` as PostgreSQL 9.6 and later send it.
fn error(code: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno entry for host\0Fauth.c\0\0");
    let mut bytes = vec![b'E'];
    bytes.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
    bytes.extend(fields.as_bytes());
    bytes
}

#[track_caller]
fn session(lines: &[Line<'_>]) -> Heard {
    let heard = hear(&Postgresql, lines);
    assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    assert_eq!(heard.mismatch, [false, false]);
    heard
}

#[test]
fn a_client_that_never_asks_is_in_clear() {
    for startup in [STARTUP, STARTUP_3_2] {
        let heard =
            session(&[(Client, startup), (Server, AUTH_OK), (Server, READY), (Client, QUERY)]);
        assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
        assert_eq!(heard.fits, [true, true]);
        assert_eq!((heard.refused, heard.credentials), (false, Credentials::NONE));
    }
}

#[test]
fn an_accepted_request_leads_to_tls_at_its_own_offset_on_each_side() {
    let heard = hear(&Postgresql, &[(Client, SSL), (Server, b"S"), (Client, HELLO)]);
    assert_eq!(heard.layer, Some((Some("postgresql-sslrequest"), Some(8), Some(1))));
    assert_eq!((heard.encryption, heard.reason), (None, None));
    assert_eq!(heard.fits, [true, true]);
}

#[test]
fn with_the_client_alone_its_next_bytes_tell_the_answer() {
    let heard = hear(&Postgresql, &[(Client, SSL), (Client, HELLO)]);
    assert_eq!(heard.layer, Some((Some("postgresql-sslrequest"), Some(8), None)));

    let heard = session(&[(Client, SSL), (Client, STARTUP), (Client, QUERY)]);
    assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
    assert_eq!(heard.fits, [true, false]);

    let heard = hear(&Postgresql, &[(Client, GSS), (Client, b"\0\0\x02\x10\x60\x82\x02\x0c")]);
    assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
}

#[test]
fn refusals_of_any_sequence_then_clear() {
    let sequences: &[&[&[u8]]] = &[&[SSL], &[GSS], &[GSS, SSL], &[SSL, GSS]];
    for requests in sequences {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for request in *requests {
            lines.extend([(Client, *request), (Server, &b"N"[..])]);
        }
        let heard = hear(&Postgresql, &lines);
        assert!(heard.refused && heard.encryption.is_none() && heard.layer.is_none());

        lines.extend([(Client, STARTUP), (Server, AUTH_OK), (Server, READY)]);
        let heard = session(&lines);
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
    }
    let heard = hear(
        &Postgresql,
        &[(Client, GSS), (Server, b"N"), (Client, SSL), (Server, b"S"), (Client, HELLO)],
    );
    assert_eq!(heard.layer, Some((Some("postgresql-sslrequest"), Some(16), Some(2))));
}

#[test]
fn gss_accepted_is_sealed_by_other_means() {
    let heard = hear(&Postgresql, &[(Client, GSS), (Server, b"G"), (Client, b"\0\0\x02\x10\x60")]);
    assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
    assert_eq!(heard.layer, None);
}

#[test]
fn an_error_instead_of_an_answer_refuses_without_data() {
    let v3 = error("53300");
    for answer in [&v3[..], b"EFATAL:  unsupported frontend protocol 1234.5679\n\0"] {
        let heard = hear(&Postgresql, &[(Client, SSL), (Server, answer)]);
        assert!(heard.refused);
        assert_eq!((heard.encryption, heard.fits), (None, [true, true]));
    }
}

#[test]
fn a_cancel_request_is_a_connection_of_its_own() {
    let heard = session(&[(Client, CANCEL)]);
    assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
    assert_eq!(heard.rules[0], "postgresql.cancel-request");
    let heard = session(&[(Client, SSL), (Server, b"N"), (Client, CANCEL)]);
    assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
}

#[test]
fn credentials_by_the_servers_request() {
    let digest = b"R\0\0\0\x14\0\0\0\x0d\0\0\0\0\0\0\0\x04abcd";
    let cases: &[(&[u8], &[u8], Credentials)] = &[
        (AUTH_CLEAR, PASSWORD, Credentials::PASSWORD_CLEARTEXT),
        (AUTH_CLEAR, MD5, Credentials::PASSWORD_CLEARTEXT),
        (AUTH_MD5, MD5, Credentials::PASSWORD_HASH_CHALLENGE),
        (AUTH_SCRAM, SCRAM, Credentials::PASSWORD_HASH_CHALLENGE),
        (AUTH_OAUTH, OAUTH, Credentials::BEARER_TOKEN),
        (digest, b"d\0\0\0\x08hash", Credentials::PASSWORD_HASH_CHALLENGE),
        (b"R\0\0\0\x08\0\0\0\x0e", b"i\0\0\0\x08eyJh", Credentials::BEARER_TOKEN),
        (b"R\0\0\0\x08\0\0\0\x07", b"p\0\0\0\x08\x60\x82\x01\x02", Credentials::NONE),
        (AUTH_OK, QUERY, Credentials::NONE),
    ];
    for (request, reply, expected) in cases {
        let heard = session(&[
            (Client, STARTUP),
            (Server, request),
            (Client, reply),
            (Server, AUTH_OK),
            (Server, READY),
        ]);
        assert_eq!(heard.credentials, *expected, "{}", reply.escape_ascii());
        assert!(!heard.refused);
    }
}

#[test]
fn credentials_without_the_server_only_where_the_text_tells() {
    let cases: &[(&[u8], Credentials)] = &[
        (PASSWORD, Credentials::PASSWORD_CLEARTEXT),
        (b"p\0\0\0\x05\0", Credentials::NONE),
        (b"p\0\0\0\x09\x60\x82\x01\x02\0", Credentials::NONE),
        (b"p\0\0\0\x11PLAIN\0\0\0\0\x02xy\0", Credentials::NONE),
        (MD5, Credentials::PASSWORD_HASH_CHALLENGE),
        (SCRAM, Credentials::PASSWORD_HASH_CHALLENGE),
        (OAUTH, Credentials::BEARER_TOKEN),
    ];
    for (reply, expected) in cases {
        let heard = session(&[(Client, STARTUP), (Client, reply), (Client, QUERY)]);
        assert_eq!(heard.credentials, *expected, "{}", reply.escape_ascii());
    }
    // The server's direction comes late.
    let heard = session(&[
        (Client, STARTUP),
        (Client, b"p\0\0\0\x07\xe9\x01\0"),
        (Client, QUERY),
        (Server, AUTH_CLEAR),
        (Server, AUTH_OK),
        (Server, READY),
    ]);
    assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
}

#[test]
fn an_error_before_the_session_stands_is_a_refusal() {
    for code in ["28000", "28P01", "53300", "57P03", "3D000", "XX000"] {
        let error = error(code);
        let heard = session(&[(Client, STARTUP), (Server, &error)]);
        assert!(heard.refused, "{code}");
        let heard = session(&[
            (Client, STARTUP),
            (Server, AUTH_CLEAR),
            (Client, PASSWORD),
            (Server, &error),
        ]);
        assert!(heard.refused && !heard.credentials.is_empty(), "{code}");
    }
    let error = error("42P01");
    let heard = session(&[
        (Client, STARTUP),
        (Server, AUTH_OK),
        (Server, READY),
        (Client, QUERY),
        (Server, &error),
    ]);
    assert!(!heard.refused, "an error of a statement is none");
}

#[test]
fn the_server_alone_from_its_start() {
    let refused = error("28000");
    let cases: &[(&[u8], PlaintextReason, bool)] = &[
        (AUTH_OK, PlaintextReason::ClientNeverAsked, false),
        (AUTH_MD5, PlaintextReason::ClientNeverAsked, false),
        (AUTH_SCRAM, PlaintextReason::ClientNeverAsked, false),
        (b"NR\0\0\0\x08\0\0\0\x03", PlaintextReason::ServerRefused, false),
        (b"NNR\0\0\0\x08\0\0\0\0", PlaintextReason::ServerRefused, false),
        (&refused, PlaintextReason::ClientNeverAsked, true),
        (
            b"EFATAL:  the database system is starting up\n\0",
            PlaintextReason::ClientNeverAsked,
            true,
        ),
    ];
    for (bytes, reason, refused) in cases {
        let heard = session(&[(Server, bytes), (Server, READY)]);
        assert_eq!(heard.reason, Some(*reason), "{}", bytes.escape_ascii());
        assert_eq!((heard.refused, heard.fits), (*refused, [false, true]));
    }
}

#[test]
fn the_server_alone_tells_what_it_was_given() {
    let cases: &[(&[u8], Credentials)] = &[
        (AUTH_CLEAR, Credentials::PASSWORD_CLEARTEXT),
        (AUTH_MD5, Credentials::PASSWORD_HASH_CHALLENGE),
        // SCRAM or a bearer token: the client's choice was not seen.
        (AUTH_SCRAM, Credentials::NONE),
    ];
    for (request, expected) in cases {
        let heard = session(&[(Server, request), (Server, AUTH_OK), (Server, READY)]);
        assert_eq!(heard.credentials, *expected);
        let heard = session(&[(Server, request), (Server, &error("28P01"))]);
        assert_eq!(heard.credentials, Credentials::NONE);
    }
}

#[test]
fn the_server_alone_leads_to_tls() {
    let lines: [Line<'_>; 2] =
        [(Server, b"S"), (Server, b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03")];
    let heard = hear(&Postgresql, &lines);
    assert_eq!(heard.layer, Some((Some("postgresql-sslrequest"), None, Some(1))));
    assert_eq!((heard.encryption, heard.fits), (None, [false, true]));
}

#[test]
fn another_server_under_a_client_that_fits_is_a_mismatch() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"ERROR\r\n", b"Z\0\0\0\x01\0\0"] {
        for opening in [SSL, STARTUP] {
            let heard = hear(&Postgresql, &[(Client, opening), (Server, answer)]);
            assert_eq!(heard.mismatch, [false, true], "{}", answer.escape_ascii());
        }
    }
}

#[test]
fn joined_late() {
    let cases: &[(&[Line<'_>], [bool; 2])] = &[
        (&[(Client, QUERY)], [true, false]),
        (&[(Server, ROW)], [false, true]),
        (&[(Server, DONE)], [false, true]),
        (&[(Server, b"rest of a row"), (Server, DONE)], [false, true]),
        (&[(Client, QUERY), (Server, DONE)], [true, true]),
        (&[(Client, b"opaque\xff"), (Server, DONE)], [false, true]),
    ];
    for (lines, fits) in cases {
        let heard = hear_from(&Postgresql, lines, Start::Unknown);
        assert_eq!((heard.encryption, heard.fits), (Some(Encryption::Plaintext), *fits));
        assert_eq!((heard.reason, heard.refused), (None, false));
    }
    // Late by the SYN only: the opening is still there, but whether SSLRequest came before is not.
    let lines =
        [(Client, STARTUP), (Server, AUTH_MD5), (Client, MD5), (Server, AUTH_OK), (Server, READY)];
    let heard = hear_from(&Postgresql, &lines, Start::Unknown);
    assert_eq!((heard.fits, heard.reason), ([true, true], None));
    assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
    let heard = hear_from(
        &Postgresql,
        &[(Server, b"N"), (Server, AUTH_OK), (Server, READY)],
        Start::Unknown,
    );
    assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
}

#[test]
fn protocol_2_startup() {
    let mut startup = vec![0; 296];
    startup[..14].copy_from_slice(b"\0\0\x01\x28\0\x02\0\0shop\0\0");
    startup[72..75].copy_from_slice(b"app");
    let heard = session(&[(Client, &startup), (Server, b"R\0\0\0\x05ab")]);
    assert_eq!((heard.fits, heard.refused), ([true, true], false));
    let heard = session(&[(Client, &startup), (Server, b"EFATAL 1: no such user\0")]);
    assert!(heard.refused);
}

#[test]
fn first_bytes_of_a_client() {
    let matches: &[&[u8]] =
        &[SSL, GSS, CANCEL, STARTUP, STARTUP_3_2, b"\0\0\0\x40\0\x03\x27\x0fuser\0x\0"];
    for bytes in matches {
        assert!(matches!(probe_side(&Postgresql, Client, bytes), Probe::Match(_)));
    }
    let other: &[&[u8]] = &[
        HELLO,
        b"GET / HTTP/1.1\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        // Length or code is not one.
        b"\0\0\0\x09\x04\xd2\x16\x2f",
        b"\0\0\0\x08\x04\xd2\x16\x31",
        b"\0\0\0\x07\0\x03\0\0",
        b"\0\0\0\0\0\x03\0\0user\0zeek\0\0",
        b"\0\0\0\x20\0\x04\0\0user\0app\0database\0db\0\0",
        // The parameter runs past its length, or is none.
        b"\0\0\0\x0e\0\x03\0\0user\0application\0\0",
        b"\0\0\0\x1e\0\x03\0\0us\x01er\0app\0",
        b"\0\0\0\x1e\0\x03\0\0user\0\0\0",
        // Kafka Metadata v0 (key 3): correlation id, client id. ApiVersions v3 (key 18).
        b"\0\0\0\x15\0\x03\0\0\0\0\0\x01\0\x07rdkafka\0\0\0\0",
        b"\0\0\0\x15\0\x03\0\0abc\0\0\x07rdkafka\0\0\0\0",
        b"\0\0\0\x1c\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0",
        // ZooKeeper connect, TNS connect, MongoDB (little endian), SMB over NetBIOS, DNS over TCP.
        b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30",
        b"\0\xd4\0\0\x01\0\0\0\x01\x38\x01\x2c",
        b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0",
        b"\0\0\x01\0\0\x03\0\0\0\0\0\0\xd4\x07\0\0",
        b"\0\0\0\x45\xfeSMB",
        b"\0\x1c\xab\xcd\x01\0\0\x01",
        // A typed message cannot come first.
        QUERY,
    ];
    for bytes in other {
        assert_eq!(probe_side(&Postgresql, Client, bytes), Probe::No, "{}", bytes.escape_ascii());
    }
}

#[test]
fn first_bytes_of_a_server_prove_nothing_alone_if_few() {
    let open: &[&[u8]] = &[
        b"S",
        b"N",
        b"G",
        b"S\x16\x03\x03\0\x7a",
        b"S\x15\x03\x01\0\x02\x02\x28",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"NOTICE\r\n",
        b"R\0\0\0\x08\0\0\0\x63",
        b"R\0\0\0\x0c\0\0\0\x03abcd",
        b"E\0\0\0\x0cFATAL\0\0\0",
        b"Z\0\0\0\x05I",
        b"E\0\0\0\x17CFATAL\0Mno SQLSTATE\0\0",
    ];
    for bytes in open {
        assert_eq!(probe_side(&Postgresql, Server, bytes), Probe::More, "{}", bytes.escape_ascii());
    }
}

#[test]
fn random_bytes_never_match() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..100_000 {
        let mut bytes = [0_u8; 64];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&next().to_be_bytes());
        }
        // Every other one begins as a plausible big-endian length.
        if bytes[63] & 1 == 0 {
            bytes[..3].fill(0);
        }
        let side: Side = if bytes[62] & 1 == 0 { Client } else { Server };
        let start = if bytes[61] & 1 == 0 { Start::Known } else { Start::Unknown };
        let said = Said { bytes: &bytes, start };
        let (client, server) = match side {
            Client => (said, Said::NOTHING),
            Server => (Said::NOTHING, said),
        };
        let view = View::new(Transport::Tcp, client, server);
        assert!(!matches!(Postgresql.probe(&view), Probe::Match(_)), "{bytes:02x?}");
    }
}

#[test]
fn a_token_that_overtakes_the_consent_to_gss_is_taken() {
    let token = b"\0\0\0\x04\x60\x82\x02\x0c";
    let heard =
        hear(&Postgresql, &[(Client, GSS), (Client, token), (Server, b"G"), (Server, token)]);
    assert_eq!((heard.encryption, heard.refused), (Some(Encryption::OtherEncrypted), false));
}

#[test]
fn options_that_are_not_named_are_not_negotiated() {
    let numbers = b"v\0\0\0\x0d\0\0\0\x02\0\0\0\x0b\0";
    let found = probe_side(&Postgresql, Server, numbers);
    assert!(!matches!(found, Probe::Match(_)), "{found:?}");
}

#[test]
fn small_numbers_are_no_request_of_redshift() {
    let request = |code: u8, body: &[u8]| {
        let length = u8::try_from(body.len() + 8).unwrap();
        [&[b'R', 0, 0, 0, length, 0, 0, 0, code], body].concat()
    };
    let digest = [&[0, 0, 0, 0, 0, 0, 0, 4][..], b"salt", &[0, 0, 0, 4], b"once", &[0, 0, 3, 0xe8]];
    let found = probe_side(&Postgresql, Server, &request(13, &digest.concat()));
    assert!(matches!(found, Probe::Match(_)), "{found:?}");
    let numbers = [0, 0, 0, 9, 0, 0, 0, 14, 0, 0, 0, 3, 0, 0, 0, 200];
    for (code, body) in [(13, &numbers[..]), (14, &numbers), (6, &[0, 0])] {
        let found = probe_side(&Postgresql, Server, &request(code, body));
        assert!(!matches!(found, Probe::Match(_)), "{code} {found:?}");
    }
}
