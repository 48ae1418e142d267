//! Canary secrets planted in the captures never come out: not in records, reports, explanations or debug output.

use cleartap::{
    bytes::Cursor,
    detect::{Said, Start, View},
    engine::{Engine, Settings, TraceFilter},
    flow::Stream,
    inspect::tls::TlsReader,
    model::Side,
    output::{Report, explain, table},
    wire::Decoder,
};

use super::{
    build::{At, Talk},
    capture::{all, frames, short_name},
    truth::truth,
};

#[test]
fn no_output_holds_a_planted_secret() {
    let mut planted = 0;
    for path in all() {
        let truth = truth(&path);
        let canaries: Vec<String> = truth
            .get("canaries")
            .and_then(toml::Value::as_array)
            .map(|list| list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        planted += canaries.len();
        let output = everything(&frames(&path));
        for canary in canaries.iter().map(String::as_str).chain(["cnry"]) {
            assert!(!output.contains(canary), "{}: {canary} came out", short_name(&path));
        }
    }
    println!("{planted} canaries");
    assert!(planted > 0);
}

/// Debug output shows no wire bytes: neither as text nor as numbers.
#[test]
fn no_debug_output_holds_wire_bytes() {
    let secret = b"AUTH cnry-7f3a-secret\r\n".as_slice();
    let talk = || Talk::new(([10, 0, 0, 1], 40_000), ([10, 0, 0, 2], 6379), [1, 2]).handshake();
    // In the stream unread, behind a hole, in a handshake message that is not complete, and in an opaque stream.
    let mut held = talk().client(b"x").client(b"y").client(secret);
    held.packets.remove(4);
    let hello = [&[22, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3][..], &secret.repeat(2)].concat();
    let opaque = [&[0, 1, 0, 9], secret].concat();
    let talks = [talk().client(&secret[..21]), held, talk().client(&hello), talk().client(&opaque)];
    let mut text = String::new();
    for talk in talks {
        let mut engine = Engine::new(Settings::default());
        for frame in talk.copies(At { source: [10, 9, 0, 1], vni: 7 }) {
            let frame = frame.frame();
            engine.frame(&frame, &mut |_| {});
            let mut decoder = Decoder::default();
            let segment = decoder.decode(&frame).unwrap();
            let said = Said { bytes: segment.payload, start: Start::Known };
            let view = View::new(segment.transport, said, Said::NOTHING);
            let mut stream = Stream::default();
            stream.push(0, segment.payload, segment.time);
            stream.push(1 << 20, segment.payload, segment.time);
            let cursor = Cursor::new(segment.payload);
            let mut reader = TlsReader::new(Start::Known, Start::Known);
            reader.feed(Side::Client, segment.payload);
            text.push_str(&format!(
                "{frame:?} {segment:?} {said:?} {view:?} {stream:?} {cursor:?}"
            ));
            text.push_str(&format!("{reader:?} {engine:?} {:?}", said.datagrams()));
        }
    }
    for part in [&b"cnry"[..], b"secret"] {
        let list = format!("{part:?}");
        let numbers = list.trim_matches(['[', ']']);
        let as_text = std::str::from_utf8(part).unwrap();
        assert!(!text.contains(as_text) && !text.contains(numbers), "{as_text} came out");
    }
    assert!(text.contains("Session"), "a session was shown");
}

/// All that any output renders of a capture.
fn everything(frames: &[super::capture::Owned]) -> String {
    let settings = Settings {
        update_ns: Some(1_000_000),
        traced: Some(TraceFilter::default()),
        ..Settings::default()
    };
    let mut engine = Engine::new(settings);
    let mut report = Report::default();
    let mut text = String::new();
    let mut take = |emitted: cleartap::engine::Emitted| {
        report.add(&emitted.record);
        text.push_str(&serde_json::to_string(&emitted.record).unwrap());
        text.push_str(&explain::render(&emitted));
        text.push_str(&format!("{emitted:?}"));
    };
    for frame in frames {
        engine.frame(&frame.frame(), &mut take);
    }
    engine.finish(&mut take);
    report.add_counters(&engine.counters());
    text.push_str(&report.json().unwrap());
    text.push_str(&String::from_utf8(report.csv().unwrap()).unwrap());
    let style = table::Style { width: 200, color: true, edges_max: 1000 };
    text.push_str(&table::render(&report, style));
    text
}
