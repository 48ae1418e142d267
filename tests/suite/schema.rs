//! Every record satisfies the published JSON Schema, and the page that documents it names every field.

use cleartap::{engine::Settings, model::record::SCHEMA};

use super::capture::{all, frames, records, records_with, root, short_name};

#[test]
fn every_record_satisfies_the_schema() {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let live = Settings { update_ns: Some(1_000_000), ..Settings::default() };
    for path in all() {
        let frames = frames(&path);
        for record in records(&frames).into_iter().chain(records_with(&frames, live.clone())) {
            let errors: Vec<String> = validator
                .iter_errors(&record)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{}: {}\n{record}", short_name(&path), errors.join("; "));
        }
    }
}

#[test]
fn the_page_names_every_field_of_the_schema() {
    let page = std::fs::read_to_string(root().join("deploy/record.md")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let fields = schema["properties"].as_object().unwrap().keys();
    let tls = schema["properties"]["tls"]["properties"].as_object().unwrap().keys();
    for field in fields.chain(tls).filter(|f| !f.ends_with("_delta")) {
        assert!(page.contains(&format!("`{field}`")), "deploy/record.md does not name {field}");
    }
}
