//! RTP and RTCP, over UDP or behind lengths in a stream (RFC 4571). <https://www.rfc-editor.org/rfc/rfc3550>
//!
//! One header proves little: it takes consecutive packets of one source, or a compound RTCP packet. SRTP has the same
//! headers, so that what can be read stays open until RTCP descriptions, a payload that is not random, or payload headers
//! that repeat prove it.
use super::fit::{self, mark};
use super::{Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Side, Transport},
};

pub(super) struct Rtp;

impl Detector for Rtp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        let spoken = !view.client.bytes.is_empty();
        let side = if spoken { Side::Client } else { Side::Server };
        match judge(side, view.side(side)) {
            // The class is what the client speaks, and it has not spoken.
            Probe::No if !spoken => Probe::More,
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let Some((datagram, length)) = fit::first_datagram(said) else {
            return if said.bytes.len() > STREAM_BYTES_MAX { Step::DONE } else { Step::WAIT };
        };
        let facts = match Packet::read(datagram) {
            Some(packet) => match packet.clear().or_else(|| packet.repeats(state, side)) {
                Some(constant) => {
                    let found = mark("rtp.clear", side, 0, datagram.len(), constant);
                    let encryption = Some(Encryption::Plaintext);
                    Facts { encryption, mark: Some(found), ..fit::CLEAR }
                }
                None => Facts::FITS,
            },
            None => Facts::NONE,
        };
        let [packets, ..] = &mut state.words;
        *packets = packets.saturating_add(1);
        let over = facts.encryption.is_some() || *packets >= PACKETS_MAX;
        Step { consumed: length, facts, next: if over { Next::Done } else { Next::Continue } }
    }
}

/// Where a packet stands in its stream.
#[derive(Clone, Copy)]
struct Place {
    kind: u8,
    sequence: u16,
    time: u32,
    source: u32,
}

impl Place {
    fn leads_to(self, next: Self) -> bool {
        next.kind == self.kind
            && next.source == self.source
            && next.sequence == self.sequence.wrapping_add(1)
            && next.time.wrapping_sub(self.time) < TIME_STEP_MAX
    }
}

/// A packet of either protocol.
enum Packet<'a> {
    Media {
        place: Place,
        payload: &'a [u8],
    },
    /// A report; `described` if a readable description stands behind it.
    Report {
        described: bool,
    },
}

impl<'a> Packet<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let kind = *bytes.get(1)?;
        if bytes.first()? >> 6 != 2 {
            return None;
        }
        match kind {
            200..=207 => report(bytes),
            192..=223 => None,
            _ => media(bytes).ok()?,
        }
    }

    /// What shows that this packet is not encrypted.
    fn clear(&self) -> Option<&'static str> {
        match self {
            Self::Report { described: true } => Some("SDES CNAME"),
            Self::Media { payload, .. } if is_uneven(payload) => Some("uneven payload"),
            _ => None,
        }
    }

    /// Whether packets one after another begin with the same header of a codec: what SRTP seals never does.
    fn repeats(&self, state: &mut FollowState, side: Side) -> Option<&'static str> {
        let Self::Media { place, payload } = self else { return None };
        let head = u32::from_be_bytes(*payload.first_chunk()?);
        let [_, client, client_run, server, server_run, _] = &mut state.words;
        let (last, run) =
            if side == Side::Client { (client, client_run) } else { (server, server_run) };
        // The upper half counts, the lower one is the sequence number, so that a copy does not count.
        let [high, low, a, b] = run.to_be_bytes();
        let (count, sequence) = (u16::from_be_bytes([high, low]), u16::from_be_bytes([a, b]));
        if count > 0 && sequence == place.sequence {
            return None;
        }
        let count = if count > 0 && *last == head { count.saturating_add(1) } else { 1 };
        *last = head;
        *run = u32::from(count) << 16 | u32::from(place.sequence);
        (count >= HEADS_MIN).then_some("repeated payload header")
    }
}

/// An RTP header and its payload (section 5.1).
fn media(bytes: &[u8]) -> Result<Option<Packet<'_>>, Short> {
    let mut c = Cursor::new(bytes);
    let [flags, kind] = c.array()?;
    let sequence = c.u16_be()?;
    let (time, source) = (c.u32_be()?, c.u32_be()?);
    c.skip(usize::from(flags & 0x0f).saturating_mul(4))?;
    if flags & 0x10 != 0 {
        c.skip(2)?;
        let words = usize::from(c.u16_be()?);
        c.skip(words.saturating_mul(4))?;
    }
    let payload = c.rest();
    let place = Place { kind: kind & 0x7f, sequence, time, source };
    Ok((!payload.is_empty()).then_some(Packet::Media { place, payload }))
}

