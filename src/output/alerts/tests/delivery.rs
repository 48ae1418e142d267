//! Every committed alert is delivered, through faults and crashes, in bounded memory.

use std::collections::{BTreeSet, VecDeque};

use super::*;

/// A receiver that does as it is told.
#[derive(Default)]
struct Receiver {
    answers: VecDeque<Fault>,
    /// Clients whose messages it refuses, whole request and all.
    poison: BTreeSet<String>,
    /// Clients whose messages it fails once, the rest of the request being taken.
    stumbles: BTreeSet<String>,
    got: Vec<Message>,
    reloads: usize,
}

impl Sink for &mut Receiver {
    fn messages_max(&self) -> usize {
        10
    }

    async fn send(&mut self, messages: &[Message]) -> Result<Vec<Result<(), Fault>>, Fault> {
        assert!(messages.len() <= 10);
        if let Some(fault) = self.answers.pop_front() {
            return Err(fault);
        }
        if messages.iter().any(|m| self.poison.contains(&client(m))) {
            return Err(Fault::Invalid("HTTP 400".into()));
        }
        let mut results = Vec::new();
        for message in messages {
            if self.stumbles.remove(&client(message)) {
                results.push(Err(Fault::Later("an entry".into())));
            } else {
                self.got.push(message.clone());
                results.push(Ok(()));
            }
        }
        Ok(results)
    }

    async fn reload(&mut self) {
        self.reloads += 1;
    }
}

fn client(message: &Message) -> String {
    message.alert.as_ref().map(|alert| alert.client.clone()).unwrap_or_default()
}

impl Receiver {
    /// Every finding told, be it in a message of its own, a group or a digest's line.
    fn told(&self) -> Vec<String> {
        let mut list = Vec::new();
        for message in &self.got {
            match (&message.alert, &message.digest) {
                (_, Some(digest)) => list.extend(digest.lines.iter().map(|l| l.client.clone())),
                (Some(alert), _) if message.group.is_empty() => list.push(alert.client.clone()),
                _ => list.extend(message.group.iter().map(|brief| brief.client.clone())),
            }
        }
        list
    }
}

fn clients(count: u32) -> BTreeSet<String> {
    (0..count).map(|n| format!("client-{n}")).collect()
}

/// Once each.
fn assert_told(receiver: &Receiver, count: u32) {
    let told = receiver.told();
    assert_eq!(told.len(), count as usize, "each once");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), clients(count));
}

#[test]
fn hours_down_with_crashes_in_between_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (config, channel, remedies) = (config(&folder), programs(), remedies());
    let mut receiver = Receiver::default();
    let faults = [
        Fault::Later("HTTP 503".into()),
        Fault::Later("HTTP 429".into()),
        Fault::Later("cut".into()),
        Fault::Credentials("HTTP 403, ExpiredToken".into()),
    ];
    receiver.answers.extend((0..10_000).map(|n| faults[n % 4].clone()));
    for life in 0..3_u32 {
        let lanes = lanes(&config, &channel, at(u64::from(life) * 3600));
        let mut delivery = AlertDelivery::new("programs", &mut receiver, lanes.clone());
        for minute in 0..60 {
            let now = u64::from(life * 60 + minute) * 60;
            lanes.offer(&opened(life * 60 + minute, 1, now), &remedies, at(now)).unwrap();
            for s in 0..60 {
                assert!(!ready(delivery.step(at(now + s))).unwrap());
            }
        }
        let counters = delivery.counters();
        assert!(counters.retried < 200 && counters.delivered == 0, "{counters:?}");
        assert!(counters.last_fault.is_some());
        // Dropped without a word: what a kill leaves is what is on disk.
    }
    assert!(receiver.reloads > 0);
    receiver.answers.clear();
    let lanes = lanes(&config, &channel, at(3 * 3600));
    assert_eq!(lanes.waiting(), (180, 0, 0));
    let mut delivery = AlertDelivery::new("programs", &mut receiver, lanes);
    assert!(ready(delivery.step(at(3 * 3600))).unwrap());
    assert_eq!(delivery.counters().delivered, 180);
    assert_eq!(delivery.counters().last_delivery, Some(at(3 * 3600)));
    assert_told(&receiver, 180);
}

#[test]
fn a_refused_message_costs_itself_only() {
    let folder = tempfile::tempdir().unwrap();
    let lanes = lanes(&config(&folder), &programs(), at(0));
    lanes.offer(&opened(0, 35, 0), &remedies(), at(0)).unwrap();
    let poison = BTreeSet::from(["client-0".to_owned(), "client-17".to_owned()]);
    let mut receiver = Receiver { poison, ..Receiver::default() };
    let mut delivery = AlertDelivery::new("programs", &mut receiver, lanes);
    assert!(ready(delivery.step(at(0))).unwrap());
    assert_eq!((delivery.counters().failed, delivery.counters().delivered), (2, 33));
    let mut told = receiver.told();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 33);
}

