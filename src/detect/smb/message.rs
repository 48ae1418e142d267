//! Headers: `NetBIOS` session service, SMB 1, SMB 2, transform, compression.
use super::super::{exchange::magic, nbns::netbios_name};
use crate::{
    bytes::{Cursor, Short},
    model::Side,
};

/// One packet of the session service.
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Bytes of the packet, header included.
    pub(super) length: usize,
    /// Bytes that prove it.
    pub(super) proof: usize,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    SessionRequest,
    SessionTaken,
    SessionRefused,
    KeepAlive,
    Smb1 { command: u8, status: u32 },
    Smb2 { command: u16, status: u32 },
    Transform,
    Compressed,
}

impl Frame {
    /// Whether it holds an SMB message.
    pub(super) const fn is_message(&self) -> bool {
        matches!(
            self.kind,
            Kind::Smb1 { .. } | Kind::Smb2 { .. } | Kind::Transform | Kind::Compressed
        )
    }

    pub(super) const fn rule(&self, side: Side) -> &'static str {
        match (self.is_message(), side) {
            (true, Side::Client) => "smb.request",
            (true, Side::Server) => "smb.response",
            (false, _) => "smb.netbios-session",
        }
    }

    pub(super) const fn constant(&self) -> &'static str {
        match self.kind {
            Kind::SessionRequest => "NetBIOS 81",
            Kind::SessionTaken => "NetBIOS 82",
            Kind::SessionRefused => "NetBIOS 83",
            Kind::KeepAlive => "NetBIOS 85",
            Kind::Smb1 { .. } => "FF SMB",
            Kind::Smb2 { .. } => "FE SMB",
            Kind::Transform => "FD SMB",
            Kind::Compressed => "FC SMB",
        }
    }
}

/// Reads up to the end of the header; `None`: it is no packet that this side sends.
pub(super) fn frame(side: Side, c: &mut Cursor<'_>) -> Result<Option<Frame>, Short> {
    let kind = match (c.u8()?, side) {
        (0, _) => return message(side, c),
        (0x81, Side::Client) => Kind::SessionRequest,
        (0x82, Side::Server) => Kind::SessionTaken,
        (0x83, Side::Server) => Kind::SessionRefused,
        (0x85, _) => Kind::KeepAlive,
        _ => return Ok(None),
    };
    let fits = match kind {
        Kind::SessionRequest => {
            let length = c.u24_be()?;
            (NAMES_BYTES..=NAMES_BYTES_MAX).contains(&length)
                && netbios_name(c)?
                && netbios_name(c)?
        }
        Kind::SessionTaken | Kind::KeepAlive => magic(c, &[0, 0, 0])?,
        _ => magic(c, &[0, 0, 1])? && matches!(c.u8()?, 0x80..=0x83 | 0x8f),
    };
    Ok(fits.then(|| Frame { kind, length: c.at(), proof: c.at() }))
}

fn message(side: Side, c: &mut Cursor<'_>) -> Result<Option<Frame>, Short> {
    let size = usize::try_from(c.u24_be()?).unwrap_or(usize::MAX);
    if size < SMALLEST_BYTES {
        return Ok(None);
    }
    let protocol = c.u8()?;
    if !(0xfc..=0xff).contains(&protocol) || !magic(c, b"SMB")? {
        return Ok(None);
    }
    let kind = match protocol {
        0xff => smb1(side, c)?,
        0xfe => smb2(side, c)?,
        0xfd => transform(size, c)?,
        _ => compressed(c)?,
    };
    let length = size.saturating_add(4);
    Ok(kind.map(|kind| Frame { kind, length, proof: c.at() }).filter(|f| f.proof <= length))
}

/// SMB 1 header of 32 bytes ([MS-CIFS] section 2.2.3.1).
fn smb1(side: Side, c: &mut Cursor<'_>) -> Result<Option<Kind>, Short> {
    let (command, status, flags) = (c.u8()?, c.u32_le()?, c.u8()?);
    let from_server = flags & 0x80 != 0;
    c.skip(22)?;
    Ok((from_server == (side == Side::Server)).then_some(Kind::Smb1 { command, status }))
}

/// SMB 2 header of 64 bytes ([MS-SMB2] section 2.2.1).
fn smb2(side: Side, c: &mut Cursor<'_>) -> Result<Option<Kind>, Short> {
    if !magic(c, &[64, 0])? {
        return Ok(None);
    }
    let (_charge, status, command) = (c.u16_le()?, c.u32_le()?, c.u16_le()?);
    let (_credits, flags) = (c.u16_le()?, c.u32_le()?);
    let from_server = flags & 1 != 0;
    if command > LAST_COMMAND || from_server != (side == Side::Server) {
        return Ok(None);
    }
    c.skip(44)?;
    Ok(Some(Kind::Smb2 { command, status }))
}

/// Transform header of 52 bytes ([MS-SMB2] section 2.2.41).
fn transform(size: usize, c: &mut Cursor<'_>) -> Result<Option<Kind>, Short> {
    c.skip(32)?;
    let original = usize::try_from(c.u32_le()?).unwrap_or(usize::MAX);
    let (reserved, flags) = (c.u16_le()?, c.u16_le()?);
    c.skip(8)?;
    let fits = reserved == 0 && flags == 1 && original.saturating_add(TRANSFORM_BYTES) == size;
    Ok(fits.then_some(Kind::Transform))
}

/// Compression header of 16 bytes ([MS-SMB2] section 2.2.42).
fn compressed(c: &mut Cursor<'_>) -> Result<Option<Kind>, Short> {
    let (original, algorithm, chained) = (c.u32_le()?, c.u16_le()?, c.u16_le()?);
    c.skip(4)?;
    let fits = original <= ORIGINAL_BYTES_MAX && algorithm <= 5 && chained <= 1;
    Ok(fits.then_some(Kind::Compressed))
}

/// Two encoded names without a scope, and with one.
const NAMES_BYTES: u32 = 68;
const NAMES_BYTES_MAX: u32 = 510;
const SMALLEST_BYTES: usize = 20;
const TRANSFORM_BYTES: usize = 52;
const ORIGINAL_BYTES_MAX: u32 = 1 << 24;
const LAST_COMMAND: u16 = 0x13;
