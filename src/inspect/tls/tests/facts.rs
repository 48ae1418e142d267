//! What each side's messages tell, one fact after the other.

use super::*;
use crate::model::tls::{KeyExchange, Resumption};

const VERSIONS_1_3: (u16, &[u8]) = (43, &[3, 4]);
const RETRY: &str = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";

/// The facts of TLS 1.2 with this suite and these messages of the server.
fn legacy(suite: u16, flight: Vec<u8>) -> TlsFacts {
    read(&tls12(suite, flight, Vec::new())).finish()
}

/// A hello of TLS 1.3 and the answer to it.
fn modern(client: &[(u16, &[u8])], server: &[(u16, &[u8])]) -> TlsFacts {
    let offered: [(u16, &[u8]); 1] = [(43, &[4, 0x5a, 0x5a, 3, 4])];
    let hello = client_hello(&[&offered, client].concat());
    let answer = server_hello(0x0303, 0x1301, &[&[VERSIONS_1_3], server].concat());
    let lines = [
        (C, record(22, 0x0301, &message(1, &hello))),
        (S, [handshake(2, &answer), ccs(), data(400)].concat()),
        (C, data(53)),
    ];
    read(&lines).finish()
}

fn share(group: u16) -> Vec<u8> {
    [&group.to_be_bytes()[..], &[0, 4, 1, 1, 1, 1]].concat()
}

/// A `pre_shared_key` with an identity of each age.
fn identities(ages: &[u32]) -> Vec<u8> {
    let one = |age: &u32| [&[0, 2, 9, 9][..], &age.to_be_bytes()].concat();
    let list: Vec<u8> = ages.iter().flat_map(one).collect();
    [&length16(&list)[..], &list, &[0, 3, 2, 7, 7]].concat()
}

#[test]
fn the_key_exchange_of_tls_1_3_is_told_by_group_and_pre_shared_key() {
    let psk = identities(&[77]);
    for (group, accepted, expected, pq) in [
        (Some(29), false, KeyExchange::Ecdhe, Some(false)),
        (Some(0x0101), false, KeyExchange::Dhe, Some(false)),
        (Some(0x11ec), false, KeyExchange::EcdheMlkem, Some(true)),
        (Some(29), true, KeyExchange::EcdhePsk, Some(false)),
        (None, true, KeyExchange::Psk, None),
    ] {
        let share = group.map(share);
        let mut server: Vec<(u16, &[u8])> = Vec::new();
        server.extend(share.iter().map(|share| (51, &share[..])));
        server.extend(accepted.then_some((41, &[0, 0][..])));
        let facts = modern(&[(41, &psk)], &server);
        assert_eq!((facts.key_exchange, facts.pq, facts.group), (Some(expected), pq, group));
        assert_eq!(facts.resumed, Some(accepted));
        let way = if group.is_some() { Resumption::PskDhe } else { Resumption::Psk };
        assert_eq!(facts.resumption, accepted.then_some(way));
        assert_eq!(facts.hello_retry_request, Some(false));
    }
}

#[test]
fn a_pre_shared_key_agreed_upon_outside_resumes_nothing() {
    let share = share(29);
    for (ages, resumed) in [
        (&[77][..], Some(true)),
        (&[77, 78], Some(true)),
        (&[0], Some(false)),
        (&[0, 77], None),
        (&[], None),
    ] {
        let psk = identities(ages);
        let facts = modern(&[(41, &psk)], &[(51, &share), (41, &[0, 0])]);
        assert_eq!(facts.resumed, resumed, "{ages:?}");
    }
}

#[test]
fn offers_are_kept_without_grease_and_counted() {
    let groups: Vec<u8> = [0x2a2a_u16, 0x11ec, 29, 23, 24, 25, 30, 256, 257, 258]
        .iter()
        .flat_map(|group| group.to_be_bytes())
        .collect();
    let groups = [&length16(&groups)[..], &groups].concat();
    let facts = modern(&[(10, &groups), (0xfe0d, &[0; 40])], &[]);
    assert_eq!(facts.groups_offered, [0x11ec, 29, 23, 24, 25, 30, 256, 257]);
    assert_eq!((facts.pq_offered, facts.ciphers_offered), (Some(true), Some(2)));
    assert_eq!(facts.versions_offered, [TlsVersion(0x0304)]);
    assert_eq!((facts.ech_offered, facts.ech_grease), (Some(true), None));
    assert!(facts.ja3.is_some() && facts.ja4.is_some());
}

