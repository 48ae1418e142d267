//! Alerts end to end against emulators of AWS on loopback: a message in the queue behind the topic, an event behind the bus, a
//! record in Security Hub that is updated and archived; and every committed alert delivered after faults and `kill -9`.
//!
//! The sensor's side runs in a process of its own (this binary again), so that it has an environment, and can be killed.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use cleartap::{
    alerts::AlertsConfig,
    findings::{Event, EventKind, Finding, FindingState, Names},
    model::{Edge, FindingId, Timestamp},
    output::alerts::Dispatcher,
    policy::{Action, Remedies, Severity, Topic},
};

#[cfg(feature = "securityhub")]
use super::moto::Moto;
use super::{
    cloudwatch::{Aws, CUT, PASS, Proxy, TOO_MANY, UNAVAILABLE, emulator},
    emulator::post,
    live::skip,
    process,
};

const NAME: &str = "alerts";
const CANARY: &str = "canary-secret-key";

fn event(kind: EventKind, client: &str, s: u64) -> Event {
    let edge = Edge {
        scope: "prod".to_owned(),
        server: "10.0.0.9".to_owned(),
        port: 6379,
        protocol: "redis".to_owned(),
        rule: "plaintext-cache".to_owned(),
        client: client.to_owned(),
    };
    let at = Timestamp::new(1_795_440_600 + s, 0);
    let finding = Finding {
        id: FindingId::of(&edge),
        aliases: Vec::new(),
        edge,
        state: FindingState::Open,
        severity: Severity::High,
        action: Action::Alert,
        topic: Topic::Cleartext,
        why: "Whoever sees the packets reads the cache.".to_owned(),
        plaintext_reason: Some("client_never_asked".to_owned()),
        credentials: Vec::new(),
        controls: Vec::new(),
        remedy: "elasticache-redis".to_owned(),
        exception: None,
        exception_expires: None,
        first_seen: Timestamp::new(1_795_440_600, 0),
        last_seen: at,
        opened_at: at,
        resolved_at: None,
        regressions: 0,
        flows: 3,
        bytes: 4096,
        client_address: "10.0.0.5".to_owned(),
        server_address: "10.0.0.9".to_owned(),
        names: Names::default(),
        evidence: Vec::new(),
    };
    Event { kind, at, finding }
}

/// Not a test: the sensor's side. Offers what it is told to, says so, and delivers until it may stop.
#[test]
#[ignore = "started by the tests of this module"]
fn sensor() {
    let Ok(config) = env::var("ALERTS_TEST_CONFIG") else { return };
    let config: AlertsConfig = toml::from_str(&config).unwrap();
    let events: Vec<Event> = env::var("ALERTS_TEST_EVENTS")
        .unwrap()
        .split_whitespace()
        .map(|word| {
            let [kind, client, s] = word.split(':').collect::<Vec<_>>()[..] else {
                panic!("{word}")
            };
            let kind = EventKind::ALL.into_iter().find(|k| k.name() == kind).unwrap();
            event(kind, client, s.parse().unwrap())
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let remedies = Arc::new(Remedies::built_in().unwrap());
        let dispatcher = Dispatcher::new(&config, remedies).await.unwrap();
        dispatcher.offer(&events).unwrap();
        println!("\ncommitted");
        let deadline = Instant::now() + Duration::from_secs(90);
        while dispatcher.status().iter().any(|s| s.waiting + s.grouping > 0)
            && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("\nstatus {}", serde_json::to_string(&dispatcher.status()).unwrap());
        dispatcher.stop(Duration::from_secs(2)).await;
    });
}

fn start(config: &str, events: &str) -> Child {
    process::spawn(
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "alerts::sensor", "--ignored", "--nocapture"])
            .env("ALERTS_TEST_CONFIG", config)
            .env("ALERTS_TEST_EVENTS", events)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", CANARY)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
}

/// Runs it to its end; returns the status of its channel.
fn deliver(config: &str, events: &str) -> serde_json::Value {
    let output = start(config, events).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}\n{log}");
    assert!(!text.contains(CANARY) && !log.contains(CANARY));
    let status = text.lines().find_map(|line| line.strip_prefix("status ")).unwrap();
    let status: serde_json::Value = serde_json::from_str(status).unwrap();
    status[0].clone()
}

fn sns(port: u16, spool: &std::path::Path) -> String {
    format!(
        "spool = {:?}\n[[channels]]\nname = \"team\"\ngroup_s = 0\n[channels.sns]\n\
         topic_arn = \"arn:aws:sns:us-east-1:000000000000:told\"\n\
         access = {{ endpoint = \"http://127.0.0.1:{port}\" }}\n",
        spool.display().to_string()
    )
}

fn subscribe(aws: &Aws) {
    aws.call("sns", "Action=CreateTopic&Name=told&Version=2010-03-31");
    aws.call("sqs", "Action=CreateQueue&QueueName=heard&Version=2012-11-05");
    aws.call(
        "sns",
        "Action=Subscribe&TopicArn=arn:aws:sns:us-east-1:000000000000:told&Protocol=sqs&Version=2010-03-31\
         &Endpoint=arn:aws:sqs:us-east-1:000000000000:heard",
    );
}

/// Every message in the queue.
fn heard(aws: &Aws) -> Vec<String> {
    let mut list = Vec::new();
    loop {
        let answer = aws.message_batch();
        let parts: Vec<String> = answer.split("<Body>").skip(1).map(str::to_owned).collect();
        if parts.is_empty() {
            return list;
        }
        list.extend(parts);
    }
}

