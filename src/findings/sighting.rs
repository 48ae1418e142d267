//! What one record says of one finding.

use std::sync::Arc;

use super::{BookException, Finding, FindingEvidence, FindingState, Names};
use crate::{
    model::{Date, Edge, FindingId, Resource, Timestamp, record::Record},
    policy::{Action, Decision, Raise, RaiseKind, Severity},
};

/// A raise, with what an expired exception adds to it.
pub(super) struct Sighting<'a> {
    pub(super) record: &'a Record,
    pub(super) raise: &'a Raise,
    /// What the rule asks for, as far as the proof lets it, before exceptions.
    pub(super) action: Action,
    pub(super) severity: Severity,
    /// The exception that bears on it.
    pub(super) exception: Option<Bearing>,
}

/// An exception that bears on a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bearing {
    pub(super) id: String,
    pub(super) until: String,
    pub(super) holds: bool,
}

impl Bearing {
    pub(super) fn of_book(exception: &BookException, now: Timestamp) -> Self {
        let holds = Date::of(now) <= exception.until;
        Self { id: exception.id(), until: exception.until.to_string(), holds }
    }
}

impl<'a> Sighting<'a> {
    /// What a record's decision says, one for each rule that spoke.
    pub(super) fn all(record: &'a Record, decision: &'a Decision) -> impl Iterator<Item = Self> {
        let rules = decision.raises.iter().filter(|raise| raise.kind == RaiseKind::Rule);
        rules.map(move |raise| {
            let exception = raise.exception.as_ref().map(|applied| Bearing {
                id: applied.id.to_string(),
                until: applied.expires.clone(),
                holds: !applied.expired,
            });
            // An expired exception raises itself beside what it excepted: here it makes that finding louder.
            let beside = decision.raises.iter().find(|other| {
                other.kind == RaiseKind::ExceptionExpired
                    && other.topic == raise.topic
                    && other.exception == raise.exception
            });
            let asked = raise.reach.cap(raise.asked);
            Self {
                record,
                raise,
                action: beside.map_or(asked, |other| asked.max(other.action)),
                severity: beside.map_or(raise.severity, |other| raise.severity.max(other.severity)),
                exception,
            }
        })
    }

    /// The exception of the book speaks where that of the configuration does not hold.
    pub(super) fn with_book(mut self, exception: Option<&BookException>, now: Timestamp) -> Self {
        if let Some(exception) = exception
            && !self.is_held()
        {
            let bearing = Bearing::of_book(exception, now);
            if !bearing.holds {
                // What was accepted until then is told, whatever its rule asks for.
                self.action = self.action.max(self.raise.reach.cap(Action::Alert));
            }
            self.exception = Some(bearing);
        }
        self
    }

    pub(super) fn is_held(&self) -> bool {
        self.exception.as_ref().is_some_and(|exception| exception.holds)
    }

    /// The finding it opens.
    pub(super) fn open(&self, id: FindingId, edge: Edge) -> Finding {
        let record = self.record;
        let mut finding = Finding {
            id,
            aliases: Vec::new(),
            edge,
            state: self.first_state(),
            severity: self.severity,
            action: self.action,
            topic: self.raise.topic,
            why: String::new(),
            plaintext_reason: None,
            credentials: Vec::new(),
            controls: Vec::new(),
            remedy: String::new(),
            exception: None,
            exception_expires: None,
            first_seen: record.ts_first,
            last_seen: record.ts_last,
            opened_at: record.ts_last,
            resolved_at: None,
            regressions: 0,
            flows: 0,
            bytes: 0,
            client_address: String::new(),
            server_address: String::new(),
            names: Names::default(),
            evidence: Vec::new(),
        };
        self.describe(&mut finding);
        finding
    }

    /// The state of a finding that opens with it: what only stands in the report has nobody to be told.
    pub(super) fn first_state(&self) -> FindingState {
        match (self.is_held(), self.action) {
            (true, _) => FindingState::Excepted,
            (false, Action::Alert) => FindingState::New,
            (false, _) => FindingState::Open,
        }
    }

    /// Whether the finding has to be told of again while it is open.
    pub(super) fn worsens(&self, finding: &Finding) -> bool {
        let first_credentials =
            finding.credentials.is_empty() && !self.record.credentials.is_empty();
        self.severity > finding.severity || first_credentials
    }

    /// Brings what is said of the finding up to date.
    pub(super) fn describe(&self, finding: &mut Finding) {
        let (record, raise) = (self.record, self.raise);
        finding.topic = raise.topic;
        finding.why = raise.why.to_string();
        finding.remedy = raise.remedy.to_string();
        if let Some(reason) = record.plaintext_reason {
            finding.plaintext_reason = Some(reason.to_owned());
        }
        for kind in &record.credentials {
            if !finding.credentials.iter().any(|known| known == kind) {
                finding.credentials.push((*kind).to_owned());
            }
        }
        finding.credentials.sort_unstable();
        // Those that credentials bring stay when a later flow shows none.
        for control in &raise.controls {
            if !finding.controls.contains(control) {
                finding.controls.push(control.clone());
            }
        }
        finding.exception = self.exception.as_ref().map(|exception| exception.id.clone());
        finding.exception_expires =
            self.exception.as_ref().map(|exception| exception.until.clone());
        finding.first_seen = finding.first_seen.min(record.ts_first);
        finding.last_seen = finding.last_seen.max(record.ts_last);
        finding.client_address = record.src_ip.to_canonical().to_string();
        finding.server_address = record.dst_ip.to_canonical().to_string();
        finding.names = names(record, &finding.names);
        finding.evidence = record
            .evidence
            .iter()
            .map(|evidence| FindingEvidence {
                rule: evidence.rule.to_owned(),
                direction: evidence.direction.to_owned(),
                offset: evidence.offset,
                length: evidence.length,
                constant: evidence.constant.to_owned(),
            })
            .collect();
    }
}

/// Names by the record; what the wire told before stays where it tells nothing now.
fn names(record: &Record, before: &Names) -> Names {
    let owner = |of: &Option<Arc<Resource>>| Some(of.as_ref()?.owner.as_ref()?.to_string());
    let names = &record.names;
    let heard =
        names.dst_name.is_some() || before.server_name_source.as_deref() == Some("inventory");
    let source = names.dst_name_source.map(|source| source.name().to_owned());
    Names {
        client_name: names.src_name.as_ref().map(ToString::to_string),
        client_owner: owner(&names.src_aws),
        server_name: if heard {
            names.dst_name.as_ref().map(ToString::to_string)
        } else {
            before.server_name.clone()
        },
        server_name_source: if heard { source } else { before.server_name_source.clone() },
        server_owner: owner(&names.dst_aws),
    }
}
