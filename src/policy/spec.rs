//! The grammar of rules and exceptions, as users and the built-in defaults write them.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{classes::Class, words};
use crate::model::Network;

/// What the policy is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySpec {
    /// Whether the built-in rules come after the rules of this file.
    #[schemars(extend("x-reload" = "live"))]
    pub defaults: bool,
    /// Ids of built-in rules that do not apply.
    #[schemars(extend("x-reload" = "live"))]
    pub disabled: Vec<String>,
    /// Named lists of networks, for `client` and `server` of rules.
    #[schemars(extend("x-reload" = "live"))]
    pub groups: BTreeMap<String, Vec<Network>>,
    /// Rules, first match wins within a topic.
    #[schemars(extend("x-reload" = "live"))]
    pub rules: Vec<RuleSpec>,
    /// What is accepted for a time, by whom and why.
    #[schemars(extend("x-reload" = "live"))]
    pub exceptions: Vec<ExceptionSpec>,
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            defaults: true,
            disabled: Vec::new(),
            groups: BTreeMap::new(),
            rules: Vec::new(),
            exceptions: Vec::new(),
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Stable id, part of the finding's identity. The id of a built-in rule replaces that rule.
    pub id: String,
    /// What the rule is about; without one it speaks for every topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
    /// What must hold: every key given, any of its values.
    #[serde(default)]
    pub when: WhenSpec,
    /// What must not hold all at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<WhenSpec>,
    /// How much it matters.
    pub severity: Severity,
    /// What follows.
    pub action: Action,
    /// One sentence for people: why it matters.
    #[serde(default)]
    pub why: String,
    /// Id of the remedy; without one it is found by service and protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Ids of sets of controls that it bears on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<String>,
    /// What one finding is about: a client group and a server, or the server alone.
    #[serde(default)]
    pub per: Per,
}

/// An exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExceptionSpec {
    /// Stable id.
    pub id: String,
    /// Ids of the rules it excepts from; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Which flows.
    pub when: WhenSpec,
    /// Who answers for it.
    pub owner: String,
    /// Why it is accepted.
    pub reason: String,
    /// Where it is tracked.
    pub ticket: String,
    /// Last day it holds (UTC), `YYYY-MM-DD`. After it, the flow alerts again, and so does the exception.
    #[schemars(with = "String", extend("format" = "date"))]
    pub expires: String,
}

/// Conditions: every key given must hold, any of its values is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WhenSpec {
    /// Source domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// Client: networks, names of `policy.groups`, or `name:PATTERN` with `*` for what an inventory calls it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client: Vec<String>,
    /// Server: likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server: Vec<String>,
    /// Server ports: numbers or ranges like "8000-8099".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<PortRange>,
    /// Transports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::transport_schema")]
    pub transport: Vec<String>,
    /// Protocols, as `cleartap protocols` names them; `none` where none is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::app_schema")]
    pub app: Vec<String>,
    /// Kinds of service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class: Vec<Class>,
    /// What an observer could read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::encryption_schema")]
    pub encryption: Vec<String>,
    /// What became of the flow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::outcome_schema")]
    pub outcome: Vec<String>,
    /// How the verdict was proven.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::confidence_schema")]
    pub confidence: Vec<String>,
    /// Where the flow runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::boundary_schema")]
    pub boundary: Vec<String>,
    /// Why it is in clear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::reason_schema")]
    pub plaintext_reason: Vec<String>,
    /// Kinds of credential seen in clear; `any`, `none`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::credentials_schema")]
    pub credentials: Vec<String>,
    /// Protocols usual on the server's port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::app_schema")]
    pub expected_service: Vec<String>,
    /// Whether the protocol is another than the one usual on the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexpected: Option<bool>,
    /// How TLS was reached within the connection.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upgrade: Vec<String>,
    /// Negotiated TLS versions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::tls_version_schema")]
    pub tls_version: Vec<String>,
    /// Cipher suites by IANA name; `*` stands for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_cipher: Vec<String>,
    /// TLS strength by the profile in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "words::strength_schema")]
    pub tls_strength: Vec<String>,
    /// Reasons for that strength; `*` stands for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls_reason: Vec<String>,
    /// Fewer days than this until the server certificate ends; 0: it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_days_below: Option<u32>,
    /// Ids of the evidence; `*` stands for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// What a rule is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// What an observer can read.
    Cleartext,
    /// How strong TLS is.
    Tls,
    /// The server certificate.
    Certificate,
    /// Whether the service is the one expected on its port.
    Service,
}

impl Topic {
    /// Every topic, in the order raises are listed.
    pub const ALL: [Self; 4] = [Self::Cleartext, Self::Tls, Self::Certificate, Self::Service];
}

/// How much it matters.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Some day.
    Low,
    /// Plan it.
    Medium,
    /// This week.
    High,
    /// Now.
    Critical,
}

impl Severity {
    /// Every severity, lightest first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What follows when a rule matches.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing.
    Ignore,
    /// It stands in reports and metrics.
    Report,
    /// Somebody is told.
    Alert,
}

impl Action {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Report => "report",
            Self::Alert => "alert",
        }
    }
}

/// What one finding of a rule is about.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// A client group and a server.
    #[default]
    Edge,
    /// The server, whoever asks: certificates.
    Server,
}

/// A port, or a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is in it.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl std::str::FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "`{text}` is no port: expected a number up to 65535, or a range like \"8000-8099\""
            )),
        }
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            return serializer.serialize_u16(self.first);
        }
        serializer.collect_str(&format_args!("{}-{}", self.first, self.last))
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u16),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(port) => Ok(Self { first: port, last: port }),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for PortRange {
    fn schema_name() -> Cow<'static, str> {
        "PortRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": 65535 },
                { "type": "string", "format": "port-range" }
            ]
        })
    }
}
