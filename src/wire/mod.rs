//! Decapsulation and decoding: a frame in, the innermost segment or the reason why not out.
//!
//! | file | takes off |
//! |---|---|
//! | `link` | link-layer headers down to IP |
//! | `ip`, `fragment` | the IP header; fragments put together |
//! | `transport` | TCP, UDP, ESP |
//! | `straight` | the usual stack, all at once |
//! | `usual` | nothing: what a segment of the most usual stacks counts for |
//! | [`steer`] | nothing: it says which shard a packet belongs to |
//! | `vxlan`, `geneve`, `tunnel` | what carries IP again; the first VXLAN or GENEVE layer names the vantage |
//!
//! Nothing is allocated per packet, except for IP fragments. Checksums are never looked at: mirrored copies are often cut,
//! or taken before the network card filled them in.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::as_conversions))]

mod fragment;
mod geneve;
mod ip;
mod link;
pub mod steer;
mod straight;
#[cfg(test)]
mod tests;
mod transport;
mod tunnel;
mod usual;
mod vxlan;

use std::net::IpAddr;

use self::{
    fragment::{Arrival, Key, Table, Whole},
    ip::{Packet, number},
    transport::Content,
    tunnel::Header,
};
pub use self::{
    link::link_supported,
    straight::Straight,
    usual::{Bare, Inner, Usual},
};
use crate::{
    bytes::Short,
    model::{Endpoint, Frame, Link, Segment, Timestamp, Transport, Vantage},
};

/// Why a frame gave no segment. Each is a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// The link type is not one of [`link_supported`].
    LinkType,
    /// The bytes end within a header.
    Truncated,
    /// ARP or RARP.
    Arp,
    /// Neither IP nor ARP above the link layer.
    NotIp,
    /// `ICMPv4` or `ICMPv6`.
    Icmp,
    /// IP, but neither TCP, UDP, ESP, ICMP nor a tunnel.
    NotTransport,
    /// A header contradicts itself or the packet around it.
    BadHeader,
    /// Part of a datagram that is not complete yet.
    Fragment,
    /// More tunnels or link-layer tags inside one another than the limit.
    TooDeep,
    /// A mirror datagram without a tunnel header.
    NotTunnel,
}

impl Skip {
    /// All reasons, in the order of [`Skip::index`].
    pub const ALL: [Self; 10] = [
        Self::LinkType,
        Self::Truncated,
        Self::Arp,
        Self::NotIp,
        Self::Icmp,
        Self::NotTransport,
        Self::BadHeader,
        Self::Fragment,
        Self::TooDeep,
        Self::NotTunnel,
    ];

    /// Name in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LinkType => "link_type",
            Self::Truncated => "truncated",
            Self::Arp => "arp",
            Self::NotIp => "not_ip",
            Self::Icmp => "icmp",
            Self::NotTransport => "not_transport",
            Self::BadHeader => "bad_header",
            Self::Fragment => "fragment",
            Self::TooDeep => "too_deep",
            Self::NotTunnel => "not_tunnel",
        }
    }

    /// Position in [`Skip::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::LinkType => 0,
            Self::Truncated => 1,
            Self::Arp => 2,
            Self::NotIp => 3,
            Self::Icmp => 4,
            Self::NotTransport => 5,
            Self::BadHeader => 6,
            Self::Fragment => 7,
            Self::TooDeep => 8,
            Self::NotTunnel => 9,
        }
    }
}

impl From<Short> for Skip {
    fn from(_: Short) -> Self {
        Self::Truncated
    }
}

/// Bounds of a [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tunnels inside one another.
    pub nesting_max: u8,
    /// Incomplete datagrams held.
    pub fragments_max: usize,
    /// Bytes held for incomplete datagrams.
    pub fragment_bytes_max: usize,
    /// How long an incomplete datagram is held, in packet time.
    pub fragment_age_ns_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nesting_max: 4,
            fragments_max: 4096,
            fragment_bytes_max: 16 << 20,
            fragment_age_ns_max: 30_000_000_000,
        }
    }
}

/// What happened besides [`Skip`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams put together from fragments.
    pub fragments_reassembled: u64,
    /// Incomplete datagrams given up for age.
    pub fragments_expired: u64,
    /// Incomplete datagrams given up because a limit was reached.
    pub fragments_evicted: u64,
    /// Segments whose payload was cut by the capture or the mirror.
    pub segments_truncated: u64,
    /// Datagrams to a tunnel port that held no tunnel and were taken as plain UDP.
    pub tunnel_fallbacks: u64,
}

