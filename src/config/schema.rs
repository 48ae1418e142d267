//! The JSON Schema of the file, and how it is walked.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{Config, Reload};

/// The JSON Schema (draft 2020-12) of the file, as published in `deploy/config.schema.json`.
pub fn json_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = schemars::schema_for!(Config).to_value();
        if let Some(object) = schema.as_object_mut() {
            object.insert("$id".to_owned(), "urn:cleartap:config:1".into());
            object.insert("title".to_owned(), "cleartap configuration".into());
        }
        schema
    });
    &SCHEMA
}

/// The schema that `schema` refers to, if it does.
pub(super) fn resolve(schema: &Value) -> &Value {
    let mut schema = schema;
    // References of references: definitions are named once.
    for _ in 0..8 {
        let target = schema.get("$ref").and_then(Value::as_str);
        let Some(name) = target.and_then(|target| target.strip_prefix("#/$defs/")) else { break };
        let Some(found) = json_schema().get("$defs").and_then(|defs| defs.get(name)) else { break };
        schema = found;
    }
    schema
}

/// Properties of a table with fixed keys.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    resolve(schema).get("properties").and_then(Value::as_object)
}

/// The alternatives of a schema; itself if it has none. `null`, which TOML cannot write, is left out.
pub(super) fn alternatives(schema: &Value) -> Vec<&Value> {
    let schema = resolve(schema);
    let list = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)?.as_array());
    match list {
        None => vec![schema],
        Some(list) => {
            let list = list.iter().flat_map(alternatives);
            list.filter(|schema| types(schema) != ["null"]).collect()
        }
    }
}

/// Types a schema without alternatives allows.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(word)) => vec![word],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Words a schema without alternatives allows, if it lists them.
pub(super) fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word]);
    }
    let list = schema.get("enum")?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).collect())
}

/// How a change of the key takes effect: what the nearest schema on its way says.
pub(super) fn reload(schema: &Value) -> Option<Reload> {
    let own = schema.get("x-reload").or_else(|| resolve(schema).get("x-reload"));
    match own.and_then(Value::as_str)? {
        "live" => Some(Reload::Live),
        "new-flows" => Some(Reload::NewFlows),
        _ => Some(Reload::Restart),
    }
}
