use super::*;
use crate::inventory::{Instance, Interface, Listing, MirrorSession, Tags};

fn config() -> SessionsConfig {
    SessionsConfig {
        target: Some("tmt-1".to_owned()),
        filter: Some("tmf-1".to_owned()),
        vpcs: vec![VpcConfig { id: "vpc-1".to_owned(), vni: 7001 }],
        ..SessionsConfig::default()
    }
}

fn interface(id: &str) -> Interface {
    Interface {
        id: id.to_owned(),
        kind: "interface".to_owned(),
        vpc: "vpc-1".to_owned(),
        subnet: "subnet-1".to_owned(),
        instance: Some("i-1".to_owned()),
        primary: Some([10, 0, 0, 1].into()),
        ..Interface::default()
    }
}

fn instance(kind: &str) -> Instance {
    Instance { id: "i-1".to_owned(), kind: kind.to_owned(), ..Instance::default() }
}

fn session(id: &str, interface: &str, number: u32, keeper: Option<&str>) -> MirrorSession {
    let tags: Tags =
        keeper.map(|name| (KEEPER_TAG.to_owned(), name.to_owned())).into_iter().collect();
    MirrorSession {
        id: id.to_owned(),
        interface: interface.to_owned(),
        vni: Some(7001),
        target: "tmt-1".to_owned(),
        filter: "tmf-1".to_owned(),
        number,
        tags,
        ..MirrorSession::default()
    }
}

fn listing(interfaces: Vec<Interface>, sessions: Vec<MirrorSession>) -> Listing {
    Listing { interfaces, sessions, instances: vec![instance("m7i.large")], ..Listing::default() }
}

fn planned(listing: &Listing, config: &SessionsConfig) -> Plan {
    plan(listing, &Terms { config, target: TargetKind::Balancer })
}

fn actions(plan: &Plan) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Remove { session, why, .. } => format!("remove {session}: {why}"),
        Action::Correct { session, differs, .. } => {
            format!("correct {session}: {}", differs.join(" "))
        }
        Action::Create { wanted } => format!("create {} {}", wanted.interface, wanted.number),
    };
    plan.actions.iter().map(word).collect()
}

#[test]
fn what_is_not_mirrored_gets_a_session_and_what_is_stays_as_it_is() {
    let there = listing(
        vec![interface("eni-1"), interface("eni-2")],
        vec![session("tms-1", "eni-1", 1, Some("cleartap"))],
    );
    let plan = planned(&there, &config());
    assert_eq!(actions(&plan), ["create eni-2 1"]);
    assert!(plan.lines.iter().all(|line| line.coverage == Coverage::Mirrored));
}

#[test]
fn why_not_is_told_for_each_interface() {
    type Change = fn(&mut Interface);
    let cases: [(Change, Option<Reason>); 9] = [
        (|_| {}, None),
        (|one| one.kind = "lambda".to_owned(), Some(Reason::InterfaceType)),
        (|one| one.kind = "network_load_balancer".to_owned(), Some(Reason::InterfaceType)),
        (
            |one| (one.managed, one.requester) = (true, "amazon-elb".to_owned()),
            Some(Reason::RequesterManaged),
        ),
        (
            |one| {
                (one.managed, one.requester, one.instance) = (true, "amazon-rds".to_owned(), None);
            },
            None,
        ),
        (
            |one| {
                (one.managed, one.requester, one.instance) =
                    (true, "amazon-elasticache".to_owned(), None);
            },
            None,
        ),
        (|one| one.instance = None, Some(Reason::NotAttached)),
        (|one| one.primary = Some("fd00::1".parse().unwrap()), Some(Reason::Ipv6Only)),
        (|one| one.primary = None, Some(Reason::Ipv6Only)),
    ];
    for (number, (change, reason)) in cases.into_iter().enumerate() {
        let mut one = interface("eni-1");
        change(&mut one);
        let plan = planned(&listing(vec![one], vec![]), &config());
        assert_eq!(plan.lines[0].reason, reason, "case {number}");
        assert_eq!(plan.actions.len(), usize::from(reason.is_none()), "case {number}");
    }
}

