//! Link layers down to IP. Link types: <https://www.tcpdump.org/linktypes.html>; IEEE 802.3, 802.1Q, 802.1ad;
//! RFC 1042 (SNAP), RFC 3032 (MPLS), RFC 4385 (control word), RFC 2516 (`PPPoE`), RFC 1661 (PPP), RFC 8300 (NSH).

use super::Skip;
use crate::bytes::Cursor;

/// Whether frames of this pcap `LINKTYPE_` can be read.
pub const fn link_supported(link_type: u32) -> bool {
    matches!(
        link_type,
        NULL | ETHERNET
            | PPP
            | RAW_BSD
            | RAW_OPENBSD
            | PPP_HDLC
            | RAW
            | LOOP
            | LINUX_SLL
            | IPV4
            | IPV6
            | LINUX_SLL2
    )
}

/// The IP packet in a frame of this link type.
pub(super) fn open(link_type: u32, bytes: &[u8]) -> Result<&[u8], Skip> {
    match link_type {
        ETHERNET => ethernet(bytes),
        RAW | RAW_BSD | RAW_OPENBSD => Ok(bytes),
        IPV4 => version(4, bytes),
        IPV6 => version(6, bytes),
        NULL | LOOP => loopback(bytes),
        LINUX_SLL => cooked(bytes),
        LINUX_SLL2 => cooked_v2(bytes),
        PPP | PPP_HDLC => ether_type(kind::PPP, bytes),
        _ => Err(Skip::LinkType),
    }
}

/// The IP packet in an Ethernet frame.
pub(super) fn ethernet(bytes: &[u8]) -> Result<&[u8], Skip> {
    ether_type(kind::ETHERNET, bytes)
}

/// The IP packet in what `first`, an `EtherType`, announces.
pub(super) fn ether_type(first: u16, bytes: &[u8]) -> Result<&[u8], Skip> {
    let mut c = Cursor::new(bytes);
    let mut next = first;
    for _ in 0..LAYERS_MAX {
        next = match next {
            kind::IPV4 | kind::IPV6 => return Ok(c.rest()),
            kind::ETHERNET => {
                c.skip(12)?;
                c.u16_be()?
            }
            kind::FABRIC_PATH => {
                c.skip(2)?;
                kind::ETHERNET
            }
            kind::VLAN | kind::QINQ | kind::QINQ_OLD | kind::QINQ_OLDER => {
                c.skip(2)?;
                c.u16_be()?
            }
            kind::MPLS | kind::MPLS_UPSTREAM => mpls(&mut c)?,
            kind::PPPOE => pppoe(&mut c)?,
            kind::PPP => ppp(&mut c)?,
            kind::NSH => nsh(&mut c)?,
            kind::ARP | kind::RARP => return Err(Skip::Arp),
            0..=kind::LENGTH_MAX => snap(&mut c)?,
            _ => return Err(Skip::NotIp),
        };
    }
    Err(Skip::TooDeep)
}

/// One label; what the bottom of the stack carries is told by its first nibble (RFC 4928).
fn mpls(c: &mut Cursor<'_>) -> Result<u16, Skip> {
    let bottom = c.u32_be()? & 0x100 != 0;
    if !bottom {
        return Ok(kind::MPLS);
    }
    match c.peek()? >> 4 {
        4 => Ok(kind::IPV4),
        6 => Ok(kind::IPV6),
        // A control word, unless a frame without one begins with a MAC address that looks like it.
        0 if !begins_with_ethernet(*c) => {
            c.skip(4)?;
            Ok(kind::ETHERNET)
        }
        _ => Ok(kind::ETHERNET),
    }
}

fn begins_with_ethernet(mut c: Cursor<'_>) -> bool {
    let known =
        |t| matches!(t, kind::IPV4 | kind::IPV6 | kind::ARP | kind::VLAN | kind::QINQ | kind::MPLS);
    c.skip(12).is_ok() && c.u16_be().is_ok_and(known)
}

fn pppoe(c: &mut Cursor<'_>) -> Result<u16, Skip> {
    let [version_type, code, ..] = c.array::<6>()?;
    if version_type != 0x11 || code != 0 {
        return Err(Skip::NotIp);
    }
    Ok(kind::PPP)
}

/// Address and control may be left out, and the protocol be one byte (RFC 1661 section 6.5, RFC 1662 section 3.1).
fn ppp(c: &mut Cursor<'_>) -> Result<u16, Skip> {
    if c.peek()? == 0xff && c.array()? != [0xff, 0x03] {
        return Err(Skip::NotIp);
    }
    let protocol = match c.peek()? & 1 {
        0 => c.u16_be()?,
        _ => u16::from(c.u8()?),
    };
    match protocol {
        0x0021 => Ok(kind::IPV4),
        0x0057 => Ok(kind::IPV6),
        0x0281 => Ok(kind::MPLS),
        _ => Err(Skip::NotIp),
    }
}

