//! `cleartap run`: the sensor. One data-plane thread reads and decides; the control plane writes, reports and stops.
#![allow(clippy::disallowed_methods, reason = "edge: opens the record file, starts the data plane")]

use std::{
    fs::OpenOptions,
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use tracing::{error, info};

use super::{EXIT_INPUT, EXIT_OK, args::EngineArgs};
use crate::{
    counters::Counters,
    engine::{Emitted, Engine},
    ingest::{Input, Live, LiveOptions, MirrorOptions, MirrorSocket, Source, SourceError},
    model::{record::Record, time::NS_PER_S},
    output::JsonLines,
    wire,
};

/// Records waiting for the writer; more are dropped and counted.
const RECORDS_QUEUED_MAX: usize = 65_536;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Receive mirrored packets on this UDP address (repeat; needs no privilege). Default: port 4789 on every address,
    /// IPv4 and IPv6
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "interface")]
    listen: Vec<SocketAddr>,
    /// Capture on this interface instead (needs `CAP_NET_RAW`)
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Capture filter, in pcap-filter syntax
    #[arg(long, value_name = "FILTER", requires = "interface")]
    bpf: Option<String>,
    /// Bytes kept of each packet
    #[arg(long, default_value_t = 65_535, value_name = "BYTES", requires = "interface")]
    snaplen: u32,
    /// Capture in promiscuous mode
    #[arg(long, requires = "interface")]
    promiscuous: bool,
    /// Kernel buffer, in MiB
    #[arg(long, default_value_t = 32, value_name = "MIB")]
    buffer: usize,
    /// Append one JSON record per line to this file (- for standard output)
    #[arg(long, default_value = "-", value_name = "OUT.jsonl")]
    records: PathBuf,
    /// Seconds between records of an open flow, and between summaries in the log
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    start_log(args.log);
    let stop = Arc::new(AtomicBool::new(false));
    let source = open_source(args, &stop)?;
    let records = open_records(&args.records)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(control_plane(args, source, records, &stop))
}

fn open_source(
    args: &RunArgs,
    stop: &Arc<AtomicBool>,
) -> Result<Box<dyn Source + Send>, SourceError> {
    let buffer_bytes = args.buffer.saturating_mul(1 << 20);
    if let Some(interface) = &args.interface {
        let live = Live::open(
            &LiveOptions {
                filter: args.bpf.clone(),
                snap_bytes: args.snaplen,
                buffer_bytes: u32::try_from(buffer_bytes).unwrap_or(u32::MAX),
                promiscuous: args.promiscuous,
                ..LiveOptions::new(interface.clone())
            },
            wire::link_supported,
            Arc::clone(stop),
        )?;
        info!(interface, "Capturing.");
        return Ok(Box::new(live));
    }
    let options = MirrorOptions {
        listen: args.listen.clone(),
        receive_buffer_bytes: buffer_bytes,
        ..MirrorOptions::default()
    };
    let socket = MirrorSocket::open(&options, Arc::clone(stop))?;
    for (address, buffer) in socket.listening() {
        info!(%address, receive_buffer_bytes = buffer.granted, "Listening for mirrored packets.");
    }
    Ok(Box::new(socket))
}

fn open_records(path: &PathBuf) -> anyhow::Result<JsonLines<Box<dyn Write>>> {
    if path.as_os_str() == "-" {
        return Ok(JsonLines::new(Box::new(std::io::stdout())));
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("--records: {} cannot be written", path.display()))?;
    Ok(JsonLines::new(Box::new(file)))
}

/// Reads until told to stop; live shards never wait for the writer.
fn data_plane(
    mut source: Box<dyn Source + Send>,
    mut engine: Engine,
    records: &mpsc::Sender<Record>,
    counters: &watch::Sender<Counters>,
) -> Result<(), SourceError> {
    let mut dropped = 0_u64;
    let mut published = 0_u64;
    let result = loop {
        let mut emit = |emitted: Emitted| {
            dropped += u64::from(records.try_send(emitted.record).is_err());
        };
        let now = match source.next() {
            Ok(Input::Frame(frame)) => {
                engine.frame(&frame, &mut emit);
                frame.time
            }
            Ok(Input::Tick(now)) => {
                engine.tick(now, &mut emit);
                now
            }
            Ok(Input::End) => break Ok(()),
            Err(error) => break Err(error),
        };
        if now.seconds() != published {
            published = now.seconds();
            publish(&engine, source.as_mut(), dropped, counters);
        }
    };
    // The writer keeps reading until this side is gone, so the last records may wait for it.
    engine.finish(&mut |emitted| {
        dropped += u64::from(records.blocking_send(emitted.record).is_err());
    });
    publish(&engine, source.as_mut(), dropped, counters);
    result
}

