//! An inventory as a file, CSV or JSON, for where no API is asked. What is wrong comes with its line.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::Deserialize;

use super::{
    Held, Realm, TagKeys, Tags,
    resource::{clean, shown},
};
use crate::model::{Date, Resource, Timestamp};

/// Form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line of column names, then a line per address.
    Csv,
    /// A list of objects with the same names.
    Json,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Line, from one.
    pub line: u64,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Most mistakes that are told at once.
const WRONG_MAX: usize = 20;

/// Columns of a file; `address` and `name` are asked for.
pub const COLUMNS: [&str; 12] = [
    "address", "name", "kind", "id", "group", "owner", "service", "account", "vpc", "scope",
    "from", "until",
];
/// A thirteenth column: `key=value` pairs with `;` between them; in JSON an object.
const TAGS: &str = "tags";

/// Reads a file. `services` are the remedies that `service` may name.
pub fn read(
    text: &str,
    form: Form,
    keys: &TagKeys,
    services: &[&str],
) -> Result<Vec<Held>, Vec<Wrong>> {
    let rows = match form {
        Form::Csv => csv(text)?,
        Form::Json => json(text)?,
    };
    let mut wrong = Vec::new();
    let mut held = Vec::new();
    for (line, row) in rows {
        match row.held(keys, services) {
            Ok(one) => held.push(one),
            Err(message) if wrong.len() < WRONG_MAX => wrong.push(Wrong { line, message }),
            Err(_) => {}
        }
    }
    if wrong.is_empty() { Ok(held) } else { Err(wrong) }
}

/// One address.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    address: String,
    name: String,
    kind: Option<String>,
    id: Option<String>,
    group: Option<String>,
    owner: Option<String>,
    service: Option<String>,
    account: Option<String>,
    vpc: Option<String>,
    scope: Option<String>,
    from: Option<String>,
    until: Option<String>,
    #[serde(default)]
    tags: Tags,
}

impl Row {
    fn held(self, keys: &TagKeys, services: &[&str]) -> Result<Held, String> {
        let address: IpAddr = self.address.trim().parse().map_err(|_| {
            format!("address: `{}`: expected an IPv4 or IPv6 address", clean(&self.address))
        })?;
        let name = clean(&self.name);
        if name.is_empty() {
            return Err("name is empty".to_owned());
        }
        if let Some(service) = self.service.as_deref().filter(|s| !services.contains(s)) {
            return Err(format!(
                "service: `{}` is no remedy: expected one of {}",
                clean(service),
                services.join(", ")
            ));
        }
        let (from, until) = (moment("from", self.from)?, moment("until", self.until)?);
        if let (Some(from), Some(until)) = (from, until)
            && until <= from
        {
            return Err("until: expected a time after `from`".to_owned());
        }
        let text = |text: Option<String>| text.map(|t| Arc::<str>::from(clean(&t)));
        let vpc = text(self.vpc);
        let realm = match (text(self.scope), &vpc) {
            (Some(scope), _) => Realm::Scope(scope),
            (None, Some(vpc)) => Realm::Vpc(vpc.clone()),
            (None, None) => Realm::Anywhere,
        };
        let name: Arc<str> = name.into();
        let resource = Resource {
            kind: text(self.kind).unwrap_or_else(|| "host".into()),
            id: text(self.id).unwrap_or_else(|| name.clone()),
            name,
            group: text(self.group),
            owner: text(self.owner),
            account: text(self.account),
            vpc,
            interface: None,
            service: text(self.service),
            tags: shown(&self.tags, keys),
        };
        Ok(Held { address, realm, from, until, resource: Arc::new(resource) })
    }
}

/// A time, or the first moment of a day.
fn moment(column: &str, text: Option<String>) -> Result<Option<Timestamp>, String> {
    let Some(text) = text else { return Ok(None) };
    let day = |_| text.parse().map(Date::start);
    text.parse().or_else(day).map(Some).map_err(|error| format!("{column}: {error}"))
}

