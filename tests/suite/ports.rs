//! Ports never decide: the same bytes on other ports get the same verdict.

use std::collections::HashMap;

use cleartap::wire::Decoder;
use serde_json::Value;

use super::capture::{Owned, Random, all, frames, records, short_name, text};

#[test]
fn other_ports_the_same_verdict() {
    let mut wrong = Vec::new();
    for (seed, path) in (7_u64..).zip(all()) {
        let whole = frames(&path);
        let moved = shuffle(&whole, &mut Random(seed));
        let mut verdicts = [whole, moved].map(|f| {
            let mut list: Vec<String> = records(&f).iter().map(verdict).collect();
            list.sort();
            list
        });
        let (moved, whole) = (verdicts[1].split_off(0), verdicts[0].split_off(0));
        if moved != whole {
            wrong.push(format!("{}:\n  {whole:?}\n  {moved:?}", short_name(&path)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What must not depend on ports (who is the client may, without a handshake).
fn verdict(record: &Value) -> String {
    let tls = &record["tls"];
    [
        text(record, "encryption"),
        text(record, "app"),
        text(record, "upgrade"),
        text(record, "outcome"),
        text(record, "plaintext_reason"),
        text(tls, "version"),
        text(tls, "cipher"),
    ]
    .join(" ")
        + &record["credentials"].to_string()
}

/// Gives every port of the innermost flows another number, the same one everywhere.
fn shuffle(frames: &[Owned], random: &mut Random) -> Vec<Owned> {
    let mut names = HashMap::<u16, u16>::new();
    let mut rename = |port: u16| {
        *names.entry(port).or_insert_with(|| {
            loop {
                let new = u16::try_from(1024 + random.below(60_000)).unwrap();
                // Ports that mean a tunnel to the decoder are part of the encapsulation, not of the flow.
                if ![4789, 8472, 6081, 2152].contains(&new) {
                    break new;
                }
            }
        })
    };
    frames
        .iter()
        .map(|frame| {
            let mut frame = frame.clone();
            if let Some((at, src, dst)) = ports_at(&frame) {
                frame.bytes[at..at + 2].copy_from_slice(&rename(src).to_be_bytes());
                frame.bytes[at + 2..at + 4].copy_from_slice(&rename(dst).to_be_bytes());
            }
            frame
        })
        .collect()
}

/// Where the innermost port numbers stand.
fn ports_at(frame: &Owned) -> Option<(usize, u16, u16)> {
    let mut decoder = Decoder::default();
    let original = frame.frame();
    let segment = decoder.decode(&original).ok()?;
    let (src, dst) = (segment.src.port(), segment.dst.port());
    let wanted = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    // The last such four bytes that decoding depends on.
    (0..frame.bytes.len().saturating_sub(3)).rev().find_map(|at| {
        if frame.bytes[at..at + 4] != wanted {
            return None;
        }
        let mut changed = frame.clone();
        changed.bytes[at] ^= 0x55;
        let mut decoder = Decoder::default();
        let changed = changed.frame();
        let moved = decoder.decode(&changed).is_ok_and(|s| s.src.port() != src);
        moved.then_some((at, src, dst))
    })
}
