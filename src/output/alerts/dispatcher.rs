//! Every channel: what is offered goes to the spool of each, a task of each delivers it.
#![allow(clippy::disallowed_methods, reason = "edge: keeps a file")]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};
use tracing::{error, info};

use super::{
    channel::Lanes,
    delivery::{AlertCounters, AlertDelivery, Sink},
    sink::Target,
};
use crate::{
    alerts::{AlertsConfig, MuteConfig, Mutes},
    clock::now,
    findings::Event,
    model::Timestamp,
    output::spool::SpoolError,
    policy::Remedies,
};

/// Seconds until an AWS request that is not answered is given up.
#[cfg(feature = "aws")]
pub(super) const TIMEOUT_S: u32 = 30;

/// Why alerts cannot be told, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// A key of the configuration, a secret that cannot be read, or a feature that is not there.
    #[error("{key}: {problem}")]
    Config {
        /// Which key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A spool cannot be used.
    #[error("channel `{channel}`: {error}")]
    Spool {
        /// Whose.
        channel: String,
        /// Why.
        error: SpoolError,
    },
}

/// How a channel stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelStatus {
    /// Its name.
    pub name: String,
    /// Kind of its target.
    pub kind: String,
    /// Alerts accepted: told in a message or a digest.
    pub accepted: u64,
    /// Alerts that a mute held back.
    pub muted: u64,
    /// Alerts that went to the digest because a limit was reached.
    pub over_limit: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Requests that failed and are tried again.
    pub retried: u64,
    /// Messages that the receiver refused for what they are.
    pub failed: u64,
    /// Messages and digest lines that a full spool or a failing disk dropped.
    pub dropped: u64,
    /// Messages that wait for delivery.
    pub waiting: u64,
    /// Alerts that wait for the end of their grouping window.
    pub grouping: u64,
    /// Lines that wait for the next digest.
    pub digest_lines: u64,
    /// When a message was delivered last, RFC 3339.
    pub last_delivery: Option<String>,
    /// Why the last request failed, in codes; none once one was taken.
    pub last_fault: Option<String>,
}

/// Tells findings.
#[derive(Debug)]
pub struct Dispatcher {
    remedies: Arc<Remedies>,
    channels: Vec<Channel>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct Channel {
    name: String,
    kind: &'static str,
    lanes: Lanes,
    counters: Arc<Mutex<AlertCounters>>,
    task: JoinHandle<()>,
}

impl Dispatcher {
    /// Opens the spools, connects the targets, and starts a task for each channel. Needs a tokio runtime.
    ///
    /// # Errors
    /// What of the configuration cannot work, with its key, and spools that cannot be used.
    pub async fn new(config: &AlertsConfig, remedies: Arc<Remedies>) -> Result<Self, AlertsError> {
        if let Some((key, problem)) = config.problems().into_iter().next() {
            return Err(AlertsError::Config { key, problem });
        }
        let mutes = mutes(&config.mutes)?;
        let (stop, stopped) = watch::channel(false);
        let mut channels = Vec::new();
        let now = now();
        let begun = if config.channels.is_empty() { now } else { begun(&config.spool, now) };
        for (at, channel) in config.channels.iter().enumerate() {
            let target = Target::connect(channel).await.map_err(|problem| AlertsError::Config {
                key: format!("alerts.channels[{at}]"),
                problem,
            })?;
            let lanes = Lanes::open(config, channel, mutes.clone(), begun, now)
                .map_err(|error| AlertsError::Spool { channel: channel.name.clone(), error })?;
            let waiting = lanes.waiting().0;
            if waiting > 0 {
                info!(
                    channel = channel.name,
                    waiting, "Alerts of an earlier run wait for delivery."
                );
            }
            let delivery = AlertDelivery::new(&channel.name, target, lanes.clone());
            let counters = Arc::default();
            let task = deliver(delivery, lanes.clone(), Arc::clone(&counters), stopped.clone());
            channels.push(Channel {
                name: channel.name.clone(),
                kind: channel.kind().unwrap_or_default(),
                lanes,
                counters,
                task: tokio::spawn(task),
            });
        }
        Ok(Self { remedies, channels, stop })
    }

