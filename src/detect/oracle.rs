//! Oracle Net (TNS), and Two-Task Common inside it. <https://docs.oracle.com/en/database/oracle/oracle-database/23/netag/>
//!
//! There is no public specification of the bytes; these are as Oracle's own thin drivers write them
//! (<https://github.com/oracle/python-oracledb>). Native network encryption is negotiated in the first DATA packets and
//! seals what follows without TLS; TCPS is TLS from its first byte.
use super::store::{self, Flaw, Read, mark, need};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, find, holds},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};
use packets::{
    ACCEPT, CONNECT, CONTROL, DATA, HEADER_BYTES, MAGIC, MARKER, Packet, REDIRECT, REFUSE, RESEND,
};

mod packets;
#[cfg(test)]
mod tests;

pub(super) struct Oracle;

impl Detector for Oracle {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, see_client, see_server)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        store::read_on(state, side, said, None, |state, bytes| {
            let mut c = Cursor::new(bytes);
            let first = !store::has_spoken(state, side);
            let kinds = match (side, first && said.start == Start::Known) {
                (Side::Client, true) => &[CONNECT][..],
                (Side::Client, false) => &[CONNECT, DATA, MARKER, CONTROL],
                (Side::Server, true) => ANSWERS,
                (Side::Server, false) => &[ACCEPT, REFUSE, REDIRECT, RESEND, DATA, MARKER, CONTROL],
            };
            let packet = Packet::read(&mut c, kinds)?;
            let body = c.take(packet.body.min(store::SHOWN_BYTES_MAX))?;
            let consumed = packet.body.saturating_add(HEADER_BYTES);
            if packet.kind == DATA {
                let mut step = data(state, side, consumed, body)?;
                if said.start == Start::Unknown {
                    // Whether the client asked for encryption was not seen.
                    step.facts.reason = None;
                }
                return Ok(step);
            }
            inside(packet, body)?;
            let plain = Some(Encryption::Plaintext);
            let facts = match packet.kind {
                REFUSE => {
                    let found = mark("oracle.refused", side, 0, consumed, "REFUSE");
                    let reason = Some(PlaintextReason::ClientNeverAsked);
                    let (refused, mark) = (true, Some(found));
                    Facts { refused, encryption: plain, reason, mark, ..Facts::FITS }
                }
                // The client goes to the address it was told, on another connection.
                REDIRECT => {
                    let reason = Some(PlaintextReason::ClientNeverAsked);
                    Facts { encryption: plain, reason, ..Facts::FITS }
                }
                _ => Facts::FITS,
            };
            let next = if packet.kind == REFUSE { Next::Done } else { Next::Continue };
            Ok(Step { consumed, facts, next })
        })
    }
}

/// Whether the inside of a packet of the handshake fits.
fn inside(packet: Packet, body: &[u8]) -> Read<()> {
    let mut c = Cursor::new(body);
    match packet.kind {
        CONNECT => packets::connect(&mut c, packet.body),
        ACCEPT => packets::accept(&mut c, packet.body),
        REFUSE => packets::refuse(&mut c, packet.body),
        REDIRECT => packets::redirect(&mut c, packet.body),
        RESEND => need(packet.body == 0),
        _ => Ok(()),
    }
}

fn see_client(said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let late = said.start == Start::Unknown;
    let packet = Packet::read(&mut c, if late { &[CONNECT, DATA] } else { &[CONNECT] })?;
    if packet.kind == DATA {
        let calls = late_calls(said.bytes)?;
        return Ok(store::plaintext(mark("oracle.calls", Side::Client, 0, calls, "TTC calls")));
    }
    packets::connect(&mut c, packet.body)?;
    let found = mark("oracle.connect", Side::Client, 0, c.at(), "CONNECT");
    Ok(Match { encryption: None, mark: found })
}

