//! Made certificates (`tests/data/x509`) and hand-made ones, and what is read of them.

use proptest::prelude::*;
use x509_parser::asn1_rs::oid;

use super::read_chain;
use crate::model::{
    Timestamp,
    certificate::{
        CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX, Certificate, Chain, NameMatch, Reason, UtcTime,
        Validity,
    },
};

macro_rules! der {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/data/x509/", $name, ".der")).as_slice()
    };
}

fn u24(n: usize) -> [u8; 3] {
    let [.., a, b, c] = n.to_be_bytes();
    [a, b, c]
}

/// A Certificate message of these certificates.
fn message(certificates: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> =
        certificates.iter().flat_map(|der| [&u24(der.len()), *der].concat()).collect();
    [u24(list.len()).as_slice(), &list].concat()
}

fn leaf(der: &[u8]) -> (Certificate, Vec<&'static str>) {
    let chain = read_chain(&message(&[der]));
    (chain.leaf.clone().expect("a certificate"), chain.reasons.names().collect())
}

/// One DER element.
fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = match length {
        0..=127 => vec![tag, u8::try_from(length).unwrap()],
        _ => [&[tag, 0x83][..], &u24(length)].concat(),
    };
    [head, minimal(body)].concat()
}

fn minimal(body: &[u8]) -> Vec<u8> {
    body.to_vec()
}

fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    match body.len() {
        0..=127 => tlv(0x30, &body),
        n @ 128..=255 => [&[0x30, 0x81, u8::try_from(n).unwrap()][..], &body].concat(),
        n @ 256..=65_535 => [&[0x30, 0x82][..], &u24(n)[1..], &body].concat(),
        n => [&[0x30, 0x83][..], &u24(n), &body].concat(),
    }
}

fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    tlv(0x31, &seq(&[tlv(6, oid), short(tag, value)]))
}

/// An element with the shortest length.
fn short(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut element = seq(&[body.to_vec()]);
    element[0] = tag;
    element
}

const CN: &[u8] = &oid!(raw 2.5.4.3);
const O: &[u8] = &oid!(raw 2.5.4.10);
const EMAIL: &[u8] = &oid!(raw 1.2.840.113549.1.9.1);

/// The parts of a certificate, each as encoded, to be replaced one by one.
struct Made {
    serial: Vec<u8>,
    inner: Vec<u8>,
    issuer: Vec<u8>,
    begin: Vec<u8>,
    end: Vec<u8>,
    subject: Vec<u8>,
    key: Vec<u8>,
    extensions: Vec<Vec<u8>>,
    tail: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        let name = |text: &[u8]| seq(&[attribute(CN, 0x0c, text)]);
        Self {
            serial: tlv(2, &[1]),
            inner: seq(&[tlv(6, &oid!(raw 1.2.840.10045.4.3.2))]),
            issuer: name(b"Issuer"),
            begin: tlv(0x17, b"260102030405Z"),
            end: tlv(0x17, b"270102030405Z"),
            subject: name(b"db.example.com"),
            key: seq(&[seq(&[tlv(6, &oid!(raw 1.3.101.112))]), tlv(3, &[0; 33])]),
            extensions: Vec::new(),
            tail: Vec::new(),
        }
    }

    fn der(self) -> Vec<u8> {
        let mut tbs = vec![
            tlv(0xa0, &tlv(2, &[2])),
            self.serial,
            self.inner,
            self.issuer,
            seq(&[self.begin, self.end]),
            self.subject,
            self.key,
        ];
        if !self.extensions.is_empty() {
            tbs.push(short(0xa3, &seq(&self.extensions)));
        }
        let algorithm = seq(&[tlv(6, &oid!(raw 1.2.840.10045.4.3.2))]);
        seq(&[seq(&tbs), algorithm, tlv(3, &[0; 9]), self.tail])
    }

    fn read(self) -> (Certificate, Vec<&'static str>) {
        leaf(&self.der())
    }
}

fn san(names: &[Vec<u8>]) -> Vec<u8> {
    seq(&[tlv(6, &oid!(raw 2.5.29.17)), short(4, &seq(names))])
}

