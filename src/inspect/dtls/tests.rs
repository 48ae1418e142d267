//! Fragments, associations of DTLS 1.2 and 1.3, and what is made of odd ones.

use super::*;
use crate::model::Name;

fn datagram(records: &[Vec<u8>]) -> Vec<u8> {
    let bytes = records.concat();
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1], &length[..], body].concat()
}

/// The part `from..to` of message `number` in a record of its own.
fn fragment(kind: u8, number: u8, message: &[u8], from: usize, to: usize) -> Vec<u8> {
    let size = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    let (length, offset, bytes) = (size(message.len()), size(from), size(to - from));
    let head = [&[kind], &length[1..], &[0, number], &offset[1..], &bytes[1..]].concat();
    record(22, 0, &[&head, &message[from..to]].concat())
}

fn client_hello() -> Vec<u8> {
    let sni = b"\0\0\0\x09\0\x07\0\0\x04host";
    let versions = b"\0\x2b\0\x05\x04\xfe\xfc\xfe\xfd";
    let extensions = [&sni[..], versions].concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let head = [&b"\xfe\xfd"[..], &[7; 32], b"\0", b"\x03abc", b"\0\x02\xc0\x30", b"\x01\0"];
    [&head.concat()[..], &length, &extensions].concat()
}

fn server_hello(cipher: u16) -> Vec<u8> {
    [&b"\xfe\xfd"[..], &[9; 32], b"\0", &cipher.to_be_bytes(), b"\0"].concat()
}

fn read(datagrams: &[(Side, Vec<u8>)]) -> DtlsReader {
    let mut reader = DtlsReader::default();
    for (side, bytes) in datagrams {
        assert_eq!(reader.feed(*side, bytes), bytes.len());
    }
    reader
}

#[test]
fn fragments_join_in_any_order_and_once() {
    let hello = client_hello();
    let end = hello.len();
    let piece = |from, to| (Side::Client, datagram(&[fragment(1, 0, &hello, from, to)]));
    for order in [
        vec![piece(0, end)],
        vec![piece(0, 20), piece(20, end)],
        vec![piece(20, end), piece(0, 20)],
        vec![piece(40, end), piece(40, end), piece(0, 30), piece(25, 45)],
    ] {
        let facts = read(&order).finish();
        assert_eq!(facts.sni.as_ref().map(Name::as_str), Some("host"));
        assert_eq!(facts.version_offered, Some(TlsVersion(0xfefc)));
        assert_eq!(facts.early_data_offered, Some(false), "read whole");
    }
    let facts = read(&[piece(0, end - 8)]).finish();
    assert_eq!(facts.sni.as_ref().map(Name::as_str), Some("host"), "as far as it came");
    assert!(!read(&[piece(20, end)]).finish().client_hello);
}

#[test]
fn a_handshake_is_over_when_both_sides_seal() {
    let hello = client_hello();
    let answer = server_hello(0xc030);
    let mut reader = read(&[
        (Side::Client, datagram(&[fragment(1, 0, &hello, 0, hello.len())])),
        (Side::Server, datagram(&[fragment(3, 0, b"\xfe\xff\x03abc", 0, 6)])),
        (Side::Client, datagram(&[fragment(1, 1, &hello, 0, hello.len())])),
        (Side::Server, datagram(&[fragment(2, 1, &answer, 0, answer.len())])),
        (Side::Client, datagram(&[record(20, 0, &[1]), record(22, 1, &[5; 40])])),
    ]);
    assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Unknown, false));
    let stun = b"\0\x14\x00\x01\x00\x00\x21\x12\xa4\x42\0\0\0\0\0\0\0\0\0\0\0\0";
    reader.feed(Side::Server, stun);
    reader.feed(Side::Server, &datagram(&[record(22, 1, &[5; 40])]));
    assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Established, true));
    let facts = reader.finish();
    assert_eq!((facts.version, facts.cipher), (Some(TlsVersion(0xfefd)), Some(0xc030)));
    assert!(!reader.null_cipher());
}

/// A `ServerHello` of DTLS 1.3 (RFC 9147 section 5.3): the version is in its extension, and so is the group.
fn server_hello_1_3(cipher: u16, group: u16) -> Vec<u8> {
    let [version, share] = [&b"\0\x2b\0\x02\xfe\xfc"[..], b"\0\x33\0\x06"];
    let extensions = [version, share, &group.to_be_bytes(), b"\0\x02\x05\x05"].concat();
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    [&server_hello(cipher)[..], &length, &extensions].concat()
}

