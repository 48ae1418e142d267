use super::*;
use crate::detect::{
    Start,
    check::{hear, hear_from, matches, probe_side},
};
use crate::model::PlaintextReason;

const C: Side = Side::Client;
const S: Side = Side::Server;

fn size(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap().to_le_bytes()
}

fn packet(request: u8, answers: u8, opcode: u16, body: &[u8]) -> Vec<u8> {
    let opcode = opcode.to_le_bytes();
    let ids = [request, 0, 0, 0, answers, 0, 0, 0, opcode[0], opcode[1], 0, 0];
    [&size(body.len() + 16)[..], &ids, body].concat()
}

fn document(elements: &[&[u8]]) -> Vec<u8> {
    let elements = elements.concat();
    [&size(elements.len() + 5)[..], &elements, &[0]].concat()
}

fn text(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[2], name, &[0], &size(value.len() + 1), value, &[0]].concat()
}

fn int(name: &[u8], value: u8) -> Vec<u8> {
    [&[0x10], name, &[0, value, 0, 0, 0]].concat()
}

const OK: &[u8] = b"\x01ok\0\0\0\0\0\0\0\xf0\x3f";
const FAILED: &[u8] = b"\x01ok\0\0\0\0\0\0\0\0\0";

fn msg(request: u8, answers: u8, elements: &[&[u8]]) -> Vec<u8> {
    packet(request, answers, 2013, &[&[0; 5][..], &document(elements)].concat())
}

fn ping() -> Vec<u8> {
    msg(1, 0, &[&int(b"ping", 1), &text(b"$db", b"admin")])
}

fn hello(more: &[&[u8]]) -> Vec<u8> {
    let first = int(b"isMaster", 1);
    let elements = [&[&first[..]], more].concat();
    let prefix = b"\0\0\0\0admin.$cmd\0\0\0\0\0\xff\xff\xff\xff";
    packet(1, 0, 2004, &[&prefix[..], &document(&elements)].concat())
}

fn greeting() -> Vec<u8> {
    let prefix = b"\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0";
    let answer = document(&[b"\x08ismaster\0\x01", &int(b"maxWireVersion", 21), OK]);
    packet(7, 1, 1, &[&prefix[..], &answer].concat())
}

#[test]
fn header_and_first_element_prove_a_side() {
    let insert =
        packet(1, 0, 2002, &[&b"\0\0\0\0db.c\0"[..], &document(&[&int(b"a", 1)])].concat());
    let get_more = packet(2, 0, 2005, b"\0\0\0\0db.c\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01");
    let compressed = packet(3, 0, 2012, b"\xdd\x07\0\0\x40\0\0\0\x02\x78\x9c\x03\0");
    let answer = packet(3, 2, 2012, b"\xdd\x07\0\0\x40\0\0\0\x01\x40\0\0\0");
    let bulk = [b"\0\0\0\0\x01\x1a\0\0\0documents\0", &document(&[&int(b"a", 1)])[..]].concat();
    let cases = [
        ("OP_MSG", C, ping()),
        ("OP_QUERY", C, hello(&[])),
        ("OP_INSERT", C, insert),
        ("OP_GET_MORE", C, get_more),
        ("OP_COMPRESSED", C, compressed),
        ("documents first", C, packet(4, 0, 2013, &bulk)),
        ("OP_REPLY", S, greeting()),
        ("answer", S, msg(9, 1, &[OK])),
        ("compressed answer", S, answer),
    ];
    let mut old = hello(&[]);
    old[8..12].fill(0xff);
    assert!(matches(probe_side(&Mongodb, C, &old)), "an answer to -1");
    for (what, side, bytes) in &cases {
        assert!(matches(probe_side(&Mongodb, *side, bytes)), "{what}");
        assert!(!matches(probe_side(&Mongodb, side.other(), bytes)), "{what} from the other side");
        let late = hear_from(&Mongodb, &[(*side, bytes)], Start::Unknown);
        assert!(late.matched.is_some(), "{what} joined late");
    }
}

