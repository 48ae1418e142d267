//! JA3 and JA4 of a `ClientHello`.
//!
//! JA3 is a method of Salesforce (<https://github.com/salesforce/ja3>), JA4 one of `FoxIO`
//! (<https://github.com/FoxIO-LLC/ja4>, `technical_details/JA4.md`); both are under the BSD 3-Clause licence. Values of
//! GREASE (RFC 8701) are left out of both.

use std::fmt::Write as _;

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::{
    bytes::Cursor,
    model::{
        fingerprint::{Ja3, Ja4},
        tls::TlsVersion,
    },
};

/// What of a complete hello the fingerprints are made of, GREASE left out.
#[derive(Debug, Default)]
pub(super) struct Offer<'a> {
    /// Version in the hello itself.
    pub(super) legacy: u16,
    pub(super) ciphers: Vec<u16>,
    /// Kinds in their order.
    pub(super) extensions: Vec<u16>,
    pub(super) groups: Vec<u16>,
    pub(super) point_formats: &'a [u8],
    pub(super) signatures: Vec<u16>,
    /// Those of the extension.
    pub(super) versions: Vec<u16>,
    pub(super) alpn: Option<&'a [u8]>,
}

/// `ver,ciphers,extensions,groups,point formats` in decimal, hashed.
pub(super) fn ja3(offer: &Offer<'_>) -> Ja3 {
    let formats: Vec<u16> = offer.point_formats.iter().copied().map(u16::from).collect();
    let mut text = offer.legacy.to_string();
    for list in [&offer.ciphers, &offer.extensions, &offer.groups, &formats] {
        text.push(',');
        text.push_str(&joined(list, "-", |text, code| write!(text, "{code}")));
    }
    Ja3(Md5::digest(text.as_bytes()).into())
}

/// `a_b_c`, but for the letter of the carrier.
pub(super) fn ja4(offer: &Offer<'_>) -> Option<Ja4> {
    let named = if offer.extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let [first, last] = alpn_ends(offer.alpn);
    let hex = |list: &[u16]| joined(list, ",", |text, code| write!(text, "{code:04x}"));
    let sorted = |mut list: Vec<u16>| {
        list.sort_unstable();
        list
    };
    let told = |kind: &u16| !matches!(*kind, SERVER_NAME | ALPN);
    let kinds: Vec<u16> = offer.extensions.iter().copied().filter(told).collect();
    let mut extensions = hex(&sorted(kinds));
    if !offer.signatures.is_empty() {
        extensions.push('_');
        extensions.push_str(&hex(&offer.signatures));
    }
    Ja4::new(&format!(
        "{}{named}{:02}{:02}{first}{last}_{}_{}",
        version(offer),
        offer.ciphers.len().min(COUNT_MAX),
        offer.extensions.len().min(COUNT_MAX),
        hash12(&hex(&sorted(offer.ciphers.clone()))),
        hash12(&extensions),
    ))
}

/// Whether a code is reserved for clients to test servers with.
pub(super) const fn is_grease(code: u16) -> bool {
    let [high, low] = code.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// The codes of a list, GREASE left out.
pub(super) fn codes(list: &[u8]) -> Vec<u16> {
    let mut cursor = Cursor::new(list);
    std::iter::from_fn(|| cursor.u16_be().ok()).filter(|code| !is_grease(*code)).collect()
}

fn version(offer: &Offer<'_>) -> &'static str {
    let highest = offer.versions.iter().copied().max_by_key(|v| TlsVersion(*v).rank());
    match highest.unwrap_or(offer.legacy) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        0xfeff => "d1",
        0xfefd => "d2",
        0xfefc => "d3",
        _ => "00",
    }
}

/// First and last character of the first protocol, or of its hexadecimal form where one of them is no letter or digit.
fn alpn_ends(alpn: Option<&[u8]>) -> [char; 2] {
    let Some([first, .., last] | [first @ last]) = alpn else { return ['0'; 2] };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)];
    }
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 0x0f)]
}

fn hash12(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(HASH_DIGITS);
    }
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(HASH_DIGITS / 2).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ok = write!(text, "{byte:02x}");
        text
    })
}

fn joined(
    list: &[u16],
    separator: &str,
    write: impl Fn(&mut String, u16) -> std::fmt::Result,
) -> String {
    let mut text = String::new();
    for (at, code) in list.iter().enumerate() {
        if at > 0 {
            text.push_str(separator);
        }
        // Writing to a String cannot fail.
        let _ok = write(&mut text, *code);
    }
    text
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const COUNT_MAX: usize = 99;
const HASH_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of JA4.md.
    #[test]
    fn ja4_equals_the_published_example() {
        let offer = Offer {
            legacy: 0x0303,
            ciphers: vec![
                0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
                0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023,
                0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            versions: vec![0x0304, 0x0303],
            alpn: Some(b"h2"),
            ..Offer::default()
        };
        let ja4 = ja4(&offer).unwrap();
        assert_eq!(ja4.as_str(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    /// The examples of the README of JA3.
    #[test]
    fn ja3_equals_the_published_examples() {
        let offer = Offer {
            legacy: 769,
            ciphers: vec![47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4],
            extensions: vec![0, 10, 11],
            groups: vec![23, 24, 25],
            point_formats: &[0],
            ..Offer::default()
        };
        assert_eq!(ja3(&offer).to_string(), "ada70206e40642a3e4461f35503241d5");
        let bare = Offer {
            legacy: 769,
            ciphers: vec![4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99],
            ..Offer::default()
        };
        assert_eq!(ja3(&bare).to_string(), "de350869b8c85de67a350c8d186f11e6");
    }

    #[test]
    fn the_protocol_is_told_by_its_ends() {
        for (alpn, ends) in [
            (None, "00"),
            (Some(&b""[..]), "00"),
            (Some(b"h2"), "h2"),
            (Some(b"http/1.1"), "h1"),
            (Some(b"x"), "xx"),
            (Some(b"\xab"), "ab"),
            (Some(b"\xab\xcd"), "ad"),
            (Some(b"0\xab"), "3b"),
            (Some(b"\x30\x31\xab\xcd"), "3d"),
        ] {
            assert_eq!(alpn_ends(alpn).iter().collect::<String>(), ends);
        }
    }

    #[test]
    fn grease_is_known() {
        let found = (0..=u16::MAX).filter(|code| is_grease(*code)).count();
        assert_eq!((found, is_grease(0x0a0a), is_grease(0xfafa)), (16, true, true));
    }
}
