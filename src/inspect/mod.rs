//! After the match, once per flow: richer facts. May allocate, within stated bounds.
#![forbid(unsafe_code)]

pub mod tls;
