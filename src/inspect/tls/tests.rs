use proptest::prelude::*;

use super::{message::CERTIFICATE_BYTES_MAX, *};

/// RFC 8448 section 3: `ClientHello` and `ServerHello` of a simple 1-RTT handshake, as records.
const RFC_8448_CLIENT: &str = "
    16030100c4010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006130113
    0313020100009100000 00b0009000006736572766572ff01000100000a00140012001d00170018001901000101010201
    03010400230000003300260024001d002099381de560e4bd43d23d8e435a7dbafeb3c06e51c13cae4d5413691e529aaf2c
    002b0003020304000d0020001e040305030603020308040805080604010501060102010402050206020202002d00020101
    001c00024001";
const RFC_8448_SERVER: &str = "
    160303005a020000560303a6af06a4121860dc5e6e60249cd34c95930c8ac5cb1434dac155772ed3e26928001301 00
    002e00330024001d0020c9828876112095fe66762bdbf7c672e156d6cc253b833df1dd69b1b04e751f0f002b00020304";

mod certificates;
mod facts;

const C: Side = Side::Client;
const S: Side = Side::Server;

type Line = (Side, Vec<u8>);

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |d: u8| u8::try_from(char::from(d).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

fn record(kind: u8, version: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    [&[kind][..], &version.to_be_bytes(), &length.to_be_bytes(), body].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    record(22, 0x0303, &message(kind, body))
}

fn length16(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}

fn extensions(list: &[(u16, &[u8])]) -> Vec<u8> {
    let one =
        |(kind, value): &(u16, &[u8])| [&kind.to_be_bytes()[..], &length16(value), value].concat();
    let all: Vec<u8> = list.iter().flat_map(one).collect();
    [&length16(&all)[..], &all].concat()
}

fn client_hello(list: &[(u16, &[u8])]) -> Vec<u8> {
    let head = [&[3, 3][..], &[7; 32], &[0, 0, 4, 0xc0, 0x2f, 0, 5, 1, 0]].concat();
    [head, extensions(list)].concat()
}

fn server_hello(version: u16, cipher: u16, list: &[(u16, &[u8])]) -> Vec<u8> {
    server_hello_random(version, [9; 32], cipher, list)
}

fn server_hello_random(
    version: u16,
    random: [u8; 32],
    cipher: u16,
    list: &[(u16, &[u8])],
) -> Vec<u8> {
    let head = [&version.to_be_bytes()[..], &random, &[0], &cipher.to_be_bytes(), &[0]].concat();
    [head, extensions(list)].concat()
}

fn data(length: usize) -> Vec<u8> {
    record(23, 0x0303, &vec![0x5a; length])
}

fn ccs() -> Vec<u8> {
    record(20, 0x0303, &[1])
}

fn sealed() -> Vec<u8> {
    record(22, 0x0303, &[0xb7; 40])
}

fn read(lines: &[Line]) -> TlsReader {
    read_from(Start::Known, lines)
}

/// Reads whole lines, then byte by byte, then all of the server before the client: one result.
#[track_caller]
fn read_from(start: Start, lines: &[Line]) -> TlsReader {
    let feed = |lines: &[Line], size: usize| {
        let mut reader = TlsReader::new(start, start);
        for (side, bytes) in lines {
            for piece in bytes.chunks(size) {
                assert_eq!(reader.feed(*side, piece), piece.len());
                assert!(reader.buffered() <= BUFFERED_BYTES_MAX);
            }
        }
        reader
    };
    let whole = feed(lines, usize::MAX);
    let mut server_first = lines.to_vec();
    server_first.sort_by_key(|(side, _)| *side == C);
    for other in [feed(lines, 1), feed(lines, 3), feed(&server_first, 7)] {
        assert_eq!(told(&other), told(&whole));
    }
    whole
}

fn told(reader: &TlsReader) -> String {
    let flags = [C, S].map(|s| (reader.spoke(s), reader.mismatch(s), reader.broken(s)));
    let (done, null) = (reader.is_done(), reader.null_cipher());
    format!("{:?} {:?} {flags:?} {done} {null}", reader.finish(), reader.outcome())
}

#[allow(clippy::ref_option, reason = "fields of TlsFacts are passed as they are")]
fn name(name: &Option<crate::model::Name>) -> Option<&str> {
    name.as_ref().map(crate::model::Name::as_str)
}

/// A full handshake of TLS 1.2 with the client's second flight as given.
fn tls12(suite: u16, server_flight: Vec<u8>, client_flight: Vec<u8>) -> Vec<Line> {
    let alpn = [0, 12, 2, b'h', b'2', 8, b'h', b't', b't', b'p', b'/', b'1', b'.', b'1'];
    let sni = [&[0, 13, 0, 0, 10][..], b"db.example"].concat();
    let hello = client_hello(&[(0x0a0a, &[]), (0, &sni), (16, &alpn)]);
    let chosen = server_hello(0x0303, suite, &[(0xff01, &[0]), (16, &[0, 3, 2, b'h', b'2'])]);
    vec![
        (C, record(22, 0x0301, &message(1, &hello))),
        (S, [handshake(2, &chosen), server_flight].concat()),
        (C, [client_flight, ccs(), sealed()].concat()),
        (S, [ccs(), sealed()].concat()),
        (C, data(100)),
        (S, data(200)),
    ]
}

fn server_flight() -> Vec<u8> {
    let certificate = [&[0, 0, 8, 0, 0, 5][..], &[1; 5]].concat();
    let curve = [&[3, 0, 29, 32][..], &[2; 32], &[4; 70]].concat();
    let messages = [message(11, &certificate), message(12, &curve), message(14, &[])].concat();
    record(22, 0x0303, &messages)
}

#[test]
fn tls_1_3_as_in_rfc_8448() {
    let lines = [
        (C, hex(RFC_8448_CLIENT)),
        (S, [hex(RFC_8448_SERVER), ccs(), data(674)].concat()),
        (C, [ccs(), data(53)].concat()),
    ];
    let reader = read(&lines);
    let facts = reader.finish();
    assert_eq!(facts.version, Some(TlsVersion(0x0304)));
    assert_eq!(facts.version_offered, Some(TlsVersion(0x0304)));
    assert_eq!((facts.cipher, facts.group), (Some(0x1301), Some(0x001d)));
    assert_eq!(name(&facts.sni), Some("server"));
    assert_eq!((facts.resumed, facts.client_cert_seen), (Some(false), None));
    assert_eq!((facts.early_data_offered, facts.ech_offered), (Some(false), Some(false)));
    assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Established, true));
    assert_eq!(facts.outcome, Some(HandshakeOutcome::Completed));

    let only_hello = read(&lines[..1]);
    assert_eq!((only_hello.outcome(), only_hello.is_done()), (Outcome::Attempt, false));
    assert_eq!(only_hello.finish().version, None);
    let no_finish = read(&lines[..2]);
    assert_eq!((no_finish.outcome(), no_finish.is_done()), (Outcome::Unknown, false));
}

