//! The life of findings, as a specification.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        CommunityId, Endpoint, FlowKey, Identity, ScopeId, Transport,
        record::{EvidenceRecord, NamesRecord, Record, SCHEMA_VERSION},
    },
    policy::{Policy, PolicySpec, Subject},
};

/// Thursday 2026-11-26.
pub(crate) const START_S: u64 = 1_795_651_200;

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::new(START_S + seconds, 0)
}

/// An established Redis session in clear that began at `first` and was last seen at `last`.
pub(crate) fn record(client: u32, first: u64, last: u64) -> Record {
    let src_ip = IpAddr::V4(Ipv4Addr::from(0x0A00_0000 | client));
    let server = Endpoint::from(([10, 200, 0, 9], 6379));
    let (key, _) = FlowKey::new(ScopeId(0), Transport::Tcp, Endpoint::new(src_ip, 40_000), server);
    Record {
        schema: SCHEMA_VERSION,
        capture: None,
        event: Some("update"),
        ts_first: at(first),
        ts_last: at(last),
        scope: "prod".into(),
        community_id: CommunityId::new(key),
        src_ip,
        src_port: 40_000,
        dst_ip: [10, 200, 0, 9].into(),
        dst_port: 6379,
        roles: "handshake",
        transport: "tcp",
        encryption: "plaintext",
        outcome: "established",
        app: Some("redis"),
        app_source: Some("payload"),
        layers: vec!["redis"],
        upgrade: None,
        plaintext_reason: Some("no_in_band_upgrade"),
        credentials: Vec::new(),
        confidence: Some("both_sides"),
        unknown_reason: None,
        boundary: "east_west",
        tls: None,
        evidence: vec![EvidenceRecord {
            rule: "redis.command",
            direction: "c2s",
            offset: 0,
            length: 4,
            constant: "*1",
        }],
        packets_c2s: 4,
        packets_s2c: 4,
        bytes_c2s: 100,
        bytes_s2c: 100,
        delta: None,
        counts: "exact",
        origin: "start",
        state: "open",
        vantages: Vec::new(),
        truncated: 0,
        gaps: 0,
        retransmits: 0,
        expected_service: Some("redis"),
        host: None,
        names: NamesRecord::default(),
    }
}

pub(crate) fn policy(toml: &str) -> Policy {
    let spec: PolicySpec = toml::from_str(toml).unwrap();
    Policy::new(&spec).unwrap()
}

/// A book under the built-in policy, with what is said of it.
pub(crate) struct Desk {
    pub(crate) findings: Findings,
    pub(crate) policy: Policy,
    told: Vec<(EventKind, Timestamp)>,
}

impl Desk {
    pub(crate) fn new(toml: &str, terms: Terms) -> Self {
        Self { findings: Findings::new(terms), policy: policy(toml), told: Vec::new() }
    }

    pub(crate) fn see(&mut self, record: &Record) {
        self.see_as(record, &crate::model::Addresses);
    }

    fn see_as(&mut self, record: &Record, identity: &dyn Identity) {
        let decision = self.policy.judge(&Subject::from(record), record.ts_last);
        self.findings.observe(record, &decision, identity);
        self.collect();
    }

    fn pass(&mut self, seconds: u64) {
        self.findings.advance(at(seconds));
        self.collect();
    }

    fn collect(&mut self) {
        for event in self.findings.take().events {
            self.findings.told(&[event.finding.id]);
            self.told.push((event.kind, event.at));
        }
    }

    fn told(&mut self) -> Vec<EventKind> {
        self.told.drain(..).map(|(kind, _)| kind).collect()
    }

    fn all(&self) -> Vec<Finding> {
        self.findings.snapshot().kept.into_iter().map(|kept| kept.finding).collect()
    }

