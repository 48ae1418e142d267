//! Makes captures of mirrored traffic: conversations that we ship, many at once, each with its own addresses, and with a
//! bulk of data in their middle. Same arguments, same bytes.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use cleartap::{
    ingest::{CaptureFile, Input, Source},
    wire,
};

/// A kind of traffic.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub name: &'static str,
    /// Captures its conversations are taken from.
    conversations: &'static [&'static str],
    flows: u32,
    /// Packets of bulk in a conversation, and the payload of each.
    bulk: u32,
    bulk_bytes: u16,
    /// Over how many seconds the conversations begin.
    seconds: u32,
}

/// The four kinds.
pub const VARIANTS: [Variant; 4] = [
    Variant {
        name: "mix",
        conversations: MIX,
        flows: 40_000,
        bulk: 30,
        bulk_bytes: 900,
        seconds: 60,
    },
    Variant {
        name: "many-flows",
        conversations: HANDSHAKES,
        flows: 150_000,
        bulk: 0,
        bulk_bytes: 0,
        seconds: 15,
    },
    Variant {
        name: "small-packets",
        conversations: CACHES,
        flows: 10_000,
        bulk: 150,
        bulk_bytes: 40,
        seconds: 60,
    },
    Variant {
        name: "elephants",
        conversations: HANDSHAKES,
        flows: 48,
        bulk: 20_000,
        bulk_bytes: 1400,
        seconds: 5,
    },
];

const MIX: &[&str] = &[
    "tls/alpn-h2-tls13",
    "tls/alpn-h2-tls12",
    "tls/client-certificate-tls12",
    "handshakes/mutual-tls13",
    "postgresql/prefer-ssl-on",
    "postgresql/auth-md5",
    "mysql/admin-ping",
    "mysql/auth-clear-password-tls",
    "redis/auth-acl",
    "redis/pipeline",
    "http/get-curl-nginx",
    "http/api-key",
    "kafka/sasl-plain",
    "memcached/text-get-miss",
    "dns/udp-truncated-64",
];
const HANDSHAKES: &[&str] = &["tls/alpn-h2-tls13", "tls/alpn-h2-tls12", "tls/alpn-http1-tls13"];
const CACHES: &[&str] = &["redis/auth-acl", "redis/pipeline", "memcached/text-get-miss"];

/// A conversation as it was captured, from its first packet on.
struct Conversation(Vec<Packet>);

#[derive(Clone)]
struct Packet {
    after_us: u64,
    frame: Vec<u8>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made {
    pub packets: u64,
    pub bytes: u64,
    pub flows: u32,
}

/// Writes a capture of `scale` times the variant's flows (elephants: of its bulk).
pub fn make(variant: Variant, scale: f64, path: &Path) -> io::Result<Made> {
    let scaled = |n: u32| ((f64::from(n) * scale) as u32).max(1);
    let giants = variant.flows < 100;
    let flows = if giants { variant.flows } else { scaled(variant.flows) };
    let bulk = if giants { scaled(variant.bulk) } else { variant.bulk };
    let conversations: Vec<Conversation> = variant
        .conversations
        .iter()
        .map(|name| read(name).map(|packets| prolong(&packets, bulk, variant.bulk_bytes)))
        .collect::<io::Result<_>>()?;
    // When, of which flow, which packet.
    let mut order: Vec<(u64, u32, u32)> = Vec::new();
    for flow in 0..flows {
        let begin = u64::from(flow) * u64::from(variant.seconds) * 1_000_000 / u64::from(flows);
        for (at, packet) in (0..).zip(&of(&conversations, flow).0) {
            order.push((begin + packet.after_us, flow, at));
        }
    }
    order.sort_unstable();
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&PCAP_HEADER)?;
    let mut made = Made { flows, ..Made::default() };
    for (us, flow, at) in order {
        let mut frame = of(&conversations, flow).0[at as usize].frame.clone();
        address(&mut frame, flow);
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
        let seconds = u32::try_from(us / 1_000_000).unwrap_or(0) + 1_700_000_000;
        out.write_all(&seconds.to_le_bytes())?;
        out.write_all(&u32::try_from(us % 1_000_000).unwrap_or(0).to_le_bytes())?;
        out.write_all(&length)?;
        out.write_all(&length)?;
        out.write_all(&frame)?;
        made.packets += 1;
        made.bytes += frame.len() as u64;
    }
    out.flush()?;
    Ok(made)
}

fn of(conversations: &[Conversation], flow: u32) -> &Conversation {
    &conversations[flow as usize % conversations.len()]
}

