//! VXLAN. RFC 7348 section 5; AWS VPC Traffic Mirroring sends the mirrored Ethernet frame in it.
//! VXLAN-GPE, <https://datatracker.ietf.org/doc/html/draft-ietf-nvo3-vxlan-gpe-13>, names what it carries.

use super::{
    Skip, link,
    tunnel::{Header, Inner},
};
use crate::bytes::Cursor;

/// IANA port, and the mirror's.
pub(super) const PORT: u16 = 4789;
/// Port of Linux before IANA gave one; other protocols use it too.
pub(super) const PORT_LINUX: u16 = 8472;

/// IANA port of VXLAN-GPE.
pub(super) const PORT_GPE: u16 = 4790;

/// Reads a VXLAN header. Reserved bits may be set (group policy and other extensions set them).
pub(super) fn open(bytes: &[u8]) -> Result<Inner<'_>, Skip> {
    let mut c = Cursor::new(bytes);
    let flags = c.u8()?;
    c.skip(3)?;
    let vni = c.u24_be()?;
    c.skip(1)?;
    if flags & FLAG_VNI == 0 {
        return Err(Skip::NotTunnel);
    }
    Inner::checked(link::ethernet(c.rest())?, Header::Vxlan { vni })
}

/// Like [`open`], but all reserved bits must be zero.
pub(super) fn open_strict(bytes: &[u8]) -> Result<Inner<'_>, Skip> {
    match bytes.first_chunk() {
        Some([FLAG_VNI, 0, 0, 0, _, _, _, 0]) => open(bytes),
        Some(_) => Err(Skip::NotTunnel),
        None => Err(Skip::Truncated),
    }
}

/// Reads a VXLAN-GPE header: with the P flag the last reserved byte says what is inside.
pub(super) fn open_gpe(bytes: &[u8]) -> Result<Inner<'_>, Skip> {
    let mut c = Cursor::new(bytes);
    let flags = c.u8()?;
    c.skip(2)?;
    let protocol = c.u8()?;
    let vni = c.u24_be()?;
    c.skip(1)?;
    if flags & FLAG_VNI == 0 {
        return Err(Skip::NotTunnel);
    }
    let ip = match (flags & FLAG_PROTOCOL, protocol) {
        (0, _) | (_, GPE_ETHERNET) => link::ethernet(c.rest())?,
        (_, GPE_IPV4 | GPE_IPV6) => c.rest(),
        _ => return Err(Skip::NotTunnel),
    };
    Inner::checked(ip, Header::Vxlan { vni })
}

/// The P flag of VXLAN-GPE: a protocol is named.
const FLAG_PROTOCOL: u8 = 0x04;
const GPE_IPV4: u8 = 1;
const GPE_IPV6: u8 = 2;
const GPE_ETHERNET: u8 = 3;

/// The I flag: the VNI is valid.
const FLAG_VNI: u8 = 0x08;
