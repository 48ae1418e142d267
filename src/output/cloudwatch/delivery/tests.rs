use std::{collections::BTreeSet, pin::pin, task};

use super::*;
use crate::{
    metrics::{Datum, Dimension, Metric},
    model::time::NS_PER_S,
    output::spool::SpoolOptions,
};

/// What the service does with the next requests.
#[derive(Default)]
struct Service {
    answers: VecDeque<Result<(), Fault>>,
    /// Values it refuses in any request.
    poison: BTreeSet<u64>,
    requests: Vec<Vec<Sample>>,
    reloads: usize,
}

impl Put for &mut Service {
    async fn put(&mut self, samples: &[Sample]) -> Result<(), Fault> {
        assert!(samples.len() <= super::super::REQUEST_DATA_MAX);
        if let Some(Err(fault)) = self.answers.pop_front() {
            return Err(fault);
        }
        if samples.iter().any(|s| self.poison.contains(&value(s))) {
            return Err(Fault::Invalid("HTTP 400, InvalidParameterValue".into()));
        }
        self.requests.push(samples.to_vec());
        Ok(())
    }

    async fn reload(&mut self) {
        self.reloads += 1;
    }
}

#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "small whole numbers")]
fn value(sample: &Sample) -> u64 {
    sample.datum.value as u64
}

impl Service {
    fn values(&self) -> Vec<u64> {
        self.requests.iter().flatten().map(value).collect()
    }
}

const DAY: u64 = 86_400;
const START: u64 = 20_000 * DAY;

fn now(s: u64) -> Timestamp {
    Timestamp::new(START + s, 0)
}

fn spool(folder: &tempfile::TempDir) -> Spool {
    Spool::open(SpoolOptions::new(folder.path().join("s"), 64 << 20)).unwrap()
}

/// `count` data of the minute at `s`, with values from `first` on.
fn points(s: u64, first: u64, count: u64) -> Points {
    let datum = |n: u64| {
        let dimensions = [(Dimension::Scope, "prod".to_owned())];
        #[allow(clippy::cast_precision_loss, reason = "small whole numbers")]
        Datum::new(Metric::PlaintextFlows, &dimensions, n as f64).unwrap()
    };
    Points { time_s: START + s, data: (first..first + count).map(datum).collect() }
}

/// The service and the spool are always ready, so one poll runs to the end.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = task::Context::from_waker(task::Waker::noop());
    match pin!(future).poll(&mut context) {
        task::Poll::Ready(value) => value,
        task::Poll::Pending => panic!("not ready"),
    }
}

#[test]
fn periods_share_a_request_and_no_request_holds_more_than_a_thousand() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::default();
    let mut delivery = Delivery::new(&mut service, spool(&folder));
    for minute in 0..6 {
        delivery.outbox().commit(&points(minute * 60, minute * 400, 400)).unwrap();
    }
    assert!(ready(delivery.drain(now(360))).unwrap());
    assert_eq!(delivery.outbox().waiting(), 0);
    assert_eq!(service.requests.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 400]);
    assert_eq!(service.values(), (0..2400).collect::<Vec<_>>());
    let times: BTreeSet<u64> = service.requests.iter().flatten().map(|s| s.time_s).collect();
    assert_eq!(times, (0..6).map(|m| START + m * 60).collect(), "original timestamps");
}

#[test]
fn what_fails_is_tried_again_later_and_never_in_a_hurry() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::default();
    for why in ["HTTP 503", "HTTP 400, Throttling", "cut"] {
        service.answers.push_back(Err(Fault::Later(why.into())));
    }
    let mut delivery = Delivery::new(&mut service, spool(&folder));
    delivery.outbox().commit(&points(0, 0, 10)).unwrap();
    let mut tries = Vec::new();
    for s in 0..30 {
        let before = delivery.counters();
        let done = ready(delivery.drain(now(s))).unwrap();
        if delivery.counters() != before {
            tries.push(s);
        }
        assert_eq!(done, delivery.outbox().waiting() == 0);
    }
    assert_eq!(tries.len(), 4, "{tries:?}");
    assert!(tries[3] >= 3 && delivery.outbox().waiting() == 0, "{tries:?}");
    assert_eq!(service.values(), (0..10).collect::<Vec<_>>());
}