#[test]
fn instance_types_that_aws_does_not_mirror_are_blind_by_design() {
    for (kind, mirrors) in [
        ("m7i.large", true),
        ("c7gn.large", false),
        ("m8g.large", false),
        ("r8gd.metal-24xl", false),
        ("c8i.large", false),
        ("t2.micro", false),
        ("t3.micro", true),
        ("p5.48xlarge", true),
        ("newfamily.large", true),
        ("", true),
    ] {
        assert_eq!(instance_family_mirrors(kind), mirrors, "{kind}");
    }
    let there = Listing {
        instances: vec![instance("m8g.large")],
        ..listing(vec![interface("eni-1")], vec![])
    };
    let plan = planned(&there, &config());
    assert_eq!((plan.lines[0].coverage, plan.actions.len()), (Coverage::BlindByDesign, 0));
}

#[test]
fn selection_is_by_subnet_and_by_the_tag_of_the_interface_or_its_instance() {
    let tags: Tags = [("env".to_owned(), "prod".to_owned())].into();
    let own = Interface { tags: tags.clone(), ..interface("eni-own") };
    let plain = Interface { instance: Some("i-2".to_owned()), ..interface("eni-plain") };
    let elsewhere = Interface { subnet: "subnet-2".to_owned(), ..own.clone() };
    let elsewhere = Interface { id: "eni-elsewhere".to_owned(), ..elsewhere };
    let there = Listing {
        instances: vec![Instance { tags, ..instance("m7i.large") }],
        ..listing(vec![interface("eni-instance"), own, plain, elsewhere], vec![])
    };
    let config = SessionsConfig {
        tags: vec!["env=prod".to_owned()],
        subnets: vec!["subnet-1".to_owned()],
        ..config()
    };
    assert_eq!(actions(&planned(&there, &config)), ["create eni-instance 1", "create eni-own 1"]);
}

#[test]
fn a_target_that_is_an_interface_takes_ten_and_those_that_are_there_keep_their_place() {
    let interfaces: Vec<Interface> = (0..13).map(|n| interface(&format!("eni-{n:02}"))).collect();
    let there = listing(interfaces, vec![session("tms-1", "eni-12", 1, Some("cleartap"))]);
    let of = |sources_max| SessionsConfig { sources_max, ..config() };
    let target = TargetKind::Interface("eni-00".to_owned());
    let (few, many) = (of(None), of(Some(100)));
    let plan_with = |config| plan(&there, &Terms { config, target: target.clone() });
    let told = plan_with(&few);
    let created = actions(&told);
    assert_eq!(created.len(), 9, "with the one that is there: ten");
    assert!(
        !created.iter().any(|one| one.contains("eni-00") || one.contains("eni-12")),
        "{created:?}"
    );
    let full = told.lines.iter().filter(|line| line.reason == Some(Reason::TargetFull)).count();
    let is_target = told.lines.iter().filter(|line| line.reason == Some(Reason::IsTarget)).count();
    assert_eq!((full, is_target), (2, 1));
    assert_eq!(actions(&plan_with(&many)).len(), 11);
}

#[test]
fn sessions_of_others_are_counted_and_never_touched() {
    let vendor = |id: &str, number| session(id, "eni-1", number, None);
    let other = session("tms-9", "eni-1", 2, Some("another"));
    let there = listing(vec![interface("eni-1")], vec![vendor("tms-1", 1), other.clone()]);
    let plan = planned(&there, &config());
    assert_eq!(actions(&plan), ["create eni-1 3"], "the next free number");
    assert_eq!(plan.lines[0].before, 2, "they take packets first, and that is told");
    let there =
        listing(vec![interface("eni-1")], vec![vendor("tms-1", 1), vendor("tms-2", 5), other]);
    let plan = planned(&there, &config());
    assert_eq!((actions(&plan).len(), plan.lines[0].reason), (0, Some(Reason::SessionsFull)));
    let gone = listing(vec![], vec![vendor("tms-1", 1)]);
    assert_eq!(actions(&planned(&gone, &config())).len(), 0);
}

