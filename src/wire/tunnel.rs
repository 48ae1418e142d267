//! Tunnels without a vantage: GRE (RFC 2784, 2890, 1701; PPTP RFC 2637), ERSPAN
//! (<https://datatracker.ietf.org/doc/html/draft-foschiano-erspan-03>), IP in IP (RFC 2003, 4213), Ethernet in IP (RFC 3378),
//! MPLS in IP (RFC 4023), GTP-U (3GPP TS 29.281 section 5),
//! Teredo (RFC 4380 section 5.1).

use std::fmt;

use super::{
    Skip,
    ip::{self, Packet, number},
    link::{self, kind},
    transport::Content,
};
use crate::bytes::Cursor;

/// IANA port of GTP-U.
pub(super) const GTP_U_PORT: u16 = 2152;

/// IANA port of Teredo servers and relays.
pub(super) const TEREDO_PORT: u16 = 3544;

/// What a tunnel over UDP carries.
pub(super) struct Inner<'a> {
    /// The header passed.
    pub(super) header: Header,
    /// The IP packet inside.
    pub(super) ip: &'a [u8],
}

impl fmt::Debug for Inner<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("ip", &self.ip.len()).finish_non_exhaustive()
    }
}

/// A tunnel header, as far as it tells where a copy was taken.
#[derive(Debug)]
pub(super) enum Header {
    /// VXLAN.
    Vxlan {
        /// Network identifier.
        vni: u32,
    },
    /// GENEVE.
    Geneve {
        /// Network identifier.
        vni: u32,
        /// Gateway Load Balancer endpoint.
        endpoint_id: Option<u64>,
    },
    /// Any other.
    Other,
}

impl<'a> Inner<'a> {
    /// Refuses what cannot be IP: the port alone does not prove a tunnel.
    pub(super) fn checked(ip: &'a [u8], header: Header) -> Result<Self, Skip> {
        match ip.first() {
            Some(0x45..=0x4f | 0x60..=0x6f) => Ok(Self { header, ip }),
            Some(_) => Err(Skip::NotTunnel),
            None => Err(Skip::Truncated),
        }
    }
}

/// The IP packet in the payload of an IP packet.
pub(super) fn over_ip<'a>(packet: &Packet<'a>) -> Result<&'a [u8], Skip> {
    match packet.protocol {
        number::IPV4 | number::IPV6 => Ok(packet.payload),
        number::GRE => gre(packet.payload),
        number::ETHER_IP => match packet.payload.split_first_chunk() {
            Some(([0x30, 0x00], frame)) => link::ethernet(frame),
            Some(_) => Err(Skip::BadHeader),
            None => Err(Skip::Truncated),
        },
        number::MPLS => link::ether_type(kind::MPLS, packet.payload),
        protocol => Err(ip::no_segment(protocol)),
    }
}

/// Authentication and origin headers may precede the IPv6 packet, whose length must agree with the datagram's.
pub(super) fn teredo<'a>(datagram: &Content<'a>) -> Result<Inner<'a>, Skip> {
    let mut c = Cursor::new(datagram.payload);
    while c.peek()? == 0 {
        match c.u16_be()? {
            // RFC 4380 section 5.1.1: origin indication, obfuscated port and address.
            0x0000 => c.skip(6)?,
            // Authentication: client id, authentication value, nonce, confirmation.
            0x0001 => {
                let (id, value) = (c.u8()?, c.u8()?);
                c.skip(usize::from(id).saturating_add(usize::from(value)).saturating_add(9))?;
            }
            _ => return Err(Skip::NotTunnel),
        }
    }
    let ip = c.rest();
    let mut header = c;
    let version = header.u8()? >> 4;
    header.skip(3)?;
    let length = usize::from(header.u16_be()?).saturating_add(40);
    if version != 6 || (length != ip.len() && !datagram.is_cut()) {
        return Err(Skip::NotTunnel);
    }
    // A bubble carries nothing.
    if length == 40 { Err(Skip::NotTunnel) } else { Inner::checked(ip, Header::Other) }
}

/// Only G-PDU carries user packets; anything else is GTP's own signalling and stays UDP.
pub(super) fn gtp_u<'a>(datagram: &Content<'a>) -> Result<Inner<'a>, Skip> {
    let mut c = Cursor::new(datagram.payload);
    let [flags, message] = c.array()?;
    let length = usize::from(c.u16_be()?);
    c.skip(4)?;
    let fits = length.saturating_add(8) <= datagram.payload_len;
    if flags & 0xf0 != GTP_VERSION_1 || message != GTP_G_PDU || !fits {
        return Err(Skip::NotTunnel);
    }
    if flags & (GTP_EXTENSION | GTP_SEQUENCE | GTP_N_PDU) != 0 {
        c.skip(3)?;
        gtp_extensions(&mut c)?;
    }
    Inner::checked(c.rest(), Header::Other)
}

