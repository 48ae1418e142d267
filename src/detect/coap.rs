//! Constrained Application Protocol over UDP. <https://www.rfc-editor.org/rfc/rfc7252#section-3>
//!
//! The header alone is weak: it is the options, in ascending order and known, that prove a message, or the answer that
//! repeats message id and token.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info};
use crate::{
    bytes::{Cursor, Short},
    model::Side,
};

pub(super) struct Coap;

impl Grammar for Coap {
    const INFO: &'static super::Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let (first, code) = (c.u8()?, c.u8()?);
        let (kind, token) = (first >> 4 & 3, usize::from(first & 0xf));
        let rule = match (code, place.side) {
            (0, _) => {
                // Empty: a ping, its reset, or an acknowledgement.
                demand!(first >> 6 == 1 && token == 0 && kind != 1 && bytes.len() == 4);
                return Ok(Some(Message::new(bytes.len(), 10, "coap.empty", "0.00")));
            }
            (1..=7, Side::Client) if kind < 2 => "coap.request",
            (0x41..=0x45 | 0x5f | 0x80..=0x8f | 0x96 | 0x9d | 0xa0..=0xa8, Side::Server)
                if kind < 3 =>
            {
                "coap.response"
            }
            _ => return Ok(None),
        };
        demand!(first >> 6 == 1);
        c.skip(2)?;
        // In a datagram of ASCII alone, that an option is text proves nothing.
        let weight = if bytes.is_ascii() { 0 } else { 2 };
        let Some(proof) = (match standard(c, token, weight) {
            Ok(Some(proof)) => Some(proof),
            _ => draft(&mut c, token, weight)?,
        }) else {
            return Ok(None);
        };
        let constant = if place.side == Side::Client { "version 1 request" } else { "response" };
        Ok(Some(Message::new(bytes.len(), proof.saturating_add(8), rule, constant)))
    }

    fn pair(&self, client: &[u8], server: &[u8]) -> u32 {
        // An answer in the acknowledgement has the id and the token of the request; a separate one only the token.
        let id = u32::from(client.get(2..4) == server.get(2..4)).saturating_mul(16);
        let token = |b: &[u8]| usize::from(b.first().copied().unwrap_or(0) & 0xf);
        let end = token(client).saturating_add(4);
        let same = token(client) == token(server) && client.get(4..end) == server.get(4..end);
        let bits = u32::try_from(token(client).saturating_mul(8)).unwrap_or(0);
        id.saturating_add(if same { bits } else { 0 })
    }
}

/// Token and options as the RFC has them.
fn standard(mut c: Cursor<'_>, token: usize, weight: u32) -> Result<Option<u32>, Short> {
    demand!(token <= 8);
    c.skip(token)?;
    options(&mut c, weight)
}

/// Reads options and payload to the end; the proof in them, with so many bits for a character of text.
fn options(c: &mut Cursor<'_>, weight: u32) -> Result<Option<u32>, Short> {
    let (mut number, mut proof) = (0_u32, 0_u32);
    while !c.is_empty() {
        let first = c.u8()?;
        if first == 0xff {
            return Ok((!c.is_empty()).then_some(proof.saturating_add(6)));
        }
        let (Some(delta), Some(length)) = (extended(first >> 4, c)?, extended(first & 0xf, c)?)
        else {
            return Ok(None);
        };
        number = number.saturating_add(delta);
        let value = c.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let Some((.., text)) =
            OPTIONS.iter().find(|(n, range, _)| *n == number && range.contains(&length))
        else {
            return Ok(None);
        };
        // The same option again is what zeros look like.
        proof = proof.saturating_add(if delta > 0 { 4 } else { 0 });
        if *text {
            demand!(value.iter().all(u8::is_ascii_graphic));
            proof = proof.saturating_add(text_proof(value, weight));
        }
    }
    Ok(Some(proof.saturating_add(2)))
}

/// The options of drafts 3 to 12, which many small devices still speak: as many as the header counts, numbered otherwise,
/// then the payload. <https://datatracker.ietf.org/doc/html/draft-ietf-core-coap-08#section-3>
fn draft(c: &mut Cursor<'_>, count: usize, weight: u32) -> Result<Option<u32>, Short> {
    let (mut number, mut proof) = (0_u32, 0_u32);
    for _ in 0..count {
        let first = c.u8()?;
        let length = match first & 0xf {
            15 => u32::from(c.u8()?).saturating_add(15),
            length => u32::from(length),
        };
        number = number.saturating_add(u32::from(first >> 4));
        let value = c.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let Some((.., text)) =
            DRAFT_OPTIONS.iter().find(|(n, range, _)| *n == number && range.contains(&length))
        else {
            return Ok(None);
        };
        proof = proof.saturating_add(if first >> 4 > 0 { 4 } else { 0 });
        if *text {
            demand!(value.iter().all(u8::is_ascii_graphic));
            proof = proof.saturating_add(text_proof(value, weight));
        }
    }
    Ok((count > 0).then_some(proof))
}

/// What the text of an option proves, with so many bits for a character: the name that discovery asks for is a constant.
fn text_proof(value: &[u8], weight: u32) -> u32 {
    if value == WELL_KNOWN {
        return WELL_KNOWN_BITS;
    }
    u32::try_from(value.len()).unwrap_or(u32::MAX).saturating_mul(weight)
}

/// RFC 8615.
const WELL_KNOWN: &[u8] = b".well-known";
const WELL_KNOWN_BITS: u32 = 32;

