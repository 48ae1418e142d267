//! The session keeper: which interfaces are to be mirrored, what of that is so, and what has to change.
//!
//! Pure: a [`Listing`](crate::inventory::Listing) comes in, a [`Plan`] comes out. Only sessions with the keeper's own tag
//! are ever changed or removed; everybody else's count, and stay.
#![forbid(unsafe_code)]

mod config;
mod plan;
mod report;
mod source;

pub use config::{SessionsConfig, VpcConfig};
pub use plan::{Action, NewSession, Plan, TargetKind, Terms, plan};
pub use report::{Coverage, CoverageLine, Report, Summary};
pub use source::{Reason, Unseen, instance_family_mirrors};

/// Tag of a session that a keeper made; the value is the keeper's name.
pub const KEEPER_TAG: &str = "cleartap:keeper";
/// Most sessions of one source.
pub const SESSIONS_PER_SOURCE_MAX: usize = 3;
/// Most sources of a target that is an interface; 100 on the largest size of a family (`sessions.sources_max`).
pub const SOURCES_PER_INTERFACE_TARGET: usize = 10;
/// Session numbers that there are.
pub const SESSION_NUMBERS: std::ops::RangeInclusive<u32> = 1..=32_766;

#[cfg(test)]
mod tests;
