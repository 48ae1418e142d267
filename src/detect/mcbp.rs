//! The binary protocol of memcached, which Couchbase speaks too, with more of its own.
//! <https://github.com/memcached/memcached/wiki/BinaryProtocolRevamped>
use super::store::{self, Read, mark, need};
use super::{Facts, FollowState, Next, Step};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side},
};

/// Whose dialect a header is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Memcached,
    Couchbase,
}

/// The fixed part of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) dialect: Dialect,
    pub(super) opcode: u8,
    pub(super) key: usize,
    pub(super) extras: usize,
    /// Status of a response.
    pub(super) status: u16,
    pub(super) body: usize,
}

impl Header {
    /// Reads and checks the header of a packet from `side`.
    pub(super) fn read(c: &mut Cursor<'_>, side: Side) -> Read<Self> {
        let (plain, flexible, reverse) = match side {
            Side::Client => (0x80, 0x08, 0x83),
            Side::Server => (0x81, 0x18, 0x82),
        };
        let magic = store::byte(c, |magic| [plain, flexible, reverse].contains(&magic))?;
        let opcode = store::byte(c, |opcode| is_common(opcode) || is_couchbase(opcode))?;
        let first = c.u8()?;
        let second = c.u8()?;
        // A flexible frame gives half of the key's length to its framing extras.
        let (framing, key) = if magic == flexible {
            (first, u16::from(second))
        } else {
            (0, u16::from_be_bytes([first, second]))
        };
        need(key <= KEY_BYTES_MAX)?;
        let extras = store::byte(c, |extras| extras <= EXTRAS_BYTES_MAX)?;
        let datatype = store::byte(c, |datatype| datatype <= 7)?;
        let status = c.u16_be()?;
        // Of a request: the virtual bucket, of which Couchbase has at most 1024.
        let own = magic != plain || datatype != 0 || is_couchbase(opcode);
        let own = own || side == Side::Client && status != 0;
        need(match side {
            Side::Client => status < 1024,
            Side::Server => status < 0x100 || magic == reverse,
        })?;
        let body = c.u32_be()?;
        need(body <= BODY_BYTES_MAX)?;
        let dialect = if own { Dialect::Couchbase } else { Dialect::Memcached };
        let (key, extras, body) = (usize::from(key), usize::from(extras), store::size(body));
        let header = Self { dialect, opcode, key, extras, status, body };
        let value =
            body.checked_sub(key.saturating_add(extras).saturating_add(usize::from(framing)));
        need(value.is_some_and(|value| match side {
            _ if is_couchbase(opcode) || magic == reverse => header.fits_couchbase(value),
            Side::Client => header.is_request(value),
            Side::Server => header.is_response(value),
        }))?;
        // Opaque and check-and-set value.
        c.skip(12)?;
        Ok(header)
    }

    /// What each request of memcached has and has not.
    const fn is_request(&self, value: usize) -> bool {
        let (keyed, empty) = (self.key > 0, value == 0);
        match self.opcode {
            0x00 | 0x04 | 0x09 | 0x0c | 0x0d | 0x14 => self.extras == 0 && keyed && empty,
            0x01..=0x03 | 0x11..=0x13 => self.extras == 8 && keyed,
            0x05 | 0x06 | 0x15 | 0x16 => self.extras == 20 && keyed && empty,
            0x07 | 0x17 | NOOP | VERSION | SASL_LIST => self.body == 0,
            0x08 | 0x18 => matches!(self.extras, 0 | 4) && !keyed && empty,
            0x0e | 0x0f | 0x19 | 0x1a => self.extras == 0 && keyed,
            0x10 => self.extras == 0 && empty,
            0x1b => self.extras == 4 && !keyed && empty,
            0x1c..=0x1e | 0x23 | 0x24 => self.extras == 4 && keyed && empty,
            SASL_AUTH | SASL_STEP => self.extras == 0 && keyed && self.key <= 32,
            _ => false,
        }
    }

