//! What a segment of the most usual stacks counts for, read at fixed places: TCP over IPv4 without options or IPv6 without
//! extensions, in Ethernet without tags; mirrored, that is in VXLAN over the same kind of IPv4, or as it is.
//!
//! For flows of which only the counters move on nothing else is needed. The tests hold it against the layer-by-layer way.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    ip::{FRAGMENT_BITS, number},
    link::{self, kind},
    vxlan,
};
use crate::model::{Frame, Link, Segment, TcpHeader, Vantage};

/// A TCP segment without its payload, all of which was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// Over IPv4.
    V4(Bare<u32>),
    /// Over IPv6.
    V6(Bare<u128>),
}

/// Such a segment, with its addresses as integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bare<A> {
    /// Where the copy was taken.
    pub vantage: Option<Vantage>,
    /// Sender's address and port.
    pub src: (A, u16),
    /// Receiver's address and port.
    pub dst: (A, u16),
    /// TCP header fields.
    pub tcp: TcpHeader,
    /// Payload length.
    pub payload_len: u32,
    /// Length of the innermost IP packet.
    pub ip_len: u32,
}

impl Usual {
    /// What a segment counts for, if it is such a one.
    pub fn of(segment: &Segment<'_>) -> Option<Self> {
        let whole = usize::try_from(segment.payload_len) == Ok(segment.payload.len());
        if segment.endpoint_id != 0 || !whole {
            return None;
        }
        let head = Head {
            src_port: segment.src.port(),
            dst_port: segment.dst.port(),
            tcp: segment.tcp?,
            payload_len: segment.payload_len,
        };
        let (vantage, ip_len) = (segment.vantage, segment.ip_len);
        match (segment.src.ip(), segment.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Some(Self::V4(head.between(src.to_bits(), dst.to_bits(), ip_len, vantage)))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Some(Self::V6(head.between(src.to_bits(), dst.to_bits(), ip_len, vantage)))
            }
            _ => None,
        }
    }
}

/// An Ethernet frame without what a mirror put around it.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    bytes: &'a [u8],
    /// How many of them count.
    visible: usize,
    vantage: Option<Vantage>,
}

/// Takes off what a mirror put around. `None` is not a refusal: something else has to look.
#[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
#[inline(always)]
pub(super) fn inner<'a>(frame: &Frame<'a>) -> Option<Inner<'a>> {
    let bytes = frame.bytes;
    match frame.link {
        Link::Type(link::ETHERNET) => match bytes.split_first_chunk() {
            Some((outer, inner)) if is_udp(outer) => mirrored(outer, inner),
            _ => Some(Inner { bytes, visible: bytes.len(), vantage: None }),
        },
        Link::Mirror { source } => {
            let (&[flags, _, _, _, v2, v1, v0, _], bytes) = bytes.split_first_chunk()?;
            let vantage = Some(Vantage { source, vni: u32::from_be_bytes([0, v2, v1, v0]) });
            let inner = Inner { bytes, visible: bytes.len(), vantage };
            (flags & vxlan::FLAG_VNI != 0).then_some(inner)
        }
        Link::Type(_) | Link::MirrorGeneve { .. } => None,
    }
}

/// Ethernet, IPv4, UDP, VXLAN.
const OUTER_BYTES: usize = 14 + 20 + 8 + 8;

/// UDP over IPv4 without options, in Ethernet.
#[allow(clippy::inline_always, reason = "as its caller")]
#[inline(always)]
fn is_udp(outer: &[u8; OUTER_BYTES]) -> bool {
    short(outer, 12) == kind::IPV4 && byte(outer, 14) == 0x45 && byte(outer, 23) == number::UDP
}

#[allow(clippy::inline_always, reason = "as its caller")]
#[inline(always)]
fn mirrored<'a>(outer: &[u8; OUTER_BYTES], bytes: &'a [u8]) -> Option<Inner<'a>> {
    let tunnel = short(outer, 36) == vxlan::PORT && byte(outer, 42) & vxlan::FLAG_VNI != 0;
    if !tunnel || short(outer, 20) & FRAGMENT_BITS != 0 {
        return None;
    }
    // What IP and UDP say is inside, at most.
    let by_ip = usize::from(short(outer, 16).checked_sub(36)?);
    let by_udp = usize::from(short(outer, 38).checked_sub(16)?);
    let source = Ipv4Addr::from_bits(long(outer, 26)).into();
    let vantage = Some(Vantage { source, vni: long(outer, 46) >> 8 });
    Some(Inner { bytes, visible: bytes.len().min(by_ip).min(by_udp), vantage })
}

