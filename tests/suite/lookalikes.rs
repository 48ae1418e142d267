//! No detector claims what another protocol says, nor bytes that mean nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    net::{IpAddr, SocketAddr},
};

use cleartap::{
    detect::{DETECTORS, Probe, Said, Start, View},
    engine::{Engine, Settings},
    model::{Link, Side, Timestamp, Transport},
    wire::Decoder,
};
use serde_json::Value;

use super::{
    capture::{Owned, Random, all, ends, frames, records, short_name, text},
    truth::truth,
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

/// The same where the view begins at any later segment.
#[test]
fn only_the_truth_claims_a_later_place() {
    check(|flow, names, wrong| {
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

/// Bytes that mean nothing have no name: the verdict of the whole engine.
#[test]
fn random_payloads_get_no_name() {
    random_payloads(20_261_124, 20_000);
}

/// The same, as many as one has time for.
#[test]
#[ignore = "takes long; CLEARTAP_RANDOM_PAYLOADS says how many"]
#[allow(clippy::disallowed_methods, reason = "a test's own settings")]
fn many_random_payloads_get_no_name() {
    let number = |name: &str| env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let count = number("CLEARTAP_RANDOM_PAYLOADS").unwrap_or(10_000_000);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("CLEARTAP_RANDOM_SEED").unwrap_or(now.as_secs());
    random_payloads(seed, count);
}

fn random_payloads(seed: u64, count: u64) {
    println!("seed {seed}, {count} payloads");
    let mut random = Random(seed);
    let mut engine = Engine::new(Settings::default());
    let mut wrong = Vec::new();
    let mut take = |e: cleartap::engine::Emitted| {
        let record = serde_json::to_value(&e.record).unwrap();
        let heuristic = text(&record, "confidence") == "heuristic";
        let nameless = record["app"].is_null() && record["layers"].as_array().unwrap().is_empty();
        if !nameless || text(&record, "encryption") != "unknown" && !heuristic {
            wrong.push(summary(&record));
        }
    };
    for round in 0..count {
        let talk = Talk::new(&mut random, round);
        for frame in talk.frames(&mut random) {
            engine.frame(&frame.frame(), &mut take);
        }
    }
    engine.finish(&mut take);
    assert!(wrong.is_empty(), "seed {seed}: {}\n{}", wrong.len(), wrong.join("\n"));
}

fn summary(record: &Value) -> String {
    format!(
        "{} {} port {}: {}",
        text(record, "encryption"),
        text(record, "app"),
        record["src_port"],
        record["evidence"]
    )
}

/// One flow of random payloads.
struct Talk {
    udp: bool,
    ends: [SocketAddr; 2],
    time: u64,
}

impl Talk {
    fn new(random: &mut Random, round: u64) -> Self {
        let end = |a: u64, random: &mut Random| {
            let ip = IpAddr::from([10, a as u8, (round >> 8) as u8, round as u8]);
            SocketAddr::new(ip, u16::try_from(1024 + random.below(3000)).unwrap())
        };
        let ends = [end(1 + (round >> 16 & 0x3f), random), end(128 + (round >> 22 & 0x3f), random)];
        Self {
            udp: random.below(2) == 0,
            ends,
            time: 1_700_000_000_000_000_000 + round * 1_000_000,
        }
    }

    /// A handshake if it is TCP and its beginning was seen, then one or several payloads of one or both sides.
    fn frames(&self, random: &mut Random) -> Vec<Owned> {
        let mut list = Vec::new();
        let mut seq = [random.next() as u32, random.next() as u32];
        if !self.udp && random.below(2) == 0 {
            for (side, flags) in [(0, 2), (1, 0x12)] {
                list.push(self.packet(side, seq, flags, &[]));
                seq[side] = seq[side].wrapping_add(1);
            }
        }
        let sides: &[usize] =
            [&[0][..], &[1], &[0, 1], &[1, 0], &[0, 1, 0, 1]][random.below(5) as usize];
        for side in sides {
            let payload = payload(random);
            list.push(self.packet(*side, seq, 0x18, &payload));
            seq[*side] = seq[*side].wrapping_add(u32::try_from(payload.len()).unwrap());
        }
        list
    }

    fn packet(&self, side: usize, seq: [u32; 2], flags: u8, payload: &[u8]) -> Owned {
        let (src, dst) = (self.ends[side], self.ends[1 - side]);
        let ports = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
        let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
        let head = if self.udp {
            [&ports[..], &length(8 + payload.len()), &[0, 0]].concat()
        } else {
            let numbers = [seq[side].to_be_bytes(), seq[1 - side].to_be_bytes()].concat();
            [&ports[..], &numbers, &[0x50, flags, 0x20, 0, 0, 0, 0, 0]].concat()
        };
        let ip = |end: SocketAddr| match end.ip() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => panic!("built as IPv4"),
        };
        let total = length(20 + head.len() + payload.len());
        let protocol = if self.udp { 17 } else { 6 };
        let bytes = [
            &[0x45, 0][..],
            &total,
            &[0, 0, 0x40, 0, 64, protocol, 0, 0],
            &ip(src),
            &ip(dst),
            &head,
            payload,
        ]
        .concat();
        let wire_len = u32::try_from(bytes.len()).unwrap();
        Owned { time: Timestamp(self.time), link: Link::Type(101), wire_len, bytes }
    }
}

/// Random bytes of one of several textures, as other programs may send them.
fn payload(random: &mut Random) -> Vec<u8> {
    let size = match random.below(4) {
        0 => 1 + random.below(16),
        1 => 1 + random.below(64),
        2 => 1 + random.below(400),
        _ => 1 + random.below(1400),
    } as usize;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.next() as u8).take(size).collect();
    let some = 1 + random.below(40) as usize;
    match random.below(9) {
        0 | 1 => {}
        2 => bytes.iter_mut().skip(some).for_each(|b| *b = 0),
        3 => bytes.iter_mut().for_each(|b| *b &= 0x7f),
        4 => bytes.iter_mut().for_each(|b| {
            *b = match *b {
                0..=6 => b'\n',
                7..=30 => b' ',
                b => b'!' + b % 94,
            }
        }),
        5 => bytes.iter_mut().take(some).for_each(|b| *b = 0xff),
        6 => bytes.iter_mut().for_each(|b| *b = if *b < 200 { 0 } else { *b & 7 }),
        kind => {
            let width = [1, 2, 4][random.below(3) as usize];
            let inclusive = if random.below(2) == 0 { width } else { 0 };
            let length = (size - size.min(inclusive)) as u32;
            let encoded = if kind == 7 { length.to_be_bytes() } else { length.to_le_bytes() };
            let from = if kind == 7 { 4 - width } else { 0 };
            for (byte, value) in bytes.iter_mut().zip(&encoded[from..from + width]) {
                *byte = *value;
            }
        }
    }
    bytes
}
