//! `cleartap findings`: what matters and since when, from the findings book.
#![allow(clippy::disallowed_methods, reason = "edge: reads the environment")]

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{
    EXIT_OK,
    args::{BadConfig, environment, flag},
    print,
};
use crate::{
    clock::now,
    config::{FINDINGS_PATH, Sources, load},
    findings::{BookException, Finding, FindingState},
    model::{Date, Timestamp},
    output::{book::Book, sarif},
    policy::Severity,
};

/// Arguments of `findings`.
#[derive(Debug, Args)]
pub(super) struct FindingsArgs {
    /// SQLite file of the findings book (default: as configured)
    #[arg(long, value_name = "PATH", global = true)]
    findings: Option<PathBuf>,
    /// Configuration file that names it
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<FindingsCommand>,
}

#[derive(Debug, Subcommand)]
enum FindingsCommand {
    /// List findings, gravest first (this is what `findings` alone does)
    List(ListArgs),
    /// Show everything about one finding
    Show {
        /// Its id, or the beginning of it
        id: String,
        /// What to print
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Accept a finding until a day; after it, it is told again
    Except(ExceptArgs),
    /// Write every finding for other tools
    Export {
        /// Format
        #[arg(long, value_enum, default_value_t = Export::Json)]
        format: Export,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Default, Args)]
struct ListArgs {
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    which: Which,
}

/// Which findings.
#[derive(Debug, Default, Args)]
struct Which {
    /// Also those that are resolved
    #[arg(long)]
    all: bool,
    /// Only those of this severity or more
    #[arg(long, value_enum, value_name = "SEVERITY")]
    severity: Option<Least>,
}

#[derive(Debug, Args)]
struct ExceptArgs {
    /// Id of the finding, or the beginning of it
    id: String,
    /// Who answers for it
    #[arg(long, value_parser = said)]
    owner: String,
    /// Why it is accepted
    #[arg(long, value_parser = said)]
    reason: String,
    /// Where it is tracked
    #[arg(long, value_parser = said)]
    ticket: String,
    /// Last day it holds, in UTC (YYYY-MM-DD)
    #[arg(long, value_name = "DAY")]
    until: Date,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// JSON
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Export {
    /// One JSON list
    Json,
    /// Comma-separated values with a header
    Csv,
    /// SARIF 2.1.0
    Sarif,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Least {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Least {
    const fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        }
    }
}

/// Most characters of an exception's owner, reason and ticket.
const SAID_CHARS_MAX: usize = 500;

fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > SAID_CHARS_MAX {
        return Err(format!("expected 1 to {SAID_CHARS_MAX} characters"));
    }
    Ok(text.to_owned())
}

pub(super) fn findings(args: &FindingsArgs) -> anyhow::Result<u8> {
    let path = args.path()?;
    let list = ListArgs::default();
    let text = match &args.command {
        None => listed(&path, &list)?,
        Some(FindingsCommand::List(args)) => listed(&path, args)?,
        Some(FindingsCommand::Show { id, format }) => {
            let finding = one(&read(&path)?, id)?;
            match format {
                Format::Json => serde_json::to_string_pretty(&finding)? + "\n",
                Format::Table => details(&finding),
            }
        }
        Some(FindingsCommand::Except(args)) => except(&path, args)?,
        Some(FindingsCommand::Export { format, which }) => {
            let findings = which.of(read(&path)?);
            match format {
                Export::Json => serde_json::to_string_pretty(&findings)? + "\n",
                Export::Csv => csv(&findings)?,
                Export::Sarif => serde_json::to_string_pretty(&sarif::log(&findings))? + "\n",
            }
        }
    };
    print(&text)?;
    Ok(EXIT_OK)
}

impl FindingsArgs {
    fn path(&self) -> anyhow::Result<PathBuf> {
        let flags = flag("--findings", "findings.path", self.findings.as_ref());
        let sources = Sources {
            file: self.config.clone(),
            environment: environment(),
            flags: flags.into_iter().collect(),
        };
        let settings = load(&sources).map_err(BadConfig)?;
        let Some(path) = settings.config.findings.book() else {
            bail!("findings.path is `none`: there is no findings book");
        };
        let own = own_path().filter(|own| own.exists());
        match own {
            Some(own) if path == Path::new(FINDINGS_PATH) && !path.exists() => Ok(own),
            _ => Ok(path.to_owned()),
        }
    }
}

/// The user's own place for state (XDG base directories): where the book is for who may not write to the usual one.
pub(super) fn own_path() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute())
    };
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("cleartap/findings.db"))
}

