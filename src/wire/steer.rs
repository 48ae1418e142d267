//! Which shard a packet belongs to: one symmetric hash for user space and kernel.
//!
//! Both directions of a flow have the same hash, whoever mirrored them. It is made of what a classic BPF program can
//! compute: sums of 32-bit words. A kernel that steers looks no deeper than [`frame`] does; [`segment`] hashes what was
//! found innermost, and is the last word: where the two differ, the segment is handed over.
//!
//! Fragments (the first one too), tunnels inside the mirror's and whatever is neither TCP nor UDP go by their addresses,
//! so that what belongs together is put together in one place.

use std::net::IpAddr;

use super::{geneve, ip::number, link::kind, tunnel, vxlan};
use crate::{
    bytes::{Cursor, Short},
    model::{Endpoint, Frame, Link, Segment, Transport},
};

/// Seed of sources that must give the same shards each time.
pub const SEED_OF_FILES: u32 = 0;

/// UDP ports behind which another tunnel may be.
pub const TUNNEL_PORTS: [u16; 5] =
    [vxlan::PORT, vxlan::PORT_LINUX, vxlan::PORT_GPE, geneve::PORT, tunnel::GTP_U_PORT];

/// UDP port of a mirror's VXLAN (RFC 7348).
pub const VXLAN_PORT: u16 = vxlan::PORT;

/// UDP port of GENEVE (RFC 8926).
pub const GENEVE_PORT: u16 = geneve::PORT;

/// VLAN tags that are looked behind.
pub const TAGS_MAX: u8 = 2;

/// Their `EtherType`s.
pub const TAGS: [u16; 2] = [kind::VLAN, kind::QINQ];

/// Odd constants of the mix, for addresses and for ports (from the golden ratio and `MurmurHash3`).
pub const MIX: [u32; 3] = [0x9e37_79b1, 0x85eb_ca6b, 0xc2b2_ae35];

/// Hash of the sums of what both ends have.
pub const fn mix(seed: u32, addresses: u32, ports: u32) -> u32 {
    let [a, b, c] = MIX;
    let mut hash = addresses.wrapping_mul(a) ^ ports.wrapping_mul(b) ^ seed;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(c);
    hash ^ hash >> 15
}

/// The shard of `shards` that a hash stands for.
pub fn shard(hash: u32, shards: usize) -> usize {
    usize::try_from(hash).ok().and_then(|hash| hash.checked_rem(shards)).unwrap_or(0)
}

/// Hash of two ends.
pub fn ends(seed: u32, a: Endpoint, b: Endpoint) -> u32 {
    let ports = u32::from(a.port()).wrapping_add(u32::from(b.port()));
    mix(seed, words(a.ip()).wrapping_add(words(b.ip())), ports)
}

/// Hash of a segment's ends.
pub fn segment(seed: u32, segment: &Segment<'_>) -> u32 {
    match segment.transport {
        Transport::Tcp | Transport::Udp => ends(seed, segment.src, segment.dst),
        Transport::Esp => {
            mix(seed, words(segment.src.ip()).wrapping_add(words(segment.dst.ip())), 0)
        }
    }
}

/// Hash of what the kernel sees of a frame; zero where it sees nothing it knows.
pub fn frame(seed: u32, frame: &Frame<'_>) -> u32 {
    let hash = match frame.link {
        Link::Mirror { .. } => behind_vxlan(frame.bytes).and_then(|ip| packet(seed, ip)),
        Link::MirrorGeneve { .. } => behind_geneve(frame.bytes).and_then(|ip| packet(seed, ip)),
        Link::Type(link_type) => super::link::open(link_type, frame.bytes)
            .map_err(|_| Short)
            .and_then(|ip| packet(seed, mirrored(ip)?.unwrap_or(ip))),
    };
    hash.unwrap_or(0)
}

