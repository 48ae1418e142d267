//! VXLAN. RFC 7348 section 5; AWS VPC Traffic Mirroring sends the mirrored Ethernet frame in it. The generic protocol
//! extension: <https://datatracker.ietf.org/doc/html/draft-ietf-nvo3-vxlan-gpe-13> section 3.

use super::{
    Skip,
    link::{self, kind},
    tunnel::{Header, Inner},
};
use crate::bytes::Cursor;

/// IANA port, and the mirror's.
pub(super) const PORT: u16 = 4789;
/// IANA port of the generic protocol extension.
pub(super) const PORT_GPE: u16 = 4790;
/// Port of Linux before IANA gave one; other protocols use it too.
pub(super) const PORT_LINUX: u16 = 8472;

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

/// Reads a header of the generic protocol extension, which names what follows.
pub(super) fn open_gpe(bytes: &[u8]) -> Result<Inner<'_>, Skip> {
    let mut c = Cursor::new(bytes);
    let [flags, _, _, next] = c.array()?;
    let vni = c.u24_be()?;
    c.skip(1)?;
    if flags & (FLAG_VERSION | FLAG_VNI | FLAG_NEXT) != FLAG_VNI | FLAG_NEXT {
        return Err(Skip::NotTunnel);
    }
    let next = match next {
        1 => kind::IPV4,
        2 => kind::IPV6,
        3 => kind::ETHERNET,
        4 => kind::NSH,
        5 => kind::MPLS,
        _ => return Err(Skip::NotTunnel),
    };
    Inner::checked(link::ether_type(next, c.rest())?, Header::Vxlan { vni })
}

/// The I flag: the VNI is valid.
pub(super) const FLAG_VNI: u8 = 0x08;
/// The P flag of the extension: the next protocol is valid.
const FLAG_NEXT: u8 = 0x04;
const FLAG_VERSION: u8 = 0x30;