fn see_server(said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let late = said.start == Start::Unknown;
    let packet = Packet::read(&mut c, if late { &[DATA] } else { ANSWERS })?;
    if packet.kind == DATA {
        // Rows show nothing, but each result ends with a code and its text.
        need(packet.body <= LATE_BYTES_MAX)?;
        let body = c.take(packet.body)?;
        need(ora_code(body).is_some())?;
        let found = mark("oracle.error", Side::Server, 0, c.at(), "ORA-nnnnn");
        return Ok(store::plaintext(found));
    }
    let constant = match packet.kind {
        ACCEPT => packets::accept(&mut c, packet.body).map(|()| "ACCEPT")?,
        REFUSE => packets::refuse(&mut c, packet.body).map(|()| "REFUSE")?,
        REDIRECT => packets::redirect(&mut c, packet.body).map(|()| "REDIRECT")?,
        _ => need(packet.body == 0).map(|()| "RESEND")?,
    };
    let found = mark("oracle.answer", Side::Server, 0, c.at(), constant);
    Ok(Match { encryption: None, mark: found })
}

/// Joined late: two calls in a row, whose sequence numbers follow each other. Sealed packets have none.
fn late_calls(bytes: &[u8]) -> Read<usize> {
    let mut c = Cursor::new(bytes);
    let mut last = None;
    loop {
        let at = c;
        let packet = Packet::read(&mut c, &[DATA])?;
        need((5..=LATE_BYTES_MAX).contains(&packet.body))?;
        store::expect(&mut c, &[0])?;
        c.skip(1)?;
        store::byte(&mut c, |b| matches!(b, CALL | PIGGYBACK))?;
        store::byte(&mut c, |function| (1..=0xc0).contains(&function))?;
        let number = c.u8()?;
        if let Some(last) = last {
            need(number.wrapping_sub(last) <= 2 && number != last)?;
            return Ok(c.at());
        }
        last = Some(number);
        c = at;
        c.skip(packet.body.saturating_add(HEADER_BYTES))?;
    }
}

/// A DATA packet: the negotiation, then what shows whether the rest is sealed.
fn data(state: &mut FollowState, side: Side, consumed: usize, body: &[u8]) -> Read<Step> {
    let call = body.get(2..).ok_or(Flaw::Bad)?;
    if call.starts_with(MAGIC) {
        let value = packets::negotiation(call);
        return Ok(Step::read(consumed, negotiated(state, side, consumed, value)));
    }
    let (mine, asked, agreed) = match side {
        Side::Client => (CLIENT_DATA, CLIENT_ASKED, SEALED),
        Side::Server => (SERVER_DATA, SERVER_ANSWERED, SEALED),
    };
    let first = state.flags & mine == 0;
    let mut facts = Facts::FITS;
    if state.flags & agreed != 0 {
        store::over(state, side);
        return Ok(Step::read(consumed, facts));
    }
    // Connect data too long for its packet.
    if first && call.first() == Some(&b'(') || body.first() == Some(&b'(') {
        return Ok(Step::read(consumed, facts));
    }
    if first {
        state.flags |= mine;
        let opens = matches!(call, [PROTOCOL, 0..=9, ..] | [FAST_LOGIN, ..]);
        let clear = opens || state.flags & asked == 0;
        if !clear {
            // The negotiation was seen from one side only, and what follows cannot be read.
            state.flags |= SEALED;
            facts.encryption = Some(Encryption::OtherEncrypted);
            facts.mark = Some(mark("oracle.sealed", side, 0, consumed, "sealed DATA"));
            store::over(state, side);
            return Ok(Step::read(consumed, facts));
        }
        facts.encryption = Some(Encryption::Plaintext);
        facts.reason = Some(reason(state));
        facts.mark = Some(mark("oracle.data", side, 0, consumed, "TTC in clear"));
    }
    match side {
        Side::Client => {
            if holds(call, b"AUTH_TOKEN") {
                facts.credentials = Credentials::BEARER_TOKEN;
            } else if holds(call, b"AUTH_PASSWORD") {
                facts.credentials = Credentials::PASSWORD_HASH_CHALLENGE;
            }
            if !facts.credentials.is_empty() {
                facts.mark = Some(mark("oracle.login", side, 0, consumed, "AUTH_PASSWORD"));
                store::over(state, side);
            }
        }
        Side::Server => {
            facts.accepted = holds(call, b"AUTH_SESSION_ID");
            facts.refused = ora_code(call).is_some_and(|code| LOGIN_ERRORS.contains(&&code));
            if facts.refused {
                facts.mark = Some(mark("oracle.refused", side, 0, consumed, "ORA-nnnnn"));
            }
            if facts.accepted || facts.refused {
                store::over(state, side);
            }
        }
    }
    Ok(Step::read(consumed, facts))
}

