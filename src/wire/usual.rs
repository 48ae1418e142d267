//! Nearly every packet of a busy network, as a handful of integers: TCP over IPv4 over Ethernet, all of it captured,
//! plain or inside VXLAN over IPv4. For flows of which only the counters move on nothing else is needed.

use super::{
    ip::{FRAGMENT_BITS, number},
    link::{self, kind},
    vxlan,
};
use crate::model::{Frame, Link, TcpHeader};

/// A whole TCP segment over IPv4, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    /// Outer source and VNI of the mirrored copy; `None` without encapsulation.
    pub vantage: Option<(u32, u32)>,
    /// Sender's address and port.
    pub src: (u32, u16),
    /// Receiver's address and port.
    pub dst: (u32, u16),
    /// TCP header fields.
    pub tcp: TcpHeader,
    /// Payload length.
    pub payload_len: u32,
    /// Length of the innermost IP packet.
    pub ip_len: u32,
}

/// The segment in `frame`. `None` is not a refusal: [`Decoder::decode`](super::Decoder::decode) has to look.
pub fn usual(frame: &Frame<'_>) -> Option<Usual> {
    match frame.link {
        Link::Type(link::ETHERNET) => {
            let packet = ethernet(frame.bytes)?;
            let (header, rest) = packet.split_first_chunk::<20>()?;
            match header[9] {
                number::TCP => segment(packet, None),
                number::UDP => {
                    let total = total(header)?;
                    let (udp, inside) = rest.split_first_chunk::<8>()?;
                    let length = u16::from_be_bytes([udp[4], udp[5]]);
                    let mirrored = u16::from_be_bytes([udp[2], udp[3]]) == vxlan::PORT;
                    // The datagram is all of the packet, and the packet all of the frame.
                    if !mirrored
                        || length.checked_add(20)? != total
                        || packet.len() != usize::from(total)
                    {
                        return None;
                    }
                    tunnelled(
                        inside,
                        u32::from_be_bytes([header[12], header[13], header[14], header[15]]),
                    )
                }
                _ => None,
            }
        }
        Link::Mirror { source: std::net::IpAddr::V4(source) } => {
            tunnelled(frame.bytes, source.to_bits())
        }
        Link::Type(_) | Link::Mirror { .. } | Link::MirrorGeneve { .. } => None,
    }
}

fn tunnelled(bytes: &[u8], source: u32) -> Option<Usual> {
    let (&[flags, _, _, _, v2, v1, v0, _], inner) = bytes.split_first_chunk()?;
    let vni = u32::from_be_bytes([0, v2, v1, v0]);
    if flags & vxlan::FLAG_VNI == 0 {
        return None;
    }
    segment(ethernet(inner)?, Some((source, vni)))
}

/// The IPv4 packet in an Ethernet frame without tags.
fn ethernet(bytes: &[u8]) -> Option<&[u8]> {
    let (&[.., t1, t0], packet) = bytes.split_first_chunk::<14>()?;
    (u16::from_be_bytes([t1, t0]) == kind::IPV4).then_some(packet)
}

/// Length of a packet without options that is no fragment.
fn total(header: &[u8; 20]) -> Option<u16> {
    let whole =
        header[0] == 0x45 && u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_BITS == 0;
    whole.then(|| u16::from_be_bytes([header[2], header[3]]))
}

fn segment(packet: &[u8], vantage: Option<(u32, u32)>) -> Option<Usual> {
    let h: &[u8; 40] = packet.first_chunk()?;
    let total = total(packet.first_chunk()?)?;
    if h[9] != number::TCP || packet.len() < usize::from(total) {
        return None;
    }
    let header_len = u16::from(h[32] >> 4).checked_mul(4).filter(|length| *length >= 20)?;
    let payload_len = total.checked_sub(20)?.checked_sub(header_len)?;
    Some(Usual {
        vantage,
        src: (u32::from_be_bytes([h[12], h[13], h[14], h[15]]), u16::from_be_bytes([h[20], h[21]])),
        dst: (u32::from_be_bytes([h[16], h[17], h[18], h[19]]), u16::from_be_bytes([h[22], h[23]])),
        tcp: TcpHeader {
            seq: u32::from_be_bytes([h[24], h[25], h[26], h[27]]),
            ack: u32::from_be_bytes([h[28], h[29], h[30], h[31]]),
            flags: h[33],
        },
        payload_len: u32::from(payload_len),
        ip_len: u32::from(total),
    })
}
