//! The messages of both versions.
use crate::bytes::{Cursor, Short};

/// A request for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) command: u32,
    /// Bytes on the wire.
    pub(super) length: usize,
    /// The destination is a name.
    pub(super) named: bool,
}

/// Our own words for the version a client begins with.
pub(super) const fn name_of(bytes: &[u8]) -> &'static str {
    match bytes {
        [5, ..] => "SOCKS5",
        _ => "SOCKS4",
    }
}

/// The methods a client of version 5 offers.
pub(super) fn greeting(bytes: &[u8]) -> Result<Option<&[u8]>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != 5 {
        return Ok(None);
    }
    let count = usize::from(c.u8()?);
    if !(1..=METHODS_MAX).contains(&count) {
        return Ok(None);
    }
    let shown = c.rest().get(..count).unwrap_or(c.rest());
    // Assigned or private, and each once.
    let known = |at: usize, method: &u8| {
        matches!(method, 0..=9 | 0x80..=0xfe)
            && !shown.iter().take(at).any(|before| before == method)
    };
    if !shown.iter().enumerate().all(|(at, method)| known(at, method)) {
        return Ok(None);
    }
    c.take(count).map(Some)
}

/// User name and password (RFC 1929): bytes on the wire, and whether there is a password.
pub(super) fn login(bytes: &[u8]) -> Result<Option<(usize, bool)>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != 1 {
        return Ok(None);
    }
    let user = usize::from(c.u8()?);
    c.skip(user)?;
    let password = usize::from(c.u8()?);
    c.skip(password)?;
    Ok((user > 0).then_some((c.at(), password > 0)))
}

/// A request of version 5.
pub(super) fn request_5(bytes: &[u8]) -> Result<Option<Request>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != 5 {
        return Ok(None);
    }
    let command = u32::from(c.u8()?);
    if !(1..=3).contains(&command) || c.u8()? != 0 {
        return Ok(None);
    }
    let Some(named) = address(&mut c)? else { return Ok(None) };
    Ok(Some(Request { command, length: c.at(), named }))
}

/// A reply of version 5: its code and bytes on the wire.
pub(super) fn reply(bytes: &[u8]) -> Result<Option<(u8, usize)>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != 5 {
        return Ok(None);
    }
    let code = c.u8()?;
    if code > 8 || c.u8()? != 0 {
        return Ok(None);
    }
    Ok(address(&mut c)?.map(|_| (code, c.at())))
}

/// Address and port; true for a name.
fn address(c: &mut Cursor<'_>) -> Result<Option<bool>, Short> {
    let kind = c.u8()?;
    match kind {
        1 => c.skip(4)?,
        4 => c.skip(16)?,
        3 => {
            let length = usize::from(c.u8()?);
            let name = c.rest().get(..length).unwrap_or(c.rest());
            if length == 0 || !name.iter().all(is_host) {
                return Ok(None);
            }
            c.skip(length)?;
        }
        _ => return Ok(None),
    }
    c.skip(2)?;
    Ok(Some(kind == 3))
}

/// A request of version 4; 4a has a name behind the user.
pub(super) fn request_4(bytes: &[u8]) -> Result<Option<Request>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != 4 {
        return Ok(None);
    }
    let command = u32::from(c.u8()?);
    if !(1..=2).contains(&command) {
        return Ok(None);
    }
    let (port, address) = (c.u16_be()?, c.u32_be()?);
    if port == 0 || address == 0 {
        return Ok(None);
    }
    let Some(()) = text(&mut c, 0)? else { return Ok(None) };
    let named = address <= 0xff;
    if named && text(&mut c, 1)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Request { command, length: c.at(), named }))
}

/// Visible characters, at least `least`, up to NUL.
fn text(c: &mut Cursor<'_>, least: usize) -> Result<Option<()>, Short> {
    let shown = c.rest().get(..TEXT_BYTES_MAX).unwrap_or(c.rest());
    let end = shown.iter().position(|b| !b.is_ascii_graphic());
    let Some(end) = end else {
        return if shown.len() < TEXT_BYTES_MAX { Err(Short) } else { Ok(None) };
    };
    let sound = end >= least && shown.get(end) == Some(&0);
    c.skip(end.saturating_add(1))?;
    Ok(sound.then_some(()))
}

/// A server's answer of version 4: whether the request is granted.
pub(super) fn answer_4(bytes: &[u8]) -> Result<Option<bool>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != 0 {
        return Ok(None);
    }
    let code = c.u8()?;
    if !(90..=93).contains(&code) {
        return Ok(None);
    }
    c.skip(6)?;
    Ok(Some(code == 90))
}

const fn is_host(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':')
}

const METHODS_MAX: usize = 10;
const TEXT_BYTES_MAX: usize = 256;