#[test]
fn a_usual_certificate_is_read_wholly() {
    let (certificate, reasons) = leaf(der!("rsa-2048"));
    assert_eq!(reasons, [""; 0]);
    let text = |name: &Option<crate::model::Name>| name.as_ref().unwrap().to_string();
    assert_eq!(text(&certificate.subject), "CN=db.example.com,O=Example\\, Inc.,C=US");
    assert_eq!(certificate.subject, certificate.issuer);
    assert_eq!(text(&certificate.common_name), "db.example.com");
    let san: Vec<String> = certificate.san.iter().map(ToString::to_string).collect();
    assert_eq!(san, ["db.example.com", "*.db.example.com", "10.0.0.1", "fd00::1"]);
    assert_eq!(certificate.san_sent, 4, "a mail address names no server");
    assert_eq!(certificate.serial.as_deref(), Some("1234"));
    assert_eq!(certificate.not_before.unwrap().to_string(), "2026-01-02T03:04:05Z");
    assert_eq!(certificate.not_after.unwrap().to_string(), "2027-01-02T03:04:05Z");
    assert_eq!((certificate.self_signed, certificate.ca), (Some(true), Some(false)));
    let now = Timestamp::new(1_798_000_000, 0);
    assert_eq!(certificate.validity(now), Some(Validity::Valid));
    assert_eq!(certificate.days_left(now), Some(9));
}

#[test]
fn keys_and_signatures_are_named() {
    for (der, kind, bits, curve, algorithm, hash) in [
        (der!("rsa-2048"), "rsa", 2048, None, "sha256WithRSAEncryption", Some("sha256")),
        (der!("rsa-1024-sha1"), "rsa", 1024, None, "sha1WithRSAEncryption", Some("sha1")),
        (der!("rsa-pss-sha384"), "rsa", 2048, None, "rsassa-pss", Some("sha384")),
        (der!("dsa-2048"), "dsa", 2048, None, "dsa-with-SHA256", Some("sha256")),
        (der!("secp256r1"), "ec", 256, Some("secp256r1"), "ecdsa-with-SHA384", Some("sha384")),
        (der!("secp384r1"), "ec", 384, Some("secp384r1"), "ecdsa-with-SHA384", Some("sha384")),
        (der!("secp521r1"), "ec", 521, Some("secp521r1"), "ecdsa-with-SHA384", Some("sha384")),
        (der!("ed25519"), "ed25519", 256, None, "ed25519", None),
        (der!("ed448"), "ed448", 456, None, "ed448", None),
    ] {
        let (certificate, reasons) = leaf(der);
        assert_eq!(reasons, [""; 0], "{kind}");
        let key = certificate.key;
        assert_eq!((key.kind, key.bits, key.curve), (Some(kind), Some(bits), curve));
        let signature = certificate.signature;
        assert_eq!((signature.algorithm, signature.hash), (Some(algorithm), hash));
    }
}

#[test]
fn post_quantum_keys_are_named() {
    for (oid, kind) in [
        (oid!(raw 2.16.840.1.101.3.4.3.18).as_slice(), "ml-dsa-65"),
        (&oid!(raw 2.16.840.1.101.3.4.3.20), "slh-dsa-sha2-128s"),
        (&oid!(raw 2.16.840.1.101.3.4.3.31), "slh-dsa-shake-256f"),
    ] {
        let key = seq(&[seq(&[tlv(6, oid)]), short(3, &[0; 1953])]);
        let (certificate, reasons) = Made { key, ..Made::new() }.read();
        assert_eq!((certificate.key.kind, reasons), (Some(kind), vec![]));
    }
}

#[test]
fn the_size_of_a_modulus_counts_its_significant_bits() {
    for (modulus, bits) in [
        (vec![0x7f; 256], Some(2047)),
        ([&[0][..], &[0xff; 256]].concat(), Some(2048)),
        ([&[0, 0, 0][..], &[0x01; 128]].concat(), Some(1017)),
        (vec![0xff; 256], None),
        (vec![0], None),
    ] {
        let algorithm = seq(&[tlv(6, &oid!(raw 1.2.840.113549.1.1.1)), tlv(5, &[])]);
        let point = seq(&[short(2, &modulus), tlv(2, &[1, 0, 1])]);
        let key = seq(&[algorithm, short(3, &[&[0][..], &point].concat())]);
        let (certificate, reasons) = Made { key, ..Made::new() }.read();
        assert_eq!(certificate.key.bits, bits);
        assert_eq!(reasons.contains(&"key_unreadable"), bits.is_none());
    }
}