/// Every finding, gravest first. What the book excepts from now on is excepted, also before a sensor has seen it.
fn read(path: &Path) -> anyhow::Result<Vec<Finding>> {
    let snapshot = Book::look(path)?.snapshot()?;
    let today = Date::of(now());
    let mut findings: Vec<Finding> = snapshot.kept.into_iter().map(|kept| kept.finding).collect();
    for finding in findings.iter_mut().filter(|finding| finding.state.is_open()) {
        let about = |e: &&BookException| {
            e.until >= today && (e.finding == finding.id || finding.aliases.contains(&e.finding))
        };
        if let Some(exception) = snapshot.exceptions.iter().find(about) {
            finding.exception = Some(exception.id());
            finding.exception_expires = Some(exception.until.to_string());
            finding.state = FindingState::Excepted;
        }
    }
    let weight = |finding: &Finding| (finding.severity, finding.action, finding.last_seen);
    findings.sort_by(|a, b| weight(b).cmp(&weight(a)).then_with(|| a.id.cmp(&b.id)));
    Ok(findings)
}

impl Which {
    fn of(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        findings.retain(|finding| {
            let grave = self.severity.is_none_or(|least| finding.severity >= least.severity());
            grave && (self.all || finding.state != FindingState::Resolved)
        });
        findings
    }
}

/// The finding whose id, or former id, begins so.
fn one(findings: &[Finding], id: &str) -> anyhow::Result<Finding> {
    let begins = |finding: &&Finding| {
        let ids = std::iter::once(&finding.id).chain(&finding.aliases);
        ids.into_iter().any(|known| known.to_string().starts_with(&id.to_ascii_lowercase()))
    };
    let mut found = findings.iter().filter(begins);
    match (found.next(), found.count()) {
        (Some(finding), 0) => Ok(finding.clone()),
        (None, _) => bail!("`{}`: no finding has this id", clean(id)),
        (_, more) => bail!("`{}`: {} findings begin so, give more of the id", clean(id), more + 1),
    }
}

