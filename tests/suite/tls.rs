//! What is said of a TLS handshake: a worse view knows fewer facts, never others; fingerprints are those others compute.

use std::collections::BTreeMap;

use cleartap::engine::Settings;
use serde_json::Value;

use super::capture::{
    Owned, Random, all, ends, frames, records, records_with, root, short_name, text,
};

/// Flow to what its handshakes showed.
type Facts = BTreeMap<(String, String, String), Vec<Value>>;

fn facts(frames: &[Owned]) -> Facts {
    let mut facts = Facts::new();
    for record in records(frames) {
        if record["tls"].is_object() {
            facts.entry(ends(&record)).or_default().push(record["tls"].clone());
        }
    }
    facts
}

/// Whether a fact says nothing.
fn is_null(fact: &Value) -> bool {
    fact.is_null() || fact == "unknown" || fact.as_array().is_some_and(Vec::is_empty)
}

/// Facts of `worse` that are neither null nor those of the full view. Where the full view says nothing, it was careful.
fn others(full: &Value, worse: &Value) -> Vec<String> {
    let mut list = Vec::new();
    for (key, worse) in worse.as_object().unwrap() {
        let full = &full[key];
        if is_null(worse) || is_null(full) || worse == full {
            continue;
        }
        match key.as_str() {
            // Why a certificate is missing is said only of a poor view; of several alerts it may miss the gravest; what
            // could not be seen grows.
            "certificate_cut" | "alert" | "strength_unjudged" => {}
            // A certificate is judged at the first packet seen, and how far that lies from its end may change by a day.
            "days_left" if (full.as_i64().unwrap() - worse.as_i64().unwrap()).abs() <= 1 => {}
            "certificate" | "client_certificate" => list.extend(others(full, worse)),
            "strength_reasons" | "reasons" if is_part(worse, full) => {}
            _ => list.push(format!("{key}: {full} became {worse}")),
        }
    }
    list
}

/// Whether a list holds nothing that the other does not.
fn is_part(part: &Value, whole: &Value) -> bool {
    let whole = whole.as_array().unwrap();
    part.as_array().unwrap().iter().all(|value| whole.contains(value))
}

#[track_caller]
fn law(what: &str, worsen: impl Fn(&[Owned]) -> Vec<Vec<Owned>>) {
    let (mut wrong, mut views) = (Vec::new(), 0);
    for path in all() {
        let whole = frames(&path);
        let full = facts(&whole);
        if full.is_empty() {
            continue;
        }
        for worse in worsen(&whole) {
            views += 1;
            for (flow, seen) in facts(&worse) {
                let Some(full) = full.get(&flow) else { continue };
                for worse in seen {
                    let least = full.iter().map(|full| others(full, &worse)).min_by_key(Vec::len);
                    for other in least.unwrap_or_default() {
                        wrong.push(format!("{} {}: {other}", short_name(&path), flow.0));
                    }
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    println!("{what}: {views} views");
    assert!(views > 100);
    assert!(wrong.is_empty(), "{what}: {} other facts\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_side_less_knows_fewer_facts_and_no_others() {
    law("one side", |frames| {
        let side = |lower: bool| {
            let kept = |frame: &&Owned| {
                let mut decoder = cleartap::wire::Decoder::default();
                decoder.decode(&frame.frame()).is_ok_and(|segment| {
                    let end = |end: cleartap::model::Endpoint| (end.ip(), end.port());
                    (end(segment.src) < end(segment.dst)) == lower
                })
            };
            frames.iter().filter(kept).cloned().collect()
        };
        vec![side(true), side(false)]
    });
}

#[test]
fn a_segment_less_knows_fewer_facts_and_no_others() {
    law("one segment", |frames| {
        let mut random = Random(frames.len() as u64 + 1);
        let percent = (100 * DROPS_MAX / frames.len()).min(100) as u64;
        let chosen: Vec<usize> =
            (0..frames.len()).filter(|_| random.below(100) < percent).collect();
        let without = |at: &usize| {
            let mut list = frames.to_vec();
            list.remove(*at);
            list
        };
        chosen.iter().map(without).collect()
    });
}

#[test]
fn a_late_start_knows_fewer_facts_and_no_others() {
    law("late start", |frames| {
        let step = frames.len() / STARTS_MAX + 1;
        (0..frames.len()).step_by(step).map(|at| frames[at..].to_vec()).collect()
    });
}

#[test]
fn a_chain_that_memory_cut_off_is_null_with_that_reason() {
    let path = root().join("captures/tls/long-chain-tls12.pcap");
    let frames = frames(&path);
    let mut cut = 0;
    for kib in 1..64 {
        let settings = Settings { session_bytes_max: kib << 10, ..Settings::default() };
        for record in records_with(&frames, settings) {
            cut += usize::from(record["tls"]["certificate_cut"] == "memory");
            assert!(["tls", "unknown"].contains(&text(&record, "encryption")), "{record}");
        }
    }
    assert!(cut > 0);
    let whole = records(&frames);
    assert!(whole.iter().all(|record| record["tls"]["certificate_cut"].is_null()));
}

/// Values made with tshark (JA3) and an independent script (JA4) when the captures were recorded: see the table's head.
#[test]
fn fingerprints_are_those_that_others_compute() {
    let table = std::fs::read_to_string(root().join("tests/suite/fingerprints.tsv")).unwrap();
    let mut expected = BTreeMap::<(String, String), Vec<[String; 2]>>::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let [capture, port, ja3, ja4] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}");
        };
        let key = (capture.to_owned(), port.to_owned());
        expected.entry(key).or_default().push([ja3.to_owned(), ja4.to_owned()]);
    }
    let (mut wrong, mut found, mut unknown) = (Vec::new(), 0, 0);
    for path in all() {
        let capture = short_name(&path);
        for record in records(&frames(&path)) {
            let tls = &record["tls"];
            let said = [text(tls, "ja3").to_owned(), text(tls, "ja4").to_owned()];
            let key = (capture.clone(), record["src_port"].to_string());
            match expected.get_mut(&key) {
                _ if said == ["", ""] => {}
                Some(list) if list.contains(&said) => found += 1,
                Some(list) => wrong.push(format!("{key:?}: {said:?}, expected {list:?}")),
                // A hello that tshark does not find: cut into single bytes, behind odd preambles.
                None => unknown += 1,
            }
        }
    }
    println!("{found} hellos, {unknown} in no table");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found > 250 && unknown < 12, "{found} hellos, {unknown} in no table");
}

const DROPS_MAX: usize = 40;
const STARTS_MAX: usize = 30;
