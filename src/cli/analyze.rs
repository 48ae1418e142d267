//! `cleartap analyze`: captures in, report out.
#![allow(clippy::disallowed_methods, reason = "edge: writes the record file the user names")]

use std::{
    cell::Cell,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{
    EXIT_FOUND, EXIT_INPUT, EXIT_OK, EXIT_USAGE,
    args::{self as arguments, EngineArgs},
    colors, complain,
    filter::Filter,
    is_broken_pipe, naming, print,
    sharded::{Decides, Engines},
};
use crate::{
    config::Config,
    counters::Counters,
    engine::Emitted,
    enrich::Enrichment,
    ingest::{
        CaptureFile, CaptureInput, Input, Progress, Source, SourceError,
        discover::{Place, discover},
        error::shown,
    },
    model::record::Record,
    output::{Inventory, JsonLines, Report, inventory, report::is_clear, table},
    wire,
};

/// Arguments of `analyze`.
#[derive(Debug, Args)]
pub(super) struct AnalyzeArgs {
    /// Capture files (pcap, pcapng, also .gz and .zst), folders, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Print the inventory of TLS servers instead: versions, suites, groups, certificates, post-quantum share
    #[arg(long)]
    inventory: bool,
    /// Days ahead that the inventory looks for certificates to expire
    #[arg(long, default_value_t = 30, value_name = "DAYS", requires = "inventory",
          value_parser = clap::value_parser!(i64).range(0..=36_500))]
    expiring_days: i64,
    /// Write one JSON record per flow to this file (- for standard output)
    #[arg(long, value_name = "OUT.jsonl")]
    flows: Option<PathBuf>,
    /// Count only flows that pass: KEY=VALUE or KEY!=VALUE, values separated by commas (repeat; all must hold). Keys: encryption, app,
    /// outcome, confidence, transport, scope, credentials, src, dst, ip, port
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Exit with 3 if such a flow was seen
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Vec<FailOn>,
    /// Treat all files as one timeline (rotated captures), in the order given
    #[arg(long)]
    join: bool,
    /// Threads that decide beside the one that reads; the result is the same
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// Most edges in the table
    #[arg(long, default_value_t = 50, value_name = "N")]
    edges_max: usize,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Report for people
    Table,
    /// The report as one JSON object
    Json,
    /// One record per flow
    Jsonl,
    /// Plaintext edges, or servers of the inventory, as CSV
    Csv,
    /// The inventory as a Cryptography Bill of Materials (`CycloneDX` 1.6 JSON)
    Cbom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A flow in cleartext that is in use (established; attempts and refusals do not count)
    Plaintext,
    /// Credentials in clear, hashes included
    Credentials,
    /// A flow nothing can be said about
    Unknown,
}

/// A run over all inputs.
struct Run<'a> {
    args: &'a AnalyzeArgs,
    config: Config,
    report: Report,
    /// Who has which address.
    names: Arc<crate::inventory::Inventory>,
    inventory: Option<Inventory>,
    outputs: Vec<Output>,
    found: bool,
    failed: bool,
    /// Nobody wants what is still to come.
    done: Rc<Cell<bool>>,
}

/// Where records go.
struct Output {
    /// What messages call it.
    place: String,
    lines: JsonLines<Box<dyn Write>>,
}

pub(super) fn analyze(args: &AnalyzeArgs) -> anyhow::Result<u8> {
    let settings = args.engine.load(Vec::new())?;
    let found = discover(&args.inputs);
    if let Some(clash) = clash(args, &found.captures) {
        complain(&clash);
        return Ok(EXIT_USAGE);
    }
    let mut run = Run {
        args,
        names: Arc::new(naming::offline(&settings.config)?),
        config: settings.config,
        report: Report::default(),
        inventory: args.inventory.then(Inventory::default),
        outputs: open_outputs(args)?,
        found: false,
        failed: !found.errors.is_empty(),
        done: Rc::default(),
    };
    found.errors.iter().for_each(|error| complain(&error.to_string()));
    run.read_all(&found.captures)?;
    run.write(JsonLines::flush);
    match print(&rendered(args, &run.report, run.inventory.as_ref())?) {
        Err(error) if !is_broken_pipe(&error) => {
            complain(&format!("{error:#}"));
            run.failed = true;
        }
        _ => {}
    }
    Ok(match (run.found, run.failed) {
        (true, _) => EXIT_FOUND,
        (false, true) => EXIT_INPUT,
        (false, false) => EXIT_OK,
    })
}

