//! Load that is put down on purpose: packets of flows that have told all they could are only counted, so most of them are
//! let go when packets come faster than one shard can take them. What begins, ends or is not decided yet is kept.

use super::{Data, Work};
use crate::{
    flow::{Flow, Standing},
    model::{Endpoint, FlowKey, Segment, TcpHeader, Timestamp, Transport, record::Record},
    wire::steer,
};

/// Flows of one hash.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    undecided: u16,
    decided: u16,
}

/// What is let go, and what must not be.
#[derive(Debug)]
pub(super) struct Shed {
    /// One packet in so many is kept; zero: all of them, always.
    keep_one_in: u32,
    overloaded: bool,
    nth: u32,
    /// Flows by the hash of their ends. Too many in one place only keep more.
    places: Vec<Place>,
    /// When a packet was let go last.
    last: Option<Timestamp>,
    pub(super) segments: u64,
    pub(super) bytes: u64,
}

impl Shed {
    pub(super) fn new(keep_one_in: u32) -> Self {
        Self {
            keep_one_in,
            overloaded: false,
            nth: 0,
            places: if keep_one_in > 0 { vec![Place::default(); PLACES] } else { Vec::new() },
            last: None,
            segments: 0,
            bytes: 0,
        }
    }

    /// Whether more comes than can be taken.
    pub(super) const fn set_overloaded(&mut self, overloaded: bool) {
        self.overloaded = overloaded && self.keep_one_in > 0;
    }

    /// Whether anything is let go at present.
    pub(super) const fn is_on(&self) -> bool {
        self.overloaded
    }

    /// Lets a segment go if only counters would move by it; true if it did.
    pub(super) fn lets_go(&mut self, segment: &Segment<'_>) -> bool {
        let tells = segment.tcp.is_some_and(TcpHeader::is_control);
        let bulk = match segment.transport {
            Transport::Tcp => true,
            // A datagram may be all that a flow ever says.
            Transport::Udp => segment.payload_len >= BULK_DATAGRAM_BYTES_MIN,
            Transport::Esp => false,
        };
        if tells || !bulk {
            return false;
        }
        let known = self.places.get(place(segment.src, segment.dst));
        if !known.is_some_and(|place| place.decided > 0 && place.undecided == 0) {
            return false;
        }
        self.nth = self.nth.wrapping_add(1);
        if self.nth.is_multiple_of(self.keep_one_in.max(1)) {
            return false;
        }
        self.segments += 1;
        self.bytes += u64::from(segment.payload_len);
        self.last = Some(segment.time);
        true
    }

    /// Keeps the books of a flow that was begun, moved on, or is about to end.
    pub(super) fn note(&mut self, flow: &mut Flow<Data>, over: bool) {
        if self.keep_one_in == 0 {
            return;
        }
        let now = match flow.data.work {
            _ if over => Standing::Out,
            Work::Settled { .. } => Standing::Decided,
            _ => Standing::Undecided,
        };
        let before = std::mem::replace(&mut flow.standing, now);
        if now == before {
            return;
        }
        let FlowKey { a, b, .. } = flow.key();
        let Some(place) = self.places.get_mut(place(a, b)) else { return };
        for (standing, grows) in [(before, false), (now, true)] {
            let flows = match standing {
                Standing::Out => continue,
                Standing::Undecided => &mut place.undecided,
                Standing::Decided => &mut place.decided,
            };
            // What is too much to count stays too much.
            *flows = match (*flows, grows) {
                (u16::MAX, _) => u16::MAX,
                (flows, true) => flows + 1,
                (flows, false) => flows.saturating_sub(1),
            };
        }
    }

    /// Counts of a flow that lived while packets were let go are no longer exact.
    pub(super) fn mark(&self, record: &mut Record) {
        if self.last.is_some_and(|last| record.ts_first <= last) {
            record.counts = "sampled";
        }
    }
}

fn place(a: Endpoint, b: Endpoint) -> usize {
    usize::try_from(steer::ends(0, a, b)).map_or(0, |hash| hash % PLACES)
}

/// Places of flows: of 100,000 flows a tenth of the new ones meets another in its place, and no SYN is let go there.
const PLACES: usize = 1 << 20;
/// Datagrams of media and of QUIC's streams.
const BULK_DATAGRAM_BYTES_MIN: u32 = 600;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        counters::Counters,
        engine::{Emitted, Engine, Settings},
        ingest::{CaptureFile, Input, Source, discover},
        wire,
    };

    /// Every flow's record by its ends and beginning, with the load as `overloaded` says; and what was met.
    fn read(overloaded: bool) -> (BTreeMap<String, Box<Record>>, Counters) {
        let mut records = BTreeMap::new();
        let mut met = Counters::default();
        for input in discover(&["captures".into()]).captures {
            let settings = Settings { shed_keep_one_in: 8, ..Settings::default() };
            let mut engine = Engine::new(settings);
            engine.set_overloaded(overloaded);
            let mut emit = |Emitted { record: r, .. }: Emitted| {
                let key = format!("{} {} {:?}", input.capture, r.community_id, r.ts_first);
                records.insert(key, r);
            };
            let mut source = CaptureFile::open(&input, wire::link_supported, None).unwrap();
            while let Ok(Input::Frame(frame)) = source.next() {
                engine.frame(&frame, &mut emit);
            }
            engine.finish(&mut emit);
            met.add(&engine.counters());
        }
        (records, met)
    }

    #[test]
    fn shedding_changes_no_verdict_and_every_packet_is_accounted_for() {
        let (whole, met) = read(false);
        let (shed, met_shed) = read(true);
        assert!(met.shed == 0 && met_shed.shed > 1_000, "{}", met_shed.shed);
        assert_eq!(met.segments, met_shed.segments + met_shed.shed);
        assert_eq!(met.frames, met_shed.frames);
        let (mut sampled, mut said_less) = (0, 0);
        for (key, before) in &whole {
            let after = &shed[key];
            let said = |r: &Record| (r.encryption, r.app, r.plaintext_reason);
            assert_eq!(said(before), said(after), "{key}");
            // It may have been the number of packets that showed that a session was in use.
            assert!(["unknown", before.outcome].contains(&after.outcome), "{key}");
            said_less += usize::from(before.outcome != after.outcome);
            assert_eq!(before.credentials, after.credentials, "{key}");
            assert!(["sampled", before.counts].contains(&after.counts), "{key}");
            sampled += usize::from(after.counts == "sampled");
        }
        assert!(whole.len() == shed.len() && sampled > 0, "{sampled}");
        assert!(said_less * 100 < whole.len(), "{said_less}");
    }

    #[test]
    fn nothing_is_let_go_where_that_is_not_wanted_or_not_needed() {
        let mut shed = Shed::new(0);
        shed.set_overloaded(true);
        assert!(!shed.is_on());
        let mut shed = Shed::new(8);
        assert!(!shed.is_on());
        shed.set_overloaded(true);
        assert!(shed.is_on());
        shed.set_overloaded(false);
        assert!(!shed.is_on());
    }
}
