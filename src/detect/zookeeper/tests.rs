use super::*;
use crate::detect::check::{hear, hear_from, matches, probe_side};

const C: Side = Side::Client;
const S: Side = Side::Server;

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

fn connecting() -> Vec<u8> {
    framed(&[&[0; 12], b"\0\0\x27\x10", &[0; 8], b"\0\0\0\x10", &[0; 16], b"\0"])
}

fn connected() -> Vec<u8> {
    framed(&[b"\0\0\0\0\0\0\x27\x10\x01\0\x01\x90\0\0\0\x01\0\0\0\x10", &[7; 16], b"\0"])
}

fn get_data() -> Vec<u8> {
    framed(&[b"\0\0\0\x05\0\0\0\x04\0\0\0\x09/app/lock\x01"])
}

const PONG: &[u8] = b"\0\0\0\x10\xff\xff\xff\xfe\0\0\0\0\0\0\0\x31\0\0\0\0";

#[test]
fn connecting_proves_either_side() {
    let cases = [
        ("request", C, connecting()),
        ("without the read-only flag", C, framed(&[&connecting()[4..48]])),
        ("response", S, connected()),
        ("expired", S, framed(&[&[0; 16], b"\0\0\0\x10", &[0; 16], b"\0"])),
    ];
    for (what, side, bytes) in &cases {
        assert!(matches(probe_side(&Zookeeper, *side, bytes)), "{what}");
        assert!(
            !matches(probe_side(&Zookeeper, side.other(), bytes)),
            "{what} from the other side"
        );
    }
    let heard = hear(&Zookeeper, &[(C, &connecting()), (S, &connected())]);
    assert_eq!((heard.fits, heard.refused), ([true, true], false));
    let heard = hear(&Zookeeper, &[(C, &connecting()), (S, &cases[3].2)]);
    assert!(heard.refused, "the session was lost");
}

#[test]
fn a_word_needs_its_answer() {
    let cases: [(&[u8], &[u8], bool); 5] = [
        (b"ruok", b"imok", true),
        (b"srvr\n", b"Zookeeper version: 3.8.0-1, built on 2022\n", true),
        (b"stat", b"This ZooKeeper instance is not currently serving requests\n", true),
        (b"stats\r\n", b"STAT pid 1\r\n", false),
        (b"conf", b"ERROR\r\n", false),
    ];
    for (asked, answer, is) in cases {
        assert!(!matches(probe_side(&Zookeeper, C, asked)));
        let heard = hear(&Zookeeper, &[(C, asked), (S, answer)]);
        assert_eq!(heard.fits, [is, is], "{}", asked.escape_ascii());
    }
}

#[test]
fn logins() {
    let digest = framed(&[b"\xff\xff\xff\xfc\0\0\0\x64\0\0\0\0\0\0\0\x06digest\0\0\0\x06u:pass"]);
    let sasl = framed(&[b"\0\0\0\x01\0\0\0\x66\0\0\0\x22username=\"u\",response=\"0123456789ab\""]);
    let failed = framed(&[b"\xff\xff\xff\xfc\0\0\0\0\0\0\0\0\xff\xff\xff\x8d"]);
    let opening = [(C, connecting()), (S, connected())];
    let cases = [
        (&digest, Credentials::PASSWORD_CLEARTEXT),
        (&sasl, Credentials::PASSWORD_HASH_CHALLENGE),
        (&get_data(), Credentials::NONE),
    ];
    for (login, kinds) in cases {
        let heard = hear(&Zookeeper, &[(C, &opening[0].1), (S, &opening[1].1), (C, login)]);
        assert_eq!(heard.credentials, kinds);
    }
    let heard =
        hear(&Zookeeper, &[(C, &opening[0].1), (S, &opening[1].1), (C, &digest), (S, &failed)]);
    assert!(heard.refused);
}

#[test]
fn a_late_view_is_proven_by_pings_and_paths() {
    let late = |side, bytes: &[u8]| hear_from(&Zookeeper, &[(side, bytes)], Start::Unknown).fits;
    assert_eq!(late(C, PING), [true, false]);
    assert_eq!(late(S, PONG), [false, true]);
    assert_eq!(late(C, &get_data()), [true, false]);
    assert_eq!(late(C, &framed(&[b"\0\0\0\x05\0\0\0\x04\0\0\0\x09app/locks\x01"])), [false, false]);
    assert_eq!(late(S, &framed(&[&[0; 16]])), [false, false]);
}

#[test]
fn look_alikes_are_not_zookeeper() {
    let cases: [&[u8]; 7] = [
        b"\0\0\0\x2d\0\x12\0\0\0\0\0\0",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n",
        b"hello",
        b"\x80\0\0\x28",
    ];
    for bytes in cases {
        assert_eq!(probe_side(&Zookeeper, C, bytes), Probe::No, "{}", bytes.escape_ascii());
        assert!(!matches(probe_side(&Zookeeper, S, bytes)), "{}", bytes.escape_ascii());
    }
}
