//! Every detector on arbitrary dialogues: no panic, no wavering, steps that make sense.
//!
//! Input: flags, where the client's bytes end (two bytes, big endian), the client's bytes, the server's bytes.
#![no_main]

use cleartap::{
    detect::{DETECTORS, Detector, FollowState, Next, Probe, Said, Start, View},
    model::{Side, Transport},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, high, low], rest)) = data.split_first_chunk::<3>() else { return };
    let cut = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
    let (client, server) = rest.split_at(cut);
    let start = if flags & 1 == 0 { Start::Known } else { Start::Unknown };
    let transport = if flags & 2 == 0 { Transport::Tcp } else { Transport::Udp };
    for detector in DETECTORS.iter().filter(|d| d.info().transports.contains(&transport)) {
        let (silent, heard): ([&[u8]; 2], _) = ([&[], &[]], [client, server]);
        // The client first, the server first; then the other answers.
        for spoken in [[client, &[]], [&[], server]] {
            probe(*detector, transport, start, [silent, spoken]);
            // Answers are final for a side alone. With both sides only panics count here: what has matched is not asked
            // again.
            detector.probe(&View::new(
                transport,
                Said { bytes: client, start },
                Said { bytes: server, start },
            ));
        }
        follow(*detector, start, heard);
    }
});

/// Asks about growing parts of the dialogue, from one state of it to the next: `No` and `Match` must stay.
fn probe(
    detector: &dyn Detector,
    transport: Transport,
    start: Start,
    [before, after]: [[&[u8]; 2]; 2],
) {
    let mut last = Probe::More;
    let part = |side: usize, quarter: usize| {
        let more = after[side].len() - before[side].len();
        Said { bytes: &after[side][..before[side].len() + more * quarter / 4], start }
    };
    // Datagrams come whole.
    let first = if transport == Transport::Udp { 4 } else { 1 };
    for quarter in first..=4 {
        let view = View::new(transport, part(0, quarter), part(1, quarter));
        let answer = detector.probe(&view);
        // Where the beginning is not known, a detector is asked again from the next segment on.
        if start == Start::Known {
            let name = detector.info().name;
            match last {
                Probe::No => assert_eq!(answer, Probe::No, "{name}"),
                Probe::Match(_) => assert!(matches!(answer, Probe::Match(_)), "{name}: {answer:?}"),
                Probe::More => {}
            }
        }
        detector.probe(&View { ended: true, ..view });
        last = answer;
    }
}

/// Reads the dialogue in turns, passing over what a step says it consumed.
fn follow(detector: &dyn Detector, start: Start, mut left: [&[u8]; 2]) {
    let mut state = FollowState::default();
    for turn in 0..64 {
        let (side, at) = if turn % 2 == 0 { (Side::Client, 0) } else { (Side::Server, 1) };
        let step = detector.follow(&mut state, side, Said { bytes: left[at], start });
        left[at] = left[at].get(step.consumed..).unwrap_or(&[]);
        if step.next != Next::Continue {
            return;
        }
    }
}
