//! Hostile bytes: nothing panics, nothing random is called a protocol, at most one detector claims an opening.

use cleartap::{
    detect::{DETECTORS, Probe, Said, Start, View},
    model::{Frame, Link, Side, Timestamp, Transport},
};
use proptest::prelude::*;

use super::capture::{Owned, Random, all, frames, records, short_name};

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
    for path in all() {
        for [client, server] in first_payloads(&frames(&path)) {
            for (sides, whole) in [(true, &client), (false, &server)] {
                let mut last = vec![Probe::More; DETECTORS.len()];
                for end in 0..=whole.len().min(2048) {
                    let said = Said { bytes: &whole[..end], start: Start::Known };
                    let nothing = Said::NOTHING;
                    let (c, s) = if sides { (said, nothing) } else { (nothing, said) };
                    let view = View::new(Transport::Tcp, c, s);
                    for (detector, last) in DETECTORS.iter().zip(&mut last) {
                        let answer = detector.probe(&view);
                        let name = detector.info().name;
                        let stays = match last {
                            Probe::More => true,
                            Probe::No => answer == Probe::No,
                            Probe::Match(_) => matches!(answer, Probe::Match(_)),
                        };
                        assert!(stays, "{}: {name} at {end}: {last:?}", short_name(&path));
                        *last = answer;
                    }
                }
            }
        }
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