    const fn is_response(&self, value: usize) -> bool {
        if self.status != 0 {
            return self.extras == 0 && self.key == 0 && value <= ERROR_BYTES_MAX;
        }
        match self.opcode {
            0x00 | 0x09 | 0x0c | 0x0d | 0x1d | 0x1e | 0x23 | 0x24 => self.extras == 4,
            0x05 | 0x06 | 0x15 | 0x16 => {
                matches!(self.extras, 0 | 16) && self.key == 0 && value == 8
            }
            VERSION | SASL_LIST | SASL_AUTH | SASL_STEP => {
                self.extras == 0 && self.key == 0 && value > 0 && value < 256
            }
            0x10 => self.extras == 0,
            // Couchbase may tell where the mutation stands.
            _ => matches!(self.extras, 0 | 16) && self.key == 0 && value == 0,
        }
    }

    const fn fits_couchbase(&self, value: usize) -> bool {
        match self.opcode {
            // A name, and features of two bytes each.
            HELLO => self.extras == 0 && value.is_multiple_of(2) && value <= 256,
            SELECT_BUCKET => self.extras == 0 && (value == 0 || self.status != 0),
            _ => value <= VALUE_BYTES_MAX,
        }
    }
}

/// Operations that memcached has.
const fn is_common(opcode: u8) -> bool {
    matches!(opcode, 0x00..=0x1e | 0x20..=0x24)
}

/// HELLO, administration and streams (`SELECT_BUCKET`, `GET_CLUSTER_CONFIG`, DCP, collections, sub-documents, errors).
const fn is_couchbase(opcode: u8) -> bool {
    matches!(opcode, HELLO | 0x50..=0x67 | SELECT_BUCKET | 0x83 | 0xb5..=0xbc | 0xc5..=0xd8 | 0xf0 | 0xfe)
}

/// Reads packets on until the login is over. Each side ends at its first packet that is neither login nor negotiation.
pub(super) fn packet(
    state: &mut FollowState,
    side: Side,
    rule: &'static str,
    bytes: &[u8],
) -> Read<Step> {
    let mut c = Cursor::new(bytes);
    let header = Header::read(&mut c, side)?;
    let consumed = c.at().saturating_add(header.body);
    let mut facts = Facts::FITS;
    match (side, header.opcode) {
        (Side::Client, SASL_AUTH) => {
            let shown = c.take(header.key)?;
            facts.credentials = if shown == b"PLAIN" {
                Credentials::SASL_PLAIN
            } else if shown == b"OAUTHBEARER" {
                Credentials::BEARER_TOKEN
            } else {
                Credentials::PASSWORD_HASH_CHALLENGE
            };
            facts.mark = Some(mark(rule, side, 0, consumed, "SASL"));
        }
        (Side::Server, SASL_AUTH | SASL_STEP) => {
            facts.accepted = header.status == 0;
            facts.refused = matches!(header.status, 0x20 | 0x02);
        }
        (_, NOOP | VERSION | HELLO | SASL_LIST | SASL_STEP | ERROR_MAP) => {}
        (side, _) => {
            // What the login would have allowed is denied.
            let denied = side == Side::Server && matches!(header.status, 0x20 | 0x24);
            facts.refused = denied;
            facts.accepted = side == Side::Server && !denied;
            store::over(state, side);
        }
    }
    Ok(Step { consumed, facts, next: Next::Continue })
}

const NOOP: u8 = 0x0a;
const VERSION: u8 = 0x0b;
pub(super) const HELLO: u8 = 0x1f;
const SASL_LIST: u8 = 0x20;
pub(super) const SASL_AUTH: u8 = 0x21;
const SASL_STEP: u8 = 0x22;
const SELECT_BUCKET: u8 = 0x89;
const ERROR_MAP: u8 = 0xfe;
pub(super) const HEADER_BYTES: usize = 24;
/// With the number of its collection in front.
const KEY_BYTES_MAX: u16 = 255;
const EXTRAS_BYTES_MAX: u8 = 48;
const ERROR_BYTES_MAX: usize = 4096;
const VALUE_BYTES_MAX: usize = 32 << 20;
const BODY_BYTES_MAX: u32 = 32 << 20;
