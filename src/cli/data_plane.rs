//! The data plane of `run`: shards that read, decide and never wait for the control plane.
//!
//! Each shard has a source of its own, of which the kernel gives it the flows that are its own; what the kernel could not
//! know is handed over. Where the kernel does not steer, one reader decodes for all shards.
//!
//! A shard whose packets are late, or that hears of drops, lets go of what only moves counters.
#![allow(
    clippy::disallowed_methods,
    reason = "edge: starts the threads, ticks by the system clock"
)]

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::reload::Reloads;
use crate::{
    clock::now,
    counters::Counters,
    engine::{Batch, Emitted, Engine, Front, Given, Home, Settings},
    ingest::{Input, Source, SourceError},
    metrics::{CLOSED_PERIODS_MAX, Closed},
    model::{NamedAddress, Timestamp},
};

/// A source that moves to its shard's thread.
pub(super) type Reading = Box<dyn Source + Send>;

/// Where packets come from, and who reads them.
pub(super) enum Sources {
    /// One shard, or several whose packets the kernel tells apart with this seed, from this time on.
    Each { sources: Vec<Reading>, seed: u32, steered_from: Timestamp },
    /// One reader decodes for so many shards.
    Front { source: Reading, shards: usize },
}

impl Sources {
    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        match self {
            Self::Each { sources, .. } => sources.len(),
            Self::Front { shards, .. } => *shards,
        }
    }
}

/// What all shards have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) records: mpsc::Sender<Emitted>,
    pub(super) periods: mpsc::Sender<Closed>,
    /// Records that found no room behind the stage.
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) shown: Arc<Shown>,
    pub(super) stop: Arc<AtomicBool>,
}

/// What the shards show of themselves: their sum, once each of them has moved since the last time.
pub(super) struct Shown {
    counters: Mutex<Vec<(Counters, Showing)>>,
    sum: watch::Sender<Counters>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Showing {
    Awaited,
    Fresh,
    Over,
}

impl Shown {
    /// For these sources: each shard shows itself, and so does a reader in front of them.
    pub(super) fn new(sources: &Sources, sum: watch::Sender<Counters>) -> Self {
        let front = usize::from(matches!(sources, Sources::Front { .. }));
        let counters = vec![(Counters::default(), Showing::Awaited); sources.shards() + front];
        Self { counters: Mutex::new(counters), sum }
    }