#[test]
fn tls_1_3_client_that_leaves_with_an_alert() {
    let server = [hex(RFC_8448_SERVER), data(674)].concat();
    for (client, expected) in [
        (data(19), Outcome::Refused),
        ([data(19), data(19)].concat(), Outcome::Refused),
        ([data(19), data(53)].concat(), Outcome::Established),
        (record(21, 0x0303, &[2, 48]), Outcome::Refused),
    ] {
        let lines = [(C, hex(RFC_8448_CLIENT)), (S, server.clone()), (C, client)];
        assert_eq!(read(&lines).outcome(), expected);
    }
}

#[test]
fn tls_1_2_full_handshake() {
    let client_flight = [handshake(11, &[0, 0, 0]), handshake(16, &[33; 33])].concat();
    let reader = read(&tls12(0xc02f, server_flight(), client_flight));
    let facts = reader.finish();
    assert_eq!(facts.version, Some(TlsVersion(0x0303)));
    assert_eq!((facts.cipher, facts.group), (Some(0xc02f), Some(29)));
    assert_eq!(name(&facts.sni), Some("db.example"));
    assert_eq!(name(&facts.alpn), Some("h2"));
    assert_eq!(facts.alpn_offered.len(), 2);
    assert_eq!((facts.resumed, facts.client_cert_seen), (Some(false), Some(false)));
    assert_eq!((reader.outcome(), reader.is_taken()), (Outcome::Established, true));
    assert!(!reader.null_cipher());
}

