//! From file, environment and flags to settings.
#![allow(clippy::disallowed_methods, reason = "edge: reads the configuration file")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use toml::{Spanned, de::DeValue};

use super::{
    Config, ConfigError, Place, Settings,
    check::check,
    document::{Document, json},
    effective,
    schema::{self, json_schema},
};

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if one is named.
    pub file: Option<PathBuf>,
    /// The environment, name and value; only names that begin with `ENVIRONMENT` and hold `__` count.
    pub environment: Vec<(String, String)>,
    /// Flags that were given.
    pub flags: Vec<Flag>,
}

/// A flag that overrides a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// As on the command line: `--flows-max`.
    pub name: &'static str,
    /// The key it overrides.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
}

/// What was loaded.
pub type Loaded = Result<Settings, Vec<ConfigError>>;

/// How the names of variables begin.
const ENVIRONMENT: &str = "CLEARTAP_";
/// What stands between section and key.
const STEP: &str = "__";
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Loads settings; everything that is wrong comes at once.
pub fn load(sources: &Sources) -> Loaded {
    let path = sources.file.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let text = match sources.file.as_deref().map(read) {
        None => String::new(),
        Some(Ok(text)) => text,
        Some(Err(message)) => {
            let place = Place::WholeFile { path };
            return Err(vec![ConfigError { place, key: String::new(), message }]);
        }
    };
    let (document, mut errors) = Document::read(&path, &text);
    let mut values = document.values();
    let mut origins: BTreeMap<String, Place> = BTreeMap::new();
    effective::walk(&values, json_schema(), "", None, &mut |key, _, _| {
        origins.insert(key.to_owned(), document.place(key));
    });
    for (name, text) in &sources.environment {
        let Some(key) = key_of(name) else { continue };
        let place = Place::Environment { name: name.clone() };
        match from_environment(&key, text) {
            Ok(value) => {
                set(&mut values, &key, value);
                origins.insert(key, place);
            }
            Err(message) => errors.push(ConfigError { place, key, message }),
        }
    }
    for flag in &sources.flags {
        set(&mut values, flag.key, flag.value.clone());
        origins.insert(flag.key.to_owned(), Place::Flag { name: flag.name.to_owned() });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    finish(values, &origins, &document)
}

/// Types, defaults, and what the schema cannot say.
fn finish(values: Value, origins: &BTreeMap<String, Place>, document: &Document<'_>) -> Loaded {
    let whole =
        |message: String| vec![ConfigError { place: Place::Together, key: String::new(), message }];
    let config: Config =
        serde_json::from_value(values).map_err(|error| whole(error.to_string()))?;
    let effective = serde_json::to_value(&config).map_err(|error| whole(error.to_string()))?;
    let list = effective::settings(&effective, origins);
    Settings::new(config, list).map_err(|errors| {
        let placed = errors.into_iter().map(|error| {
            let written = origins.iter().find(|(key, place)| {
                error.key.starts_with(key.as_str()) && !matches!(place, Place::File { .. })
            });
            let place = match (written, document.place(&error.key)) {
                (Some((_, place)), _) => place.clone(),
                (None, place @ Place::File { .. }) => place,
                (None, _) => error.place,
            };
            ConfigError { place, ..error }
        });
        placed.collect()
    })
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let meta = std::fs::metadata(path).map_err(cannot)?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("has {} bytes: at most {FILE_BYTES_MAX} are read", meta.len()));
    }
    std::fs::read_to_string(path).map_err(cannot)
}

/// `CLEARTAP_LIMITS__FLOWS_MAX` is `limits.flows_max`.
fn key_of(name: &str) -> Option<String> {
    let name = name.strip_prefix(ENVIRONMENT)?;
    name.contains(STEP).then(|| name.to_lowercase().replace(STEP, "."))
}

/// The value of a variable, as the key's type asks for it.
fn from_environment(key: &str, text: &str) -> Result<Value, String> {
    let mut schema = json_schema();
    for step in key.split('.') {
        let known = schema::alternatives(schema).into_iter().find_map(schema::properties);
        let next = known.and_then(|properties| properties.get(step));
        let Some(next) = next else {
            let keys: Vec<&str> =
                known.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default();
            return Err(if keys.is_empty() {
                format!("unknown key `{step}`: there is none below")
            } else {
                format!("unknown key `{step}`: expected one of {}", keys.join(", "))
            });
        };
        schema = next;
    }
    let alternatives = schema::alternatives(schema);
    let allows = |kind: &str| alternatives.iter().any(|a| schema::types(a).contains(&kind));
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let is_words = alternatives.iter().all(|a| schema::words(a).is_some());
    let written = if is_words || allows("string") {
        quoted(text)
    } else if allows("array") && !text.trim_start().starts_with('[') {
        // A list of texts may be written with commas alone.
        let numbers = alternatives.iter().filter_map(|a| a.get("items")).any(|items| {
            schema::alternatives(items).iter().any(|a| schema::types(a).contains(&"integer"))
        });
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items: Vec<String> =
            items.map(|item| if numbers { item.to_owned() } else { quoted(item) }).collect();
        format!("[{}]", items.join(", "))
    } else {
        text.to_owned()
    };
    let value: Spanned<DeValue<'_>> =
        DeValue::parse(&written).map_err(|error| format!("`{text}`: {}", error.message()))?;
    let mut wrong = Vec::new();
    check(&value, schema, key, &mut wrong);
    match wrong.into_iter().next() {
        Some(wrong) => Err(wrong.message),
        None => Ok(json(value.get_ref())),
    }
}

/// Puts a value at a key.
fn set(values: &mut Value, key: &str, value: Value) {
    let mut at = values;
    for step in key.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Some(object) = at.as_object_mut() else { return };
        at = object.entry(step).or_insert(Value::Null);
    }
    *at = value;
}