#[test]
fn of_a_request_taken_in_part_only_the_rest_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let lanes = lanes(&config(&folder), &programs(), at(0));
    lanes.offer(&opened(0, 25, 0), &remedies(), at(0)).unwrap();
    let stumbles = BTreeSet::from(["client-0".to_owned(), "client-7".to_owned()]);
    let mut receiver = Receiver { stumbles, ..Receiver::default() };
    let mut delivery = AlertDelivery::new("programs", &mut receiver, lanes);
    assert!(!ready(delivery.step(at(0))).unwrap());
    assert!(ready(delivery.step(at(300))).unwrap());
    assert_told(&receiver, 25);
}

#[test]
fn a_group_that_a_crash_cut_off_is_told_by_the_next_life() {
    let folder = tempfile::tempdir().unwrap();
    let (config, channel) = (config(&folder), people());
    lanes(&config, &channel, at(0)).offer(&opened(0, 5, 0), &remedies(), at(0)).unwrap();
    let mut receiver = Receiver::default();
    let lanes = lanes(&config, &channel, at(10));
    assert_eq!(lanes.waiting(), (0, 5, 0));
    let mut delivery = AlertDelivery::new("people", &mut receiver, lanes.clone());
    ready(delivery.step(at(69))).unwrap();
    lanes.offer(&opened(5, 1, 69), &remedies(), at(69)).unwrap();
    assert!(ready(delivery.step(at(70))).unwrap());
    assert_eq!(lanes.waiting(), (0, 0, 0));
    assert_eq!(receiver.got.len(), 1, "one message");
    assert_told(&receiver, 6);
}

#[test]
fn stopping_tells_open_groups_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let lanes = lanes(&config(&folder), &people(), at(0));
    lanes.offer(&opened(0, 2, 0), &remedies(), at(0)).unwrap();
    lanes.close_groups(at(1)).unwrap();
    assert_eq!(lanes.waiting(), (1, 0, 0));
}

#[test]
fn a_hundred_thousand_edges_in_an_hour_are_a_few_messages_and_one_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (config, channel, remedies) = (config(&folder), people(), remedies());
    let lanes = lanes(&config, &channel, at(0));
    let mut receiver = Receiver::default();
    let mut delivery = AlertDelivery::new("people", &mut receiver, lanes.clone());
    for minute in 0..60_u32 {
        let now = u64::from(minute) * 60;
        for part in 0..4 {
            let mut events = opened(minute * 1680 + part * 420, 420, now);
            for (n, event) in events.iter_mut().enumerate() {
                // 400 servers.
                event.finding.edge.server = format!("10.0.{}.{}", part, n % 100);
            }
            lanes.offer(&events, &remedies, at(now)).unwrap();
            let (_, grouped, _) = lanes.waiting();
            assert!(grouped <= 10_000);
        }
        ready(delivery.step(at(now))).unwrap();
    }
    // 13:30 to 15:00: the full hours bring what was over the limit.
    assert!(ready(delivery.step(at(5400))).unwrap());
    ready(delivery.step(at(9000))).unwrap();
    let counters = lanes.counters();
    assert_eq!((counters.accepted, counters.dropped), (100_800, 0));
    assert_eq!(lanes.waiting(), (0, 0, 0));
    let in_digests: u64 =
        receiver.got.iter().filter_map(|m| m.digest.as_ref()).map(|d| d.alerts).sum();
    let in_messages: usize =
        receiver.got.iter().map(|m| m.group.len().max(usize::from(m.alert.is_some()))).sum();
    assert_eq!(in_digests + in_messages as u64, 100_800, "nothing is lost");
    assert_eq!(in_digests, counters.over_limit);
    assert!(receiver.got.len() <= 45, "{} messages", receiver.got.len());
    assert!(receiver.got.iter().all(|m| serde_json::to_vec(m).unwrap().len() < 256 << 10));
}

#[test]
fn what_no_longer_fits_is_dropped_from_the_oldest_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let config = AlertsConfig { spool_bytes_max: 1 << 20, ..config(&folder) };
    let lanes = lanes(&config, &programs(), at(0));
    lanes.offer(&opened(0, 500, 0), &remedies(), at(0)).unwrap();
    let mut receiver = Receiver::default();
    let mut delivery = AlertDelivery::new("programs", &mut receiver, lanes.clone());
    assert!(ready(delivery.step(at(0))).unwrap());
    let (delivered, dropped) = (delivery.counters().delivered, lanes.counters().dropped);
    assert!(dropped > 0 && delivered + dropped == 500, "{delivered} {dropped}");
    assert!(receiver.told().contains(&"client-499".to_owned()));
}
