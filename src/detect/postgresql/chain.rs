//! Typed messages of the PostgreSQL protocol 3.x in the middle of a stream, and those that open the server's side.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>
//!
//! One lucky byte proves nothing: each complete message whose inside fits its length earns points, and [`PROOF`]
//! points in a row from the first byte are proof. Only a readable SQL statement earns them all at once.
use super::super::sql;
use crate::bytes::{Cursor, Short};

/// Length of the chain that proves the client's side; `None` if the bytes are no chain.
pub(super) fn client(bytes: &[u8]) -> Result<Option<usize>, Short> {
    chain(bytes, FRONTEND, frontend)
}

/// Length of the chain that proves the server's side; `None` if the bytes are no chain.
pub(super) fn server(bytes: &[u8]) -> Result<Option<usize>, Short> {
    chain(bytes, BACKEND, backend)
}

/// Offset and length of a `CommandComplete` with its `ReadyForQuery`, for a view that begins inside a message.
pub(super) fn server_anywhere(bytes: &[u8]) -> Option<(usize, usize)> {
    for at in memchr::memchr_iter(b'C', bytes) {
        let from = bytes.get(at..).unwrap_or_default();
        if let Ok(Some(length)) = chain(from, COMPLETION, backend) {
            return Some((at, length));
        }
    }
    None
}

/// A message header: type and length (which counts itself but not the type).
pub(super) fn header(c: &mut Cursor<'_>) -> Result<(u8, usize), Short> {
    let kind = c.u8()?;
    let length = c.u32_be()?;
    Ok((kind, usize::try_from(length).unwrap_or(usize::MAX)))
}

/// Whether `kind` is a message a client sends.
pub(super) fn is_frontend(kind: u8) -> bool {
    FRONTEND.contains(&kind)
}

/// Whether `kind` is a message a server sends.
pub(super) fn is_backend(kind: u8) -> bool {
    BACKEND.contains(&kind)
}

/// The message a server may open with: Authentication, `ErrorResponse`, `NegotiateProtocolVersion`; its length.
pub(super) fn opening(bytes: &[u8]) -> Result<Option<usize>, Short> {
    let mut c = Cursor::new(bytes);
    let kind = c.peek()?;
    if !matches!(kind, b'R' | b'E' | b'v') {
        return Ok(None);
    }
    // The length is below 64 KiB: two zero bytes, which tells it from text at once.
    if bytes.iter().skip(1).take(2).any(|b| *b != 0) {
        return Ok(None);
    }
    let (_, length) = header(&mut c)?;
    if !(8..=OPENING_BYTES_MAX).contains(&length) {
        return Ok(None);
    }
    let body = c.take(length.saturating_sub(4))?;
    let fits = match kind {
        b'R' => authentication(body),
        b'E' => sqlstate(body).is_some(),
        _ => negotiate(body),
    };
    Ok(fits.then(|| c.at()))
}

/// The SQLSTATE of an `ErrorResponse` or `NoticeResponse`, if its fields are in order.
pub(super) fn sqlstate(body: &[u8]) -> Option<[u8; 5]> {
    let mut c = Cursor::new(body);
    let (mut severity, mut message, mut code) = (false, false, None);
    for _ in 0..FIELDS_MAX {
        let field = c.u8().ok()?;
        if field == 0 {
            break;
        }
        let value = c.until(0).ok()?;
        if !field.is_ascii_alphabetic() || !sql::is_text(value) {
            return None;
        }
        match field {
            b'S' => severity = true,
            b'M' => message = true,
            b'C' => code = <[u8; 5]>::try_from(value).ok(),
            _ => {}
        }
    }
    let plain = |b: &u8| b.is_ascii_digit() || b.is_ascii_uppercase();
    code.filter(|code| severity && message && c.is_empty() && code.iter().all(plain))
}

/// Reads messages until they prove the protocol or break the grammar.
fn chain(
    bytes: &[u8],
    kinds: &[u8],
    weigh: fn(u8, &[u8]) -> Option<u32>,
) -> Result<Option<usize>, Short> {
    let mut c = Cursor::new(bytes);
    let mut points: u32 = 0;
    while points < PROOF {
        if !kinds.contains(&c.peek()?) {
            return Ok(None);
        }
        let (kind, length) = header(&mut c)?;
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Ok(None);
        }
        let Some(weight) = weigh(kind, c.take(length.saturating_sub(4))?) else { return Ok(None) };
        points = points.saturating_add(weight);
    }
    Ok(Some(c.at()))
}

