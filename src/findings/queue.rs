//! When a finding's next change is due, which finding goes when there is no room, and the clock both are measured by.

use std::collections::BTreeSet;

use super::{Finding, FindingState, Kept};
use crate::{
    model::{Date, FindingId, Timestamp, time::NS_PER_S},
    policy::Severity,
};

/// How long, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Without a flow this long a finding is `quiet`, in nanoseconds.
    pub quiet_ns: u64,
    /// Without a flow this long it is `resolved`, in nanoseconds.
    pub resolve_ns: u64,
    /// Most findings kept.
    pub findings_max: usize,
}

impl Default for Terms {
    fn default() -> Self {
        let seconds = |s: u64| s * NS_PER_S;
        Self { quiet_ns: seconds(3600), resolve_ns: seconds(8 * 86_400), findings_max: 100_000 }
    }
}

/// An exception for one finding, written into the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookException {
    /// Which.
    pub finding: FindingId,
    /// Who answers for it.
    pub owner: String,
    /// Why it is accepted.
    pub reason: String,
    /// Where it is tracked.
    pub ticket: String,
    /// Last day it holds, in UTC.
    pub until: Date,
}

impl BookException {
    /// Its id in findings: one finding has one.
    pub fn id(&self) -> String {
        format!("book-{}", self.finding)
    }
}

/// Time, and how much of it the sensor saw: nobody may conclude anything from flows that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The latest time known.
    pub now: Timestamp,
    /// Of the time before that: what was not watched, in nanoseconds.
    pub blind_ns: u64,
}

impl Clock {
    /// Watched time at `time`.
    pub(super) const fn watched(self, time: Timestamp) -> u64 {
        time.0.saturating_sub(self.blind_ns)
    }

    /// The time at which watched time reaches `watched`.
    pub(super) const fn time(self, watched: u64) -> Timestamp {
        Timestamp(watched.saturating_add(self.blind_ns))
    }
}

/// A finding with what its queue entries are.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) finding: Finding,
    /// Watched time of its last flow.
    pub(super) idle_from: u64,
    /// Its place among the timers; never later than the change that is due.
    timer: Option<u64>,
    /// Its place among those that may go; never behind its true one.
    rank: Option<Rank>,
}

/// Who goes first: what is resolved, then the lower severity, then the longest quiet.
type Rank = (bool, Severity, u64);

impl Entry {
    pub(super) const fn new(finding: Finding, idle_from: u64) -> Self {
        Self { finding, idle_from, timer: None, rank: None }
    }

    /// Watched time of its next change, if nothing is seen until then.
    pub(super) const fn due(&self, terms: &Terms) -> Option<u64> {
        let after = match self.finding.state {
            FindingState::New | FindingState::Open | FindingState::Regressed => terms.quiet_ns,
            FindingState::Quiet | FindingState::Excepted => terms.resolve_ns,
            FindingState::Resolved => return None,
        };
        Some(self.idle_from.saturating_add(after))
    }

    /// As the book keeps it.
    pub(super) fn kept(&self) -> Kept {
        Kept { finding: self.finding.clone(), idle_from: self.idle_from }
    }

    /// Its place among those that may go. What is open and grave stays.
    fn rank(&self) -> Option<Rank> {
        let Finding { state, severity, .. } = self.finding;
        let stays = state.is_open() && severity >= Severity::High;
        (!stays).then_some((state != FindingState::Resolved, severity, self.idle_from))
    }
}

/// The two orders. A finding that is seen again moves back in both, which is noticed when its turn comes.
#[derive(Debug, Default)]
pub(super) struct Queues {
    timers: BTreeSet<(u64, FindingId)>,
    ranks: BTreeSet<(Rank, FindingId)>,
}

impl Queues {
    /// Puts a finding where it belongs: after every change of its state.
    pub(super) fn place(&mut self, entry: &mut Entry, terms: &Terms) {
        self.take_out(entry);
        let id = entry.finding.id;
        entry.timer = entry.due(terms);
        entry.rank = entry.rank();
        self.timers.extend(entry.timer.map(|due| (due, id)));
        self.ranks.extend(entry.rank.map(|rank| (rank, id)));
    }

    pub(super) fn take_out(&mut self, entry: &mut Entry) {
        let id = entry.finding.id;
        if let Some(due) = entry.timer.take() {
            self.timers.remove(&(due, id));
        }
        if let Some(rank) = entry.rank.take() {
            self.ranks.remove(&(rank, id));
        }
    }

    /// The finding whose turn may have come at `watched`.
    pub(super) fn due(&self, watched: u64) -> Option<FindingId> {
        self.timers.first().filter(|(due, _)| *due <= watched).map(|(_, id)| *id)
    }

    /// The finding that may be the first to go.
    pub(super) fn first_to_go(&self) -> Option<FindingId> {
        self.ranks.first().map(|(_, id)| *id)
    }

    /// Whether its place among those that may go is its true one.
    pub(super) fn is_ranked(entry: &Entry) -> bool {
        entry.rank.is_some() && entry.rank == entry.rank()
    }
}
