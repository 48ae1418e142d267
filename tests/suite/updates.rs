//! Records of flows that are still open: what they say adds up.

use std::collections::BTreeMap;

use cleartap::{
    engine::{Emitted, Engine, Settings},
    model::Timestamp,
};
use serde_json::Value;

use super::{
    build::{ACK, At, Talk},
    capture::{Owned, all, frames, records_with, root, short_name, text},
};

/// Records written when something happens only, not by the interval.
fn events_only() -> Settings {
    Settings { update_ns: Some(100 * HOUR_NS), ..Default::default() }
}

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
                let name = short_name(&path);
                wrong.extend(taken_back(before, &record).map(|what| format!("{name}: {what}")));
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

/// An engine that has seen these frames, and the records it gave.
fn seen(frames: &[Owned], settings: Settings) -> (Engine, Vec<Value>) {
    let (mut engine, mut records) = (Engine::new(settings), Vec::new());
    for frame in frames {
        engine.frame(&frame.frame(), &mut |e| records.push(json(&e)));
    }
    (engine, records)
}

fn json(emitted: &Emitted) -> Value {
    serde_json::to_value(&emitted.record).unwrap()
}

/// The records of an engine whose clock goes on to `now` while no packet comes.
fn tick(engine: &mut Engine, now: u64) -> Vec<Value> {
    let mut records = Vec::new();
    engine.tick(Timestamp(now), &mut |e| records.push(json(&e)));
    records
}

/// The frames of a session of TLS 1.2 up to the one that ends its handshake.
fn handshake() -> Vec<Owned> {
    let whole = frames(&root().join("captures/tls/client-certificate-tls12.pcap"));
    let is_done = |n: &usize| {
        let settings = Settings { update_ns: Some(1), ..Default::default() };
        let (mut engine, _) = seen(&whole[..*n], settings);
        let records = tick(&mut engine, whole[*n - 1].time.0 + SECOND_NS);
        records.iter().any(|record| text(&record["tls"], "outcome") == "completed")
    };
    let done = (1..whole.len()).find(is_done).unwrap();
    whole[..done].to_vec()
}

/// A pooled connection may say nothing for hours after its handshake: ten seconds are waited for a second handshake.
#[test]
fn a_session_that_is_silent_after_its_handshake_settles_within_eleven_seconds() {
    let handshake = handshake();
    let (mut engine, records) = seen(&handshake, events_only());
    assert!(records.is_empty(), "{records:?}");
    let done = handshake.last().unwrap().time.0;
    assert!(tick(&mut engine, done + 9 * SECOND_NS).is_empty());
    let records = tick(&mut engine, done + 11 * SECOND_NS);
    let [record] = &records[..] else { panic!("one record: {records:?}") };
    assert_eq!([text(record, "event"), text(record, "outcome")], ["settled", "established"]);
    let tls = &record["tls"];
    assert_eq!([text(tls, "outcome"), text(tls, "client_cert")], ["completed", "yes"]);
    assert!(tls["renegotiated"].is_null(), "that none will follow is not known");
    assert!(tick(&mut engine, done + 100 * SECOND_NS).is_empty(), "told once");
    assert_eq!(engine.flows(), 1, "the flow goes on");
}

/// Acknowledgements and probes without payload do not put it off.
#[test]
fn probes_do_not_keep_a_silent_session_from_settling() {
    for pause in [1, 3, 5] {
        let mut probed = handshake();
        let last = probed.last().unwrap().clone();
        for n in 1..=20 {
            let mut probe = last.clone();
            probe.time = Timestamp(last.time.0 + n * pause * SECOND_NS);
            probed.push(probe);
        }
        let (_, records) = seen(&probed, events_only());
        let events: Vec<&str> = records.iter().map(|r| text(r, "event")).collect();
        assert_eq!(events, ["settled"], "every {pause} s");
    }
}

/// However far a capture of TLS got before everybody fell silent: what is told then is not taken back by what follows.
#[test]
fn what_settles_in_silence_is_not_contradicted_by_what_follows() {
    let (mut wrong, mut settled) = (Vec::new(), 0);
    for path in all().iter().filter(|path| path.parent().unwrap().ends_with("tls")) {
        let whole = frames(path);
        for n in (1..whole.len()).step_by(whole.len() / 12 + 1) {
            let mut late = whole.clone();
            for frame in &mut late[n..] {
                frame.time = Timestamp(frame.time.0 + 12 * SECOND_NS);
            }
            let mut told = BTreeMap::<String, Value>::new();
            for record in records_with(&late, events_only()) {
                let flow = format!("{} {}", text(&record, "community_id"), record["vantages"]);
                if text(&record, "event") == "settled" {
                    settled += 1;
                } else if let Some(before) = told.get(&flow) {
                    let place = format!("{} at {n}", short_name(path));
                    wrong
                        .extend(taken_back(before, &record).map(|what| format!("{place}: {what}")));
                }
                told.insert(flow, record);
            }
        }
    }
    println!("{settled} sessions settled");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the later record of a flow says otherwise. What could not be seen may get less, and faults may come to light.
fn taken_back<'r>(before: &'r Value, after: &'r Value) -> impl Iterator<Item = String> + 'r {
    let facts = before["tls"].as_object().into_iter().flatten();
    let facts = facts.map(|(key, was)| (key.as_str(), was, &after["tls"][key]));
    let verdict = ["encryption", "outcome", "app"].map(|key| (key, &before[key], &after[key]));
    let said = |value: &Value| {
        !value.is_null() && value != "unknown" && value.as_array().is_none_or(|l| !l.is_empty())
    };
    let goes_on = |key: &str, was: &Value, is: &Value| match key {
        "strength_unjudged" => true,
        "strength_reasons" => {
            was.as_array().unwrap().iter().all(|w| is.as_array().unwrap().contains(w))
        }
        _ => was == is,
    };
    let other = move |(key, was, is): (&str, &Value, &Value)| {
        (said(was) && !goes_on(key, was, is)).then(|| format!("{key} {was} became {is}"))
    };
    verdict.into_iter().chain(facts).filter_map(other)
}

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * SECOND_NS;
