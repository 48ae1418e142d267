//! MySQL client/server protocol, also spoken by MariaDB, Aurora and most proxies.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>
//!
//! The server greets first and says whether it offers TLS; the client's answer decides.
use super::sql::{self, Seen};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

mod packets;
#[cfg(test)]
mod tests;

use packets::{Login, Plugin};

pub(super) struct Mysql;

impl Detector for Mysql {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        sql::answer(view, see_client(view.client), see_server(view.server))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = match side {
            Side::Client => follow_client(state, said),
            Side::Server => follow_server(state, said),
        };
        let step = step.unwrap_or_else(Step::from);
        if step.next == Next::Continue && is_over(state) {
            return Step { next: Next::Done, ..step };
        }
        step
    }
}

fn see_client(said: Said<'_>) -> Seen {
    if said.bytes.is_empty() {
        return Seen::Silent;
    }
    match packets::login(said.bytes) {
        Ok(Some(Login::Tls)) => Seen::Proven(Match {
            encryption: None,
            mark: mark("mysql.ssl-request", Side::Client, 0, 36, "SSLRequest"),
        }),
        Ok(Some(Login::Plain { length, .. })) => Seen::Proven(plaintext(login_mark(length))),
        Ok(Some(Login::Old(_))) => Seen::Unclear,
        Ok(None) if said.start == Start::Known => Seen::Other,
        Ok(None) => match packets::statement(said.bytes) {
            Ok(Some(length)) => {
                Seen::Proven(plaintext(mark("mysql.query", Side::Client, 0, length, "COM_QUERY")))
            }
            Ok(None) => Seen::Unclear,
            Err(Short) => Seen::Open,
        },
        Err(Short) => Seen::Open,
    }
}

fn see_server(said: Said<'_>) -> Seen {
    let bytes = said.bytes;
    if bytes.is_empty() {
        return Seen::Silent;
    }
    let greeting = packets::greeting(bytes);
    let error = packets::error_first(bytes);
    if let Ok(Some(greeting)) = greeting {
        let found = mark("mysql.greeting", Side::Server, 0, greeting.length, "HandshakeV10");
        return Seen::Proven(Match { encryption: None, mark: found });
    }
    if let Ok(Some((length, code))) = error {
        let found = mark("mysql.error-first", Side::Server, 0, length, error_name(code));
        return Seen::Proven(plaintext(found));
    }
    let open = greeting.is_err() || error.is_err();
    if said.start == Start::Known {
        return if open { Seen::Open } else { Seen::Other };
    }
    let late = packets::late_error(bytes);
    if let Ok(Some(length)) = late {
        let found = mark("mysql.error", Side::Server, 0, length, "ERR with SQLSTATE");
        return Seen::Proven(plaintext(found));
    }
    if let Some((at, length)) = packets::column_anywhere(bytes) {
        let found = mark("mysql.column", Side::Server, at, length, "ColumnDefinition41 def");
        return Seen::Proven(plaintext(found));
    }
    if open || late.is_err() || bytes.len() < SCAN_BYTES_MAX { Seen::Open } else { Seen::Unclear }
}

fn follow_client(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    match state.phase {
        [CLIENT_OPENING, _] => client_login(state, said),
        [CLIENT_ASKED, _] => {
            if !is_tls_handshake(said.bytes)? {
                return Ok(Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done });
            }
            Ok(tls(0, if greeted(state) { OtherSide::Here } else { OtherSide::Somewhere }, None))
        }
        [CLIENT_AUTH, _] => client_packet(state, said.bytes),
        _ => Ok(Step::read(said.bytes.len(), Facts::NONE)),
    }
}