#[test]
fn tls_1_2_client_certificate_resumption_dh_and_null() {
    let certificate = [&[0, 0, 8, 0, 0, 5][..], &[1; 5]].concat();
    let mutual = [handshake(11, &certificate), handshake(16, &[1; 33])].concat();
    let facts = read(&tls12(0xc02f, server_flight(), mutual)).finish();
    assert_eq!(facts.client_cert_seen, Some(true));

    let resumed = read(&tls12(0xc02f, Vec::new(), Vec::new())).finish();
    assert_eq!((resumed.resumed, resumed.client_cert_seen), (Some(true), Some(false)));

    let prime = [&[0, 128][..], &[7; 128], &[0, 1, 2]].concat();
    let dh = read(&tls12(0x009e, handshake(12, &prime), Vec::new())).finish();
    assert_eq!((dh.dh_bits, dh.group), (Some(1019), None));

    let hinted = [&[0, 4][..], b"hint", &[3, 0, 23, 65]].concat();
    let psk = read(&tls12(0xc035, handshake(12, &hinted), Vec::new())).finish();
    assert_eq!(psk.group, Some(23));

    for suite in [0x0002, 0xc0b4] {
        assert!(read(&tls12(suite, server_flight(), Vec::new())).null_cipher());
    }
}

#[test]
fn a_retried_hello_is_not_the_answer() {
    let retry = hex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c");
    let versions: (u16, &[u8]) = (43, &[3, 4]);
    let asked =
        server_hello_random(0x0303, retry.try_into().unwrap(), 0x1302, &[versions, (51, &[0, 23])]);
    let share = [&[0, 24, 0, 4][..], &[1; 4]].concat();
    let answer = server_hello(0x0303, 0x1301, &[versions, (51, &share), (41, &[0, 0])]);
    let first = client_hello(&[(0, b"\x00\x08\x00\x00\x05first"), (43, &[2, 3, 4])]);
    let second = client_hello(&[(0, b"\x00\x09\x00\x00\x06second"), (43, &[2, 3, 4])]);
    let mut lines = vec![
        (C, handshake(1, &first)),
        (S, [handshake(2, &asked), ccs()].concat()),
        (C, [ccs(), handshake(1, &second)].concat()),
    ];
    let waiting = read(&lines);
    assert_eq!((waiting.finish().cipher, waiting.finish().server_hello), (Some(0x1302), false));
    assert_eq!((waiting.outcome(), waiting.is_done()), (Outcome::Unknown, false));

    lines.push((S, [handshake(2, &answer), data(400)].concat()));
    lines.push((C, data(53)));
    let reader = read(&lines);
    let facts = reader.finish();
    assert!(facts.hello_retry_request == Some(true) && facts.server_hello);
    assert_eq!(name(&facts.sni), Some("first"));
    assert_eq!((facts.cipher, facts.group, facts.resumed), (Some(0x1301), Some(24), None));
    assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Established, true));
}

