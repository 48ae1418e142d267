//! The part of `run` that keeps the findings book: a thread of its own, so that a slow disk holds up no record.
#![allow(clippy::disallowed_methods, reason = "edge: starts the thread")]

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tracing::{error, info};

use super::findings::own_path;
use crate::{
    clock::now,
    config::{Config, FINDINGS_PATH, Settings},
    findings::{BookException, Changes, Event, EventKind, EventSink, Snapshot, Terms},
    model::{FindingId, time::NS_PER_S},
    output::{
        alerts::Dispatcher,
        book::{Book, BookError},
    },
    policy::Policy,
};

/// How records are judged.
#[derive(Clone, Debug)]
pub(super) struct Judging {
    pub(super) policy: Arc<Policy>,
    pub(super) terms: Terms,
}

impl Judging {
    pub(super) fn of(settings: &Settings) -> Self {
        Self { policy: Arc::clone(&settings.policy), terms: terms(&settings.config) }
    }
}

fn terms(config: &Config) -> Terms {
    let section = &config.findings;
    Terms {
        quiet_ns: section.quiet_s.saturating_mul(NS_PER_S),
        resolve_ns: section.resolve_s.saturating_mul(NS_PER_S),
        findings_max: usize::try_from(section.findings_max).unwrap_or(usize::MAX),
    }
}

/// Where the book is: what is configured, else the usual place, else, for who may not write there, the user's own.
pub(super) fn open_book(settings: &Settings) -> anyhow::Result<Option<(Book, Snapshot)>> {
    let Some(path) = settings.config.findings.book() else { return Ok(None) };
    let opened = match Book::open(path) {
        Err(BookError::Io { error, .. }) if is_usual(path) && not_ours(&error) => {
            let Some(own) = own_path() else { return Err(unusable(error)) };
            info!(path = %own.display(), "{FINDINGS_PATH} cannot be written: the findings book is here.");
            Book::open(&own)
        }
        opened => opened,
    };
    opened.map(Some).map_err(unusable)
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    let hint =
        "findings.path (name another file with --findings PATH, or keep none with --findings none)";
    anyhow::Error::new(error).context(hint)
}

fn is_usual(path: &Path) -> bool {
    path == Path::new(FINDINGS_PATH)
}

fn not_ours(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}

/// Opens the channels of alerts; without one, nobody has to be told. Needs the control plane's runtime.
pub(super) async fn dispatcher(settings: &Settings) -> anyhow::Result<Option<Arc<Dispatcher>>> {
    let config = &settings.config.alerts;
    if config.channels.is_empty() {
        return Ok(None);
    }
    let remedies = Arc::new(settings.policy.remedies().clone());
    let dispatcher = Dispatcher::new(config, remedies).await.context("alerts")?;
    info!(channels = config.channels.len(), "Alerts are told.");
    Ok(Some(Arc::new(dispatcher)))
}

/// Who takes events.
pub(super) fn sink(dispatcher: Option<&Arc<Dispatcher>>) -> Box<dyn EventSink> {
    match dispatcher {
        Some(dispatcher) => Box::new(Teller(Arc::clone(dispatcher))),
        None => Box::new(Nobody),
    }
}

/// What it takes is on disk, in the spool of each channel.
struct Teller(Arc<Dispatcher>);

impl EventSink for Teller {
    fn offer(&mut self, events: &[Event]) -> usize {
        // A channel whose disk fails has said so; all are offered again.
        if self.0.offer(events).is_ok() { events.len() } else { 0 }
    }
}

/// No output wants events.
struct Nobody;

impl EventSink for Nobody {
    fn offer(&mut self, events: &[Event]) -> usize {
        events.len()
    }
}

/// What the book did with the changes it was given.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// What could not be kept.
    pub(super) failed: Option<Changes>,
    /// Findings whose events were taken.
    pub(super) told: Vec<FindingId>,
    /// Exceptions that somebody wrote.
    pub(super) exceptions: Option<Vec<BookException>>,
}

/// The ends by which the control plane speaks with the book.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) changes: mpsc::Sender<Changes>,
    pub(super) done: mpsc::Receiver<Done>,
}

/// Starts the thread; it ends when the other side is gone and all is kept.
pub(super) fn start(
    book: Book,
    sink: Box<dyn EventSink>,
) -> anyhow::Result<(Desk, std::thread::JoinHandle<()>)> {
    let (changes, given) = mpsc::channel(1);
    let (answer, done) = mpsc::channel(1);
    let keeper = Keeper { book, sink, failing: false, since_kept: 0 };
    let thread = std::thread::Builder::new()
        .name("findings".to_owned())
        .spawn(move || keeper.work(given, &answer))
        .context("the keeper of findings cannot be started")?;
    Ok((Desk { changes, done }, thread))
}

struct Keeper {
    book: Book,
    sink: Box<dyn EventSink>,
    failing: bool,
    /// Seconds since the book was written.
    since_kept: u32,
}

/// Seconds after which the clock is kept though no finding changed: so much watched time may be lost by a crash.
const CLOCK_KEPT_S: u32 = 30;
/// Events offered at once.
const EVENTS_OFFERED_MAX: usize = 1000;

impl Keeper {
    fn work(mut self, mut given: mpsc::Receiver<Changes>, answer: &mpsc::Sender<Done>) {
        while let Some(changes) = given.blocking_recv() {
            if answer.blocking_send(self.keep(changes)).is_err() {
                return;
            }
        }
    }

    fn keep(&mut self, changes: Changes) -> Done {
        let mut done = Done::default();
        self.since_kept += 1;
        if !changes.is_empty() || self.since_kept >= CLOCK_KEPT_S {
            match self.book.commit(&changes) {
                Ok(()) => self.since_kept = 0,
                Err(error) => {
                    self.note(&error);
                    done.failed = Some(changes);
                    return done;
                }
            }
        }
        let rest = self.hand_over().and_then(|told| {
            done.told = told;
            done.exceptions = self.book.new_exceptions()?;
            Ok(())
        });
        match rest {
            Ok(()) if self.failing => {
                self.failing = false;
                info!("The findings book can be written again.");
            }
            Ok(()) => {}
            Err(error) => self.note(&error),
        }
        done
    }

    /// Offers what was not told yet, and marks what was taken.
    fn hand_over(&mut self) -> Result<Vec<FindingId>, BookError> {
        let mut told = Vec::new();
        loop {
            let untold = self.book.untold(EVENTS_OFFERED_MAX)?;
            let events: Vec<Event> = untold.iter().map(|one| one.event.clone()).collect();
            let taken = self.sink.offer(&events).min(events.len());
            let Some(last) = taken.checked_sub(1).and_then(|at| untold.get(at)) else { break };
            self.book.told(last.number, now())?;
            let begun = events.iter().take(taken).filter(|e| e.kind != EventKind::Resolved);
            told.extend(begun.map(|event| event.finding.id));
            if taken < EVENTS_OFFERED_MAX {
                break;
            }
        }
        Ok(told)
    }

    /// Says once that the book cannot be written.
    fn note(&mut self, error: &BookError) {
        if !self.failing {
            self.failing = true;
            error!(%error, "The findings book cannot be written: what changes is held until it can.");
        }
    }
}
