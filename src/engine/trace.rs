//! How a verdict was reached, step by step: what `explain` prints. Holds offsets and names, never payload.

use crate::{
    detect::{DETECTORS, Facts},
    model::{Encryption, Endpoint, PlaintextReason, Side, Timestamp},
};

/// Which flows `explain` wants: each endpoint given must be one of the flow's.
#[derive(Clone, Debug, Default)]
pub struct TraceFilter {
    /// Addresses, ports or both.
    pub ends: Vec<(Option<std::net::IpAddr>, Option<u16>)>,
}

impl TraceFilter {
    /// Whether the flow between `a` and `b` is wanted.
    pub fn matches(&self, a: Endpoint, b: Endpoint) -> bool {
        let fits = |end: &(Option<std::net::IpAddr>, Option<u16>), e: Endpoint| {
            end.0.is_none_or(|ip| ip == e.ip()) && end.1.is_none_or(|port| port == e.port())
        };
        match self.ends.as_slice() {
            [] => true,
            [one] => fits(one, a) || fits(one, b),
            [one, two, ..] => fits(one, a) && fits(two, b) || fits(one, b) && fits(two, a),
        }
    }
}

/// One step on the way to a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The steps of one session.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Packet being read.
    pub(super) packet: u64,
    /// Its time.
    pub(super) time: Timestamp,
    /// What happened so far.
    pub(super) steps: Vec<TraceStep>,
}

impl Trace {
    /// Notes what happened at the present packet.
    pub(super) fn push(&mut self, event: TraceEvent) {
        self.steps.push(TraceStep { packet: self.packet, time: self.time, event });
    }

    /// Notes what a detector's message told, if it told anything.
    pub(super) fn learnt(&mut self, detector: usize, side: Side, offset: u64, facts: Facts) {
        let mut what = Vec::new();
        what.extend(facts.mismatch.then_some("speaks another protocol"));
        what.extend(facts.refused.then_some("refused"));
        what.extend(facts.accepted.then_some("accepted"));
        what.extend(facts.encryption.map(Encryption::name));
        what.extend(facts.reason.map(PlaintextReason::name));
        what.extend(facts.credentials.names());
        let proof = facts.mark.map(|m| (m.rule, m.constant));
        if what.is_empty() && proof.is_none() {
            return;
        }
        let offset = offset + facts.mark.map_or(0, |m| u64::from(m.offset));
        let detector = DETECTORS.get(detector).map_or("", |d| d.info().name);
        self.push(TraceEvent::Learnt { detector, side, offset, proof, what });
    }
}