/// Extension headers: a length in words, contents, the type of the next; type 0 ends.
fn gtp_extensions(c: &mut Cursor<'_>) -> Result<(), Skip> {
    for _ in 0..GTP_EXTENSIONS_MAX {
        if c.u8()? == 0 {
            return Ok(());
        }
        let words = usize::from(c.u8()?);
        let contents = words.saturating_mul(4).checked_sub(2).ok_or(Skip::NotTunnel)?;
        c.skip(contents)?;
    }
    Err(Skip::NotTunnel)
}

fn gre(bytes: &[u8]) -> Result<&[u8], Skip> {
    let mut c = Cursor::new(bytes);
    let flags = c.u16_be()?;
    let protocol = c.u16_be()?;
    match flags & GRE_VERSION {
        0 => {}
        1 => return pptp(flags, protocol, c),
        _ => return Err(Skip::BadHeader),
    }
    if flags & (GRE_CHECKSUM | GRE_ROUTING) != 0 {
        c.skip(4)?;
    }
    if flags & GRE_KEY != 0 {
        c.skip(4)?;
    }
    if flags & GRE_SEQUENCE != 0 {
        c.skip(4)?;
    }
    if flags & GRE_ROUTING != 0 {
        source_routes(&mut c)?;
    }
    match protocol {
        ERSPAN if flags & GRE_SEQUENCE == 0 => link::ethernet(c.rest()),
        ERSPAN => {
            c.skip(8)?;
            link::ethernet(c.rest())
        }
        ERSPAN_3 => erspan_3(c),
        WCCP => {
            // Version 2 puts a redirect header of four bytes before the packet.
            if c.peek()? >> 4 != 4 {
                c.skip(4)?;
            }
            Ok(c.rest())
        }
        _ => link::ether_type(protocol, c.rest()),
    }
}

/// Source route entries up to the one of length zero (RFC 1701).
fn source_routes(c: &mut Cursor<'_>) -> Result<(), Skip> {
    for _ in 0..GRE_ROUTES_MAX {
        let [_, _, _, length] = c.array()?;
        if length == 0 {
            return Ok(());
        }
        c.skip(usize::from(length))?;
    }
    Err(Skip::BadHeader)
}

/// Enhanced GRE of PPTP. Without a sequence number it is a bare acknowledgement.
fn pptp(flags: u16, protocol: u16, mut c: Cursor<'_>) -> Result<&[u8], Skip> {
    if protocol != kind::PPP || flags & GRE_KEY == 0 {
        return Err(Skip::BadHeader);
    }
    c.skip(4)?;
    if flags & GRE_SEQUENCE == 0 {
        return Err(Skip::NotIp);
    }
    c.skip(4)?;
    if flags & GRE_ACK != 0 {
        c.skip(4)?;
    }
    link::ether_type(kind::PPP, c.rest())
}

fn erspan_3(mut c: Cursor<'_>) -> Result<&[u8], Skip> {
    c.skip(8)?;
    let [_, _, flags_high, flags_low] = c.array()?;
    if flags_low & ERSPAN_3_SUBHEADER != 0 {
        c.skip(8)?;
    }
    match flags_high >> 2 & 0x1f {
        ERSPAN_3_ETHERNET => link::ethernet(c.rest()),
        ERSPAN_3_IP => Ok(c.rest()),
        _ => Err(Skip::NotIp),
    }
}

const GRE_CHECKSUM: u16 = 0x8000;
const GRE_ROUTING: u16 = 0x4000;
const GRE_KEY: u16 = 0x2000;
const GRE_SEQUENCE: u16 = 0x1000;
const GRE_ACK: u16 = 0x0080;
const GRE_VERSION: u16 = 0x0007;
const GRE_ROUTES_MAX: usize = 16;

const WCCP: u16 = 0x883e;
/// Type I (no header) and II.
const ERSPAN: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;
const ERSPAN_3_SUBHEADER: u8 = 0x01;
const ERSPAN_3_ETHERNET: u8 = 0;
const ERSPAN_3_IP: u8 = 2;

/// Version 1, protocol type GTP.
const GTP_VERSION_1: u8 = 0x30;
const GTP_EXTENSION: u8 = 0x04;
const GTP_SEQUENCE: u8 = 0x02;
const GTP_N_PDU: u8 = 0x01;
const GTP_G_PDU: u8 = 255;
const GTP_EXTENSIONS_MAX: usize = 8;
