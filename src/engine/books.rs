//! The books of all sessions: what memory they take, how old they are, and which of them are closed for that.

use std::sync::Arc;

use super::{Close, Data, Shard, Work, close};
use crate::{
    flow::{FlowId, FlowTable},
    model::{Timestamp, time::NS_PER_S},
};

/// How long a session whose handshake is over waits for what may follow it (a second handshake, up to TLS 1.2). Then it
/// settles, although not a packet more may come: a pooled connection can be silent for hours.
const TAKEN_AGE_NS_MAX: u64 = 10 * NS_PER_S;
/// Entries of sessions that are over, from which on the queues are searched for them.
const QUEUE_SWEEP_MIN: usize = 1024;

impl Shard {
    pub(super) fn account(&mut self, before: usize, after: usize) {
        self.session_bytes = self.session_bytes.saturating_sub(before).saturating_add(after);
        let peak = &mut self.counters.session_bytes_peak;
        *peak = (*peak).max(self.session_bytes as u64);
    }

    /// Counts what a flow that has just settled leaves behind; above the bound it leaves only what its verdict needs.
    pub(super) fn account_settled(&mut self, id: FlowId) {
        let Some(flow) = self.table.get_mut(id) else { return };
        let Work::Settled { what, .. } = &mut flow.data.work else { return };
        if what.bytes > 0 {
            return;
        }
        if let Some(settled) = Arc::get_mut(what).filter(|_| self.settings.context.brief) {
            settled.summary.drop_evidence();
        }
        if self.alike.share(what) {
            return;
        }
        let Some(settled) = Arc::get_mut(what) else { return };
        let mut bytes = settled.memory();
        let full = self.settled_bytes + bytes > self.settings.session_bytes_max;
        let cut = settled.summary.is_cut();
        if full && settled.summary.trim() || cut {
            self.counters.facts_trimmed += 1;
            bytes = settled.memory();
        }
        settled.bytes = bytes;
        self.settled_bytes += bytes;
        let peak = &mut self.counters.settled_bytes_peak;
        *peak = (*peak).max(self.settled_bytes as u64);
    }

    /// Closes the oldest sessions until the rest fits.
    pub(super) fn bound_memory(&mut self) {
        while self.session_bytes > self.settings.session_bytes_max {
            let Some((id, serial)) = self.begun.pop_front() else { return };
            self.counters.memory_closed += u64::from(self.close(id, serial, Close::Memory));
        }
        if is_sparse(self.begun.len(), self.sessions) {
            let Self { begun, table, .. } = self;
            begun.retain(|(id, serial)| is_watched(table, *id, *serial));
        }
    }

    /// The handshake of a session is over; from now on its age counts.
    pub(super) fn note_taken(&mut self, id: FlowId, serial: u64) {
        self.taken.push_back((id, serial, self.now));
        if is_sparse(self.taken.len(), self.sessions) {
            let Self { taken, table, .. } = self;
            taken.retain(|(id, serial, _)| is_watched(table, *id, *serial));
        }
    }

    /// Settles the sessions whose handshake has been over for as long as one waits.
    pub(super) fn settle_taken(&mut self) {
        while let Some((id, serial, since)) = self.taken.front().copied() {
            if self.now.since(since) < TAKEN_AGE_NS_MAX {
                return;
            }
            self.taken.pop_front();
            if self.close(id, serial, Close::Taken) && self.settings.update_ns.is_some() {
                self.settled.push(id);
            }
        }
    }

    /// The clock went back: no handshake was over later than now.
    pub(super) fn turn_back_taken(&mut self, now: Timestamp) {
        for (_, _, since) in &mut self.taken {
            *since = (*since).min(now);
        }
    }

    /// Closes a session if it is still the one that is meant; true if it was.
    fn close(&mut self, id: FlowId, serial: u64, why: Close) -> bool {
        let Some(flow) = self.table.get_mut(id).filter(|flow| flow.serial == serial) else {
            return false;
        };
        let before = flow.data.session_bytes();
        let closed = close(flow, why);
        self.shed.note(flow, false);
        if closed {
            self.sessions -= 1;
            self.account(before, 0);
            self.account_settled(id);
        }
        closed
    }
}

/// Whether the session that is meant is still open.
fn is_watched(table: &mut FlowTable<Data>, id: FlowId, serial: u64) -> bool {
    let flow = table.get_mut(id).filter(|flow| flow.serial == serial);
    flow.is_some_and(|flow| matches!(flow.data.work, Work::Watched(_)))
}

/// Whether most entries of a queue are of sessions that are over.
const fn is_sparse(entries: usize, sessions: usize) -> bool {
    entries > QUEUE_SWEEP_MIN && entries > 4 * sessions
}
