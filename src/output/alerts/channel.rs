//! What waits in one channel, on disk: messages to deliver, alerts whose grouping window is open, lines of the next digest.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tracing::error;

use crate::{
    alerts::{
        Alert, AlertsConfig, Brief, ChannelConfig, Closed, Digest, KeyHash, Lane, Message, Mutes,
        Planner, Silence,
    },
    findings::Event,
    model::Timestamp,
    output::spool::{Entry, Position, Spool, SpoolError, SpoolOptions},
    policy::Remedies,
};

/// What became of alerts before they were messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LanesCounters {
    /// Events that were told here, in a message or a digest.
    pub accepted: u64,
    /// Events that a mute held back.
    pub muted: u64,
    /// Alerts that went to the digest because a limit was reached.
    pub over_limit: u64,
    /// Messages and digest lines that a full spool dropped, or a disk that failed.
    pub dropped: u64,
}

/// The lanes of a channel. Cheap to clone: what offers and what delivers share them.
#[derive(Clone, Debug)]
pub struct Lanes(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    name: String,
    planner: Planner,
    out: Spool,
    groups: Spool,
    digests: Spool,
    /// Where the alerts end that wait in groups, by batch.
    ends: BTreeMap<u64, Position>,
    next_batch: u64,
    /// When the oldest line of the digest came; and the oldest that is there because a limit was reached.
    oldest: Option<Timestamp>,
    oldest_over: Option<Timestamp>,
    counters: LanesCounters,
}

/// A line of the digest as it is spooled.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    brief: Brief,
    over_limit: bool,
}

impl Lanes {
    /// Opens what an earlier run left in `folder`.
    pub fn open(
        config: &AlertsConfig,
        channel: &ChannelConfig,
        mutes: Mutes,
        begun: Timestamp,
        now: Timestamp,
    ) -> Result<Self, SpoolError> {
        let folder = config.spool.join(&channel.name);
        let spool = |name: &str, share: u64| {
            let bytes_max = config.spool_bytes_max / share;
            Spool::open(SpoolOptions::new(folder.join(Path::new(name)), bytes_max))
        };
        let mut state = State {
            name: channel.name.clone(),
            planner: Planner::new(config, channel, mutes, begun),
            out: spool("messages", 4)?,
            groups: spool("groups", 4)?,
            digests: spool("digest", 2)?,
            ends: BTreeMap::new(),
            next_batch: 0,
            oldest: None,
            oldest_over: None,
            counters: LanesCounters::default(),
        };
        state.recover(now)?;
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// Takes events; once this returns, what of them is told here is on disk.
    pub fn offer(
        &self,
        events: &[Event],
        remedies: &Remedies,
        now: Timestamp,
    ) -> Result<(), SpoolError> {
        self.lock().offer(events, remedies, now)
    }

    /// Closes the groups and the digest that are due.
    pub fn turn(&self, now: Timestamp) -> Result<(), SpoolError> {
        self.lock().turn(now)
    }

    /// Closes the groups before their time.
    pub fn close_groups(&self, now: Timestamp) -> Result<(), SpoolError> {
        let mut state = self.lock();
        let closed = state.planner.close_all();
        state.finish(closed, now)
    }

    /// Mutes from now on.
    pub fn mute(&self, mutes: Mutes) {
        self.lock().planner.mute(mutes);
    }

    /// What became of alerts so far.
    pub fn counters(&self) -> LanesCounters {
        let state = self.lock();
        let spools = [&state.out, &state.digests].map(|spool| spool.counters.dropped);
        LanesCounters {
            dropped: state.counters.dropped + spools.iter().sum::<u64>(),
            ..state.counters
        }
    }

    /// Messages to deliver, alerts in groups, lines of the digest.
    pub fn waiting(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.out.len(), state.planner.pending(), state.digests.len())
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.lock().out.is_empty()
    }

