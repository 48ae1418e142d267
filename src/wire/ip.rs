//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.
//!
//! Packets without options, extension headers or fragments, nearly all there are, are read by hand; everything else by
//! etherparse, which is also what the tests hold the short way against.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::{
    IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, LaxIpSlice, LaxIpv4Slice, LaxIpv6Slice,
    err::{ip::LaxHeaderSliceError, ipv6_exts::HeaderSliceError},
};

use super::Skip;

/// An IP header, read.
#[derive(PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Source and destination.
    pub(super) addresses: Addresses<'a>,
    /// What the payload is.
    pub(super) protocol: u8,
    /// Payload captured, without what follows the packet in the frame.
    pub(super) payload: &'a [u8],
    /// Payload length according to the header.
    pub(super) payload_len: usize,
    /// Packet length according to the header.
    pub(super) ip_len: u32,
    /// Set on a fragment.
    pub(super) piece: Option<Piece>,
}

impl fmt::Debug for Packet<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("protocol", &self.protocol)
            .field("payload", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Source and destination as they stand in the header: only the innermost packet's are wanted as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses<'a> {
    /// Four bytes each.
    V4(&'a [u8; 8]),
    /// Sixteen bytes each.
    V6(&'a [u8; 32]),
}

impl Addresses<'_> {
    /// Source and destination.
    pub(super) fn both(self) -> (IpAddr, IpAddr) {
        match self {
            Self::V4(bytes) => {
                let half = |at| chunk_at(bytes, at).map_or(0, |half| u32::from_be_bytes(*half));
                (Ipv4Addr::from_bits(half(0)).into(), Ipv4Addr::from_bits(half(4)).into())
            }
            Self::V6(bytes) => {
                let half = |at| chunk_at(bytes, at).map_or(0, |half| u128::from_be_bytes(*half));
                (Ipv6Addr::from_bits(half(0)).into(), Ipv6Addr::from_bits(half(16)).into())
            }
        }
    }

    /// Source.
    pub(super) fn src(self) -> IpAddr {
        self.both().0
    }

    /// Whether the packet is IPv4.
    pub(super) const fn is_v4(self) -> bool {
        matches!(self, Self::V4(_))
    }
}

/// Place of a fragment in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Identification.
    pub(super) id: u32,
    /// Offset in bytes.
    pub(super) start: u16,
    /// Whether none follows.
    pub(super) last: bool,
}

impl<'a> Packet<'a> {
    /// Whether payload is missing at the end.
    pub(super) const fn is_cut(&self) -> bool {
        self.payload.len() < self.payload_len
    }

    /// The packet with its whole payload; an authentication header or IPv6 extensions may come first in it.
    pub(super) fn reassembled(self, protocol: u8, data: &'a [u8]) -> Result<Self, Skip> {
        let header_len: usize = if self.addresses.is_v4() { 20 } else { 40 };
        let mut whole = Self {
            protocol,
            payload: data,
            payload_len: data.len(),
            ip_len: length(header_len.saturating_add(data.len())),
            piece: None,
            ..self
        };
        if !self.addresses.is_v4() || protocol == number::AUTH {
            let (extensions, next, payload, stop) =
                Ipv6ExtensionsSlice::from_slice_lax(IpNumber(protocol), data);
            if stop.is_some() || extensions.is_fragmenting_payload() {
                return Err(Skip::BadHeader);
            }
            (whole.protocol, whole.payload, whole.payload_len) = (next.0, payload, payload.len());
        }
        Ok(whole)
    }
}

/// Reads the IP header and what stands between it and the transport header.
pub(super) fn read(bytes: &[u8]) -> Result<Packet<'_>, Skip> {
    match plain(bytes) {
        Some(packet) => Ok(packet),
        None => lax(bytes),
    }
}

/// Whether a fragment can be part of something we look into.
pub(super) const fn worth_reassembling(packet: &Packet<'_>) -> Result<(), Skip> {
    match packet.protocol {
        number::TCP
        | number::UDP
        | number::ESP
        | number::IPV4
        | number::IPV6
        | number::GRE
        | number::ETHER_IP
        | number::MPLS
        | number::AUTH => Ok(()),
        number::HOP_BY_HOP | number::ROUTING | number::DESTINATION if !packet.addresses.is_v4() => {
            Ok(())
        }
        protocol => Err(no_segment(protocol)),
    }
}

/// Why `protocol` gives no segment.
pub(super) const fn no_segment(protocol: u8) -> Skip {
    match protocol {
        number::ICMP | number::ICMPV6 => Skip::Icmp,
        _ => Skip::NotTransport,
    }
}

