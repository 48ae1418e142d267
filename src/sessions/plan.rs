//! From what there is to what has to change.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    KEEPER_TAG, SESSION_NUMBERS, SESSIONS_PER_SOURCE_MAX, SOURCES_PER_INTERFACE_TARGET,
    SessionsConfig,
    report::CoverageLine,
    source::{Reason, obstacle},
};
use crate::inventory::{Instance, Interface, Listing, MirrorSession, Tags};

/// What the target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A network interface, by its id.
    Interface(String),
    /// A Network Load Balancer, or an endpoint of a Gateway Load Balancer.
    Balancer,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// `[sessions]`; `target` and `filter` are set.
    pub config: &'a SessionsConfig,
    /// What the target is.
    pub target: TargetKind,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Remove a session of our own.
    Remove {
        /// `tms-...`.
        session: String,
        /// Its source.
        interface: String,
        /// Why.
        why: &'static str,
    },
    /// Bring a session of our own back to what it should be.
    Correct {
        /// `tms-...`.
        session: String,
        /// What it should be.
        wanted: NewSession,
        /// What differs.
        differs: Vec<&'static str>,
    },
    /// Make a session.
    Create {
        /// What it should be.
        wanted: NewSession,
    },
}

/// A session as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewSession {
    /// Its source.
    pub interface: String,
    /// Session number: one that is free.
    pub number: u32,
    /// VXLAN network identifier of the VPC.
    pub vni: u32,
    /// Bytes kept of each packet; none: all.
    pub packet_bytes: Option<u32>,
}

/// What has to change, in the order in which it should, and what every interface's coverage then is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Removals first: they make room.
    pub actions: Vec<Action>,
    /// Every interface of the VPCs, in the order of ids.
    pub lines: Vec<CoverageLine>,
    /// Sessions of this keeper there are now.
    pub own: usize,
}

impl Plan {
    /// Removals.
    pub fn removals(&self) -> usize {
        self.actions.iter().filter(|action| matches!(action, Action::Remove { .. })).count()
    }
}

/// The sessions of one interface.
#[derive(Default)]
struct Sessions<'a> {
    own: Vec<&'a MirrorSession>,
    others: Vec<&'a MirrorSession>,
}

/// Compares what is wanted with what there is.
pub fn plan(listing: &Listing, terms: &Terms<'_>) -> Plan {
    let config = terms.config;
    let mut sessions = BTreeMap::<&str, Sessions<'_>>::new();
    for session in &listing.sessions {
        let of = sessions.entry(&session.interface).or_default();
        let ours = session.tags.get(KEEPER_TAG).is_some_and(|name| *name == config.name);
        if ours { of.own.push(session) } else { of.others.push(session) }
    }
    let instances: BTreeMap<&str, &Instance> =
        listing.instances.iter().map(|instance| (instance.id.as_str(), instance)).collect();
    let mut planner =
        Planner { terms, removed: Vec::new(), changed: Vec::new(), created: Vec::new() };
    let mut lines = Vec::new();
    let mut interfaces: Vec<&Interface> = listing.interfaces.iter().collect();
    // Those that are mirrored keep their place when the target is full.
    let has = |one: &Interface| sessions.get(one.id.as_str()).is_some_and(|s| !s.own.is_empty());
    interfaces.sort_by_key(|one| (!has(one), one.id.clone()));
    let mut sources = 0;
    let mut known = BTreeSet::new();
    let none = Sessions::default();
    for interface in interfaces {
        known.insert(interface.id.as_str());
        let sessions = sessions.get(interface.id.as_str()).unwrap_or(&none);
        let instance = interface.instance.as_deref().and_then(|id| instances.get(id).copied());
        let Some(vpc) = config.vpcs.iter().find(|vpc| vpc.id == interface.vpc) else {
            planner.remove_all(sessions, "its VPC is not kept");
            continue;
        };
        let obstacle = obstacle(interface, instance)
            .or_else(|| planner.unwanted(interface, instance))
            .or_else(|| (sources >= planner.sources_max()).then_some(Reason::TargetFull))
            .or_else(|| {
                (sessions.others.len() >= SESSIONS_PER_SOURCE_MAX).then_some(Reason::SessionsFull)
            });
        let mut line = CoverageLine::of(interface, instance);
        if let Some(reason) = obstacle {
            line.not_mirrored(reason);
            planner.remove_all(sessions, reason.words());
        } else {
            sources += 1;
            planner.keep(interface, vpc.vni, sessions, &mut line);
        }
        lines.push(line);
    }
    // Interfaces that are gone take their sessions with them, except for those that AWS still lists.
    for (_, sessions) in sessions.iter().filter(|(id, _)| !known.contains(*id)) {
        planner.remove_all(sessions, "its interface is gone");
    }
    lines.sort_by(|a, b| a.interface.cmp(&b.interface));
    let own = sessions.values().map(|sessions| sessions.own.len()).sum();
    Plan { actions: [planner.removed, planner.changed, planner.created].concat(), lines, own }
}

