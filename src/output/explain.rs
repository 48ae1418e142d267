//! How a verdict was reached, for people: which packet, which byte, which rule.

use std::fmt::Write as _;

use crate::{
    engine::{Emitted, TraceEvent, TraceStep},
    model::{Encryption, Side, Timestamp},
};

/// The steps of one flow, and its verdict.
pub fn render(emitted: &Emitted) -> String {
    let record = &emitted.record;
    let src = std::net::SocketAddr::new(record.src_ip, record.src_port);
    let dst = std::net::SocketAddr::new(record.dst_ip, record.dst_port);
    let mut text = format!(
        "{} {src} -> {dst}   (client known by {}; {} packets there, {} back, counts {})\n",
        record.transport, record.roles, record.packets_c2s, record.packets_s2c, record.counts,
    );
    for step in &emitted.steps {
        let at = seconds_since(step.time, record.ts_first);
        push(&mut text, &format!("  packet {:>6}  +{at} s  {}", step.packet, sentence(step)));
    }
    if emitted.steps.is_empty() {
        push(&mut text, "  no payload was seen");
    }
    push(&mut text, &format!("  verdict: {}", verdict(emitted)));
    for proof in &record.evidence {
        push(
            &mut text,
            &format!(
                "    {} at {} byte {} (+{}): {}",
                proof.rule, proof.direction, proof.offset, proof.length, proof.constant
            ),
        );
    }
    text
}

fn verdict(emitted: &Emitted) -> String {
    let record = &emitted.record;
    let mut words = vec![record.encryption.to_owned()];
    if let Some(reason) = record.unknown_reason {
        words.push(format!("because {reason}"));
    }
    words.push(format!("outcome {}", record.outcome));
    words.extend(record.app.map(|app| format!("app {app}")));
    words.extend(record.upgrade.map(|upgrade| format!("by {upgrade}")));
    words.extend(record.plaintext_reason.map(|reason| format!("in clear because {reason}")));
    words.extend(record.confidence.map(|confidence| format!("confidence {confidence}")));
    if !record.credentials.is_empty() {
        words.push(format!("credentials {}", record.credentials.join(" ")));
    }
    if let Some(tls) = &record.tls {
        words.extend(tls.version.map(str::to_owned));
        words.extend(tls.cipher.as_ref().map(ToString::to_string));
        words.extend(tls.sni.as_ref().map(|sni| format!("SNI {sni}")));
    }
    words.join(", ")
}

fn sentence(step: &TraceStep) -> String {
    match &step.event {
        TraceEvent::Bytes { side, offset, length } => {
            format!("{} sends {length} bytes at offset {offset}", who(*side))
        }
        TraceEvent::Held { side } => {
            format!("a segment of the {} waits for what comes before it", who(*side))
        }
        TraceEvent::Gap { side, lost } => {
            format!("{lost} bytes of the {} were not seen", who(*side))
        }
        TraceEvent::Matched { detector, encryption, rule, side, offset, length, constant } => {
            let says = encryption.map_or("a preamble: open yet", Encryption::name);
            format!(
                "{detector} matched ({says}): {rule}, {constant}, {} byte {offset} (+{length})",
                who(*side)
            )
        }
        TraceEvent::Learnt { detector, side, offset, proof, what } => {
            let proof =
                proof.map_or_else(String::new, |(rule, constant)| format!(": {rule}, {constant}"));
            format!(
                "{detector} reads on{proof}, {} byte {offset} [{}]",
                who(*side),
                what.join(", ")
            )
        }
        TraceEvent::Layer { upgrade, at: [client, server] } => {
            let how = upgrade.unwrap_or("no upgrade");
            format!("a new layer begins ({how}): client byte {client}, server byte {server}")
        }
        TraceEvent::Restart { side, offset } => {
            format!("joined late: looking again at byte {offset} of the {}", who(*side))
        }
        TraceEvent::RolesSwapped => "the grammar shows that the client is the other end".to_owned(),
        TraceEvent::Settled { why } => format!("settled: {why}"),
    }
}

const fn who(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

fn seconds_since(time: Timestamp, first: Timestamp) -> String {
    let ns = time.since(first);
    format!("{}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
}

fn push(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ok = writeln!(text, "{line}");
}
