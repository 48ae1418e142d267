//! The crypto inventory: per TLS server what was negotiated, what its clients could do better, and its certificates.
//!
//! It answers from traffic, not from configuration: a server "accepts" a version when a session in that version was
//! established. What TLS 1.3 hides (certificates) is counted as such, never guessed.

mod cbom;
mod csv;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use serde::Serialize;

pub use table::Style;

use crate::model::{
    Name, Timestamp,
    record::{CertificateRecord, Record, TlsRecord},
    time::NS_PER_S,
};

/// What was seen of every TLS server. Bounded: flows of servers that find no room are counted.
#[derive(Debug)]
pub struct Inventory {
    servers: BTreeMap<ServerKey, Server>,
    limits: Limits,
    /// Open flows of all servers, so that a flow is counted once however many records it has.
    open: usize,
    /// Flows of servers that found no room.
    pub flows_not_listed: u64,
    /// Certificates that found no room at their server.
    pub certificates_not_listed: u64,
    /// Latest packet of any flow: days left are counted from here.
    pub now: Option<Timestamp>,
}

/// Bounds of an [`Inventory`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Servers.
    pub servers_max: usize,
    /// Certificates of one server.
    pub certificates_max: usize,
    /// Values told apart of one fact of one server (suites, groups); further ones count as `other`.
    pub values_max: usize,
    /// Open flows remembered.
    pub open_flows_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { servers_max: 100_000, certificates_max: 16, values_max: 64, open_flows_max: 1 << 20 }
    }
}

/// A server as its clients name it. Virtual servers at one address are told apart by SNI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ServerKey {
    /// Source domain.
    pub scope: String,
    /// Name its clients ask for; null where they name none.
    pub sni: Option<Name>,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

/// What one server negotiated. Counts are flows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Server {
    /// `tls`, `dtls`, `quic`; `plaintext` for sessions under a NULL cipher.
    pub encryption: BTreeMap<&'static str, u64>,
    /// Applications inside, where they can be told.
    pub apps: BTreeMap<&'static str, u64>,
    /// Flows.
    pub flows: u64,
    /// Flows by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Versions of established flows.
    pub versions: BTreeMap<&'static str, u64>,
    /// Cipher suites of established flows.
    pub ciphers: BTreeMap<String, u64>,
    /// Groups of established flows.
    pub groups: BTreeMap<String, u64>,
    /// Whether the key exchange of established flows was post-quantum.
    pub pq: Share,
    /// Whether the clients offered a post-quantum group.
    pub pq_offered: Share,
    /// Established flows below TLS 1.2 whose client had offered TLS 1.2 or newer.
    pub old_though_offered_newer: u64,
    /// Highest version each client offered.
    pub versions_offered: BTreeMap<&'static str, u64>,
    /// Strength of established flows.
    pub strength: BTreeMap<&'static str, u64>,
    /// What spoke against them.
    pub strength_reasons: BTreeMap<&'static str, u64>,
    /// Whether clients showed a certificate.
    pub client_cert: BTreeMap<&'static str, u64>,
    /// Certificates shown, by SHA-256 fingerprint.
    pub certificates: BTreeMap<String, Shown>,
    /// Established flows whose certificate is hidden, was not seen or cannot be read.
    pub certificate_unknown: u64,
    /// First packet.
    pub first_seen: Option<Timestamp>,
    /// Last packet.
    pub last_seen: Option<Timestamp>,
    /// Which suites went with which version.
    #[serde(skip)]
    suites: BTreeSet<(&'static str, String)>,
    #[serde(skip)]
    open: BTreeSet<u64>,
}

/// How many flows did, did not, and cannot be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Did.
    pub yes: u64,
    /// Did not.
    pub no: u64,
    /// Cannot be told.
    pub unknown: u64,
}

