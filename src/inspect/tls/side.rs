//! One side's records: what they are, and which of them are still in clear.

use std::fmt;

use super::{
    message::{Heard, Message},
    resync::{Found, Resync},
    sslv2::{Fit, Sslv2},
};
use crate::{
    detect::Start,
    inspect::x509,
    model::tls::{CertificateCut, RecordHeader, TlsVersion},
};

/// Reader of one side.
pub(super) struct SideReader {
    pub(super) heard: Heard,
    pub(super) sslv2: Sslv2,
    pub(super) seen: Seen,
    phase: Phase,
    start: Start,
    message: Message,
    head: [u8; RecordHeader::BYTES],
    have: usize,
    left: u16,
    /// Version of the current record.
    version: u16,
    /// Hellos read so far.
    hellos: u8,
    /// The handshake records are not readable (any more).
    opaque: bool,
    /// First bytes of a short or doubtful record.
    small: [u8; 4],
    small_have: usize,
}

impl fmt::Debug for SideReader {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SideReader")
            .field("heard", &self.heard)
            .field("sslv2", &self.sslv2)
            .field("seen", &self.seen)
            .field("phase", &self.phase)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// What the records showed.
#[allow(clippy::struct_excessive_bools, reason = "independent observations, each true or not yet")]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Valid TLS came from this side.
    pub(super) spoke: bool,
    /// Its first bytes are another protocol.
    pub(super) mismatch: bool,
    /// Its records ended in something else.
    pub(super) broken: bool,
    /// Bytes are missing: absence proves nothing.
    pub(super) lossy: bool,
    /// Joined late or picked up after a gap, and records met.
    pub(super) ran_on: bool,
    /// `change_cipher_spec` that means something.
    pub(super) ccs: bool,
    /// Level and description of the first clear alert, a fatal one before a warning.
    pub(super) alert: Option<(u8, u8)>,
    /// Protected handshake or application data records.
    pub(super) sealed: u32,
    /// Application data records among them, with the least and the greatest length.
    pub(super) data: u32,
    pub(super) data_lengths: Option<(u16, u16)>,
    /// Protected handshake records behind a `change_cipher_spec`.
    pub(super) sealed_messages: u32,
    /// Nothing was missing before the hello.
    pub(super) hello_whole: bool,
    /// Version of the record in which the hello began.
    pub(super) hello_version: Option<u16>,
    /// Protected data came before a second hello.
    pub(super) data_between_hellos: bool,
    /// Version of records that carry the negotiated one.
    pub(super) version: Option<TlsVersion>,
    records: u32,
}

#[derive(Debug)]
enum Phase {
    /// Collecting a record header.
    Header,
    Body(Body),
    Sslv2,
    Resync(Box<Resync>),
    Stopped,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Handshake,
    /// A handshake record after `change_cipher_spec`: sealed, unless it is the hello after a `HelloRetryRequest`.
    Doubtful {
        length: u16,
    },
    ChangeCipherSpec,
    Alert,
    Skipped,
}

/// Which of the first bytes of a record header may be those.
fn may_begin(kind: u8, major: u8, minor: u8) -> [bool; 3] {
    let known = matches!(kind, RecordHeader::CHANGE_CIPHER_SPEC..=RecordHeader::HEARTBEAT);
    [known, major == 3, minor <= 4]
}

impl SideReader {
    pub(super) fn new(start: Start) -> Self {
        let lossy = start == Start::Unknown;
        Self {
            heard: Heard::default(),
            sslv2: Sslv2::default(),
            seen: Seen { lossy, ..Seen::default() },
            phase: Phase::Header,
            start,
            message: Message::default(),
            head: [0; RecordHeader::BYTES],
            have: 0,
            left: 0,
            version: 0,
            hellos: 0,
            opaque: false,
            small: [0; 4],
            small_have: 0,
        }
    }

