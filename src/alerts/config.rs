//! `[alerts]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Mute,
    targets::{
        AwsAccess, EventBridgeTarget, JsonLinesTarget, SecurityHubTarget, SnsTarget, SyslogTarget,
        WebhookTarget,
    },
};
use crate::policy::Severity;

/// Who is told of findings, how, and how often. A finding is told when it opens, comes back, gets worse, when its exception
/// is over, and when it resolves; never per flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// Where alerts are told; none: nobody is told.
    pub channels: Vec<ChannelConfig>,
    /// Edges that are not told for a time.
    #[schemars(extend("x-reload" = "live"))]
    pub mutes: Vec<MuteConfig>,
    /// Folder of what is not delivered yet; each channel has one below it.
    #[schemars(with = "String")]
    pub spool: PathBuf,
    /// Most bytes of a channel's spool; above, the oldest is dropped and counted.
    #[schemars(range(min = 1_048_576))]
    pub spool_bytes_max: u64,
    /// Most alerts of a channel that wait for the end of a grouping window; above, they go to the digest.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub alerts_pending_max: u32,
    /// Hours after the sensor's first start in which what opens is told in one digest at their end; 0: told as ever.
    #[schemars(range(min = 0, max = 720))]
    pub baseline_h: u32,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            mutes: Vec::new(),
            spool: PathBuf::from("/var/lib/cleartap/spool/alerts"),
            spool_bytes_max: 256 << 20,
            alerts_pending_max: 10_000,
            baseline_h: 0,
        }
    }
}

/// One place where alerts are told: a name, one of the targets, and how much of it all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelConfig {
    /// Its name: in counters, in the log, and its folder in the spool.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Least severity that is told.
    pub threshold: Severity,
    /// Below this severity it is told in the digest; absent: high for people, none for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest_below: Option<Severity>,
    /// How often the digest comes, if there is something in it.
    pub digest: DigestPeriod,
    /// Seconds in which alerts of one scope, rule and server become one message; 0: each its own. Absent: 60 for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub group_s: Option<u32>,
    /// Most messages in an hour, digests aside; what is above goes to the digest. 0: no limit. Absent: 20 for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub messages_per_hour_max: Option<u32>,
    /// Tell what resolved.
    pub resolved: bool,
    /// Amazon SNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sns: Option<SnsTarget>,
    /// Amazon EventBridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eventbridge: Option<EventBridgeTarget>,
    /// AWS Security Hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub securityhub: Option<SecurityHubTarget>,
    /// A webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookTarget>,
    /// Syslog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syslog: Option<SyslogTarget>,
    /// A file of JSON lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_lines: Option<JsonLinesTarget>,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            threshold: Severity::Medium,
            digest_below: None,
            digest: DigestPeriod::default(),
            group_s: None,
            messages_per_hour_max: None,
            resolved: true,
            sns: None,
            eventbridge: None,
            securityhub: None,
            webhook: None,
            syslog: None,
            json_lines: None,
        }
    }
}

/// How often a digest comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DigestPeriod {
    /// Every hour.
    Hourly,
    /// Every day, at midnight UTC.
    #[default]
    Daily,
}

impl DigestPeriod {
    /// Its length.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Hourly => 3600,
            Self::Daily => 86_400,
        }
    }
}

/// An edge that is not told until a day. The finding stays in the book: a mute hides nothing there. What is not given fits
/// everything; names may hold `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MuteConfig {
    /// Finding id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// Scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Client group, address or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Server, address or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Server port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Detected protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Policy rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Last day it holds, in UTC: `YYYY-MM-DD`.
    pub until: String,
    /// Why.
    pub reason: String,
}

