//! `cleartap analyze`: captures in, report out.
#![allow(clippy::disallowed_methods, reason = "edge: writes the record file the user names")]

use std::{
    fs::File,
    io::{IsTerminal, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{EXIT_FOUND, EXIT_INPUT, EXIT_OK, args::EngineArgs, complain, filter::Filter, print};
use crate::{
    engine::{Emitted, Engine},
    ingest::{CaptureFile, CaptureInput, Input, Progress, Source, SourceError, discover},
    model::record::Record,
    output::{JsonLines, Report, report::is_clear, table},
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
    /// Plaintext edges as CSV
    Csv,
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

/// Where records of a run go.
struct Run<'a> {
    args: &'a AnalyzeArgs,
    report: Report,
    flows: Option<JsonLines<Box<dyn Write>>>,
    found: bool,
    write_error: Option<std::io::Error>,
}

pub(super) fn analyze(args: &AnalyzeArgs) -> anyhow::Result<u8> {
    let inputs = discover(&args.inputs)?;
    let mut run = Run {
        args,
        report: Report::default(),
        flows: open_flows(args)?,
        found: false,
        write_error: None,
    };
    let failed = run.read_all(&inputs);
    if let Some(flows) = &mut run.flows {
        let flushed = flows.flush().err();
        run.write_error = run.write_error.or(flushed);
    }
    if let Some(error) = run.write_error {
        return Err(error.into());
    }
    print(&rendered(args, &run.report)?)?;
    Ok(match (run.found, failed) {
        (true, _) => EXIT_FOUND,
        (false, true) => EXIT_INPUT,
        (false, false) => EXIT_OK,
    })
}

impl Run<'_> {
    /// Reads every input; true if any could not be read to its end.
    fn read_all(&mut self, inputs: &[CaptureInput]) -> bool {
        let mut failed = false;
        let mut joined: Option<Engine> = None;
        let progress = Progress::new(inputs);
        for input in inputs {
            self.report.captures.push(input.capture.clone());
            let mut engine = joined.take().unwrap_or_else(|| {
                Engine::new(self.args.engine.settings(Some(input.capture.clone())))
            });
            let mut take = |emitted: Emitted| self.take(&emitted.record);
            for error in read(input, &mut engine, progress.as_ref(), &mut take) {
                match &progress {
                    Some(bar) => bar.suspend(|| complain(&error.to_string())),
                    None => complain(&error.to_string()),
                }
                failed = true;
            }
            if self.args.join {
                joined = Some(engine);
            } else {
                self.finish(engine);
            }
        }
        if let Some(engine) = joined {
            self.finish(engine);
        }
        if let Some(bar) = progress {
            bar.finish();
        }
        failed
    }

    fn finish(&mut self, mut engine: Engine) {
        engine.finish(&mut |emitted| self.take(&emitted.record));
        self.report.add_counters(&engine.counters());
    }

    fn take(&mut self, record: &Record) {
        if !self.args.filter.iter().all(|f| f.passes(record)) {
            return;
        }
        self.found |= self.args.fail_on.iter().any(|what| what.is_met(record));
        self.report.add(record);
        if let Some(flows) = &mut self.flows
            && self.write_error.is_none()
        {
            self.write_error = flows.write(record).err();
        }
    }
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

/// Reads one capture to its end, or as far as it can be read; returns what went wrong.
pub(super) fn read(
    input: &CaptureInput,
    engine: &mut Engine,
    progress: Option<&Progress>,
    emit: &mut dyn FnMut(Emitted),
) -> Vec<SourceError> {
    let mut errors = Vec::new();
    let mut source = match CaptureFile::open(input, wire::link_supported, progress) {
        Ok(source) => source,
        Err(error) => return vec![error],
    };
    loop {
        match source.next() {
            Ok(Input::Frame(frame)) => engine.frame(&frame, emit),
            Ok(Input::Tick(now)) => engine.tick(now, emit),
            Ok(Input::End) => return errors,
            Err(error) => errors.push(error),
        }
    }
}

fn open_flows(args: &AnalyzeArgs) -> anyhow::Result<Option<JsonLines<Box<dyn Write>>>> {
    let out: Box<dyn Write> = match &args.flows {
        _ if args.format == Format::Jsonl => Box::new(std::io::stdout()),
        None => return Ok(None),
        Some(path) if path.as_os_str() == "-" => Box::new(std::io::stdout()),
        Some(path) => Box::new(
            File::create(path)
                .with_context(|| format!("--flows: {} cannot be written", path.display()))?,
        ),
    };
    Ok(Some(JsonLines::new(out)))
}

fn rendered(args: &AnalyzeArgs, report: &Report) -> anyhow::Result<String> {
    let to_stdout = args.flows.as_ref().is_some_and(|path| path.as_os_str() == "-");
    Ok(match args.format {
        Format::Jsonl => String::new(),
        _ if to_stdout => String::new(),
        Format::Json => report.json()? + "\n",
        Format::Csv => String::from_utf8(report.csv()?)?,
        Format::Table => {
            let terminal = std::io::stdout().is_terminal();
            let width = terminal_width().unwrap_or(160);
            let style = table::Style { width, color: terminal, edges_max: args.edges_max };
            table::render(report, style)
        }
    })
}

/// Columns of the terminal, or what `COLUMNS` says.
fn terminal_width() -> Option<u16> {
    comfy_table::Table::new()
        .width()
        .or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
        .map(|width| width.max(80))
}