fn csv(text: &str) -> Result<Vec<(u64, Row)>, Vec<Wrong>> {
    let one = |line, message| vec![Wrong { line, message }];
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let told = |error: &csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        let what = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("has {len} values: the first line names {expected_len} columns")
            }
            _ => "cannot be read as CSV".to_owned(),
        };
        one(line, what)
    };
    let header = reader.headers().map_err(|error| told(&error))?.clone();
    if let Some(odd) = header.iter().find(|name| !COLUMNS.contains(name) && *name != TAGS) {
        let odd = clean(odd);
        return Err(one(
            1,
            format!("unknown column `{odd}`: expected some of {}, {TAGS}", COLUMNS.join(", ")),
        ));
    }
    for asked in ["address", "name"] {
        if !header.iter().any(|name| name == asked) {
            return Err(one(1, format!("column `{asked}` is missing in the first line")));
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| told(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut row = Row::default();
        for (name, value) in header.iter().zip(&record).filter(|(_, value)| !value.is_empty()) {
            row.set(name, value).map_err(|message| one(line, message))?;
        }
        rows.push((line, row));
    }
    Ok(rows)
}

impl Row {
    fn set(&mut self, column: &str, value: &str) -> Result<(), String> {
        let place = match column {
            "address" => {
                value.clone_into(&mut self.address);
                return Ok(());
            }
            "name" => {
                value.clone_into(&mut self.name);
                return Ok(());
            }
            TAGS => {
                for pair in value.split(';').filter(|pair| !pair.trim().is_empty()) {
                    let (key, value) = pair
                        .split_once('=')
                        .ok_or_else(|| format!("tags: `{}`: expected key=value", clean(pair)))?;
                    self.tags.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                return Ok(());
            }
            "kind" => &mut self.kind,
            "id" => &mut self.id,
            "group" => &mut self.group,
            "owner" => &mut self.owner,
            "service" => &mut self.service,
            "account" => &mut self.account,
            "vpc" => &mut self.vpc,
            "scope" => &mut self.scope,
            "from" => &mut self.from,
            _ => &mut self.until,
        };
        *place = Some(value.to_owned());
        Ok(())
    }
}

/// Rows with the line that each begins at.
fn json(text: &str) -> Result<Vec<(u64, Row)>, Vec<Wrong>> {
    let rows: Result<Vec<Row>, _> = serde_json::from_str(text);
    let rows = rows.map_err(|error| {
        let line = u64::try_from(error.line()).unwrap_or(0);
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        vec![Wrong { line, message }]
    })?;
    Ok(begins(text).into_iter().zip(rows).collect())
}

/// Lines at which the objects of a list begin; the text is known to be JSON.
fn begins(text: &str) -> Vec<u64> {
    let (mut line, mut depth, mut quoted, mut escaped) = (1, 0_u32, false, false);
    let mut lines = Vec::new();
    for c in text.chars() {
        match c {
            '\n' => line += 1,
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted => {
                if depth == 0 {
                    lines.push(line);
                }
                depth += 1;
            }
            '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Result<Vec<Held>, String> {
        let services = ["rds-mysql", "alb"];
        read(text, Form::Csv, &TagKeys::default(), &services).map_err(|wrong| told(&wrong))
    }

    fn json(text: &str) -> Result<Vec<Held>, String> {
        read(text, Form::Json, &TagKeys::default(), &["rds-mysql"]).map_err(|wrong| told(&wrong))
    }

    fn told(wrong: &[Wrong]) -> String {
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn csv_and_json_say_the_same() {
        let from_csv = csv("# hosts\naddress,name,scope,group,owner,service,from,tags\n\
             10.0.0.9, users-db ,prod,,data,rds-mysql,2026-11-01,environment=prod;x=y\n\
             2001:db8::1,edge,,web,,,,\n")
        .unwrap();
        let from_json = json(
            r#"[{"address": "10.0.0.9", "name": "users-db", "scope": "prod", "owner": "data",
                 "service": "rds-mysql", "from": "2026-11-01T00:00:00Z",
                 "tags": {"environment": "prod", "x": "y"}},
                {"address": "2001:db8::1", "name": "edge", "group": "web"}]"#,
        )
        .unwrap();
        assert_eq!(from_csv, from_json);
        let first = &from_csv[0];
        assert_eq!(first.realm, Realm::Scope("prod".into()));
        assert_eq!(
            first.resource.names().collect::<Vec<_>>(),
            ["users-db", "users-db", "data", "environment=prod"]
        );
        assert_eq!(from_csv[1].realm, Realm::Anywhere);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, expected) in [
            ("addr,name\n", "line 1: unknown column `addr`"),
            ("address\n10.0.0.9\n", "line 1: column `name` is missing"),
            ("address,name\n10.0.0.9,a\n10.0.0.300,b\n", "line 3: address: `10.0.0.300`"),
            ("address,name\n10.0.0.9,\n", "line 2: name is empty"),
            ("address,name\n10.0.0.9,a,b\n", "line 2: has 3 values"),
            ("address,name,service\n10.0.0.9,a,rds\n", "line 2: service: `rds` is no remedy"),
            ("address,name,from\n10.0.0.9,a,soon\n", "line 2: from: `soon` is no date"),
            ("address,name,tags\n10.0.0.9,a,x\n", "line 2: tags: `x`: expected key=value"),
            (
                "address,name,from,until\n10.0.0.9,a,2026-11-02,2026-11-01\n",
                "line 2: until: expected a time after",
            ),
        ] {
            let error = csv(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        for (text, expected) in [
            ("[\n{\"address\": \"10.0.0.9\"}\n]", "line 2: missing field `name`"),
            ("[\n{\"address\": 1,\n \"name\": \"a\"}]", "line 2: invalid type"),
            ("[\n{\"adress\": \"10.0.0.9\"}]", "line 2: unknown field `adress`"),
            ("[\n\n{\"address\": \"x\", \"name\": \"a\"}]", "line 3: address: `x`"),
            ("{}", "line 1: invalid type"),
            ("[", "line 1: EOF"),
        ] {
            let error = json(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn every_mistake_is_told_at_once_up_to_a_bound() {
        let lines: Vec<String> = (0..50).map(|n| format!("x{n},a\n")).collect();
        let error = csv(&format!("address,name\n{}", lines.concat())).unwrap_err();
        assert_eq!(error.lines().count(), WRONG_MAX);
    }
}