#[test]
fn whoever_listens_to_the_topic_reads_who_talks_in_clear_and_what_to_change() {
    let Some(program) = emulator() else { return skip(NAME, "ministack is not installed") };
    let (aws, folder) = (Aws::start(&program), tempfile::tempdir().unwrap());
    subscribe(&aws);
    let status = deliver(&sns(aws.port, folder.path()), "opened:web:0 resolved:web:900");
    assert_eq!((&status["delivered"], &status["waiting"]), (&2.into(), &0.into()), "{status}");
    let heard = heard(&aws);
    assert_eq!(heard.len(), 2, "{heard:?}");
    let all = heard.join("\n");
    for part in ["redis in clear", "web talks to 10.0.0.9:6379", "What to change", "[RESOLVED]"] {
        assert!(all.contains(part), "{part} is missing in {all}");
    }
    assert!(!all.contains(CANARY));
}

#[test]
fn a_rule_of_the_bus_takes_the_finding_further() {
    let Some(program) = emulator() else { return skip(NAME, "ministack is not installed") };
    let (aws, folder) = (Aws::start(&program), tempfile::tempdir().unwrap());
    aws.call("sqs", "Action=CreateQueue&QueueName=heard&Version=2012-11-05");
    let put = |target: &str, body: &str| {
        let target = format!("AWSEvents.{target}");
        post(
            aws.port,
            "/",
            "events",
            &[("X-Amz-Target", &target)],
            "application/x-amz-json-1.1",
            body,
        )
    };
    put(
        "PutRule",
        r#"{"Name":"r","EventPattern":"{\"source\":[\"cleartap\"],\"detail\":{\"severity\":[\"high\"]}}"}"#,
    );
    put(
        "PutTargets",
        r#"{"Rule":"r","Targets":[{"Id":"q","Arn":"arn:aws:sqs:us-east-1:000000000000:heard"}]}"#,
    );
    let config = format!(
        "spool = {:?}\n[[channels]]\nname = \"bus\"\n[channels.eventbridge]\n\
         access = {{ endpoint = \"http://127.0.0.1:{}\" }}\n",
        folder.path().display().to_string(),
        aws.port
    );
    let events: Vec<String> = (0..23).map(|n| format!("opened:client-{n}:0")).collect();
    let status = deliver(&config, &events.join(" "));
    assert_eq!((&status["delivered"], &status["failed"]), (&23.into(), &0.into()), "{status}");
    let all = heard(&aws).join("\n");
    assert!(all.contains("cleartap finding") && all.contains("client-22"), "{all}");
}

#[test]
fn after_faults_and_a_kill_every_committed_alert_arrives_once() {
    let Some(program) = emulator() else { return skip(NAME, "ministack is not installed") };
    let (aws, folder) = (Aws::start(&program), tempfile::tempdir().unwrap());
    subscribe(&aws);
    let proxy = Proxy::start(aws.port);
    let config = sns(proxy.port, folder.path());
    let mut sensor = start(&config, "opened:client-0:0 opened:client-1:0 opened:client-2:0");
    let mut lines = BufReader::new(sensor.stdout.take().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "committed" {}
    for mode in [CUT, UNAVAILABLE, TOO_MANY] {
        proxy.fail(mode, 1);
    }
    sensor.kill().unwrap();
    sensor.wait().unwrap();
    assert!(heard(&aws).is_empty(), "nothing has got through so far");
    proxy.mode.store(PASS, std::sync::atomic::Ordering::SeqCst);
    let status = deliver(&config, "opened:client-3:60");
    assert_eq!(status["delivered"], 4, "{status}");
    let heard = heard(&aws);
    for n in 0..4 {
        let told =
            heard.iter().filter(|body| body.contains(&format!("client-{n} talks to"))).count();
        assert_eq!(told, 1, "client-{n}: {heard:?}");
    }
}

#[cfg(feature = "securityhub")]
fn findings(moto: &Moto) -> Vec<serde_json::Value> {
    let body = post(moto.port, "/findings", "securityhub", &[], "application/json", "{}");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    body["Findings"].as_array().unwrap().clone()
}

#[cfg(feature = "securityhub")]
#[test]
fn security_hub_imports_updates_and_archives_one_record() {
    let Some(moto) = Moto::start() else { return skip(NAME, "moto is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "spool = {:?}\n[[channels]]\nname = \"hub\"\n[channels.securityhub]\naccount_id = \"123456789012\"\n\
         access = {{ region = \"us-east-1\", endpoint = \"http://127.0.0.1:{}\" }}\n",
        folder.path().display().to_string(),
        moto.port
    );
    let mut seen = Vec::new();
    for events in ["opened:web:0", "worsened:web:60", "resolved:web:900"] {
        let status = deliver(&config, events);
        assert_eq!((&status["delivered"], &status["failed"]), (&1.into(), &0.into()), "{status}");
        let findings = findings(&moto);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let finding = &findings[0];
        seen.push((
            finding["RecordState"].as_str().unwrap_or("ACTIVE").to_owned(),
            finding["UpdatedAt"].as_str().unwrap().to_owned(),
        ));
    }
    assert_eq!(seen[0].0, "ACTIVE");
    assert_eq!(seen[2].0, "ARCHIVED");
    assert!(seen[0].1 < seen[1].1 && seen[1].1 < seen[2].1, "{seen:?}");
}