    fn one(&self) -> Finding {
        let mut all = self.all();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

fn desk() -> Desk {
    Desk::new("", Terms::default())
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[test]
fn a_finding_opens_goes_quiet_resolves_and_regresses_each_told_once() {
    let mut desk = desk();
    desk.see(&record(1, 0, 10));
    assert_eq!((desk.told(), desk.one().state), (vec![EventKind::Opened], FindingState::Open));
    desk.see(&record(1, 0, 70));
    assert_eq!(desk.told(), []);
    desk.pass(70 + HOUR);
    assert_eq!((desk.told(), desk.one().state), (vec![], FindingState::Quiet));
    desk.see(&record(1, 0, 80 + HOUR));
    assert_eq!((desk.told(), desk.one().state), (vec![], FindingState::Open));
    desk.pass(30 * DAY);
    let end = at(80 + HOUR + 8 * DAY);
    assert_eq!(
        desk.told,
        [(EventKind::Resolved, end)],
        "at its time, whenever the clock is looked at"
    );
    assert_eq!((desk.one().state, desk.one().resolved_at), (FindingState::Resolved, Some(end)));
    desk.told();
    desk.see(&record(1, 40 * DAY, 40 * DAY));
    let finding = desk.one();
    assert_eq!((desk.told(), finding.state), (vec![EventKind::Regressed], FindingState::Regressed));
    assert_eq!((finding.regressions, finding.opened_at), (1, at(40 * DAY)));
    assert_eq!(finding.first_seen, at(0));
}

#[test]
fn a_flow_counts_once_however_many_records_it_gives() {
    let mut desk = desk();
    let grown = |last, bytes_c2s, event| Record { event, bytes_c2s, ..record(1, 0, last) };
    desk.see(&grown(1, 100, Some("settled")));
    desk.see(&grown(60, 400, Some("update")));
    desk.see(&grown(120, 400, Some("end")));
    assert_eq!((desk.one().flows, desk.one().bytes), (1, 500));
    desk.see(&Record { ts_first: at(130), ..grown(140, 50, Some("end")) });
    assert_eq!((desk.one().flows, desk.one().bytes), (2, 650));
}

#[test]
fn a_session_pooled_for_a_month_keeps_its_finding_open() {
    let mut desk = desk();
    for minute in 0..30 * DAY / 600 {
        desk.see(&record(1, 0, minute * 600));
        assert!(desk.one().state.is_open());
    }
    assert_eq!((desk.told(), desk.one().flows), (vec![EventKind::Opened], 1));
}

#[test]
fn credentials_seen_for_the_first_time_make_it_worse() {
    let mut desk = Desk::new(
        "defaults = false\n[[rules]]\nid = 'all'\nseverity = 'high'\naction = 'alert'\n",
        Terms::default(),
    );
    desk.see(&record(1, 0, 1));
    desk.see(&Record { credentials: vec!["password_cleartext"], ..record(1, 0, 2) });
    desk.see(&Record { credentials: vec!["password_cleartext"], ..record(1, 0, 3) });
    desk.see(&record(1, 0, 4));
    assert_eq!(desk.told(), [EventKind::Opened, EventKind::Worsened]);
    let finding = desk.one();
    assert_eq!(finding.credentials, ["password_cleartext"]);
    assert!(finding.controls.iter().any(|control| control.framework.contains("PCI")));
}

#[test]
fn what_is_refused_stands_in_the_report_and_alerts_nobody() {
    let mut desk = desk();
    let refused = |last| Record { outcome: "refused", ..record(1, last, last) };
    for minute in 0..60 {
        desk.see(&refused(minute * 60));
    }
    let finding = desk.one();
    assert_eq!((desk.told(), finding.state), (vec![], FindingState::Open));
    assert_eq!((finding.action, finding.flows), (Action::Report, 60));
    // It is let in after all.
    desk.see(&record(1, 4000, 4000));
    assert_eq!((desk.told(), desk.one().action), (vec![EventKind::Opened], Action::Alert));
}

#[test]
fn a_client_that_is_refused_from_now_on_does_not_keep_its_finding_open() {
    let mut desk = desk();
    desk.see(&record(1, 0, 0));
    for hour in 1..=9 * 24 {
        desk.see(&Record { outcome: "refused", ..record(1, hour * HOUR, hour * HOUR) });
    }
    assert_eq!(desk.told(), [EventKind::Opened, EventKind::Resolved]);
    let finding = desk.one();
    assert_eq!((finding.state, finding.action), (FindingState::Open, Action::Report));
    desk.see(&record(1, 10 * DAY, 10 * DAY));
    assert_eq!((desk.told(), desk.one().regressions), (vec![EventKind::Regressed], 1));
}

const EXCEPTION: &str = "[[exceptions]]\nid = 'legacy'\nwhen = { app = ['redis'] }\nowner = 'ann'\nreason = 'old'\n\
                         ticket = 'T-1'\nexpires = '2026-11-27'\n";

#[test]
fn an_exception_holds_it_back_and_its_end_is_told_once() {
    let mut desk = Desk::new(EXCEPTION, Terms::default());
    desk.see(&record(1, 0, 0));
    assert_eq!((desk.told(), desk.one().state), (vec![], FindingState::Excepted));
    assert_eq!(desk.one().exception.as_deref(), Some("legacy"));
    assert_eq!(desk.one().exception_expires.as_deref(), Some("2026-11-27"));
    desk.see(&record(1, 0, DAY));
    assert_eq!(desk.told(), []);
    desk.see(&record(1, 0, 2 * DAY));
    desk.see(&record(1, 0, 2 * DAY + 60));
    assert_eq!(
        (desk.told(), desk.one().state),
        (vec![EventKind::ExceptionExpired], FindingState::Open)
    );
}

#[test]
fn an_exception_for_one_finding_is_taken_at_once_and_ends_by_its_day() {
    let mut desk = desk();
    desk.see(&record(1, 0, 0));
    desk.see(&record(2, 0, 0));
    assert_eq!(desk.told(), [EventKind::Opened, EventKind::Opened]);
    let id = desk.all()[0].id;
    let exception = BookException {
        finding: id,
        owner: "ann".to_owned(),
        reason: "old".to_owned(),
        ticket: "T-2".to_owned(),
        until: "2026-11-26".parse().unwrap(),
    };
    desk.findings.set_exceptions(vec![exception]);
    desk.collect();
    assert_eq!(desk.told(), [EventKind::Excepted]);
    assert_eq!(desk.findings.open_by_severity()["high"], 1);
    desk.see(&record(1, 0, HOUR));
    desk.see(&record(2, 0, HOUR));
    assert_eq!(desk.told(), []);
    desk.see(&record(1, 0, DAY));
    desk.see(&record(2, 0, DAY));
    assert_eq!(desk.told(), [EventKind::ExceptionExpired]);
    desk.findings.set_exceptions(Vec::new());
    desk.see(&record(1, 0, DAY + 1));
    assert_eq!((desk.told(), desk.all()[0].exception.clone()), (vec![], None));
}

/// Names the clients 1 and 2 by a group, from a time on.
struct Inventory {
    group: &'static str,
    from: u64,
}

impl Identity for Inventory {
    fn server(&self, _: &str, _: IpAddr, _: Timestamp) -> String {
        "arn:aws:elasticache:::cluster:sessions".to_owned()
    }

    fn client_group(&self, _: &str, address: IpAddr, time: Timestamp) -> String {
        if time >= at(self.from) { self.group.to_owned() } else { format!("{address}") }
    }
}

#[test]
fn an_inventory_that_comes_later_names_the_finding_and_its_id_stays() {
    let mut desk = desk();
    desk.see(&record(1, 0, 0));
    desk.see(&record(2, 5, 5));
    let [first, second] = [desk.all()[0].clone(), desk.all()[1].clone()];
    let (oldest, younger) =
        if first.first_seen < second.first_seen { (first, second) } else { (second, first) };
    desk.told();
    let web = Inventory { group: "asg/web", from: 0 };
    desk.see_as(&record(1, 0, 10), &web);
    let named = desk.all().into_iter().find(|f| f.id == oldest.id).unwrap();
    assert_eq!((named.edge.client.as_str(), named.aliases.len()), ("asg/web", 1));
    assert_eq!(named.client_address, "10.0.0.1");
    // The other client of the group turns out to be the same finding: who was told of it is told that it is over.
    desk.see_as(&record(2, 5, 20), &web);
    assert_eq!(desk.told(), [EventKind::Resolved]);
    let one = desk.one();
    assert_eq!((one.id, one.flows, one.aliases.len()), (oldest.id, 2, 2));
    assert!(one.aliases.contains(&younger.id));
    // What was accepted under the younger id is accepted now.
    desk.findings.set_exceptions(vec![BookException {
        finding: younger.id,
        owner: "ann".to_owned(),
        reason: "old".to_owned(),
        ticket: "T-3".to_owned(),
        until: "2026-12-01".parse().unwrap(),
    }]);
    desk.see_as(&record(2, 5, 25), &web);
    assert_eq!(
        (desk.told(), desk.one().state),
        (vec![EventKind::Excepted], FindingState::Excepted)
    );
    // Also when the names are gone again.
    desk.see(&record(2, 5, 30));
    assert_eq!((desk.one().id, desk.told()), (oldest.id, vec![]));
}

#[test]
fn a_reused_address_is_not_blamed_on_its_former_owner() {
    let mut desk = desk();
    desk.see(&record(1, 0, 0));
    let before = desk.one().id;
    desk.see_as(&record(1, 100, 100), &Inventory { group: "asg/web", from: 50 });
    assert_eq!(desk.told(), [EventKind::Opened, EventKind::Opened]);
    let former = desk.all().into_iter().find(|f| f.id == before).unwrap();
    assert_eq!((former.edge.client.as_str(), former.last_seen), ("10.0.0.1", at(0)));
}

#[test]
fn time_that_was_not_watched_resolves_nothing() {
    let mut desk = desk();
    desk.see(&record(1, 0, 0));
    desk.findings.unwatched(at(100 * DAY));
    desk.pass(101 * DAY);
    assert_eq!(desk.told(), [EventKind::Opened]);
    let snapshot = desk.findings.snapshot();
    desk.findings = Findings::restore(Terms::default(), snapshot, at(200 * DAY));
    desk.pass(206 * DAY);
    assert!(desk.one().state.is_open());
    desk.pass(208 * DAY);
    assert_eq!(
        (desk.told(), desk.one().resolved_at),
        (vec![EventKind::Resolved], Some(at(207 * DAY)))
    );
}

#[test]
fn when_there_are_too_many_the_least_go_and_what_is_open_and_grave_stays() {
    let rules = "defaults = false\n\
        [[rules]]\nid = 'low'\nseverity = 'low'\naction = 'report'\nwhen = { client = ['10.0.0.0/28'] }\n\
        [[rules]]\nid = 'high'\nseverity = 'high'\naction = 'alert'\n";
    let mut desk = Desk::new(rules, Terms { findings_max: 4, ..Terms::default() });
    let clients = |desk: &Desk| {
        let mut list: Vec<String> = desk.all().iter().map(|f| f.edge.client.clone()).collect();
        list.sort();
        list
    };
    for client in [1, 2, 3] {
        desk.see(&record(client, u64::from(client), u64::from(client)));
    }
    desk.see(&record(1, 1, 10));
    for client in [100, 101] {
        desk.see(&record(client, 20, 20));
    }
    assert_eq!(
        clients(&desk),
        ["10.0.0.1", "10.0.0.100", "10.0.0.101", "10.0.0.3"],
        "2 is quiet longest"
    );
    for client in [102, 103, 104] {
        desk.see(&record(client, 30, 30));
    }
    assert_eq!(clients(&desk), ["10.0.0.100", "10.0.0.101", "10.0.0.102", "10.0.0.103"]);
    let counters = desk.findings.counters();
    assert_eq!((counters.crowded_out, counters.not_kept), (3, 1));
    desk.pass(20 * DAY);
    desk.see(&record(104, 20 * DAY, 20 * DAY));
    assert!(clients(&desk).contains(&"10.0.0.104".to_owned()), "what has ended gives way");
}

#[test]
fn events_and_findings_read_what_they_print() {
    let mut desk = desk();
    let decision = desk.policy.judge(&Subject::from(&record(1, 0, 1)), at(1));
    desk.findings.observe(&record(1, 0, 1), &decision, &crate::model::Addresses);
    let events = desk.findings.take().events;
    let text = serde_json::to_string(&events).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Event>>(&text).unwrap(), events);
}

/// A step of time and what comes then.
#[derive(Clone, Debug)]
struct Step {
    after_s: u64,
    client: u32,
    outcome: &'static str,
    credentials: bool,
    /// Looked at the clock, and took the changes, before it.
    batch_ends: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        prop_oneof![0..100_u64, 3000..4000_u64, 600_000..800_000_u64],
        0..6_u32,
        prop_oneof![Just("established"), Just("refused"), Just("attempt"), Just("unknown")],
        any::<bool>(),
        any::<bool>(),
    );
    let step = step.prop_map(|(after_s, client, outcome, credentials, batch_ends)| Step {
        after_s,
        client,
        outcome,
        credentials,
        batch_ends,
    });
    prop::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn the_same_records_give_the_same_book_however_they_are_batched(steps in steps()) {
        let terms = Terms { findings_max: 4, ..Terms::default() };
        let rules = "[[rules]]\nid = 'low'\nseverity = 'low'\naction = 'alert'\nwhen = { client = ['10.0.0.0/31'] }\n";
        let policy = policy(&format!("{EXCEPTION}{rules}"));
        let run = |batched: bool| {
            let mut findings = Findings::new(terms);
            let mut events = Vec::new();
            let mut now = 0;
            for step in &steps {
                if batched && step.batch_ends {
                    findings.advance(at(now + step.after_s / 2));
                    events.extend(findings.take().events);
                }
                now += step.after_s;
                let credentials = if step.credentials { vec!["password_cleartext"] } else { vec![] };
                let record = Record { outcome: step.outcome, credentials, ..record(step.client, now, now) };
                let decision = policy.judge(&Subject::from(&record), record.ts_last);
                findings.observe(&record, &decision, &crate::model::Addresses);
            }
            findings.advance(at(now + 10 * DAY));
            events.extend(findings.take().events);
            let open: u64 = findings.open_by_severity().values().sum();
            let kept = findings.snapshot().kept;
            assert_eq!(open, u64::try_from(kept.iter().filter(|k| k.finding.state.is_open()).count()).unwrap());
            (kept, events, findings.counters())
        };
        prop_assert_eq!(run(true), run(false));
    }
}
