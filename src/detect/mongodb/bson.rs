//! BSON documents, as far as top-level elements. <https://bsonspec.org/spec.html>
use super::super::frames::{Flaw, Read, graphic, need};
use crate::bytes::{Cursor, Short};

/// Checks how a document of at most `room` bytes begins: its length, and the type and name of its first element.
pub(super) fn opening(cursor: &mut Cursor<'_>, room: usize) -> Read<()> {
    let length = usize::try_from(cursor.u32_le()?).map_err(|_| Flaw::Bad)?;
    need((DOCUMENT_BYTES_MIN..=room).contains(&length))?;
    let kind = cursor.u8()?;
    if kind == 0 {
        return need(length == DOCUMENT_BYTES_MIN);
    }
    need(matches!(kind, 1..=0x13 | 0x7f | 0xff))?;
    let name = name(cursor)?;
    need(!name.is_empty() && name.len().saturating_add(DOCUMENT_BYTES_MIN) < length)
}

/// A readable name up to its NUL.
pub(super) fn name<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let rest = cursor.rest();
    let shown = rest.get(..NAME_BYTES_MAX).unwrap_or(rest);
    let end = shown.iter().position(|b| *b == 0);
    let text = shown.get(..end.unwrap_or(shown.len())).unwrap_or(shown);
    need(text.iter().all(|b| graphic(b) || *b == b' ' || *b >= 0x80))?;
    need(end.is_some() || shown.len() < NAME_BYTES_MAX)?;
    let name = cursor.take(end.ok_or(Short)?)?;
    cursor.skip(1)?;
    Ok(name)
}

/// One element of a document.
pub(super) struct Element<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Element<'a> {
    /// The text of a string.
    pub(super) fn text(&self) -> &'a [u8] {
        let text = self.value.get(4..).unwrap_or_default();
        text.strip_suffix(&[0]).unwrap_or(text)
    }

    /// A 32-bit number.
    pub(super) fn number(&self) -> u32 {
        self.value.first_chunk().copied().map_or(0, u32::from_le_bytes)
    }
}

/// The elements of a document, as far as they can be seen.
pub(super) fn elements(document: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let end = Cursor::new(document).u32_le().map_or(0, |n| usize::try_from(n).unwrap_or(0));
    let shown = document.get(..end).unwrap_or(document);
    let mut cursor = Cursor::new(shown.get(4..).unwrap_or_default());
    std::iter::from_fn(move || element(&mut cursor).ok()).take(ELEMENTS_MAX)
}

fn element<'a>(cursor: &mut Cursor<'a>) -> Read<Element<'a>> {
    let kind = cursor.u8()?;
    need(kind != 0)?;
    let name = name(cursor)?;
    let mut ahead = *cursor;
    let length = |ahead: &mut Cursor<'_>| -> Read<usize> {
        usize::try_from(ahead.u32_le()?).map_err(|_| Flaw::Bad)
    };
    let bytes = match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x02 | 0x0d | 0x0e => length(&mut ahead)?.saturating_add(4),
        0x03 | 0x04 | 0x0f => length(&mut ahead)?,
        0x05 => length(&mut ahead)?.saturating_add(5),
        0x06 | 0x0a | 0x7f | 0xff => 0,
        0x07 => 12,
        0x08 => 1,
        0x0b => {
            ahead.until(0)?;
            ahead.until(0)?;
            ahead.at().saturating_sub(cursor.at())
        }
        0x10 => 4,
        0x13 => 16,
        _ => return Err(Flaw::Bad),
    };
    Ok(Element { name, value: cursor.take(bytes)? })
}

/// An empty one.
pub(super) const DOCUMENT_BYTES_MIN: usize = 5;
const NAME_BYTES_MAX: usize = 256;
const ELEMENTS_MAX: usize = 64;