impl Run<'_> {
    /// Reads every input.
    fn read_all(&mut self, inputs: &[CaptureInput]) -> anyhow::Result<()> {
        let mut joined: Option<(Engines, Enrichment)> = None;
        let progress = Progress::new(inputs);
        for input in inputs {
            if self.done.get() {
                break;
            }
            self.report.captures.push(input.capture.clone());
            let (mut engines, mut enrichment) = if let Some(joined) = joined.take() {
                joined
            } else {
                let mut settings = arguments::engine(&self.config, Some(input.capture.clone()));
                settings.context.brief = self.is_brief();
                let engines = Engines::new(settings, usize::from(self.args.shards))?;
                (engines, self.enrichment())
            };
            for error in self.read(input, &mut engines, &mut enrichment, progress.as_ref()) {
                match &progress {
                    Some(bar) => bar.suspend(|| complain(&error.to_string())),
                    None => complain(&error.to_string()),
                }
                self.failed = true;
            }
            if self.args.join {
                joined = Some((engines, enrichment));
            } else {
                self.finish((engines, enrichment));
            }
        }
        if let Some(joined) = joined {
            self.finish(joined);
        }
        if let Some(bar) = progress {
            bar.finish();
        }
        Ok(())
    }

    /// Whether nobody reads whole records: the report counts them and lists edges.
    fn is_brief(&self) -> bool {
        self.inventory.is_none() && self.args.flows.is_none() && self.args.format != Format::Jsonl
    }

    fn enrichment(&self) -> Enrichment {
        if self.is_brief() {
            return Enrichment::brief();
        }
        Enrichment::new(self.names.clone(), self.config.inventory.heard_names)
    }

    fn read(
        &mut self,
        input: &CaptureInput,
        engines: &mut Engines,
        enrichment: &mut Enrichment,
        progress: Option<&Progress>,
    ) -> Vec<SourceError> {
        // The run is lent to the closure, so the flag is watched through a copy.
        let done = Rc::clone(&self.done);
        read(input, engines, progress, &done, &mut |emitted| {
            enrichment.take(&emitted.answers, emitted.record, &mut |record| self.take(record));
        })
    }

    fn finish(&mut self, (engines, mut enrichment): (Engines, Enrichment)) {
        let counters = engines.finish(&mut |emitted| {
            enrichment.take(&emitted.answers, emitted.record, &mut |record| self.take(record));
        });
        enrichment.finish(&mut |record| self.take(record));
        self.report.add_counters(&Counters {
            servers_forgotten: enrichment.servers.forgotten(),
            records_hurried: enrichment.servers.hurried,
            names_forgotten: enrichment.names.forgotten(),
            ..counters
        });
    }

    fn take(&mut self, record: &Record) {
        if !self.args.filter.iter().all(|f| f.passes(record)) {
            self.report.filtered += 1;
            return;
        }
        self.found |= self.args.fail_on.iter().any(|what| what.is_met(record));
        self.report.add(record);
        if let Some(inventory) = &mut self.inventory {
            inventory.add(record);
        }
        self.write(|lines| lines.write(record));
    }

    /// Writes to every output; one that fails is given up.
    fn write(&mut self, mut write: impl FnMut(&mut JsonLines<Box<dyn Write>>) -> io::Result<()>) {
        let failed = &mut self.failed;
        let before = self.outputs.len();
        self.outputs.retain_mut(|output| match write(&mut output.lines) {
            Ok(()) => true,
            // `cleartap analyze ... | head` is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
            Err(error) => {
                let place = &output.place;
                complain(&format!(
                    "{place} cannot be written: {error}; what follows is missing there"
                ));
                *failed = true;
                false
            }
        });
        let gave_up = self.outputs.is_empty() && before > 0;
        if gave_up && self.args.fail_on.is_empty() && !self.args.reports() {
            self.done.set(true);
        }
    }
}

impl AnalyzeArgs {
    /// Whether records go to standard output.
    fn lists(&self) -> bool {
        self.format == Format::Jsonl || self.flows_to_stdout()
    }

    /// Whether a report is printed.
    fn reports(&self) -> bool {
        !self.lists()
    }

    fn flows_to_stdout(&self) -> bool {
        self.flows.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }
}

