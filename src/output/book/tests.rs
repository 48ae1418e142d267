//! The book: what is committed stays, whatever happens to the process, the file or the outputs.

use std::os::unix::fs::PermissionsExt as _;
use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use super::*;
use crate::{
    findings::{
        EventKind, FindingState, Findings, Terms,
        tests::{Desk, at, record},
    },
    model::Addresses,
    policy::Subject,
};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("findings.db");
    (folder, path)
}

/// Changes of so many clients that talk to a Redis in clear.
fn changes(desk: &mut Desk, clients: std::ops::Range<u32>) -> Changes {
    for client in clients {
        observe(desk, client, 0);
    }
    desk.findings.take()
}

fn observe(desk: &mut Desk, client: u32, second: u64) {
    let record = record(client, second, second);
    let decision = desk.policy.judge(&Subject::from(&record), record.ts_last);
    desk.findings.observe(&record, &decision, &Addresses);
}

fn desk() -> Desk {
    Desk::new("", Terms::default())
}

fn sorted(mut snapshot: Snapshot) -> Vec<Kept> {
    snapshot.kept.sort_by_key(|kept| kept.finding.id);
    snapshot.kept
}

#[test]
fn a_restart_finds_every_finding_and_event_as_it_was() {
    let (_folder, path) = folder();
    let mut desk = desk();
    let (mut book, empty) = Book::open(&path).unwrap();
    assert!(empty.kept.is_empty());
    let given = changes(&mut desk, 1..20);
    book.commit(&given).unwrap();
    drop(book);
    let (book, snapshot) = Book::open(&path).unwrap();
    assert_eq!(snapshot.clock, given.clock);
    assert_eq!(sorted(snapshot.clone()), sorted(desk.findings.snapshot()));
    let events: Vec<Event> = book.untold(100).unwrap().into_iter().map(|one| one.event).collect();
    assert_eq!(events, given.events);
    let mut restored = Findings::restore(Terms::default(), snapshot, at(5));
    assert!(restored.take().is_empty());
    assert_eq!(restored.open_by_severity(), desk.findings.open_by_severity());
    drop(book);
    // Nothing of it is told to others on the machine.
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
}

#[test]
fn changes_and_aliases_replace_what_was_and_what_went_is_gone() {
    let (_folder, path) = folder();
    let mut desk = desk();
    let (mut book, _) = Book::open(&path).unwrap();
    let mut given = changes(&mut desk, 1..4);
    let alias = given.changed[1].finding.id;
    let gone = given.changed[2].finding.id;
    given.changed[0].finding.aliases = vec![alias];
    book.commit(&given).unwrap();
    let kept = Changes {
        changed: vec![Kept {
            finding: Finding {
                state: FindingState::Quiet,
                flows: 7,
                ..given.changed[0].finding.clone()
            },
            idle_from: 9,
        }],
        removed: vec![alias, gone],
        ..Changes::default()
    };
    book.commit(&kept).unwrap();
    assert_eq!(book.snapshot().unwrap().kept, kept.changed);
    assert_eq!(book.find(alias).unwrap().unwrap(), kept.changed[0].finding);
    assert_eq!(book.find(gone).unwrap(), None);
}

#[test]
fn an_event_waits_until_the_outputs_take_it() {
    let (_folder, path) = folder();
    let (mut book, _) = Book::open(&path).unwrap();
    book.commit(&changes(&mut desk(), 1..6)).unwrap();
    let untold = book.untold(3).unwrap();
    assert_eq!(untold.len(), 3);
    // The first two were taken, then the process died.
    book.told(untold[1].number, at(1)).unwrap();
    drop(book);
    let (book, _) = Book::open(&path).unwrap();
    let rest = book.untold(100).unwrap();
    assert_eq!((rest.len(), &rest[0]), (3, &untold[2]));
    assert!(rest.iter().all(|one| one.event.kind == EventKind::Opened));
}

#[test]
fn an_exception_that_another_process_writes_is_noticed() {
    let (_folder, path) = folder();
    let (mut book, _) = Book::open(&path).unwrap();
    let given = changes(&mut desk(), 1..2);
    book.commit(&given).unwrap();
    book.new_exceptions().unwrap();
    assert_eq!(book.new_exceptions().unwrap(), None);
    let exception = BookException {
        finding: given.changed[0].finding.id,
        owner: "ann".to_owned(),
        reason: "it's \"old\"; DROP TABLE findings".to_owned(),
        ticket: "T-1".to_owned(),
        until: "2026-12-31".parse().unwrap(),
    };
    Book::amend(&path).unwrap().except(&exception, at(9)).unwrap();
    assert_eq!(book.new_exceptions().unwrap(), Some(vec![exception.clone()]));
    assert_eq!(book.new_exceptions().unwrap(), None);
    assert_eq!(Book::look(&path).unwrap().exceptions().unwrap(), [exception]);
}

