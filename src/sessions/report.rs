//! The coverage report: what is mirrored, what is not, what is blind by design.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    plan::{Action, Plan},
    source::{Reason, Unseen},
};
use crate::inventory::{Instance, Interface};

/// How an interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// Mirrored by this keeper, or about to be.
    Mirrored,
    /// It could be.
    NotMirrored,
    /// AWS does not mirror it.
    BlindByDesign,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoverageLine {
    /// `eni-...`.
    pub interface: String,
    /// VPC.
    pub vpc: String,
    /// Subnet.
    pub subnet: String,
    /// Instance that it is attached to.
    pub instance: Option<String>,
    /// Type of that instance.
    pub instance_type: Option<String>,
    /// `InterfaceType`.
    pub interface_type: String,
    /// What the service that made it wrote.
    pub description: String,
    /// How it stands.
    pub coverage: Coverage,
    /// Why it is not mirrored.
    pub reason: Option<Reason>,
    /// Our session; none where one has yet to be made.
    pub session: Option<String>,
    /// Sessions of others with a lower number: what their filters accept never reaches ours.
    pub before: usize,
    /// What AWS said when it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl CoverageLine {
    pub(super) fn of(interface: &Interface, instance: Option<&Instance>) -> Self {
        Self {
            interface: interface.id.clone(),
            vpc: interface.vpc.clone(),
            subnet: interface.subnet.clone(),
            instance: interface.instance.clone(),
            instance_type: instance.map(|instance| instance.kind.clone()),
            interface_type: interface.kind.clone(),
            description: interface.description.clone(),
            coverage: Coverage::Mirrored,
            reason: None,
            session: None,
            before: 0,
            fault: None,
        }
    }

    pub(super) fn not_mirrored(&mut self, reason: Reason) {
        self.coverage = match reason.unseen() {
            Unseen::NotMirrored => Coverage::NotMirrored,
            Unseen::BlindByDesign => Coverage::BlindByDesign,
        };
        self.reason = Some(reason);
    }

    /// AWS refused the session.
    pub fn refused(&mut self, fault: String) {
        self.not_mirrored(Reason::Refused);
        self.fault = Some(fault);
    }
}

/// Counts of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Interfaces mirrored.
    pub mirrored: usize,
    /// Interfaces that could be.
    pub not_mirrored: usize,
    /// Interfaces that AWS does not mirror.
    pub blind: usize,
    /// Mirrored ones on which a session of others comes first.
    pub behind_others: usize,
    /// Why not, by reason.
    pub reasons: BTreeMap<Reason, usize>,
    /// Changes left to make.
    pub changes: usize,
}

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Whose.
    pub keeper: String,
    /// Region.
    pub region: String,
    /// Counts.
    pub summary: Summary,
    /// What has to change.
    pub changes: Vec<Action>,
    /// Every interface of the VPCs.
    pub interfaces: Vec<CoverageLine>,
}

impl Report {
    /// The report of a plan.
    pub fn new(plan: &Plan, at: String, keeper: &str, region: &str) -> Self {
        let count = |coverage| plan.lines.iter().filter(|line| line.coverage == coverage).count();
        let mut reasons = BTreeMap::new();
        for reason in plan.lines.iter().filter_map(|line| line.reason) {
            *reasons.entry(reason).or_default() += 1;
        }
        let behind = |line: &&CoverageLine| line.coverage == Coverage::Mirrored && line.before > 0;
        let summary = Summary {
            mirrored: count(Coverage::Mirrored),
            not_mirrored: count(Coverage::NotMirrored),
            blind: count(Coverage::BlindByDesign),
            behind_others: plan.lines.iter().filter(behind).count(),
            reasons,
            changes: plan.actions.len(),
        };
        Self {
            at,
            keeper: keeper.to_owned(),
            region: region.to_owned(),
            summary,
            changes: plan.actions.clone(),
            interfaces: plan.lines.clone(),
        }
    }

    /// For people: counts, reasons, the first of the changes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let Summary { mirrored, not_mirrored, blind, behind_others, reasons, .. } = &self.summary;
        // Writing to a String cannot fail.
        let _ok = writeln!(
            text,
            "{} in {}: {mirrored} interfaces mirrored, {not_mirrored} not, {blind} blind by design",
            self.keeper, self.region
        );
        for (reason, count) in reasons {
            let _ok = writeln!(text, "  {count:>6}  {}", reason.words());
        }
        if *behind_others > 0 {
            let _ok = writeln!(
                text,
                "  {behind_others:>6}  mirrored behind a session of others with a lower number, which takes what its filter accepts"
            );
        }
        if self.changes.is_empty() {
            text.push_str("Nothing to change.\n");
            return text;
        }
        let _ok = writeln!(text, "{} changes:", self.changes.len());
        for action in self.changes.iter().take(CHANGES_SHOWN) {
            let _ok = writeln!(text, "  {}", words(action));
        }
        if let Some(more) = self.changes.len().checked_sub(CHANGES_SHOWN).filter(|more| *more > 0) {
            let _ok = writeln!(text, "  ... and {more} more (--format json has all)");
        }
        text
    }
}

fn words(action: &Action) -> String {
    match action {
        Action::Remove { session, interface, why } => {
            format!("remove   {session} of {interface}: {why}")
        }
        Action::Correct { session, wanted, differs } => {
            format!("correct  {session} of {}: {}", wanted.interface, differs.join(", "))
        }
        Action::Create { wanted } => {
            format!("create   {} number {} VNI {}", wanted.interface, wanted.number, wanted.vni)
        }
    }
}

/// Changes listed for people.
const CHANGES_SHOWN: usize = 20;
