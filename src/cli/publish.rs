//! The part of `run` that turns counts into metrics and hands them to their outputs.
#![allow(clippy::disallowed_methods, reason = "edge: opens the outputs")]

use std::{
    fs::OpenOptions,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tracing::{error, info};

#[cfg(feature = "aws")]
use super::status::OutputStatus;
use super::{
    args::flag,
    board::{Board, Canary},
};
#[cfg(feature = "aws")]
use crate::output::cloudwatch::{CloudWatch, CloudWatchConfig, Delivery, DeliveryCounters, Outbox};
use crate::{
    clock::now,
    config::{Config, Flag},
    engine::{Excluded, Measure},
    ingest::error::shown,
    metrics::{Closed, Collector, Gauges, Points, Publisher},
    model::Timestamp,
    output::{emf, http, prometheus::Exposition},
    policy::{class_name, is_idle_talk},
};

/// Closed periods waiting for the control plane; more wait in the shard.
pub(super) const PERIODS_QUEUED_MAX: usize = 64;

/// Where metrics of `run` go.
#[derive(Debug, Args)]
pub(super) struct MetricsArgs {
    /// Length of a metrics period in seconds; a multiple of 60 (default: 60)
    #[arg(long, value_name = "S", help_heading = "Metrics")]
    metrics_period: Option<u32>,
    /// Most metric series at once; the busiest stay, the rest is folded into `other` (default: 500)
    #[arg(long, value_name = "N", help_heading = "Metrics")]
    metric_series_max: Option<u32>,
    /// Serve metrics for Prometheus at http://ADDRESS:PORT/metrics
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Metrics", value_parser = super::args::address)]
    prometheus: Option<SocketAddr>,
    /// Append metrics as CloudWatch embedded metric format to this file (- for standard output)
    #[arg(long, value_name = "OUT.jsonl", help_heading = "Metrics")]
    emf: Option<PathBuf>,
    /// Send metrics to CloudWatch, with the credentials of the environment, profile or role
    #[cfg(feature = "aws")]
    #[arg(long, help_heading = "Metrics")]
    cloudwatch: bool,
    /// Namespace of the metrics in CloudWatch and EMF (default: cleartap)
    #[arg(long, value_name = "NAME", help_heading = "Metrics")]
    namespace: Option<String>,
    /// CloudWatch endpoint: https, or http on loopback
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "URL", requires = "cloudwatch", help_heading = "Metrics")]
    cloudwatch_endpoint: Option<String>,
    /// Folder where metrics wait that CloudWatch does not take yet (default: /var/lib/cleartap/spool/cloudwatch)
    #[cfg(feature = "aws")]
    #[arg(long, value_name = "FOLDER", help_heading = "Metrics")]
    spool: Option<PathBuf>,
}

impl MetricsArgs {
    pub(super) fn flags(&self) -> Vec<Flag> {
        let flags = [
            flag("--metrics-period", "metrics.period_s", self.metrics_period),
            flag("--metric-series-max", "metrics.series_max", self.metric_series_max),
            flag("--prometheus", "prometheus.listen", self.prometheus),
            flag("--emf", "emf.path", self.emf.as_ref()),
            flag("--namespace", "emf.namespace", self.namespace.as_ref()),
            flag("--namespace", "cloudwatch.namespace", self.namespace.as_ref()),
        ];
        #[cfg(not(feature = "aws"))]
        let cloudwatch = [];
        #[cfg(feature = "aws")]
        let cloudwatch = [
            flag("--cloudwatch", "cloudwatch.enabled", self.cloudwatch.then_some(true)),
            flag("--cloudwatch-endpoint", "cloudwatch.endpoint", self.cloudwatch_endpoint.as_ref()),
            flag("--spool", "cloudwatch.spool", self.spool.as_ref()),
        ];
        flags.into_iter().chain(cloudwatch).flatten().collect()
    }
}

/// What the engine has to count, if anybody wants it.
pub(super) fn measure(config: &Config) -> Option<Measure> {
    let wanted = config.cloudwatch.enabled
        || config.prometheus.listen.is_some()
        || config.health.listen.is_some()
        || config.emf.path.is_some();
    let excluded = Excluded(Arc::new(is_idle_talk));
    wanted.then(|| Measure { period_ns: config.metrics.period_ns(), excluded: Some(excluded) })
}

/// Opens the outputs and starts their tasks.
pub(super) async fn start(
    config: &Config,
    shards: usize,
    closed: mpsc::Receiver<Closed>,
    board: Board,
) -> anyhow::Result<JoinHandle<()>> {
    #[cfg(not(feature = "aws"))]
    anyhow::ensure!(
        !config.cloudwatch.enabled,
        "cloudwatch.enabled: this cleartap is built without CloudWatch (feature `aws`)"
    );
    let exposition = Arc::new(Mutex::new(Exposition::default()));
    let pages = board.pages(&exposition);
    let mut served = None;
    let places =
        [("prometheus.listen", config.prometheus.listen), ("health.listen", config.health.listen)];
    for (key, address) in places {
        let Some(address) = address.filter(|_| served != address) else { continue };
        let listener = http::listen(address).await;
        let listener =
            listener.with_context(|| format!("{key}: {address} cannot be listened on"))?;
        info!(address = %listener.local_addr()?, "Serving /metrics, /healthz, /readyz, /status.");
        tokio::spawn(http::serve(listener, pages.clone()));
        served = Some(address);
    }
    let emf = config.emf.path.as_deref().map(open).transpose()?;
    #[cfg(feature = "aws")]
    let cloudwatch = if config.cloudwatch.enabled {
        Some(Cloud::start(&config.cloudwatch, Arc::clone(&board.cloudwatch)).await?)
    } else {
        None
    };
    let task = Publishing {
        collector: Collector::new(shards, config.metrics.period_ns()),
        publisher: Publisher::new(&config.metrics, class_name),
        gauges: board.gauges,
        canary: board.canary,
        exposition,
        emf,
        namespace: config.emf.namespace.clone(),
        #[cfg(feature = "aws")]
        cloudwatch,
    };
    Ok(tokio::spawn(task.work(closed)))
}

