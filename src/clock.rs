//! Edge: the wall clock. Below the edges time comes with the packet.
#![allow(clippy::disallowed_methods, reason = "edge: reads the clock")]

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// The time now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(since.as_secs(), u64::from(since.subsec_nanos()))
}
