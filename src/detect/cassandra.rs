//! CQL native protocol of Cassandra, `ScyllaDB` and Amazon Keyspaces.
//! <https://cassandra.apache.org/doc/latest/cassandra/reference/native-protocol.html>
//!
//! A header of nine bytes (eight before version 3) begins each frame. From version 5 on, what follows STARTUP travels in
//! segments whose header has a CRC of its own.
use super::sql;
use super::store::{self, Flaw, Read, mark, need, printable};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::Cursor,
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Cassandra;

impl Detector for Cassandra {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, |said| prove(Side::Client, said), |said| prove(Side::Server, said))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let usual = Some(PlaintextReason::NoInBandUpgrade);
        store::read_on(state, side, said, usual, |state, bytes| {
            let mut c = Cursor::new(bytes);
            let mark_of_segments =
                if side == Side::Client { CLIENT_SEGMENTS } else { SERVER_SEGMENTS };
            let mut trailer = 0;
            if said.start == Start::Unknown && segment(&mut Cursor::new(bytes)).is_ok() {
                state.flags |= mark_of_segments;
            }
            if state.flags & mark_of_segments != 0 {
                segment(&mut c)?;
                trailer = CRC32_BYTES;
            }
            let frame = Frame::read(&mut c, side)?;
            let shown = c.take(frame.length.min(store::SHOWN_BYTES_MAX))?;
            let consumed = c.at().saturating_sub(shown.len()).saturating_add(frame.length);
            let mut body = Cursor::new(shown);
            let plain = frame.flags & (COMPRESSED | WARNING | TRACING | CUSTOM) == 0;
            let facts = match side {
                Side::Client => request(state, &frame, &mut body, plain),
                Side::Server => response(state, &frame, &mut body, plain),
            };
            let next = if facts.refused { Next::Done } else { Next::Continue };
            Ok(Step { consumed: consumed.saturating_add(trailer), facts, next })
        })
    }
}

struct Frame {
    version: u8,
    flags: u8,
    opcode: u8,
    length: usize,
}

impl Frame {
    fn read(c: &mut Cursor<'_>, side: Side) -> Read<Self> {
        let response = if side == Side::Server { 0x80 } else { 0 };
        let version = store::byte(c, |b| b & 0x80 == response && is_version(b & 0x7f))? & 0x7f;
        let flags = store::byte(c, |flags| flags < 0x20)?;
        c.skip(if version < 3 { 1 } else { 2 })?;
        let codes = if side == Side::Server { RESPONSES } else { REQUESTS };
        let opcode = store::byte(c, |opcode| codes.contains(&opcode))?;
        let length = c.u32_be()?;
        need(length <= FRAME_BYTES_MAX)?;
        Ok(Self { version, flags, opcode, length: store::size(length) })
    }
}

/// Versions 1 to 5, and those of `DataStax` Enterprise.
const fn is_version(version: u8) -> bool {
    matches!(version, 1..=5 | 0x41 | 0x42)
}

fn prove(side: Side, said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let found = opening(&mut c, side);
    if let (Err(Flaw::Bad), Start::Unknown) = (found, said.start) {
        return late(side, said.bytes);
    }
    let constant = found?;
    Ok(store::plaintext(mark("cassandra.frame", side, 0, c.at(), constant)))
}