impl AlertsConfig {
    /// What is wrong, key first, in words for the user.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut list = Vec::new();
        for (at, channel) in self.channels.iter().enumerate() {
            let key = format!("alerts.channels[{at}]");
            list.extend(channel.problem().map(|problem| (key.clone(), problem)));
            let before = self.channels.get(..at).unwrap_or_default();
            if before.iter().any(|other| other.name == channel.name) {
                list.push((key, format!("name: two channels are called `{}`", channel.name)));
            }
        }
        for (at, mute) in self.mutes.iter().enumerate() {
            let wrong = Mute::new(mute).err();
            list.extend(wrong.map(|problem| (format!("alerts.mutes[{at}]"), problem)));
        }
        list
    }
}

impl ChannelConfig {
    /// What kind of target it has; none if it has none.
    pub fn kind(&self) -> Option<&'static str> {
        self.kinds().next()
    }

    /// How its AWS service is reached; none for other targets. A topic says where it is.
    pub fn access(&self) -> Option<AwsAccess> {
        if let Some(sns) = &self.sns {
            let region = sns.topic_arn.split(':').nth(3).map(str::to_owned);
            let region = sns.access.region.clone().or(region);
            return Some(AwsAccess { region, ..sns.access.clone() });
        }
        let bus = self.eventbridge.as_ref().map(|target| &target.access);
        bus.or_else(|| self.securityhub.as_ref().map(|target| &target.access)).cloned()
    }

    /// Whether people read it, and so it is grouped, limited and digested unless it is told otherwise.
    pub fn is_for_people(&self) -> bool {
        let slack = |w: &WebhookTarget| w.form == super::WebhookForm::Slack;
        self.sns.as_ref().is_some_and(|sns| !sns.json) || self.webhook.as_ref().is_some_and(slack)
    }

    /// Whether it keeps the state of findings, and so has to be told of each, whatever else is asked for.
    pub const fn keeps_state(&self) -> bool {
        self.securityhub.is_some()
    }

    /// Grouping window in nanoseconds; 0: none.
    pub fn group_ns(&self) -> u64 {
        let default = if self.is_for_people() { 60 } else { 0 };
        let s = if self.keeps_state() { 0 } else { self.group_s.unwrap_or(default) };
        u64::from(s) * crate::model::time::NS_PER_S
    }

    /// Most messages in an hour; none: no limit.
    pub fn limit(&self) -> Option<u32> {
        let default = if self.is_for_people() { 20 } else { 0 };
        let limit = self.messages_per_hour_max.unwrap_or(default);
        (limit > 0 && !self.keeps_state()).then_some(limit)
    }

    /// Whether this severity goes to the digest.
    pub fn is_digested(&self, severity: Severity) -> bool {
        let default = self.is_for_people().then_some(Severity::High);
        !self.keeps_state() && self.digest_below.or(default).is_some_and(|below| severity < below)
    }

    fn kinds(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.sns.is_some(), "sns"),
            (self.eventbridge.is_some(), "eventbridge"),
            (self.securityhub.is_some(), "securityhub"),
            (self.webhook.is_some(), "webhook"),
            (self.syslog.is_some(), "syslog"),
            (self.json_lines.is_some(), "json_lines"),
        ]
        .into_iter()
        .filter_map(|(is, kind)| is.then_some(kind))
    }

    fn problem(&self) -> Option<String> {
        let named = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(named) {
            return Some(format!(
                "name = \"{}\": expected 1 to 64 of A-Z a-z 0-9 - _",
                self.name.escape_default()
            ));
        }
        let kinds: Vec<&str> = self.kinds().collect();
        if kinds.len() != 1 {
            return Some(format!(
                "expected one of sns, eventbridge, securityhub, webhook, syslog, json_lines; found {}",
                if kinds.is_empty() { "none".to_owned() } else { kinds.join(" and ") }
            ));
        }
        let none = || None;
        self.sns
            .as_ref()
            .map_or_else(none, SnsTarget::problem)
            .or_else(|| self.eventbridge.as_ref()?.problem())
            .or_else(|| self.securityhub.as_ref()?.problem())
            .or_else(|| self.webhook.as_ref()?.problem())
            .or_else(|| self.syslog.as_ref()?.problem())
    }
}