/// A compound RTCP packet (section 6.1): reports first; each part's length leads to the next, the last to the end.
fn report(bytes: &[u8]) -> Option<Packet<'_>> {
    let mut c = Cursor::new(bytes);
    let (mut first, mut described) = (None, false);
    while !c.is_empty() {
        let [flags, kind] = c.array().ok()?;
        let words = usize::from(c.u16_be().ok()?);
        let source = Cursor::new(c.rest()).u32_be().ok()?;
        if flags >> 6 != 2 || !(200..=207).contains(&kind) {
            return None;
        }
        let body = c.take(words.saturating_mul(4)).ok()?;
        let (Some(_), SDES) = (first, kind) else {
            if first.is_none() && !matches!(kind, 200 | 201) {
                return None;
            }
            first = first.or(Some(source));
            continue;
        };
        let name = body.get(5).map_or(0, |length| usize::from(*length));
        let text = body.get(6..name.saturating_add(6)).unwrap_or_default();
        let sound = body.get(4) == Some(&CNAME) && first == Some(source);
        described |= sound && !text.is_empty() && fit::is_name(text);
    }
    first.map(|_| Packet::Report { described })
}

/// Consecutive packets of one source, or a report with a description.
fn judge(side: Side, said: Said<'_>) -> Probe {
    let mut last: Option<Place> = None;
    let (mut packets, mut clear, mut enough) = (0_u32, None, PACKETS_LEAST);
    let mut rest = said.bytes;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let declared = usize::from(u16::from_be_bytes(*length));
        let datagram = tail.get(..declared).unwrap_or(tail);
        if datagram.first().is_some_and(|first| first >> 6 != 2) {
            return Probe::No;
        }
        if datagram.len() < declared.min(HEADER_BYTES) {
            return Probe::More;
        }
        rest = tail.get(declared..).unwrap_or_default();
        // Of packets as long as these three are not shown.
        enough = if declared > LONG_BYTES { PACKETS_LEAST_LONG } else { enough };
        let packet = match Packet::read(datagram) {
            Some(packet) => packet,
            None if datagram.len() < declared => return Probe::More,
            None => return Probe::No,
        };
        clear = clear.or_else(|| packet.clear());
        match packet {
            Packet::Report { described } => {
                if described && packets == 0 {
                    return Match::plaintext(mark(
                        "rtp.report",
                        side,
                        2,
                        datagram.len(),
                        "SDES CNAME",
                    ));
                }
            }
            Packet::Media { place, .. } => {
                if !last.is_none_or(|last| last.leads_to(place)) {
                    return Probe::No;
                }
                last = Some(place);
                packets = packets.saturating_add(1);
            }
        }
        if packets >= enough {
            let found = mark("rtp.sequence", side, 2, 12, "consecutive packets");
            return if clear.is_some() { Match::plaintext(found) } else { Match::preamble(found) };
        }
    }
    Probe::More
}

/// Whether a payload has far fewer different bytes than a random one of its length (eight standard deviations).
fn is_uneven(payload: &[u8]) -> bool {
    SAMPLES.iter().any(|(length, most)| {
        let Some(sample) = payload.get(..*length) else { return false };
        let mut seen = [false; 256];
        for byte in sample {
            if let Some(seen) = seen.get_mut(usize::from(*byte)) {
                *seen = true;
            }
        }
        seen.iter().filter(|seen| **seen).count() <= *most
    })
}

const SAMPLES: [(usize, usize); 3] = [(64, 38), (128, 70), (256, 121)];
const HEADER_BYTES: usize = 12;
const LONG_BYTES: usize = 600;
const PACKETS_LEAST: u32 = 3;
const PACKETS_LEAST_LONG: u32 = 2;
/// Ten seconds of video, and more of audio.
const TIME_STEP_MAX: u32 = 900_000;
const PACKETS_MAX: u32 = 128;
/// Sealed payloads begin alike so often less than once in 2^64.
const HEADS_MIN: u16 = 3;
const STREAM_BYTES_MAX: usize = 4096;
const SDES: u8 = 202;
const CNAME: u8 = 1;

