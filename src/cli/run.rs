//! `cleartap run`: the sensor. One data-plane thread reads and decides; the control plane writes, reports and stops.
#![allow(clippy::disallowed_methods, reason = "edge: starts the threads, reads the log level")]

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use super::{
    EXIT_INPUT, EXIT_OK,
    args::{BadConfig, EngineArgs, address, flag},
    board::{Board, Canary},
    colors, complain,
    health::Health,
    inventory_file::InventoryFile,
    keep::{self, Judging},
    naming::{self, keeper::Naming},
    publish,
    reload::{Identity, Reloads, Watched},
    stage::{Keeping, Stage},
    stopping::{Step, Stopping},
    writer::Writer,
};
use crate::{
    clock::now,
    config::{self, Capture, Config, Flag, LogForm, Settings},
    counters::Counters,
    engine::{Emitted, Engine},
    enrich::Enrichment,
    findings::Findings,
    ingest::{Input, Live, LiveOptions, MirrorOptions, MirrorSocket, Source, SourceError},
    metrics::{CLOSED_PERIODS_MAX, Closed, Gauges},
    output::alerts::Dispatcher,
    wire,
};

/// Records waiting for the writer; more are dropped and counted.
const RECORDS_QUEUED_MAX: usize = 65_536;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Receive mirrored packets on this UDP address (repeat; needs no privilege). Default: port 4789 on every address,
    /// IPv4 and IPv6
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "interface", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Capture on this interface instead (needs `CAP_NET_RAW`)
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Capture filter, in pcap-filter syntax
    #[arg(long, value_name = "FILTER", requires = "interface")]
    bpf: Option<String>,
    /// Bytes kept of each packet (default: 65535)
    #[arg(long, value_name = "BYTES", requires = "interface",
          value_parser = clap::value_parser!(u32).range(1..=262_144))]
    snaplen: Option<u32>,
    /// Capture in promiscuous mode
    #[arg(long, requires = "interface")]
    promiscuous: bool,
    /// Kernel buffer, in MiB (default: 32)
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=2047))]
    buffer: Option<u32>,
    /// Append one JSON record per line to this file (default: - for standard output)
    #[arg(long, value_name = "OUT.jsonl")]
    records: Option<PathBuf>,
    /// Keep the inventory of TLS servers in this file, written anew every interval (.csv, .cdx.json, .txt, else JSON)
    #[arg(long, value_name = "OUT")]
    inventory: Option<PathBuf>,
    /// Seconds between records of an open flow, and between summaries in the log (default: 60)
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: Option<u64>,
    /// SQLite file of the findings book; `none` keeps no findings (default: /var/lib/cleartap/findings.db)
    #[arg(long, value_name = "PATH")]
    findings: Option<PathBuf>,
    /// Form of the log on standard error (default: text)
    #[arg(long, value_enum)]
    log: Option<LogFormat>,
    #[command(flatten)]
    metrics: publish::MetricsArgs,
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

impl RunArgs {
    fn flags(&self) -> Vec<Flag> {
        let log = self.log.map(|form| match form {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        });
        let listen = (!self.listen.is_empty()).then_some(&self.listen);
        let own = [
            flag("--listen", "capture.listen", listen),
            flag("--interface", "capture.interface", self.interface.as_ref()),
            flag("--bpf", "capture.bpf", self.bpf.as_ref()),
            flag("--snaplen", "capture.snaplen_bytes", self.snaplen),
            flag("--promiscuous", "capture.promiscuous", self.promiscuous.then_some(true)),
            flag("--buffer", "capture.buffer_mib", self.buffer),
            flag("--records", "records.path", self.records.as_ref()),
            flag("--inventory", "crypto_inventory.path", self.inventory.as_ref()),
            flag("--interval", "records.interval_s", self.interval),
            flag("--findings", "findings.path", self.findings.as_ref()),
            flag("--log", "log.form", log),
        ];
        own.into_iter().flatten().chain(self.metrics.flags()).collect()
    }
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let sources = args.engine.sources(args.flags());
    let identity = Identity::of(&sources);
    let settings = config::load(&sources).map_err(BadConfig)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anyone can know that it runs.
    let signals = Signals::new(&runtime, settings.config.health.drain_s)?;
    start_log(settings.config.log.form);
    let stop = Arc::new(AtomicBool::new(false));
    let source = open_source(&settings.config.capture, &stop)?;
    let inventory = InventoryFile::of(&settings.config)?;
    let writer = Writer::open(&settings.config.records.path, inventory, &stop)?;
    let alerts = runtime.block_on(keep::dispatcher(&settings))?;
    let findings = open_findings(&settings, alerts)?;
    let measure = publish::measure(&settings.config);
    let mut watched = Watched::new(sources, identity, settings, measure);
    let keeper = runtime.block_on(naming::keeper::Keeper::open(watched.config(), true))?;
    watched.place(&keeper.naming().sources);
    runtime.block_on(control_plane(watched, source, writer, findings, keeper, signals, &stop))
}