#[test]
fn dates_are_read_or_refused_with_a_reason() {
    for (tag, text, date, reason) in [
        (0x17, "491231235959Z", Some("2049-12-31T23:59:59Z"), None),
        (0x17, "700101000000Z", Some("1970-01-01T00:00:00Z"), None),
        (0x17, "500101000000Z", Some("1950-01-01T00:00:00Z"), Some("date_before_1970")),
        (0x17, "240229120000Z", Some("2024-02-29T12:00:00Z"), None),
        (0x17, "230229120000Z", None, Some("date_unreadable")),
        (0x17, "261301000000Z", None, Some("date_unreadable")),
        (0x17, "260001000000Z", None, Some("date_unreadable")),
        (0x17, "260100000000Z", None, Some("date_unreadable")),
        (0x17, "260101240000Z", None, Some("date_unreadable")),
        (0x17, "260101000060Z", None, Some("date_unreadable")),
        (0x17, "2601010000Z", Some("2026-01-01T00:00:00Z"), Some("date_not_canonical")),
        (0x17, "260101000000", None, Some("date_unreadable")),
        (0x17, "260101000000+0100", Some("2025-12-31T23:00:00Z"), Some("date_not_canonical")),
        (0x17, "26010100000 Z", None, Some("date_unreadable")),
        (0x17, "", None, Some("date_unreadable")),
        (0x18, "20500101000000Z", Some("2050-01-01T00:00:00Z"), None),
        (0x18, "21060207062816Z", Some("2106-02-07T06:28:16Z"), None),
        (0x18, "99991231235959Z", Some("9999-12-31T23:59:59Z"), Some("no_expiry")),
        (0x18, "20260101000000Z", Some("2026-01-01T00:00:00Z"), Some("date_not_canonical")),
        (0x18, "20600101000000.5Z", Some("2060-01-01T00:00:00Z"), Some("date_not_canonical")),
        (0x18, "20600101000000", None, Some("date_unreadable")),
        (0x18, "20600101000000.5", None, Some("date_unreadable")),
        (0x18, "00000101000000Z", Some("0000-01-01T00:00:00Z"), Some("date_before_1970")),
        (0x04, "260101000000Z", None, Some("date_unreadable")),
        (0x0c, "260101000000Z", None, Some("date_unreadable")),
    ] {
        let begin = tlv(0x18, b"00000101000000Z");
        let (certificate, reasons) =
            Made { begin, end: tlv(tag, text.as_bytes()), ..Made::new() }.read();
        let end = certificate.not_after.map(|end| end.to_string());
        assert_eq!(end.as_deref(), date, "{text:?}");
        if let Some(reason) = reason {
            assert!(reasons.contains(&reason), "{text:?} {reasons:?}");
        }
    }
    let (certificate, reasons) = leaf(der!("no-expiry"));
    assert_eq!((certificate.not_after, reasons), (Some(UtcTime::NO_END), vec!["no_expiry"]));
    let (certificate, reasons) = leaf(der!("after-2106"));
    assert_eq!((certificate.not_after.unwrap().date(), reasons), ("2126-06-07".to_owned(), vec![]));
}

#[test]
fn an_end_before_the_beginning_is_said() {
    let end = tlv(0x17, b"250102030405Z");
    let (_, reasons) = Made { end, ..Made::new() }.read();
    assert_eq!(reasons, ["validity_reversed"]);
}

#[test]
fn serial_numbers_of_any_size_are_kept_within_bounds() {
    for (serial, text, reason) in [
        (tlv(2, &[0, 0xff]), Some("FF".to_owned()), None),
        (tlv(2, &[0]), Some("00".to_owned()), Some("serial_odd")),
        (tlv(2, &[0x80]), Some("80".to_owned()), Some("serial_odd")),
        (tlv(2, &[]), None, Some("serial_odd")),
        (tlv(4, &[1]), None, Some("serial_odd")),
        (tlv(2, &[0x11; 20]), Some("11".repeat(20)), None),
        (tlv(2, &[0x11; 21]), Some("11".repeat(21)), Some("serial_too_long")),
        (short(2, &[0x11; 9000]), Some("11".repeat(32)), Some("serial_too_long")),
    ] {
        let (certificate, reasons) = Made { serial, ..Made::new() }.read();
        assert_eq!(certificate.serial, text);
        assert_eq!(reasons, Vec::from_iter(reason));
    }
}

