//! `OpenWire`, the native protocol of `ActiveMQ`. <https://activemq.apache.org/components/classic/documentation/openwire-version-2-specification>
//!
//! Both sides begin with a `WireFormatInfo`: length, type 1, magic, version. Later commands depend on what it negotiated;
//! of them only the client's `ConnectionInfo` is read, in either encoding, for the password in it.
use super::fit::{CLEAR, Fit, begins, either, mark, openings, other_protocol};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Openwire;

impl Detector for Openwire {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        either(view, |side, said| match wire_format(side, said) {
            // What follows the opening has no constants.
            Ok(None) if said.start == Start::Unknown => Ok(None),
            fit => fit,
        })
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        if said.start == Start::Unknown {
            return openings(state, side, said, &wire_format(side, said));
        }
        let [client, server] = &mut state.phase;
        let (mine, other) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        let frame = match (*mine, frame(said.bytes)) {
            (SILENT, _) => match wire_format(side, said) {
                Err(Short) => return Step::WAIT,
                Ok(None) => return other_protocol(),
                Ok(Some(_)) => frame(said.bytes),
            },
            (FORMAT, read) if side == Side::Client => read,
            _ => return Step::read(said.bytes.len(), Facts::NONE),
        };
        let (consumed, kind, body) = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return Step::DONE,
            Err(Short) => return Step::WAIT,
        };
        let facts = match *mine {
            SILENT => Facts { accepted: *other != SILENT, ..CLEAR },
            _ if kind == CONNECTION_INFO => Facts { credentials: login(body), ..Facts::NONE },
            _ => Facts::NONE,
        };
        *mine = if *mine == SILENT { FORMAT } else { READ };
        let over = [*mine, *other].contains(&READ) && *other != SILENT;
        Step { consumed, facts, next: if over { Next::Done } else { Next::Continue } }
    }
}

/// Length on the wire, type, body.
type Frame<'a> = (usize, u8, &'a [u8]);

/// A whole command: its length on the wire, its type and its body. `None` for one that is too long.
fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, Short> {
    let mut c = Cursor::new(bytes);
    let length = c.u32_be()?;
    if !(1..=WIRE_FORMAT_BYTES_MAX).contains(&length) {
        return Ok(None);
    }
    let kind = c.u8()?;
    let body = c.take(usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(1))?;
    Ok(Some((c.at(), kind, body)))
}

/// What the body of a `ConnectionInfo` holds: the connection, the client, then a password and a user.
fn login(body: &[u8]) -> Credentials {
    let password = match body.first() {
        // The loose encoding begins with the number of the command, the tight one with the size of its flags.
        Some(0) => loose(body),
        _ => tight(body),
    };
    if password == Ok(true) { Credentials::PASSWORD_CLEARTEXT } else { Credentials::NONE }
}

/// A byte before each value tells whether it is there.
fn loose(body: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(body);
    c.skip(5)?;
    if c.array::<2>()? != [1, CONNECTION_ID] {
        return Ok(false);
    }
    for _ in 0..2 {
        if c.u8()? == 1 {
            let length = c.u16_be()?;
            c.skip(usize::from(length))?;
        }
    }
    Ok(c.u8()? == 1 && c.u16_be()? > 0)
}

/// Flags first, then the values that are there: with a password four strings fill the rest.
fn tight(body: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(body);
    let flags = c.u8()?;
    c.skip(usize::from(flags).saturating_add(4))?;
    // With a cache its index comes before the type.
    if c.peek()? != CONNECTION_ID {
        c.skip(2)?;
    }
    if c.u8()? != CONNECTION_ID {
        return Ok(false);
    }
    let mut strings = 0_u8;
    while !c.is_empty() {
        let length = c.u16_be()?;
        c.skip(usize::from(length))?;
        strings = strings.saturating_add(1);
    }
    Ok(strings == 4)
}

