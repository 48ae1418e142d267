//! Bad input: one line that names the place and says what to do; what is readable is read.

use std::{fs, path::Path};

use super::{
    capture::root,
    cli::{cleartap, stderr, stdout},
};

/// Runs `analyze` on a file with these bytes; returns exit code, output and the one error line.
fn analyze(name: &str, bytes: &[u8]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    run(&path)
}

fn run(path: &Path) -> (Option<i32>, String, String) {
    let output = cleartap(&["analyze", path.to_str().unwrap()]);
    (output.status.code(), stdout(&output), stderr(&output))
}

#[track_caller]
fn one_line(error: &str, words: &[&str]) {
    assert_eq!(error.lines().count(), 1, "not one line:\n{error}");
    assert!(!error.contains("panicked"), "{error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is missing in: {error}");
    }
}

fn whole() -> Vec<u8> {
    fs::read(root().join("captures/postgresql/ssl-refused-then-plain.pcap")).unwrap()
}

#[test]
fn an_empty_file() {
    let (code, _, error) = analyze("nothing.pcap", b"");
    assert_eq!(code, Some(1));
    one_line(&error, &["nothing.pcap", "empty"]);
}

#[test]
fn a_text_file() {
    let (code, _, error) = analyze("notes.pcap", b"These are notes, not packets.\n");
    assert_eq!(code, Some(1));
    one_line(&error, &["notes.pcap", "text"]);
}

#[test]
fn a_cut_file_is_read_up_to_the_cut() {
    let mut bytes = whole();
    bytes.truncate(bytes.len() - 10);
    let (code, report, error) = analyze("cut.pcap", &bytes);
    assert_eq!(code, Some(1));
    one_line(&error, &["cut.pcap", "byte"]);
    assert!(report.contains("plaintext"), "{report}");
}

#[test]
fn a_wrong_link_type() {
    let mut bytes = whole();
    bytes[20] = 105;
    let (code, _, error) = analyze("wifi.pcap", &bytes);
    assert_eq!(code, Some(1));
    one_line(&error, &["wifi.pcap", "105", "802.11"]);
}

#[test]
fn a_folder_without_captures_and_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("readme.txt"), "nothing here").unwrap();
    let (code, _, error) = run(folder.path());
    assert_eq!(code, Some(1));
    one_line(&error, &["no capture"]);
    let (code, _, error) = run(&folder.path().join("gone.pcap"));
    assert_eq!(code, Some(1));
    one_line(&error, &["gone.pcap"]);
}

#[test]
fn one_bad_input_does_not_keep_the_others_from_being_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("readme.txt"), "nothing here").unwrap();
    let gone = folder.path().join("gone.pcap");
    let bad = [gone.to_str().unwrap(), folder.path().to_str().unwrap()];
    for bad in bad {
        let good = "captures/postgresql/ssl-refused-then-plain.pcap";
        let output = cleartap(&["analyze", bad, good]);
        assert_eq!(output.status.code(), Some(1));
        one_line(&stderr(&output), &[bad]);
        assert!(stdout(&output).contains("server_refused"), "{}", stdout(&output));
    }
}

#[test]
fn nothing_read_is_not_reported_as_nothing_found() {
    let (_, report, _) = analyze("notes.pcap", b"These are notes, not packets.\n");
    assert!(report.contains("no flow to report on"), "{report}");
    assert!(!report.contains("cleartext"), "{report}");
}

#[test]
fn every_cut_of_a_file_ends_cleanly() {
    let bytes = whole();
    for length in (0..bytes.len()).step_by(97) {
        let (code, _, error) = analyze("cut.pcap", &bytes[..length]);
        assert!(matches!(code, Some(0 | 1)), "{length}: {code:?} {error}");
        assert!(!error.contains("panicked"), "{length}: {error}");
    }
}

#[test]
fn an_output_that_cannot_be_written() {
    let output = cleartap(&[
        "analyze",
        "captures/postgresql/ssl-refused-then-plain.pcap",
        "--flows",
        "/nowhere/flows.jsonl",
    ]);
    assert_eq!(output.status.code(), Some(1));
    one_line(&stderr(&output), &["/nowhere/flows.jsonl"]);
}

#[test]
fn a_capture_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcap");
    fs::write(&path, whole()).unwrap();
    let link = folder.path().join("link.jsonl");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for flows in [&path, &link] {
        let (capture, flows) = (path.to_str().unwrap(), flows.to_str().unwrap());
        let output = cleartap(&["analyze", capture, "--flows", flows]);
        assert_eq!(output.status.code(), Some(2));
        one_line(&stderr(&output), &[flows, "another name"]);
        assert_eq!(fs::read(&path).unwrap(), whole());
    }
}

#[test]
fn a_full_disk_costs_the_records_but_not_the_report() {
    let capture = "captures/postgresql/ssl-refused-then-plain.pcap";
    let output = cleartap(&["analyze", capture, "--flows", "/dev/full"]);
    assert_eq!(output.status.code(), Some(1));
    one_line(&stderr(&output), &["--flows: /dev/full", "No space left"]);
    assert!(stdout(&output).contains("server_refused"));
}
