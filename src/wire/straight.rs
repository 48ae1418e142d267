//! The usual stack in one pass: Ethernet, IPv4 or IPv6, and either TCP or UDP, or UDP with VXLAN and the same again inside.
//!
//! Nearly all mirrored frames are of this kind. Anything odd is left to [`Decoder::decode`](super::Decoder::decode)'s loop,
//! which the tests hold this against.

use super::{
    Trail, geneve,
    ip::{self, Packet, number},
    link::{self, kind},
    transport::{self, Content},
    tunnel, vxlan,
};
use crate::model::{Frame, Link, Segment, Timestamp, Transport, Vantage};

/// What a frame of the usual stack carries.
#[derive(Debug)]
pub struct Straight<'a> {
    vantage: Option<Vantage>,
    transport: Transport,
    packet: Packet<'a>,
    content: Content<'a>,
}

/// Walks through `frame`. `None` is not a refusal: the loop has to look.
#[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
#[inline(always)]
pub(super) fn walk<'a>(frame: &Frame<'a>) -> Option<Straight<'a>> {
    let (ip, mut vantage) = match frame.link {
        Link::Type(link::ETHERNET) => (ethernet(frame.bytes)?, None),
        Link::Mirror { source } => {
            let (vni, inner) = tunnelled(frame.bytes)?;
            (inner, Some(Vantage { source, vni }))
        }
        Link::Type(_) | Link::MirrorGeneve { .. } => return None,
    };
    let mut packet = ip::plain(ip)?;
    if vantage.is_none() && packet.protocol == number::UDP {
        let datagram = transport::udp(&packet).ok()?;
        if datagram.dst_port == vxlan::PORT {
            let (vni, inner) = tunnelled(datagram.payload)?;
            vantage = Some(Vantage { source: packet.addresses.src(), vni });
            packet = ip::plain(inner)?;
        }
    }
    innermost(packet, vantage)
}

/// A packet that is no tunnel.
#[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
#[inline(always)]
fn innermost(packet: Packet<'_>, vantage: Option<Vantage>) -> Option<Straight<'_>> {
    let (transport, content) = match packet.protocol {
        number::TCP => (Transport::Tcp, transport::tcp(&packet).ok()?),
        number::UDP => (Transport::Udp, transport::udp(&packet).ok()?),
        _ => return None,
    };
    let counted = content.is_cut();
    if counted || transport == Transport::Udp && may_be_tunnel(&content) {
        return None;
    }
    Some(Straight { vantage, transport, packet, content })
}

impl<'a> Straight<'a> {
    /// The segment, with its payload.
    #[inline]
    pub fn segment(&self, time: Timestamp) -> Segment<'a> {
        let trail = Trail { vantage: self.vantage, ..Trail::default() };
        trail.segment(time, self.transport, &self.packet, &self.content)
    }
}

/// Identifier and inner IP packet behind a VXLAN header.
#[allow(clippy::inline_always, reason = "a few instructions, from two places")]
#[inline(always)]
fn tunnelled(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&[flags, _, _, _, v2, v1, v0, _], frame) = bytes.split_first_chunk()?;
    let inner = ethernet(frame)?;
    (flags & vxlan::FLAG_VNI != 0).then_some((u32::from_be_bytes([0, v2, v1, v0]), inner))
}

/// The IP packet in an Ethernet frame without tags.
#[inline]
fn ethernet(bytes: &[u8]) -> Option<&[u8]> {
    let (&[.., t1, t0], packet) = bytes.split_first_chunk::<14>()?;
    matches!(u16::from_be_bytes([t1, t0]), kind::IPV4 | kind::IPV6).then_some(packet)
}

/// Whether the loop would look for a tunnel in this datagram.
fn may_be_tunnel(datagram: &Content<'_>) -> bool {
    matches!(
        datagram.dst_port,
        vxlan::PORT | vxlan::PORT_LINUX | vxlan::PORT_GPE | geneve::PORT | tunnel::GTP_U_PORT
    ) || datagram.touches(tunnel::TEREDO_PORT)
}
