use super::*;
use crate::detect::check::{hear, hear_from, probe_side};
use crate::detect::{Match, Probe};
use crate::model::{Encryption, PlaintextReason};

const C: Side = Side::Client;
const S: Side = Side::Server;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn settings_frame(settings: &[(u16, u32)]) -> Vec<u8> {
    let settings: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &settings)
}

fn client_start() -> Vec<u8> {
    [&PREFACE[..], &settings_frame(&[(4, 65_535)]), &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])]
        .concat()
}

fn server_start() -> Vec<u8> {
    [settings_frame(&[(3, 100), (5, 16_384)]), frame(SETTINGS, ACK, 0, &[])].concat()
}

/// `:method GET`, `:scheme http`, a literal `:path`.
const PSEUDO: &[u8] = b"\x82\x86\x04\x02/a";
const COOKIE: &[u8] = b"\x60\x03a=b";
const BASIC: &[u8] = b"\x57\x0aBasic QTpC";

#[test]
fn openings() {
    let matched = |side, bytes: &[u8], rule: &str| match probe_side(&Http2, side, bytes) {
        Probe::Match(Match { encryption: Some(Encryption::Plaintext), mark }) => {
            assert_eq!((mark.rule, mark.side), (rule, side));
        }
        other => panic!("{other:?} {bytes:02x?}"),
    };
    matched(C, &client_start(), "http2.preface");
    for bytes in [
        server_start(),
        settings_frame(&[
            (1, 4096),
            (2, 0),
            (3, 128),
            (4, 0x7fff_ffff),
            (5, 0x00ff_ffff),
            (6, 8192),
            (8, 1),
        ]),
        settings_frame(&[(3, 100), (0x1a2a, 77)]),
        [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat(),
        [frame(SETTINGS, 0, 0, &[]), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])].concat(),
    ] {
        matched(S, &bytes, "http2.settings");
    }
    assert_eq!(probe_side(&Http2, S, &frame(SETTINGS, 0, 0, &[])), Probe::More);
}

#[test]
fn look_alikes_are_refused() {
    let table: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI / HTTP/1.1\r\n",
        b"PRIVMSG #a :b\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        &server_start(),
    ];
    for bytes in table {
        assert_eq!(probe_side(&Http2, C, bytes), Probe::No, "{bytes:?}");
    }
    // No server bytes rule out a client still to come, but none of these prove HTTP/2.
    let table: [&[u8]; 9] = [
        b"HTTP/1.1 400 Bad Request\r\n",
        &settings_frame(&[(2, 2)]),
        &settings_frame(&[(5, 100)]),
        &settings_frame(&[(0x4000, 1)]),
        &settings_frame(&[(3, 1); 40]),
        &frame(SETTINGS, 0, 1, &[0; 6]),
        &frame(SETTINGS, 0, 0, &[0; 5]),
        &[frame(SETTINGS, 0, 0, &[]), frame(0x42, 0, 0, &[0; 9])].concat(),
        &[0; 64],
    ];
    for bytes in table {
        assert_eq!(probe_side(&Http2, S, bytes), Probe::More, "{bytes:02x?}");
    }
}

fn middle(bytes: &[u8]) -> Probe {
    let client = Said { bytes, start: Start::Unknown };
    Http2.probe(&View::new(Transport::Tcp, client, Said::NOTHING))
}

#[test]
fn three_frames_in_a_row_prove_a_connection_joined_late() {
    let request = frame(HEADERS, END_HEADERS, 7, PSEUDO);
    let data = frame(DATA, END_STREAM, 7, b"\0\0\0\0\x02ab");
    let ping = frame(PING, 0, 0, &[7; 8]);
    let open = frame(HEADERS, 0, 7, PSEUDO);
    let proven = [
        [&request[..], &data, &ping].concat(),
        [&ping[..], &request, &data].concat(),
        [&open[..], &frame(CONTINUATION, END_HEADERS, 7, COOKIE), &data].concat(),
    ];
    for bytes in proven {
        assert!(matches!(middle(&bytes), Probe::Match(_)));
        assert_eq!(middle(&bytes[..bytes.len() - ping.len() - 9]), Probe::More);
    }
    let table = [
        [&request[..], &data, &frame(PING, 0, 0, &[7; 7])].concat(),
        [&request[..], &data, &frame(PING, 0, 7, &[7; 8])].concat(),
        [&request[..], &data, &frame(DATA, 0, 0, b"a")].concat(),
        [&request[..], &data, &frame(DATA, 2, 7, b"a")].concat(),
        [&request[..], &data, &frame(DATA, 0, 8, b"a")].concat(),
        [&request[..], &data, &frame(DATA, 0, RESERVED_BIT | 7, b"a")].concat(),
        [&request[..], &data, &frame(RST_STREAM, 0, 7, &[0; 5])].concat(),
        [&request[..], &data, &frame(SETTINGS, ACK, 0, &[0; 6])].concat(),
        [&request[..], &data, &frame(CONTINUATION, 4, 7, b"a")].concat(),
        [&open[..], &data, &ping].concat(),
        [&request[..], &frame(0x2f, 0, 7, b""), &ping].concat(),
        [&frame(DATA, 0, 7, &vec![0; 20_000])[..], &data, &ping].concat(),
    ];
    for bytes in table {
        let said = Said { bytes: &bytes, start: Start::Unknown };
        let view = View::new(Transport::Tcp, said, said);
        assert_eq!(Http2.probe(&view), Probe::No, "{bytes:02x?}");
        assert_eq!(middle(&bytes), Probe::More, "the server may still prove it");
    }
}

