//! Contiguous bytes of one direction: reorder, overlap, retransmit, gaps, one byte per segment.

use std::fmt;

use crate::model::Timestamp;

/// Out-of-order segments held per direction.
pub const HELD_SEGMENTS_MAX: usize = 32;

/// Out-of-order bytes held per direction.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// A hole that the receiver has acknowledged and that this many later segments did not fill was lost to us.
const HELD_ACKED_MAX: usize = 4;

/// A hole older than this was lost to us,
const HOLE_AGE_NS_MAX: u64 = 500_000_000;

/// unless the receiver misses it, too: then it is sent again after one second, three and seven (RFC 6298 section 5).
const HOLE_AGE_RESENT_NS_MAX: u64 = 8_000_000_000;

/// One direction's unread bytes. TCP by sequence number; UDP as datagrams behind two-byte lengths.
#[derive(Default)]
pub struct Stream {
    /// Sequence number of the next contiguous byte, once anchored.
    next: Option<u32>,
    /// Whether the first byte of `data` is known to begin the stream or a layer.
    known_start: bool,
    /// Stream offset of `data`'s first byte.
    offset: u64,
    /// Contiguous unread bytes.
    data: Vec<u8>,
    /// Bytes still to be passed over.
    skip: u64,
    /// Where in `data` the latest segment begins.
    latest: usize,
    held: Vec<Held>,
    hole_since: Timestamp,
}

impl fmt::Debug for Stream {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("next", &self.next)
            .field("known_start", &self.known_start)
            .field("offset", &self.offset)
            .field("data", &self.data.len())
            .field("skip", &self.skip)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

struct Held {
    seq: u32,
    bytes: Box<[u8]>,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// New contiguous bytes are there.
    Grown,
    /// Nothing new: retransmission, or passed over.
    Nothing,
    /// Kept until what comes before it arrives.
    Held,
    /// To be kept, but there is no room.
    Dropped,
}

/// What a hole does to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The bytes lost were to be passed over anyway.
    Harmless,
    /// The unread bytes and what follows do not join: the reader must find its place again.
    Broken {
        /// How many bytes are missing.
        lost: u32,
    },
}

impl Stream {
    /// The SYN's sequence number: the stream begins right after it.
    pub fn begin(&mut self, isn: u32) {
        let first = isn.wrapping_add(1);
        match self.next {
            None => {
                self.next = Some(first);
                self.known_start = true;
            }
            // The SYN came after the first bytes: they were the beginning after all.
            Some(next) if self.offset == 0 && self.skip == 0 => {
                let length = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
                if next.wrapping_sub(length) == first {
                    self.known_start = true;
                }
            }
            Some(_) => {}
        }
    }

    /// A TCP segment's payload at `seq`.
    pub fn push(&mut self, seq: u32, bytes: &[u8], now: Timestamp) -> Pushed {
        if bytes.is_empty() {
            return Pushed::Nothing;
        }
        let next = *self.next.get_or_insert(seq);
        let ahead = seq.wrapping_sub(next).cast_signed();
        if ahead > 0 {
            return self.hold(seq, bytes, now);
        }
        let Some(fresh) = usize::try_from(ahead.unsigned_abs()).ok().and_then(|n| bytes.get(n..))
        else {
            return Pushed::Nothing;
        };
        if fresh.is_empty() {
            return Pushed::Nothing;
        }
        let before = self.data.len();
        self.append(fresh);
        self.release();
        if self.data.len() > before { Pushed::Grown } else { Pushed::Nothing }
    }

    /// Whether the next `length` bytes, at `seq`, are only passed over.
    pub fn passes(&self, seq: u32, length: u32) -> bool {
        self.next == Some(seq) && u64::from(length) <= self.skip && self.held.is_empty()
    }

    /// What [`Self::push`] does with bytes that only [pass](Self::passes).
    pub fn pass(&mut self, length: u32) {
        self.next = self.next.map(|next| next.wrapping_add(length));
        self.skip = self.skip.saturating_sub(u64::from(length));
        self.offset += u64::from(length);
    }

    /// A UDP datagram; false when there is no room under `bytes_max`. A single one that is longer is cut.
    pub fn push_datagram(&mut self, bytes: &[u8], bytes_max: usize) -> bool {
        let bytes = match bytes.get(..bytes_max.saturating_sub(2)) {
            Some(head) if self.data.is_empty() => head,
            _ => bytes,
        };
        let Ok(length) = u16::try_from(bytes.len()) else { return false };
        if bytes.is_empty() || self.data.len() + bytes.len() + 2 > bytes_max {
            return false;
        }
        self.known_start = true;
        self.latest = self.data.len();
        self.data.extend_from_slice(&length.to_be_bytes());
        self.data.extend_from_slice(bytes);
        true
    }