/// What native network encryption comes to: the server's choice decides.
fn negotiated(state: &mut FollowState, side: Side, consumed: usize, value: Option<u8>) -> Facts {
    match side {
        Side::Client => {
            state.flags |= CLIENT_ASKED;
            // A client that would rather have it names no "none" first.
            if value.is_some_and(|first| first != 0) {
                state.flags |= CLIENT_WANTS;
            }
        }
        Side::Server => state.flags |= SERVER_ANSWERED,
    }
    if side == Side::Client {
        // The server's choice may have been read before this.
        let late = state.flags & SERVER_CHOSE_NONE != 0;
        return Facts { reason: late.then(|| reason(state)), ..Facts::FITS };
    }
    let found = |constant| Some(mark("oracle.encryption", Side::Server, 0, consumed, constant));
    match value {
        Some(0) => {
            state.flags |= SERVER_CHOSE_NONE;
            let encryption = Some(Encryption::Plaintext);
            let reason = Some(reason(state));
            Facts { encryption, reason, mark: found("encryption 0"), ..Facts::FITS }
        }
        Some(_) => {
            state.flags |= SEALED;
            let encryption = Some(Encryption::OtherEncrypted);
            Facts { encryption, accepted: true, mark: found("encryption"), ..Facts::FITS }
        }
        None => Facts::FITS,
    }
}

const fn reason(state: &FollowState) -> PlaintextReason {
    if state.flags & CLIENT_WANTS != 0 {
        PlaintextReason::ServerRefused
    } else {
        PlaintextReason::ClientNeverAsked
    }
}

/// The digits of the first `ORA-nnnnn:` in a packet.
fn ora_code(body: &[u8]) -> Option<[u8; 5]> {
    let at = find(body, b"ORA-")?;
    let mut c = Cursor::new(body.get(at.saturating_add(4)..)?);
    let code = c.array::<5>().ok()?;
    let sound = code.iter().all(u8::is_ascii_digit) && c.u8().is_ok_and(|b| b == b':');
    sound.then_some(code)
}

const ANSWERS: &[u8] = &[ACCEPT, REFUSE, REDIRECT, RESEND];
/// Bad login, locked, expired, no privilege, no logon to a service that is not open.
const LOGIN_ERRORS: &[&[u8; 5]] =
    &[b"01017", b"28000", b"28001", b"01045", b"01033", b"28040", b"03134", b"12660"];
/// Messages of Two-Task Common.
const PROTOCOL: u8 = 1;
const CALL: u8 = 3;
const PIGGYBACK: u8 = 17;
const FAST_LOGIN: u8 = 34;
const LATE_BYTES_MAX: usize = 8 * 1024;

// Flags.
const CLIENT_ASKED: u16 = 1;
const SERVER_ANSWERED: u16 = 1 << 1;
const CLIENT_WANTS: u16 = 1 << 2;
const SERVER_CHOSE_NONE: u16 = 1 << 3;
const SEALED: u16 = 1 << 4;
const CLIENT_DATA: u16 = 1 << 5;
const SERVER_DATA: u16 = 1 << 6;

static INFO: Info = Info {
    name: "oracle",
    title: "Oracle Net (TNS)",
    spec: "https://docs.oracle.com/en/database/oracle/oracle-database/23/netag/",
    ports: &[1521],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE.with(Credentials::BEARER_TOKEN),
};
