//! DTLS records and the fragments in them. RFC 6347 section 4, RFC 9147 section 4 (plaintext records).

use crate::bytes::{Cursor, Short};

/// The thirteen bytes before the body of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsRecord {
    /// Content type.
    pub kind: u8,
    /// Record version.
    pub version: u16,
    /// Zero until `change_cipher_spec`.
    pub epoch: u16,
    /// Length of the body.
    pub length: usize,
}

impl DtlsRecord {
    /// Reads a header; `None` if it cannot be one.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, Short> {
        let kind = cursor.u8()?;
        if !matches!(kind, Self::CHANGE_CIPHER_SPEC..=Self::HEARTBEAT) {
            return Ok(None);
        }
        let version = cursor.u16_be()?;
        if !matches!(version, 0xfefd | 0xfeff | Self::BAD_VERSION) {
            return Ok(None);
        }
        let epoch = cursor.u16_be()?;
        let (high, _low) = (cursor.u16_be()?, cursor.u32_be()?);
        let length = usize::from(cursor.u16_be()?);
        let fits = epoch <= EPOCH_MAX && high <= SEQUENCE_HIGH_MAX && length <= LENGTH_MAX;
        let clear = epoch == 0;
        let sound = match kind {
            Self::CHANGE_CIPHER_SPEC if clear => matches!(length, 1 | 3),
            Self::ALERT if clear => length == 2,
            Self::HANDSHAKE if clear => length >= Fragment::BYTES,
            _ => !clear && length >= SEALED_BYTES_MIN,
        };
        Ok((fits && sound).then_some(Self { kind, version, epoch, length }))
    }

    /// `change_cipher_spec`.
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// `alert`.
    pub const ALERT: u8 = 21;
    /// `handshake`.
    pub const HANDSHAKE: u8 = 22;
    /// `application_data`.
    pub const APPLICATION_DATA: u8 = 23;
    const HEARTBEAT: u8 = 24;
    /// OpenSSL's version before there was a standard.
    pub const BAD_VERSION: u16 = 0x0100;
}

/// The twelve bytes before a fragment of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Message type.
    pub kind: u8,
    /// Length of the whole message.
    pub length: usize,
    /// Number of the message.
    pub number: u16,
    /// Where the fragment lies in the message.
    pub offset: usize,
    /// How long it is.
    pub bytes: usize,
}

impl Fragment {
    /// Size of the header on the wire.
    pub const BYTES: usize = 12;

    /// Reads a header; `None` if it cannot be one.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, Short> {
        let kind = cursor.u8()?;
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let length = size(cursor.u24_be()?);
        let number = cursor.u16_be()?;
        let (offset, bytes) = (size(cursor.u24_be()?), size(cursor.u24_be()?));
        let inside = offset.saturating_add(bytes) <= length;
        let fits = matches!(kind, 0..=5 | 8 | 11..=16 | 20..=25)
            && length <= MESSAGE_BYTES_MAX
            && number <= MESSAGES_MAX
            && inside
            && (bytes > 0 || length == 0);
        Ok(fits.then_some(Self { kind, length, number, offset, bytes }))
    }

    /// `client_hello`.
    pub const CLIENT_HELLO: u8 = 1;
    /// `server_hello`.
    pub const SERVER_HELLO: u8 = 2;
    /// `certificate`.
    pub const CERTIFICATE: u8 = 11;
    /// `server_key_exchange`.
    pub const SERVER_KEY_EXCHANGE: u8 = 12;
}

/// Renegotiations are rare, and 2^40 records in one epoch are not seen.
const EPOCH_MAX: u16 = 0xff;
const SEQUENCE_HIGH_MAX: u16 = 0xff;
const LENGTH_MAX: usize = (1 << 14) + 2048;
/// The shortest tag there is, or a nonce of its own.
const SEALED_BYTES_MIN: usize = 8;
const MESSAGE_BYTES_MAX: usize = 1 << 17;
const MESSAGES_MAX: u16 = 63;