#[test]
fn sslv2_alone_and_as_a_door_to_tls() {
    let hello = |version: u8| {
        let head = [0x80, 28, 1, version >> 4, version & 15, 0, 3, 0, 0, 0, 16, 1, 0, 128];
        [&head[..], &[5; 16]].concat()
    };
    let server = [&[0x80, 30, 4, 0, 1, 0, 2, 0, 0, 0, 3, 0, 16, 1, 0, 128][..], &[6; 16]].concat();
    let key = [&[0x80, 12, 2, 1, 0, 128][..], &[0; 8]].concat();
    let sealed = [&[0x00, 20, 3][..], &[9; 20]].concat();
    let lines = [
        (C, hello(0x02)),
        (S, server),
        (C, [key, sealed.clone()].concat()),
        (S, [sealed.clone(), sealed].concat()),
    ];
    let reader = read(&lines);
    let facts = reader.finish();
    assert_eq!(facts.version, Some(TlsVersion(0x0002)));
    assert_eq!((facts.cipher_sslv2, facts.resumed), (Some(0x0001_0080), Some(false)));
    assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Established, true));
    let error = read(&[(C, hello(0x02)), (S, vec![0x80, 3, 0, 0, 1])]);
    assert_eq!(error.outcome(), Outcome::Refused);

    let mut lines = tls12(0x002f, server_flight(), handshake(16, &[1; 33]));
    lines[0] = (C, hello(0x31));
    let facts = read(&lines).finish();
    assert_eq!(
        (facts.version, facts.version_offered),
        (Some(TlsVersion(0x303)), Some(TlsVersion(0x301)))
    );
    assert_eq!((facts.cipher, facts.client_cert_seen), (Some(0x002f), Some(false)));
}

#[test]
fn refusals_and_other_protocols() {
    let hello = hex(RFC_8448_CLIENT);
    for (server, outcome, mismatch) in [
        (record(21, 0x0301, &[2, 70]), Outcome::Refused, false),
        (record(21, 0x0301, &[1, 112]), Outcome::Unknown, false),
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), Outcome::Refused, true),
        (b"N".to_vec(), Outcome::Refused, true),
        (b"\x16\x03\x01\x00\x05hello".to_vec(), Outcome::Refused, true),
        (Vec::new(), Outcome::Attempt, false),
    ] {
        let reader = read(&[(C, hello.clone()), (S, server)]);
        assert_eq!((reader.outcome(), reader.mismatch(S)), (outcome, mismatch));
        assert_eq!(reader.is_done(), outcome == Outcome::Refused);
        assert!(reader.spoke(C) && !reader.mismatch(C));
    }
    let alerts =
        [(C, hello), (S, record(21, 0x0301, &[1, 112])), (S, record(21, 0x0301, &[2, 40]))];
    let alert = TlsAlert { side: S, level: 2, description: 40 };
    assert_eq!(read(&alerts).finish().alert, Some(alert));
}

#[test]
fn one_side_alone_says_what_it_can() {
    let lines = tls12(0xc02f, server_flight(), handshake(16, &[1; 33]));
    let only = |side: Side| lines.iter().filter(|l| l.0 == side).cloned().collect::<Vec<_>>();
    let client = read(&only(C));
    let facts = client.finish();
    // ClientKeyExchange is in clear up to 1.2 only, and its record carries the version.
    assert_eq!((facts.version, facts.cipher), (Some(TlsVersion(0x0303)), None));
    assert_eq!(name(&facts.sni), Some("db.example"));
    assert_eq!(client.outcome(), Outcome::Established);
    let server = read(&only(S));
    let facts = server.finish();
    assert_eq!((facts.cipher, facts.version_offered), (Some(0xc02f), None));
    assert_eq!(facts.client_cert_seen, None);
    assert_eq!(server.outcome(), Outcome::Established);
    // The server of TLS 1.3 seals before the client has agreed.
    let eager = [hex(RFC_8448_SERVER), ccs(), data(30), data(900)].concat();
    assert_eq!(read(&[(S, eager)]).outcome(), Outcome::Attempt);
}

