//! Packets of Transparent Network Substrate, and the negotiation of native encryption inside them.
use super::super::store::{Flaw, Read, byte, expect, need, size};
use crate::bytes::Cursor;

/// Type and body length of a packet. From version 315 on lengths after ACCEPT have 32 bits, in place of the checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) kind: u8,
    pub(super) body: usize,
}

impl Packet {
    /// Reads a header. No packet of 64 KiB or more is short: two zero bytes first tell the long form.
    pub(super) fn read(c: &mut Cursor<'_>, kinds: &[u8]) -> Read<Self> {
        let first = c.u16_be()?;
        let second = c.u16_be()?;
        let length = match (first, second) {
            (0, _) => usize::from(second),
            // The checksum is never used.
            (_, 0) => usize::from(first),
            (1..=0x1f, _) => size(u32::from(first) << 16 | u32::from(second)),
            _ => return Err(Flaw::Bad),
        };
        let kind = byte(c, |kind| kinds.contains(&kind))?;
        c.skip(1)?;
        expect(c, &[0, 0])?;
        Ok(Self { kind, body: length.checked_sub(HEADER_BYTES).ok_or(Flaw::Bad)? })
    }
}

/// CONNECT: versions, sizes, and where the connect data is, which may also come in a packet of its own.
pub(super) fn connect(c: &mut Cursor<'_>, body: usize) -> Read<()> {
    let start = *c;
    let version = versions(c)?;
    need(c.u16_be()? <= version)?;
    // Service options, session and transport data unit.
    c.skip(2)?;
    need(c.u16_be()? >= 128)?;
    need(c.u16_be()? >= 128)?;
    // Characteristics, line turnaround, the number one in hardware.
    c.skip(4)?;
    need(matches!(c.u16_be()?, 0x0001 | 0x0100))?;
    data(c, start, body, true)
}

/// ACCEPT: likewise, without a minimum version.
pub(super) fn accept(c: &mut Cursor<'_>, body: usize) -> Read<()> {
    let start = *c;
    need(body >= 16)?;
    versions(c)?;
    c.skip(6)?;
    need(matches!(c.u16_be()?, 0x0001 | 0x0100))?;
    data(c, start, body, false)
}

/// REFUSE: reasons of user and system, and a text in parentheses.
pub(super) fn refuse(c: &mut Cursor<'_>, body: usize) -> Read<()> {
    c.skip(2)?;
    let length = usize::from(c.u16_be()?);
    need(length == 0 && body == 4 || length.saturating_add(4) == body)?;
    if length > 0 { expect(c, b"(") } else { Ok(()) }
}

/// REDIRECT: the address to go to; a long one comes in a packet of its own.
pub(super) fn redirect(c: &mut Cursor<'_>, body: usize) -> Read<()> {
    let length = usize::from(c.u16_be()?);
    need(length >= 8 && (body == 2 || length.saturating_add(2) == body))?;
    if body > 2 { expect(c, b"(") } else { Ok(()) }
}

fn versions(c: &mut Cursor<'_>) -> Read<u16> {
    let version = c.u16_be()?;
    need((VERSION_MIN..=VERSION_MAX).contains(&version))?;
    Ok(version)
}

/// Length and offset of the data, counted from the header.
fn data(c: &mut Cursor<'_>, start: Cursor<'_>, body: usize, wanted: bool) -> Read<()> {
    let (length, offset) = (usize::from(c.u16_be()?), usize::from(c.u16_be()?));
    let whole = body.saturating_add(HEADER_BYTES);
    let end = offset.saturating_add(length);
    // Newer servers have more behind the data of ACCEPT.
    let inside = end == whole || !wanted && end < whole;
    need((24..=512).contains(&offset) && (inside || wanted && offset == whole))?;
    need(!wanted || length >= 8)?;
    if wanted && inside {
        let mut text = start;
        text.skip(offset.saturating_sub(HEADER_BYTES))?;
        expect(&mut text, b"(")?;
    }
    Ok(())
}

/// What native network encryption was offered or chosen: the algorithm first named, zero for none.
pub(super) fn negotiation(body: &[u8]) -> Option<u8> {
    let mut c = Cursor::new(body);
    expect(&mut c, MAGIC).ok()?;
    c.skip(6).ok()?;
    let services = c.u16_be().ok()?;
    c.skip(1).ok()?;
    for _ in 0..services.min(8) {
        let (service, parts) = (c.u16_be().ok()?, c.u16_be().ok()?);
        c.skip(4).ok()?;
        for _ in 0..parts.min(16) {
            let (length, kind) = (c.u16_be().ok()?, c.u16_be().ok()?);
            let value = c.take(usize::from(length)).ok()?;
            // A list of algorithms (raw bytes), or the one chosen (a byte).
            if service == ENCRYPTION && matches!((kind, value.len()), (1, 1..) | (2, 1)) {
                return value.first().copied();
            }
        }
    }
    None
}

/// Native negotiation begins a DATA packet so.
pub(super) const MAGIC: &[u8] = &[0xde, 0xad, 0xbe, 0xef];
const ENCRYPTION: u16 = 2;
const VERSION_MIN: u16 = 200;
const VERSION_MAX: u16 = 400;
pub(super) const HEADER_BYTES: usize = 8;

pub(super) const CONNECT: u8 = 1;
pub(super) const ACCEPT: u8 = 2;
pub(super) const REFUSE: u8 = 4;
pub(super) const REDIRECT: u8 = 5;
pub(super) const DATA: u8 = 6;
pub(super) const RESEND: u8 = 11;
pub(super) const MARKER: u8 = 12;
pub(super) const CONTROL: u8 = 14;
