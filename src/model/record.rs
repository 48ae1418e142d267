//! The record: the one serialised form of a flow (JSON lines, schema version 1).
//!
//! Field by field: `deploy/record.md`; the JSON Schema is [`SCHEMA`]. Keys are constants, values are our own words, numbers,
//! addresses and allow-listed names; no field can hold payload.

mod certificate;
mod names;

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

pub use certificate::{
    CertificateRecord, CertificatesRecord, ClientCertificateRecord, RdsCaRecord,
};
pub use names::{NameSource, NamesRecord};
use serde::{Serialize, Serializer};

use super::{
    community_id::CommunityId,
    evidence::Evidence,
    fingerprint::{Ja3, Ja4},
    hostname::Hostname,
    name::Name,
    time::Timestamp,
};

/// Schema version in every line.
pub const SCHEMA_VERSION: u8 = 1;

/// JSON Schema (draft 2020-12) every record satisfies.
pub const SCHEMA: &str = include_str!("record.schema.json");

/// One flow, as every output renders it.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Schema version.
    pub schema: u8,
    /// Base name of the capture file; absent in live records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<Arc<str>>,
    /// Live records: `settled`, `update` or `end`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'static str>,
    /// First packet.
    pub ts_first: Timestamp,
    /// Last packet.
    pub ts_last: Timestamp,
    /// Source domain.
    pub scope: Arc<str>,
    /// Community ID v1 of the inner 5-tuple.
    pub community_id: CommunityId,
    /// Client address.
    pub src_ip: IpAddr,
    /// Client port.
    pub src_port: u16,
    /// Server address.
    pub dst_ip: IpAddr,
    /// Server port.
    pub dst_port: u16,
    /// How client and server were told apart.
    pub roles: &'static str,
    /// `tcp`, `udp` or `esp`.
    pub transport: &'static str,
    /// What an observer could read.
    pub encryption: &'static str,
    /// What became of the conversation.
    pub outcome: &'static str,
    /// Application protocol.
    pub app: Option<&'static str>,
    /// Where `app` comes from.
    pub app_source: Option<&'static str>,
    /// Protocol stack, outermost first.
    pub layers: Vec<&'static str>,
    /// How TLS was reached in-band.
    pub upgrade: Option<&'static str>,
    /// Why it is in clear.
    pub plaintext_reason: Option<&'static str>,
    /// Credential kinds seen in clear.
    pub credentials: Vec<&'static str>,
    /// How it was proven.
    pub confidence: Option<&'static str>,
    /// Why nothing can be said.
    pub unknown_reason: Option<&'static str>,
    /// Where the flow runs.
    pub boundary: &'static str,
    /// TLS facts.
    pub tls: Option<Box<TlsRecord>>,
    /// The proof.
    pub evidence: Vec<EvidenceRecord>,
    /// Packets from client to server.
    pub packets_c2s: u64,
    /// Packets from server to client.
    pub packets_s2c: u64,
    /// IP bytes from client to server.
    pub bytes_c2s: u64,
    /// IP bytes from server to client.
    pub bytes_s2c: u64,
    /// Live records: growth since the last record of this flow.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// `exact`, `partial` or `sampled`.
    pub counts: &'static str,
    /// `start` or `midstream`.
    pub origin: &'static str,
    /// `open`, `closed`, `reset`, `timeout` or `evicted`.
    pub state: &'static str,
    /// Where copies were taken.
    pub vantages: Vec<VantageRecord>,
    /// Copies that arrived cut.
    pub truncated: u64,
    /// Holes in the sequence space of the counted vantages.
    pub gaps: u64,
    /// TCP segments seen again at one vantage.
    pub retransmits: u64,
    /// Protocol usual on the server's port: a hint, never a proof.
    pub expected_service: Option<&'static str>,
    /// Host that a request in clear was for: names the server, where nothing better does.
    #[serde(skip)]
    pub host: Option<Hostname>,
    /// Who the ends are, where that is known.
    #[serde(flatten)]
    pub names: NamesRecord,
}

/// Growth since the last record of the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delta {
    /// Packets from client to server.
    pub packets_c2s_delta: u64,
    /// Packets from server to client.
    pub packets_s2c_delta: u64,
    /// IP bytes from client to server.
    pub bytes_c2s_delta: u64,
    /// IP bytes from server to client.
    pub bytes_s2c_delta: u64,
}