/// The findings as their book holds them, and who keeps it.
struct Kept {
    keeping: Option<Keeping>,
    keeper: Option<std::thread::JoinHandle<()>>,
    gauges: watch::Receiver<Gauges>,
    alerts: Option<Arc<Dispatcher>>,
}

fn open_findings(settings: &Settings, alerts: Option<Arc<Dispatcher>>) -> anyhow::Result<Kept> {
    let (gauges_in, gauges) = watch::channel(Gauges::default());
    let Some((book, snapshot)) = keep::open_book(settings)? else {
        anyhow::ensure!(
            alerts.is_none(),
            "findings.path: alerts are of findings, which `none` does not keep; name a file"
        );
        return Ok(Kept { keeping: None, keeper: None, gauges, alerts });
    };
    let findings = Findings::restore(Judging::of(settings).terms, snapshot, now());
    info!(path = book.path(), findings = findings.len(), "Keeping findings.");
    let (desk, keeper) = keep::start(book, keep::sink(alerts.as_ref()))?;
    Ok(Kept {
        keeping: Some(Keeping::new(findings, desk, gauges_in)),
        keeper: Some(keeper),
        gauges,
        alerts,
    })
}

fn open_source(
    args: &Capture,
    stop: &Arc<AtomicBool>,
) -> Result<Box<dyn Source + Send>, SourceError> {
    let buffer_bytes = args.buffer_mib << 20;
    if let Some(interface) = &args.interface {
        let live = Live::open(
            &LiveOptions {
                filter: args.bpf.clone(),
                snap_bytes: args.snaplen_bytes,
                buffer_bytes,
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
        receive_buffer_bytes: usize::try_from(buffer_bytes).unwrap_or(usize::MAX),
        ..MirrorOptions::default()
    };
    let socket = MirrorSocket::open(&options, Arc::clone(stop))?;
    for (address, buffer) in socket.listening() {
        info!(%address, receive_buffer_bytes = buffer.granted, "Listening for mirrored packets.");
    }
    Ok(Box::new(socket))
}

/// Records that found no room, in front of the stage and behind it.
struct Dropped {
    here: u64,
    later: Arc<AtomicU64>,
}

impl Dropped {
    fn total(&self) -> u64 {
        self.here.saturating_add(self.later.load(Ordering::Relaxed))
    }
}

/// Reads until told to stop; live shards never wait for the writer.
fn data_plane(
    mut source: Box<dyn Source + Send>,
    mut engine: Engine,
    records: &mpsc::Sender<Emitted>,
    periods: &mpsc::Sender<Closed>,
    counters: &watch::Sender<Counters>,
    reloads: &mut Reloads,
    mut dropped: Dropped,
) -> Result<(), SourceError> {
    let mut closed = VecDeque::new();
    let mut published = 0_u64;
    let result = loop {
        let mut emit = |emitted: Emitted| {
            dropped.here += u64::from(records.try_send(emitted).is_err());
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
            reloads.take(&mut engine);
            let now = publish(&engine, source.as_mut(), dropped.total(), reloads, counters);
            close(&mut engine, &mut closed, &now);
            // What finds no room is tried again in a second: metrics lose nothing when records do.
            while !closed.is_empty()
                && let Ok(room) = periods.try_reserve()
            {
                if let Some(period) = closed.pop_front() {
                    room.send(period);
                }
            }
        }
    };
    // The stage keeps reading until this side is gone, so the last records may wait for it.
    engine.finish(&mut |emitted| {
        dropped.here += u64::from(records.blocking_send(emitted).is_err());
    });
    let now = publish(&engine, source.as_mut(), dropped.total(), reloads, counters);
    close(&mut engine, &mut closed, &now);
    for period in closed {
        // Nobody listens: there are no metrics.
        let _gone = periods.blocking_send(period);
    }
    result
}

/// Takes the periods that are over from the engine.
fn close(engine: &mut Engine, closed: &mut VecDeque<Closed>, counters: &Counters) {
    let periods = engine.activity().into_iter();
    closed.extend(periods.map(|activity| Closed {
        shard: 0,
        activity,
        counters: counters.clone(),
    }));
    closed.drain(..closed.len().saturating_sub(CLOSED_PERIODS_MAX));
}

fn publish(
    engine: &Engine,
    source: &mut (dyn Source + Send),
    dropped: u64,
    reloads: &Reloads,
    counters: &watch::Sender<Counters>,
) -> Counters {
    let now = Counters {
        drops: source.drops(),
        records_dropped: dropped,
        config_reloads: reloads.taken(),
        config_rejected: reloads.rejected(),
        ..engine.counters()
    };
    counters.send_replace(now.clone());
    now
}

async fn control_plane(
    mut watched: Watched,
    source: Box<dyn Source + Send>,
    writer: Writer,
    findings: Kept,
    names: naming::keeper::Keeper,
    signals: Signals,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<u8> {
    let engine = Engine::new(watched.engine());
    let (records_in, records) = mpsc::channel(RECORDS_QUEUED_MAX);
    let (counters_in, counters) = watch::channel(Counters::default());
    let (periods_in, periods) = mpsc::channel(publish::PERIODS_QUEUED_MAX);
    let Kept { keeping, keeper, gauges, alerts } = findings;
    let config = watched.config();
    let board = board(config, &counters, gauges, alerts.as_ref(), &writer);
    let (health, canary) = (board.health.clone(), board.canary.clone());
    tokio::spawn(health.clone().watch(counters.clone()));
    let metrics = publish::start(config, periods, board).await?;
    let (written_in, to_write) = mpsc::channel(RECORDS_QUEUED_MAX);
    let dropped = Arc::<AtomicU64>::default();
    let heard = watched.config().inventory.heard_names;
    let (naming_in, naming) = watch::channel(names.naming());
    let stage = Stage {
        enrichment: Enrichment::new(naming.borrow().inventory.clone(), heard),
        naming: naming.clone(),
        judging: watched.judging(),
        keeping,
        counters: counters.clone(),
        records: written_in,
        dropped: Arc::clone(&dropped),
        stop: Arc::clone(stop),
        canary,
    };
    let unwritten = writer.unwritten();
    let mut reloads = watched.reloads();
    let shard = std::thread::Builder::new().name("shard-0".to_owned()).spawn(move || {
        let dropped = Dropped { here: 0, later: dropped };
        data_plane(source, engine, &records_in, &periods_in, &counters_in, &mut reloads, dropped)
    })?;
    let staged =
        std::thread::Builder::new().name("stage".to_owned()).spawn(move || stage.work(records))?;
    let (done_in, mut written) = oneshot::channel();
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || done_in.send(writer.work(to_write)))?;

    let looking = tokio::spawn(names.work(naming_in));
    let watch = Supervision {
        health,
        watched: &mut watched,
        naming,
        alerts: alerts.as_ref(),
        counters: &counters,
        unwritten: &unwritten,
        stop,
    };
    if !watch.until_written(&mut written, signals).await? {
        return Ok(EXIT_INPUT);
    }
    // Everything is written.
    looking.abort();
    keep_the_last(staged, keeper, alerts).await?;
    metrics.await.context("the publisher of metrics died")?;
    let unwritten = unwritten.load(Ordering::Relaxed);
    tell(&counters.borrow(), unwritten, "Stopped.");
    match shard.join() {
        Ok(Ok(())) if unwritten == 0 => Ok(EXIT_OK),
        Ok(Ok(())) => Ok(EXIT_INPUT),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => anyhow::bail!("the data plane died"),
    }
}

/// What the control plane looks after while the sensor runs.
struct Supervision<'a> {
    health: Health,
    watched: &'a mut Watched,
    naming: watch::Receiver<Naming>,
    alerts: Option<&'a Arc<Dispatcher>>,
    counters: &'a watch::Receiver<Counters>,
    unwritten: &'a AtomicU64,
    stop: &'a AtomicBool,
}

impl Supervision<'_> {
    /// Until everything is written; false if that was not waited for.
    async fn until_written(
        mut self,
        written: &mut oneshot::Receiver<io::Result<()>>,
        mut signals: Signals,
    ) -> anyhow::Result<bool> {
        let mut summary = every(self.watched.interval());
        let mut look = every(LOOK_AT_FILE);
        loop {
            let reloaded = tokio::select! {
                result = &mut *written => {
                    result.context("the writer died")??;
                    return Ok(true);
                }
                _ = summary.tick() => {
                    self.tell("Summary.");
                    false
                }
                Ok(()) = self.naming.changed() => {
                    let sources = self.naming.borrow_and_update().sources.clone();
                    self.watched.place(&sources);
                    false
                }
                _ = look.tick() => self.watched.reload_if_changed(),
                _ = signals.hangup.recv() => self.watched.reload(),
                next = signals.stopping.next() => {
                    self.health.drain();
                    if next == Step::AtOnce {
                        error!("Stopped at once: the records not yet written are lost.");
                        self.tell("Stopped.");
                        return Ok(false);
                    }
                    next.tell();
                    self.stop.fetch_or(next == Step::Stop, Ordering::Relaxed);
                    false
                }
            };
            if reloaded {
                summary = every(self.watched.interval());
                self.mute();
            }
        }
    }

    /// Mutes as the new configuration says.
    fn mute(&self) {
        let mutes = &self.watched.config().alerts.mutes;
        if let Some(Err(error)) = self.alerts.map(|alerts| alerts.mute(mutes)) {
            error!(%error, "The new mutes are not in order: those before stay.");
        }
    }

    fn tell(&self, message: &'static str) {
        tell(&self.counters.borrow(), self.unwritten.load(Ordering::Relaxed), message);
    }
}

