//! HPACK as far as credentials need it: the names of fields and the first bytes of their values. RFC 7541.
//!
//! The dynamic table is not kept: a field sent by its dynamic index alone was sent in full before.
use super::credentials::{Field, Found, begins, field};
use crate::bytes::{Cursor, Short};

/// One field representation (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Representation {
    /// Its length, which may exceed the bytes given.
    pub(super) length: usize,
    /// The credential it carries.
    pub(super) found: Option<Found>,
}

/// The representation at the start of `bytes`.
pub(super) fn representation(bytes: &[u8]) -> Result<Representation, Short> {
    let mut cursor = Cursor::new(bytes);
    let first = cursor.peek()?;
    let (bits, literal) = match first {
        0x80.. => (7, false),
        0x40..=0x7f => (6, true),
        0x20..=0x3f => (5, false),
        _ => (4, true),
    };
    let index = integer(&mut cursor, bits)?;
    if !literal {
        return Ok(Representation { length: cursor.at(), found: None });
    }
    let secret = if index == 0 { literal_name(&mut cursor)? } else { static_name(index) };
    let (huffman, length) = string(&mut cursor)?;
    let before = cursor.at();
    let found = match secret {
        Some(secret) if length > 0 => {
            let shown = cursor.take(length.min(VALUE_BYTES_SHOWN))?;
            secret.with_value(|word| Text { bytes: shown, huffman }.begins(word))
        }
        _ => None,
    };
    Ok(Representation { length: before.saturating_add(length), found })
}

/// An integer with a prefix of `bits` bits (section 5.1). One too long to be real is as large as can be.
fn integer(cursor: &mut Cursor<'_>, bits: u32) -> Result<usize, Short> {
    let limit = 0xff_u8.checked_shr(8_u32.saturating_sub(bits)).unwrap_or(0);
    let prefix = cursor.u8()? & limit;
    if prefix < limit {
        return Ok(usize::from(prefix));
    }
    let mut value = 0_usize;
    for shift in [0, 7, 14, 21] {
        let byte = cursor.u8()?;
        value |= usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value.saturating_add(usize::from(limit)));
        }
    }
    Ok(usize::MAX)
}

/// Coding and length of a string (section 5.2).
fn string(cursor: &mut Cursor<'_>) -> Result<(bool, usize), Short> {
    let huffman = cursor.peek()? & 0x80 != 0;
    Ok((huffman, integer(cursor, 7)?))
}

fn literal_name(cursor: &mut Cursor<'_>) -> Result<Option<Field>, Short> {
    let (huffman, length) = string(cursor)?;
    let name = Text { bytes: cursor.take(length)?, huffman };
    Ok(field(|known| name.is(known)))
}

/// Names of the static table that carry credentials (appendix A).
fn static_name(index: usize) -> Option<Field> {
    let name: &[u8] = match index {
        23 => b"authorization",
        32 => b"cookie",
        49 => b"proxy-authorization",
        55 => b"set-cookie",
        _ => return None,
    };
    field(|known| known == name)
}

/// A string as sent.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    huffman: bool,
}

impl Text<'_> {
    /// Whether it is `word`, in any case.
    fn is(self, word: &[u8]) -> bool {
        if !self.huffman {
            return self.bytes.eq_ignore_ascii_case(word);
        }
        self.letters().map(|b| b.to_ascii_lowercase()).eq(word.iter().copied())
    }

    /// Whether it begins with `word`, in any case.
    fn begins(self, word: &[u8]) -> bool {
        if !self.huffman {
            return begins(self.bytes, word);
        }
        self.letters().take(word.len()).map(|b| b.to_ascii_lowercase()).eq(word.iter().copied())
    }

    /// Decoded letters, up to padding or to a symbol with a code longer than eight bits.
    fn letters(self) -> impl Iterator<Item = u8> {
        let mut bits = self.bytes.iter().flat_map(|byte| {
            [7, 6, 5, 4, 3, 2, 1, 0].map(|at| u16::from(byte.checked_shr(at).unwrap_or(0) & 1))
        });
        std::iter::from_fn(move || {
            let mut code = 0_u16;
            for length in 1..=8_u8 {
                code = code << 1 | bits.next()?;
                let Some((_, first, symbols)) = CODES.iter().find(|(l, ..)| *l == length) else {
                    continue;
                };
                let at = code.checked_sub(*first).map(usize::from);
                if let Some(symbol) = at.and_then(|at| symbols.get(at)) {
                    return Some(*symbol);
                }
            }
            None
        })
    }
}