/// A sealed record behind the unified header of DTLS 1.3 (RFC 9147 section 4): 0 0 1 C S L E E, then the connection ID
/// (here of two bytes), a number of one byte or two, the length if it is there, and what is sealed.
fn unified(first: u8, sealed: usize) -> Vec<u8> {
    let bit = |mask: u8| first & mask != 0;
    let mut bytes = vec![first];
    bytes.extend(if bit(0x10) { &[0xc1, 0xd1][..] } else { &[] });
    bytes.extend(if bit(0x08) { &[0x9a, 0x9b][..] } else { &[0x9a] });
    if bit(0x04) {
        bytes.extend(u16::try_from(sealed).unwrap().to_be_bytes());
    }
    bytes.extend(vec![5; sealed]);
    bytes
}

#[test]
fn dtls_1_3_is_told_by_its_server_hello_and_every_form_of_its_header_is_sealed() {
    let (hello, answer) = (client_hello(), server_hello_1_3(0x1302, 0x11ec));
    for first in 0x20..=0x3f_u8 {
        let mut reader = read(&[
            (Side::Client, datagram(&[fragment(1, 0, &hello, 0, hello.len())])),
            // The hello and what is sealed behind it come in one datagram.
            (
                Side::Server,
                datagram(&[fragment(2, 0, &answer, 0, answer.len()), unified(first, 60)]),
            ),
        ]);
        assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Unknown, false), "{first:x}");
        reader.feed(Side::Client, &datagram(&[unified(first, 40)]));
        assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Established, true));
        let facts = reader.finish();
        assert_eq!((facts.version, facts.cipher), (Some(TlsVersion(0xfefc)), Some(0x1302)));
        assert_eq!((facts.group, facts.pq), (Some(0x11ec), Some(true)));
        assert_eq!(facts.outcome, Some(HandshakeOutcome::Completed));
        // What is hidden is not denied.
        assert_eq!((facts.client_cert_seen, facts.client_cert_requested), (None, None));
        assert!(facts.certificates.is_none() && facts.certificate_cut.is_none());
    }
}

#[test]
fn bytes_like_a_unified_header_prove_nothing_by_themselves() {
    for first in [0x1f, 0x20, 0x2f, 0x3f, 0x40] {
        let mut reader = read(&[(Side::Client, datagram(&[unified(first, 60)]))]);
        reader.feed(Side::Server, &datagram(&[unified(first, 60)]));
        assert!(!reader.spoke(Side::Client) && !reader.spoke(Side::Server), "{first:x}");
        assert_eq!(reader.outcome(), Outcome::Unknown);
    }
}

/// RFC 9147 section 5.1: no cookie field, the cookie is an extension; the second hello has the next number.
#[test]
fn a_retry_of_dtls_1_3_keeps_the_first_hello() {
    const RETRY: [u8; 32] = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    let mut retry = server_hello_1_3(0x1302, 0x11ec);
    retry[2..34].copy_from_slice(&RETRY);
    let (hello, answer) = (client_hello(), server_hello_1_3(0x1302, 0x11ec));
    let whole = |kind, number, message: &[u8]| fragment(kind, number, message, 0, message.len());
    let facts = read(&[
        (Side::Client, datagram(&[whole(1, 0, &hello)])),
        (Side::Server, datagram(&[whole(2, 0, &retry)])),
        (Side::Client, datagram(&[whole(1, 1, &hello)])),
        (Side::Server, datagram(&[whole(2, 1, &answer), unified(0x2e, 60)])),
        (Side::Client, datagram(&[unified(0x2e, 40)])),
    ])
    .finish();
    assert_eq!((facts.version, facts.hello_retry_request), (Some(TlsVersion(0xfefc)), Some(true)));
    assert!(facts.ja4.is_some(), "the first hello was seen");
}

/// The letter is that of the carrier, the version that of the extension or of the hello (JA4.md).
#[test]
fn a_ja4_of_dtls_begins_with_d_and_its_version() {
    let newest = client_hello();
    let without_versions = |version: [u8; 2]| {
        let mut hello = client_hello();
        let extensions = hello.len() - 9;
        hello.truncate(extensions);
        hello[..2].copy_from_slice(&version);
        let at = hello.len() - 15;
        hello[at..at + 2].copy_from_slice(&13_u16.to_be_bytes());
        hello
    };
    for (hello, start) in [
        (newest, "dd3d010200_"),
        (without_versions([0xfe, 0xfd]), "dd2d010100_"),
        (without_versions([0xfe, 0xff]), "dd1d010100_"),
    ] {
        let message = fragment(1, 0, &hello, 0, hello.len());
        let facts = read(&[(Side::Client, datagram(&[message]))]).finish();
        let ja4 = facts.ja4.unwrap();
        assert!(ja4.as_str().starts_with(start), "{ja4}");
        // SHA-256 of "c030".
        assert_eq!(ja4.as_str().split('_').nth(1), Some("a17193ba21fd"));
    }
}

