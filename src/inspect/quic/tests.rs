//! Whole conversations are told by the captures; here is what they do not show.

use super::*;

fn behind_length(datagram: &[u8]) -> Vec<u8> {
    [&u16::try_from(datagram.len()).unwrap().to_be_bytes()[..], datagram].concat()
}

#[test]
fn a_version_negotiation_alone_refuses() {
    let mut reader = QuicReader::default();
    let unknown = [&b"\xc7\x1a\x2a\x3a\x4a\x08AAAAAAAA\x04BBBB"[..], &[1; 1200]].concat();
    reader.feed(Side::Client, &behind_length(&unknown));
    assert_eq!(reader.outcome(), Outcome::Attempt);
    reader.feed(Side::Server, &behind_length(b"\x80\0\0\0\0\x04BBBB\x08AAAAAAAA\x0f\x0f\x0f\x0f"));
    assert_eq!(reader.finish().outcome, Some(HandshakeOutcome::Abandoned));
}

#[test]
fn bytes_that_do_not_authenticate_say_nothing_and_cost_little() {
    let mut reader = QuicReader::default();
    let mut packet = b"\xc3\0\0\0\x01\x08AAAAAAAA\0\0\x44\x00".to_vec();
    packet.resize(18 + 1024, 0x5a);
    for _ in 0..100 {
        reader.feed(Side::Client, &behind_length(&packet));
    }
    let facts = reader.finish();
    assert!(!facts.client_hello && reader.spoke(Side::Client) && reader.is_done());
    assert!(reader.derivations <= DERIVATIONS_MAX && reader.buffered() < 1000);
}
