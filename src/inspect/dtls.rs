//! Reads a DTLS handshake as far as it is in clear. RFC 6347, RFC 9147.
//!
//! Messages come in fragments, out of order, again, and interleaved; each is put together by its number and then read
//! as TLS reads it. A `HelloVerifyRequest` makes the client say hello again: the first hello has told already. Other
//! protocols may run on the same ports (RFC 7983: STUN, RTP); their datagrams are passed over.

use std::fmt;

use super::{
    pieces::Pieces,
    tls::{
        facts::{Sides, facts, resumption},
        hello::ClientHello,
        is_null_cipher,
        message::{CERTIFICATE, Heard, wanted},
    },
};
use crate::{
    bytes::{Cursor, Short},
    detect::Datagrams,
    model::{
        Outcome, Side,
        dtls::{DtlsRecord, Fragment},
        fingerprint::Carrier,
        tls::{CertificateCut, HandshakeOutcome, TlsAlert, TlsFacts, TlsVersion},
    },
};

/// Incremental reader of one DTLS association.
#[derive(Debug, Default)]
pub struct DtlsReader {
    client: SideReader,
    server: SideReader,
    datagrams: u32,
}

#[derive(Debug, Default)]
struct SideReader {
    heard: Heard,
    assemblies: Vec<Assembly>,
    /// Numbers of messages that were read.
    read: u64,
    spoke: bool,
    /// The first `ClientHello` read may answer a `HelloRetryRequest`: it has a number, but no cookie of DTLS 1.2.
    again: bool,
    /// Sealed records.
    sealed: u32,
    /// Version of records that carry the negotiated one.
    version: Option<TlsVersion>,
    alert: Option<(u8, u8)>,
}

/// A message being put together.
struct Assembly {
    fragment: Fragment,
    pieces: Pieces,
    body: Vec<u8>,
}

impl fmt::Debug for Assembly {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("length", &self.fragment.length)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl DtlsReader {
    /// Takes the next datagrams of `side`, each behind its length; returns how many bytes were consumed.
    pub fn feed(&mut self, side: Side, bytes: &[u8]) -> usize {
        let mut datagrams = Datagrams::new(bytes);
        for datagram in datagrams.by_ref() {
            self.datagrams = self.datagrams.saturating_add(1);
            match side {
                Side::Client => self.client.datagram(datagram),
                Side::Server => self.server.datagram(datagram),
            }
        }
        bytes.len().saturating_sub(datagrams.rest().len())
    }

    /// No more will be read, for this reason. Certificates that are not complete, or could have come, stay unread.
    pub fn give_up(&mut self, reason: CertificateCut) {
        self.client.give_up(reason);
        self.server.give_up(reason);
        let server = if self.is_swapped() { &mut self.client } else { &mut self.server };
        let heard = &mut server.heard;
        let hello = heard.server_hello.as_ref();
        let hidden = hello.is_some_and(|hello| hello.version.is_1_3());
        let past = heard.certificate.is_some() || heard.hello_done || server.sealed > 0;
        if reason == CertificateCut::Memory && !hidden && !past {
            heard.certificate_cut.get_or_insert(reason);
        }
    }

    /// Memory held for messages not yet complete.
    pub fn buffered(&self) -> usize {
        self.client.buffered().saturating_add(self.server.buffered())
    }

    /// Whether `side` spoke DTLS.
    pub const fn spoke(&self, side: Side) -> bool {
        self.side(side).spoke
    }

    /// Whether nothing more can be learnt.
    pub fn is_done(&self) -> bool {
        // A client refuses while the rest of the server's flight is on its way.
        let more = self.tls_client().is_fatal() && !self.tls_server().is_told();
        self.is_completed() || self.is_refused() && !more || self.datagrams >= DATAGRAMS_MAX
    }

    /// What became of the handshake, if the flow ended now.
    pub fn outcome(&self) -> Outcome {
        if self.is_refused() {
            return Outcome::Refused;
        }
        if self.is_completed() || self.has_run_on() {
            return Outcome::Established;
        }
        match (self.client.spoke, self.server.spoke) {
            (true, true) | (false, false) => Outcome::Unknown,
            _ => Outcome::Attempt,
        }
    }

    /// Whether the records are readable by anyone: no encryption was negotiated.
    pub fn null_cipher(&self) -> bool {
        let hello = self.tls_server().heard.server_hello.as_ref();
        hello.is_some_and(|hello| is_null_cipher(hello.cipher))
    }