#[test]
fn drift_is_found_and_told_by_what_differs() {
    type Drifted = fn(&mut MirrorSession);
    let ours = |change: fn(&mut MirrorSession)| {
        let mut session = session("tms-1", "eni-1", 1, Some("cleartap"));
        change(&mut session);
        session
    };
    let cases: [(Drifted, &[&str]); 6] = [
        (|_| {}, &[]),
        (|s| s.target = "tmt-2".to_owned(), &["correct tms-1: target"]),
        (|s| s.filter = "tmf-2".to_owned(), &["correct tms-1: filter"]),
        (|s| s.vni = Some(1), &["correct tms-1: vni"]),
        (|s| s.vni = None, &["correct tms-1: vni"]),
        (|s| (s.number, s.target) = (7, "x".to_owned()), &["correct tms-1: target number"]),
    ];
    for (change, expected) in cases {
        let there = listing(vec![interface("eni-1")], vec![ours(change)]);
        assert_eq!(actions(&planned(&there, &config())), expected);
    }
    let twice = vec![ours(|_| {}), session("tms-2", "eni-1", 2, Some("cleartap"))];
    let there = listing(vec![interface("eni-1")], twice);
    assert_eq!(actions(&planned(&there, &config())), ["remove tms-2: one session is enough"]);
    let gone = listing(vec![], vec![ours(|_| {})]);
    assert_eq!(actions(&planned(&gone, &config())), ["remove tms-1: its interface is gone"]);
}

#[test]
fn what_is_no_longer_wanted_loses_its_session() {
    let there =
        listing(vec![interface("eni-1")], vec![session("tms-1", "eni-1", 1, Some("cleartap"))]);
    let tagged = SessionsConfig { tags: vec!["env=prod".to_owned()], ..config() };
    assert_eq!(actions(&planned(&there, &tagged)).len(), 1);
    let elsewhere =
        SessionsConfig { vpcs: vec![VpcConfig { id: "vpc-2".to_owned(), vni: 1 }], ..config() };
    assert_eq!(actions(&planned(&there, &elsewhere)), ["remove tms-1: its VPC is not kept"]);
}

#[test]
fn the_report_counts_every_interface_once() {
    let lambda = Interface { kind: "lambda".to_owned(), ..interface("eni-3") };
    let detached = Interface { instance: None, ..interface("eni-2") };
    let there = listing(
        vec![interface("eni-1"), detached, lambda],
        vec![session("tms-1", "eni-1", 9, None)],
    );
    let plan = planned(&there, &SessionsConfig { session_number: 20, ..config() });
    let report = Report::new(&plan, "2026-11-26T00:00:00Z".to_owned(), "cleartap", "eu-central-1");
    let Summary { mirrored, not_mirrored, blind, behind_others, changes, .. } = report.summary;
    assert_eq!((mirrored, not_mirrored, blind, behind_others, changes), (1, 1, 1, 1, 1));
    let text = report.text();
    assert!(text.contains("1 interfaces mirrored, 1 not, 1 blind by design"), "{text}");
    assert!(text.contains("create   eni-1 number 20 VNI 7001"), "{text}");
}