fn open(path: &std::path::Path) -> anyhow::Result<Box<dyn Write + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdout()));
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(|| format!("emf.path: {} cannot be written", shown(path)))?;
    Ok(Box::new(file))
}

/// Joins the shards' periods and publishes them.
struct Publishing {
    collector: Collector,
    publisher: Publisher,
    gauges: watch::Receiver<Gauges>,
    canary: Option<Canary>,
    exposition: Arc<Mutex<Exposition>>,
    emf: Option<Box<dyn Write + Send>>,
    namespace: String,
    #[cfg(feature = "aws")]
    cloudwatch: Option<Cloud>,
}

impl Publishing {
    async fn work(mut self, mut closed: mpsc::Receiver<Closed>) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                period = closed.recv() => match period {
                    Some(period) => self.collector.offer(period),
                    None => break,
                },
                _ = tick.tick() => {}
            }
            self.publish(now());
        }
        // The data plane is gone: nobody is waited for.
        self.publish(Timestamp(u64::MAX));
        #[cfg(feature = "aws")]
        if let Some(cloudwatch) = self.cloudwatch {
            cloudwatch.stop().await;
        }
    }

    fn publish(&mut self, now: Timestamp) {
        for period in self.collector.due(now) {
            let canary = self.canary.as_ref().map(Canary::seen);
            let gauges = Gauges { canary, ..self.gauges.borrow().clone() };
            let points = self.publisher.points(&period, &gauges);
            self.exposition.lock().unwrap_or_else(PoisonError::into_inner).points(&points);
            if let Some(out) = &mut self.emf
                && let Err(error) = emf::write(out, &self.namespace, &points)
            {
                error!(%error, "Metrics cannot be written: a period is lost there.");
            }
            self.commit(&points);
        }
    }

    #[cfg(feature = "aws")]
    fn commit(&mut self, points: &Points) {
        let Some(cloudwatch) = &self.cloudwatch else { return };
        if let Err(error) = cloudwatch.outbox.commit(points) {
            error!(%error, "Metrics cannot be written to the spool: a period is lost for CloudWatch.");
        }
    }

    #[cfg(not(feature = "aws"))]
    fn commit(&mut self, _points: &Points) {}
}

/// Where `/status` looks.
#[cfg(feature = "aws")]
type Shown = Arc<Mutex<Option<OutputStatus>>>;

#[cfg(feature = "aws")]
fn show(shown: &Shown, counters: &DeliveryCounters, outbox: &Outbox, now_delivered: bool) {
    let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    let status = shown.get_or_insert_default();
    "cloudwatch".clone_into(&mut status.name);
    "cloudwatch".clone_into(&mut status.kind);
    status.delivered = counters.delivered;
    status.waiting = outbox.waiting() as u64;
    status.lost = counters.lost() + outbox.dropped();
    if now_delivered {
        status.last_delivery = Some(now().to_string());
    }
}

/// The delivery to CloudWatch, a task of its own: a request that hangs holds up nothing.
#[cfg(feature = "aws")]
struct Cloud {
    outbox: Outbox,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How long a stop waits for CloudWatch; what is left waits in the spool for the next start.
#[cfg(feature = "aws")]
const STOP_S_MAX: u64 = 5;

#[cfg(feature = "aws")]
impl Cloud {
    async fn start(config: &CloudWatchConfig, shown: Shown) -> anyhow::Result<Self> {
        use crate::output::spool::{Spool, SpoolOptions};
        let put = CloudWatch::connect(config).await?;
        let options = SpoolOptions::new(config.spool.clone(), config.spool_bytes_max);
        let spool = Spool::open(options).context("cloudwatch.spool")?;
        if !spool.is_empty() {
            info!(periods = spool.len(), "Metrics of an earlier run wait for CloudWatch.");
        }
        let delivery = Delivery::new(put, spool);
        let outbox = delivery.outbox();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(deliver(delivery, stopped, shown));
        Ok(Self { outbox, stop, task })
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(Duration::from_secs(STOP_S_MAX), self.task).await.is_err() {
            info!(periods = self.outbox.waiting(), "Metrics wait in the spool for the next start.");
        }
    }
}

#[cfg(feature = "aws")]
async fn deliver(
    mut delivery: Delivery<CloudWatch>,
    mut stopped: watch::Receiver<bool>,
    shown: Shown,
) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = DeliveryCounters::default();
    let mut stopping = false;
    loop {
        match delivery.drain(now()).await {
            Ok(done) if done && stopping => break,
            Ok(_) => {}
            Err(error) => error!(%error, "The spool cannot be read."),
        }
        let counters = delivery.counters();
        show(&shown, &counters, &delivery.outbox(), counters.delivered > told.delivered);
        if counters.lost() > told.lost() {
            error!(
                poisoned = counters.poisoned,
                untimely = counters.untimely,
                unreadable = counters.unreadable,
                spool_dropped = delivery.outbox().dropped(),
                "Data points were lost."
            );
        }
        told = counters;
        if stopping {
            tick.tick().await;
            continue;
        }
        tokio::select! {
            _ = tick.tick() => {}
            _ = stopped.changed() => stopping = true,
        }
    }
    info!(
        delivered = told.delivered,
        requests = told.requests,
        retries = told.retries,
        "CloudWatch has every data point."
    );
}
