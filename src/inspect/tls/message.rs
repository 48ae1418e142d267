//! Puts handshake messages together from fragments, keeping only what is read (RFC 8446 section 4, RFC 5246 7.4).

use std::{fmt, sync::Arc};

use super::{
    hello::{ClientHello, ServerHello},
    names::key_exchange,
};
use crate::{
    bytes::{Cursor, Short},
    inspect::x509,
    model::{
        certificate::{Chain, Reason},
        tls::{CertificateCut, KeyExchange},
    },
};

/// What one side's clear handshake messages said.
#[allow(clippy::struct_excessive_bools, reason = "independent observations, each true or not yet")]
#[derive(Clone, Debug, Default)]
pub(in crate::inspect) struct Heard {
    /// A message of a known type has begun.
    pub(in crate::inspect) begun: bool,
    pub(in crate::inspect) client_hello: Option<ClientHello>,
    pub(in crate::inspect) server_hello: Option<ServerHello>,
    pub(in crate::inspect) retry: Option<ServerHello>,
    /// `Certificate` seen; whether it held one.
    pub(in crate::inspect) certificate: Option<bool>,
    /// The certificates in it: read once, when the message was complete.
    pub(in crate::inspect) chain: Option<Arc<Chain>>,
    /// Why there is no chain although the message was sent.
    pub(in crate::inspect) certificate_cut: Option<CertificateCut>,
    pub(in crate::inspect) certificate_request: bool,
    pub(in crate::inspect) hello_done: bool,
    pub(in crate::inspect) group: Option<u16>,
    pub(in crate::inspect) dh_bits: Option<u16>,
    /// Of the signature of a `ServerKeyExchange` (TLS 1.2).
    pub(in crate::inspect) signature: Option<u16>,
    /// Whether a second `ClientHello` shows that the first one's `encrypted_client_hello` was GREASE.
    pub(in crate::inspect) ech_grease: Option<bool>,
    /// Client hellos heard.
    pub(in crate::inspect) client_hellos: u8,
    /// A message that is in clear only up to TLS 1.2.
    pub(in crate::inspect) legacy: bool,
    /// A message that only clients send.
    pub(in crate::inspect) as_client: bool,
    /// A message that only servers send.
    pub(in crate::inspect) as_server: bool,
}

/// One message being put together.
#[derive(Clone, Default)]
pub(in crate::inspect) struct Message {
    head: [u8; 4],
    have: usize,
    length: usize,
    seen: usize,
    kept: Vec<u8>,
    /// The length in its head was another.
    mended: bool,
}

impl fmt::Debug for Message {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("length", &self.length)
            .field("seen", &self.seen)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

/// The bytes are not handshake messages.
#[derive(Clone, Copy, Debug)]
pub(in crate::inspect) struct NotHandshake;

impl Message {
    /// Takes the next bytes of the handshake stream, behind which `left` more belong to the same record.
    pub(in crate::inspect) fn feed(
        &mut self,
        bytes: &[u8],
        left: usize,
        heard: &mut Heard,
    ) -> Result<(), NotHandshake> {
        let mut rest = bytes;
        while let Some((byte, tail)) = rest.split_first() {
            if let Some(slot) = self.head.get_mut(self.have) {
                *slot = *byte;
                self.have = self.have.saturating_add(1);
                rest = tail;
                if self.have == self.head.len() {
                    self.begin()?;
                    heard.begun = true;
                }
            } else {
                let missing = self.length.saturating_sub(self.seen);
                let list = self.is_certificate() && self.seen < LIST_LENGTH_BYTES;
                let piece = if list { missing.min(1) } else { missing };
                let (body, tail) = rest.split_at_checked(piece).unwrap_or((rest, &[]));
                self.keep(body);
                rest = tail;
                if list && self.seen == LIST_LENGTH_BYTES {
                    self.mend(rest.len().saturating_add(left));
                }
            }
            if self.have == self.head.len() && self.seen == self.length {
                self.end(heard);
            }
        }
        Ok(())
    }

    /// Memory held.
    pub(in crate::inspect) fn buffered(&self) -> usize {
        self.kept.capacity()
    }

    /// Whether a `Certificate` is being put together.
    pub(in crate::inspect) fn is_certificate(&self) -> bool {
        let [kind, ..] = self.head;
        kind == CERTIFICATE && self.have == self.head.len()
    }

    /// What a `ClientHello` that will not be completed said as far as it came.
    pub(in crate::inspect) fn partial_client_hello(&self) -> Option<ClientHello> {
        let [kind, ..] = self.head;
        let enough = self.have == self.head.len() && self.kept.len() >= PARTIAL_HELLO_MIN;
        (kind == CLIENT_HELLO && enough).then(|| ClientHello::read(&self.kept, false)).flatten()
    }