    /// Contiguous unread bytes.
    pub fn unread(&self) -> &[u8] {
        &self.data
    }

    /// Stream offset of the first unread byte.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the first unread byte is known to begin the stream or a layer.
    pub const fn has_known_start(&self) -> bool {
        self.known_start
    }

    /// Says whether the next unread byte begins a layer.
    pub const fn set_known_start(&mut self, known: bool) {
        self.known_start = known;
    }

    /// Passes over `n` bytes, also such as have not come yet.
    pub fn consume(&mut self, n: usize) {
        let here = n.min(self.data.len());
        self.data.drain(..here);
        self.latest = self.latest.saturating_sub(here);
        self.offset += here as u64;
        self.skip += (n - here) as u64;
    }

    /// What [`Self::restart_at_latest`] would leave behind.
    pub fn before_latest(&self) -> &[u8] {
        let unread = self.unread();
        let passed = if self.latest == 0 { unread.len() } else { self.latest };
        unread.get(..passed).unwrap_or(unread)
    }

    /// Starts again at the latest segment, or after it if it was the only one: that need not begin a message. True if
    /// bytes are left to look at.
    pub fn restart_at_latest(&mut self) -> bool {
        let passed = self.before_latest().len();
        self.consume(passed);
        self.latest = 0;
        self.known_start = false;
        !self.data.is_empty()
    }

    /// Whether a hole will not be filled any more. `acked`: the receiver's highest acknowledgement.
    pub fn has_lost(&self, acked: Option<u32>, now: Timestamp) -> bool {
        let Some(next) = self.next else { return false };
        if self.held.is_empty() {
            return false;
        }
        let resent = acked.is_some_and(|ack| ack == next);
        let acked = acked.is_some_and(|ack| ack.wrapping_sub(next).cast_signed() > 0);
        let age = if resent { HOLE_AGE_RESENT_NS_MAX } else { HOLE_AGE_NS_MAX };
        let old = now.since(self.hole_since) > age;
        let full = self.held.len() >= HELD_SEGMENTS_MAX || self.held_bytes() >= HELD_BYTES_MAX;
        old || full || acked && self.held.len() >= HELD_ACKED_MAX
    }

    /// Goes on after the hole, whatever comes of it.
    pub fn jump(&mut self) -> Option<Gap> {
        let next = self.next?;
        let first = self.held.first()?.seq;
        let lost = first.wrapping_sub(next);
        self.next = Some(first);
        if self.skip >= u64::from(lost) {
            self.skip -= u64::from(lost);
            self.offset += u64::from(lost);
            self.release();
            return Some(Gap::Harmless);
        }
        self.offset += self.data.len() as u64 + u64::from(lost);
        self.data.clear();
        self.latest = 0;
        self.skip = 0;
        self.known_start = false;
        self.release();
        Some(Gap::Broken { lost })
    }

    /// Whether segments wait behind a hole.
    pub fn has_hole(&self) -> bool {
        !self.held.is_empty()
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.data.capacity() + self.held_bytes() + self.held.capacity() * size_of::<Held>()
    }

    fn held_bytes(&self) -> usize {
        self.held.iter().map(|h| h.bytes.len()).sum()
    }

    fn append(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.next = self.next.map(|next| next.wrapping_add(length));
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= passed as u64;
        self.offset += passed as u64;
        if let Some(kept) = bytes.get(passed..)
            && !kept.is_empty()
        {
            self.latest = self.data.len();
            self.data.extend_from_slice(kept);
        }
    }

    fn hold(&mut self, seq: u32, bytes: &[u8], now: Timestamp) -> Pushed {
        if self.held.is_empty() {
            self.hole_since = now;
        }
        let at = self.held.partition_point(|h| h.seq.wrapping_sub(seq).cast_signed() < 0);
        let known = self.held.get(at).is_some_and(|h| h.seq == seq && h.bytes.len() >= bytes.len());
        if known {
            return Pushed::Nothing;
        }
        if self.held.len() >= HELD_SEGMENTS_MAX || self.held_bytes() + bytes.len() > HELD_BYTES_MAX
        {
            return Pushed::Dropped;
        }
        self.held.insert(at, Held { seq, bytes: bytes.into() });
        Pushed::Held
    }