fn client_login(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    let bytes = said.bytes;
    if greeted(state) && said.start == Start::Unknown && is_tls_handshake(bytes)? {
        // The request itself was missed.
        return Ok(tls(0, OtherSide::Here, None));
    }
    match packets::login(bytes)? {
        Some(Login::Tls) if greeted(state) => {
            let found = mark("mysql.ssl-request", Side::Client, 0, TLS_REQUEST, "SSLRequest");
            Ok(tls(TLS_REQUEST, OtherSide::Here, Some(found)))
        }
        Some(Login::Tls) => {
            state.phase[0] = CLIENT_ASKED;
            Ok(Step::read(TLS_REQUEST, Facts::FITS))
        }
        Some(Login::Plain { length, claims_tls, compressed, secret_at }) => {
            // Why is told at once: a copy may be cut before the packet ends.
            let known = if state.flags & LOGGED_IN == 0 {
                let reason = if claims_tls { None } else { Some(why_plaintext(state)) };
                logged_in(state, length, reason)
            } else {
                Facts::NONE
            };
            if compressed {
                state.flags |= COMPRESSED;
            }
            let Some(packet) = bytes.get(..length.min(LOGIN_BYTES_READ)) else {
                return Ok(Step::read(0, known));
            };
            let (credentials, plugin) = packets::login_secret(packet, secret_at);
            remember(state, plugin);
            state.phase[0] = CLIENT_AUTH;
            Ok(Step::read(length, Facts { credentials, ..known }))
        }
        Some(Login::Old(length)) => {
            if !greeted(state) {
                return Err(Short);
            }
            let reason = Some(why_plaintext(state));
            state.phase[0] = CLIENT_AUTH;
            Ok(Step::read(length, logged_in(state, length, reason)))
        }
        None if said.start == Start::Unknown => {
            let facts = joined_late(see_client(said))?;
            state.phase[0] = CLIENT_OVER;
            Ok(Step::read(bytes.len(), facts))
        }
        None => Ok(Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done }),
    }
}

fn logged_in(state: &mut FollowState, length: usize, reason: Option<PlaintextReason>) -> Facts {
    state.flags |= LOGGED_IN;
    let encryption = Some(Encryption::Plaintext);
    Facts { encryption, reason, mark: Some(login_mark(length)), ..Facts::FITS }
}

/// A packet of the client after its login: more authentication, or a command.
fn client_packet(state: &mut FollowState, bytes: &[u8]) -> Result<Step, Short> {
    let mut c = Cursor::new(bytes);
    let (payload, sequence) = packets::header(&mut c)?;
    let consumed = payload.saturating_add(4);
    if sequence == 0 && state.flags & COMPRESSED != 0 {
        state.phase[0] = CLIENT_OVER;
        return Ok(Step::read(bytes.len(), Facts::NONE));
    }
    if sequence == 0 && payload > 0 {
        if c.u8()? != COM_CHANGE_USER {
            return Ok(Step::read(consumed, Facts::FITS));
        }
        // The connection of a pool logs in anew: the server may ask for another kind of secret.
        let body = c.take(payload.saturating_sub(1).min(LOGIN_BYTES_READ))?;
        let Some((credentials, plugin)) = packets::change_user(body) else {
            return Ok(Step::read(consumed, Facts::NONE));
        };
        remember(state, plugin);
        state.phase[1] = SERVER_AUTH;
        return Ok(Step::read(consumed, Facts { credentials, ..Facts::FITS }));
    }
    if state.flags & SWITCHED == 0 {
        return Ok(Step::read(consumed, Facts::FITS));
    }
    state.flags &= !SWITCHED;
    let credentials = match state.words[PLUGIN] {
        PLUGIN_CLEAR => Plugin::Clear.secret(payload),
        PLUGIN_HASH => Plugin::Hash.secret(payload),
        _ => Credentials::NONE,
    };
    Ok(Step::read(consumed, Facts { credentials, ..Facts::FITS }))
}

fn follow_server(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    match state.phase {
        [_, SERVER_OPENING] => server_opening(state, said),
        [_, SERVER_AUTH] => server_reply(state, said.bytes),
        _ => Ok(Step::read(said.bytes.len(), Facts::NONE)),
    }
}

fn server_opening(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    let late = said.start == Start::Unknown;
    let greeting = packets::greeting(said.bytes);
    if let Ok(Some(greeting)) = greeting {
        state.phase[1] = SERVER_AUTH;
        state.flags |= GREETED;
        if greeting.offers_tls {
            state.flags |= OFFERS_TLS;
        }
        if state.phase[0] == CLIENT_ASKED {
            return Ok(tls(greeting.length, OtherSide::Here, None));
        }
        // A client that did not wait: now it is known whether it could have asked.
        let early = state.flags & LOGGED_IN != 0;
        let reason = if early { Some(why_plaintext(state)) } else { None };
        return Ok(Step::read(greeting.length, Facts { reason, ..Facts::FITS }));
    }
    let error = packets::error_first(said.bytes);
    if let Ok(Some((length, code))) = error {
        let facts = Facts {
            encryption: Some(Encryption::Plaintext),
            reason: Some(PlaintextReason::ClientNeverAsked),
            ..refused(length, code)
        };
        return Ok(Step { consumed: length, facts, next: Next::Done });
    }
    if late && state.flags & LOGGED_IN != 0 {
        // The greeting was missed.
        greeting?;
        error?;
        state.phase[1] = SERVER_AUTH;
        return server_reply(state, said.bytes);
    }
    if late {
        let facts = joined_late(see_server(said))?;
        state.phase[1] = SERVER_OVER;
        return Ok(Step::read(said.bytes.len(), facts));
    }
    greeting?;
    error?;
    Ok(Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done })
}