#[test]
fn joined_late() {
    let old = [record(23, 0x0301, &[1; 40]), record(23, 0x0301, &[1; 40])].concat();
    let new = [data(40), data(40)].concat();
    for (bytes, version) in [(&old, Some(TlsVersion(0x0301))), (&new, None)] {
        let reader = read_from(Start::Unknown, &[(C, bytes.clone())]);
        assert_eq!((reader.finish().version, reader.outcome()), (version, Outcome::Established));
    }
    let single = read_from(Start::Unknown, &[(C, data(34)), (S, data(34))]);
    assert_eq!(single.outcome(), Outcome::Established);
    assert!(single.spoke(C) && single.spoke(S));
    let farewell = read_from(Start::Unknown, &[(S, record(21, 0x0303, &[0; 26]))]);
    assert!(farewell.spoke(S) && farewell.outcome() == Outcome::Established);
    let within = [vec![0x99; 700], data(40), data(50), data(60)].concat();
    let reader = read_from(Start::Unknown, &[(S, within)]);
    assert!(reader.spoke(S) && !reader.broken(S));
    assert_eq!(reader.outcome(), Outcome::Established);

    let mut lines = tls12(0xc02f, server_flight(), handshake(16, &[1; 33]));
    lines.insert(0, (C, b"EHLO a\r\nSTARTTLS\r\n".to_vec()));
    let facts = read_from(Start::Unknown, &lines).finish();
    assert_eq!((name(&facts.sni), facts.client_cert_seen), (Some("db.example"), Some(false)));
    let long = vec![data(60); 8].concat();
    assert!(read_from(Start::Unknown, &[(C, long)]).is_done());
}

#[test]
fn after_a_gap_absence_proves_nothing() {
    let lines = tls12(0xc02f, server_flight(), Vec::new());
    let mut reader = TlsReader::new(Start::Known, Start::Known);
    reader.feed(C, &lines[0].1);
    // The certificate and what follows it are lost.
    let flight = lines[1].1.len() - server_flight().len();
    reader.feed(S, &lines[1].1[..flight]);
    reader.gap(S);
    reader.gap(C);
    let run = [&lines[2].1[..], &data(30), &data(31)].concat();
    reader.feed(C, &run);
    reader.feed(S, &[ccs(), sealed(), data(30), data(31)].concat());
    let facts = reader.finish();
    assert_eq!((facts.cipher, facts.client_cert_seen), (Some(0xc02f), None));
    assert_eq!((facts.resumed, reader.outcome()), (None, Outcome::Established));
    assert!(reader.is_done());
}

#[test]
fn a_hello_cut_short_still_names_the_server() {
    let hello = record(
        22,
        0x0301,
        &message(1, &client_hello(&[(0, b"\x00\x08\x00\x00\x05early"), (21, &[0; 300])])),
    );
    let facts = read(&[(C, hello[..120].to_vec())]).finish();
    assert_eq!((name(&facts.sni), facts.version_offered), (Some("early"), None));
    assert_eq!((facts.client_hello, facts.ech_offered), (true, None));
}

#[test]
fn odd_hellos_are_still_reported() {
    // An unknown version and suite; an extension list longer than the message; a bad extension before a good one.
    let odd = server_hello(0x0309, 0x5a5b, &[]);
    let facts = read(&[(S, handshake(2, &odd))]).finish();
    assert_eq!((facts.version, facts.cipher), (Some(TlsVersion(0x0309)), Some(0x5a5b)));
    let mut hello = client_hello(&[(10, &[9]), (0, b"\x00\x06\x00\x00\x03odd")]);
    let at = 2 + 32 + 9;
    hello[at..at + 2].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(name(&read(&[(C, handshake(1, &hello))]).finish().sni), Some("odd"));
    let draft = [&[0x7f, 0x12][..], &[3; 32], &[0x13, 1, 0, 6, 0, 40, 0, 2, 0, 29]].concat();
    let facts = read(&[(S, handshake(2, &draft))]).finish();
    assert_eq!(facts.version.and_then(TlsVersion::name), Some("TLSv1.3"));
    assert_eq!((facts.cipher, facts.group), (Some(0x1301), Some(29)));
    let grease = client_hello(&[(43, &[6, 0x7a, 0x7a, 3, 3, 0x7f, 0x1c])]);
    let offered = read(&[(C, handshake(1, &grease))]).finish().version_offered;
    assert_eq!(offered, Some(TlsVersion(0x7f1c)));
}

