//! Reads the handshake of a QUIC connection as far as its Initial packets show it. RFC 9001, RFC 9369.
//!
//! Their keys follow from the client's first destination connection ID, or after a Retry from the second. What is opened
//! is authentic: no other bytes pass the AEAD. CRYPTO frames come out of order and over several datagrams.

mod frames;
mod keys;

use super::{
    pieces::Pieces,
    tls::{
        facts::{Sides, facts},
        message::{Heard, Message},
    },
};
use crate::{
    detect::Datagrams,
    model::{
        Outcome, Side,
        fingerprint::Carrier,
        quic::{FIXED, LONG, LongHeader, LongType},
        tls::{HandshakeOutcome, TlsAlert, TlsFacts},
    },
};

use frames::{Frame, GoogleHello};
use keys::InitialKeys;

/// Incremental reader of one QUIC connection's handshake.
#[derive(Debug, Default)]
pub struct QuicReader {
    client: SideReader,
    server: SideReader,
    keys: Option<InitialKeys>,
    /// Destination connection ID the keys were derived from, for a server that answers in another version.
    destination: Vec<u8>,
    derivations: u8,
    google: Option<GoogleHello>,
    negotiation: bool,
    /// The client spoke a version we know.
    another_version: bool,
}

#[allow(clippy::struct_excessive_bools, reason = "independent observations, each true or not yet")]
#[derive(Debug, Default)]
struct SideReader {
    heard: Heard,
    message: Message,
    pieces: Pieces,
    /// What came is not a TLS handshake.
    odd: bool,
    alert: Option<u8>,
    closed: bool,
    datagrams: u32,
    long: bool,
    /// Sent early data.
    early: bool,
    /// Packets behind the Initial ones, whose keys only the two sides have.
    sealed: u32,
    /// Packets with a short header: the handshake is over for this side.
    short: u32,
}

impl QuicReader {
    /// Takes the next datagrams of `side`, each behind its length; returns how many bytes were consumed.
    pub fn feed(&mut self, side: Side, bytes: &[u8]) -> usize {
        let mut datagrams = Datagrams::new(bytes);
        for datagram in datagrams.by_ref() {
            let reader = self.side_mut(side);
            reader.datagrams = reader.datagrams.saturating_add(1);
            self.datagram(side, datagram);
        }
        bytes.len().saturating_sub(datagrams.rest().len())
    }

    /// Memory held for what is not yet complete.
    pub fn buffered(&self) -> usize {
        self.client.buffered().saturating_add(self.server.buffered())
    }

    /// Whether `side` spoke QUIC.
    pub const fn spoke(&self, side: Side) -> bool {
        let reader = self.side(side);
        reader.long || reader.sealed > 0
    }

    /// Whether nothing more can be learnt.
    pub const fn is_done(&self) -> bool {
        let both = self.client.datagrams > 0 && self.server.datagrams > 0;
        let read =
            self.client.heard.client_hello.is_some() && self.server.heard.server_hello.is_some();
        let datagrams = self.client.datagrams.saturating_add(self.server.datagrams);
        both && read && self.is_agreed() || datagrams >= DATAGRAMS_MAX
    }

    /// Whether the hellos were answered, although more may be learnt.
    pub const fn is_taken(&self) -> bool {
        self.client.heard.client_hello.is_some()
            && self.server.heard.server_hello.is_some()
            && self.is_completed()
    }

    /// What became of the handshake, if the flow ended now.
    pub const fn outcome(&self) -> Outcome {
        let (client, server) = (&self.client, &self.server);
        if self.is_completed() || client.is_running() || server.is_running() {
            return Outcome::Established;
        }
        let refused = server.closed || client.closed && server.long;
        let nothing_else = !server.long && client.sealed == 0 && server.sealed == 0;
        if refused || self.negotiation && nothing_else && !self.another_version {
            return Outcome::Refused;
        }
        match (self.spoke(Side::Client), self.spoke(Side::Server)) {
            (true, true) | (false, false) => Outcome::Unknown,
            _ => Outcome::Attempt,
        }
    }

    /// The facts so far.
    pub fn finish(&self) -> TlsFacts {
        let mut facts = facts(Sides {
            client: &self.client.heard,
            server: &self.server.heard,
            partial: self.partial(),
            // The handshake is read from its first byte or not at all.
            client_first: true,
            server_whole: true,
            carrier: Carrier::Quic,
        });
        facts.early_data_sent = self.client.early.then_some(true);
        // Who finds no protocol in common ends the connection (RFC 9001 section 8.1), so the only one offered was taken.
        if self.is_agreed()
            && !facts.alpn_cut
            && let [only] = facts.alpn_offered.as_slice()
        {
            facts.alpn.get_or_insert_with(|| only.clone());
        }
        if let Some(hello) = &self.google {
            facts.sni.clone_from(&hello.sni);
            facts.client_hello = true;
        }
        let alert = |side: Side| {
            let description = self.side(side).alert?;
            Some(TlsAlert { side, level: FATAL, description })
        };
        facts.alert = alert(Side::Server).or_else(|| alert(Side::Client));
        facts.outcome = Some(match self.outcome() {
            Outcome::Established => HandshakeOutcome::Completed,
            Outcome::Refused if facts.alert.is_some() => HandshakeOutcome::Alert,
            Outcome::Refused => HandshakeOutcome::Abandoned,
            Outcome::Attempt | Outcome::Unknown => HandshakeOutcome::Unknown,
        });
        facts
    }