/// TLS facts in a record; null is "not visible", never "no".
#[derive(Clone, Debug, Serialize)]
pub struct TlsRecord {
    /// Negotiated version.
    pub version: Option<&'static str>,
    /// Highest version the client offered.
    pub version_offered: Option<&'static str>,
    /// Versions offered, in the client's order.
    pub versions_offered: Vec<&'static str>,
    /// IANA name of the cipher suite, or its code where it has none; `SSLv2`: the name its specification has.
    pub cipher: Option<Cow<'static, str>>,
    /// Cipher suite code, `0x1301`; `SSLv2`: three bytes.
    pub cipher_id: Option<HexCode>,
    /// Number of suites offered.
    pub ciphers_offered: Option<u16>,
    /// How the key was agreed on.
    pub key_exchange: Option<&'static str>,
    /// Named group of the key exchange.
    pub group: Option<Cow<'static, str>>,
    /// Groups offered, in the client's order.
    pub groups_offered: Vec<Cow<'static, str>>,
    /// Whether the group used is post-quantum (hybrid included).
    pub pq: Option<bool>,
    /// Whether such a group was offered.
    pub pq_offered: Option<bool>,
    /// Size of the prime of a finite-field key exchange.
    pub dh_bits: Option<u16>,
    /// Algorithm of the server's signature in the key exchange.
    pub signature_algorithm: Option<Cow<'static, str>>,
    /// IANA name of the compression method.
    pub compression: Option<Cow<'static, str>>,
    /// Server name asked for.
    pub sni: Option<Name>,
    /// Protocol chosen.
    pub alpn: Option<Name>,
    /// Protocols offered.
    pub alpn_offered: Vec<Name>,
    /// Encrypted Client Hello offered, genuine or GREASE.
    pub ech_offered: Option<bool>,
    /// Whether it was GREASE, where that shows.
    pub ech_grease: Option<bool>,
    /// Session resumed.
    pub resumed: Option<bool>,
    /// How it was resumed.
    pub resumption: Option<&'static str>,
    /// Early data offered.
    pub early_data: Option<bool>,
    /// Early data seen.
    pub early_data_sent: Option<bool>,
    /// `false` where the answer rules it out.
    pub early_data_accepted: Option<bool>,
    /// Secure renegotiation is supported by the server.
    pub secure_renegotiation: Option<bool>,
    /// A second handshake was seen.
    pub renegotiated: Option<bool>,
    /// The master secret is bound to the handshake.
    pub extended_master_secret: Option<bool>,
    /// The server asked for a second hello.
    pub hello_retry_request: Option<bool>,
    /// The server says that it could have chosen a newer version.
    pub downgrade_sentinel: Option<bool>,
    /// How the handshake ended.
    pub outcome: Option<&'static str>,
    /// A fatal or warning alert in clear.
    pub alert: Option<AlertRecord>,
    /// `yes`, `no` or `unknown`.
    pub client_cert: &'static str,
    /// The same for tools: null when it cannot be known.
    pub client_cert_seen: Option<bool>,
    /// The server asked for a client certificate.
    pub client_cert_requested: Option<bool>,
    /// Why the server's certificates were not read though in clear.
    pub certificate_cut: Option<&'static str>,
    /// JA3 of the first hello.
    pub ja3: Option<Ja3>,
    /// JA4 of the first hello.
    pub ja4: Option<Ja4>,
    /// What the certificates say.
    #[serde(flatten)]
    pub certificates: CertificatesRecord,
    /// How good it is by the profile asked for.
    #[serde(flatten)]
    pub strength: StrengthRecord,
}

/// A code point of two bytes, or of three where it needs them, in hexadecimal: `0x1301`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HexCode(pub u32);

impl fmt::Display for HexCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.0 > 0xffff { 6 } else { 4 };
        write!(f, "0x{:0digits$x}", self.0)
    }
}

impl Serialize for HexCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How good the TLS of a flow is.
#[derive(Clone, Debug, Serialize)]
pub struct StrengthRecord {
    /// `good`, `legacy`, `weak` or `none`.
    pub strength: Option<&'static str>,
    /// Why it is not good.
    pub strength_reasons: Vec<&'static str>,
    /// What could not be seen and was not judged.
    pub strength_unjudged: Vec<&'static str>,
}

/// A clear TLS alert.
#[derive(Clone, Debug, Serialize)]
pub struct AlertRecord {
    /// Who sent it: `c2s` or `s2c`.
    pub direction: &'static str,
    /// `warning` or `fatal`.
    pub level: &'static str,
    /// IANA name, or its number where it has none.
    pub description: String,
}

/// A piece of evidence.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EvidenceRecord {
    /// Stable rule id.
    pub rule: &'static str,
    /// `c2s` or `s2c`.
    pub direction: &'static str,
    /// Stream offset.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// The protocol constant found there.
    pub constant: &'static str,
}

impl From<Evidence> for EvidenceRecord {
    fn from(evidence: Evidence) -> Self {
        let Evidence { rule, side, offset, length, constant } = evidence;
        Self { rule, direction: side.direction(), offset, length, constant }
    }
}

/// A vantage of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VantageRecord {
    /// Outer source address.
    pub source: IpAddr,
    /// VXLAN network identifier.
    pub vni: u32,
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl Serialize for Ja3 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Ja4 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
