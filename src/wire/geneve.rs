//! GENEVE. RFC 8926 section 3.4; options of AWS Gateway Load Balancer (class 0x0108):
//! <https://docs.aws.amazon.com/elasticloadbalancing/latest/gateway/introduction.html>.

use super::{
    Skip, link,
    tunnel::{Header, Inner},
};
use crate::bytes::Cursor;

/// IANA port.
pub(super) const PORT: u16 = 6081;

/// Reads a GENEVE header. A passive reader has no use for the critical bit: unknown options are passed over.
pub(super) fn open(bytes: &[u8]) -> Result<Inner<'_>, Skip> {
    let mut c = Cursor::new(bytes);
    let [version_length, _flags] = c.array()?;
    let protocol = c.u16_be()?;
    let vni = c.u24_be()?;
    c.skip(1)?;
    if version_length & 0xc0 != 0 {
        return Err(Skip::NotTunnel);
    }
    let length = usize::from(version_length & 0x3f).saturating_mul(4);
    let endpoint_id = endpoint_id(c.take(length)?)?;
    let ip = link::ether_type(protocol, c.rest())?;
    Inner::checked(ip, Header::Geneve { vni, endpoint_id })
}

/// The endpoint behind which the packet was taken; at most 63 options fit the length field.
fn endpoint_id(options: &[u8]) -> Result<Option<u64>, Skip> {
    let mut c = Cursor::new(options);
    let mut endpoint_id = None;
    while !c.is_empty() {
        let class = c.u16_be()?;
        let [kind, length] = c.array()?;
        let mut value = Cursor::new(c.take(usize::from(length & 0x1f).saturating_mul(4))?);
        if (class, kind & !CRITICAL) == (CLASS_AWS, TYPE_ENDPOINT_ID) && value.left() == 8 {
            endpoint_id = Some(value.u64_be()?);
        }
    }
    Ok(endpoint_id)
}

const CRITICAL: u8 = 0x80;
const CLASS_AWS: u16 = 0x0108;
const TYPE_ENDPOINT_ID: u8 = 1;