/// What the sensor says of itself.
fn board(
    config: &Config,
    counters: &watch::Receiver<Counters>,
    gauges: watch::Receiver<Gauges>,
    alerts: Option<&Arc<Dispatcher>>,
    writer: &Writer,
) -> Board {
    Board {
        health: Health::new(&config.health),
        counters: counters.clone(),
        gauges,
        canary: config.canary.expected.then(Canary::new),
        alerts: alerts.map(Arc::downgrade),
        unwritten: writer.unwritten(),
        cloudwatch: Arc::default(),
        coverage: config.sessions.report.clone(),
    }
}

/// The last findings are kept, and their alerts told.
async fn keep_the_last(
    staged: std::thread::JoinHandle<io::Result<()>>,
    keeper: Option<std::thread::JoinHandle<()>>,
    alerts: Option<Arc<Dispatcher>>,
) -> anyhow::Result<()> {
    staged.join().map_err(|_| anyhow::anyhow!("the stage of findings died"))??;
    if let Some(keeper) = keeper {
        keeper.join().map_err(|_| anyhow::anyhow!("the keeper of findings died"))?;
    }
    if let Some(alerts) = alerts.and_then(Arc::into_inner) {
        alerts.stop(ALERTS_WAIT).await;
    }
    Ok(())
}