#[test]
fn one_sensor_keeps_a_book_and_others_may_look() {
    let (_folder, path) = folder();
    let (_book, _) = Book::open(&path).unwrap();
    let second = Book::open(&path).unwrap_err();
    assert!(matches!(second, BookError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("findings.db is in use"));
    assert!(Book::look(&path).unwrap().snapshot().unwrap().kept.is_empty());
}

/// What is done to a file.
type Spoil<'a> = &'a dyn Fn(&Path);

#[test]
fn what_is_no_book_of_ours_is_explained_and_left_as_it_is() {
    let foreign = |path: &Path| {
        Connection::open(path)
            .unwrap()
            .execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1")
            .unwrap();
    };
    let newer = |path: &Path| {
        drop(Book::open(path).unwrap());
        Connection::open(path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    };
    let damaged = |path: &Path| {
        let (mut book, _) = Book::open(path).unwrap();
        book.commit(&changes(&mut desk(), 1..300)).unwrap();
        drop(book);
        let mut bytes = fs::read(path).unwrap();
        for page in bytes.chunks_mut(4096).skip(2).step_by(3) {
            page[..2000].fill(0xA5);
        }
        fs::write(path, bytes).unwrap();
    };
    let text = |path: &Path| fs::write(path, "a letter to the team, not a book").unwrap();
    let cases: [(Spoil<'_>, &str); 4] = [
        (&text, "is no findings book"),
        (&foreign, "is no findings book"),
        (&newer, "has version 99; this cleartap knows versions up to 2"),
        (&damaged, "is damaged"),
    ];
    for (make, words) in cases {
        let (_folder, path) = folder();
        make(&path);
        let before = fs::read(&path).unwrap();
        for error in [Book::open(&path).unwrap_err(), Book::look(&path).unwrap_err()] {
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.retryable());
        }
        assert!(fs::read(&path).unwrap() == before, "{words}: the file is changed");
    }
    let (_folder, path) = folder();
    assert!(Book::look(&path).unwrap_err().to_string().contains("there is no findings book"));
    assert!(!path.exists());
    assert!(matches!(Book::open(Path::new("/proc/none/findings.db")), Err(BookError::Io { .. })));
}

/// Commits one finding after the other and says so, until it is killed. Does nothing unless it is asked to.
#[test]
fn a_child_that_keeps_findings() {
    let Some(path) = std::env::var_os("CLEARTAP_TEST_BOOK") else { return };
    let (mut book, snapshot) = Book::open(Path::new(&path)).unwrap();
    let mut desk = desk();
    desk.findings = Findings::restore(Terms::default(), snapshot, at(0));
    let begun = u32::try_from(desk.findings.len()).unwrap();
    for client in begun + 1.. {
        observe(&mut desk, client, 0);
        book.commit(&desk.findings.take()).unwrap();
        println!("committed {client}");
    }
}

#[test]
fn kill_9_loses_nothing_that_was_committed() {
    let (_folder, path) = folder();
    let mut least = 0;
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "output::book::tests::a_child_that_keeps_findings", "--nocapture"])
            .env("CLEARTAP_TEST_BOOK", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut committed = 0;
        for line in lines.map_while(Result::ok) {
            // The harness writes the test's name before the first.
            let Some((_, number)) = line.rsplit_once("committed ") else { continue };
            committed = number.parse().unwrap();
            if committed == least + 20 * round {
                // SIGKILL, in the middle of whatever it does.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(committed >= least + 20 * round, "the child did not work");
        let (book, snapshot) = Book::open(&path).unwrap();
        let kept = u32::try_from(snapshot.kept.len()).unwrap();
        // At most the one it was about to tell of is there beside them.
        assert!(kept == committed || kept == committed + 1, "{kept} {committed}");
        assert_eq!(book.untold(100_000).unwrap().len(), snapshot.kept.len(), "an event for each");
        least = kept;
    }
}

/// The load of issue 5: printed with `--nocapture`.
#[test]
fn a_hundred_thousand_edges_in_an_hour_are_all_kept() {
    let (_folder, path) = folder();
    let (mut book, _) = Book::open(&path).unwrap();
    let mut desk = desk();
    let (mut slowest, mut busy, mut transactions) = (Duration::ZERO, Duration::ZERO, 0_u32);
    let begun = Instant::now();
    for client in 0..100_000_u32 {
        observe(&mut desk, client, u64::from(client) * 3600 / 100_000);
        if client % 280 == 279 || client == 99_999 {
            let changes = desk.findings.take();
            let start = Instant::now();
            book.commit(&changes).unwrap();
            (slowest, busy) = (slowest.max(start.elapsed()), busy + start.elapsed());
            transactions += 1;
        }
    }
    let judged = begun.elapsed().saturating_sub(busy);
    let size = fs::metadata(&path).unwrap().len() >> 20;
    drop(book);
    let start = Instant::now();
    let (book, snapshot) = Book::open(&path).unwrap();
    println!(
        "100000 edges: judged and kept in memory {judged:?}; {transactions} transactions {busy:?}, slowest {slowest:?}; \
         {size} MiB; opened again in {:?}",
        start.elapsed()
    );
    assert_eq!(snapshot.kept.len(), 100_000);
    assert_eq!(book.number("SELECT count(*) FROM events WHERE told_at IS NULL").unwrap(), 100_000);
    assert_eq!(desk.findings.counters().crowded_out, 0);
    assert!(size < 1024, "{size} MiB");
}

#[test]
fn the_views_answer_without_us() {
    let (_folder, path) = folder();
    let (mut book, _) = Book::open(&path).unwrap();
    book.commit(&changes(&mut desk(), 1..4)).unwrap();
    assert_eq!(book.number("SELECT count(*) FROM open_findings").unwrap(), 3);
    assert_eq!(book.number("SELECT clients FROM open_by_server").unwrap(), 3);
    assert_eq!(book.number("SELECT count(*) FROM exceptions_in_use").unwrap(), 0);
}
