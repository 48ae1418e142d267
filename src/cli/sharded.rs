//! A capture read by one reader and decided by several shards; what comes out is what one shard gives, in its order.
#![allow(clippy::disallowed_methods, reason = "edge: starts the shards")]

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use anyhow::Context as _;

use crate::{
    counters::Counters,
    engine::{Batch, Emitted, Engine, Front, Given, Order, Settings},
    model::{Frame, NamedAddress, Timestamp},
    wire::steer,
};

/// What decides about frames.
pub(super) trait Decides {
    /// Takes a frame; what comes of it goes to `emit`.
    fn frame(&mut self, frame: &Frame<'_>, emit: &mut dyn FnMut(Emitted));
    /// Time went on.
    fn tick(&mut self, now: Timestamp, emit: &mut dyn FnMut(Emitted));
}

impl Decides for Engine {
    fn frame(&mut self, frame: &Frame<'_>, emit: &mut dyn FnMut(Emitted)) {
        Self::frame(self, frame, emit);
    }

    fn tick(&mut self, now: Timestamp, emit: &mut dyn FnMut(Emitted)) {
        Self::tick(self, now, emit);
    }
}

/// One engine, or several that look like one.
#[derive(Debug)]
pub(super) enum Engines {
    One(Box<Engine>),
    Many(Box<Sharded>),
}

impl Engines {
    /// As many as there are shards; `settings` is of all together.
    pub(super) fn new(settings: Settings, shards: usize) -> anyhow::Result<Self> {
        Ok(if shards > 1 {
            Self::Many(Box::new(Sharded::start(settings, shards)?))
        } else {
            Self::One(Box::new(Engine::new(settings)))
        })
    }

    /// Ends every flow.
    pub(super) fn finish(self, emit: &mut dyn FnMut(Emitted)) -> Counters {
        match self {
            Self::One(mut engine) => {
                engine.finish(emit);
                engine.counters()
            }
            Self::Many(sharded) => sharded.finish(emit),
        }
    }
}

impl Decides for Engines {
    fn frame(&mut self, frame: &Frame<'_>, emit: &mut dyn FnMut(Emitted)) {
        match self {
            Self::One(engine) => engine.frame(frame, emit),
            Self::Many(sharded) => sharded.frame(frame, emit),
        }
    }

    fn tick(&mut self, now: Timestamp, emit: &mut dyn FnMut(Emitted)) {
        match self {
            Self::One(engine) => engine.tick(now, emit),
            Self::Many(sharded) => sharded.front.tick(now),
        }
    }
}

/// Shards on threads of their own.
#[derive(Debug)]
pub(super) struct Sharded {
    front: Front,
    shards: Vec<Shard>,
    /// Rounds of batches given and not taken back.
    under_way: usize,
    spare: Vec<Batch>,
    order: InOrder,
}

#[derive(Debug)]
struct Shard {
    to: SyncSender<Batch>,
    from: Receiver<Done>,
    thread: JoinHandle<(Vec<(Order, Given)>, Counters)>,
}

/// A batch, empty again, and what came of it.
#[derive(Debug)]
struct Done {
    batch: Batch,
    given: Vec<(Order, Given)>,
}

impl Sharded {
    fn start(settings: Settings, shards: usize) -> anyhow::Result<Self> {
        let session_bytes_max = settings.session_bytes_max / shards;
        let settings = Settings { session_bytes_max, ..settings };
        let start = |number| Shard::start(number, settings.clone());
        Ok(Self {
            front: Front::new(steer::SEED_OF_FILES, shards),
            shards: (0..shards).map(start).collect::<Result<_, _>>()?,
            under_way: 0,
            spare: Vec::new(),
            order: InOrder::default(),
        })
    }

    fn frame(&mut self, frame: &Frame<'_>, emit: &mut dyn FnMut(Emitted)) {
        if self.front.frame(frame) {
            self.give();
            if self.under_way > ROUNDS_UNDER_WAY_MAX {
                self.take(emit);
            }
        }
    }

    /// Gives each shard its batch, also an empty one: a round is of all shards.
    fn give(&mut self) {
        let spare = &mut self.spare;
        let batches = self.front.exchange(|| spare.pop().unwrap_or_default());
        for (shard, batch) in self.shards.iter().zip(batches) {
            // A shard that is gone is told of at the end.
            let _gone = shard.to.send(batch);
        }
        self.under_way += 1;
    }

    /// Takes the oldest round back, and passes on what came of it, in order.
    fn take(&mut self, emit: &mut dyn FnMut(Emitted)) {
        for shard in &self.shards {
            let Ok(Done { batch, given }) = shard.from.recv() else { continue };
            self.spare.push(batch);
            self.order.add(given);
        }
        self.under_way -= 1;
        self.order.pass_on(emit);
    }

