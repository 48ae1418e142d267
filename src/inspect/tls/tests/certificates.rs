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

/// Seen in the wild: the head of the message says 256 bytes, the record and the list say more.
#[test]
fn a_certificate_with_a_wrong_length_in_its_head_is_read_if_record_and_list_agree() {
    let hello = records(&message(2, &server_hello(0x0303, 0xc02f, &[])), 16384);
    for (extra, read) in [(0, true), (1, false)] {
        // The certificate alone in its record, which may be longer than the list.
        let list = [certificate(3000), vec![0; extra]].concat();
        let odd = [&hello[..], &record(22, 0x0303, &[&[11, 0, 1, 0], &list[..]].concat())].concat();
        for segment in [1, 3, 700, 5000] {
            let pieces: Vec<&[u8]> = odd.chunks(segment).collect();
            let chain = fed(S, &pieces).finish().certificates.unwrap();
            assert_eq!(chain.bytes, if read { 3006 } else { 256 }, "{extra} {segment}");
            assert!(chain.reasons.has(crate::model::certificate::Reason::ListLengthWrong));
        }
    }
}

const RSA_1024: &[u8] = include_bytes!("../../../../tests/data/x509/rsa-1024-sha1.der");

/// A `SERVER-HELLO` of `SSLv2` with a header of two bytes or of three.
fn sslv2_server_hello(certificate: &[u8], header: usize) -> Vec<u8> {
    let kinds = [1, 0, 128];
    let body = [
        &[4, 0, 1, 0, 2][..],
        &length16(certificate),
        &length16(&kinds),
        &[0, 16],
        certificate,
        &kinds,
        &[6; 16],
    ]
    .concat();
    let length = u16::try_from(body.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    let head = if header == 2 { vec![high | 0x80, low] } else { vec![high, low, 0] };
    [head, body].concat()
}

#[test]
fn the_certificate_of_sslv2_is_read_in_any_segments() {
    for header in [2, 3] {
        let hello = sslv2_server_hello(RSA_1024, header);
        for segment in [1, 2, 7, 400, 5000] {
            // A first byte above 0x7f proves SSLv2; the longer form only follows a client that spoke it.
            let mut reader = TlsReader::new(Start::Known, Start::Known);
            reader.feed(C, &SSLV2_CLIENT_HELLO);
            for piece in hello.chunks(segment) {
                reader.feed(S, piece);
            }
            let facts = reader.finish();
            if header == 3 {
                assert!(facts.certificates.is_none(), "no record begins so");
                continue;
            }
            let chain = facts.certificates.unwrap();
            let leaf = chain.leaf.as_ref().unwrap();
            assert_eq!((chain.sent, chain.links.len()), (1, 1));
            assert_eq!((leaf.key.kind, leaf.key.bits), (Some("rsa"), Some(1024)));
            assert!(leaf.not_after.is_some() && chain.bytes as usize == RSA_1024.len());
            assert_eq!(facts.ciphers_offered, Some(1));
            assert_eq!(facts.client_cert_seen, None, "a client's is sealed");
        }
    }
}

#[test]
fn a_certificate_of_sslv2_that_is_cut_off_is_told() {
    let hello = sslv2_server_hello(RSA_1024, 2);
    let half = &hello[..300];
    for gap in [true, false] {
        let mut reader = fed(S, &[half]);
        if gap {
            reader.gap(S);
        } else {
            assert!(reader.buffered() >= 280);
            reader.give_up(CertificateCut::Memory);
        }
        let cut = if gap { CertificateCut::Loss } else { CertificateCut::Memory };
        let facts = reader.finish();
        assert_eq!((facts.certificates.is_none(), facts.certificate_cut), (true, Some(cut)));
    }
    // Lengths that lie stay within the record.
    let mut odd = sslv2_server_hello(&[0x30; 40], 2);
    odd[7..9].copy_from_slice(&[0xff, 0xff]);
    let reader = fed(S, &[&odd]);
    assert!(reader.buffered() < 4096 && reader.finish().certificates.is_some());
}

const SSLV2_CLIENT_HELLO: [u8; 30] = [
    0x80, 28, 1, 0, 2, 0, 3, 0, 0, 0, 16, 1, 0, 128, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,
];
