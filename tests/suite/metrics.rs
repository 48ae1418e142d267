//! Metrics count each flow in every period in which it moves data, whatever becomes of its records.

use std::collections::BTreeMap;

use cleartap::{
    engine::{Engine, Measure, Settings},
    metrics::{Activity, Class},
    model::{Timestamp, time::NS_PER_S},
};

use super::{
    build::{At, Talk},
    capture::{Owned, all, frames, root},
};

const MINUTE: u64 = 60 * NS_PER_S;

fn activities(frames: &[Owned], period_ns: u64) -> Vec<Activity> {
    let measure = Some(Measure { period_ns, excluded: None });
    let mut engine = Engine::new(Settings { measure, ..Settings::default() });
    for frame in frames {
        engine.frame(&frame.frame(), &mut |_| {});
    }
    engine.finish(&mut |_| {});
    engine.activity()
}

/// Flows and new flows by class, over all periods.
fn totals(activities: &[Activity]) -> BTreeMap<Class, (u64, u64, u64)> {
    let mut totals = BTreeMap::<Class, (u64, u64, u64)>::new();
    for (key, counts) in activities.iter().flat_map(|a| &a.cells) {
        let total = totals.entry(key.class).or_default();
        total.0 += counts.flows;
        total.1 += counts.new_flows;
        total.2 += counts.bytes;
    }
    totals
}

#[test]
fn a_session_pooled_for_a_day_counts_in_each_period_in_which_it_moves_data() {
    let mut talk =
        Talk::new(([10, 0, 0, 1], 40_000), ([10, 0, 0, 2], 6379), [1000, 5000]).handshake();
    for _ in 0..288 {
        talk = talk.client(b"*1\r\n$4\r\nPING\r\n").server(b"+PONG\r\n").pause(290);
    }
    let counted = activities(&talk.copies(At { source: [10, 0, 0, 1], vni: 1 }), 10 * MINUTE);
    let active: Vec<u64> =
        counted.iter().map(|a| a.cells.values().map(|c| c.flows).sum()).collect();
    assert!(active.len() > 135, "{}", active.len());
    assert!(active.iter().skip(1).rev().skip(1).all(|flows| *flows == 1), "{active:?}");
    assert_eq!(totals(&counted)[&Class::Plaintext].1, 1, "it is new once");
}

/// One long period or many short ones: no byte is lost between them, and no flow is new twice.
#[test]
fn periods_add_up_on_every_capture() {
    for path in all() {
        let whole = frames(&path);
        let (long, short) = (
            totals(&activities(&whole, 1_000_000 * MINUTE)),
            totals(&activities(&whole, NS_PER_S)),
        );
        for class in [Class::Plaintext, Class::Tls, Class::EncryptedNonTls] {
            let (one, many) = (long.get(&class).copied(), short.get(&class).copied());
            let (one, many) = (one.unwrap_or_default(), many.unwrap_or_default());
            assert!(many.0 >= one.0, "{}: {class:?} {one:?} {many:?}", path.display());
        }
    }
}

#[test]
fn a_refused_client_is_counted_apart() {
    let counted =
        activities(&frames(&root().join("captures/postgresql/hostssl-refuses-plain.pcap")), MINUTE);
    let totals = totals(&counted);
    assert!(!totals.contains_key(&Class::Plaintext), "{totals:?}");
    assert!(totals[&Class::PlaintextRefused].0 > 0, "{totals:?}");
    assert!(counted.iter().all(|a| a.start.0 % MINUTE == 0 && a.start != Timestamp(0)));
}