    fn finish(mut self, emit: &mut dyn FnMut(Emitted)) -> Counters {
        self.give();
        while self.under_way > 0 {
            self.take(emit);
        }
        let mut counters = self.front.counters();
        for shard in self.shards {
            drop(shard.to);
            match shard.thread.join() {
                Ok((given, met)) => {
                    self.order.add(given);
                    counters.add(&met);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        self.order.pass_on(emit);
        counters
    }
}

impl Shard {
    fn start(number: usize, settings: Settings) -> anyhow::Result<Self> {
        let (to, batches) = sync_channel::<Batch>(ROUNDS_UNDER_WAY_MAX);
        let (done, from) = sync_channel(ROUNDS_UNDER_WAY_MAX + 1);
        let work = move || {
            let mut engine = Engine::new(settings);
            for mut batch in batches {
                let mut given = Vec::new();
                engine.take(&batch, &mut |order, one| given.push((order, one)));
                batch.clear();
                if done.send(Done { batch, given }).is_err() {
                    break;
                }
            }
            let mut last = Vec::new();
            engine.finish(&mut |emitted| {
                last.push(((u64::MAX, false, emitted.began), Given::Record(Box::new(emitted))));
            });
            (last, engine.counters())
        };
        let thread = std::thread::Builder::new().name(format!("shard-{number}")).spawn(work);
        Ok(Self { to, from, thread: thread.context("a shard cannot be started")? })
    }
}

/// Puts what several shards gave into the order of one.
#[derive(Debug, Default)]
struct InOrder {
    given: Vec<(Order, Given)>,
    /// Answers wait for the next record, as they do in one shard.
    answers: Vec<NamedAddress>,
}

impl InOrder {
    fn add(&mut self, given: Vec<(Order, Given)>) {
        self.given.extend(given);
    }

    fn pass_on(&mut self, emit: &mut dyn FnMut(Emitted)) {
        self.given.sort_by_key(|(order, _)| *order);
        for (_, one) in self.given.drain(..) {
            match one {
                Given::Answers(mut answers) => self.answers.append(&mut answers),
                Given::Record(mut emitted) => {
                    if !self.answers.is_empty() {
                        self.answers.append(&mut emitted.answers);
                        emitted.answers = std::mem::take(&mut self.answers);
                    }
                    emit(*emitted);
                }
            }
        }
    }
}

/// Rounds of batches that the reader may be ahead of the shards.
const ROUNDS_UNDER_WAY_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::{CaptureFile, Input, Source, discover},
        model::{Link, time::NS_PER_S},
        wire,
    };

    /// All records of the captures we ship, as one timeline, and what was met.
    fn read(shards: usize, adjust: fn(u64, &mut Frame<'_>)) -> (Vec<String>, Counters) {
        let mut engines = Engines::new(Settings::default(), shards).unwrap();
        let mut records = Vec::new();
        let mut emit = |emitted: Emitted| {
            let answers: Vec<_> = emitted.answers.iter().map(|told| told.at).collect();
            records
                .push(format!("{answers:?} {}", serde_json::to_string(&emitted.record).unwrap()));
        };
        let mut count = 0;
        for input in discover(&["captures".into()]).captures {
            let mut source = CaptureFile::open(&input, wire::link_supported, None).unwrap();
            while let Ok(Input::Frame(mut frame)) = source.next() {
                adjust(count, &mut frame);
                engines.frame(&frame, &mut emit);
                count += 1;
            }
        }
        let counters = engines.finish(&mut emit);
        (records, counters)
    }

    #[test]
    fn several_shards_give_what_one_gives_in_its_order() {
        // As recorded; and with clocks that jump and are out of order.
        let adjusts: [fn(u64, &mut Frame<'_>); 2] = [
            |_, _| {},
            |nth, frame| {
                let jitter = nth.wrapping_mul(0x9e37_79b9) % (3 * NS_PER_S);
                frame.time = Timestamp(frame.time.0 + jitter);
                if nth % 5_000 == 7 {
                    frame.time = Timestamp(frame.time.0.saturating_sub(8_000 * NS_PER_S));
                }
                if nth % 10 == 3 {
                    frame.link = Link::Type(147);
                }
            },
        ];
        for adjust in adjusts {
            let (one, met) = read(1, adjust);
            assert!(one.len() > 1_000, "{}", one.len());
            for shards in [2, 3] {
                let (many, all_met) = read(shards, adjust);
                for (at, (one, many)) in one.iter().zip(&many).enumerate() {
                    assert_eq!(one, many, "record {at} of {shards} shards");
                }
                assert_eq!(one.len(), many.len());
                let met = met.list().into_iter().filter(|(name, _)| !name.ends_with("_peak"));
                let all = all_met.list().into_iter().filter(|(name, _)| !name.ends_with("_peak"));
                assert!(met.eq(all), "{all_met:?}");
            }
        }
    }
}
