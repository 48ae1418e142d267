use std::sync::Arc;

use super::*;
use crate::{
    findings::{Event, EventKind, Finding, FindingEvidence, FindingState},
    model::{Edge, FindingId, Timestamp},
    policy::{Action, Control, Relation, Remedies, Severity, Topic},
};

/// 2026-11-23, 13:30 UTC.
pub(crate) const START_S: u64 = 1_795_440_600;

pub(crate) fn at(s: u64) -> Timestamp {
    Timestamp::new(START_S + s, 0)
}

/// A client of the database at 10.0.0.9.
pub(crate) fn event(kind: EventKind, severity: Severity, client: &str, s: u64) -> Event {
    let edge = Edge {
        scope: "prod".to_owned(),
        server: "10.0.0.9".to_owned(),
        port: 5432,
        protocol: "postgresql".to_owned(),
        rule: "plaintext-database".to_owned(),
        client: client.to_owned(),
    };
    let control = Control {
        framework: Arc::from("PCI DSS 4.0.1"),
        id: Arc::from("4.2.1"),
        relation: Relation::Weakens,
        caveat: Some(Arc::from("only where the path is an open, public network")),
    };
    let finding = Finding {
        id: FindingId::of(&edge),
        aliases: Vec::new(),
        edge,
        state: FindingState::New,
        severity,
        action: Action::Alert,
        topic: Topic::Cleartext,
        why: "A database session is readable by whoever sees the packets.".to_owned(),
        plaintext_reason: Some("server_refused".to_owned()),
        credentials: vec!["password_cleartext".to_owned()],
        controls: vec![control],
        remedy: "rds-postgresql".to_owned(),
        exception: None,
        exception_expires: None,
        first_seen: at(0),
        last_seen: at(s),
        opened_at: at(0),
        resolved_at: None,
        regressions: 0,
        flows: 12,
        bytes: 34_567,
        client_address: "10.0.0.5".to_owned(),
        server_address: "10.0.0.9".to_owned(),
        names: crate::findings::Names::default(),
        evidence: vec![FindingEvidence {
            rule: "postgresql-sslrequest-refused".to_owned(),
            direction: "s2c".to_owned(),
            offset: 0,
            length: 1,
            constant: "4e".to_owned(),
        }],
    };
    Event { kind, at: at(s), finding }
}

pub(crate) fn remedies() -> Remedies {
    Remedies::built_in().unwrap()
}

/// A channel for people.
pub(crate) fn people() -> ChannelConfig {
    ChannelConfig {
        name: "people".to_owned(),
        sns: Some(SnsTarget {
            topic_arn: "arn:aws:sns:us-east-1:000000000000:t".to_owned(),
            ..SnsTarget::default()
        }),
        ..ChannelConfig::default()
    }
}

/// A channel for programs.
pub(crate) fn programs() -> ChannelConfig {
    ChannelConfig {
        name: "programs".to_owned(),
        json_lines: Some(JsonLinesTarget::default()),
        ..ChannelConfig::default()
    }
}

fn planner(channel: &ChannelConfig, config: &AlertsConfig) -> Planner {
    Planner::new(config, channel, Mutes::new(&config.mutes).unwrap(), at(0))
}

fn lane(channel: &ChannelConfig, event: &Event) -> Lane {
    planner(channel, &AlertsConfig::default()).lane(event, event.at)
}

#[test]
fn each_kind_and_severity_takes_its_lane() {
    use EventKind::{Excepted, ExceptionExpired, Opened, Regressed, Resolved, Worsened};
    use Severity::{Critical, High, Low, Medium};
    let hub = ChannelConfig {
        securityhub: Some(SecurityHubTarget::default()),
        json_lines: None,
        resolved: false,
        ..programs()
    };
    let (below, not) = (Lane::None(Silence::BelowThreshold), Lane::None(Silence::NotAsked));
    for (channel, kind, severity, expected) in [
        (people(), Opened, Critical, Lane::Message),
        (people(), Regressed, High, Lane::Message),
        (people(), Worsened, High, Lane::Message),
        (people(), ExceptionExpired, High, Lane::Message),
        (people(), Resolved, High, Lane::Message),
        (people(), Opened, Medium, Lane::Digest),
        (people(), Opened, Low, below),
        (people(), Excepted, Critical, not),
        (ChannelConfig { resolved: false, ..people() }, Resolved, High, not),
        (programs(), Opened, Medium, Lane::Message),
        (hub.clone(), Resolved, High, Lane::Message),
        (hub, Excepted, High, Lane::Message),
    ] {
        let event = event(kind, severity, "10.0.0.5", 0);
        assert_eq!(lane(&channel, &event), expected, "{kind:?} {severity:?}");
    }
    let mut report = event(Opened, Critical, "10.0.0.5", 0);
    report.finding.action = Action::Report;
    assert_eq!(lane(&people(), &report), not, "what is for reports pages nobody");
}

