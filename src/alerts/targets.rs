//! Where a channel delivers to: one struct per kind. A secret is never written here, only where it is found.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::is_safe_endpoint;

/// How an AWS service is reached. Credentials come from the standard chain: environment, profile, web identity, container,
/// instance role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsAccess {
    /// Region; else that of the standard chain.
    pub region: Option<String>,
    /// Endpoint, `https://...`; `http://` only on loopback, for emulators.
    pub endpoint: Option<String>,
    /// Use the FIPS 140 endpoint of the Region.
    pub fips: bool,
    /// Role to assume, as an ARN.
    pub role_arn: Option<String>,
    /// External id that the role asks for.
    pub external_id: Option<String>,
}

/// A topic of Amazon SNS: subject and text for people, attributes for subscription filters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SnsTarget {
    /// ARN of the topic; one that ends in `.fifo` de-duplicates by itself.
    pub topic_arn: String,
    /// Send the JSON form instead of the text.
    pub json: bool,
    /// How the service is reached.
    pub access: AwsAccess,
}

/// An event bus of Amazon EventBridge: the JSON form as detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventBridgeTarget {
    /// Name or ARN of the bus.
    pub bus: String,
    /// Source of the events; not one that begins with `aws.`.
    pub source: String,
    /// How the service is reached.
    pub access: AwsAccess,
}

impl Default for EventBridgeTarget {
    fn default() -> Self {
        Self {
            bus: "default".to_owned(),
            source: "cleartap".to_owned(),
            access: AwsAccess::default(),
        }
    }
}

/// AWS Security Hub: each finding as a record in ASFF, updated and archived as it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHubTarget {
    /// The account that owns the findings: twelve digits, that of the credentials or of the assumed role.
    pub account_id: String,
    /// Partition: `aws`, `aws-us-gov` or `aws-cn`.
    #[schemars(extend("enum" = ["aws", "aws-us-gov", "aws-cn"]))]
    pub partition: Option<String>,
    /// How the service is reached; `region` is asked for, because it is part of the product's ARN.
    pub access: AwsAccess,
}

/// An HTTPS endpoint of one's own, or of Slack and what takes its form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookTarget {
    /// Its URL, where that is no secret: `https://...`, or `http://` on loopback.
    pub url: Option<String>,
    /// Where the URL is found, where it is a secret (Slack's is).
    pub url_from: Option<Secret>,
    /// What is sent.
    pub form: WebhookForm,
    /// Where the key of the signature is found; without it nothing is signed.
    pub signing_key_from: Option<Secret>,
    /// File of certificate authorities (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// What a webhook is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookForm {
    /// The JSON form.
    #[default]
    Json,
    /// `{"text": ...}` in Slack's markup.
    Slack,
}

/// Where a secret is found: a file or an environment variable; one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Secret {
    /// File that holds it; read anew when it is refused.
    pub file: Option<PathBuf>,
    /// Name of the environment variable that holds it.
    pub env: Option<String>,
}

/// A syslog receiver (RFC 5424).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyslogTarget {
    /// `host:port`.
    pub address: String,
    /// How it is carried.
    pub transport: SyslogTransport,
    /// Facility, 0 to 23; 16 is local0.
    #[schemars(range(min = 0, max = 23))]
    pub facility: u8,
    /// Private enterprise number of the structured data; 32473 is the one for examples.
    #[schemars(range(min = 1))]
    pub enterprise_id: u32,
    /// Text for people, or the JSON form.
    pub form: SyslogForm,
    /// File of certificate authorities (PEM) to trust instead of the system's, for `tls`.
    pub ca_file: Option<PathBuf>,
    /// Send over `tcp` or `udp` to another machine all the same.
    pub allow_clear: bool,
}

impl Default for SyslogTarget {
    fn default() -> Self {
        Self {
            address: String::new(),
            transport: SyslogTransport::default(),
            facility: 16,
            enterprise_id: 32473,
            form: SyslogForm::default(),
            ca_file: None,
            allow_clear: false,
        }
    }
}

/// How syslog is carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogTransport {
    /// TLS (RFC 5425).
    #[default]
    Tls,
    /// TCP with octet counting (RFC 6587).
    Tcp,
    /// UDP (RFC 5426): what the network loses is lost.
    Udp,
}

/// What a syslog message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SyslogForm {
    /// A line for people.
    #[default]
    Text,
    /// The JSON form.
    Json,
}

