//! What one end sends, as vantages deliver it. 40 bytes, for a table holds two of each flow: what most flows lack is boxed.

use super::{
    Coverage, NextSegment, SEQUENCE_DISTANCE_MAX, Seen, VantageId,
    coverage::{Holes, is_long},
    is_close,
};
use crate::model::{Segment, TcpHeader};

/// Most vantages counted for one direction.
pub const VANTAGES_MAX: usize = 4;

/// What one end sends. The numbers of the first vantage lie in it.
#[derive(Debug, Default)]
pub struct Direction {
    bytes: u64,
    /// The lower half; the upper one is hardly ever needed.
    packets: u32,
    isn: u32,
    /// Highest acknowledgement number sent in this direction.
    acked: u32,
    /// Sequence space seen: first number, and the one behind the last.
    start: u32,
    end: u32,
    vantage: VantageId,
    marks: Marks,
    rare: Option<Box<Rare>>,
}

const _: () = assert!(size_of::<Direction>() <= 40, "two of each flow");

/// What most directions lack.
#[derive(Debug, Default)]
struct Rare {
    packets_high: u32,
    truncated: u32,
    retransmits: u32,
    /// Sequence number of the RST that was believed and that answers nothing.
    reset: Option<u32>,
    holes: Option<Box<Holes>>,
    further: Vec<Tally>,
}

/// A set of what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks(u16);

impl Marks {
    /// The number of the SYN is known.
    const ISN: u16 = 1;
    /// An acknowledgement was sent.
    const ACKED: u16 = 1 << 1;
    /// Acknowledgements have grown by one, or by more.
    const ACKED_ONE: u16 = 1 << 2;
    const ACKED_MORE: u16 = 1 << 3;
    const FIN: u16 = 1 << 4;
    const PAYLOAD: u16 = 1 << 5;
    /// Payload came since the last period.
    const MOVED: u16 = 1 << 6;
    /// Of the first vantage's [`Coverage`].
    const BEGUN: u16 = 1 << 7;
    const LONG: u16 = 1 << 8;
    const OVERFLOW: u16 = 1 << 9;

    const fn has(self, mark: u16) -> bool {
        self.0 & mark != 0
    }

    const fn set(&mut self, mark: u16, on: bool) {
        if on {
            self.0 |= mark;
        } else {
            self.0 &= !mark;
        }
    }
}

/// Packets and bytes of one direction from one vantage.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Which vantage.
    pub vantage: VantageId,
    /// Packets.
    pub packets: u64,
    /// Bytes of the innermost IP packets, headers included.
    pub bytes: u64,
    /// Copies that arrived cut.
    pub truncated: u32,
    /// TCP segments that brought only what had been seen.
    pub retransmits: u32,
    /// TCP sequence space seen.
    pub coverage: Coverage,
}

impl Tally {
    /// Counts one packet; whether it brought what this vantage had not seen.
    fn count(&mut self, segment: &Segment<'_>) {
        self.packets += 1;
        self.bytes += u64::from(segment.ip_len);
        self.truncated += u32::from(is_cut(segment));
        let again = |(seq, length)| self.coverage.add(seq, length) == Seen::Again;
        self.retransmits += u32::from(sequence_space(segment).is_some_and(again));
    }
}

/// Whether not all of it was captured.
fn is_cut(segment: &Segment<'_>) -> bool {
    u32::try_from(segment.payload.len()).unwrap_or(u32::MAX) < segment.payload_len
}

/// The numbers that a TCP segment takes, if any.
fn sequence_space(segment: &Segment<'_>) -> Option<(u32, u32)> {
    let tcp = segment.tcp?;
    let control = u32::from(tcp.has(TcpHeader::SYN)) + u32::from(tcp.has(TcpHeader::FIN));
    let length = segment.payload_len + control;
    (length > 0).then_some((tcp.seq, length))
}

impl Direction {
    /// Counts one packet; false if its vantage finds no room.
    pub(super) fn count(&mut self, vantage: VantageId, segment: &Segment<'_>) -> bool {
        if !self.is_seen() {
            self.vantage = vantage;
        }
        if self.vantage != vantage {
            return self.count_further(vantage, segment);
        }
        self.add_packet(segment.ip_len);
        self.note_payload(segment.payload_len > 0);
        if is_cut(segment) {
            self.rare().truncated += 1;
        }
        if let Some((seq, length)) = sequence_space(segment)
            && !self.join(seq, length)
            && self.with_coverage(|coverage| coverage.add(seq, length)) == Seen::Again
        {
            self.rare().retransmits += 1;
        }
        true
    }

