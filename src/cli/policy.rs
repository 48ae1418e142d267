//! `cleartap policy`: what a policy would raise, and what a change of it adds and removes, before it is live.
#![allow(clippy::disallowed_methods, reason = "edge: reads the record files the user names")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::{
    EXIT_FOUND, EXIT_INPUT, EXIT_OK,
    analyze::read,
    args::{self, BadConfig, EngineArgs},
    complain, naming, print,
};
use crate::{
    config::{Sources, load},
    engine::Engine,
    enrich::Enrichment,
    ingest::discover,
    model::{Edge, FindingId, Timestamp, record_line::RecordLine},
    policy::{Action, Change, Changes, Policy, Raise, Said, Severity, Subject},
};

/// Arguments of `policy`.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Show what the policy would raise on captures or record files
    Test(TestArgs),
    /// Show what a change of policy adds and removes on captures or record files
    Diff(DiffArgs),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Captures (pcap, pcapng, folders, -) and record files (.jsonl)
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Judge exceptions and certificates as of this day instead of the day of each flow (YYYY-MM-DD)
    #[arg(long, value_name = "DAY")]
    at: Option<crate::model::Date>,
    /// Exit with 3 if something of this severity or more would alert
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<FailOn>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, Args)]
struct DiffArgs {
    /// Configuration with the old policy
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Configuration with the new policy
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Captures (pcap, pcapng, folders, -) and record files (.jsonl)
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Judge exceptions and certificates as of this day instead of the day of each flow (YYYY-MM-DD)
    #[arg(long, value_name = "DAY")]
    at: Option<crate::model::Date>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON object
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Low,
    Medium,
    High,
    Critical,
}

impl FailOn {
    const fn severity(self) -> Severity {
        match self {
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        }
    }
}

/// What would be raised on one edge.
#[derive(Debug, Serialize)]
struct Row {
    id: FindingId,
    #[serde(flatten)]
    edge: Edge,
    flows: u64,
    first_seen: Timestamp,
    last_seen: Timestamp,
    /// The gravest of its flows.
    raise: Raise,
}

pub(super) fn policy(args: &PolicyArgs) -> anyhow::Result<u8> {
    match &args.command {
        PolicyCommand::Test(args) => test(args),
        PolicyCommand::Diff(args) => diff(args),
    }
}

fn test(args: &TestArgs) -> anyhow::Result<u8> {
    let settings = args.engine.load(Vec::new())?;
    let mut rows: BTreeMap<FindingId, Row> = BTreeMap::new();
    let mut flows = 0_u64;
    let failed = each_flow(&args.inputs, &settings.config, &mut |subject, first| {
        flows += 1;
        let now = args.at.map_or(subject.ts_last, crate::model::Date::start);
        for raise in settings.policy.judge(subject, now).raises {
            add(&mut rows, subject, first, raise);
        }
    })?;
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by(|a, b| {
        let weight = |row: &Row| (row.raise.action, row.raise.severity, row.flows);
        weight(b).cmp(&weight(a)).then_with(|| a.edge.cmp(&b.edge))
    });
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&serde_json::json!({ "flows": flows, "raises": rows }))?
                + "\n"
        }
        Format::Table => table(&rows, flows),
    };
    print(&text)?;
    let alerts =
        |row: &Row, from: Severity| row.raise.action == Action::Alert && row.raise.severity >= from;
    let found = args.fail_on.is_some_and(|on| rows.iter().any(|row| alerts(row, on.severity())));
    Ok(match (found, failed) {
        (true, _) => EXIT_FOUND,
        (false, true) => EXIT_INPUT,
        (false, false) => EXIT_OK,
    })
}

fn add(rows: &mut BTreeMap<FindingId, Row>, subject: &Subject<'_>, first: Timestamp, raise: Raise) {
    let (id, edge) = subject.edge(&raise, subject);
    let last = subject.ts_last;
    let Some(row) = rows.get_mut(&id) else {
        rows.insert(id, Row { id, edge, flows: 1, first_seen: first, last_seen: last, raise });
        return;
    };
    row.flows += 1;
    row.first_seen = row.first_seen.min(first);
    row.last_seen = row.last_seen.max(last);
    if (raise.action, raise.severity) > (row.raise.action, row.raise.severity) {
        row.raise = raise;
    }
}

fn table(rows: &[Row], flows: u64) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "ACTION",
        "SEVERITY",
        "RULE",
        "PROTOCOL",
        "CLIENT",
        "SERVER",
        "FLOWS",
        "REMEDY",
        "EXCEPTION",
    ]);
    for row in rows {
        let raise = &row.raise;
        let exception = raise.exception.as_ref().map_or(String::new(), |e| {
            let state = if e.expired { "ended" } else { "until" };
            format!("{} {state} {}", e.id, e.expires)
        });
        table.add_row([
            raise.action.name().to_owned(),
            raise.severity.name().to_owned(),
            row.edge.rule.clone(),
            row.edge.protocol.clone(),
            row.edge.client.clone(),
            format!("{}:{}", row.edge.server, row.edge.port),
            row.flows.to_string(),
            raise.remedy.to_string(),
            exception,
        ]);
    }
    let alerts = rows.iter().filter(|row| row.raise.action == Action::Alert).count();
    let mut text =
        format!("{flows} flows, {} raises on edges, {alerts} of them alert\n", rows.len());
    if !rows.is_empty() {
        text.extend(["\n", &table.trim_fmt(), "\n\nWhat to change: cleartap remedies NAME\n"]);
    }
    text
}