#[test]
fn tls_1_2_names_its_exchange_and_what_signed_it() {
    let curve = [&[3, 0, 29, 4, 1, 1, 1, 1][..], &[8, 4, 0, 2, 5, 5]].concat();
    let facts = legacy(0xc02f, handshake(12, &curve));
    assert_eq!(facts.key_exchange, Some(KeyExchange::Ecdhe));
    assert_eq!((facts.group, facts.signature_algorithm), (Some(29), Some(0x0804)));
    assert_eq!((facts.pq, facts.compression), (Some(false), Some(0)));
    assert_eq!(facts.secure_renegotiation, Some(true));
    assert_eq!(facts.extended_master_secret, Some(false));
    assert_eq!(facts.downgrade_sentinel, Some(false));

    let prime = [&[1, 0][..], &[0x80; 256], &[0, 1, 2, 0, 1, 9], &[2, 1, 0, 1, 5]].concat();
    let facts = legacy(0x009e, handshake(12, &prime));
    assert_eq!(facts.key_exchange, Some(KeyExchange::Dhe));
    assert_eq!((facts.dh_bits, facts.signature_algorithm), (Some(2048), Some(0x0201)));

    let anonymous = legacy(0x006c, handshake(12, &prime));
    assert_eq!(anonymous.key_exchange, Some(KeyExchange::DhAnon));
    assert_eq!((anonymous.dh_bits, anonymous.signature_algorithm), (Some(2048), None));
    assert_eq!(legacy(0x002f, Vec::new()).key_exchange, Some(KeyExchange::Rsa));
}

#[test]
fn what_the_random_of_a_server_says_is_told() {
    for (end, expected) in
        [(&b"DOWNGRD\x01"[..], true), (b"DOWNGRD\x00", true), (b"XOWNGRD\x00", false)]
    {
        let mut random = [9; 32];
        random[24..].copy_from_slice(end);
        let hello = server_hello_random(0x0303, random, 0xc02f, &[(23, &[])]);
        let facts = read(&[(S, handshake(2, &hello))]).finish();
        assert_eq!(facts.downgrade_sentinel, Some(expected));
        assert_eq!(facts.extended_master_secret, Some(true));
    }
}

#[test]
fn a_resumed_session_of_tls_1_2_says_how() {
    for (ticket, expected) in [
        (None, Resumption::SessionId),
        (Some(&b""[..]), Resumption::SessionId),
        (Some(b"ticket"), Resumption::SessionTicket),
    ] {
        let mut lines = tls12(0xc02f, Vec::new(), Vec::new());
        let list: Vec<(u16, &[u8])> = ticket.iter().map(|ticket| (35, *ticket)).collect();
        lines[0] = (C, handshake(1, &client_hello(&list)));
        let facts = read(&lines).finish();
        assert_eq!((facts.resumed, facts.resumption), (Some(true), Some(expected)));
        assert_eq!(facts.client_cert_requested, Some(false));
    }
}

#[test]
fn a_request_for_a_certificate_is_told() {
    let done = message(14, &[]);
    let asked = record(22, 0x0303, &[message(13, &[1, 1, 0, 0, 0, 0]), done.clone()].concat());
    assert_eq!(legacy(0xc02f, asked).client_cert_requested, Some(true));
    assert_eq!(legacy(0xc02f, record(22, 0x0303, &done)).client_cert_requested, Some(false));
    let half = tls12(0xc02f, Vec::new(), Vec::new());
    assert_eq!(read(&half[..2]).finish().client_cert_requested, None);
    assert_eq!(modern(&[], &[]).client_cert_requested, None);
}

#[test]
fn a_second_handshake_shows_in_sealed_records() {
    let mut lines = tls12(0xc02f, server_flight(), handshake(16, &[1; 33]));
    assert_eq!(read(&lines).finish().renegotiated, None);
    lines.push((S, sealed()));
    // A request that the client does not follow.
    assert_eq!(read(&lines).finish().renegotiated, None);
    lines.push((C, sealed()));
    let reader = read(&lines);
    assert_eq!((reader.finish().renegotiated, reader.is_done()), (Some(true), true));
}

#[test]
fn without_a_second_handshake_the_reading_ends_soon() {
    let mut lines = tls12(0xc02f, server_flight(), handshake(16, &[1; 33]));
    assert!(!read(&lines).is_done());
    lines.push((S, [data(9), data(9), data(9)].concat()));
    assert!(read(&lines).is_done());
}

