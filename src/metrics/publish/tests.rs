use proptest::prelude::*;

use super::*;
use crate::metrics::{Activity, OTHER, activity::tests::key};

const MINUTE: u64 = 60 * NS_PER_S;

fn flows(flows: u64) -> Counts {
    Counts { flows, new_flows: flows, bytes: 100 * flows, certificate_not_after_s: None }
}

fn period(minute: u64, cells: impl IntoIterator<Item = (ActivityKey, Counts)>) -> Period {
    let mut activity = Activity { start: Timestamp(minute * MINUTE), ..Activity::default() };
    for (key, counts) in cells {
        activity.cells.entry(key).or_default().add(counts);
    }
    Period { activity, ..Period::default() }
}

fn publisher(series_max: u32) -> Publisher {
    let class_of = |app: &str| ["redis", "http"].contains(&app).then_some("some");
    Publisher::new(&MetricsConfig { series_max, ..MetricsConfig::default() }, class_of)
}

fn values(points: &Points) -> BTreeMap<String, f64> {
    let name = |datum: &Datum| {
        let labels: Vec<String> =
            datum.dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}{{{}}}", datum.name, labels.join(","))
    };
    points.data.iter().map(|datum| (name(datum), datum.value)).collect()
}

#[test]
fn each_kind_of_flow_counts_in_its_metrics_and_roll_ups() {
    let redis = ActivityKey { credentials: true, ..key("prod", Class::Plaintext, Some("redis")) };
    let check = ActivityKey { excluded: true, ..key("prod", Class::Plaintext, Some("http")) };
    let weak =
        ActivityKey { weak: true, tls_version: Some("TLSv1.0"), ..key("dev", Class::Tls, None) };
    let points = publisher(500).points(
        &period(
            1,
            [
                (redis, flows(2)),
                (check, flows(3)),
                (weak, flows(5)),
                (key("dev", Class::EncryptedNonTls, None), flows(7)),
                (key("dev", Class::Unknown, None), flows(11)),
                (key("dev", Class::PlaintextRefused, None), flows(13)),
                (key("dev", Class::Uncounted, None), flows(17)),
            ],
        ),
        &Gauges::default(),
    );
    let got = values(&points);
    for (series, value) in [
        ("PlaintextFlows{}", 5.0),
        ("PlaintextFlows{Scope=prod}", 5.0),
        ("PlaintextFlows{Scope=dev}", 0.0),
        ("PlaintextFlows{Scope=prod,Protocol=redis}", 2.0),
        ("PlaintextFlows{Scope=prod,Service=http}", 3.0),
        ("PlaintextFlows{Class=some}", 5.0),
        ("CredentialsExposedFlows{Class=some}", 2.0),
        ("PlaintextNewFlows{Scope=prod,Protocol=redis}", 2.0),
        ("PlaintextBytes{Scope=prod,Protocol=redis}", 200.0),
        ("CredentialsExposedFlows{}", 2.0),
        ("PlaintextRefusedFlows{}", 13.0),
        ("TlsFlows{}", 5.0),
        ("TlsFlows{TlsVersion=TLSv1.0}", 5.0),
        ("WeakTlsFlows{Scope=dev}", 5.0),
        ("EncryptedNonTlsFlows{}", 7.0),
        ("UnknownFlows{}", 11.0),
        ("DecidedFlows{}", 14.0),
        ("PlaintextDecidedFlows{}", 2.0),
        ("SensorHeartbeat{}", 1.0),
    ] {
        assert_eq!(got.get(series), Some(&value), "{series}: {got:#?}");
    }
    assert_eq!(points.time(), Timestamp(MINUTE));
}

#[test]
fn a_quiet_period_is_full_of_zeros_also_for_what_was_seen_before() {
    let mut publisher = publisher(500);
    let busy = period(1, [(key("prod", Class::Plaintext, Some("redis")), flows(2))]);
    publisher.points(&busy, &Gauges::default());
    let got = values(&publisher.points(&period(2, []), &Gauges::default()));
    for info in METRICS.iter().filter(|info| info.metric.is_core()) {
        let expected = if info.metric == Metric::SensorHeartbeat { 1.0 } else { 0.0 };
        assert_eq!(got.get(&format!("{}{{}}", info.name)), Some(&expected));
    }
    assert_eq!(got.get("PlaintextFlows{Scope=prod,Protocol=redis}"), Some(&0.0));
    let got = values(&publisher.points(&period(24 * 60 + 5, []), &Gauges::default()));
    assert_eq!(got.get("PlaintextFlows{Scope=prod,Protocol=redis}"), None);
}

#[test]
fn what_comes_late_brings_no_zeros_and_no_heartbeat() {
    let late = Period { late: true, ..period(1, [(key("a", Class::Tls, None), flows(1))]) };
    let got = values(&publisher(500).points(&late, &Gauges::default()));
    assert_eq!(got.values().filter(|v| **v == 0.0).count(), 0, "{got:?}");
    assert!(!got.contains_key("SensorHeartbeat{}") && got.contains_key("TlsFlows{}"));
}

