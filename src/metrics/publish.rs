//! From a period to data points: roll-ups, zeros, the cap.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    activity::{ActivityKey, Class, Counts},
    catalogue::{Dimension, METRICS, Metric},
    collector::{Health, Period},
    config::MetricsConfig,
    datum::{Datum, Points},
    series::{Labels, OTHER, SeriesCap},
};
use crate::model::{Timestamp, time::NS_PER_S};

/// Severities of findings, worst first.
pub const SEVERITIES: [&str; 5] = ["critical", "high", "medium", "low", "info"];

/// What is handed in from outside the data plane.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Open findings by severity; none if nobody keeps findings.
    pub open_findings: Option<BTreeMap<&'static str, u64>>,
    /// When the canary was seen last, or the start where it never was; none if nobody expects one.
    pub canary: Option<Timestamp>,
}

/// Turns periods into data points.
#[derive(Debug)]
pub struct Publisher {
    period_ns: u64,
    scopes: BTreeSet<String>,
    cap: SeriesCap,
    class_of: ClassOf,
}

/// The class of a protocol, as policy says.
pub type ClassOf = fn(&str) -> Option<&'static str>;

type Values = BTreeMap<(Metric, Labels), f64>;

impl Publisher {
    /// A publisher that has published nothing yet.
    pub fn new(config: &MetricsConfig, class_of: ClassOf) -> Self {
        let max = usize::try_from(config.series_max).unwrap_or(usize::MAX);
        Self {
            period_ns: config.period_ns(),
            scopes: config.scopes.iter().cloned().collect(),
            cap: SeriesCap::new(max, config.series_keep_s),
            class_of,
        }
    }

    /// The data points of a period. What comes late has only what was counted: zeros are published already.
    pub fn points(&mut self, period: &Period, gauges: &Gauges) -> Points {
        let start = period.activity.start;
        let mut wanted = self.wanted(period);
        if gauges.open_findings.is_some() {
            wanted.extend(SEVERITIES.map(|s| (vec![(Dimension::Severity, s.to_owned())], 0)));
        }
        let dropped = self.cap.admit(start, &wanted);
        let mut values = if period.late { Values::new() } else { self.zeros() };
        for (key, counts) in &period.activity.cells {
            self.count(&mut values, key, *counts, start);
        }
        if !period.late {
            add(&mut values, Metric::SensorHeartbeat, Vec::new(), 1);
            self.findings(&mut values, gauges);
            self.canary(&mut values, gauges, start);
        }
        add(&mut values, Metric::SeriesDropped, Vec::new(), dropped);
        for (metric, count) in health(period.health) {
            add(&mut values, metric, Vec::new(), count);
        }
        if period.late {
            values.retain(|(metric, _), value| *value != 0.0 || !metric.is_core());
        }
        let data = values
            .into_iter()
            .filter_map(|((metric, labels), value)| Datum::new(metric, &labels, value))
            .collect();
        Points { time_s: start.seconds(), data }
    }

    /// Label sets with values in this period, and how much they matter: flows, plaintext first.
    fn wanted(&self, period: &Period) -> BTreeMap<Labels, u64> {
        let mut wanted = BTreeMap::<Labels, u64>::new();
        for scope in &self.scopes {
            wanted.insert(vec![(Dimension::Scope, scope.clone())], u64::MAX);
        }
        for (key, counts) in &period.activity.cells {
            for (metric, _) in measured(key, *counts) {
                for rollup in metric.info().rollups.iter().filter(|rollup| !rollup.is_empty()) {
                    let Some(labels) = self.labels(key, rollup) else { continue };
                    let plaintext = matches!(metric, Metric::PlaintextFlows);
                    let weight = wanted.entry(labels).or_default();
                    let more = counts.flows.saturating_mul(if plaintext { 1 << 20 } else { 1 });
                    *weight = weight.saturating_add(more);
                }
            }
        }
        wanted
    }

    /// Zero for every core series.
    fn zeros(&self) -> Values {
        let mut values = Values::new();
        for info in METRICS.iter().filter(|info| info.metric.is_core()) {
            values.insert((info.metric, Vec::new()), 0.0);
        }
        for labels in self.cap.admitted() {
            let shape: Vec<Dimension> = labels.iter().map(|(dimension, _)| *dimension).collect();
            for info in METRICS.iter().filter(|info| info.metric.is_core()) {
                if info.rollups.contains(&shape.as_slice()) {
                    values.insert((info.metric, labels.clone()), 0.0);
                }
            }
        }
        values
    }

