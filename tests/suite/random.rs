//! Bytes that mean nothing have no name: random payloads of many textures, through the whole engine.
//!
//! `CLEARTAP_RANDOM_PAYLOADS` says how many flows, `CLEARTAP_SEED` which ones. Millions want an optimised build:
//! `CLEARTAP_RANDOM_PAYLOADS=10000000 cargo test --release --test suite random_payloads_get_no_name -- --nocapture`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use cleartap::{
    engine::{Engine, Settings},
    model::{Link, Timestamp, record::Record},
};

use super::capture::{Owned, Random, seed, setting};

#[test]
fn random_payloads_get_no_name() {
    let count = setting("CLEARTAP_RANDOM_PAYLOADS").unwrap_or(30_000);
    let seed = seed(20_261_124);
    println!("{count} flows of random payloads");
    let mut names = Names::default();
    let mut engine = Engine::new(Settings::default());
    for round in 0..count {
        let talk = Talk::new(seed, round);
        for frame in talk.frames() {
            engine.frame(&frame.frame(), &mut |e| names.note(seed, &e.record));
        }
    }
    engine.finish(&mut |e| names.note(seed, &e.record));
    for (name, found) in &names.0 {
        let tenths = found.count.saturating_mul(10_000_000) / count;
        let rate = format!("{}.{}", tenths / 10, tenths % 10);
        println!("{name}: {} ({rate} in a million)\n{}", found.count, found.examples.join("\n"));
    }
    let chance = CHANCE_MAX + count * CHANCE_PER_MILLION_MAX / 1_000_000;
    let wrong = names.0.iter().filter(|(_, found)| found.never || found.count > chance);
    let wrong: Vec<&String> = wrong.map(|(name, _)| name).collect();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
}

/// What was given a name, and how often.
#[derive(Default)]
struct Names(BTreeMap<String, Found>);

#[derive(Default)]
struct Found {
    /// Not even by chance.
    never: bool,
    count: u64,
    examples: Vec<String>,
}

impl Names {
    fn note(&mut self, seed: u64, record: &Record) {
        // Readable text is called that, whatever it means.
        let heuristic = record.confidence == Some("heuristic");
        let nameless = record.app.is_none() && record.layers.is_empty();
        if nameless && (record.encryption == "unknown" || heuristic) {
            return;
        }
        let talk = Talk::new(seed, Talk::round(record));
        let name = format!(
            "{} {} in {:?}",
            record.encryption,
            record.app.unwrap_or("(nameless)"),
            talk.texture
        );
        let found = self.0.entry(name).or_default();
        found.count += 1;
        found.never = record.encryption == "tls"
            || matches!(talk.texture, Texture::Uniform)
            || record.layers.iter().any(|layer| STORES.contains(layer));
        if found.examples.len() < EXAMPLES_MAX {
            let rule = record.evidence.first().map_or("-", |e| e.rule);
            found.examples.push(format!("  {rule} by {}: {}", record.src_ip, talk.summary()));
        }
    }
}

/// Flows that mean nothing may still have the few bytes in which some headers differ from zeros (an NTP request is one
/// byte and 47 zeros), but hardly.
const CHANCE_MAX: u64 = 2;
const CHANCE_PER_MILLION_MAX: u64 = 20;

/// Databases, caches, brokers and what coordinates them: alerts speak of these.
const STORES: &[&str] = &[
    "aerospike",
    "amqp",
    "arangodb",
    "beanstalkd",
    "bolt",
    "cassandra",
    "ceph",
    "clickhouse",
    "couchbase",
    "dax",
    "drda",
    "elasticsearch",
    "firebird",
    "gearman",
    "hadoop",
    "hazelcast",
    "hbase",
    "ibmmq",
    "influx_line",
    "kafka",
    "ldap",
    "memcached",
    "monetdb",
    "mongodb",
    "mqtt",
    "mysql",
    "mysqlx",
    "nats",
    "nsq",
    "openwire",
    "oracle",
    "postgresql",
    "pulsar",
    "redis",
    "rethinkdb",
    "stomp",
    "tarantool",
    "tds",
    "zmtp",
    "zookeeper",
];

const EXAMPLES_MAX: usize = 3;
const EXAMPLE_BYTES_MAX: usize = 96;

/// What random payloads look like, as other programs may send them.
#[derive(Clone, Copy, Debug)]
enum Texture {
    Uniform,
    /// Random, then zeros.
    ZeroTail,
    SevenBit,
    Text,
    /// Lower-case words in lines.
    Lines,
    OnesHead,
    /// Mostly zeros, else below eight.
    Sparse,
    /// Few different bytes.
    Few,
    /// The same short pattern again and again.
    Pattern,
    /// Behind its own length, of one to eight bytes, with or without the length's own.
    LengthBig,
    LengthLittle,
    /// Several messages, each behind its length.
    Frames,
    /// Type, length, value.
    Tlv,
    /// Fields as Protocol Buffers write them.
    Protobuf,
    /// Small numbers of two or four bytes.
    Numbers,
}

