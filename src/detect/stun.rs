//! STUN and TURN over UDP and TCP. <https://www.rfc-editor.org/rfc/rfc8489#section-5>
//!
//! The header's magic cookie, or (RFC 3489) attributes that end where the message does. Over TCP messages come as they
//! are or behind a length (RFC 4571). What shares the port later (RFC 7983) may be DTLS: a layer of its own.
use super::fit::{self, Fit, either, mark};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Stun;

impl Detector for Stun {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match view.transport {
            Transport::Tcp => either(view, |side, said| stream(side, said.bytes)),
            Transport::Udp => match fit::datagram(view, whole) {
                Probe::Match(found) => Match::plaintext(found.mark),
                answer => answer,
            },
            Transport::Esp => Probe::No,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let at = usize::from(side == Side::Server);
        let Some((message, consumed)) = next(said.bytes) else { return Step::WAIT };
        let first = state.phase.get(at) == Some(&0);
        let [messages, others, login, failed, ..] = &mut state.words;
        *messages = messages.saturating_add(1);
        let step = match Message::read(message) {
            Some(found) => {
                *others = 0;
                Step::read(consumed, found.facts(side, [login, failed]))
            }
            None if is_dtls(message) => {
                let next = Next::Layer { upgrade: None, other: OtherSide::Here };
                return Step { consumed: 0, facts: Facts::NONE, next };
            }
            // Channel data, media.
            None => {
                *others = others.saturating_add(1);
                let foreign = first && said.start == Start::Known && !is_shared(message);
                if foreign {
                    return fit::other_protocol();
                }
                Step::read(consumed, Facts::NONE)
            }
        };
        let over = *messages >= MESSAGES_MAX || *others >= OTHERS_MAX;
        if let Some(phase) = state.phase.get_mut(at) {
            *phase = 1;
        }
        Step { next: if over { Next::Done } else { Next::Continue }, ..step }
    }
}

/// The first message and the bytes to consume: by itself where its cookie says so, else behind its length.
fn next(bytes: &[u8]) -> Option<(&[u8], usize)> {
    if let Some([_, _, a, b, cookie @ ..]) = bytes.first_chunk::<8>()
        && *cookie == COOKIE
    {
        let length = usize::from(u16::from_be_bytes([*a, *b])).saturating_add(HEADER_BYTES);
        return Some((bytes.get(..length)?, length));
    }
    let said = Said { bytes, start: Start::Known };
    // A type in the place of a length: more bytes tell where the cookie stands.
    let kind = bytes.first_chunk::<2>().map(|kind| u16::from_be_bytes(*kind));
    if bytes.len() < 8 && kind.is_none_or(is_type) {
        return None;
    }
    fit::first_datagram(said)
}

/// A message in a stream.
fn stream(side: Side, bytes: &[u8]) -> Fit {
    match (cookie_at(side, bytes, 0), cookie_at(side, bytes, 2)) {
        (Ok(Some(found)), _) | (_, Ok(Some(found))) => Ok(Some(found)),
        (Ok(None), Ok(None)) => Ok(None),
        _ => Err(Short),
    }
}

/// A header at `at` whose length the framing before it, if any, agrees with.
fn cookie_at(side: Side, bytes: &[u8], at: usize) -> Fit {
    let mut c = Cursor::new(bytes);
    let frame = if at > 0 { Some(c.u16_be()?) } else { None };
    let first = c.u8()?;
    if first > 1 {
        return Ok(None);
    }
    let kind = u16::from_be_bytes([first, c.u8()?]);
    let length = c.u16_be()?;
    let framed = frame.is_none_or(|frame| u32::from(frame) == u32::from(length).saturating_add(20));
    if !is_type(kind) || length % 4 != 0 || !framed || !goes(side, kind) {
        return Ok(None);
    }
    if !fit::begins(c.rest(), &COOKIE)? {
        return Ok(None);
    }
    Ok(Some(mark("stun.message", side, at, HEADER_BYTES, "cookie 2112A442")))
}

/// A datagram that is a message of this side.
fn whole(side: Side, bytes: &[u8]) -> Option<Mark> {
    let found = Message::read(bytes).filter(|message| goes(side, message.kind))?;
    let constant = if found.cookie { "cookie 2112A442" } else { "RFC 3489 attributes" };
    Some(mark("stun.message", side, 0, bytes.len(), constant))
}

