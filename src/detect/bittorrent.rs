//! `BitTorrent`: peers over TCP and uTP, DHT, UDP trackers, local discovery. <https://www.bittorrent.org/beps/bep_0000.html>
//! (BEP 3, 5, 14, 15, 29)
//!
//! Encrypted peers (MSE) look random and cannot be told.
use super::fit::{self, Fit, begins, datagram, either, mark, openings};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, holds},
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Bittorrent;

impl Detector for Bittorrent {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match view.transport {
            Transport::Udp => datagram(view, message),
            _ => either(view, peer),
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        if said.bytes.first() == Some(&HANDSHAKE[0]) || said.start == Start::Unknown {
            return openings(state, side, said, &peer(side, said));
        }
        match fit::first_datagram(said) {
            Some((datagram, length)) => {
                let read = message(side, datagram).is_some() || is_utp(datagram);
                let facts = if read { fit::CLEAR } else { Facts::NONE };
                let [messages, ..] = &mut state.words;
                *messages = messages.saturating_add(1);
                if let Some(phase) = state.phase.get_mut(fit::index(side)) {
                    *phase |= u8::from(read);
                }
                let over = state.phase == [1, 1] || *messages >= MESSAGES_MAX;
                let facts = Facts { accepted: state.phase == [1, 1], ..facts };
                Step {
                    consumed: length,
                    facts,
                    next: if over { Next::Done } else { Next::Continue },
                }
            }
            None if HANDSHAKE.starts_with(said.bytes) => Step::WAIT,
            None => openings(state, side, said, &peer(side, said)),
        }
    }
}

/// A peer's handshake; late, two messages of a download.
fn peer(side: Side, said: Said<'_>) -> Fit {
    match begins(said.bytes, HANDSHAKE) {
        Ok(true) => Ok(Some(mark("bittorrent.handshake", side, 0, 20, "BitTorrent protocol"))),
        Ok(false) if said.start == Start::Unknown => messages(side, said.bytes),
        other => other.map(|_| None),
    }
}

/// Two of: have, request, cancel, the head of a piece.
fn messages(side: Side, bytes: &[u8]) -> Fit {
    let mut c = Cursor::new(bytes);
    for _ in 0..2 {
        let (length, kind, index) = (c.u32_be()?, c.u8()?, c.u32_be()?);
        let sound = index < INDEX_MAX
            && match (length, kind) {
                (5, HAVE) => true,
                (13, REQUEST | CANCEL) => {
                    let (begin, block) = (c.u32_be()?, c.u32_be()?);
                    begin % BLOCK_BYTES == 0 && begin < PIECE_BYTES_MAX && block <= BLOCK_BYTES
                }
                (PIECE_LENGTH, PIECE) => {
                    let begin = c.u32_be()?;
                    c.skip(usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX))?;
                    begin % BLOCK_BYTES == 0 && begin < PIECE_BYTES_MAX
                }
                _ => false,
            };
        if !sound {
            return Ok(None);
        }
    }
    Ok(Some(mark("bittorrent.messages", side, 0, c.at(), "peer messages")))
}

/// One datagram of any of its UDP protocols.
fn message(side: Side, bytes: &[u8]) -> Option<Mark> {
    let length = bytes.len();
    if bytes.starts_with(b"BT-SEARCH * HTTP/1.1\r\n") {
        return Some(mark("bittorrent.local-discovery", side, 0, 22, "BT-SEARCH"));
    }
    if side == Side::Client && bytes.starts_with(TRACKER_CONNECT) && length == 16 {
        return Some(mark("bittorrent.tracker", side, 0, 12, "41727101980"));
    }
    // KRPC: a dictionary with a transaction and a type, its keys in order.
    if bytes.starts_with(b"d") && bytes.ends_with(b"e") {
        let known = KRPC.iter().any(|start| bytes.starts_with(start));
        let kinds = [&b"1:y1:q"[..], b"1:y1:r", b"1:y1:e"];
        let sound = kinds.iter().any(|kind| holds(bytes, kind)) && holds(bytes, b"1:t");
        return (known && sound).then(|| mark("bittorrent.dht", side, 0, length, "KRPC"));
    }
    let inner = bytes.get(UTP_BYTES..).unwrap_or_default();
    let opens = length == UTP_BYTES && is_utp_syn(bytes);
    let found = opens || is_utp(bytes) && inner.starts_with(HANDSHAKE);
    found.then(|| mark("bittorrent.utp", side, 0, UTP_BYTES, "uTP"))
}

