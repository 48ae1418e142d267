//! Why we believe a verdict. By type it cannot hold payload: the only text is `&'static str` from our own source.

use super::flow::Side;

/// What a detector points at, relative to the bytes it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Stable rule id: `postgresql.ssl-request`.
    pub rule: &'static str,
    /// Whose bytes.
    pub side: Side,
    /// Offset of the proof in the bytes shown.
    pub offset: u32,
    /// Length of the proof in bytes.
    pub length: u32,
    /// The protocol constant found there, in our own words (at most 24 bytes): `80877103`.
    pub constant: &'static str,
}

/// A [`Mark`] at its place in the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Stable rule id.
    pub rule: &'static str,
    /// Whose bytes.
    pub side: Side,
    /// Offset in that side's stream, from the first byte known to the sensor.
    pub offset: u64,
    /// Length of the proof in bytes.
    pub length: u32,
    /// The protocol constant found there.
    pub constant: &'static str,
}

/// Rule id of the evidence that a flow is the canary's: `cleartap canary`, talking to itself.
pub const CANARY_RULE: &str = "http.canary";

/// Most pieces of evidence kept for one flow.
pub const EVIDENCE_MAX: usize = 8;