/// A four-bit delta or length with its extension; 15 is reserved.
fn extended(nibble: u8, c: &mut Cursor<'_>) -> Result<Option<u32>, Short> {
    Ok(match nibble {
        13 => Some(u32::from(c.u8()?).saturating_add(13)),
        14 => Some(u32::from(c.u16_be()?).saturating_add(269)),
        15 => None,
        n => Some(u32::from(n)),
    })
}

/// Number, length, whether it is text (IANA, `CoAP` Option Numbers).
const OPTIONS: [(u32, std::ops::RangeInclusive<u32>, bool); 24] = [
    (1, 0..=8, false),
    (3, 1..=255, true),
    (4, 1..=8, false),
    (5, 0..=0, false),
    (6, 0..=3, false),
    (7, 0..=2, false),
    (8, 0..=255, true),
    (9, 0..=255, false),
    (11, 0..=255, true),
    (12, 0..=2, false),
    (14, 0..=4, false),
    (15, 0..=255, true),
    (16, 1..=1, false),
    (17, 0..=2, false),
    (19, 0..=3, false),
    (20, 0..=255, true),
    (23, 0..=3, false),
    (27, 0..=3, false),
    (28, 0..=4, false),
    (31, 0..=3, false),
    (35, 1..=1034, true),
    (39, 1..=255, true),
    (60, 0..=4, false),
    (252, 1..=40, false),
];

/// The same in the drafts (section 5.10 there).
const DRAFT_OPTIONS: [(u32, std::ops::RangeInclusive<u32>, bool); 13] = [
    (1, 0..=2, false),
    (2, 0..=4, false),
    (3, 1..=270, true),
    (4, 1..=8, false),
    (5, 1..=270, true),
    (6, 0..=270, true),
    (7, 0..=2, false),
    (8, 1..=270, true),
    (9, 1..=270, true),
    (10, 0..=2, false),
    (11, 1..=8, false),
    (12, 0..=2, false),
    (15, 1..=270, true),
];

static INFO: super::Info = super::Info {
    midstream: true,
    ..info(
        "coap",
        "Constrained Application Protocol",
        "https://www.rfc-editor.org/rfc/rfc7252",
        &[5683],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, datagrams, denies, probe_udp, proves_udp};
    use super::super::{Detector, Probe, Said, Start, View};
    use super::*;
    use crate::model::Transport;

    const GET: &[u8] = b"\x40\x01\x12\x34\xbb.well-known\x04core";
    const SHORT: &[u8] = b"\x44\x01\x7d\x34\xaa\xbb\xcc\xdd\xb4time";
    const CONTENT: &[u8] = b"\x64\x45\x7d\x34\xaa\xbb\xcc\xdd\xc0\xff12:00";

    #[test]
    fn options_prove_a_message() {
        let answer = b"\x62\x45\x12\x34\x01\x02\x44etag\x80\xd1\x02\x32\xd2\x2e\x27\x10\xff{}";
        proves_udp(&Coap, &[("get", C, GET)]);
        let draft = b"\x43\x01\x05\xca\x72\x16\x33\x2b.well-known\x04core";
        proves_udp(&Coap, &[("get of a draft", C, draft)]);
        let ascii = b"\x43\x04\x46\x64\x72\x16\x33\x2b.well-known\x04core";
        proves_udp(&Coap, &[("delete of a draft, all of it ASCII", C, ascii)]);
        let put = b"\x50\x03\x00\x01\x3dserver.example.com\x83dev\x01a\x10\xffon";
        assert!(matches!(probe_udp(&Coap, S, &[answer]), Probe::More), "a short answer alone");
        assert!(matches!(probe_udp(&Coap, C, &[put]), Probe::No), "an option longer than allowed");
        let put = b"\x50\x03\x00\x01\x3d\x05server.example.com\x83dev\x01a\x10\xffon";
        assert!(matches!(probe_udp(&Coap, C, &[put]), Probe::Match(_)));
    }

    #[test]
    fn an_answer_with_the_id_and_token_of_the_request_proves_both() {
        assert_eq!(probe_udp(&Coap, C, &[SHORT]), Probe::More);
        let pair = |answer: &[u8]| {
            let (client, server) = (datagrams(&[SHORT]), datagrams(&[answer]));
            let said = |bytes| Said { bytes, start: Start::Known };
            Coap.probe(&View::new(Transport::Udp, said(&client), said(&server)))
        };
        assert!(matches!(pair(CONTENT), Probe::Match(_)));
        assert!(matches!(pair(b"\x60\x00\x7d\x34"), Probe::Match(_)), "an acknowledgement");
        assert!(matches!(pair(b"\x60\x00\x7d\x35"), Probe::More), "of another message");
    }

    #[test]
    fn flaws_are_not_coap() {
        denies(
            &Coap,
            Transport::Udp,
            &[
                ("version 2", b"\x80\x01\x12\x34\xbb.well-known\x04core"),
                ("token of 9", b"\x49\x01\x12\x34123456789\xbb.well-known"),
                ("acknowledgement of a method", b"\x60\x01\x12\x34\xbb.well-known\x04core"),
                ("no such method", b"\x40\x1f\x12\x34\xbb.well-known\x04core"),
                ("no such option", b"\x40\x01\x12\x34\x2b.well-known\x04core"),
                ("control character", b"\x40\x01\x12\x34\xbb.well\x07known\x04core"),
                ("marker without payload", b"\x40\x01\x12\x34\xbb.well-known\xff"),
            ],
        );
    }
}
