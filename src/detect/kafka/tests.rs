use super::*;
use crate::detect::check::{hear, hear_from, matches, probe_side};
use crate::model::PlaintextReason;

const C: Side = Side::Client;
const S: Side = Side::Server;

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// A request of client `app`; the body includes the header's tagged fields.
fn request(key: u8, version: u8, correlation: u8, body: &[u8]) -> Vec<u8> {
    framed(&[&[0, key, 0, version, 0, 0, 0, correlation], b"\0\x03app", body])
}

fn response(correlation: u8, body: &[u8]) -> Vec<u8> {
    framed(&[&[0, 0, 0, correlation], body])
}

/// Request of librdkafka 2.
fn versions() -> Vec<u8> {
    request(18, 3, 1, b"\0\x0blibrdkafka\x062.6.0\0")
}

fn versions_answer() -> Vec<u8> {
    response(1, b"\0\0\x04\0\0\0\x03\0\x0b\0\0\x01\0\x04\0\x10\0\0\x12\0\0\0\x03\0\0\0\0\0\0")
}

const METADATA: &[u8] = b"\0\0\0\x01\0\x06orders";

#[test]
fn requests_prove_the_client() {
    let consumer = b"\xff\xff\xff\xff\0\0\x01\xf4\0\0\0\x01\0\x10\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\x01\0\x01t";
    let cases = [
        ("ApiVersions 0", request(18, 0, 1, b"")),
        ("ApiVersions 0 with an array", request(18, 0, 1, &[0; 4])),
        ("ApiVersions 3", versions()),
        ("without a name", framed(&[b"\0\x12\0\0\0\0\0\0\xff\xff"])),
        ("Metadata 1", request(3, 1, 2, METADATA)),
        ("Metadata 0, all topics", request(3, 0, 2, b"\0\0\0\0")),
        (
            "Metadata 12",
            request(3, 12, 2, &[b"\0\x02", &[0; 16][..], b"\x07orders\0\0\0\0"].concat()),
        ),
        ("Produce 7", request(0, 7, 3, b"\xff\xff\xff\xff\0\0\x75\x30\0\0\0\x01\0\x06orders\0\0")),
        ("Produce 9", request(0, 9, 3, b"\0\0\0\x01\0\0\x75\x30\x02\x07orders\x02")),
        ("Fetch 11", request(1, 11, 4, consumer)),
        ("SaslHandshake 1", request(17, 1, 2, b"\0\x0dSCRAM-SHA-256")),
        ("FindCoordinator 1", request(10, 1, 2, b"\0\x05group\0")),
        ("Heartbeat 3", request(12, 3, 2, b"\0\x05group\0\0\0\x01\0\x06member\xff\xff")),
        ("InitProducerId 1", request(22, 1, 2, b"\xff\xff\0\0\xea\x60")),
    ];
    for (what, bytes) in &cases {
        assert!(matches(probe_side(&Kafka, C, bytes)), "{what}");
        assert!(!matches(probe_side(&Kafka, S, bytes)), "{what} from the server");
    }
    let pipelined = [cases[12].1.clone(), cases[11].1.clone()].concat();
    assert!(matches(probe_side(&Kafka, C, &pipelined)));
}

#[test]
fn some_responses_prove_the_server() {
    let old = [&b"\0\0\0\0\0\x03"[..], b"\0\0\0\0\0\x08\0\x01\0\0\0\x0b\0\x12\0\0\0\x03"].concat();
    let batch = [
        &b"\0\0\0\0\0\0\0\0\0\x01\0\x06orders\0\0\0\x01\0\0\0\0\0\0\0\0\0\x44"[..],
        b"\0\0\0\0\0\0\0\x07\0\0\0\x32\0\0\0\0\x02\x9c\x02\x73\x04\0\0\0\0\0\0",
        b"\0\0\x01\x90\0\0\0\0\0\0\x01\x90\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\0\0\0\x01record",
    ]
    .concat();
    let cases = [
        ("ApiVersions 0", response(1, &old)),
        ("ApiVersions 3", versions_answer()),
        ("SaslHandshake", response(2, b"\0\0\0\0\0\x02\0\x05PLAIN\0\x0bOAUTHBEARER")),
        ("Metadata 1", response(2, b"\0\0\0\x01\0\0\0\x01\0\x04kfk1\0\0\x23\x84\xff\xff\0")),
        ("Metadata 5", response(2, b"\0\0\0\0\0\0\0\x01\0\0\0\x01\0\x04kfk1\0\0\x23\x84\xff\xff")),
        ("Metadata 12", response(2, b"\0\0\0\0\0\x02\0\0\0\x01\x05kfk1\0\0\x23\x84\0\0\0\0")),
        ("records", response(9, &batch)),
    ];
    for (what, bytes) in &cases {
        assert!(matches(probe_side(&Kafka, S, bytes)), "{what}");
        let late = hear_from(&Kafka, &[(S, bytes)], Start::Unknown);
        assert_eq!(late.fits, [false, true], "{what} joined late");
    }
    let small = [&cases[6].1[..], b""].concat();
    let crc = small.windows(4).position(|w| w == b"\x9c\x02\x73\x04").unwrap();
    let small = [&small[..crc], b"\0\x02\0\x04", &small[crc + 4..]].concat();
    assert!(!matches(probe_side(&Kafka, S, &small)), "small numbers everywhere");
    let second = [response(1, b"\0\x23\x01\0\x12\0\0\0\x02\0\0\0\0"), response(2, &old)].concat();
    assert!(matches(probe_side(&Kafka, S, &second)), "the first version was not known");
    let unrelated = [response(1, &[7; 20]), response(90, &old)].concat();
    assert!(!matches(probe_side(&Kafka, S, &unrelated)));
    for body in [&b"\0\0"[..], b"\0\0\0\x05hello", &[0; 64], &[0xff; 64]] {
        assert!(!matches(probe_side(&Kafka, S, &response(3, body))));
    }
}

