//! A hundred thousand edges in an hour: no finding is lost, series stay under the cap, and the book's load is told.
//!
//! `CLEARTAP_EDGES` sets how many; the default is a tenth. Digests instead of a flood of alerts: `output::alerts`, its tests.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cleartap::{
    counters::Counters,
    engine::{Engine, Measure, ScopeRule, Scopes, Settings},
    enrich::Enrichment,
    findings::{Findings, Terms},
    metrics::{Closed, Collector, Gauges, MetricsConfig, Publisher},
    model::{Timestamp, record::Record, time::NS_PER_S},
    output::book::Book,
    policy::{Policy, PolicySpec, Subject},
};

use super::{
    build::{At, Talk},
    capture::setting,
};

const HOUR_S: u64 = 3600;
const SCOPES: u32 = 600;
const COMMITS: u32 = 360;

/// The session of one edge: its own client and server, in one of many scopes.
fn edge(n: u32, edges: u32) -> Vec<super::capture::Owned> {
    let [_, a, b, c] = n.to_be_bytes();
    let begin = u64::from(n) * HOUR_S / u64::from(edges);
    Talk::new(([10, a, b, c], 40_000), ([172, 16 + (a & 15), b, c], 6379), [1000, 5000])
        .pause(begin)
        .handshake()
        .client(b"*1\r\n$4\r\nPING\r\n")
        .server(b"+PONG\r\n")
        .close()
        .copies(At { source: [10, 0, 0, 1], vni: n % SCOPES })
}

fn settings() -> Settings {
    let rule = |vni: u32| ScopeRule {
        name: format!("scope-{vni}").into(),
        sources: Vec::new(),
        vnis: vec![vni],
        endpoint_ids: Vec::new(),
    };
    Settings {
        scopes: Scopes { rules: (0..SCOPES).map(rule).collect(), ..Scopes::default() },
        update_ns: Some(60 * NS_PER_S),
        measure: Some(Measure { period_ns: 60 * NS_PER_S, excluded: None }),
        ..Settings::default()
    }
}

/// The book, and how long its transactions took.
struct Desk {
    book: Book,
    commits: Vec<Duration>,
}

impl Desk {
    fn commit(&mut self, findings: &mut Findings) {
        let begun = Instant::now();
        self.book.commit(&findings.take()).unwrap();
        self.commits.push(begun.elapsed());
    }
}

#[test]
fn of_many_edges_in_an_hour_no_finding_is_lost_and_series_stay_under_the_cap() {
    let edges = u32::try_from(setting("CLEARTAP_EDGES").unwrap_or(10_000)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("findings.db");
    let (book, _) = Book::open(&path).unwrap();
    let mut desk = Desk { book, commits: Vec::new() };
    let mut findings = Findings::new(Terms { findings_max: 100_000, ..Terms::default() });
    let policy = Policy::new(&PolicySpec::default()).unwrap();
    let mut enrichment = Enrichment::new(std::sync::Arc::default(), true);
    let mut engine = Engine::new(settings());
    let config = MetricsConfig::default();
    let mut collector = Collector::new(1, config.period_ns());
    let mut publisher = Publisher::new(&config, cleartap::policy::class_name);
    let (mut records, mut most) = (Vec::new(), 0);
    let mut told = 0_u64;
    for n in 0..=edges {
        let mut keep = |emitted: cleartap::engine::Emitted| records.push(emitted.record);
        if n < edges {
            for frame in edge(n, edges) {
                engine.frame(&frame.frame(), &mut keep);
            }
        } else {
            engine.finish(&mut keep);
        }
        for mut record in records.drain(..) {
            enrichment.complete(&[], &mut record);
            judge(&policy, &mut findings, &record, &enrichment);
        }
        // Every ten seconds of packet time: ten of the sensor's commits in one, so that the disk does not decide how long this is.
        if n % (edges / COMMITS).max(1) == 0 || n == edges {
            desk.commit(&mut findings);
            for activity in engine.activity() {
                let counters = Counters::default();
                collector.offer(Closed { shard: 0, activity, counters });
            }
            for period in collector.due(Timestamp(u64::MAX)) {
                let points = publisher.points(&period, &Gauges::default());
                let series: BTreeSet<_> =
                    points.data.iter().map(|datum| (&datum.name, &datum.dimensions)).collect();
                most = most.max(series.len());
                told += 1;
            }
        }
    }
    let counters = findings.counters();
    assert_eq!((findings.len(), counters.not_kept, counters.crowded_out), (edges as usize, 0, 0));
    drop(desk.book);
    let (book, snapshot) = Book::open(&path).unwrap();
    assert_eq!(snapshot.kept.len(), edges as usize, "as many as edges, after a restart too");
    drop(book);
    assert!(told >= 59 && most > 0 && most <= config.series_max as usize, "{most} series");
    desk.commits.sort_unstable();
    let all: Duration = desk.commits.iter().sum();
    let at = |share: usize| desk.commits[(desk.commits.len() - 1) * share / 100];
    println!(
        "{edges} edges: {} commits, {all:?} in all, median {:?}, 99 % {:?}, longest {:?}; {} bytes on disk; at most {most} series",
        desk.commits.len(),
        at(50),
        at(99),
        at(100),
        std::fs::metadata(&path).unwrap().len()
    );
}

fn judge(policy: &Policy, findings: &mut Findings, record: &Record, enrichment: &Enrichment) {
    let decision = policy.judge(&Subject::from(record), record.ts_last);
    findings.observe(record, &decision, &enrichment.names);
}