impl Counters {
    /// Adds what another decoder met.
    pub const fn add(&mut self, other: &Self) {
        let Self {
            fragments_reassembled,
            fragments_expired,
            fragments_evicted,
            segments_truncated,
            tunnel_fallbacks,
        } = other;
        self.fragments_reassembled =
            self.fragments_reassembled.saturating_add(*fragments_reassembled);
        self.fragments_expired = self.fragments_expired.saturating_add(*fragments_expired);
        self.fragments_evicted = self.fragments_evicted.saturating_add(*fragments_evicted);
        self.segments_truncated = self.segments_truncated.saturating_add(*segments_truncated);
        self.tunnel_fallbacks = self.tunnel_fallbacks.saturating_add(*tunnel_fallbacks);
    }
}

/// Turns frames into segments. Holds the bounded state of IP fragments.
#[derive(Debug, Default)]
pub struct Decoder {
    limits: Limits,
    counters: Counters,
    fragments: Table,
    /// Reassembled datagrams of the current frame, outermost first: a segment may borrow from them.
    whole: [Whole; WHOLE_MAX],
}

impl Decoder {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What happened so far besides the reasons returned.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Gives up incomplete datagrams that are too old at `now`; [`Decoder::decode`] does so by itself.
    pub fn expire(&mut self, now: Timestamp) {
        self.fragments.expire(now, &self.limits, &mut self.counters);
    }

    /// The innermost TCP segment, UDP datagram or ESP packet of `frame`.
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, Skip> {
        match self.straight(frame) {
            Some(straight) => Ok(straight.segment(frame.time)),
            None => self.decode_any(frame),
        }
    }

    /// `frame` without what a mirror put around it, if its layers are the most usual ones.
    #[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
    #[inline(always)]
    pub fn inner<'a>(&self, frame: &Frame<'a>) -> Option<Inner<'a>> {
        if self.limits.nesting_max > 0 { usual::inner(frame) } else { None }
    }

    /// What `frame` carries, if its layers are the usual ones; else [`Decoder::decode_any`] has to look.
    #[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
    #[inline(always)]
    pub fn straight<'a>(&self, frame: &Frame<'a>) -> Option<Straight<'a>> {
        if self.limits.nesting_max > 0 { straight::walk(frame) } else { None }
    }

    /// The same as [`Decoder::decode`] layer by layer, whatever they are.
    pub fn decode_any<'a>(&'a mut self, frame: &Frame<'a>) -> Result<Segment<'a>, Skip> {
        let Self { limits, counters, fragments, whole } = self;
        let mut whole = whole.iter_mut();
        let mut trail = Trail::default();
        let mut bytes = trail.start(frame, limits)?;
        loop {
            let mut packet = ip::read(bytes)?;
            if let Some(arrival) = arrival(frame.time, &trail, &packet)? {
                let slot = whole.next().ok_or(Skip::TooDeep)?;
                *slot = fragments.add(&arrival, limits, counters)?;
                packet = packet.reassembled(slot.protocol, &slot.data)?;
            }
            let (transport, content) = match packet.protocol {
                number::TCP => (Transport::Tcp, transport::tcp(&packet)?),
                number::UDP => {
                    let datagram = transport::udp(&packet)?;
                    if let Some(inner) = trail.enter(&packet, &datagram, limits, counters)? {
                        bytes = inner;
                        continue;
                    }
                    (Transport::Udp, datagram)
                }
                number::ESP => (Transport::Esp, transport::esp(&packet)?),
                _ => {
                    bytes = tunnel::over_ip(&packet)?;
                    trail.pass(packet.addresses.src(), &Header::Other, limits)?;
                    continue;
                }
            };
            if content.is_cut() {
                counters.segments_truncated = counters.segments_truncated.saturating_add(1);
            }
            return Ok(trail.segment(frame.time, transport, &packet, &content));
        }
    }
}

/// The fragment `packet` is, if it is one that may carry a segment.
fn arrival<'p>(
    time: Timestamp,
    trail: &Trail,
    packet: &Packet<'p>,
) -> Result<Option<Arrival<'p>>, Skip> {
    let Some(piece) = packet.piece else { return Ok(None) };
    ip::worth_reassembling(packet)?;
    if packet.is_cut() {
        // It can never be completed; the first one still has the transport header, like any cut copy.
        return if piece.start == 0 { Ok(None) } else { Err(Skip::Truncated) };
    }
    let Packet { addresses, protocol, payload, .. } = *packet;
    let (src, dst) = addresses.both();
    let key = Key {
        vantage: trail.vantage,
        endpoint_id: trail.endpoint_id,
        src,
        dst,
        id: piece.id,
        protocol: if addresses.is_v4() { protocol } else { number::FRAGMENT },
    };
    Ok(Some(Arrival { time, key, protocol, start: piece.start, last: piece.last, payload }))
}

