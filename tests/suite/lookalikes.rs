//! No detector claims what another protocol says.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    capture::{Owned, all, ends, frames, records, short_name, text},
    truth::truth,
};
use cleartap::{
    detect::{DETECTORS, Probe, Said, Start, View},
    model::{Side, Transport},
    wire::Decoder,
};

/// Of the opening bytes, at every prefix, only what the flow is known to be matches: each side alone, and both.
#[test]
fn only_the_truth_claims_an_opening() {
    check(|flow, names, wrong| {
        if !flow.from_start {
            return;
        }
        let said: Vec<Vec<u8>> = flow.sides.iter().map(|side| joined(side, 0, flow)).collect();
        let said = |i: usize, end: usize| Said {
            bytes: said[i].get(..end).unwrap_or(&said[i]),
            start: Start::Known,
        };
        let longest = said(0, usize::MAX).bytes.len().max(said(1, usize::MAX).bytes.len());
        for end in (1..=longest.min(ALL_PREFIXES)).chain((ALL_PREFIXES..=longest).step_by(97)) {
            let (client, server) = (said(0, end), said(1, end));
            claims(flow, (client, Said::NOTHING), names, wrong);
            claims(flow, (client, server), names, wrong);
            if names.server_fits {
                claims(flow, (Said::NOTHING, server), names, wrong);
            }
        }
    });
}

/// The same with client and server taken for one another: where a handshake does not tell, both are tried.
#[test]
fn only_the_truth_claims_exchanged_sides() {
    check(|flow, names, wrong| {
        if !flow.from_start || !names.server_fits {
            return;
        }
        let [client, server] = &flow.sides;
        let (client, server) = (joined(client, 0, flow), joined(server, 0, flow));
        let longest = client.len().max(server.len());
        for end in
            (1..=longest.min(ALL_PREFIXES)).step_by(6).chain((ALL_PREFIXES..=longest).step_by(397))
        {
            for start in [Start::Known, Start::Unknown] {
                let said = |bytes: &'_ [u8]| bytes.len().min(end);
                let client = Said { bytes: &client[..said(&client)], start };
                let server = Said { bytes: &server[..said(&server)], start };
                claims(flow, (server, client), names, wrong);
                claims(flow, (server, Said { start, ..Said::NOTHING }), names, wrong);
                claims(flow, (Said { start, ..Said::NOTHING }, client), names, wrong);
            }
        }
    });
}

/// The same where the view begins at any later segment: one side alone, and both as they went on.
#[test]
fn only_the_truth_claims_a_later_place() {
    check(|flow, names, wrong| {
        let mut from = [0, 0];
        for side in flow.order.iter().take(2 * LATER_SEGMENTS).filter(|_| names.server_fits) {
            from[*side] += 1;
            let bytes = [0, 1].map(|side| joined(&flow.sides[side], from[side], flow));
            let said = |side: usize| Said { bytes: &bytes[side], start: Start::Unknown };
            claims(flow, (said(0), said(1)), names, wrong);
            claims(flow, (said(1), said(0)), names, wrong);
        }
        for (side, segments) in flow.sides.iter().enumerate() {
            if side == 1 && !names.server_fits {
                continue;
            }
            for from in 1..segments.len().min(LATER_SEGMENTS) {
                let bytes = joined(segments, from, flow);
                let said = Said { bytes: &bytes, start: Start::Unknown };
                // Nobody knows who is the client.
                claims(flow, (said, Said::NOTHING), names, wrong);
                claims(flow, (Said::NOTHING, said), names, wrong);
            }
        }
    });
}

const ALL_PREFIXES: usize = 160;
const LATER_SEGMENTS: usize = 40;
const BYTES_MAX: usize = 2048;

/// What a flow may be called.
struct Names {
    all: BTreeSet<String>,
    /// The server speaks the same.
    server_fits: bool,
}

/// The payloads of a flow, side by side.
#[derive(Default)]
struct Flow {
    transport: Option<Transport>,
    from_start: bool,
    next: [Option<u32>; 2],
    sides: [Vec<Vec<u8>>; 2],
    /// Whose each segment is.
    order: Vec<usize>,
}

/// Runs `probe` over every flow whose truth is known.
fn check(probe: impl Fn(&Flow, &Names, &mut BTreeSet<String>)) {
    let (mut wrong, mut flows) = (BTreeSet::new(), 0);
    for path in all() {
        let whole = frames(&path);
        let known = known(&path, &whole);
        for (ends, flow) in flows_of(&whole) {
            let Some(names) = known.get(&ends) else { continue };
            flows += 1;
            let mut found = BTreeSet::new();
            probe(&flow, names, &mut found);
            wrong.extend(
                found.iter().map(|f| format!("{}: {f} on {:?}", short_name(&path), names.all)),
            );
        }
    }
    println!("{flows} flows");
    assert!(flows > 300, "only {flows} flows were looked at");
    assert!(wrong.is_empty(), "{}", Vec::from_iter(wrong).join("\n"));
}