    /// Reads all of `bytes`.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, tail)) = rest.split_first() {
            match &mut self.phase {
                Phase::Stopped => return,
                Phase::Header => {
                    let whole = rest.split_first_chunk().filter(|_| self.have == 0);
                    if let Some((head, behind)) = whole
                        && self.header(*head)
                    {
                        rest = behind;
                        continue;
                    }
                    self.header_byte(*byte);
                    rest = tail;
                }
                Phase::Sslv2 => {
                    self.sslv2_byte(*byte);
                    rest = tail;
                }
                Phase::Resync(resync) => {
                    let passed = resync.pass(rest);
                    if passed > 0 {
                        rest = rest.get(passed..).unwrap_or_default();
                        continue;
                    }
                    let found = resync.push(*byte);
                    self.resynced(found);
                    rest = tail;
                }
                Phase::Body(body) => {
                    let body = *body;
                    let (chunk, tail) =
                        rest.split_at_checked(usize::from(self.left)).unwrap_or((rest, &[]));
                    self.body(body, chunk);
                    rest = tail;
                }
            }
        }
    }

    /// Bytes of this side were lost.
    pub(super) fn gap(&mut self) {
        self.cut_message();
        self.cut_sslv2(CertificateCut::Loss);
        self.seen.lossy = true;
        self.start = Start::Unknown;
        if !matches!(self.phase, Phase::Stopped) {
            self.resync();
        }
    }

    /// Nothing further can be learnt from this side.
    pub(super) const fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Memory held.
    pub(super) fn buffered(&self) -> usize {
        let resync = if matches!(self.phase, Phase::Resync(_)) { size_of::<Resync>() } else { 0 };
        let chain = self.heard.chain.as_ref().map_or(0, |chain| chain.memory());
        let held = self.message.buffered().saturating_add(self.sslv2.buffered());
        held.saturating_add(resync).saturating_add(chain)
    }

    /// No more will be read: a certificate that is not complete stays unread.
    pub(super) fn give_up(&mut self, reason: CertificateCut) {
        if self.message.is_certificate() {
            std::mem::take(&mut self.message).cut(&mut self.heard, reason);
        }
        self.cut_sslv2(reason);
    }

    /// A hello that was begun and not finished.
    pub(super) fn partial(&self) -> &Message {
        &self.message
    }

    /// All of a header at once; false, and nothing is done, if it is none.
    fn header(&mut self, head: [u8; RecordHeader::BYTES]) -> bool {
        let [kind, major, minor, ..] = head;
        let fits = may_begin(kind, major, minor) == [true; 3];
        let Some(header) = RecordHeader::read(head).filter(|_| fits) else { return false };
        (self.head, self.have) = (head, head.len());
        self.begin(header);
        true
    }

    fn header_byte(&mut self, byte: u8) {
        if let Some(slot) = self.head.get_mut(self.have) {
            *slot = byte;
            self.have = self.have.saturating_add(1);
        }
        let first = self.seen.records == 0;
        let [kind, major, minor, ..] = self.head;
        let fits = may_begin(kind, major, minor);
        if fits.iter().take(self.have).all(|fits| *fits) {
            if self.have == self.head.len() {
                match RecordHeader::read(self.head) {
                    Some(header) => self.begin(header),
                    None => self.not_a_header(),
                }
            }
        } else if first && self.have == 1 && kind & 0x80 != 0 && self.start == Start::Known {
            self.phase = Phase::Sslv2;
            self.have = 0;
            self.sslv2_byte(byte);
        } else {
            self.not_a_header();
        }
    }

    fn not_a_header(&mut self) {
        let read = self.head.get(..self.have).unwrap_or_default().to_vec();
        if self.start == Start::Unknown && !self.seen.spoke {
            self.resync();
            self.feed(&read);
        } else {
            self.seen.mismatch |= !self.seen.spoke;
            self.seen.broken |= self.seen.spoke;
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.phase = Phase::Stopped;
        self.cut_message();
    }

    fn resync(&mut self) {
        self.have = 0;
        self.phase = Phase::Resync(Box::new(Resync::new()));
    }

    fn resynced(&mut self, found: Found) {
        match found {
            Found::Nothing => {}
            Found::GaveUp => self.phase = Phase::Stopped,
            Found::Header(header) => {
                (self.seen.spoke, self.seen.ran_on) = (true, true);
                self.begin(header);
            }
            Found::Hello(header, body) => {
                self.seen.ccs = false;
                self.begin(header);
                self.feed(&body);
            }
        }
    }

    /// The rest of a `SERVER-HELLO` will not come.
    fn cut_sslv2(&mut self, reason: CertificateCut) {
        if self.sslv2.is_in_certificate() {
            self.heard.certificate = Some(true);
            self.heard.certificate_cut = Some(reason);
        }
    }

    /// Drops the message being put together; a `ClientHello` says what it can.
    fn cut_message(&mut self) {
        let message = std::mem::take(&mut self.message);
        if message.is_certificate() {
            message.cut(&mut self.heard, CertificateCut::Loss);
            return;
        }
        if self.heard.client_hello.is_none()
            && let Some(hello) = message.partial_client_hello()
        {
            self.heard.client_hello = Some(hello);
            self.found_beginning();
        }
    }

    fn begin(&mut self, header: RecordHeader) {
        self.have = 0;
        self.left = header.length;
        self.small_have = 0;
        self.seen.records = self.seen.records.saturating_add(1);
        if self.seen.records > 1 {
            self.seen.spoke = true;
            self.seen.ran_on |= self.start == Start::Unknown && self.hellos == 0;
        }
        if self.seen.records == 1 && self.start == Start::Unknown && header.is_sealed_alert() {
            (self.seen.spoke, self.seen.ran_on) = (true, true);
            self.sealed_message();
        }
        let body = match (header.kind, header.length) {
            (RecordHeader::CHANGE_CIPHER_SPEC, 1) => Body::ChangeCipherSpec,
            (RecordHeader::ALERT, 2) => Body::Alert,
            (RecordHeader::HANDSHAKE, length) if self.is_sealing() => Body::Doubtful { length },
            (RecordHeader::HANDSHAKE, _) if self.opaque => {
                self.sealed_message();
                Body::Skipped
            }
            (RecordHeader::HANDSHAKE, _) => Body::Handshake,
            (RecordHeader::APPLICATION_DATA, length) => {
                self.sealed_data(length);
                Body::Skipped
            }
            _ => Body::Skipped,
        };
        if matches!(body, Body::ChangeCipherSpec) || header.kind == RecordHeader::APPLICATION_DATA {
            self.seen.version = Some(TlsVersion(header.version));
            self.cut_message();
        }
        self.version = header.version;
        self.phase = if self.left == 0 { Phase::Header } else { Phase::Body(body) };
    }

    /// Whether handshake records are protected by now. A server that asked for another hello sends its
    /// `change_cipher_spec` for middleboxes only (RFC 8446 appendix D.4).
    const fn is_sealing(&self) -> bool {
        self.seen.ccs && (self.heard.retry.is_none() || self.heard.server_hello.is_some())
    }

    fn sealed_data(&mut self, length: u16) {
        let seen = &mut self.seen;
        seen.sealed = seen.sealed.saturating_add(1);
        seen.data = seen.data.saturating_add(1);
        let (least, greatest) = seen.data_lengths.unwrap_or((length, length));
        seen.data_lengths = Some((least.min(length), greatest.max(length)));
    }

    fn sealed_message(&mut self) {
        self.seen.sealed = self.seen.sealed.saturating_add(1);
    }

    /// `chunk` lies within the body of the current record.
    fn body(&mut self, body: Body, chunk: &[u8]) {
        let length = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
        self.left = self.left.saturating_sub(length);
        if self.left == 0 {
            self.phase = Phase::Header;
        }
        match body {
            Body::Skipped => {}
            Body::Handshake => self.handshake(chunk),
            Body::ChangeCipherSpec => self.seen.ccs |= chunk == [1],
            Body::Alert => {
                if let Some([level, description, ..]) = self.gather(chunk, 2) {
                    self.alert(level, description);
                }
            }
            Body::Doubtful { length } => self.doubtful(length, chunk),
        }
    }

    /// Collects the first bytes of a body; returns them when there are `wanted`.
    fn gather(&mut self, chunk: &[u8], wanted: usize) -> Option<[u8; 4]> {
        for byte in chunk.iter().take(wanted.saturating_sub(self.small_have)) {
            if let Some(slot) = self.small.get_mut(self.small_have) {
                *slot = *byte;
                self.small_have = self.small_have.saturating_add(1);
            }
        }
        (self.small_have == wanted).then_some(self.small)
    }

    fn alert(&mut self, level: u8, description: u8) {
        if !matches!(level, WARNING | FATAL) {
            return;
        }
        self.seen.spoke = true;
        let graver = self.seen.alert.is_none_or(|(known, _)| known < level);
        if graver && self.seen.sealed == 0 {
            self.seen.alert = Some((level, description));
        }
    }

    fn handshake(&mut self, chunk: &[u8]) {
        if self.opaque {
            return;
        }
        let hellos = self.heard.client_hellos;
        let fed = self.message.feed(chunk, usize::from(self.left), &mut self.heard);
        let again = hellos > 0 && self.heard.client_hellos > hellos;
        self.seen.data_between_hellos |= again && self.seen.data > 0 && !self.seen.lossy;
        self.seen.spoke |= self.heard.begun;
        self.found_beginning();
        if self.heard.legacy && self.seen.version.is_none() {
            self.seen.version = Some(TlsVersion(self.version));
        }
        if fed.is_err() {
            self.not_a_message();
        }
    }

    /// A hello read whole is this side's beginning: from here on, until a gap, absence is proof again.
    fn found_beginning(&mut self) {
        let hellos = u8::from(self.heard.client_hello.is_some())
            .saturating_add(u8::from(self.heard.server_hello.is_some()));
        if hellos > self.hellos {
            self.hellos = hellos;
            self.seen.hello_whole = !self.seen.lossy;
            self.seen.hello_version = Some(self.version);
            // What is sealed behind it is the handshake's, not a session that runs on.
            (self.seen.lossy, self.seen.ran_on) = (false, false);
        }
    }

    fn not_a_message(&mut self) {
        self.message = Message::default();
        if self.seen.lossy {
            // Joined after change_cipher_spec.
            self.opaque = true;
            self.sealed_message();
        } else if self.seen.spoke {
            self.opaque = true;
        } else {
            self.seen.mismatch = true;
            self.stop();
        }
    }

    /// Tells a sealed handshake record from a hello that fills its record.
    fn doubtful(&mut self, length: u16, chunk: &[u8]) {
        let before = self.small_have;
        let Some(head) = self.gather(chunk, self.small.len()) else { return };
        let [kind, top, high, low] = head;
        let ends = u16::from_be_bytes([high, low]).checked_add(4) == Some(length);
        if !matches!(kind, 1 | 2) || top != 0 || !ends {
            self.sealed_message();
            self.seen.sealed_messages = self.seen.sealed_messages.saturating_add(1);
            self.skip_rest();
            return;
        }
        self.seen.ccs = false;
        self.message = Message::default();
        if self.left > 0 {
            self.phase = Phase::Body(Body::Handshake);
        }
        self.handshake(&head);
        let rest = chunk.get(self.small.len().saturating_sub(before)..).unwrap_or_default();
        self.handshake(rest);
    }

    fn skip_rest(&mut self) {
        if self.left > 0 {
            self.phase = Phase::Body(Body::Skipped);
        }
    }

    fn sslv2_byte(&mut self, byte: u8) {
        let turned = self.sslv2.is_between_records() && !self.sslv2.is_certain();
        if turned && self.seen.spoke && (0x14..=0x18).contains(&byte) {
            self.phase = Phase::Header;
            self.header_byte(byte);
            return;
        }
        match self.sslv2.push(byte) {
            Fit::Within => {}
            Fit::EndOfRecord => {
                self.seen.spoke = true;
                self.seen.records = self.seen.records.saturating_add(1);
                self.heard.as_client |= self.sslv2.client_hello.is_some();
                self.heard.as_server |= self.sslv2.server_hello.is_some();
                if let Some(der) = self.sslv2.take_certificate() {
                    self.heard.certificate = Some(true);
                    self.heard.chain = Some(x509::read_certificate(&der).into());
                }
            }
            Fit::No => {
                self.seen.mismatch |= !self.seen.spoke;
                self.seen.broken |= self.seen.spoke;
                self.stop();
            }
        }
    }
}

pub(super) const WARNING: u8 = 1;
pub(super) const FATAL: u8 = 2;