const SILENT: u8 = 0;
/// Its wire format was read.
const FORMAT: u8 = 1;
const READ: u8 = 2;
const CONNECTION_INFO: u8 = 3;
const CONNECTION_ID: u8 = 120;

fn wire_format(side: Side, said: Said<'_>) -> Fit {
    let mut c = Cursor::new(said.bytes);
    if !begins(said.bytes, b"\0\0")? {
        return Ok(None);
    }
    let length = c.u32_be()?;
    if !(WIRE_FORMAT_BYTES_MIN..=WIRE_FORMAT_BYTES_MAX).contains(&length) {
        return Ok(None);
    }
    if !begins(c.rest(), b"\x01ActiveMQ\0\0\0")? {
        return Ok(None);
    }
    c.skip(12)?;
    let sane = (1..=VERSION_MAX).contains(&c.u8()?);
    Ok(sane.then(|| mark("openwire.wire-format", side, 0, c.at(), "ActiveMQ")))
}

const WIRE_FORMAT_BYTES_MIN: u32 = 13;
const WIRE_FORMAT_BYTES_MAX: u32 = 4096;
const VERSION_MAX: u8 = 32;

static INFO: Info = Info {
    name: "openwire",
    title: "OpenWire (ActiveMQ)",
    spec: "https://activemq.apache.org/components/classic/documentation/openwire-version-2-specification",
    ports: &[61616],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::check::{hear, probe_side},
        model::PlaintextReason,
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const OPENING: &[u8] = b"\0\0\0\x16\x01ActiveMQ\0\0\0\x0c\x01\0\0\0\x04\0\0\0\0";

    /// A `ConnectionInfo` behind its length.
    fn info(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 1).unwrap().to_be_bytes();
        [&length[..], &[CONNECTION_INFO], body].concat()
    }

    #[test]
    fn the_password_of_a_connection_can_be_read_in_both_encodings() {
        let loose =
            b"\0\0\0\x01\x01\x01x\x01\0\x02ID\x01\0\x02me\x01\0\x04pass\x01\0\x04user\0\0\x01\x01\0\0\0";
        let no_password = b"\0\0\0\x01\x01\x01x\x01\0\x02ID\x01\0\x02me\0\0\0\0\x01\x01\0\0\0";
        let tight = b"\x03\xff\x67\0\0\0\0\x01\0\0x\0\x02ID\0\x02me\0\x04pass\0\x04user";
        let anonymous = b"\x03\x7f\x07\0\0\0\0\x01\0\0x\0\x02ID\0\x02me";
        let cases: [(&[u8], Credentials); 4] = [
            (loose, Credentials::PASSWORD_CLEARTEXT),
            (no_password, Credentials::NONE),
            (tight, Credentials::PASSWORD_CLEARTEXT),
            (anonymous, Credentials::NONE),
        ];
        for (body, expected) in cases {
            let heard = hear(&Openwire, &[(S, OPENING), (C, OPENING), (C, &info(body))]);
            assert_eq!((heard.fits, heard.credentials), ([true, true], expected), "{body:02x?}");
        }
    }

    #[test]
    fn either_side_begins_with_its_wire_format() {
        for side in [C, S] {
            assert!(matches!(probe_side(&Openwire, side, OPENING), Probe::Match(_)));
            for bytes in [
                &b"\0\0\x01\x12\x01ActiveMQ\0\0\0\0"[..],
                b"\0\0\x01\x12\x02ActiveMQ\0\0\0\x0c",
                b"\0\0\0\x08\x01ActiveMQ\0\0\0\x0c",
                b"\0\0\0\x08\x04\xd2\x16\x2f",
                b"\x16\x03\x01\x02\x00",
            ] {
                assert!(!matches!(probe_side(&Openwire, side, bytes), Probe::Match(_)));
            }
        }
        let heard = hear(&Openwire, &[(S, OPENING), (C, OPENING)]);
        assert_eq!(heard.fits, [true, true]);
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        let heard = hear(&Openwire, &[(C, OPENING), (S, b"AMQP\x03\x01\x00\x00")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
