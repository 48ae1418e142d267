//! The first stage behind the shard: records are completed, judged, put into findings, and passed on to be written.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::MissedTickBehavior,
};
use tracing::{error, info, warn};

use super::{
    board::Canary,
    keep::{Desk, Done, Judging},
    naming::keeper::Naming,
};
use crate::{
    clock::now,
    counters::Counters,
    engine::Emitted,
    enrich::Enrichment,
    findings::{Findings, FindingsCounters},
    metrics::Gauges,
    model::{Timestamp, record::Record, time::NS_PER_S},
    policy::{Subject, is_canary},
};

/// Without a packet this long the sensor sees nothing, and nothing follows from silence.
const BLIND_AFTER_NS: u64 = 60 * NS_PER_S;

/// Records that are taken together.
pub(super) const RECORDS_AT_ONCE: usize = 256;

/// For how long what comes is let gather: whom a record wakes costs the shards more than the record.
const GATHER: Duration = Duration::from_millis(10);

/// Lets records gather, unless there are some already or there will be no more.
pub(super) async fn gather<T>(given: &mpsc::Receiver<T>) {
    if given.is_empty() && !given.is_closed() {
        tokio::time::sleep(GATHER).await;
    }
}

/// Completes, judges and passes on.
pub(super) struct Stage {
    pub(super) enrichment: Enrichment,
    pub(super) naming: watch::Receiver<Naming>,
    pub(super) judging: watch::Receiver<Judging>,
    pub(super) keeping: Option<Keeping>,
    pub(super) counters: watch::Receiver<Counters>,
    /// To the writer; what finds no room is dropped and counted.
    pub(super) records: mpsc::Sender<Box<Record>>,
    pub(super) dropped: Arc<AtomicU64>,
    /// The sensor is stopping: what is left is waited for.
    pub(super) stop: Arc<AtomicBool>,
    /// When the canary was seen; none if none is expected.
    pub(super) canary: Option<Canary>,
}

/// The findings, and the way to their book.
pub(super) struct Keeping {
    findings: Findings,
    desk: Desk,
    gauges: watch::Sender<Gauges>,
    /// The book has changes that it has not answered yet.
    busy: bool,
    /// Packets seen when they last grew, and when that was.
    seen: (u64, Timestamp),
    noted: FindingsCounters,
}

impl Stage {
    /// Works until the other side of `given` is gone.
    pub(super) fn work(mut self, mut given: mpsc::Receiver<Emitted>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut records = Vec::with_capacity(RECORDS_AT_ONCE);
            loop {
                tokio::select! {
                    count = given.recv_many(&mut records, RECORDS_AT_ONCE) => {
                        if count == 0 {
                            break;
                        }
                        for Emitted { mut record, answers, .. } in records.drain(..) {
                            self.enrichment.complete(&answers, &mut record);
                            self.judge(&record);
                            let ending = given.is_closed() || self.stop.load(Ordering::Relaxed);
                            self.pass_on(record, ending).await;
                        }
                        gather(&given).await;
                    },
                    _ = tick.tick() => self.tick(),
                }
            }
            if let Some(keeping) = &mut self.keeping {
                keeping.finish().await;
            }
            let Enrichment { servers, names, .. } = &self.enrichment;
            if servers.forgotten() + names.forgotten() > 0 {
                info!(
                    servers_forgotten = servers.forgotten(),
                    names_forgotten = names.forgotten(),
                    "More servers than are remembered at once."
                );
            }
        });
        Ok(())
    }

    fn judge(&mut self, record: &Record) {
        if let Some(canary) = self.canary.as_ref().filter(|_| is_canary(record)) {
            canary.seen_at(record.ts_last);
        }
        let Some(keeping) = &mut self.keeping else { return };
        let decision = self.judging.borrow().policy.judge(&Subject::from(record), now());
        keeping.findings.observe(record, &decision, &self.enrichment.names);
    }

    /// The writer may be behind while packets come; at the end it is waited for, and findings are kept meanwhile.
    async fn pass_on(&mut self, record: Box<Record>, ending: bool) {
        let Err(mpsc::error::TrySendError::Full(record)) = self.records.try_send(record) else {
            return;
        };
        if !ending {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let records = self.records.clone();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                room = records.reserve() => {
                    if let Ok(room) = room {
                        room.send(record);
                    }
                    return;
                }
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        if self.naming.has_changed().unwrap_or(false) {
            let inventory = self.naming.borrow_and_update().inventory.clone();
            self.enrichment.names.set_inventory(inventory);
        }
        let Some(keeping) = &mut self.keeping else { return };
        if self.judging.has_changed().unwrap_or(false) {
            keeping.findings.set_terms(self.judging.borrow_and_update().terms);
        }
        let frames = self.counters.borrow().frames;
        keeping.tick(frames, now());
    }
}

