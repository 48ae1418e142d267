//! The shared nouns. Imports nothing of ours but [`crate::bytes`].
//!
//! Reading order: [`time`], [`flow`], [`evidence`], [`verdict`], [`tls`], [`certificate`], [`record`].
#![forbid(unsafe_code)]

pub mod certificate;
pub mod community_id;
pub mod dtls;
pub mod endpoint;
pub mod evidence;
pub mod finding;
pub mod fingerprint;
pub mod flow;
pub mod hostname;
pub mod name;
pub mod network;
pub mod packet;
pub mod quic;
pub mod record;
pub mod record_line;
pub mod resource;
pub mod time;
pub mod tls;
pub mod verdict;

pub use community_id::CommunityId;
pub use endpoint::is_safe_endpoint;
pub use evidence::{CANARY_RULE, Evidence, Mark};
pub use finding::{Addresses, Edge, FindingId, Identity};
pub use flow::{
    Address, Endpoint, FlowKey, Origin, Roles, ScopeId, Side, State, Transport, Vantage,
};
pub use hostname::{Answer, Hostname, NamedAddress};
pub use name::Name;
pub use network::{BadNetwork, Network};
pub use packet::{Frame, Link, Segment, TcpHeader};
pub use resource::Resource;
pub use time::{Date, Timestamp};
pub use verdict::{
    AppSource, Confidence, Credentials, Encryption, Outcome, PlaintextReason, UnknownReason,
    Verdict,
};
