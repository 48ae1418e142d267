//! Whether the sensor is well: what `/healthz`, `/readyz`, `/status` and systemd are told.
//!
//! The data plane shows its counters every second, also when nothing comes; when it stops doing so it is stuck or dead.
#![allow(clippy::disallowed_methods, reason = "edge: reads the clock, tells systemd")]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{config::HealthSection, counters::Counters};

/// The data plane is taken for stuck when it has shown nothing this long.
const SILENT_MAX: Duration = Duration::from_secs(5);
/// Lost packets are looked at over this time.
const WINDOW: Duration = Duration::from_mins(1);
/// Rates are of this time.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// How often systemd is told what goes on, where it does not ask for more.
const TELL_SYSTEMD: Duration = Duration::from_secs(10);

/// How the sensor stands. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begun: Instant,
    kernel_drops_percent_max: u8,
    draining: AtomicBool,
    samples: Mutex<Samples>,
}

/// What the data plane showed in the last minute, a sample a second.
#[derive(Debug, Default)]
struct Samples(VecDeque<Sample>);

/// Counters at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    at: Instant,
    packets: u64,
    bytes: u64,
    drops: u64,
}

/// What the sensor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The data plane has not shown anything yet.
    Starting,
    /// All is well.
    Running,
    /// Told to stop: copies are still taken.
    Draining,
    /// The data plane is stuck, or too much is lost.
    Failing,
}

impl State {
    /// Its word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Failing => "failing",
        }
    }
}

/// Growth of the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Packets a second.
    pub(super) packets_per_s: f64,
    /// Bits a second.
    pub(super) bits_per_s: f64,
    /// Share of packets lost before they were read, of the last minute, in percent.
    pub(super) kernel_drops_percent: f64,
}

impl Health {
    pub(super) fn new(config: &HealthSection) -> Self {
        Self(Arc::new(Inner {
            begun: Instant::now(),
            kernel_drops_percent_max: config.kernel_drops_percent_max,
            draining: AtomicBool::new(false),
            samples: Mutex::default(),
        }))
    }

    /// Watches the data plane, and tells systemd, for as long as there is a data plane.
    pub(super) async fn watch(self, mut counters: watch::Receiver<Counters>) {
        let every = sd_notify::watchdog_enabled().map_or(TELL_SYSTEMD, |time| time / 3);
        let mut tell = tokio::time::interval(every.max(Duration::from_millis(100)));
        tell.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut told_ready = false;
        loop {
            tokio::select! {
                changed = counters.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.sample(&counters.borrow_and_update(), Instant::now());
                    if !told_ready {
                        told_ready = true;
                        notify(&[NotifyState::Ready]);
                    }
                }
                _ = tell.tick() => self.tell_systemd(),
            }
        }
    }

    /// The signal to stop has come.
    pub(super) fn drain(&self) {
        if !self.0.draining.swap(true, Ordering::Relaxed) {
            notify(&[NotifyState::Stopping]);
        }
    }

    /// What it does, and what is wrong, in a sentence.
    pub(super) fn state(&self) -> (State, Option<String>) {
        let draining = self.0.draining.load(Ordering::Relaxed);
        self.samples().state(Instant::now(), draining, self.0.kernel_drops_percent_max)
    }

    /// How fast it goes.
    pub(super) fn rates(&self) -> Rates {
        self.samples().rates()
    }

    /// Time since the start.
    pub(super) fn uptime(&self) -> Duration {
        self.0.begun.elapsed()
    }

    fn sample(&self, counters: &Counters, at: Instant) {
        self.samples().add(Sample {
            at,
            packets: counters.frames,
            bytes: counters.frame_bytes,
            drops: counters.drops.total(),
        });
    }

    /// A data plane that is stuck lets the watchdog bite: systemd starts the sensor anew.
    fn tell_systemd(&self) {
        let samples = self.samples();
        if samples.is_silent(Instant::now()) {
            return;
        }
        let Rates { packets_per_s, kernel_drops_percent, .. } = samples.rates();
        drop(samples);
        let status = format!("{packets_per_s:.0} packets/s, {kernel_drops_percent:.2} % lost");
        notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.0.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without systemd nobody listens.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told.");
    }
}

