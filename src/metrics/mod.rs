//! From flows to data points: which metrics there are, what they count and by which few dimensions.
//!
//! The shard fills a [`Meter`], one [`Activity`] per period; the control plane's [`Collector`] joins the shards; a
//! [`Publisher`] turns a period into [`Datum`]s, bounded and with zeros. Every value adds up: over shards, over sensors
//! and, for all but flows active in several periods, over time. Nothing here reads a clock or does I/O.
#![forbid(unsafe_code)]

mod activity;
mod catalogue;
mod collector;
mod config;
mod cost;
mod datum;
mod publish;
mod series;

pub use activity::{
    ACTIVITY_KEYS_MAX, Activity, ActivityKey, CLOSED_PERIODS_MAX, Class, Counts, KeyId, Meter,
    certificate_not_after_s,
};
pub use catalogue::{Dimension, METRICS, Metric, MetricInfo, Statistic, Unit};
pub use collector::{Closed, Collector, Health, Period};
pub use config::MetricsConfig;
pub use cost::{Estimate, Expected, MONTH_HOURS, PRICES, Prices, estimate};
pub use datum::{Datum, Points, dimension_value};
pub use publish::{ClassOf, Gauges, Publisher, SEVERITIES};
pub use series::{OTHER, SeriesCap};