/// The short way. `None` is not a refusal: [`lax`] has to look.
#[allow(clippy::inline_always, reason = "of an outer packet hardly any field is wanted")]
#[inline(always)]
pub(super) fn plain(bytes: &[u8]) -> Option<Packet<'_>> {
    match bytes.first()? {
        0x45 => plain_v4(bytes),
        0x60..=0x6f => plain_v6(bytes),
        _ => None,
    }
}

#[allow(clippy::inline_always, reason = "as its caller")]
#[inline(always)]
fn plain_v4(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&[_, _, l1, l0, _, _, f1, f0, _, protocol, _, _], rest) = bytes.split_first_chunk()?;
    let (addresses, rest) = rest.split_first_chunk()?;
    if u16::from_be_bytes([f1, f0]) & FRAGMENT_BITS != 0 || protocol == number::AUTH {
        return None;
    }
    let total = u16::from_be_bytes([l1, l0]);
    let payload_len = usize::from(total.checked_sub(20)?);
    Some(Packet {
        addresses: Addresses::V4(addresses),
        protocol,
        payload: rest.get(..payload_len).unwrap_or(rest),
        payload_len,
        ip_len: u32::from(total),
        piece: None,
    })
}

fn plain_v6(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&[_, _, _, _, l1, l0, next, _], rest) = bytes.split_first_chunk()?;
    let (addresses, rest) = rest.split_first_chunk()?;
    let length = u16::from_be_bytes([l1, l0]);
    let extended = matches!(
        next,
        number::HOP_BY_HOP
            | number::ROUTING
            | number::FRAGMENT
            | number::AUTH
            | number::DESTINATION
    );
    if extended || length == 0 {
        return None;
    }
    let payload_len = usize::from(length);
    Some(Packet {
        addresses: Addresses::V6(addresses),
        protocol: next,
        payload: rest.get(..payload_len).unwrap_or(rest),
        payload_len,
        ip_len: u32::from(length).saturating_add(40),
        piece: None,
    })
}

/// The long way.
fn lax(bytes: &[u8]) -> Result<Packet<'_>, Skip> {
    let (ip, stop) = LaxIpSlice::from_slice(bytes).map_err(|error| match error {
        LaxHeaderSliceError::Len(_) => Skip::Truncated,
        LaxHeaderSliceError::Content(_) => Skip::BadHeader,
    })?;
    let packet = match &ip {
        LaxIpSlice::Ipv4(v4) => lax_v4(v4, bytes)?,
        LaxIpSlice::Ipv6(v6) => lax_v6(v6, bytes)?,
    };
    match stop {
        // What stops the reading of a fragment lies behind its header, where data is.
        Some((HeaderSliceError::Len(_), _)) if packet.piece.is_none() && packet.is_cut() => {
            Err(Skip::Truncated)
        }
        Some(_) if packet.piece.is_none() => Err(Skip::BadHeader),
        _ => Ok(packet),
    }
}

fn lax_v4<'a>(v4: &LaxIpv4Slice<'a>, bytes: &'a [u8]) -> Result<Packet<'a>, Skip> {
    let header = v4.header();
    let header_len = header.slice().len();
    // Zero: segmentation was left to the network card, the captured length is all there is.
    let total = match usize::from(header.total_len()) {
        0 => bytes.len(),
        total => total,
    };
    let body_len = total.checked_sub(header_len).ok_or(Skip::BadHeader)?;
    let body = bytes.get(header_len..).unwrap_or_default();
    let mut packet = Packet {
        addresses: Addresses::V4(chunk_at(bytes, 12)?),
        protocol: header.protocol().0,
        payload: body.get(..body_len).unwrap_or(body),
        payload_len: body_len,
        ip_len: length(total),
        piece: None,
    };
    if v4.is_payload_fragmented() {
        packet.piece = Some(Piece {
            id: u32::from(header.identification()),
            start: header.fragments_offset().byte_offset(),
            last: !header.more_fragments(),
        });
    } else {
        let skipped = v4.extensions().auth.map_or(0, |auth| auth.slice().len());
        packet.protocol = v4.payload_ip_number().0;
        packet.payload = v4.payload().payload;
        packet.payload_len = body_len.saturating_sub(skipped);
    }
    Ok(packet)
}

