//! Certificates are read once, complete, or not at all; then the reason is known.

use super::*;
use crate::model::tls::CertificateCut;

/// A `Certificate` with one certificate of `length` bytes.
fn certificate(length: usize) -> Vec<u8> {
    let length24 = |n: usize| u32::try_from(n).unwrap().to_be_bytes()[1..].to_vec();
    let one = [length24(length), vec![0x30; length]].concat();
    [length24(one.len()), one].concat()
}

/// `message` in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| record(22, 0x0303, part)).collect()
}

fn server_flight(certificate: &[u8], size: usize) -> Vec<u8> {
    let hello = message(2, &server_hello(0x0303, 0xc02f, &[]));
    let messages = [hello, message(11, certificate), message(14, &[])].concat();
    records(&messages, size)
}

fn fed(side: Side, pieces: &[&[u8]]) -> TlsReader {
    let mut reader = TlsReader::new(Start::Known, Start::Known);
    for piece in pieces {
        reader.feed(side, piece);
        assert!(reader.buffered() <= BUFFERED_BYTES_MAX);
    }
    reader
}

#[test]
fn a_chain_is_read_in_any_segments_and_records_up_to_the_bound() {
    let longest = CERTIFICATE_BYTES_MAX - 6;
    for (length, size, segment) in
        [(700, 16384, 1), (3000, 1000, 1460), (3000, 100, 7), (longest, 16384, 1460)]
    {
        let flight = server_flight(&certificate(length), size);
        let pieces: Vec<&[u8]> = flight.chunks(segment).collect();
        let facts = fed(S, &pieces).finish();
        assert!(facts.certificates.is_some(), "{length} {size} {segment}");
        assert_eq!((facts.certificate_cut, facts.client_certificates.is_some()), (None, false));
    }
}

#[test]
fn a_chain_above_the_bound_is_not_kept() {
    let flight = server_flight(&certificate(CERTIFICATE_BYTES_MAX - 5), 16384);
    let reader = fed(S, &[&flight]);
    let facts = reader.finish();
    assert!(facts.certificates.is_none());
    assert_eq!(facts.certificate_cut, Some(CertificateCut::Size));
}

#[test]
fn a_hole_in_a_chain_and_a_chain_in_a_hole_are_lost() {
    let flight = server_flight(&certificate(3000), 16384);
    for hole in [2000, 100, 90] {
        let mut reader = TlsReader::new(Start::Known, Start::Known);
        reader.feed(S, &flight[..hole]);
        reader.gap(S);
        reader.feed(S, &flight[3200.min(flight.len())..]);
        let facts = reader.finish();
        assert_eq!(facts.certificate_cut, Some(CertificateCut::Loss), "{hole}");
        assert!(facts.certificates.is_none());
    }
}

#[test]
fn a_reader_closed_early_says_why_there_is_no_chain() {
    let flight = server_flight(&certificate(3000), 16384);
    for (read, reason, expected) in [
        (1000, CertificateCut::Memory, Some(CertificateCut::Memory)),
        (1000, CertificateCut::Loss, Some(CertificateCut::Loss)),
        (40, CertificateCut::Memory, Some(CertificateCut::Memory)),
        (40, CertificateCut::Loss, None),
        (flight.len(), CertificateCut::Memory, None),
    ] {
        let mut reader = fed(S, &[&flight[..read]]);
        reader.give_up(reason);
        assert_eq!(reader.finish().certificate_cut, expected, "{read} {reason:?}");
    }
}

#[test]
fn both_sides_certificates_are_told_apart() {
    let mut reader = fed(S, &[&server_flight(&certificate(700), 16384)]);
    let hello = records(&message(1, &client_hello(&[])), 16384);
    reader.feed(C, &[hello, records(&message(11, &certificate(900)), 16384)].concat());
    let facts = reader.finish();
    assert!(facts.certificates.is_some() && facts.client_certificates.is_some());
    assert_eq!(facts.client_cert_seen, Some(true));
}
