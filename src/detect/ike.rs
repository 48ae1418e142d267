//! IKE and ESP in UDP. <https://www.rfc-editor.org/rfc/rfc7296#section-3.1>, RFC 2408 (ISAKMP), RFC 3948, RFC 9329 (TCP).
//!
//! The header names both SPIs, a version, an exchange, and a length that is the datagram's; behind a non-ESP marker of four
//! zeros once NAT is in the way. ESP itself is told by two packets of one SPI with growing sequence numbers, all sealed.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Probe, Said, Step, View,
    datagram::{Datagram, Proof, follow_each, heads, looks_sealed},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Mark, Side, Transport},
};

pub(super) struct Ike;

impl Detector for Ike {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match view.transport {
            Transport::Tcp => stream_prefix(view.client),
            Transport::Udp => datagrams(view),
            Transport::Esp => Probe::No,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        if side == Side::Client && said.bytes.starts_with(STREAM_PREFIX) {
            return Step::read(STREAM_PREFIX.len(), Facts::FITS);
        }
        let step = follow_each(state, side, said, None, |side, datagram| {
            let accepted = side == Side::Server;
            // Either peer may begin another exchange.
            let known = message(side, datagram).or_else(|| message(side.other(), datagram));
            let fits = known.is_some() || is_keepalive(datagram) || sealed(datagram);
            fits.then_some(Facts { accepted, ..Facts::FITS })
        });
        // Other protocols may share the ports.
        if step.facts.mismatch { Step::read(step.consumed, Facts::NONE) } else { step }
    }
}

/// IKE over TCP begins with a word of its own (RFC 9329 section 4).
fn stream_prefix(said: Said<'_>) -> Probe {
    let known = said.bytes.len().min(STREAM_PREFIX.len());
    if said.bytes.get(..known) != STREAM_PREFIX.get(..known) {
        return Probe::No;
    }
    if known < STREAM_PREFIX.len() {
        return Probe::More;
    }
    let (rule, side, constant) = ("ike.stream", Side::Client, "IKETCP");
    Match::encrypted(Encryption::Ipsec, Mark { rule, side, offset: 0, length: 6, constant })
}

fn datagrams(view: &View<'_>) -> Probe {
    let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
    let mut datagrams = heads(view.side(side)).filter(|datagram| !is_keepalive(datagram));
    let Some(first) = datagrams.next() else { return Probe::More };
    if let Some(constant) = message(side, &first) {
        return first
            .matched(side, Proof { rule: "ike.header", constant, encryption: Encryption::Ipsec });
    }
    let Some(esp) = Esp::read(&first) else { return Probe::No };
    let Some(next) = datagrams.next() else { return Probe::More };
    let proof = Proof { rule: "ike.esp", constant: "ESP in UDP", encryption: Encryption::Ipsec };
    match Esp::read(&next) {
        Some(next) if esp.is_followed_by(next) => first.matched(side, proof),
        _ if message(side, &next).is_some() => first.matched(side, proof),
        _ => Probe::No,
    }
}

/// Version and exchange of an IKE message, with or without the marker.
fn message(side: Side, datagram: &Datagram<'_>) -> Option<&'static str> {
    let marked = datagram.bytes.starts_with(&[0; 4]);
    let skipped = if marked { MARKER_BYTES } else { 0 };
    let bytes = datagram.bytes.get(skipped..)?;
    let declared = datagram.declared.checked_sub(skipped)?;
    header(side, Cursor::new(bytes), declared).ok().flatten()
}

fn header(
    side: Side,
    mut cursor: Cursor<'_>,
    declared: usize,
) -> Result<Option<&'static str>, Short> {
    let (initiator, responder) = (cursor.u64_be()?, cursor.u64_be()?);
    let [next, version, exchange, flags] = cursor.array()?;
    let (id, length) = (cursor.u32_be()?, cursor.u32_be()?);
    let whole = usize::try_from(length) == Ok(declared) && initiator != 0;
    let from_responder = flags & RESPONSE != 0;
    let (constant, sound) = match (version, exchange) {
        (0x20, 34) => {
            let role = from_responder == (side == Side::Server);
            ("IKEv2 IKE_SA_INIT", role && id == 0 && (from_responder || flags & INITIATOR != 0))
        }
        (0x20, 35) => ("IKEv2 IKE_AUTH", responder != 0 && id > 0 && next != 0),
        (0x20, 36..=37 | 43..=44) => ("IKEv2", responder != 0),
        (0x10, 2) => ("IKEv1 Main Mode", id == 0),
        (0x10, 4) => ("IKEv1 Aggressive Mode", id == 0),
        (0x10, 5) => ("IKEv1 Informational", true),
        (0x10, 6 | 32..=33) => ("IKEv1 Quick Mode", responder != 0 && id != 0),
        _ => return Ok(None),
    };
    let flagged = match version {
        0x20 => flags & !(INITIATOR | RESPONSE) == 0 && matches!(next, 0 | 33..=54),
        _ => flags & !0b111 == 0 && matches!(next, 1..=21),
    };
    let opening = version == 0x10 && responder == 0 && exchange != 5 && side == Side::Server;
    let readable = version == 0x20 && exchange == 34 || version == 0x10 && flags & 1 == 0;
    let chained = !readable || next == 0 || payload(&mut cursor)?;
    Ok((whole && sound && flagged && !opening && chained).then_some(constant))
}

/// The generic header of the first payload: critical bit or nothing, and a length that fits.
fn payload(cursor: &mut Cursor<'_>) -> Result<bool, Short> {
    let (_next, reserved, length) = (cursor.u8()?, cursor.u8()?, cursor.u16_be()?);
    let left = cursor.left().saturating_add(4);
    Ok(matches!(reserved, 0 | 0x80) && (4..=left).contains(&usize::from(length)))
}