/// Points of a client's message; `None` if its body is not what its type says.
fn frontend(kind: u8, body: &[u8]) -> Option<u32> {
    let mut c = Cursor::new(body);
    let weight = match kind {
        b'Q' => {
            let text = c.until(0).ok()?;
            if !sql::is_text(text) {
                return None;
            }
            if sql::is_statement(text) { PROOF } else { 1 }
        }
        b'P' => {
            name(&mut c)?;
            if !sql::is_text(c.until(0).ok()?) {
                return None;
            }
            let types = usize::from(c.u16_be().ok()?);
            c.skip(types.saturating_mul(4)).ok()?;
            3
        }
        b'B' => bind(&mut c)?,
        b'D' | b'C' => {
            if !matches!(c.u8().ok()?, b'S' | b'P') {
                return None;
            }
            name(&mut c)?;
            2
        }
        b'E' => {
            name(&mut c)?;
            c.skip(4).ok()?;
            2
        }
        b'S' | b'H' | b'X' | b'c' => 2,
        b'd' => return Some(1),
        b'f' => {
            name(&mut c)?;
            1
        }
        _ => return None,
    };
    c.is_empty().then_some(weight)
}

/// Points of a server's message; `None` if its body is not what its type says.
fn backend(kind: u8, body: &[u8]) -> Option<u32> {
    let mut c = Cursor::new(body);
    let weight = match kind {
        b'Z' => {
            if !matches!(c.u8().ok()?, b'I' | b'T' | b'E') {
                return None;
            }
            3
        }
        b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => 2,
        b'C' => {
            let tag = c.until(0).ok()?;
            let fits = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b' ';
            if !(tag.first()?.is_ascii_uppercase() && tag.len() > 1 && tag.iter().all(fits)) {
                return None;
            }
            2
        }
        b'T' => row_description(&mut c)?,
        b'D' => data_row(&mut c)?,
        b't' => {
            let types = usize::from(c.u16_be().ok()?);
            c.skip(types.saturating_mul(4)).ok()?;
            1
        }
        b'S' => {
            let key = c.until(0).ok()?;
            if !is_parameter(key) || !sql::is_text(c.until(0).ok()?) {
                return None;
            }
            2
        }
        b'A' => {
            c.skip(4).ok()?;
            name(&mut c)?;
            name(&mut c)?;
            2
        }
        b'G' | b'H' | b'W' => copy_response(&mut c)?,
        b'K' => return (8..=260).contains(&body.len()).then_some(1),
        b'N' | b'E' => return sqlstate(body).map(|_| 3),
        b'R' => return authentication(body).then_some(2),
        b'v' => return negotiate(body).then_some(2),
        b'd' => return Some(1),
        _ => return None,
    };
    c.is_empty().then_some(weight)
}

/// Name of a run-time parameter (`client_encoding`, `_pq_.option`).
pub(super) fn is_parameter(key: &[u8]) -> bool {
    let first = key.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_');
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    first && (3..=64).contains(&key.len()) && key.iter().all(plain)
}

/// Body of an Authentication request.
fn authentication(body: &[u8]) -> bool {
    let mut c = Cursor::new(body);
    let Ok(code) = c.u32_be() else { return false };
    match code {
        // Ok, KerberosV5, CleartextPassword, SCMCredential, GSS, SSPI; Redshift's identity provider.
        0 | 2 | 3 | 6 | 7 | 9 | 14 => c.is_empty(),
        // CryptPassword (before 8.4).
        4 => c.left() == 2 && c.rest().iter().all(u8::is_ascii_graphic),
        // A salt of random bytes; of small numbers there are many.
        5 => c.left() == 4 && c.rest().iter().filter(|b| **b != 0).count() >= 2,
        // A token of GSS-API or SPNEGO (RFC 2743 section 3.1, RFC 4178), Kerberos bare, NTLM; SCRAM's messages.
        8 => matches!(c.rest(), [0x60 | 0x6f | 0xa0 | 0xa1 | 5 | b'N', _, _, _, ..]),
        11 => c.rest().starts_with(b"r="),
        12 => c.rest().starts_with(b"v=") || c.rest().starts_with(b"e="),
        10 => {
            let Ok(first) = c.until(0) else { return false };
            let plain = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'-';
            first.len() >= 3 && first.iter().all(plain) && c.rest().last() == Some(&0)
        }
        // Redshift's digest of a password.
        13 => digest(&mut c).is_some(),
        _ => false,
    }
}

/// Redshift's digest request: a known algorithm, a salt, and with newer servers a nonce and a number.
fn digest(c: &mut Cursor<'_>) -> Option<()> {
    let known = c.u32_be().ok()? <= 2;
    random(c)?;
    if !c.is_empty() {
        random(c)?;
    }
    (known && c.left() <= 8).then_some(())
}

/// Bytes behind their length; of small numbers half are zero.
fn random(c: &mut Cursor<'_>) -> Option<()> {
    let length = usize::try_from(c.u32_be().ok()?).ok()?;
    let random = c.take(length).ok()?;
    (length >= 4 && random.iter().filter(|b| **b != 0).count() > length / 2).then_some(())
}

/// Body of `NegotiateProtocolVersion`.
fn negotiate(body: &[u8]) -> bool {
    let mut c = Cursor::new(body);
    let (Ok(minor), Ok(options)) = (c.u32_be(), c.u32_be()) else { return false };
    // Either the bare minor version or 3.x in full, as servers differ.
    let version = matches!(minor.to_be_bytes(), [0, 0 | 3, _, _]);
    // As many names, each behind the other.
    let mut told = || c.peek().is_ok_and(|first| first != 0) && name(&mut c).is_some();
    version && options <= 64 && (0..options).all(|_| told()) && c.is_empty()
}

