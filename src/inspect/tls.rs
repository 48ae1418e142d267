//! Reads a TLS layer until nothing more can be learnt in clear. RFC 8446, RFC 5246, RFC 6101 and `SSLv2`.
//!
//! [`TlsReader`] takes each side's bytes as they come, in any segmentation, and holds at most [`BUFFERED_BYTES_MAX`].
//! What each side says is kept apart and put together only when asked, so the order in which the sides arrive is
//! irrelevant. Absence is a fact only where nothing was lost: otherwise it is `None`.

pub(super) mod facts;
mod fingerprint;
pub(super) mod hello;
pub(super) mod message;
mod names;
mod resync;
mod side;
mod sslv2;

use crate::{
    detect::Start,
    model::{
        Outcome, Side,
        fingerprint::Carrier,
        tls::{CertificateCut, HandshakeOutcome, KeyExchange, TlsAlert, TlsFacts, TlsVersion},
    },
};

use facts::{Sides, resumption};
use hello::{ClientHello, ServerHello};
use side::{FATAL, SideReader};

pub use names::{
    alert_name, cipher_name, compression_name, group_name, is_null_cipher, key_exchange,
    signature_name, sslv2_cipher_name,
};

/// Most memory one reader holds besides itself for what is not complete: a certificate of each side, or where the
/// records go on.
pub const BUFFERED_BYTES_MAX: usize = 2 * message::CERTIFICATE_BYTES_MAX;

/// Incremental reader of one TLS layer.
#[derive(Debug)]
pub struct TlsReader {
    client: SideReader,
    server: SideReader,
}

impl TlsReader {
    /// A reader for a layer that begins as told on each side.
    pub fn new(client_start: Start, server_start: Start) -> Self {
        Self { client: SideReader::new(client_start), server: SideReader::new(server_start) }
    }

    /// Takes the next bytes of `side`; returns how many were consumed, which is all of them.
    pub fn feed(&mut self, side: Side, bytes: &[u8]) -> usize {
        self.side_mut(side).feed(bytes);
        bytes.len()
    }

    /// Bytes of `side` were lost after those fed so far.
    pub fn gap(&mut self, side: Side) {
        self.side_mut(side).gap();
    }

    /// No more will be read, for this reason. Certificates that are not complete, or could have come, stay unread.
    pub fn give_up(&mut self, reason: CertificateCut) {
        self.client.give_up(reason);
        self.server.give_up(reason);
        let (visible, swapped) = (!self.is_1_3(), self.is_swapped());
        let server = if swapped { &mut self.client } else { &mut self.server };
        let heard = &mut server.heard;
        let past = heard.certificate.is_some() || heard.hello_done || server.seen.ccs;
        if reason == CertificateCut::Memory && visible && !past {
            heard.certificate_cut.get_or_insert(reason);
        }
    }

    /// Memory held for messages not yet complete.
    pub fn buffered(&self) -> usize {
        self.client.buffered().saturating_add(self.server.buffered())
    }

    /// Whether `side` sent valid TLS.
    pub const fn spoke(&self, side: Side) -> bool {
        self.side(side).seen.spoke || self.is_one_record_each()
    }

    /// Whether the first bytes of `side` are another protocol.
    pub const fn mismatch(&self, side: Side) -> bool {
        self.side(side).seen.mismatch
    }

    /// Whether `side` spoke TLS and then something else.
    pub const fn broken(&self, side: Side) -> bool {
        self.side(side).seen.broken
    }

    /// Whether nothing more can be learnt.
    pub fn is_done(&self) -> bool {
        let ends = [&self.client, &self.server];
        if ends.iter().all(|end| end.is_stopped()) || self.mismatched() && self.is_client_read() {
            return true;
        }
        if self.refusing_alert() || self.is_taken() && self.is_past_renegotiation() {
            return true;
        }
        // Joined late or one side only: what was not said by now will not be said.
        let early = self.client_hello().is_some_and(|hello| hello.early_data == Some(true));
        let enough = if early { EARLY_RECORDS_MAX } else { LATE_RECORDS };
        ends.iter().any(|end| end.seen.data >= enough || end.sslv2.sealed >= enough)
    }

