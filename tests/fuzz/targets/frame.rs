//! The whole engine on arbitrary frames: no panic, no unbounded memory.
#![no_main]

use cleartap::{
    engine::{Engine, Settings},
    model::{Frame, Link, Timestamp},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[link, step], mut rest)) = data.split_first_chunk::<2>() else { return };
    let links = [1, 1, 1, 0, 12, 101, 113, 276, 228, 229];
    let link = Link::Type(links[usize::from(link) % links.len()]);
    let mut engine = Engine::new(Settings::default());
    let mut time = Timestamp(1_700_000_000_000_000_000);
    let mut emit = |emitted: cleartap::engine::Emitted| assert_eq!(emitted.record.schema, 1);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length) & 0x1fff).min(tail.len());
        let (bytes, tail) = tail.split_at(length);
        rest = tail;
        time.0 += u64::from(step) * 10_000_000;
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        engine.frame(&Frame { time, link, wire_len, bytes }, &mut emit);
    }
    engine.finish(&mut emit);
});