fn publish(
    engine: &Engine,
    source: &mut (dyn Source + Send),
    dropped: u64,
    counters: &watch::Sender<Counters>,
) {
    let now = Counters { drops: source.drops(), records_dropped: dropped, ..engine.counters() };
    counters.send_replace(now);
}

async fn control_plane(
    args: &RunArgs,
    source: Box<dyn Source + Send>,
    mut out: JsonLines<Box<dyn Write>>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<u8> {
    let mut settings = args.engine.settings(None);
    settings.update_ns = Some(args.interval.saturating_mul(NS_PER_S));
    let engine = Engine::new(settings);
    let (records_in, mut records) = mpsc::channel(RECORDS_QUEUED_MAX);
    let (counters_in, counters) = watch::channel(Counters::default());
    let shard = std::thread::Builder::new()
        .name("shard-0".to_owned())
        .spawn(move || data_plane(source, engine, &records_in, &counters_in))?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut flush = tokio::time::interval(Duration::from_secs(1));
    let mut summary = tokio::time::interval(Duration::from_secs(args.interval));
    flush.set_missed_tick_behavior(MissedTickBehavior::Skip);
    summary.set_missed_tick_behavior(MissedTickBehavior::Skip);
    summary.reset();
    let mut lost = 0_u64;
    loop {
        tokio::select! {
            record = records.recv() => match record {
                Some(record) => lost += u64::from(write(&mut out, &record, lost)),
                None => break,
            },
            _ = flush.tick() => lost += u64::from(flushed(&mut out, lost)),
            _ = summary.tick() => tell(&counters.borrow(), "Summary."),
            _ = terminate.recv() => stop_now(stop),
            _ = interrupt.recv() => stop_now(stop),
        }
    }
    lost += u64::from(flushed(&mut out, lost));
    tell(&counters.borrow(), "Stopped.");
    match shard.join() {
        Ok(Ok(())) if lost == 0 => Ok(EXIT_OK),
        Ok(Ok(())) => Ok(EXIT_INPUT),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => anyhow::bail!("the data plane died"),
    }
}

fn stop_now(stop: &AtomicBool) {
    info!("Stopping: the flows still open are written as they stand.");
    stop.store(true, Ordering::Relaxed);
}

/// Writes one record; true if it was lost.
fn write(out: &mut JsonLines<Box<dyn Write>>, record: &Record, lost: u64) -> bool {
    let result = out.write(record);
    complain_once(result.as_ref().err(), lost);
    result.is_err()
}

/// Hands records to the operating system; true if that failed.
fn flushed(out: &mut JsonLines<Box<dyn Write>>, lost: u64) -> bool {
    let result = out.flush();
    complain_once(result.as_ref().err(), lost);
    result.is_err()
}

fn complain_once(error: Option<&std::io::Error>, lost: u64) {
    if let Some(error) = error
        && lost == 0
    {
        error!(%error, "Records cannot be written; they are counted as lost until it works again.");
    }
}

/// What was met so far, as one log line: the main figures, and every other counter that is not zero.
fn tell(counters: &Counters, message: &'static str) {
    let odd: Vec<String> = counters
        .list()
        .into_iter()
        .filter(|(name, count)| *count > 0 && !MAIN_FIGURES.contains(name))
        .map(|(name, count)| format!("{name}={count}"))
        .collect();
    info!(
        frames = counters.frames,
        segments = counters.segments,
        flows = counters.table.flows,
        plaintext = counters.verdict("plaintext") + counters.verdict("partial"),
        tls = counters.verdict("tls"),
        unknown = counters.verdict("unknown"),
        kernel_drops = counters.drops.kernel,
        records_dropped = counters.records_dropped,
        other = odd.join(" "),
        "{message}"
    );
}

const MAIN_FIGURES: [&str; 5] = ["frames", "segments", "flows", "kernel_drops", "records_dropped"];

fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CLEARTAP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