fn nsh(c: &mut Cursor<'_>) -> Result<u16, Skip> {
    let [_, length, _, next] = c.array()?;
    let words = usize::from(length & 0x3f);
    let rest = words.saturating_mul(4).checked_sub(4).ok_or(Skip::BadHeader)?;
    c.skip(rest)?;
    match next {
        1 => Ok(kind::IPV4),
        2 => Ok(kind::IPV6),
        3 => Ok(kind::ETHERNET),
        4 => Ok(kind::NSH),
        5 => Ok(kind::MPLS),
        _ => Err(Skip::NotIp),
    }
}

/// An 802.3 length instead of a type: IP can follow only by SNAP.
fn snap(c: &mut Cursor<'_>) -> Result<u16, Skip> {
    let [0xaa, 0xaa, 0x03, 0, 0, 0, high, low] = c.array::<8>()? else { return Err(Skip::NotIp) };
    Ok(u16::from_be_bytes([high, low]))
}

/// Link types that promise an IP version are held to it.
fn version(promised: u8, bytes: &[u8]) -> Result<&[u8], Skip> {
    match bytes.first() {
        Some(first) if first >> 4 == promised => Ok(bytes),
        Some(_) => Err(Skip::BadHeader),
        None => Err(Skip::Truncated),
    }
}

/// The address family of the capturing system, in its byte order (`LINKTYPE_NULL`) or in network order. Some systems put
/// an `EtherType` into the last two bytes instead.
fn loopback(bytes: &[u8]) -> Result<&[u8], Skip> {
    let mut c = Cursor::new(bytes);
    let family = c.u32_be()?;
    match family.min(family.swap_bytes()) {
        // AF_INET; AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin.
        2 | 10 | 23 | 24 | 28 | 30 => Ok(c.rest()),
        _ if matches!(family & 0xffff, 0x0800 | 0x86dd) => Ok(c.rest()),
        _ => Err(Skip::NotIp),
    }
}

fn cooked(bytes: &[u8]) -> Result<&[u8], Skip> {
    let mut c = Cursor::new(bytes);
    c.skip(2)?;
    let hardware = c.u16_be()?;
    c.skip(10)?;
    let protocol = c.u16_be()?;
    cooked_payload(hardware, protocol, c.rest())
}

fn cooked_v2(bytes: &[u8]) -> Result<&[u8], Skip> {
    let mut c = Cursor::new(bytes);
    let protocol = c.u16_be()?;
    c.skip(6)?;
    let hardware = c.u16_be()?;
    c.skip(10)?;
    cooked_payload(hardware, protocol, c.rest())
}

fn cooked_payload(hardware: u16, protocol: u16, rest: &[u8]) -> Result<&[u8], Skip> {
    match hardware {
        ARPHRD_NETLINK | ARPHRD_FRAD | ARPHRD_RADIOTAP => Err(Skip::NotIp),
        _ => ether_type(protocol, rest),
    }
}

/// What can follow, as `EtherType` (IANA *IEEE 802 Numbers*).
pub(super) mod kind {
    /// Up to here the field is an 802.3 length.
    pub(super) const LENGTH_MAX: u16 = 1500;
    pub(in super::super) const IPV4: u16 = 0x0800;
    pub(super) const ARP: u16 = 0x0806;
    /// Transparent Ethernet bridging.
    pub(in super::super) const ETHERNET: u16 = 0x6558;
    pub(super) const RARP: u16 = 0x8035;
    pub(in super::super) const VLAN: u16 = 0x8100;
    pub(in super::super) const IPV6: u16 = 0x86dd;
    pub(in super::super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(super) const PPPOE: u16 = 0x8864;
    pub(in super::super) const PPP: u16 = 0x880b;
    pub(in super::super) const QINQ: u16 = 0x88a8;
    /// Cisco Fabric Path: a forwarding tag, then the whole Ethernet frame.
    pub(super) const FABRIC_PATH: u16 = 0x8903;
    pub(in super::super) const NSH: u16 = 0x894f;
    pub(super) const QINQ_OLD: u16 = 0x9100;
    pub(super) const QINQ_OLDER: u16 = 0x9200;
}

/// Tags, labels and headers between the start of a frame and IP.
const LAYERS_MAX: usize = 16;

const NULL: u32 = 0;
pub(super) const ETHERNET: u32 = 1;
const PPP: u32 = 9;
const RAW_BSD: u32 = 12;
const RAW_OPENBSD: u32 = 14;
const PPP_HDLC: u32 = 50;
const RAW: u32 = 101;
const LOOP: u32 = 108;
const LINUX_SLL: u32 = 113;
const IPV4: u32 = 228;
const IPV6: u32 = 229;
const LINUX_SLL2: u32 = 276;

const ARPHRD_FRAD: u16 = 770;
const ARPHRD_RADIOTAP: u16 = 803;
const ARPHRD_NETLINK: u16 = 824;

#[cfg(test)]
mod tests {
    use super::*;