/// What the layers passed so far have told.
#[derive(Debug, Default)]
struct Trail {
    vantage: Option<Vantage>,
    endpoint_id: u64,
    nesting: u8,
    /// Directly inside GENEVE of a Gateway Load Balancer: a VXLAN header here is the mirror's own.
    behind_gateway: bool,
}

impl Trail {
    /// Takes off what `frame` begins with; returns the outermost IP packet.
    fn start<'a>(&mut self, frame: &Frame<'a>, limits: &Limits) -> Result<&'a [u8], Skip> {
        let (source, inner) = match frame.link {
            Link::Type(link_type) => return link::open(link_type, frame.bytes),
            Link::Mirror { source } => (source, vxlan::open(frame.bytes)?),
            Link::MirrorGeneve { source } => (source, geneve::open(frame.bytes)?),
        };
        self.pass(source, &inner.header, limits)?;
        Ok(inner.ip)
    }

    /// Goes into a tunnel over UDP. `None`: this datagram is no tunnel.
    fn enter<'a>(
        &mut self,
        packet: &Packet<'_>,
        datagram: &Content<'a>,
        limits: &Limits,
        counters: &mut Counters,
    ) -> Result<Option<&'a [u8]>, Skip> {
        let opened = match datagram.dst_port {
            vxlan::PORT => vxlan::open(datagram.payload),
            vxlan::PORT_LINUX => vxlan::open_strict(datagram.payload),
            vxlan::PORT_GPE => vxlan::open_gpe(datagram.payload),
            geneve::PORT => geneve::open(datagram.payload),
            tunnel::GTP_U_PORT => tunnel::gtp_u(datagram),
            _ if datagram.touches(tunnel::TEREDO_PORT) => tunnel::teredo(datagram),
            _ => return Ok(None),
        };
        match opened {
            Ok(inner) => {
                self.pass(packet.addresses.src(), &inner.header, limits)?;
                Ok(Some(inner.ip))
            }
            Err(Skip::Arp) => Err(Skip::Arp),
            Err(Skip::Truncated) if datagram.is_cut() => Err(Skip::Truncated),
            Err(_) => {
                counters.tunnel_fallbacks = counters.tunnel_fallbacks.saturating_add(1);
                Ok(None)
            }
        }
    }

    /// One tunnel deeper. The first VXLAN or GENEVE layer names the vantage; behind a gateway endpoint the VXLAN layer
    /// right inside names it anew, because the outer addresses are the load balancer's.
    fn pass(&mut self, source: IpAddr, header: &Header, limits: &Limits) -> Result<(), Skip> {
        self.nesting = self.nesting.saturating_add(1);
        if self.nesting > limits.nesting_max {
            return Err(Skip::TooDeep);
        }
        let behind_gateway = std::mem::take(&mut self.behind_gateway);
        match *header {
            Header::Vxlan { vni } if self.vantage.is_none() || behind_gateway => {
                self.vantage = Some(Vantage { source, vni });
            }
            Header::Geneve { vni, endpoint_id } if self.vantage.is_none() => {
                self.vantage = Some(Vantage { source, vni });
                self.endpoint_id = endpoint_id.unwrap_or_default();
                self.behind_gateway = endpoint_id.is_some();
            }
            _ => {}
        }
        Ok(())
    }

    fn segment<'a>(
        &self,
        time: Timestamp,
        transport: Transport,
        packet: &Packet<'_>,
        content: &Content<'a>,
    ) -> Segment<'a> {
        let (src, dst) = packet.addresses.both();
        Segment {
            time,
            vantage: self.vantage,
            endpoint_id: self.endpoint_id,
            transport,
            src: Endpoint::new(src, content.src_port),
            dst: Endpoint::new(dst, content.dst_port),
            tcp: content.tcp,
            payload: content.payload,
            payload_len: u32::try_from(content.payload_len).unwrap_or(u32::MAX),
            ip_len: packet.ip_len,
        }
    }
}

/// Fragmented packets inside one another that one frame may complete.
const WHOLE_MAX: usize = 2;
