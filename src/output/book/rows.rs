//! Findings as rows: the columns are the fields of a finding by their names, lists as JSON.

use std::{fmt::Display, str::FromStr, sync::LazyLock};

use rusqlite::{Row, types::Type};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::Column;
use crate::findings::{Finding, Kept};

/// The fields of an edge, which are columns of their own.
const EDGE: [&str; 6] = ["scope", "server", "port", "protocol", "rule", "client"];
/// The other columns but the last, `idle_from`.
const FIELDS: [&str; 27] = [
    "id",
    "state",
    "severity",
    "action",
    "topic",
    "why",
    "plaintext_reason",
    "credentials",
    "controls",
    "remedy",
    "exception",
    "exception_expires",
    "first_seen",
    "last_seen",
    "opened_at",
    "resolved_at",
    "regressions",
    "flows",
    "bytes",
    "client_address",
    "server_address",
    "client_name",
    "client_owner",
    "server_name",
    "server_name_source",
    "server_owner",
    "evidence",
];
/// Fields that are lists.
const LISTS: [&str; 3] = ["credentials", "controls", "evidence"];

fn columns() -> impl Iterator<Item = &'static str> {
    EDGE.into_iter().chain(FIELDS).chain(["idle_from"])
}

/// Writes a row, new or not. In place: replacing it would take its aliases along.
pub(super) fn upsert() -> &'static str {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let names: Vec<&str> = columns().collect();
        let places: Vec<String> = (1..=names.len()).map(|at| format!("?{at}")).collect();
        let set: Vec<String> =
            names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
        let (names, places, set) = (names.join(", "), places.join(", "), set.join(", "));
        format!(
            "INSERT INTO findings ({names}) VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {set}"
        )
    });
    &SQL
}

/// Reads rows in the order of their ids.
pub(super) fn select(condition: &str) -> String {
    let names: Vec<&str> = columns().collect();
    format!("SELECT {} FROM findings {condition} ORDER BY id", names.join(", "))
}

/// The values of a row.
pub(super) fn values(kept: &Kept) -> rusqlite::Result<Vec<Column>> {
    let finding = serde_json::to_value(&kept.finding).map_err(unwritable)?;
    let edge = finding.get("edge");
    let edge = EDGE.iter().map(|name| column(name, edge.and_then(|edge| edge.get(name))));
    let fields = FIELDS.iter().map(|name| column(name, finding.get(name)));
    let idle_from = Column::Integer(number(kept.idle_from));
    Ok(edge.chain(fields).chain([idle_from]).collect())
}

fn column(name: &str, value: Option<&Value>) -> Column {
    match value {
        None | Some(Value::Null) => Column::Null,
        Some(value) if LISTS.contains(&name) => Column::Text(value.to_string()),
        Some(Value::String(text)) => Column::Text(text.clone()),
        Some(value) => Column::Integer(number(value.as_u64().unwrap_or(0))),
    }
}

/// The finding of a row, without its aliases.
pub(super) fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let mut edge = Map::new();
    let mut fields = Map::new();
    for (at, name) in columns().enumerate() {
        let value = match row.get::<_, Column>(at)? {
            Column::Text(text) if LISTS.contains(&name) => of_text(at, &text)?,
            Column::Text(text) => Value::String(text),
            Column::Integer(number) => Value::from(number),
            _ => Value::Null,
        };
        let whole = if EDGE.contains(&name) { &mut edge } else { &mut fields };
        whole.insert(name.to_owned(), value);
    }
    let idle_from = fields.get("idle_from").and_then(Value::as_u64).unwrap_or(0);
    fields.insert("edge".to_owned(), Value::Object(edge));
    fields.insert("aliases".to_owned(), Value::Array(Vec::new()));
    let finding: Finding =
        serde_json::from_value(Value::Object(fields)).map_err(|error| unreadable(0, error))?;
    Ok(Kept { finding, idle_from })
}

pub(super) fn text(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(unwritable)
}

pub(super) fn of_text<T: DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

pub(super) fn parsed<T: FromStr<Err: Display>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| unreadable(column, error))
}

/// As SQLite counts: 63 bits.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unreadable(column: usize, error: impl Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.to_string().into())
}

fn unwritable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}