/// How long a stop waits for alerts to be delivered; what is left waits in the spool for the next start.
const ALERTS_WAIT: Duration = Duration::from_secs(5);
/// How often the configuration file is looked at.
const LOOK_AT_FILE: Duration = Duration::from_secs(1);

/// Ticks, the first one after the period.
fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.reset();
    ticks
}

/// What the sensor is told by.
struct Signals {
    stopping: Stopping,
    hangup: Signal,
}

impl Signals {
    fn new(runtime: &tokio::runtime::Runtime, drain_s: u32) -> io::Result<Self> {
        let _within = runtime.enter();
        Ok(Self { stopping: Stopping::new(drain_s)?, hangup: signal(SignalKind::hangup())? })
    }
}

/// What was met so far, as one log line: the main figures, and every other counter that is not zero.
fn tell(counters: &Counters, unwritten: u64, message: &'static str) {
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
        records_unwritten = unwritten,
        other = odd.join(" "),
        "{message}"
    );
}

const MAIN_FIGURES: [&str; 5] = ["frames", "segments", "flows", "kernel_drops", "records_dropped"];

fn start_log(format: LogForm) {
    let wanted = std::env::var("CLEARTAP_LOG").unwrap_or_default();
    let wanted = if wanted.is_empty() { "info" } else { wanted.as_str() };
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|error| {
        complain(&format!(
            "CLEARTAP_LOG: `{wanted}` is not understood ({error}); give error, warn, info, debug or trace"
        ));
        EnvFilter::new("info")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogForm::Text => {
            builder.with_target(false).with_ansi(colors(&io::stderr())).init();
        }
        LogForm::Json => builder.json().init(),
    }
}