    /// Appends held segments that now join.
    fn release(&mut self) {
        while let (Some(next), Some(first)) = (self.next, self.held.first()) {
            let behind = next.wrapping_sub(first.seq).cast_signed();
            if behind < 0 {
                return;
            }
            let held = self.held.remove(0);
            let fresh = usize::try_from(behind).ok().and_then(|n| held.bytes.get(n..));
            if let Some(fresh) = fresh
                && !fresh.is_empty()
            {
                self.append(fresh);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    fn begun() -> Stream {
        let mut stream = Stream::default();
        stream.begin(99);
        stream
    }

    #[test]
    fn bytes_join_in_any_order_and_the_first_copy_wins() {
        let mut s = begun();
        assert_eq!(s.push(104, b"efgh", NOW), Pushed::Held);
        assert_eq!(s.push(100, b"abcdEF", NOW), Pushed::Grown);
        assert_eq!(s.unread(), b"abcdEFgh");
        assert_eq!(s.push(102, b"xx", NOW), Pushed::Nothing);
        assert!(s.has_known_start());
    }

    #[test]
    fn one_byte_per_segment_backwards() {
        let mut s = begun();
        for i in (0..20_u32).rev() {
            s.push(100 + i, &[b'a' + u8::try_from(i).unwrap()], NOW);
        }
        assert_eq!(s.unread(), b"abcdefghijklmnopqrst");
    }

    #[test]
    fn a_stream_joined_late_starts_at_its_first_segment() {
        let mut s = Stream::default();
        s.push(5000, b"late", NOW);
        assert!(!s.has_known_start());
        assert_eq!(s.push(4000, b"older", NOW), Pushed::Nothing);
        assert_eq!(s.unread(), b"late");
    }

    #[test]
    fn a_syn_after_the_first_bytes_still_makes_them_the_start() {
        let mut s = Stream::default();
        s.push(100, b"abc", NOW);
        s.begin(99);
        assert!(s.has_known_start());
    }

    #[test]
    fn passing_over_reaches_into_the_future_and_over_holes() {
        let mut s = begun();
        s.push(100, b"head", NOW);
        s.consume(10);
        assert_eq!(s.push(108, b"....next", NOW), Pushed::Held);
        assert_eq!(s.jump(), Some(Gap::Harmless));
        assert_eq!(s.unread(), b"..next");
        assert_eq!(s.offset(), 10);
    }

    #[test]
    fn bytes_that_are_passed_over_need_not_be_shown() {
        let mut shown = begun();
        shown.push(100, b"head", NOW);
        shown.consume(10);
        let mut told = begun();
        told.push(100, b"head", NOW);
        told.consume(10);
        assert!(!told.passes(105, 2) && !told.passes(104, 7), "not next; more than is passed over");
        assert!(told.passes(104, 6));
        told.pass(6);
        shown.push(104, b"......", NOW);
        for mut s in [shown, told] {
            assert_eq!(s.push(110, b"next", NOW), Pushed::Grown);
            assert_eq!((s.unread(), s.offset()), (&b"next"[..], 10));
        }
        let mut held = begun();
        held.consume(10);
        held.push(103, b"x", NOW);
        assert!(!held.passes(100, 2), "what is held may join");
    }

    #[test]
    fn a_hole_is_given_up_after_a_while_or_when_acknowledged() {
        let mut s = begun();
        s.push(100, b"ab", NOW);
        s.push(110, b"kl", NOW);
        assert!(!s.has_lost(Some(200), NOW));
        assert!(s.has_lost(None, Timestamp(600_000_000)));
        assert_eq!(s.jump(), Some(Gap::Broken { lost: 8 }));
        assert_eq!((s.unread(), s.offset(), s.has_known_start()), (&b"kl"[..], 10, false));
    }

    #[test]
    fn what_the_receiver_misses_too_is_waited_for_until_it_is_sent_again() {
        let mut s = begun();
        s.push(100, b"ab", NOW);
        s.push(110, b"kl", NOW);
        let missed = Some(102);
        assert!(!s.has_lost(missed, Timestamp(1_700_000_000)));
        assert!(s.has_lost(missed, Timestamp(9_000_000_000)));
        assert_eq!(s.push(102, b"cdefghij", Timestamp(1_700_000_000)), Pushed::Grown);
        assert_eq!(s.unread(), b"abcdefghijkl");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut s = begun();
        for i in 0..1000_u32 {
            let pushed = s.push(200 + i * 3000, &[0; 2000], NOW);
            assert_eq!(pushed, if i < 32 { Pushed::Held } else { Pushed::Dropped });
        }
        assert!(s.held.len() <= HELD_SEGMENTS_MAX && s.held_bytes() <= HELD_BYTES_MAX);
    }

    #[test]
    fn datagrams_keep_their_boundaries_within_the_bound() {
        let mut s = Stream::default();
        assert!(s.push_datagram(b"abc", 16));
        assert!(s.push_datagram(b"de", 16));
        assert!(!s.push_datagram(&[0; 10], 16));
        assert_eq!(s.unread(), b"\0\x03abc\0\x02de");
        let mut s = Stream::default();
        assert!(s.push_datagram(b"abcdefgh", 8));
        assert_eq!(s.unread(), b"\0\x06abcdef");
    }
}
