//! Hostile bytes: nothing panics, nothing random is called a protocol, at most one detector claims an opening.

use std::collections::BTreeSet;

use cleartap::{
    detect::{DETECTORS, Probe, Said, Start, View},
    model::{Frame, Link, Side, Timestamp, Transport},
};
use proptest::prelude::*;

use super::capture::{Owned, Random, all, frames, records, rounds, seed, short_name};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_frames_never_panic(
        list in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..300)), 1..20),
        link in prop::sample::select(vec![0_u32, 1, 12, 101, 113, 276, 228, 229]),
    ) {
        let frames: Vec<Owned> = list
            .into_iter()
            .map(|(time, bytes)| Owned {
                time: Timestamp(u64::from(time) * 1_000_000_000),
                link: Link::Type(link),
                wire_len: u32::try_from(bytes.len()).unwrap(),
                bytes,
            })
            .collect();
        records(&frames);
    }

    #[test]
    fn probes_never_waver(
        client in prop::collection::vec(any::<u8>(), 0..200),
        server in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        for detector in DETECTORS {
            let mut last = Probe::More;
            for end in 0..=client.len().max(server.len()) {
                let said = |bytes: &'_ [u8]| bytes.len().min(end);
                let view = View::new(Transport::Tcp, Said { bytes: &client[..said(&client)], start: Start::Known }, Said { bytes: &server[..said(&server)], start: Start::Known });
                let answer = detector.probe(&view);
                let wavers = match last {
                    Probe::More => false,
                    Probe::No => answer != Probe::No,
                    Probe::Match(_) => !matches!(answer, Probe::Match(_)),
                };
                prop_assert!(!wavers, "{}: {last:?} became {answer:?}", detector.info().name);
                last = answer;
            }
        }
    }
}