/// A NUL-terminated name, perhaps empty.
fn name(c: &mut Cursor<'_>) -> Option<()> {
    sql::is_text(c.until(0).ok()?).then_some(())
}

fn bind(c: &mut Cursor<'_>) -> Option<u32> {
    name(c)?;
    name(c)?;
    formats(c)?;
    let values = c.u16_be().ok()?;
    for _ in 0..values {
        value(c)?;
    }
    formats(c)?;
    Some(3)
}

fn row_description(c: &mut Cursor<'_>) -> Option<u32> {
    let columns = c.u16_be().ok()?;
    for _ in 0..columns {
        name(c)?;
        // Table, attribute, type, size and modifier, then the format.
        c.skip(16).ok()?;
        if c.u16_be().ok()? > 1 {
            return None;
        }
    }
    Some(if columns == 0 { 1 } else { PROOF })
}

fn data_row(c: &mut Cursor<'_>) -> Option<u32> {
    let columns = c.u16_be().ok()?;
    for _ in 0..columns {
        value(c)?;
    }
    Some(if columns == 0 { 1 } else { 2 })
}

fn copy_response(c: &mut Cursor<'_>) -> Option<u32> {
    (c.u8().ok()? <= 1).then_some(())?;
    formats(c)?;
    Some(2)
}

/// A counted list of format codes: 0 text, 1 binary.
fn formats(c: &mut Cursor<'_>) -> Option<()> {
    let count = c.u16_be().ok()?;
    for _ in 0..count {
        (c.u16_be().ok()? <= 1).then_some(())?;
    }
    Some(())
}

/// A value behind its length; -1 is NULL.
fn value(c: &mut Cursor<'_>) -> Option<()> {
    let length = c.u32_be().ok()?;
    if length == u32::MAX {
        return Some(());
    }
    c.skip(usize::try_from(length).ok()?).ok()
}

/// Points that prove the protocol.
const PROOF: u32 = 4;
const FRONTEND: &[u8] = b"QPBDECSHXdcfp";
const BACKEND: &[u8] = b"ZT12CDSnstIcAGHWKNERvd3";
const COMPLETION: &[u8] = b"CZ";
/// A longer first message is passed over when joining late; it would fill the prefix anyway.
const MESSAGE_BYTES_MAX: usize = 1 << 16;
const OPENING_BYTES_MAX: usize = 8192;
const FIELDS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Length that proved it, `None` while open, `Some(0)` when broken.
    fn length(answer: Result<Option<usize>, Short>) -> Option<usize> {
        answer.ok().map(Option::unwrap_or_default)
    }

    #[test]
    fn the_client_needs_a_statement_or_a_chain() {
        let cases: &[(&[u8], Option<usize>)] = &[
            (b"Q\0\0\0\x0dSELECT 1\0", Some(14)),
            (b"Q\0\0\0\x0dSELECT 1", None),
            (b"Q\0\0\0\x0dSELECT\x01\x01\0", Some(0)),
            (b"Q\0\0\0\x0eSELECT 1\0\0", Some(0)),
            (b"Q\0\0\0\x0dhunter 22\0", Some(0)),
            (b"Q\0\0\0\x0dhunter22\0", None),
            (b"X\0\0\0\x04", None),
            (b"S\0\0\0\x04X\0\0\0\x04", Some(10)),
            (b"P\0\0\0\x0a\0ok\0\0\0S\0\0\0\x04", Some(16)),
            (b"D\0\0\0\x06P\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04", Some(17)),
            (b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0", Some(23)),
            (b"GET / HTTP/1.1\r\n\r\n", Some(0)),
            (b"QUIT\r\n", Some(0)),
            (b"P\xff\xff\xff\xff", Some(0)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(length(client(bytes)), *expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_server_needs_a_chain() {
        let row = b"T\0\0\0\x1e\0\x01count\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0";
        let cases: &[(&[u8], Option<usize>)] = &[
            (row, Some(31)),
            (b"Z\0\0\0\x05I", None),
            (b"Z\0\0\0\x05X", Some(0)),
            (b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I", Some(18)),
            (b"1\0\0\0\x042\0\0\0\x04", Some(10)),
            (b"D\0\0\0\x0b\0\x01\0\0\0\x011D\0\0\0\x0a\0\x01\xff\xff\xff\xff", Some(23)),
            (b"D\0\0\0\x0c\0\x01\0\0\0\x011D", Some(0)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(0)),
            (b"+OK ready\r\n", Some(0)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(length(server(bytes)), *expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_view_that_begins_inside_a_row_finds_the_next_completion() {
        let bytes = b"C of a row C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";
        assert_eq!(server_anywhere(bytes), Some((11, 20)));
        for end in 0..bytes.len() {
            assert_eq!(server_anywhere(&bytes[..end]), None);
        }
    }
}
