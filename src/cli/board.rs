//! What the sensor says of itself over HTTP: `/healthz`, `/readyz`, `/status`, `/metrics`.
#![allow(clippy::disallowed_methods, reason = "edge: reads the report of the session keeper")]

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    health::{Health, State},
    status::{CaptureStatus, Coverage, FlowStatus, OutputStatus, Status},
};
use crate::{
    clock::now,
    counters::Counters,
    metrics::{Gauges, SEVERITIES},
    model::{Timestamp, time::NS_PER_S},
    output::{
        alerts::Dispatcher,
        http::{PROMETHEUS_TEXT, Page, Pages},
        prometheus::Exposition,
    },
};

/// What is known of the sensor, wherever in it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) health: Health,
    pub(super) counters: watch::Receiver<Counters>,
    pub(super) gauges: watch::Receiver<Gauges>,
    /// When the canary was seen last; none if none is expected.
    pub(super) canary: Option<Canary>,
    /// It may be gone: the control plane stops it.
    pub(super) alerts: Option<Weak<Dispatcher>>,
    pub(super) unwritten: Arc<AtomicU64>,
    /// How the delivery to CloudWatch stands; none until there is one.
    pub(super) cloudwatch: Arc<Mutex<Option<OutputStatus>>>,
    /// Report of the session keeper.
    pub(super) coverage: Option<PathBuf>,
}

/// When the canary was seen last: the start, before it was. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Canary(Arc<AtomicU64>);

impl Canary {
    /// Not seen yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(now().0)))
    }

    /// It was seen at `at`, by the packets' time.
    pub(super) fn seen_at(&self, at: Timestamp) {
        self.0.fetch_max(at.0.min(now().0), Ordering::Relaxed);
    }

    /// When.
    pub(super) fn seen(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// Most bytes read of a coverage report: a hundred thousand interfaces.
const REPORT_BYTES_MAX: u64 = 64 << 20;

impl Board {
    /// The pages.
    pub(super) fn pages(&self, exposition: &Arc<Mutex<Exposition>>) -> Pages {
        let exposition = Arc::clone(exposition);
        let counters = self.counters.clone();
        let [alive, ready, told] = [self, self, self].map(Clone::clone);
        Pages::default()
            .with("/metrics", move || {
                let mut exposition = exposition.lock().unwrap_or_else(PoisonError::into_inner);
                exposition.counters(&counters.borrow());
                Page { ok: true, content_type: PROMETHEUS_TEXT, text: exposition.text() }
            })
            .with("/healthz", move || alive.check(|state| state == State::Running))
            .with("/readyz", move || {
                ready.check(|state| !matches!(state, State::Starting | State::Draining))
            })
            .with("/status", move || {
                let text = serde_json::to_string_pretty(&told.status()).unwrap_or_default() + "\n";
                Page { ok: true, content_type: "application/json", text }
            })
    }

    fn check(&self, ok: impl Fn(State) -> bool) -> Page {
        let (state, problem) = self.health.state();
        let text = problem.unwrap_or_else(|| "ok".to_owned()) + "\n";
        Page { ok: ok(state), content_type: "text/plain; charset=utf-8", text }
    }

    fn status(&self) -> Status {
        let counters = self.counters.borrow().clone();
        let rates = self.health.rates();
        let (state, problem) = self.health.state();
        let open = self.gauges.borrow().open_findings.clone();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: state.name().to_owned(),
            problem,
            uptime_s: self.health.uptime().as_secs(),
            capture: CaptureStatus {
                packets_per_s: rates.packets_per_s,
                bits_per_s: rates.bits_per_s,
                packets: counters.frames,
                kernel_drops: counters.drops.total(),
                kernel_drops_percent: rates.kernel_drops_percent,
                shed: counters.shed,
                skipped: counters.skipped.total(),
                not_allowed: counters.not_allowed,
                truncated: counters.decoder.segments_truncated,
                duplicates: counters.duplicates,
            },
            flows: FlowStatus {
                seen: counters.table.flows,
                plaintext: counters.verdict("plaintext") + counters.verdict("partial"),
                tls: ["tls", "dtls", "quic"].iter().map(|name| counters.verdict(name)).sum(),
                unknown: counters.verdict("unknown"),
                evicted: counters.table.evicted + counters.memory_closed,
            },
            findings: open.map(|open| {
                let count = |severity| open.get(severity).copied().unwrap_or(0);
                SEVERITIES.map(|severity| (severity.to_owned(), count(severity))).to_vec()
            }),
            canary_age_s: self.canary.as_ref().map(|one| now().since(one.seen()) / NS_PER_S),
            coverage: self.coverage(),
            outputs: self.outputs(&counters),
        }
    }

    fn outputs(&self, counters: &Counters) -> Vec<OutputStatus> {
        let records = OutputStatus {
            name: "records".to_owned(),
            kind: "json_lines".to_owned(),
            waiting: self.unwritten.load(Ordering::Relaxed),
            lost: counters.records_dropped,
            ..OutputStatus::default()
        };
        let cloudwatch = self.cloudwatch.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let channels = self.alerts.as_ref().and_then(Weak::upgrade).map(|alerts| alerts.status());
        let channels = channels.into_iter().flatten().map(|channel| OutputStatus {
            name: channel.name,
            kind: channel.kind,
            delivered: channel.delivered,
            waiting: channel.waiting + channel.grouping + channel.digest_lines,
            lost: channel.failed + channel.dropped,
            last_delivery: channel.last_delivery,
            last_fault: channel.last_fault,
        });
        std::iter::once(records).chain(cloudwatch).chain(channels).collect()
    }

    /// What the session keeper reported last, if it runs here.
    fn coverage(&self) -> Option<Coverage> {
        let path = self.coverage.as_ref()?;
        let size = fs::metadata(path).ok()?.len();
        let text = (size <= REPORT_BYTES_MAX).then(|| fs::read(path).ok())??;
        let report: serde_json::Value = serde_json::from_slice(&text).ok()?;
        let count = |key: &str| {
            report.pointer(&format!("/summary/{key}")).and_then(serde_json::Value::as_u64)
        };
        Some(Coverage {
            at: report.get("at")?.as_str()?.to_owned(),
            mirrored: count("mirrored")?,
            not_mirrored: count("not_mirrored")?,
            blind: count("blind")?,
        })
    }
}