    fn begin(&mut self) -> Result<(), NotHandshake> {
        let [kind, high, middle, low] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.length = usize::try_from(length).unwrap_or(usize::MAX);
        if KINDS.contains(&kind) && self.length <= MESSAGE_BYTES_MAX {
            Ok(())
        } else {
            Err(NotHandshake)
        }
    }

    /// A `Certificate` that says it ends before its list does is as long as the list if the record ends just there, with
    /// `left` bytes to come: clients take it so.
    fn mend(&mut self, left: usize) {
        let list = Cursor::new(&self.kept).u24_be().ok().and_then(|n| usize::try_from(n).ok());
        let length = left.saturating_add(LIST_LENGTH_BYTES);
        if list == Some(left) && self.length < length {
            (self.length, self.mended) = (length, true);
        }
    }

    fn keep(&mut self, body: &[u8]) {
        self.seen = self.seen.saturating_add(body.len());
        let wanted = self.wanted();
        let room = wanted.saturating_sub(self.kept.len());
        let body = body.get(..room).unwrap_or(body);
        let length = self.kept.len().saturating_add(body.len());
        if length > self.kept.capacity() {
            // Doubling, but never beyond what the message may fill: a length on the wire reserves nothing by itself.
            let capacity = self.kept.capacity().saturating_mul(2).max(length).min(wanted);
            self.kept.reserve_exact(capacity.saturating_sub(self.kept.len()));
        }
        self.kept.extend_from_slice(body);
    }

    fn wanted(&self) -> usize {
        let [kind, ..] = self.head;
        wanted(kind, self.length)
    }

    fn end(&mut self, heard: &mut Heard) {
        let Self { head: [kind, ..], length, kept, mended, .. } = std::mem::take(self);
        heard.message(kind, &kept, length);
        if let Some(chain) = heard.chain.as_mut().filter(|_| mended) {
            Arc::make_mut(chain).reasons.add(Reason::ListLengthWrong);
        }
    }

    /// The rest will not come.
    pub(in crate::inspect) fn cut(self, heard: &mut Heard, reason: CertificateCut) {
        let [kind, ..] = self.head;
        if self.have == self.head.len() {
            heard.cut(kind, &self.kept, reason);
        }
    }
}

/// How many bytes of a message of this kind and length are kept.
pub(in crate::inspect) fn wanted(kind: u8, length: usize) -> usize {
    let wanted = match kind {
        CLIENT_HELLO | SERVER_HELLO => HELLO_BYTES_MAX,
        SERVER_KEY_EXCHANGE => KEY_EXCHANGE_BYTES_MAX,
        // All of it or nothing: a part would tell no chain.
        CERTIFICATE if length <= CERTIFICATE_BYTES_MAX => CERTIFICATE_BYTES_MAX,
        CERTIFICATE => LIST_LENGTH_BYTES,
        _ => 0,
    };
    wanted.min(length)
}

impl Heard {
    /// A message of `length` bytes is over; `kept`: what was wanted of it.
    pub(in crate::inspect) fn message(&mut self, kind: u8, kept: &[u8], length: usize) {
        let complete = kept.len() == length;
        match kind {
            CLIENT_HELLO => self.client_hello(kept, complete),
            SERVER_HELLO => match ServerHello::read(kept) {
                Some(hello) if hello.retry => self.retry = Some(hello),
                hello => self.server_hello = self.server_hello.take().or(hello),
            },
            CERTIFICATE if self.certificate.is_none() => {
                if complete {
                    self.certificate = Some(holds_certificate(kept).unwrap_or(false));
                    self.chain = Some(x509::read_chain(kept));
                } else {
                    self.cut(kind, kept, CertificateCut::Size);
                }
            }
            SERVER_KEY_EXCHANGE => self.key_exchange(kept),
            CERTIFICATE_REQUEST => self.certificate_request = true,
            SERVER_HELLO_DONE => self.hello_done = true,
            _ => {}
        }
        self.legacy |= matches!(
            kind,
            CERTIFICATE
                | SERVER_KEY_EXCHANGE
                | CERTIFICATE_REQUEST
                | SERVER_HELLO_DONE
                | CLIENT_KEY_EXCHANGE
        );
        self.as_client |= matches!(kind, CLIENT_HELLO | CERTIFICATE_VERIFY | CLIENT_KEY_EXCHANGE);
        self.as_server |= matches!(
            kind,
            SERVER_HELLO
                | HELLO_VERIFY_REQUEST
                | NEW_SESSION_TICKET
                | SERVER_KEY_EXCHANGE
                | CERTIFICATE_REQUEST
                | SERVER_HELLO_DONE
                | CERTIFICATE_STATUS
        );
    }

