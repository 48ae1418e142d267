//! Records of flows that are still open: what they say adds up.

use std::collections::BTreeMap;

use cleartap::{engine::Settings, model::Timestamp};
use serde_json::Value;

use super::{
    build::{ACK, At, Talk},
    capture::{all, frames, records_with, root, short_name, text},
};

#[test]
fn growth_adds_up_when_the_roles_turn_out_to_be_exchanged() {
    // Joined late; the client's port is a server's, so it is taken for the server until it asks.
    let talk = Talk::new(([10, 0, 0, 1], 5432), ([10, 0, 0, 2], 40000), [1000, 5000])
        .segment(true, ACK, b"")
        .segment(true, ACK, b"")
        .segment(true, ACK, b"")
        .segment(false, ACK, b"")
        .pause(2)
        .client(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .server(b"HTTP/1.1 204 No Content\r\n\r\n")
        .pause(2)
        .segment(true, ACK, b"");
    let settings = Settings { update_ns: Some(1), ..Default::default() };
    let copies = talk.copies(At { source: [10, 0, 0, 1], vni: 1 });
    let records = records_with(&copies, settings);
    let sent = |record: &Value| match text(record, "src_ip") {
        "10.0.0.1" => record["packets_c2s_delta"].as_u64().unwrap(),
        _ => record["packets_s2c_delta"].as_u64().unwrap(),
    };
    assert_eq!(text(&records[0], "src_ip"), "10.0.0.2");
    assert_eq!(text(records.last().unwrap(), "src_ip"), "10.0.0.1");
    assert_eq!(records.iter().map(sent).sum::<u64>(), 5);
}

/// What an earlier record of a flow says, a later one may only add to.
#[test]
fn records_of_one_flow_never_contradict_one_another() {
    let settings = Settings { update_ns: Some(1), ..Default::default() };
    let mut wrong = Vec::new();
    for path in all() {
        // One packet a second, so that a record is written between any two.
        let mut slow = frames(&path);
        for (second, frame) in (1_700_000_000_u64..).zip(&mut slow) {
            frame.time = Timestamp(second * 1_000_000_000);
        }
        let mut last = BTreeMap::<String, Value>::new();
        for record in records_with(&slow, settings.clone()) {
            let flow = format!("{} {}", text(&record, "community_id"), record["vantages"]);
            if let Some(before) = last.get(&flow) {
                for key in ["encryption", "outcome", "app"] {
                    let (was, is) = (text(before, key), text(&record, key));
                    if was != is && !["", "unknown"].contains(&was) {
                        wrong.push(format!("{}: {key} {was} became {is}", short_name(&path)));
                    }
                }
            }
            last.insert(flow, record);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Alerts need not wait: a session is reported when it settles, not only at the next interval.
#[test]
fn a_settled_session_is_reported_at_once() {
    let settings = Settings { update_ns: Some(3_600_000_000_000), ..Default::default() };
    let whole = frames(&root().join("captures/postgresql/auth-md5.pcap"));
    let records = records_with(&whole, settings);
    let events: Vec<&str> = records.iter().map(|r| text(r, "event")).collect();
    assert_eq!(events, ["settled", "end"]);
    assert_eq!(text(&records[0], "outcome"), "established");
}