    /// Whether both sides have reached protection; only a second handshake may still be told of.
    pub fn is_taken(&self) -> bool {
        self.completed() && !self.is_client_alert()
    }

    /// Whether no second handshake is awaited: up to TLS 1.2 it may follow the first request.
    fn is_past_renegotiation(&self) -> bool {
        let ends = [&self.client, &self.server];
        self.is_1_3()
            || self.server_hello().is_none()
            || self.renegotiated().is_some()
            || ends.iter().any(|end| end.seen.data >= RENEGOTIATION_RECORDS || end.seen.lossy)
    }

    /// What became of the handshake, if the flow ended now.
    pub fn outcome(&self) -> Outcome {
        let spoken = [Side::Client, Side::Server].iter().filter(|s| self.spoke(**s)).count();
        if spoken > 0 && self.mismatched() {
            return Outcome::Refused;
        }
        if spoken == 2 && self.refusing_alert()
            || self.server_alone_refuses()
            || self.completed() && self.is_client_alert()
        {
            return Outcome::Refused;
        }
        if self.completed() || self.ran_on() || self.one_side_completed() {
            return Outcome::Established;
        }
        if spoken == 1 { Outcome::Attempt } else { Outcome::Unknown }
    }

    /// Whether the records are readable by anyone: no encryption was negotiated.
    pub fn null_cipher(&self) -> bool {
        self.server_hello().is_some_and(|hello| is_null_cipher(hello.cipher))
    }

    /// The facts so far. `Abandoned` is left to the caller, who knows whether the flow has ended.
    pub fn finish(&self) -> TlsFacts {
        let (client, server) = (self.tls_client(), self.tls_server());
        let partial = client.partial().partial_client_hello();
        let mut facts = facts::facts(Sides {
            client: &client.heard,
            server: &server.heard,
            client_first: Self::is_first_hello(client, partial.as_ref()),
            partial,
            server_whole: server.seen.hello_whole,
            carrier: Carrier::Tcp,
        });
        facts.version = self.version();
        facts.version_offered =
            facts.version_offered.or_else(|| client.sslv2.client_hello.map(TlsVersion));
        facts.cipher_sslv2 = client.sslv2.cipher;
        facts.ciphers_offered = facts.ciphers_offered.or(client.sslv2.ciphers);
        facts.client_hello |= client.sslv2.client_hello.is_some();
        if server.sslv2.server_hello.is_some() {
            // There is no other way.
            (facts.server_hello, facts.key_exchange) = (true, Some(KeyExchange::Rsa));
        }
        if !self.is_1_3() {
            facts.resumed = self.resumed();
            facts.resumption =
                facts.resumed.filter(|resumed| *resumed).and_then(|_| resumption(&client.heard));
            facts.renegotiated = self.renegotiated();
        }
        facts.client_cert_seen = self.client_cert_seen();
        facts.client_cert_requested = self.client_cert_requested(facts.resumed);
        // Only early data comes between the hellos.
        let early = facts.early_data_offered == Some(true) && client.seen.data_between_hellos;
        facts.early_data_sent = early.then_some(true);
        facts.alert = self.alert();
        facts.outcome = Some(self.handshake_outcome());
        // A gap may have swallowed it whole.
        let lost = server.seen.lossy && facts.server_hello && !server.heard.hello_done;
        let none = facts.certificates.is_none() && facts.resumed != Some(true);
        if lost && none && !self.is_1_3() {
            facts.certificate_cut.get_or_insert(CertificateCut::Loss);
        }
        if client.heard.is_unsided(&server.heard) {
            facts.forget_certificates();
        }
        facts
    }

