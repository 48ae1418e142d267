//! Which part of a direction's sequence space one vantage has delivered.

/// Holes remembered at once; with more the counts simply stay `partial`.
const HOLES_MAX: usize = 3;

/// Sequence numbers looked back on; a long stream's beginning lies further back than 32 bits can tell.
const LOOKBACK: u32 = 1 << 30;

/// Sequence space seen, as an outer range and the holes in it. 32-bit arithmetic wraps as TCP does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    start: u32,
    end: u32,
    begun: bool,
    /// The range has grown beyond [`LOOKBACK`]: what lies before its last part has all been seen or missed.
    long: bool,
    overflow: bool,
    /// Most ranges have none.
    holes: Option<Box<Holes>>,
}

/// What is missing in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holes {
    list: [(u32, u32); HOLES_MAX],
    count: u8,
}

/// What a segment brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Sequence space not seen before.
    New,
    /// Only what had been seen.
    Again,
}

impl Coverage {
    /// The range alone.
    pub(super) const fn of_parts(
        (start, end): (u32, u32),
        [begun, long, overflow]: [bool; 3],
    ) -> Self {
        Self { start, end, begun, long, overflow, holes: None }
    }

    /// First number, the one behind the last, and what is known of the range.
    pub(super) const fn parts(&self) -> ((u32, u32), [bool; 3]) {
        ((self.start, self.end), [self.begun, self.long, self.overflow])
    }

    pub(super) fn with_holes(self, holes: Option<Box<Holes>>) -> Self {
        Self { holes, ..self }
    }

    pub(super) fn into_holes(self) -> Option<Box<Holes>> {
        self.holes
    }

    /// Whether a range that ends before `end` lacks something.
    pub(super) const fn ends_short_of(&self, end: u32) -> bool {
        !self.begun || before(self.end, end)
    }

    /// Adds `length` sequence numbers from `seq`.
    pub fn add(&mut self, seq: u32, length: u32) -> Seen {
        let end = seq.wrapping_add(length);
        if !self.begun {
            (self.start, self.end, self.begun) = (seq, end, true);
            return Seen::New;
        }
        self.long |= is_long(self.start, self.end);
        let low = self.low();
        if self.long && before(seq, low) {
            return Seen::Again;
        }
        if before(seq, low) {
            // Reordered at the very beginning: what lies between is a hole.
            if before(end, self.start) {
                self.open_hole(end, self.start);
            }
            self.start = seq;
            return Seen::New;
        }
        if !before(seq, self.end) {
            if seq != self.end {
                self.open_hole(self.end, seq);
            }
            self.end = end;
            return Seen::New;
        }
        let filled = self.fill(seq, end);
        if before(self.end, end) {
            self.end = end;
            return Seen::New;
        }
        if filled { Seen::New } else { Seen::Again }
    }

    /// Adds `length` sequence numbers from `seq` if that is none, or if they join a range without holes at its end; else
    /// false, and nothing is done.
    pub fn extend(&mut self, seq: u32, length: u32) -> bool {
        if length == 0 {
            return true;
        }
        if !self.begun || seq != self.end || !self.is_gapless() {
            return false;
        }
        self.long |= is_long(self.start, self.end);
        self.end = seq.wrapping_add(length);
        true
    }

    /// The first number, or of a long range the first that is looked back on.
    const fn low(&self) -> u32 {
        if self.long { self.end.wrapping_sub(LOOKBACK) } else { self.start }
    }

    /// Whether a SYN numbered `seq` can have begun this range: nothing was seen at or before it.
    pub const fn may_begin_at(&self, seq: u32) -> bool {
        !self.begun || !self.long && !before(self.start, seq)
    }

    /// Whether everything between the first and the last number was seen.
    pub const fn is_gapless(&self) -> bool {
        self.holes.is_none() && !self.overflow
    }

    /// Whether more was acknowledged than was seen, an unseen FIN aside.
    pub const fn ends_before(&self, ack: u32) -> bool {
        self.begun && before(self.end.wrapping_add(1), ack)
    }

    /// Whether this range was seen to its end, if the next number is `next`.
    pub const fn ends_at(&self, next: u32) -> bool {
        self.begun && self.end == next
    }

    /// Whether anything was seen.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Holes open now.
    pub fn holes(&self) -> u32 {
        self.holes.as_ref().map_or(0, |holes| u32::from(holes.count)) + u32::from(self.overflow)
    }

    /// The range alone, without its holes.
    #[must_use]
    pub const fn bounds(&self) -> Self {
        let Self { start, end, begun, long, overflow, .. } = *self;
        Self { start, end, begun, long, overflow, holes: None }
    }

    /// The smallest range holding both.
    #[must_use]
    pub fn union_bounds(mut self, other: &Self) -> Self {
        if !other.begun {
            return self;
        }
        if !self.begun {
            return other.bounds();
        }
        if before(other.start, self.start) {
            self.start = other.start;
        }
        if before(self.end, other.end) {
            self.end = other.end;
        }
        self
    }