fn listed(path: &Path, args: &ListArgs) -> anyhow::Result<String> {
    let findings = args.which.of(read(path)?);
    if args.format == Format::Json {
        return Ok(serde_json::to_string_pretty(&findings)? + "\n");
    }
    let open = findings.iter().filter(|finding| finding.state.is_open()).count();
    let mut text = format!("{} findings, {open} open\n", findings.len());
    if findings.is_empty() {
        return Ok(text);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let header =
        "SEVERITY STATE ACTION PROTOCOL CLIENT SERVER FLOWS BYTES CREDENTIALS LAST_SEEN REMEDY ID";
    table.set_header(header.split(' ').map(|word| word.replace('_', " ")));
    for f in &findings {
        table.add_row([
            f.severity.name().to_owned(),
            f.state.name().to_owned(),
            f.action.name().to_owned(),
            clean(&f.edge.protocol),
            clean(shown(&f.edge.client, f.names.client_name.as_deref())),
            format!(
                "{}:{}",
                clean(shown(&f.edge.server, f.names.server_name.as_deref())),
                f.edge.port
            ),
            f.flows.to_string(),
            f.bytes.to_string(),
            clean(&f.credentials.join(" ")),
            second(f.last_seen),
            clean(&f.remedy),
            f.id.to_string().chars().take(ID_CHARS_SHOWN).collect(),
        ]);
    }
    text.extend(["\n", &table.trim_fmt(), "\n\nMore: cleartap findings show ID\n"]);
    Ok(text)
}

/// An ARN is long: its name says as much in a list.
fn shown<'a>(identity: &'a str, name: Option<&'a str>) -> &'a str {
    name.filter(|_| identity.starts_with("arn:")).unwrap_or(identity)
}

/// Beginning of an id in the list.
const ID_CHARS_SHOWN: usize = 12;

/// Every field, in the order of columns and lines.
const FIELDS: [&str; 34] = [
    "id",
    "state",
    "severity",
    "action",
    "scope",
    "client",
    "client_address",
    "client_name",
    "client_owner",
    "server",
    "server_address",
    "server_name",
    "server_name_source",
    "server_owner",
    "port",
    "protocol",
    "rule",
    "topic",
    "why",
    "plaintext_reason",
    "credentials",
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
    "aliases",
    "controls",
    "evidence",
];

/// The fields of a finding and its edge, in that order.
fn fields(finding: &Finding) -> Vec<(&'static str, Value)> {
    let value = serde_json::to_value(finding).unwrap_or_default();
    let field = |name| value.get(name).or_else(|| value.get("edge")?.get(name));
    FIELDS.iter().map(|name| (*name, field(name).cloned().unwrap_or_default())).collect()
}

fn details(finding: &Finding) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &Value| {
        let shown = match value {
            Value::Null => return,
            Value::Array(list) if list.is_empty() => return,
            Value::String(text) => clean(text),
            other => clean(&other.to_string()),
        };
        // Writing to a String cannot fail.
        let _ok = writeln!(text, "{name:<18} {shown}");
    };
    for (name, value) in fields(finding) {
        match (name, &value) {
            ("controls" | "evidence", Value::Array(list)) => {
                for item in list {
                    line(name, item);
                }
            }
            (name, value) => line(name, value),
        }
    }
    text
}

fn except(path: &Path, args: &ExceptArgs) -> anyhow::Result<String> {
    let finding = one(&read(path)?, &args.id)?;
    let today = Date::of(now());
    if args.until < today {
        bail!("--until {}: is over; expected {today} or later", args.until);
    }
    let exception = BookException {
        finding: finding.id,
        owner: args.owner.clone(),
        reason: args.reason.clone(),
        ticket: args.ticket.clone(),
        until: args.until,
    };
    Book::amend(path)?.except(&exception, now())?;
    Ok(format!(
        "{} -> {}:{} ({}) is excepted until {}. A running sensor takes it within seconds.\n",
        clean(&finding.edge.client),
        clean(&finding.edge.server),
        finding.edge.port,
        clean(&finding.edge.protocol),
        args.until
    ))
}

fn csv(findings: &[Finding]) -> anyhow::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(FIELDS)?;
    for finding in findings {
        out.write_record(fields(finding).iter().map(|(_, value)| cell(value)))?;
    }
    let bytes = out.into_inner().context("the table cannot be written")?;
    Ok(String::from_utf8(bytes)?)
}

/// A cell that no spreadsheet takes for a formula.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    };
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

/// Text that does nothing to a terminal: names come from inventories, and from who wrote an exception.
fn clean(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .flat_map(|c| {
            let escaped = hostile(c).then(|| c.escape_unicode());
            escaped.into_iter().flatten().chain((!hostile(c)).then_some(c))
        })
        .collect()
}

fn second(time: Timestamp) -> String {
    let text = time.to_string();
    text.split('.').next().map_or_else(String::new, |text| format!("{text}Z"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_moves_a_terminal_or_a_spreadsheet_is_printed() {
        assert_eq!(
            clean("web\u{1b}[2J\u{9b}1m\u{202e}\n"),
            "web\\u{1b}[2J\\u{9b}1m\\u{202e}\\u{a}"
        );
        assert_eq!(cell(&json!("=HYPERLINK(1)")), "'=HYPERLINK(1)");
        assert_eq!(clean("asg/web-ü"), "asg/web-ü");
    }
}
