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
mod tests {
    use super::*;
    use crate::model::Name;

    fn datagram(records: &[Vec<u8>]) -> Vec<u8> {
        let bytes = records.concat();
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
    }

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1], &length[..], body].concat()
    }

    /// The part `from..to` of message `number` in a record of its own.
    fn fragment(kind: u8, number: u8, message: &[u8], from: usize, to: usize) -> Vec<u8> {
        let size = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
        let (length, offset, bytes) = (size(message.len()), size(from), size(to - from));
        let head = [&[kind], &length[1..], &[0, number], &offset[1..], &bytes[1..]].concat();
        record(22, 0, &[&head, &message[from..to]].concat())
    }

    fn client_hello() -> Vec<u8> {
        let sni = b"\0\0\0\x09\0\x07\0\0\x04host";
        let versions = b"\0\x2b\0\x05\x04\xfe\xfc\xfe\xfd";
        let extensions = [&sni[..], versions].concat();
        let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
        let head = [&b"\xfe\xfd"[..], &[7; 32], b"\0", b"\x03abc", b"\0\x02\xc0\x30", b"\x01\0"];
        [&head.concat()[..], &length, &extensions].concat()
    }

    fn server_hello(cipher: u16) -> Vec<u8> {
        [&b"\xfe\xfd"[..], &[9; 32], b"\0", &cipher.to_be_bytes(), b"\0"].concat()
    }

    fn read(datagrams: &[(Side, Vec<u8>)]) -> DtlsReader {
        let mut reader = DtlsReader::default();
        for (side, bytes) in datagrams {
            assert_eq!(reader.feed(*side, bytes), bytes.len());
        }
        reader
    }

    #[test]
    fn fragments_join_in_any_order_and_once() {
        let hello = client_hello();
        let end = hello.len();
        let piece = |from, to| (Side::Client, datagram(&[fragment(1, 0, &hello, from, to)]));
        for order in [
            vec![piece(0, end)],
            vec![piece(0, 20), piece(20, end)],
            vec![piece(20, end), piece(0, 20)],
            vec![piece(40, end), piece(40, end), piece(0, 30), piece(25, 45)],
        ] {
            let facts = read(&order).finish();
            assert_eq!(facts.sni.as_ref().map(Name::as_str), Some("host"));
            assert_eq!(facts.version_offered, Some(TlsVersion(0xfefc)));
            assert_eq!(facts.early_data_offered, Some(false), "read whole");
        }
        let facts = read(&[piece(0, end - 8)]).finish();
        assert_eq!(facts.sni.as_ref().map(Name::as_str), Some("host"), "as far as it came");
        assert!(!read(&[piece(20, end)]).finish().client_hello);
    }

    #[test]
    fn a_handshake_is_over_when_both_sides_seal() {
        let hello = client_hello();
        let answer = server_hello(0xc030);
        let mut reader = read(&[
            (Side::Client, datagram(&[fragment(1, 0, &hello, 0, hello.len())])),
            (Side::Server, datagram(&[fragment(3, 0, b"\xfe\xff\x03abc", 0, 6)])),
            (Side::Client, datagram(&[fragment(1, 1, &hello, 0, hello.len())])),
            (Side::Server, datagram(&[fragment(2, 1, &answer, 0, answer.len())])),
            (Side::Client, datagram(&[record(20, 0, &[1]), record(22, 1, &[5; 40])])),
        ]);
        assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Unknown, false));
        let stun = b"\0\x14\x00\x01\x00\x00\x21\x12\xa4\x42\0\0\0\0\0\0\0\0\0\0\0\0";
        reader.feed(Side::Server, stun);
        reader.feed(Side::Server, &datagram(&[record(22, 1, &[5; 40])]));
        assert_eq!((reader.outcome(), reader.is_done()), (Outcome::Established, true));
        let facts = reader.finish();
        assert_eq!((facts.version, facts.cipher), (Some(TlsVersion(0xfefd)), Some(0xc030)));
        assert!(!reader.null_cipher());
    }

    #[test]
    fn a_fatal_alert_refuses_and_a_null_cipher_is_told() {
        let hello = client_hello();
        let client = (Side::Client, datagram(&[fragment(1, 0, &hello, 0, hello.len())]));
        let reader = read(&[client.clone(), (Side::Server, datagram(&[record(21, 0, &[2, 40])]))]);
        assert_eq!(reader.outcome(), Outcome::Refused);
        assert_eq!(reader.finish().alert.map(|a| a.description), Some(40));
        // What the server sends meanwhile is read.
        let answer = server_hello(0xc030);
        let refused = (Side::Client, datagram(&[record(21, 0, &[2, 48])]));
        let hello = (Side::Server, datagram(&[fragment(2, 0, &answer, 0, answer.len())]));
        let done = (Side::Server, datagram(&[fragment(14, 1, &[], 0, 0)]));
        let flight = [client.clone(), hello, refused, done];
        assert!(!read(&flight[..3]).is_done() && read(&flight).is_done());
        let null = server_hello(0x003b);
        let reader =
            read(&[client, (Side::Server, datagram(&[fragment(2, 0, &null, 0, null.len())]))]);
        assert!(reader.null_cipher());
    }

    #[test]
    fn records_under_keys_tell_of_a_session_joined_late() {
        let data = || datagram(&[record(23, 1, &[5; 40])]);
        let reader = read(&[(Side::Client, data()), (Side::Server, data())]);
        assert_eq!(reader.outcome(), Outcome::Established);
        assert_eq!(reader.finish().version, Some(TlsVersion(0xfefd)));
        assert_eq!(read(&[(Side::Client, data())]).outcome(), Outcome::Attempt);
    }

    #[test]
    fn certificates_in_fragments_are_read_and_lost_ones_are_told() {
        let hello = server_hello(0xc030);
        let certificate = [&[0, 0x0b, 0xbb, 0, 0x0b, 0xb8][..], &[0x30; 3000]].concat();
        let answer = (Side::Server, datagram(&[fragment(2, 0, &hello, 0, hello.len())]));
        let piece = |from, to| (Side::Server, datagram(&[fragment(11, 1, &certificate, from, to)]));
        let done = (Side::Server, datagram(&[fragment(14, 2, &[], 0, 0)]));
        let whole = [answer.clone(), piece(1400, 2800), piece(0, 1400), piece(2800, 3006), done];
        let facts = read(&whole).finish();
        assert!(facts.certificates.is_some());
        assert_eq!((facts.resumed, facts.client_cert_requested), (Some(false), Some(false)));

        let mut reader = read(&whole[..3]);
        reader.give_up(CertificateCut::Loss);
        let facts = reader.finish();
        assert!(facts.certificates.is_none());
        assert_eq!(facts.certificate_cut, Some(CertificateCut::Loss));
    }

    #[test]
    fn who_is_the_client_is_told_by_what_it_says_not_by_who_spoke_first() {
        let certificate = [0, 0, 0];
        let empty = |number| fragment(11, number, &certificate, 0, 3);
        let exchange = fragment(16, 3, &[7; 8], 0, 8);
        let (first, second) = (Side::Client, Side::Server);
        // Joined late: the server's part is seen first.
        let server = [empty(2), fragment(14, 4, &[], 0, 0)];
        let answer = [empty(2), exchange, record(20, 0, &[1])];
        let late = [(first, datagram(&server)), (second, datagram(&answer))];
        let facts = read(&late).finish();
        assert!(facts.certificates.is_some() && facts.client_certificates.is_some());
        assert_eq!(facts.client_cert_seen, Some(false));
        for side in [first, second] {
            let alone = read(&[(side, datagram(&[empty(2)]))]).finish();
            assert!(alone.certificates.is_none(), "whose it is cannot be told");
            assert!(alone.client_certificates.is_none() && alone.client_cert_seen.is_none());
        }
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let message = vec![7; 60_000];
        let far: Vec<_> = (0..64_u8)
            .flat_map(|number| {
                let message = &message;
                (1..20).map(move |at| {
                    (
                        Side::Client,
                        datagram(&[fragment(1, number, message, at * 1000, at * 1000 + 900)]),
                    )
                })
            })
            .collect();
        assert!(read(&far).buffered() < 100_000);
        let chains: Vec<_> = (0..64_u8)
            .map(|number| (Side::Server, datagram(&[fragment(11, number, &message, 0, 30_000)])))
            .collect();
        assert!(read(&chains).buffered() < 100_000, "one chain at a time");
    }
}
