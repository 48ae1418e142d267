//! Joins what the shards counted in one period, and says when that period may be published.

use std::collections::{BTreeMap, BTreeSet};

use super::activity::Activity;
use crate::{counters::Counters, model::Timestamp};

/// A period that a shard closed, with the shard's counters at that time.
#[derive(Clone, Debug, Default)]
pub struct Closed {
    /// Which shard.
    pub shard: usize,
    /// What it counted.
    pub activity: Activity,
    /// All it has met since its start.
    pub counters: Counters,
}

/// A period to publish.
#[derive(Clone, Debug, Default)]
pub struct Period {
    /// What was counted.
    pub activity: Activity,
    /// What the sensor met in it: growth of the counters that are metrics.
    pub health: Health,
    /// It was published before; this came late and is published beside it, without zeros.
    pub late: bool,
}

/// Growth of the counters that are metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Frames read.
    pub packets: u64,
    /// Copies that arrived cut.
    pub truncated: u64,
    /// Copies that a second vantage mirrored.
    pub duplicates: u64,
    /// Frames that gave no segment.
    pub skipped: u64,
    /// Lost before they were read.
    pub kernel_drops: u64,
    /// Flows ended early.
    pub evictions: u64,
    /// Records an output could not take.
    pub records_dropped: u64,
}

impl Health {
    fn of(counters: &Counters) -> Self {
        Self {
            packets: counters.frames,
            truncated: counters.decoder.segments_truncated,
            duplicates: counters.duplicates,
            skipped: counters.skipped.total() + counters.not_allowed,
            kernel_drops: counters.drops.total(),
            evictions: counters.table.evicted + counters.memory_closed,
            records_dropped: counters.records_dropped,
        }
    }

    fn zip(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            packets: join(self.packets, other.packets),
            truncated: join(self.truncated, other.truncated),
            duplicates: join(self.duplicates, other.duplicates),
            skipped: join(self.skipped, other.skipped),
            kernel_drops: join(self.kernel_drops, other.kernel_drops),
            evictions: join(self.evictions, other.evictions),
            records_dropped: join(self.records_dropped, other.records_dropped),
        }
    }
}

/// Collects closed periods of all shards.
#[derive(Debug)]
pub struct Collector {
    shards: usize,
    period_ns: u64,
    last: BTreeMap<usize, Health>,
    open: BTreeMap<Timestamp, Open>,
    /// Starts of the periods published lately.
    published: BTreeSet<Timestamp>,
}

#[derive(Debug, Default)]
struct Open {
    activity: Activity,
    health: Health,
    reported: BTreeSet<usize>,
}

/// A shard that has said nothing this long after the end of a period is not waited for.
const GRACE_NS: u64 = 5_000_000_000;

/// Starts of published periods that are remembered, to know a late one: two weeks of minutes.
const PUBLISHED_MAX: usize = 20_160;

impl Collector {
    /// For so many shards.
    pub const fn new(shards: usize, period_ns: u64) -> Self {
        Self {
            shards,
            period_ns,
            last: BTreeMap::new(),
            open: BTreeMap::new(),
            published: BTreeSet::new(),
        }
    }

    /// Takes what a shard counted.
    pub fn offer(&mut self, closed: Closed) {
        let Closed { shard, activity, counters } = closed;
        let now = Health::of(&counters);
        let before = self.last.insert(shard, now).unwrap_or_default();
        let open = self.open.entry(activity.start).or_default();
        open.activity.start = activity.start;
        open.activity.merge(activity);
        open.health = open.health.zip(now.zip(before, u64::saturating_sub), u64::saturating_add);
        open.reported.insert(shard);
    }

    /// The periods that are complete at `now`, oldest first. A period of which no shard says anything is never complete:
    /// a sensor that does not see must not say zero.
    pub fn due(&mut self, now: Timestamp) -> Vec<Period> {
        let (shards, period_ns) = (self.shards, self.period_ns);
        let complete = |start: &Timestamp, open: &Open| {
            open.reported.len() >= shards || now.since(*start) >= period_ns + GRACE_NS
        };
        let mut due = Vec::new();
        self.open.retain(|start, open| {
            if !complete(start, open) {
                return true;
            }
            let Open { activity, health, .. } = std::mem::take(open);
            due.push(Period { activity, health, late: !self.published.insert(*start) });
            false
        });
        while self.published.len() > PUBLISHED_MAX {
            self.published.pop_first();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{Class, Counts, activity::tests::key},
        model::time::NS_PER_S,
    };

    const MINUTE: u64 = 60 * NS_PER_S;

    fn closed(shard: usize, minute: u64, flows: u64, frames: u64) -> Closed {
        let counts = Counts { flows, ..Counts::default() };
        let cells = [(key("a", Class::Plaintext, Some("redis")), counts)].into();
        let activity = Activity { start: Timestamp(minute * MINUTE), cells, folded: 0 };
        Closed { shard, activity, counters: Counters { frames, ..Counters::default() } }
    }

    fn flows(period: &Period) -> u64 {
        period.activity.cells.values().map(|c| c.flows).sum()
    }

    #[test]
    fn shards_add_up_and_the_period_waits_for_all_of_them() {
        let mut collector = Collector::new(2, MINUTE);
        collector.offer(closed(0, 1, 3, 100));
        assert!(collector.due(Timestamp(2 * MINUTE)).is_empty());
        collector.offer(closed(1, 1, 4, 50));
        let due = collector.due(Timestamp(2 * MINUTE));
        assert_eq!((due.len(), flows(&due[0]), due[0].health.packets), (1, 7, 150));
        collector.offer(closed(0, 2, 1, 130));
        collector.offer(closed(1, 2, 1, 55));
        assert_eq!(collector.due(Timestamp(3 * MINUTE))[0].health.packets, 35);
    }

    #[test]
    fn a_shard_that_says_nothing_is_not_waited_for_and_what_it_says_later_keeps_its_period() {
        let mut collector = Collector::new(2, MINUTE);
        collector.offer(closed(0, 1, 3, 0));
        let due = collector.due(Timestamp(2 * MINUTE + GRACE_NS));
        assert_eq!((flows(&due[0]), due[0].late), (3, false));
        collector.offer(closed(1, 1, 4, 0));
        collector.offer(closed(1, 2, 9, 0));
        let due = collector.due(Timestamp(2 * MINUTE + 2 * GRACE_NS + MINUTE));
        let what: Vec<_> =
            due.iter().map(|p| (p.activity.start.0 / MINUTE, flows(p), p.late)).collect();
        assert_eq!(what, [(1, 4, true), (2, 9, false)]);
    }

    #[test]
    fn a_sensor_that_does_not_see_says_nothing() {
        let mut collector = Collector::new(1, MINUTE);
        assert!(collector.due(Timestamp(100 * MINUTE)).is_empty());
    }
}
