//! Whether an ESP packet is in clear: ESP with NULL encryption only signs. RFC 2410, RFC 4543 (GMAC), RFC 5879.
//!
//! Nothing in the packet says so, but a packet inside has lengths and checksums that must agree with the trailer. The sizes
//! of IV and integrity check value are not known: the usual ones are tried.

use crate::bytes::{Cursor, Short};

/// Whether `packet`, whole and from its SPI on, can be read by anyone.
pub fn is_null(packet: &[u8]) -> bool {
    let body = packet.get(HEADER_BYTES..).unwrap_or_default();
    ICV_BYTES.iter().any(|icv| {
        let end = body.len().checked_sub(*icv);
        let sealed = end.and_then(|end| body.get(..end)).unwrap_or_default();
        IV_BYTES.iter().any(|iv| sealed.get(*iv..).is_some_and(is_readable))
    })
}

/// Whether `bytes` are a packet and an ESP trailer (RFC 4303 section 2.4: padding 1, 2, 3..., its length, next header).
fn is_readable(bytes: &[u8]) -> bool {
    let Some((rest, [padding, next])) = bytes.split_last_chunk::<2>() else { return false };
    let Some(at) = rest.len().checked_sub(usize::from(*padding)) else { return false };
    let (inner, padded) = rest.split_at_checked(at).unwrap_or_default();
    let counted = padded.iter().zip(1_u8..).all(|(byte, count)| *byte == count);
    *padding <= PADDING_MAX && counted && is_packet(*next, inner).unwrap_or(false)
}

fn is_packet(next: u8, inner: &[u8]) -> Result<bool, Short> {
    let mut cursor = Cursor::new(inner);
    let length = inner.len();
    Ok(match next {
        IPV4 => {
            let header = inner.get(..20).unwrap_or_default();
            let (first, _tos, total) = (cursor.u8()?, cursor.u8()?, cursor.u16_be()?);
            first == 0x45 && usize::from(total) == length && sum(header) == 0xffff
        }
        IPV6 => {
            let (first, payload) = (cursor.u32_be()?, cursor.u16_be()?);
            let next = cursor.u8()?;
            let known = matches!(next, 0 | 6 | 17 | 43 | 44 | 50 | 58 | 59 | 60 | 132);
            first >> 28 == 6 && known && usize::from(payload).checked_add(40) == Some(length)
        }
        ICMP => length >= 8 && matches!(cursor.u8()?, 0 | 3 | 8 | 11) && sum(inner) == 0xffff,
        UDP => {
            cursor.skip(4)?;
            usize::from(cursor.u16_be()?) == length && length >= 8
        }
        TCP => {
            cursor.skip(12)?;
            let [offset, flags] = cursor.array()?;
            cursor.skip(4)?;
            let urgent = cursor.u16_be()?;
            let header = usize::from(offset >> 4).saturating_mul(4);
            // Bits of urgency, reset and synchronisation that no stack sets together.
            let sane = flags & 0x27 != 0x27 && !matches!(flags & 0x07, 3 | 5 | 6 | 7);
            let acknowledges = flags & 0x10 != 0 || flags & 0x3f == 2;
            (20..=length.min(60)).contains(&header)
                && offset.trailing_zeros() >= 4
                && sane
                && acknowledges
                && urgent == 0
                && flags & 0x20 == 0
        }
        _ => false,
    })
}

/// Ones' complement sum; all ones when the checksum within is right.
fn sum(bytes: &[u8]) -> u32 {
    let pair = |pair: &[u8]| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(u16::from_be_bytes([*high, 0])),
        _ => 0,
    };
    let total = bytes.chunks(2).map(pair).fold(0_u32, u32::saturating_add);
    let folded = (total & 0xffff).saturating_add(total >> 16);
    (folded & 0xffff).saturating_add(folded >> 16)
}

const HEADER_BYTES: usize = 8;
/// None (NULL), or that of GMAC.
const IV_BYTES: [usize; 2] = [0, 8];
/// HMAC-MD5 and SHA-1 cut to 96 bits; SHA-256, GMAC; SHA-384; SHA-512; none.
const ICV_BYTES: [usize; 5] = [12, 16, 24, 32, 0];
const PADDING_MAX: u8 = 15;
const ICMP: u8 = 1;
const IPV4: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6: u8 = 41;

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn esp(iv: usize, inner: &[u8], trailer: &[u8], icv: usize) -> Vec<u8> {
        [&[0, 0, 0x10, 1, 0, 0, 0, 1], &noise(1, iv)[..], inner, trailer, &noise(2, icv)].concat()
    }

    #[test]
    fn a_packet_inside_that_fits_its_trailer_is_read() {
        let ip = b"\x45\0\0\x18\0\0\0\0\x40\x01\x66\xe3\x0a\0\0\x01\x0a\0\0\x02abcd";
        let ping = b"\x08\0\xf7\xff\0\0\0\0";
        let udp = b"\x04\xd2\x00\x35\0\x0c\0\0data";
        let tcp = b"\x04\xd2\x15\x38\0\0\0\x01\0\0\0\x02\x50\x18\x20\0\x12\x34\0\0SELECT 1";
        for (what, inner, trailer) in [
            ("IPv4", &ip[..], &b"\x01\x02\x02\x04"[..]),
            ("ICMP", ping, b"\x01\x02\x02\x01"),
            ("UDP", udp, b"\x01\x02\x02\x11"),
            ("TCP", tcp, b"\x01\x02\x02\x06"),
        ] {
            for (iv, icv) in [(0, 12), (0, 16), (8, 16), (0, 0)] {
                assert!(is_null(&esp(iv, inner, trailer, icv)), "{what} {iv} {icv}");
            }
            assert!(!is_null(&esp(0, inner, b"\x01\x03\x02\x04", 12)), "{what}, padding");
            assert!(!is_null(&esp(0, &inner[1..], trailer, 12)), "{what}, cut");
        }
    }

    #[test]
    fn what_is_sealed_is_not_read() {
        for seed in 0..300_000 {
            let length = 8 + usize::try_from(seed % 120).unwrap();
            assert!(!is_null(&noise(seed, length)), "{seed}");
        }
    }
}
