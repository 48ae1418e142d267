//! From packets to the findings book: what alerts is in it and told once, what is refused is in it and told to nobody.

use std::{
    io::{BufRead as _, BufReader},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use cleartap::{model::FindingId, output::book::Book};
use serde_json::Value;

use super::{
    capture::{frames, root},
    cli::{cleartap, stderr, stdout},
    live::datagram,
    process,
};

/// A sensor with a book.
struct Sensor {
    child: Child,
    address: String,
    log: BufReader<std::process::ChildStderr>,
}

fn start(book: &Path) -> Sensor {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let mut child = process::spawn(
        Command::new(env!("CARGO_BIN_EXE_cleartap"))
            .args(["run", "--listen", &address, "--records", "/dev/null", "--interval", "1"])
            .args(["--findings", book.to_str().unwrap()])
            .stderr(Stdio::piped()),
    );
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("Keeping findings") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the sensor did not start");
    }
    Sensor { child, address, log }
}

impl Sensor {
    fn replay(&self, capture: &str) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for frame in frames(&root().join(capture)) {
            socket.send_to(datagram(&frame), &self.address).unwrap();
        }
    }

    fn stop(mut self) {
        std::thread::sleep(Duration::from_millis(1500));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        let rest: Vec<String> = self.log.lines().map(Result::unwrap).collect();
        assert!(status.success(), "{status}: {}", rest.join("\n"));
    }
}

fn book() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/findings.db");
    (folder, path)
}

fn findings(book: &Path, arguments: &[&str]) -> String {
    let output =
        cleartap(&[&["findings", "--findings", book.to_str().unwrap()], arguments].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

fn listed(book: &Path) -> Vec<Value> {
    serde_json::from_str(&findings(book, &["list", "--format", "json"])).unwrap()
}

/// Kinds of the events, and how many wait to be told.
fn events(book: &Path) -> (Vec<String>, usize) {
    let untold = Book::look(book).unwrap().untold(1000).unwrap().len();
    let connection = rusqlite::Connection::open(book).unwrap();
    let mut query = connection.prepare("SELECT kind FROM events ORDER BY number").unwrap();
    let kinds = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    (kinds, untold)
}

#[test]
fn redis_in_clear_becomes_a_finding_that_is_told_once_also_after_a_restart() {
    let (_folder, book) = book();
    for _ in 0..2 {
        let sensor = start(&book);
        sensor.replay("captures/redis/auth-password.pcap");
        sensor.stop();
    }
    let list = listed(&book);
    let open: Vec<&Value> = list.iter().filter(|f| f["edge"]["protocol"] == "redis").collect();
    assert!(!open.is_empty(), "{list:?}");
    let ids: std::collections::BTreeSet<FindingId> =
        open.iter().map(|f| f["id"].as_str().unwrap().parse().unwrap()).collect();
    let (kinds, untold) = events(&book);
    assert_eq!(kinds.iter().filter(|kind| *kind == "opened").count(), ids.len(), "{kinds:?}");
    assert_eq!(untold, 0);
    assert!(open.iter().all(|f| f["state"] == "open" && f["action"] == "alert"), "{open:?}");
    let table = findings(&book, &[]);
    assert!(table.contains("redis") && table.contains("critical"), "{table}");
    let csv = findings(&book, &["export", "--format", "csv"]);
    assert!(csv.starts_with("id,state,") && csv.lines().count() == list.len() + 1, "{csv}");
}

#[test]
fn an_old_client_that_is_refused_is_in_the_book_and_nobody_is_told() {
    let (_folder, book) = book();
    let sensor = start(&book);
    for _ in 0..3 {
        sensor.replay("captures/postgresql/hostssl-refuses-plain.pcap");
    }
    sensor.stop();
    let list = listed(&book);
    assert!(!list.is_empty() && list.iter().all(|f| f["action"] == "report"), "{list:?}");
    assert_eq!(events(&book), (vec![], 0));
}

#[test]
fn an_exception_from_the_command_line_reaches_a_running_sensor() {
    let (_folder, book) = book();
    let sensor = start(&book);
    sensor.replay("captures/redis/auth-password.pcap");
    // What became of the session is certain only when it is over: until then nobody is told.
    sensor.stop();
    let list = listed(&book);
    let told = list.iter().find(|finding| finding["action"] == "alert").unwrap();
    let id = told["id"].as_str().unwrap().to_owned();
    let sensor = start(&book);
    let words = ["--owner", "ann", "--reason", "old", "--ticket", "T-1", "--until"];
    let except = |day| [&["except", &id[..10]][..], &words, &[day]].concat();
    let past = cleartap(
        &[&["findings", "--findings", book.to_str().unwrap()][..], &except("2020-01-01")].concat(),
    );
    assert!(!past.status.success() && stderr(&past).contains("is over"), "{}", stderr(&past));
    findings(&book, &except("2500-01-01"));
    std::thread::sleep(Duration::from_millis(3500));
    sensor.stop();
    let finding: Value =
        serde_json::from_str(&findings(&book, &["show", &id, "--format", "json"])).unwrap();
    assert_eq!(finding["state"], "excepted");
    assert!(events(&book).0.contains(&"excepted".to_owned()), "{:?}", events(&book));
    let second = findings(&book, &["show", &id]);
    assert!(second.contains("exception") && second.contains("2500-01-01"), "{second}");
}

#[test]
fn a_book_that_cannot_be_used_is_explained_and_left_alone() {
    let (_folder, book) = book();
    let sensor = start(&book);
    let port = ["run", "--listen", "127.0.0.1:0", "--records", "/dev/null", "--findings"];
    let second = cleartap(&[&port[..], &[book.to_str().unwrap()]].concat());
    assert!(stderr(&second).contains("in use by another cleartap"), "{}", stderr(&second));
    sensor.stop();
    std::fs::write(&book, "something else entirely").unwrap();
    let foreign = cleartap(&[&port[..], &[book.to_str().unwrap()]].concat());
    assert!(stderr(&foreign).contains("is no findings book"), "{}", stderr(&foreign));
    assert!(stderr(&foreign).contains("--findings PATH"), "{}", stderr(&foreign));
    assert_eq!(std::fs::read_to_string(&book).unwrap(), "something else entirely");
}
