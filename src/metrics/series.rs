//! The cap on series: the busiest label sets stay, the rest is folded into `other`.
//!
//! The choice is stable. A label set once published is kept for a while, with zeros, so that an alarm on it does not flap
//! between data and none; a busier newcomer waits for room.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Dimension, METRICS};
use crate::model::{Timestamp, time::NS_PER_S};

/// The label of what finds no room.
pub const OTHER: &str = "other";

/// Dimensions with their values, in the order of the roll-up.
pub(super) type Labels = Vec<(Dimension, String)>;

/// Chooses the label sets that are published.
#[derive(Debug)]
pub struct SeriesCap {
    series_max: usize,
    keep_ns: u64,
    /// When each admitted label set last had a value.
    admitted: BTreeMap<Labels, Timestamp>,
}

impl SeriesCap {
    /// At most so many series; a label set without value leaves after `keep_s` seconds.
    pub fn new(series_max: usize, keep_s: u32) -> Self {
        Self { series_max, keep_ns: u64::from(keep_s) * NS_PER_S, admitted: BTreeMap::new() }
    }

    /// Decides for a period: `wanted` are the label sets that have values, with how much they matter. Returns how many
    /// series found no room.
    pub(super) fn admit(&mut self, now: Timestamp, wanted: &BTreeMap<Labels, u64>) -> u64 {
        let keep_ns = self.keep_ns;
        self.admitted.retain(|_, last| now.since(*last) <= keep_ns);
        for labels in wanted.keys() {
            if let Some(last) = self.admitted.get_mut(labels) {
                *last = (*last).max(now);
            }
        }
        let mut new: Vec<(&Labels, u64)> = wanted
            .iter()
            .filter(|(labels, _)| !self.admitted.contains_key(*labels) && !is_other(labels))
            .map(|(labels, weight)| (labels, *weight))
            .collect();
        // Fewer dimensions first: an alarm on a whole scope is worth more than one on a part of it.
        new.sort_by_key(|(labels, weight)| (labels.len(), std::cmp::Reverse(*weight), *labels));
        let mut room = self.series_max.saturating_sub(fixed_series() + self.series_admitted());
        let mut dropped = 0;
        for (labels, _) in new {
            let series = series_of(labels);
            if series <= room {
                room -= series;
                self.admitted.insert(labels.clone(), now);
            } else {
                dropped += series as u64;
            }
        }
        dropped
    }

    /// The labels a value is published under.
    pub(super) fn place(&self, labels: &Labels) -> Labels {
        if labels.is_empty() || self.admitted.contains_key(labels) {
            return labels.clone();
        }
        labels.iter().map(|(dimension, _)| (*dimension, OTHER.to_owned())).collect()
    }

    /// Label sets that are published, be it with zero.
    pub(super) fn admitted(&self) -> impl Iterator<Item = &Labels> {
        self.admitted.keys()
    }

    fn series_admitted(&self) -> usize {
        self.admitted.keys().map(series_of).sum()
    }
}

fn is_other(labels: &Labels) -> bool {
    labels.iter().all(|(_, value)| value == OTHER)
}

/// Series that a label set brings: one of each metric with that roll-up.
pub(super) fn series_of(labels: &Labels) -> usize {
    let dimensions: Vec<Dimension> = labels.iter().map(|(dimension, _)| *dimension).collect();
    series_with(&dimensions)
}

/// Metrics with this roll-up.
pub(super) fn series_with(dimensions: &[Dimension]) -> usize {
    METRICS.iter().filter(|info| info.rollups.contains(&dimensions)).count()
}

/// Series that need no room: the totals, and `other` of each roll-up.
pub(super) fn fixed_series() -> usize {
    let rollups: BTreeSet<&[Dimension]> =
        METRICS.iter().flat_map(|info| info.rollups).copied().collect();
    rollups.into_iter().map(series_with).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(name: usize) -> Labels {
        vec![(Dimension::Scope, format!("vpc-{name}"))]
    }

    fn wanted(names: impl IntoIterator<Item = usize>) -> BTreeMap<Labels, u64> {
        names.into_iter().map(|name| (scope(name), name as u64)).collect()
    }

    const HOUR: u64 = 3600 * NS_PER_S;

    #[test]
    fn the_busiest_stay_and_keep_their_place_when_others_grow_busier() {
        let room = 3 * series_of(&scope(0));
        let mut cap = SeriesCap::new(fixed_series() + room, 24 * 3600);
        let dropped = cap.admit(Timestamp(0), &wanted(1..=5));
        assert_eq!(dropped, 2 * series_of(&scope(0)) as u64);
        for (name, stays) in [(5, true), (4, true), (3, true), (2, false)] {
            assert_eq!(cap.place(&scope(name)) == scope(name), stays, "{name}");
        }
        cap.admit(Timestamp(HOUR), &wanted(6..=9));
        assert_eq!(cap.place(&scope(9)), [(Dimension::Scope, OTHER.to_owned())]);
        assert_eq!(cap.place(&scope(3)), scope(3));
        cap.admit(Timestamp(25 * HOUR), &wanted(6..=9));
        assert_eq!(cap.place(&scope(9)), scope(9), "a day without value makes room");
    }

    proptest! {
        #[test]
        fn the_series_never_exceed_the_cap(
            periods in proptest::collection::vec(proptest::collection::btree_set(0_usize..60, 0..60), 1..20),
            max in 60_usize..300,
        ) {
            let mut cap = SeriesCap::new(max, 60);
            for (at, names) in (0..).zip(periods) {
                cap.admit(Timestamp(at * 30 * NS_PER_S), &wanted(names));
                prop_assert!(fixed_series() + cap.series_admitted() <= max.max(fixed_series()));
            }
        }
    }
}