/// Why these arguments would lose something.
fn clash(args: &AnalyzeArgs, inputs: &[CaptureInput]) -> Option<String> {
    match (args.format, args.inventory) {
        (Format::Cbom, false) => {
            return Some("--format cbom is a form of the inventory: add --inventory".to_owned());
        }
        (Format::Jsonl, true) => {
            let expected = "--inventory has the forms table, json, csv and cbom";
            return Some(format!("{expected}; for records give --flows a file"));
        }
        _ => {}
    }
    let flows = args.flows.as_ref()?;
    if args.flows_to_stdout() {
        let wants_stdout = matches!(args.format, Format::Json | Format::Csv | Format::Cbom);
        return (wants_stdout || args.inventory).then(|| {
            "--flows - and --format both want standard output; give --flows a file".to_owned()
        });
    }
    let same = |path: &Path| match (flows.canonicalize(), path.canonicalize()) {
        (Ok(out), Ok(capture)) => out == capture,
        _ => false,
    };
    let is_input = inputs.iter().any(|input| matches!(&input.place, Place::Path(p) if same(p)));
    is_input.then(|| {
        format!(
            "--flows: {} is a capture to be read; give the file to be written another name",
            shown(flows)
        )
    })
}

impl FailOn {
    fn is_met(self, record: &Record) -> bool {
        let established = record.outcome == "established";
        match self {
            Self::Plaintext => is_clear(record) && established,
            Self::Credentials => !record.credentials.is_empty(),
            Self::Unknown => record.encryption == "unknown",
        }
    }
}

/// Reads one capture to its end, or as far as it can be read and is wanted; returns what went wrong.
pub(super) fn read(
    input: &CaptureInput,
    engine: &mut dyn Decides,
    progress: Option<&Progress>,
    done: &Cell<bool>,
    emit: &mut dyn FnMut(Emitted),
) -> Vec<SourceError> {
    let mut errors = Vec::new();
    let mut source = match CaptureFile::open(input, wire::link_supported, progress) {
        Ok(source) => source,
        Err(error) => return vec![error],
    };
    while !done.get() {
        match source.next() {
            Ok(Input::Frame(frame)) => engine.frame(&frame, emit),
            Ok(Input::Tick(now)) => engine.tick(now, emit),
            Ok(Input::End) => break,
            Err(error) => errors.push(error),
        }
    }
    errors
}

fn open_outputs(args: &AnalyzeArgs) -> anyhow::Result<Vec<Output>> {
    let mut outputs = Vec::new();
    if args.lists() {
        let lines = JsonLines::new(Box::new(io::stdout()) as Box<dyn Write>);
        outputs.push(Output { place: "standard output".to_owned(), lines });
    }
    if let Some(path) = args.flows.as_ref().filter(|_| !args.flows_to_stdout()) {
        let place = format!("--flows: {}", shown(path));
        let file = File::create(path).with_context(|| format!("{place} cannot be written"))?;
        outputs.push(Output { place, lines: JsonLines::new(Box::new(file)) });
    }
    Ok(outputs)
}

fn rendered(
    args: &AnalyzeArgs,
    report: &Report,
    inventory: Option<&Inventory>,
) -> anyhow::Result<String> {
    if let Some(inventory) = inventory {
        return listed(args, inventory);
    }
    Ok(match args.format {
        _ if !args.reports() => String::new(),
        Format::Jsonl | Format::Cbom => String::new(),
        Format::Json => report.json()? + "\n",
        Format::Csv => String::from_utf8(report.csv()?)?,
        Format::Table => {
            let width = terminal_width().unwrap_or(160);
            let color = colors(&io::stdout());
            let style = table::Style { width, color, edges_max: args.edges_max };
            table::render(report, style)
        }
    })
}

fn listed(args: &AnalyzeArgs, inventory: &Inventory) -> anyhow::Result<String> {
    Ok(match args.format {
        Format::Json => inventory.json(args.expiring_days)? + "\n",
        Format::Cbom => inventory.cbom()? + "\n",
        Format::Csv => String::from_utf8(inventory.csv()?)?,
        Format::Table | Format::Jsonl => inventory.table(inventory::Style {
            bold: colors(&io::stdout()),
            lines_max: args.edges_max,
            expiring_days: args.expiring_days,
        }),
    })
}

/// Columns of the terminal, or what `COLUMNS` says.
fn terminal_width() -> Option<u16> {
    comfy_table::Table::new()
        .width()
        .or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
        .map(|width| width.max(80))
}
