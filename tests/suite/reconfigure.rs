//! New settings for a running engine: snapshots are swapped whole, flows keep the scope they began with.

use cleartap::engine::{Engine, Scopes, Settings};
use serde_json::Value;

use super::{
    build::{At, Talk},
    capture::{Owned, text},
};

fn talk(port: u16) -> Vec<Owned> {
    Talk::new(([10, 0, 0, 1], port), ([10, 0, 0, 2], 80), [1, 2])
        .handshake()
        .client(b"GET / HTTP/1.1\r\n\r\n")
        .server(b"HTTP/1.1 204 No Content\r\n\r\n")
        .copies(At { source: [10, 9, 0, 1], vni: 7 })
}

fn settings(rules: &[&str]) -> Settings {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    Settings { scopes: Scopes { rules, ..Scopes::default() }, ..Settings::default() }
}

/// Frames, and before which of them which settings come.
fn records(frames: &[Owned], changes: &[(usize, Settings)]) -> Vec<Value> {
    let mut engine = Engine::new(settings(&["old=vni:7"]));
    let mut records = Vec::new();
    let mut take = |e: cleartap::engine::Emitted| {
        records.push(serde_json::to_value(&e.record).unwrap());
    };
    for (at, frame) in frames.iter().enumerate() {
        for (_, settings) in changes.iter().filter(|(before, _)| *before == at) {
            engine.reconfigure(settings.clone());
        }
        engine.frame(&frame.frame(), &mut take);
    }
    engine.finish(&mut take);
    records
}

#[test]
fn a_flow_keeps_its_scope_and_new_flows_get_the_new_one() {
    let first = talk(40000);
    let frames = [first.clone(), talk(40001)].concat();
    let changes = [
        (2, settings(&["new=vni:7"])),
        (3, settings(&["other=vni:9", "newer=vni:7", "old=vni:8"])),
    ];
    let records = records(&frames, &changes);
    let scope = |port: u64| -> Vec<&str> {
        records.iter().filter(|r| r["src_port"] == port).map(|r| text(r, "scope")).collect()
    };
    assert_eq!(scope(40000), ["old"], "one record, as it began");
    assert_eq!(scope(40001), ["newer"]);
    assert_eq!(
        records[0]["packets_c2s"].as_u64().unwrap() + records[0]["packets_s2c"].as_u64().unwrap(),
        first.len() as u64
    );
}

#[test]
fn who_may_send_copies_and_what_is_inside_change_at_once() {
    let frames = talk(40000);
    let nobody = Scopes {
        allowed_sources: vec!["192.0.2.0/24".parse().unwrap()],
        ..settings(&["old=vni:7"]).scopes
    };
    let closed = Settings { scopes: nobody, ..Settings::default() };
    let said = records(&frames, &[(3, closed)]);
    let packets =
        said[0]["packets_c2s"].as_u64().unwrap() + said[0]["packets_s2c"].as_u64().unwrap();
    assert_eq!(packets, 3, "copies of the rest were refused");

    let mut outside = settings(&["old=vni:7"]);
    outside.context.internal = vec!["172.16.0.0/12".parse().unwrap()];
    let said = records(&frames, &[(3, outside)]);
    assert_eq!(text(&said[0], "boundary"), "internet");
}
