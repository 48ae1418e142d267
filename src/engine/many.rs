//! One engine of several: what belongs to others is handed over, what others hand over is taken.

use super::{Batch, Emitted, Engine, Settings, batch::Lent};
use crate::{
    model::{NamedAddress, Segment, Timestamp},
    wire::{Usual, steer},
};

/// Where something stands in the order in which one shard would give everything: by packet, at first what ends because
/// time went on, then by the flow's beginning.
pub type Order = (u64, bool, u64);

/// What comes of segments.
#[derive(Debug)]
pub enum Given {
    /// A record.
    Record(Box<Emitted>),
    /// What name services answered, if no record took it along.
    Answers(Vec<NamedAddress>),
}

/// Which flows are an engine's own, where there are several.
#[derive(Clone, Copy, Debug)]
pub struct Home {
    /// Seed of the hash.
    pub seed: u32,
    /// How many shards there are.
    pub shards: usize,
    /// Which of them this is.
    pub shard: usize,
    /// Copies from before this time may have come to any shard: the kernel began to steer then.
    pub steered_from: Timestamp,
}

/// What an engine must hand to others.
#[derive(Debug)]
pub(super) struct Doorman {
    home: Home,
    batches: Vec<Batch>,
    waiting: bool,
    /// Segments of the usual stack, which the kernel should know how to steer, that were looked at, and that were wrong.
    looked_at: u64,
    pub(super) missteered: u64,
    pub(super) handed_over: u64,
}

impl Doorman {
    pub(super) fn new(home: Home) -> Self {
        let batches = (0..home.shards).map(|_| Batch::default()).collect();
        Self { home, batches, waiting: false, looked_at: 0, missteered: 0, handed_over: 0 }
    }

    /// Number of the `nth` packet: no two shards have the same.
    pub(super) fn packet(&self, nth: u64) -> u64 {
        let Home { shards, shard, .. } = self.home;
        nth.saturating_mul(shards as u64).saturating_add(shard as u64)
    }

    /// Whether a segment of the usual stack needs to be looked at: all of the first ones, then a sample, and all again
    /// once the kernel was seen to be wrong.
    pub(super) fn doubts(&mut self, time: Timestamp) -> bool {
        self.looked_at += 1;
        time < self.home.steered_from
            || self.missteered > 0
            || self.looked_at < PROVEN_AFTER
            || self.looked_at.is_multiple_of(SAMPLE)
    }

    /// Takes a segment that is another shard's. `usual`: the kernel should have known.
    pub(super) fn take(
        &mut self,
        packet: u64,
        now: Timestamp,
        segment: &Segment<'_>,
        usual: bool,
    ) -> bool {
        let Home { seed, shards, shard, steered_from } = self.home;
        let owner = steer::shard(steer::segment(seed, segment), shards);
        if owner == shard {
            return false;
        }
        self.missteered += u64::from(usual && segment.time >= steered_from);
        self.handed_over += 1;
        if let Some(batch) = self.batches.get_mut(owner) {
            batch.push(packet, now, segment);
            self.waiting = true;
        }
        true
    }

    /// What is to be handed over, if anything.
    pub(super) fn hand_over(&mut self) -> Option<impl Iterator<Item = (usize, Batch)> + '_> {
        if !std::mem::take(&mut self.waiting) {
            return None;
        }
        let full = self.batches.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty());
        Some(full.map(|(shard, batch)| (shard, std::mem::take(batch))))
    }
}

impl Engine {
    /// An engine that is one of several, each with packets of its own; see [`Self::hand_over`].
    pub fn one_of(settings: Settings, home: Home) -> Self {
        Self { doorman: Some(Doorman::new(home)), ..Self::new(settings) }
    }

    /// Takes segments that another reader decoded, or another shard handed over.
    pub fn take(&mut self, batch: &Batch, give: &mut dyn FnMut(Order, Given)) {
        let shard = &mut self.shard;
        for Lent { packet, now, segment } in batch.iter() {
            shard.packet = packet;
            shard.tick(now, &mut |emitted| {
                give((packet, false, emitted.began), Given::Record(Box::new(emitted)));
            });
            let Some(segment) = segment else { continue };
            if shard.shed.is_on() && shard.shed.lets_go(&segment) {
                continue;
            }
            if Usual::of(&segment).is_some_and(|usual| shard.move_usual_on(segment.time, &usual)) {
                continue;
            }
            shard.segment(&segment);
            shard.flush(&mut |emitted| {
                give((packet, true, emitted.began), Given::Record(Box::new(emitted)));
            });
            let answers = shard.answered.take();
            if !answers.is_empty() {
                give((packet, true, 0), Given::Answers(answers));
            }
        }
    }

    /// Whether packets come faster than they can be taken: then most of those that only move counters are let go.
    pub const fn set_overloaded(&mut self, overloaded: bool) {
        self.shard.shed.set_overloaded(overloaded);
    }

    /// What belongs to other shards, for [`Self::take`] of theirs.
    pub fn hand_over(&mut self) -> Option<impl Iterator<Item = (usize, Batch)> + '_> {
        self.doorman.as_mut().and_then(Doorman::hand_over)
    }
}

/// So many segments in a row prove that the kernel steers as we do; then a sample is looked at.
const PROVEN_AFTER: u64 = 4096;
const SAMPLE: u64 = 64;