    fn show(&self, shard: usize, counters: Counters, over: bool) {
        let mut all = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(shard) {
            *own = (counters, if over { Showing::Over } else { Showing::Fresh });
        }
        // One that is stuck keeps the sum from being shown, and that is noticed.
        if all.iter().any(|(_, showing)| *showing == Showing::Awaited) {
            return;
        }
        let mut sum = Counters::default();
        for (counters, showing) in all.iter_mut() {
            sum.add(counters);
            if *showing == Showing::Fresh {
                *showing = Showing::Awaited;
            }
        }
        self.sum.send_replace(sum);
    }
}

/// The shards' threads.
pub(super) type Threads = Vec<JoinHandle<Result<(), SourceError>>>;

/// Starts the shards; each ends when its source does. One that dies stops the others.
pub(super) fn start(
    sources: Sources,
    settings: &Settings,
    common: &Common,
    reloads: impl Fn() -> Reloads,
) -> io::Result<Threads> {
    let shards = sources.shards();
    let (outboxes, inboxes): (Vec<_>, Vec<_>) =
        (0..shards).map(|_| sync_channel(HANDED_OVER_MAX)).unzip();
    let shard = |number: usize, engine: Engine, outboxes: Vec<SyncSender<Batch>>| Shard {
        number,
        engine,
        common: common.clone(),
        reloads: reloads(),
        outboxes,
        handed_dropped: 0,
        dropped: 0,
        closed: VecDeque::new(),
        answers: Vec::new(),
        second: 0,
        front: Arc::default(),
    };
    let mut threads = Threads::new();
    match sources {
        Sources::Each { sources, seed, steered_from } => {
            for (number, (source, inbox)) in sources.into_iter().zip(inboxes).enumerate() {
                let home = Home { seed, shards, shard: number, steered_from };
                let engine = match shards {
                    1 => Engine::new(settings.clone()),
                    _ => Engine::one_of(settings.clone(), home),
                };
                let mut shard = shard(number, engine, outboxes.clone());
                threads.push(spawn(&format!("shard-{number}"), &common.stop, move || {
                    shard.read(source, &inbox)
                })?);
            }
        }
        Sources::Front { source, .. } => {
            let seen = Arc::<Mutex<Counters>>::default();
            for (number, inbox) in inboxes.into_iter().enumerate() {
                let mut shard = shard(number, Engine::new(settings.clone()), Vec::new());
                // Its counters count once.
                if number == 0 {
                    shard.front = Arc::clone(&seen);
                }
                threads.push(spawn(&format!("shard-{number}"), &common.stop, move || {
                    shard.work(&inbox);
                    Ok(())
                })?);
            }
            let (front, shown) = (Front::new(0, shards), Arc::clone(&common.shown));
            threads.push(spawn("reader", &common.stop, move || {
                read_for_all(source, front, &outboxes, &seen, &shown)
            })?);
        }
    }
    Ok(threads)
}

/// A thread that takes all others with it when it fails.
fn spawn(
    name: &str,
    stop: &Arc<AtomicBool>,
    work: impl FnOnce() -> Result<(), SourceError> + Send + 'static,
) -> io::Result<JoinHandle<Result<(), SourceError>>> {
    struct Alarm(Arc<AtomicBool>);
    impl Drop for Alarm {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.store(true, Ordering::Relaxed);
            }
        }
    }
    let alarm = Alarm(Arc::clone(stop));
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let result = work();
        if result.is_err() {
            alarm.0.store(true, Ordering::Relaxed);
        }
        result
    })
}

/// Decodes for all shards; waits for them, so that what is too much is lost in the kernel, where it is counted.
fn read_for_all(
    mut source: Reading,
    mut front: Front,
    shards: &[SyncSender<Batch>],
    seen: &Mutex<Counters>,
    shown: &Shown,
) -> Result<(), SourceError> {
    let (mut second, mut given) = (0, Timestamp::default());
    let give = |front: &mut Front| {
        for (shard, batch) in shards.iter().zip(front.exchange(Batch::default)) {
            if !batch.is_empty() {
                // A shard that is gone has stopped the others.
                let _gone = shard.send(batch);
            }
        }
    };
    // What it met goes out with the first shard's; itself it only shows that it moves.
    let show = |source: &mut dyn Source, front: &Front, over: bool| {
        let counters = Counters { drops: source.drops(), ..front.counters() };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = counters;
        shown.show(shards.len(), Counters::default(), over);
    };
    let result = loop {
        let (now, full) = match source.next() {
            Ok(Input::Frame(frame)) => (frame.time, front.frame(&frame)),
            Ok(Input::Tick(now)) => {
                front.tick(now);
                (now, true)
            }
            Ok(Input::End) => break Ok(()),
            Err(error) => break Err(error),
        };
        let turned = now.seconds() != second;
        // What waits for a batch to fill is not late yet when it is given.
        if full || turned || now.since(given) > GIVEN_AFTER_NS {
            given = now;
            give(&mut front);
        }
        if turned {
            second = now.seconds();
            show(source.as_mut(), &front, false);
        }
    };
    give(&mut front);
    show(source.as_mut(), &front, true);
    result
}

/// One shard and its way to the control plane.
struct Shard {
    number: usize,
    engine: Engine,
    common: Common,
    reloads: Reloads,
    outboxes: Vec<SyncSender<Batch>>,
    /// Segments for which there was no room at another shard.
    handed_dropped: u64,
    /// Records that found no room in front of the stage.
    dropped: u64,
    /// Periods that found no room: metrics lose nothing when records do.
    closed: VecDeque<Closed>,
    /// What name services answered, for the next record to take along.
    answers: Vec<NamedAddress>,
    second: u64,
    /// What the reader in front of the shards met.
    front: Arc<Mutex<Counters>>,
}