fn diff(args: &DiffArgs) -> anyhow::Result<u8> {
    let settings = |path: &Path| {
        let sources = Sources {
            file: Some(path.to_owned()),
            environment: args::environment(),
            flags: Vec::new(),
        };
        load(&sources).map_err(BadConfig)
    };
    let (old, new) = (settings(&args.old)?, settings(&args.new)?);
    let policies: (&Policy, &Policy) = (&old.policy, &new.policy);
    let mut changes = Changes::default();
    let failed = each_flow(&args.inputs, &new.config, &mut |subject, _| {
        let now = args.at.map_or(subject.ts_last, crate::model::Date::start);
        changes.add(policies, subject, subject, now);
    })?;
    let list = changes.list();
    let text = match args.format {
        Format::Json => {
            let value = serde_json::json!({ "flows": changes.flows, "unchanged": changes.unchanged(), "changes": list });
            serde_json::to_string_pretty(&value)? + "\n"
        }
        Format::Table => diff_table(&list, &changes),
    };
    print(&text)?;
    Ok(if failed { EXIT_INPUT } else { EXIT_OK })
}

fn diff_table(list: &[Change], changes: &Changes) -> String {
    let said = |said: Option<Said>| match said {
        None => "-".to_owned(),
        Some(said) => {
            let excepted = if said.excepted { " (excepted)" } else { "" };
            format!("{} {}{excepted}", said.severity.name(), said.action.name())
        }
    };
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["", "RULE", "PROTOCOL", "CLIENT", "SERVER", "FLOWS", "OLD", "NEW"]);
    for change in list {
        let sign = match (change.old, change.new) {
            (None, _) => "+",
            (_, None) => "-",
            _ => "~",
        };
        let edge = &change.edge;
        table.add_row([
            sign.to_owned(),
            edge.rule.clone(),
            edge.protocol.clone(),
            edge.client.clone(),
            format!("{}:{}", edge.server, edge.port),
            change.flows.to_string(),
            said(change.old),
            said(change.new),
        ]);
    }
    let count = |sign: fn(&Change) -> bool| list.iter().filter(|change| sign(change)).count();
    let mut text = format!(
        "{} flows: {} added, {} removed, {} changed, {} as before\n",
        changes.flows,
        count(|c| c.old.is_none()),
        count(|c| c.new.is_none()),
        count(|c| c.old.is_some() && c.new.is_some()),
        changes.unchanged()
    );
    if !list.is_empty() {
        text.extend(["\n", &table.trim_fmt(), "\n"]);
    }
    text
}

type Take<'a> = dyn FnMut(&Subject<'_>, Timestamp) + 'a;

/// Every flow of the inputs; true if some input could not be read to its end.
fn each_flow(
    inputs: &[PathBuf],
    config: &crate::config::Config,
    take: &mut Take<'_>,
) -> anyhow::Result<bool> {
    let (lines, captures): (Vec<_>, Vec<_>) =
        inputs.iter().cloned().partition(|path| is_lines(path));
    for path in &lines {
        record_lines(path, take)?;
    }
    if captures.is_empty() {
        return Ok(false);
    }
    let names = Arc::new(naming::offline(config)?);
    let found = discover(&captures);
    let mut failed = !found.errors.is_empty();
    found.errors.iter().for_each(|error| complain(&error.to_string()));
    for input in &found.captures {
        let mut engine = Engine::new(args::engine(config, Some(input.capture.clone())));
        let heard = config.inventory.heard_names;
        let mut enrichment = Enrichment::new(names.clone(), heard);
        let mut give = |record: &crate::model::record::Record| {
            take(&Subject::from(record), record.ts_first);
        };
        for error in read(input, &mut engine, None, &Cell::new(false), &mut |emitted| {
            enrichment.take(&emitted.answers, emitted.record, &mut give);
        }) {
            complain(&error.to_string());
            failed = true;
        }
        engine.finish(&mut |emitted| {
            enrichment.take(&emitted.answers, emitted.record, &mut give);
        });
        enrichment.finish(&mut give);
    }
    Ok(failed)
}

fn is_lines(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl" || extension == "ndjson")
}

/// Records of a file. A live sensor writes several of one flow: only the last of each counts.
fn record_lines(path: &Path, take: &mut Take<'_>) -> anyhow::Result<()> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name} cannot be read"))?;
    let mut flows: BTreeMap<(String, String, Timestamp), RecordLine> = BTreeMap::new();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("{name} cannot be read"))?;
        if line.trim().is_empty() {
            continue;
        }
        let record: RecordLine = serde_json::from_str(&line)
            .map_err(|error| anyhow::anyhow!("{name}:{}: no record: {error}", at + 1))?;
        if record.event.is_none() {
            take(&Subject::from(&record), record.ts_first);
            continue;
        }
        if flows.len() >= FLOWS_MAX {
            bail!("{name} holds more than {FLOWS_MAX} flows: split it");
        }
        let key = (record.scope.clone(), record.community_id.clone(), record.ts_first);
        flows.insert(key, record);
    }
    for record in flows.values() {
        take(&Subject::from(record), record.ts_first);
    }
    Ok(())
}

/// Most flows of live record files held at once.
const FLOWS_MAX: usize = 4_000_000;
