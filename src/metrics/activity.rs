//! What a shard counts: flows active in a period, by the few things that metrics tell apart.
//!
//! A record may be lost when a live sensor's channel is full; what is counted here is not. Bounded: at most
//! [`ACTIVITY_KEYS_MAX`] keys are told apart, what is beyond is counted under `other`.

use std::collections::BTreeMap;

use super::series::OTHER;
use crate::model::{CANARY_RULE, Date, Timestamp, record::Record};

/// Most combinations of scope, class, protocol, service and TLS version that are told apart in a shard.
pub const ACTIVITY_KEYS_MAX: usize = 4096;

/// Most closed periods that wait for the control plane; older ones are dropped and counted.
pub const CLOSED_PERIODS_MAX: usize = 1440;

/// What a flow counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// In clear, or partly, and in use as far as was seen.
    Plaintext,
    /// In clear, and turned away by the server.
    PlaintextRefused,
    /// TLS, DTLS, QUIC.
    Tls,
    /// Encrypted by other means.
    EncryptedNonTls,
    /// Nothing can be said, though there was payload.
    Unknown,
    /// No metric counts it: no payload, a lone attempt, a refused handshake, or the canary.
    Uncounted,
}

/// What is told apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActivityKey {
    /// Source domain.
    pub scope: String,
    /// What it counts as.
    pub class: Class,
    /// Application protocol.
    pub protocol: Option<&'static str>,
    /// Protocol usual on the server's port.
    pub service: Option<&'static str>,
    /// Negotiated version.
    pub tls_version: Option<&'static str>,
    /// Credentials were readable.
    pub credentials: bool,
    /// The TLS is weak, or protects nothing.
    pub weak: bool,
    /// Policy excludes it from ratios: a health check, for instance.
    pub excluded: bool,
}

impl ActivityKey {
    /// What `record` counts as; `excluded` is policy's word.
    pub fn of(record: &Record, excluded: bool) -> Self {
        let class = class(record);
        let tls = record.tls.as_ref().filter(|_| class == Class::Tls);
        let plaintext = class == Class::Plaintext;
        Self {
            scope: record.scope.to_string(),
            class,
            protocol: record.app.filter(|_| plaintext),
            service: record.expected_service.filter(|_| plaintext),
            tls_version: tls.and_then(|tls| tls.version),
            credentials: plaintext && !record.credentials.is_empty(),
            weak: tls.is_some_and(|tls| matches!(tls.strength.strength, Some("weak" | "none"))),
            excluded,
        }
    }

    /// The key when there are too many.
    fn folded(self) -> Self {
        let Self { class, credentials, weak, excluded, .. } = self;
        let (protocol, service) = (Some(OTHER), Some(OTHER));
        let scope = OTHER.to_owned();
        Self { scope, class, protocol, service, tls_version: None, credentials, weak, excluded }
    }
}

/// The table of design section 3: what counts in a metric, by confidence and outcome.
fn class(record: &Record) -> Class {
    let attempt = record.outcome == "attempt";
    let refused = record.outcome == "refused";
    match record.encryption {
        "unknown" if record.unknown_reason == Some("no_payload") => Class::Uncounted,
        "unknown" => Class::Unknown,
        _ if attempt => Class::Uncounted,
        "plaintext" | "partial" if refused => match record.confidence {
            Some("both_sides" | "one_side") => Class::PlaintextRefused,
            _ => Class::Uncounted,
        },
        "plaintext" if is_canary(record) => Class::Uncounted,
        "plaintext" | "partial" => Class::Plaintext,
        _ if refused => Class::Uncounted,
        "tls" | "dtls" | "quic" => Class::Tls,
        _ => Class::EncryptedNonTls,
    }
}

/// Else the alarm on plaintext would never rest. One that carries credentials is none.
fn is_canary(record: &Record) -> bool {
    record.credentials.is_empty() && record.evidence.iter().any(|one| one.rule == CANARY_RULE)
}

/// End of the server certificate's validity, in seconds since the epoch: the last second of its last day.
pub fn certificate_not_after_s(record: &Record) -> Option<u64> {
    let day: Date = record.tls.as_ref()?.certificates.cert_not_after.as_deref()?.parse().ok()?;
    Some(day.end().seconds())
}

/// What was counted under one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Distinct flows that moved data.
    pub flows: u64,
    /// Those counted for the first time.
    pub new_flows: u64,
    /// IP bytes.
    pub bytes: u64,
    /// When the first certificate expires, in seconds since the epoch.
    pub certificate_not_after_s: Option<u64>,
}

impl Counts {
    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.flows = self.flows.saturating_add(other.flows);
        self.new_flows = self.new_flows.saturating_add(other.new_flows);
        self.bytes = self.bytes.saturating_add(other.bytes);
        let both = [self.certificate_not_after_s, other.certificate_not_after_s];
        self.certificate_not_after_s = both.into_iter().flatten().min();
    }
}

/// What was counted in one period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Start of the period.
    pub start: Timestamp,
    /// By key.
    pub cells: BTreeMap<ActivityKey, Counts>,
    /// Flows counted under `other` because there were too many keys.
    pub folded: u64,
}

impl Activity {
    /// Adds what another shard counted in the same period.
    pub fn merge(&mut self, other: Self) {
        for (key, counts) in other.cells {
            self.cells.entry(key).or_default().add(counts);
        }
        self.folded = self.folded.saturating_add(other.folded);
    }
}

/// A key as a meter numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(u16);

