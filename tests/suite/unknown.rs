//! What no protocol explains is described, not guessed: readable text as such, the rest `unknown` with its reason.

use cleartap::engine::Settings;
use serde_json::{Value, json};

use super::{
    build::{At, Talk},
    capture::records_with,
};

const AT: At = At { source: [10, 9, 0, 1], vni: 7 };
const LOG: &[u8] = b"job=17 state=done rows=3 took=35ms by=nightly-import\n";

fn talk() -> Talk {
    Talk::new(([10, 0, 0, 1], 40000), ([10, 0, 0, 2], 7777), [1, 2])
}

fn verdict(talk: &Talk) -> Value {
    let mut records = records_with(&talk.copies(AT), Settings::default());
    assert_eq!(records.len(), 1);
    records.remove(0)
}

fn random(length: usize) -> Vec<u8> {
    let mut x = 7_u32;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn text_that_fits_no_protocol_is_plaintext_by_heuristic_and_names_no_application() {
    let said = verdict(&talk().handshake().client(LOG).client(LOG).server(b"noted\n").close());
    assert_eq!(said["encryption"], "plaintext");
    assert_eq!(said["confidence"], "heuristic");
    assert_eq!((&said["app"], &said["layers"]), (&Value::Null, &json!([])));
    assert_eq!(said["outcome"], "established");
    assert_eq!(said["evidence"][0]["rule"], "text.readable");
    assert_eq!(said["plaintext_reason"], Value::Null);
}

#[test]
fn text_joined_late_is_text_too() {
    let said = verdict(&(0..6).fold(talk(), |talk, _| talk.server(LOG)));
    assert_eq!(
        (&said["encryption"], &said["confidence"]),
        (&json!("plaintext"), &json!("heuristic"))
    );
    assert_eq!(said["outcome"], "unknown", "whether the other side took part was not seen");
}

#[test]
fn text_with_a_hole_in_it_is_text_too_and_random_bytes_behind_the_hole_are_not() {
    let with_hole = |first: &[u8], second: &[u8]| {
        let talk = talk().handshake().client(first).client(b"lost").client(second).server(LOG);
        let mut copies = talk.close().copies(AT);
        // The handshake takes three packets.
        copies.remove(4);
        let mut records = records_with(&copies, Settings::default());
        records.remove(0)
    };
    let said = with_hole(LOG, LOG);
    assert_eq!(
        (&said["encryption"], &said["confidence"]),
        (&json!("plaintext"), &json!("heuristic"))
    );
    for (first, second) in [(LOG, &random(400)[..]), (&random(400)[..], LOG)] {
        let said = with_hole(first, second);
        assert_eq!(said["encryption"], "unknown");
        assert_eq!(said["unknown_reason"], "gap_at_start");
    }
}

#[test]
fn base64_does_not_speak_of_tls() {
    let signed = b"<message id='17' signature='nB35ysslEg+IqICfDGvOjFLIp9tlsYpS'/>\n";
    let said = verdict(&talk().handshake().client(signed).server(LOG).close());
    assert_eq!(said["encryption"], "plaintext");
}

#[test]
fn text_is_not_called_so_where_it_may_lead_to_encryption() {
    let cases: [(Talk, &str); 5] = [
        (talk().handshake().client(b"hello there\n").close(), "too little"),
        (talk().handshake().client(LOG).server(&random(400)).close(), "answered by random bytes"),
        (
            talk()
                .handshake()
                .client(b"job=17 do=starttls or else we stop right here, please\n")
                .close(),
            "speaks of TLS",
        ),
        (talk().handshake().client(LOG).client(&random(400)).close(), "random bytes follow"),
        (talk().handshake().client(&random(400)).close(), "no text at all"),
    ];
    for (talk, why) in cases {
        let said = verdict(&talk);
        assert_eq!(said["encryption"], "unknown", "{why}");
        assert!(said["unknown_reason"].is_string(), "{why}");
    }
}

#[test]
fn a_greeting_alone_was_in_clear_if_its_connection_was_closed() {
    let greeted = || talk().handshake().server(b"220 mail.example ESMTP ready\r\n");
    let said = verdict(&greeted().close());
    assert_eq!((&said["encryption"], &said["app"]), (&json!("plaintext"), &json!("smtp")));
    assert_eq!((&said["outcome"], &said["confidence"]), (&json!("attempt"), &json!("one_side")));
    let said = verdict(&greeted());
    assert_eq!(said["encryption"], "unknown", "it may go on to ask for TLS");
}

#[test]
fn the_readable_handshake_of_an_encrypted_protocol_is_no_text() {
    let proposals =
        b"curve25519-sha256,ecdh-sha2-nistp256,diffie-hellman-group14-sha256,ext-info-c";
    let mut proposal = b"\x00\x00\x04\x0c\x06\x14".to_vec();
    proposal.extend(random(16));
    proposal.extend(u32::try_from(proposals.len()).expect("short").to_be_bytes());
    proposal.extend(proposals);
    let said =
        verdict(&talk().client(&proposal).client(b"hmac-sha2-256,hmac-sha2-512,none,none,none"));
    assert_eq!((&said["encryption"], &said["app"]), (&json!("ssh"), &json!("ssh")));
    assert_eq!(said["confidence"], "midstream");
    let said = verdict(&talk().client(&proposal[9..]).client(b",none,none,none,none,none,none"));
    assert_eq!((&said["encryption"], &said["app"]), (&json!("unknown"), &Value::Null));
}

#[test]
fn tls_that_was_granted_and_never_came_left_all_of_it_in_clear() {
    let asked = || {
        talk()
            .handshake()
            .server(b"220 mail.example ESMTP ready\r\n")
            .client(b"EHLO client.example\r\n")
            .server(b"250-mail.example\r\n250 STARTTLS\r\n")
            .client(b"STARTTLS\r\n")
            .server(b"220 go ahead\r\n")
    };
    let said = verdict(&asked().server(b"220 go ahead\r\nHTTP/1.1 101\r\nUpgrade: h2c\r\n\r\n"));
    assert_eq!((&said["encryption"], &said["app"]), (&json!("plaintext"), &json!("smtp")));
    assert_eq!(said["upgrade"], Value::Null);
    let said = verdict(&asked().client(&random(400)));
    assert_eq!(said["encryption"], "unknown", "granted, and what follows is not text");
    assert_eq!(verdict(&asked())["encryption"], "unknown", "TLS may follow");
}

#[test]
fn media_over_tcp_may_be_sealed_and_its_closed_connection_does_not_tell() {
    let packet = |sequence: u8, noise: &[u8]| {
        let head = [0x80, 96, 0, sequence, 0, 0, 0, sequence, 1, 2, 3, 4];
        let length = u16::try_from(head.len() + noise.len()).expect("short").to_be_bytes();
        [&length[..], &head, noise].concat()
    };
    let noise = random(2000);
    let sent = (1..=6_u8).zip(noise.chunks(300));
    let talk = sent.fold(talk().handshake(), |talk, (n, noise)| {
        talk.client(&packet(n, noise)).server(&packet(n, &noise[7..]))
    });
    let said = verdict(&talk.close());
    assert_eq!((&said["encryption"], &said["app"]), (&json!("unknown"), &json!("rtp")));
}
