//! Metrics as Prometheus text (exposition format 0.0.4).
//!
//! What CloudWatch gets per period stands here as a gauge of the last period; what only grows is a counter. Labels are
//! the dimensions, in lower case; an address or a port is never one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    counters::Counters,
    metrics::{METRICS, MetricInfo, Points, Statistic, Unit},
};

/// `[prometheus]`. Every key: reload `restart`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusConfig {
    /// Address to serve `/metrics` on, like `127.0.0.1:9184`. None: not served.
    pub listen: Option<SocketAddr>,
}

type Series = BTreeMap<(&'static str, Vec<(String, String)>), f64>;

/// What `/metrics` shows.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// Of the last period.
    last: Series,
    /// Since the start: metrics that add up over periods.
    total: Series,
    time_s: u64,
    counters: Counters,
    outputs: Vec<(&'static str, u64)>,
}

impl Exposition {
    /// Takes a period's points; those of a late one only count in totals.
    pub fn points(&mut self, points: &Points) {
        if points.time_s > self.time_s {
            self.last.clear();
            self.time_s = points.time_s;
        }
        for datum in &points.data {
            let Some(info) = METRICS.iter().find(|info| info.name == datum.name) else { continue };
            let key = (info.name, datum.dimensions.clone());
            if points.time_s == self.time_s {
                let value = self.last.entry(key.clone()).or_default();
                *value = if info.statistic == Statistic::Sum {
                    *value + datum.value
                } else {
                    datum.value
                };
            }
            if adds_up(info) {
                *self.total.entry(key).or_default() += datum.value;
            }
        }
        // The cap bounds what is published at once; this bounds what was ever published.
        if self.total.len() > TOTALS_MAX {
            let last = &self.last;
            self.total.retain(|key, _| last.contains_key(key));
        }
    }

    /// Takes the sensor's counters as they stand.
    pub fn counters(&mut self, counters: &Counters) {
        self.counters = counters.clone();
    }

    /// Takes the counters of an output, by their full name.
    pub fn outputs(&mut self, outputs: Vec<(&'static str, u64)>) {
        self.outputs = outputs;
    }

    /// The text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let version = env!("CARGO_PKG_VERSION");
        head(&mut text, "cleartap_build_info", "gauge", "Version of the sensor.");
        line(&mut text, "cleartap_build_info", &[("version".to_owned(), version.to_owned())], 1.0);
        for info in METRICS {
            let name = format!("cleartap_{}", name(info));
            let means = format!("{}.", info.means);
            family(&mut text, &self.last, info, &name, "gauge", &means);
            if adds_up(info) {
                let name = format!("{name}_total");
                family(&mut text, &self.total, info, &name, "counter", &means);
            }
        }
        let mut told = BTreeSet::new();
        for (name, count) in self.counters.list().into_iter().chain(self.outputs.iter().copied()) {
            let gauge = name.ends_with("_peak") || name.ends_with("_waiting");
            let name = name.replace('-', "_");
            let (name, kind) = if gauge {
                (format!("cleartap_sensor_{name}"), "gauge")
            } else {
                (format!("cleartap_sensor_{name}_total"), "counter")
            };
            if told.insert(name.clone()) {
                head(&mut text, &name, kind, "Counter of the sensor, as its log names it.");
                line(&mut text, &name, &[], number(count));
            }
        }
        text
    }
}

/// Series whose totals are kept.
const TOTALS_MAX: usize = 5000;

/// Whether values of periods add up to something: a flow active in two periods is not two flows.
fn adds_up(info: &MetricInfo) -> bool {
    matches!(
        info.name,
        "PlaintextNewFlows"
            | "PlaintextBytes"
            | "MirrorPackets"
            | "MirrorTruncatedPackets"
            | "MirrorDuplicatePackets"
            | "MirrorSkippedPackets"
            | "KernelDrops"
            | "FlowTableEvictions"
            | "RecordsDropped"
    )
}

fn family(
    text: &mut String,
    series: &Series,
    info: &MetricInfo,
    name: &str,
    kind: &str,
    means: &str,
) {
    let mut values = series.iter().filter(|((metric, _), _)| *metric == info.name).peekable();
    if values.peek().is_none() {
        return;
    }
    head(text, name, kind, means);
    for ((_, labels), value) in values {
        // Totals over all labels are sums that Prometheus makes itself, except where there is nothing to sum.
        line(text, name, labels, *value);
    }
}

fn head(text: &mut String, name: &str, kind: &str, means: &str) {
    // Writing to a String cannot fail.
    let _ok = write!(text, "# HELP {name} {means}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: &[(String, String)], value: f64) {
    text.push_str(name);
    if !labels.is_empty() {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{}=\"{}\"", snake(name), escaped(value)))
            .collect();
        let _ok = write!(text, "{{{}}}", labels.join(","));
    }
    let _ok = writeln!(text, " {value}");
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// `PlaintextFlows` as `plaintext_flows`; a unit other than counts is in the name.
fn name(info: &MetricInfo) -> String {
    let name = snake(info.name);
    match info.unit {
        Unit::Bytes if !name.ends_with("bytes") => format!("{name}_bytes"),
        _ => name,
    }
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[allow(clippy::cast_precision_loss, reason = "exact to 2^53, and samples are doubles")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Datum;

    type Labels<'a> = &'a [(&'a str, &'a str)];

    fn points(time_s: u64, data: &[(&str, Labels<'_>, f64)]) -> Points {
        let data = data
            .iter()
            .map(|(name, labels, value)| Datum {
                name: (*name).to_owned(),
                dimensions: labels.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
                unit: "Count".to_owned(),
                value: *value,
            })
            .collect();
        Points { time_s, data }
    }

    #[test]
    fn periods_are_gauges_and_what_grows_is_a_counter() {
        let mut shown = Exposition::default();
        let labels: &[(&str, &str)] = &[("Scope", "pr\"od"), ("TlsVersion", "TLSv1.3")];
        shown.points(&points(60, &[("PlaintextBytes", labels, 5.0), ("PlaintextFlows", &[], 2.0)]));
        shown
            .points(&points(120, &[("PlaintextBytes", labels, 7.0), ("PlaintextFlows", &[], 1.0)]));
        shown.points(&points(60, &[("PlaintextBytes", labels, 1.0)]));
        let text = shown.text();
        for line in [
            "# TYPE cleartap_plaintext_flows gauge",
            "cleartap_plaintext_flows 1",
            "cleartap_plaintext_bytes{scope=\"pr\\\"od\",tls_version=\"TLSv1.3\"} 7",
            "# TYPE cleartap_plaintext_bytes_total counter",
            "cleartap_plaintext_bytes_total{scope=\"pr\\\"od\",tls_version=\"TLSv1.3\"} 13",
            "cleartap_sensor_frames_total 0",
            "# TYPE cleartap_sensor_flows_peak gauge",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!text.contains("cleartap_plaintext_flows_total"));
    }

    #[test]
    fn every_line_is_of_the_exposition_format_and_each_name_is_declared_once() {
        let mut shown = Exposition::default();
        shown.points(&points(60, &[("PlaintextFlows", &[("Scope", "a b")], 0.0)]));
        let text = shown.text();
        let mut declared = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(declared.insert(rest.to_owned()), "{line}");
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                assert!(
                    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                );
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}
