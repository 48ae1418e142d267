//! IP fragments put together in a bounded table. RFC 791 section 3.2, RFC 815 (holes), RFC 8200 section 4.5.
//!
//! Where fragments overlap, the bytes that came first stay. (RFC 8200 asks receivers of IPv6 to drop such datagrams; which
//! bytes the receiver saw is not ours to know, and a copy of the same fragment must do no harm.)
#![cfg_attr(
    not(test),
    expect(
        clippy::disallowed_types,
        reason = "a datagram in pieces has to be held; bounded in number, bytes and age"
    )
)]

use std::{collections::VecDeque, fmt, net::IpAddr};

use hashbrown::HashMap;

use super::{Counters, Limits, Skip};
use crate::model::{Timestamp, Vantage};

/// Fragments of one datagram agree in this. Copies of it taken elsewhere are another datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) vantage: Option<Vantage>,
    pub(super) endpoint_id: u64,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) id: u32,
    /// For IPv6 always the fragment header's own number: later fragments may name another next header.
    pub(super) protocol: u8,
}

/// One fragment.
pub(super) struct Arrival<'a> {
    pub(super) time: Timestamp,
    pub(super) key: Key,
    /// What the datagram's payload is, according to this fragment.
    pub(super) protocol: u8,
    /// Offset in bytes.
    pub(super) start: u16,
    /// Whether none follows.
    pub(super) last: bool,
    pub(super) payload: &'a [u8],
}

