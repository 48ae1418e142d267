//! `cleartap metrics`: what is published, and what CloudWatch would charge for it.
#![allow(clippy::disallowed_methods, reason = "edge: reads a file of records")]

use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt::Write as _,
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{
    EXIT_INPUT, EXIT_OK,
    args::{self, BadConfig, environment, flag},
    complain, print,
};
use crate::{
    config::{Config, Sources, load},
    engine::{Emitted, Engine},
    ingest::{discover, error::shown},
    metrics::{Dimension, Expected, METRICS, PRICES, estimate},
    model::record::Record,
};

#[derive(Debug, Subcommand)]
pub(super) enum MetricsCommand {
    /// Estimate series and monthly cost in CloudWatch before anything is sent
    Cost(CostArgs),
    /// List every metric with unit, statistic, dimensions and meaning
    List,
}

/// Arguments of `metrics cost`.
#[derive(Debug, Args)]
pub(super) struct CostArgs {
    /// Count scopes, protocols and services in these captures (pcap, pcapng, folders, -)
    #[arg(value_name = "CAPTURE", conflicts_with_all = ["records", "scopes", "protocols"])]
    captures: Vec<PathBuf>,
    /// Count scopes, protocols and services in these records (as `run` and `analyze --flows` write them)
    #[arg(long, value_name = "FLOWS.jsonl", conflicts_with_all = ["scopes", "protocols"])]
    records: Option<PathBuf>,
    /// Scopes that are mirrored
    #[arg(long, default_value_t = 1, value_name = "N")]
    scopes: u64,
    /// Plaintext protocols in each scope
    #[arg(long, default_value_t = 5, value_name = "N")]
    protocols: u64,
    /// Sensors that publish
    #[arg(long, default_value_t = 1, value_name = "N")]
    sensors: u64,
    /// Configuration file whose [metrics] are meant
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Length of a metrics period in seconds (default: 60)
    #[arg(long, value_name = "S")]
    metrics_period: Option<u32>,
    /// Most metric series at once (default: 500)
    #[arg(long, value_name = "N")]
    metric_series_max: Option<u32>,
}

pub(super) fn metrics(command: &MetricsCommand) -> anyhow::Result<u8> {
    match command {
        MetricsCommand::Cost(args) => cost(args),
        MetricsCommand::List => list(),
    }
}

fn cost(args: &CostArgs) -> anyhow::Result<u8> {
    let flags = [
        flag("--metrics-period", "metrics.period_s", args.metrics_period),
        flag("--metric-series-max", "metrics.series_max", args.metric_series_max),
    ];
    let sources = Sources {
        file: args.config.clone(),
        environment: environment(),
        flags: flags.into_iter().flatten().collect(),
    };
    let settings = load(&sources).map_err(BadConfig)?;
    let config = &settings.config.metrics;
    let mut code = EXIT_OK;
    let expected = match &args.records {
        Some(path) => read(path)?.expected(args.sensors),
        None if !args.captures.is_empty() => {
            let (seen, failed) = captures(&args.captures, &settings.config);
            code = if failed { EXIT_INPUT } else { EXIT_OK };
            seen.expected(args.sensors)
        }
        None => Expected {
            scopes: args.scopes,
            protocols: args.scopes.saturating_mul(args.protocols),
            services: args.scopes.saturating_mul(args.protocols),
            tls_versions: 3,
            sensors: args.sensors,
        },
    };
    let got = estimate(&expected, config.period_s, u64::from(config.series_max), &PRICES);
    let Expected { scopes, protocols, services, tls_versions, sensors } = expected;
    let total = got.metrics_usd + got.requests_usd;
    let text = format!(
        "scopes {scopes}, protocols in them {protocols}, services {services}, TLS versions {tls_versions}, sensors {sensors}\n\
         series           {:>10}   of at most {}; {} more would be folded into `other`\n\
         requests/month   {:>10}   one every {} s and sensor, without retries\n\
         series, USD      {:>10.2}   a month\n\
         requests, USD    {:>10.2}   a month\n\
         total, USD       {total:>10.2}   a month\n\
         List prices of {} as of {} ({}); without free tier and discounts.\n",
        got.series,
        config.series_max,
        got.folded,
        got.requests_month,
        config.period_s,
        got.metrics_usd,
        got.requests_usd,
        PRICES.region,
        PRICES.as_of,
        PRICES.source,
    );
    print(&text)?;
    Ok(code)
}

