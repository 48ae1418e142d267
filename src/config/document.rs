//! A TOML document with places, and its values as JSON.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, Place,
    check::{Wrong, check},
    schema::json_schema,
};

/// A file that was read.
#[derive(Debug)]
pub(super) struct Document<'t> {
    path: String,
    text: &'t str,
    root: Spanned<DeValue<'t>>,
}

impl<'t> Document<'t> {
    /// Parses and checks; everything that is wrong comes at once.
    pub(super) fn read(path: &str, text: &'t str) -> (Self, Vec<ConfigError>) {
        let (table, broken) = DeTable::parse_recoverable(text);
        let span = table.span();
        let root = Spanned::new(span, DeValue::Table(table.into_inner()));
        let document = Self { path: path.to_owned(), text, root };
        let syntax = broken.iter().map(|error| {
            let span = error.span().unwrap_or_default();
            document.error(&span, String::new(), error.message().to_owned())
        });
        let mut errors: Vec<ConfigError> = syntax.collect();
        // What broken syntax left out would only be missed again.
        if errors.is_empty() {
            let mut wrong = Vec::new();
            check(&document.root, json_schema(), "", &mut wrong);
            wrong.sort_by_key(|wrong| wrong.span.start);
            errors.extend(
                wrong
                    .into_iter()
                    .map(|Wrong { span, key, message }| document.error(&span, key, message)),
            );
        }
        (document, errors)
    }

    /// Its values.
    pub(super) fn values(&self) -> Value {
        json(self.root.get_ref())
    }

    /// Where a key is written, or the nearest key above it that is.
    pub(super) fn place(&self, key: &str) -> Place {
        let mut at = &self.root;
        let mut found = None;
        for step in key.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match (at.get_ref(), step.strip_suffix(']')) {
                (DeValue::Array(items), Some(index)) => {
                    index.parse::<usize>().ok().and_then(|index| items.get(index))
                }
                (DeValue::Table(table), None) => table.get(step),
                _ => None,
            };
            let Some(next) = next else { break };
            at = next;
            found = Some(next.span());
        }
        match found {
            Some(span) => self.at(&span),
            None => Place::WholeFile { path: self.path.clone() },
        }
    }

    fn error(&self, span: &Range<usize>, key: String, message: String) -> ConfigError {
        ConfigError { place: self.at(span), key, message }
    }

    fn at(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place::File { path: self.path.clone(), line, column }
    }
}

/// TOML as JSON; dates become texts.
pub(super) fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map_or(Value::Null, |number| Value::Number(number.into()))
        }
        DeValue::Float(number) => {
            let number = number.as_str().replace('_', "").parse().ok().and_then(Number::from_f64);
            number.map_or(Value::Null, Value::Number)
        }
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|i| json(i.get_ref())).collect()),
        DeValue::Table(table) => {
            let entries = table.iter().map(|(k, v)| (k.get_ref().to_string(), json(v.get_ref())));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}
