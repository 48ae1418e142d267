//! Which bounds a session has met.

use crate::counters::Counters;

/// Which bounds of a session were reached, to be counted when its flow ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// A layer too many.
    pub(super) layers: bool,
    /// As much was read after the match as may be.
    pub(super) follow: bool,
    /// Holes passed over as lost.
    pub(super) holes: u16,
    /// Segments behind a hole that found no room.
    pub(super) held: u16,
}

impl Reached {
    /// A segment behind a hole found no room.
    pub(super) fn drop_held(&mut self) {
        self.held = self.held.saturating_add(1);
    }

    /// Adds them to the counters.
    pub(super) fn count(self, counters: &mut Counters) {
        counters.layers_exceeded += u64::from(self.layers);
        counters.follow_exceeded += u64::from(self.follow);
        counters.holes_passed += u64::from(self.holes);
        counters.held_dropped += u64::from(self.held);
    }
}
