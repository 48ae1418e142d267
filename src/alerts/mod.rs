//! Alerts: which events of findings are told, when, to whom, and in which words.
//!
//! Pure: no I/O, no clock; time is passed in. A [`Planner`] belongs to one channel and says of each event in which [`Lane`]
//! it goes: told at once or after a grouping window, told in the next digest, or not told (and why). [`Message`] is what a
//! channel delivers: it holds the text for people and the fields for programs. How it is delivered is the business of
//! `output::alerts`.
//!
//! Reading order: [`AlertsConfig`], [`Alert`], [`Lane`], [`Planner`], [`Digest`], [`Message`].
#![forbid(unsafe_code)]

mod alert;
mod config;
mod digest;
mod message;
mod mute;
mod plan;
mod targets;
mod words;

pub use alert::{Alert, Brief, RemedyText};
pub use config::{AlertsConfig, ChannelConfig, DigestPeriod, MuteConfig};
pub use digest::Digest;
pub use message::{KeyHash, MESSAGE_ALERTS_MAX, Message, MessageKind, SCHEMA};
pub use mute::{Mute, Mutes};
pub use plan::{Closed, Lane, Planner, Silence};
pub use targets::{
    AwsAccess, EventBridgeTarget, JsonLinesTarget, Secret, SecurityHubTarget, SnsTarget,
    SyslogForm, SyslogTarget, SyslogTransport, WebhookForm, WebhookTarget,
};

#[cfg(test)]
pub(crate) mod tests;