/// The first frame of a side, whose body must fit too.
fn opening(c: &mut Cursor<'_>, side: Side) -> Read<&'static str> {
    let frame = Frame::read(c, side)?;
    need(side == Side::Server || frame.flags & !BETA == 0)?;
    match (side, frame.opcode) {
        (Side::Client, OPTIONS) => {
            // A header and zeros: it takes what follows, or the answer.
            need(frame.length == 0)?;
            let next = Frame::read(c, side)?;
            need(next.version == frame.version && next.flags & !BETA == 0)?;
            need(matches!(next.opcode, STARTUP | REGISTER))?;
            list(c, &next)?;
            Ok("OPTIONS")
        }
        (Side::Client, STARTUP) => {
            list(c, &frame)?;
            Ok("STARTUP")
        }
        (Side::Server, READY) => {
            // A header and zeros, too.
            need(frame.length == 0)?;
            need(Frame::read(c, side)?.version == frame.version)?;
            Ok("READY")
        }
        (Side::Server, SUPPORTED) => {
            need((1..=64).contains(&c.u16_be()?))?;
            name(c, frame.length, option_name).map(|_| "SUPPORTED")
        }
        (Side::Server, AUTHENTICATE) => name(c, frame.length, printable).map(|_| "AUTHENTICATE"),
        (Side::Server, ERROR) => error(c, &frame).map(|_| "ERROR"),
        _ => Err(Flaw::Bad),
    }
}

/// A map of options, or a list of events; the first name is looked at.
fn list(c: &mut Cursor<'_>, frame: &Frame) -> Read<()> {
    need((1..=16).contains(&c.u16_be()?))?;
    name(c, frame.length, option_name).map(|_| ())
}

/// The code of an error, with a message that can be read.
fn error(c: &mut Cursor<'_>, frame: &Frame) -> Read<u32> {
    store::expect(c, &[0, 0])?;
    let code = u32::from(c.u16_be()?);
    need(matches!(code, 0 | 0x0a | 0x0100 | 0x1000..=0x1700 | 0x2000..=0x2500))?;
    let length = usize::from(c.u16_be()?);
    // Without words it would be a header and zeros.
    need(length >= ERROR_WORDS_MIN && length.saturating_add(6) <= frame.length)?;
    store::all(c, length.min(ERROR_BYTES_READ), |b| printable(b) || matches!(b, b'\n' | b'\t'))?;
    Ok(code)
}

const fn option_name(byte: u8) -> bool {
    byte.is_ascii_uppercase() || matches!(byte, b'_' | b'0'..=b'9')
}

/// A short string inside a body of `length` bytes.
fn name<'a>(c: &mut Cursor<'a>, length: usize, sound: impl Fn(u8) -> bool) -> Read<&'a [u8]> {
    let name = usize::from(c.u16_be()?);
    need((3..=NAME_BYTES_MAX).contains(&name) && name < length)?;
    store::all(c, name, sound)
}

