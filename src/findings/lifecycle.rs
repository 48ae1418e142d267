//! The life of findings: opened by the first alerting flow, refreshed, quiet, resolved, regressed, excepted.
//!
//! Nothing depends on when [`Findings::advance`] is called in between: what is due at a time happens at that time, and the
//! same records give the same findings and events however they are batched.
//!
//! A flow that says less than its finding (a refused attempt of a client that was in clear before) does not keep it open.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Event, EventKind, Finding, FindingState,
    counted::Counted,
    queue::{BookException, Clock, Entry, Queues, Terms},
    sighting::{Bearing, Sighting},
};
use crate::{
    model::{Addresses, Edge, FindingId, Identity, Timestamp, record::Record},
    policy::{Action, Decision, Severity, Subject},
};

/// Events that wait to be taken; of further ones the oldest go and are counted.
pub const EVENTS_PENDING_MAX: usize = 65_536;

/// Ids under which one finding may have been known before; further ones are not remembered.
const ALIASES_MAX: usize = 256;

/// Every finding, and what changed since it was last taken.
#[derive(Debug, Default)]
pub struct Findings {
    terms: Terms,
    clock: Clock,
    entries: BTreeMap<FindingId, Entry>,
    /// From an id under which a finding was known to its own.
    aliases: BTreeMap<FindingId, FindingId>,
    queues: Queues,
    exceptions: BTreeMap<FindingId, BookException>,
    counted: Counted,
    /// Open findings by severity.
    open: BTreeMap<Severity, u64>,
    dirty: BTreeSet<FindingId>,
    removed: BTreeSet<FindingId>,
    events: VecDeque<Event>,
    counters: FindingsCounters,
}

/// What happened to findings as a whole, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FindingsCounters {
    /// Opened, whether or not somebody is told.
    pub opened: u64,
    /// Came back.
    pub regressed: u64,
    /// Ended.
    pub resolved: u64,
    /// Became one with an older one when an inventory named their ends.
    pub merged: u64,
    /// Went because there were too many: resolved ones first, then the lowest severity, longest quiet.
    pub crowded_out: u64,
    /// Never kept, because all that are kept are open and grave.
    pub not_kept: u64,
    /// Ids not remembered as aliases.
    pub aliases_dropped: u64,
    /// Events that waited too long to be taken.
    pub events_dropped: u64,
    /// Flows forgotten as counted; each may count again.
    pub flows_forgotten: u64,
}

/// A finding as the book keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The finding.
    pub finding: Finding,
    /// Watched time of its last flow, in nanoseconds: see [`Clock`].
    pub idle_from: u64,
}

/// Everything that a book holds.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Time as it was.
    pub clock: Clock,
    /// The findings.
    pub kept: Vec<Kept>,
    /// Exceptions for single findings.
    pub exceptions: Vec<BookException>,
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Time now.
    pub clock: Clock,
    /// New or other than before.
    pub changed: Vec<Kept>,
    /// No more.
    pub removed: Vec<FindingId>,
    /// To be told, in order.
    pub events: Vec<Event>,
}

impl Changes {
    /// Whether there is nothing to keep.
    pub const fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty() && self.events.is_empty()
    }
}

impl Findings {
    /// An empty book.
    pub fn new(terms: Terms) -> Self {
        Self { terms, ..Self::default() }
    }

    /// What a book holds, at `now`: the time in between was not watched.
    pub fn restore(terms: Terms, snapshot: Snapshot, now: Timestamp) -> Self {
        let mut findings = Self { terms, clock: snapshot.clock, ..Self::default() };
        for Kept { finding, idle_from } in snapshot.kept {
            for alias in &finding.aliases {
                findings.aliases.insert(*alias, finding.id);
            }
            findings.insert(Entry::new(finding, idle_from));
        }
        findings.dirty.clear();
        findings.unwatched(now);
        findings.set_exceptions(snapshot.exceptions);
        findings
    }

