//! Decapsulation and decoding: a frame in, the innermost segment or the reason why not out.
#![forbid(unsafe_code)]

use crate::model::{Frame, Segment};

/// Why a frame gave no segment. Each is a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// To be completed.
    Truncated,
}

/// Turns frames into segments. Holds the bounded state of IP fragments.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// The innermost TCP segment, UDP datagram or ESP packet of `frame`.
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, Skip> {
        let _ = frame;
        Err(Skip::Truncated)
    }
}
