//! Mistakes that are easily made between protocols that look alike: each conversation is called what it is.

use serde_json::Value;

use super::{
    build::{At, Talk},
    capture::{records, text},
};

/// What is said, and what it is: class and application (`""`: none).
struct Case {
    what: &'static str,
    /// Joined late, where there was no handshake to see.
    late: bool,
    /// Who speaks (`>` the client, `<` the server), and what.
    said: Vec<(char, Vec<u8>)>,
    class: &'static str,
    app: &'static str,
}

fn case(
    what: &'static str,
    said: &[(char, &[u8])],
    (class, app): (&'static str, &'static str),
) -> Case {
    let said = said.iter().map(|(side, bytes)| (*side, bytes.to_vec())).collect();
    Case { what, late: false, said, class, app }
}

fn late(case: Case) -> Case {
    Case { late: true, ..case }
}

/// Its class and application, however it is cut into segments.
#[track_caller]
fn check(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for case in cases {
        for segment in [usize::MAX, 5] {
            let said = verdict(&case, segment);
            let (class, app) = (text(&said, "encryption"), text(&said, "app"));
            // Its bounds are those of segments: a late view of pieces may tell less.
            let less = case.late && segment < usize::MAX && class == "unknown";
            if (class, app) != (case.class, case.app) && !less {
                wrong.push(format!("{} by {segment}: {class} {app}", case.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn verdict(case: &Case, segment: usize) -> Value {
    let mut talk = Talk::new(([10, 0, 0, 1], 40000), ([10, 0, 0, 2], 40001), [1, 2]);
    if !case.late {
        talk = talk.handshake();
    }
    for (side, bytes) in &case.said {
        for part in bytes.chunks(segment) {
            talk = if *side == '>' { talk.client(part) } else { talk.server(part) };
        }
    }
    let copies = talk.close().copies(At { source: [10, 9, 0, 1], vni: 7 });
    let mut records = records(&copies);
    assert_eq!(records.len(), 1, "{}", case.what);
    records.remove(0)
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

/// A TLS record whose bytes mean nothing.
fn record(kind: u8, length: u16) -> Vec<u8> {
    let body = (0..length).map(|i| (u32::from(i).wrapping_mul(2_654_435_761) >> 24) as u8);
    [&[kind, 3, 3][..], &length.to_be_bytes()].concat().into_iter().chain(body).collect()
}

const UNKNOWN: (&str, &str) = ("unknown", "");
const TEXT: (&str, &str) = ("plaintext", "");

/// A word and a line end is a command of Redis only where Redis has such a command or answers.
#[test]
fn lines_of_other_protocols_are_not_redis() {
    check(vec![
        case("a menu", &[('>', b"STATUS\r\n"), ('<', b"READY\r\n")], UNKNOWN),
        case("a colon and a number", &[('>', b":1\r\n"), ('<', b":1\r\n")], UNKNOWN),
        case("a dash", &[('>', b"- item\r\n"), ('<', b"- item\r\n")], UNKNOWN),
        case("one star", &[('>', b"*"), ('<', b"*\r\n")], UNKNOWN),
        case("HTTP", &[('>', b"GET / HTTP/1.0\r\n\r\n")], ("plaintext", "http")),
        case(
            "memcached",
            &[('>', b"get key\r\n"), ('<', b"VALUE key 0 1\r\n1\r\nEND\r\n")],
            ("plaintext", "memcached"),
        ),
        case(
            "POP3 greets as RESP says OK",
            &[('<', b"+OK POP3 ready\r\n"), ('>', b"USER a\r\n"), ('<', b"+OK\r\n")],
            ("plaintext", "pop3"),
        ),
        case(
            "an inline command",
            &[('>', b"PING\r\n"), ('<', b"+PONG\r\n")],
            ("plaintext", "redis"),
        ),
    ]);
}

/// Four bytes of length are in front of half the world's messages.
#[test]
fn length_prefixed_messages_are_not_kafka() {
    let numbers: Vec<u8> = (0..24).flat_map(|n: u32| n.to_be_bytes()).collect();
    let zeros = [0; 200];
    check(vec![
        case("numbers", &[('>', &framed(&numbers)), ('<', &framed(&numbers))], UNKNOWN),
        case("zeros", &[('>', &framed(&zeros)), ('<', &framed(&zeros))], UNKNOWN),
        case("JSON", &[('>', &framed(b"{\"op\":\"list\"}"))], UNKNOWN),
        case(
            "a Fetch of a header alone",
            &[('>', &framed(b"\0\x01\0\0\0\0\0\0\xff\xff"))],
            UNKNOWN,
        ),
        case(
            "a Fetch of zeros",
            &[('>', &framed(&[&b"\0\x01\0\x07\0\0\0\x01\0\0"[..], &zeros].concat()))],
            UNKNOWN,
        ),
        case(
            "ApiVersions without a name",
            &[('>', &framed(b"\0\x12\0\0\0\0\0\x01\xff\xff"))],
            ("plaintext", "kafka"),
        ),
        case(
            "ZooKeeper",
            &[(
                '>',
                &framed(
                    &[&[0; 12][..], b"\0\0\x75\x30", &[0; 8], b"\0\0\0\x10", &[0; 17]].concat(),
                ),
            )],
            ("plaintext", "zookeeper"),
        ),
    ]);
}

/// Their first bytes are small numbers, as lengths are.
#[test]
fn tls_records_are_neither_mongodb_nor_mqtt() {
    let sealed = [record(23, 300), record(23, 40), record(23, 900)].concat();
    let answer = [record(23, 80), record(23, 1200)].concat();
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03";
    check(vec![
        late(case("records of both sides", &[('>', &sealed), ('<', &answer)], ("tls", ""))),
        late(case("records of the server", &[('<', &sealed), ('<', &answer)], ("tls", ""))),
        case("a hello that is none", &[('>', hello)], UNKNOWN),
        late(case("one record", &[('>', b"\x17\x03\x03\x00\x02ab")], UNKNOWN)),
        // CONNECT of MQTT begins with 10 where a hello has 16, 0x10 there.
        case(
            "MQTT",
            &[('>', b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab"), ('<', b"\x20\x02\x00\x00")],
            ("plaintext", "mqtt"),
        ),
        case("a PINGREQ", &[('>', b"\xc0\x00"), ('<', b"\xd0\x00")], UNKNOWN),
        case(
            "MongoDB",
            &[('>', b"\x2d\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x18\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x02\0\0\0a\0\0")],
            ("plaintext", "mongodb"),
        ),
    ]);
}

/// Both have a verb, lines of headers and an empty line.
#[test]
fn stomp_and_http_keep_apart() {
    check(vec![
        case(
            "a tunnel",
            &[
                ('>', b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n"),
                ('<', b"HTTP/1.1 403 No\r\n\r\n"),
            ],
            ("plaintext", "http"),
        ),
        case(
            "a login",
            &[
                ('>', b"CONNECT\naccept-version:1.2\nhost:mq\n\n\0"),
                ('<', b"CONNECTED\nversion:1.2\n\n\0"),
            ],
            ("plaintext", "stomp"),
        ),
        case("a verb alone", &[('>', b"SEND\n"), ('<', b"what?\n")], UNKNOWN),
        case(
            "a header whose value is a verb",
            &[
                ('>', b"note: CONNECT\nto: nobody at all\nfrom: somebody else\n"),
                ('<', b"noted, thank you\n"),
            ],
            TEXT,
        ),
    ]);
}

/// `S` may be PostgreSQL's yes to TLS, one message of a joint segment, or nothing.
#[test]
fn postgresql_and_mysql_are_known_from_whatever_segments_they_come_in() {
    let ssl = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let startup = b"\0\0\0\x17\0\x03\0\0user\0a\0database\0b\0\0";
    let hello = record(22, 300);
    check(vec![
        case("a letter", &[('>', b"S"), ('<', b"S")], UNKNOWN),
        case("refused", &[('>', ssl), ('<', b"N"), ('>', startup)], ("plaintext", "postgresql")),
        case(
            "messages in one segment",
            &[('>', startup), ('<', b"R\0\0\0\x08\0\0\0\0S\0\0\0\x0ea\0bcdefgh\0Z\0\0\0\x05I")],
            ("plaintext", "postgresql"),
        ),
        // What comes after MySQL's greeting and a login that is TLS's is not MySQL.
        case("handshake bytes of nobody", &[('>', b"\x01\0\0\0"), ('<', &hello[..40])], UNKNOWN),
    ]);
}

/// Numbers, zeros and words that a weak look takes for a header: each was once given a name.
#[test]
fn small_numbers_and_short_words_are_no_protocol() {
    let le =
        |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_le_bytes()).collect() };
    let sparse = |head: &[u8], size: usize| {
        let rest = (0..size).map(|i| if i % 5 == 0 { (i / 5 % 8) as u8 } else { 0 });
        head.iter().copied().chain(rest).collect::<Vec<_>>()
    };
    let versions = sparse(b"\0\0\x01\0\0\0\0\x05\0\0\x05\0\0\0\0\0\x03\0\0\x01\0\0\0\x07\0", 1100);
    let fetch = sparse(b"\0\0\x01\x07\0\x01\0\x07\0\0\0\x01\0\0", 500);
    let batch = [
        &b"\0\0\x02\0\0\0\0\x07\0\0\0\0\0\0"[..],
        b"\0\0\0\0\0\0\0\x07\0\0\0\x32\0\0\0\0\x02\x01\x02\x03\x04\0\0\0\0\0\0",
        &b"\0\0\x01\x90\0\0\0\0".repeat(2),
        &[0; 13],
        b"\x01",
        &[0; 600],
    ]
    .concat();
    let reply = le(&[0x47, 8, 4, 1, 10, 11, 14, 0, 6, 9, 8, 26, 7, 9, 10, 12, 8, 92]);
    let three_frames = [&b"\0\0\x05\0\0\0\0\0\x07"[..], &[0; 5]].concat().repeat(4);
    check(vec![
        case("versions of Kafka", &[('<', &versions)], UNKNOWN),
        case("a Fetch of Kafka", &[('>', &fetch)], UNKNOWN),
        case("records of Kafka", &[('<', &batch)], UNKNOWN),
        case("a reply of MongoDB", &[('<', &reply)], UNKNOWN),
        case("a READY of Cassandra", &[('<', &le(&[0xc2, 2, 0, 0xfc, 8, 2]))], UNKNOWN),
        case("a login of PostgreSQL", &[('<', b"R\0\0\0\x08\0\0\0\x03\0\0\0\x01\0\0\0")], UNKNOWN),
        late(case("frames of HTTP/2", &[('>', &three_frames), ('<', &three_frames)], UNKNOWN)),
        case("a handshake of RTMP", &[('>', &sparse(b"\x03\0\0\x02\0\0\0\0\0", 3000))], UNKNOWN),
        case(
            "two letters and a word",
            &[('>', b"md key of the door\n"), ('<', b"what?\n")],
            UNKNOWN,
        ),
        case("two letters and a name", &[('>', b"me too\r\n")], UNKNOWN),
    ]);
}