#[test]
fn a_mute_holds_its_edge_until_its_last_day_is_over_and_nothing_else() {
    let mute = |change: fn(&mut MuteConfig)| {
        let mut mute = MuteConfig { until: "2026-11-24".to_owned(), ..MuteConfig::default() };
        change(&mut mute);
        let config = AlertsConfig { mutes: vec![mute], ..AlertsConfig::default() };
        planner(&people(), &config)
    };
    let ours = event(EventKind::Opened, Severity::High, "web-7", 0);
    let other = event(EventKind::Opened, Severity::High, "batch", 0);
    let muted = Lane::None(Silence::Muted);
    for (change, other_too) in [
        ((|m| m.client = Some("web-*".to_owned())) as fn(&mut MuteConfig), false),
        (|m| m.server = Some("10.0.0.0/24".to_owned()), true),
        (|m| m.port = Some(5432), true),
        (|m| m.rule = Some("*-database".to_owned()), true),
        (
            |m| {
                m.finding = Some(
                    FindingId::of(
                        &event(EventKind::Opened, Severity::High, "web-7", 0).finding.edge,
                    )
                    .to_string(),
                );
            },
            false,
        ),
    ] {
        let planner = mute(change);
        assert_eq!(planner.lane(&ours, at(0)), muted);
        assert_eq!(planner.lane(&other, at(0)) == muted, other_too);
        assert_eq!(planner.lane(&ours, at(3 * 86_400)), Lane::Message, "it is over");
    }
    for (wrong, says) in [
        (MuteConfig { until: "2026-11-24".into(), ..MuteConfig::default() }, "fits everything"),
        (MuteConfig { until: "soon".into(), port: Some(1), ..MuteConfig::default() }, "until"),
        (MuteConfig { finding: Some("x".into()), ..MuteConfig::default() }, "finding"),
    ] {
        assert!(Mute::new(&wrong).unwrap_err().contains(says));
    }
}

#[test]
fn the_clients_of_one_server_become_one_message_at_the_end_of_the_window() {
    let mut planner = planner(&people(), &AlertsConfig::default());
    for n in 0..12 {
        let event = event(EventKind::Opened, Severity::High, &format!("10.0.1.{n}"), n);
        assert_eq!(planner.group(Alert::new(&event, &remedies()), n, at(n)), None);
    }
    let resolved = event(EventKind::Resolved, Severity::High, "10.0.1.1", 20);
    planner.group(Alert::new(&resolved, &remedies()), 12, at(20));
    assert_eq!((planner.pending(), planner.oldest_batch()), (13, Some(0)));
    assert!(planner.due(at(59)).is_empty());
    let closed = planner.due(at(60));
    assert_eq!(closed.len(), 1, "what ended is another message");
    assert_eq!((planner.pending(), planner.oldest_batch()), (1, Some(12)));
    let message = Message::group("people", closed[0].clone(), at(60));
    assert_eq!(
        message.subject,
        "[HIGH] postgresql in clear, with credentials: 12 clients -> 10.0.0.9:5432 (prod)"
    );
    assert_eq!((message.group.len(), message.kind), (12, MessageKind::Group));
    assert!(message.text.contains("12 clients talk to 10.0.0.9:5432 in clear, in postgresql"));
}

#[test]
fn a_limit_holds_for_an_hour_and_a_clock_turned_back_does_not_stop_alerts() {
    let channel = ChannelConfig { messages_per_hour_max: Some(3), ..people() };
    let mut planner = planner(&channel, &AlertsConfig::default());
    let sent = |planner: &mut Planner, s| (0..5).filter(|_| planner.may_send(at(s))).count();
    assert_eq!(sent(&mut planner, 10), 3);
    assert_eq!(sent(&mut planner, 3609), 0);
    assert_eq!(sent(&mut planner, 3610), 3);
    assert_eq!(sent(&mut planner, 0), 3, "turned back");
}

#[test]
fn the_first_day_becomes_one_digest() {
    let config = AlertsConfig { baseline_h: 24, ..AlertsConfig::default() };
    let planner = planner(&people(), &config);
    let opened = event(EventKind::Opened, Severity::Critical, "10.0.0.5", 0);
    let worse = event(EventKind::Worsened, Severity::Critical, "10.0.0.5", 0);
    assert_eq!(planner.lane(&opened, at(86_399)), Lane::Digest);
    assert_eq!(planner.lane(&worse, at(86_399)), Lane::Message);
    assert_eq!(planner.lane(&opened, at(86_400)), Lane::Message);
    assert_eq!(planner.digest_due(at(5), false), at(86_400));
    // Midnight, and the full hour for what a limit put there.
    assert_eq!(planner.digest_due(at(90_000), false).to_string(), "2026-11-25T00:00:00.000000000Z");
    assert_eq!(planner.digest_due(at(5), true).to_string(), "2026-11-23T14:00:00.000000000Z");
}