#[test]
fn what_is_missing_or_contradictory_is_told_by_key() {
    let keys: Vec<_> = SessionsConfig::default().missing().iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, ["sessions.target", "sessions.filter", "sessions.vpcs"]);
    let twice = SessionsConfig {
        vpcs: vec![config().vpcs[0].clone(), config().vpcs[0].clone()],
        tags: vec!["no-value".to_owned()],
        ..config()
    };
    let keys: Vec<_> = twice.problems().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["sessions.tags[0]", "sessions.vpcs[1].id", "sessions.vpcs[1].vni"]);
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    fn any_interface() -> impl Strategy<Value = Interface> {
        (0_u8..20, 0_u8..4, any::<bool>(), any::<bool>(), 0_u8..3).prop_map(
            |(id, kind, managed, attached, vpc)| Interface {
                id: format!("eni-{id}"),
                kind: ["interface", "lambda", "vpc_endpoint", "interface"][usize::from(kind)]
                    .to_owned(),
                managed,
                requester: ["", "amazon-rds"][usize::from(kind % 2)].to_owned(),
                instance: attached.then(|| "i-1".to_owned()),
                vpc: format!("vpc-{vpc}"),
                ..interface("")
            },
        )
    }

    fn any_session() -> impl Strategy<Value = MirrorSession> {
        (0_u32..40, 0_u8..25, 1_u32..4, 0_u8..3).prop_map(|(id, of, number, whose)| {
            let whose = [None, Some("cleartap"), Some("another")][usize::from(whose)];
            session(&format!("tms-{id}"), &format!("eni-{of}"), number, whose)
        })
    }

    /// What AWS would hold after the plan.
    fn applied(listing: &Listing, plan: &Plan) -> Listing {
        let mut after = listing.clone();
        let fill = |session: &mut MirrorSession, wanted: &NewSession| {
            (session.number, session.vni) = (wanted.number, Some(wanted.vni));
            (session.target, session.filter) = ("tmt-1".to_owned(), "tmf-1".to_owned());
        };
        for (at, action) in plan.actions.iter().enumerate() {
            match action {
                Action::Remove { session, .. } => after.sessions.retain(|one| one.id != *session),
                Action::Correct { session, wanted, .. } => {
                    let one = after.sessions.iter_mut().find(|one| one.id == *session).unwrap();
                    fill(one, wanted);
                }
                Action::Create { wanted } => {
                    let mut one =
                        session(&format!("tms-new-{at}"), &wanted.interface, 0, Some("cleartap"));
                    fill(&mut one, wanted);
                    after.sessions.push(one);
                }
            }
        }
        after
    }

    proptest! {
        /// Applied twice nothing changes the second time; others' sessions are there as before; limits hold.
        #[test]
        fn a_plan_is_idempotent_leaves_others_alone_and_keeps_the_limits(
            interfaces in proptest::collection::vec(any_interface(), 0..15),
            sessions in proptest::collection::vec(any_session(), 0..15),
            sources_max in 1_u32..8,
        ) {
            let mut interfaces = interfaces;
            interfaces.sort_by(|a, b| a.id.cmp(&b.id));
            interfaces.dedup_by(|a, b| a.id == b.id);
            let mut sessions = sessions;
            sessions.sort_by(|a, b| a.id.cmp(&b.id));
            sessions.dedup_by(|a, b| a.id == b.id);
            // Two sessions of one interface never share a number.
            sessions.sort_by(|a, b| (&a.interface, a.number).cmp(&(&b.interface, b.number)));
            sessions.dedup_by(|a, b| a.interface == b.interface && a.number == b.number);
            let there = listing(interfaces, sessions);
            let config = SessionsConfig { sources_max: Some(sources_max), ..config() };
            let first = planned(&there, &config);
            let after = applied(&there, &first);
            let second = planned(&after, &config);
            prop_assert!(second.actions.is_empty(), "{:?}", second.actions);
            let others = |listing: &Listing| -> Vec<MirrorSession> {
                let ours = |one: &&MirrorSession| one.tags.get(KEEPER_TAG).is_some_and(|name| name == "cleartap");
                listing.sessions.iter().filter(|one| !ours(one)).cloned().collect()
            };
            prop_assert_eq!(others(&there), others(&after));
            let own = after.sessions.len() - others(&after).len();
            prop_assert!(own <= usize::try_from(sources_max).unwrap());
            for interface in &after.interfaces {
                let on: Vec<u32> =
                    after.sessions.iter().filter(|one| one.interface == interface.id).map(|one| one.number).collect();
                let distinct: std::collections::BTreeSet<u32> = on.iter().copied().collect();
                prop_assert_eq!(distinct.len(), on.len(), "a number twice on {}", interface.id);
            }
        }
    }
}