struct Planner<'a> {
    terms: &'a Terms<'a>,
    removed: Vec<Action>,
    changed: Vec<Action>,
    created: Vec<Action>,
}

impl Planner<'_> {
    fn sources_max(&self) -> usize {
        let most = match self.terms.target {
            TargetKind::Interface(_) => SOURCES_PER_INTERFACE_TARGET,
            TargetKind::Balancer => usize::MAX,
        };
        let configured = self.terms.config.sources_max.and_then(|max| usize::try_from(max).ok());
        configured.unwrap_or(most)
    }

    /// Why an interface that could be a source is none.
    fn unwanted(&self, interface: &Interface, instance: Option<&Instance>) -> Option<Reason> {
        let config = self.terms.config;
        if let TargetKind::Interface(target) = &self.terms.target
            && *target == interface.id
        {
            return Some(Reason::IsTarget);
        }
        let in_subnets = config.subnets.is_empty() || config.subnets.contains(&interface.subnet);
        let tagged = |tags: &Tags| {
            config
                .tags
                .iter()
                .filter_map(|tag| tag.split_once('='))
                .any(|(key, value)| tags.get(key).is_some_and(|has| has == value))
        };
        let selected = config.tags.is_empty()
            || tagged(&interface.tags)
            || instance.is_some_and(|instance| tagged(&instance.tags));
        (!in_subnets || !selected).then_some(Reason::NotSelected)
    }

    fn remove_all(&mut self, sessions: &Sessions<'_>, why: &'static str) {
        for session in &sessions.own {
            self.remove(session, why);
        }
    }

    fn remove(&mut self, session: &MirrorSession, why: &'static str) {
        let (session, interface) = (session.id.clone(), session.interface.clone());
        self.removed.push(Action::Remove { session, interface, why });
    }

    /// The first of our sessions is kept and corrected, further ones go; without one, one is made.
    fn keep(
        &mut self,
        interface: &Interface,
        vni: u32,
        sessions: &Sessions<'_>,
        line: &mut CoverageLine,
    ) {
        let config = self.terms.config;
        let taken: BTreeSet<u32> = sessions.others.iter().map(|other| other.number).collect();
        let mut own = sessions.own.clone();
        own.sort_by(|a, b| (a.number, &a.id).cmp(&(b.number, &b.id)));
        let number = (config.session_number..=*SESSION_NUMBERS.end())
            .chain(SESSION_NUMBERS)
            .find(|number| !taken.contains(number))
            .unwrap_or(config.session_number);
        let wanted = NewSession {
            interface: interface.id.clone(),
            number,
            vni,
            packet_bytes: config.packet_bytes,
        };
        for session in own.iter().skip(1) {
            self.remove(session, "one session is enough");
        }
        line.before = sessions.others.iter().filter(|other| other.number < number).count();
        match own.first() {
            None => self.created.push(Action::Create { wanted }),
            Some(session) => {
                line.session = Some(session.id.clone());
                let differs = self.differences(session, &wanted);
                if !differs.is_empty() {
                    self.changed.push(Action::Correct {
                        session: session.id.clone(),
                        wanted,
                        differs,
                    });
                }
            }
        }
    }

    fn differences(&self, session: &MirrorSession, wanted: &NewSession) -> Vec<&'static str> {
        let config = self.terms.config;
        [
            ("target", config.target.as_ref().is_some_and(|target| *target != session.target)),
            ("filter", config.filter.as_ref().is_some_and(|filter| *filter != session.filter)),
            ("number", session.number != wanted.number),
            ("vni", session.vni != Some(wanted.vni)),
            // A load balancer's default is told as a number; none is not less than all.
            (
                "packet_bytes",
                wanted.packet_bytes.is_some() && session.packet_bytes != wanted.packet_bytes,
            ),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(what, _)| what)
        .collect()
    }
}