/// A packet of the server after its greeting: in clear, it proves that the client did not ask for TLS.
fn server_reply(state: &mut FollowState, bytes: &[u8]) -> Result<Step, Short> {
    let logged_in = state.flags & LOGGED_IN != 0;
    if !logged_in && is_tls_handshake(bytes)? {
        return Ok(tls(0, OtherSide::Somewhere, None));
    }
    let mut c = Cursor::new(bytes);
    let (payload, sequence) = packets::header(&mut c)?;
    if sequence == 0 || !(1..=REPLY_BYTES_MAX).contains(&payload) {
        state.phase[1] = SERVER_OVER;
        return Ok(Step::read(bytes.len(), Facts::NONE));
    }
    let consumed = payload.saturating_add(4);
    let facts = match c.u8()? {
        OK if payload >= OK_BYTES_MIN => {
            state.phase[1] = SERVER_OVER;
            state.flags |= ESTABLISHED;
            // Without the client's direction: it was asked for its password, and it gave it.
            let given = !logged_in && state.flags & SWITCHED != 0;
            let credentials = match state.words[PLUGIN] {
                PLUGIN_CLEAR if given => Credentials::PASSWORD_CLEARTEXT,
                _ => Credentials::NONE,
            };
            Facts { credentials, accepted: true, ..Facts::FITS }
        }
        ERR if payload >= 3 => {
            let code = c.u16_le()?;
            state.phase[1] = SERVER_OVER;
            // After the session stood it is only a failed change of user.
            if state.flags & ESTABLISHED == 0 { refused(consumed, code) } else { Facts::FITS }
        }
        AUTH_SWITCH | AUTH_NEXT_FACTOR => {
            let name = c.take(payload.saturating_sub(1).min(PLUGIN_BYTES_MAX))?;
            let name = name.split(|b| *b == 0).next().unwrap_or_default();
            // Without a name it is the old password hash.
            let plugin = if name.is_empty() { Plugin::Hash } else { Plugin::named(name) };
            remember(state, plugin);
            state.flags |= SWITCHED;
            Facts::FITS
        }
        AUTH_MORE_DATA => Facts::FITS,
        _ => {
            state.phase[1] = SERVER_OVER;
            return Ok(Step::read(bytes.len(), Facts::NONE));
        }
    };
    if logged_in || sequence < 2 {
        return Ok(Step::read(consumed, facts));
    }
    let found = mark("mysql.server-reply", Side::Server, 0, consumed, "clear after greeting");
    let facts = Facts {
        encryption: Some(Encryption::Plaintext),
        reason: Some(why_plaintext(state)),
        mark: facts.mark.or(Some(found)),
        ..facts
    };
    Ok(Step::read(consumed, facts))
}

/// The first bytes of a TLS handshake record, which no clear packet here is long enough to resemble.
fn is_tls_handshake(bytes: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(bytes);
    Ok(c.u8()? == 0x16 && c.u8()? == 3 && matches!(c.u8()?, 1..=4))
}

/// TLS begins after `consumed` bytes.
const fn tls(consumed: usize, other: OtherSide, mark: Option<Mark>) -> Step {
    Step {
        consumed,
        facts: Facts { mark, ..Facts::FITS },
        next: Next::Layer { upgrade: Some(UPGRADE), other },
    }
}

const fn greeted(state: &FollowState) -> bool {
    state.flags & GREETED != 0
}

const fn why_plaintext(state: &FollowState) -> PlaintextReason {
    match (greeted(state), state.flags & OFFERS_TLS != 0) {
        (true, true) => PlaintextReason::ClientDeclined,
        (true, false) => PlaintextReason::ServerRefused,
        (false, _) => PlaintextReason::ClientNeverAsked,
    }
}