impl Keeping {
    pub(super) fn new(findings: Findings, desk: Desk, gauges: watch::Sender<Gauges>) -> Self {
        let noted = FindingsCounters::default();
        let keeping = Self { findings, desk, gauges, busy: false, seen: (0, now()), noted };
        keeping.show();
        keeping
    }

    fn tick(&mut self, frames: u64, now: Timestamp) {
        if frames != self.seen.0 {
            self.seen = (frames, now);
        }
        if now.since(self.seen.1) > BLIND_AFTER_NS {
            self.findings.unwatched(now);
        } else {
            self.findings.advance(now);
        }
        while let Ok(done) = self.desk.done.try_recv() {
            self.take(done);
        }
        if !self.busy
            && let Ok(room) = self.desk.changes.try_reserve()
        {
            room.send(self.findings.take());
            self.busy = true;
        }
        self.show();
        self.note();
    }

    fn take(&mut self, done: Done) {
        self.busy = false;
        if let Some(changes) = done.failed {
            self.findings.take_back(changes);
        }
        self.findings.told(&done.told);
        if let Some(exceptions) = done.exceptions {
            self.findings.set_exceptions(exceptions);
        }
    }

    /// Keeps what is left; what the outputs do not take now is offered at the next start.
    async fn finish(&mut self) {
        let tries = 3;
        for _ in 0..tries {
            if self.busy {
                match self.desk.done.recv().await {
                    Some(done) => self.take(done),
                    None => return error!("The keeper of findings died: the last second is lost."),
                }
            }
            let changes = self.findings.take();
            if changes.is_empty() {
                return;
            }
            self.busy = self.desk.changes.send(changes).await.is_ok();
        }
        if self.busy && self.desk.done.recv().await.is_none_or(|done| done.failed.is_some()) {
            error!("The findings book cannot be written: what changed last is lost.");
        }
    }

    fn show(&self) {
        let open = Some(self.findings.open_by_severity());
        self.gauges.send_if_modified(|gauges| {
            let changed = gauges.open_findings != open;
            gauges.open_findings.clone_from(&open);
            changed
        });
    }

    /// Says when findings do not fit.
    fn note(&mut self) {
        let counters = self.findings.counters();
        if counters.not_kept > self.noted.not_kept {
            error!(
                not_kept = counters.not_kept,
                "The findings book is full of open findings of high and critical severity: new ones are not kept. \
                 Raise findings.findings_max."
            );
        }
        if counters.crowded_out > self.noted.crowded_out
            || counters.events_dropped > self.noted.events_dropped
        {
            warn!(
                crowded_out = counters.crowded_out,
                events_dropped = counters.events_dropped,
                "The findings book is full: the least of the findings went."
            );
        }
        self.noted = counters;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_gather_only_while_there_are_none_and_more_may_come() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let (sender, mut given) = mpsc::channel(2);
            assert!(waits(&given).await);
            sender.try_send(1).expect("room");
            assert!(!waits(&given).await);
            assert_eq!(given.recv().await, Some(1));
            assert!(waits(&given).await);
            drop(sender);
            assert!(!waits(&given).await);
        });
    }

    async fn waits(given: &mpsc::Receiver<u8>) -> bool {
        tokio::select! {
            biased;
            () = gather(given) => false,
            () = std::future::ready(()) => true,
        }
    }
}
