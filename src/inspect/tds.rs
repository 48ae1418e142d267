//! A TLS handshake inside TDS packets, until bare records or clear packets follow.
//! <https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/> (section 3.2.5.2)
//!
//! Each packet of type PRELOGIN carries a piece of the handshake; a record may span packets. Once the handshake is done
//! the records go bare. With encryption off, that is the login alone, and both sides go on in clear.

use super::tls::TlsReader;
use crate::{
    detect::Start,
    model::{Side, tls::CertificateCut},
};

/// Takes TDS packets off the records of a handshake.
#[derive(Debug)]
pub struct TdsReader {
    tls: TlsReader,
    client: Unwrapping,
    server: Unwrapping,
    /// Whether the data is sealed too, as far as the sides have said.
    sealed: Option<bool>,
}

/// Where the reading of one side stands.
#[derive(Debug, Default)]
struct Unwrapping {
    /// The header being collected: of a packet, or of a bare record.
    header: [u8; PEEK_BYTES],
    held: usize,
    /// Bytes left of the packet or record at hand.
    left: usize,
    /// They are no part of the handshake.
    skipping: bool,
    /// Bare records of application data.
    data: u32,
    over: bool,
}

impl TdsReader {
    /// A reader for sides that stand behind their PRELOGIN. `sealed`: what they have agreed, if both were seen.
    pub fn new(starts: [Start; 2], sealed: Option<bool>) -> Self {
        let [client, server] = starts;
        Self {
            tls: TlsReader::new(client, server),
            client: Unwrapping::default(),
            server: Unwrapping::default(),
            sealed,
        }
    }

    /// Takes the next bytes of `side`, all of them.
    pub fn feed(&mut self, side: Side, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.side(side).over {
            rest = self.advance(side, rest);
        }
        bytes.len()
    }

    /// Bytes of `side` were lost: where its packets begin is not known any more.
    pub fn gap(&mut self, side: Side) {
        self.side_mut(side).over = true;
        self.tls.gap(side);
    }

    /// No more will be read, for this reason.
    pub fn give_up(&mut self, reason: CertificateCut) {
        self.tls.give_up(reason);
    }

    /// The reader of the records.
    pub const fn tls(&self) -> &TlsReader {
        &self.tls
    }

    /// Whether the data is sealed, or the login alone; `None` until a side shows it.
    pub const fn sealed(&self) -> Option<bool> {
        self.sealed
    }

    /// Whether nothing more can be learnt.
    pub fn is_done(&self) -> bool {
        self.client.over && self.server.over || self.sealed.is_some() && self.tls.is_done()
    }

