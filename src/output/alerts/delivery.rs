//! The delivery of spooled messages: when to send, what to do with each answer.

use std::{collections::BTreeSet, future::Future};

use tracing::{error, info, warn};

use super::channel::Lanes;
use crate::{
    alerts::Message,
    model::Timestamp,
    output::{
        Fault,
        spool::{Entry, Position, SpoolError},
    },
};

/// Takes messages. What it says of a failure holds codes and status only.
pub trait Sink {
    /// Most messages of a request.
    fn messages_max(&self) -> usize;
    /// Sends the first of `messages`, at least one, and answers for each of those; or for all at once where the request failed
    /// as a whole.
    fn send(
        &mut self,
        messages: &[Message],
    ) -> impl Future<Output = Result<Vec<Result<(), Fault>>, Fault>> + Send;
    /// Reads credentials anew.
    fn reload(&mut self) -> impl Future<Output = ()> + Send;
}

/// What became of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertCounters {
    /// Messages delivered.
    pub delivered: u64,
    /// Requests that failed and are tried again.
    pub retried: u64,
    /// Messages dropped because the receiver refuses them for what they are.
    pub failed: u64,
    /// When a message was delivered last.
    pub last_delivery: Option<Timestamp>,
    /// Why the last request failed; none once one was taken.
    pub last_fault: Option<String>,
}

/// Delivers what a channel's spool holds.
#[derive(Debug)]
pub struct AlertDelivery<S> {
    name: String,
    sink: S,
    lanes: Lanes,
    not_before: Timestamp,
    failures: u32,
    /// Most messages of the next request: halved while whole requests are refused, so that the one at fault stands alone.
    messages_max: usize,
    /// Ends of entries that are done with, though an earlier one is not.
    done: BTreeSet<Position>,
    counters: AlertCounters,
}

impl<S: Sink> AlertDelivery<S> {
    /// Delivers what `lanes` commit, through `sink`.
    pub fn new(name: &str, sink: S, lanes: Lanes) -> Self {
        let messages_max = sink.messages_max().max(1);
        Self {
            name: name.to_owned(),
            sink,
            lanes,
            not_before: Timestamp::default(),
            failures: 0,
            messages_max,
            done: BTreeSet::new(),
            counters: AlertCounters::default(),
        }
    }

    /// What became of messages so far.
    pub fn counters(&self) -> AlertCounters {
        self.counters.clone()
    }

    /// Closes what is due at `now`, and sends what waits until it is all delivered (true), or has to wait.
    pub async fn step(&mut self, now: Timestamp) -> Result<bool, SpoolError> {
        // A disk that takes nothing more must not keep what it holds: sending makes room.
        let turned = self.lanes.turn(now);
        let delivered = self.drain(now).await;
        turned.and(delivered)
    }

    async fn drain(&mut self, now: Timestamp) -> Result<bool, SpoolError> {
        // A clock that was turned back must not stop us.
        let wait = self.not_before.since(now);
        if wait > 0 && wait <= WAIT_NS_MAX {
            return Ok(self.lanes.is_delivered());
        }
        loop {
            let entries = self.lanes.peek(ENTRIES_AT_ONCE, PEEK_BYTES_MAX)?;
            if entries.is_empty() {
                return Ok(true);
            }
            let (ends, messages) = self.next(&entries);
            let goes_on = messages.is_empty() || self.send(&ends, &messages, now).await;
            self.advance(&entries)?;
            if !goes_on {
                return Ok(false);
            }
        }
    }

    /// The next messages to send, and where they end. What cannot be read is done with, and counted.
    fn next(&mut self, entries: &[Entry]) -> (Vec<Position>, Vec<Message>) {
        let (mut ends, mut messages) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for entry in
            entries.iter().filter(|entry| !self.done.contains(&entry.end)).collect::<Vec<_>>()
        {
            let full = messages.len() >= self.messages_max || bytes > REQUEST_BYTES_MAX;
            if full {
                break;
            }
            if let Ok(message) = serde_json::from_slice(&entry.payload) {
                bytes += entry.payload.len();
                ends.push(entry.end);
                messages.push(message);
            } else {
                self.counters.failed += 1;
                self.done.insert(entry.end);
                error!(
                    channel = self.name,
                    "A message in the spool cannot be read: it is dropped."
                );
            }
        }
        (ends, messages)
    }

