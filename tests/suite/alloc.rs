//! No allocation per packet in `wire` (fragments aside) and none at all in `detect`.

use cleartap::{
    detect::{DETECTORS, FollowState, Said, Start, View},
    model::{Side, Transport},
    wire::Decoder,
};

use super::capture::{all, frames, short_name};

#[test]
fn decoding_does_not_allocate() {
    for path in all() {
        let frames = frames(&path);
        let mut decoder = Decoder::default();
        let info = allocation_counter::measure(|| {
            for frame in &frames {
                let _segment = decoder.decode(&frame.frame());
            }
        });
        assert_eq!(info.count_total, 0, "{}", short_name(&path));
    }
}

#[test]
fn detectors_do_not_allocate() {
    for path in all() {
        let frames = frames(&path);
        let mut decoder = Decoder::default();
        for frame in &frames {
            let frame = frame.frame();
            let Ok(segment) = decoder.decode(&frame) else { continue };
            let said = Said { bytes: segment.payload, start: Start::Unknown };
            let info = allocation_counter::measure(|| {
                for detector in DETECTORS {
                    let mut state = FollowState::default();
                    for (client, server) in [(said, Said::NOTHING), (Said::NOTHING, said)] {
                        detector.probe(&View::new(Transport::Tcp, client, server));
                    }
                    if !said.bytes.is_empty() {
                        for side in [Side::Client, Side::Server] {
                            detector.follow(&mut state, side, said);
                        }
                    }
                }
            });
            assert_eq!(info.count_total, 0, "{}", short_name(&path));
        }
    }
}