fn remember(state: &mut FollowState, plugin: Plugin) {
    state.words[PLUGIN] = match plugin {
        Plugin::Clear => PLUGIN_CLEAR,
        Plugin::Hash => PLUGIN_HASH,
        Plugin::Unknown | Plugin::Other => 0,
    };
}

/// Whether nothing more can be learnt: the server refused, or the rest is compressed, and a secret
/// that was due was seen. Otherwise commands are read on: one may change the user.
const fn is_over(state: &FollowState) -> bool {
    let answered = state.phase[0] == CLIENT_AUTH && state.flags & SWITCHED == 0;
    let closed = state.flags & ESTABLISHED == 0 || state.flags & COMPRESSED != 0;
    state.phase[1] == SERVER_OVER && (answered && closed || state.phase[0] == CLIENT_OVER)
}

/// Facts of a side that was joined late: it fits, or cannot be read.
fn joined_late(seen: Seen) -> Result<Facts, Short> {
    match seen {
        Seen::Open | Seen::Silent => Err(Short),
        Seen::Proven(_) => Ok(Facts::FITS),
        Seen::Unclear | Seen::Other => Ok(Facts::NONE),
    }
}

fn refused(length: usize, code: u16) -> Facts {
    let found = mark("mysql.refused", Side::Server, 0, length, error_name(code));
    Facts { refused: true, mark: Some(found), ..Facts::FITS }
}

/// Our own word for an error that ends a session before it stands.
const fn error_name(code: u16) -> &'static str {
    match code {
        1040 => "ERR 1040",
        1044 => "ERR 1044",
        1045 => "ERR 1045",
        1049 => "ERR 1049",
        1129 => "ERR 1129",
        1130 => "ERR 1130",
        1203 => "ERR 1203",
        1251 => "ERR 1251",
        3159 => "ERR 3159",
        _ => "ERR",
    }
}

fn login_mark(length: usize) -> Mark {
    mark("mysql.handshake-response", Side::Client, 0, length, "HandshakeResponse")
}

fn mark(
    rule: &'static str,
    side: Side,
    offset: usize,
    length: usize,
    constant: &'static str,
) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { rule, side, offset: number(offset), length: number(length), constant }
}

const fn plaintext(mark: Mark) -> Match {
    Match { encryption: Some(Encryption::Plaintext), mark }
}

static INFO: Info = Info {
    name: "mysql",
    title: "MySQL and MariaDB",
    spec: "https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html",
    ports: &[3306],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

const UPGRADE: &str = "mysql-clientssl";

/// An `SSLRequest` with its header.
const TLS_REQUEST: usize = packets::TLS_REQUEST_BYTES + 4;
/// Of a longer login (many attributes) the rest is passed over.
const LOGIN_BYTES_READ: usize = 2048;
const REPLY_BYTES_MAX: usize = 0xffff;
const PLUGIN_BYTES_MAX: usize = 64;
const OK_BYTES_MIN: usize = 5;
/// A view that begins inside a packet is searched this far.
const SCAN_BYTES_MAX: usize = 2048;

const COM_CHANGE_USER: u8 = 0x11;

// First payload byte of the server's packets in the connection phase.
const OK: u8 = 0;
const AUTH_MORE_DATA: u8 = 1;
const AUTH_NEXT_FACTOR: u8 = 2;
const AUTH_SWITCH: u8 = 0xfe;
const ERR: u8 = 0xff;

// Phases.
const CLIENT_OPENING: u8 = 0;
const CLIENT_ASKED: u8 = 1;
const CLIENT_AUTH: u8 = 2;
const CLIENT_OVER: u8 = 3;
const SERVER_OPENING: u8 = 0;
const SERVER_AUTH: u8 = 1;
const SERVER_OVER: u8 = 2;

// Words.
const PLUGIN: usize = 0;
const PLUGIN_CLEAR: u32 = 1;
const PLUGIN_HASH: u32 = 2;

// Flags.
const GREETED: u16 = 1;
const OFFERS_TLS: u16 = 1 << 1;
const LOGGED_IN: u16 = 1 << 2;
const SWITCHED: u16 = 1 << 3;
const COMPRESSED: u16 = 1 << 4;
const ESTABLISHED: u16 = 1 << 5;
