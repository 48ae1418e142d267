//! QUIC packets as far as they are in clear. RFC 8999 (what all versions share), RFC 9000 section 17, RFC 9369.

use crate::bytes::{Cursor, Short};

/// A version field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicVersion(pub u32);

impl QuicVersion {
    /// The field of a Version Negotiation packet.
    pub const NEGOTIATION: Self = Self(0);

    /// Name, or `None` for a version whose packets we do not know.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(version, _)| *version == self.0).map(|(_, name)| *name)
    }

    /// Reserved to exercise version negotiation (RFC 9000 section 15).
    pub const fn is_reserved(self) -> bool {
        self.0 & 0x0f0f_0f0f == 0x0a0a_0a0a
    }

    /// Whether long packet types have the values of version 2 (RFC 9369 section 3.2).
    pub const fn has_types_of_v2(self) -> bool {
        matches!(self.0, 0x6b33_43cf | 0x709a_50c4)
    }
}

/// Versions with the long header of RFC 9000: IETF versions and drafts, mvfst, and Google's last ones.
const NAMES: [(u32, &str); 23] = [
    (0x0000_0001, "version 1"),
    (0x6b33_43cf, "version 2"),
    (0x709a_50c4, "version 2 draft-01"),
    (0xff02_0000, "version 2 draft-00"),
    (0xff00_0016, "draft-22"),
    (0xff00_0017, "draft-23"),
    (0xff00_0018, "draft-24"),
    (0xff00_0019, "draft-25"),
    (0xff00_001a, "draft-26"),
    (0xff00_001b, "draft-27"),
    (0xff00_001c, "draft-28"),
    (0xff00_001d, "draft-29"),
    (0xff00_001e, "draft-30"),
    (0xff00_001f, "draft-31"),
    (0xff00_0020, "draft-32"),
    (0xff00_0021, "draft-33"),
    (0xff00_0022, "draft-34"),
    (0xface_b001, "mvfst draft-22"),
    (0xface_b002, "mvfst draft-27"),
    (0xface_b00e, "mvfst experimental"),
    (0x5130_3530, "Q050"),
    (0x5430_3530, "T050"),
    (0x5430_3531, "T051"),
];

/// Type of a packet with a long header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongType {
    /// Carries the hellos, under keys that anyone can derive.
    Initial,
    /// Early data.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
    /// The server wants its token back first.
    Retry,
    /// The server's versions.
    Negotiation,
    /// Of a version we do not know.
    Other,
}

/// A long header.
#[derive(Clone, Copy)]
pub struct LongHeader<'a> {
    /// Version.
    pub version: QuicVersion,
    /// Type.
    pub kind: LongType,
    /// The fixed bit, which a peer may be allowed to leave out (RFC 9287).
    pub fixed: bool,
    /// Destination connection ID.
    pub destination: &'a [u8],
    /// Source connection ID.
    pub source: &'a [u8],
    /// Where the packet number begins (or what follows the connection IDs, where there is none).
    pub number_at: usize,
    /// Where the packet ends: the datagram's end unless a length says otherwise, and perhaps beyond what was captured.
    pub end: usize,
}

impl std::fmt::Debug for LongHeader<'_> {
    /// No wire bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LongHeader")
            .field("version", &self.version)
            .field("kind", &self.kind)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<'a> LongHeader<'a> {
    /// Reads the header at the start of `bytes`, of which there are `whole` in the datagram. `None`: it is none.
    pub fn read(bytes: &'a [u8], whole: usize) -> Result<Option<Self>, Short> {
        let mut cursor = Cursor::new(bytes);
        let first = cursor.u8()?;
        if first & LONG == 0 {
            return Ok(None);
        }
        let version = QuicVersion(cursor.u32_be()?);
        let known = version.name().is_some();
        let fixed = first & FIXED != 0;
        let kind = match first >> 4 & 3 {
            _ if version == QuicVersion::NEGOTIATION => LongType::Negotiation,
            _ if !known => LongType::Other,
            bits if version.has_types_of_v2() => long_type(bits.wrapping_sub(1) & 3),
            bits => long_type(bits),
        };
        let Some(destination) = connection_id(&mut cursor)? else { return Ok(None) };
        let Some(source) = connection_id(&mut cursor)? else { return Ok(None) };
        if kind == LongType::Initial {
            let token = varint(&mut cursor)?;
            if token > whole {
                return Ok(None);
            }
            cursor.skip(token)?;
        }
        let end = match kind {
            LongType::Initial | LongType::ZeroRtt | LongType::Handshake => {
                let length = varint(&mut cursor)?;
                if !(PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&length) {
                    return Ok(None);
                }
                cursor.at().saturating_add(length)
            }
            _ => whole,
        };
        let number_at = cursor.at();
        Ok(Some(Self { version, kind, fixed, destination, source, number_at, end }))
    }
}

const fn long_type(bits: u8) -> LongType {
    match bits {
        0 => LongType::Initial,
        1 => LongType::ZeroRtt,
        2 => LongType::Handshake,
        _ => LongType::Retry,
    }
}

fn connection_id<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Short> {
    let length = usize::from(cursor.u8()?);
    if length > CONNECTION_ID_BYTES_MAX { Ok(None) } else { cursor.take(length).map(Some) }
}

/// A variable-length integer (RFC 9000 section 16), as a length or an offset.
pub fn varint(cursor: &mut Cursor<'_>) -> Result<usize, Short> {
    let first = cursor.peek()?;
    let value = match first >> 6 {
        0 => u64::from(cursor.u8()?),
        1 => u64::from(cursor.u16_be()? & 0x3fff),
        2 => u64::from(cursor.u32_be()? & 0x3fff_ffff),
        _ => cursor.u64_be()? & 0x3fff_ffff_ffff_ffff,
    };
    Ok(usize::try_from(value).unwrap_or(usize::MAX))
}

/// Header form: long.
pub const LONG: u8 = 0x80;
/// Fixed bit.
pub const FIXED: u8 = 0x40;
/// A client's datagram with an Initial packet has at least so many bytes (RFC 9000 section 14.1).
pub const INITIAL_DATAGRAM_BYTES_MIN: usize = 1200;
const CONNECTION_ID_BYTES_MAX: usize = 20;
/// Packet number, one byte, and the tag of the AEAD.
const PACKET_BYTES_MIN: usize = 18;
const PACKET_BYTES_MAX: usize = 0xffff;