#[test]
fn the_first_certificate_to_expire_is_told_in_days_also_when_it_has() {
    let cert = |days: u64| Counts { certificate_not_after_s: Some(days * 86_400 + 60), ..flows(1) };
    let cells = [(key("a", Class::Tls, None), cert(40)), (key("b", Class::Tls, None), cert(20))];
    let at = |day: u64| Period {
        activity: Activity {
            start: Timestamp(day * 86_400 * NS_PER_S),
            cells: cells.clone().into(),
            folded: 0,
        },
        ..Period::default()
    };
    for (day, all, a) in [(0, 20.0, 40.0), (30, -10.0, 10.0)] {
        let got = values(&publisher(500).points(&at(day), &Gauges::default()));
        assert_eq!(got.get("CertificateDaysLeft{}"), Some(&all));
        assert_eq!(got.get("CertificateDaysLeft{Scope=a}"), Some(&a));
    }
    assert!(
        !values(&publisher(500).points(&period(1, []), &Gauges::default()))
            .contains_key("CertificateDaysLeft{}"),
        "no certificate is not zero days"
    );
}

#[test]
fn findings_are_a_gauge_by_severity() {
    let gauges = Gauges { open_findings: Some([("high", 3)].into()), ..Gauges::default() };
    let got = values(&publisher(500).points(&period(1, []), &gauges));
    assert_eq!(got.get("OpenFindings{}"), Some(&3.0));
    assert_eq!(got.get("OpenFindings{Severity=high}"), Some(&3.0));
    assert_eq!(got.get("OpenFindings{Severity=critical}"), Some(&0.0));
}

#[test]
fn the_canary_grows_older_until_it_is_seen_again() {
    let at = |seen: u64| {
        let gauges = Gauges { canary: Some(Timestamp(seen)), ..Gauges::default() };
        values(&publisher(500).points(&period(3, []), &gauges)).get("CanaryAgeSeconds{}").copied()
    };
    assert_eq!((at(MINUTE), at(5 * MINUTE)), (Some(180.0), Some(0.0)));
    let none = values(&publisher(500).points(&period(3, []), &Gauges::default()));
    assert!(!none.contains_key("CanaryAgeSeconds{}"), "nobody expects one");
}

#[test]
fn ten_thousand_scopes_stay_under_the_cap_and_no_flow_is_lost() {
    let cells = (0..10_000).map(|n| {
        (key(&format!("vpc-{n}"), Class::Plaintext, Some("redis")), flows(u64::from(n == 77) + 1))
    });
    let points = publisher(500).points(&period(1, cells), &Gauges::default());
    assert!(points.data.len() <= 500, "{}", points.data.len());
    let got = values(&points);
    assert_eq!(got.get("PlaintextFlows{}"), Some(&10_001.0));
    let by_scope: f64 = points
        .data
        .iter()
        .filter(|d| {
            d.name == "PlaintextFlows" && d.dimensions.len() == 1 && d.dimensions[0].0 == "Scope"
        })
        .map(|d| d.value)
        .sum();
    assert!((by_scope - 10_001.0).abs() < 0.5);
    assert_eq!(got.get("PlaintextFlows{Scope=vpc-77}"), Some(&2.0), "the busiest is kept");
    assert!(got.contains_key(&format!("PlaintextFlows{{Scope={OTHER}}}")));
    assert!(got.get("SeriesDropped{}").unwrap() > &9000.0);
}

proptest! {
    /// Two sensors, or two shards, say together what one says that saw everything.
    #[test]
    fn values_add_up_over_shards(
        cells in proptest::collection::vec((0_usize..3, 0_usize..6, 1_u64..100, any::<bool>()), 0..40),
    ) {
        let classes = [
            Class::Plaintext, Class::PlaintextRefused, Class::Tls, Class::EncryptedNonTls,
            Class::Unknown, Class::Uncounted,
        ];
        let cells: Vec<_> = cells
            .into_iter()
            .map(|(scope, class, count, first)| {
                (first, (key(["a", "b", "c"][scope], classes[class], Some("redis")), flows(count)))
            })
            .collect();
        let part = |wanted: Option<bool>| {
            let mine = cells.iter().filter(|(first, _)| wanted.is_none_or(|w| w == *first));
            let points = publisher(5000).points(
                &period(1, mine.map(|(_, cell)| cell.clone())), &Gauges::default());
            values(&points)
        };
        let (one, two, all) = (part(Some(true)), part(Some(false)), part(None));
        for (series, value) in &all {
            if !series.starts_with("SensorHeartbeat") {
                let sum = one.get(series).unwrap_or(&0.0) + two.get(series).unwrap_or(&0.0);
                prop_assert!((*value - sum).abs() < 0.5, "{}", series);
            }
        }
    }
}
