//! The crypto inventory: which servers speak what, by `analyze --inventory` in every form.

use std::{collections::BTreeSet, fs};

use cleartap::{
    engine::{Engine, Settings},
    output::Inventory,
};
use serde_json::Value;

use super::{
    capture::{Owned, all, frames, root},
    cli::{cleartap, stderr, stdout},
};

const TLS: &str = "captures/tls";

fn inventory<'f>(
    captures: impl IntoIterator<Item = &'f [Owned]>,
    settings: &Settings,
) -> Inventory {
    let mut inventory = Inventory::default();
    for frames in captures {
        let mut engine = Engine::new(settings.clone());
        for frame in frames {
            engine.frame(&frame.frame(), &mut |emitted| inventory.add(&emitted.record));
        }
        engine.finish(&mut |emitted| inventory.add(&emitted.record));
    }
    inventory
}

/// Every capture we ship.
fn captures() -> Vec<Vec<Owned>> {
    all().iter().map(|path| frames(path)).collect()
}

fn whole(captures: &[Vec<Owned>], settings: &Settings) -> Inventory {
    inventory(captures.iter().map(Vec::as_slice), settings)
}

#[test]
fn the_bill_of_materials_satisfies_the_published_schema_and_refers_to_what_it_holds() {
    let bill: Value =
        serde_json::from_str(&whole(&captures(), &Settings::default()).cbom().unwrap()).unwrap();
    let read = |name: &str| -> Value {
        let path = root().join("tests/data/cyclonedx").join(name);
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let others = ["spdx.schema.json", "jsf-0.82.schema.json"];
    let mut registry = jsonschema::Registry::new();
    for name in others {
        registry = registry.add(format!("http://cyclonedx.org/schema/{name}"), read(name)).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let validator = jsonschema::options()
        .with_registry(&registry)
        .should_validate_formats(true)
        .build(&read("bom-1.6.schema.json"))
        .unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&bill)
        .take(5)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));

    let list = |key: &str| bill[key].as_array().unwrap().iter();
    let held: Vec<&str> = list("components")
        .chain(list("services"))
        .map(|c| c["bom-ref"].as_str().unwrap())
        .collect();
    let names: BTreeSet<&str> = held.iter().copied().collect();
    assert_eq!(held.len(), names.len(), "every reference names one thing");
    assert!(list("services").count() > 10);
    for dependency in list("dependencies") {
        let needs = dependency["dependsOn"].as_array().unwrap().iter();
        for reference in needs.chain([&dependency["ref"]]) {
            assert!(names.contains(reference.as_str().unwrap()), "{reference} is not there");
        }
    }
}

#[test]
fn every_form_is_the_same_for_the_same_captures() {
    let captures = captures();
    let forms = || {
        let inventory = whole(&captures, &Settings::default());
        [inventory.json(30).unwrap(), inventory.cbom().unwrap(), format!("{:?}", inventory.csv())]
    };
    assert_eq!(forms(), forms());
}

/// A flow has many records while it lives, and is counted once.
#[test]
fn live_records_give_the_servers_that_records_at_the_end_give() {
    let captures = captures();
    let live = Settings { update_ns: Some(1_000_000), ..Settings::default() };
    let flows = |settings: &Settings| -> Vec<(String, u64, u64)> {
        let inventory = whole(&captures, settings);
        let row = |(key, server): (&_, &cleartap::output::inventory::Server)| {
            let sessions = server.outcomes.get("established").copied().unwrap_or(0);
            (format!("{key:?}"), server.flows, sessions)
        };
        inventory.servers().map(row).collect()
    };
    assert_eq!(flows(&live), flows(&Settings::default()));
}

#[test]
fn the_table_answers_the_three_questions() {
    let output = cleartap(&["analyze", TLS, "--inventory"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for question in [
        "Which servers still accept less than TLS 1.2 in practice?",
        "Which certificates have expired, or expire within 30 days?",
        "How far are we with post-quantum key exchange?",
    ] {
        assert!(text.contains(question), "{question} is missing in:\n{text}");
    }
    assert!(text.contains("TLSv1.0 in"), "{text}");
}

#[test]
fn json_csv_and_table_agree_on_the_number_of_servers() {
    let json: Value = serde_json::from_str(&stdout(&cleartap(&[
        "analyze",
        TLS,
        "--inventory",
        "--format",
        "json",
    ])))
    .unwrap();
    let servers = json["servers"].as_array().unwrap();
    assert_eq!(json["answers"]["servers"], servers.len());
    let csv = stdout(&cleartap(&["analyze", TLS, "--inventory", "--format", "csv"]));
    let rows: BTreeSet<Vec<&str>> =
        csv.lines().skip(1).map(|line| line.split(',').take(4).collect()).collect();
    assert_eq!(rows.len(), servers.len());
    let table = stdout(&cleartap(&["analyze", TLS, "--inventory"]));
    assert!(table.starts_with(&format!("{} TLS servers", servers.len())), "{table}");
}

#[test]
fn forms_that_do_not_go_together_are_refused_with_a_reason() {
    for (arguments, reason) in [
        (&["analyze", TLS, "--format", "cbom"][..], "add --inventory"),
        (&["analyze", TLS, "--inventory", "--format", "jsonl"], "table, json, csv and cbom"),
        (&["analyze", TLS, "--inventory", "--flows", "-"], "standard output"),
        (&["analyze", TLS, "--expiring-days", "10"], "--inventory"),
    ] {
        let output = cleartap(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(reason), "{arguments:?}: {}", stderr(&output));
    }
}
