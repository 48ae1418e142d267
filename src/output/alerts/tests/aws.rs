//! What AWS gets, and what its answers mean, against a stub.

use aws_config::SdkConfig;
use aws_sdk_sns::config::{Credentials, SharedCredentialsProvider};
use serde_json::Value;

use super::{
    super::{eventbridge::EventBridge, sns::Sns},
    *,
};
use crate::{
    alerts::{AwsAccess, EventBridgeTarget, SnsTarget},
    output::{
        aws::base,
        stub::{Answer, Stub, say},
    },
};

const CANARY: &str = "canary-secret-key";

fn access(stub: &Stub) -> AwsAccess {
    AwsAccess {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(stub.url()),
        ..AwsAccess::default()
    }
}

async fn sdk(stub: &Stub) -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", CANARY, None, None, "test");
    base(&access(stub), 10)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .load()
        .await
}

async fn bus(stub: &Stub) -> EventBridge {
    let target = EventBridgeTarget { access: access(stub), ..EventBridgeTarget::default() };
    EventBridge::new(&target, &sdk(stub).await)
}

async fn topic(stub: &Stub, name: &str, json: bool) -> Sns {
    let topic_arn = format!("arn:aws:sns:us-east-1:000000000000:{name}");
    Sns::new(&SnsTarget { topic_arn, json, access: access(stub) }, &sdk(stub).await)
}

const TAKEN: &str = r#"{"FailedEntryCount":0,"Entries":[]}"#;