#[test]
fn a_fatal_alert_refuses_and_a_null_cipher_is_told() {
    let hello = client_hello();
    let client = (Side::Client, datagram(&[fragment(1, 0, &hello, 0, hello.len())]));
    let reader = read(&[client.clone(), (Side::Server, datagram(&[record(21, 0, &[2, 40])]))]);
    assert_eq!(reader.outcome(), Outcome::Refused);
    assert_eq!(reader.finish().alert.map(|a| a.description), Some(40));
    // What the server sends meanwhile is read.
    let answer = server_hello(0xc030);
    let refused = (Side::Client, datagram(&[record(21, 0, &[2, 48])]));
    let hello = (Side::Server, datagram(&[fragment(2, 0, &answer, 0, answer.len())]));
    let done = (Side::Server, datagram(&[fragment(14, 1, &[], 0, 0)]));
    let flight = [client.clone(), hello, refused, done];
    assert!(!read(&flight[..3]).is_done() && read(&flight).is_done());
    let null = server_hello(0x003b);
    let reader = read(&[client, (Side::Server, datagram(&[fragment(2, 0, &null, 0, null.len())]))]);
    assert!(reader.null_cipher());
}

#[test]
fn records_under_keys_tell_of_a_session_joined_late() {
    let data = || datagram(&[record(23, 1, &[5; 40])]);
    let reader = read(&[(Side::Client, data()), (Side::Server, data())]);
    assert_eq!(reader.outcome(), Outcome::Established);
    assert_eq!(reader.finish().version, Some(TlsVersion(0xfefd)));
    assert_eq!(read(&[(Side::Client, data())]).outcome(), Outcome::Attempt);
}

#[test]
fn certificates_in_fragments_are_read_and_lost_ones_are_told() {
    let hello = server_hello(0xc030);
    let certificate = [&[0, 0x0b, 0xbb, 0, 0x0b, 0xb8][..], &[0x30; 3000]].concat();
    let answer = (Side::Server, datagram(&[fragment(2, 0, &hello, 0, hello.len())]));
    let piece = |from, to| (Side::Server, datagram(&[fragment(11, 1, &certificate, from, to)]));
    let done = (Side::Server, datagram(&[fragment(14, 2, &[], 0, 0)]));
    let whole = [answer.clone(), piece(1400, 2800), piece(0, 1400), piece(2800, 3006), done];
    let facts = read(&whole).finish();
    assert!(facts.certificates.is_some());
    assert_eq!((facts.resumed, facts.client_cert_requested), (Some(false), Some(false)));

    let mut reader = read(&whole[..3]);
    reader.give_up(CertificateCut::Loss);
    let facts = reader.finish();
    assert!(facts.certificates.is_none());
    assert_eq!(facts.certificate_cut, Some(CertificateCut::Loss));
}

#[test]
fn who_is_the_client_is_told_by_what_it_says_not_by_who_spoke_first() {
    let certificate = [0, 0, 0];
    let empty = |number| fragment(11, number, &certificate, 0, 3);
    let exchange = fragment(16, 3, &[7; 8], 0, 8);
    let (first, second) = (Side::Client, Side::Server);
    // Joined late: the server's part is seen first.
    let server = [empty(2), fragment(14, 4, &[], 0, 0)];
    let answer = [empty(2), exchange, record(20, 0, &[1])];
    let late = [(first, datagram(&server)), (second, datagram(&answer))];
    let facts = read(&late).finish();
    assert!(facts.certificates.is_some() && facts.client_certificates.is_some());
    assert_eq!(facts.client_cert_seen, Some(false));
    for side in [first, second] {
        let alone = read(&[(side, datagram(&[empty(2)]))]).finish();
        assert!(alone.certificates.is_none(), "whose it is cannot be told");
        assert!(alone.client_certificates.is_none() && alone.client_cert_seen.is_none());
    }
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let message = vec![7; 60_000];
    let far: Vec<_> = (0..64_u8)
        .flat_map(|number| {
            let message = &message;
            (1..20).map(move |at| {
                (
                    Side::Client,
                    datagram(&[fragment(1, number, message, at * 1000, at * 1000 + 900)]),
                )
            })
        })
        .collect();
    assert!(read(&far).buffered() < 100_000);
    let chains: Vec<_> = (0..64_u8)
        .map(|number| (Side::Server, datagram(&[fragment(11, number, &message, 0, 30_000)])))
        .collect();
    assert!(read(&chains).buffered() < 100_000, "one chain at a time");
}