/// A certificate and how it was met.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Flows that showed it.
    pub flows: u64,
    /// When it was last shown.
    pub last_seen: Timestamp,
    /// What it says, as of then.
    #[serde(flatten)]
    pub certificate: CertificateRecord,
}

impl Default for Inventory {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Inventory {
    /// An empty inventory with these bounds.
    pub fn new(limits: Limits) -> Self {
        Self {
            servers: BTreeMap::new(),
            limits,
            open: 0,
            flows_not_listed: 0,
            certificates_not_listed: 0,
            now: None,
        }
    }

    /// Adds a record; a flow's further records (live) bring their facts up to date.
    pub fn add(&mut self, record: &Record) {
        self.now = self.now.max(Some(record.ts_last));
        let Some(tls) = &record.tls else { return };
        let key = ServerKey {
            scope: record.scope.to_string(),
            sni: tls.sni.clone(),
            address: record.dst_ip,
            port: record.dst_port,
        };
        let ended = record.event.is_none_or(|event| event == "end");
        if !self.servers.contains_key(&key) && self.servers.len() >= self.limits.servers_max {
            // Once: records of open flows come again.
            self.flows_not_listed += u64::from(ended);
            return;
        }
        let server = self.servers.entry(key).or_default();
        server.seen(record);
        let flow = flow_id(record);
        let known = server.open.contains(&flow);
        if ended {
            self.open -= usize::from(server.open.remove(&flow));
        } else if record.event == Some("settled") && self.open < self.limits.open_flows_max {
            self.open += usize::from(server.open.insert(flow));
        } else {
            return;
        }
        if !known {
            self.certificates_not_listed += server.count(record, tls, &self.limits);
        }
    }

    /// Every server, in order of scope, name, address and port.
    pub fn servers(&self) -> impl Iterator<Item = (&ServerKey, &Server)> {
        self.servers.iter()
    }

    /// Every server, weak sessions first, then old versions, then as [`Inventory::servers`] has them.
    fn worst_first(&self) -> Vec<(&ServerKey, &Server)> {
        let mut list: Vec<_> = self.servers.iter().collect();
        list.sort_by_key(|(_, server)| {
            let weak = ["weak", "none"].iter().any(|word| server.strength.contains_key(word));
            let old = server.versions.keys().any(|version| is_old(version));
            (!weak, !old)
        });
        list
    }

    /// Whole days until a certificate ends, at the last packet seen.
    fn days_left(&self, shown: &Shown) -> Option<i64> {
        shown.days_left(self.now?)
    }

    /// The three questions, answered.
    pub fn answers(&self, expiring_days: i64) -> Answers {
        let mut answers = Answers { expiring_days, ..Answers::default() };
        for (key, server) in &self.servers {
            answers.add(key, server, self.now);
        }
        answers
    }

    /// One JSON object: the answers and every server.
    pub fn json(&self, expiring_days: i64) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Line<'i> {
            #[serde(flatten)]
            key: &'i ServerKey,
            #[serde(flatten)]
            server: &'i Server,
        }
        #[derive(Serialize)]
        struct Whole<'i> {
            schema: u8,
            as_of: Option<Timestamp>,
            answers: Answers,
            flows_not_listed: u64,
            certificates_not_listed: u64,
            servers: Vec<Line<'i>>,
        }
        serde_json::to_string_pretty(&Whole {
            schema: SCHEMA_VERSION,
            as_of: self.now,
            answers: self.answers(expiring_days),
            flows_not_listed: self.flows_not_listed,
            certificates_not_listed: self.certificates_not_listed,
            servers: self.servers.iter().map(|(key, server)| Line { key, server }).collect(),
        })
    }
}

impl Server {
    fn seen(&mut self, record: &Record) {
        let first = self.first_seen.get_or_insert(record.ts_first);
        *first = (*first).min(record.ts_first);
        self.last_seen = self.last_seen.max(Some(record.ts_last));
    }