    /// Other terms, from now on.
    pub fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
        for entry in self.entries.values_mut() {
            self.queues.place(entry, &terms);
        }
    }

    /// The exceptions that the book holds, from now on.
    pub fn set_exceptions(&mut self, exceptions: Vec<BookException>) {
        self.exceptions = exceptions.into_iter().map(|e| (e.finding, e)).collect();
        let held: Vec<(FindingId, Bearing)> = self
            .exceptions
            .values()
            .map(|e| (self.own_id(e.finding), Bearing::of_book(e, self.clock.now)))
            .filter(|(_, bearing)| bearing.holds)
            .collect();
        for (id, bearing) in held {
            self.change(id, |entry, now| {
                let finding = &mut entry.finding;
                if !finding.state.is_open() {
                    return None;
                }
                finding.state = FindingState::Excepted;
                finding.exception = Some(bearing.id);
                finding.exception_expires = Some(bearing.until);
                Some((EventKind::Excepted, now))
            });
        }
    }

    /// Time went on, and packets were seen.
    pub fn advance(&mut self, now: Timestamp) {
        if now <= self.clock.now {
            return;
        }
        self.clock.now = now;
        let watched = self.clock.watched(now);
        while let Some(id) = self.queues.due(watched) {
            let (clock, terms) = (self.clock, self.terms);
            let Some(entry) = self.entries.get_mut(&id) else { return };
            let Some(due) = entry.due(&terms).filter(|due| *due <= watched) else {
                // Seen again since.
                self.queues.place(entry, &terms);
                continue;
            };
            self.change(id, |entry, _| {
                let at = clock.time(due);
                let finding = &mut entry.finding;
                if matches!(
                    finding.state,
                    FindingState::New | FindingState::Open | FindingState::Regressed
                ) {
                    finding.state = FindingState::Quiet;
                    return None;
                }
                // One that an exception held back was not open: its end is no news.
                let told = finding.state == FindingState::Quiet;
                finding.state = FindingState::Resolved;
                finding.resolved_at = Some(at);
                told.then_some((EventKind::Resolved, at))
            });
        }
    }

    /// Time went on, and nothing was watched: no flow can have been missed for lack of looking.
    pub fn unwatched(&mut self, now: Timestamp) {
        let gap = now.since(self.clock.now);
        // The first time of an empty book is no gap.
        if self.clock.now != Timestamp(0) {
            self.clock.blind_ns = self.clock.blind_ns.saturating_add(gap);
        }
        self.clock.now = self.clock.now.max(now);
    }

    /// What a record says, by the policy's decision on it.
    pub fn observe(&mut self, record: &Record, decision: &Decision, identity: &dyn Identity) {
        self.advance(record.ts_last);
        let subject = Subject::from(record);
        for sighting in Sighting::all(record, decision) {
            let (id, edge) = self.identify(&subject, &sighting, identity);
            let sighting = sighting.with_book(self.exception(id), self.clock.now);
            if self.entries.contains_key(&id) {
                self.refresh(id, &edge, &sighting);
            } else {
                self.open(id, edge, &sighting);
            }
        }
    }

    /// The finding a sighting is about: by the name of its ends, or by the addresses under which it was known before.
    fn identify(
        &mut self,
        subject: &Subject<'_>,
        sighting: &Sighting<'_>,
        identity: &dyn Identity,
    ) -> (FindingId, Edge) {
        let (named, edge) = subject.edge(sighting.raise, identity);
        let (addressed, _) = subject.edge(sighting.raise, &Addresses);
        let (by_name, by_address) = (self.own_id(named), self.own_id(addressed));
        if by_name == by_address || !self.entries.contains_key(&by_address) {
            return (by_name, edge);
        }
        // An address may have had another owner when its finding was last seen.
        let before = self.entries.get(&by_address).map(|entry| entry.finding.last_seen);
        let then = Subject { ts_last: before.unwrap_or(subject.ts_last), ..subject.clone() };
        if then.edge(sighting.raise, identity).0 != named {
            return (by_name, edge);
        }
        if self.entries.contains_key(&by_name) {
            return (self.merge(by_name, by_address), edge);
        }
        self.change(by_address, |entry, _| {
            entry.finding.edge = edge.clone();
            None
        });
        self.alias(named, by_address);
        (by_address, edge)
    }

    /// What the book says of a finding, or said of one that became one with it.
    fn exception(&self, id: FindingId) -> Option<&BookException> {
        let known = self.entries.get(&id).map_or(&[][..], |entry| &entry.finding.aliases);
        std::iter::once(&id).chain(known).find_map(|id| self.exceptions.get(id))
    }

    fn own_id(&self, id: FindingId) -> FindingId {
        self.aliases.get(&id).copied().unwrap_or(id)
    }

    fn alias(&mut self, alias: FindingId, id: FindingId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.finding.aliases.len() >= ALIASES_MAX {
            self.counters.aliases_dropped += 1;
            return;
        }
        entry.finding.aliases.push(alias);
        self.aliases.insert(alias, id);
        self.dirty.insert(id);
    }

    /// Two findings turn out to be one: the older id stays. Who was told of the other is told that it is over, with the id
    /// that goes on as its alias.
    fn merge(&mut self, one: FindingId, other: FindingId) -> FindingId {
        let age = |id: &FindingId| self.entries.get(id).map(|e| (e.finding.first_seen, *id));
        let (kept, gone) = if age(&one) <= age(&other) { (one, other) } else { (other, one) };
        let Some(Entry { finding: mut lost, idle_from, .. }) = self.remove(gone) else {
            return kept;
        };
        self.counters.merged += 1;
        let (known, was_open) = (std::mem::take(&mut lost.aliases), lost.state.is_open());
        self.change(kept, |entry, _| {
            let finding = &mut entry.finding;
            finding.first_seen = finding.first_seen.min(lost.first_seen);
            finding.last_seen = finding.last_seen.max(lost.last_seen);
            finding.flows = finding.flows.saturating_add(lost.flows);
            finding.bytes = finding.bytes.saturating_add(lost.bytes);
            finding.severity = finding.severity.max(lost.severity);
            finding.action = finding.action.max(lost.action);
            entry.idle_from = entry.idle_from.max(idle_from);
            None
        });
        for alias in known.into_iter().chain([gone]) {
            self.alias(alias, kept);
        }
        if was_open && lost.action == Action::Alert {
            let at = self.clock.now;
            lost.state = FindingState::Resolved;
            lost.resolved_at = Some(at);
            lost.aliases = vec![kept];
            self.tell(EventKind::Resolved, at, lost);
        }
        kept
    }

    fn open(&mut self, id: FindingId, edge: Edge, sighting: &Sighting<'_>) {
        let mut finding = sighting.open(id, edge);
        (finding.flows, finding.bytes) = self.count(sighting);
        let watched = self.clock.watched(sighting.record.ts_last);
        while self.entries.len() >= self.terms.findings_max {
            if !self.make_room() {
                self.counters.not_kept += 1;
                return;
            }
        }
        self.counters.opened += 1;
        let (at, told) = (finding.opened_at, finding.state == FindingState::New);
        if told {
            self.tell(EventKind::Opened, at, finding.clone());
        }
        self.insert(Entry::new(finding, watched));
    }

    /// Lets one go; false if all that are left are open and grave.
    fn make_room(&mut self) -> bool {
        while let Some(id) = self.queues.first_to_go() {
            let Some(entry) = self.entries.get_mut(&id) else { return false };
            if Queues::is_ranked(entry) {
                self.remove(id);
                self.counters.crowded_out += 1;
                return true;
            }
            // Seen again since: it moves back, or leaves the order.
            self.queues.place(entry, &self.terms);
        }
        false
    }

    fn refresh(&mut self, id: FindingId, edge: &Edge, sighting: &Sighting<'_>) {
        let Some(entry) = self.entries.get(&id) else { return };
        let state = entry.finding.state;
        if state != FindingState::Resolved && sighting.action < entry.finding.action {
            return;
        }
        let (flows, bytes) = self.count(sighting);
        let watched = self.clock.watched(sighting.record.ts_last);
        self.change(id, |entry, _| {
            let told = turn(&mut entry.finding, sighting);
            let finding = &mut entry.finding;
            finding.edge = edge.clone();
            finding.flows = finding.flows.saturating_add(flows);
            finding.bytes = finding.bytes.saturating_add(bytes);
            sighting.describe(finding);
            entry.idle_from = entry.idle_from.max(watched);
            told.map(|kind| (kind, sighting.record.ts_last))
        });
    }

    fn count(&mut self, sighting: &Sighting<'_>) -> (u64, u64) {
        let record = sighting.record;
        let protocol = record.app.unwrap_or(record.encryption);
        self.counted.add(record, &sighting.raise.rule, protocol)
    }

    /// Somebody answers for these from now on: a new one is open.
    pub fn told(&mut self, ids: &[FindingId]) {
        for id in ids {
            self.change(self.own_id(*id), |entry, _| {
                if entry.finding.state == FindingState::New {
                    entry.finding.state = FindingState::Open;
                }
                None
            });
        }
    }

    /// Takes what changed since it was last taken.
    pub fn take(&mut self) -> Changes {
        let dirty = std::mem::take(&mut self.dirty);
        let kept = |id| self.entries.get(&id).map(Entry::kept);
        Changes {
            clock: self.clock,
            changed: dirty.into_iter().filter_map(kept).collect(),
            removed: std::mem::take(&mut self.removed).into_iter().collect(),
            events: std::mem::take(&mut self.events).into(),
        }
    }

    /// Takes back what could not be kept: it is among the next changes.
    pub fn take_back(&mut self, changes: Changes) {
        self.dirty.extend(changes.changed.iter().map(|kept| kept.finding.id));
        // One that has come again since is kept, not gone.
        self.removed.extend(changes.removed.iter().filter(|id| !self.entries.contains_key(id)));
        for event in changes.events.into_iter().rev() {
            if self.events.len() >= EVENTS_PENDING_MAX {
                self.counters.events_dropped += 1;
            } else {
                self.events.push_front(event);
            }
        }
    }

    /// Everything, as a book keeps it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            clock: self.clock,
            kept: self.entries.values().map(Entry::kept).collect(),
            exceptions: self.exceptions.values().cloned().collect(),
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Open ones by severity: the metric `OpenFindings`.
    pub fn open_by_severity(&self) -> BTreeMap<&'static str, u64> {
        self.open.iter().map(|(severity, count)| (severity.name(), *count)).collect()
    }

    /// What happened so far.
    pub fn counters(&self) -> FindingsCounters {
        FindingsCounters { flows_forgotten: self.counted.forgotten, ..self.counters }
    }

    /// Changes a finding, tells what `with` says is to be told, and puts it where it belongs.
    fn change(
        &mut self,
        id: FindingId,
        with: impl FnOnce(&mut Entry, Timestamp) -> Option<(EventKind, Timestamp)>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = (entry.finding.state, entry.finding.severity);
        let event = with(entry, self.clock.now);
        let after = (entry.finding.state, entry.finding.severity);
        // A place that is too early is noticed when its turn comes.
        if before != after {
            self.queues.place(entry, &self.terms);
        }
        count_open(&mut self.open, before, -1);
        count_open(&mut self.open, after, 1);
        let resolved = before.0 != after.0 && after.0 == FindingState::Resolved;
        self.counters.resolved += u64::from(resolved);
        self.counters.regressed += u64::from(matches!(event, Some((EventKind::Regressed, _))));
        self.dirty.insert(id);
        let told = event.filter(|_| entry.finding.action == Action::Alert);
        if let Some((kind, at)) = told {
            let finding = entry.finding.clone();
            self.tell(kind, at, finding);
        }
    }

    fn insert(&mut self, mut entry: Entry) {
        let id = entry.finding.id;
        self.queues.place(&mut entry, &self.terms);
        count_open(&mut self.open, (entry.finding.state, entry.finding.severity), 1);
        self.removed.remove(&id);
        self.dirty.insert(id);
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: FindingId) -> Option<Entry> {
        let mut entry = self.entries.remove(&id)?;
        self.queues.take_out(&mut entry);
        count_open(&mut self.open, (entry.finding.state, entry.finding.severity), -1);
        for alias in &entry.finding.aliases {
            self.aliases.remove(alias);
        }
        self.dirty.remove(&id);
        self.removed.insert(id);
        Some(entry)
    }

    fn tell(&mut self, kind: EventKind, at: Timestamp, finding: Finding) {
        if self.events.len() >= EVENTS_PENDING_MAX {
            self.events.pop_front();
            self.counters.events_dropped += 1;
        }
        self.events.push_back(Event { kind, at, finding });
    }
}

