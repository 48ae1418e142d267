//! Source domains keep equal addresses apart, and uninvited copies out.

use cleartap::engine::{Scopes, Settings};

use super::{
    build::{At, Talk, merge},
    capture::{records_with, text},
};

fn talk() -> Talk {
    Talk::new(([10, 0, 0, 1], 40000), ([10, 0, 0, 2], 80), [1, 2])
        .handshake()
        .client(b"GET / HTTP/1.1\r\n\r\n")
        .server(b"HTTP/1.1 204 No Content\r\n\r\n")
        .close()
}

#[test]
fn the_same_flow_in_two_scopes_is_two_records() {
    let scopes = Scopes {
        rules: vec!["prod=vni:7".parse().unwrap(), "test=vni:8".parse().unwrap()],
        ..Scopes::default()
    };
    let frames = merge(&[
        talk().copies(At { source: [10, 9, 0, 1], vni: 7 }),
        talk().copies(At { source: [10, 9, 0, 1], vni: 8 }),
    ]);
    let records = records_with(&frames, Settings { scopes, ..Settings::default() });
    let mut names: Vec<&str> = records.iter().map(|r| text(r, "scope")).collect();
    names.sort_unstable();
    assert_eq!(names, ["prod", "test"]);
    assert_eq!(records[0]["packets_c2s"], records[1]["packets_c2s"]);
}

#[test]
fn copies_of_other_senders_are_dropped() {
    let scopes =
        Scopes { allowed_sources: vec!["10.9.0.0/16".parse().unwrap()], ..Scopes::default() };
    let frames = talk().copies(At { source: [172, 16, 0, 1], vni: 7 });
    assert!(records_with(&frames, Settings { scopes, ..Settings::default() }).is_empty());
}