/// The values that dimensions take.
#[derive(Debug, Default)]
struct Seen {
    scopes: BTreeSet<String>,
    protocols: BTreeSet<(String, Option<String>)>,
    services: BTreeSet<(String, Option<String>)>,
    versions: BTreeSet<Option<String>>,
}

impl Seen {
    fn add(&mut self, line: Line) {
        if matches!(line.encryption.as_str(), "plaintext" | "partial") {
            self.protocols.insert((line.scope.clone(), line.app));
            self.services.insert((line.scope.clone(), line.expected_service));
        } else if let Some(tls) = line.tls {
            self.versions.insert(tls.version);
        }
        self.scopes.insert(line.scope);
    }

    fn expected(&self, sensors: u64) -> Expected {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Expected {
            scopes: count(self.scopes.len()),
            protocols: count(self.protocols.len()),
            services: count(self.services.len()),
            tls_versions: count(self.versions.len()),
            sensors,
        }
    }
}

/// What counts of captures; true if some could not be read.
fn captures(paths: &[PathBuf], config: &Config) -> (Seen, bool) {
    let found = discover(paths);
    found.errors.iter().for_each(|error| complain(&error.to_string()));
    let mut failed = !found.errors.is_empty();
    let mut seen = Seen::default();
    for input in &found.captures {
        let mut engine = Engine::new(args::engine(config, None));
        let mut take = |emitted: Emitted| seen.add(Line::from(&*emitted.record));
        for error in super::analyze::read(input, &mut engine, None, &Cell::new(false), &mut take) {
            complain(&error.to_string());
            failed = true;
        }
        engine.finish(&mut take);
    }
    (seen, failed)
}

impl From<&Record> for Line {
    fn from(record: &Record) -> Self {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            scope: record.scope.to_string(),
            encryption: record.encryption.to_owned(),
            app: text(record.app),
            expected_service: text(record.expected_service),
            tls: record.tls.as_ref().map(|tls| Tls { version: text(tls.version) }),
        }
    }
}

/// What counts of a record.
#[derive(Deserialize)]
struct Line {
    scope: String,
    encryption: String,
    app: Option<String>,
    expected_service: Option<String>,
    tls: Option<Tls>,
}

#[derive(Deserialize)]
struct Tls {
    version: Option<String>,
}

fn read(path: &Path) -> anyhow::Result<Seen> {
    let file =
        File::open(path).with_context(|| format!("--records: {} cannot be read", shown(path)))?;
    let mut seen = Seen::default();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let place = || format!("--records: {} line {number}", shown(path));
        let line: Line = serde_json::from_str(&line.with_context(place)?)
            .with_context(|| format!("{}: expected a record", place()))?;
        seen.add(line);
        anyhow::ensure!(seen.protocols.len() < 1_000_000, "{}: too many scopes", place());
    }
    Ok(seen)
}

fn list() -> anyhow::Result<u8> {
    print(&markdown())?;
    Ok(EXIT_OK)
}

/// The table of `deploy/metrics.md`.
pub fn markdown() -> String {
    let mut text =
        "| metric | unit | statistic | dimension sets | meaning |\n|---|---|---|---|---|\n"
            .to_owned();
    for info in METRICS {
        let sets: Vec<String> = info
            .rollups
            .iter()
            .map(|set| {
                let names: Vec<&str> = set.iter().copied().map(Dimension::name).collect();
                format!("{{{}}}", names.join(", "))
            })
            .collect();
        // Writing to a String cannot fail.
        let _ok = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            info.name,
            info.unit.name(),
            info.statistic.name(),
            sets.join(" "),
            info.means
        );
    }
    text
}