#[test]
fn random_bytes_are_not_http2() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..100_000 {
        let mut bytes = [0; 64];
        for byte in &mut bytes {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // Mostly small values: harder than uniform ones.
            *byte = seed.to_be_bytes()[0] >> (seed & 7);
        }
        for start in [Start::Known, Start::Unknown] {
            let said = Said { bytes: &bytes, start };
            let view = View::new(Transport::Tcp, said, said);
            assert!(!matches!(Http2.probe(&view), Probe::Match(_)), "{bytes:02x?}");
        }
    }
}

#[test]
fn an_exchange_with_credentials() {
    let fields = [PSEUDO, BASIC].concat();
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields);
    let answer = frame(HEADERS, END_HEADERS, 1, b"\x88\x77\x03a=b");
    let body = frame(DATA, END_STREAM, 1, &[0x57; 5000]);
    let again = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[PSEUDO, COOKIE].concat());
    let heard = hear(
        &Http2,
        &[
            (C, &client_start()),
            (S, &server_start()),
            (C, &request),
            (S, &[answer, body].concat()),
            (C, &again),
        ],
    );
    assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
    assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
    assert_eq!(heard.credentials, Credentials::BASIC_AUTH.with(Credentials::SESSION_SECRET));
    let rules = ["http2.preface", "http2.settings", "http2.credentials", "http2.credentials"];
    assert_eq!(heard.rules, rules);
}

#[test]
fn padding_priority_and_continuation() {
    let fields = [PSEUDO, COOKIE].concat();
    let both = PADDED | PRIORITY_FLAG | END_HEADERS;
    let table = [
        frame(HEADERS, both, 1, &[&[4, 0, 0, 0, 0, 9][..], &fields, &[0; 4]].concat()),
        [frame(HEADERS, 0, 1, PSEUDO), frame(CONTINUATION, END_HEADERS, 1, COOKIE)].concat(),
        // The first section is torn, the next is whole.
        [
            frame(HEADERS, 0, 1, &BASIC[..6]),
            frame(CONTINUATION, 0, 1, &BASIC[6..]),
            frame(CONTINUATION, END_HEADERS, 1, BASIC),
            frame(HEADERS, END_HEADERS, 3, COOKIE),
        ]
        .concat(),
        [
            frame(
                HEADERS,
                END_HEADERS,
                1,
                &[&b"\x40\x7f\xf0\x0f"[..], &[b'a'; 2159], b"\x01a"].concat(),
            ),
            frame(HEADERS, END_HEADERS, 3, COOKIE),
        ]
        .concat(),
    ];
    for bytes in table {
        let heard = hear(&Http2, &[(C, &[client_start(), bytes].concat())]);
        assert_eq!(heard.credentials, Credentials::SESSION_SECRET);
    }
    // Padding longer than the frame, a CONTINUATION from nowhere: reading ends without a word.
    for bytes in [
        frame(HEADERS, PADDED | END_HEADERS, 1, &[200, 1, 2]),
        frame(CONTINUATION, END_HEADERS, 1, COOKIE),
        frame(PING, 0, 0, &[1; 3]),
    ] {
        let later = frame(HEADERS, END_HEADERS, 3, COOKIE);
        let heard = hear(&Http2, &[(C, &[client_start(), bytes, later].concat())]);
        assert_eq!((heard.credentials, heard.mismatch), (Credentials::NONE, [false, false]));
    }
}

#[test]
fn a_long_value_is_passed_over() {
    let long = [&b"\x60\x7f\xa1\x1e"[..], &[b'x'; 4000], BASIC].concat();
    let heard =
        hear(&Http2, &[(C, &[client_start(), frame(HEADERS, END_HEADERS, 1, &long)].concat())]);
    assert_eq!(heard.credentials, Credentials::BASIC_AUTH.with(Credentials::SESSION_SECRET));
}

#[test]
fn a_server_that_speaks_something_else_is_a_mismatch() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x15\x03\x03\x00\x02\x02\x46"] {
        let heard = hear(&Http2, &[(C, &client_start()), (S, answer)]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
    }
}

#[test]
fn joined_late() {
    let request = frame(HEADERS, END_HEADERS, 7, &[PSEUDO, COOKIE].concat());
    let data = frame(DATA, END_STREAM, 7, b"ab");
    let lines = [(S, &b"rest of a body"[..]), (C, &[&request[..], &data, &request].concat())];
    let heard = hear_from(&Http2, &lines, Start::Unknown);
    assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, false]));
    assert_eq!(heard.credentials, Credentials::SESSION_SECRET);
}

#[test]
fn reading_is_bounded() {
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(600);
    let late = frame(HEADERS, END_HEADERS, 1, COOKIE);
    let heard = hear(&Http2, &[(C, &[client_start(), pings, late].concat())]);
    assert_eq!((heard.fits, heard.credentials), ([true, false], Credentials::NONE));
}