    /// Counts a flow; returns how many certificates found no room.
    fn count(&mut self, record: &Record, tls: &TlsRecord, limits: &Limits) -> u64 {
        self.flows += 1;
        bump(&mut self.encryption, record.encryption);
        bump(&mut self.outcomes, record.outcome);
        if let Some(app) = record.app {
            bump(&mut self.apps, app);
        }
        if let Some(version) = tls.version_offered {
            bump(&mut self.versions_offered, version);
        }
        self.pq_offered.count(tls.pq_offered);
        if !is_session(record) {
            return 0;
        }
        if let Some(version) = tls.version {
            bump(&mut self.versions, version);
            let newer = tls.version_offered.is_some_and(|offered| !is_old(offered));
            self.old_though_offered_newer += u64::from(is_old(version) && newer);
        }
        let values_max = limits.values_max;
        if let (Some(version), Some(cipher)) = (tls.version, &tls.cipher)
            && self.suites.len() < values_max
        {
            self.suites.insert((version, cipher.to_string()));
        }
        bump_named(&mut self.ciphers, tls.cipher.as_deref(), values_max);
        bump_named(&mut self.groups, tls.group.as_deref(), values_max);
        self.pq.count(tls.pq);
        bump(&mut self.client_cert, tls.client_cert);
        if let Some(strength) = tls.strength.strength {
            bump(&mut self.strength, strength);
        }
        for reason in &tls.strength.strength_reasons {
            bump(&mut self.strength_reasons, reason);
        }
        self.show(record, tls, limits)
    }

    fn show(&mut self, record: &Record, tls: &TlsRecord, limits: &Limits) -> u64 {
        let shown = tls.certificates.certificate.as_deref();
        let fingerprint = shown.and_then(|shown| shown.fingerprint_sha256.as_ref());
        let (Some(certificate), Some(fingerprint)) = (shown, fingerprint) else {
            self.certificate_unknown += 1;
            return 0;
        };
        if let Some(shown) = self.certificates.get_mut(fingerprint) {
            shown.flows += 1;
            if record.ts_last > shown.last_seen {
                shown.last_seen = record.ts_last;
                shown.certificate.days_left = certificate.days_left;
                shown.certificate.expired = certificate.expired;
            }
            return 0;
        }
        if self.certificates.len() >= limits.certificates_max {
            return 1;
        }
        let certificate = certificate.clone();
        let shown = Shown { flows: 1, last_seen: record.ts_last, certificate };
        self.certificates.insert(fingerprint.clone(), shown);
        0
    }
}

impl Shown {
    /// Last day of validity, `YYYY-MM-DD`.
    fn last_day(&self) -> String {
        let end = self.certificate.not_after.as_deref().unwrap_or_default();
        end.split('T').next().unwrap_or_default().to_owned()
    }

    /// Whole days until it ends, at `now`; negative once it has.
    fn days_left(&self, now: Timestamp) -> Option<i64> {
        let passed = now.since(self.last_seen) / (SECONDS_PER_DAY * NS_PER_S);
        Some(self.certificate.days_left?.saturating_sub_unsigned(passed))
    }
}

impl Share {
    fn count(&mut self, value: Option<bool>) {
        let counter = match value {
            Some(true) => &mut self.yes,
            Some(false) => &mut self.no,
            None => &mut self.unknown,
        };
        *counter += 1;
    }

    fn add(&mut self, other: Self) {
        self.yes += other.yes;
        self.no += other.no;
        self.unknown += other.unknown;
    }
}

/// What a security team asks first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Answers {
    /// Servers seen.
    pub servers: u64,
    /// Servers with an established session below TLS 1.2.
    pub below_tls_1_2: Vec<Below>,
    /// Days ahead that certificates are looked at.
    pub expiring_days: i64,
    /// Certificates that have expired or will within that time, soonest first.
    pub expiring: Vec<Expiring>,
    /// Servers none of whose certificates could be seen: TLS 1.3 hides them.
    pub certificate_unknown_servers: u64,
    /// Established flows by post-quantum key exchange.
    pub pq_flows: Share,
    /// Flows whose client offered it.
    pub pq_offered_flows: Share,
    /// Servers with at least one post-quantum session, with none, and where it cannot be told.
    pub pq_servers: Share,
}

