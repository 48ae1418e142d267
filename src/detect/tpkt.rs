//! TPKT and X.224 class 0, for the detectors above them. <https://www.rfc-editor.org/rfc/rfc1006#section-6>,
//! <https://www.rfc-editor.org/rfc/rfc905#section-13>
use super::exchange::magic;
use crate::bytes::{Cursor, Short};

/// One packet: its length, and the TPDU in it as far as it is there.
pub(super) struct Packet<'a> {
    pub(super) length: usize,
    pub(super) tpdu: Tpdu<'a>,
}

pub(super) enum Tpdu<'a> {
    /// Connection request or confirm: its variable part.
    Connect { confirm: bool, variable: &'a [u8] },
    /// Data, the last or only part: what is there of it.
    Data(&'a [u8]),
}

/// Reads a packet; `None`: it is none.
pub(super) fn packet<'a>(c: &mut Cursor<'a>) -> Result<Option<Packet<'a>>, Short> {
    if !magic(c, &[3, 0])? {
        return Ok(None);
    }
    let length = usize::from(c.u16_be()?);
    let (header, code) = (usize::from(c.u8()?), c.u8()?);
    match code {
        CONNECTION_REQUEST | CONNECTION_CONFIRM => {
            // Destination (not known yet to who asks), source, class and options.
            let (destination, _source, class) = (c.u16_be()?, c.u16_be()?, c.u8()?);
            let confirm = code == CONNECTION_CONFIRM;
            let whole = length == header.saturating_add(5) && header >= 6;
            if !whole || !confirm && destination != 0 || class & 0xf0 > 0x40 {
                return Ok(None);
            }
            let variable = c.take(header.saturating_sub(6))?;
            Ok(Some(Packet { length, tpdu: Tpdu::Connect { confirm, variable } }))
        }
        DATA => {
            if header != 2 || c.u8()? != 0x80 || length <= DATA_AT {
                return Ok(None);
            }
            let body = c.rest();
            let body = body.get(..length.saturating_sub(DATA_AT)).unwrap_or(body);
            c.skip(body.len())?;
            Ok(Some(Packet { length, tpdu: Tpdu::Data(body) }))
        }
        _ => Ok(None),
    }
}

/// Parameters of a connection (RFC 905 section 13.3.4): TPDU size and the two selectors, to the end.
pub(super) fn are_parameters(variable: &[u8]) -> bool {
    let mut c = Cursor::new(variable);
    while !c.is_empty() {
        let (Ok(code), Ok(length)) = (c.u8(), c.u8()) else { return false };
        let sized = match code {
            TPDU_SIZE => length == 1,
            0xc1..=0xc8 | 0x85..=0x8b => length <= 32,
            _ => false,
        };
        if !sized || c.skip(usize::from(length)).is_err() {
            return false;
        }
    }
    !variable.is_empty()
}

const CONNECTION_REQUEST: u8 = 0xe0;
const CONNECTION_CONFIRM: u8 = 0xd0;
const DATA: u8 = 0xf0;
const TPDU_SIZE: u8 = 0xc0;
/// Where data begins in a packet.
const DATA_AT: usize = 7;