    /// What [`Self::count`] does with a segment of the first vantage that joins what was seen; else false, and nothing is
    /// done.
    #[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
    #[inline(always)]
    pub(super) fn extend<A: Copy>(&mut self, next: &NextSegment<A>) -> bool {
        let known = self.vantage == next.vantage && self.is_seen();
        if !known || next.payload_len > 0 && !self.join(next.tcp.seq, next.payload_len) {
            return false;
        }
        self.add_packet(next.ip_len);
        self.note_payload(next.payload_len > 0);
        true
    }

    fn count_further(&mut self, vantage: VantageId, segment: &Segment<'_>) -> bool {
        let (main, main_packets) = (self.bounds(), self.packets());
        let further = &mut self.rare().further;
        let at = further.iter().position(|tally| tally.vantage == vantage);
        if at.is_none() {
            if further.len() + 1 >= VANTAGES_MAX {
                return false;
            }
            // Nearly always the only one.
            further.reserve_exact(1);
            further.push(Tally { vantage, ..Tally::default() });
        }
        let at = at.unwrap_or(further.len() - 1);
        let Some(tally) = further.get_mut(at) else { return false };
        tally.count(segment);
        // What the first vantage delivered, too, moved nothing.
        let ahead = match sequence_space(segment) {
            Some((seq, length)) => main.ends_short_of(seq.wrapping_add(length)),
            None => tally.packets > main_packets,
        };
        if segment.payload_len > 0 {
            self.marks.set(Marks::PAYLOAD, true);
            self.marks.0 |= if ahead { Marks::MOVED } else { 0 };
        }
        true
    }

    fn add_packet(&mut self, ip_len: u32) {
        let (packets, full) = self.packets.overflowing_add(1);
        self.packets = packets;
        if full {
            self.rare().packets_high += 1;
        }
        self.bytes += u64::from(ip_len);
    }

    const fn note_payload(&mut self, some: bool) {
        if some {
            self.marks.0 |= Marks::PAYLOAD | Marks::MOVED;
        }
    }

    /// What [`Coverage::extend`] does with the first vantage's range.
    fn join(&mut self, seq: u32, length: u32) -> bool {
        let joins = self.marks.has(Marks::BEGUN) && seq == self.end && !self.has_holes();
        if !joins {
            return false;
        }
        if is_long(self.start, self.end) {
            self.marks.0 |= Marks::LONG;
        }
        self.end = seq.wrapping_add(length);
        true
    }

    fn with_coverage<R>(&mut self, change: impl FnOnce(&mut Coverage) -> R) -> R {
        let holes = self.rare.as_mut().and_then(|rare| rare.holes.take());
        let mut coverage = self.bounds().with_holes(holes);
        let result = change(&mut coverage);
        self.keep(&coverage);
        if let Some(holes) = coverage.into_holes() {
            self.rare().holes = Some(holes);
        }
        result
    }

    fn keep(&mut self, coverage: &Coverage) {
        let (range, [begun, long, overflow]) = coverage.parts();
        (self.start, self.end) = range;
        self.marks.set(Marks::BEGUN, begun);
        self.marks.set(Marks::LONG, long);
        self.marks.set(Marks::OVERFLOW, overflow);
    }

    /// The first vantage's range, without its holes.
    const fn bounds(&self) -> Coverage {
        let marks = self.marks;
        let flags = [marks.has(Marks::BEGUN), marks.has(Marks::LONG), marks.has(Marks::OVERFLOW)];
        Coverage::of_parts((self.start, self.end), flags)
    }