    /// Takes what happened to findings. Once this returns well, all of it that is told is on disk; a channel whose disk fails
    /// does not hold up the others. It waits for the disk and so belongs on a thread that may.
    ///
    /// # Errors
    /// The first channel that could not keep its part; offering the same again may tell it twice elsewhere.
    pub fn offer(&self, events: &[Event]) -> Result<(), AlertsError> {
        self.offer_at(events, now())
    }

    /// Mutes from now on.
    ///
    /// # Errors
    /// What is wrong with one of them; then those before stay.
    pub fn mute(&self, list: &[MuteConfig]) -> Result<(), AlertsError> {
        let mutes = mutes(list)?;
        for channel in &self.channels {
            channel.lanes.mute(mutes.clone());
        }
        Ok(())
    }

    /// How each channel stands.
    pub fn status(&self) -> Vec<ChannelStatus> {
        self.channels.iter().map(Channel::status).collect()
    }

    /// Delivers what can be delivered in `wait`, and stops. What is left waits on disk for the next start.
    pub async fn stop(self, wait: Duration) {
        self.stop.send_replace(true);
        for channel in self.channels {
            if tokio::time::timeout(wait, channel.task).await.is_err() {
                let (waiting, ..) = channel.lanes.waiting();
                info!(
                    channel = channel.name,
                    waiting, "Alerts wait in the spool for the next start."
                );
            }
        }
    }

    fn offer_at(&self, events: &[Event], now: Timestamp) -> Result<(), AlertsError> {
        let mut result = Ok(());
        for channel in &self.channels {
            if let Err(error) = channel.lanes.offer(events, &self.remedies, now) {
                error!(channel = channel.name, %error, "Alerts cannot be written to the spool.");
                let error = AlertsError::Spool { channel: channel.name.clone(), error };
                result = result.and(Err(error));
            }
        }
        result
    }
}

impl Channel {
    fn status(&self) -> ChannelStatus {
        let lanes = self.lanes.counters();
        let sent = self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (waiting, grouping, digest) = self.lanes.waiting();
        ChannelStatus {
            name: self.name.clone(),
            kind: self.kind.to_owned(),
            accepted: lanes.accepted,
            muted: lanes.muted,
            over_limit: lanes.over_limit,
            delivered: sent.delivered,
            retried: sent.retried,
            failed: sent.failed,
            dropped: lanes.dropped,
            waiting: waiting as u64,
            grouping: grouping as u64,
            digest_lines: digest as u64,
            last_delivery: sent.last_delivery.map(|at| at.to_string()),
            last_fault: sent.last_fault,
        }
    }
}

fn mutes(list: &[MuteConfig]) -> Result<Mutes, AlertsError> {
    Mutes::new(list)
        .map_err(|problem| AlertsError::Config { key: "alerts.mutes".to_owned(), problem })
}

async fn deliver<S: Sink>(
    mut delivery: AlertDelivery<S>,
    lanes: Lanes,
    counters: Arc<Mutex<AlertCounters>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut stopping = false;
    loop {
        let result = delivery.step(now()).await;
        if stopping && *result.as_ref().unwrap_or(&true) {
            break;
        }
        if let Err(error) = result {
            error!(%error, "The spool of alerts cannot be used.");
        }
        *counters.lock().unwrap_or_else(PoisonError::into_inner) = delivery.counters();
        if stopping {
            tick.tick().await;
            continue;
        }
        tokio::select! {
            _ = tick.tick() => {}
            _ = stopped.changed() => {
                stopping = true;
                // Nobody may come back to this disk: open groups are told now.
                if let Err(error) = lanes.close_groups(now()) {
                    error!(%error, "Alerts cannot be written to the spool.");
                }
            }
        }
    }
    *counters.lock().unwrap_or_else(PoisonError::into_inner) = delivery.counters();
}

/// When the sensor was first started here, for the baseline; kept beside the spools.
fn begun(folder: &Path, now: Timestamp) -> Timestamp {
    let file = folder.join("begun");
    let known = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    known.unwrap_or_else(|| {
        let kept = fs::create_dir_all(folder).and_then(|()| fs::write(&file, format!("{now}\n")));
        if let Err(error) = kept {
            error!(%error, "The time of the first start cannot be kept: a baseline begins anew at each start.");
        }
        now
    })
}