#[test]
fn mutated_captures_never_panic() {
    for (seed, path) in (11_u64..).zip(all()) {
        let mut random = Random(seed);
        let mut list = frames(&path);
        for frame in &mut list {
            for _ in 0..random.below(6) {
                let at = random.below(frame.bytes.len() as u64) as usize;
                if let Some(byte) = frame.bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
        records(&list);
    }
}

#[test]
fn random_payloads_are_no_protocol() {
    let seed = 20_261_123;
    println!("seed {seed}");
    let mut random = Random(seed);
    for round in 0..200_000_u32 {
        let length = [1, 4, 8, 16, 40, 100, 300, 1400][random.below(8) as usize];
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.next() as u8).take(length).collect();
        for start in [Start::Known, Start::Unknown] {
            let said = Said { bytes: &bytes, start };
            for (client, server) in [(said, Said::NOTHING), (Said::NOTHING, said)] {
                let view = View::new(Transport::Tcp, client, server);
                for detector in DETECTORS {
                    if !detector.info().transports.contains(&Transport::Tcp) {
                        continue;
                    }
                    let answer = detector.probe(&view);
                    assert!(
                        !matches!(answer, Probe::Match(_)),
                        "{} in round {round}, {length} bytes: {answer:?}",
                        detector.info().name
                    );
                }
            }
        }
    }
}

/// Whatever one protocol's sessions say, no other detector claims them at their beginning.
#[test]
fn no_detector_claims_another_protocols_opening() {
    let mut wrong = Vec::new();
    for path in all() {
        let whole = frames(&path);
        for claims in openings(&whole) {
            if claims.len() > 1 {
                wrong.push(format!("{}: {claims:?}", short_name(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// At every prefix of what was really said, a detector waits until it knows, and then never changes its mind.
#[test]
fn every_prefix_of_every_opening() {
    let mut wrong = BTreeSet::new();
    for path in all() {
        for sides in first_payloads(&frames(&path)) {
            wavering(&sides, Start::Known, &short_name(&path), &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", Vec::from_iter(wrong).join("\n"));
}

/// The same of openings with mistakes in them, and of answers to other questions.
#[test]
fn every_prefix_of_mutated_openings() {
    let (rounds, mut random) = (rounds(1), Random(seed(5)));
    let (mut wrong, mut before) = (BTreeSet::new(), [const { Vec::new() }; 2]);
    for path in all() {
        for sides in first_payloads(&frames(&path)) {
            for _ in 0..rounds {
                let mut mutated = sides.clone();
                if random.below(4) == 0 {
                    let side = random.below(2) as usize;
                    mutated[side].clone_from(&before[random.below(2) as usize]);
                }
                for bytes in &mut mutated {
                    mutate(bytes, &mut random);
                }
                let start = [Start::Known, Start::Unknown][random.below(4) as usize / 3];
                wavering(&mutated, start, &short_name(&path), &mut wrong);
            }
            before = sides;
        }
    }
    assert!(wrong.is_empty(), "{}", Vec::from_iter(wrong).join("\n"));
}

/// Dialogues in which a detector once changed its mind.
#[test]
fn nobody_wavers_again() {
    let dialogues: [(&str, Start, &[u8], &[u8]); 6] = [
        ("http", Start::Known, b"GET /a\r HTTP/1.1\r\nHost: a\r\n\r\n", b""),
        ("ldap", Start::Known, b"0\x30\x02\x01\x01\x42\x00\x04\x09altServer", b""),
        ("nats", Start::Known, b"CONNECT {db:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 No\r\n\r\n"),
        ("socks", Start::Known, b"\x05\x02\x00\x02\x02", b"\x05\x00"),
        ("http", Start::Known, b"PROXY TCP4 10.77.1\x9b\n0 1", b"HTTP/1.1 400 Bad Request\r\n"),
        ("pop3", Start::Unknown, b"CAPA\r\x80", b"+OK ready <7f87.1.6b051744@vm>\r\n"),
    ];
    let mut wrong = BTreeSet::new();
    for (what, start, client, server) in dialogues {
        wavering(&[client.to_vec(), server.to_vec()], start, what, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", Vec::from_iter(wrong).join("\n"));
}

/// Exchanges, takes out, puts in and repeats a few bytes.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    bytes.truncate(MUTATED_BYTES_MAX);
    for _ in 0..random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let near = if random.below(2) == 0 { 24 } else { bytes.len() as u64 };
        let at = (random.below(near) as usize).min(bytes.len() - 1);
        let odd = b"\0\x01\xff\r\n :0;{\x80\x7f"[random.below(12) as usize];
        match random.below(6) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] = odd,
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, odd),
            4 => bytes.truncate(at),
            _ => {
                let again = bytes[at..].to_vec();
                bytes.extend(again);
            }
        }
    }
    bytes.truncate(MUTATED_BYTES_MAX);
}

const MUTATED_BYTES_MAX: usize = 400;

/// Notes each detector that does not keep its answer while a side alone speaks on, or a `No` while the other answers.
///
/// What has matched is not asked again. A side joined late may stand in the middle of a message, which does not rule
/// out the other: there each side keeps a `No` to itself alone.
fn wavering(sides: &[Vec<u8>; 2], start: Start, what: &str, wrong: &mut BTreeSet<String>) {
    let [client, server] = [sides[0].len().min(2048), sides[1].len().min(2048)];
    let late = start == Start::Unknown;
    let answered = if late { 0 } else { server };
    let at_once = if late { 0 } else { client.max(server) };
    let ways: [(&str, bool, Vec<[usize; 2]>); 4] = [
        ("the client alone", !late, (1..=client).map(|n| [n, 0]).collect()),
        ("the server alone", !late, (1..=server).map(|n| [0, n]).collect()),
        ("the server answers", false, (0..=answered).map(|n| [client, n]).collect()),
        ("both at once", false, (1..=at_once).map(|n| [n.min(client), n.min(server)]).collect()),
    ];
    for (way, both_stay, ends) in ways {
        for detector in DETECTORS.iter().filter(|d| d.info().transports.contains(&Transport::Tcp)) {
            let mut last = Probe::More;
            for (at, [client, server]) in ends.iter().enumerate() {
                // What is final need not be asked at every byte.
                if last != Probe::More && at % 8 != 0 && at + 1 < ends.len() {
                    continue;
                }
                let said = |side: usize, end: usize| Said { bytes: &sides[side][..end], start };
                let view = View::new(Transport::Tcp, said(0, *client), said(1, *server));
                let answer = detector.probe(&view);
                let stays = match last {
                    Probe::More => true,
                    Probe::No => answer == Probe::No,
                    Probe::Match(_) => !both_stay || matches!(answer, Probe::Match(_)),
                };
                if !stays {
                    let name = detector.info().name;
                    let shown = |side: usize, end: usize| sides[side][..end].escape_ascii();
                    wrong.insert(format!(
                        "{name}, {way}, {start:?}: {} became {} at {client}, {server} of {what}: {} | {}",
                        kind(last), kind(answer), shown(0, *client), shown(1, *server)
                    ));
                    break;
                }
                last = answer;
            }
        }
    }
}

const fn kind(answer: Probe) -> &'static str {
    match answer {
        Probe::No => "No",
        Probe::More => "More",
        Probe::Match(_) => "Match",
    }
}

/// For each flow that starts in the capture: which detectors match its first payloads, the client being known.
fn openings(frames: &[Owned]) -> Vec<Vec<&'static str>> {
    first_payloads(frames)
        .iter()
        .map(|[client, server]| {
            let said = |bytes| Said { bytes, start: Start::Known };
            let view = View::new(Transport::Tcp, said(client), said(server));
            let matches = |d: &&&dyn cleartap::detect::Detector| {
                d.info().transports.contains(&Transport::Tcp)
                    && matches!(d.probe(&view), Probe::Match(_))
            };
            let mut claims = DETECTORS.iter().filter(matches);
            // A client's hello may be the answer to a greeting: who knows the greeting comes first.
            let greeted = claims.clone().next().is_some_and(|d| {
                matches!(d.probe(&view), Probe::Match(found)
                    if found.encryption.is_none() && found.mark.side == Side::Server)
            });
            let most = if greeted { 1 } else { usize::MAX };
            claims.by_ref().take(most).map(|d| d.info().name).collect()
        })
        .collect()
}

/// The first payload of the client and of the server, for each flow that starts in the capture.
fn first_payloads(frames: &[Owned]) -> Vec<[Vec<u8>; 2]> {
    use std::collections::BTreeMap;
    let mut flows = BTreeMap::<String, [Vec<u8>; 2]>::new();
    let mut decoder = cleartap::wire::Decoder::default();
    for frame in frames {
        let borrowed: Frame<'_> = frame.frame();
        let Ok(segment) = decoder.decode(&borrowed) else { continue };
        let Some(tcp) = segment.tcp else { continue };
        let name = |a, b| format!("{a} {b} {:?}", segment.vantage);
        let (forth, back) = (name(segment.src, segment.dst), name(segment.dst, segment.src));
        if tcp.flags & 0x12 == 2 {
            flows.entry(forth.clone()).or_default();
        }
        let from_client = flows.contains_key(&forth);
        let known = if from_client { flows.get_mut(&forth) } else { flows.get_mut(&back) };
        let Some(side) = known.map(|sides| &mut sides[usize::from(!from_client)]) else { continue };
        if side.is_empty() {
            side.extend_from_slice(segment.payload);
        }
    }
    flows.into_values().collect()
}
