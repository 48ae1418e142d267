//! The delivery of spooled points: when to send, what to do with each answer.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{error, info, warn};

use super::requests::{Sample, decode, encode, first_request, is_timely};
use crate::{
    metrics::Points,
    model::Timestamp,
    output::{
        Fault,
        spool::{Entry, Spool, SpoolError},
    },
};

/// Takes one request's data.
pub trait Put {
    /// Sends `samples`; they keep the limits of a request.
    fn put(&mut self, samples: &[Sample]) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Reads the credentials anew.
    fn reload(&mut self) -> impl Future<Output = ()> + Send;
}

/// What became of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounters {
    /// Data delivered.
    pub delivered: u64,
    /// Requests answered with success.
    pub requests: u64,
    /// Requests that failed and are tried again.
    pub retries: u64,
    /// Data dropped because CloudWatch refuses it.
    pub poisoned: u64,
    /// Data dropped because CloudWatch no longer takes its time, or not yet.
    pub untimely: u64,
    /// Periods that could not be read back.
    pub unreadable: u64,
}

impl DeliveryCounters {
    /// What will never be delivered.
    pub const fn lost(&self) -> u64 {
        self.poisoned + self.untimely + self.unreadable
    }
}

/// Where points are committed, while a delivery goes on.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Mutex<Spool>>);

impl Outbox {
    /// Once this returns, the points will be delivered, be it after a crash.
    pub fn commit(&self, points: &Points) -> Result<(), SpoolError> {
        let payload = encode(points).map_err(SpoolError::Encode)?;
        self.lock().append(points.time(), &payload).map(|_| ())
    }

    /// Periods that are not delivered.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Periods dropped because the spool was full.
    pub fn dropped(&self) -> u64 {
        self.lock().counters.dropped
    }

    fn lock(&self) -> MutexGuard<'_, Spool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers what its spool holds.
#[derive(Debug)]
pub struct Delivery<P> {
    put: P,
    outbox: Outbox,
    not_before: Timestamp,
    failures: u32,
    /// Data of the oldest entry that was taken already.
    done: usize,
    counters: DeliveryCounters,
}

impl<P: Put> Delivery<P> {
    /// Delivers `spool` through `put`.
    pub fn new(put: P, spool: Spool) -> Self {
        Self {
            put,
            outbox: Outbox(Arc::new(Mutex::new(spool))),
            not_before: Timestamp::default(),
            failures: 0,
            done: 0,
            counters: DeliveryCounters::default(),
        }
    }

    /// Where points are committed.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Sends what waits until it is all delivered (true), or has to wait.
    pub async fn drain(&mut self, now: Timestamp) -> Result<bool, SpoolError> {
        // A clock that was turned back must not stop us.
        let wait = self.not_before.since(now);
        if wait > 0 && wait <= WAIT_NS_MAX {
            return Ok(self.outbox.waiting() == 0);
        }
        loop {
            let entries = self.outbox.lock().peek(ENTRIES_AT_ONCE, PEEK_BYTES_MAX)?;
            if entries.is_empty() {
                return Ok(true);
            }
            if !self.deliver(&entries, now).await? {
                return Ok(false);
            }
        }
    }

    /// What became of data so far.
    pub const fn counters(&self) -> DeliveryCounters {
        self.counters
    }

    /// Delivers entries, several in a request where they fit; false if it has to wait.
    async fn deliver(&mut self, entries: &[Entry], now: Timestamp) -> Result<bool, SpoolError> {
        let mut samples = Vec::new();
        let mut ends = VecDeque::new();
        for entry in entries {
            let (mut good, loss) = read(entry, now);
            samples.append(&mut good);
            ends.push_back((samples.len(), entry.end, loss));
        }
        let mut head = 0;
        let mut at = self.done.min(ends.front().map_or(0, |(last, ..)| *last));
        let mut goes_on = true;
        loop {
            while let Some((last, end, loss)) = ends.pop_front_if(|(last, ..)| *last <= at) {
                self.outbox.lock().delivered(end)?;
                self.counters.poisoned += loss.poisoned;
                self.counters.untimely += loss.untimely;
                self.counters.unreadable += loss.unreadable;
                head = last;
            }
            self.done = at - head;
            let rest = samples.get(at..).unwrap_or_default();
            let request = rest.get(..first_request(rest)).unwrap_or_default();
            if request.is_empty() || !goes_on {
                return Ok(goes_on);
            }
            let sent;
            (sent, goes_on) = self.send(request, now).await;
            at += sent;
        }
    }

    /// Sends one request. What is refused is halved until what is wrong stands alone; that is dropped. Returns how many
    /// of its data are done with, and whether to go on.
    async fn send(&mut self, request: &[Sample], now: Timestamp) -> (usize, bool) {
        let mut sent = 0;
        let mut parts = vec![request];
        while let Some(part) = parts.pop() {
            match self.put.put(part).await {
                Ok(()) => {
                    self.taken(part.len());
                    sent += part.len();
                }
                Err(Fault::Invalid(why)) => match part {
                    [] => {}
                    [one] => {
                        sent += 1;
                        self.counters.poisoned += 1;
                        let metric = &one.datum.name;
                        error!(metric, why, "CloudWatch refuses a datum: it is dropped.");
                    }
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
                Err(Fault::Later(why)) => {
                    self.wait(now, &why);
                    return (sent, false);
                }
                Err(Fault::Credentials(why)) => {
                    self.put.reload().await;
                    self.wait(now, &why);
                    return (sent, false);
                }
            }
        }
        (sent, true)
    }

    fn taken(&mut self, count: usize) {
        self.counters.delivered += count as u64;
        self.counters.requests += 1;
        if self.failures > 0 {
            info!(failures = self.failures, "CloudWatch takes data again.");
            self.failures = 0;
        }
    }

    fn wait(&mut self, now: Timestamp, why: &str) {
        self.counters.retries += 1;
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!(why, "CloudWatch does not take data: it waits in the spool.");
        }
        let most = (WAIT_NS_FIRST << self.failures.min(16)).min(WAIT_NS_MAX);
        // Full jitter, so that sensors which failed together do not come back together.
        self.not_before = Timestamp(now.0.saturating_add(fastrand::u64(most / 4..=most)));
    }
}

/// What of an entry is not sent.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    poisoned: u64,
    untimely: u64,
    unreadable: u64,
}

/// The data of an entry that may be sent.
fn read(entry: &Entry, now: Timestamp) -> (Vec<Sample>, Loss) {
    let Ok(points) = decode(&entry.payload) else {
        return (Vec::new(), Loss { unreadable: 1, ..Loss::default() });
    };
    if !is_timely(points.time(), now) {
        let untimely = points.data.len() as u64;
        return (Vec::new(), Loss { untimely, ..Loss::default() });
    }
    let time_s = points.time_s;
    let samples = points.data.into_iter().map(|datum| Sample { time_s, datum });
    let (good, bad): (Vec<_>, Vec<_>) = samples.partition(Sample::is_valid);
    (good, Loss { poisoned: bad.len() as u64, ..Loss::default() })
}

/// First and longest time to wait after a failure.
const WAIT_NS_FIRST: u64 = 500_000_000;
const WAIT_NS_MAX: u64 = 120_000_000_000;

/// Entries that are looked at together.
const ENTRIES_AT_ONCE: usize = 16;
const PEEK_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