    fn has_holes(&self) -> bool {
        self.marks.has(Marks::OVERFLOW)
            || self.rare.as_ref().is_some_and(|rare| rare.holes.is_some())
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn further(&self) -> &[Tally] {
        self.rare.as_ref().map_or(&[], |rare| &rare.further)
    }

    fn packets(&self) -> u64 {
        let high = self.rare.as_ref().map_or(0, |rare| rare.packets_high);
        u64::from(high) << 32 | u64::from(self.packets)
    }

    /// What the first vantage delivered.
    fn main(&self) -> Tally {
        let rare = self.rare.as_deref();
        let holes = rare.and_then(|rare| rare.holes.clone());
        Tally {
            vantage: self.vantage,
            packets: self.packets(),
            bytes: self.bytes,
            truncated: rare.map_or(0, |rare| rare.truncated),
            retransmits: rare.map_or(0, |rare| rare.retransmits),
            coverage: self.bounds().with_holes(holes),
        }
    }

    /// Whether a packet came.
    pub fn is_seen(&self) -> bool {
        // The lower half tells nearly always.
        self.packets > 0 || self.packets() > 0
    }

    /// Whether one packet came, and no more.
    pub(super) fn is_single(&self) -> bool {
        self.packets() == 1
    }

    /// The vantage that delivered the first packet.
    pub const fn first_vantage(&self) -> VantageId {
        self.vantage
    }

    /// Whether a packet with payload came, from any vantage.
    pub const fn has_payload(&self) -> bool {
        self.marks.has(Marks::PAYLOAD)
    }

    pub(super) const fn take_moved(&mut self) -> bool {
        let moved = self.marks.has(Marks::MOVED);
        self.marks.set(Marks::MOVED, false);
        moved
    }

    /// The SYN's sequence number, when seen.
    pub const fn isn(&self) -> Option<u32> {
        if self.marks.has(Marks::ISN) { Some(self.isn) } else { None }
    }

    pub(super) const fn begin(&mut self, isn: u32) {
        self.isn = isn;
        self.marks.set(Marks::ISN, true);
    }

    /// Highest acknowledgement number sent in this direction.
    pub const fn acked(&self) -> Option<u32> {
        if self.marks.has(Marks::ACKED) { Some(self.acked) } else { None }
    }

    pub(super) const fn finish(&mut self) {
        self.marks.set(Marks::FIN, true);
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.marks.has(Marks::FIN)
    }

    pub(super) fn reset(&mut self, seq: Option<u32>) {
        if seq.is_some() {
            self.rare().reset = seq;
        }
    }

    pub(super) fn reset_at(&self) -> Option<u32> {
        self.rare.as_ref().and_then(|rare| rare.reset)
    }

    /// Whether `seq` is near what was seen here, or near what the other end acknowledged of it.
    pub(super) fn is_near(&self, seq: u32, acked: Option<u32>) -> bool {
        let close = |acked: Option<u32>| acked.is_some_and(|ack| is_close(seq, ack));
        if self.further().is_empty() && self.marks.has(Marks::BEGUN) {
            return self.bounds().distance(seq) <= SEQUENCE_DISTANCE_MAX || close(acked);
        }
        let mut seen = self.all_bounds().filter(Coverage::has_begun).peekable();
        if seen.peek().is_none() && acked.is_none() {
            return true;
        }
        close(acked) || seen.any(|bounds| bounds.distance(seq) <= SEQUENCE_DISTANCE_MAX)
    }

    /// Whether what was seen here ends before this sequence number.
    pub(super) fn ends_at(&self, next: u32) -> bool {
        if self.further().is_empty() {
            return self.bounds().ends_at(next);
        }
        self.elected().0.coverage.ends_at(next)
    }

    /// Every vantage's range, without holes.
    pub(super) fn all_bounds(&self) -> impl Iterator<Item = Coverage> {
        let further = self.further().iter().map(|tally| tally.coverage.bounds());
        std::iter::once(self.bounds()).filter(|_| self.is_seen()).chain(further)
    }

    /// The vantages that delivered anything, in order of appearance.
    pub fn vantages(&self) -> impl Iterator<Item = VantageId> {
        let further = self.further().iter().map(|tally| tally.vantage);
        std::iter::once(self.vantage).filter(|_| self.is_seen()).chain(further)
    }

    /// Whether `vantage` has delivered a packet of this direction.
    pub fn knows(&self, vantage: VantageId) -> bool {
        self.vantage == vantage && self.is_seen()
            || self.further().iter().any(|tally| tally.vantage == vantage)
    }

    /// Packets by the vantage to [count by](Self::elected).
    pub fn elected_packets(&self) -> u64 {
        if self.further().is_empty() { self.packets() } else { self.elected().0.packets }
    }

    /// Whether the vantage to [count by](Self::elected) saw all of it, without a gap or a cut, as far as the other end
    /// acknowledged it.
    pub fn is_whole(&self, acked: Option<u32>) -> bool {
        if self.further().is_empty() {
            let cut = self.rare.as_ref().is_some_and(|rare| rare.truncated > 0);
            let missed = acked.is_some_and(|ack| self.bounds().ends_before(ack));
            return self.is_seen() && !self.has_holes() && !cut && !missed;
        }
        let (tally, exact) = self.elected();
        let missed = acked.is_some_and(|ack| tally.coverage.ends_before(ack));
        exact && !missed && tally.packets > 0 && tally.truncated == 0
    }

    /// The vantage to count by: one without gaps that saw all the others saw, else the one that saw most.
    ///
    /// The flag tells whether the counts are exact: no gap in its sequence space, nothing before or after it elsewhere.
    pub fn elected(&self) -> (Tally, bool) {
        let main = self.main();
        if self.further().is_empty() {
            let exact = main.packets == 0 || main.coverage.is_gapless();
            return (main, exact);
        }
        let tallies = || std::iter::once(&main).chain(self.further()).filter(|t| t.packets > 0);
        let widest = tallies().fold(None, |all: Option<Coverage>, t| match all {
            Some(all) => Some(all.union_bounds(&t.coverage)),
            None => Some(t.coverage.bounds()),
        });
        let Some(widest) = widest else { return (main, true) };
        // A lost pure acknowledgement leaves no hole, so among equals the one that saw most is nearest to the truth.
        let most = |t: &&Tally| (t.packets, t.bytes, std::cmp::Reverse(t.vantage));
        // Without sequence numbers vantages that saw unequal numbers of packets may each have missed some.
        let packets = main.packets;
        let unequal = !widest.has_begun() && tallies().any(|t| t.packets != packets);
        let complete =
            |t: &&Tally| !unequal && t.coverage.is_gapless() && t.coverage.same_bounds(&widest);
        let whole = tallies().filter(complete).max_by_key(most);
        let exact = whole.is_some();
        let best = whole.or_else(|| tallies().max_by_key(most)).cloned();
        (best.unwrap_or(main), exact)
    }

    /// Notes an acknowledgement number sent in this direction.
    pub(super) const fn acknowledge(&mut self, ack: u32) {
        if !self.marks.has(Marks::ACKED) {
            self.marks.set(Marks::ACKED, true);
            self.acked = ack;
            return;
        }
        let grown = ack.wrapping_sub(self.acked);
        if grown.cast_signed() > 0 {
            self.acked = ack;
            let more = grown > 1 || self.marks.has(Marks::ACKED_ONE);
            self.marks.0 |= if more { Marks::ACKED_MORE } else { Marks::ACKED_ONE };
        }
    }

    /// Whether the acknowledgements sent here cover all that was seen of `other`.
    pub(super) fn acknowledges(&self, other: &Self) -> bool {
        self.acked().is_some_and(|high| other.ends_at(high))
    }

    /// Whether the acknowledgements sent here prove that the other end has sent payload: the first is that of a SYN/ACK
    /// exchange and covers none, and the SYN counts as one.
    pub const fn acks_payload(&self) -> bool {
        self.marks.has(Marks::ACKED_MORE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, Timestamp, Transport};

    fn datagram() -> Segment<'static> {
        Segment {
            time: Timestamp(0),
            vantage: None,
            endpoint_id: 0,
            transport: Transport::Udp,
            src: Endpoint::from(([10, 0, 0, 1], 40_000)),
            dst: Endpoint::from(([10, 0, 0, 2], 53)),
            tcp: None,
            payload: b"x",
            payload_len: 1,
            ip_len: 29,
        }
    }

    #[test]
    fn datagrams_that_two_vantages_saw_in_unequal_numbers_are_not_counted_exactly() {
        for (seen, exact) in [([5, 5], true), ([5, 4], false), ([4, 5], false), ([5, 0], true)] {
            let mut direction = Direction::default();
            for (vantage, count) in (1..).zip(seen) {
                for _ in 0..count {
                    direction.count(VantageId(vantage), &datagram());
                }
            }
            let (tally, said) = direction.elected();
            assert_eq!((tally.packets, said), (5, exact), "{seen:?}");
        }
    }

    #[test]
    fn packets_are_counted_beyond_32_bits() {
        let mut direction = Direction { packets: u32::MAX, ..Direction::default() };
        direction.count(VantageId(0), &datagram());
        direction.count(VantageId(0), &datagram());
        assert_eq!(direction.elected().0.packets, (1 << 32) + 1);
        assert!(direction.is_seen());
    }

    #[test]
    fn payload_that_another_vantage_had_delivered_moves_nothing() {
        let mut direction = Direction::default();
        direction.count(VantageId(1), &datagram());
        assert!(direction.take_moved());
        direction.count(VantageId(2), &datagram());
        assert!(!direction.take_moved(), "a copy");
        direction.count(VantageId(2), &datagram());
        assert!(direction.take_moved(), "the first vantage has missed it");
    }

    #[test]
    fn acknowledgements_prove_payload_once_they_have_grown_by_more_than_the_syn() {
        let mut direction = Direction::default();
        for (ack, proof) in
            [(u32::MAX, false), (0, false), (0, false), (u32::MAX, false), (1, true)]
        {
            direction.acknowledge(ack);
            assert_eq!((direction.acks_payload(), direction.acked().is_some()), (proof, true));
        }
    }
}