/// Counts for one shard, period by period, by the shard's time.
#[derive(Debug)]
pub struct Meter {
    period_ns: u64,
    start: Option<Timestamp>,
    index: BTreeMap<ActivityKey, KeyId>,
    keys: Vec<ActivityKey>,
    counts: Vec<Counts>,
    folded: u64,
    closed: Vec<Activity>,
    /// Closed periods that the control plane did not fetch in time.
    pub periods_dropped: u64,
}

impl Meter {
    /// A meter with nothing counted.
    pub const fn new(period_ns: u64) -> Self {
        Self {
            period_ns: if period_ns == 0 { 1 } else { period_ns },
            start: None,
            index: BTreeMap::new(),
            keys: Vec::new(),
            counts: Vec::new(),
            folded: 0,
            closed: Vec::new(),
            periods_dropped: 0,
        }
    }

    /// Start of the period being counted.
    pub fn start(&self) -> Timestamp {
        self.start.unwrap_or_default()
    }

    /// Whether `now` lies in another period than what is being counted.
    pub fn turns(&self, now: Timestamp) -> bool {
        self.start.is_some_and(|start| start != self.period(now))
    }

    /// Begins the period of `now`; the one before is closed.
    pub fn turn(&mut self, now: Timestamp) {
        let next = self.period(now);
        if self.start.is_some_and(|start| start != next) {
            self.close();
        }
        self.start = Some(next);
    }

    /// Closes the period being counted: it may be fetched.
    pub fn close(&mut self) {
        let Some(start) = self.start.take() else { return };
        let counts = self.counts.iter_mut().map(std::mem::take);
        let cells = self.keys.iter().cloned().zip(counts);
        let cells = cells.filter(|(_, counts)| *counts != Counts::default()).collect();
        self.closed.push(Activity { start, cells, folded: std::mem::take(&mut self.folded) });
        if self.closed.len() > CLOSED_PERIODS_MAX {
            self.closed.remove(0);
            self.periods_dropped += 1;
        }
    }

    /// The periods that are closed, oldest first.
    pub fn take(&mut self) -> Vec<Activity> {
        std::mem::take(&mut self.closed)
    }

    /// The number of `key`, for as long as this meter lives.
    pub fn key(&mut self, key: ActivityKey) -> KeyId {
        if let Some(id) = self.index.get(&key) {
            return *id;
        }
        let full = self.keys.len() >= ACTIVITY_KEYS_MAX;
        if full && key.scope != OTHER {
            self.folded += 1;
            return self.key(key.folded());
        }
        let id = KeyId(u16::try_from(self.keys.len()).unwrap_or(u16::MAX));
        self.index.insert(key.clone(), id);
        self.keys.push(key);
        self.counts.push(Counts::default());
        id
    }

    /// What the number stands for.
    pub fn class(&self, id: KeyId) -> Class {
        self.keys.get(usize::from(id.0)).map_or(Class::Uncounted, |key| key.class)
    }

    /// Counts under a key.
    pub fn count(&mut self, id: KeyId, counts: Counts) {
        if let Some(cell) = self.counts.get_mut(usize::from(id.0)) {
            cell.add(counts);
        }
    }

    const fn period(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0 - now.0 % self.period_ns)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn key(scope: &str, class: Class, protocol: Option<&'static str>) -> ActivityKey {
        ActivityKey {
            scope: scope.to_owned(),
            class,
            protocol,
            service: protocol,
            tls_version: None,
            credentials: false,
            weak: false,
            excluded: false,
        }
    }

    const ONE: Counts = Counts { flows: 1, new_flows: 1, bytes: 10, certificate_not_after_s: None };

    #[test]
    fn each_period_holds_what_was_counted_in_it() {
        let mut meter = Meter::new(60);
        meter.turn(Timestamp(61));
        let id = meter.key(key("a", Class::Plaintext, Some("redis")));
        meter.count(id, ONE);
        assert!(!meter.turns(Timestamp(119)) && meter.turns(Timestamp(120)));
        meter.turn(Timestamp(120));
        meter.count(id, ONE);
        meter.count(id, ONE);
        meter.turn(Timestamp(600));
        meter.close();
        let flows: Vec<(u64, u64)> = meter
            .take()
            .iter()
            .map(|a| (a.start.0, a.cells.values().map(|c| c.flows).sum()))
            .collect();
        assert_eq!(flows, [(60, 1), (120, 2), (600, 0)]);
        assert!(meter.take().is_empty());
    }

    #[test]
    fn beyond_the_bound_flows_are_counted_under_other_and_none_is_lost() {
        let mut meter = Meter::new(1);
        meter.turn(Timestamp(0));
        let many = 3 * ACTIVITY_KEYS_MAX;
        for scope in 0..many {
            let id = meter.key(key(&format!("vpc-{scope}"), Class::Plaintext, Some("redis")));
            meter.count(id, ONE);
        }
        meter.close();
        let activity = meter.take().remove(0);
        assert!(activity.cells.len() <= ACTIVITY_KEYS_MAX + 1);
        assert_eq!(activity.cells.values().map(|c| c.flows).sum::<u64>(), many as u64);
        assert_eq!(activity.folded, (many - ACTIVITY_KEYS_MAX) as u64);
    }

    #[test]
    fn periods_nobody_fetches_are_bounded_and_counted() {
        let mut meter = Meter::new(1);
        for second in 0..2000 {
            meter.turn(Timestamp(second));
        }
        assert_eq!(meter.take().len(), CLOSED_PERIODS_MAX);
        assert_eq!(meter.periods_dropped, 1999 - CLOSED_PERIODS_MAX as u64);
    }
}
