//! LDAP messages in BER, as far as they tell what they are. RFC 4511 section 4.
use crate::{
    bytes::{Cursor, Short},
    model::Side,
};

/// A message whose header and first fields make sense.
pub(super) struct Message<'a> {
    /// Bytes in all.
    pub(super) length: usize,
    pub(super) id: u32,
    pub(super) op: u8,
    /// What is there of the operation's contents.
    pub(super) body: &'a [u8],
    /// Length of the operation's contents.
    pub(super) body_length: usize,
}

/// Behind an operation of fewer bytes the tag of its controls is waited for.
const CONTROLS_AWAITED_BYTES: usize = 512;

// Operations (RFC 4511 section 4.2 and following).
pub(super) const BIND: u8 = 0x60;
pub(super) const BIND_RESPONSE: u8 = 0x61;
pub(super) const UNBIND: u8 = 0x42;
pub(super) const SEARCH: u8 = 0x63;
pub(super) const SEARCH_ENTRY: u8 = 0x64;
pub(super) const SEARCH_DONE: u8 = 0x65;
pub(super) const EXTENDED: u8 = 0x77;
pub(super) const EXTENDED_RESPONSE: u8 = 0x78;
const MODIFY: u8 = 0x66;
const ADD: u8 = 0x68;
const DELETE: u8 = 0x4a;
const MODIFY_DN: u8 = 0x6c;
const COMPARE: u8 = 0x6e;
const ABANDON: u8 = 0x50;
const SEARCH_REFERENCE: u8 = 0x73;
const INTERMEDIATE: u8 = 0x79;

/// The message at the start of `bytes`; `None` when it is none that `side` sends.
pub(super) fn message(bytes: &[u8], side: Side) -> Result<Option<Message<'_>>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != SEQUENCE {
        return Ok(None);
    }
    let Some(length) = length(&mut c)? else { return Ok(None) };
    let head = c.at();
    if c.u8()? != INTEGER {
        return Ok(None);
    }
    let Some(id) = number(&mut c)? else { return Ok(None) };
    let op = c.u8()?;
    if !is_from(op, side) {
        return Ok(None);
    }
    let Some(body_length) = self::length(&mut c)? else { return Ok(None) };
    let body = c.at();
    let inside = body.saturating_sub(head).saturating_add(body_length);
    // Controls, and nothing else, may stand behind the operation.
    let Some(controls) = length.checked_sub(inside) else { return Ok(None) };
    if controls == 1 || length > MESSAGE_BYTES_MAX {
        return Ok(None);
    }
    let rest = c.rest();
    let shown = rest.get(..body_length).unwrap_or(rest);
    match fields(op, body_length, shown) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        // What is missing will not come.
        Err(Short) if shown.len() == body_length => return Ok(None),
        Err(Short) => return Err(Short),
    }
    if controls > 0 {
        match rest.get(body_length) {
            Some(tag) if *tag != CONTROLS => return Ok(None),
            None if body_length < CONTROLS_AWAITED_BYTES => return Err(Short),
            _ => {}
        }
    }
    let length = head.saturating_add(length);
    Ok(Some(Message { length, id, op, body: shown, body_length }))
}

/// Whether the first fields of an operation are what they must be.
fn fields(op: u8, length: usize, body: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(body);
    Ok(match op {
        UNBIND => length == 0,
        ABANDON => (1..=4).contains(&length),
        DELETE => length > 0 && c.take(length.min(TEXT_SHOWN))?.iter().all(|b| is_dn(*b)),
        BIND => {
            let version = c.array::<3>()?;
            matches!(version, [INTEGER, 1, 2 | 3]) && dn(&mut c, length)? && is_choice(c.u8()?)
        }
        SEARCH => {
            dn(&mut c, length)?
                && matches!(c.array::<3>()?, [ENUMERATED, 1, 0..=3])
                && matches!(c.array::<3>()?, [ENUMERATED, 1, 0..=3])
                && c.u8()? == INTEGER
                && number(&mut c)?.is_some()
                && c.u8()? == INTEGER
                && number(&mut c)?.is_some()
                && matches!(c.array::<3>()?, [BOOLEAN, 1, 0 | 1 | 0xff])
                && matches!(c.u8()?, 0xa0..=0xa9 | 0x87)
        }
        MODIFY | ADD | COMPARE | SEARCH_ENTRY => dn(&mut c, length)? && c.u8()? == SEQUENCE,
        MODIFY_DN => dn(&mut c, length)? && dn(&mut c, length)? && c.u8()? == BOOLEAN,
        EXTENDED => c.u8()? == CONTEXT_0 && oid(&mut c, length)?,
        SEARCH_REFERENCE => dn(&mut c, length)?,
        INTERMEDIATE => match c.u8()? {
            CONTEXT_0 => oid(&mut c, length)?,
            tag => tag == CONTEXT_1,
        },
        // Microsoft's NTLM puts its token where the name should be.
        BIND_RESPONSE => {
            result(&mut c)?.is_some() && octets(&mut c, length)? && octets(&mut c, length)?
        }
        _ => result(&mut c)?.is_some() && dn(&mut c, length)? && dn(&mut c, length)?,
    })
}