#[test]
fn look_alikes_are_not_kafka() {
    let cases: [(&str, &[u8]); 13] = [
        ("PostgreSQL", b"\0\0\0\x22\0\x03\0\0user\0app\0database\0orders\0\0\0"),
        ("PostgreSQL SSLRequest", b"\0\0\0\x08\x04\xd2\x16\x2f"),
        ("ZooKeeper", b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x27\x10\0\0\0\0\0\0\0\0\0\0\0\x10"),
        ("ZooKeeper again", b"\0\0\0\x2d\0\0\0\0\0\0\0\x01\0\0\0\x05\0\0\x27\x10\0\0\0\0\0\0\0\0"),
        ("RocketMQ", b"\0\0\0\xf4\0\0\0\xe0{\"code\":34}"),
        ("Pulsar", b"\0\0\0\x2b\0\0\0\x27\x08\x02\x12"),
        ("JDWP", b"\0\0\0\x0b\0\0\0\x01\0\x01\x07"),
        ("Thrift", b"\0\0\0\x20\x80\x01\0\x01\0\0\0\x04ping"),
        ("OpenWire", b"\0\0\x01\x47\x01ActiveMQ\0\0\0\x0c"),
        ("NetBIOS, SMB", b"\0\0\0\x85\xffSMB\x72\0\0\0\0"),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        ("HTTP/2", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64"),
        ("HTTP", b"GET / HTTP/1.1\r\n"),
    ];
    for (what, bytes) in cases {
        assert!(!matches(probe_side(&Kafka, C, bytes)), "{what}");
        assert!(!matches(probe_side(&Kafka, S, bytes)), "{what} from the server");
    }
    let flaws = [
        ("version ahead of the table", request(18, 9, 1, b"")),
        ("a byte too many", request(18, 0, 1, b"x")),
        ("unreadable name", framed(&[b"\0\x12\0\0\0\0\0\0\0\x02\x01\x02"])),
        ("negative correlation id", framed(&[b"\0\x12\0\0\x80\0\0\0\0\x01a"])),
        ("no such topic", request(3, 1, 2, b"\0\0\0\x01\0\x06or/ers")),
        ("acks 7", request(0, 7, 3, b"\xff\xff\0\x07\0\0\x75\x30\0\0\0\x01\0\x06orders")),
        (
            "nameless and of unknown body",
            framed(&[b"\0\x16\0\x01\0\0\0\x02\xff\xff\xff\xff\0\0\xea\x60"]),
        ),
    ];
    for (what, bytes) in &flaws {
        assert_eq!(probe_side(&Kafka, C, bytes), Probe::No, "{what}");
    }
}

#[test]
fn logins_by_mechanism() {
    let mechanisms: [(&[u8], Credentials); 4] = [
        (b"\0user\0pass", Credentials::SASL_PLAIN),
        (b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", Credentials::PASSWORD_HASH_CHALLENGE),
        (b"n,,\x01auth=Bearer eyJ\x01\x01", Credentials::BEARER_TOKEN),
        (b"\x60\x82\x02\x4e\x06\x09\x2a\x86", Credentials::NONE),
    ];
    for (message, kinds) in mechanisms {
        let size = u8::try_from(message.len()).unwrap();
        let handshake = request(17, 1, 2, b"\0\x05PLAIN");
        let login = request(36, 0, 3, &[&[0, 0, 0, size][..], message].concat());
        let flexible = request(36, 2, 3, &[&[0, size + 1][..], message, &[0]].concat());
        for login in [login, flexible] {
            let heard = hear(&Kafka, &[(C, &versions()), (C, &handshake), (C, &login)]);
            assert_eq!((heard.fits, heard.credentials), ([true, false], kinds));
            assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        }
        // Before SaslAuthenticate there was nothing but a length.
        let handshake = request(17, 0, 2, b"\0\x05PLAIN");
        let heard = hear(
            &Kafka,
            &[
                (C, &handshake),
                (S, &response(2, b"\0\0\0\0\0\x01\0\x05PLAIN")),
                (C, &framed(&[message])),
                (S, b"\0\0\0\0"),
                (C, &request(3, 1, 3, METADATA)),
            ],
        );
        assert_eq!((heard.fits, heard.credentials), ([true, true], kinds));
    }
}

#[test]
fn the_answer_to_a_login_tells_what_became_of_it() {
    let login = request(36, 1, 3, b"\0\0\0\x09\0user\0bad");
    let opening = [
        (C, versions()),
        (S, versions_answer()),
        (C, request(17, 1, 2, b"\0\x05PLAIN")),
        (S, response(2, b"\0\0\0\0\0\x01\0\x05PLAIN")),
        (C, login),
    ];
    for (error, refused) in [(58_u8, true), (0, false)] {
        let mut lines: Vec<_> = opening.iter().map(|(side, bytes)| (*side, &bytes[..])).collect();
        let answer = response(3, &[0, error, 0xff, 0xff, 0, 0, 0, 0]);
        lines.push((S, &answer));
        let heard = hear(&Kafka, &lines);
        assert_eq!((heard.fits, heard.refused), ([true, true], refused));
    }
    let unsupported = response(2, b"\0\x21\0\0\0\x01\0\x0dSCRAM-SHA-512");
    let heard = hear(&Kafka, &[(C, &request(17, 1, 2, b"\0\x05PLAIN")), (S, &unsupported)]);
    assert!(heard.refused);
}

#[test]
fn the_correlation_id_tells_whose_answer_it_is() {
    let answer = response(2, &[0; 40]);
    let heard = hear(&Kafka, &[(C, &request(3, 1, 2, METADATA)), (S, &answer)]);
    assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
    let heard = hear(&Kafka, &[(C, &versions()), (S, b"\x15\x03\x01\0\x02\x02\x46")]);
    assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]), "a TLS alert");
}

