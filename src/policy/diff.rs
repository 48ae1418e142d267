//! What a change of policy adds and removes, on the same flows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Decision,
    spec::{Action, Severity},
};
use crate::model::{Edge, FindingId, Identity, Timestamp};

use super::{Policy, Subject};

/// What one policy says of an edge: the gravest of its flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Said {
    /// What follows.
    pub action: Action,
    /// How much it matters.
    pub severity: Severity,
    /// An exception bears on it.
    pub excepted: bool,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The finding.
    pub id: FindingId,
    /// Its edge.
    pub edge: Edge,
    /// What the old policy says; absent: nothing.
    pub old: Option<Said>,
    /// What the new one says.
    pub new: Option<Said>,
    /// Flows of the edge.
    pub flows: u64,
}

/// Gathers both policies' findings over the same flows.
#[derive(Debug, Default)]
pub struct Changes {
    edges: BTreeMap<Edge, (FindingId, Option<Said>, Option<Said>, u64)>,
    /// Flows looked at.
    pub flows: u64,
}

impl Changes {
    /// Looks at one flow.
    pub fn add(
        &mut self,
        (old, new): (&Policy, &Policy),
        subject: &Subject<'_>,
        identity: &dyn Identity,
        now: Timestamp,
    ) {
        self.flows += 1;
        let both = [old.judge(subject, now), new.judge(subject, now)];
        let mut counted: Vec<Edge> = Vec::new();
        for (which, decision) in both.iter().enumerate() {
            for (id, edge, said) in said(decision, subject, identity) {
                let entry = self.edges.entry(edge.clone()).or_insert((id, None, None, 0));
                let slot = if which == 0 { &mut entry.1 } else { &mut entry.2 };
                *slot = (*slot).max(Some(said));
                if !counted.contains(&edge) {
                    entry.3 += 1;
                    counted.push(edge);
                }
            }
        }
    }

    /// The edges on which the two differ, in order.
    pub fn list(&self) -> Vec<Change> {
        let differ = self.edges.iter().filter(|(_, (_, old, new, _))| old != new);
        differ
            .map(|(edge, (id, old, new, flows))| Change {
                id: *id,
                edge: edge.clone(),
                old: *old,
                new: *new,
                flows: *flows,
            })
            .collect()
    }

    /// Edges on which the two agree.
    pub fn unchanged(&self) -> usize {
        self.edges.values().filter(|(_, old, new, _)| old == new).count()
    }
}

fn said(
    decision: &Decision,
    subject: &Subject<'_>,
    identity: &dyn Identity,
) -> Vec<(FindingId, Edge, Said)> {
    let one = |raise: &super::Raise| {
        let (id, edge) = subject.edge(raise, identity);
        let excepted = raise.exception.as_ref().is_some_and(|e| !e.expired);
        (id, edge, Said { action: raise.action, severity: raise.severity, excepted })
    };
    decision.raises.iter().map(one).collect()
}

/// What a change of policy adds and removes on these flows.
pub fn diff<'a>(
    old: &Policy,
    new: &Policy,
    subjects: impl Iterator<Item = Subject<'a>>,
    identity: &dyn Identity,
) -> Vec<Change> {
    let mut changes = Changes::default();
    for subject in subjects {
        let now = subject.ts_last;
        changes.add((old, new), &subject, identity, now);
    }
    changes.list()
}
