//! The types of RESP2 and RESP3. <https://redis.io/docs/latest/develop/reference/protocol-spec/>
use crate::bytes::{Cursor, Short};

/// Why something could not be read.
pub(super) enum Flaw {
    Short,
    Bad,
}

impl From<Short> for Flaw {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

pub(super) type Read<T> = Result<T, Flaw>;

/// One RESP type, without what follows its line.
pub(super) enum Head<'a> {
    /// `+` or `-`.
    Text(u8, &'a [u8]),
    /// Number, boolean, null.
    Scalar,
    /// A string of this length.
    Blob(usize),
    /// So many children.
    Aggregate(u32),
    /// So many children that come before the reply they describe.
    Attribute(u32),
}

pub(super) fn head<'a>(cursor: &mut Cursor<'a>) -> Read<Head<'a>> {
    let kind = cursor.u8()?;
    Ok(match kind {
        b'+' | b'-' => Head::Text(kind, text(cursor)?),
        b':' => number(cursor).map(|_| Head::Scalar)?,
        b',' | b'(' | b'#' | b'_' => match (kind, text(cursor)?) {
            (b'_', b"") | (b'#', b"t" | b"f") | (b',', b"inf" | b"-inf" | b"nan") => Head::Scalar,
            (b',' | b'(', digits @ [b'-' | b'+' | b'0'..=b'9', ..])
                if digits.iter().all(|b| b"+-.eE0123456789".contains(b)) =>
            {
                Head::Scalar
            }
            _ => return Err(Flaw::Bad),
        },
        b'$' | b'=' | b'!' => blob(number(cursor)?)?.map_or(Head::Scalar, Head::Blob),
        b'*' | b'~' | b'>' => count(number(cursor)?)?.map_or(Head::Scalar, Head::Aggregate),
        b'%' | b'|' => {
            let pairs = count(number(cursor)?)?.ok_or(Flaw::Bad)?;
            let children = pairs.saturating_mul(2);
            if kind == b'%' { Head::Aggregate(children) } else { Head::Attribute(children) }
        }
        _ => return Err(Flaw::Bad),
    })
}

/// A line of printable text. `+ ` is an IMAP or POP3 continuation.
fn text<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let rest = cursor.rest();
    let line = cursor.line();
    let seen = line.unwrap_or(rest);
    let control = |b: &u8| b.is_ascii_control() && *b != b'\t' && *b != b'\r';
    if seen.first() == Some(&b' ') || seen.iter().any(control) {
        return Err(Flaw::Bad);
    }
    let crlf = rest.get(seen.len()) == Some(&b'\r');
    line.map_err(Flaw::from).and_then(|line| if crlf { Ok(line) } else { Err(Flaw::Bad) })
}

/// Decimal digits and CRLF.
pub(super) fn number(cursor: &mut Cursor<'_>) -> Read<i64> {
    let negative = cursor.peek()? == b'-';
    cursor.skip(usize::from(negative))?;
    let mut value = 0_i64;
    for at in 0..=DIGITS_MAX {
        match cursor.u8()? {
            digit @ b'0'..=b'9' => {
                let digit = i64::from(digit.saturating_sub(b'0'));
                value = value.saturating_mul(10).saturating_add(digit);
            }
            b'\r' if at > 0 && cursor.u8()? == b'\n' => {
                return Ok(if negative { value.saturating_neg() } else { value });
            }
            _ => break,
        }
    }
    Err(Flaw::Bad)
}

/// A sane length; `None` is the null of RESP2.
fn blob(length: i64) -> Read<Option<usize>> {
    match usize::try_from(length) {
        Ok(length) if length <= BLOB_BYTES_MAX => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        _ => Err(Flaw::Bad),
    }
}

/// A sane number of children; `None` is the null of RESP2.
pub(super) fn count(children: i64) -> Read<Option<u32>> {
    match u32::try_from(children) {
        Ok(children) if children <= CHILDREN_MAX => Ok(Some(children)),
        Err(_) if children == -1 => Ok(None),
        _ => Err(Flaw::Bad),
    }
}

/// Reads `$L` of a request.
pub(super) fn bulk_length(cursor: &mut Cursor<'_>) -> Read<usize> {
    let b'$' = cursor.u8()? else { return Err(Flaw::Bad) };
    blob(number(cursor)?)?.ok_or(Flaw::Bad)
}

/// Reads a string and the CRLF behind it.
pub(super) fn body<'a>(cursor: &mut Cursor<'a>, length: usize) -> Read<&'a [u8]> {
    let body = cursor.take(length)?;
    if cursor.u8()? == b'\r' && cursor.u8()? == b'\n' { Ok(body) } else { Err(Flaw::Bad) }
}

const DIGITS_MAX: usize = 20;
/// `proto-max-bulk-len`.
const BLOB_BYTES_MAX: usize = 512 << 20;
const CHILDREN_MAX: u32 = 1 << 24;
