//! ns per packet by stage, from memory: read, decode, engine (everything), record out; per detector, per `ClientHello` and
//! per certificate chain.
//!
//! `cargo bench --bench packets`. The capture is the one we ship, repeated on fresh ports so that flows are many.
#![allow(clippy::disallowed_methods, reason = "reads the capture it measures")]
#![allow(missing_docs, reason = "nothing is exported")]

use std::{hint::black_box, io::Cursor};

use cleartap::{
    detect::{DETECTORS, Said, Start, View},
    engine::{Engine, Settings},
    ingest::{CaptureFile, Input, Source},
    inspect::{tls::TlsReader, x509},
    model::{Frame, Link, Side, Timestamp, Transport, record::Record},
    output::JsonLines,
    wire::{self, Decoder},
};
use divan::{Bencher, counter::ItemsCount};
use etherparse::PacketBuilder;

fn main() {
    divan::main();
}

struct Owned {
    time: Timestamp,
    link: Link,
    wire_len: u32,
    bytes: Vec<u8>,
}

fn file() -> Vec<u8> {
    read_file("captures/demo.pcap")
}

/// A file of this repository; empty if it is not there.
fn read_file(path: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

fn frames() -> Vec<Owned> {
    frames_of(file())
}

fn frames_of(file: Vec<u8>) -> Vec<Owned> {
    let Ok(mut source) =
        CaptureFile::from_reader("capture", Cursor::new(file), wire::link_supported)
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

/// One undecided segment, all in: a new flow whose first payload nobody recognises.
#[divan::bench(args = ["tcp random", "tcp text", "tcp zeros", "udp random"])]
fn undecided(bencher: Bencher<'_, '_>, kind: &str) {
    let frames: Vec<Owned> = (0..2000).filter_map(|n| foreign(n, kind)).collect();
    bencher.counter(ItemsCount::new(frames.len())).bench(|| run(&frames, &mut |_| {}));
}

/// A `ClientHello`: all its facts, JA3 and JA4.
#[divan::bench(args = ["browser-hello-tls13", "alpn-h2-tls13", "alpn-h2-tls12"])]
fn client_hello(bencher: Bencher<'_, '_>, capture: &str) {
    let frames = frames_of(read_file(&format!("captures/tls/{capture}.pcap")));
    let mut decoder = Decoder::default();
    let said = frames.iter().filter_map(|f| {
        let frame = Frame { time: f.time, link: f.link, wire_len: f.wire_len, bytes: &f.bytes };
        let segment = decoder.decode(&frame).ok().filter(|segment| !segment.payload.is_empty())?;
        Some((segment.src, segment.payload.to_vec()))
    });
    let said: Vec<_> = said.collect();
    let client = said.first().map(|(src, _)| *src);
    let hello = said.iter().take_while(|(src, _)| Some(*src) == client);
    let hello: Vec<u8> = hello.flat_map(|(_, payload)| payload.iter().copied()).collect();
    let facts = |hello: &[u8]| {
        let mut reader = TlsReader::new(Start::Known, Start::Known);
        reader.feed(Side::Client, hello);
        reader.finish()
    };
    assert!(facts(&hello).ja4.is_some(), "{capture} begins with a hello");
    bencher.bench_local(|| facts(black_box(&hello)));
}

/// A chain as TLS 1.2 sends it: names, dates, keys, signatures, how it hangs together. The last is as long as is read.
#[divan::bench(args = ["one certificate", "three certificates", "100 names", "64 KiB"])]
fn certificate_chain(bencher: Bencher<'_, '_>, kind: &str) {
    let der = |name: &str| read_file(&format!("tests/data/x509/{name}.der"));
    let chain = match kind {
        "one certificate" => vec![der("rsa-2048")],
        "three certificates" => vec![der("chain-leaf"), der("chain-middle"), der("chain-root")],
        "100 names" => vec![der("san-100")],
        _ => vec![der("san-100"); 25],
    };
    let message = certificate_message(&chain);
    bencher.bench_local(|| x509::read_chain(black_box(&message)));
}

/// The body of a `Certificate` (RFC 5246 section 7.4.2).
fn certificate_message(chain: &[Vec<u8>]) -> Vec<u8> {
    let with_length = |bytes: &[u8]| {
        let [_, high, middle, low] = u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
        [&[high, middle, low], bytes].concat()
    };
    with_length(&chain.iter().flat_map(|der| with_length(der)).collect::<Vec<u8>>())
}

/// A flow's first packet with a foreign payload.
fn foreign(n: u16, kind: &str) -> Option<Owned> {
    let mut x = u32::from(n).wrapping_mul(2_654_435_761);
    let payload: Vec<u8> = (0..400)
        .map(|i| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match kind {
                "tcp text" if i % 40 == 39 => b'\n',
                "tcp text" => b'a' + ((x >> 24) % 26) as u8,
                "tcp zeros" => 0,
                _ => (x >> 24) as u8,
            }
        })
        .collect();
    let [high, low] = n.to_be_bytes();
    let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 1, high, low], [10, 2, 0, 1], 64);
    let mut bytes = Vec::new();
    let written = if kind.starts_with("udp") {
        ip.udp(40_000, 9999).write(&mut bytes, &payload)
    } else {
        ip.tcp(40_000, 9999, 1, 1024).write(&mut bytes, &payload)
    };
    written.ok()?;
    let time = Timestamp(1_700_000_000_000_000_000 + u64::from(n) * 1000);
    Some(Owned { time, link: Link::Type(1), wire_len: u32::try_from(bytes.len()).ok()?, bytes })
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