/// A file of JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonLinesTarget {
    /// File they are appended to; `-`: standard output. It may be moved away at any time.
    #[schemars(with = "String")]
    pub path: PathBuf,
}

impl Default for JsonLinesTarget {
    fn default() -> Self {
        Self { path: "-".into() }
    }
}

impl AwsAccess {
    fn problem(&self, key: &str) -> Option<String> {
        let endpoint = self.endpoint.as_deref().filter(|endpoint| !is_safe_endpoint(endpoint))?;
        Some(format!(
            "{key}.access.endpoint = \"{}\": expected https://HOST (http:// only on loopback)",
            endpoint.escape_default()
        ))
    }
}

impl SnsTarget {
    /// What is wrong, in words for the user.
    pub fn problem(&self) -> Option<String> {
        let arn = &self.topic_arn;
        let parts = arn.split(':').count();
        if !arn.starts_with("arn:") || parts != 6 || arn.split(':').nth(2) != Some("sns") {
            return Some(format!(
                "sns.topic_arn = \"{}\": expected arn:aws:sns:REGION:ACCOUNT:TOPIC",
                arn.escape_default()
            ));
        }
        self.access.problem("sns")
    }
}

impl EventBridgeTarget {
    /// What is wrong, in words for the user.
    pub fn problem(&self) -> Option<String> {
        if self.source.is_empty() || self.source.len() > 256 || self.source.starts_with("aws.") {
            return Some(format!(
                "eventbridge.source = \"{}\": expected 1 to 256 characters that do not begin with aws.",
                self.source.escape_default()
            ));
        }
        if self.bus.is_empty() {
            return Some("eventbridge.bus: is empty; expected a name or an ARN".to_owned());
        }
        self.access.problem("eventbridge")
    }
}

impl SecurityHubTarget {
    /// What is wrong, in words for the user.
    pub fn problem(&self) -> Option<String> {
        let id = &self.account_id;
        if id.len() != 12 || !id.bytes().all(|b| b.is_ascii_digit()) {
            return Some(format!(
                "securityhub.account_id = \"{}\": expected twelve digits",
                id.escape_default()
            ));
        }
        if self.access.region.is_none() {
            return Some("securityhub.access.region: is missing; it is part of the ARN".to_owned());
        }
        self.access.problem("securityhub")
    }
}

impl WebhookTarget {
    /// What is wrong, in words for the user. A URL is not repeated: it may be a secret.
    pub fn problem(&self) -> Option<String> {
        match (&self.url, &self.url_from) {
            (None, None) => return Some("webhook: expected `url` or `url_from`".to_owned()),
            (Some(_), Some(_)) => {
                return Some("webhook.url: not together with `url_from`".to_owned());
            }
            (Some(_), None) if self.form == WebhookForm::Slack => {
                return Some("webhook.url: Slack's is a secret; use `url_from`".to_owned());
            }
            (Some(url), None) if !is_safe_endpoint(url) => {
                return Some(
                    "webhook.url: expected https://HOST/... (http:// only on loopback)".to_owned(),
                );
            }
            (Some(url), None) if url.contains('@') => {
                return Some(
                    "webhook.url: holds a user name or password; use `url_from`".to_owned(),
                );
            }
            _ => {}
        }
        let url = self.url_from.as_ref().and_then(|s| s.problem("webhook.url_from"));
        let key = || self.signing_key_from.as_ref()?.problem("webhook.signing_key_from");
        url.or_else(key)
    }
}

impl Secret {
    fn problem(&self, key: &str) -> Option<String> {
        (self.file.is_some() == self.env.is_some())
            .then(|| format!("{key}: expected `file` or `env`, one of the two"))
    }
}

impl SyslogTarget {
    /// What is wrong, in words for the user.
    pub fn problem(&self) -> Option<String> {
        let port = self.address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Some(format!(
                "syslog.address = \"{}\": expected HOST:PORT",
                self.address.escape_default()
            ));
        }
        if self.transport == SyslogTransport::Udp && self.form == SyslogForm::Json {
            return Some(
                "syslog.form: expected text with udp: a datagram has no room for all".to_owned(),
            );
        }
        let clear = self.transport != SyslogTransport::Tls && !self.allow_clear;
        if clear && !is_safe_endpoint(&format!("http://{}", self.address)) {
            return Some(
                "syslog.transport: expected tls; tcp and udp go in clear, only to loopback unless allow_clear = true"
                    .to_owned(),
            );
        }
        None
    }
}