    fn count(&self, values: &mut Values, key: &ActivityKey, counts: Counts, start: Timestamp) {
        for (metric, count) in measured(key, counts) {
            for rollup in metric.info().rollups {
                if let Some(labels) = self.labels(key, rollup) {
                    add(values, metric, self.cap.place(&labels), count);
                }
            }
        }
        let Some(not_after_s) = counts.certificate_not_after_s else { return };
        let end_s = (start.0 + self.period_ns) / NS_PER_S;
        let days = (number(not_after_s) - number(end_s)) / 86_400.0;
        for rollup in Metric::CertificateDaysLeft.info().rollups {
            let Some(labels) = self.labels(key, rollup) else { continue };
            let least = values.entry((Metric::CertificateDaysLeft, self.cap.place(&labels)));
            let least = least.or_insert(f64::MAX);
            *least = least.min(days.floor());
        }
    }

    fn findings(&self, values: &mut Values, gauges: &Gauges) {
        let Some(open) = &gauges.open_findings else { return };
        add(values, Metric::OpenFindings, Vec::new(), open.values().sum());
        for severity in SEVERITIES {
            let labels = vec![(Dimension::Severity, severity.to_owned())];
            let count = open.get(severity).copied().unwrap_or(0);
            add(values, Metric::OpenFindings, self.cap.place(&labels), count);
        }
    }

    /// At the end of the period, as long as the canary was not seen after it.
    fn canary(&self, values: &mut Values, gauges: &Gauges, start: Timestamp) {
        let Some(seen) = gauges.canary else { return };
        let age_s = Timestamp(start.0.saturating_add(self.period_ns)).since(seen) / NS_PER_S;
        add(values, Metric::CanaryAgeSeconds, Vec::new(), age_s);
    }

    /// The values of `rollup`'s dimensions for `key`. None: the metric has no value there.
    fn labels(&self, key: &ActivityKey, rollup: &[Dimension]) -> Option<Labels> {
        let word = |word: Option<&str>| word.unwrap_or("unknown").to_owned();
        let class = |protocol: &str| match protocol {
            OTHER => Some(OTHER),
            protocol => (self.class_of)(protocol),
        };
        rollup
            .iter()
            .map(|dimension| {
                let value = match dimension {
                    Dimension::Scope => key.scope.clone(),
                    Dimension::Protocol => word(key.protocol),
                    Dimension::Class => word(key.protocol.and_then(class)),
                    Dimension::Service => word(key.service),
                    Dimension::TlsVersion => word(key.tls_version),
                    Dimension::Severity => return None,
                };
                Some((*dimension, value))
            })
            .collect()
    }
}

/// Metrics that flows under `key` count in.
fn measured(key: &ActivityKey, counts: Counts) -> Vec<(Metric, u64)> {
    let flows = counts.flows;
    let mut list = match key.class {
        Class::Plaintext => vec![
            (Metric::PlaintextFlows, flows),
            (Metric::PlaintextNewFlows, counts.new_flows),
            (Metric::PlaintextBytes, counts.bytes),
        ],
        Class::PlaintextRefused => vec![(Metric::PlaintextRefusedFlows, flows)],
        Class::Tls => vec![(Metric::TlsFlows, flows)],
        Class::EncryptedNonTls => vec![(Metric::EncryptedNonTlsFlows, flows)],
        Class::Unknown => vec![(Metric::UnknownFlows, flows)],
        Class::Uncounted => vec![],
    };
    if key.credentials {
        list.push((Metric::CredentialsExposedFlows, flows));
    }
    if key.weak {
        list.push((Metric::WeakTlsFlows, flows));
    }
    let decided = matches!(key.class, Class::Plaintext | Class::Tls | Class::EncryptedNonTls);
    if decided && !key.excluded {
        list.push((Metric::DecidedFlows, flows));
        if key.class == Class::Plaintext {
            list.push((Metric::PlaintextDecidedFlows, flows));
        }
    }
    list
}

fn health(health: Health) -> [(Metric, u64); 7] {
    [
        (Metric::MirrorPackets, health.packets),
        (Metric::MirrorTruncatedPackets, health.truncated),
        (Metric::MirrorDuplicatePackets, health.duplicates),
        (Metric::MirrorSkippedPackets, health.skipped),
        (Metric::KernelDrops, health.kernel_drops),
        (Metric::FlowTableEvictions, health.evictions),
        (Metric::RecordsDropped, health.records_dropped),
    ]
}

fn add(values: &mut Values, metric: Metric, labels: Labels, count: u64) {
    *values.entry((metric, labels)).or_default() += number(count);
}

#[allow(clippy::cast_precision_loss, reason = "exact to 2^53, and metrics are doubles")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
