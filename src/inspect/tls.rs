//! stub
use crate::{
    detect::Start,
    model::{Outcome, Side, tls::TlsFacts},
};
/// stub
#[derive(Debug)]
pub struct TlsReader;
#[allow(missing_docs, clippy::unused_self, clippy::unnecessary_wraps)]
impl TlsReader {
    pub fn new(_: Start, _: Start) -> Self {
        Self
    }
    pub fn feed(&mut self, _: Side, bytes: &[u8]) -> usize {
        bytes.len()
    }
    pub fn gap(&mut self, _: Side) {}
    pub fn is_done(&self) -> bool {
        false
    }
    pub fn buffered(&self) -> usize {
        0
    }
    pub fn spoke(&self, _: Side) -> bool {
        false
    }
    pub fn mismatch(&self, _: Side) -> bool {
        false
    }
    pub fn outcome(&self) -> Outcome {
        Outcome::Unknown
    }
    pub fn null_cipher(&self) -> bool {
        false
    }
    pub fn facts(&self) -> TlsFacts {
        TlsFacts::default()
    }
}
/// stub
pub fn cipher_name(_: u16) -> Option<&'static str> {
    None
}
/// stub
pub fn group_name(_: u16) -> Option<&'static str> {
    None
}
/// stub
pub fn alert_name(_: u8) -> Option<&'static str> {
    None
}
