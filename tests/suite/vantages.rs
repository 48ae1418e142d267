//! A flow mirrored at both ends is one flow; two networks with the same addresses are two.

use super::{
    build::{ACK, At, RST, Talk, merge},
    capture::{Owned, Random, records, text},
};

const CLIENT_SIDE: At = At { source: [10, 1, 0, 5], vni: 11 };
const SERVER_SIDE: At = At { source: [10, 1, 0, 9], vni: 12 };
const CLIENT: ([u8; 4], u16) = ([10, 1, 0, 5], 41000);
const SERVER: ([u8; 4], u16) = ([10, 1, 0, 9], 8080);

fn http(isn: [u32; 2]) -> Talk {
    let mut talk = Talk::new(CLIENT, SERVER, isn).handshake();
    for _ in 0..40 {
        talk = talk
            .client(b"GET /a HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\n\r\n")
            .server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
    talk.close()
}

#[test]
fn mirrored_at_both_ends_is_one_record_with_true_counts() {
    let talk = http([100, 900]);
    let one = records(&talk.copies(CLIENT_SIDE));
    let both = records(&merge(&[talk.copies(CLIENT_SIDE), talk.copies(SERVER_SIDE)]));
    assert_eq!((one.len(), both.len()), (1, 1));
    for key in ["packets_c2s", "packets_s2c", "bytes_c2s", "bytes_s2c", "counts", "evidence"] {
        assert_eq!(one[0][key], both[0][key], "{key}");
    }
    assert_eq!(both[0]["vantages"].as_array().unwrap().len(), 2);
    assert_eq!(both[0]["retransmits"], 0);
    assert_eq!(text(&both[0], "outcome"), "established");
}

#[test]
fn loss_at_one_vantage_changes_neither_verdict_nor_counts() {
    let talk = http([100, 900]);
    let whole = records(&talk.copies(CLIENT_SIDE));
    for seed in 0..50 {
        let mut random = Random(seed);
        let lossy: Vec<Owned> =
            talk.copies(SERVER_SIDE).into_iter().filter(|_| random.below(100) >= 5).collect();
        let both = records(&merge(&[lossy, talk.copies(CLIENT_SIDE)]));
        assert_eq!(both.len(), 1, "seed {seed}");
        for key in [
            "encryption",
            "outcome",
            "credentials",
            "evidence",
            "packets_c2s",
            "packets_s2c",
            "counts",
        ] {
            assert_eq!(both[0][key], whole[0][key], "seed {seed}: {key}");
        }
    }
}

#[test]
fn loss_at_the_only_vantage_says_partial() {
    let talk = http([100, 900]);
    let mut copies = talk.copies(CLIENT_SIDE);
    copies.remove(20);
    let records = records(&copies);
    assert_eq!(text(&records[0], "counts"), "partial");
    assert_eq!(records[0]["gaps"], 1);
}

#[test]
fn two_networks_with_the_same_five_tuple_are_told_apart() {
    let plain = http([100, 900]);
    let tls = Talk::new(CLIENT, SERVER, [0x7000_0000, 0x9000_0000])
        .handshake()
        .client(&[0x80; 100])
        .server(&[0x90; 50])
        .close();
    let elsewhere = At { source: [10, 1, 0, 5], vni: 77 };
    let both = merge(&[plain.copies(CLIENT_SIDE), tls.copies(elsewhere)]);
    let mut engine = cleartap::engine::Engine::new(cleartap::engine::Settings::default());
    let mut list = Vec::new();
    let mut take = |e: cleartap::engine::Emitted| list.push(e.record);
    for frame in &both {
        engine.frame(&frame.frame(), &mut take);
    }
    engine.finish(&mut take);
    assert_eq!(list.len(), 2);
    assert_eq!(engine.counters().table.scope_collision, 1);
    let http = list.iter().find(|r| r.encryption == "plaintext").unwrap();
    let other = list.iter().find(|r| r.encryption != "plaintext").unwrap();
    assert_eq!(other.encryption, "unknown");
    assert_eq!((http.counts, other.counts), ("exact", "exact"));
}

#[test]
fn ports_used_again_are_a_new_connection() {
    let first = http([100, 900]);
    let second = http([5_000_000, 7_000_000]);
    let shifted: Vec<Owned> = second
        .copies(CLIENT_SIDE)
        .into_iter()
        .map(|mut f| {
            f.time.0 += 1_000_000_000;
            f
        })
        .collect();
    let list = records(&merge(&[first.copies(CLIENT_SIDE), shifted]));
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|r| text(r, "counts") == "exact" && r["packets_c2s"] == 44));
}

/// A minute later.
fn later(frames: Vec<Owned>) -> Vec<Owned> {
    let later = |mut f: Owned| {
        f.time.0 += 60_000_000_000;
        f
    };
    frames.into_iter().map(later).collect()
}

#[test]
fn ports_used_again_near_the_numbers_of_a_flow_joined_late_are_a_new_connection() {
    let late = http([100, 900]).copies(CLIENT_SIDE).split_off(3);
    let tls = Talk::new(CLIENT, SERVER, [20_000, 30_000])
        .handshake()
        .client(&[&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat())
        .close();
    let list = records(&[late, later(tls.copies(CLIENT_SIDE))].concat());
    let classes: Vec<&str> = list.iter().map(|r| text(r, "encryption")).collect();
    assert_eq!(classes, ["plaintext", "tls"]);
}

#[test]
fn ports_used_again_are_one_connection_wherever_it_is_seen_first() {
    let mut first = http([100, 900]).copies(CLIENT_SIDE);
    first.truncate(20);
    let second = http([0x5000_0000, 0x7000_0000]);
    let copies = merge(&[second.copies(SERVER_SIDE), second.copies(CLIENT_SIDE)]);
    let list = records(&[first, later(copies)].concat());
    assert_eq!(list.len(), 2);
}

#[test]
fn an_rst_after_both_ends_have_closed_is_no_reset() {
    let talk = http([100, 900]).segment(true, RST | ACK, b"");
    assert_eq!(text(&records(&talk.copies(CLIENT_SIDE))[0], "state"), "closed");
}