/// The next state of a finding that is seen again, and what is to be told of it.
fn turn(finding: &mut Finding, sighting: &Sighting<'_>) -> Option<EventKind> {
    use FindingState::{Excepted, Open, Quiet, Regressed, Resolved};
    let (state, alerts) = (finding.state, sighting.action == Action::Alert);
    let louder = sighting.action > finding.action;
    let worse = louder || sighting.worsens(finding);
    if state == Resolved {
        (finding.severity, finding.action) = (sighting.severity, sighting.action);
    } else {
        finding.severity = finding.severity.max(sighting.severity);
        finding.action = finding.action.max(sighting.action);
    }
    let at = sighting.record.ts_last;
    match (state, sighting.is_held()) {
        (Excepted, true) => None,
        (Resolved, true) => {
            finding.state = Excepted;
            None
        }
        (_, true) => {
            finding.state = Excepted;
            Some(EventKind::Excepted)
        }
        (Excepted, false) => {
            (finding.state, finding.opened_at) = (sighting.first_state(), at);
            Some(EventKind::ExceptionExpired)
        }
        (Resolved, false) if !alerts => {
            (finding.state, finding.opened_at) = (Open, at);
            None
        }
        (Resolved, false) => {
            (finding.state, finding.opened_at) = (Regressed, at);
            finding.regressions = finding.regressions.saturating_add(1);
            Some(EventKind::Regressed)
        }
        // It stood in the report only: now it alerts for the first time, or again.
        (_, false) if louder && alerts => {
            (finding.state, finding.opened_at) = (sighting.first_state(), at);
            if finding.resolved_at.is_none() {
                return Some(EventKind::Opened);
            }
            finding.state = Regressed;
            finding.regressions = finding.regressions.saturating_add(1);
            Some(EventKind::Regressed)
        }
        (_, false) => {
            if state == Quiet {
                finding.state = Open;
            }
            worse.then_some(EventKind::Worsened)
        }
    }
}

fn count_open(
    open: &mut BTreeMap<Severity, u64>,
    (state, severity): (FindingState, Severity),
    by: i64,
) {
    if state.is_open() {
        let count = open.entry(severity).or_default();
        *count = count.saturating_add_signed(by);
    }
}