#[test]
fn flaws_and_look_alikes_are_not_mongodb() {
    let mut long = ping();
    long[21] = 0xf0;
    let mut flags = ping();
    flags[16] = 0x10;
    let mut kind = ping();
    kind[25] = 0x40;
    let cases: [(&str, &[u8]); 8] = [
        ("document longer than its message", &long),
        ("unknown flag that is required", &flags),
        ("unknown type", &kind),
        ("unknown opcode", &packet(1, 0, 2011, &[0; 20])),
        ("too short", b"\x10\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0"),
        ("no dot in the collection", &packet(1, 0, 2004, b"\0\0\0\0admin\0\0\0\0\0\0\0\0\0")),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0\0\0\0\0"),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n"),
    ];
    for (what, bytes) in cases {
        assert_eq!(probe_side(&Mongodb, C, bytes), Probe::No, "{what}");
        assert!(!matches(probe_side(&Mongodb, S, bytes)), "{what} from the server");
    }
    let mut seed = 0x6d60_u64;
    for _ in 0..100_000 {
        let mut bytes = [0; 48];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 56) as u8;
        }
        bytes[3] = 0;
        bytes[12..16].copy_from_slice(&[0xdd, 7, 0, 0]);
        let said = Said { bytes: &bytes, start: Start::Known };
        assert!(proof(C, said).is_err() && proof(S, said).is_err(), "{bytes:02x?}");
    }
}

#[test]
fn logins_by_mechanism() {
    let cases: [(&[u8], Credentials); 5] = [
        (b"PLAIN", Credentials::SASL_PLAIN),
        (b"SCRAM-SHA-256", Credentials::PASSWORD_HASH_CHALLENGE),
        (b"MONGODB-OIDC", Credentials::BEARER_TOKEN),
        (b"MONGODB-X509", Credentials::NONE),
        (b"GSSAPI", Credentials::NONE),
    ];
    for (mechanism, kinds) in cases {
        let start = [int(b"saslStart", 1), text(b"mechanism", mechanism)].concat();
        let heard =
            hear(&Mongodb, &[(C, &hello(&[])), (S, &greeting()), (C, &msg(2, 0, &[&start]))]);
        assert_eq!((heard.fits, heard.credentials), ([true, true], kinds));
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        let inner = [b"\x03speculativeAuthenticate\0", &document(&[&start])[..]].concat();
        let heard = hear(&Mongodb, &[(C, &hello(&[&inner]))]);
        assert_eq!(heard.credentials, kinds, "within the greeting");
    }
    let user = [text(b"createUser", b"u"), text(b"pwd", b"secret")].concat();
    let heard = hear(&Mongodb, &[(C, &msg(2, 0, &[&user]))]);
    assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
    let data = [text(b"insert", b"saslStart"), text(b"mechanism", b"PLAIN")].concat();
    let heard = hear(&Mongodb, &[(C, &msg(2, 0, &[&data]))]);
    assert_eq!(heard.credentials, Credentials::NONE);
}

#[test]
fn answers_tell_what_became_of_the_session() {
    let failed = msg(8, 2, &[FAILED, &int(b"code", 18)]);
    let unauthorized = msg(8, 2, &[FAILED, &int(b"code", 13)]);
    let start = msg(2, 0, &[&int(b"saslStart", 1), &text(b"mechanism", b"PLAIN")]);
    for answer in [&failed, &unauthorized] {
        let opening = [(C, &hello(&[])[..]), (S, &greeting()), (C, &start), (S, answer)];
        assert!(hear(&Mongodb, &opening).refused);
    }
    let heard = hear(&Mongodb, &[(C, &ping()), (S, &msg(7, 1, &[OK])), (S, &unauthorized)]);
    assert!(!heard.refused, "one command of a session in use");
    let heard = hear(&Mongodb, &[(C, &ping()), (S, b"HTTP/1.0 200 OK\r\nConnection: close\r\n")]);
    assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
}

#[test]
fn small_numbers_are_no_answer_of_empty_documents() {
    let numbers = |list: &[u32]| list.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let empty = numbers(&[200, 3, 9, 1, 8, 0, 0, 0, 2, 5, 0, 7]);
    assert!(!matches(probe_side(&Mongodb, S, &empty)));
    let short = numbers(&[33, 3, 15, 1, 12, 12, 111, 175, 0, 0, 3]);
    assert!(!matches(probe_side(&Mongodb, S, &short)), "its fields alone take 36 bytes");
    assert!(matches(probe_side(&Mongodb, S, &greeting())));
}
