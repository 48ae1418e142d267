//! Edge: alerts to where they are told: SNS, EventBridge, Security Hub, webhooks, syslog, JSON lines.
//!
//! [`Dispatcher::offer`] commits alerts to the spool of each channel before it returns; from there they are delivered at least
//! once, in order, with back-off. The key of a message stays the same however often it is sent. What can come twice: the
//! request whose answer was lost, and, after a crash, the alerts of a grouping window that was open. Nothing is lost without
//! being counted: what a full spool drops, and what a receiver refuses for what it is ([`ChannelStatus`]).
//!
//! No error of a receiver is told in its own words: they may repeat a credential.

mod channel;
mod delivery;
mod dispatcher;
#[cfg(feature = "aws")]
mod eventbridge;
mod https;
mod json_lines;
mod secret;
#[cfg(feature = "securityhub")]
mod securityhub;
mod sink;
#[cfg(feature = "aws")]
mod sns;
mod syslog;
mod webhook;

pub use channel::{Lanes, LanesCounters};
pub use delivery::{AlertCounters, AlertDelivery, Sink};
pub use dispatcher::{AlertsError, ChannelStatus, Dispatcher};
#[cfg(feature = "aws")]
pub use sink::{Probed, probe};
pub use webhook::{SIGNATURE_HEADER, TIMESTAMP_HEADER, signature};

#[cfg(test)]
mod tests;
