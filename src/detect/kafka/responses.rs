//! Responses that prove themselves: lists of API versions, of brokers, of SASL mechanisms, and batches of records.
use super::super::frames::{self, Flaw, Read, hostname, need, tag};
use super::requests::{API_VERSIONS, array, uvarint};
use crate::bytes::Cursor;

/// A response that could be told without its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    ApiVersions,
    SaslHandshake,
    Metadata,
    Records,
}

impl Response {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ApiVersions => "ApiVersions",
            Self::SaslHandshake => "SaslHandshake",
            Self::Metadata => "Metadata",
            Self::Records => "RecordBatch",
        }
    }

    /// Whether only clients that are logged in get it.
    pub(super) const fn is_data(self) -> bool {
        matches!(self, Self::Metadata | Self::Records)
    }
}

/// Recognises a response; returns the bytes that prove it.
pub(super) fn alone(bytes: &[u8]) -> Read<(usize, Response)> {
    let mut cursor = Cursor::new(bytes);
    let size = frames::length(&mut cursor, 6, BYTES_MAX)?;
    need(cursor.peek()? < 0x80)?;
    cursor.skip(4)?;
    let whole = size.saturating_add(4);
    let mut open = false;
    for (response, read) in READERS {
        let mut cursor = cursor;
        match read(&mut cursor, whole) {
            Ok(()) if cursor.at() <= whole => return Ok((cursor.at(), *response)),
            Err(Flaw::Short) if bytes.len() < whole => open = true,
            _ => {}
        }
    }
    let shown = bytes.get(..whole.min(bytes.len())).unwrap_or(bytes);
    let mut at = cursor.at();
    while let Some(rest) = shown.get(at..).filter(|_| at < SCAN_BYTES_MAX) {
        let mut cursor = Cursor::new(rest);
        let told = is_told(shown.get(..at).unwrap_or_default(), rest);
        match batch(&mut cursor, whole.saturating_sub(at)) {
            Ok(()) if !told => at = at.saturating_add(1),
            Ok(()) => return Ok((at.saturating_add(cursor.at()), Response::Records)),
            Err(Flaw::Short) => break,
            Err(_) => at = at.saturating_add(1),
        }
    }
    open |= bytes.len() < whole.min(SCAN_BYTES_MAX.saturating_add(BATCH_BYTES));
    Err(if open { Flaw::Short } else { Flaw::Weak })
}