fn lax_v6<'a>(v6: &LaxIpv6Slice<'a>, bytes: &'a [u8]) -> Result<Packet<'a>, Skip> {
    let header = v6.header();
    let body = bytes.get(40..).unwrap_or_default();
    let body_len = match usize::from(header.payload_length()) {
        0 => body.len(),
        length => length,
    };
    let body = body.get(..body_len).unwrap_or(body);
    let mut packet = Packet {
        addresses: Addresses::V6(chunk_at(bytes, 8)?),
        protocol: v6.payload().ip_number.0,
        payload: v6.payload().payload,
        payload_len: body_len.saturating_sub(v6.extensions().slice().len()),
        ip_len: length(body_len.saturating_add(40)),
        piece: None,
    };
    if v6.is_payload_fragmented() {
        let (skipped, protocol, piece) = fragment_header(v6.extensions()).ok_or(Skip::BadHeader)?;
        packet.protocol = protocol;
        packet.payload = body.get(skipped..).ok_or(Skip::Truncated)?;
        packet.payload_len = body_len.saturating_sub(skipped);
        packet.piece = Some(piece);
    }
    Ok(packet)
}

/// The first fragment header that fragments: bytes up to its end, what follows it, the place in the datagram. Whatever
/// seems to be an extension behind it is fragment data.
fn fragment_header(extensions: &Ipv6ExtensionsSlice<'_>) -> Option<(usize, u8, Piece)> {
    let mut skipped: usize = 0;
    for extension in extensions.clone() {
        let length = match &extension {
            Ipv6ExtensionSlice::HopByHop(e)
            | Ipv6ExtensionSlice::Routing(e)
            | Ipv6ExtensionSlice::DestinationOptions(e) => e.slice().len(),
            Ipv6ExtensionSlice::Fragment(e) => e.slice().len(),
            Ipv6ExtensionSlice::Authentication(e) => e.slice().len(),
        };
        skipped = skipped.saturating_add(length);
        if let Ipv6ExtensionSlice::Fragment(e) = &extension
            && e.is_fragmenting_payload()
        {
            let piece = Piece {
                id: e.identification(),
                start: e.fragment_offset().byte_offset(),
                last: !e.more_fragments(),
            };
            return Some((skipped, e.next_header().0, piece));
        }
    }
    None
}

fn chunk_at<const N: usize>(bytes: &[u8], at: usize) -> Result<&[u8; N], Skip> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Skip::Truncated)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// IANA *Assigned Internet Protocol Numbers*.
pub(super) mod number {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(in super::super) const IPV4: u8 = 4;
    pub(in super::super) const TCP: u8 = 6;
    pub(in super::super) const UDP: u8 = 17;
    pub(in super::super) const IPV6: u8 = 41;
    pub(super) const ROUTING: u8 = 43;
    pub(in super::super) const FRAGMENT: u8 = 44;
    pub(in super::super) const GRE: u8 = 47;
    pub(in super::super) const ESP: u8 = 50;
    pub(super) const AUTH: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const DESTINATION: u8 = 60;
    pub(in super::super) const ETHER_IP: u8 = 97;
    pub(in super::super) const MPLS: u8 = 137;
}

/// More-fragments flag and fragment offset.
pub(super) const FRAGMENT_BITS: u16 = 0x3fff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            cases: 2000,
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_short_way_is_the_long_way(
            v6 in any::<bool>(),
            mut bytes in prop::collection::vec(any::<u8>(), 20..120),
            length in prop_oneof![0..120u16, any::<u16>()],
            plain_fragment_field in any::<bool>(),
        ) {
            bytes[0] = if v6 { 0x60 } else { 0x45 };
            let at = if v6 { 4 } else { 2 };
            bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
            if plain_fragment_field && !v6 {
                (bytes[6], bytes[7]) = (0x40, 0);
            }
            if let Some(packet) = plain(&bytes) {
                prop_assert_eq!(Ok(packet), lax(&bytes));
            }
        }
    }

    #[test]
    fn the_short_way_is_taken_for_plain_packets_only() {
        let mut v4 = [0u8; 28];
        (v4[0], v4[3], v4[9]) = (0x45, 28, 17);
        assert!(plain(&v4).is_some());
        for (at, value) in [(0, 0x46), (3, 19), (6, 0x20), (7, 1), (9, 51)] {
            let mut odd = v4;
            odd[at] = value;
            assert!(plain(&odd).is_none(), "{at} {value}");
        }
        let mut v6 = [0u8; 48];
        (v6[0], v6[5], v6[6]) = (0x60, 8, 17);
        assert!(plain(&v6).is_some());
        for (at, value) in [(5, 0), (6, 0), (6, 43), (6, 44), (6, 51), (6, 60)] {
            let mut odd = v6;
            odd[at] = value;
            assert!(plain(&odd).is_none(), "{at} {value}");
        }
    }
}
