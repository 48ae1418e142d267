//! From a flow to what it raises.

use std::sync::Arc;

use serde::Serialize;

use super::{
    Applied, Control, Exception, Policy, Rule, Subject,
    spec::{Action, Per, Severity, Topic},
};
use crate::model::Timestamp;

/// What a policy says of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// At most one per topic, in the order of [`Topic::ALL`], and the exceptions that have expired.
    pub raises: Vec<Raise>,
}

/// Something that matters about a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Raise {
    /// The rule; for an expired exception `exception-expired:` and its id.
    pub rule: Arc<str>,
    /// What raised it.
    pub kind: RaiseKind,
    /// The topic it was raised in.
    pub topic: Topic,
    /// How much it matters.
    pub severity: Severity,
    /// What follows: what the rule asks for, as far as the proof and the exception let it.
    pub action: Action,
    /// What the rule asked for.
    pub asked: Action,
    /// How far proof and outcome let it go.
    pub reach: Reach,
    /// Why it matters.
    pub why: Arc<str>,
    /// Requirements it bears on.
    pub controls: Vec<Control>,
    /// Id of the remedy.
    pub remedy: Arc<str>,
    /// What one finding of it is about.
    pub per: Per,
    /// The exception that bears on it, valid or expired.
    pub exception: Option<Applied>,
}

/// What raised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RaiseKind {
    /// A rule.
    Rule,
    /// An exception whose last day is over while its flows go on.
    ExceptionExpired,
}

/// How far a raise may go; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Nowhere.
    Nothing,
    /// It may stand in a report.
    Report,
    /// It may also count in a metric.
    Metric,
    /// It may also be told to somebody.
    Alert,
}

/// Rule of an expired exception, before its id.
pub const EXCEPTION_EXPIRED: &str = "exception-expired:";

/// How far confidence and outcome let a raise go (design section 3).
///
/// | confidence \ outcome | established | refused | attempt | unknown |
/// |---|---|---|---|---|
/// | `both_sides`, `one_side` | alert | metric | report | metric |
/// | `midstream` | alert | nothing | report | metric |
/// | `inferred`, `heuristic` | metric | nothing | nothing | nothing |
/// | none (verdict unknown) | report | report | report | report |
///
/// An unknown outcome may yet turn out to be a refusal, so it never alerts.
pub fn reach(confidence: Option<&str>, outcome: &str) -> Reach {
    match (confidence, outcome) {
        (Some("both_sides" | "one_side" | "midstream"), "established") => Reach::Alert,
        (Some("both_sides" | "one_side"), "refused" | "unknown")
        | (Some("midstream"), "unknown")
        | (Some("inferred" | "heuristic"), "established") => Reach::Metric,
        (Some("both_sides" | "one_side" | "midstream"), "attempt") | (None, _) => Reach::Report,
        _ => Reach::Nothing,
    }
}

impl Reach {
    /// What of an action is left.
    pub fn cap(self, action: Action) -> Action {
        match self {
            Self::Nothing => Action::Ignore,
            Self::Report | Self::Metric => action.min(Action::Report),
            Self::Alert => action,
        }
    }
}

impl Decision {
    /// The gravest raise of those that go furthest.
    pub fn worst(&self) -> Option<&Raise> {
        self.raises.iter().max_by_key(|raise| (raise.action, raise.severity))
    }
}

impl Policy {
    /// What this flow raises. `now` is for expiry dates: the packet's time in a replay, the clock's in a sensor.
    pub fn judge(&self, subject: &Subject<'_>, now: Timestamp) -> Decision {
        let mut decision = Decision::default();
        let reach = reach(subject.confidence, subject.outcome);
        let matching: Vec<&Rule> =
            self.rules().iter().filter(|rule| rule.matches(subject, now)).collect();
        let mut spoke: Vec<&str> = Vec::new();
        for topic in Topic::ALL {
            let Some(rule) = matching.iter().find(|rule| rule.covers(topic)) else { continue };
            // A rule for every topic speaks once.
            if spoke.contains(&&*rule.id) {
                continue;
            }
            spoke.push(&rule.id);
            if reach.cap(rule.action) == Action::Ignore {
                continue;
            }
            let raise = self.raise(rule, topic, reach, subject);
            self.except(raise, subject, now, &mut decision);
        }
        decision
    }

    fn raise(&self, rule: &Rule, topic: Topic, reach: Reach, subject: &Subject<'_>) -> Raise {
        let by_name = || self.remedies().by_host(subject.server_name?, subject.app);
        let service = subject.service.or_else(by_name);
        let remedy = self.remedies().resolve(rule.remedy.as_deref(), service, subject.app);
        let mut controls = rule.controls.to_vec();
        if subject.exposes_secret() {
            controls.extend_from_slice(self.controls().credentials());
        }
        controls.extend(remedy.fsbp());
        dedupe(&mut controls);
        Raise {
            rule: Arc::clone(&rule.id),
            kind: RaiseKind::Rule,
            topic,
            severity: rule.severity,
            action: reach.cap(rule.action),
            asked: rule.action,
            reach,
            why: Arc::clone(&rule.why),
            controls,
            remedy: Arc::from(remedy.id.as_str()),
            per: rule.per,
            exception: None,
        }
    }

    /// Applies the exceptions: a valid one lowers the raise to the report, an expired one raises itself beside it.
    fn except(
        &self,
        mut raise: Raise,
        subject: &Subject<'_>,
        now: Timestamp,
        decision: &mut Decision,
    ) {
        let bearing: Vec<&Exception> =
            self.exceptions().iter().filter(|e| e.matches(&raise.rule, subject, now)).collect();
        if let Some(valid) = bearing.iter().find(|e| !e.is_expired(now)) {
            raise.action = raise.action.min(Action::Report);
            raise.exception = Some(valid.applied(now));
            decision.raises.push(raise);
            return;
        }
        let expired = bearing.first().map(|exception| exception.applied(now));
        raise.exception.clone_from(&expired);
        let beside = expired.map(|applied| Raise {
            rule: format!("{EXCEPTION_EXPIRED}{}", applied.id).into(),
            kind: RaiseKind::ExceptionExpired,
            severity: raise.severity.max(Severity::Medium),
            action: raise.reach.cap(Action::Alert),
            asked: Action::Alert,
            why: format!(
                "The exception {} of {} ended on {} ({}), and what it excepted goes on.",
                applied.id, applied.owner, applied.expires, applied.ticket
            )
            .into(),
            exception: Some(applied),
            ..raise.clone()
        });
        decision.raises.push(raise);
        decision.raises.extend(beside);
    }
}

/// Keeps the first of each control.
fn dedupe(controls: &mut Vec<Control>) {
    let mut kept: Vec<Control> = Vec::with_capacity(controls.len());
    for control in controls.drain(..) {
        if !kept.iter().any(|k| k.framework == control.framework && k.id == control.id) {
            kept.push(control);
        }
    }
    *controls = kept;
}
