//! What metrics count of a flow, once per period in which it moved data.
//!
//! At the end of a period every flow that moved data since is counted under what is known of it then; a flow that ends
//! is counted at its end. What a settled flow counts under is remembered with it, so that later periods are cheap.

use std::{fmt, sync::Arc};

use super::{Data, Settings, Work, record};
use crate::{
    flow::{Flow, FlowTable, VantageTable},
    metrics::{Activity, ActivityKey, Class, Counts, KeyId, Meter, certificate_not_after_s},
    model::{Timestamp, record::Record},
};

/// How flows are counted for metrics.
#[derive(Clone, Debug)]
pub struct Measure {
    /// Length of a period, in nanoseconds of packet time.
    pub period_ns: u64,
    /// Which flows policy keeps out of ratios.
    pub excluded: Option<Excluded>,
}

/// A pure function that says whether policy keeps a flow out of ratios: a health check, for instance.
#[derive(Clone)]
pub struct Excluded(pub Arc<dyn Fn(&Record) -> bool + Send + Sync>);

impl fmt::Debug for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Excluded")
    }
}

/// What was counted of a flow so far.
#[derive(Debug, Default)]
pub(super) struct Measured {
    bytes: u64,
    /// What it counts under, once nothing can change that.
    key: Option<KeyId>,
    /// It was counted as a flow of its class before.
    counted: Option<Class>,
    /// It moved data in a period that is over, but its outcome was open.
    deferred: bool,
}

/// Counts for one shard.
#[derive(Debug)]
pub(super) struct Measurer {
    meter: Meter,
}

impl Measurer {
    pub(super) const fn new(measure: &Measure) -> Self {
        Self { meter: Meter::new(measure.period_ns) }
    }

    /// Time went on: when that ends a period, every flow that moved data in it is counted.
    pub(super) fn tick(
        &mut self,
        now: Timestamp,
        settings: &Settings,
        vantages: &VantageTable,
        table: &mut FlowTable<Data>,
    ) {
        if self.meter.turns(now) {
            let start = self.meter.start();
            for (_, flow) in table.iter_mut() {
                if flow.last >= start
                    || flow.data.told.as_ref().is_some_and(|told| told.measured.deferred)
                {
                    self.count(settings, vantages, flow, false);
                }
            }
        }
        self.meter.turn(now);
    }

    /// Counts what the flow moved since it was last counted. `over`: it has ended.
    pub(super) fn count(
        &mut self,
        settings: &Settings,
        vantages: &VantageTable,
        flow: &mut Flow<Data>,
        over: bool,
    ) {
        let bytes = total(flow);
        let mut certificate = None;
        let key = match flow.data.told.as_ref().and_then(|told| told.measured.key) {
            Some(key) => key,
            None if matches!(flow.data.work, Work::Silent) => return,
            None => {
                let settled = over || matches!(flow.data.work, Work::Settled { .. });
                let record = record(settings, vantages, flow, None);
                // A client that is about to be refused is not yet one in clear.
                let young = flow.first >= self.meter.start();
                if !settled && young && record.outcome == "unknown" {
                    flow.data.told().measured.deferred = true;
                    return;
                }
                let excluded = settings.measure.as_ref().and_then(|m| m.excluded.as_ref());
                let excluded = excluded.is_some_and(|excluded| (excluded.0)(&record));
                let key = self.meter.key(ActivityKey::of(&record, excluded));
                certificate = certificate_not_after_s(&record);
                // An open session may still gain; one that ran on may still become established.
                let is_final = settled && record.outcome != "unknown";
                flow.data.told().measured.key = Some(key).filter(|_| is_final);
                key
            }
        };
        let class = self.meter.class(key);
        let moved = flow.take_moved();
        let measured = &mut flow.data.told().measured;
        let active = moved || measured.deferred;
        let first = measured.counted != Some(class);
        let counts = Counts {
            flows: u64::from(active),
            new_flows: u64::from(active && first),
            bytes: bytes.saturating_sub(measured.bytes),
            certificate_not_after_s: certificate.filter(|_| active),
        };
        self.meter.count(key, counts);
        if active {
            measured.counted = Some(class);
        }
        measured.bytes = measured.bytes.max(bytes);
        measured.deferred = false;
    }

    /// The shard stops: the period being counted is over.
    pub(super) fn close(&mut self) {
        self.meter.close();
    }

    pub(super) fn take(&mut self) -> Vec<Activity> {
        self.meter.take()
    }

    pub(super) const fn periods_dropped(&self) -> u64 {
        self.meter.periods_dropped
    }
}

/// IP bytes of both directions, each by the vantage that records count by.
fn total(flow: &Flow<Data>) -> u64 {
    flow.directions.iter().fold(0, |sum, of| sum.saturating_add(of.elected().0.bytes))
}