    /// Whether the side that is taken for the client (`self`) is the server: told by what each alone may send.
    pub(in crate::inspect) const fn is_swapped(&self, server: &Self) -> bool {
        let (straight, swapped) =
            (self.as_client || server.as_server, self.as_server || server.as_client);
        swapped && !straight
    }

    /// Whether nothing tells which of the two is the client.
    pub(in crate::inspect) const fn is_unsided(&self, server: &Self) -> bool {
        !(self.as_client || self.as_server || server.as_client || server.as_server)
    }

    /// A message will not be completed: of a certificate it is known that there is one.
    pub(in crate::inspect) fn cut(&mut self, kind: u8, kept: &[u8], reason: CertificateCut) {
        if kind == CERTIFICATE && self.certificate.is_none() {
            self.certificate = holds_certificate(kept);
            self.certificate_cut = Some(reason);
        }
    }

    fn client_hello(&mut self, body: &[u8], complete: bool) {
        match &self.client_hello {
            None => self.client_hello = ClientHello::read(body, complete),
            Some(first) if complete => self.ech_grease = first.ech_is_grease(body),
            Some(_) => {}
        }
        self.client_hellos = self.client_hellos.saturating_add(1);
    }

    /// RFC 8422 section 5.4, RFC 5246 section 7.4.3; with PSK an identity hint comes first (RFC 4279, RFC 5489).
    fn key_exchange(&mut self, body: &[u8]) {
        let Some(hello) = &self.server_hello else { return };
        let Some(method) = key_exchange(hello.cipher) else { return };
        let signs = matches!(hello.version.0, TLS_1_2 | DTLS_1_2);
        let mut cursor = Cursor::new(body);
        let hint = matches!(method, KeyExchange::DhePsk | KeyExchange::EcdhePsk);
        if hint && skip_vector(&mut cursor).is_err() {
            return;
        }
        match method {
            KeyExchange::Ecdhe | KeyExchange::EcdhAnon | KeyExchange::EcdhePsk
                if cursor.u8() == Ok(NAMED_CURVE) =>
            {
                self.group = cursor.u16_be().ok();
                let point = cursor.u8().map_or(usize::MAX, usize::from);
                if cursor.skip(point).is_err() {
                    return;
                }
            }
            KeyExchange::Dhe | KeyExchange::DhAnon | KeyExchange::DhePsk => {
                self.dh_bits = prime_bits(&mut cursor);
                if skip_vector(&mut cursor).and_then(|()| skip_vector(&mut cursor)).is_err() {
                    return;
                }
            }
            _ => return,
        }
        if signs && matches!(method, KeyExchange::Ecdhe | KeyExchange::Dhe) {
            self.signature = cursor.u16_be().ok();
        }
    }
}

/// Size of the prime that stands next, without leading zeros.
fn prime_bits(cursor: &mut Cursor<'_>) -> Option<u16> {
    let length = cursor.u16_be().ok()?;
    let prime = cursor.take(usize::from(length)).ok()?;
    let zeros: u32 = prime
        .iter()
        .map(|byte| byte.leading_zeros())
        .scan(true, |leading, zeros| {
            let counted = if *leading { zeros } else { 0 };
            *leading &= zeros == 8;
            Some(counted)
        })
        .sum();
    u16::try_from(u32::from(length).saturating_mul(8).saturating_sub(zeros)).ok()
}

/// Whether the list of a `Certificate` holds any; `None` if not even its length came.
fn holds_certificate(kept: &[u8]) -> Option<bool> {
    Cursor::new(kept).u24_be().ok().map(|list| list > 0)
}

fn skip_vector(cursor: &mut Cursor<'_>) -> Result<(), Short> {
    let length = cursor.u16_be()?;
    cursor.skip(usize::from(length))
}

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
const NEW_SESSION_TICKET: u8 = 4;
pub(in crate::inspect) const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const CERTIFICATE_STATUS: u8 = 22;
/// Handshake types that may stand in clear (IANA TLS `HandshakeType`).
const KINDS: [u8; 19] = [0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 13, 14, 15, 16, 21, 22, 23, 25, 67];
const TLS_1_2: u16 = 0x0303;
const DTLS_1_2: u16 = 0xfefd;
/// `ECCurveType`.
const NAMED_CURVE: u8 = 3;
/// Bytes kept of a hello; what is behind is not read. Two sides: half of what a flow may hold while inspected.
const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Bytes kept of a `ServerKeyExchange`: an identity hint, a group of up to 8192 bits with a public key in it, and the
/// signature's algorithm.
const KEY_EXCHANGE_BYTES_MAX: usize = 4096;
/// Longest `Certificate` kept.
pub(in crate::inspect) const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// The length of the list that is a `Certificate`.
const LIST_LENGTH_BYTES: usize = 3;
/// Longest message believed; chains of certificates can be long.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Version, random and session id length.
const PARTIAL_HELLO_MIN: usize = 35;
