//! X Protocol of MySQL. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_mysqlx_protocol.html>
//!
//! A length (little endian, of type and payload), a type, a Protobuf message. The client opens with capabilities, of
//! which `tls` is one, or at once with a login.
use super::store::{self, Flaw, Read, mark, need};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::{Cursor, holds},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Mysqlx;

impl Detector for Mysqlx {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, |said| prove(Side::Client, said), |said| prove(Side::Server, said))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        store::read_on(state, side, said, None, |state, bytes| {
            let mut c = Cursor::new(bytes);
            if side == Side::Client && state.flags & ASKED != 0 && c.peek()? == TLS_HANDSHAKE {
                // The server's agreement was not seen.
                let next = Next::Layer { upgrade: Some(UPGRADE), other: OtherSide::Somewhere };
                need(c.u8()? == TLS_HANDSHAKE && c.u8()? == 3)?;
                return Ok(Step { consumed: 0, facts: Facts::FITS, next });
            }
            let (kind, length) = header(&mut c, side)?;
            let body = c.take(length.min(store::SHOWN_BYTES_MAX))?;
            let consumed = length.saturating_add(HEADER_BYTES);
            Ok(match side {
                Side::Client => from_client(state, kind, consumed, body),
                Side::Server => from_server(state, kind, consumed, body),
            })
        })
    }
}

/// Type and payload length.
fn header(c: &mut Cursor<'_>, side: Side) -> Read<(u8, usize)> {
    let length = store::size(c.u32_le()?);
    need((1..=MESSAGE_BYTES_MAX).contains(&length))?;
    let kind = store::byte(c, |kind| match side {
        Side::Client => matches!(kind, 1..=7 | 12 | 17..=20 | 24..=28 | 30..=32 | 40..=43 | 46),
        Side::Server => matches!(kind, 0..=4 | 10..=19),
    })?;
    Ok((kind, length.saturating_sub(1)))
}

fn prove(side: Side, said: Said<'_>) -> Read<Match> {
    if said.start == Start::Unknown {
        return Err(Flaw::Bad);
    }
    let mut c = Cursor::new(said.bytes);
    // The first messages are short: this tells text and other protocols apart at once.
    let mut ahead = c;
    ahead.skip(1)?;
    store::byte(&mut ahead, |b| b < 16)?;
    store::expect(&mut ahead, &[0, 0])?;
    let (kind, length) = header(&mut c, side)?;
    let constant = match (side, kind) {
        (Side::Client, CAPABILITIES_GET) => {
            need(length == 0)?;
            // Five small bytes are too few.
            let (kind, length) = header(&mut c, side)?;
            match kind {
                CAPABILITIES_SET => capability(&mut c, length)?,
                AUTHENTICATE_START => mechanism(&mut c, length)?,
                _ => return Err(Flaw::Bad),
            }
            "CapabilitiesGet"
        }
        (Side::Client, CAPABILITIES_SET) => {
            capability(&mut c, length).map(|()| "CapabilitiesSet")?
        }
        (Side::Client, AUTHENTICATE_START) => {
            mechanism(&mut c, length).map(|()| "AuthenticateStart")?
        }
        (Side::Server, NOTICE) => {
            need(length == 4)?;
            store::expect(&mut c, SERVER_HELLO).map(|()| "Notice ServerHello")?
        }
        (Side::Server, CAPABILITIES) => capabilities(&mut c, length).map(|()| "Capabilities")?,
        (Side::Server, ERROR) => error(&mut c, length).map(|()| "Error")?,
        _ => return Err(Flaw::Bad),
    };
    let found = mark("mysqlx.message", side, 0, c.at(), constant);
    Ok(Match { encryption: None, mark: found })
}

/// `CapabilitiesSet`: a message that holds the list.
fn capability(c: &mut Cursor<'_>, length: usize) -> Read<()> {
    let inner = delimited(c, 0x0a, length)?;
    capabilities(c, inner)
}