/// A server that still accepts an old version.
#[derive(Clone, Debug, Serialize)]
pub struct Below {
    /// Which.
    #[serde(flatten)]
    pub server: ServerKey,
    /// The old versions, with flows.
    pub versions: BTreeMap<&'static str, u64>,
    /// How many of these flows were of clients that had offered TLS 1.2 or newer.
    pub though_offered_newer: u64,
}

/// A certificate near its end.
#[derive(Clone, Debug, Serialize)]
pub struct Expiring {
    /// Which server shows it.
    #[serde(flatten)]
    pub server: ServerKey,
    /// Subject.
    pub subject: Option<Name>,
    /// Last day.
    pub not_after: String,
    /// Days left at the last packet seen; negative once expired.
    pub days_left: i64,
    /// SHA-256 of the certificate.
    pub fingerprint_sha256: String,
}

impl Answers {
    fn add(&mut self, key: &ServerKey, server: &Server, now: Option<Timestamp>) {
        self.servers += 1;
        let old: BTreeMap<_, _> = server.versions.iter().filter(|(v, _)| is_old(v)).collect();
        if !old.is_empty() {
            self.below_tls_1_2.push(Below {
                server: key.clone(),
                versions: old.into_iter().map(|(version, flows)| (*version, *flows)).collect(),
                though_offered_newer: server.old_though_offered_newer,
            });
        }
        self.pq_flows.add(server.pq);
        self.pq_offered_flows.add(server.pq_offered);
        self.pq_servers.count(match server.pq {
            Share { yes: 1.., .. } => Some(true),
            Share { no: 1.., .. } => Some(false),
            Share { .. } => None,
        });
        let hidden = server.certificates.is_empty() && server.certificate_unknown > 0;
        self.certificate_unknown_servers += u64::from(hidden);
        let soon = server.certificates.iter().filter_map(|(fingerprint, shown)| {
            let days_left = shown.days_left(now?)?;
            (days_left <= self.expiring_days).then(|| Expiring {
                server: key.clone(),
                subject: shown.certificate.subject.clone(),
                not_after: shown.last_day(),
                days_left,
                fingerprint_sha256: fingerprint.clone(),
            })
        });
        self.expiring.extend(soon);
        self.expiring.sort_by_key(|e| e.days_left);
    }
}

/// Whether the session came about, so that what was negotiated is in use.
fn is_session(record: &Record) -> bool {
    record.outcome == "established"
}

/// Versions that RFC 8996 and those before it retired.
fn is_old(version: &str) -> bool {
    matches!(version, "SSLv2" | "SSLv3" | "TLSv1.0" | "TLSv1.1" | "DTLSv0.9" | "DTLSv1.0")
}

/// A flow's identity across its records.
fn flow_id(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&record.community_id, record.ts_first.0).hash(&mut hasher);
    hasher.finish()
}

fn bump(counts: &mut BTreeMap<&'static str, u64>, value: &'static str) {
    *counts.entry(value).or_default() += 1;
}

/// Counts a value that may be any code; beyond `values_max` different ones under `other`.
fn bump_named(counts: &mut BTreeMap<String, u64>, value: Option<&str>, values_max: usize) {
    let Some(value) = value else { return };
    if let Some(count) = counts.get_mut(value) {
        *count += 1;
    } else if counts.len() < values_max {
        counts.insert(value.to_owned(), 1);
    } else {
        *counts.entry("other".to_owned()).or_default() += 1;
    }
}

const SECONDS_PER_DAY: u64 = 86_400;
/// Version of the inventory's JSON and CSV.
const SCHEMA_VERSION: u8 = 1;
