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
use crate::model::{Frame, Link, Segment, Transport, Vantage};

/// The segment in `frame`. `None` is not a refusal: the loop has to look.
pub(super) fn decode<'a>(frame: &Frame<'a>) -> Option<Segment<'a>> {
    let bytes = match frame.link {
        Link::Type(link::ETHERNET) => ethernet(frame.bytes)?,
        Link::Mirror { source } => {
            let (vni, inner) = tunnelled(frame.bytes)?;
            return innermost(frame, &ip::plain(inner)?, Some(Vantage { source, vni }));
        }
        Link::Type(_) | Link::MirrorGeneve { .. } => return None,
    };
    let packet = ip::plain(bytes)?;
    if packet.protocol == number::UDP {
        let datagram = transport::udp(&packet).ok()?;
        if datagram.dst_port == vxlan::PORT {
            let (vni, inner) = tunnelled(datagram.payload)?;
            let vantage = Vantage { source: packet.addresses.src(), vni };
            return innermost(frame, &ip::plain(inner)?, Some(vantage));
        }
    }
    innermost(frame, &packet, None)
}

/// The segment in a packet that is no tunnel.
fn innermost<'a>(
    frame: &Frame<'a>,
    packet: &Packet<'a>,
    vantage: Option<Vantage>,
) -> Option<Segment<'a>> {
    let (transport, content) = match packet.protocol {
        number::TCP => (Transport::Tcp, transport::tcp(packet).ok()?),
        number::UDP => (Transport::Udp, transport::udp(packet).ok()?),
        _ => return None,
    };
    let counted = content.is_cut();
    if counted || transport == Transport::Udp && may_be_tunnel(&content) {
        return None;
    }
    let trail = Trail { vantage, ..Trail::default() };
    Some(trail.segment(frame.time, transport, packet, &content))
}

/// Identifier and inner IP packet behind a VXLAN header.
fn tunnelled(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&[flags, _, _, _, v2, v1, v0, _], frame) = bytes.split_first_chunk()?;
    let inner = ethernet(frame)?;
    (flags & vxlan::FLAG_VNI != 0).then_some((u32::from_be_bytes([0, v2, v1, v0]), inner))
}

/// The IP packet in an Ethernet frame without tags.
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
