//! The command line: exit codes, formats, filters, explanations.

use std::process::{Command, Output};

use serde_json::Value;

use super::{capture::root, process};

pub fn cleartap(arguments: &[&str]) -> Output {
    process::output(
        Command::new(env!("CARGO_BIN_EXE_cleartap")).args(arguments).current_dir(root()),
    )
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const PLAIN: &str = "captures/postgresql/ssl-refused-then-plain.pcap";
const TLS: &str = "captures/postgresql/prefer-ssl-on.pcap";

#[test]
fn the_report_names_who_talks_in_clear() {
    let output = cleartap(&["analyze", PLAIN]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for word in ["plaintext", "postgresql", "10.77.2.20:5432", "server_refused", "established"] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
}

#[test]
fn fail_on_decides_the_exit_code() {
    assert_eq!(cleartap(&["analyze", PLAIN, "--fail-on", "plaintext"]).status.code(), Some(3));
    assert_eq!(cleartap(&["analyze", TLS, "--fail-on", "plaintext"]).status.code(), Some(0));
    let filtered = ["analyze", PLAIN, "--fail-on", "plaintext", "--filter", "app=redis"];
    assert_eq!(cleartap(&filtered).status.code(), Some(0));
}

#[test]
fn records_come_as_json_lines_by_capture() {
    let output = cleartap(&["analyze", PLAIN, TLS, "--format", "jsonl"]);
    let records: Vec<Value> =
        stdout(&output).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let capture = |r: &Value| r["capture"].as_str().unwrap().to_owned();
    assert_eq!(records.len(), 2);
    assert_eq!(capture(&records[0]), "ssl-refused-then-plain.pcap");
    assert_eq!(records[1]["upgrade"], "postgresql-sslrequest");
}

#[test]
fn json_and_csv_hold_the_edges() {
    let report: Value =
        serde_json::from_str(&stdout(&cleartap(&["analyze", PLAIN, "--format", "json"]))).unwrap();
    assert_eq!(report["verdicts"]["plaintext"]["flows"], 1);
    assert_eq!(report["edges"][0]["protocol"], "postgresql");
    let csv = stdout(&cleartap(&["analyze", PLAIN, "--format", "csv"]));
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.starts_with("scope,protocol,"));
}

#[test]
fn a_report_says_the_same_whether_whole_records_are_built_for_it_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.jsonl");
    for format in ["json", "csv", "table"] {
        let alone = ["analyze", "captures", "--format", format, "--fail-on", "credentials"];
        let beside = [&alone[..], &["--flows", file.to_str().unwrap()]].concat();
        let (alone, beside) = (cleartap(&alone), cleartap(&beside));
        assert_eq!(alone.status, beside.status);
        let (alone, beside) = (stdout(&alone), stdout(&beside));
        assert_eq!(alone.lines().count(), beside.lines().count(), "{format}");
        for (one, other) in alone.lines().zip(beside.lines()) {
            // What is not kept takes no memory.
            assert!(one == other || one.contains("_bytes_peak"), "{format}: {one} {other}");
        }
    }
}

#[test]
fn flows_go_to_a_file_beside_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.jsonl");
    let output = cleartap(&["analyze", TLS, "--flows", file.to_str().unwrap()]);
    assert!(stdout(&output).contains("tls"));
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
}

#[test]
fn records_go_to_standard_output_and_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flows.jsonl");
    let output =
        cleartap(&["analyze", PLAIN, "--format", "jsonl", "--flows", file.to_str().unwrap()]);
    assert_eq!(stdout(&output), std::fs::read_to_string(&file).unwrap());
    assert_eq!(stdout(&output).lines().count(), 1);
    let both = cleartap(&["analyze", PLAIN, "--format", "csv", "--flows", "-"]);
    assert_eq!(both.status.code(), Some(2), "one standard output cannot hold both");
}

#[test]
fn a_filter_that_lets_nothing_pass_is_no_all_clear() {
    let text = stdout(&cleartap(&["analyze", PLAIN, "--filter", "app=redis"]));
    assert!(text.contains("0 of 1 flows pass the filter"), "{text}");
    assert!(!text.contains("cleartext"), "{text}");
}

#[test]
fn the_report_breaks_no_address_and_fits_the_terminal() {
    for columns in [80, 120, 200] {
        let output = process::output(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .args(["analyze", "captures/postgresql", "captures/http", "captures/redis"])
                .current_dir(root())
                .env("COLUMNS", columns.to_string()),
        );
        let text = stdout(&output);
        assert!(text.contains("10.77.2.20:5432"), "{text}");
        assert!(text.contains("password_hash_challenge"), "{text}");
        let table = text.split_once("worst first:").unwrap().1.split_once("\n\n").unwrap().0;
        for line in table.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
    }
}

#[test]
fn explain_shows_packet_byte_and_rule() {
    let output = cleartap(&["explain", PLAIN, "--flow", ":5432"]);
    let text = stdout(&output);
    for word in ["packet", "postgresql matched", "server_refused", "verdict: plaintext"] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
    let nobody = cleartap(&["explain", PLAIN, "--flow", "192.0.2.1"]);
    assert_eq!(nobody.status.code(), Some(1));
}

#[test]
fn standard_input_and_folders_are_read() {
    let output = cleartap(&["analyze", "captures/postgresql", "--format", "json"]);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(report["captures"].as_array().unwrap().len() > 40);
    let mut child = process::spawn(
        Command::new(env!("CARGO_BIN_EXE_cleartap"))
            .args(["analyze", "-", "--format", "jsonl"])
            .stdin(std::fs::File::open(root().join(PLAIN)).unwrap())
            .stdout(std::process::Stdio::piped()),
    );
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_joined_timeline_is_one_run() {
    let output = cleartap(&["analyze", PLAIN, PLAIN, "--join", "--format", "json"]);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["verdicts"]["plaintext"]["flows"], 1);
}

#[test]
fn help_schema_and_protocols_teach() {
    assert!(stdout(&cleartap(&["--help"])).contains("Exit codes"));
    assert!(stdout(&cleartap(&["schema"])).contains("\"$schema\""));
    let table = stdout(&cleartap(&["protocols"]));
    assert!(table.contains("postgresql") && table.contains("tls"));
    assert_eq!(cleartap(&["analyze"]).status.code(), Some(2));
    for wrong in [
        ["--filter", "x=y"],
        ["--filter", "app=postgres"],
        ["--scope", "=vni:1"],
        ["--allow-vni", "16777216"],
        ["--flows-max", "0"],
    ] {
        let output = cleartap(&["analyze", PLAIN, wrong[0], wrong[1]]);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(stderr(&output).contains(wrong[1]), "{wrong:?}: {}", stderr(&output));
    }
}

#[test]
fn the_cost_of_metrics_is_estimated_from_captures_as_from_their_records() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("flows.jsonl");
    cleartap(&["analyze", "captures/demo.pcap", "--flows", lines.to_str().unwrap()]);
    let by_records = stdout(&cleartap(&["metrics", "cost", "--records", lines.to_str().unwrap()]));
    let by_capture = stdout(&cleartap(&["metrics", "cost", "captures/demo.pcap"]));
    assert_eq!(by_capture, by_records);
    assert!(by_capture.contains("total, USD"), "{by_capture}");
    let missing = cleartap(&["metrics", "cost", "captures/no-such.pcap"]);
    assert_eq!(missing.status.code(), Some(1));
}
