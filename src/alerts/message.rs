//! What a channel delivers: text for people, fields for programs, and a key by which a second copy is known.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Alert, Brief, Closed, Digest, words};
use crate::{
    findings::EventKind,
    model::{FindingId, Timestamp},
    policy::Severity,
};

/// Version of the JSON form: raised when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Most alerts of one message.
pub const MESSAGE_ALERTS_MAX: usize = 500;

/// A message. This is the JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The same for every copy of this message: 32 hexadecimal digits.
    pub key: String,
    /// What it is.
    pub kind: MessageKind,
    /// When it was made, RFC 3339 in UTC.
    pub at: String,
    /// The worst severity in it.
    pub severity: Severity,
    /// A line: at most 100 characters of ASCII.
    pub subject: String,
    /// Text for people.
    pub text: String,
    /// A few lines in Slack's markup.
    pub short: String,
    /// The alert in full; of a group, its first. None in a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<Alert>,
    /// Every alert of a group, in a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<Brief>,
    /// The digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// One alert.
    Alert,
    /// Alerts of one scope, rule and server.
    Group,
    /// What was lighter, or too much.
    Digest,
}

impl MessageKind {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Group => "group",
            Self::Digest => "digest",
        }
    }
}

impl Message {
    /// One alert.
    pub fn alert(channel: &str, alert: Alert, now: Timestamp) -> Self {
        let mut key = KeyHash::new(channel);
        key.add(alert.id, alert.event, &alert.at);
        Self {
            schema: SCHEMA,
            key: key.finish(),
            kind: MessageKind::Alert,
            at: now.to_string(),
            severity: alert.severity,
            subject: words::subject(&alert, &[]),
            text: words::text(&alert, &[]),
            short: words::short(&alert, &[]),
            alert: Some(alert),
            group: Vec::new(),
            digest: None,
        }
    }

    /// A group; one of a single alert is that alert.
    pub fn group(channel: &str, closed: Closed, now: Timestamp) -> Self {
        let Closed { first, mut briefs, .. } = closed;
        if briefs.len() <= 1 {
            return Self::alert(channel, first, now);
        }
        briefs.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
        let mut key = KeyHash::new(channel);
        for brief in &briefs {
            key.add(brief.id, brief.event, &brief.at);
        }
        Self {
            schema: SCHEMA,
            key: key.finish(),
            kind: MessageKind::Group,
            at: now.to_string(),
            severity: briefs.iter().map(|brief| brief.severity).max().unwrap_or(first.severity),
            subject: words::subject(&first, &briefs),
            text: words::text(&first, &briefs),
            short: words::short(&first, &briefs),
            alert: Some(first),
            group: briefs,
            digest: None,
        }
    }

    /// A digest that is finished; `key` is that of its lines.
    pub fn digest(digest: Digest, key: KeyHash, now: Timestamp) -> Self {
        let severity = digest.by_severity.last_key_value().map_or(Severity::Info, |(s, _)| *s);
        Self {
            schema: SCHEMA,
            key: key.finish(),
            kind: MessageKind::Digest,
            at: now.to_string(),
            severity,
            subject: words::digest_subject(&digest),
            text: words::digest_text(&digest),
            short: words::digest_short(&digest),
            alert: None,
            group: Vec::new(),
            digest: Some(digest),
        }
    }

    /// The JSON form in at most `bytes_max`: a group that is longer keeps its worst lines, the text says how many there are.
    pub fn json(&self, bytes_max: usize) -> String {
        let mut message = self.clone();
        loop {
            // Text and numbers only: it can always be written.
            let json = serde_json::to_string(&message).unwrap_or_default();
            if json.len() <= bytes_max || message.group.is_empty() {
                return json;
            }
            message.group.truncate(message.group.len() / 2);
        }
    }

    /// Event of the alert it holds; none for a digest.
    pub fn event(&self) -> Option<EventKind> {
        self.alert.as_ref().map(|alert| alert.event)
    }

    /// What it is about in all channels alike: group and alert by their first finding, digests by their key.
    pub fn about(&self) -> String {
        self.alert.as_ref().map_or_else(|| self.key.clone(), |alert| alert.id.to_string())
    }
}

/// Makes the key of a message.
#[derive(Clone, Debug)]
pub struct KeyHash(Sha256);

impl KeyHash {
    /// For a channel: two channels may well tell the same.
    pub fn new(channel: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"cleartap alert 1\n");
        hash.update(channel.as_bytes());
        Self(hash)
    }

    /// Adds an alert.
    pub fn add(&mut self, id: FindingId, event: EventKind, at: &str) {
        self.0.update(format!("\n{id} {} {at}", event.name()).as_bytes());
    }

    /// 32 hexadecimal digits.
    pub fn finish(self) -> String {
        let digest: [u8; 32] = self.0.finalize().into();
        let (key, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        format!("{:032x}", u128::from_be_bytes(*key))
    }
}
