//! What the built-in policy says, and how the user's rules and exceptions change it.

use std::collections::BTreeSet;

use super::*;
use crate::model::{Addresses, Date, Timestamp};

const NOW: &str = "2026-11-23T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// An established PostgreSQL session in clear between two instances.
fn subject() -> Subject<'static> {
    Subject {
        scope: "prod",
        client: [10, 0, 1, 5].into(),
        server: [10, 0, 2, 9].into(),
        port: 5432,
        transport: "tcp",
        encryption: "plaintext",
        outcome: "established",
        confidence: Some("both_sides"),
        app: Some("postgresql"),
        upgrade: None,
        plaintext_reason: Some("client_never_asked"),
        credentials: vec!["password_hash_challenge"],
        boundary: "east_west",
        expected_service: Some("postgresql"),
        evidence: vec!["postgresql.startup"],
        tls_version: None,
        tls_cipher: None,
        tls_strength: None,
        tls_reasons: Vec::new(),
        cert_not_after: None,
        ts_last: now(),
        client_names: Vec::new(),
        server_names: Vec::new(),
        service: None,
        server_id: None,
        client_group: None,
        server_name: None,
    }
}

fn tls() -> Subject<'static> {
    Subject {
        encryption: "tls",
        app: None,
        credentials: Vec::new(),
        plaintext_reason: None,
        expected_service: None,
        tls_version: Some("TLSv1.3"),
        ..subject()
    }
}

fn policy(toml: &str) -> Policy {
    let spec: PolicySpec = toml::from_str(toml).expect("grammar");
    Policy::new(&spec).expect("policy")
}

fn built_in() -> Policy {
    Policy::new(&PolicySpec::default()).expect("the built-in policy compiles")
}

#[track_caller]
fn check(policy: &Policy, subject: &Subject<'_>, expected: &[(&str, Severity, Action)]) {
    let decision = policy.judge(subject, now());
    let said: Vec<_> = decision.raises.iter().map(|r| (&*r.rule, r.severity, r.action)).collect();
    assert_eq!(said, expected, "{subject:?}");
}