struct Message {
    kind: u16,
    cookie: bool,
    long_term: bool,
    /// A part of the transaction's number, never zero.
    transaction: u32,
    /// Why a request failed; zero where it does not say.
    error: u16,
}

impl Message {
    /// Header and attributes, to the last byte.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut c = Cursor::new(bytes);
        let (kind, length) = (c.u16_be().ok()?, usize::from(c.u16_be().ok()?));
        let cookie = c.array().ok()? == COOKIE;
        let number = c.array::<12>().ok()?;
        let transaction = number.last_chunk().map_or(0, |last| u32::from_be_bytes(*last)) | 1;
        if !is_type(kind) || length != c.left() || (!cookie && !CLASSIC.contains(&kind)) {
            return None;
        }
        let (mut attributes, mut seen, mut error) = (0_u32, [false; 2], 0);
        while !c.is_empty() {
            let (name, size) = (c.u16_be().ok()?, usize::from(c.u16_be().ok()?));
            if !cookie && !matches!(name, 1..=0x0fff | 0x8000..=0x8fff) {
                return None;
            }
            let value = c.take(size).ok()?;
            if name == ERROR_CODE
                && let [_, _, class, number, ..] = value
            {
                error = u16::from(*class).saturating_mul(100).saturating_add(u16::from(*number));
            }
            // Values are padded to four bytes.
            c.take(c.left().min(size.wrapping_neg() & 3)).ok()?;
            seen = [seen[0] || name == REALM, seen[1] || name == INTEGRITY];
            attributes = attributes.saturating_add(1);
        }
        let enough = cookie && length % 4 == 0 || attributes > 0;
        let long_term = seen == [true, true];
        enough.then_some(Self { kind, cookie, long_term, transaction, error })
    }

    /// `login`: the transaction of the latest request with a login; `failed`: that of the latest request that lacked one.
    fn facts(&self, side: Side, [login, failed]: [&mut u32; 2]) -> Facts {
        match self.kind & CLASS {
            SUCCESS => Facts { accepted: true, ..fit::CLEAR },
            REQUEST if self.long_term => {
                let found = mark("stun.login", side, 0, HEADER_BYTES, "MESSAGE-INTEGRITY");
                let credentials = Credentials::PASSWORD_HASH_CHALLENGE;
                *login = self.transaction;
                // The packets may be out of order.
                let refused = *failed == self.transaction;
                Facts { credentials, refused, mark: Some(found), ..fit::CLEAR }
            }
            // A first request without a login is answered like this, and a login with an old nonce: both are tried again,
            // and what becomes of that tells the outcome.
            ERROR if self.error == STALE_NONCE => Facts { fits: false, ..fit::CLEAR },
            ERROR if self.error == UNAUTHENTICATED && *login != self.transaction => {
                *failed = self.transaction;
                Facts { fits: false, ..fit::CLEAR }
            }
            ERROR => Facts { refused: true, ..fit::CLEAR },
            _ => fit::CLEAR,
        }
    }
}

/// Whether the method is assigned (IANA STUN Methods).
const fn is_type(kind: u16) -> bool {
    let method = kind & !CLASS;
    kind < 0x4000 && matches!(method, 1..=4 | 6..=0x0c | 0x80)
}

/// A client begins with a request or an indication.
const fn goes(side: Side, kind: u16) -> bool {
    matches!(side, Side::Server) || matches!(kind & CLASS, REQUEST | INDICATION)
}

/// A DTLS record whose length fits the datagram.
fn is_dtls(bytes: &[u8]) -> bool {
    let mut c = Cursor::new(bytes);
    let Ok([kind, 0xfe, version]) = c.array::<3>() else { return false };
    let length = c.skip(8).and_then(|()| c.u16_be()).map(usize::from);
    matches!(kind, 20..=26)
        && matches!(version, 0xfc..=0xff)
        && length.is_ok_and(|length| length > 0 && length <= c.left())
}

/// What may stand beside STUN on one port (RFC 7983 section 7): DTLS, channel data, media.
const fn is_shared(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=79 | 128..=191, ..])
}

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER_BYTES: usize = 20;
const MESSAGES_MAX: u32 = 128;
const OTHERS_MAX: u32 = 32;
/// Messages of RFC 3489.
const CLASSIC: [u16; 6] = [0x0001, 0x0101, 0x0111, 0x0002, 0x0102, 0x0112];
const CLASS: u16 = 0x0110;
const REQUEST: u16 = 0;
const INDICATION: u16 = 0x0010;
const SUCCESS: u16 = 0x0100;
const ERROR: u16 = 0x0110;
const INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const REALM: u16 = 0x0014;
const UNAUTHENTICATED: u16 = 401;
const STALE_NONCE: u16 = 438;