    fn side_mut(&mut self, side: Side) -> &mut SideReader {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    const fn side(&self, side: Side) -> &SideReader {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Whether the side that accepted the connection is the TLS client (FTP active mode).
    const fn is_swapped(&self) -> bool {
        let (client, server) = (&self.client.heard, &self.server.heard);
        if client.client_hello.is_some() || server.server_hello.is_some() {
            return false;
        }
        server.client_hello.is_some() || client.server_hello.is_some() || client.is_swapped(server)
    }

    /// Whether the hello that was read is the client's first: what answers a `HelloRetryRequest` stands in a record of
    /// TLS 1.2 (RFC 8446 section 5.1).
    fn is_first_hello(client: &SideReader, partial: Option<&ClientHello>) -> bool {
        let hello = client.heard.client_hello.as_ref().or(partial);
        let known = hello.and_then(|hello| hello.version);
        let no_retry = known.is_some_and(|version| !version.is_1_3());
        let early = client.seen.hello_version.is_some_and(|version| version < 0x0303);
        client.seen.hello_whole || no_retry || early
    }

    const fn tls_client(&self) -> &SideReader {
        if self.is_swapped() { &self.server } else { &self.client }
    }

    const fn tls_server(&self) -> &SideReader {
        if self.is_swapped() { &self.client } else { &self.server }
    }

    const fn client_hello(&self) -> Option<&ClientHello> {
        self.tls_client().heard.client_hello.as_ref()
    }

    const fn server_hello(&self) -> Option<&ServerHello> {
        self.tls_server().heard.server_hello.as_ref()
    }

    const fn mismatched(&self) -> bool {
        self.client.seen.mismatch || self.server.seen.mismatch
    }

    fn is_client_read(&self) -> bool {
        self.client_hello().is_some()
            || self.tls_client().sslv2.client_hello.is_some()
            || self.tls_client().seen.mismatch
    }

    fn version(&self) -> Option<TlsVersion> {
        let server = self.tls_server();
        if let Some(hello) = self.server_hello().or(server.heard.retry.as_ref()) {
            return Some(hello.version);
        }
        if server.sslv2.server_hello.is_some() || self.tls_client().sslv2.cipher.is_some() {
            return Some(TlsVersion::SSLV2);
        }
        // Records of TLS 1.3 say 1.2; but some messages are never in clear there.
        let legacy = self.client.heard.legacy || self.server.heard.legacy;
        let records = [&self.client, &self.server].map(|end| end.seen.version);
        let version = records.into_iter().flatten().min()?;
        (version.0 < 0x0303 || legacy && version.0 == 0x0303).then_some(version)
    }

    fn is_1_3(&self) -> bool {
        self.version().is_some_and(TlsVersion::is_1_3)
    }

    /// Both sides finished the handshake: a hello was answered, and protected records went both ways.
    fn completed(&self) -> bool {
        let (client, server) = (self.tls_client(), self.tls_server());
        let tls = self.server_hello().is_some();
        let sslv2 = server.sslv2.server_hello.is_some();
        tls && client.seen.sealed > 0 && server.seen.sealed > 0
            || sslv2 && client.sslv2.sealed > 0 && server.sslv2.sealed > 0
    }

    /// Joined late, and protected records followed one another.
    fn ran_on(&self) -> bool {
        let ran = |end: &SideReader| end.seen.ran_on && end.seen.sealed > 0;
        let some = ran(&self.client) || ran(&self.server) || self.is_one_record_each();
        some && !self.is_client_alert()
    }

    /// Both sides joined late, each on a record of application data.
    const fn is_one_record_each(&self) -> bool {
        let (client, server) = (&self.client.seen, &self.server.seen);
        client.lossy && server.lossy && client.data > 0 && server.data > 0
    }

    /// Only one side was captured, but it went on as nobody does whose handshake failed.
    fn one_side_completed(&self) -> bool {
        let (client, server) = (self.tls_client(), self.tls_server());
        if client.seen.spoke && server.seen.spoke {
            return false;
        }
        let early = self.client_hello().is_some_and(|hello| hello.early_data != Some(false));
        let went_on = client.seen.ccs && client.seen.data > 0 && !self.is_client_alert();
        // A server of TLS 1.3 seals its first flight before the client has agreed.
        let flight = if self.is_1_3() { LATE_RECORDS } else { 1 };
        self.client_hello().is_some() && went_on && !early
            || self.server_hello().is_some() && server.seen.ccs && server.seen.data >= flight
    }

    /// Whether a fatal alert in clear came before protection was reached.
    fn refusing_alert(&self) -> bool {
        let fatal = |end: &SideReader| end.seen.alert.is_some_and(|(level, _)| level == FATAL);
        let sslv2 = self.tls_server().sslv2.error;
        (sslv2 || fatal(&self.client) || fatal(&self.server)) && !self.completed()
    }

    /// Only the server was captured, and it ended the handshake. A client's alert to a silent server refuses nothing.
    fn server_alone_refuses(&self) -> bool {
        !self.tls_client().seen.spoke && self.refusing_alert()
    }

    /// TLS 1.3: all that the client sealed has the size of an alert, so it left instead of finishing.
    fn is_client_alert(&self) -> bool {
        let cipher = self.server_hello().map(|hello| hello.cipher);
        // Level, description, inner content type, tag.
        let alert = match cipher {
            Some(0x1305) => 11,
            Some(0xc0b4) => 35,
            Some(0xc0b5) => 51,
            _ => 19,
        };
        let client = &self.tls_client().seen;
        let only_data = client.sealed == client.data && client.data <= ALERTS_MAX;
        let hidden = self.is_1_3() || cipher.is_none();
        hidden && only_data && client.data_lengths == Some((alert, alert))
    }

    fn resumed(&self) -> Option<bool> {
        let server = self.tls_server();
        if let Some(resumed) = server.sslv2.server_hello {
            return Some(resumed);
        }
        self.server_hello()?;
        if server.heard.certificate.is_some() || server.heard.hello_done {
            return Some(false);
        }
        (server.seen.ccs && !server.seen.lossy).then_some(true)
    }

    fn client_cert_seen(&self) -> Option<bool> {
        let client = self.tls_client();
        if client.heard.certificate.is_some() {
            return client.heard.certificate;
        }
        let visible = self.version().is_some_and(|version| !version.is_1_3());
        // SSLv2 has no `change_cipher_spec`, and seals a client's certificate.
        (visible && client.seen.ccs && !client.seen.lossy).then_some(false)
    }

    /// Whether the server asked for a certificate: up to TLS 1.2 that is in clear, and no client sends one unasked.
    fn client_cert_requested(&self, resumed: Option<bool>) -> Option<bool> {
        let (client, server) = (&self.tls_client().heard, self.tls_server());
        if server.heard.certificate_request || client.certificate.is_some() {
            return Some(true);
        }
        let visible = self.server_hello().is_some_and(|hello| !hello.version.is_1_3());
        let past = server.heard.hello_done || resumed == Some(true);
        (visible && past && !server.seen.lossy).then_some(false)
    }

    /// Whether a second handshake was seen behind the first: sealed, but its records are told apart from data.
    fn renegotiated(&self) -> Option<bool> {
        let again = |end: &SideReader| end.seen.sealed_messages > 1;
        let both = again(self.tls_client()) && self.completed();
        (both && self.server_hello().is_some()).then_some(true)
    }

    /// The gravest, and of two alike the client's.
    fn alert(&self) -> Option<TlsAlert> {
        let of = |side: Side| {
            let (level, description) = self.side(side).seen.alert?;
            Some(TlsAlert { side, level, description })
        };
        let (client, server) = (of(Side::Client), of(Side::Server));
        match (client, server) {
            (Some(c), Some(s)) if s.level > c.level => server,
            _ => client.or(server),
        }
    }

    fn handshake_outcome(&self) -> HandshakeOutcome {
        match self.outcome() {
            Outcome::Established => HandshakeOutcome::Completed,
            Outcome::Refused if !self.mismatched() => HandshakeOutcome::Alert,
            Outcome::Refused => HandshakeOutcome::Abandoned,
            Outcome::Attempt | Outcome::Unknown => HandshakeOutcome::Unknown,
        }
    }
}

/// Application data records after which a flow joined late, or seen from one side, has shown what it will.
const LATE_RECORDS: u32 = 8;
/// The same after a handshake up to TLS 1.2: a server that wants a certificate for some requests only asks by then.
const RENEGOTIATION_RECORDS: u32 = 4;
/// The same while early data may run ahead of the server's hello.
const EARLY_RECORDS_MAX: u32 = 64;
/// A client that leaves says so once, or adds `close_notify`.
const ALERTS_MAX: u32 = 2;

#[cfg(test)]
mod tests;
