//! Decoded segments on their way to the shard that owns their flow, with their payload.

use std::{fmt, ops::Range};

use crate::model::{Segment, Timestamp};

/// Segments for one shard, in order.
#[derive(Default)]
pub struct Batch {
    items: Vec<Item>,
    payload: Vec<u8>,
}

/// A segment, or that time went on.
#[derive(Clone, Debug)]
struct Item {
    /// Number of the packet.
    packet: u64,
    /// What the clock says when it comes.
    now: Timestamp,
    /// The segment without its payload, and where that is.
    segment: Option<(Segment<'static>, Range<usize>)>,
}

/// One item, lent.
pub(super) struct Lent<'b> {
    pub(super) packet: u64,
    pub(super) now: Timestamp,
    pub(super) segment: Option<Segment<'b>>,
}

impl Batch {
    /// Adds a segment.
    pub fn push(&mut self, packet: u64, now: Timestamp, segment: &Segment<'_>) {
        let Segment { time, vantage, endpoint_id, transport, src, dst, .. } = *segment;
        let Segment { tcp, payload, payload_len, ip_len, .. } = *segment;
        let start = self.payload.len();
        self.payload.extend_from_slice(payload);
        let head = Segment {
            time,
            vantage,
            endpoint_id,
            transport,
            src,
            dst,
            tcp,
            payload: &[],
            payload_len,
            ip_len,
        };
        let segment = Some((head, start..self.payload.len()));
        self.items.push(Item { packet, now, segment });
    }

    /// Time went on.
    pub fn tick(&mut self, packet: u64, now: Timestamp) {
        self.items.push(Item { packet, now, segment: None });
    }

    /// Whether as much is in it as should travel at once.
    pub fn is_full(&self) -> bool {
        self.items.len() >= BATCH_ITEMS || self.payload.len() >= BATCH_PAYLOAD_BYTES
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many segments and ticks are in it.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// What the clock said at the last of it.
    pub fn latest(&self) -> Timestamp {
        self.items.last().map_or_else(Timestamp::default, |item| item.now)
    }

    /// Empties it; its memory stays.
    pub fn clear(&mut self) {
        self.items.clear();
        self.payload.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Lent<'_>> {
        self.items.iter().map(|Item { packet, now, segment }| Lent {
            packet: *packet,
            now: *now,
            segment: segment.as_ref().map(|(head, range)| Segment {
                payload: self.payload.get(range.clone()).unwrap_or_default(),
                ..*head
            }),
        })
    }
}

impl fmt::Debug for Batch {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("items", &self.items.len())
            .field("payload", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// How much travels at once.
const BATCH_ITEMS: usize = 1024;
const BATCH_PAYLOAD_BYTES: usize = 1 << 20;
