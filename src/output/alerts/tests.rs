//! One module per promise; [`channel`] is what most of them begin with.

use std::{pin::pin, task};

use super::*;
use crate::{
    alerts::{
        AlertsConfig, ChannelConfig, Message, Mutes,
        tests::{at, event, people, programs, remedies},
    },
    findings::{Event, EventKind},
    model::Timestamp,
    output::Fault,
    policy::Severity,
};

#[cfg(feature = "aws")]
mod aws;
mod delivery;
mod receivers;

fn config(folder: &tempfile::TempDir) -> AlertsConfig {
    AlertsConfig { spool: folder.path().to_owned(), ..AlertsConfig::default() }
}

fn lanes(config: &AlertsConfig, channel: &ChannelConfig, now: Timestamp) -> Lanes {
    Lanes::open(config, channel, Mutes::default(), at(0), now).unwrap()
}

/// `count` openings with clients of their own, from number `first` on.
fn opened(first: u32, count: u32, s: u64) -> Vec<Event> {
    let client = |n: u32| format!("client-{n}");
    let opened = |n| event(EventKind::Opened, Severity::High, &client(n), s);
    (first..first + count).map(opened).collect()
}

/// Messages of a channel for programs.
fn messages(count: u32) -> Vec<Message> {
    let remedies = remedies();
    let alert = |event: &Event| crate::alerts::Alert::new(event, &remedies);
    opened(0, count, 0).iter().map(|e| Message::alert("programs", alert(e), at(1))).collect()
}

/// What is always ready runs to its end in one poll.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = task::Context::from_waker(task::Waker::noop());
    match pin!(future).poll(&mut context) {
        task::Poll::Ready(value) => value,
        task::Poll::Pending => panic!("not ready"),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn kind(result: &Result<Vec<Result<(), Fault>>, Fault>) -> &'static str {
    let of = |fault: &Fault| match fault {
        Fault::Later(_) => "later",
        Fault::Credentials(_) => "credentials",
        Fault::Invalid(_) => "invalid",
    };
    match result {
        Err(fault) => of(fault),
        Ok(results) => results.iter().find_map(|r| r.as_ref().err()).map_or("taken", of),
    }
}
