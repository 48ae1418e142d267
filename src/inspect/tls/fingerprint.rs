//! JA3 and JA4 of a `ClientHello`.
//!
//! JA3 is a method of Salesforce (<https://github.com/salesforce/ja3>), JA4 one of `FoxIO`
//! (<https://github.com/FoxIO-LLC/ja4>, `technical_details/JA4.md`); both are under the BSD 3-Clause licence. Values of
//! GREASE (RFC 8701) are left out of both.

use std::cell::RefCell;

use hashbrown::HashMap;
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

thread_local! {
    /// Of a pure function: what it says does not depend on it.
    static MEMO: RefCell<Memo> = RefCell::default();
}

/// Both fingerprints. Clients offer the same again and again: those made last are remembered.
pub(super) fn both(offer: &Offer<'_>) -> (Ja3, Option<Ja4>) {
    MEMO.with_borrow_mut(|memo| memo.both(offer))
}

/// Fingerprints by all that they are made of.
#[derive(Default)]
struct Memo {
    known: HashMap<Box<[u8]>, (Ja3, Option<Ja4>), foldhash::fast::RandomState>,
    /// What is looked for, here so that looking reserves nothing.
    sought: Vec<u8>,
}

impl Memo {
    fn both(&mut self, offer: &Offer<'_>) -> (Ja3, Option<Ja4>) {
        self.sought.clear();
        offer.write(&mut self.sought);
        if let Some(known) = self.known.get(&*self.sought) {
            return *known;
        }
        let made = (ja3(offer), ja4(offer));
        if self.sought.len() > OFFER_BYTES_MAX {
            self.sought = Vec::new();
            return made;
        }
        // Whoever makes it forget gains nothing: all is made anew, as without it.
        if self.known.len() >= OFFERS_MAX {
            self.known.clear();
        }
        self.known.insert(self.sought.as_slice().into(), made);
        made
    }
}

impl Offer<'_> {
    /// All of it, each list behind its length.
    fn write(&self, out: &mut Vec<u8>) {
        let first = self.alpn.unwrap_or_default();
        out.extend_from_slice(&self.legacy.to_be_bytes());
        out.push(u8::from(self.alpn.is_some()));
        for bytes in [first, self.point_formats] {
            out.extend_from_slice(&bytes.len().to_be_bytes());
            out.extend_from_slice(bytes);
        }
        for list in
            [&self.ciphers, &self.extensions, &self.groups, &self.signatures, &self.versions]
        {
            out.extend_from_slice(&list.len().to_be_bytes());
            for code in list {
                out.extend_from_slice(&code.to_be_bytes());
            }
        }
    }
}

/// `ver,ciphers,extensions,groups,point formats` in decimal, hashed.
fn ja3(offer: &Offer<'_>) -> Ja3 {
    let mut text = Vec::with_capacity(TEXT_BYTES);
    decimal(&mut text, offer.legacy);
    for list in [&offer.ciphers, &offer.extensions, &offer.groups] {
        text.push(b',');
        joined(&mut text, list.iter().copied(), b'-', decimal);
    }
    text.push(b',');
    joined(&mut text, offer.point_formats.iter().copied().map(u16::from), b'-', decimal);
    Ja3(Md5::digest(&text).into())
}

/// `a_b_c`, but for the letter of the carrier.
fn ja4(offer: &Offer<'_>) -> Option<Ja4> {
    let mut whole = Vec::with_capacity(TEXT_BYTES);
    whole.extend_from_slice(version(offer).as_bytes());
    whole.push(if offer.extensions.contains(&SERVER_NAME) { b'd' } else { b'i' });
    two_digits(&mut whole, offer.ciphers.len());
    two_digits(&mut whole, offer.extensions.len());
    whole.extend_from_slice(&alpn_ends(offer.alpn));
    let mut text = Vec::with_capacity(TEXT_BYTES);
    let mut sorted = offer.ciphers.clone();
    sorted.sort_unstable();
    joined(&mut text, sorted.iter().copied(), b',', hexadecimal);
    whole.push(b'_');
    hash12(&mut whole, &text);
    text.clear();
    sorted.clear();
    sorted.extend(offer.extensions.iter().filter(|kind| !matches!(**kind, SERVER_NAME | ALPN)));
    sorted.sort_unstable();
    joined(&mut text, sorted.iter().copied(), b',', hexadecimal);
    if !offer.signatures.is_empty() {
        text.push(b'_');
        joined(&mut text, offer.signatures.iter().copied(), b',', hexadecimal);
    }
    whole.push(b'_');
    hash12(&mut whole, &text);
    Ja4::new(&whole)
}