/// Names of each flow, by its ends: what its truth says, and the layers below it.
fn known(path: &std::path::Path, whole: &[Owned]) -> BTreeMap<(String, String), Names> {
    let truth = truth(path);
    let records = records(whole);
    let mut known = BTreeMap::new();
    for flow in truth.get("flow").and_then(toml::Value::as_array).into_iter().flatten() {
        let want = |key: &str| flow.get(key).and_then(toml::Value::as_str).unwrap_or("");
        let end =
            |ip: &str, port: &str| format!("{}:{}", want(ip), flow[port].as_integer().unwrap());
        let (client, server) = (end("client", "client_port"), end("server", "server_port"));
        let record = records.iter().find(|r| {
            let (_, a, b) = ends(r);
            (a == client && b == server) || (a == server && b == client)
        });
        let Some(record) = record else { continue };
        let mut names = BTreeSet::from([want("app").to_owned()]);
        names.extend(want("upgrade").split('-').next().map(str::to_owned));
        let layers = record["layers"].as_array().unwrap();
        if layers.len() > 1 {
            names.extend(layers.iter().map(|l| l.as_str().unwrap().to_owned()));
        }
        if want("encryption") == "tls" || flow.get("tls_version").is_some() {
            names.insert("tls".to_owned());
        }
        names.insert(want("encryption").to_owned());
        // Two tongues of one server, upgraded to or answered in; and names that only an opening can tell apart.
        let kin: [&[&str]; 7] = [
            // Over TCP it carries TLS, and comes before it in the registry.
            &["openvpn", "tls"],
            // A NULL cipher is plaintext.
            &["tls", "dtls"],
            &["http", "http2", "websocket"],
            &["lmtp", "smtp"],
            &["nfs", "sunrpc"],
            &["uwsgi", "http"],
            // S7 sets up its transport first.
            &["s7comm", "cotp"],
        ];
        for kin in kin {
            if kin.iter().any(|name| names.contains(*name)) {
                names.extend(kin.iter().map(|name| (*name).to_owned()));
            }
        }
        if want("encryption") == "unknown" {
            names.insert(text(record, "app").to_owned());
            names.extend(layers.iter().map(|l| l.as_str().unwrap().to_owned()));
        }
        let server_fits = want("outcome") == "established";
        known.insert((client, server), Names { all: names, server_fits });
    }
    known
}

/// Every flow of a capture, the client first as its truth has it.
fn flows_of(whole: &[Owned]) -> BTreeMap<(String, String), Flow> {
    let mut flows = BTreeMap::<(String, String), Flow>::new();
    let mut clients = BTreeSet::new();
    let mut decoder = Decoder::default();
    for frame in whole {
        let borrowed = frame.frame();
        let Ok(segment) = decoder.decode(&borrowed) else { continue };
        let end = |e: cleartap::model::Endpoint| format!("{}:{}", e.ip(), e.port());
        let (src, dst) = (end(segment.src), end(segment.dst));
        let syn = segment.tcp.is_some_and(|tcp| tcp.flags & 0x12 == 2);
        let server_syn = segment.tcp.is_some_and(|tcp| tcp.flags & 0x12 == 0x12);
        let known = clients.contains(&(src.clone(), dst.clone()));
        let answer = clients.contains(&(dst.clone(), src.clone()));
        let forward = known || !answer && !server_syn;
        let key = if forward { (src, dst) } else { (dst, src) };
        clients.insert(key.clone());
        let flow = flows.entry(key).or_default();
        flow.transport = Some(segment.transport);
        flow.from_start |= syn || segment.transport == Transport::Udp;
        let side = usize::from(!forward);
        if let Some(tcp) = segment.tcp {
            let at = tcp.seq.wrapping_add(u32::from(syn || server_syn));
            let in_order = flow.next[side].is_none_or(|next| next == at);
            if !in_order || segment.payload.is_empty() && !syn && !server_syn {
                continue;
            }
            flow.next[side] = Some(at.wrapping_add(u32::try_from(segment.payload.len()).unwrap()));
        }
        if !segment.payload.is_empty() {
            flow.sides[side].push(segment.payload.to_vec());
            flow.order.push(side);
        }
    }
    flows
}

/// What a detector is shown of a side from one of its segments on.
fn joined(segments: &[Vec<u8>], from: usize, flow: &Flow) -> Vec<u8> {
    let mut out = Vec::new();
    for segment in &segments[from.min(segments.len())..] {
        if out.len() + segment.len() > BYTES_MAX && !out.is_empty() {
            break;
        }
        if flow.transport == Some(Transport::Udp) {
            out.extend_from_slice(&u16::try_from(segment.len()).unwrap().to_be_bytes());
        }
        out.extend_from_slice(segment);
    }
    out
}

/// Notes every detector that matches and is not one of the flow's names.
fn claims(
    flow: &Flow,
    (client, server): (Said<'_>, Said<'_>),
    names: &Names,
    wrong: &mut BTreeSet<String>,
) {
    let transport = flow.transport.unwrap();
    let view = View::new(transport, client, server);
    for info_and in DETECTORS.iter().filter(|d| d.info().transports.contains(&transport)) {
        let name = info_and.info().name;
        if names.all.contains(name) {
            continue;
        }
        if let Probe::Match(found) = info_and.probe(&view) {
            let side = if found.mark.side == Side::Client { "client" } else { "server" };
            wrong.insert(format!("{name} claims the {side}'s bytes ({:?})", client.start));
        }
    }
}
