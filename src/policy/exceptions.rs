//! What is accepted for a time, by whom and why.

use std::sync::Arc;

use serde::Serialize;

use super::{Subject, When};
use crate::model::{Date, Timestamp};

/// An exception, ready to match.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Stable id.
    pub id: Arc<str>,
    /// Rules it excepts from; empty: all.
    pub rules: Vec<Arc<str>>,
    /// Who answers for it.
    pub owner: Arc<str>,
    /// Why it is accepted.
    pub reason: Arc<str>,
    /// Where it is tracked.
    pub ticket: Arc<str>,
    /// Last day it holds, in UTC.
    pub expires: Date,
    pub(super) when: When,
}

impl Exception {
    /// Whether it speaks of what `rule` raises on this flow, valid or not.
    pub fn matches(&self, rule: &str, subject: &Subject<'_>, now: Timestamp) -> bool {
        let rule = self.rules.is_empty() || self.rules.iter().any(|id| &**id == rule);
        rule && self.when.holds(subject, now)
    }

    /// Whether its last day is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        Date::of(now) > self.expires
    }

    /// What is said of it with a raise.
    pub fn applied(&self, now: Timestamp) -> Applied {
        Applied {
            id: Arc::clone(&self.id),
            owner: Arc::clone(&self.owner),
            reason: Arc::clone(&self.reason),
            ticket: Arc::clone(&self.ticket),
            expires: self.expires.to_string(),
            expired: self.is_expired(now),
        }
    }
}

/// The exception that bears on a raise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Its id.
    pub id: Arc<str>,
    /// Who answers for it.
    pub owner: Arc<str>,
    /// Why it is accepted.
    pub reason: Arc<str>,
    /// Where it is tracked.
    pub ticket: Arc<str>,
    /// Last day it holds, `YYYY-MM-DD`.
    pub expires: String,
    /// Whether that day is over.
    pub expired: bool,
}
