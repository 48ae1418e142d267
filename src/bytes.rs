//! `Cursor`: the only code that takes bytes apart.
//!
//! Every read is checked; running out of bytes is the value [`Short`], never a panic.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::as_conversions))]

use std::fmt;

/// The bytes ended before the read did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short;

/// A read position over borrowed bytes.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl fmt::Debug for Cursor<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("whole", &self.whole.len())
            .field("rest", &self.rest.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { whole: bytes, rest: bytes }
    }

    /// Bytes consumed so far.
    pub const fn at(&self) -> usize {
        self.whole.len().saturating_sub(self.rest.len())
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Number of unread bytes.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(Short)?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Short)?;
        self.rest = tail;
        Ok(*head)
    }

    /// Passes over `n` bytes.
    pub fn skip(&mut self, n: usize) -> Result<(), Short> {
        self.take(n).map(|_| ())
    }

    /// The next byte, not consumed.
    pub fn peek(&self) -> Result<u8, Short> {
        self.rest.first().copied().ok_or(Short)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(|[b]| b)
    }

    /// Two bytes, network order.
    pub fn u16_be(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_be_bytes)
    }

    /// Three bytes, network order.
    pub fn u24_be(&mut self) -> Result<u32, Short> {
        self.array::<3>().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Four bytes, network order.
    pub fn u32_be(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, network order.
    pub fn u64_be(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }

    /// Two bytes, little endian.
    pub fn u16_le(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }

    /// Three bytes, little endian.
    pub fn u24_le(&mut self) -> Result<u32, Short> {
        self.array::<3>().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, little endian.
    pub fn u32_le(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little endian.
    pub fn u64_le(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes up to the first `end`, which is consumed but not returned.
    pub fn until(&mut self, end: u8) -> Result<&'a [u8], Short> {
        let at = memchr::memchr(end, self.rest).ok_or(Short)?;
        let head = self.take(at)?;
        self.skip(1)?;
        Ok(head)
    }

    /// One line up to LF; a CR before it is not returned.
    pub fn line(&mut self) -> Result<&'a [u8], Short> {
        let line = self.until(b'\n')?;
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Where `part` first stands in `whole`.
pub fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(whole, part)
}

/// Whether `part` stands anywhere in `whole`.
pub fn holds(whole: &[u8], part: &[u8]) -> bool {
    find(whole, part).is_some()
}

/// No control characters but white space. Bytes above ASCII pass: UTF-8, or an older character set.
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_past_the_end_is_short_and_consumes_nothing() {
        let mut c = Cursor::new(&[1, 2, 3]);
        assert_eq!(c.u32_be(), Err(Short));
        assert_eq!(c.u16_be(), Ok(0x0102));
        assert_eq!((c.at(), c.left()), (2, 1));
        assert_eq!(c.take(2), Err(Short));
        assert_eq!(c.u8(), Ok(3));
        assert!(c.is_empty());
    }

    #[test]
    fn byte_orders_and_widths() {
        let mut c = Cursor::new(&[0, 1, 2, 0, 1, 2]);
        assert_eq!(c.u24_be(), Ok(0x0102));
        assert_eq!(c.u24_le(), Ok(0x0002_0100));
    }

    #[test]
    fn lines_end_with_lf_with_or_without_cr() {
        let mut c = Cursor::new(b"one\r\ntwo\nthree");
        assert_eq!(c.line(), Ok(&b"one"[..]));
        assert_eq!(c.line(), Ok(&b"two"[..]));
        assert_eq!(c.line(), Err(Short));
        assert_eq!(c.rest(), b"three");
    }
}