    pub(super) fn peek(
        &self,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, SpoolError> {
        self.lock().out.peek(entries_max, bytes_max)
    }

    pub(super) fn delivered(&self, end: Position) -> Result<(), SpoolError> {
        self.lock().out.delivered(end)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn offer(
        &mut self,
        events: &[Event],
        remedies: &Remedies,
        now: Timestamp,
    ) -> Result<(), SpoolError> {
        let (mut messages, mut lines) = (Vec::new(), Vec::new());
        for event in events {
            match self.planner.lane(event, now) {
                Lane::None(Silence::Muted) => self.counters.muted += 1,
                Lane::None(_) => {}
                Lane::Digest => {
                    let brief = Alert::new(event, remedies).brief();
                    lines.push(Line { brief, over_limit: false });
                }
                Lane::Message => messages.push(Alert::new(event, remedies)),
            }
        }
        self.counters.accepted += (messages.len() + lines.len()) as u64;
        let grouped = self.planner.groups();
        let told = if grouped {
            self.group(messages, &mut lines, now)
        } else {
            self.tell(messages, &mut lines, now)
        };
        let digested = self.digest(&lines, now);
        told.and(digested)
    }

    /// Each alert its own message.
    fn tell(
        &mut self,
        alerts: Vec<Alert>,
        lines: &mut Vec<Line>,
        now: Timestamp,
    ) -> Result<(), SpoolError> {
        let mut messages = Vec::new();
        for alert in alerts {
            if self.planner.may_send(now) {
                messages.push(encode(&Message::alert(&self.name, alert, now))?);
            } else {
                lines.push(Line { brief: alert.brief(), over_limit: true });
            }
        }
        self.commit(&messages, now)
    }

    /// Alerts into their groups, on disk first; what has no room goes to the digest.
    fn group(
        &mut self,
        mut alerts: Vec<Alert>,
        lines: &mut Vec<Line>,
        now: Timestamp,
    ) -> Result<(), SpoolError> {
        while !self.planner.has_room(alerts.len()) {
            let Some(alert) = alerts.pop() else { break };
            lines.push(Line { brief: alert.brief(), over_limit: true });
        }
        let payloads = alerts.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let ends = match self.groups.append_all(now, &payloads) {
            Ok(ends) => ends,
            Err(error) => {
                // Told all the same, if there is no crash in the meantime.
                error!(channel = self.name, %error, "Alerts cannot be written to the spool.");
                vec![Position::default(); alerts.len()]
            }
        };
        for (alert, end) in alerts.into_iter().zip(ends) {
            self.join(alert, end, now)?;
        }
        Ok(())
    }

    fn join(&mut self, alert: Alert, end: Position, now: Timestamp) -> Result<(), SpoolError> {
        let batch = self.next_batch;
        self.next_batch += 1;
        self.ends.insert(batch, end);
        match self.planner.group(alert, batch, now) {
            Some(closed) => self.finish(vec![closed], now),
            None => Ok(()),
        }
    }

    fn turn(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        let closed = self.planner.due(now);
        self.finish(closed, now)?;
        if self.digest_is_due(now) {
            self.close_digest(now)?;
        }
        Ok(())
    }

    /// Groups become messages, or lines of the digest where the limit is reached.
    fn finish(&mut self, closed: Vec<Closed>, now: Timestamp) -> Result<(), SpoolError> {
        if closed.is_empty() {
            return Ok(());
        }
        let (mut messages, mut lines) = (Vec::new(), Vec::new());
        for group in closed {
            if self.planner.may_send(now) {
                messages.push(encode(&Message::group(&self.name, group, now))?);
            } else {
                lines
                    .extend(group.briefs.into_iter().map(|brief| Line { brief, over_limit: true }));
            }
        }
        self.commit(&messages, now)?;
        self.digest(&lines, now)?;
        // What waits in no group any more is done with.
        let oldest = self.planner.oldest_batch().unwrap_or(self.next_batch);
        let rest = self.ends.split_off(&oldest);
        let done = std::mem::replace(&mut self.ends, rest);
        match done.last_key_value() {
            Some((_, end)) => self.groups.delivered(*end),
            None => Ok(()),
        }
    }

    fn commit(&mut self, messages: &[Vec<u8>], now: Timestamp) -> Result<(), SpoolError> {
        if messages.is_empty() {
            return Ok(());
        }
        let written = self.out.append_all(now, messages);
        if written.is_err() {
            self.counters.dropped += messages.len() as u64;
        }
        written.map(|_| ())
    }

    fn digest(&mut self, lines: &[Line], now: Timestamp) -> Result<(), SpoolError> {
        if lines.is_empty() {
            return Ok(());
        }
        let over = lines.iter().filter(|line| line.over_limit).count();
        self.counters.over_limit += over as u64;
        let payloads = lines.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let written = self.digests.append_all(now, &payloads);
        if written.is_err() {
            self.counters.dropped += lines.len() as u64;
        }
        written?;
        self.oldest.get_or_insert(now);
        if over > 0 {
            self.oldest_over.get_or_insert(now);
        }
        Ok(())
    }

    fn digest_is_due(&mut self, now: Timestamp) -> bool {
        // A clock that was turned back must not hold a digest for ever.
        self.oldest = self.oldest.map(|oldest| oldest.min(now));
        self.oldest_over = self.oldest_over.map(|oldest| oldest.min(now));
        let due = |oldest: Option<Timestamp>, over| {
            oldest.is_some_and(|oldest| self.planner.digest_due(oldest, over) <= now)
        };
        due(self.oldest, false) || due(self.oldest_over, true)
    }

    fn close_digest(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        let entries = self.digests.peek(usize::MAX, usize::MAX)?;
        let mut digest = Digest::default();
        let mut key = KeyHash::new(&self.name);
        for entry in &entries {
            match serde_json::from_slice::<Line>(&entry.payload) {
                Ok(line) => {
                    key.add(line.brief.id, line.brief.event, &line.brief.at);
                    digest.add(&line.brief, line.over_limit);
                }
                Err(_) => self.counters.dropped += 1,
            }
        }
        digest.finish();
        if digest.alerts > 0 {
            let message = encode(&Message::digest(digest, key, now))?;
            self.commit(&[message], now)?;
        }
        (self.oldest, self.oldest_over) = (None, None);
        match entries.last() {
            Some(entry) => self.digests.delivered(entry.end),
            None => Ok(()),
        }
    }

    /// Finds again what an earlier run left.
    fn recover(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        for entry in self.digests.peek(usize::MAX, usize::MAX)? {
            self.oldest.get_or_insert(entry.time);
            let over = serde_json::from_slice::<Line>(&entry.payload).is_ok_and(|l| l.over_limit);
            if over {
                self.oldest_over.get_or_insert(entry.time);
            }
        }
        for entry in self.groups.peek(usize::MAX, usize::MAX)? {
            match serde_json::from_slice::<Alert>(&entry.payload) {
                Ok(alert) => self.join(alert, entry.end, now)?,
                Err(_) => self.counters.dropped += 1,
            }
        }
        Ok(())
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, SpoolError> {
    serde_json::to_vec(value).map_err(|error| SpoolError::Encode(error.into()))
}