/// The packet in a mirror's copy, if `ip` carries one.
fn mirrored(ip: &[u8]) -> Result<Option<&[u8]>, Short> {
    match Outer::read(ip)?.udp {
        Some((vxlan::PORT, payload)) => behind_vxlan(payload).map(Some),
        Some((geneve::PORT, payload)) => behind_geneve(payload).map(Some),
        _ => Ok(None),
    }
}

fn behind_vxlan(bytes: &[u8]) -> Result<&[u8], Short> {
    let mut c = Cursor::new(bytes);
    c.skip(8)?;
    ethernet(c.rest())
}

fn behind_geneve(bytes: &[u8]) -> Result<&[u8], Short> {
    let mut c = Cursor::new(bytes);
    let [length, _] = c.array()?;
    let protocol = c.u16_be()?;
    c.skip(4)?;
    c.skip(usize::from(length & 0x3f).saturating_mul(4))?;
    match protocol {
        kind::ETHERNET => ethernet(c.rest()),
        _ => Ok(c.rest()),
    }
}

/// The IP packet in an Ethernet frame, perhaps behind VLAN tags.
fn ethernet(bytes: &[u8]) -> Result<&[u8], Short> {
    let mut c = Cursor::new(bytes);
    c.skip(12)?;
    for _ in 0..=TAGS_MAX {
        match c.u16_be()? {
            kind::IPV4 | kind::IPV6 => return Ok(c.rest()),
            tag if TAGS.contains(&tag) => c.skip(2)?,
            _ => return Err(Short),
        }
    }
    Err(Short)
}

fn packet(seed: u32, ip: &[u8]) -> Result<u32, Short> {
    let outer = Outer::read(ip)?;
    Ok(mix(seed, outer.addresses, outer.ports))
}

/// What is hashed of an IP packet.
struct Outer<'a> {
    /// Sum of the words of both addresses.
    addresses: u32,
    /// Sum of both ports, where they count.
    ports: u32,
    /// Destination port and payload of a datagram that is no fragment.
    udp: Option<(u16, &'a [u8])>,
}

impl<'a> Outer<'a> {
    fn read(ip: &'a [u8]) -> Result<Self, Short> {
        let mut c = Cursor::new(ip);
        let first = c.u8()?;
        let (protocol, whole, addresses, header) = match first >> 4 {
            4 => {
                c.skip(5)?;
                // No more fragments, and no offset.
                let whole = c.u16_be()?.trailing_zeros() >= 14;
                c.skip(1)?;
                let protocol = c.u8()?;
                c.skip(2)?;
                (protocol, whole, sum(&mut c, 2)?, usize::from(first & 15).saturating_mul(4))
            }
            6 => {
                c.skip(5)?;
                let protocol = c.u8()?;
                c.skip(1)?;
                (protocol, true, sum(&mut c, 8)?, 40)
            }
            _ => return Err(Short),
        };
        let by_addresses = Self { addresses, ports: 0, udp: None };
        if !whole || !matches!(protocol, number::TCP | number::UDP) {
            return Ok(by_addresses);
        }
        let mut c = Cursor::new(ip);
        c.skip(header)?;
        let (src, dst) = (c.u16_be()?, c.u16_be()?);
        let udp = protocol == number::UDP;
        let tunnel = udp && TUNNEL_PORTS.contains(&dst);
        let ports = if tunnel { 0 } else { u32::from(src).wrapping_add(u32::from(dst)) };
        let udp = if udp { Some((dst, c.rest().get(4..).unwrap_or_default())) } else { None };
        Ok(Self { addresses, ports, udp })
    }
}

/// Sum of the next `count` words.
fn sum(c: &mut Cursor<'_>, count: u8) -> Result<u32, Short> {
    (0..count).try_fold(0_u32, |sum, _| Ok(sum.wrapping_add(c.u32_be()?)))
}

/// Sum of the words of an address.
fn words(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let word = |shift: u32| u32::try_from(address.to_bits() >> shift & 0xffff_ffff);
            [96, 64, 32, 0]
                .into_iter()
                .fold(0, |sum: u32, shift| sum.wrapping_add(word(shift).unwrap_or(0)))
        }
    }
}