    async fn send(&mut self, ends: &[Position], messages: &[Message], now: Timestamp) -> bool {
        let whole = match self.sink.send(messages).await {
            Ok(results) => {
                return self.judge(ends, messages, results, now).await;
            }
            Err(fault) => fault,
        };
        match (whole, messages, ends) {
            (Fault::Invalid(why), [message], [end]) => {
                self.refused(*end, message, &why);
                true
            }
            (Fault::Invalid(_), ..) => {
                self.messages_max = (messages.len() / 2).max(1);
                true
            }
            (Fault::Later(why), ..) => {
                self.wait(now, why);
                false
            }
            (Fault::Credentials(why), ..) => {
                self.sink.reload().await;
                self.wait(now, why);
                false
            }
        }
    }

    /// What became of each message; false if some have to wait.
    async fn judge(
        &mut self,
        ends: &[Position],
        messages: &[Message],
        results: Vec<Result<(), Fault>>,
        now: Timestamp,
    ) -> bool {
        let mut later = None;
        let mut taken = 0;
        for ((end, message), result) in ends.iter().zip(messages).zip(results) {
            match result {
                Ok(()) => {
                    taken += 1;
                    self.done.insert(*end);
                }
                Err(Fault::Invalid(why)) => self.refused(*end, message, &why),
                Err(fault @ (Fault::Later(_) | Fault::Credentials(_))) => later = Some(fault),
            }
        }
        if taken > 0 {
            self.taken(taken, now);
        }
        match later {
            None => true,
            Some(Fault::Credentials(why)) => {
                self.sink.reload().await;
                self.wait(now, why);
                false
            }
            Some(Fault::Later(why) | Fault::Invalid(why)) => {
                self.wait(now, why);
                false
            }
        }
    }

    /// Moves the spool to before the first entry that is not done with.
    fn advance(&mut self, entries: &[Entry]) -> Result<(), SpoolError> {
        let done = entries.iter().take_while(|entry| self.done.contains(&entry.end));
        let Some(last) = done.last().map(|entry| entry.end) else { return Ok(()) };
        self.lanes.delivered(last)?;
        self.done.retain(|end| *end > last);
        Ok(())
    }

    fn taken(&mut self, count: u64, now: Timestamp) {
        self.counters.delivered += count;
        self.counters.last_delivery = Some(now);
        self.counters.last_fault = None;
        self.messages_max = (self.messages_max * 2).min(self.sink.messages_max().max(1));
        if self.failures > 0 {
            info!(channel = self.name, failures = self.failures, "Alerts are taken again.");
            self.failures = 0;
        }
    }

    fn refused(&mut self, end: Position, message: &Message, why: &str) {
        self.counters.failed += 1;
        self.done.insert(end);
        let key = &message.key;
        error!(channel = self.name, key, why, "The receiver refuses an alert: it is dropped.");
    }

    fn wait(&mut self, now: Timestamp, why: String) {
        self.counters.retried += 1;
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!(channel = self.name, why, "Alerts are not taken: they wait in the spool.");
        }
        self.counters.last_fault = Some(why);
        let most = (WAIT_NS_FIRST << self.failures.min(16)).min(WAIT_NS_MAX);
        // Full jitter, so that sensors which failed together do not come back together.
        self.not_before = Timestamp(now.0.saturating_add(fastrand::u64(most / 4..=most)));
    }
}

/// First and longest time to wait after a failure.
const WAIT_NS_FIRST: u64 = 500_000_000;
const WAIT_NS_MAX: u64 = 120_000_000_000;

/// Messages that are looked at together.
const ENTRIES_AT_ONCE: usize = 200;
const PEEK_BYTES_MAX: usize = 4 << 20;

/// Spooled bytes after which a request takes no further message.
const REQUEST_BYTES_MAX: usize = 2 << 20;
