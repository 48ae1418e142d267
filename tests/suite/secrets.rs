//! Canary secrets planted in the captures never come out: not in records, reports, explanations or debug output.

use cleartap::{
    engine::{Engine, Settings, TraceFilter},
    output::{Report, explain, table},
};

use super::{
    capture::{all, frames, short_name},
    truth::truth,
};

#[test]
fn no_output_holds_a_planted_secret() {
    let mut planted = 0;
    for path in all() {
        let truth = truth(&path);
        let canaries: Vec<String> = truth
            .get("canaries")
            .and_then(toml::Value::as_array)
            .map(|list| list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        planted += canaries.len();
        let output = everything(&frames(&path));
        for canary in canaries.iter().map(String::as_str).chain(["cnry"]) {
            assert!(!output.contains(canary), "{}: {canary} came out", short_name(&path));
        }
    }
    println!("{planted} canaries");
    assert!(planted > 0);
}

/// All that any output renders of a capture.
fn everything(frames: &[super::capture::Owned]) -> String {
    let settings = Settings {
        update_ns: Some(1_000_000),
        traced: Some(TraceFilter::default()),
        ..Settings::default()
    };
    let mut engine = Engine::new(settings);
    let mut report = Report::default();
    let mut text = String::new();
    let mut take = |emitted: cleartap::engine::Emitted| {
        report.add(&emitted.record);
        text.push_str(&serde_json::to_string(&emitted.record).unwrap());
        text.push_str(&explain::render(&emitted));
        text.push_str(&format!("{emitted:?}"));
    };
    for frame in frames {
        engine.frame(&frame.frame(), &mut take);
    }
    engine.finish(&mut take);
    report.add_counters(&engine.counters());
    text.push_str(&report.json().unwrap());
    text.push_str(&String::from_utf8(report.csv().unwrap()).unwrap());
    let style = table::Style { width: 200, color: true, edges_max: 1000 };
    text.push_str(&table::render(&report, style));
    text
}