const TEXTURES: [Texture; 18] = [
    Texture::Uniform,
    Texture::Uniform,
    Texture::Uniform,
    Texture::Uniform,
    Texture::ZeroTail,
    Texture::SevenBit,
    Texture::Text,
    Texture::Lines,
    Texture::OnesHead,
    Texture::Sparse,
    Texture::Few,
    Texture::Pattern,
    Texture::LengthBig,
    Texture::LengthLittle,
    Texture::Frames,
    Texture::Tlv,
    Texture::Protobuf,
    Texture::Numbers,
];

/// One flow of random payloads.
struct Talk {
    texture: Texture,
    udp: bool,
    /// The handshake is seen.
    begun: bool,
    /// Who says what, in turn.
    said: Vec<(usize, Vec<u8>)>,
    ends: [(Ipv4Addr, u16); 2],
    seq: [u32; 2],
    time: u64,
}

impl Talk {
    /// The flow of a round: the same for the same seed, whatever came before.
    fn new(seed: u64, round: u64) -> Self {
        let mut random = Random(Random(seed.wrapping_add(round << 20)).next());
        let texture = TEXTURES[random.below(TEXTURES.len() as u64) as usize];
        let turns: &[usize] =
            [&[0][..], &[1], &[0, 1], &[1, 0], &[0, 0], &[0, 1, 0, 1]][random.below(6) as usize];
        let mut end = |second: u64| {
            let ip = Ipv4Addr::new(10, second as u8, (round >> 8) as u8, round as u8);
            (ip, u16::try_from(1024 + random.below(60_000)).unwrap())
        };
        let ends = [end(round >> 16 & 0x7f), end(0x80 | round >> 23 & 0x7f)];
        Self {
            texture,
            udp: random.below(3) == 0,
            begun: random.below(2) == 0,
            said: turns.iter().map(|side| (*side, payload(texture, &mut random))).collect(),
            ends,
            seq: [random.next() as u32, random.next() as u32],
            // Old flows are gone before the table is large.
            time: 1_700_000_000_000_000_000 + round * 50_000_000,
        }
    }

    /// The round a record's flow is of.
    fn round(record: &Record) -> u64 {
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().map(u64::from),
            IpAddr::V6(_) => panic!("built as IPv4"),
        };
        let mut ends = [octets(record.src_ip), octets(record.dst_ip)];
        ends.sort_by_key(|[_, second, ..]| *second);
        let [[_, low, c, d], [_, high, ..]] = ends;
        d | c << 8 | low << 16 | (high & 0x7f) << 23
    }

    fn summary(&self) -> String {
        let hex = |bytes: &[u8]| {
            let shown = &bytes[..bytes.len().min(EXAMPLE_BYTES_MAX)];
            shown.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
        };
        let said =
            self.said.iter().map(|(side, bytes)| format!("{side}[{}]{}", bytes.len(), hex(bytes)));
        let transport = if self.udp { "udp" } else { "tcp" };
        format!("{transport} begun {} {}", self.begun, said.collect::<Vec<_>>().join(" "))
    }

    /// A handshake if it is TCP and its beginning was seen, then what is said, in one or several segments.
    fn frames(&self) -> Vec<Owned> {
        let mut list = Vec::new();
        let mut seq = self.seq;
        if !self.udp && self.begun {
            for (side, flags) in [(0, 2), (1, 0x12)] {
                list.push(self.packet(side, seq, flags, &[]));
                seq[side] = seq[side].wrapping_add(1);
            }
        }
        for (side, payload) in &self.said {
            let segment = if self.udp || self.seq[0] & 1 == 0 { DATAGRAM_BYTES_MAX } else { 700 };
            for part in payload.chunks(segment) {
                list.push(self.packet(*side, seq, 0x18, part));
                seq[*side] = seq[*side].wrapping_add(u32::try_from(part.len()).unwrap());
            }
        }
        list
    }

    fn packet(&self, side: usize, seq: [u32; 2], flags: u8, payload: &[u8]) -> Owned {
        let (src, dst) = (self.ends[side], self.ends[1 - side]);
        let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
        let head = if self.udp { 8 } else { 20 };
        let mut bytes = Vec::with_capacity(20 + head + payload.len());
        bytes.extend([0x45, 0]);
        bytes.extend(length(20 + head + payload.len()));
        bytes.extend([0, 0, 0x40, 0, 64, if self.udp { 17 } else { 6 }, 0, 0]);
        bytes.extend(src.0.octets());
        bytes.extend(dst.0.octets());
        bytes.extend(src.1.to_be_bytes());
        bytes.extend(dst.1.to_be_bytes());
        if self.udp {
            bytes.extend(length(8 + payload.len()));
            bytes.extend([0, 0]);
        } else {
            bytes.extend(seq[side].to_be_bytes());
            bytes.extend(seq[1 - side].to_be_bytes());
            bytes.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        }
        bytes.extend(payload);
        let wire_len = u32::try_from(bytes.len()).unwrap();
        Owned { time: Timestamp(self.time), link: Link::Type(101), wire_len, bytes }
    }
}

/// A datagram that IPv4 carries, and more than any payload here.
const DATAGRAM_BYTES_MAX: usize = 20_000;

