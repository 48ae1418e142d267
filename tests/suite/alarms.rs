//! Alarms over a day of packet time: a pooled session keeps its alarm in ALARM as long as it moves data, and no longer.
//!
//! The points of the day go to the emulator with their times, moved so that the day ends now: CloudWatch takes two weeks back.

use std::collections::BTreeMap;

use cleartap::{
    counters::Counters,
    engine::{Engine, Measure, Settings},
    metrics::{Closed, Collector, Gauges, MetricsConfig, Points, Publisher},
    model::{Timestamp, time::NS_PER_S},
};

use super::{
    build::{At, Talk},
    cloudwatch::{Aws, emulator},
    live::skip,
};

const NAME: &str = "alarms";
const DAY_S: u64 = 86_400;
/// Periods that an alarm looks at (deploy/metrics.md).
const PERIODS: usize = 5;

/// A pooled session that pings every thirty seconds, then a TLS-only hour; the points of each minute.
fn points(day_s: u64) -> Vec<Points> {
    let mut pooled =
        Talk::new(([10, 0, 0, 1], 40_000), ([10, 0, 0, 2], 6379), [1000, 5000]).handshake();
    for _ in 0..day_s / 30 {
        pooled = pooled.client(b"*1\r\n$4\r\nPING\r\n").server(b"+PONG\r\n").pause(30);
    }
    let measure = Some(Measure { period_ns: 60 * NS_PER_S, excluded: None });
    let mut engine = Engine::new(Settings { measure, ..Settings::default() });
    let config = MetricsConfig::default();
    let (mut collector, mut publisher) = (
        Collector::new(1, config.period_ns()),
        Publisher::new(&config, cleartap::policy::class_name),
    );
    let mut points = Vec::new();
    let mut take = |engine: &mut Engine| {
        for activity in engine.activity() {
            collector.offer(Closed { shard: 0, activity, counters: Counters::default() });
        }
        for period in collector.due(Timestamp(u64::MAX)) {
            points.push(publisher.points(&period, &Gauges::default()));
        }
    };
    let mut last = Timestamp::default();
    for frame in pooled.copies(At { source: [10, 0, 0, 1], vni: 1 }) {
        engine.frame(&frame.frame(), &mut |_| {});
        last = frame.frame().time;
        take(&mut engine);
    }
    // The mirror goes on, the session does not.
    for minute in 1..=60 {
        engine.tick(Timestamp(last.0 + minute * 60 * NS_PER_S), &mut |_| {});
        take(&mut engine);
    }
    engine.finish(&mut |_| {});
    take(&mut engine);
    points
}

/// Sum of the roll-up of `PlaintextFlows` in each period.
fn plaintext_flows(points: &[Points]) -> BTreeMap<u64, f64> {
    let value = |points: &Points| {
        let all =
            points.data.iter().filter(|d| d.name == "PlaintextFlows" && d.dimensions.is_empty());
        all.map(|datum| datum.value).sum()
    };
    points.iter().map(|points| (points.time_s, value(points))).collect()
}

#[test]
fn a_session_pooled_for_a_day_keeps_its_alarm_while_it_moves_data() {
    let flows = plaintext_flows(&points(DAY_S));
    let values: Vec<f64> = flows.values().copied().collect();
    let active = values.iter().filter(|value| **value > 0.0).count();
    assert!(active >= 1439, "{active} periods of a day; the first is cut");
    // The alarm of deploy/metrics.md at each minute: every one of the last periods above 0.
    let states: Vec<bool> =
        values.windows(PERIODS).map(|last| last.iter().all(|value| *value > 0.0)).collect();
    let first = states.iter().position(|alarm| *alarm).unwrap();
    let over = states.iter().rposition(|alarm| *alarm).unwrap();
    assert!(first <= 1 && states[first..=over].iter().all(|alarm| *alarm), "it never flaps");
    assert!(over + 1 >= 1440 - PERIODS && states.len() > over + 30, "it ends with the data");
    let times: Vec<u64> = flows.keys().copied().collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 60), "a value in every period");
}

#[test]
fn the_emulator_alarms_through_the_day_and_is_well_when_the_session_is_over() {
    let Some(program) = emulator() else { return skip(NAME, "ministack is not installed") };
    let aws = Aws::start(&program);
    let flows = plaintext_flows(&points(2 * 3600));
    let now = cleartap::clock::now().seconds() / 60 * 60;
    let last_active = *flows.iter().rfind(|(_, value)| **value > 0.0).unwrap().0;
    aws.alarm("PlaintextFlows", "GreaterThanThreshold", 0);
    // The session still goes on: its last active period is the minute before now.
    put(&aws, &flows, |time| time <= last_active, now - last_active - 60);
    assert_eq!(aws.state(), "ALARM");
    // Ten minutes later it has been silent since: zeros are data.
    let silent: BTreeMap<u64, f64> = (0..10).map(|n| (now + n, 0.0)).collect();
    let after = Aws::start(&program);
    after.alarm("PlaintextFlows", "GreaterThanThreshold", 0);
    put(&after, &flows, |time| time <= last_active + 600, now - last_active - 660);
    put(&after, &silent, |_| true, 0);
    assert_eq!(after.state(), "OK");
}

/// Sends the values of these periods, moved by so many seconds.
fn put(aws: &Aws, flows: &BTreeMap<u64, f64>, wanted: impl Fn(u64) -> bool, moved_s: u64) {
    let data: Vec<(&u64, &f64)> = flows.iter().filter(|(time, _)| wanted(**time)).collect();
    for part in data.chunks(20) {
        let mut form = "Action=PutMetricData&Namespace=cleartap&Version=2010-08-01".to_owned();
        for (at, (time, value)) in part.iter().enumerate() {
            let time = Timestamp::new(**time + moved_s, 0).to_string();
            form.push_str(&format!(
                "&MetricData.member.{n}.MetricName=PlaintextFlows&MetricData.member.{n}.Value={value}\
                 &MetricData.member.{n}.Timestamp={}Z&MetricData.member.{n}.Unit=Count",
                &time[..19],
                n = at + 1
            ));
        }
        aws.call("monitoring", &form);
    }
}
