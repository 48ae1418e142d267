//! `SSLv2`: what its clear messages tell. <https://datatracker.ietf.org/doc/html/draft-hickman-netscape-ssl-00>.
//!
//! A `CLIENT-HELLO` in this form may also open TLS (RFC 5246 appendix E.2); the answer tells which it became. The server's
//! certificate stands in its `SERVER-HELLO`; a client's is sealed.

use std::fmt;

use crate::bytes::{Cursor, Short};

/// Where one side stands.
#[derive(Clone, Default)]
pub(super) struct Sslv2 {
    /// Version in the client's hello.
    pub(super) client_hello: Option<u16>,
    /// Number of cipher kinds in it.
    pub(super) ciphers: Option<u16>,
    /// Whether the server's hello resumed a session.
    pub(super) server_hello: Option<bool>,
    /// Cipher kind of `CLIENT-MASTER-KEY`.
    pub(super) cipher: Option<u32>,
    /// The server's `ERROR` in clear.
    pub(super) error: bool,
    /// Records after the last clear one.
    pub(super) sealed: u32,
    head: [u8; HEAD],
    have: usize,
    length: usize,
    seen: usize,
    /// Bytes a record header takes.
    header: usize,
    /// The server's certificate, as far as it came.
    certificate: Vec<u8>,
}

impl fmt::Debug for Sslv2 {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sslv2")
            .field("client_hello", &self.client_hello)
            .field("server_hello", &self.server_hello)
            .field("length", &self.length)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// How a byte fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Goes on.
    Within,
    /// Ends a record.
    EndOfRecord,
    /// Not `SSLv2`.
    No,
}

impl Sslv2 {
    /// Whether the side went on as `SSLv2`, so that no TLS record can follow.
    pub(super) const fn is_certain(&self) -> bool {
        self.server_hello.is_some() || self.cipher.is_some()
    }

    /// Whether the next byte begins a record.
    pub(super) const fn is_between_records(&self) -> bool {
        self.have == 0
    }

    /// Takes one byte.
    pub(super) fn push(&mut self, byte: u8) -> Fit {
        let fixed = self.have < self.header.saturating_add(SERVER_HELLO_BYTES);
        if let Some(slot) = self.head.get_mut(self.have).filter(|_| fixed) {
            *slot = byte;
            self.have = self.have.saturating_add(1);
        } else if self.certificate.len() < self.certificate_length() {
            self.certificate.push(byte);
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen == 2 {
            let [a, b, ..] = self.head;
            let short = a & 0x80 != 0;
            self.header = if short { 2 } else { 3 };
            let mask = if short { 0x7fff } else { 0x3fff };
            self.length = usize::from(u16::from_be_bytes([a, b]) & mask);
            if self.length == 0 {
                return Fit::No;
            }
        }
        if self.seen < 2 || self.seen < self.length.saturating_add(self.header) {
            return Fit::Within;
        }
        let fit = self.end();
        (self.have, self.seen, self.length, self.header) = (0, 0, 0, 0);
        fit
    }

    /// The certificate of a `SERVER-HELLO` that was read whole.
    pub(super) fn take_certificate(&mut self) -> Option<Vec<u8>> {
        let whole = self.is_between_records() && self.server_hello.is_some();
        (whole && !self.certificate.is_empty()).then(|| std::mem::take(&mut self.certificate))
    }

    /// Whether a certificate was begun and is not read yet.
    pub(super) const fn is_in_certificate(&self) -> bool {
        !self.certificate.is_empty()
    }

    /// Memory held.
    pub(super) const fn buffered(&self) -> usize {
        self.certificate.capacity()
    }

    /// How long the certificate is that stands behind the fixed fields of a `SERVER-HELLO`.
    fn certificate_length(&self) -> usize {
        let body = self.head.get(self.header..).unwrap_or_default();
        let [SERVER_HELLO, _, X509, _, _, high, low, ..] = body else { return 0 };
        let first = self.client_hello.is_none() && !self.is_certain();
        let room = self.length.saturating_sub(SERVER_HELLO_BYTES);
        if first { usize::from(u16::from_be_bytes([*high, *low])).min(room) } else { 0 }
    }

    fn end(&mut self) -> Fit {
        let head = self.head;
        let kept = head.get(self.header..self.have).unwrap_or_default();
        let mut cursor = Cursor::new(kept);
        if self.read(&mut cursor).is_err() { Fit::No } else { Fit::EndOfRecord }
    }

    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Short> {
        if self.is_certain() {
            self.sealed = self.sealed.saturating_add(1);
            return Ok(());
        }
        match (cursor.u8()?, self.client_hello) {
            (0, _) => self.error = true,
            (1, None) => {
                self.client_hello = Some(cursor.u16_be()?);
                self.ciphers = cursor.u16_be().ok().and_then(|bytes| bytes.checked_div(KIND_BYTES));
            }
            (2, _) => self.cipher = Some(cursor.u24_be()?),
            (4, None) => self.server_hello = Some(cursor.u8()? != 0),
            // A resumed session goes straight to sealed records.
            (_, Some(_)) => self.sealed = self.sealed.saturating_add(1),
            _ => return Err(Short),
        }
        Ok(())
    }
}

const SERVER_HELLO: u8 = 4;
/// Certificate type, the only one there is.
const X509: u8 = 1;
/// Bytes of a cipher kind.
const KIND_BYTES: u16 = 3;
/// Fixed fields of a `SERVER-HELLO`, its type included.
const SERVER_HELLO_BYTES: usize = 11;
/// Bytes looked at: a header of up to three and the fixed fields.
const HEAD: usize = 3 + SERVER_HELLO_BYTES;