/// Bytes of a value looked at: enough for an authentication scheme in either coding.
const VALUE_BYTES_SHOWN: usize = 12;

/// The canonical code of appendix B by length: first code, and the symbols in order. Enough for field names and for
/// authentication schemes.
static CODES: &[(u8, u16, &[u8])] = &[
    (5, 0x00, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Credentials;

    fn text(bytes: &[u8]) -> String {
        Text { bytes, huffman: true }.letters().map(char::from).collect()
    }

    #[test]
    fn huffman_examples_of_rfc_7541_appendix_c() {
        let table: [(&[u8], &str); 6] = [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
        ];
        for (bytes, expected) in table {
            assert_eq!(text(bytes), expected);
            assert!(Text { bytes, huffman: true }.is(expected.as_bytes()));
        }
        assert_eq!(text(&[0xff; 40]), "");
    }

    #[test]
    fn integer_examples_of_rfc_7541_appendix_c() {
        let table: [(&[u8], u32, usize); 4] = [
            (&[0x0a], 5, 10),
            (&[0x1f, 0x9a, 0x0a], 5, 1337),
            (&[0x2a], 8, 42),
            (&[0xff; 9], 7, usize::MAX),
        ];
        for (bytes, bits, expected) in table {
            assert_eq!(integer(&mut Cursor::new(bytes), bits), Ok(expected));
        }
    }

    #[test]
    fn credentials_are_told_by_name_and_scheme() {
        const BASIC: Option<Found> = Some((Credentials::BASIC_AUTH, "authorization: basic"));
        const BEARER: Option<Found> = Some((Credentials::BEARER_TOKEN, "authorization: bearer"));
        const COOKIE: Option<Found> = Some((Credentials::SESSION_SECRET, "cookie"));
        let huffman_bearer = [0x57, 0x87, 0xba, 0x51, 0xd8, 0x5b, 0x14, 0x1c, 0x64];
        let huffman_name = [0x40, 0x87, 0xf2, 0xb0, 0xeb, 0x32, 0xdd, 0x4b, 0xeb, 0x01, 0x61];
        let table: [(&[u8], usize, Option<Found>); 11] = [
            (&huffman_name, 11, Some((Credentials::BEARER_TOKEN, "x-api-key"))),
            (&[0x82], 1, None),
            (&[0x3f, 0xe1, 0x1f], 3, None),
            (&[0xc1], 1, None),
            (b"\x57\x0bBasic QTpCQw", 13, BASIC),
            (b"\x1f\x08\x0ebearer abcdefg", 17, BEARER),
            (&huffman_bearer, 9, BEARER),
            (b"\x60\x7f\x80\x01cookie=abcdef", 4 + 255, COOKIE),
            (b"\x57\x00", 2, None),
            (b"\x40\x09x-api-key\x04abcd", 16, Some((Credentials::BEARER_TOKEN, "x-api-key"))),
            (b"\x57\x15AWS4-HMAC-SHA256 Cred", 23, None),
        ];
        for (bytes, length, found) in table {
            assert_eq!(representation(bytes), Ok(Representation { length, found }), "{bytes:02x?}");
        }
        for end in 0..12 {
            assert_eq!(representation(&b"\x40\x09x-api-key\x04abcd"[..end]), Err(Short));
        }
    }
}
