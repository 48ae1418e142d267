//! The sections of outputs that are not their own module's.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The findings book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FindingsSection {
    /// `SQLite` file of the book; `none`: findings are not kept.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// Seconds without a flow after which a finding is `quiet`.
    #[schemars(range(min = 1, max = 31_536_000), extend("x-reload" = "live"))]
    pub quiet_s: u64,
    /// Seconds without a flow after which it is resolved; eight days, so that a weekly job is not resolved between its runs.
    #[schemars(range(min = 1, max = 315_360_000), extend("x-reload" = "live"))]
    pub resolve_s: u64,
    /// Most findings kept; then resolved ones go first, and what is open at `high` or `critical` never.
    #[schemars(range(min = 1, max = 10_000_000), extend("x-reload" = "live"))]
    pub findings_max: u64,
}

/// Where the book is unless another place is named.
pub const FINDINGS_PATH: &str = "/var/lib/cleartap/findings.db";

impl Default for FindingsSection {
    fn default() -> Self {
        Self {
            path: FINDINGS_PATH.into(),
            quiet_s: 3600,
            resolve_s: 8 * 86_400,
            findings_max: 100_000,
        }
    }
}

impl FindingsSection {
    /// The book's file, unless findings are not kept.
    pub fn book(&self) -> Option<&std::path::Path> {
        (self.path.as_os_str() != "none").then_some(&self.path)
    }
}

/// Metrics for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusSection {
    /// Serve metrics at `http://ADDRESS:PORT/metrics`.
    #[schemars(with = "Option<String>", extend("format" = "socket-address"))]
    pub listen: Option<SocketAddr>,
}

/// Whether the sensor is well, over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// Serve `/healthz`, `/readyz`, `/status` and `/metrics` at this address.
    #[schemars(with = "Option<String>", extend("format" = "socket-address"))]
    pub listen: Option<SocketAddr>,
    /// `/healthz` fails while more than this share of the packets of the last minute was lost before they were read, in percent.
    #[schemars(range(min = 1, max = 100))]
    pub kernel_drops_percent_max: u8,
    /// Seconds between the signal to stop and the stop: `/healthz` fails, copies are still taken.
    #[schemars(range(min = 0, max = 3600))]
    pub drain_s: u32,
}

impl Default for HealthSection {
    fn default() -> Self {
        Self { listen: None, kernel_drops_percent_max: 10, drain_s: 0 }
    }
}

/// The canary: `cleartap canary` between two mirrored hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CanarySection {
    /// Whether one is expected: then `CanaryAgeSeconds` is published, from the start.
    pub expected: bool,
}

/// Metrics as CloudWatch embedded metric format, without API calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmfSection {
    /// File they are appended to; `-`: standard output.
    #[schemars(with = "Option<String>")]
    pub path: Option<PathBuf>,
    /// Namespace of the metrics.
    #[schemars(length(min = 1, max = 255))]
    pub namespace: String,
}

impl Default for EmfSection {
    fn default() -> Self {
        Self { path: None, namespace: "cleartap".to_owned() }
    }
}
