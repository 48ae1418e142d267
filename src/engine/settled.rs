//! What the engine keeps with a flow, and what stays of one that has told all it could: flows of which the same is known share it.

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _},
    sync::Arc,
};

use hashbrown::HashTable;

use super::{Summary, TraceStep, measure::Measured, publish::Published, session::Session};
use crate::{flow::Flow, model::Outcome};

/// What the engine keeps with a flow: part of the 160 bytes that a settled flow takes.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) work: Work,
    /// What live records and metrics have told.
    pub(super) told: Option<Box<Told>>,
}

/// Key, counters, timer and verdict of a settled flow over IPv4. Beyond stand, each where there is any: evidence and layers (shared by
/// flows of which the same is known), TLS facts with names and certificates, further vantages, holes.
const SETTLED_BYTES_MAX: usize = 160;
const _: () = assert!(size_of::<Option<Flow<Data>>>() <= SETTLED_BYTES_MAX, "flows are many");

#[derive(Debug, Default)]
pub(super) enum Work {
    /// No payload yet.
    #[default]
    Silent,
    Watched(Box<Session>),
    Settled {
        /// Live: no record says so yet.
        unwritten: bool,
        what: Arc<Settled>,
    },
}

/// What was told of a flow while it went on.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Live: what the last record said.
    pub(super) published: Option<Published>,
    /// What metrics have counted.
    pub(super) measured: Measured,
}

/// What is known of a flow that has told all it could.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) summary: Summary,
    pub(super) steps: Vec<TraceStep>,
    /// The outcome as soon as it was known for good: later loss takes nothing back.
    pub(super) outcome: Option<Outcome>,
    /// Memory of what is known, as accounted; zero before.
    pub(super) bytes: usize,
}

impl Data {
    /// The outcome, where it is known for good.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match &self.work {
            Work::Silent => None,
            Work::Watched(session) => session.outcome,
            Work::Settled { what, .. } => what.outcome,
        }
    }

    /// Memory of the session as last accounted.
    pub(super) fn session_bytes(&self) -> usize {
        match &self.work {
            Work::Watched(session) => session.accounted,
            _ => 0,
        }
    }

    /// Whether the flow has settled but no live record says so yet.
    pub(super) const fn is_unwritten(&self) -> bool {
        matches!(self.work, Work::Settled { unwritten: true, .. })
    }

    /// A live record says that it has settled; whether none did before.
    pub(super) const fn write(&mut self) -> bool {
        match &mut self.work {
            Work::Settled { unwritten, .. } => std::mem::replace(unwritten, false),
            _ => false,
        }
    }

    pub(super) fn told(&mut self) -> &mut Told {
        self.told.get_or_insert_default()
    }
}

impl Work {
    /// The flow has just settled.
    pub(super) fn settled(
        summary: Summary,
        steps: Vec<TraceStep>,
        outcome: Option<Outcome>,
    ) -> Self {
        let settled = Settled { summary, steps, outcome, bytes: 0 };
        Self::Settled { unwritten: true, what: Arc::new(settled) }
    }
}

impl Settled {
    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() - size_of::<Summary>() + self.summary.memory()
    }
}

/// Kinds of settled flows that are known at once: some 2 MiB.
const ALIKE_MAX: usize = 4096;

/// Settled flows of which nothing is known that only one can have (a server's name, a certificate).
#[derive(Debug, Default)]
pub(super) struct Alike {
    known: HashTable<Arc<Settled>>,
    hasher: foldhash::fast::RandomState,
}

impl Alike {
    /// Lets a flow share what is known of it; false if that is its own.
    pub(super) fn share(&mut self, settled: &mut Arc<Settled>) -> bool {
        if !settled.steps.is_empty() || settled.summary.is_of_its_own() {
            return false;
        }
        let hash = self.hash(settled);
        if let Some(known) = self.known.find(hash, |known| known == settled) {
            *settled = Arc::clone(known);
            return true;
        }
        if self.known.len() >= ALIKE_MAX {
            self.known.clear();
        }
        let Self { known, hasher } = self;
        known.insert_unique(hash, Arc::clone(settled), |other| hash_of(hasher, other));
        true
    }

    fn hash(&self, settled: &Settled) -> u64 {
        hash_of(&self.hasher, settled)
    }
}

fn hash_of(hasher: &foldhash::fast::RandomState, settled: &Settled) -> u64 {
    let mut state = hasher.build_hasher();
    settled.outcome.hash(&mut state);
    settled.summary.hash_proof(&mut state);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(outcome: Option<Outcome>) -> Arc<Settled> {
        Arc::new(Settled { summary: Summary::default(), steps: Vec::new(), outcome, bytes: 0 })
    }

    #[test]
    fn flows_of_which_the_same_is_known_share_it() {
        let mut alike = Alike::default();
        let (mut one, mut two) = (of(None), of(None));
        let mut other = of(Some(Outcome::Refused));
        for settled in [&mut one, &mut two, &mut other] {
            assert!(alike.share(settled));
        }
        assert!(Arc::ptr_eq(&one, &two) && !Arc::ptr_eq(&one, &other));
        assert_eq!(other.outcome, Some(Outcome::Refused));
    }
}