impl Samples {
    fn add(&mut self, sample: Sample) {
        self.0.push_back(sample);
        // One from before the window stays: growth in the window is counted from there.
        while self.0.get(1).is_some_and(|next| sample.at.duration_since(next.at) >= WINDOW) {
            self.0.pop_front();
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.0.back().is_none_or(|last| now.saturating_duration_since(last.at) > SILENT_MAX)
    }

    fn state(&self, now: Instant, draining: bool, percent_max: u8) -> (State, Option<String>) {
        if draining {
            return (State::Draining, Some("told to stop".to_owned()));
        }
        let Some(last) = self.0.back() else {
            return (State::Starting, Some("the data plane has not started yet".to_owned()));
        };
        if self.is_silent(now) {
            let silent_s = now.saturating_duration_since(last.at).as_secs();
            let problem = format!("the data plane has not moved for {silent_s} s");
            return (State::Failing, Some(problem));
        }
        let percent = self.rates().kernel_drops_percent;
        if percent > f64::from(percent_max) {
            let problem = format!(
                "{percent:.1} % of the packets of the last minute were lost before they were read; at most {percent_max} % \
                 is allowed (health.kernel_drops_percent_max)"
            );
            return (State::Failing, Some(problem));
        }
        (State::Running, None)
    }

    fn rates(&self) -> Rates {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else {
            return Rates::default();
        };
        let recent = self.0.iter().rev().find(|s| last.at.duration_since(s.at) >= RATE_WINDOW);
        let from = recent.unwrap_or(first);
        let seconds = last.at.duration_since(from.at).as_secs_f64().max(0.001);
        let dropped = number(last.drops.saturating_sub(first.drops));
        let read = number(last.packets.saturating_sub(first.packets));
        Rates {
            packets_per_s: number(last.packets.saturating_sub(from.packets)) / seconds,
            bits_per_s: number(last.bytes.saturating_sub(from.bytes)) * 8.0 / seconds,
            kernel_drops_percent: 100.0 * dropped / (dropped + read).max(1.0),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "rates for people")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples a second apart: packets and drops so far.
    fn samples(counts: &[(u64, u64)]) -> (Samples, Instant) {
        let begun = Instant::now();
        let mut samples = Samples::default();
        let mut at = begun;
        for (packets, drops) in counts {
            samples.add(Sample { at, packets: *packets, bytes: packets * 100, drops: *drops });
            at += Duration::from_secs(1);
        }
        (samples, at)
    }

    fn state(samples: &Samples, now: Instant) -> State {
        samples.state(now, false, 10).0
    }

    #[test]
    fn the_sensor_is_well_while_its_data_plane_moves() {
        let (none, now) = samples(&[]);
        assert_eq!(state(&none, now), State::Starting);
        let (some, now) = samples(&[(0, 0), (0, 0), (0, 0)]);
        assert_eq!(state(&some, now), State::Running, "a silent mirror is no sick sensor");
        let later = now + Duration::from_secs(6);
        let (stuck, problem) = some.state(later, false, 10);
        assert_eq!(stuck, State::Failing);
        assert_eq!(problem.unwrap(), "the data plane has not moved for 7 s");
        assert_eq!(some.state(now, true, 10).0, State::Draining);
    }

    #[test]
    fn too_many_lost_packets_are_told_until_a_minute_after() {
        let (well, now) = samples(&[(0, 0), (900, 100)]);
        assert_eq!(state(&well, now), State::Running, "exactly ten percent");
        let (lossy, now) = samples(&[(0, 0), (890, 110)]);
        assert_eq!(state(&lossy, now), State::Failing);
        let mut counts = vec![(0, 0), (890, 110)];
        counts.extend((0..62).map(|second| (1000 + second * 1000, 110)));
        let (recovered, now) = samples(&counts);
        assert_eq!(state(&recovered, now), State::Running);
        assert!(recovered.0.len() <= 62, "{}", recovered.0.len());
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let counts: Vec<_> = (0..30).map(|second| (second * second, 0)).collect();
        let (samples, _) = samples(&counts);
        let rates = samples.rates();
        assert!((rates.packets_per_s - 48.0).abs() < 0.01, "{rates:?}");
        assert!((rates.bits_per_s - 38_400.0).abs() < 1.0);
    }
}
