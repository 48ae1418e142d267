use super::Mysql;
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

const HELLO: &[u8] = b"\x16\x03\x01\x00\x05\x01\0\0\x01\0";
const OK: &[u8] = b"\x07\0\0\x02\0\0\0\x02\0\0\0";
const SSL: u16 = 0x0800;

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

fn greeting(version: &str, ssl: u16) -> Vec<u8> {
    let [low, high] = (0xf7ff & !SSL | ssl).to_le_bytes();
    let mut payload = [b"\x0a", version.as_bytes(), b"\0\x08\0\0\0abcdefgh\0"].concat();
    payload.extend([low, high, 0xff, 2, 0, 0xff, 0xdf, 21]);
    // MariaDB: no CLIENT_MYSQL, capabilities in the last four reserved bytes.
    payload.extend(b"\0\0\0\0\0\0\x1d\0\0\0ijklmnopqrst\0mysql_native_password\0");
    packet(0, &payload)
}

fn ssl_request() -> Vec<u8> {
    let mut payload = vec![0x85, 0xae, 0xff, 0x19, 0, 0, 0, 1, 45];
    payload.resize(32, 0);
    packet(1, &payload)
}

fn login(plugin: &str, secret: &[u8]) -> Vec<u8> {
    let mut payload = vec![0x85, 0xa6, 0xff, 0x19, 0, 0, 0, 1, 45];
    payload.resize(32, 0);
    payload.extend(b"app\0");
    payload.push(u8::try_from(secret.len()).unwrap());
    payload.extend(secret);
    payload.extend([plugin.as_bytes(), b"\0\x06\x03_os\x01L"].concat());
    packet(1, &payload)
}

fn error(sequence: u8, code: u16, text: &str) -> Vec<u8> {
    packet(sequence, &[&[0xff][..], &code.to_le_bytes(), text.as_bytes()].concat())
}

fn switch(plugin: &str) -> Vec<u8> {
    packet(2, &[b"\xfe", plugin.as_bytes(), b"\0abcdefghijklmnopqrst\0"].concat())
}

fn query(text: &str) -> Vec<u8> {
    packet(0, &[b"\x03", text.as_bytes()].concat())
}

fn column() -> Vec<u8> {
    packet(2, b"\x03def\x04shop\x01t\x01t\x02id\x02id\x0c\x3f\0\x0b\0\0\0\x03\x03\x42\0\0\0")
}