#[test]
fn the_text_says_who_what_since_when_why_and_what_to_change() {
    let event = event(EventKind::Opened, Severity::High, "web", 60);
    let message = Message::alert("people", Alert::new(&event, &remedies()), at(61));
    insta::assert_snapshot!(
        "alert_text",
        format!("{}\n\n{}\n\n{}", message.subject, message.text, message.short)
    );
    let again = Message::alert("people", Alert::new(&event, &remedies()), at(500));
    assert_eq!(message.key, again.key, "a second copy is known by its key");
}

#[test]
fn a_digest_counts_all_and_names_the_worst() {
    let mut digest = Digest::default();
    for n in 0..100_000_u32 {
        let severity = if n % 1000 == 7 { Severity::Critical } else { Severity::Low };
        let [_, b, c, d] = n.to_be_bytes();
        let event =
            event(EventKind::Opened, severity, &format!("10.{b}.{c}.{d}"), u64::from(n) / 30);
        digest.add(&Alert::new(&event, remedies_once()).brief(), n % 2 == 0);
    }
    digest.finish();
    assert_eq!((digest.alerts, digest.over_limit, digest.lines.len()), (100_000, 50_000, 100));
    assert!(digest.lines.iter().all(|line| line.severity == Severity::Critical));
    let message = Message::digest(digest, KeyHash::new("people"), at(3600));
    assert_eq!(message.subject, "[DIGEST] cleartap: 100000 alerts, 100 critical");
    assert!(message.text.contains("and 99980 more"), "{}", message.text);
    assert!(message.json(usize::MAX).len() < 64 << 10);
}

fn remedies_once() -> &'static Remedies {
    static REMEDIES: std::sync::LazyLock<Remedies> = std::sync::LazyLock::new(remedies);
    &REMEDIES
}

#[test]
fn subjects_are_short_ascii_and_names_cannot_break_lines_or_markup() {
    let mut event = event(EventKind::Regressed, Severity::High, "wéb\r\n<!channel>\u{202e}", 0);
    event.finding.edge.server = "s".repeat(300);
    let message = Message::alert("people", Alert::new(&event, &remedies()), at(1));
    assert!(message.subject.is_ascii() && message.subject.len() <= 100, "{}", message.subject);
    assert!(!message.subject.contains('\n'));
    assert!(message.text.lines().next().unwrap().contains("<!channel>"));
    assert!(!message.short.contains("<!channel>") && message.short.contains("&lt;!channel&gt;"));
    let json: Message = serde_json::from_str(&message.json(usize::MAX)).unwrap();
    assert_eq!(json, message, "the JSON form reads what it writes");
}

#[test]
fn what_a_configuration_cannot_mean_is_explained_by_key() {
    let wrong = |toml: &str| {
        let config: AlertsConfig = toml::from_str(toml).unwrap();
        config
            .problems()
            .into_iter()
            .map(|(key, what)| format!("{key}: {what}"))
            .collect::<Vec<_>>()
    };
    for (toml, says) in [
        ("[[channels]]\nname = \"a\"\n", "alerts.channels[0]: expected one of sns"),
        ("[[channels]]\nname = \"a b\"\n", "name = \"a b\""),
        ("[[channels]]\nname = \"a\"\n[channels.sns]\ntopic_arn = \"x\"\n", "sns.topic_arn"),
        (
            "[[channels]]\nname = \"a\"\n[channels.webhook]\nurl = \"http://example.com\"\n",
            "https://HOST",
        ),
        (
            "[[channels]]\nname = \"a\"\n[channels.webhook]\nurl = \"https://x\"\nform = \"slack\"\n",
            "use `url_from`",
        ),
        (
            "[[channels]]\nname = \"a\"\n[channels.syslog]\naddress = \"10.0.0.1:514\"\ntransport = \"udp\"\n",
            "expected tls",
        ),
        (
            "[[channels]]\nname = \"a\"\n[channels.securityhub]\naccount_id = \"1\"\n",
            "twelve digits",
        ),
        (
            "[[channels]]\nname = \"a\"\n[channels.eventbridge]\nsource = \"aws.x\"\n",
            "eventbridge.source",
        ),
        ("[[mutes]]\nuntil = \"2027-01-01\"\n", "alerts.mutes[0]: fits everything"),
    ] {
        let problems = wrong(toml).join("\n");
        assert!(problems.contains(says), "{toml}: {problems}");
    }
    assert!(wrong("[[channels]]\nname = \"a\"\n[channels.json_lines]\n").is_empty());
}
