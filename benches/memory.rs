//! What a million and a half flows take that are open at once, each with a server name of its own and copied at two vantages.
//!
//! `cargo bench --bench memory [-- --flows 1500000]`. Resident memory of the process (`VmRSS`), less what it was before: per flow
//! after the handshake of TCP, with half of a `ClientHello` read, and with the handshake of TLS done and all flows settled.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a benchmark that fails has failed as it should"
)]

use cleartap::{
    engine::{Engine, Settings},
    flow::Limits,
    model::{Frame, Link, Timestamp},
};
use etherparse::PacketBuilder;

/// As the sensor has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERVER: [u8; 4] = [10, 250, 0, 1];
const CLIENT_ISN: u32 = 1000;
const SERVER_ISN: u32 = 5000;

fn main() {
    let flows = flows();
    let limits = Limits { flows_max: 1 << 21, ..Limits::default() };
    let mut engine = Engine::new(Settings {
        limits,
        // So that nothing is trimmed: what is measured is what it takes.
        session_bytes_max: 64 << 30,
        ..Settings::default()
    });
    let before = resident();
    println!("{flows} flows, two vantages each");
    println!("| state | resident MiB | bytes a flow |");
    println!("|---|---|---|");
    let say = |state: &str, engine: &Engine| {
        assert_eq!(engine.flows(), flows as usize, "all are open");
        let grown = resident().saturating_sub(before);
        println!("| {state} | {} | {} |", grown >> 20, grown / u64::from(flows));
    };
    each(flows, &mut engine, |_| vec![Sent::client(0, SYN, &[]), Sent::server(0, SYN | ACK, &[])]);
    say("TCP handshake seen", &engine);
    each(flows, &mut engine, |n| {
        let hello = client_hello(n);
        vec![Sent::client(1, ACK, &hello[..hello.len() / 2])]
    });
    say("half of a ClientHello read", &engine);
    each(flows, &mut engine, |n| {
        let hello = client_hello(n);
        let half = hello.len() / 2;
        let (server, data) = (server_hello(), data());
        vec![
            Sent::client(1 + half as u32, ACK, &hello[half..]),
            Sent::server(1, ACK, &[&server[..], &data].concat()),
            Sent::client(1 + hello.len() as u32, ACK, &[&CHANGE_CIPHER_SPEC[..], &data].concat()),
        ]
    });
    say("settled, with SNI, ALPN, JA3, JA4", &engine);
    let mut records = 0;
    engine.finish(&mut |emitted| {
        assert_eq!(emitted.record.encryption, "tls");
        assert_eq!(emitted.record.vantages.len(), 2);
        records += 1;
    });
    assert_eq!(records, flows);
}

fn flows() -> u32 {
    let mut list = std::env::args().skip(1);
    let mut flows = 1_500_000;
    while let Some(argument) = list.next() {
        match argument.as_str() {
            "--flows" => flows = list.next().and_then(|n| n.parse().ok()).expect("a number"),
            // What cargo bench says by itself, and once for all to show that it runs.
            "--bench" => {}
            "--test" => flows = 2_000,
            other => panic!("{other}: expected --flows N"),
        }
    }
    flows
}

/// Resident memory in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc(5)");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("KiB");
    kib * 1024
}

const SYN: u8 = 1;
const ACK: u8 = 2;

/// A segment: who sent it, where it stands behind the sender's first number, its flags and payload.
struct Sent {
    client: bool,
    at: u32,
    flags: u8,
    payload: Vec<u8>,
}

impl Sent {
    fn client(at: u32, flags: u8, payload: &[u8]) -> Self {
        Self { client: true, at, flags, payload: payload.to_vec() }
    }

    fn server(at: u32, flags: u8, payload: &[u8]) -> Self {
        Self { client: false, at, flags, payload: payload.to_vec() }
    }
}