#[test]
fn early_data_is_refused_by_another_hello_or_without_a_key() {
    let psk = identities(&[77]);
    let early: [(u16, &[u8]); 2] = [(42, &[]), (41, &psk)];
    let share = share(29);
    let told = |facts: &TlsFacts| {
        (facts.early_data_offered, facts.early_data_sent, facts.early_data_accepted)
    };
    let taken = modern(&early, &[(51, &share), (41, &[0, 0])]);
    assert_eq!(told(&taken), (Some(true), None, None));
    assert_eq!(told(&modern(&early, &[(51, &share)])), (Some(true), None, Some(false)));
    assert_eq!(told(&modern(&[], &[(51, &share)])), (Some(false), None, None));

    let first = client_hello(&[&[(43, &[2, 3, 4][..])], &early[..]].concat());
    let second = client_hello(&[(43, &[2, 3, 4]), (41, &psk)]);
    let asked = server_hello_random(
        0x0303,
        hex(RETRY).try_into().unwrap(),
        0x1301,
        &[VERSIONS_1_3, (51, &[0, 23])],
    );
    let facts = read(&[
        (C, [handshake(1, &first), ccs(), data(60)].concat()),
        (S, [handshake(2, &asked), ccs()].concat()),
        (C, handshake(1, &second)),
    ])
    .finish();
    assert_eq!(told(&facts), (Some(true), Some(true), Some(false)));
}

#[test]
fn only_a_second_hello_tells_grease_from_a_genuine_encrypted_hello() {
    let outer = |key: &[u8], payload: u8| {
        [&[0, 0, 1, 0, 1, 7][..], &length16(key), key, &[0, 4], &[payload; 4]].concat()
    };
    let (first, copied, renewed) = (outer(&[5; 32], 1), outer(&[5; 32], 1), outer(&[], 2));
    let asked = server_hello_random(
        0x0303,
        hex(RETRY).try_into().unwrap(),
        0x1301,
        &[VERSIONS_1_3, (51, &[0, 23])],
    );
    for (second, expected) in
        [(&copied, Some(true)), (&renewed, Some(false)), (&outer(&[6; 32], 3), None)]
    {
        let hello = |ech: &[u8]| handshake(1, &client_hello(&[(43, &[2, 3, 4]), (0xfe0d, ech)]));
        let lines = [(C, hello(&first)), (S, handshake(2, &asked)), (C, hello(second))];
        let facts = read(&lines).finish();
        assert_eq!((facts.ech_offered, facts.ech_grease), (Some(true), expected));
    }
}

#[test]
fn a_hello_that_may_be_the_second_has_no_fingerprint() {
    let asked = server_hello_random(
        0x0303,
        hex(RETRY).try_into().unwrap(),
        0x1301,
        &[VERSIONS_1_3, (51, &[0, 23])],
    );
    let second = handshake(1, &client_hello(&[(43, &[2, 3, 4])]));
    let mut reader = TlsReader::new(Start::Known, Start::Known);
    reader.gap(C);
    reader.feed(C, &second);
    assert!(reader.finish().ja4.is_none(), "another may have come before");
    let mut initial = TlsReader::new(Start::Known, Start::Known);
    initial.gap(C);
    initial.feed(C, &record(22, 0x0301, &message(1, &client_hello(&[(43, &[2, 3, 4])]))));
    assert!(initial.finish().ja4.is_some(), "only a first hello has a record of TLS 1.0");
    let mut answered = TlsReader::new(Start::Unknown, Start::Known);
    answered.feed(C, &second);
    answered.feed(S, &handshake(2, &server_hello(0x0303, 0x1301, &[VERSIONS_1_3])));
    assert!(answered.finish().ja4.is_some(), "the server asked for no other");
    let shares = |count| {
        let list = share(29).repeat(count);
        [&length16(&list)[..], &list].concat()
    };
    let cookie: (u16, &[u8]) = (44, &[0, 1, 7]);
    let early: (u16, &[u8]) = (42, &[]);
    for (list, first) in [
        (vec![(51, &shares(2)[..])], true),
        (vec![(51, &shares(0)[..])], true),
        (vec![(51, &shares(1)[..])], false),
        (vec![(51, &shares(1)[..]), early], true),
        (vec![(51, &shares(2)[..]), cookie], false),
        (vec![(51, &shares(2)[1..])], false),
    ] {
        let hello = client_hello(&[&[(43, &[2, 3, 4][..])], &list[..]].concat());
        let mut late = TlsReader::new(Start::Unknown, Start::Unknown);
        late.feed(C, &handshake(1, &hello));
        assert_eq!(late.finish().ja4.is_some(), first, "a second has one share, or a cookie");
    }
    reader.feed(S, &handshake(2, &asked));
    let facts = reader.finish();
    assert_eq!((facts.ja3, facts.ja4, facts.early_data_offered), (None, None, None));
    assert_eq!(facts.version_offered, Some(TlsVersion(0x0304)));
    let again = client_hello(&[(0xff01, &[12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])]);
    let mut renegotiated = TlsReader::new(Start::Unknown, Start::Unknown);
    renegotiated.feed(C, &handshake(1, &again));
    let facts = renegotiated.finish();
    assert!(facts.client_hello && facts.ja4.is_none() && facts.ciphers_offered.is_none());
}