#[test]
fn expired_credentials_are_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::default();
    service.answers.push_back(Err(Fault::Credentials("HTTP 403, ExpiredToken".into())));
    let mut delivery = Delivery::new(&mut service, spool(&folder));
    delivery.outbox().commit(&points(0, 0, 1)).unwrap();
    assert!(!ready(delivery.drain(now(0))).unwrap());
    assert!(ready(delivery.drain(now(10))).unwrap());
    assert_eq!((service.reloads, service.values()), (1, vec![0]));
}

#[test]
fn a_poisoned_datum_costs_itself_only() {
    for poison in [vec![0], vec![999], vec![17, 18, 700], (0..1500).collect()] {
        let folder = tempfile::tempdir().unwrap();
        let mut service =
            Service { poison: poison.iter().copied().collect(), ..Service::default() };
        let mut delivery = Delivery::new(&mut service, spool(&folder));
        delivery.outbox().commit(&points(0, 0, 1500)).unwrap();
        assert!(ready(delivery.drain(now(60))).unwrap());
        assert_eq!(delivery.counters().poisoned, poison.len() as u64);
        let expected: Vec<u64> = (0..1500).filter(|n| !poison.contains(n)).collect();
        assert_eq!(service.values(), expected);
    }
}

#[test]
fn what_was_taken_is_not_sent_again_when_the_rest_has_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::default();
    service.answers.extend([Ok(()), Ok(()), Err(Fault::Later("cut".into()))]);
    let mut delivery = Delivery::new(&mut service, spool(&folder));
    delivery.outbox().commit(&points(0, 0, 3500)).unwrap();
    delivery.outbox().commit(&points(60, 3500, 3)).unwrap();
    assert!(!ready(delivery.drain(now(60))).unwrap());
    assert!(ready(delivery.drain(now(120))).unwrap());
    assert_eq!(service.values(), (0..3503).collect::<Vec<_>>());
}

#[test]
fn two_hours_down_with_a_crash_in_between_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::default();
    service.answers.extend((0..10_000).map(|_| Err(Fault::Later("refused".into()))));
    for life in 0..2 {
        let mut delivery = Delivery::new(&mut service, spool(&folder));
        for minute in life * 60..life * 60 + 60 {
            delivery.outbox().commit(&points(minute * 60, minute, 1)).unwrap();
            for s in 0..60 {
                assert!(!ready(delivery.drain(now(minute * 60 + s))).unwrap());
            }
        }
        assert!(delivery.counters().retries < 200, "{:?}", delivery.counters());
        // Dropped without a word: what a kill leaves is what is on disk.
    }
    service.answers.clear();
    let mut delivery = Delivery::new(&mut service, spool(&folder));
    assert!(ready(delivery.drain(now(7200))).unwrap());
    assert_eq!(service.values(), (0..120).collect::<Vec<_>>());
    assert_eq!(service.requests.len(), 8, "several periods share a request");
}

#[test]
fn what_cloudwatch_no_longer_takes_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::default();
    let mut delivery = Delivery::new(&mut service, spool(&folder));
    delivery.outbox().commit(&points(0, 0, 5)).unwrap();
    delivery.outbox().commit(&points(15 * DAY, 5, 5)).unwrap();
    delivery.outbox().commit(&points(30 * DAY, 10, 2)).unwrap();
    assert!(ready(delivery.drain(now(15 * DAY + 60))).unwrap());
    assert_eq!(delivery.counters().untimely, 7, "too old, and far ahead");
    assert_eq!(service.values(), (5..10).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_is_turned_back_does_not_stop_the_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::default();
    service.answers.push_back(Err(Fault::Later("cut".into())));
    let mut delivery = Delivery::new(&mut service, spool(&folder));
    delivery.outbox().commit(&points(0, 0, 1)).unwrap();
    assert!(!ready(delivery.drain(now(DAY))).unwrap());
    assert!(ready(delivery.drain(Timestamp(now(0).0 + 5 * NS_PER_S))).unwrap());
}
