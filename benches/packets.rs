//! ns per packet by stage, from memory: read, decode, engine (everything), record out; per detector and per hello.
//!
//! `cargo bench --bench packets`. The capture is the one we ship, repeated on fresh ports so that flows are many.
#![allow(clippy::disallowed_methods, reason = "reads the capture it measures")]
#![allow(missing_docs, reason = "nothing is exported")]

use std::{hint::black_box, io::Cursor};

use cleartap::{
    detect::{DETECTORS, Said, Start, View},
    engine::{Engine, Settings},
    ingest::{CaptureFile, Input, Source},
    model::{Frame, Link, Timestamp, Transport, record::Record},
    output::JsonLines,
    wire::{self, Decoder},
};
use divan::{Bencher, counter::ItemsCount};

fn main() {
    divan::main();
}

const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/demo.pcap");

struct Owned {
    time: Timestamp,
    link: Link,
    wire_len: u32,
    bytes: Vec<u8>,
}

fn file() -> Vec<u8> {
    std::fs::read(CAPTURE).unwrap_or_default()
}

fn frames() -> Vec<Owned> {
    let Ok(mut source) =
        CaptureFile::from_reader("demo", Cursor::new(file()), wire::link_supported)
    else {
        return Vec::new();
    };
    let mut frames = Vec::new();
    while let Ok(Input::Frame(f)) = source.next() {
        let Frame { time, link, wire_len, bytes } = f;
        frames.push(Owned { time, link, wire_len, bytes: bytes.to_vec() });
    }
    frames
}

#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let file = file();
    bencher.counter(ItemsCount::new(frames().len())).bench(|| {
        let mut count = 0_u64;
        if let Ok(mut source) =
            CaptureFile::from_reader("demo", Cursor::new(file.clone()), wire::link_supported)
        {
            while let Ok(Input::Frame(frame)) = source.next() {
                count += u64::from(frame.wire_len);
            }
        }
        count
    });
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let frames = frames();
    let mut decoder = Decoder::default();
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for f in &frames {
            let frame = Frame { time: f.time, link: f.link, wire_len: f.wire_len, bytes: &f.bytes };
            let _segment = black_box(decoder.decode(&frame));
        }
    });
}

#[divan::bench]
fn engine(bencher: Bencher<'_, '_>) {
    let frames = frames();
    bencher.counter(ItemsCount::new(frames.len())).bench(|| run(&frames, &mut |_| {}));
}

#[divan::bench]
fn engine_with_json(bencher: Bencher<'_, '_>) {
    let frames = frames();
    bencher.counter(ItemsCount::new(frames.len())).bench(|| {
        let mut out = JsonLines::new(std::io::sink());
        run(&frames, &mut |record| {
            let _written = out.write(record);
        });
    });
}

/// A settled flow's packet: only counters are touched.
#[divan::bench]
fn settled_update(bencher: Bencher<'_, '_>) {
    let frames = frames();
    let mut engine = Engine::new(Settings::default());
    for f in &frames {
        let frame = Frame { time: f.time, link: f.link, wire_len: f.wire_len, bytes: &f.bytes };
        engine.frame(&frame, &mut |_| {});
    }
    let last = frames.last();
    bencher.bench_local(|| {
        if let Some(f) = last {
            let frame = Frame { time: f.time, link: f.link, wire_len: f.wire_len, bytes: &f.bytes };
            engine.frame(&frame, &mut |_| {});
        }
    });
}

/// One undecided segment asked of one detector: random bytes, which every detector must refuse.
#[divan::bench(args = DETECTORS.iter().map(|d| d.info().name))]
fn probe(bencher: Bencher<'_, '_>, name: &str) {
    let bytes: Vec<u8> =
        (0_u32..400).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let said = Said { bytes: &bytes, start: Start::Known };
    let view = View::new(Transport::Tcp, said, Said::NOTHING);
    let detector = DETECTORS.iter().find(|d| d.info().name == name);
    bencher.bench_local(|| detector.map(|d| d.probe(black_box(&view))));
}

fn run(frames: &[Owned], take: &mut dyn FnMut(&Record)) {
    let mut engine = Engine::new(Settings::default());
    let mut emit = |emitted: cleartap::engine::Emitted| take(&emitted.record);
    for f in frames {
        let frame = Frame { time: f.time, link: f.link, wire_len: f.wire_len, bytes: &f.bytes };
        engine.frame(&frame, &mut emit);
    }
    engine.finish(&mut emit);
}
