//! Which lane an event takes in one channel, and what of it is due.

use std::collections::{BTreeMap, VecDeque};

use super::{Alert, AlertsConfig, Brief, ChannelConfig, MESSAGE_ALERTS_MAX, Mutes};
use crate::{
    findings::{Event, EventKind},
    model::{Timestamp, time::NS_PER_S},
    policy::Action,
};

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Told at once, or at the end of its grouping window.
    Message,
    /// Told in the next digest.
    Digest,
    /// Not told here.
    None(Silence),
}

/// Why an event is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Silence {
    /// The policy asks for a report only, or the event is none to tell.
    NotAsked,
    /// Lighter than the channel's threshold.
    BelowThreshold,
    /// A mute holds it back.
    Muted,
}

/// A group whose window is over: one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The first alert, in full.
    pub first: Alert,
    /// All of them, the first one too.
    pub briefs: Vec<Brief>,
}

/// Plans one channel. Bounded: at most `alerts_pending_max` alerts wait in groups.
#[derive(Clone, Debug)]
pub struct Planner {
    channel: ChannelConfig,
    mutes: Mutes,
    pending_max: usize,
    baseline_until: Timestamp,
    groups: BTreeMap<GroupKey, Group>,
    pending: usize,
    sent: VecDeque<Timestamp>,
}

/// Alerts that become one message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    scope: String,
    rule: String,
    server: String,
    port: u16,
    resolved: bool,
}

#[derive(Clone, Debug)]
struct Group {
    due: Timestamp,
    first: Alert,
    briefs: Vec<Brief>,
    /// The batch its first alert came in.
    batch: u64,
}

impl Planner {
    /// For a channel; `begun` is when the sensor was first started, for the baseline.
    pub fn new(
        config: &AlertsConfig,
        channel: &ChannelConfig,
        mutes: Mutes,
        begun: Timestamp,
    ) -> Self {
        let baseline = u64::from(config.baseline_h) * 3600 * NS_PER_S;
        Self {
            channel: channel.clone(),
            mutes,
            pending_max: usize::try_from(config.alerts_pending_max).unwrap_or(usize::MAX),
            baseline_until: Timestamp(begun.0.saturating_add(baseline)),
            groups: BTreeMap::new(),
            pending: 0,
            sent: VecDeque::new(),
        }
    }

    /// Where an event goes.
    pub fn lane(&self, event: &Event, now: Timestamp) -> Lane {
        let finding = &event.finding;
        let told = match event.kind {
            EventKind::Opened
            | EventKind::Regressed
            | EventKind::Worsened
            | EventKind::ExceptionExpired => true,
            EventKind::Resolved => self.channel.resolved || self.channel.keeps_state(),
            EventKind::Excepted => self.channel.keeps_state(),
        };
        if !told || finding.action != Action::Alert {
            return Lane::None(Silence::NotAsked);
        }
        if finding.severity < self.channel.threshold {
            return Lane::None(Silence::BelowThreshold);
        }
        let ends = matches!(event.kind, EventKind::Resolved | EventKind::Excepted);
        // What was told before a mute must end there as well.
        if self.mutes.hold(finding, now) && !(ends && self.channel.keeps_state()) {
            return Lane::None(Silence::Muted);
        }
        if self.channel.keeps_state() {
            return Lane::Message;
        }
        let baseline = event.kind == EventKind::Opened && now < self.baseline_until;
        if baseline || self.channel.is_digested(finding.severity) {
            return Lane::Digest;
        }
        Lane::Message
    }

    /// Whether `count` more alerts may wait for the end of their window.
    pub const fn has_room(&self, count: usize) -> bool {
        self.pending + count <= self.pending_max
    }

    /// Whether alerts wait for others like them.
    pub fn groups(&self) -> bool {
        self.channel.group_ns() > 0
    }

    /// Takes an alert into its group. Full groups close at once, so that a message stays readable.
    pub fn group(&mut self, alert: Alert, batch: u64, now: Timestamp) -> Option<Closed> {
        let key = GroupKey {
            scope: alert.scope.clone(),
            rule: alert.rule.clone(),
            server: alert.server.clone(),
            port: alert.port,
            resolved: alert.event == EventKind::Resolved,
        };
        let brief = alert.brief();
        let due = Timestamp(now.0.saturating_add(self.channel.group_ns()));
        let new = || Group { due, first: alert, briefs: Vec::new(), batch };
        let group = self.groups.entry(key.clone()).or_insert_with(new);
        group.briefs.push(brief);
        self.pending += 1;
        if group.briefs.len() < MESSAGE_ALERTS_MAX {
            return None;
        }
        self.groups.remove(&key).map(|group| self.close(group))
    }

    /// Groups whose window is over at `now`, oldest first.
    pub fn due(&mut self, now: Timestamp) -> Vec<Closed> {
        // A clock turned back by more than a window must not hold a group for long.
        let window = self.channel.group_ns();
        self.close_those(|group| group.due <= now || group.due.since(now) > window)
    }

    /// Every group, before its time.
    pub fn close_all(&mut self) -> Vec<Closed> {
        self.close_those(|_| true)
    }

    /// Whether one more message may go out at `now`; if so it counts.
    pub fn may_send(&mut self, now: Timestamp) -> bool {
        let Some(limit) = self.channel.limit() else { return true };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        while self.sent.front().is_some_and(|at| now.since(*at) >= HOUR_NS || *at > now) {
            self.sent.pop_front();
        }
        if self.sent.len() >= limit {
            return false;
        }
        self.sent.push_back(now);
        true
    }

    /// When the digest is due whose oldest line came at `oldest`. What is there only because a limit was reached comes with
    /// the next full hour.
    pub fn digest_due(&self, oldest: Timestamp, overflow: bool) -> Timestamp {
        let hourly = super::DigestPeriod::Hourly.seconds();
        let period = if overflow { hourly } else { self.channel.digest.seconds() } * NS_PER_S;
        let end = (oldest.0 / period).saturating_add(1).saturating_mul(period);
        if oldest < self.baseline_until && !overflow {
            // The first day becomes one digest.
            return self.baseline_until;
        }
        Timestamp(end)
    }

    /// The oldest batch of which an alert waits in a group. Batches are numbered upwards.
    pub fn oldest_batch(&self) -> Option<u64> {
        self.groups.values().map(|group| group.batch).min()
    }

    /// Mutes from now on.
    pub fn mute(&mut self, mutes: Mutes) {
        self.mutes = mutes;
    }

    /// Alerts that wait for the end of a window.
    pub const fn pending(&self) -> usize {
        self.pending
    }

    fn close_those(&mut self, is_due: impl Fn(&Group) -> bool) -> Vec<Closed> {
        let due: Vec<GroupKey> =
            self.groups.iter().filter(|(_, g)| is_due(g)).map(|(key, _)| key.clone()).collect();
        let mut groups: Vec<Group> = due.iter().filter_map(|key| self.groups.remove(key)).collect();
        groups.sort_by_key(|group| group.due);
        groups.into_iter().map(|group| self.close(group)).collect()
    }

    fn close(&mut self, group: Group) -> Closed {
        self.pending = self.pending.saturating_sub(group.briefs.len());
        Closed { first: group.first, briefs: group.briefs }
    }
}

const HOUR_NS: u64 = 3600 * NS_PER_S;