/// Lets the engine read the same step of each flow, from both vantages. No time passes: nothing ends.
fn each(flows: u32, engine: &mut Engine, step: impl Fn(u32) -> Vec<Sent>) {
    for n in 0..flows {
        for sent in step(n) {
            for (vantage, vni) in [([10, 1, 0, 1], 100), ([10, 1, 0, 2], 100)] {
                let bytes = frame(n, &sent, vantage, vni);
                let frame = Frame {
                    time: Timestamp(1_000_000_000),
                    link: Link::Type(1),
                    wire_len: bytes.len() as u32,
                    bytes: &bytes,
                };
                engine.frame(&frame, &mut |_| panic!("nothing has ended"));
            }
        }
    }
}

fn frame(n: u32, sent: &Sent, vantage: [u8; 4], vni: u32) -> Vec<u8> {
    // 32,768 ports of each client.
    let client = (0x0a40_0000 + (n >> 15)).to_be_bytes();
    let port = 32_768 + (n & 0x7fff) as u16;
    let (ends, ports, isn, acks) = if sent.client {
        ([client, SERVER], [port, 443], CLIENT_ISN, SERVER_ISN)
    } else {
        ([SERVER, client], [443, port], SERVER_ISN, CLIENT_ISN)
    };
    let mac = [2, 0, 0, 0, 0, 1];
    let inner = PacketBuilder::ethernet2(mac, mac).ipv4(ends[0], ends[1], 64).tcp(
        ports[0],
        ports[1],
        isn.wrapping_add(sent.at),
        64_000,
    );
    let inner = if sent.flags & SYN != 0 { inner.syn() } else { inner };
    let inner = if sent.flags & ACK != 0 { inner.ack(acks + 1) } else { inner };
    let mut copied = vec![0x08, 0, 0, 0];
    copied.extend_from_slice(&(vni << 8).to_be_bytes());
    inner.write(&mut copied, &sent.payload).unwrap();
    let outer =
        PacketBuilder::ethernet2(mac, mac).ipv4(vantage, [10, 9, 9, 9], 64).udp(50_000, 4789);
    let mut bytes = Vec::with_capacity(outer.size(copied.len()));
    outer.write(&mut bytes, &copied).unwrap();
    bytes
}

const CHANGE_CIPHER_SPEC: [u8; 6] = [20, 3, 3, 0, 1, 1];

/// A record of application data.
fn data() -> Vec<u8> {
    [&[23, 3, 3, 0, 64][..], &[0xa5; 64]].concat()
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let message = [&[kind, 0][..], &(body.len() as u16).to_be_bytes(), body].concat();
    [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// Asks for a server of its own.
fn client_hello(n: u32) -> Vec<u8> {
    let name = format!("tenant-{n:07}.service.example.com");
    let length = (name.len() as u16).to_be_bytes();
    let list = (name.len() as u16 + 3).to_be_bytes();
    let sni = [&list[..], &[0], &length, name.as_bytes()].concat();
    let extensions = [
        extension(0, &sni),
        extension(16, b"\0\x0c\x02h2\x08http/1.1"),
        extension(10, &[0, 4, 0, 29, 0, 23]),
        extension(13, &[0, 4, 4, 3, 8, 4]),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(51, &[&[0, 36, 0, 29, 0, 32][..], &[7; 32]].concat()),
    ]
    .concat();
    let ciphers = [0, 6, 0x13, 1, 0x13, 2, 0xc0, 0x2f, 1, 0];
    let length = (extensions.len() as u16).to_be_bytes();
    let body = [&[3, 3][..], &[9; 32], &[0], &ciphers, &length, &extensions].concat();
    record(1, &body)
}

fn server_hello() -> Vec<u8> {
    let share = extension(51, &[&[0, 29, 0, 32][..], &[8; 32]].concat());
    let extensions = [extension(43, &[3, 4]), share].concat();
    let length = (extensions.len() as u16).to_be_bytes();
    let body = [&[3, 3][..], &[9; 32], &[0, 0x13, 1, 0], &length, &extensions].concat();
    [record(2, &body), CHANGE_CIPHER_SPEC.to_vec()].concat()
}