#[test]
fn the_built_in_rules_say_what_the_team_would() {
    use Action::{Alert, Report};
    use Severity::{Critical, High, Info, Low, Medium};
    let policy = built_in();
    let clear = |app, credentials: &[&'static str]| Subject {
        app: Some(app),
        expected_service: None,
        credentials: credentials.to_vec(),
        ..subject()
    };
    let cases: &[(Subject<'_>, &str, Severity, Action)] = &[
        (subject(), "plaintext-database", High, Alert),
        (clear("postgresql", &["password_cleartext"]), "database-credentials", Critical, Alert),
        (clear("redis", &[]), "plaintext-cache", High, Alert),
        (clear("redis", &["password_cleartext"]), "database-credentials", Critical, Alert),
        (clear("kafka", &[]), "plaintext-broker", High, Alert),
        (clear("kafka", &["sasl_plain"]), "cleartext-credentials", Critical, Alert),
        (clear("http", &[]), "plaintext-http", Medium, Report),
        (clear("http", &["basic_auth"]), "http-credentials", High, Alert),
        (clear("http", &["bearer_token"]), "http-credentials", High, Alert),
        (clear("http2", &["session_secret"]), "http-credentials", High, Alert),
        (clear("ldap", &[]), "plaintext-directory", High, Alert),
        (clear("telnet", &[]), "plaintext-admin", High, Alert),
        (clear("ftp", &["password_cleartext"]), "cleartext-credentials", Critical, Alert),
        (clear("vnc", &["password_hash_challenge"]), "plaintext-admin", High, Alert),
        (clear("rsh", &[]), "plaintext-admin", High, Alert),
        (clear("hl7", &[]), "plaintext-healthcare", High, Alert),
        (clear("nfs", &[]), "plaintext-file", Medium, Alert),
        (clear("snmp", &["community_string"]), "plaintext-monitoring", Low, Report),
        (clear("dns", &[]), "infrastructure", Info, Report),
    ];
    for (subject, rule, severity, action) in cases {
        check(&policy, subject, &[(rule, *severity, *action)]);
    }
}

#[test]
fn where_a_flow_runs_and_how_tls_protects_it_decide_too() {
    use Action::{Alert, Report};
    use Severity::{Critical, High, Low, Medium};
    let policy = built_in();
    let cases: &[(Subject<'_>, &str, Severity, Action)] = &[
        (
            Subject {
                encryption: "partial",
                app: Some("tds"),
                expected_service: None,
                ..subject()
            },
            "plaintext-database",
            High,
            Alert,
        ),
        (
            Subject { plaintext_reason: Some("null_cipher"), ..subject() },
            "tls-null-cipher",
            Critical,
            Alert,
        ),
        (Subject { tls_version: Some("TLSv1.0"), ..tls() }, "tls-obsolete-version", Medium, Alert),
        (Subject { tls_strength: Some("weak"), ..tls() }, "tls-weak", Medium, Alert),
        (Subject { tls_strength: Some("none"), ..tls() }, "tls-broken", Critical, Alert),
        (Subject { tls_strength: Some("legacy"), ..tls() }, "tls-legacy", Low, Report),
        (
            Subject {
                boundary: "link_local",
                app: Some("http"),
                credentials: vec!["bearer_token"],
                expected_service: None,
                ..subject()
            },
            "link-local",
            Low,
            Report,
        ),
        (
            Subject {
                boundary: "internet",
                app: Some("http"),
                credentials: vec![],
                expected_service: None,
                ..subject()
            },
            "cleartext-outside",
            Medium,
            Report,
        ),
    ];
    for (subject, rule, severity, action) in cases {
        check(&policy, subject, &[(rule, *severity, *action)]);
    }
    check(&policy, &tls(), &[]);
}

#[test]
fn an_exchange_that_proves_little_never_alerts() {
    let policy = built_in();
    let action = |confidence, outcome| {
        let subject = Subject { outcome, confidence, ..subject() };
        policy.judge(&subject, now()).raises.first().map(|raise| (raise.action, raise.reach))
    };
    let (alert, report) = (Action::Alert, Action::Report);
    assert_eq!(action(Some("both_sides"), "established"), Some((alert, Reach::Alert)));
    assert_eq!(action(Some("one_side"), "established"), Some((alert, Reach::Alert)));
    assert_eq!(action(Some("midstream"), "established"), Some((alert, Reach::Alert)));
    assert_eq!(action(Some("both_sides"), "refused"), Some((report, Reach::Metric)));
    assert_eq!(action(Some("both_sides"), "unknown"), Some((report, Reach::Metric)));
    assert_eq!(action(Some("both_sides"), "attempt"), Some((report, Reach::Report)));
    assert_eq!(action(Some("midstream"), "refused"), None);
    assert_eq!(action(Some("heuristic"), "established"), Some((report, Reach::Metric)));
    assert_eq!(action(Some("inferred"), "attempt"), None);
}

#[test]
fn whatever_a_rule_says_the_table_caps_it() {
    let policy = policy(
        "[[rules]]\nid = 'mine'\nwhen = { app = ['postgresql'] }\nseverity = 'critical'\naction = 'alert'",
    );
    let heuristic = Subject { confidence: Some("heuristic"), ..subject() };
    check(&policy, &heuristic, &[("mine", Severity::Critical, Action::Report)]);
    let raise = policy.judge(&heuristic, now()).raises.remove(0);
    assert_eq!((raise.asked, raise.reach), (Action::Alert, Reach::Metric));
}

#[test]
fn certificates_are_judged_by_the_time_passed_in_and_by_server() {
    let policy = built_in();
    let until = |day: &str| {
        let end = day.parse::<Date>().unwrap().start();
        Subject { cert_not_after: Some(end), ..tls() }
    };
    let alert = |rule, severity| [(rule, severity, Action::Alert)];
    check(&policy, &until("2026-11-23"), &alert("certificate-expired", Severity::High));
    check(&policy, &until("2026-12-20"), &alert("certificate-expiring", Severity::Medium));
    check(&policy, &until("2027-01-20"), &[]);
    let subject = until("2026-11-23");
    let raise = policy.judge(&subject, now()).raises.remove(0);
    let (id, edge) = subject.edge(&raise, &Addresses);
    assert_eq!((edge.client.as_str(), edge.server.as_str()), ("*", "10.0.2.9"));
    let other = Subject { client: [10, 0, 1, 77].into(), ..subject };
    assert_eq!(other.edge(&raise, &Addresses).0, id, "one finding, whoever asks");
}

#[test]
fn one_flow_raises_once_per_topic() {
    let policy = built_in();
    let end = "2026-11-01".parse::<Date>().unwrap().start();
    let subject = Subject {
        tls_version: Some("TLSv1.0"),
        cert_not_after: Some(end),
        app: Some("redis"),
        expected_service: Some("http"),
        ..tls()
    };
    check(
        &policy,
        &subject,
        &[
            ("tls-obsolete-version", Severity::Medium, Action::Alert),
            ("certificate-expired", Severity::High, Action::Alert),
            ("unexpected-service", Severity::Low, Action::Report),
        ],
    );
    assert_eq!(&*policy.judge(&subject, now()).worst().unwrap().rule, "certificate-expired");
}

#[test]
fn the_users_rules_come_first_and_may_stand_in_for_built_in_ones() {
    let before = policy(
        "[groups]\nlab = ['10.0.1.0/24']\n[[rules]]\nid = 'lab'\nwhen = { client = ['lab'], port = ['5000-5999'] }\nseverity = 'info'\naction = 'ignore'",
    );
    check(&before, &subject(), &[]);
    let elsewhere = Subject { client: [10, 0, 3, 5].into(), ..subject() };
    check(&before, &elsewhere, &[("plaintext-database", Severity::High, Action::Alert)]);

    let instead = policy(
        "[[rules]]\nid = 'plaintext-database'\ntopic = 'cleartext'\nwhen = { class = ['database'], encryption = ['plaintext'] }\nseverity = 'low'\naction = 'report'",
    );
    check(&instead, &subject(), &[("plaintext-database", Severity::Low, Action::Report)]);
    let secret = Subject { credentials: vec!["password_cleartext"], ..subject() };
    check(&instead, &secret, &[("database-credentials", Severity::Critical, Action::Alert)]);

    let without = policy("disabled = ['plaintext-database']");
    check(&without, &subject(), &[("plaintext-other", Severity::Low, Action::Report)]);
    check(&policy("defaults = false"), &subject(), &[]);
}

#[test]
fn a_rule_can_say_unless_and_name_what_an_inventory_knows() {
    let policy = policy(
        "defaults = false\n[[rules]]\nid = 'r'\nwhen = { server = ['name:*-db'] }\nunless = { scope = ['prod'], port = [5432] }\nseverity = 'high'\naction = 'alert'",
    );
    let named = |port| Subject { server_names: vec!["users-db"], port, ..subject() };
    check(&policy, &named(5432), &[]);
    check(&policy, &named(5433), &[("r", Severity::High, Action::Alert)]);
    check(&policy, &Subject { port: 5433, ..subject() }, &[]);
}

#[test]
fn an_empty_group_holds_nobody() {
    let policy = policy(
        "defaults = false\n[groups]\nnobody = []\n[[rules]]\nid = 'r'\nwhen = { client = ['nobody'] }\nseverity = 'high'\naction = 'alert'",
    );
    check(&policy, &subject(), &[]);
}

const EXCEPTION: &str = "[[exceptions]]\nid = 'legacy'\nrules = ['plaintext-database']\nwhen = { client = ['10.0.1.5'] }\nowner = 'team-data'\nreason = 'driver without TLS'\nticket = 'SEC-1'\nexpires = '2026-11-23'";

#[test]
fn an_exception_keeps_its_flows_in_the_report_and_says_who_answers() {
    let policy = policy(EXCEPTION);
    check(&policy, &subject(), &[("plaintext-database", Severity::High, Action::Report)]);
    let applied = policy.judge(&subject(), now()).raises.remove(0).exception.unwrap();
    assert_eq!((&*applied.owner, &*applied.ticket, applied.expired), ("team-data", "SEC-1", false));
    let other = Subject { client: [10, 0, 1, 6].into(), ..subject() };
    check(&policy, &other, &[("plaintext-database", Severity::High, Action::Alert)]);
    let worse = Subject { credentials: vec!["password_cleartext"], ..subject() };
    check(&policy, &worse, &[("database-credentials", Severity::Critical, Action::Alert)]);
}

#[test]
fn an_exception_holds_to_the_end_of_its_day_and_then_alerts_itself() {
    let policy = policy(EXCEPTION);
    let rules = |time: &str| -> Vec<(String, Action, RaiseKind)> {
        let decision = policy.judge(&subject(), time.parse().unwrap());
        decision.raises.iter().map(|r| (r.rule.to_string(), r.action, r.kind)).collect()
    };
    let one = |action| ("plaintext-database".to_owned(), action, RaiseKind::Rule);
    assert_eq!(rules("2026-11-23T23:59:59Z"), [one(Action::Report)]);
    let expired =
        ("exception-expired:legacy".to_owned(), Action::Alert, RaiseKind::ExceptionExpired);
    assert_eq!(rules("2026-11-24T00:00:00Z"), [one(Action::Alert), expired]);
    let refused = Subject { outcome: "refused", ..subject() };
    let decision = policy.judge(&refused, "2027-01-01T00:00:00Z".parse().unwrap());
    assert!(decision.raises.iter().all(|r| r.action == Action::Report), "the table caps it too");
}

#[test]
fn everything_wrong_with_a_policy_is_said_at_once() {
    let spec: PolicySpec = toml::from_str(
        "disabled = ['plaintext-databases']\n[[rules]]\nid = 'A'\nwhen = { client = ['nobody'], app = ['postgres'] }\nremedy = 'none'\ncontrols = ['x']\nseverity = 'low'\naction = 'alert'\n[[exceptions]]\nid = 'e'\nrules = ['nope']\nwhen = {}\nowner = ''\nreason = 'r'\nticket = 't'\nexpires = '2026-02-30'",
    )
    .unwrap();
    let errors = Policy::new(&spec).unwrap_err();
    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for word in [
        "disabled[0]",
        "rules[0].id",
        "`nobody`",
        "`postgres`",
        "rules[0].remedy",
        "rules[0].controls",
        "exceptions[0].owner",
        "`nope`",
        "exceptions[0].expires",
    ] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
}

#[test]
fn every_default_rule_that_alerts_resolves_to_a_remedy_and_controls() {
    let policy = built_in();
    for rule in policy.rules() {
        assert!(!rule.why.is_empty(), "{}", rule.id);
        assert!(!rule.controls.is_empty(), "{}", rule.id);
    }
    for app in in_clear() {
        let remedy = policy.remedies().resolve(None, None, Some(app));
        assert!(remedy.self_managed, "{app}: {}", remedy.id);
    }
    let raise = policy.judge(&subject(), now()).raises.remove(0);
    assert_eq!(&*raise.remedy, "self-managed-postgresql");
    assert!(raise.controls.iter().any(|c| &*c.id == "SC-8(1)"));
    let pci = raise.controls.iter().find(|c| &*c.id == "4.2.1").unwrap();
    assert!(pci.caveat.as_ref().unwrap().contains("public network"));
    let rds = Subject { service: Some("rds-postgresql"), ..subject() };
    let raise = policy.judge(&rds, now()).raises.remove(0);
    assert_eq!(&*raise.remedy, "rds-postgresql");
    assert!(raise.controls.iter().any(|c| &*c.id == "RDS.38"));
}

#[test]
fn every_remedy_is_whole_and_every_service_has_one() {
    let remedies = Remedies::built_in().unwrap();
    for remedy in remedies.iter() {
        let id = &remedy.id;
        assert!(remedy.vendor_page.starts_with("https://"), "{id}");
        for text in [&remedy.title, &remedy.server, &remedy.client, &remedy.breaks] {
            assert!(text.len() > 3, "{id}");
        }
        for app in &remedy.apps {
            assert!(class(app).is_some(), "{id}: {app} is no protocol");
        }
    }
    for service in [
        "alb",
        "api-gateway",
        "rds-mysql",
        "rds-postgresql",
        "rds-sqlserver",
        "rds-oracle",
        "rds-mariadb",
        "aurora-mysql",
        "aurora-postgresql",
        "rds-proxy",
        "elasticache-redis",
        "elasticache-memcached",
        "memorydb",
        "mq-activemq",
        "mq-rabbitmq",
        "msk",
        "sqs",
        "dynamodb",
        "dax",
        "opensearch",
        "vpc-lattice",
        "lambda",
        "documentdb",
        "neptune",
        "keyspaces",
        "redshift",
        "efs",
        "fsx-windows",
        "fsx-ontap",
        "s3",
        "self-managed",
    ] {
        assert!(remedies.get(service).is_some(), "{service}");
    }
    let candidates: BTreeSet<&str> =
        remedies.candidates("postgresql").map(|r| r.id.as_str()).collect();
    assert!(candidates.contains("aurora-postgresql") && candidates.contains("redshift"));
}

#[test]
fn a_diff_shows_what_a_change_adds_and_removes() {
    let old = built_in();
    let new = policy(
        "[[rules]]\nid = 'ours'\ntopic = 'cleartext'\nwhen = { app = ['http'] }\nseverity = 'high'\naction = 'alert'\n[[rules]]\nid = 'quiet'\nwhen = { app = ['redis'] }\nseverity = 'info'\naction = 'ignore'",
    );
    let flow = |app| Subject {
        app: Some(app),
        expected_service: None,
        credentials: Vec::new(),
        ..subject()
    };
    let flows = [flow("http"), flow("http"), flow("redis"), flow("postgresql")];
    let changes = diff(&old, &new, flows.into_iter(), &Addresses);
    let said: Vec<_> = changes
        .iter()
        .map(|c| (c.edge.rule.as_str(), c.old.is_some(), c.new.is_some(), c.flows))
        .collect();
    assert_eq!(
        said,
        [
            ("ours", false, true, 2),
            ("plaintext-http", true, false, 2),
            ("plaintext-cache", true, false, 1)
        ]
    );
}
