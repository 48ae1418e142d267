//! What policy looks at: the part of a record that rules can speak of, borrowed from a live record or from a line read back.

use std::net::IpAddr;

use crate::model::{
    Addresses, Date, Edge, FindingId, Identity, Resource, Timestamp,
    finding::EVERY_CLIENT,
    record::Record,
    record_line::{RecordLine, TlsLine},
};

use super::{Per, Raise, services};

/// The facts of one flow, in the words of its record.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of `Record`, by the same names")]
pub struct Subject<'a> {
    pub scope: &'a str,
    pub client: IpAddr,
    pub server: IpAddr,
    pub port: u16,
    pub transport: &'a str,
    pub encryption: &'a str,
    pub outcome: &'a str,
    pub confidence: Option<&'a str>,
    pub app: Option<&'a str>,
    pub upgrade: Option<&'a str>,
    pub plaintext_reason: Option<&'a str>,
    pub credentials: Vec<&'a str>,
    pub boundary: &'a str,
    pub expected_service: Option<&'a str>,
    pub evidence: Vec<&'a str>,
    pub tls_version: Option<&'a str>,
    pub tls_cipher: Option<&'a str>,
    pub tls_strength: Option<&'a str>,
    pub tls_reasons: Vec<&'a str>,
    /// End of the server certificate's validity.
    pub cert_not_after: Option<Timestamp>,
    /// Last packet.
    pub ts_last: Timestamp,
    /// Names an inventory gives the client: resource, group, owner, tags. Empty without one.
    pub client_names: Vec<&'a str>,
    /// Names an inventory gives the server.
    pub server_names: Vec<&'a str>,
    /// Which managed service the server is, by remedy id (`rds-postgresql`), where an inventory tells.
    pub service: Option<&'a str>,
    /// Identity an inventory gives the server.
    pub server_id: Option<&'a str>,
    /// Group an inventory puts the client into.
    pub client_group: Option<&'a str>,
    /// The server's name, wherever it comes from: it may point to a remedy, no rule matches it.
    pub server_name: Option<&'a str>,
}

impl<'a> From<&'a Record> for Subject<'a> {
    fn from(record: &'a Record) -> Self {
        let tls = record.tls.as_ref();
        Self {
            scope: &record.scope,
            client: record.src_ip,
            server: record.dst_ip,
            port: record.dst_port,
            transport: record.transport,
            encryption: record.encryption,
            outcome: record.outcome,
            confidence: record.confidence,
            app: record.app,
            upgrade: record.upgrade,
            plaintext_reason: record.plaintext_reason,
            credentials: record.credentials.clone(),
            boundary: record.boundary,
            expected_service: record.expected_service,
            evidence: record.evidence.iter().map(|e| e.rule).collect(),
            tls_version: tls.and_then(|tls| tls.version),
            tls_cipher: tls.and_then(|tls| tls.cipher.as_deref()),
            tls_strength: tls.and_then(|tls| tls.strength.strength),
            tls_reasons: tls.map(|tls| tls.strength.strength_reasons.clone()).unwrap_or_default(),
            cert_not_after: tls
                .and_then(|tls| tls.certificates.cert_not_after.as_deref())
                .and_then(end_of),
            ts_last: record.ts_last,
            client_names: names(record.names.src_aws.as_deref()),
            server_names: names(record.names.dst_aws.as_deref()),
            service: service(record.names.dst_aws.as_deref(), record.app),
            server_id: record.names.dst_aws.as_deref().map(|r| &*r.id),
            client_group: record.names.src_aws.as_deref().map(Resource::client_group),
            server_name: record.names.dst_name.as_deref(),
        }
    }
}