/// A list of capabilities, each with a lower-case name.
fn capabilities(c: &mut Cursor<'_>, length: usize) -> Read<()> {
    let one = delimited(c, 0x0a, length)?;
    let name = delimited(c, 0x0a, one)?;
    need(name >= 3)?;
    store::all(c, name, |b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.')).map(|_| ())
}

/// `AuthenticateStart`: the mechanism comes first, in capitals.
fn mechanism(c: &mut Cursor<'_>, length: usize) -> Read<()> {
    let name = delimited(c, 0x0a, length)?;
    need(name >= 4)?;
    store::all(c, name, |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_').map(|_| ())
}

/// Severity, code, message and SQLSTATE; their order is free but by number.
fn error(c: &mut Cursor<'_>, length: usize) -> Read<()> {
    store::expect(c, &[0x08])?;
    store::byte(c, |severity| severity <= 1)?;
    store::expect(c, &[0x10])?;
    need(length >= 12)?;
    while c.u8()? & 0x80 != 0 {
        need(c.at() < 16)?;
    }
    let tag = store::byte(c, |tag| matches!(tag, 0x1a | 0x22))?;
    if tag == 0x22 {
        store::expect(c, &[5])?;
        return store::all(c, 5, |b| b.is_ascii_uppercase() || b.is_ascii_digit()).map(|_| ());
    }
    c.skip(1)?;
    store::all(c, 4, store::printable).map(|_| ())
}

/// A length-delimited field that ends within `room` bytes.
fn delimited(c: &mut Cursor<'_>, tag: u8, room: usize) -> Read<usize> {
    let at = c.at();
    store::expect(c, &[tag])?;
    let low = c.u8()?;
    let mut length = usize::from(low & 0x7f);
    if low & 0x80 != 0 {
        length |= usize::from(store::byte(c, |b| b & 0x80 == 0)?) << 7;
    }
    need(c.at().saturating_sub(at).saturating_add(length) <= room)?;
    Ok(length)
}

fn from_client(state: &mut FollowState, kind: u8, consumed: usize, body: &[u8]) -> Step {
    let mut facts = Facts::FITS;
    match kind {
        CAPABILITIES_SET if holds(body, b"\x0a\x03tls") => {
            // The value: a scalar, of type boolean, true.
            if holds(body, &[0x40, 1]) {
                state.flags |= ASKED;
                state.flags &= !ANSWERED;
            }
        }
        AUTHENTICATE_START => {
            facts.encryption = Some(Encryption::Plaintext);
            let mechanism = body.get(2..).unwrap_or_default();
            facts.credentials = if mechanism.starts_with(b"PLAIN") {
                Credentials::PASSWORD_CLEARTEXT
            } else {
                Credentials::NONE
            };
            state.flags |= CLEAR;
            facts.reason = Some(reason(state));
            facts.mark = Some(mark("mysqlx.login", Side::Client, 0, consumed, "AuthenticateStart"));
        }
        // The answer to a challenge.
        AUTHENTICATE_CONTINUE => facts.credentials = Credentials::PASSWORD_HASH_CHALLENGE,
        1..=3 => {}
        _ => store::over(state, Side::Client),
    }
    Step::read(consumed, facts)
}

fn from_server(state: &mut FollowState, kind: u8, consumed: usize, body: &[u8]) -> Step {
    let mut facts = Facts::FITS;
    let asked = state.flags & (ASKED | ANSWERED) == ASKED;
    match kind {
        OK if asked => {
            let found = mark("mysqlx.tls-accepted", Side::Server, 0, consumed, "Ok");
            facts.mark = Some(found);
            let next = Next::Layer { upgrade: Some(UPGRADE), other: OtherSide::Here };
            return Step { consumed, facts, next };
        }
        ERROR if asked => {
            state.flags |= ANSWERED | REFUSED;
            facts.refused = true;
            facts.mark = Some(mark("mysqlx.tls-refused", Side::Server, 0, consumed, "Error"));
        }
        ERROR => {
            facts.refused = true;
            facts.mark = Some(mark("mysqlx.refused", Side::Server, 0, consumed, "Error"));
        }
        CAPABILITIES if holds(body, b"\x0a\x03tls") => state.flags |= OFFERED,
        AUTHENTICATE_OK => {
            facts.accepted = true;
            facts.encryption = Some(Encryption::Plaintext);
            state.flags |= CLEAR;
            store::over(state, Side::Server);
        }
        _ => {}
    }
    facts.reason = (state.flags & CLEAR != 0).then(|| reason(state));
    Step::read(consumed, facts)
}

const fn reason(state: &FollowState) -> PlaintextReason {
    if state.flags & REFUSED != 0 {
        PlaintextReason::ServerRefused
    } else if state.flags & OFFERED != 0 {
        PlaintextReason::ClientDeclined
    } else {
        PlaintextReason::ClientNeverAsked
    }
}

// Messages of the client.
const CAPABILITIES_GET: u8 = 1;
const CAPABILITIES_SET: u8 = 2;
const AUTHENTICATE_START: u8 = 4;
const AUTHENTICATE_CONTINUE: u8 = 5;
// Messages of the server.
const OK: u8 = 0;
const ERROR: u8 = 1;
const CAPABILITIES: u8 = 2;
const AUTHENTICATE_OK: u8 = 4;
const NOTICE: u8 = 11;
/// Type 5, an empty payload.
const SERVER_HELLO: &[u8] = b"\x08\x05\x1a\x00";

// Flags.
const ASKED: u16 = 1;
const ANSWERED: u16 = 1 << 1;
const REFUSED: u16 = 1 << 2;
const OFFERED: u16 = 1 << 3;
const CLEAR: u16 = 1 << 4;

const UPGRADE: &str = "mysqlx-capabilities-tls";
const TLS_HANDSHAKE: u8 = 0x16;
const HEADER_BYTES: usize = 5;
/// `mysqlx_max_allowed_packet` by default.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

static INFO: Info = Info {
    name: "mysqlx",
    title: "MySQL X Protocol",
    spec: "https://dev.mysql.com/doc/dev/mysql-server/latest/page_mysqlx_protocol.html",
    ports: &[33060],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{Line, hear, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const HELLO: &[u8] = b"\x05\0\0\0\x0b\x08\x05\x1a\0";
    const GET: &[u8] = b"\x01\0\0\0\x01";
    const TLS: &[u8] =
        b"\x14\0\0\0\x02\x0a\x11\x0a\x0f\x0a\x03tls\x12\x08\x08\x01\x12\x04\x08\x07\x40\x01";
    const OFFER: &[u8] =
        b"\x12\0\0\0\x02\x0a\x0f\x0a\x03tls\x12\x08\x08\x01\x12\x04\x08\x07\x40\x00";
    const LOGIN: &[u8] = b"\x12\0\0\0\x04\x0a\x07MYSQL41\x12\0\x1a\x04user";
    const CLEAR: &[u8] = b"\x0c\0\0\0\x04\x0a\x05PLAIN\x12\x02pw";
    const ERR: &[u8] = b"\x15\0\0\0\x01\x08\x01\x10\x89\x27\x22\x05HY000\x1a\x06denied";
    const DONE: &[u8] = b"\x01\0\0\0\x04";

    #[test]
    fn first_messages_prove_either_side() {
        let found =
            |side, bytes: &[u8]| matches!(probe_side(&Mysqlx, side, bytes), Probe::Match(_));
        for client in [TLS, LOGIN, CLEAR, &[GET, TLS].concat(), &[GET, LOGIN].concat()] {
            assert!(found(C, client) && !found(S, client), "{}", client.escape_ascii());
        }
        for server in [HELLO, OFFER, ERR] {
            assert!(found(S, server) && !found(C, server), "{}", server.escape_ascii());
        }
        let others: [&[u8]; 6] = [
            GET,
            b"\x01\0\0\0\x01\x01\0\0\0\x01",
            b"\x3a\0\0\0\x0a5.7.0\0",
            b"\x3d\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0",
            b"\x14\0\0\0\x02\x0a\x11\x0a\x0f\x0a\x03TLS",
            b"\x16\x03\x01\x02\0\x01",
        ];
        for bytes in others {
            assert!(!found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_tls_capability_leads_to_a_layer() {
        let heard =
            hear(&Mysqlx, &[(S, HELLO), (C, TLS), (S, b"\x01\0\0\0\0"), (C, b"\x16\x03\x01")]);
        assert_eq!(heard.layer, Some((Some(UPGRADE), Some(TLS.len()), Some(HELLO.len() + 5))));
        assert_eq!(heard.encryption, None);
        let heard = hear(&Mysqlx, &[(C, TLS), (C, b"\x16\x03\x01")]);
        assert_eq!(heard.layer, Some((Some(UPGRADE), Some(TLS.len()), None)));
    }

    #[test]
    fn a_login_in_clear_tells_its_reason() {
        let refused = PlaintextReason::ServerRefused;
        let cases: [(&[Line<'_>], PlaintextReason); 3] = [
            (&[(C, GET), (S, OFFER), (C, LOGIN), (S, DONE)], PlaintextReason::ClientDeclined),
            (&[(C, LOGIN), (S, DONE)], PlaintextReason::ClientNeverAsked),
            (&[(C, TLS), (S, ERR), (C, LOGIN), (S, DONE)], refused),
        ];
        for (lines, reason) in cases {
            let heard = hear(&Mysqlx, lines);
            assert_eq!(
                (heard.encryption, heard.reason),
                (Some(Encryption::Plaintext), Some(reason))
            );
            assert!(heard.fits == [true, true] && !heard.refused);
        }
        let heard = hear(&Mysqlx, &[(C, CLEAR), (S, ERR)]);
        assert_eq!((heard.credentials, heard.refused), (Credentials::PASSWORD_CLEARTEXT, true));
        let answer = b"\x05\0\0\0\x05\x0a\x02ab";
        let heard = hear(&Mysqlx, &[(C, LOGIN), (S, b"\x01\0\0\0\x03"), (C, answer), (S, DONE)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        assert_eq!(hear(&Mysqlx, &[(C, LOGIN), (S, b"HTTP/1.1 400")]).mismatch, [false, true]);
    }
}