/// Joined late: a statement, a frame in a segment, or two frames whose bodies look right.
fn late(side: Side, bytes: &[u8]) -> Read<Match> {
    let mut c = Cursor::new(bytes);
    let segmented = segment(&mut c).and_then(|payload| {
        let frame = Frame::read(&mut c, side)?;
        need(frame.version == 5 && frame.length.saturating_add(FRAME_HEADER_BYTES) <= payload)
    });
    if segmented != Err(Flaw::Bad) {
        segmented?;
        let found = mark("cassandra.segment", side, 0, c.at(), "CRC-24");
        return Ok(store::plaintext(found));
    }
    c = Cursor::new(bytes);
    let constant = match later_frame(&mut c, side)? {
        Later::Statement => "QUERY",
        Later::Frame(length) => {
            c = Cursor::new(bytes);
            c.skip(length)?;
            later_frame(&mut c, side)?;
            "frames"
        }
    };
    Ok(store::plaintext(mark("cassandra.frame", side, 0, c.at(), constant)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Later {
    Statement,
    Frame(usize),
}

fn later_frame(c: &mut Cursor<'_>, side: Side) -> Read<Later> {
    let at = c.at();
    let frame = Frame::read(c, side)?;
    // Versions 1 and 2 have too small a header to be believed late.
    need(frame.version >= 3 && frame.length <= LATE_BYTES_MAX)?;
    let whole = c.at().saturating_sub(at).saturating_add(frame.length);
    if frame.flags & (COMPRESSED | TRACING | WARNING | CUSTOM) != 0 {
        need(frame.length >= 4)?;
        return Ok(Later::Frame(whole));
    }
    match (side, frame.opcode) {
        (Side::Client, QUERY | PREPARE) => {
            let text = store::size(c.u32_be()?);
            need(text >= 6 && text.saturating_add(4) <= frame.length)?;
            let text =
                store::all(c, text, |b| printable(b) || b >= 0x80 || b.is_ascii_whitespace())?;
            need(sql::is_statement(text))?;
            return Ok(Later::Statement);
        }
        (Side::Client, EXECUTE) => need(c.u16_be()? == 16 && frame.length > 20)?,
        (Side::Client, OPTIONS) | (Side::Server, READY) => need(frame.length == 0)?,
        (Side::Client, BATCH) => need(c.u8()? < 3 && frame.length > 3)?,
        (Side::Server, RESULT) => {
            store::expect(c, &[0, 0, 0])?;
            need((1..=5).contains(&c.u8()?))?;
        }
        (Side::Server, ERROR) => error(c, &frame).map(|_| ())?,
        (Side::Server, EVENT) => name(c, frame.length, option_name).map(|_| ())?,
        _ => return Err(Flaw::Bad),
    }
    Ok(Later::Frame(whole))
}

/// The payload length in the header of an uncompressed, or of a compressed segment whose payload is left as it is (version 5, section 2.2).
fn segment(c: &mut Cursor<'_>) -> Read<usize> {
    let mut long = *c;
    let header = c.u24_le()?;
    if crc24(u64::from(header), 3) == c.u24_le()? {
        need(header >> 18 == 0)?;
        return Ok(store::size(header & LENGTH));
    }
    let (low, high) = (long.u32_le()?, long.u8()?);
    let header = u64::from(low) | u64::from(high) << 32;
    need(crc24(header, 5) == long.u24_le()?)?;
    // Uncompressed length zero: the payload is not compressed.
    need(header >> 17 & u64::from(LENGTH) == 0)?;
    *c = long;
    Ok(store::size(low & LENGTH))
}

fn crc24(bytes: u64, length: usize) -> u32 {
    let mut crc = 0x0087_5060_u32;
    for byte in bytes.to_le_bytes().iter().take(length) {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0197_4f0b;
            }
        }
    }
    crc
}

fn request(state: &mut FollowState, frame: &Frame, body: &mut Cursor<'_>, plain: bool) -> Facts {
    let mut facts = Facts::FITS;
    match frame.opcode {
        STARTUP if frame.version == 5 => state.flags |= CLIENT_SEGMENTS,
        OPTIONS | STARTUP => {}
        CREDENTIALS if frame.length > 2 => facts.credentials = Credentials::PASSWORD_CLEARTEXT,
        // SASL PLAIN: an empty identity, the user, the password.
        AUTH_RESPONSE => {
            let token = body.skip(4).map(|()| body.rest()).unwrap_or_default();
            let mut parts = token.split(|b| *b == 0);
            let [first, user, secret] = [(); 3].map(|()| parts.next().unwrap_or_default());
            let named = !user.is_empty() && !secret.is_empty();
            if plain && first.is_empty() && named && parts.next().is_none() {
                facts.credentials = Credentials::SASL_PLAIN;
            }
        }
        _ => store::over(state, Side::Client),
    }
    if !facts.credentials.is_empty() {
        let length = frame.length.saturating_add(9);
        facts.mark = Some(mark("cassandra.login", Side::Client, 0, length, "AUTH_RESPONSE"));
    }
    facts
}

fn response(state: &mut FollowState, frame: &Frame, body: &mut Cursor<'_>, plain: bool) -> Facts {
    let mut facts = Facts::FITS;
    let first = state.flags & SERVER_TOOK == 0;
    match frame.opcode {
        READY | AUTH_SUCCESS => {
            facts.accepted = true;
            state.flags |= SERVER_TOOK;
        }
        ERROR if first && plain => {
            // Bad credentials, or a version that is not spoken here.
            facts.refused = matches!(error(body, frame), Ok(0x0a | 0x0100 | 0x1001 | 0x2100));
            let found = mark("cassandra.refused", Side::Server, 0, 9, "ERROR");
            facts.mark = facts.refused.then_some(found);
        }
        AUTHENTICATE if frame.version == 5 => state.flags |= SERVER_SEGMENTS,
        AUTHENTICATE | SUPPORTED | AUTH_CHALLENGE => {}
        _ => facts.accepted = true,
    }
    if facts.accepted {
        store::over(state, Side::Server);
    }
    facts
}

const ERROR: u8 = 0x00;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const AUTHENTICATE: u8 = 0x03;
const CREDENTIALS: u8 = 0x04;
const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;
const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0a;
const EVENT: u8 = 0x0c;
const BATCH: u8 = 0x0d;
const AUTH_CHALLENGE: u8 = 0x0e;
const AUTH_RESPONSE: u8 = 0x0f;
const AUTH_SUCCESS: u8 = 0x10;
const REGISTER: u8 = 0x0b;
const REQUESTS: &[u8] =
    &[STARTUP, CREDENTIALS, OPTIONS, QUERY, PREPARE, EXECUTE, REGISTER, BATCH, AUTH_RESPONSE];
const RESPONSES: &[u8] =
    &[ERROR, READY, AUTHENTICATE, SUPPORTED, RESULT, EVENT, AUTH_CHALLENGE, AUTH_SUCCESS];

// Frame flags.
const COMPRESSED: u8 = 0x01;
const TRACING: u8 = 0x02;
const CUSTOM: u8 = 0x04;
const WARNING: u8 = 0x08;
const BETA: u8 = 0x10;

// Follow flags.
const CLIENT_SEGMENTS: u16 = 1;
const SERVER_SEGMENTS: u16 = 1 << 1;
const SERVER_TOOK: u16 = 1 << 2;

/// Seventeen bits.
const LENGTH: u32 = 0x1_ffff;
const FRAME_HEADER_BYTES: usize = 9;
const CRC32_BYTES: usize = 4;
const NAME_BYTES_MAX: usize = 128;
/// Bytes of an error's message.
const ERROR_WORDS_MIN: usize = 4;
const ERROR_BYTES_READ: usize = 16;
const LATE_BYTES_MAX: usize = 8 * 1024;
/// `native_transport_max_frame_size` by default.
const FRAME_BYTES_MAX: u32 = 256 << 20;

static INFO: Info = Info {
    name: "cassandra",
    title: "Cassandra CQL",
    spec: "https://cassandra.apache.org/doc/latest/cassandra/reference/native-protocol.html",
    ports: &[9042],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::SASL_PLAIN.with(Credentials::PASSWORD_CLEARTEXT),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const VERSION: &[u8] = b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0";
    const AUTHENTICATOR: &[u8] = b"\0\x2forg.apache.cassandra.auth.PasswordAuthenticator";
    const LOGIN: &[u8] = b"\0\0\0\x0c\0cass\0secret";
    const BAD_LOGIN: &[u8] = b"\0\0\x01\0\0\x08Provided";

    fn frame(version: u8, opcode: u8, body: &[u8]) -> Vec<u8> {
        let header = [version, 0, 0, 1, opcode];
        [&header[..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    /// A self-contained segment of version 5.
    fn segmented(frame: &[u8]) -> Vec<u8> {
        let header = u32::try_from(frame.len()).unwrap() | 1 << 17;
        let crc = crc24(u64::from(header), 3);
        let three = |n: u32| n.to_le_bytes()[..3].to_vec();
        [three(header), three(crc), frame.to_vec(), vec![1, 2, 3, 4]].concat()
    }

    fn found(side: Side, bytes: &[u8]) -> bool {
        matches!(probe_side(&Cassandra, side, bytes), Probe::Match(_))
    }

    #[test]
    fn a_first_frame_proves_either_side() {
        for version in [3, 4, 5, 0x42] {
            let response = version | 0x80;
            let options = frame(version, OPTIONS, b"");
            assert!(found(C, &frame(version, STARTUP, VERSION)));
            assert!(!found(C, &options), "zeros look like it");
            for (next, body, proven) in [
                (STARTUP, VERSION, true),
                (REGISTER, b"\0\x01\0\x0dSTATUS_CHANGE", true),
                (STARTUP, b"\0\0\0\0\0", false),
            ] {
                let both = [&options[..], &frame(version, next, body)].concat();
                assert_eq!(found(C, &both), proven, "what follows is looked at, too");
            }
            assert!(
                !found(S, &frame(response, READY, b""))
                    && found(S, &frame(response, READY, b"").repeat(2))
                    && found(S, &frame(response, ERROR, BAD_LOGIN))
            );
            assert!(found(S, &frame(response, AUTHENTICATE, AUTHENTICATOR)));
            assert!(found(S, &frame(response, SUPPORTED, VERSION)));
            assert!(
                !found(S, &frame(version, READY, b"")) && !found(C, &frame(response, OPTIONS, b""))
            );
            assert!(!found(C, &frame(version, QUERY, b"\0\0\0\x08SELECT 1\0\x01\0")), "not first");
        }
        assert!(found(C, b"\x01\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0"));
        let others: [&[u8]; 7] = [
            b"\x83\0\x7d\0\0\0\0\0\x06\0\0\0\0\0\0",
            b"\x05\x01\0\x05\x01\0\x01\x7f\0\0\x01",
            b"\x04\x01\0\x50\x7f\0\0\x01user\0",
            b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b",
            b"\x04\0\0\0\x05\0\0\0\x09",
            b"\x84\0\0\0\x02\0\0\0\x01\0",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
        ];
        for bytes in others {
            assert!(!found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn password_authenticator_sends_sasl_plain() {
        for (answer, refused) in [
            (frame(0x84, AUTH_SUCCESS, b"\xff\xff\xff\xff"), false),
            (frame(0x84, ERROR, BAD_LOGIN), true),
        ] {
            let heard = hear(
                &Cassandra,
                &[
                    (C, &frame(4, OPTIONS, b"")),
                    (S, &frame(0x84, SUPPORTED, VERSION)),
                    (C, &frame(4, STARTUP, VERSION)),
                    (S, &frame(0x84, AUTHENTICATE, AUTHENTICATOR)),
                    (C, &frame(4, AUTH_RESPONSE, LOGIN)),
                    (S, &answer),
                ],
            );
            assert_eq!((heard.credentials, heard.refused), (Credentials::SASL_PLAIN, refused));
            assert_eq!(heard.fits, [true, true]);
            assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        }
    }

    #[test]
    fn version_5_goes_on_in_segments() {
        // The example of the specification's tests: CRC-24 of three zero bytes and of a length.
        assert_eq!(crc24(0, 0), 0x0087_5060);
        let heard = hear(
            &Cassandra,
            &[
                (C, &frame(5, STARTUP, VERSION)),
                (S, &frame(0x85, AUTHENTICATE, AUTHENTICATOR)),
                (C, &segmented(&frame(5, AUTH_RESPONSE, LOGIN))),
                (S, &segmented(&frame(0x85, AUTH_SUCCESS, b"\xff\xff\xff\xff"))),
                (C, &segmented(&frame(5, QUERY, b"\0\0\0\x08SELECT 1\0\x01\0"))),
            ],
        );
        assert_eq!((heard.credentials, heard.fits), (Credentials::SASL_PLAIN, [true, true]));
    }

    #[test]
    fn another_answer_is_a_mismatch() {
        let heard = hear(
            &Cassandra,
            &[(C, &frame(4, STARTUP, VERSION)), (S, b"\x15\x03\x03\0\x02\x02\x46")],
        );
        assert_eq!(heard.mismatch, [false, true]);
        let heard = hear(&Cassandra, &[(C, b"GET / HTTP/1.1\r\n"), (S, &frame(0x84, READY, b""))]);
        assert_eq!(heard.matched, None);
    }

    #[test]
    fn joined_late_a_statement_or_two_frames_are_proof() {
        let late = |side, bytes: &[u8]| {
            hear_from(&Cassandra, &[(side, bytes)], Start::Unknown).matched.is_some()
        };
        let query = frame(4, QUERY, b"\0\0\0\x08SELECT 1\0\x01\0");
        let rows = frame(0x84, RESULT, b"\0\0\0\x02\0\0\0\x01\0\0\0\x01");
        assert!(late(C, &query) && !late(S, &query));
        assert!(late(S, &[&rows[..], &rows].concat()) && !late(S, &rows));
        let (query, rows) = ([&[5], &query[1..]].concat(), [&[0x85], &rows[1..]].concat());
        assert!(late(C, &segmented(&query)) && late(S, &segmented(&rows)));
        assert!(!late(C, &[0x04; 64]) && !late(S, &[0x84; 64]));
    }
}