/// A NAT keepalive (RFC 3948 section 2.3).
fn is_keepalive(datagram: &Datagram<'_>) -> bool {
    datagram.bytes == [0xff]
}

/// An ESP packet in a datagram (RFC 3948 section 2.1).
#[derive(Clone, Copy)]
struct Esp {
    spi: u32,
    sequence: u32,
}

impl Esp {
    fn read(datagram: &Datagram<'_>) -> Option<Self> {
        let mut cursor = Cursor::new(datagram.bytes);
        let (spi, sequence) = (cursor.u32_be().ok()?, cursor.u32_be().ok()?);
        let sized = datagram.declared >= ESP_BYTES_MIN && datagram.declared.is_multiple_of(4);
        // Behind the header stands an IV that may be a counter, then what is sealed.
        let sealed = cursor.rest().get(8..24).is_some_and(looks_sealed);
        let fits = sized && sealed && spi >= SPI_MIN && (1..SEQUENCE_MAX).contains(&sequence);
        fits.then_some(Self { spi, sequence })
    }

    fn is_followed_by(self, next: Self) -> bool {
        let ahead = next.sequence.checked_sub(self.sequence);
        next.spi == self.spi && ahead.is_some_and(|n| (1..=SEQUENCE_NEAR).contains(&n))
    }
}

/// In a known flow one packet is enough.
fn sealed(datagram: &Datagram<'_>) -> bool {
    Esp::read(datagram).is_some()
}

const STREAM_PREFIX: &[u8] = b"IKETCP";
const MARKER_BYTES: usize = 4;
const INITIATOR: u8 = 0x08;
const RESPONSE: u8 = 0x20;
const ESP_BYTES_MIN: usize = 32;
/// Smaller SPIs are reserved (RFC 4303 section 2.1).
const SPI_MIN: u32 = 256;
const SEQUENCE_MAX: u32 = 1 << 24;
const SEQUENCE_NEAR: u32 = 16;

static INFO: Info = Info {
    name: "ike",
    title: "Internet Key Exchange, and ESP in UDP",
    spec: "https://www.rfc-editor.org/rfc/rfc7296",
    ports: &[500, 4500],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::probe_side,
        datagram::tests::{never_matches_noise, noise, probe, rule},
    };

    /// A message with one payload of 20 bytes: SPIs, next payload, version, exchange, flags, message id.
    fn ike(responder: u8, head: [u8; 4], id: u8) -> Vec<u8> {
        let spis = [&[7; 8][..], &[responder; 8]].concat();
        let payload = [&[0, 0, 0, 20][..], &[3; 16]].concat();
        [&spis[..], &head, &[0, 0, 0, id], &[0, 0, 0, 48], &payload].concat()
    }

    fn esp(sequence: u8, sealed: usize) -> Vec<u8> {
        [&[0xc1, 0xa9, 0x65, 0x6b, 0, 0, 0, sequence][..], &noise(sealed)].concat()
    }

    #[test]
    fn headers_prove_their_exchange_with_or_without_a_marker() {
        let cases = [
            ("IKEv2 IKE_SA_INIT", ike(0, [33, 0x20, 34, 0x08], 0), true, false),
            ("IKEv2 IKE_SA_INIT", ike(9, [33, 0x20, 34, 0x20], 0), false, true),
            ("IKEv2 IKE_AUTH", ike(9, [46, 0x20, 35, 0x08], 1), true, true),
            ("IKEv2", ike(9, [46, 0x20, 37, 0x00], 7), true, true),
            ("IKEv1 Main Mode", ike(0, [1, 0x10, 2, 0], 0), true, false),
            ("IKEv1 Main Mode", ike(9, [1, 0x10, 2, 0], 0), true, true),
            ("IKEv1 Quick Mode", ike(9, [8, 0x10, 32, 1], 5), true, true),
        ];
        for (what, plain, client, server) in cases {
            let marked = [&[0; 4][..], &plain].concat();
            for datagram in [plain, marked] {
                let constant = |fits: bool| fits.then_some(("ike.header", what));
                assert_eq!(rule(probe(&Ike, &[&datagram], &[])), constant(client), "client");
                assert_eq!(rule(probe(&Ike, &[], &[&datagram])), constant(server), "server");
                assert_eq!(probe(&Ike, &[&datagram[1..]], &[]), Probe::No);
            }
        }
    }

    #[test]
    fn esp_is_told_by_two_packets() {
        let (one, two) = (esp(1, 32), esp(2, 96));
        assert_eq!(probe(&Ike, &[&one], &[]), Probe::More);
        assert_eq!(rule(probe(&Ike, &[&one, &two], &[])), Some(("ike.esp", "ESP in UDP")));
        assert!(rule(probe(&Ike, &[b"\xff", &one, b"\xff", &two], &[])).is_some(), "keepalives");
        for next in [one.clone(), esp(2, 31), b"what?".to_vec(), esp(99, 32)] {
            assert_eq!(probe(&Ike, &[&one, &next], &[]), Probe::No);
        }
        let clear = [&one[..8], &[0; 32]].concat();
        assert_eq!(probe(&Ike, &[&clear], &[]), Probe::No);
    }

    #[test]
    fn look_alikes_and_noise_do_not_match() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"IKE2CP", b"\x16\x03\x01\x00\x05"] {
            assert_eq!(probe_side(&Ike, Side::Client, bytes), Probe::No);
        }
        assert!(matches!(probe_side(&Ike, Side::Client, b"IKETCP"), Probe::Match(_)));
        never_matches_noise(&Ike, &[0]);
    }
}