    fn partial(&self) -> Option<super::tls::hello::ClientHello> {
        self.client.message.partial_client_hello()
    }

    /// The client went on behind the Initial packets: it has the server's keys.
    const fn is_completed(&self) -> bool {
        let (client, server) = (&self.client, &self.server);
        let hello = server.heard.server_hello.is_some() || self.google.is_some();
        hello && client.sealed > 0 && server.sealed > 0 && !(client.closed || server.closed)
    }

    /// The client went on behind the handshake: it has checked all that the server chose.
    const fn is_agreed(&self) -> bool {
        self.is_completed() && self.client.short > 0
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

    /// The packets of a datagram.
    fn datagram(&mut self, side: Side, datagram: &[u8]) {
        if side == Side::Client
            && self.google.is_none()
            && let Some(hello) = frames::google_hello(datagram)
        {
            self.google = Some(hello);
            self.client.long = true;
            return;
        }
        let mut rest = datagram;
        while let Some(first) = rest.first() {
            if first & LONG == 0 {
                let (client, google) = (self.client.long, self.google.is_some());
                let reader = self.side_mut(side);
                // The fixed bit may be left out later on (RFC 9287); behind another packet zeros are padding.
                let whole = rest.len() == datagram.len();
                if first & FIXED != 0 && client || whole && (reader.long || google) {
                    reader.sealed = reader.sealed.saturating_add(1);
                    reader.short = reader.short.saturating_add(1);
                }
                return;
            }
            let Ok(Some(header)) = LongHeader::read(rest, rest.len()) else { return };
            self.packet(side, rest, &header);
            rest = rest.get(header.end..).unwrap_or_default();
        }
    }

    fn packet(&mut self, side: Side, bytes: &[u8], header: &LongHeader<'_>) {
        let known = header.version.name().is_some();
        self.negotiation |= header.kind == LongType::Negotiation;
        self.another_version |= known && side == Side::Client;
        let reader = self.side_mut(side);
        reader.long |= known || header.kind == LongType::Other;
        match header.kind {
            LongType::ZeroRtt => reader.early |= side == Side::Client,
            LongType::Handshake => reader.sealed = reader.sealed.saturating_add(1),
            LongType::Initial if reader.is_wanted() => {
                let packet = bytes.get(..header.end).unwrap_or(bytes);
                if let Some(plain) = self.open(side, packet, header) {
                    self.frames(side, &plain);
                }
            }
            _ => {}
        }
    }

    /// Opens an Initial packet: under the keys in use, those of the version the server turned to, or (client's first
    /// packet, or the first after a Retry) new ones.
    fn open(&mut self, side: Side, packet: &[u8], header: &LongHeader<'_>) -> Option<Vec<u8>> {
        let same = self.keys.filter(|keys| keys.version == header.version);
        if let Some(plain) = same.and_then(|keys| keys.open(side, packet, header.number_at)) {
            return Some(plain);
        }
        let destination = match side {
            Side::Client => header.destination,
            Side::Server if same.is_none() && self.keys.is_some() => &self.destination,
            Side::Server => return None,
        };
        self.derivations = self.derivations.checked_add(1).filter(|n| *n <= DERIVATIONS_MAX)?;
        let keys = InitialKeys::derive(header.version, destination)?;
        let opened = keys.open(side, packet, header.number_at);
        let destination = destination.to_vec();
        if opened.is_some() || self.keys.is_none() {
            (self.keys, self.destination) = (Some(keys), destination);
        }
        opened
    }

    fn frames(&mut self, side: Side, plain: &[u8]) {
        if side == Side::Client && self.google.is_none() {
            self.google = frames::google_hello(plain);
        }
        let reader = self.side_mut(side);
        frames::each(plain, |frame| match frame {
            Frame::Crypto { offset, bytes } => reader.crypto(offset, bytes),
            Frame::Close { alert } => {
                reader.closed = true;
                reader.alert = reader.alert.or(alert);
            }
        });
    }
}

impl SideReader {
    /// Whether its hello may still come.
    const fn is_wanted(&self) -> bool {
        self.heard.client_hello.is_none() && self.heard.server_hello.is_none() && !self.odd
            || !self.closed && self.sealed == 0
    }

    /// The flow went on as no refused one does.
    const fn is_running(&self) -> bool {
        self.sealed >= RUNNING_PACKETS && self.long
    }

    fn crypto(&mut self, offset: usize, bytes: &[u8]) {
        let Self { message, heard, odd, .. } = self;
        self.pieces.push(offset, bytes, &mut |fresh| {
            *odd = *odd || message.feed(fresh, 0, heard).is_err();
        });
    }

    fn buffered(&self) -> usize {
        self.pieces.buffered().saturating_add(self.message.buffered())
    }
}

const FATAL: u8 = 2;
/// Datagrams read of both sides together.
const DATAGRAMS_MAX: u32 = 48;
/// Keys derived for one flow: a Retry, another version, and some attempts that fail.
const DERIVATIONS_MAX: u8 = 8;
const RUNNING_PACKETS: u32 = 8;

#[cfg(test)]
mod tests;
