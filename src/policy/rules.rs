//! A compiled rule.

use std::sync::Arc;

use super::{
    Control, Subject, When,
    spec::{Action, Per, Severity, Topic},
};
use crate::model::Timestamp;

/// A rule, ready to match.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Stable id.
    pub id: Arc<str>,
    /// What it is about; `None`: every topic.
    pub topic: Option<Topic>,
    /// How much it matters.
    pub severity: Severity,
    /// What it asks for.
    pub action: Action,
    /// Why it matters.
    pub why: Arc<str>,
    /// Remedy it names.
    pub remedy: Option<Arc<str>>,
    /// Controls it bears on.
    pub controls: Arc<[Control]>,
    /// What one finding is about.
    pub per: Per,
    /// Whether it comes with cleartap.
    pub built_in: bool,
    pub(super) when: When,
    pub(super) unless: Option<When>,
}

impl Rule {
    /// Whether it speaks of this flow.
    pub fn matches(&self, subject: &Subject<'_>, now: Timestamp) -> bool {
        self.when.holds(subject, now)
            && !self.unless.as_ref().is_some_and(|unless| unless.holds(subject, now))
    }

    /// Whether it speaks for a topic.
    pub fn covers(&self, topic: Topic) -> bool {
        self.topic.is_none_or(|own| own == topic)
    }
}