/// `resultCode` of a response (RFC 4511 section 4.1.9).
pub(super) fn result(c: &mut Cursor<'_>) -> Result<Option<u8>, Short> {
    let [tag, length, code] = c.array::<3>()?;
    Ok(((tag, length) == (ENUMERATED, 1) && code <= RESULT_MAX).then_some(code))
}

/// How a bind request authenticates.
pub(super) enum Authentication<'a> {
    /// A password.
    Simple { empty: bool },
    /// A mechanism and what is shown of its credentials.
    Sasl { mechanism: &'a [u8], credentials: &'a [u8] },
    /// Microsoft's older NTLM.
    Sicily,
}

/// Reads a bind request.
pub(super) fn authentication(body: &[u8]) -> Option<Authentication<'_>> {
    let mut c = Cursor::new(body);
    c.skip(3).ok()?;
    string(&mut c).ok()??;
    let choice = c.u8().ok()?;
    let length = length(&mut c).ok()??;
    Some(match choice {
        CONTEXT_0 => Authentication::Simple { empty: length == 0 },
        SASL => {
            let mechanism = string(&mut c).ok()??;
            let credentials = match string(&mut c) {
                Ok(Some(credentials)) => credentials,
                _ => c.rest(),
            };
            Authentication::Sasl { mechanism, credentials }
        }
        _ => Authentication::Sicily,
    })
}

/// Whether a search asks the server about itself (the root DSE, RFC 4512 section 5.1).
pub(super) fn is_root(search: &[u8]) -> bool {
    search.starts_with(&[OCTET_STRING, 0])
}

/// An octet string.
fn string<'a>(c: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Short> {
    if c.u8()? != OCTET_STRING {
        return Ok(None);
    }
    match length(c)? {
        Some(length) => c.take(length).map(Some),
        None => Ok(None),
    }
}

/// Passes over a readable string within `room` bytes: a name, an address or a message.
fn dn(c: &mut Cursor<'_>, room: usize) -> Result<bool, Short> {
    Ok(within(c, room)?.is_some_and(|text| text.iter().all(|b| is_dn(*b))))
}

/// Passes over a string within `room` bytes.
fn octets(c: &mut Cursor<'_>, room: usize) -> Result<bool, Short> {
    Ok(within(c, room)?.is_some())
}

fn within<'a>(c: &mut Cursor<'a>, room: usize) -> Result<Option<&'a [u8]>, Short> {
    let mut ahead = *c;
    if ahead.u8()? != OCTET_STRING {
        return Ok(None);
    }
    let Some(length) = length(&mut ahead)? else { return Ok(None) };
    if ahead.at().saturating_add(length) > room {
        return Ok(None);
    }
    string(c)
}

/// Names are UTF-8; some servers end their messages with NUL.
const fn is_dn(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..)
}

/// An object identifier in dotted form.
fn oid(c: &mut Cursor<'_>, room: usize) -> Result<bool, Short> {
    let Some(length) = length(c)? else { return Ok(false) };
    if !(3..=OID_BYTES_MAX).contains(&length) || c.at().saturating_add(length) > room {
        return Ok(false);
    }
    Ok(c.take(length)?.iter().all(|b| b.is_ascii_digit() || *b == b'.'))
}

/// A definite length, in short or long form (Microsoft pads to four bytes).
fn length(c: &mut Cursor<'_>) -> Result<Option<usize>, Short> {
    let first = c.u8()?;
    let bytes = match first {
        0..=0x7f => return Ok(Some(usize::from(first))),
        0x81..=0x84 => usize::from(first & 7),
        _ => return Ok(None),
    };
    let value = c.take(bytes)?.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b));
    Ok(Some(value))
}

/// An integer of 0 to 2^31 - 1, behind its tag.
fn number(c: &mut Cursor<'_>) -> Result<Option<u32>, Short> {
    let length = c.u8()?;
    if !(1..=4).contains(&length) {
        return Ok(None);
    }
    if c.peek()? > 0x7f {
        return Ok(None);
    }
    let bytes = c.take(usize::from(length))?;
    Ok(Some(bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b))))
}

const fn is_from(op: u8, side: Side) -> bool {
    match side {
        Side::Client => matches!(
            op,
            BIND | UNBIND
                | SEARCH
                | MODIFY
                | ADD
                | DELETE
                | MODIFY_DN
                | COMPARE
                | ABANDON
                | EXTENDED
        ),
        Side::Server => matches!(
            op,
            BIND_RESPONSE
                | SEARCH_ENTRY
                | SEARCH_DONE
                | SEARCH_REFERENCE
                | 0x67
                | 0x69
                | 0x6b
                | 0x6d
                | 0x6f
                | EXTENDED_RESPONSE
                | INTERMEDIATE
        ),
    }
}

/// Simple, SASL, or one of Microsoft's (MS-ADTS section 5.1.1.1.3).
const fn is_choice(tag: u8) -> bool {
    matches!(tag, CONTEXT_0 | SASL | 0x89..=0x8b)
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const CONTEXT_0: u8 = 0x80;
const CONTEXT_1: u8 = 0x81;
const SASL: u8 = 0xa3;
const CONTROLS: u8 = 0xa0;
const MESSAGE_BYTES_MAX: usize = 16 << 20;
const OID_BYTES_MAX: usize = 64;
const TEXT_SHOWN: usize = 64;
/// Highest assigned result code (IANA, LDAP Parameters).
const RESULT_MAX: u8 = 123;