fn read(name: &str) -> io::Result<Vec<Packet>> {
    let path = format!("{}/captures/{name}.pcap", env!("CARGO_MANIFEST_DIR"));
    let mut source = CaptureFile::from_reader(name, File::open(path)?, wire::link_supported)
        .map_err(io::Error::other)?;
    let mut packets: Vec<Packet> = Vec::new();
    let mut first = None;
    while let Input::Frame(frame) = source.next().map_err(io::Error::other)? {
        let us = frame.time.0 / 1000;
        let begin = *first.get_or_insert(us);
        packets.push(Packet { after_us: us - begin, frame: frame.bytes.to_vec() });
    }
    Ok(packets)
}

/// Puts bulk after the last payload of the server, acknowledged every second packet, and moves what follows on.
fn prolong(packets: &[Packet], bulk: u32, bytes: u16) -> Conversation {
    let is_tcp = |p: &&Packet| p.frame[INNER + 9] == 6;
    let server_port = packets.first().map(|p| port(&p.frame, 22));
    let from_server = |p: &&Packet| Some(port(&p.frame, 20)) == server_port;
    let last = packets.iter().rposition(|p| is_tcp(&p) && from_server(&p) && payload(&p.frame) > 0);
    let Some(last) = last.filter(|_| bulk > 0) else { return Conversation(packets.to_vec()) };
    let (before, after) = packets.split_at(last + 1);
    let mut all = before.to_vec();
    let model = before[last].clone();
    let acknowledgement =
        packets.iter().rfind(|p| is_tcp(p) && !from_server(p) && payload(&p.frame) == 0);
    let sealed = model.frame[payload_at(&model.frame)] == 23;
    let mut seq = word(&model.frame, 24).wrapping_add(payload(&model.frame));
    let begin = seq;
    for n in 0..bulk {
        let mut frame = model.frame[..payload_at(&model.frame)].to_vec();
        let said = &model.frame[payload_at(&model.frame)..];
        if sealed {
            // One record of application data.
            frame.extend([23, 3, 3]);
            frame.extend((bytes - 5).to_be_bytes());
            frame.extend((0..bytes - 5).map(|i| (i ^ 0x5a) as u8));
        } else {
            // What the server said last, over and over.
            frame.extend(
                said.iter()
                    .cycle()
                    .take(usize::from(bytes).max(said.len()) / said.len() * said.len()),
            );
        }
        relength(&mut frame);
        frame[INNER + 24..INNER + 28].copy_from_slice(&seq.to_be_bytes());
        seq = seq.wrapping_add(payload(&frame));
        let after_us = model.after_us + u64::from(n + 1) * 200;
        all.push(Packet { after_us, frame });
        if n % 2 == 1
            && let Some(acknowledgement) = acknowledgement
        {
            let mut frame = acknowledgement.frame.clone();
            frame[INNER + 28..INNER + 32].copy_from_slice(&seq.to_be_bytes());
            frame[INNER + 33] = 16;
            all.push(Packet { after_us: after_us + 100, frame });
        }
    }
    let grown = seq.wrapping_sub(begin);
    for packet in after {
        let mut packet = packet.clone();
        packet.after_us += u64::from(bulk) * 200 + 200;
        let at = if from_server(&&packet) { 24 } else { 28 };
        let moved = word(&packet.frame, at).wrapping_add(grown);
        packet.frame[INNER + at..INNER + at + 4].copy_from_slice(&moved.to_be_bytes());
        all.push(packet);
    }
    Conversation(all)
}

/// Other addresses and another client port for every flow; both ends keep their order.
fn address(frame: &mut [u8], flow: u32) {
    let [_, a, b, c] = flow.to_be_bytes();
    for end in [12, 16] {
        // 10.x.y.z of the laboratory; the third byte tells the hosts apart.
        frame[INNER + end + 1] ^= a ^ b;
        frame[INNER + end + 3] ^= c;
        frame[INNER + end + 2] = frame[INNER + end + 2].wrapping_add(b << 2);
    }
}

/// Writes the lengths of all layers anew.
fn relength(frame: &mut [u8]) {
    let whole = u16::try_from(frame.len()).unwrap_or(u16::MAX);
    for (at, before) in [(16, 14), (38, 34), (INNER + 2, INNER as u16)] {
        frame[at..at + 2].copy_from_slice(&(whole - before).to_be_bytes());
    }
}

fn word(frame: &[u8], at: usize) -> u32 {
    let at = INNER + at;
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

fn port(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[INNER + at], frame[INNER + at + 1]])
}

/// Where a TCP segment's payload begins.
fn payload_at(frame: &[u8]) -> usize {
    INNER + 20 + usize::from(frame[INNER + 32] >> 4) * 4
}

fn payload(frame: &[u8]) -> u32 {
    u32::try_from(frame.len().saturating_sub(payload_at(frame))).unwrap_or(0)
}

/// Ethernet, IPv4, UDP, VXLAN and Ethernet come before the inner IPv4 header.
const INNER: usize = 14 + 20 + 8 + 8 + 14;

/// Little-endian, microseconds, Ethernet.
const PCAP_HEADER: [u8; 24] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