#[test]
fn events_go_ten_at_a_time_with_the_json_form_as_detail() {
    let stub = Stub::start([], TAKEN);
    let sent = messages(10);
    run(async { assert_eq!(kind(&bus(&stub).await.send(&sent).await), "taken") });
    let got = &stub.got()[0];
    assert_eq!(got.header("x-amz-target"), Some("awsevents.putevents"));
    let body: Value = serde_json::from_slice(&got.body).unwrap();
    let entries = body["Entries"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert_eq!(
        (&entries[0]["Source"], &entries[0]["DetailType"]),
        (&"cleartap".into(), &"cleartap finding".into())
    );
    let detail: Message = serde_json::from_str(entries[3]["Detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail, sent[3]);
}

#[test]
fn what_eventbridge_failed_is_sent_again_and_nothing_else() {
    let failed = r#"{"FailedEntryCount":2,"Entries":[{"EventId":"1"},{"ErrorCode":"ThrottlingException","ErrorMessage":"canary-secret-key"},{"ErrorCode":"MalformedDetail"}]}"#;
    let stub = Stub::start([say(200, failed)], TAKEN);
    let folder = tempfile::tempdir().unwrap();
    let lanes = lanes(&config(&folder), &programs(), at(0));
    lanes.offer(&opened(0, 3, 0), &remedies(), at(0)).unwrap();
    run(async {
        let mut delivery = AlertDelivery::new("programs", bus(&stub).await, lanes);
        assert!(!delivery.step(at(0)).await.unwrap());
        assert!(delivery.step(at(300)).await.unwrap());
        let counters = delivery.counters();
        assert_eq!((counters.delivered, counters.failed, counters.retried), (2, 1, 1));
        assert!(!format!("{delivery:?}").contains(CANARY));
    });
    let got = stub.got();
    let count = |n: usize| {
        serde_json::from_slice::<Value>(&got[n].body).unwrap()["Entries"].as_array().unwrap().len()
    };
    assert_eq!((got.len(), count(0), count(1)), (2, 3, 1));
}

#[test]
fn no_request_is_longer_than_a_service_takes() {
    let stub = Stub::start([], TAKEN);
    let mut sent = messages(10);
    for message in &mut sent {
        message.text = "x".repeat(200 << 10);
    }
    run(async {
        let results = bus(&stub).await.send(&sent).await.unwrap();
        assert_eq!(results.len(), 4, "the rest waits for the next request");
    });
    assert!(stub.got()[0].body.len() < 1 << 20);
}

const BATCH: &str = "<PublishBatchResponse><PublishBatchResult><Successful/><Failed/></PublishBatchResult></PublishBatchResponse>";

#[test]
fn people_get_subject_and_text_and_filters_get_attributes() {
    let stub = Stub::start([], BATCH);
    run(async {
        assert_eq!(kind(&topic(&stub, "t", false).await.send(&messages(2)).await), "taken");
    });
    let body = stub.got()[0].text();
    for part in [
        "Action=PublishBatch",
        "member.2.Subject=%5BHIGH%5D%20postgresql",
        "in%20clear",
        "StringValue=plaintext-database",
        "What%20to%20change",
    ] {
        assert!(body.contains(part), "{part} is missing in {body}");
    }
    assert!(!body.contains("MessageDeduplicationId") && !body.contains(CANARY));
}

#[test]
fn a_fifo_topic_de_duplicates_by_the_key_and_keeps_the_order_of_a_finding() {
    let stub = Stub::start([], BATCH);
    let sent = messages(1);
    run(async { assert_eq!(kind(&topic(&stub, "t.fifo", true).await.send(&sent).await), "taken") });
    let body = stub.got()[0].text();
    assert!(body.contains(&format!("MessageDeduplicationId={}", sent[0].key)), "{body}");
    assert!(body.contains("MessageGroupId=") && body.contains("%22schema%22%3A1"));
}

#[test]
fn each_error_of_aws_is_met_as_it_deserves_and_repeats_no_secret() {
    let json = |code: &str| format!(r#"{{"__type":"{code}","message":"{CANARY}"}}"#);
    for (answer, expected) in [
        (say(400, json("ThrottlingException")), "later"),
        (say(429, json("TooManyRequests")), "later"),
        (say(500, json("InternalException")), "later"),
        (say(503, json("ServiceUnavailable")), "later"),
        (say(400, json("ResourceNotFoundException")), "later"),
        (say(400, json("ValidationException")), "invalid"),
        (say(400, json("ExpiredTokenException")), "credentials"),
        (say(403, json("AccessDeniedException")), "credentials"),
        (say(403, json(&format!("{CANARY} is wrong"))), "credentials"),
        (Answer::Cut, "later"),
    ] {
        // The SDK tries twice.
        let stub = Stub::start([answer.clone(), answer.clone()], TAKEN);
        let result = run(async { bus(&stub).await.send(&messages(1)).await });
        assert_eq!(kind(&result), expected, "{answer:?}: {result:?}");
        assert!(!format!("{result:?}").contains(CANARY), "{result:?}");
    }
}

#[cfg(feature = "securityhub")]
mod hub {
    use super::{super::super::securityhub::SecurityHub, *};
    use crate::alerts::{Alert, SecurityHubTarget};

    async fn hub(stub: &Stub) -> SecurityHub {
        let target = SecurityHubTarget {
            account_id: "123456789012".to_owned(),
            partition: None,
            access: access(stub),
        };
        SecurityHub::new(&target, &sdk(stub).await)
    }

    fn message(kind: EventKind, client: &str, s: u64) -> Message {
        let event = event(kind, Severity::Critical, client, s);
        Message::alert("hub", Alert::new(&event, &remedies()), at(s))
    }

    const IMPORTED: &str = r#"{"FailedCount":0,"SuccessCount":1,"FailedFindings":[]}"#;

    fn findings(body: &str) -> Vec<Value> {
        let body: Value = serde_json::from_str(body).unwrap();
        body["Findings"].as_array().unwrap().clone()
    }

    #[test]
    fn a_finding_keeps_its_id_and_what_people_did_with_it() {
        let stub = Stub::start([], IMPORTED);
        let sent = [
            message(EventKind::Opened, "10.0.0.5", 0),
            message(EventKind::Opened, "10.0.0.6", 0),
            message(EventKind::Resolved, "10.0.0.5", 900),
        ];
        run(async {
            let mut hub = hub(&stub).await;
            assert_eq!(hub.send(&sent).await.unwrap().len(), 2, "one state of a finding a request");
            assert_eq!(hub.send(&sent[2..]).await.unwrap().len(), 1);
        });
        let got = stub.got();
        let (first, last) = (findings(&got[0].text()), findings(&got[1].text()));
        assert_eq!((first.len(), last.len()), (2, 1));
        assert_eq!(first[0]["Id"], last[0]["Id"]);
        assert_ne!(first[0]["Id"], first[1]["Id"]);
        assert_eq!(
            (&first[0]["RecordState"], &last[0]["RecordState"]),
            (&"ACTIVE".into(), &"ARCHIVED".into())
        );
        assert!(first[0]["UpdatedAt"].as_str() < last[0]["UpdatedAt"].as_str());
        assert_eq!(first[0]["FindingProviderFields"]["Severity"]["Label"], "CRITICAL");
        assert_eq!(first[0]["Network"]["SourceIpV4"], "10.0.0.5");
        assert_eq!(
            first[0]["ProductArn"],
            "arn:aws:securityhub:us-east-1:123456789012:product/123456789012/default"
        );
        for forbidden in
            ["Workflow", "Note", "VerificationState", "Severity", "Types", "Compliance"]
        {
            assert!(first[0].get(forbidden).is_none(), "{forbidden}");
        }
        assert!(first[0]["Title"].as_str().unwrap().len() <= 256);
        assert!(first[0]["Description"].as_str().unwrap().len() <= 1024);
    }

    #[test]
    fn of_findings_that_failed_some_wait_and_some_are_refused() {
        let ids: Vec<String> = ["10.0.0.5", "10.0.0.6"]
            .map(|c| {
                format!(
                    "us-east-1/123456789012/cleartap/{}",
                    message(EventKind::Opened, c, 0).about()
                )
            })
            .into();
        let answer = format!(
            r#"{{"FailedCount":2,"SuccessCount":1,"FailedFindings":[{{"Id":"{}","ErrorCode":"InvalidInput","ErrorMessage":"{CANARY}"}},{{"Id":"{}","ErrorCode":"InternalError","ErrorMessage":"x"}}]}}"#,
            ids[0], ids[1]
        );
        let stub = Stub::start([say(200, answer)], IMPORTED);
        let sent = ["10.0.0.5", "10.0.0.6", "10.0.0.7"].map(|c| message(EventKind::Opened, c, 0));
        let results = run(async { hub(&stub).await.send(&sent).await.unwrap() });
        assert!(matches!(results[0], Err(Fault::Invalid(_))), "{results:?}");
        assert!(matches!(results[1], Err(Fault::Later(_))));
        assert!(results[2].is_ok() && !format!("{results:?}").contains(CANARY));
    }
}
