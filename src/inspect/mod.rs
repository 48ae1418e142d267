//! Facts read once per flow, after a detector matched. May allocate, within the bounds each reader states.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::as_conversions))]

pub mod tls;
