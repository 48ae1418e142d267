//! What a PostgreSQL client may open with, before typed messages begin.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>
use super::{super::sql, chain};
use crate::bytes::{Cursor, Short};

/// What a client may say before typed messages begin. Each carries its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// `SSLRequest`.
    Ssl,
    /// `GSSENCRequest`.
    Gss,
    /// `CancelRequest`.
    Cancel(usize),
    /// `StartupMessage` 3.x.
    Startup(usize),
    /// Protocol 2.0, gone since PostgreSQL 14.
    StartupV2,
}

/// Recognises what a client opens with; `None` if these bytes are something else.
pub(super) fn opening(bytes: &[u8]) -> Result<Option<Opening>, Short> {
    // Every opening is shorter than 64 KiB.
    if bytes.iter().take(2).any(|b| *b != 0) {
        return Ok(None);
    }
    let mut c = Cursor::new(bytes);
    let length = usize::try_from(c.u32_be()?).unwrap_or(usize::MAX);
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Ok(None);
    }
    let code = c.u32_be()?;
    Ok(match (code, length) {
        (SSL_REQUEST, 8) => Some(Opening::Ssl),
        (GSSENC_REQUEST, 8) => Some(Opening::Gss),
        (CANCEL_REQUEST, 16..=CANCEL_BYTES_MAX) => Some(Opening::Cancel(length)),
        (VERSION_2, VERSION_2_BYTES) => startup_v2(&mut c)?.then_some(Opening::StartupV2),
        _ if code >> 16 == 3 => parameter(&mut c, length)?.then_some(Opening::Startup(length)),
        _ => None,
    })
}

/// Whether the first parameter with a value is one: `name\0value\0` within the message.
fn parameter(c: &mut Cursor<'_>, length: usize) -> Result<bool, Short> {
    for _ in 0..PARAMETERS_MAX {
        let room = length.saturating_sub(c.at());
        let Some(key) = text(c, room)? else { return Ok(false) };
        let room = length.saturating_sub(c.at());
        if !chain::is_parameter(key) {
            return Ok(false);
        }
        match text(c, room)? {
            None => return Ok(false),
            Some(b"") => {}
            Some(_) => return Ok(true),
        }
    }
    Ok(false)
}

/// Readable text up to a NUL within `room` bytes; decided at the first byte that does not fit.
fn text<'a>(c: &mut Cursor<'a>, room: usize) -> Result<Option<&'a [u8]>, Short> {
    let end = c.rest().iter().take(room).position(|b| matches!(b, 0..=0x1f | 0x7f));
    match end {
        Some(at) if c.rest().get(at) == Some(&0) => c.until(0).map(Some),
        None if c.left() < room => Err(Short),
        _ => Ok(None),
    }
}

/// Database and user of protocol 2.0: zero-padded fields of 64 and 32 bytes.
fn startup_v2(c: &mut Cursor<'_>) -> Result<bool, Short> {
    let database = c.take(64)?;
    let user = c.take(32)?;
    let padded = |field: &[u8]| {
        let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
        let (text, zeros) = field.split_at_checked(end).unwrap_or_default();
        sql::is_text(text) && zeros.iter().all(|b| *b == 0)
    };
    Ok(user.first().is_some_and(|b| *b != 0) && padded(database) && padded(user))
}

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const VERSION_2: u32 = 2 << 16;
/// Length of a protocol 2.0 startup packet.
pub(super) const VERSION_2_BYTES: usize = 296;
/// `MAX_STARTUP_PACKET_LENGTH` of the server.
const STARTUP_BYTES_MAX: usize = 10_000;
/// Protocol 3.2 allows keys of up to 256 bytes.
const CANCEL_BYTES_MAX: usize = 268;
const PARAMETERS_MAX: usize = 8;
