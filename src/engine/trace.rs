//! How a verdict was reached, step by step: what `explain` prints. Holds offsets and names, never payload.

use crate::model::{Encryption, Side, Timestamp};

/// One step on the way to a verdict.
#[derive(Clone, Debug)]
pub struct TraceStep {
    /// Packet number in the capture, from 1.
    pub packet: u64,
    /// The packet's time.
    pub time: Timestamp,
    /// What happened.
    pub event: TraceEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// New contiguous bytes of one side.
    Bytes {
        /// Whose.
        side: Side,
        /// Stream offset of the first.
        offset: u64,
        /// How many.
        length: usize,
    },
    /// A segment waits for what comes before it.
    Held {
        /// Whose.
        side: Side,
    },
    /// Bytes were lost.
    Gap {
        /// Whose.
        side: Side,
        /// How many.
        lost: u32,
    },
    /// A detector recognised its protocol.
    Matched {
        /// Registry name.
        detector: &'static str,
        /// What it says of the layer; `None`: a preamble, open yet.
        encryption: Option<Encryption>,
        /// The rule.
        rule: &'static str,
        /// Whose bytes.
        side: Side,
        /// Stream offset of the proof.
        offset: u64,
        /// Its length.
        length: u32,
        /// The protocol constant found.
        constant: &'static str,
    },
    /// A later message told something.
    Learnt {
        /// Registry name.
        detector: &'static str,
        /// Whose bytes.
        side: Side,
        /// Stream offset of the message.
        offset: u64,
        /// The rule and constant, if it is a proof.
        proof: Option<(&'static str, &'static str)>,
        /// In words.
        what: Vec<&'static str>,
    },
    /// A new layer begins.
    Layer {
        /// How it leads to TLS, if it does.
        upgrade: Option<&'static str>,
        /// Client's and server's stream offsets.
        at: [u64; 2],
    },
    /// Joined late: detection starts again at this segment.
    Restart {
        /// Whose.
        side: Side,
        /// Stream offset.
        offset: u64,
    },
    /// The client's and the server's end were exchanged by grammar.
    RolesSwapped,
    /// Nothing more to learn.
    Settled {
        /// Why.
        why: &'static str,
    },
}