impl Shard {
    /// Reads a source of its own until that ends.
    fn read(&mut self, mut source: Reading, inbox: &Receiver<Batch>) -> Result<(), SourceError> {
        let (mut turn, mut load) = (0_u32, Load::default());
        let result = loop {
            let (records, dropped) = (&self.common.records, &mut self.dropped);
            let mut emit = |emitted| offer(records, emitted, dropped);
            let (now, idle) = match source.next() {
                Ok(Input::Frame(frame)) => {
                    self.engine.frame(&frame, &mut emit);
                    (frame.time, false)
                }
                Ok(Input::Tick(now)) => {
                    self.engine.tick(now, &mut emit);
                    (now, true)
                }
                Ok(Input::End) => break Ok(()),
                Err(error) => break Err(error),
            };
            turn = turn.wrapping_add(1);
            if idle || turn.is_multiple_of(EXCHANGE_AFTER) {
                self.exchange(inbox);
                load.look(now, idle, &mut || source.drops().kernel);
                self.engine.set_overloaded(load.is_too_much());
            }
            if now.seconds() != self.second {
                self.second = now.seconds();
                self.every_second(source.as_mut());
            }
        };
        if result.is_err() {
            // The others stop, too, so that what they hand over comes to an end.
            self.common.stop.store(true, Ordering::Relaxed);
        }
        self.hand_over();
        self.outboxes.clear();
        let deadline = Instant::now() + LAST_WAIT;
        while let Ok(batch) = inbox.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.take(&batch);
        }
        self.finish(source.as_mut());
        result
    }

    /// Works for a reader in front until that is gone.
    fn work(&mut self, inbox: &Receiver<Batch>) {
        let (mut none, mut load) = (NoSource, Load::default());
        let front = Arc::clone(&self.front);
        let mut drops = || front.lock().unwrap_or_else(PoisonError::into_inner).drops.kernel;
        loop {
            let time = match inbox.recv_timeout(TICK) {
                Ok(batch) => {
                    self.take(&batch);
                    load.look(batch.latest(), false, &mut drops);
                    now()
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = now();
                    let (records, dropped) = (&self.common.records, &mut self.dropped);
                    self.engine.tick(now, &mut |emitted| offer(records, emitted, dropped));
                    load.look(now, true, &mut drops);
                    now
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.engine.set_overloaded(load.is_too_much());
            if time.seconds() != self.second {
                self.second = time.seconds();
                self.every_second(&mut none);
            }
        }
        self.finish(&mut none);
    }

    /// Takes what others handed over, and gives them what is theirs.
    fn exchange(&mut self, inbox: &Receiver<Batch>) {
        self.hand_over();
        while let Ok(batch) = inbox.try_recv() {
            self.take(&batch);
        }
    }

    fn hand_over(&mut self) {
        let Some(batches) = self.engine.hand_over() else { return };
        for (owner, batch) in batches {
            let segments = batch.len() as u64;
            let sent = self.outboxes.get(owner).is_some_and(|shard| shard.try_send(batch).is_ok());
            self.handed_dropped += if sent { 0 } else { segments };
        }
    }

    fn take(&mut self, batch: &Batch) {
        let Self { engine, common, dropped, answers, .. } = self;
        engine.take(batch, &mut |_, given| match given {
            Given::Answers(mut more) => answers.append(&mut more),
            Given::Record(mut emitted) => {
                emitted.answers.append(answers);
                offer(&common.records, *emitted, dropped);
            }
        });
        // Nobody asks for names of flows that never come.
        self.answers.truncate(ANSWERS_WAITING_MAX);
    }

    fn every_second(&mut self, source: &mut dyn Source) {
        self.reloads.take(&mut self.engine);
        let counters = self.counters(source);
        self.common.shown.show(self.number, counters.clone(), false);
        self.close(&counters);
        // What finds no room is tried again in a second.
        while !self.closed.is_empty()
            && let Ok(room) = self.common.periods.try_reserve()
        {
            if let Some(period) = self.closed.pop_front() {
                room.send(period);
            }
        }
    }

    /// The stage keeps reading until all shards are gone, so the last records may wait for it.
    fn finish(&mut self, source: &mut dyn Source) {
        let (records, dropped) = (&self.common.records, &mut self.dropped);
        self.engine.finish(&mut |emitted| {
            *dropped += u64::from(records.blocking_send(emitted).is_err());
        });
        let counters = self.counters(source);
        self.close(&counters);
        self.common.shown.show(self.number, counters, true);
        for period in self.closed.drain(..) {
            // Nobody listens: there are no metrics.
            let _gone = self.common.periods.blocking_send(period);
        }
    }

    /// What this shard met, and, of the first, what was met for all of them.
    fn counters(&self, source: &mut dyn Source) -> Counters {
        let mut counters = Counters {
            drops: source.drops(),
            records_dropped: self.dropped,
            handed_dropped: self.handed_dropped,
            ..self.engine.counters()
        };
        if self.number == 0 {
            counters.records_dropped += self.common.dropped.load(Ordering::Relaxed);
            counters.config_reloads = self.reloads.taken();
            counters.config_rejected = self.reloads.rejected();
        }
        counters.add(&self.front.lock().unwrap_or_else(PoisonError::into_inner));
        counters
    }

    /// Takes the periods that are over from the engine.
    fn close(&mut self, counters: &Counters) {
        let shard = self.number;
        let closed = |activity| Closed { shard, activity, counters: counters.clone() };
        self.closed.extend(self.engine.activity().into_iter().map(closed));
        self.closed.drain(..self.closed.len().saturating_sub(CLOSED_PERIODS_MAX));
    }
}

/// A record for the stage; one that finds no room is dropped and counted, for a shard never waits.
fn offer(records: &mpsc::Sender<Emitted>, emitted: Emitted, dropped: &mut u64) {
    *dropped += u64::from(records.try_send(emitted).is_err());
}

/// Whether more comes than can be taken: packets wait long to be read, or are lost before.
#[derive(Debug, Default)]
struct Load {
    looks: u32,
    kernel_drops: u64,
    /// When packets were last late, or lost.
    heavy: Option<Timestamp>,
    too_much: bool,
}

impl Load {
    /// Looks at the packet read last, and now and then at what the kernel dropped.
    fn look(&mut self, packet: Timestamp, idle: bool, drops: &mut dyn FnMut() -> u64) {
        let now = now();
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(DROPS_AFTER) || idle {
            let before = std::mem::replace(&mut self.kernel_drops, drops());
            if self.kernel_drops > before {
                self.heavy = Some(now);
            }
        }
        if !idle && now.since(packet) > LATE_NS {
            self.heavy = Some(now);
        }
        let too_much = self.heavy.is_some_and(|heavy| now.since(heavy) < CALM_NS);
        if too_much && !self.too_much {
            tracing::warn!(
                "More packets come than can be taken: of flows already decided only a sample is counted \
                 (capture.shed_keep_one_in)."
            );
        }
        self.too_much = too_much;
    }

    const fn is_too_much(&self) -> bool {
        self.too_much
    }
}

/// Of a shard that does not read.
struct NoSource;

impl Source for NoSource {
    fn next(&mut self) -> Result<Input<'_>, SourceError> {
        Ok(Input::End)
    }
}

/// Batches that may wait for a shard.
const HANDED_OVER_MAX: usize = 64;
/// Packets between looks at what others handed over; an idle shard looks at every tick.
const EXCHANGE_AFTER: u32 = 64;
/// How long a segment waits at most for others that travel with it.
const GIVEN_AFTER_NS: u64 = 50_000_000;
/// How long a shard that has stopped waits for what the others may still have for it: they read what the kernel holds.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Looks at the load between looks at what the kernel dropped.
const DROPS_AFTER: u32 = 64;
/// Packets that waited this long are late: more than a ring's block is held back.
const LATE_NS: u64 = 300_000_000;
/// So long without a late or lost packet, and all are taken again.
const CALM_NS: u64 = 2_000_000_000;
/// How often a shard without packets looks at the clock.
const TICK: Duration = Duration::from_millis(250);
const ANSWERS_WAITING_MAX: usize = 4096;
