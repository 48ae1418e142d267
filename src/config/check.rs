//! A document against the schema: everything that is wrong, in one pass, at its place.

use std::ops::Range;

use serde_json::Value;
use toml::{Spanned, de::DeValue};

use super::{format, schema};

/// Something wrong at a place of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Bytes of the document.
    pub(super) span: Range<usize>,
    /// The key.
    pub(super) key: String,
    /// What is wrong.
    pub(super) message: String,
}

/// Checks `value` as the value of `key` against a schema.
pub(super) fn check(
    value: &Spanned<DeValue<'_>>,
    schema: &Value,
    key: &str,
    wrong: &mut Vec<Wrong>,
) {
    let alternatives = schema::alternatives(schema);
    let mut say = |message: String| {
        wrong.push(Wrong { span: value.span(), key: key.to_owned(), message });
    };
    let words: Option<Vec<Vec<&str>>> = alternatives.iter().map(|a| schema::words(a)).collect();
    if let Some(words) = words.filter(|words| !words.is_empty()) {
        let words = words.concat();
        match value.get_ref().as_str() {
            Some(word) if words.contains(&word) => {}
            Some(word) => {
                say(format!("`{word}`{}expected one of {}", meant(word, &words), words.join(", ")));
            }
            None => say(format!(
                "expected one of {}, found {}",
                words.join(", "),
                name(value.get_ref())
            )),
        }
        return;
    }
    let kind = kind(value.get_ref());
    let fitting = alternatives.iter().find(|a| {
        let types = schema::types(a);
        types.is_empty() || types.contains(&kind) || kind == "integer" && types.contains(&"number")
    });
    let Some(fitting) = fitting else {
        let expected: Vec<&str> = alternatives.iter().map(|a| what(a)).collect();
        say(format!("expected {}, found {}", expected.join(" or "), name(value.get_ref())));
        return;
    };
    match value.get_ref() {
        DeValue::Table(table) => check_table(value.span(), table, fitting, key, wrong),
        DeValue::Array(items) => {
            let Some(schema) = fitting.get("items") else { return };
            for (at, item) in items.iter().enumerate() {
                check(item, schema, &format!("{key}[{at}]"), wrong);
            }
        }
        DeValue::String(text) => text_wrong(text, fitting).into_iter().for_each(say),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => range_wrong(number, fitting).into_iter().for_each(say),
            Err(_) => say(format!("`{number}` is too large")),
        },
        _ => {}
    }
}

fn check_table(
    span: Range<usize>,
    table: &toml::de::DeTable<'_>,
    schema: &Value,
    key: &str,
    wrong: &mut Vec<Wrong>,
) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties");
    for (name, value) in table {
        let path = join(key, name.get_ref());
        let known = properties.and_then(|properties| properties.get(name.get_ref().as_ref()));
        match (known, others) {
            (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => {
                check(value, schema, &path, wrong);
            }
            (None, Some(Value::Bool(false))) => {
                let mut keys: Vec<&str> =
                    properties.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default();
                keys.sort_unstable();
                let meant = meant(name.get_ref(), &keys);
                let message = format!("unknown key{meant}expected one of {}", keys.join(", "));
                wrong.push(Wrong { span: name.span(), key: path, message });
            }
            (None, _) => {}
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !table.contains_key(name) {
            let hint = properties.and_then(|p| p.get(name)).and_then(|s| s.get("description"));
            let hint =
                hint.and_then(Value::as_str).map_or(String::new(), |text| format!(": {text}"));
            wrong.push(Wrong {
                span: span.clone(),
                key: key.to_owned(),
                message: format!("`{name}` is missing{hint}"),
            });
        }
    }
}

fn text_wrong(text: &str, schema: &Value) -> Option<String> {
    let length = |key: &str| schema.get(key).and_then(Value::as_u64);
    let chars = text.chars().count() as u64;
    if length("minLength").is_some_and(|min| chars < min) {
        return Some("must not be empty".to_owned());
    }
    if let Some(max) = length("maxLength").filter(|max| chars > *max) {
        return Some(format!("has {chars} characters: at most {max} are allowed"));
    }
    format::wrong(schema.get("format")?.as_str()?, text)
}

fn range_wrong(number: i64, schema: &Value) -> Option<String> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_i64);
    let (min, max) = (bound("minimum"), bound("maximum"));
    let low = min.is_some_and(|min| number < min);
    let high = max.is_some_and(|max| number > max);
    let expected = match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("{min} or more"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => return None,
    };
    (low || high).then(|| format!("{number}: expected {expected}"))
}

/// `; did you mean ...? ` where a word is near.
fn meant(word: &str, words: &[&str]) -> String {
    let near = words
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    near.map_or_else(|| "; ".to_owned(), |(_, known)| format!("; did you mean `{known}`? "))
}

/// From this Jaro-Winkler likeness on a word may have been meant.
const LIKENESS_MIN: f64 = 0.8;

/// Key below another.
pub(super) fn join(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}

/// The value's type in JSON Schema.
const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) | DeValue::Datetime(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

/// The value's type in TOML.
fn name(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(is) => format!("{is}"),
        DeValue::Datetime(time) => format!("the date {time}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// What a schema asks for.
fn what(schema: &Value) -> &'static str {
    match schema::types(schema).first().copied() {
        Some("string") => "a text",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        Some("array") => "a list",
        Some("object") => "a table",
        _ => "another value",
    }
}