    /// Reads a piece of `bytes`; returns what is left.
    fn advance<'a>(&mut self, side: Side, bytes: &'a [u8]) -> &'a [u8] {
        let state = self.side_mut(side);
        if state.left > 0 {
            let piece = state.left.min(bytes.len());
            let (piece, rest) = bytes.split_at_checked(piece).unwrap_or((bytes, &[]));
            state.left = state.left.saturating_sub(piece.len());
            if !state.skipping {
                self.tls.feed(side, piece);
            }
            return rest;
        }
        let Some((byte, rest)) = bytes.split_first() else { return &[] };
        if let Some(slot) = state.header.get_mut(state.held) {
            *slot = *byte;
        }
        state.held = state.held.saturating_add(1);
        self.decide(side);
        rest
    }

    /// Looks at the header collected so far.
    fn decide(&mut self, side: Side) {
        let state = self.side_mut(side);
        let header = state.header;
        let [kind, second, third, fourth, fifth, ..] = header;
        match kind {
            RECORD_MIN..=RECORD_MAX if second != TLS_MAJOR && state.held > 1 => state.over = true,
            RECORD_MIN..=RECORD_MAX => {
                if state.held < RECORD_HEADER_BYTES {
                    return;
                }
                let length = usize::from(u16::from_be_bytes([fourth, fifth]));
                (state.held, state.left, state.skipping) = (0, length, false);
                let data = kind == RECORD_MAX;
                state.data = state.data.saturating_add(u32::from(data));
                // A login takes a record or two; what the server seals is data.
                let many = side == Side::Server || state.data > LOGIN_RECORDS_MAX;
                if data && many {
                    self.sealed = self.sealed.or(Some(true));
                }
                let record = header.get(..RECORD_HEADER_BYTES).unwrap_or_default();
                self.tls.feed(side, record);
            }
            PRELOGIN | RESPONSE if state.held < PEEK_BYTES => {}
            PRELOGIN | RESPONSE => {
                let length = usize::from(u16::from_be_bytes([third, fourth]));
                let [.., first, next] = header;
                let handshake = matches!(first, RECORD_MIN..=RECORD_MAX) && next == TLS_MAJOR;
                let answer = kind == RESPONSE && first == 0;
                if length < PEEK_BYTES || kind == RESPONSE && !handshake && !answer {
                    self.clear(side);
                    return;
                }
                (state.held, state.left) = (0, length.saturating_sub(PEEK_BYTES));
                state.skipping = answer;
                if !answer {
                    self.tls.feed(side, &[first, next]);
                }
            }
            _ => self.clear(side),
        }
    }

    /// This side goes on in packets that are no handshake: only the login was sealed.
    fn clear(&mut self, side: Side) {
        let state = self.side_mut(side);
        state.over = true;
        if matches!(state.header, [BATCH | RPC | RESPONSE | TRANSACTION | BULK, ..]) {
            self.sealed = self.sealed.or(Some(false));
        }
    }

    const fn side(&self, side: Side) -> &Unwrapping {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    const fn side_mut(&mut self, side: Side) -> &mut Unwrapping {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// A packet header, and two bytes of what it carries.
const PEEK_BYTES: usize = 10;
const RECORD_HEADER_BYTES: usize = 5;
const LOGIN_RECORDS_MAX: u32 = 3;
const TLS_MAJOR: u8 = 3;
/// Content types of records.
const RECORD_MIN: u8 = 0x14;
const RECORD_MAX: u8 = 0x17;
// Types of packets.
const BATCH: u8 = 0x01;
const RPC: u8 = 0x03;
const RESPONSE: u8 = 0x04;
const BULK: u8 = 0x07;
const TRANSACTION: u8 = 0x0e;
const PRELOGIN: u8 = 0x12;

#[cfg(test)]
mod tests {
    use super::*;

    type Line<'a> = (Side, &'a [u8]);

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 8).unwrap().to_be_bytes();
        [&[kind, 1], &length[..], &[0, 0, 1, 0], body].concat()
    }

    /// Feeds whole lines, then single bytes; both must tell the same.
    fn read(sealed: Option<bool>, lines: &[Line<'_>]) -> TdsReader {
        let play = |segment: usize| {
            let mut reader = TdsReader::new([Start::Known; 2], sealed);
            for (side, bytes) in lines {
                for piece in bytes.chunks(segment) {
                    assert_eq!(reader.feed(*side, piece), piece.len());
                }
            }
            reader
        };
        let (whole, bytes) = (play(usize::MAX), play(1));
        assert_eq!(whole.sealed(), bytes.sealed());
        assert_eq!(whole.is_done(), bytes.is_done());
        assert_eq!(whole.tls().spoke(C), bytes.tls().spoke(C));
        whole
    }

    const ALERT: &[u8] = b"\x15\x03\x03\0\x02\x02\x28";
    const DATA: &[u8] = b"\x17\x03\x03\0\x02\x01\x02";

    #[test]
    fn records_may_span_packets() {
        let (first, second) = ALERT.split_at(4);
        let reader =
            read(Some(true), &[(S, &packet(PRELOGIN, first)), (S, &packet(PRELOGIN, second))]);
        // A continuation does not begin like a record.
        assert!(reader.tls().finish().alert.is_some());
    }

    #[test]
    fn what_follows_the_handshake_tells_what_is_sealed() {
        let clear = packet(BATCH, &[0; 30]);
        let response = packet(RESPONSE, &[0xe3; 30]);
        let answer = packet(RESPONSE, &[0; 30]);
        let wrapped = packet(PRELOGIN, ALERT);
        let cases: [(&[Line<'_>], Option<bool>); 6] = [
            (&[(C, &wrapped), (C, DATA), (C, &clear)], Some(false)),
            (&[(C, &wrapped), (C, DATA), (C, DATA), (C, DATA), (C, DATA)], Some(true)),
            (&[(C, &wrapped), (C, DATA)], None),
            (&[(S, &answer), (S, &wrapped), (S, &response)], Some(false)),
            (&[(S, &answer), (S, &wrapped), (S, DATA)], Some(true)),
            (&[(S, &wrapped), (S, b"HTTP/1.1 400")], None),
        ];
        for (lines, expected) in cases {
            assert_eq!(read(None, lines).sealed(), expected);
        }
    }

    #[test]
    fn bytes_lost_end_the_reading_of_a_side() {
        let mut reader = TdsReader::new([Start::Known; 2], None);
        reader.gap(C);
        reader.feed(C, DATA);
        assert_eq!(reader.sealed(), None);
        reader.gap(S);
        assert!(reader.is_done());
    }
}