static INFO: Info = Info {
    name: "stun",
    title: "STUN and TURN",
    spec: "https://www.rfc-editor.org/rfc/rfc8489",
    ports: &[3478],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn message(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&kind.to_be_bytes()[..], &length, &COOKIE, b"abcdefghijkl", attributes].concat()
    }

    fn framed(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn udp(client: &[u8]) -> Probe {
        let said = Said { bytes: client, start: Start::Known };
        Stun.probe(&View::new(Transport::Udp, said, Said::NOTHING))
    }

    #[test]
    fn whole_datagrams_prove_it() {
        let software = b"\x80\x22\0\x03abc\0";
        let classic = |kind: u8, rest: &[u8]| {
            [&[0, kind, 0, u8::try_from(rest.len()).unwrap()][..], b"0123456789abcdef", rest]
                .concat()
        };
        let cases: [(Vec<u8>, bool); 11] = [
            (message(1, b""), true),
            (message(3, software), true),
            (message(0x16, b"\0\x13\0\x04data"), true),
            (classic(1, b"\0\x03\0\x04\0\0\0\x02"), true),
            (message(0x101, b""), false),
            (classic(1, b""), false),
            (classic(1, b"\x50\x33\0\x04\0\0\0\x02"), false),
            (message(1, b"\x80\x22\0\x09abc\0"), false),
            (message(0x0fff, b""), false),
            (message(1, b"")[..19].to_vec(), false),
            ([message(1, b""), vec![0]].concat(), false),
        ];
        for (bytes, expected) in cases {
            let answer = udp(&framed(&bytes));
            assert_eq!(matches!(answer, Probe::Match(_)), expected, "{bytes:02x?}");
            assert!(expected || answer == Probe::No);
        }
    }

    #[test]
    fn streams_have_messages_bare_or_framed() {
        let (ask, answer) = (message(3, b""), message(0x103, b""));
        for wrap in [|b: &[u8]| b.to_vec(), framed] {
            assert!(matches!(probe_side(&Stun, C, &wrap(&ask)), Probe::Match(_)));
            assert!(matches!(probe_side(&Stun, S, &wrap(&answer)), Probe::Match(_)));
            assert!(!matches!(probe_side(&Stun, C, &wrap(&answer)), Probe::Match(_)));
            let heard = hear(&Stun, &[(C, &wrap(&ask)), (S, &wrap(&answer))]);
            assert!(heard.fits == [true, true] && heard.reason.is_some() && !heard.refused);
        }
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\0\x01", &[0; 16]] {
            assert_eq!(probe_side(&Stun, C, bytes), Probe::No);
        }
    }

    #[test]
    fn a_long_term_login_is_a_challenge_and_dtls_is_a_layer() {
        let login = message(3, b"\0\x14\0\x01r\0\0\0\0\x08\0\x04hmac");
        let (error, success) = (message(0x113, b""), message(0x103, b""));
        let to = |lines: &[(Side, &[u8])]| hear(&Stun, lines);
        let heard = to(&[(C, &message(3, b"")), (S, &error), (C, &login), (S, &success)]);
        assert!(!heard.refused && heard.credentials == Credentials::PASSWORD_HASH_CHALLENGE);
        assert!(to(&[(C, &login), (S, &error)]).refused);
        let failed = |code: u8| message(0x113, &[0, 9, 0, 4, 0, 0, 4, code]);
        let other = |mut bytes: Vec<u8>| {
            bytes[19] ^= 0xff;
            bytes
        };
        for (answer, refused) in [
            (failed(1), true),
            (failed(41), true),
            (failed(38), false),
            // It answered the first request, whichever came to us first.
            (other(failed(1)), false),
            (other(failed(3)), true),
        ] {
            for order in [[(C, &login[..]), (S, &answer)], [(S, &answer), (C, &login)]] {
                assert_eq!(to(&order).refused, refused, "{answer:02x?}");
            }
        }
        let record = framed(&[&b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x04"[..], b"abcd"].concat());
        let (ask, answer) = (framed(&message(1, b"")), framed(&message(0x101, b"")));
        let heard = to(&[(C, &ask), (S, &answer), (C, &record)]);
        assert_eq!(heard.layer, Some((None, Some(ask.len()), Some(answer.len()))));
    }
}
