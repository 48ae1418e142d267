//! Captures as lists of frames, and what the engine says of them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use cleartap::{
    engine::{Engine, RecordContext, Settings},
    ingest::{CaptureFile, Input, Source},
    model::{Frame, Link, Timestamp},
    wire,
};
use serde_json::Value;

/// A frame that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub time: Timestamp,
    pub link: Link,
    pub wire_len: u32,
    pub bytes: Vec<u8>,
}

impl Owned {
    pub fn frame(&self) -> Frame<'_> {
        Frame { time: self.time, link: self.link, wire_len: self.wire_len, bytes: &self.bytes }
    }
}

/// Every capture we ship, sorted.
pub fn all() -> Vec<PathBuf> {
    let mut list = Vec::new();
    walk(&root().join("captures"), &mut list);
    list.sort();
    assert!(!list.is_empty(), "captures/ holds no capture");
    list
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `redis/auth-password`
pub fn short_name(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("captures")).unwrap();
    relative.with_extension("").to_string_lossy().into_owned()
}

fn walk(folder: &Path, list: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, list);
        } else if path.extension().is_some_and(|e| e == "pcap" || e == "pcapng") {
            list.push(path);
        }
    }
}

/// Frames of a capture file.
pub fn frames(path: &Path) -> Vec<Owned> {
    let file = fs::File::open(path).unwrap();
    let name = path.to_string_lossy();
    let mut source = CaptureFile::from_reader(&name, file, wire::link_supported).unwrap();
    let mut frames = Vec::new();
    loop {
        match source.next().unwrap_or_else(|e| panic!("{e}")) {
            Input::Frame(frame) => frames.push(Owned {
                time: frame.time,
                link: frame.link,
                wire_len: frame.wire_len,
                bytes: frame.bytes.to_vec(),
            }),
            Input::Tick(_) => {}
            Input::End => return frames,
        }
    }
}

/// Records of frames, in the order the engine gives them.
pub fn records(frames: &[Owned]) -> Vec<Value> {
    records_with(frames, Settings::default())
}

pub fn records_with(frames: &[Owned], settings: Settings) -> Vec<Value> {
    let context = RecordContext { capture: Some("test.pcap".into()), ..settings.context };
    let mut engine = Engine::new(Settings { context, ..settings });
    let mut records = Vec::new();
    let mut take = |e: cleartap::engine::Emitted| {
        records.push(serde_json::to_value(&e.record).unwrap());
    };
    for frame in frames {
        engine.frame(&frame.frame(), &mut take);
    }
    engine.finish(&mut take);
    records
}

/// Text of a field; empty for null.
pub fn text<'v>(record: &'v Value, key: &str) -> &'v str {
    record[key].as_str().unwrap_or("")
}

/// Transport and both ends, smaller first: names a flow whatever its roles.
pub fn ends(record: &Value) -> (String, String, String) {
    let end = |ip: &str, port: &str| format!("{}:{}", text(record, ip), record[port]);
    let (a, b) = (end("src_ip", "src_port"), end("dst_ip", "dst_port"));
    let transport = text(record, "transport").to_owned();
    if a <= b { (transport, a, b) } else { (transport, b, a) }
}

/// How often a property is tried on each capture: `CLEARTAP_ROUNDS`, or so many.
pub fn rounds(default: u64) -> u64 {
    setting("CLEARTAP_ROUNDS").unwrap_or(default)
}

/// The seed of what is random in a property, printed: `CLEARTAP_SEED`, or this one.
pub fn seed(default: u64) -> u64 {
    let seed = setting("CLEARTAP_SEED").unwrap_or(default);
    println!("seed {seed}");
    seed
}

/// A number in the environment.
pub fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|e| panic!("{name} is a number, not {value:?}: {e}")))
}

/// Seeded random numbers (SplitMix64): the same seed, the same test.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}