#[test]
fn a_late_view_needs_a_whole_request() {
    let heartbeat = request(12, 3, 9, b"\0\x05group\0\0\0\x01\0\x06member\xff\xff");
    let late = |bytes: &[u8]| hear_from(&Kafka, &[(C, bytes)], Start::Unknown).matched.is_some();
    assert!(late(&heartbeat) && late(&heartbeat.repeat(2)));
    assert!(!late(&heartbeat[..heartbeat.len() - 1]) && !late(&heartbeat[1..]));
    let produce = request(0, 7, 3, b"\xff\xff\0\x01\0\0\x75\x30\0\0\0\x01\0\x06orders\0\0");
    assert!(late(&produce[..produce.len() - 1]), "records go on");
}

#[test]
fn a_named_request_proves_itself_when_it_is_whole() {
    let quotas = request(49, 3, 1, &[0; 20]);
    for behind in [&b""[..], b"\0\0\0", b"\0\0\0\x10\x55"] {
        let bytes = [&quotas, behind].concat();
        assert!(matches(probe_side(&Kafka, C, &bytes)), "what matched stays matched");
    }
    assert_eq!(probe_side(&Kafka, C, &quotas[..quotas.len() - 1]), Probe::More);
    // Late, another request has to follow, also where the body may carry records but was not read.
    for whole in [quotas, request(1, 16, 1, &[0; 20])] {
        let late = |behind: &[u8]| {
            let bytes = [&whole, behind].concat();
            client(Said { bytes: &bytes, start: Start::Unknown }).is_ok()
        };
        assert!(late(b"") && late(&whole) && !late(b"\0\0\0\x10\x55"));
    }
}

#[test]
fn random_bytes_never_match() {
    let mut seed = 0x4afca_u64;
    for round in 0..200_000_usize {
        let mut bytes = [0; 64];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 56) as u8;
        }
        // Half of them behind a length that fits.
        if round % 2 == 0 {
            bytes[..6].copy_from_slice(&[0, 0, 0, 60, 0, u8::try_from(round / 2 % 92).unwrap()]);
        }
        for start in [Start::Known, Start::Unknown] {
            let said = Said { bytes: &bytes, start };
            assert!(client(said).is_err() && server(said).is_err(), "{bytes:02x?}");
        }
    }
}

#[test]
fn a_refusal_that_overtakes_its_request_is_one() {
    let handshake = request(17, 1, 1, b"\0\x05PLAIN");
    let mechanisms = response(1, b"\0\0\0\0\0\x01\0\x05PLAIN");
    let login = request(36, 1, 2, b"\0\0\0\x06\0me\0pw");
    let denied = response(2, b"\0\x3a\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0");
    let heard = hear(&Kafka, &[(C, &handshake), (S, &mechanisms), (S, &denied), (C, &login)]);
    assert!(heard.refused && heard.credentials == Credentials::SASL_PLAIN);
}
