//! Frames of 0-9-1 (section 2.3.5) and of 1.0 (section 2.3).
use crate::{
    bytes::{Cursor, Short},
    detect::fit::{Fit, begins, mark},
    model::{Credentials, Side},
};

/// A frame, as far as it matters. `length` is its length on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frame {
    /// The client names a SASL mechanism.
    Login { length: usize, constant: &'static str, credentials: Credentials },
    /// The server ends it before it began.
    Refusal { length: usize, constant: &'static str },
    /// The connection stands.
    Session { length: usize },
    /// Anything else.
    Other { length: usize },
}

impl Frame {
    pub(super) const fn length(self) -> usize {
        match self {
            Self::Login { length, .. }
            | Self::Refusal { length, .. }
            | Self::Session { length }
            | Self::Other { length } => length,
        }
    }
}

/// Whether a server of 0-9-1 starts the connection: method frame, channel 0, Connection.Start, version 0-9 or 8-0.
pub(super) fn is_start(bytes: &[u8]) -> Result<bool, Short> {
    // No frame before tuning is longer than two bytes tell.
    if !begins(bytes, b"\x01\x00\x00\x00\x00")? {
        return Ok(false);
    }
    let mut c = Cursor::new(bytes);
    c.skip(5)?;
    if c.u16_be()? < 20 || !begins(c.rest(), b"\x00\x0a\x00\x0a")? {
        return Ok(false);
    }
    c.skip(4)?;
    Ok(matches!(c.array()?, [0, 9] | [8, 0]))
}

/// Reads the frame at the start of `bytes`; `None`: it is no frame.
pub(super) fn frame(side: Side, bytes: &[u8]) -> Result<Option<Frame>, Short> {
    match bytes.first().ok_or(Short)? {
        0 => performative(side, bytes),
        _ => method(side, bytes),
    }
}

/// A 0-9-1 frame.
fn method(side: Side, bytes: &[u8]) -> Result<Option<Frame>, Short> {
    let mut c = Cursor::new(bytes);
    let (kind, _channel) = (c.u8()?, c.u16_be()?);
    let payload = usize::try_from(c.u32_be()?).unwrap_or(usize::MAX);
    if !matches!(kind, METHOD | CONTENT | BODY | HEARTBEAT) || payload > FRAME_BYTES_MAX {
        return Ok(None);
    }
    let length = payload.saturating_add(FRAME_EXTRA_BYTES);
    if kind != METHOD {
        let other = Frame::Other { length };
        return Ok(Some(if kind == HEARTBEAT { other } else { Frame::Session { length } }));
    }
    let (class, method) = (c.u16_be()?, c.u16_be()?);
    Ok(Some(match (class, method, side) {
        (CONNECTION, START_OK, Side::Client) if payload <= LOGIN_BYTES_MAX => {
            start_ok(c.take(payload.saturating_sub(4))?, length)
        }
        (CONNECTION, OPEN, Side::Client) | (CONNECTION, OPEN_OK, Side::Server) => {
            Frame::Session { length }
        }
        (CONNECTION, CLOSE, Side::Server) => {
            Frame::Refusal { length, constant: "Connection.Close" }
        }
        (CONNECTION, ..) => Frame::Other { length },
        _ if is_method(side, class, method) => Frame::Session { length },
        _ => return Ok(None),
    }))
}

/// Connection.Start-Ok: client properties, mechanism, response, locale.
fn start_ok(arguments: &[u8], length: usize) -> Frame {
    let mut c = Cursor::new(arguments);
    let mut read = || {
        let properties = usize::try_from(c.u32_be()?).unwrap_or(usize::MAX);
        c.skip(properties)?;
        let mechanism = usize::from(c.u8()?);
        let mechanism = c.take(mechanism)?;
        Ok::<_, Short>((mechanism, c.u32_be()? > 0))
    };
    match read() {
        Ok((mechanism, response)) => login(mechanism, response, length),
        Err(Short) => Frame::Other { length },
    }
}

fn login(mechanism: &[u8], response: bool, length: usize) -> Frame {
    let known = MECHANISMS.iter().find(|(name, ..)| name.as_bytes() == mechanism);
    match known {
        Some((constant, credentials)) if response || *credentials == CHALLENGE => {
            Frame::Login { length, constant, credentials: *credentials }
        }
        _ => Frame::Other { length },
    }
}

/// A 1.0 frame: size, data offset, type, channel, then a described list.
fn performative(side: Side, bytes: &[u8]) -> Result<Option<Frame>, Short> {
    let mut c = Cursor::new(bytes);
    let length = usize::try_from(c.u32_be()?).unwrap_or(usize::MAX);
    let [offset, kind] = c.array()?;
    let _channel = c.u16_be()?;
    if !(8..=FRAME_BYTES_MAX).contains(&length) || offset != 2 || kind > 1 {
        return Ok(None);
    }
    if length == 8 {
        return Ok(Some(Frame::Other { length }));
    }
    if !begins(c.rest(), b"\x00\x53")? {
        return Ok(None);
    }
    c.skip(2)?;
    let code = c.u8()?;
    let list = c.u8()?;
    if !matches!(list, LIST_0 | LIST_8 | LIST_32) || !is_performative(side, kind, code) {
        return Ok(None);
    }
    // Size and count.
    let head = match list {
        LIST_8 => 2,
        LIST_32 => 8,
        _ => 0,
    };
    Ok(Some(match (code, side) {
        (SASL_INIT, _) if length <= LOGIN_BYTES_MAX => {
            let fields = Cursor::new(bytes).take(length)?.get(12_usize.saturating_add(head)..);
            sasl_init(fields.unwrap_or_default(), length)
        }
        (SASL_OUTCOME, _) if head > 0 => {
            c.skip(head)?;
            match c.array()? {
                [0x50, 0] => Frame::Other { length },
                _ => Frame::Refusal { length, constant: "sasl-outcome" },
            }
        }
        (OPEN_1_0..=CLOSE_1_0, _) => Frame::Session { length },
        _ => Frame::Other { length },
    }))
}

/// sasl-init: mechanism (symbol), initial response (binary).
fn sasl_init(fields: &[u8], length: usize) -> Frame {
    let mut c = Cursor::new(fields);
    let mut read = || {
        let size = match c.u8()? {
            0xa3 => u32::from(c.u8()?),
            0xb3 => c.u32_be()?,
            _ => return Err(Short),
        };
        let mechanism = c.take(usize::try_from(size).unwrap_or(usize::MAX))?;
        let response = match c.u8()? {
            0xa0 => c.u8()? > 0,
            0xb0 => c.u32_be()? > 0,
            _ => false,
        };
        Ok((mechanism, response))
    };
    match read() {
        Ok((mechanism, response)) => login(mechanism, response, length),
        Err(Short) => Frame::Other { length },
    }
}

/// A stream joined late: frames from the start of a segment, one of them with a method or performative we know, whole.
pub(super) fn late(side: Side, bytes: &[u8]) -> Fit {
    let mut c = Cursor::new(bytes);
    for _ in 0..LATE_FRAMES_MAX {
        let rest = c.rest();
        let Some(frame) = frame(side, rest)? else { return Ok(None) };
        let length = frame.length();
        if length > LATE_BYTES_MAX {
            return Ok(None);
        }
        let whole = c.take(length)?;
        let old = rest.first() != Some(&0);
        if old && whole.last() != Some(&FRAME_END) {
            return Ok(None);
        }
        if is_telling(whole) {
            let constant = if old { "frame-end CE" } else { "performative" };
            return Ok(Some(mark(
                "amqp.frame",
                side,
                c.at().saturating_sub(length),
                length,
                constant,
            )));
        }
    }
    Ok(None)
}

/// Whether no other protocol says this: all but bodies and empty frames of 1.0.
fn is_telling(frame: &[u8]) -> bool {
    match frame {
        [METHOD, ..] => true,
        [CONTENT, _, _, _, _, _, _, 0, 60, 0, 0, 0, 0, ..] => true,
        [HEARTBEAT, rest @ ..] => rest == [0, 0, 0, 0, 0, 0, FRAME_END],
        [0, ..] => frame.len() > 8,
        _ => false,
    }
}

/// Whether `side` sends this method (0-9-1 section 1.2, with the extensions of `RabbitMQ`).
fn is_method(side: Side, class: u16, method: u16) -> bool {
    let (client, server): (&[u16], &[u16]) = match class {
        20 => (&[10, 20, 21, 40, 41], &[11, 20, 21, 40, 41]),
        40 => (&[10, 20, 30, 40], &[11, 21, 31, 51]),
        50 => (&[10, 20, 30, 40, 50], &[11, 21, 31, 41, 51]),
        60 => (
            &[10, 20, 30, 40, 70, 80, 90, 100, 110, 120],
            &[11, 21, 30, 31, 50, 60, 71, 72, 80, 111, 120],
        ),
        85 => (&[10], &[11]),
        90 => (&[10, 20, 30], &[11, 21, 31]),
        _ => (&[], &[]),
    };
    match side {
        Side::Client => client.contains(&method),
        Side::Server => server.contains(&method),
    }
}

/// Whether `side` sends this performative in frames of this type.
const fn is_performative(side: Side, kind: u8, code: u8) -> bool {
    match (kind, side) {
        (0, _) => matches!(code, OPEN_1_0..=CLOSE_1_0),
        (_, Side::Client) => matches!(code, SASL_INIT | 0x43),
        (_, Side::Server) => matches!(code, 0x40 | 0x42 | SASL_OUTCOME),
    }
}

const METHOD: u8 = 1;
const CONTENT: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xce;
/// Header and end byte.
const FRAME_EXTRA_BYTES: usize = 8;
const FRAME_BYTES_MAX: usize = 1 << 20;
const LOGIN_BYTES_MAX: usize = 8192;
const LATE_FRAMES_MAX: usize = 16;
const LATE_BYTES_MAX: usize = 16 * 1024;

const CONNECTION: u16 = 10;
const START_OK: u16 = 11;
const OPEN: u16 = 40;
const OPEN_OK: u16 = 41;
const CLOSE: u16 = 50;

const OPEN_1_0: u8 = 0x10;
const CLOSE_1_0: u8 = 0x18;
const SASL_INIT: u8 = 0x41;
const SASL_OUTCOME: u8 = 0x44;
const LIST_0: u8 = 0x45;
const LIST_8: u8 = 0xc0;
const LIST_32: u8 = 0xd0;

const CHALLENGE: Credentials = Credentials::PASSWORD_HASH_CHALLENGE;
/// SASL mechanisms that show something. AMQPLAIN is a table with login and password.
static MECHANISMS: &[(&str, Credentials)] = &[
    ("PLAIN", Credentials::SASL_PLAIN),
    ("AMQPLAIN", Credentials::PASSWORD_CLEARTEXT),
    ("RABBIT-CR-DEMO", CHALLENGE),
    ("CRAM-MD5", CHALLENGE),
    ("DIGEST-MD5", CHALLENGE),
    ("SCRAM-SHA-1", CHALLENGE),
    ("SCRAM-SHA-256", CHALLENGE),
    ("SCRAM-SHA-512", CHALLENGE),
    ("XOAUTH2", Credentials::BEARER_TOKEN),
    ("OAUTHBEARER", Credentials::BEARER_TOKEN),
];