impl fmt::Debug for Arrival<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival")
            .field("time", &self.time)
            .field("key", &self.key)
            .field("payload", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// A complete datagram's payload.
#[derive(Default)]
pub(super) struct Whole {
    /// What it is, according to its first fragment.
    pub(super) protocol: u8,
    pub(super) data: Vec<u8>,
}

impl fmt::Debug for Whole {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whole")
            .field("protocol", &self.protocol)
            .field("data", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// Incomplete datagrams.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<Key, Entry>,
    /// Every entry once, oldest first, and some that are gone: those have another serial, or none.
    order: VecDeque<(Key, u64)>,
    bytes: usize,
    serial: u64,
}

impl Table {
    /// Takes in one fragment; returns the datagram it completes.
    pub(super) fn add(
        &mut self,
        arrival: &Arrival<'_>,
        limits: &Limits,
        counters: &mut Counters,
    ) -> Result<Whole, Skip> {
        self.expire(arrival.time, limits, counters);
        let (start, end) = extent(arrival)?;
        if !self.entries.contains_key(&arrival.key) {
            while self.entries.len() >= limits.fragments_max.max(1) {
                self.evict(counters);
            }
            self.open(arrival);
        }
        let Some(entry) = self.entries.get_mut(&arrival.key) else { return Err(Skip::Fragment) };
        let before = entry.cost();
        let filled = entry.fill(start, end, arrival);
        self.bytes = self.bytes.saturating_sub(before).saturating_add(entry.cost());
        filled?;
        if entry.is_complete() {
            let whole = self.remove(&arrival.key).ok_or(Skip::Fragment)?;
            counters.fragments_reassembled = counters.fragments_reassembled.saturating_add(1);
            return Ok(whole);
        }
        while self.bytes > limits.fragment_bytes_max {
            self.evict(counters);
        }
        Err(Skip::Fragment)
    }

    /// Drops what is too old.
    pub(super) fn expire(&mut self, now: Timestamp, limits: &Limits, counters: &mut Counters) {
        while let Some(&(key, serial)) = self.order.front() {
            match self.entries.get(&key) {
                Some(entry) if entry.serial == serial => {
                    if now.since(entry.since) <= limits.fragment_age_ns_max {
                        return;
                    }
                    self.remove(&key);
                    counters.fragments_expired = counters.fragments_expired.saturating_add(1);
                }
                _ => {}
            }
            self.order.pop_front();
        }
    }

    fn open(&mut self, arrival: &Arrival<'_>) {
        self.serial = self.serial.wrapping_add(1);
        let entry = Entry::new(arrival, self.serial);
        self.bytes = self.bytes.saturating_add(entry.cost());
        self.entries.insert(arrival.key, entry);
        self.order.push_back((arrival.key, self.serial));
        // Completed datagrams leave their place in the queue behind.
        if self.order.len() > self.entries.len().saturating_mul(2).saturating_add(ORDER_SLACK) {
            let entries = &self.entries;
            self.order.retain(|(key, serial)| {
                entries.get(key).is_some_and(|entry| entry.serial == *serial)
            });
        }
    }

    /// Drops the oldest.
    fn evict(&mut self, counters: &mut Counters) {
        let Some((key, serial)) = self.order.pop_front() else {
            // Every entry is in the queue.
            self.bytes = 0;
            self.entries.clear();
            return;
        };
        if self.entries.get(&key).is_some_and(|entry| entry.serial == serial) {
            self.remove(&key);
            counters.fragments_evicted = counters.fragments_evicted.saturating_add(1);
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Whole> {
        let entry = self.entries.remove(key)?;
        self.bytes = self.bytes.saturating_sub(entry.cost());
        Some(Whole { protocol: entry.protocol, data: entry.data })
    }
}

struct Entry {
    since: Timestamp,
    serial: u64,
    protocol: u8,
    /// Length of the datagram, once its last fragment was seen.
    total: Option<usize>,
    /// What is missing, ascending: from, up to.
    holes: Vec<(usize, usize)>,
    data: Vec<u8>,
}

impl fmt::Debug for Entry {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("data", &self.data.len()).finish_non_exhaustive()
    }
}

impl Entry {
    fn new(arrival: &Arrival<'_>, serial: u64) -> Self {
        Self {
            since: arrival.time,
            serial,
            protocol: arrival.protocol,
            total: None,
            holes: Vec::from([(0, usize::MAX)]),
            data: Vec::new(),
        }
    }

    /// Bytes held, administration included.
    fn cost(&self) -> usize {
        let holes = self.holes.capacity().saturating_mul(size_of::<(usize, usize)>());
        let fixed = size_of::<(Key, Self)>().saturating_add(size_of::<(Key, u64)>());
        self.data.capacity().saturating_add(holes).saturating_add(fixed)
    }

    fn is_complete(&self) -> bool {
        self.holes.is_empty()
    }

    /// Fills the holes that `start..end` meets.
    fn fill(&mut self, start: usize, end: usize, arrival: &Arrival<'_>) -> Result<(), Skip> {
        if self.holes.len() >= HOLES_MAX {
            return Err(Skip::Fragment);
        }
        self.agree_on_length(end, arrival.last)?;
        if start == 0 && self.holes.first().is_some_and(|(from, _)| *from == 0) {
            self.protocol = arrival.protocol;
        }
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        let mut left = Vec::with_capacity(self.holes.len().saturating_add(1));
        for &(from, to) in &self.holes {
            let (low, high) = (from.max(start), to.min(end));
            if low >= high {
                left.push((from, to));
                continue;
            }
            let source = arrival.payload.get(low.saturating_sub(start)..high.saturating_sub(start));
            if let (Some(target), Some(source)) = (self.data.get_mut(low..high), source) {
                target.copy_from_slice(source);
            }
            left.extend([(from, low), (high, to)].into_iter().filter(|(a, b)| a < b));
        }
        self.holes = left;
        Ok(())
    }

    /// The first last fragment says how long the datagram is; what contradicts it is refused.
    fn agree_on_length(&mut self, end: usize, last: bool) -> Result<(), Skip> {
        match self.total {
            Some(total) if end > total || (last && end != total) => Err(Skip::BadHeader),
            None if last && self.data.len() > end => Err(Skip::BadHeader),
            None if last => {
                self.total = Some(end);
                self.holes.retain_mut(|(from, to)| {
                    *to = end.min(*to);
                    from < to
                });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// First byte and the one after the last. All fragments but the last are multiples of eight bytes.
fn extent(arrival: &Arrival<'_>) -> Result<(usize, usize), Skip> {
    let length = arrival.payload.len();
    let start = usize::from(arrival.start);
    let end = start.saturating_add(length);
    let odd = !arrival.last && !length.is_multiple_of(8);
    if length == 0 || odd || end > DATAGRAM_MAX { Err(Skip::BadHeader) } else { Ok((start, end)) }
}

/// Longest payload of an IP packet.
const DATAGRAM_MAX: usize = 65_535;
/// Holes kept per datagram; fragments of a real one leave a handful.
const HOLES_MAX: usize = 64;
/// Stale places in the queue that are not worth a clean-up.
const ORDER_SLACK: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::time::NS_PER_S;

    const SMALL: Limits = Limits {
        nesting_max: 4,
        fragments_max: 4,
        fragment_bytes_max: 200_000,
        fragment_age_ns_max: 30 * NS_PER_S,
    };

    fn arrival(id: u32, start: u16, last: bool, payload: &[u8]) -> Arrival<'_> {
        let key = Key {
            vantage: None,
            endpoint_id: 0,
            src: IpAddr::V4(Ipv4Addr::LOCALHOST),
            dst: IpAddr::V4(Ipv4Addr::LOCALHOST),
            id,
            protocol: 17,
        };
        Arrival { time: Timestamp(0), key, protocol: 17, start, last, payload }
    }

    /// Start, whether last, payload.
    type Part<'a> = (u16, bool, &'a [u8]);

    /// Feeds fragments of one datagram; returns what the last one gave.
    fn put_together(pieces: &[Part<'_>]) -> Result<Vec<u8>, Skip> {
        let (mut table, mut counters) = (Table::default(), Counters::default());
        let mut got = Err(Skip::Fragment);
        for (start, last, payload) in pieces {
            let arrival = arrival(1, *start, *last, payload);
            got = table.add(&arrival, &SMALL, &mut counters).map(|whole| whole.data);
        }
        assert_eq!(table.entries.is_empty(), got.is_ok());
        assert_eq!(table.bytes == 0, got.is_ok());
        got
    }

    #[test]
    fn the_first_copy_of_a_byte_stays() {
        let (a, b, c): (&[u8], &[u8], &[u8]) = (b"aaaaaaaa", b"bbbbbbbbbbbbbbbb", b"cc");
        let cases: [(&[Part<'_>], &[u8]); 5] = [
            (&[(0, false, a), (0, false, b), (16, true, c)], b"aaaaaaaabbbbbbbbcc"),
            (&[(0, false, b), (0, false, a), (16, true, c)], b"bbbbbbbbbbbbbbbbcc"),
            (&[(8, false, a), (0, false, b), (16, true, c)], b"bbbbbbbbaaaaaaaacc"),
            (&[(16, true, c), (8, false, a), (0, false, b)], b"bbbbbbbbaaaaaaaacc"),
            (&[(8, true, c), (0, false, a)], b"aaaaaaaacc"),
        ];
        for (pieces, expected) in cases {
            assert_eq!(put_together(pieces).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let (a, c): (&[u8], &[u8]) = (b"aaaaaaaa", b"cc");
        let cases: [(&[Part<'_>], Skip); 8] = [
            (&[(0, false, c)], Skip::BadHeader),
            (&[(0, false, b"")], Skip::BadHeader),
            (&[(8, true, b"")], Skip::BadHeader),
            (&[(65_528, true, a)], Skip::BadHeader),
            (&[(8, true, c), (16, true, c)], Skip::BadHeader),
            (&[(8, true, c), (8, false, a)], Skip::BadHeader),
            (&[(16, false, a), (8, true, c)], Skip::BadHeader),
            (&[(8, false, a), (16, true, c)], Skip::Fragment),
        ];
        for (pieces, reason) in cases {
            let (mut table, mut counters) = (Table::default(), Counters::default());
            let mut got = None;
            for (start, last, payload) in pieces {
                let arrival = arrival(1, *start, *last, payload);
                got = table.add(&arrival, &SMALL, &mut counters).err();
            }
            assert_eq!(got, Some(reason), "{pieces:?}");
        }
    }

    #[test]
    fn the_table_stays_within_its_limits() {
        let (mut table, mut counters) = (Table::default(), Counters::default());
        for id in 0..1000 {
            let start = if id % 2 == 0 { 0 } else { 60_000 };
            let got = table.add(&arrival(id, start, false, &[0; 8]), &SMALL, &mut counters);
            assert_eq!(got.err(), Some(Skip::Fragment));
            assert!(table.entries.len() <= SMALL.fragments_max);
            assert!(table.bytes <= SMALL.fragment_bytes_max);
        }
        let held = u64::try_from(table.entries.len()).unwrap();
        assert_eq!(counters.fragments_evicted + held, 1000);
        // Completed ones must not pile up in the queue.
        for id in 1000..10_000 {
            let first = arrival(id, 0, false, &[0; 8]);
            assert!(table.add(&first, &SMALL, &mut counters).is_err());
            assert!(table.add(&arrival(id, 8, true, &[0]), &SMALL, &mut counters).is_ok());
            assert!(table.order.len() <= 2 * SMALL.fragments_max + ORDER_SLACK + 1);
        }
        // Nor can every second piece of a datagram.
        for start in (0..65_000).step_by(16) {
            assert!(table.add(&arrival(7, start, false, &[0; 8]), &SMALL, &mut counters).is_err());
        }
        assert!(table.entries.values().all(|entry| entry.holes.len() <= HOLES_MAX));
    }
}