#[test]
fn long_and_hostile_lengths_stay_within_bounds() {
    // A hello of 60 KiB over records of 100 bytes: its head is read, the rest passes by.
    let hello = client_hello(&[(0, b"\x00\x07\x00\x00\x04long"), (21, &vec![0; 60_000])]);
    let pieces = message(1, &hello);
    let records: Vec<u8> = pieces.chunks(100).flat_map(|p| record(22, 0x0301, p)).collect();
    let reader = read(&[(C, [records, ccs(), data(30)].concat())]);
    assert_eq!(name(&reader.finish().sni), Some("long"));
    // A promise of 1 MiB reserves nothing.
    let mut reader = TlsReader::new(Start::Known, Start::Known);
    reader.feed(C, &record(22, 0x0301, &[1, 0x0f, 0xff, 0xff, 3, 3]));
    assert!(reader.buffered() < 100);
    // One byte per record.
    let tiny: Vec<u8> =
        message(1, &client_hello(&[])).iter().flat_map(|b| record(22, 0x0301, &[*b])).collect();
    assert!(read(&[(C, tiny)]).finish().client_hello);
}

#[test]
fn the_side_that_accepted_may_be_the_client() {
    let swap = |(side, bytes): Line| (side.other(), bytes);
    let lines = tls12(0xc02f, server_flight(), handshake(16, &[1; 33]));
    let lines: Vec<Line> = lines.into_iter().map(swap).collect();
    let reader = read(&lines);
    let facts = reader.finish();
    assert_eq!((facts.cipher, name(&facts.sni)), (Some(0xc02f), Some("db.example")));
    assert_eq!(reader.outcome(), Outcome::Established);
}

#[test]
fn records_that_end_in_something_else_are_noted() {
    let reader = read(&[(C, hex(RFC_8448_CLIENT)), (C, b"QUIT\r\n".to_vec())]);
    assert!(reader.broken(C) && reader.spoke(C) && !reader.mismatch(C));
}

/// Bytes that look enough like TLS to reach every branch.
fn tlsish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(hex(RFC_8448_CLIENT)),
        Just(hex(RFC_8448_SERVER)),
        Just(server_flight()),
        Just(ccs()),
        Just(sealed()),
        Just(data(40)),
        Just(record(21, 0x0303, &[2, 40])),
        Just(vec![0x80, 28, 1, 0, 2, 0, 3, 0, 0, 0, 16, 1, 0, 128]),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    let mutation = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (proptest::collection::vec(piece, 0..6), mutation).prop_map(|(pieces, mutation)| {
        let mut bytes = pieces.concat();
        for (at, byte) in mutation {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_segmentation_and_order_tells_the_same(
        client in tlsish(), server in tlsish(), known in any::<bool>(),
    ) {
        let start = if known { Start::Known } else { Start::Unknown };
        read_from(start, &[(C, client), (S, server)]);
    }

    #[test]
    fn gaps_anywhere_never_panic(lines in proptest::collection::vec((any::<bool>(), tlsish()), 0..6)) {
        let mut reader = TlsReader::new(Start::Known, Start::Unknown);
        for (client, bytes) in lines {
            let side = if client { C } else { S };
            reader.feed(side, &bytes);
            reader.gap(side);
            prop_assert!(reader.buffered() <= BUFFERED_BYTES_MAX);
            told(&reader);
        }
    }
}
