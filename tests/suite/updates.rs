//! Records of flows that are still open: what they say adds up.

use cleartap::engine::Settings;
use serde_json::Value;

use super::{
    build::{ACK, At, Talk},
    capture::{records_with, text},
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
