//! A record read back from its line: the fields that policy and reports look at, owned.
//!
//! Fields that a newer version adds are passed over; a line of another schema version is refused.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

use super::{record::SCHEMA_VERSION, resource::Resource, time::Timestamp};

/// What is read of a record's line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the fields of `Record`, by the same names")]
pub struct RecordLine {
    #[serde(deserialize_with = "version")]
    pub schema: u8,
    #[serde(default)]
    pub capture: Option<String>,
    #[serde(default)]
    pub event: Option<String>,
    pub ts_first: Timestamp,
    pub ts_last: Timestamp,
    pub scope: String,
    pub community_id: String,
    pub src_ip: IpAddr,
    pub src_port: u16,
    pub dst_ip: IpAddr,
    pub dst_port: u16,
    pub transport: String,
    pub encryption: String,
    pub outcome: String,
    pub app: Option<String>,
    pub upgrade: Option<String>,
    pub plaintext_reason: Option<String>,
    pub credentials: Vec<String>,
    pub confidence: Option<String>,
    pub unknown_reason: Option<String>,
    pub boundary: String,
    pub tls: Option<TlsLine>,
    pub evidence: Vec<EvidenceLine>,
    pub bytes_c2s: u64,
    pub bytes_s2c: u64,
    pub expected_service: Option<String>,
    #[serde(default)]
    pub src_name: Option<String>,
    #[serde(default)]
    pub dst_name: Option<String>,
    #[serde(default)]
    pub src_aws: Option<Resource>,
    #[serde(default)]
    pub dst_aws: Option<Resource>,
}

/// TLS facts of a record's line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the fields of `TlsRecord`, by the same names")]
pub struct TlsLine {
    pub version: Option<String>,
    pub cipher: Option<String>,
    pub sni: Option<String>,
    #[serde(default)]
    pub strength: Option<String>,
    #[serde(default)]
    pub strength_reasons: Vec<String>,
    /// A day or a time.
    #[serde(default)]
    pub cert_not_after: Option<String>,
}

/// A piece of evidence of a record's line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the fields of `EvidenceRecord`, by the same names")]
pub struct EvidenceLine {
    pub rule: String,
    #[serde(default)]
    pub constant: String,
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let version = u8::deserialize(deserializer)?;
    if version == SCHEMA_VERSION {
        return Ok(version);
    }
    let wrong = format!("record of schema version {version}: this version reads {SCHEMA_VERSION}");
    Err(serde::de::Error::custom(wrong))
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
