//! Requests, answers and what runs inside.
use super::*;
use crate::detect::check::{Heard, hear, matches, probe_side};

const C: Side = Side::Client;
const S: Side = Side::Server;
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00";
const REQUEST: &[u8] = b"\x05\x01\0\x03\x01a\x01\xbb";
const GRANTED: &[u8] = b"\x05\0\0\x01\0\0\0\0\0\0";

#[test]
fn one_side_alone_needs_two_messages_or_a_name() {
    let cases: [(&[u8], bool, bool); 15] = [
        (b"\x05\x01\x00", false, false),
        (b"\x05\x01\x00\x05\x01\0\x01\x0a\0\0\x01\0\x50", true, false),
        (b"\x05\x02\0\x02\x05\x01\0\x03\x01a\x01\xbb", true, false),
        (b"\x05\x01\x02\x01\x01u\x01p", true, false),
        (b"\x05\0\x05\0\0\x01\0\0\0\0\0\0", false, true),
        (b"\x05\x02\x01\0\x05\0\0\x01\0\0\0\0\0\0", false, true),
        (b"\x04\x01\0\x50\0\0\0\x01\0a.b\0", true, false),
        (b"\x04\x01\x01\xbb\x0a\0\0\x01u\0\x16\x03", true, false),
        (b"\x04\x01\x01\xbb\x0a\0\0\x01u\0", false, false),
        (b"\x05\x02\0\0\x05\x01\0\x01\x0a\0\0\x01\0\x50", false, false),
        (b"\x05\x01\x00\x05\x01\x01\x01\x0a\0\0\x01\0\x50", false, false),
        (b"\x04\x01\0\0\x05\0\0\0\0\0\0\0", false, false),
        (b"\x04\0\0\0\x05\0\0\0\0", false, false),
        (b"\x16\x03\x01\x02\x00", false, false),
        (b"GET / HTTP/1.1\r\n", false, false),
    ];
    for (bytes, client, server) in cases {
        assert_eq!(matches(probe_side(&Socks, C, bytes)), client, "{bytes:02x?}");
        assert_eq!(matches(probe_side(&Socks, S, bytes)), server, "{bytes:02x?}");
    }
}

fn inner(heard: &Heard) -> Option<(Option<usize>, Option<usize>)> {
    assert_eq!(heard.encryption, None, "what runs inside decides");
    heard.layer.map(|(upgrade, client, server)| {
        assert_eq!(upgrade, Some(UPGRADE));
        (client, server)
    })
}

#[test]
fn the_inner_layer_begins_behind_the_grant() {
    let heard =
        hear(&Socks, &[(C, b"\x05\x01\0"), (S, b"\x05\0"), (C, REQUEST), (S, GRANTED), (C, HELLO)]);
    assert_eq!(inner(&heard), Some((Some(11), Some(12))));
    let heard = hear(&Socks, &[(C, b"\x04\x01\0\x50\x0a\0\0\x01u\0"), (S, b"\0\x5a\0\0\0\0\0\0")]);
    assert_eq!(inner(&heard), Some((Some(10), Some(8))));
    let client = [b"\x05\x01\0", REQUEST].concat();
    let heard = hear(&Socks, &[(C, &client), (C, HELLO)]);
    assert_eq!(inner(&heard), Some((Some(11), None)), "one direction");
    let server = [b"\x05\0", GRANTED].concat();
    let heard = hear(&Socks, &[(S, &server), (S, HELLO)]);
    assert_eq!(inner(&heard), Some((None, Some(12))), "one direction");
}

#[test]
fn passwords_and_refusals_are_told() {
    let login: &[u8] = b"\x01\x01u\x01p";
    let to = |lines: &[(Side, &[u8])]| {
        let start: &[(Side, &[u8])] = &[(C, b"\x05\x02\0\x02"), (S, b"\x05\x02"), (C, login)];
        hear(&Socks, &[start, lines].concat())
    };
    let heard = to(&[(S, b"\x01\0"), (C, REQUEST), (S, GRANTED)]);
    assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
    assert_eq!(inner(&heard), Some((Some(17), Some(14))));
    assert!(to(&[(S, b"\x01\x01")]).refused);
    assert!(to(&[(S, b"\x01\0"), (C, REQUEST), (S, b"\x05\x05\0\x01\0\0\0\0\0\0")]).refused);
    assert!(hear(&Socks, &[(C, b"\x05\x01\0"), (S, b"\x05\xff")]).refused);
    let old: &[u8] = b"\x04\x01\0\x50\x0a\0\0\x01\0";
    let heard = hear(&Socks, &[(C, old), (S, b"\0\x5b\0\0\0\0\0\0")]);
    assert!(heard.refused && heard.layer.is_none());
    let heard =
        hear(&Socks, &[(C, &[b"\x05\x01\0", REQUEST].concat()), (S, b"HTTP/1.1 400 B\r\n")]);
    assert_eq!(heard.mismatch, [false, true]);
}