/// Whether a code is reserved for clients to test servers with.
pub(super) const fn is_grease(code: u16) -> bool {
    let [high, low] = code.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// The codes of a list, GREASE left out.
pub(super) fn codes(list: &[u8]) -> Vec<u16> {
    let mut cursor = Cursor::new(list);
    let mut codes = Vec::with_capacity(list.len() / 2);
    codes.extend(std::iter::from_fn(|| cursor.u16_be().ok()).filter(|code| !is_grease(*code)));
    codes
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
fn alpn_ends(alpn: Option<&[u8]>) -> [u8; 2] {
    let Some([first, .., last] | [first @ last]) = alpn else { return [b'0'; 2] };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [*first, *last];
    }
    [digit(*first >> 4), digit(*last & 0x0f)]
}

fn hash12(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        out.extend_from_slice(&[b'0'; HASH_DIGITS]);
        return;
    }
    for byte in Sha256::digest(text).iter().take(HASH_DIGITS / 2) {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0x0f)]);
    }
}

fn joined(
    text: &mut Vec<u8>,
    list: impl Iterator<Item = u16>,
    separator: u8,
    write: fn(&mut Vec<u8>, u16),
) {
    for (at, code) in list.enumerate() {
        if at > 0 {
            text.push(separator);
        }
        write(text, code);
    }
}

fn decimal(text: &mut Vec<u8>, code: u16) {
    let digits = [code / 10_000, code / 1000 % 10, code / 100 % 10, code / 10 % 10, code % 10]
        .map(|digit| b'0'.wrapping_add(digit.to_le_bytes()[0]));
    let leading = digits.iter().take(4).take_while(|digit| **digit == b'0').count();
    text.extend_from_slice(digits.get(leading..).unwrap_or_default());
}

fn hexadecimal(text: &mut Vec<u8>, code: u16) {
    let [high, low] = code.to_be_bytes();
    text.extend_from_slice(&[
        digit(high >> 4),
        digit(high & 0x0f),
        digit(low >> 4),
        digit(low & 0x0f),
    ]);
}

/// A count, which two digits can say.
fn two_digits(text: &mut Vec<u8>, count: usize) {
    let count = u8::try_from(count).unwrap_or(u8::MAX).min(COUNT_MAX);
    text.extend_from_slice(&[digit(count / 10), digit(count % 10)]);
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0'.wrapping_add(nibble) } else { b'a'.wrapping_add(nibble).wrapping_sub(10) }
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const COUNT_MAX: u8 = 99;
/// Offers remembered, and the bytes of one: at most 4 MiB in a shard.
const OFFERS_MAX: usize = 1024;
const OFFER_BYTES_MAX: usize = 4096;
/// Most hellos need less.
const TEXT_BYTES: usize = 384;
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
    fn what_is_remembered_says_the_same_and_is_bounded() {
        let mut memo = Memo::default();
        let offer = |n: u16| Offer { legacy: 0x0303, ciphers: vec![n, 2], ..Offer::default() };
        for _ in 0..2 {
            for n in 0..3000 {
                assert_eq!(memo.both(&offer(n)), (ja3(&offer(n)), ja4(&offer(n))));
            }
        }
        assert!(memo.known.len() <= OFFERS_MAX);
        let long = Offer { ciphers: vec![1; 5000], ..Offer::default() };
        let known = memo.known.len();
        assert_eq!(memo.both(&long), (ja3(&long), ja4(&long)));
        assert_eq!(memo.known.len(), known);
    }

    #[test]
    fn no_part_of_an_offer_is_taken_for_another() {
        let mut memo = Memo::default();
        let alpn = |name| Offer { alpn: Some(name), ..Offer::default() };
        let offers = [
            Offer { ciphers: vec![5], ..Offer::default() },
            Offer { extensions: vec![5], ..Offer::default() },
            Offer { groups: vec![5], ..Offer::default() },
            Offer { signatures: vec![5], ..Offer::default() },
            Offer { versions: vec![5], ..Offer::default() },
            Offer { point_formats: &[0, 5], ..Offer::default() },
            Offer { ciphers: vec![5, 5], ..Offer::default() },
            alpn(b"\0\x05"),
            alpn(b""),
            Offer::default(),
        ];
        for offer in offers.iter().chain(&offers) {
            assert_eq!(memo.both(offer), (ja3(offer), ja4(offer)));
        }
        assert_eq!(memo.known.len(), offers.len());
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
            assert_eq!(alpn_ends(alpn), ends.as_bytes());
        }
    }

    #[test]
    fn grease_is_known() {
        let found = (0..=u16::MAX).filter(|code| is_grease(*code)).count();
        assert_eq!((found, is_grease(0x0a0a), is_grease(0xfafa)), (16, true, true));
    }
}
