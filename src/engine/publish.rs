//! When a record is written, and what live records add: the growth since the last one.

use super::{Data, Settings, Stage, Summary, Work, report};
use crate::{
    flow::{Flow, VantageTable},
    model::{
        Outcome, Timestamp, Verdict,
        record::{Delta, Record},
    },
};

/// What the last record of a flow said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Published {
    /// Packets and bytes, by direction of the flow's key: roles may yet be exchanged.
    pub(super) totals: [[u64; 2]; 2],
    pub(super) last: Timestamp,
}

/// The record of a flow as it stands; `event` is set in live records, which also carry the growth since the last one.
pub(super) fn record(
    settings: &Settings,
    vantages: &VantageTable,
    flow: &mut Flow<Data>,
    event: Option<&'static str>,
) -> Record {
    let mut verdict = match &flow.data.work {
        Work::Silent => Summary::default().verdict(flow, Stage::Over),
        Work::Watched(session) => session.summary().verdict(flow, Stage::Open),
        Work::Settled { what, .. } => what.summary.verdict(flow, Stage::Over),
    };
    verdict.outcome = flow.data.outcome().unwrap_or(verdict.outcome);
    written(settings, vantages, flow, verdict, event)
}

/// The record of a flow that has ended, of which that summary and outcome are known.
pub(super) fn last_record(
    settings: &Settings,
    vantages: &VantageTable,
    flow: &mut Flow<Data>,
    (summary, outcome): (Summary, Option<Outcome>),
    event: Option<&'static str>,
) -> Record {
    let mut verdict = if settings.context.brief {
        summary.brief_verdict(flow)
    } else {
        summary.into_verdict(flow)
    };
    verdict.outcome = outcome.unwrap_or(verdict.outcome);
    written(settings, vantages, flow, verdict, event)
}

/// The record of a flow of which `verdict` is said.
fn written(
    settings: &Settings,
    vantages: &VantageTable,
    flow: &mut Flow<Data>,
    verdict: Verdict,
    event: Option<&'static str>,
) -> Record {
    let scope = settings.scopes.name(flow.key().scope);
    let mut record = report::record(flow, verdict, vantages, scope, &settings.context);
    record.event = event;
    if event.is_some() {
        let (client, last) = (flow.client(), flow.last);
        let published = flow.data.told().published.get_or_insert_default();
        record.delta = Some(delta(&mut published.totals, client, &record));
        published.last = last;
    }
    record
}

/// Growth since the totals published, which are brought up to date. They never fall: another vantage may be counted by
/// that saw less.
fn delta(published: &mut [[u64; 2]; 2], client: usize, record: &Record) -> Delta {
    let grow = |total: &mut u64, now: u64| {
        let grown = now.saturating_sub(*total);
        *total += grown;
        grown
    };
    let [a, b] = published;
    let ([packets_c2s, bytes_c2s], [packets_s2c, bytes_s2c]) =
        if client == 0 { (a, b) } else { (b, a) };
    Delta {
        packets_c2s_delta: grow(packets_c2s, record.packets_c2s),
        packets_s2c_delta: grow(packets_s2c, record.packets_s2c),
        bytes_c2s_delta: grow(bytes_c2s, record.bytes_c2s),
        bytes_s2c_delta: grow(bytes_s2c, record.bytes_s2c),
    }
}