fn payload(texture: Texture, random: &mut Random) -> Vec<u8> {
    let most = [16, 64, 400, 1400, 64, 400, 1400, 16_384][random.below(8) as usize];
    let size = 1 + random.below(most) as usize;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(size);
    let some = 1 + random.below(40) as usize;
    match texture {
        Texture::Uniform => {}
        Texture::ZeroTail => bytes.iter_mut().skip(some).for_each(|b| *b = 0),
        Texture::SevenBit => bytes.iter_mut().for_each(|b| *b &= 0x7f),
        Texture::Text => bytes.iter_mut().for_each(|b| {
            *b = match *b {
                0..=6 => b'\n',
                7..=30 => b' ',
                b => b'!' + b % 94,
            }
        }),
        Texture::Lines => lines(&mut bytes),
        Texture::OnesHead => bytes.iter_mut().take(some).for_each(|b| *b = 0xff),
        Texture::Sparse => {
            for b in &mut bytes {
                *b = if *b < 200 { 0 } else { *b & 7 };
            }
        }
        Texture::Few => {
            let few = random.next().to_le_bytes();
            let kinds = 2 + some % 6;
            for b in &mut bytes {
                *b = few[usize::from(*b) % kinds];
            }
        }
        Texture::Pattern => {
            let pattern = bytes.clone();
            let period = some.min(size);
            bytes.iter_mut().zip(pattern[..period].iter().cycle()).for_each(|(b, p)| *b = *p);
        }
        Texture::LengthBig | Texture::LengthLittle => {
            behind_its_length(&mut bytes, matches!(texture, Texture::LengthBig), random);
        }
        Texture::Frames => frames(&mut bytes, random),
        Texture::Tlv => tlv(&mut bytes, random),
        Texture::Protobuf => protobuf(&mut bytes, random),
        Texture::Numbers => {
            let width = [2, 4][random.below(2) as usize];
            let zero = if random.below(2) == 0 { 0 } else { width - 1 };
            for number in bytes.chunks_mut(width) {
                let keep = number.get(zero).copied().unwrap_or(0);
                number.fill(0);
                if let Some(byte) = number.get_mut(width - 1 - zero) {
                    *byte = if random.below(2) == 0 { keep & 0xf } else { keep };
                }
            }
        }
    }
    bytes
}

fn lines(bytes: &mut [u8]) {
    for byte in &mut *bytes {
        *byte = match *byte {
            0..=35 => b' ',
            36..=41 => b'\n',
            b => b'a' + b % 26,
        };
    }
    for at in 1..bytes.len() {
        if bytes[at] == b'\n' && at % 2 == 0 {
            bytes[at - 1] = b'\r';
        }
    }
}

fn write_length(bytes: &mut [u8], width: usize, length: usize, big: bool) {
    let length = length as u64;
    if big {
        let encoded = length.to_be_bytes();
        bytes.iter_mut().zip(&encoded[8 - width..]).for_each(|(b, l)| *b = *l);
    } else {
        let encoded = length.to_le_bytes();
        bytes.iter_mut().zip(&encoded[..width]).for_each(|(b, l)| *b = *l);
    }
}

fn behind_its_length(bytes: &mut [u8], big: bool, random: &mut Random) {
    let width = [1, 2, 3, 4, 4, 8][random.below(6) as usize];
    let size = bytes.len();
    let inclusive = if random.below(2) == 0 { width } else { 0 };
    let at = [0, 0, 1, 2, 4][random.below(5) as usize].min(size);
    write_length(&mut bytes[at..], width, size.saturating_sub(inclusive), big);
}

fn frames(bytes: &mut [u8], random: &mut Random) {
    let (width, big) = ([2, 4][random.below(2) as usize], random.below(2) == 0);
    let mut rest = bytes;
    while rest.len() > width {
        let length = (1 + random.below(60) as usize).min(rest.len() - width);
        write_length(rest, width, length, big);
        rest = &mut rest[width + length..];
    }
}

fn tlv(bytes: &mut [u8], random: &mut Random) {
    let (kind, width) = (1 + random.below(2) as usize, 1 + random.below(2) as usize);
    let kinds = 1 + random.below(60) as u8;
    let mut rest = bytes;
    while rest.len() > kind + width {
        let length = (random.below(40) as usize).min(rest.len() - kind - width);
        rest[..kind].iter_mut().rev().skip(1).for_each(|b| *b = 0);
        rest[kind - 1] %= kinds;
        write_length(&mut rest[kind..], width, length, true);
        rest = &mut rest[kind + width + length..];
    }
}

fn protobuf(bytes: &mut [u8], random: &mut Random) {
    let mut rest = bytes;
    while rest.len() > 2 {
        let field = 1 + random.below(15) as u8;
        let text = random.below(2) == 0;
        rest[0] = field << 3 | if text { 2 } else { 0 };
        let length = if text { (random.below(30) as usize).min(rest.len() - 2) } else { 0 };
        rest[1] = if text { length as u8 } else { rest[1] & 0x7f };
        rest[2..2 + length].iter_mut().for_each(|b| *b = b'a' + *b % 26);
        rest = &mut rest[2 + length..];
    }
}