impl Inner<'_> {
    /// A segment over IPv4.
    #[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
    #[inline(always)]
    pub fn v4(&self) -> Option<Bare<u32>> {
        let head = self.bytes.first_chunk::<{ 14 + 20 + 20 }>()?;
        let tcp = byte(head, 14) == 0x45 && byte(head, 23) == number::TCP;
        let total = short(head, 16);
        let whole = usize::from(total) + 14 <= self.visible;
        let piece = short(head, 20) & FRAGMENT_BITS != 0;
        if short(head, 12) != kind::IPV4 || !tcp || !whole || piece {
            return None;
        }
        let tcp = Head::read(head.last_chunk()?, total.checked_sub(20)?)?;
        Some(tcp.between(long(head, 26), long(head, 30), u32::from(total), self.vantage))
    }

    /// A segment over IPv6.
    pub fn v6(&self) -> Option<Bare<u128>> {
        let head = self.bytes.first_chunk::<{ 14 + 40 + 20 }>()?;
        let tcp = byte(head, 14) >> 4 == 6 && byte(head, 20) == number::TCP;
        let length = short(head, 18);
        let whole = length > 0 && usize::from(length) + 54 <= self.visible;
        if short(head, 12) != kind::IPV6 || !tcp || !whole {
            return None;
        }
        let tcp = Head::read(head.last_chunk()?, length)?;
        Some(tcp.between(wide(head, 22), wide(head, 38), u32::from(length) + 40, self.vantage))
    }
}

/// What the TCP header tells.
struct Head {
    src_port: u16,
    dst_port: u16,
    tcp: TcpHeader,
    payload_len: u32,
}

impl Head {
    #[allow(clippy::inline_always, reason = "as its caller")]
    #[inline(always)]
    fn read(header: &[u8; 20], length: u16) -> Option<Self> {
        let header_len = u16::from(byte(header, 12) >> 4) * 4;
        if header_len < 20 {
            return None;
        }
        let (seq, ack, flags) = (long(header, 4), long(header, 8), byte(header, 13));
        Some(Self {
            src_port: short(header, 0),
            dst_port: short(header, 2),
            tcp: TcpHeader { seq, ack, flags },
            payload_len: u32::from(length.checked_sub(header_len)?),
        })
    }

    #[allow(clippy::inline_always, reason = "as its caller")]
    #[inline(always)]
    fn between<A>(self, src: A, dst: A, ip_len: u32, vantage: Option<Vantage>) -> Bare<A> {
        let Self { src_port, dst_port, tcp, payload_len } = self;
        Bare { vantage, src: (src, src_port), dst: (dst, dst_port), tcp, payload_len, ip_len }
    }
}

// Numbers at a place that is known to lie within.

#[allow(clippy::inline_always, reason = "one instruction, where place and length are known")]
#[inline(always)]
fn at<const N: usize>(bytes: &[u8], place: usize) -> [u8; N] {
    bytes.get(place..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

#[allow(clippy::inline_always, reason = "as `at`")]
#[inline(always)]
fn byte(bytes: &[u8], place: usize) -> u8 {
    bytes.get(place).copied().unwrap_or_default()
}

#[allow(clippy::inline_always, reason = "as `at`")]
#[inline(always)]
fn short(bytes: &[u8], place: usize) -> u16 {
    u16::from_be_bytes(at(bytes, place))
}

#[allow(clippy::inline_always, reason = "as `at`")]
#[inline(always)]
fn long(bytes: &[u8], place: usize) -> u32 {
    u32::from_be_bytes(at(bytes, place))
}

#[allow(clippy::inline_always, reason = "as `at`")]
#[inline(always)]
fn wide(bytes: &[u8], place: usize) -> u128 {
    u128::from_be_bytes(at(bytes, place))
}