#[test]
fn names_are_rfc_4514_in_ascii_and_leave_persons_out() {
    for (tag, value, text, reason) in [
        (0x0c, "plain".as_bytes(), "CN=plain", None),
        (0x0c, " a,b+c\"d\\e<f>g;h ".as_bytes(), r#"CN=\ a\,b\+c\"d\\e\<f\>g\;h\ "#, None),
        (0x0c, b"#1", "CN=\\#1", None),
        (0x0c, "Bücher".as_bytes(), "CN=B\\C3\\BCcher", None),
        (0x0c, b"B\xfccher", "CN=B\\FCcher", Some("name_not_text")),
        (0x0c, b"a\0b\r\n", "CN=a\\00b\\0D\\0A", None),
        (0x13, b"B\xc3\xbccher", "CN=B\\C3\\BCcher", Some("name_not_text")),
        (0x14, b"B\xfccher", "CN=B\\C3\\BCcher", None),
        (0x1e, b"\0B\0\xfc", "CN=B\\C3\\BC", None),
        (0x1e, b"\0B\0", "CN=\\00B\\00", Some("name_not_text")),
        (0x1e, b"\xd8\x00\0B", "CN=\\D8\\00\\00B", Some("name_not_text")),
        (0x1c, b"\0\0\0B", "CN=B", None),
        (0x1c, b"\0\xff\0B", "CN=\\00\\FF\\00B", Some("name_not_text")),
        (0x0c, b"", "CN=", None),
    ] {
        let subject = seq(&[attribute(CN, tag, value)]);
        let (certificate, reasons) = Made { subject, ..Made::new() }.read();
        assert_eq!(certificate.subject.unwrap().as_str(), text);
        assert_eq!(reasons, Vec::from_iter(reason), "{text}");
    }
    let subject = seq(&[
        attribute(O, 0x0c, b"Example"),
        attribute(EMAIL, 0x16, b"somebody@example.com"),
        attribute(CN, 0x0c, b"one"),
        attribute(CN, 0x0c, b"two"),
    ]);
    let (certificate, reasons) = Made { subject, ..Made::new() }.read();
    assert_eq!(certificate.subject.unwrap().as_str(), "CN=two,CN=one,O=Example");
    assert_eq!(certificate.common_name.unwrap().as_str(), "two");
    assert_eq!(reasons, ["name_attributes_left_out"]);
    let (certificate, _) = leaf(der!("utf8-name"));
    assert!(!certificate.subject.unwrap().as_str().contains("somebody"));
}

#[test]
fn a_long_name_is_cut_and_an_unreadable_one_costs_only_itself() {
    let subject = seq(&[attribute(O, 0x0c, b"Example"), attribute(CN, 0x0c, &vec![b'\\'; 50_000])]);
    let (certificate, reasons) = Made { subject, ..Made::new() }.read();
    assert!(certificate.subject.unwrap().as_str().len() <= 256);
    assert_eq!(reasons, ["name_cut"]);
    let many: Vec<_> = (0..4000).map(|_| attribute(CN, 0x0c, b"x")).collect();
    let (certificate, _) = Made { subject: seq(&many), ..Made::new() }.read();
    assert!(certificate.subject.unwrap().as_str().len() <= 256);
    let subject = seq(&[vec![0x31, 0x7f]]);
    let (certificate, reasons) = Made { subject, ..Made::new() }.read();
    assert_eq!((certificate.subject, reasons), (None, vec!["subject_unreadable"]));
    assert_eq!(certificate.not_after.unwrap().date(), "2027-01-02");
    let (certificate, reasons) = Made { issuer: seq(&[]), subject: seq(&[]), ..Made::new() }.read();
    assert_eq!((certificate.self_signed, reasons), (None, vec!["issuer_empty"]));
}

#[test]
fn a_hundred_alternative_names_are_kept_and_ten_thousand_counted() {
    let (certificate, reasons) = leaf(der!("san-100"));
    assert_eq!((certificate.san.len(), certificate.san_sent, reasons), (100, 100, vec![]));
    let names: Vec<_> = (0..10_000).map(|n| tlv(0x82, format!("{n}").as_bytes())).collect();
    let der = Made { extensions: vec![san(&names)], ..Made::new() }.der();
    assert!(der.len() < CHAIN_BYTES_MAX, "{}", der.len());
    let chain = read_chain(&message(&[&der]));
    let certificate = chain.leaf.as_ref().unwrap();
    assert_eq!((certificate.san.len(), certificate.san_sent), (100, 10_000));
    assert_eq!(chain.reasons.names().collect::<Vec<_>>(), ["san_cut"]);
    assert_eq!(chain.covers("db.example.com"), None, "it may be among those not kept");
    assert!(chain.memory() < 16 << 10, "{}", chain.memory());
}

#[test]
fn odd_alternative_names_are_escaped_and_said() {
    for (name, kept, reason) in [
        (tlv(0x82, b"a\r\nb"), Some("a\\x0d\\x0ab"), Some("san_odd")),
        (tlv(0x82, b""), Some(""), Some("san_odd")),
        (short(0x82, &[b'a'; 300]), None, Some("san_odd")),
        (tlv(0x87, &[1, 2, 3]), None, Some("san_odd")),
        (tlv(0x87, &[1, 2, 3, 4]), Some("1.2.3.4"), None),
        (tlv(0x86, b"spiffe://example.com/db"), None, None),
        (tlv(0x04, b"db"), None, Some("san_odd")),
        (vec![0x82, 0x7f, b'a'], None, Some("extensions_unreadable")),
    ] {
        let (certificate, reasons) = Made { extensions: vec![san(&[name])], ..Made::new() }.read();
        let names: Vec<String> = certificate.san.iter().map(ToString::to_string).collect();
        if let Some(kept) = kept {
            assert_eq!(names, [kept]);
        }
        assert_eq!(reasons, Vec::from_iter(reason), "{names:?}");
    }
}

#[test]
fn what_follows_a_certificate_is_said() {
    let mut der = der!("ed25519").to_vec();
    der.extend([0; 40]);
    let (certificate, reasons) = leaf(&der);
    assert_eq!(reasons, ["trailing_bytes"]);
    assert_eq!(certificate.fingerprint_sha256, leaf(der!("ed25519")).0.fingerprint_sha256);
    let (_, reasons) = Made { tail: tlv(5, &[]), ..Made::new() }.read();
    assert_eq!(reasons, ["trailing_bytes"]);
}

#[test]
fn two_names_of_the_signature_must_agree() {
    let inner = seq(&[tlv(6, &oid!(raw 1.2.840.10045.4.3.3))]);
    let (certificate, reasons) = Made { inner, ..Made::new() }.read();
    assert_eq!(certificate.signature.algorithm, None);
    assert_eq!(reasons, ["signature_algorithms_differ"]);
}

#[test]
fn messages_that_lie_are_read_as_far_as_they_go() {
    let good = der!("ed25519");
    let whole = message(&[good]);
    let cut = &whole[..whole.len() - 5];
    let mut too_long = whole.clone();
    too_long[..3].copy_from_slice(&u24(1 << 20));
    let mut trailing = whole.clone();
    trailing.extend([1, 2, 3]);
    let mut claims = whole.clone();
    claims[3..6].copy_from_slice(&u24(1 << 20));
    for (bytes, sent, leaf, reasons) in [
        (&[][..], 0, false, &["list_length_wrong"][..]),
        (&[0, 0, 0], 0, false, &["no_certificate"]),
        (&[0, 0], 0, false, &["list_length_wrong"]),
        (&[0, 0, 1, 0], 0, false, &["certificate_cut"]),
        (&[0, 0, 3, 0, 0, 0], 1, false, &["not_x509"]),
        (cut, 0, false, &["list_length_wrong", "certificate_cut"]),
        (&too_long, 1, true, &["list_length_wrong"]),
        (&trailing, 1, true, &["list_length_wrong"]),
        (&claims, 0, false, &["certificate_cut"]),
        (&message(&[b"no certificate"]), 1, false, &["not_x509"]),
        (&message(&[&[0x30, 0x80, 0x30, 0x80, 0, 0, 0, 0]]), 1, false, &["not_x509"]),
        (&message(&[&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]]), 1, false, &["not_x509"]),
        (
            &message(&[&[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]),
            1,
            false,
            &["not_x509"],
        ),
    ] {
        let chain = read_chain(bytes);
        assert_eq!(chain.sent, sent, "{reasons:?}");
        assert_eq!(chain.leaf.is_some(), leaf, "{reasons:?}");
        assert_eq!(chain.reasons.names().collect::<Vec<_>>(), reasons);
    }
}

#[test]
fn deep_nesting_is_not_followed() {
    let mut deep = Vec::new();
    for _ in 0..5000 {
        deep = short(0x30, &deep);
    }
    for (certificate, reason) in [
        (deep.clone(), "not_x509"),
        (Made { subject: deep.clone(), ..Made::new() }.der(), "subject_unreadable"),
        (Made { key: deep.clone(), ..Made::new() }.der(), "key_unreadable"),
    ] {
        let chain = read_chain(&message(&[&certificate]));
        assert_eq!(chain.reasons.names().collect::<Vec<_>>(), [reason]);
    }
    let extension = seq(&[tlv(6, &oid!(raw 2.5.29.17)), short(4, &deep)]);
    let (_, reasons) = Made { extensions: vec![extension], ..Made::new() }.read();
    assert_eq!(reasons, ["san_odd"]);
}

#[test]
fn a_chain_is_read_up_to_its_bounds() {
    let der = der!("ed25519");
    let chain = read_chain(&message(&[der; 100]));
    assert_eq!((chain.sent, chain.links.len()), (100, CHAIN_CERTIFICATES_MAX));
    assert!(chain.reasons.has(Reason::TooManyCertificates));
    let big = message(&[der!("san-100"); 40]);
    assert!(big.len() > CHAIN_BYTES_MAX);
    let chain = read_chain(&big);
    assert!(chain.reasons.has(Reason::MessageTooLong) && chain.reasons.has(Reason::CertificateCut));
    assert!(chain.leaf.is_some());
}

#[test]
fn a_chain_leads_to_a_root_or_not() {
    let (leaf, middle, root) = (der!("chain-leaf"), der!("chain-middle"), der!("chain-root"));
    let other = der!("ed448");
    let (rds, rds_middle) = (der!("rds-leaf"), der!("rds-middle"));
    for (sent, complete, reasons) in [
        (&[leaf, middle, root][..], Some(true), &[][..]),
        (&[leaf, middle], None, &[]),
        (&[leaf], None, &[]),
        (&[leaf, root, middle], Some(true), &["order_odd"]),
        (&[leaf, root], Some(false), &["chain_broken"]),
        (&[leaf, middle, other], None, &["chain_broken"]),
        (&[leaf, other], Some(false), &["chain_broken"]),
        (&[leaf, b"?"], None, &["not_x509"]),
        (&[b"?", middle, root], None, &["not_x509"]),
        (&[other], Some(true), &[]),
        (&[rds, rds_middle], Some(true), &[]),
        (&[rds], None, &[]),
    ] {
        let chain = read_chain(&message(sent));
        let names: Vec<_> = chain.reasons.names().collect();
        assert_eq!((chain.complete, names.as_slice()), (complete, reasons), "{}", sent.len());
    }
    let chain = read_chain(&message(&[leaf, middle, root]));
    let ends: Vec<_> = chain.links.iter().map(|link| link.not_after.unwrap().date()).collect();
    assert_eq!(ends, ["2027-01-02", "2031-01-02", "2027-01-02"]);
    let issued: Vec<_> = chain.links.iter().map(|l| (l.issued_by_next, l.self_signed)).collect();
    assert_eq!(issued, [(true, false), (true, false), (false, true)]);
    assert_eq!(chain.rds_ca, None);
}

#[test]
fn an_rds_endpoint_is_known_by_its_issuer() {
    let chain = read_chain(&message(&[der!("rds-leaf")]));
    let ca = chain.rds_ca.unwrap();
    assert_eq!((ca.id, ca.expires), ("rds-ca-rsa2048-g1", Some("2061-05-21")));
    let name = "shop.abcdefghijkl.eu-central-1.rds.amazonaws.com";
    assert_eq!(chain.covers(name), Some(NameMatch::AltName));
}

#[test]
fn debug_output_holds_no_raw_bytes_of_a_name_left_out() {
    let shown = format!("{:?}", read_chain(&message(&[der!("utf8-name")])));
    assert!(!shown.contains("somebody"), "{shown}");
}

fn within_bounds(chain: &Chain) {
    assert!(chain.links.len() <= CHAIN_CERTIFICATES_MAX);
    assert!(chain.memory() < 64 << 10, "{}", chain.memory());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        within_bounds(&read_chain(&bytes));
        within_bounds(&read_chain(&message(&[&bytes])));
    }

    #[test]
    fn a_damaged_chain_is_read_without_panic(
        which in 0_usize..7,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let one = [
            der!("rsa-2048"), der!("rsa-pss-sha384"), der!("dsa-2048"), der!("utf8-name"),
            der!("chain-leaf"), der!("san-100"), der!("no-expiry"),
        ][which];
        let mut bytes = message(&[one, der!("chain-middle"), der!("chain-root")]);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        within_bounds(&read_chain(&bytes));
        within_bounds(&read_chain(&bytes[..cut.index(bytes.len())]));
    }
}
