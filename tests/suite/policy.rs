//! `policy test` and `policy diff` on real captures, and on the records made of them.

use serde_json::Value;

use super::cli::{cleartap, stderr, stdout};

const PLAIN: &str = "captures/postgresql/ssl-refused-then-plain.pcap";
const TLS: &str = "captures/postgresql/prefer-ssl-on.pcap";

fn raises(arguments: &[&str]) -> Value {
    let output = cleartap(&[&["policy", "test", "--format", "json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn a_plaintext_database_would_alert_and_says_what_to_change() {
    let value = raises(&[PLAIN]);
    let row = &value["raises"][0];
    assert_eq!(row["protocol"], "postgresql", "{value}");
    assert_eq!(row["raise"]["action"], "alert");
    assert_eq!(row["raise"]["remedy"], "self-managed-postgresql");
    assert!(row["raise"]["controls"].as_array().unwrap().iter().any(|c| c["id"] == "SC-8(1)"));
    let text = stdout(&cleartap(&["policy", "test", PLAIN]));
    assert!(text.contains("alert") && text.contains("10.77.2.20:5432"), "{text}");
    let fail = cleartap(&["policy", "test", PLAIN, "--fail-on", "high"]);
    assert_eq!(fail.status.code(), Some(3));
    let sealed = cleartap(&["policy", "test", TLS, "--fail-on", "high"]);
    assert_eq!(sealed.status.code(), Some(0), "{}", stdout(&sealed));
}

#[test]
fn records_say_what_their_capture_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.jsonl");
    let captures = "captures/postgresql";
    cleartap(&["analyze", captures, "--flows", file.to_str().unwrap()]);
    assert_eq!(raises(&[file.to_str().unwrap()]), raises(&[captures]));
}

#[test]
fn a_line_that_is_no_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.jsonl");
    std::fs::write(&file, "\n{\"schema\": 9}\n").unwrap();
    let output = cleartap(&["policy", "test", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("flows.jsonl:2: no record"), "{}", stderr(&output));
}

#[test]
fn a_diff_shows_a_change_before_it_is_live() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old.toml", "new.toml"].map(|name| folder.path().join(name));
    std::fs::write(&old, "").unwrap();
    let exception = "[[policy.exceptions]]\nid = 'legacy'\nwhen = { server = ['10.77.2.20'] }\nowner = 'o'\nreason = 'r'\nticket = 't'\nexpires = '2099-01-01'\n";
    std::fs::write(&new, exception).unwrap();
    let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    let text = stdout(&cleartap(&["policy", "diff", old, new, PLAIN]));
    assert!(text.contains("0 added, 0 removed, 1 changed"), "{text}");
    assert!(text.contains("report (excepted)"), "{text}");
    let same = stdout(&cleartap(&["policy", "diff", old, old, PLAIN]));
    assert!(same.contains("0 added, 0 removed, 0 changed"), "{same}");
    let later = ["policy", "diff", old, new, PLAIN, "--at", "2099-06-01"];
    let text = stdout(&cleartap(&later));
    assert!(text.contains("exception-expired:legacy") && text.contains("1 added"), "{text}");
}

#[test]
fn remedies_are_printed_by_name_and_by_protocol() {
    let text = stdout(&cleartap(&["remedies", "redis"]));
    assert!(text.contains("elasticache-redis") && text.contains("transit-encryption"), "{text}");
    assert!(stdout(&cleartap(&["remedies", "rds-mysql"])).contains("require_secure_transport"));
    assert!(stdout(&cleartap(&["remedies"])).lines().count() > 50);
    assert_eq!(cleartap(&["remedies", "nothing"]).status.code(), Some(2));
}
