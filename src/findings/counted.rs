//! Which flows a finding has counted, so that each counts once however many records it gives.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use crate::model::record::Record;

/// Flows remembered as counted; of further ones the half not heard of longest is forgotten, and would count again.
pub(super) const FLOWS_COUNTED_MAX: usize = 1 << 20;

/// What was counted of flows that go on.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Bytes counted by flow and rule, of those heard of lately.
    young: HashMap<u64, u64>,
    /// Of those heard of before.
    old: HashMap<u64, u64>,
    /// Flows forgotten while they may go on.
    pub(super) forgotten: u64,
}

impl Counted {
    /// What this record adds for one rule: flows (0 or 1) and bytes.
    pub(super) fn add(&mut self, record: &Record, rule: &str, protocol: &str) -> (u64, u64) {
        let key = key(record, rule, protocol);
        let bytes = record.bytes_c2s.saturating_add(record.bytes_s2c);
        let before = self.young.remove(&key).or_else(|| self.old.remove(&key));
        // A flow that is over says nothing more.
        if !matches!(record.event, None | Some("end")) {
            if self.young.len() >= FLOWS_COUNTED_MAX / 2 {
                let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
                self.forgotten =
                    self.forgotten.saturating_add(u64::try_from(old.len()).unwrap_or(u64::MAX));
            }
            self.young.insert(key, before.unwrap_or(0).max(bytes));
        }
        match before {
            None => (1, bytes),
            Some(before) => (0, bytes.saturating_sub(before)),
        }
    }
}

/// Names a flow under a rule. The keys of the hash are fixed: who forces a collision hides a flow from a count, no finding.
fn key(record: &Record, rule: &str, protocol: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    (&record.scope, &record.community_id, record.ts_first, rule, protocol).hash(&mut hash);
    hash.finish()
}
