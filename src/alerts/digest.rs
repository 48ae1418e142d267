//! Many alerts in one message: what there is, and the worst of it by line.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Brief;
use crate::{findings::EventKind, policy::Severity};

/// A digest. Counts are of alerts; a finding that came and went is counted for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Alerts in all.
    pub alerts: u64,
    /// Alerts that are here because a limit was reached.
    pub over_limit: u64,
    /// By event.
    pub by_event: BTreeMap<EventKind, u64>,
    /// By severity.
    pub by_severity: BTreeMap<Severity, u64>,
    /// By policy rule.
    pub by_rule: BTreeMap<String, u64>,
    /// Alerts about credentials seen in clear.
    pub with_credentials: u64,
    /// First and last time.
    pub from: String,
    /// The last.
    pub to: String,
    /// The worst of them, at most 100.
    pub lines: Vec<Brief>,
    #[serde(skip)]
    worst: BTreeSet<Worst>,
}

/// Worst first: severity, then credentials, then the line itself.
type Worst = (std::cmp::Reverse<(Severity, bool)>, Brief);

/// Lines a digest holds.
pub(super) const DIGEST_LINES_MAX: usize = 100;

impl Digest {
    /// Adds a line; memory stays the same however many there are.
    pub fn add(&mut self, brief: &Brief, over_limit: bool) {
        self.alerts += 1;
        self.over_limit += u64::from(over_limit);
        *self.by_event.entry(brief.event).or_default() += 1;
        *self.by_severity.entry(brief.severity).or_default() += 1;
        *self.by_rule.entry(brief.rule.clone()).or_default() += 1;
        self.with_credentials += u64::from(brief.credentials);
        if self.from.is_empty() || brief.at < self.from {
            self.from.clone_from(&brief.at);
        }
        if brief.at > self.to {
            self.to.clone_from(&brief.at);
        }
        let key = std::cmp::Reverse((brief.severity, brief.credentials));
        self.worst.insert((key, brief.clone()));
        if self.worst.len() > DIGEST_LINES_MAX {
            self.worst.pop_last();
        }
    }

    /// The lines, worst first.
    pub fn finish(&mut self) {
        self.lines = std::mem::take(&mut self.worst).into_iter().map(|(_, brief)| brief).collect();
    }
}
