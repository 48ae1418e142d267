//! Which of the protocols that share the message format a datagram is.

use super::{Cursor, Header, Message, Short, Side, parse};

/// Who speaks like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::detect) enum Kind {
    /// DNS itself.
    Unicast,
    /// Multicast DNS: <https://www.rfc-editor.org/rfc/rfc6762#section-18>.
    Multicast,
    /// LLMNR: <https://www.rfc-editor.org/rfc/rfc4795#section-2.1>.
    LinkLocal,
}

/// Whether a datagram is a whole message that `side` may send.
pub(in crate::detect) fn is_message(datagram: &[u8], side: Side) -> bool {
    let message = Message { declared: datagram.len(), bytes: datagram };
    matches!(parse(&message, side, false), Ok(Some(_)))
}

/// The kind of a datagram, if it is a message at all.
pub(in crate::detect) fn kind(datagram: &[u8]) -> Kind {
    read(datagram).unwrap_or(Kind::Unicast)
}

fn read(datagram: &[u8]) -> Result<Kind, Short> {
    let mut c = Cursor::new(datagram);
    let header = Header::read(&mut c)?;
    let (mut labels, mut last): (_, &[u8]) = (0_u8, b"");
    loop {
        match c.u8()? {
            0 => break,
            length @ 1..=63 => {
                last = c.take(usize::from(length))?;
                labels = labels.saturating_add(1);
            }
            _ => return Ok(Kind::Unicast),
        }
    }
    let (kind, class) = (c.u16_be()?, c.u16_be()?);
    let flags = header.flags & !TRUNCATED;
    // A query that no resolver would send, or an answer to a question that nobody asked.
    let own = match flags {
        0 => header.id == 0 || last.eq_ignore_ascii_case(b"local"),
        ANSWER => header.id == 0 && header.questions == 0 && header.answers > 0,
        _ => false,
    };
    // The unicast-response and the cache-flush bit; EDNS has a size for a class.
    if own || class & 0x8000 != 0 && kind != OPT {
        return Ok(Kind::Multicast);
    }
    // One question of one label, with neither recursion nor EDNS; the answer claims no authority either.
    let host = labels == 1 && header.questions == 1 && matches!(kind, A | AAAA | ANY);
    let link_local = match flags {
        0 => header.records == 0,
        RESPONSE => header.answers > 0,
        _ => false,
    };
    Ok(if host && link_local { Kind::LinkLocal } else { Kind::Unicast })
}

const TRUNCATED: u16 = 0x0200;
const RESPONSE: u16 = 0x8000;
/// Response with authority.
const ANSWER: u16 = 0x8400;
const A: u16 = 1;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const ANY: u16 = 255;
