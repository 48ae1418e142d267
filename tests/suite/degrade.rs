//! A worse view makes the sensor say less, never something else.
//!
//! `CLEARTAP_ROUNDS` (4) worse views of each capture, drawn by `CLEARTAP_SEED`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::capture::{Owned, Random, all, ends, frames, records, rounds, seed, short_name, text};

/// Flow to what was said of it.
type Said = BTreeMap<(String, String, String), Vec<Value>>;

fn said(frames: &[Owned]) -> Said {
    let mut said = Said::new();
    for record in records(frames) {
        said.entry(ends(&record)).or_default().push(record);
    }
    said
}

/// Whether `worse` contradicts `full`: another class, another application, credentials that are not there.
fn contradiction(full: &[Value], worse: &Value) -> Option<String> {
    let class = text(worse, "encryption");
    if class == "unknown" {
        return None;
    }
    // Where the two sides spoke different protocols, a view without the client can only tell the server's.
    let server_only = worse["packets_c2s"] == 0 || text(worse, "confidence") != "both_sides";
    if server_only && full.iter().any(|f| text(f, "outcome") == "refused") {
        return None;
    }
    // Only the ServerHello tells that the cipher is NULL: without it these are TLS or DTLS records.
    let null = full.iter().any(|f| text(f, "plaintext_reason") == "null_cipher");
    if null && ["tls", "dtls"].contains(&class) {
        return None;
    }
    // A flow cut in two by a lost handshake may leave several records; each must agree with some full one.
    let agrees = |f: &Value| {
        let known = text(f, "encryption");
        // What an upgrade led to may be hidden by the loss of its preamble, and its preamble by the loss of the rest.
        let class_fits = known == class
            || known == "unknown"
            || text(f, "layers") == text(worse, "layers") && class == "plaintext" && known != "tls";
        let app = text(worse, "app");
        let pair = [text(f, "app"), app];
        // h2c is reached from HTTP/1: a late view sees only what it led to.
        let upgraded = pair == ["http", "http2"];
        // A reply of ONC RPC does not name its program; after its greeting LMTP is SMTP; S7 sets up its transport first.
        let unnamed = [["nfs", "sunrpc"], ["lmtp", "smtp"], ["s7comm", "cotp"]].contains(&pair);
        // Of a tunnel a late view sees only what runs inside.
        let inside = f["layers"].as_array().is_some_and(|all| all.iter().any(|l| l == app));
        let same = text(f, "app") == app || pair.contains(&"");
        let app_fits = same || upgraded || unnamed || inside;
        let credentials = worse["credentials"].as_array().is_some_and(|list| {
            list.iter().all(|c| f["credentials"].as_array().is_some_and(|all| all.contains(c)))
        });
        let version = text(&worse["tls"], "version");
        let version_fits = version.is_empty()
            || text(&f["tls"], "version").is_empty()
            || text(&f["tls"], "version") == version;
        // Of the end a poor view may have seen less: nothing, or only one side speak.
        let outcome = text(worse, "outcome");
        let outcome_fits = ["unknown", "attempt", text(f, "outcome")].contains(&outcome)
            || text(f, "outcome") == "unknown";
        class_fits && app_fits && credentials && version_fits && outcome_fits
    };
    if full.iter().any(agrees) {
        return None;
    }
    let full: Vec<String> = full.iter().map(brief).collect();
    Some(format!("{} became {}", full.join(" | "), brief(worse)))
}

fn brief(record: &Value) -> String {
    format!(
        "{} {} {} {} {}",
        text(record, "encryption"),
        text(record, "app"),
        text(record, "outcome"),
        text(&record["tls"], "version"),
        record["credentials"]
    )
}

#[track_caller]
fn law(what: &str, mut worsen: impl FnMut(&[Owned], &mut Random) -> Vec<Owned>) {
    let mut wrong = Vec::new();
    let (rounds, basis) = (rounds(4), seed(0xcbf2_9ce4));
    for path in all() {
        // By name, so that a new capture changes no other's draws.
        let seed = short_name(&path)
            .bytes()
            .fold(basis, |hash: u64, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0193) >> 8);
        let whole = frames(&path);
        let full = said(&whole);
        for round in 0..rounds {
            let worse = worsen(&whole, &mut Random(seed.wrapping_mul(1000).wrapping_add(round)));
            for (flow, records) in said(&worse) {
                let Some(full) = full.get(&flow) else {
                    continue; // a fragment or an inner flow that only the loss reveals
                };
                for record in records {
                    if let Some(error) = contradiction(full, &record) {
                        let name = short_name(&path);
                        wrong.push(format!("{name} round {round}: {error}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{what}: {} contradictions\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn loss() {
    law("loss", |frames, random| {
        let percent = [2, 10, 30, 60][random.below(4) as usize];
        frames.iter().filter(|_| random.below(100) >= percent).cloned().collect()
    });
}

#[test]
fn reordering_and_duplication() {
    law("reordering", |frames, random| {
        let mut list: Vec<Owned> = Vec::new();
        for frame in frames {
            list.push(frame.clone());
            if random.below(10) == 0 {
                list.push(frame.clone());
            }
        }
        for at in 1..list.len() {
            if random.below(5) == 0 {
                let time = list[at - 1].time;
                list.swap(at - 1, at);
                list[at - 1].time = time;
            }
        }
        list
    });
}

#[test]
fn late_start() {
    law("late start", |frames, random| {
        let skip = random.below(frames.len() as u64) as usize;
        frames[skip..].to_vec()
    });
}

#[test]
fn truncation() {
    law("truncation", |frames, random| {
        let keep = [80, 120, 160, 300, 600][random.below(5) as usize];
        let cut = |frame: &Owned| {
            let mut frame = frame.clone();
            frame.bytes.truncate(keep + 50);
            frame
        };
        frames.iter().map(cut).collect()
    });
}

#[test]
fn one_direction() {
    law("one direction", |frames, random| {
        // The inner sender: the innermost IPv4 or IPv6 source address, found by decoding.
        let keep_lower = random.below(2) == 0;
        frames
            .iter()
            .filter(|frame| {
                let mut decoder = cleartap::wire::Decoder::default();
                decoder.decode(&frame.frame()).is_ok_and(|s| {
                    let lower = (s.src.ip(), s.src.port()) < (s.dst.ip(), s.dst.port());
                    lower == keep_lower
                })
            })
            .cloned()
            .collect()
    });
}