    /// Four bytes that stand for an IP packet.
    pub(super) const IP: [u8; 4] = [0x45, 0, 0, 4];

    #[test]
    fn every_link_layer_leads_to_ip() {
        let mac = "020000000001 020000000002";
        let cases: [(u32, &str); 31] = [
            (ETHERNET, &format!("{mac} 0800")),
            (ETHERNET, &format!("{mac} 86dd")),
            (ETHERNET, &format!("{mac} 8100 0064 0800")),
            (ETHERNET, &format!("{mac} 88a8 0064 8100 0065 0800")),
            (ETHERNET, &format!("{mac} 9100 0064 9200 0065 8100 0066 86dd")),
            (ETHERNET, &format!("{mac} 8847 00010140")),
            (ETHERNET, &format!("{mac} 8847 00010040 00011040 00012140")),
            (ETHERNET, &format!("{mac} 8847 00010140 00000000 {mac} 0800")),
            (ETHERNET, &format!("{mac} 8847 00010140 {mac} 0800")),
            (ETHERNET, &format!("{mac} 8848 00010140")),
            (ETHERNET, &format!("{mac} 8903 0ab2 {mac} 8100 0064 0800")),
            (ETHERNET, &format!("{mac} 8864 11000001 0006 0021")),
            (ETHERNET, &format!("{mac} 8100 0064 8864 11000001 0006 0057")),
            (ETHERNET, &format!("{mac} 8864 11000001 0006 0281 00010140")),
            (ETHERNET, &format!("{mac} 000c aaaa03 000000 0800")),
            (ETHERNET, &format!("{mac} 894f 0fc2 0201 00000100")),
            (ETHERNET, &format!("{mac} 894f 0006 0101 000001000000000100000002 0000000300000004")),
            (RAW, ""),
            (RAW_BSD, ""),
            (RAW_OPENBSD, ""),
            (IPV4, ""),
            (NULL, "02000000"),
            (NULL, "0000001e"),
            (NULL, "0f000800"),
            (LOOP, "00000002"),
            (LOOP, "00000018"),
            (LINUX_SLL, "0000 0001 0006 0200000000010000 0800"),
            (LINUX_SLL, "0000 0001 0006 0200000000010000 8100 0064 86dd"),
            (LINUX_SLL2, "0800 0000 00000002 0001 00 06 0200000000010000"),
            (PPP, "ff03 0021"),
            (PPP_HDLC, "57"),
        ];
        for (link_type, header) in cases {
            let mut frame = super::super::tests::hex(header);
            let header_len = frame.len();
            frame.extend_from_slice(&IP);
            let got = open(link_type, &frame);
            assert_eq!(got, Ok(&IP[..]), "{link_type} {header}");
            assert!(link_supported(link_type));
            for cut in 0..header_len {
                let got = open(link_type, &frame[..cut]);
                assert!(got.is_err() || link_type >= RAW, "{link_type} {header} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_not_ip_has_its_reason() {
        let mac = "020000000001 020000000002";
        let many = "8100 0001 ".repeat(20);
        let cases: [(u32, &str, Skip); 17] = [
            (IPV4, "60", Skip::BadHeader),
            (IPV6, "45", Skip::BadHeader),
            (ETHERNET, &format!("{mac} 0806 0001"), Skip::Arp),
            (ETHERNET, &format!("{mac} 8100 0001 0806"), Skip::Arp),
            (ETHERNET, &format!("{mac} 8035 0001"), Skip::Arp),
            (ETHERNET, &format!("{mac} 88cc 0207"), Skip::NotIp),
            (ETHERNET, &format!("{mac} 0026 424203 0000000000"), Skip::NotIp),
            (ETHERNET, &format!("{mac} 8863 1109 0000 0004"), Skip::NotIp),
            (ETHERNET, &format!("{mac} 8864 11000001 0006 c021"), Skip::NotIp),
            (ETHERNET, &format!("{mac} 894f 0000 0101 00000001"), Skip::BadHeader),
            (ETHERNET, &format!("{mac} {many}"), Skip::TooDeep),
            (ETHERNET, "020000000001 02000000", Skip::Truncated),
            (ETHERNET, "", Skip::Truncated),
            (NULL, "00000007 45", Skip::NotIp),
            (LINUX_SLL, "0000 0338 0000 0000000000000000 0800 45", Skip::NotIp),
            (105, "0800", Skip::LinkType),
            (u32::MAX, "0800", Skip::LinkType),
        ];
        for (link_type, frame, reason) in cases {
            let frame = super::super::tests::hex(frame);
            assert_eq!(open(link_type, &frame), Err(reason), "{frame:02x?}");
        }
        assert!(!link_supported(105));
    }
}
