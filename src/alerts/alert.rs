//! One event of one finding, with all that is told of it.

use serde::{Deserialize, Serialize};

use crate::{
    findings::{Event, EventKind, FindingEvidence, FindingState, Names},
    model::FindingId,
    policy::{Control, Remedies, Severity, Topic},
};

/// What is told of an event: the finding as it stood then, and its remedy. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What happened.
    pub event: EventKind,
    /// When, by the sensor's clock.
    pub at: String,
    /// Id of the finding.
    pub id: FindingId,
    /// Ids under which it was known before.
    pub aliases: Vec<FindingId>,
    /// How it stands.
    pub state: FindingState,
    /// How much it matters.
    pub severity: Severity,
    /// Source domain.
    pub scope: String,
    /// Client group, or address; `*`: every client.
    pub client: String,
    /// An address of the client.
    pub client_address: String,
    /// Server, or its address.
    pub server: String,
    /// An address of the server.
    pub server_address: String,
    /// What people call the ends, and who answers for them.
    #[serde(flatten)]
    pub names: Names,
    /// Server port.
    pub port: u16,
    /// Detected protocol.
    pub protocol: String,
    /// Policy rule.
    pub rule: String,
    /// Topic of the rule.
    pub topic: Topic,
    /// Why it matters, in a sentence.
    pub why: String,
    /// Why it is in clear.
    pub plaintext_reason: Option<String>,
    /// Credential kinds seen in clear.
    pub credentials: Vec<String>,
    /// First flow.
    pub first_seen: String,
    /// Last flow.
    pub last_seen: String,
    /// When it opened or regressed last.
    pub opened_at: String,
    /// When it resolved last.
    pub resolved_at: Option<String>,
    /// Times it came back.
    pub regressions: u32,
    /// Flows seen.
    pub flows: u64,
    /// IP bytes, both directions.
    pub bytes: u64,
    /// Exception that holds or held it back.
    pub exception: Option<String>,
    /// Last day of that exception.
    pub exception_expires: Option<String>,
    /// What turns it off.
    pub remedy: RemedyText,
    /// Requirements it bears on.
    pub controls: Vec<Control>,
    /// Evidence of the last flow.
    pub evidence: Vec<FindingEvidence>,
}

/// What turns a finding off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemedyText {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub title: String,
    /// The setting or call at the server.
    pub server: String,
    /// What the client changes.
    pub client: String,
    /// What breaks.
    pub breaks: String,
    /// Where the vendor says so.
    pub vendor_page: String,
}

/// An alert in a line: what groups and digests hold of the many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Brief {
    /// How much it matters.
    pub severity: Severity,
    /// What happened.
    pub event: EventKind,
    /// When.
    pub at: String,
    /// Id of the finding.
    pub id: FindingId,
    /// Source domain.
    pub scope: String,
    /// Client group, or address.
    pub client: String,
    /// Server, or its address.
    pub server: String,
    /// Server port.
    pub port: u16,
    /// Detected protocol.
    pub protocol: String,
    /// Policy rule.
    pub rule: String,
    /// Whether credentials were seen in clear.
    pub credentials: bool,
}

impl Alert {
    /// From an event.
    pub fn new(event: &Event, remedies: &Remedies) -> Self {
        let finding = event.finding.clone();
        let remedy =
            remedies.get(&finding.remedy).unwrap_or_else(|| remedies.resolve(None, None, None));
        Self {
            event: event.kind,
            at: event.at.to_string(),
            id: finding.id,
            aliases: finding.aliases,
            state: finding.state,
            severity: finding.severity,
            scope: finding.edge.scope,
            client: finding.edge.client,
            client_address: finding.client_address,
            server: finding.edge.server,
            server_address: finding.server_address,
            names: finding.names,
            port: finding.edge.port,
            protocol: finding.edge.protocol,
            rule: finding.edge.rule,
            topic: finding.topic,
            why: finding.why,
            plaintext_reason: finding.plaintext_reason,
            credentials: finding.credentials,
            first_seen: finding.first_seen.to_string(),
            last_seen: finding.last_seen.to_string(),
            opened_at: finding.opened_at.to_string(),
            resolved_at: finding.resolved_at.map(|at| at.to_string()),
            regressions: finding.regressions,
            flows: finding.flows,
            bytes: finding.bytes,
            exception: finding.exception,
            exception_expires: finding.exception_expires,
            remedy: RemedyText {
                id: remedy.id.clone(),
                title: remedy.title.clone(),
                server: remedy.server.clone(),
                client: remedy.client.clone(),
                breaks: remedy.breaks.clone(),
                vendor_page: remedy.vendor_page.clone(),
            },
            controls: finding.controls,
            evidence: finding.evidence,
        }
    }

    /// What people read for the client: a group as it is, a single resource by its name.
    pub fn client_shown(&self) -> &str {
        let name = self.names.client_name.as_deref();
        name.filter(|_| self.client.starts_with("arn:")).unwrap_or(&self.client)
    }

    /// What people read for the server: its name where an inventory has one, else identity or address.
    pub fn server_shown(&self) -> &str {
        let known = self.names.server_name_source.as_deref() == Some("inventory");
        self.names.server_name.as_deref().filter(|_| known).unwrap_or(&self.server)
    }

    /// In a line.
    pub fn brief(&self) -> Brief {
        Brief {
            severity: self.severity,
            event: self.event,
            at: self.at.clone(),
            id: self.id,
            scope: self.scope.clone(),
            client: self.client_shown().to_owned(),
            server: self.server_shown().to_owned(),
            port: self.port,
            protocol: self.protocol.clone(),
            rule: self.rule.clone(),
            credentials: !self.credentials.is_empty(),
        }
    }
}
