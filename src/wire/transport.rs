//! TCP (RFC 9293 section 3.1), UDP (RFC 768) and ESP (RFC 4303) headers.

use std::fmt;

use super::{Skip, ip::Packet};
use crate::model::TcpHeader;

/// A transport header, read.
pub(super) struct Content<'a> {
    /// Source port, 0 for ESP.
    pub(super) src_port: u16,
    /// Destination port, 0 for ESP.
    pub(super) dst_port: u16,
    /// TCP fields.
    pub(super) tcp: Option<TcpHeader>,
    /// Payload captured.
    pub(super) payload: &'a [u8],
    /// Payload length according to the headers.
    pub(super) payload_len: usize,
}

impl fmt::Debug for Content<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("payload", &self.payload.len()).finish_non_exhaustive()
    }
}

impl Content<'_> {
    /// Whether payload is missing at the end.
    pub(super) const fn is_cut(&self) -> bool {
        self.payload.len() < self.payload_len
    }

    /// Whether either end uses this port.
    pub(super) const fn touches(&self, port: u16) -> bool {
        self.src_port == port || self.dst_port == port
    }
}

/// A TCP segment.
#[inline]
pub(super) fn tcp<'a>(packet: &Packet<'a>) -> Result<Content<'a>, Skip> {
    let (header, rest) =
        packet.payload.split_first_chunk::<20>().ok_or_else(|| short(packet, 20))?;
    let [s1, s0, d1, d0, q3, q2, q1, q0, a3, a2, a1, a0, offset, flags, ..] = *header;
    let header_len = usize::from(offset >> 4).saturating_mul(4);
    let options = header_len.checked_sub(20).ok_or(Skip::BadHeader)?;
    let payload_len = packet.payload_len.checked_sub(header_len).ok_or(Skip::BadHeader)?;
    // A copy cut within the options still tells ports, flags and numbers.
    let payload = rest.get(options..).unwrap_or_default();
    Ok(Content {
        src_port: u16::from_be_bytes([s1, s0]),
        dst_port: u16::from_be_bytes([d1, d0]),
        tcp: Some(TcpHeader {
            seq: u32::from_be_bytes([q3, q2, q1, q0]),
            ack: u32::from_be_bytes([a3, a2, a1, a0]),
            flags,
        }),
        payload,
        payload_len,
    })
}

/// A UDP datagram. A length of zero (jumbogram, offloaded) or beyond the packet yields to what IP says.
#[inline]
pub(super) fn udp<'a>(packet: &Packet<'a>) -> Result<Content<'a>, Skip> {
    let (header, rest) = packet.payload.split_first_chunk::<8>().ok_or_else(|| short(packet, 8))?;
    let [s1, s0, d1, d0, l1, l0, _, _] = *header;
    let declared = match usize::from(u16::from_be_bytes([l1, l0])) {
        0 => packet.payload_len,
        length => length.min(packet.payload_len),
    };
    let payload_len = declared.checked_sub(8).ok_or(Skip::BadHeader)?;
    Ok(Content {
        src_port: u16::from_be_bytes([s1, s0]),
        dst_port: u16::from_be_bytes([d1, d0]),
        tcp: None,
        payload: rest.get(..payload_len).unwrap_or(rest),
        payload_len,
    })
}

/// An ESP packet: no ports; the payload begins with SPI and sequence number.
pub(super) fn esp<'a>(packet: &Packet<'a>) -> Result<Content<'a>, Skip> {
    if packet.payload.len() < 8 {
        return Err(short(packet, 8));
    }
    Ok(Content {
        src_port: 0,
        dst_port: 0,
        tcp: None,
        payload: packet.payload,
        payload_len: packet.payload_len,
    })
}

/// Why a header of `length` bytes is not there: never sent, or cut off.
const fn short(packet: &Packet<'_>, length: usize) -> Skip {
    if packet.payload_len < length { Skip::BadHeader } else { Skip::Truncated }
}