    /// Whether both begin and end alike.
    pub const fn same_bounds(&self, other: &Self) -> bool {
        self.begun == other.begun && self.start == other.start && self.end == other.end
    }

    /// Distance from the nearer end of the range to `seq`: 0 when inside.
    pub const fn distance(&self, seq: u32) -> u32 {
        if !self.begun {
            return 0;
        }
        if before(seq, self.low()) {
            return self.low().wrapping_sub(seq);
        }
        if before(self.end, seq) {
            return seq.wrapping_sub(self.end);
        }
        0
    }

    fn open_hole(&mut self, from: u32, to: u32) {
        let holes = self.holes.get_or_insert_default();
        match holes.list.get_mut(usize::from(holes.count)) {
            Some(hole) => {
                *hole = (from, to);
                holes.count += 1;
            }
            None => self.overflow = true,
        }
    }

    /// Takes `seq..end` out of the holes; true if it filled any part.
    fn fill(&mut self, seq: u32, end: u32) -> bool {
        let Some(old) = self.holes.take() else { return false };
        let mut filled = false;
        for (from, to) in old.list.into_iter().take(usize::from(old.count)) {
            let (cut_from, cut_to) = (later(from, seq), earlier(to, end));
            if !before(cut_from, cut_to) {
                self.keep(from, to);
                continue;
            }
            filled = true;
            self.keep(from, cut_from);
            self.keep(cut_to, to);
        }
        filled
    }

    fn keep(&mut self, from: u32, to: u32) {
        if before(from, to) {
            self.open_hole(from, to);
        }
    }
}

/// Whether a range that is about to grow is longer than is looked back on.
pub(super) const fn is_long(start: u32, end: u32) -> bool {
    end.wrapping_sub(start) >= LOOKBACK
}

/// `a` comes before `b` in sequence space (RFC 9293 section 3.4).
const fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

const fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

const fn earlier(a: u32, b: u32) -> u32 {
    if before(a, b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_segments_leave_no_gap() {
        let mut c = Coverage::default();
        assert_eq!(c.add(100, 10), Seen::New);
        assert_eq!(c.add(110, 10), Seen::New);
        assert_eq!(c.add(100, 10), Seen::Again);
        assert!(c.is_gapless());
    }

    #[test]
    fn a_hole_opens_and_closes_across_the_wrap() {
        let mut c = Coverage::default();
        c.add(u32::MAX - 4, 5);
        c.add(10, 10);
        assert_eq!(c.holes(), 1);
        assert_eq!(c.add(0, 4), Seen::New);
        assert_eq!(c.holes(), 1);
        assert_eq!(c.add(4, 6), Seen::New);
        assert!(c.is_gapless());
        assert_eq!(c.add(2, 4), Seen::Again);
    }

    #[test]
    fn streams_longer_than_the_sequence_space_stay_whole() {
        let mut c = Coverage::default();
        let mut seq = 5_u32;
        for _ in 0..120_000 {
            assert_eq!(c.add(seq, 60_000), Seen::New);
            seq = seq.wrapping_add(60_000);
        }
        assert!(c.is_gapless());
        assert_eq!(c.distance(seq), 0);
        assert_eq!(c.add(seq.wrapping_sub(10), 10), Seen::Again);
        c.add(seq.wrapping_add(10), 10);
        assert_eq!(c.holes(), 1);
        assert_eq!(c.add(seq, 10), Seen::New);
        assert!(c.is_gapless());
    }

    #[test]
    fn extending_is_adding_at_the_end() {
        for length in [0, 1, 1400, 1 << 29] {
            let mut added = Coverage::default();
            assert_eq!(added.extend(5, length), length == 0, "nothing was seen");
            added.add(5, 10);
            for seq in [5, 14, 15, 16] {
                let (mut a, mut b) = (added.clone(), added.clone());
                let extended = a.extend(seq, length);
                assert_eq!(extended, length == 0 || seq == 15, "{seq} {length}");
                if length > 0 && extended {
                    assert_eq!(b.add(seq, length), Seen::New);
                }
                assert_eq!(extended, extended && a == b);
            }
        }
        let mut torn = Coverage::default();
        torn.add(5, 10);
        torn.add(20, 10);
        assert!(!torn.extend(30, 1), "holes are looked at");
    }

    #[test]
    fn more_holes_than_remembered_stay_partial() {
        let mut c = Coverage::default();
        for i in 0..6 {
            c.add(i * 100, 10);
        }
        assert!(!c.is_gapless());
        for i in 0..6 {
            c.add(i * 100 + 10, 90);
        }
        assert!(!c.is_gapless(), "what was forgotten is never claimed");
    }
}
