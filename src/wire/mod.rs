//! stub
#![forbid(unsafe_code)]
use crate::model::{Frame, Segment};
/// stub
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// stub
    Truncated,
}
#[allow(missing_docs)]
impl Skip {
    pub const ALL: &'static [Self] = &[Self::Truncated];
    pub fn name(self) -> &'static str {
        "truncated"
    }
}
/// stub
#[derive(Debug, Default)]
pub struct Decoder {}
/// stub
#[derive(Debug, Default, Clone, Copy)]
pub struct DecoderCounters {}
#[allow(missing_docs)]
impl DecoderCounters {
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }
}
#[allow(missing_docs)]
impl Decoder {
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, Skip> {
        let _ = frame;
        Err(Skip::Truncated)
    }
    pub fn counters(&self) -> DecoderCounters {
        DecoderCounters {}
    }
}
