//! Findings: one per edge that matters, with a life of its own (design section 5).
//!
//! [`Finding`] is what every output renders; [`Event`] is what is told when one opens, comes back, gets worse or ends.
//! [`Findings`] is their life: pure, time comes with the records. The book that keeps them is an edge, `output::book`.
#![forbid(unsafe_code)]

mod counted;
mod lifecycle;
mod queue;
mod sighting;

pub use lifecycle::{Changes, EVENTS_PENDING_MAX, Findings, FindingsCounters, Kept, Snapshot};
pub use queue::{BookException, Clock, Terms};

use serde::{Deserialize, Serialize};

use crate::{
    model::{Edge, FindingId, Timestamp},
    policy::{Action, Control, Severity, Topic},
};

/// An edge that matters. No field can hold payload: all text is our own vocabulary, an address, or a name that an inventory
/// or an exception's author gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable id: the same on every sensor and after every restart.
    pub id: FindingId,
    /// Ids under which the same edge was known before an inventory named its ends.
    pub aliases: Vec<FindingId>,
    /// Who it is about.
    pub edge: Edge,
    /// How it stands.
    pub state: FindingState,
    /// How much it matters, at its worst since it opened.
    pub severity: Severity,
    /// What the policy asks for.
    pub action: Action,
    /// The topic of its rule.
    pub topic: Topic,
    /// Why it matters, in a sentence.
    pub why: String,
    /// Why it is in clear, in a record's word.
    pub plaintext_reason: Option<String>,
    /// Credential kinds seen in clear.
    pub credentials: Vec<String>,
    /// Requirements it bears on.
    pub controls: Vec<Control>,
    /// Id of the remedy.
    pub remedy: String,
    /// Id of the exception that holds it back.
    pub exception: Option<String>,
    /// Last day of that exception, `YYYY-MM-DD`.
    pub exception_expires: Option<String>,
    /// First flow.
    pub first_seen: Timestamp,
    /// Last flow.
    pub last_seen: Timestamp,
    /// When it opened or regressed last.
    pub opened_at: Timestamp,
    /// When it resolved last.
    pub resolved_at: Option<Timestamp>,
    /// Times it came back after it had resolved.
    pub regressions: u32,
    /// Flows seen.
    pub flows: u64,
    /// IP bytes, both directions.
    pub bytes: u64,
    /// An address of each end as last seen, where [`Edge`] names a resource or a group.
    pub client_address: String,
    /// The server's.
    pub server_address: String,
    /// What people call the ends.
    #[serde(flatten)]
    pub names: Names,
    /// Evidence of the last flow: rule ids, directions and protocol constants.
    pub evidence: Vec<FindingEvidence>,
}

/// What people call the ends of an edge, where an inventory or the wire tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// The client, by an inventory.
    pub client_name: Option<String>,
    /// Who answers for the client.
    pub client_owner: Option<String>,
    /// The server.
    pub server_name: Option<String>,
    /// Where the server's name comes from: `inventory`, `dns`, `sni` or `host`.
    pub server_name_source: Option<String>,
    /// Who answers for the server.
    pub server_owner: Option<String>,
}

/// A piece of evidence as the book keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FindingEvidence {
    /// Stable rule id.
    pub rule: String,
    /// `c2s` or `s2c`.
    pub direction: String,
    /// Stream offset in bytes.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// The protocol constant found there.
    pub constant: String,
}

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// Opened, and nobody has been told yet.
    New,
    /// Its flows go on.
    Open,
    /// Open, but no flow for a while.
    Quiet,
    /// No flow for the quiet period.
    Resolved,
    /// Came back after it had resolved.
    Regressed,
    /// An exception holds it back.
    Excepted,
}

impl FindingState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::New, Self::Open, Self::Quiet, Self::Resolved, Self::Regressed, Self::Excepted];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Open => "open",
            Self::Quiet => "quiet",
            Self::Resolved => "resolved",
            Self::Regressed => "regressed",
            Self::Excepted => "excepted",
        }
    }

    /// Whether it counts among the open findings.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::New | Self::Open | Self::Quiet | Self::Regressed)
    }
}

/// Something to tell about a finding: once per change, never per flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When, by the sensor's clock.
    pub at: Timestamp,
    /// The finding as it stands after it.
    pub finding: Finding,
}

/// Where events go that somebody is to be told.
pub trait EventSink: Send {
    /// Takes events in order and says how many it took, from the first on. What it took is its own from then on: it is told
    /// at least once. What it did not take is offered again.
    fn offer(&mut self, events: &[Event]) -> usize;
}

/// What happened to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// First flow.
    Opened,
    /// It came back.
    Regressed,
    /// Its severity rose, or credentials were seen for the first time.
    Worsened,
    /// No flow for the quiet period.
    Resolved,
    /// An exception now holds it back.
    Excepted,
    /// The exception that held it back is over.
    ExceptionExpired,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Opened,
        Self::Regressed,
        Self::Worsened,
        Self::Resolved,
        Self::Excepted,
        Self::ExceptionExpired,
    ];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Regressed => "regressed",
            Self::Worsened => "worsened",
            Self::Resolved => "resolved",
            Self::Excepted => "excepted",
            Self::ExceptionExpired => "exception_expired",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