    /// The facts so far.
    pub fn finish(&self) -> TlsFacts {
        let (client, server) = (self.tls_client(), self.tls_server());
        let mut facts = facts(Sides {
            client: &client.heard,
            server: &server.heard,
            partial: client.partial_client_hello(),
            client_first: !client.again,
            server_whole: server.is_unbroken(),
            carrier: Carrier::Dtls,
        });
        facts.version = facts.version.or(server.version).or(client.version);
        if facts.version.is_some_and(|version| !version.is_1_3()) {
            self.tell_legacy(&mut facts);
        }
        let of = |side: Side| {
            let (level, description) = self.side(side).alert?;
            Some(TlsAlert { side, level, description })
        };
        if client.heard.is_unsided(&server.heard) {
            facts.forget_certificates();
        }
        facts.alert = of(Side::Client).or_else(|| of(Side::Server));
        facts.outcome = Some(match self.outcome() {
            Outcome::Established => HandshakeOutcome::Completed,
            Outcome::Refused => HandshakeOutcome::Alert,
            Outcome::Attempt | Outcome::Unknown => HandshakeOutcome::Unknown,
        });
        facts
    }

    /// What is in clear only up to DTLS 1.2. That a datagram is missing shows only in the numbers of what follows:
    /// absence is a fact only before a message that comes later in every handshake.
    fn tell_legacy(&self, facts: &mut TlsFacts) {
        let (client, server) = (self.tls_client(), self.tls_server());
        let session = client.heard.client_hello.as_ref().and_then(|hello| hello.session);
        let hello = server.heard.server_hello.as_ref();
        let echoed = session.is_some() && hello.is_some_and(|hello| hello.session == session);
        facts.resumed = if server.heard.legacy { Some(false) } else { echoed.then_some(true) };
        let resumed = facts.resumed == Some(true);
        facts.resumption = if resumed { resumption(&client.heard) } else { None };
        let none = client.is_unbroken() && client.heard.legacy || resumed;
        facts.client_cert_seen = client.heard.certificate.or_else(|| none.then_some(false));
        let asked = server.heard.certificate_request || client.heard.certificate.is_some();
        let none = server.is_unbroken() && server.heard.hello_done || resumed;
        facts.client_cert_requested = if asked { Some(true) } else { none.then_some(false) };
    }

    const fn side(&self, side: Side) -> &SideReader {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Joined late, or where both sides wait: who spoke first may be the server.
    const fn is_swapped(&self) -> bool {
        self.client.heard.is_swapped(&self.server.heard)
    }

    const fn tls_client(&self) -> &SideReader {
        if self.is_swapped() { &self.server } else { &self.client }
    }

    const fn tls_server(&self) -> &SideReader {
        if self.is_swapped() { &self.client } else { &self.server }
    }

    const fn is_completed(&self) -> bool {
        let hello = self.tls_server().heard.server_hello.is_some();
        hello && self.client.sealed > 0 && self.server.sealed > 0
    }

    /// Joined late, or one side only, and records went on under keys.
    const fn has_run_on(&self) -> bool {
        let (client, server) = (self.client.sealed, self.server.sealed);
        client > 0 && server > 0 || client >= RUN_ON_RECORDS || server >= RUN_ON_RECORDS
    }

    fn is_refused(&self) -> bool {
        (self.client.is_fatal() || self.server.is_fatal()) && !self.is_completed()
    }
}

impl SideReader {
    /// Whether the messages read are the first, without a gap.
    const fn is_unbroken(&self) -> bool {
        self.read & self.read.wrapping_add(1) == 0
    }

    const fn is_fatal(&self) -> bool {
        matches!(self.alert, Some((FATAL, _)))
    }

    /// Whether a server's flight was heard to its end.
    fn is_told(&self) -> bool {
        let hello = self.heard.server_hello.as_ref();
        let hidden = hello.is_some_and(|hello| hello.version.is_1_3());
        hidden || self.heard.hello_done || self.is_fatal() || self.sealed > 0
    }

    fn datagram(&mut self, datagram: &[u8]) {
        let mut cursor = Cursor::new(datagram);
        while let Ok(first) = cursor.peek() {
            if matches!(first, UNIFIED_FIRST..=UNIFIED_LAST) {
                // The rest of the datagram is sealed too.
                let known = self.spoke;
                self.sealed = self.sealed.saturating_add(u32::from(known));
                return;
            }
            let Ok(Some(record)) = DtlsRecord::read(&mut cursor) else { return };
            let body = cursor.take(record.length.min(cursor.left())).unwrap_or_default();
            self.spoke = true;
            self.record(&record, body);
        }
    }

    fn record(&mut self, record: &DtlsRecord, body: &[u8]) {
        let sealed = record.epoch > 0;
        if sealed || record.kind == DtlsRecord::CHANGE_CIPHER_SPEC {
            self.version = self.version.or(Some(TlsVersion(record.version)));
        }
        match (record.kind, body) {
            _ if sealed => self.sealed = self.sealed.saturating_add(1),
            (DtlsRecord::HANDSHAKE, _) => {
                let mut cursor = Cursor::new(body);
                while let Ok(()) = self.fragment(&mut cursor) {}
            }
            (DtlsRecord::ALERT, [level @ 1..=FATAL, description]) => {
                let graver = self.alert.is_none_or(|(known, _)| known < *level);
                if graver {
                    self.alert = Some((*level, *description));
                }
            }
            _ => {}
        }
    }