type Reader = fn(&mut Cursor<'_>, usize) -> Read<()>;

static READERS: &[(Response, Reader)] = &[
    (Response::ApiVersions, |cursor, whole| api_versions(cursor, whole, false)),
    (Response::ApiVersions, |cursor, whole| api_versions(cursor, whole, true)),
    (Response::SaslHandshake, |cursor, _| mechanisms(cursor)),
    (Response::Metadata, |cursor, _| broker(cursor, false)),
    (Response::Metadata, |cursor, _| {
        frames::length(cursor, 0, THROTTLE_MS_MAX)?;
        broker(cursor, false)
    }),
    (Response::Metadata, |cursor, _| {
        tag(cursor, &[0])?;
        frames::length(cursor, 0, THROTTLE_MS_MAX)?;
        broker(cursor, true)
    }),
];

/// Triples of key, oldest and newest version; their number fits the length.
fn api_versions(cursor: &mut Cursor<'_>, whole: usize, compact: bool) -> Read<()> {
    need(matches!(cursor.u16_be()?, 0 | 35))?;
    let apis = array(cursor, compact)?;
    let each = if compact { 7 } else { 6 };
    need((1..=APIS_MAX).contains(&apis))?;
    let end = cursor.at().saturating_add(apis.saturating_mul(each));
    // Behind it: throttle time, tagged fields.
    let behind = if compact { 4..=TAGGED_BYTES_MAX } else { 0..=4 };
    need(behind.contains(&whole.saturating_sub(end)) && end <= whole)?;
    for _ in 0..apis {
        let (key, oldest, newest) = (cursor.u16_be()?, cursor.u16_be()?, cursor.u16_be()?);
        need(key <= KEY_MAX && oldest <= newest && newest <= VERSION_MAX)?;
        if compact {
            tag(cursor, &[0])?;
        }
        // Whoever answers this request lists it: small numbers alone may be anything.
        if key == API_VERSIONS {
            return need(apis >= 2);
        }
    }
    Err(Flaw::Bad)
}

fn mechanisms(cursor: &mut Cursor<'_>) -> Read<()> {
    need(matches!(cursor.u16_be()?, 0 | 33))?;
    frames::length(cursor, 1, MECHANISMS_MAX)?;
    let length = usize::from(cursor.u16_be()?);
    need((5..=32).contains(&length))?;
    let name = cursor.take(length)?;
    need(MECHANISMS.contains(&name))
}

/// A list of brokers begins: id, host, port.
fn broker(cursor: &mut Cursor<'_>, compact: bool) -> Read<()> {
    need((1..=BROKERS_MAX).contains(&array(cursor, compact)?))?;
    cursor.skip(4)?;
    let length =
        if compact { uvarint(cursor)?.saturating_sub(1) } else { usize::from(cursor.u16_be()?) };
    need((3..=255).contains(&length))?;
    frames::all(cursor, length, hostname)?;
    tag(cursor, &[0, 0])?;
    need(cursor.u16_be()? > 0)
}

/// Whether the length of the records stands before a batch: four bytes, or one of variable length.
fn is_told(before: &[u8], batch: &[u8]) -> bool {
    let Some(length) = batch.get(8..12).and_then(|b| b.first_chunk::<4>()) else { return false };
    let least = u32::from_be_bytes(*length).saturating_add(12);
    let fixed = before.last_chunk::<4>().is_some_and(|told| u32::from_be_bytes(*told) >= least);
    let variable = match before {
        [.., a, b] if *a >= 0x80 && *b < 0x80 => u32::from(*b) << 7 | u32::from(a & 0x7f),
        [.., b] => u32::from(*b),
        [] => 0,
    };
    // Three bytes and more tell as much as their last.
    let long = matches!(before, [.., a, b, c] if *a >= 0x80 && *b >= 0x80 && *c < 0x80);
    fixed || long || variable > least
}

/// The header of a record batch of magic 2.
fn batch(cursor: &mut Cursor<'_>, room: usize) -> Read<()> {
    need(cursor.u64_be()? <= i64::MAX.unsigned_abs())?;
    let length = usize::try_from(cursor.u32_be()?).map_err(|_| Flaw::Bad)?;
    need((BATCH_BYTES.saturating_sub(12)..=room).contains(&length))?;
    cursor.skip(4)?;
    tag(cursor, &[2])?;
    need(is_checksum(cursor.array()?))?;
    need(cursor.u16_be()? < 0x80)?;
    let last = cursor.u32_be()?;
    let (first, newest) = (cursor.u64_be()?, cursor.u64_be()?);
    need((TIME_MS_MIN..TIME_MS_MAX).contains(&first) && (first..TIME_MS_MAX).contains(&newest))?;
    cursor.skip(14)?;
    // Compacted batches have fewer records than offsets.
    let records = cursor.u32_be()?;
    need((1..=last.saturating_add(1)).contains(&records) && last < RECORDS_MAX)
}

/// Whether four bytes are as varied as those of a CRC, which zeros and small numbers are not (of a CRC one in a thousand).
fn is_checksum(bytes: [u8; 4]) -> bool {
    let small = bytes.iter().filter(|byte| **byte < 0x10).count();
    small <= 2 && bytes.iter().filter(|byte| **byte > 0).count() >= 3
}

/// `fetch.max.bytes` and more.
pub(super) const BYTES_MAX: u32 = 256 << 20;
const SCAN_BYTES_MAX: usize = 512;
const BATCH_BYTES: usize = 61;
const THROTTLE_MS_MAX: u32 = 3_600_000;
const APIS_MAX: usize = 300;
const KEY_MAX: u16 = 1000;
const VERSION_MAX: u16 = 64;
const TAGGED_BYTES_MAX: usize = 2048;
const MECHANISMS_MAX: u32 = 16;
const BROKERS_MAX: usize = 4096;
const RECORDS_MAX: u32 = 1 << 24;
/// 2010 and 2060.
const TIME_MS_MIN: u64 = 1_262_304_000_000;
const TIME_MS_MAX: u64 = 2_840_140_800_000;
static MECHANISMS: &[&[u8]] =
    &[b"PLAIN", b"GSSAPI", b"SCRAM-SHA-256", b"SCRAM-SHA-512", b"OAUTHBEARER", b"AWS_MSK_IAM"];