#[track_caller]
fn session(lines: &[Line<'_>]) -> Heard {
    let heard = hear(&Mysql, lines);
    assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    assert_eq!(heard.mismatch, [false, false]);
    heard
}

#[test]
fn a_login_in_clear_and_why() {
    let login = login("mysql_native_password", &[7; 20]);
    let cases = [
        (Some(greeting("8.0.28", SSL)), PlaintextReason::ClientDeclined),
        (Some(greeting("5.5.5-10.11.6-MariaDB-0+deb12u1", SSL)), PlaintextReason::ClientDeclined),
        (Some(greeting("5.7.25-TiDB-v6.1.0", 0)), PlaintextReason::ServerRefused),
        (None, PlaintextReason::ClientNeverAsked),
    ];
    for (greeting, reason) in &cases {
        let mut lines: Vec<Line<'_>> = Vec::new();
        if let Some(greeting) = greeting {
            lines.push((Server, greeting));
        }
        lines.push((Client, &login));
        if greeting.is_some() {
            lines.push((Server, OK));
        }
        let heard = session(&lines);
        assert_eq!(heard.reason, Some(*reason));
        assert_eq!(heard.fits, [true, greeting.is_some()]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        assert!(!heard.refused);
    }
}

#[test]
fn a_login_before_the_greeting() {
    // HAProxy's mysql-check does not wait.
    let login = login("mysql_native_password", b"");
    let heard = session(&[(Client, &login), (Server, &greeting("8.0.28", SSL)), (Server, OK)]);
    assert_eq!((heard.fits, heard.reason), ([true, true], Some(PlaintextReason::ClientDeclined)));
}

#[test]
fn a_login_cut_short_still_tells_why() {
    let (greeting, login) = (greeting("8.0.28", SSL), login("mysql_native_password", &[7; 20]));
    let heard = session(&[(Server, &greeting), (Client, &login[..45])]);
    assert_eq!((heard.fits, heard.reason), ([true, true], Some(PlaintextReason::ClientDeclined)));
    assert_eq!(heard.credentials, Credentials::NONE);
    assert!(matches!(probe_side(&Mysql, Server, &greeting[..30]), Probe::Match(_)));
}

#[test]
fn the_server_alone_asks_for_a_clear_password_and_gets_it() {
    let greeting = greeting("8.0.28", SSL);
    let mut ok = OK.to_vec();
    ok[3] = 4;
    let clear = switch("mysql_clear_password");
    let heard = session(&[(Server, &greeting), (Server, &clear), (Server, &ok)]);
    assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
    let denied = error(4, 1045, "#28000Access denied for user");
    let heard = session(&[(Server, &greeting), (Server, &clear), (Server, &denied)]);
    assert_eq!(heard.credentials, Credentials::NONE);
}

#[test]
fn an_ssl_request_leads_to_tls_at_its_own_offset_on_each_side() {
    let greeting = greeting("8.0.28", SSL);
    let heard = hear(&Mysql, &[(Server, &greeting), (Client, &ssl_request()), (Client, HELLO)]);
    assert_eq!(heard.layer, Some((Some("mysql-clientssl"), Some(36), Some(greeting.len()))));
    assert_eq!((heard.encryption, heard.reason), (None, None));

    // The client alone.
    let heard = hear(&Mysql, &[(Client, &ssl_request()), (Client, HELLO)]);
    assert_eq!(heard.layer, Some((Some("mysql-clientssl"), Some(36), None)));
    // The server alone.
    let heard = hear(&Mysql, &[(Server, &greeting), (Server, b"\x16\x03\x03\0\x7a\x02\0")]);
    assert_eq!(heard.layer, Some((Some("mysql-clientssl"), None, Some(greeting.len()))));
    // The request was lost.
    let lines: [Line<'_>; 2] = [(Server, &greeting), (Client, HELLO)];
    let heard = hear_from(&Mysql, &lines, Start::Unknown);
    assert_eq!(heard.layer, Some((Some("mysql-clientssl"), Some(0), Some(greeting.len()))));
}

#[test]
fn a_greeting_alone_decides_nothing_and_a_clear_reply_does() {
    for (ssl, reason) in
        [(SSL, PlaintextReason::ClientDeclined), (0, PlaintextReason::ServerRefused)]
    {
        let greeting = greeting("8.4.0", ssl);
        let heard = hear(&Mysql, &[(Server, &greeting)]);
        assert_eq!((heard.encryption, heard.fits), (None, [false, true]));
        for reply in [OK, &switch("caching_sha2_password"), &packet(2, b"\x01\x03")] {
            let heard = session(&[(Server, &greeting), (Server, reply)]);
            assert_eq!((heard.reason, heard.refused), (Some(reason), false));
        }
        let denied = error(2, 1045, "#28000Access denied for user");
        let heard = session(&[(Server, &greeting), (Server, &denied)]);
        assert!(heard.refused);
    }
}

#[test]
fn credentials_in_the_login() {
    let cases: &[(&str, &[u8], Credentials)] = &[
        ("mysql_native_password", &[7; 20], Credentials::PASSWORD_HASH_CHALLENGE),
        ("caching_sha2_password", &[7; 32], Credentials::PASSWORD_HASH_CHALLENGE),
        ("client_ed25519", &[7; 64], Credentials::PASSWORD_HASH_CHALLENGE),
        ("mysql_clear_password", b"hunter2\0", Credentials::PASSWORD_CLEARTEXT),
        ("mysql_native_password", b"", Credentials::NONE),
        // No password, and a request for the server's RSA key.
        ("mysql_clear_password", b"\0", Credentials::NONE),
        ("sha256_password", b"\x01", Credentials::NONE),
        ("auth_gssapi_client", &[7; 20], Credentials::NONE),
        // Cut off by a client that names no plugin.
        ("", &[7; 20], Credentials::PASSWORD_HASH_CHALLENGE),
    ];
    for (plugin, secret, expected) in cases {
        let heard = session(&[(Client, &login(plugin, secret))]);
        assert_eq!(heard.credentials, *expected, "{plugin}");
    }
}

#[test]
fn credentials_after_a_switch() {
    let reply = |payload: &[u8]| packet(3, payload);
    let cases: &[(Vec<u8>, Vec<u8>, Credentials)] = &[
        (switch("mysql_clear_password"), reply(b"hunter2\0"), Credentials::PASSWORD_CLEARTEXT),
        (switch("dialog"), reply(b"hunter2\0"), Credentials::PASSWORD_CLEARTEXT),
        (switch("mysql_native_password"), reply(&[7; 20]), Credentials::PASSWORD_HASH_CHALLENGE),
        (packet(2, b"\xfe"), reply(&[7; 9]), Credentials::PASSWORD_HASH_CHALLENGE),
        (switch("mysql_native_password"), reply(b""), Credentials::NONE),
        (switch("auth_gssapi_client"), reply(&[0x60; 40]), Credentials::NONE),
        // Not a switch: full authentication asks for the RSA key.
        (packet(2, b"\x01\x04"), reply(b"\x02"), Credentials::NONE),
    ];
    for (request, reply, expected) in cases {
        let (greeting, login) = (greeting("8.0.28", SSL), login("caching_sha2_password", b""));
        let mut ok = OK.to_vec();
        ok[3] = 4;
        let heard = session(&[
            (Server, &greeting),
            (Client, &login),
            (Server, request),
            (Client, reply),
            (Server, &ok),
        ]);
        assert_eq!(heard.credentials, *expected, "{}", request.escape_ascii());
    }
}

#[test]
fn credentials_of_a_change_of_user() {
    let change = |plugin: &str, secret: &[u8]| {
        let length = u8::try_from(secret.len()).unwrap();
        let body = [&b"\x11app\0"[..], &[length], secret, b"db\0\x2d\0", plugin.as_bytes(), b"\0"];
        packet(0, &body.concat())
    };
    let ask = packet(1, b"\xfemysql_clear_password\0");
    let (greeting, login) = (greeting("8.0.28", SSL), login("mysql_native_password", b""));
    let start: [Line<'_>; 5] = [
        (Server, &greeting),
        (Client, &login),
        (Server, OK),
        (Client, b"\x09\0\0\0\x03SELECT 1"),
        (Server, b"\x01\0\0\x01\x01rest of a result"),
    ];
    let hash = change("mysql_native_password", &[7; 20]);
    let heard = session(&[&start[..], &[(Client, &hash), (Server, OK)]].concat());
    assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);

    let empty = change("mysql_native_password", b"");
    let denied = error(3, 1045, "#28000Access denied for user");
    let lines: [Line<'_>; 4] =
        [(Client, &empty), (Server, &ask), (Client, b"\x08\0\0\x02hunter2\0"), (Server, &denied)];
    let heard = session(&[&start[..], &lines].concat());
    assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
    assert!(!heard.refused, "the session had stood");

    // Compressed commands are not read.
    let mut login = login.clone();
    login[4] |= 0x20;
    let lines: [Line<'_>; 4] =
        [(Server, &greeting), (Client, &login), (Server, OK), (Client, &hash)];
    assert_eq!(session(&lines).credentials, Credentials::NONE);
}

#[test]
fn refusals() {
    // The first packet already: no greeting.
    for (code, text) in [
        (1040, "Too many connections"),
        (1040, "#08004Too many connections"),
        (1129, "Host '10.0.0.9' is blocked because of many connection errors"),
        (1130, "Host '10.0.0.9' is not allowed to connect to this MySQL server"),
    ] {
        let heard = session(&[(Server, &error(0, code, text))]);
        assert!(heard.refused, "{code}");
        assert_eq!(heard.fits, [false, true]);
        assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
    }
    let denied = error(2, 1045, "#28000Access denied for user 'app'@'10.0.0.9'");
    let heard = session(&[
        (Server, &greeting("8.0.28", SSL)),
        (Client, &login("mysql_native_password", &[7; 20])),
        (Server, &denied),
    ]);
    assert!(heard.refused && heard.fits == [true, true]);
    // An error of a statement is none.
    let lines: [Line<'_>; 5] = [
        (Server, &greeting("8.0.28", SSL)),
        (Client, &login("mysql_native_password", &[7; 20])),
        (Server, OK),
        (Client, &query("SELECT 1 FROM nowhere")),
        (Server, &error(1, 1146, "#42S02Table 'nowhere' doesn't exist")),
    ];
    assert!(!session(&lines).refused);
}

#[test]
fn old_protocols() {
    let greeting_9 = packet(0, b"\x093.20.32\0\x08\0\0\0abcdefgh\0");
    let login_320 = packet(1, b"\x05\x24\0\0\0root\0abcdefgh\0");
    let heard = session(&[(Server, &greeting_9), (Client, &login_320)]);
    assert_eq!((heard.fits, heard.reason), ([true, true], Some(PlaintextReason::ServerRefused)));
    assert_eq!(probe_side(&Mysql, Client, &login_320), Probe::More);
}

#[test]
fn a_login_that_claims_tls_without_asking_is_clear_all_the_same() {
    let mut login = login("mysql_native_password", &[7; 20]);
    login[5] |= 0x08;
    let heard = session(&[(Server, &greeting("8.0.28", SSL)), (Client, &login)]);
    assert_eq!(heard.reason, None);
}

#[test]
fn another_protocol_after_the_greeting_is_a_mismatch() {
    let greeting = greeting("8.0.28", SSL);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], HELLO, b"\0\0\0\x08\x04\xd2\x16\x2f"] {
        let heard = hear(&Mysql, &[(Server, &greeting), (Client, bytes)]);
        assert_eq!(heard.mismatch, [true, false], "{}", bytes.escape_ascii());
        assert_eq!(heard.encryption, None);
    }
    let heard =
        hear(&Mysql, &[(Client, &ssl_request()), (Server, b"HTTP/1.1 400 Bad Request\r\n")]);
    assert_eq!(heard.mismatch, [false, true]);
}

#[test]
fn joined_late() {
    let rows = [packet(1, b"\x01"), column(), packet(3, b"\xfe\0\0\x02\0")].concat();
    let failed = error(1, 1146, "#42S02Table 'shop.t' doesn't exist");
    let attributes = packet(0, b"\x03\0\x01SELECT 1");
    let select = query("SELECT id FROM t");
    let compressed = [&b"\x13\0\0\0\0\0\0"[..], &query("SELECT id FROM")[..]].concat();
    let parameter = packet(2, b"\x03def\0\0\0\x01?\0\x0c\x2d\0\x48\0\0\0\xfe\x01\0\x27\0\0");
    let cases: &[(&[Line<'_>], [bool; 2])] = &[
        (&[(Client, &select)], [true, false]),
        (&[(Client, &attributes)], [true, false]),
        (&[(Client, &compressed)], [true, false]),
        (&[(Server, &parameter)], [false, true]),
        (&[(Server, &rows)], [false, true]),
        (&[(Server, b"rest of a row"), (Server, &rows)], [false, true]),
        (&[(Server, &failed)], [false, true]),
        (&[(Client, &select), (Server, &rows)], [true, true]),
        (&[(Client, b"opaque\xff"), (Server, &rows)], [false, true]),
    ];
    for (lines, fits) in cases {
        let heard = hear_from(&Mysql, lines, Start::Unknown);
        assert_eq!((heard.encryption, heard.fits), (Some(Encryption::Plaintext), *fits));
        assert_eq!((heard.reason, heard.refused), (None, false));
    }
    // Late by the greeting only.
    let login = login("mysql_native_password", &[7; 20]);
    let heard = hear_from(&Mysql, &[(Client, &login), (Server, OK)], Start::Unknown);
    assert_eq!((heard.encryption, heard.fits), (Some(Encryption::Plaintext), [true, true]));

    let weak: &[&[u8]] = &[
        b"\x01\0\0\0\x0e",
        OK,
        b"\x05\0\0\x05\xfe\0\0\x22\0",
        &query("hello there"),
        &query("SELECT \x01\x02"),
        b"\x09\0\0\x01\x03SELECT 1",
    ];
    for bytes in weak {
        for side in [Client, Server] {
            let heard = hear_from(&Mysql, &[(side, bytes)], Start::Unknown);
            assert_eq!(heard.matched, None, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn first_bytes_of_a_client() {
    assert!(matches!(probe_side(&Mysql, Client, &ssl_request()), Probe::Match(_)));
    let login = login("mysql_native_password", &[7; 20]);
    assert!(matches!(probe_side(&Mysql, Client, &login), Probe::Match(_)));

    let (mut filler, mut plain, mut late) = (ssl_request(), ssl_request(), ssl_request());
    filler[20] = 1;
    plain[5] &= !0x08;
    late[3] = 2;
    let other: &[&[u8]] = &[
        &filler,
        &plain,
        &late,
        HELLO,
        b"\x16\x03\x01\x01\xfc\x01\0\x01\xf8\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        // PostgreSQL, Kafka, ZooKeeper, TNS: big-endian lengths.
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x1c\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0",
        b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30",
        b"\0\xd4\0\0\x01\0\0\0\x01\x38\x01\x2c",
        // MongoDB: four-byte little-endian length, request id.
        b"\x3a\0\0\0\x03\0\0\0\0\0\0\0\xdd\x07\0\0",
        // TDS PRELOGIN.
        b"\x12\x01\0\x2f\0\0\x01\0\0\0\x1a\0\x06",
        // A command cannot come first.
        &query("SELECT 1"),
    ];
    for bytes in other {
        assert_eq!(probe_side(&Mysql, Client, bytes), Probe::No, "{}", bytes.escape_ascii());
    }
}

#[test]
fn first_bytes_of_a_server() {
    let good = greeting("8.0.28", 0);
    assert!(matches!(probe_side(&Mysql, Server, &good), Probe::Match(_)));
    let (mut filler, mut sequence) = (good.clone(), good.clone());
    filler[4 + 8 + 12] = 1;
    sequence[3] = 1;
    let open: &[&[u8]] = &[
        &filler,
        &sequence,
        &greeting("unknown", 0),
        b"\x4a\0\0\0\x0a8.0.28",
        b"\x17\0\0\0\xff\x10\x04Too many connect",
        b"\x17\0\0\0\xff\x10\x04Too\x01many connections",
        b"\x17\0\0\0\xff\x01\0Too many connections!!!",
        b"220 mail.example ESMTP\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"-ERR unknown command\r\n",
        b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03",
    ];
    for bytes in open {
        assert_eq!(probe_side(&Mysql, Server, bytes), Probe::More, "{}", bytes.escape_ascii());
    }
}

#[test]
fn random_bytes_never_match() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
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
        // Every other one begins as a plausible header of its side.
        let side: Side = if bytes[62] & 1 == 0 { Client } else { Server };
        if bytes[63] & 1 == 0 {
            bytes[0] = 60;
            bytes[1..3].fill(0);
            bytes[3] = u8::from(side == Client);
        }
        let start = if bytes[61] & 1 == 0 { Start::Known } else { Start::Unknown };
        let said = Said { bytes: &bytes, start };
        let (client, server) = match side {
            Client => (said, Said::NOTHING),
            Server => (Said::NOTHING, said),
        };
        let view = View::new(Transport::Tcp, client, server);
        assert!(!matches!(Mysql.probe(&view), Probe::Match(_)), "{bytes:02x?}");
    }
}

#[test]
fn a_few_small_numbers_among_zeros_are_no_login() {
    let mut payload = vec![0, 6];
    payload.resize(36, 0);
    payload.push(5);
    payload.resize(256, 0);
    payload[33] = 1;
    let found = probe_side(&Mysql, Client, &packet(1, &payload));
    assert!(!matches!(found, Probe::Match(_)), "{found:?}");
}

#[test]
fn an_error_in_bytes_that_are_no_text_is_none() {
    let noise = [0xf8, 0x3d, 0x34, 0x7e, 0xf1, 0xc8, 0x45, 0x4f, 0xb3, 0x28, 0xaa, 0x5b];
    let bytes = [&[15, 0, 0, 0, 0xff, 0x7d, 0x10][..], &noise].concat();
    let found = probe_side(&Mysql, Server, &bytes);
    assert!(!matches!(found, Probe::Match(_)), "{found:?}");
    let told = probe_side(&Mysql, Server, &error(0, 1040, "Too many connections"));
    assert!(matches!(told, Probe::Match(_)), "{told:?}");
}