    fn fragment(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Short> {
        let fragment = Fragment::read(cursor)?.ok_or(Short)?;
        let bytes = cursor.take(fragment.bytes.min(cursor.left()))?;
        let number = 1_u64 << u32::from(fragment.number).min(63);
        if self.read & number != 0 {
            return Ok(());
        }
        let known = self.assemblies.iter().position(|a| a.fragment.number == fragment.number);
        let at = known.unwrap_or(self.assemblies.len());
        if known.is_none() {
            // Certificates are long: one at a time.
            let another = fragment.kind == CERTIFICATE
                && self.assemblies.iter().any(|a| a.fragment.kind == CERTIFICATE);
            if self.assemblies.len() >= ASSEMBLIES_MAX || another {
                return Ok(());
            }
            self.assemblies.push(Assembly {
                fragment,
                pieces: Pieces::default(),
                body: Vec::new(),
            });
        }
        let complete = self.assemblies.get_mut(at).is_some_and(|assembly| {
            let same = (assembly.fragment.kind, assembly.fragment.length);
            same == (fragment.kind, fragment.length) && assembly.take(&fragment, bytes)
        });
        if complete {
            self.read |= number;
            let Assembly { fragment, body, .. } = self.assemblies.swap_remove(at);
            self.message(&fragment, &body);
        }
        Ok(())
    }

    /// A message is complete, as far as it is kept.
    fn message(&mut self, fragment: &Fragment, body: &[u8]) {
        let Fragment { kind, length, number, .. } = *fragment;
        let stripped;
        let (body, length) = match kind {
            Fragment::CLIENT_HELLO => {
                stripped = without_cookie(body).unwrap_or_default();
                let cookie = body.len().saturating_sub(stripped.len());
                let first = self.heard.client_hellos == 0;
                self.again |= first && number > 0 && cookie <= COOKIE_LENGTH_BYTES;
                (&stripped[..], length.saturating_sub(cookie))
            }
            _ => (body, length),
        };
        self.heard.begun = true;
        self.heard.message(kind, body, length);
    }

    fn give_up(&mut self, reason: CertificateCut) {
        let begun = |a: &&Assembly| a.fragment.kind == CERTIFICATE;
        if let Some(assembly) = self.assemblies.iter().find(begun) {
            self.heard.cut(CERTIFICATE, &assembly.body, reason);
        }
    }

    fn partial_client_hello(&self) -> Option<ClientHello> {
        let begun = |a: &&Assembly| a.fragment.kind == Fragment::CLIENT_HELLO && !a.body.is_empty();
        let body = without_cookie(&self.assemblies.iter().find(begun)?.body)?;
        ClientHello::read(&body, false)
    }

    fn buffered(&self) -> usize {
        let each = |a: &Assembly| {
            let kept = a.body.capacity().saturating_add(a.pieces.buffered());
            kept.saturating_add(size_of::<Assembly>())
        };
        let chain = self.heard.chain.as_ref().map_or(0, |chain| chain.memory());
        self.assemblies.iter().map(each).fold(chain, usize::saturating_add)
    }
}

impl Assembly {
    /// Adds a fragment; true if all that is wanted is there.
    fn take(&mut self, fragment: &Fragment, bytes: &[u8]) -> bool {
        let wanted = self.wanted();
        let Self { pieces, body, .. } = self;
        pieces.push(fragment.offset, bytes, &mut |fresh| {
            let room = wanted.saturating_sub(body.len());
            body.extend_from_slice(fresh.get(..room).unwrap_or(fresh));
        });
        self.body.len() >= wanted
    }

    /// How much of the message is read.
    fn wanted(&self) -> usize {
        wanted(self.fragment.kind, self.fragment.length)
    }
}

/// A `ClientHello` as TLS has it: there is no cookie behind the session id (RFC 6347 section 4.2.1).
fn without_cookie(body: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(body);
    cursor.skip(VERSION_AND_RANDOM_BYTES).ok()?;
    let session = cursor.u8().ok()?;
    cursor.skip(usize::from(session)).ok()?;
    let head = body.get(..cursor.at())?;
    let cookie = cursor.u8().ok()?;
    cursor.skip(usize::from(cookie)).ok()?;
    Some([head, cursor.rest()].concat())
}

const FATAL: u8 = 2;
/// First bytes of the unified header of DTLS 1.3 (RFC 9147 section 4).
const UNIFIED_FIRST: u8 = 0x20;
const UNIFIED_LAST: u8 = 0x3f;
const VERSION_AND_RANDOM_BYTES: usize = 34;
const COOKIE_LENGTH_BYTES: usize = 1;
/// Messages of one side being put together.
const ASSEMBLIES_MAX: usize = 4;
const RUN_ON_RECORDS: u32 = 4;
const DATAGRAMS_MAX: u32 = 96;

#[cfg(test)]
mod tests;
