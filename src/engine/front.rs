//! One reader for several shards: decodes, and gives each shard its segments, in order.

use super::{Batch, TIME_JUMP_NS};
use crate::{
    counters::Counters,
    model::{Frame, Timestamp},
    wire::{Decoder, steer},
};

/// Decodes for shards that do not read themselves.
#[derive(Debug)]
pub struct Front {
    decoder: Decoder,
    seed: u32,
    now: Timestamp,
    batches: Vec<Batch>,
    counters: Counters,
}

impl Front {
    /// For so many shards.
    pub fn new(seed: u32, shards: usize) -> Self {
        Self {
            decoder: Decoder::default(),
            seed,
            now: Timestamp::default(),
            batches: (0..shards).map(|_| Batch::default()).collect(),
            counters: Counters::default(),
        }
    }

    /// Takes a frame; true if a batch is full.
    pub fn frame(&mut self, frame: &Frame<'_>) -> bool {
        self.counters.frames += 1;
        self.counters.frame_bytes += frame.bytes.len() as u64;
        self.tick(frame.time);
        let Self { decoder, seed, now, batches, counters } = self;
        let packet = counters.frames;
        match decoder.decode(frame) {
            Ok(segment) => {
                let owner = steer::shard(steer::segment(*seed, &segment), batches.len());
                let Some(batch) = batches.get_mut(owner) else { return false };
                batch.push(packet, *now, &segment);
                batch.is_full()
            }
            Err(skip) => {
                counters.skipped.count(skip);
                false
            }
        }
    }

    /// Time went on: every shard hears of a new second, and of a clock that went back, at the same packet.
    pub fn tick(&mut self, time: Timestamp) {
        let back = self.now.since(time) > TIME_JUMP_NS;
        if time <= self.now && !back {
            return;
        }
        let turned = back || time.seconds() != self.now.seconds();
        self.now = time;
        if turned {
            self.decoder.expire(time);
            for batch in &mut self.batches {
                batch.tick(self.counters.frames, time);
            }
        }
    }

    /// The batches of all shards, in exchange for empty ones.
    pub fn exchange(&mut self, mut empty: impl FnMut() -> Batch) -> Vec<Batch> {
        self.batches.iter_mut().map(|batch| std::mem::replace(batch, empty())).collect()
    }

    /// What was met so far, outside of shards.
    pub fn counters(&self) -> Counters {
        Counters { decoder: *self.decoder.counters(), ..self.counters.clone() }
    }
}
