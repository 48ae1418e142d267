//! The sections of the file. Units stand last in names; every key says how a change of it takes effect.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    inventory::InventorySection,
    outputs::{CanarySection, EmfSection, FindingsSection, HealthSection, PrometheusSection},
};
use crate::{
    alerts::AlertsConfig,
    metrics::MetricsConfig,
    model::Network,
    output::cloudwatch::CloudWatchConfig,
    policy::PolicySpec,
    sessions::SessionsConfig,
    strength::{PROFILES, Profile},
};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where packets come from.
    pub capture: Capture,
    /// Bounds, each with a counter for when it is reached.
    pub limits: Limits,
    /// Who may send mirrored copies.
    pub mirror: Mirror,
    /// Source domains of mirrored copies, first match wins; what matches none is in scope `default`.
    #[schemars(extend("x-reload" = "new-flows"))]
    pub scopes: Vec<ScopeSection>,
    /// Which addresses are where.
    pub networks: Networks,
    /// Who has which address.
    pub inventory: InventorySection,
    /// How TLS is judged.
    pub tls: Tls,
    /// The JSON lines of flows.
    pub records: Records,
    /// The inventory of TLS servers.
    pub crypto_inventory: CryptoInventory,
    /// The log on standard error.
    pub log: Log,
    /// What matters, and what is accepted.
    pub policy: PolicySpec,
    /// Who is told.
    pub alerts: AlertsConfig,
    /// The findings book.
    pub findings: FindingsSection,
    /// How metrics are formed.
    pub metrics: MetricsConfig,
    /// Metrics to CloudWatch.
    pub cloudwatch: CloudWatchConfig,
    /// Metrics in embedded metric format.
    pub emf: EmfSection,
    /// Metrics for Prometheus.
    pub prometheus: PrometheusSection,
    /// Whether the sensor is well, over HTTP.
    pub health: HealthSection,
    /// The canary.
    pub canary: CanarySection,
    /// Traffic mirror sessions that `cleartap sessions` keeps.
    pub sessions: SessionsConfig,
}

/// Where packets come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// UDP addresses that receive mirrored packets; empty: port 4789 on every address. Not together with `interface`.
    #[schemars(with = "Vec<String>", extend("items" = { "type": "string", "format": "socket-address" }))]
    pub listen: Vec<SocketAddr>,
    /// Interface to capture on instead (needs `CAP_NET_RAW`).
    pub interface: Option<String>,
    /// Capture filter of the interface, in pcap-filter syntax.
    pub bpf: Option<String>,
    /// Bytes kept of each packet of the interface.
    #[schemars(range(min = 1, max = 262_144))]
    pub snaplen_bytes: u32,
    /// Whether the interface is put into promiscuous mode.
    pub promiscuous: bool,
    /// Kernel buffer, in MiB, of all shards together.
    #[schemars(range(min = 1, max = 2047))]
    pub buffer_mib: u32,
    /// Threads that read and decide, each with flows of its own; 0: as many as there are processors.
    #[schemars(range(max = 64))]
    pub shards: u16,
    /// When packets come faster than they can be taken, one in so many is kept of those that only move the counters of
    /// flows already decided; 0: all are kept, and what is too much is lost at random.
    #[schemars(range(max = 1024))]
    pub shed_keep_one_in: u32,
    /// How long the kernel looks at the network card for datagrams before a wait sleeps, in microseconds; 0: not at all.
    #[schemars(range(max = 10_000))]
    pub busy_poll_us: u32,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            interface: None,
            bpf: None,
            snaplen_bytes: 65_535,
            promiscuous: false,
            buffer_mib: 32,
            shards: 0,
            shed_keep_one_in: 8,
            busy_poll_us: 0,
        }
    }
}

/// Bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most flows held at once; the one due next ends as `evicted` when the table is full.
    #[schemars(range(min = 1, max = 1_073_741_824), extend("x-reload" = "restart"))]
    pub flows_max: u64,
    /// Memory for flows still being decided, in MiB; and the same again for what is known of settled ones.
    #[schemars(range(min = 1, max = 1_048_576), extend("x-reload" = "live"))]
    pub memory_mib: u64,
    /// Idle time after which a TCP flow ends, in seconds of packet time.
    #[schemars(range(min = 1, max = 604_800), extend("x-reload" = "new-flows"))]
    pub tcp_idle_s: u64,
    /// Idle time of a TCP flow of which only one end has spoken, in seconds.
    #[schemars(range(min = 1, max = 604_800), extend("x-reload" = "new-flows"))]
    pub half_open_idle_s: u64,
    /// Idle time after which a UDP flow ends, in seconds; at most 10 for a question and its answer.
    #[schemars(range(min = 1, max = 604_800), extend("x-reload" = "new-flows"))]
    pub udp_idle_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows_max: 1 << 20,
            memory_mib: 256,
            tcp_idle_s: 300,
            half_open_idle_s: 20,
            udp_idle_s: 60,
        }
    }
}

/// Who may send mirrored copies; VXLAN is not authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mirror {
    /// Outer source networks that may send copies; empty: any. The rest is counted and dropped.
    #[schemars(extend("x-reload" = "live"))]
    pub allow_sources: Vec<Network>,
    /// Network identifiers that may be used; empty: any.
    #[schemars(inner(range(min = 0, max = 16_777_215)), extend("x-reload" = "live"))]
    pub allow_vnis: Vec<u32>,
}

/// A source domain: several values of one key are alternatives, different keys must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeSection {
    /// Name in records.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Outer source networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Network>,
    /// VXLAN or GENEVE network identifiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 0, max = 16_777_215)))]
    pub vnis: Vec<u32>,
    /// GENEVE endpoint ids, in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = { "type": "string", "format": "hexadecimal" }))]
    pub endpoints: Vec<String>,
}

/// Which addresses are where: the record's `boundary`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Networks {
    /// Networks that count as inside; empty: private, unique local and shared address space.
    #[schemars(extend("x-reload" = "live"))]
    pub internal: Vec<Network>,
    /// Where AWS endpoints are: interface endpoints, and the prefix lists of gateway endpoints.
    #[schemars(extend("x-reload" = "live"))]
    pub aws_endpoint: Vec<Network>,
    /// Which networks each scope has: a flow with an end in another scope's is `cross_scope`.
    #[schemars(extend("x-reload" = "live"))]
    pub scopes: Vec<ScopeNetworks>,
}

/// How TLS is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Policy by which strength is judged; `cleartap profiles` prints each with its source.
    #[schemars(extend("enum" = PROFILES.iter().map(|p| p.name).collect::<Vec<_>>(), "x-reload" = "live"))]
    pub profile: String,
}

impl Default for Tls {
    fn default() -> Self {
        Self { profile: Profile::DEFAULT.name.to_owned() }
    }
}

/// The networks of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeNetworks {
    /// The scope's name; it need not be mirrored here.
    #[schemars(length(min = 1, max = 128))]
    pub scope: String,
    /// Its networks.
    pub networks: Vec<Network>,
}

/// The JSON lines of flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// File they are appended to; `-`: standard output.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// Seconds between records of an open flow, and between summaries in the log.
    #[schemars(range(min = 1, max = 86_400), extend("x-reload" = "live"))]
    pub interval_s: u64,
}

impl Default for Records {
    fn default() -> Self {
        Self { path: "-".into(), interval_s: 60 }
    }
}

/// The inventory of TLS servers that a running sensor keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CryptoInventory {
    /// File that holds it, written anew every `records.interval_s`; its ending tells the form: `.csv`, `.cdx.json` (`CycloneDX`),
    /// `.txt`, else JSON. Nothing is kept without it.
    pub path: Option<PathBuf>,
    /// Days ahead that certificates are looked at.
    #[schemars(range(min = 0, max = 36_500))]
    pub expiring_days: u32,
}

impl Default for CryptoInventory {
    fn default() -> Self {
        Self { path: None, expiring_days: 30 }
    }
}

/// The log on standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Its form.
    pub form: LogForm,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogForm {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
