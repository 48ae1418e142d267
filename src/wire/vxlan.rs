//! VXLAN. RFC 7348 section 5; AWS VPC Traffic Mirroring sends the mirrored Ethernet frame in it.

use super::{
    Skip, link,
    tunnel::{Header, Inner},
};
use crate::bytes::Cursor;

/// IANA port, and the mirror's.
pub(super) const PORT: u16 = 4789;
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

/// The I flag: the VNI is valid.
const FLAG_VNI: u8 = 0x08;