/// A uTP SYN: version 1, no acknowledgement, no delay known.
fn is_utp_syn(bytes: &[u8]) -> bool {
    let delay = bytes.get(8..12);
    let end = bytes.get(18..20);
    bytes.starts_with(b"\x41\x00") && delay == Some(&[0; 4]) && end == Some(&[0, 0])
}

/// A uTP header; weak by itself.
fn is_utp(bytes: &[u8]) -> bool {
    matches!(bytes, [0x01 | 0x11 | 0x21 | 0x31 | 0x41, 0..=2, ..]) && bytes.len() >= UTP_BYTES
}

const HANDSHAKE: &[u8; 20] = b"\x13BitTorrent protocol";
/// Protocol id and action "connect" (BEP 15).
const TRACKER_CONNECT: &[u8] = b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0";
const KRPC: [&[u8]; 6] = [b"d1:a", b"d1:r", b"d1:e", b"d2:ip", b"d1:q", b"d1:t"];
const UTP_BYTES: usize = 20;
const MESSAGES_MAX: u32 = 16;

const HAVE: u8 = 4;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;
const CANCEL: u8 = 8;
const BLOCK_BYTES: u32 = 1 << 14;
const PIECE_LENGTH: u32 = 9 + (1 << 14);
const PIECE_BYTES_MAX: u32 = 64 << 20;
const INDEX_MAX: u32 = 1 << 20;

static INFO: Info = Info {
    name: "bittorrent",
    title: "BitTorrent",
    spec: "https://www.bittorrent.org/beps/bep_0003.html",
    ports: &[6881, 6969],
    transports: &[Transport::Tcp, Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    #[test]
    fn peers_shake_hands_over_tcp() {
        let hand =
            [&HANDSHAKE[..], &[0; 8], b"aaaaaaaaaaaaaaaaaaaa", b"-XX0001-bbbbbbbbbbbb"].concat();
        for side in [C, S] {
            assert!(matches!(probe_side(&Bittorrent, side, &hand), Probe::Match(_)));
            let other = probe_side(&Bittorrent, side, b"\x13BitTorrent protocoX");
            assert!(!matches!(other, Probe::Match(_)));
        }
        assert_eq!(probe_side(&Bittorrent, C, b"GET / HTTP/1.1\r\n"), Probe::No);
        let heard = hear(&Bittorrent, &[(C, &hand), (S, &hand)]);
        assert!(heard.fits == [true, true] && heard.reason.is_some());
        let heard = hear(&Bittorrent, &[(C, &hand), (S, b"HTTP/1.1 400 Bad Request\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }

    #[test]
    fn a_late_view_needs_two_messages() {
        let have = b"\0\0\0\x05\x04\0\0\x01\x02";
        let request = b"\0\0\0\x0d\x06\0\0\x01\x02\0\0\x40\0\0\0\x40\0";
        let late =
            |bytes: &[u8]| hear_from(&Bittorrent, &[(C, bytes)], Start::Unknown).matched.is_some();
        assert!(late(&[&have[..], request].concat()) && late(&have.repeat(2)));
        assert!(!late(have) && !late(&[0; 64]) && !late(b"\0\0\0\x05\x04\x7f\0\x01\x02\0\0\0\x05"));
    }

    #[test]
    fn datagrams_of_every_kind() {
        let utp = b"\x41\0\x12\x34\x05\x06\x07\x08\0\0\0\0\0\x10\0\0\0\x01\0\0";
        let data =
            [&b"\x01\0\x12\x34\x05\x06\x07\x08\0\0\0\x09\0\x10\0\0\0\x02\0\x01"[..], HANDSHAKE]
                .concat();
        let tracker = [TRACKER_CONNECT, b"abcd"].concat();
        let cases: [(&[u8], bool); 11] = [
            (utp, true),
            (&data, true),
            (&tracker, true),
            (b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:aa1:y1:qe", true),
            (b"d1:rd2:id20:aaaaaaaaaaaaaaaaaaaae1:t2:aa1:y1:re", true),
            (b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\n", true),
            (&utp[..19], false),
            (&tracker[..15], false),
            (b"d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:ping1:t2:aa1:y1:q", false),
            (b"M-SEARCH * HTTP/1.1\r\n", false),
            (&[0x41; 20], false),
        ];
        for (bytes, expected) in cases {
            assert_eq!(message(C, bytes).is_some(), expected, "{}", bytes.escape_ascii());
        }
    }
}
