//! What holds for every text protocol: each opening is one's own, and nobody takes what is not text.
use crate::detect::{DETECTORS, Detector, Probe, check::probe_side};
use crate::model::Side;

const FAMILY: [&str; 9] = ["xmpp", "irc", "sieve", "imap", "smtp", "lmtp", "nntp", "pop3", "ftp"];

fn family() -> impl Iterator<Item = &'static dyn Detector> {
    DETECTORS.iter().copied().filter(|detector| FAMILY.contains(&detector.info().name))
}

fn who(side: Side, bytes: &[u8]) -> Vec<&'static str> {
    let matches = |d: &&dyn Detector| matches!(probe_side(*d, side, bytes), Probe::Match(_));
    family().filter(matches).map(|detector| detector.info().name).collect()
}

#[test]
fn every_opening_is_one_protocols_own() {
    let cases: [(Side, &[u8], &[&str]); 20] = [
        (Side::Client, b"EHLO x\r\n", &["smtp"]),
        (Side::Client, b"LHLO x\r\n", &["lmtp"]),
        (Side::Client, b"a1 CAPABILITY\r\n", &["imap"]),
        (Side::Client, b"CAPA\r\n", &["pop3"]),
        (Side::Client, b"CAPABILITIES\r\n", &["nntp"]),
        (Side::Client, b"CAP LS\r\n", &["irc"]),
        (Side::Client, b"AUTH TLS\r\n", &["ftp"]),
        (Side::Client, b"AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n", &["sieve"]),
        (Side::Client, b"STARTTLS\r\n", &[]),
        (Side::Client, b"USER bob\r\nPASS x\r\n", &[]),
        (Side::Client, b"QUIT\r\n", &[]),
        (Side::Client, b"AUTH PLAIN\r\n", &[]),
        (Side::Server, b"220 x ESMTP\r\n", &["smtp"]),
        (Side::Server, b"220 x LMTP\r\n", &["lmtp"]),
        (Side::Server, b"220 x FTP\r\n", &["ftp"]),
        (Side::Server, b"220 x\r\n", &[]),
        (Side::Server, b"220 x FTP and ESMTP\r\n", &[]),
        (Side::Server, b"200 x NNTP\r\n", &["nntp"]),
        (Side::Server, b"* OK x IMAP4\r\n", &["imap"]),
        (Side::Server, b"+OK x POP3\r\n", &["pop3"]),
    ];
    for (side, bytes, expected) in cases {
        assert_eq!(who(side, bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn clients_of_other_protocols_are_refused_at_once() {
    let others: [&[u8]; 9] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x00\x00\x00\x2d\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07console",
        b"*1\r\n$4\r\nPING\r\n",
        b"CONNECT {\"verbose\":false}\r\nPING\r\n",
        b"OPTIONS sip:a@b SIP/2.0\r\n",
    ];
    for bytes in others {
        for detector in family() {
            let answer = probe_side(detector, Side::Client, bytes);
            assert_eq!(answer, Probe::No, "{}: {}", detector.info().name, bytes.escape_ascii());
        }
    }
}

#[test]
fn random_bytes_and_random_words_never_match() {
    let mut seed = 0x11e5_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    for round in 0..4000 {
        let mut bytes = [0; 48];
        for byte in &mut bytes {
            *byte = if round % 2 == 0 {
                next()
            } else {
                b"ABCDEKLOPRSTU +*2\"<: \r\n"[usize::from(next() % 23)]
            };
        }
        bytes[46..].copy_from_slice(b"\r\n");
        for side in [Side::Client, Side::Server] {
            assert_eq!(who(side, &bytes), Vec::<&str>::new(), "{}", bytes.escape_ascii());
        }
    }
}
