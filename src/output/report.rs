//! What `analyze` tells: verdict totals and the edges that talk in cleartext, worst first.

mod edges;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    sync::Arc,
};

use edges::Edges;
use serde::Serialize;

use crate::{
    counters::{Counters, FLOWS_NOT_LISTED},
    model::{Timestamp, record::Record},
};

/// Totals of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Captures read.
    pub captures: Vec<String>,
    /// First and last packet of any flow.
    pub ts_first: Option<Timestamp>,
    /// Last packet of any flow.
    pub ts_last: Option<Timestamp>,
    /// Flows, by `encryption`.
    pub verdicts: BTreeMap<&'static str, Total>,
    /// Flows of unknown verdict, by reason.
    pub unknown_reasons: BTreeMap<&'static str, u64>,
    /// Flows that `--filter` kept out of everything above and below, except the counters.
    pub filtered: u64,
    /// Flows whose application is not the one usual on their port.
    pub unexpected: u64,
    #[serde(skip)]
    edges: Edges,
    #[serde(skip)]
    edges_max: Option<usize>,
    /// What the sensor met, zeros left out.
    pub counters: BTreeMap<&'static str, u64>,
}

/// Flows and bytes of one verdict.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Total {
    /// Flows.
    pub flows: u64,
    /// IP bytes, both directions.
    pub bytes: u64,
}

/// A plaintext edge.
#[derive(Clone, Debug, Serialize)]
pub struct Edge {
    /// Source domain.
    pub scope: Arc<str>,
    /// Protocol in clear.
    pub protocol: Option<&'static str>,
    /// `plaintext` or `partial`.
    pub encryption: &'static str,
    /// Client address.
    pub client: IpAddr,
    /// Server address.
    pub server: IpAddr,
    /// Server port.
    pub port: u16,
    /// Flows.
    pub flows: u64,
    /// IP bytes, both directions.
    pub bytes: u64,
    /// `established`, `refused`, `attempt` or `unknown`.
    pub outcome: &'static str,
    /// Why in clear.
    pub plaintext_reason: Option<&'static str>,
    /// Credential kinds seen in clear.
    pub credentials: BTreeSet<&'static str>,
    /// First packet.
    pub first_seen: Timestamp,
    /// Last packet.
    pub last_seen: Timestamp,
}

impl Report {
    /// A report that lists at most so many edges.
    pub fn with_edges_max(edges_max: usize) -> Self {
        Self { edges_max: Some(edges_max), ..Self::default() }
    }

    /// Adds a record.
    pub fn add(&mut self, record: &Record) {
        let bytes = record.bytes_c2s + record.bytes_s2c;
        let total = self.verdicts.entry(record.encryption).or_default();
        total.flows += 1;
        total.bytes += bytes;
        if let Some(reason) = record.unknown_reason {
            *self.unknown_reasons.entry(reason).or_default() += 1;
        }
        let first = self.ts_first.get_or_insert(record.ts_first);
        *first = (*first).min(record.ts_first);
        let last = self.ts_last.get_or_insert(record.ts_last);
        *last = (*last).max(record.ts_last);
        let expected = record.expected_service;
        let unexpected = expected.is_some_and(|e| {
            record.app.is_some_and(|app| app != e) && record.encryption != "unknown"
        });
        self.unexpected += u64::from(unexpected);
        if is_clear(record) {
            self.add_edge(record, bytes);
        }
    }

    /// Adds what an engine met.
    pub fn add_counters(&mut self, counters: &Counters) {
        for (name, count) in counters.list() {
            if count == 0 {
                continue;
            }
            let sum = self.counters.entry(name).or_default();
            *sum = if name.ends_with("_peak") { (*sum).max(count) } else { *sum + count };
        }
    }

    /// Plaintext edges, worst first.
    pub fn edges(&self) -> Vec<Edge> {
        self.edges.worst(usize::MAX)
    }

    /// The worst of them, at most so many.
    pub fn worst_edges(&self, most: usize) -> Vec<Edge> {
        self.edges.worst(most)
    }

    /// How many edges there are.
    pub fn edges_len(&self) -> usize {
        self.edges.len()
    }

    /// Whether any edge lies in a scope that has a name.
    pub fn is_scoped(&self) -> bool {
        self.edges.is_scoped()
    }

    /// Flows of all verdicts.
    pub fn flows(&self) -> u64 {
        self.verdicts.values().map(|t| t.flows).sum()
    }

    /// One JSON object: the totals and the edges.
    pub fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Whole<'r> {
            schema: u8,
            #[serde(flatten)]
            report: &'r Report,
            edges: Vec<Edge>,
        }
        serde_json::to_string_pretty(&Whole { schema: 1, report: self, edges: self.edges() })
    }

    /// The edges as CSV (RFC 4180) with a header line.
    pub fn csv(&self) -> io::Result<Vec<u8>> {
        let mut out = csv::Writer::from_writer(Vec::new());
        out.write_record(CSV_COLUMNS)?;
        for edge in self.edges() {
            let credentials: Vec<&str> = edge.credentials.iter().copied().collect();
            out.write_record([
                &*edge.scope,
                edge.protocol.unwrap_or(""),
                edge.encryption,
                &edge.client.to_string(),
                &edge.server.to_string(),
                &edge.port.to_string(),
                &edge.flows.to_string(),
                &edge.bytes.to_string(),
                edge.outcome,
                edge.plaintext_reason.unwrap_or(""),
                &credentials.join(" "),
                &edge.first_seen.to_string(),
                &edge.last_seen.to_string(),
            ])?;
        }
        out.into_inner().map_err(|e| io::Error::other(e.to_string()))
    }

    fn add_edge(&mut self, record: &Record, bytes: u64) {
        let most = self.edges_max.unwrap_or(EDGES_MAX);
        if !self.edges.add(record, bytes, most) {
            *self.counters.entry(FLOWS_NOT_LISTED).or_default() += 1;
        }
    }
}

/// Whether the record's data could be read.
pub fn is_clear(record: &Record) -> bool {
    matches!(record.encryption, "plaintext" | "partial")
}

/// Most edges listed; flows of further ones are only counted.
const EDGES_MAX: usize = 1_000_000;

const CSV_COLUMNS: [&str; 13] = [
    "scope",
    "protocol",
    "encryption",
    "client",
    "server",
    "port",
    "flows",
    "bytes",
    "outcome",
    "plaintext_reason",
    "credentials",
    "first_seen",
    "last_seen",
];