impl<'a> From<&'a RecordLine> for Subject<'a> {
    fn from(line: &'a RecordLine) -> Self {
        let tls = line.tls.as_ref();
        let word = |word: fn(&TlsLine) -> Option<&str>| tls.and_then(word);
        Self {
            scope: &line.scope,
            client: line.src_ip,
            server: line.dst_ip,
            port: line.dst_port,
            transport: &line.transport,
            encryption: &line.encryption,
            outcome: &line.outcome,
            confidence: line.confidence.as_deref(),
            app: line.app.as_deref(),
            upgrade: line.upgrade.as_deref(),
            plaintext_reason: line.plaintext_reason.as_deref(),
            credentials: line.credentials.iter().map(String::as_str).collect(),
            boundary: &line.boundary,
            expected_service: line.expected_service.as_deref(),
            evidence: line.evidence.iter().map(|e| e.rule.as_str()).collect(),
            tls_version: word(|tls| tls.version.as_deref()),
            tls_cipher: word(|tls| tls.cipher.as_deref()),
            tls_strength: word(|tls| tls.strength.as_deref()),
            tls_reasons: tls
                .map(|tls| tls.strength_reasons.iter().map(String::as_str).collect())
                .unwrap_or_default(),
            cert_not_after: word(|tls| tls.cert_not_after.as_deref()).and_then(end_of),
            ts_last: line.ts_last,
            client_names: names(line.src_aws.as_ref()),
            server_names: names(line.dst_aws.as_ref()),
            service: service(line.dst_aws.as_ref(), line.app.as_deref()),
            server_id: line.dst_aws.as_ref().map(|r| &*r.id),
            client_group: line.src_aws.as_ref().map(Resource::client_group),
            server_name: line.dst_name.as_deref(),
        }
    }
}

fn names(resource: Option<&Resource>) -> Vec<&str> {
    resource.map(|resource| resource.names().collect()).unwrap_or_default()
}

/// The managed service: as a file says, else by kind and protocol.
fn service<'a>(resource: Option<&'a Resource>, app: Option<&str>) -> Option<&'a str> {
    let resource = resource?;
    resource.service.as_deref().or_else(|| services::service(&resource.kind, app))
}

/// The time that a record names: a day lasts to its end.
fn end_of(text: &str) -> Option<Timestamp> {
    let day = || text.parse().ok().map(Date::end);
    text.parse().ok().or_else(day)
}

impl Subject<'_> {
    /// What was spoken: the application, else how it was sealed.
    pub fn protocol(&self) -> &str {
        self.app.unwrap_or(self.encryption)
    }

    /// Whole days until the certificate ends, negative once it has; `None` where none was seen.
    pub fn cert_days_left(&self, now: Timestamp) -> Option<i64> {
        let end = i64::try_from(self.cert_not_after?.seconds()).ok()?;
        let now = i64::try_from(now.seconds()).ok()?;
        Some(end.saturating_sub(now).div_euclid(SECONDS_PER_DAY))
    }

    /// Whether a secret was sent that can be used as read.
    pub fn exposes_secret(&self) -> bool {
        self.credentials.iter().any(|kind| *kind != "password_hash_challenge")
    }

    /// The edge a raise of this flow is about, and its finding's id.
    pub fn edge(&self, raise: &Raise, identity: &dyn Identity) -> (FindingId, Edge) {
        let client = match raise.per {
            Per::Edge => identity.client_group(self.scope, self.client, self.ts_last),
            Per::Server => EVERY_CLIENT.to_owned(),
        };
        let edge = Edge {
            scope: self.scope.to_owned(),
            server: identity.server(self.scope, self.server, self.ts_last),
            port: self.port,
            protocol: self.protocol().to_owned(),
            rule: raise.rule.to_string(),
            client,
        };
        (FindingId::of(&edge), edge)
    }
}

/// The ends as the flow's own record names them.
impl Identity for Subject<'_> {
    fn server(&self, scope: &str, address: IpAddr, at: Timestamp) -> String {
        let id = self.server_id.map(str::to_owned);
        id.unwrap_or_else(|| Addresses.server(scope, address, at))
    }

    fn client_group(&self, scope: &str, address: IpAddr, at: Timestamp) -> String {
        let group = self.client_group.map(str::to_owned);
        group.unwrap_or_else(|| Addresses.client_group(scope, address, at))
    }
}

const SECONDS_PER_DAY: i64 = 86_400;
