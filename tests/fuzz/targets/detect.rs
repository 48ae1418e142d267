//! Every detector on arbitrary dialogues: no panic, no wavering, steps that make sense.
#![no_main]

use cleartap::{
    detect::{DETECTORS, FollowState, Probe, Said, Start, View},
    model::{Side, Transport},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, cut], rest)) = data.split_first_chunk::<2>() else { return };
    let (client, server) = rest.split_at(rest.len() * usize::from(cut) / 255);
    let start = if flags & 1 == 0 { Start::Known } else { Start::Unknown };
    let transport = if flags & 2 == 0 { Transport::Tcp } else { Transport::Udp };
    for detector in DETECTORS.iter().filter(|d| d.info().transports.contains(&transport)) {
        let said = |bytes| Said { bytes, start };
        let view = |c: &'_ [u8], s: &'_ [u8]| {
            detector.probe(&View::new(transport, said(c), said(s)))
        };
        let half = view(&client[..client.len() / 2], server);
        let whole = view(client, server);
        if start == Start::Known {
            match half {
                Probe::No => assert_eq!(whole, Probe::No, "{}", detector.info().name),
                Probe::Match(_) => {
                    assert!(matches!(whole, Probe::Match(_)), "{}", detector.info().name);
                }
                Probe::More => {}
            }
        }
        let mut state = FollowState::default();
        let mut left = [client, server];
        for turn in 0..64 {
            let (side, at) = if turn % 2 == 0 { (Side::Client, 0) } else { (Side::Server, 1) };
            if left[at].is_empty() {
                continue;
            }
            let step = detector.follow(&mut state, side, said(left[at]));
            left[at] = left[at].get(step.consumed..).unwrap_or(&[]);
        }
    }
});