static INFO: Info = Info {
    name: "rtp",
    title: "RTP and RTCP",
    spec: "https://www.rfc-editor.org/rfc/rfc3550",
    ports: &[],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Start;

    const C: Side = Side::Client;

    fn framed(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn noise(seed: u64) -> Vec<u8> {
        let mut seed = seed;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..160).map(|_| next()).collect()
    }

    fn packet(sequence: u8, source: u8, payload: &[u8]) -> Vec<u8> {
        let head = [0x80, 0, 0, sequence, 0, 0, 0, 0, 1, 2, 3, source];
        framed(&[&head[..], payload].concat())
    }

    fn heard(bytes: &[u8]) -> Option<Encryption> {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut last = Probe::More;
            for end in 0..=bytes.len() {
                let said = Said { bytes: &bytes[..end], start: Start::Known };
                let answer = Rtp.probe(&View::new(transport, said, Said::NOTHING));
                let stays = last == Probe::More
                    || matches!(
                        (last, answer),
                        (Probe::No, Probe::No) | (Probe::Match(_), Probe::Match(_))
                    );
                assert!(stays, "{last:?} became {answer:?}");
                last = answer;
            }
        }
        let said = Said { bytes, start: Start::Known };
        match Rtp.probe(&View::new(Transport::Udp, said, Said::NOTHING)) {
            Probe::Match(found) => Some(found.encryption.unwrap_or(Encryption::Unknown)),
            _ => None,
        }
    }

    #[test]
    fn consecutive_packets_prove_it_and_their_payload_what_can_be_read() {
        let media = |payloads: [&[u8]; 3]| -> Vec<u8> {
            payloads.iter().zip(1..).flat_map(|(payload, n)| packet(n, 9, payload)).collect()
        };
        let (a, b, c) = (noise(1), noise(2), noise(3));
        assert_eq!(heard(&media([&a, &b, &c])), Some(Encryption::Unknown), "may be SRTP");
        assert_eq!(heard(&media([&a, &b, &[0xd5; 160]])), Some(Encryption::Plaintext));
        assert_eq!(heard(&[packet(1, 9, &a), packet(2, 9, &b)].concat()), None, "two");
        assert_eq!(heard(&[packet(1, 9, &a), packet(2, 8, &b), packet(3, 9, &c)].concat()), None);
        assert_eq!(heard(&[packet(1, 9, &a), packet(5, 9, &b), packet(6, 9, &c)].concat()), None);
        let long = [noise(1), noise(2), noise(3), noise(4), noise(5)].concat();
        let two = [packet(1, 9, &long), packet(2, 9, &long)].concat();
        assert_eq!(
            heard(&two[..830]),
            Some(Encryption::Unknown),
            "long packets: the second's header is enough"
        );
        let mut state = FollowState::default();
        let clear = packet(4, 9, &[0xff; 160]);
        let step = Rtp.follow(&mut state, C, Said { bytes: &clear, start: Start::Known });
        assert_eq!(step.facts.encryption, Some(Encryption::Plaintext));
    }

    #[test]
    fn payload_headers_that_repeat_are_not_sealed() {
        let clear = |packets: &[(u8, u8)]| {
            let mut state = FollowState::default();
            packets.iter().any(|(sequence, head)| {
                let mut payload = noise(u64::from(*sequence) * 31);
                payload[..4].copy_from_slice(&[0, 0x70, 0, *head]);
                let bytes = packet(*sequence, 9, &payload);
                let step = Rtp.follow(&mut state, C, Said { bytes: &bytes, start: Start::Known });
                step.facts.encryption == Some(Encryption::Plaintext)
            })
        };
        assert!(clear(&[(1, 0), (2, 0), (3, 0)]));
        assert!(clear(&[(1, 7), (2, 0), (3, 0), (4, 0)]));
        assert!(!clear(&[(1, 0), (2, 0)]), "two");
        assert!(!clear(&[(1, 0), (1, 0), (1, 0), (2, 0)]), "copies of one packet");
        assert!(!clear(&[(1, 0), (2, 0), (3, 1), (4, 0), (5, 0)]));
    }

    #[test]
    fn a_compound_report_with_a_description_is_in_clear() {
        let reception = b"\x80\xc9\0\x01\x01\x02\x03\x04";
        let description = b"\x81\xca\0\x03\x01\x02\x03\x04\x01\x04a@bc\0\0";
        let both = [&reception[..], description].concat();
        assert_eq!(heard(&framed(&both)), Some(Encryption::Plaintext));
        assert_eq!(heard(&framed(reception)), None);
        let mut sealed = both.clone();
        sealed[9] ^= 0x55;
        assert_eq!(heard(&framed(&sealed)), None, "SRTCP seals what follows the first header");
        for bytes in [&b"\0\x01\0\0\x21\x12\xa4\x42"[..], b"GET / HTTP/1.1\r\n", b"\x16\xfe\xfd"] {
            assert_eq!(heard(&framed(bytes)), None);
        }
    }

    #[test]
    fn random_payloads_are_never_uneven() {
        assert!((0..20_000).all(|seed| !is_uneven(&noise(seed * 7919 + 13))));
    }
}
