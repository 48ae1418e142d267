//! Segments that nobody reads: of flows that have told all they could, without payload, or of a body that is passed over. They
//! are nearly all there are, and only counters move by them.

use super::{Data, Shard, Work};
use crate::{
    flow::NextSegment,
    model::{Address, Frame, Timestamp},
    wire::{Bare, Decoder, Usual},
};

impl Shard {
    /// Counts what a frame carries; false if it may be another segment, and then nothing was done.
    #[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
    #[inline(always)]
    pub(super) fn move_frame_on(&mut self, decoder: &Decoder, frame: &Frame<'_>) -> bool {
        let Some(inner) = decoder.inner(frame) else { return false };
        match inner.v4() {
            Some(segment) => self.move_bare_on(frame.time, &segment),
            None => inner.v6().is_some_and(|segment| self.move_v6_on(frame.time, &segment)),
        }
    }

    /// The same of a segment that was decoded already.
    pub(super) fn move_usual_on(&mut self, time: Timestamp, usual: &Usual) -> bool {
        match usual {
            Usual::V4(segment) => self.move_bare_on(time, segment),
            Usual::V6(segment) => self.move_v6_on(time, segment),
        }
    }

    /// IPv6 is less usual.
    #[inline(never)]
    fn move_v6_on(&mut self, time: Timestamp, segment: &Bare<u128>) -> bool {
        self.move_bare_on(time, segment)
    }

    #[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
    #[inline(always)]
    fn move_bare_on<A: Address>(&mut self, time: Timestamp, segment: &Bare<A>) -> bool {
        let Bare { vantage, src, dst, tcp, payload_len, ip_len } = *segment;
        // Most of these, before their flow is looked for.
        if tcp.is_control() {
            return false;
        }
        let Some((vantage, scope)) = self.places.get(vantage, 0) else { return false };
        let (ends, direction) = if src <= dst { ([src, dst], 0) } else { ([dst, src], 1) };
        let next = NextSegment { time, scope, vantage, ends, direction, tcp, payload_len, ip_len };
        let written = self.settings.update_ns.is_none();
        let passes = |data: &Data| match &data.work {
            Work::Settled { unwritten, .. } => written || !unwritten,
            Work::Silent => payload_len == 0,
            Work::Watched(session) => session.passes(direction, tcp.seq, payload_len),
        };
        let Some(data) = self.table.move_on(&next, passes) else { return false };
        if let Work::Watched(session) = &mut data.work {
            session.pass(direction, payload_len);
        }
        self.counters.segments += 1;
        true
    }
}
