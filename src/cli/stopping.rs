//! How the sensor is told to stop: it drains first where that is configured, a further signal hurries it.
#![allow(clippy::disallowed_methods, reason = "edge: hears signals, reads the clock")]

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tracing::info;

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Say that no more is wanted, and go on.
    Drain,
    /// Write what is open, and end.
    Stop,
    /// End at once.
    AtOnce,
}

impl Step {
    /// Says what goes on.
    pub(super) fn tell(self) {
        match self {
            Self::Drain => info!("Draining: /healthz fails, copies are still taken."),
            Self::Stop => info!("Stopping: the flows still open are written as they stand."),
            Self::AtOnce => {}
        }
    }
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct Stopping {
    terminate: Signal,
    interrupt: Signal,
    drain: Duration,
    /// End of the draining that goes on.
    drained_at: Option<Instant>,
    told: bool,
}

impl Stopping {
    /// Hears from now on. Needs a tokio runtime.
    pub(super) fn new(drain_s: u32) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            drain: Duration::from_secs(u64::from(drain_s)),
            drained_at: None,
            told: false,
        })
    }

    /// Waits for what is to be done next. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> Step {
        if let Some(end) = self.drained_at {
            tokio::select! {
                () = self.hear() => {}
                () = tokio::time::sleep_until(end) => {}
            }
            self.drained_at = None;
            return Step::Stop;
        }
        self.hear().await;
        if std::mem::replace(&mut self.told, true) {
            return Step::AtOnce;
        }
        if self.drain.is_zero() {
            return Step::Stop;
        }
        self.drained_at = Some(Instant::now() + self.drain);
        Step::Drain
    }

    async fn hear(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
