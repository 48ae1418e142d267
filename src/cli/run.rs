//! `cleartap run`: the sensor. Data-plane threads read and decide; the control plane writes, reports and stops.
#![allow(clippy::disallowed_methods, reason = "edge: starts the threads, reads the log level")]

use std::{
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
    data_plane::{self, Common, Shown, Sources},
    health::Health,
    inventory_file::InventoryFile,
    keep::{self, Judging},
    naming::{self, keeper::Naming},
    publish,
    reload::{Identity, Watched},
    sources,
    stage::{Keeping, Stage},
    stopping::{Step, Stopping},
    writer::Writer,
};
use crate::{
    clock::now,
    config::{self, Config, Flag, LogForm, Settings},
    counters::Counters,
    engine::{self, Engine},
    enrich::Enrichment,
    findings::Findings,
    metrics::Gauges,
    output::alerts::Dispatcher,
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
    /// Threads that read and decide, each with flows of its own (default: 0, as many as there are processors)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=64))]
    shards: Option<u16>,
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
            flag("--shards", "capture.shards", self.shards),
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
    let packets = sources::open(&settings.config.capture, &stop)?;
    let inventory = InventoryFile::of(&settings.config)?;
    let writer = Writer::open(&settings.config.records.path, inventory, &stop)?;
    let alerts = runtime.block_on(keep::dispatcher(&settings))?;
    let findings = open_findings(&settings, alerts)?;
    let measure = publish::measure(&settings.config);
    let shards = packets.shards();
    let mut watched = Watched::new(sources, identity, settings, measure, shards);
    tell_bounds(&watched.engine(), shards);
    let keeper = runtime.block_on(naming::keeper::Keeper::open(watched.config(), true))?;
    watched.place(&keeper.naming().sources);
    runtime.block_on(control_plane(watched, packets, writer, findings, keeper, signals, &stop))
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

async fn control_plane(
    mut watched: Watched,
    packets: Sources,
    writer: Writer,
    findings: Kept,
    names: naming::keeper::Keeper,
    signals: Signals,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<u8> {
    let (records_in, records) = mpsc::channel(RECORDS_QUEUED_MAX);
    let (counters_in, counters) = watch::channel(Counters::default());
    let (periods_in, periods) = mpsc::channel(publish::PERIODS_QUEUED_MAX);
    let Kept { keeping, keeper, gauges, alerts } = findings;
    let config = watched.config();
    let board = board(config, &counters, gauges, alerts.as_ref(), &writer);
    let (health, canary) = (board.health.clone(), board.canary.clone());
    tokio::spawn(health.clone().watch(counters.clone()));
    let metrics = publish::start(config, packets.shards(), periods, board).await?;
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
    let common = Common {
        records: records_in,
        periods: periods_in,
        dropped,
        shown: Arc::new(Shown::new(&packets, counters_in)),
        stop: Arc::clone(stop),
    };
    let shards = data_plane::start(packets, &watched.engine(), &common, || watched.reloads())?;
    // What is left of it is the shards'.
    drop(common);
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
    for shard in shards {
        shard.join().map_err(|_| anyhow::anyhow!("the data plane died"))??;
    }
    Ok(if unwritten == 0 { EXIT_OK } else { EXIT_INPUT })
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

/// What the bounds mean, before they are met.
fn tell_bounds(settings: &engine::Settings, shards: usize) {
    let flows_max = settings.limits.flows_max.saturating_mul(shards);
    let deciding_bytes_max = settings.session_bytes_max.saturating_mul(shards);
    let bytes_max = flows_max.saturating_mul(Engine::FLOW_BYTES);
    let memory_mib_max = bytes_max.saturating_add(deciding_bytes_max.saturating_mul(2)) >> 20;
    info!(
        shards,
        flows_max,
        flow_bytes = Engine::FLOW_BYTES,
        memory_mib_max,
        "Bounds: flows of all shards, and the memory that they and what is known of them may take."
    );
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
