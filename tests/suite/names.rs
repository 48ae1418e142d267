//! Names of the ends: by an inventory file, and by what clients ask for in the mirror.

use std::path::{Path, PathBuf};

use cleartap::engine::{Engine, Settings};
use serde_json::Value;

use super::{
    capture::{frames, root},
    cli::{cleartap, stderr, stdout},
};

/// Redis in clear from 10.77.1.10 to 10.77.2.20.
const PLAIN: &str = "captures/redis/cli-resp2.pcap";

/// A configuration with an inventory file of this text.
fn configured(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    let config = folder.join("cleartap.toml");
    let text = format!("[inventory]\nfile = {:?}\nstate = \"none\"\n", file.display().to_string());
    std::fs::write(&config, text).unwrap();
    config
}

const ADDRESSES: &str = "address,name,kind,id,group,owner,service,tags\n\
    10.77.2.20,sessions,elasticache,arn:aws:elasticache:eu-central-1:1:cluster:sessions,,data,elasticache-redis,environment=prod\n\
    10.77.1.10,web-1,ec2-instance,,asg:web,shop,,\n";

fn records(config: &Path) -> Vec<Value> {
    let config = config.to_str().unwrap();
    let output = cleartap(&["analyze", PLAIN, "--config", config, "--format", "jsonl"]);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_names_both_ends_in_every_record() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "addresses.csv", ADDRESSES);
    let schema = serde_json::from_str(cleartap::model::record::SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for record in records(&config) {
        assert_eq!(
            (&record["src_name"], &record["dst_name"]),
            (&"web-1".into(), &"sessions".into())
        );
        assert_eq!(record["dst_name_source"], "inventory");
        assert_eq!(record["dst_aws"]["owner"], "data");
        assert_eq!(record["src_aws"]["group"], "asg:web");
        assert!(validator.is_valid(&record), "{record}");
    }
}

#[test]
fn a_policy_judges_by_names_and_gives_the_services_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), "addresses.csv", ADDRESSES);
    let mut text = std::fs::read_to_string(&config).unwrap();
    text += "[[policy.rules]]\nid = \"own\"\ntopic = \"cleartext\"\nseverity = \"critical\"\naction = \"alert\"\n\
        when = { client = [\"name:asg:web*\"], server = [\"name:environment=prod\"] }\n";
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let output = cleartap(&["policy", "test", PLAIN, "--config", config, "--format", "json"]);
    let text = stdout(&output);
    for part in ["\"own\"", "elasticache-redis", "cluster:sessions", "asg:web"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    // The same from the lines of records.
    let lines = folder.path().join("records.jsonl");
    let all: Vec<String> = records(Path::new(config)).iter().map(Value::to_string).collect();
    std::fs::write(&lines, all.join("\n")).unwrap();
    let again = cleartap(&[
        "policy",
        "test",
        lines.to_str().unwrap(),
        "--config",
        config,
        "--format",
        "json",
    ]);
    assert_eq!(stdout(&again), text);
}

#[test]
fn a_file_that_is_not_in_order_is_told_with_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, expected) in [
        (
            "a.csv",
            "address,name\n10.0.0.1,a\n10.0.0.300,b\nx,c\n",
            ["line 3: address", "line 4: address"],
        ),
        ("a.json", "[\n{\"address\": \"10.0.0.1\"}]", ["line 2: missing field `name`", "a.json"]),
    ] {
        let config = configured(folder.path(), name, text);
        for command in ["analyze", "addresses"] {
            let mut arguments = vec![command, "--config", config.to_str().unwrap()];
            if command == "analyze" {
                arguments.push(PLAIN);
            }
            let output = cleartap(&arguments);
            assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
            for part in expected {
                assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
            }
        }
    }
    std::fs::remove_file(folder.path().join("a.json")).unwrap();
    let config = folder.path().join("cleartap.toml");
    let output = cleartap(&["addresses", "--config", config.to_str().unwrap()]);
    assert!(stderr(&output).contains("inventory.file"), "{}", stderr(&output));
}

#[test]
fn the_addresses_of_an_inventory_are_listed_with_their_history() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(
        folder.path(),
        "addresses.json",
        r#"[{"address": "10.0.0.9", "name": "old", "until": "2026-11-01"},
            {"address": "10.0.0.9", "name": "new", "from": "2026-11-02", "owner": "data"}]"#,
    );
    let config = config.to_str().unwrap();
    let now = stdout(&cleartap(&["addresses", "--config", config, "10.0.0.9"]));
    assert!(now.contains("new") && now.contains("data") && !now.contains("old"), "{now}");
    let all =
        stdout(&cleartap(&["addresses", "--config", config, "--history", "--format", "jsonl"]));
    assert_eq!(all.lines().count(), 2, "{all}");
    let none = cleartap(&["addresses", "--config", config, "10.9.9.9"]);
    assert_eq!(none.status.code(), Some(1));
    let unset = cleartap(&["addresses"]);
    assert!(stderr(&unset).contains("inventory.file"), "{}", stderr(&unset));
}

#[test]
fn answers_of_name_services_come_with_the_records_and_hold_names_and_addresses_only() {
    let mut told = Vec::new();
    for capture in ["captures/dns/udp-a.pcap", "captures/dns/tcp-a.pcap", "captures/dns/axfr.pcap"]
    {
        let mut engine = Engine::new(Settings::default());
        let mut take = |emitted: cleartap::engine::Emitted| told.extend(emitted.answers);
        for frame in frames(&root().join(capture)) {
            engine.frame(&frame.frame(), &mut take);
        }
        engine.finish(&mut take);
    }
    assert!(!told.is_empty());
    for one in &told {
        assert!(one.answer.asked.as_str().contains('.'), "{one:?}");
    }
}

#[test]
fn a_server_without_an_inventory_has_the_name_its_clients_ask_for() {
    let capture = "captures/http";
    let output = cleartap(&["analyze", capture, "--format", "jsonl"]);
    let named: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|record| record["dst_name_source"] == "host")
        .collect();
    assert!(!named.is_empty());
    let tls =
        cleartap(&["analyze", "captures/redis/client-certificate-tls13.pcap", "--format", "jsonl"]);
    for line in stdout(&tls).lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let asked = record["tls"]["sni"].as_str();
        assert_eq!(record["dst_name"].as_str(), asked, "{record}");
    }
}
