//! PostgreSQL frontend/backend protocol. <https://www.postgresql.org/docs/current/protocol-flow.html>
//!
//! The client speaks first: `StartupMessage`, or before it `SSLRequest` and `GSSENCRequest`, each answered by one byte.
//! `PgBouncer`, Redshift and the PostgreSQL flavours of Aurora speak the same.
use super::sql::{self, Seen};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

mod auth;
mod chain;
mod startup;
#[cfg(test)]
mod tests;

use startup::{Opening, VERSION_2_BYTES, opening};

pub(super) struct Postgresql;

impl Detector for Postgresql {
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
    let opening = match opening(said.bytes) {
        Ok(Some(opening)) => opening,
        Ok(None) if said.start == Start::Known => return Seen::Other,
        Ok(None) => return see_chain(chain::client(said.bytes), Side::Client),
        Err(Short) => return Seen::Open,
    };
    let client = |rule, length, constant| mark(rule, Side::Client, 0, length, constant);
    Seen::Proven(match opening {
        Opening::Ssl => preamble(client("postgresql.ssl-request", 8, "SSLRequest 80877103")),
        Opening::Gss => preamble(client("postgresql.gssenc-request", 8, "GSSENCRequest 80877104")),
        _ => plaintext(opening_mark(opening)),
    })
}

fn see_server(said: Said<'_>) -> Seen {
    let bytes = said.bytes;
    if bytes.is_empty() {
        return Seen::Silent;
    }
    if said.start == Start::Known && bytes.first() == Some(&b'S') {
        return match accepted_then_tls(bytes) {
            Ok(true) => Seen::Proven(preamble(mark(
                "postgresql.ssl-accepted",
                Side::Server,
                0,
                7,
                "S and ServerHello",
            ))),
            Ok(false) => Seen::Other,
            Err(Short) => Seen::Open,
        };
    }
    let (refusals, session) = after_refusals(bytes);
    let opening = session_opening(session);
    if opening == Ok(Some(SHORT_ANSWER_BYTES)) && session.first() == Some(&b'R') {
        // All but zeros are two bytes: it is believed when another message follows.
        match goes_on(session.get(SHORT_ANSWER_BYTES..).unwrap_or_default()) {
            Ok(true) => {}
            Ok(false) if said.start == Start::Known => return Seen::Other,
            Ok(false) => return Seen::Unclear,
            Err(Short) => return Seen::Open,
        }
    }
    match opening {
        // At an unknown place an error may belong to any statement: only a chain counts there.
        Ok(Some(length)) if said.start == Start::Known || session.first() == Some(&b'R') => {
            let (rule, constant) = match (refusals, session.first()) {
                (0, Some(b'E')) => ("postgresql.error-response", "ErrorResponse"),
                (0, Some(b'v')) => ("postgresql.negotiate-version", "NegotiateProtocolVersion"),
                (0, _) => ("postgresql.authentication", "AuthenticationRequest"),
                _ => ("postgresql.ssl-refused", "N"),
            };
            let length = refusals.saturating_add(length);
            return Seen::Proven(plaintext(mark(rule, Side::Server, 0, length, constant)));
        }
        Err(Short) if said.start == Start::Known => return Seen::Open,
        _ if said.start == Start::Known => return Seen::Other,
        _ => {}
    }
    let chain = see_chain(chain::server(bytes), Side::Server);
    if matches!(chain, Seen::Proven(_)) {
        return chain;
    }
    match chain::server_anywhere(bytes) {
        Some((at, length)) => {
            let rule = "postgresql.ready-for-query";
            let found = mark(rule, Side::Server, at, length, "CommandComplete, Ready");
            Seen::Proven(plaintext(found))
        }
        None if bytes.len() < SCAN_BYTES_MAX => Seen::Open,
        None => chain,
    }
}

/// `S` and at once a `ServerHello`: the client's request was not seen, but nothing else begins like that.
fn accepted_then_tls(bytes: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(bytes);
    c.skip(1)?;
    let record = c.u8()? == TLS_HANDSHAKE && c.u8()? == TLS_MAJOR && c.u8()? <= 4;
    Ok(record && c.u16_be()? >= 4 && c.u8()? == TLS_SERVER_HELLO)
}

/// Parts refused requests for encryption (`N`) from the session that goes on in clear.
fn after_refusals(bytes: &[u8]) -> (usize, &[u8]) {
    let refusals = bytes.iter().take(REFUSALS_MAX).take_while(|b| **b == b'N').count();
    (refusals, bytes.get(refusals..).unwrap_or_default())
}

fn see_chain(chain: Result<Option<usize>, Short>, side: Side) -> Seen {
    let constant = match side {
        Side::Client => "frontend messages",
        Side::Server => "backend messages",
    };
    match chain {
        Ok(Some(length)) => {
            Seen::Proven(plaintext(mark("postgresql.messages", side, 0, length, constant)))
        }
        Ok(None) => Seen::Unclear,
        Err(Short) => Seen::Open,
    }
}

/// Length of the message that opens the server's session: version 3, or the plain text error of version 2.
fn session_opening(bytes: &[u8]) -> Result<Option<usize>, Short> {
    let v2 = V2_ERRORS.iter().find(|text| {
        let shared = text.len().min(bytes.len());
        bytes.len() > 1 && bytes.get(..shared) == text.get(..shared)
    });
    match v2 {
        Some(text) if bytes.len() < text.len() => Err(Short),
        Some(text) => Ok(Some(text.len())),
        None => chain::opening(bytes),
    }
}

/// Whether a message of the server's begins here, of less than 64 KiB.
fn goes_on(bytes: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(bytes);
    Ok(chain::is_backend(c.u8()?) && c.u8()? == 0 && c.u8()? == 0)
}

fn follow_client(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    match state.phase {
        [CLIENT_OPENING | CLIENT_ASKED, _] => client_opening(state, said),
        [CLIENT_SESSION, _] => client_session(state, said.bytes),
        // A second frame: the server must have answered the first.
        [CLIENT_SEALED, _] => Ok(taken()),
        _ => Ok(Step::read(said.bytes.len(), Facts::NONE)),
    }
}

fn client_opening(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    if state.phase[0] == CLIENT_ASKED
        && let Some(step) = after_request(state, said.bytes)?
    {
        return Ok(step);
    }
    let Some(opening) = opening(said.bytes)? else {
        if state.phase[0] == CLIENT_OPENING && said.start == Start::Unknown {
            let facts = joined_late(see_client(said))?;
            state.phase[0] = CLIENT_OVER;
            state.flags |= CLIENT_WAS_LATE;
            return Ok(Step::read(said.bytes.len(), facts));
        }
        return Ok(Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done });
    };
    let reason = why_plaintext(state, said.start);
    let plain = Facts {
        encryption: Some(Encryption::Plaintext),
        reason,
        mark: Some(opening_mark(opening)),
        ..Facts::FITS
    };
    Ok(match opening {
        Opening::Ssl | Opening::Gss => {
            state.phase[0] = CLIENT_ASKED;
            state.words[ASKED] = state.words[ASKED].saturating_add(1);
            state.flags &= !LAST_WAS_GSS;
            if opening == Opening::Gss {
                state.flags |= LAST_WAS_GSS;
            }
            Step::read(8, Facts::FITS)
        }
        Opening::Cancel(length) => Step { consumed: length, facts: plain, next: Next::Done },
        Opening::Startup(length) => {
            state.phase[0] = CLIENT_SESSION;
            Step::read(length, plain)
        }
        Opening::StartupV2 => {
            state.phase[0] = CLIENT_OVER;
            state.flags |= VERSION_2_0;
            Step::read(VERSION_2_BYTES, plain)
        }
    })
}

/// Encryption that begins before the server's answer was seen: that direction is late or missing.
fn after_request(state: &mut FollowState, bytes: &[u8]) -> Result<Option<Step>, Short> {
    let mut c = Cursor::new(bytes);
    if state.flags & LAST_WAS_GSS != 0 {
        // A frame around a GSS-API token (RFC 2743 section 3.1); no protocol code begins like that.
        let framed = c.array::<4>()?.first() == Some(&0);
        if framed && c.u8()? == GSS_TOKEN {
            // Until the server answers with a token of its own, the exchange may yet fail.
            state.phase[0] = CLIENT_SEALED;
            let found = mark("postgresql.gss-token", Side::Client, 0, 5, "GSS-API token");
            let encryption = Some(Encryption::OtherEncrypted);
            let facts = Facts { encryption, refused: true, mark: Some(found), ..Facts::FITS };
            let frame = Cursor::new(bytes).u32_be()?;
            let length = usize::try_from(frame).unwrap_or(usize::MAX).saturating_add(4);
            return Ok(Some(Step::read(length, facts)));
        }
        return Ok(None);
    }
    if c.u8()? != TLS_HANDSHAKE || c.u8()? != TLS_MAJOR {
        return Ok(None);
    }
    Ok(Some(Step {
        consumed: 0,
        facts: Facts::FITS,
        next: Next::Layer { upgrade: Some(UPGRADE), other: OtherSide::Somewhere },
    }))
}

fn client_session(state: &mut FollowState, bytes: &[u8]) -> Result<Step, Short> {
    let mut c = Cursor::new(bytes);
    let (kind, length) = chain::header(&mut c)?;
    if !(4..=SESSION_BYTES_MAX).contains(&length) {
        state.phase[0] = CLIENT_OVER;
        return Ok(Step::read(bytes.len(), Facts::NONE));
    }
    let consumed = length.saturating_add(1);
    let body = length.saturating_sub(4);
    let kinds = match (kind, state.words[METHOD]) {
        (b'p', _) => {
            let shown = c.take(body.min(SECRET_BYTES_SHOWN))?;
            if state.flags & SECRET_SEEN != 0 {
                return Ok(Step::read(consumed, Facts::NONE));
            }
            auth::credentials(state.words[METHOD], shown, body)
        }
        (b'd', auth::REDSHIFT_DIGEST) => Credentials::PASSWORD_HASH_CHALLENGE,
        (b'i', auth::REDSHIFT_IDP) => Credentials::BEARER_TOKEN,
        _ => {
            // Past authentication: the client has nothing more to tell.
            state.phase[0] = CLIENT_OVER;
            let facts = if chain::is_frontend(kind) { Facts::FITS } else { Facts::NONE };
            return Ok(Step::read(consumed, facts));
        }
    };
    state.flags |= SECRET_SEEN;
    Ok(Step::read(consumed, Facts { credentials: kinds, ..Facts::FITS }))
}

fn follow_server(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    match state.phase {
        [CLIENT_SEALED, SERVER_OPENING] if said.bytes.first() == Some(&0) => Ok(taken()),
        [_, SERVER_OPENING] if state.words[ASKED] > state.words[ANSWERED] => {
            server_answer(state, said)
        }
        [_, SERVER_OPENING] => server_opening(state, said),
        [_, SERVER_SESSION] => server_session(state, said.bytes),
        _ => Ok(Step::read(said.bytes.len(), Facts::NONE)),
    }
}

/// The single byte after `SSLRequest` or `GSSENCRequest`.
fn server_answer(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    let gss = state.flags & LAST_WAS_GSS != 0;
    // The client's first token may be read before the answer that allowed it.
    let waiting = state.phase[0] == CLIENT_ASKED || gss && state.phase[0] == CLIENT_SEALED;
    let open = waiting && state.words[ANSWERED].saturating_add(1) == state.words[ASKED];
    let found = |rule, constant| mark(rule, Side::Server, 0, 1, constant);
    let answered = |facts| Step::read(1, facts);
    let step = match said.bytes.first().ok_or(Short)? {
        b'S' if open && !gss => Step {
            next: Next::Layer { upgrade: Some(UPGRADE), other: OtherSide::Here },
            ..answered(Facts { mark: Some(found("postgresql.ssl-accepted", "S")), ..Facts::FITS })
        },
        // Sealed only with the first token: a client without a ticket closes here.
        b'G' if open && gss => {
            answered(Facts { mark: Some(found("postgresql.gss-accepted", "G")), ..Facts::FITS })
        }
        b'N' => {
            let rule = if gss { "postgresql.gss-refused" } else { "postgresql.ssl-refused" };
            // If the client goes on in clear, it settles the encryption; if not, this is the end.
            answered(Facts { refused: open, mark: Some(found(rule, "N")), ..Facts::FITS })
        }
        // The answer was lost, or an error takes its place.
        _ => return server_opening(state, said),
    };
    state.words[ANSWERED] = state.words[ANSWERED].saturating_add(1);
    Ok(step)
}

fn server_opening(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    let bytes = said.bytes;
    let first = *bytes.first().ok_or(Short)?;
    let unseen = state.phase[0] == CLIENT_OPENING || state.flags & CLIENT_WAS_LATE != 0;
    if state.flags & VERSION_2_0 != 0 {
        return version_2(state, bytes);
    }
    if unseen && first == b'S' && said.start == Start::Known && accepted_then_tls(bytes)? {
        return Ok(Step {
            consumed: 1,
            facts: Facts::FITS,
            next: Next::Layer { upgrade: Some(UPGRADE), other: OtherSide::Somewhere },
        });
    }
    if unseen && first == b'N' {
        // The client's request was not seen, but its refusal is.
        let (_, session) = after_refusals(bytes);
        if session_opening(session)?.is_some() {
            state.words[ANSWERED] = state.words[ANSWERED].saturating_add(1);
            let facts = Facts {
                encryption: Some(Encryption::Plaintext),
                reason: Some(PlaintextReason::ServerRefused),
                mark: Some(mark("postgresql.ssl-refused", Side::Server, 0, 1, "N")),
                ..Facts::FITS
            };
            return Ok(Step::read(1, facts));
        }
    }
    let opening = session_opening(bytes);
    let late = said.start == Start::Unknown && state.words[ANSWERED] == 0;
    if late && (first != b'R' && unseen || !matches!(opening, Ok(Some(_)))) {
        let facts = joined_late(see_server(said))?;
        state.phase[1] = SERVER_OVER;
        return Ok(Step::read(bytes.len(), facts));
    }
    match opening? {
        Some(_) => {}
        // A one-byte answer to a request not read yet.
        None if matches!(first, b'S' | b'G' | b'N') && state.phase[0] < CLIENT_SESSION => {
            return Err(Short);
        }
        None => return Ok(Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done }),
    }
    state.phase[1] = SERVER_SESSION;
    let reason = why_plaintext(state, said.start);
    let step = server_session(state, bytes)?;
    // An error instead of an answer leaves open what the client would have sent.
    let asking = state.phase[0] == CLIENT_ASKED && step.facts.refused;
    let encryption = if asking { None } else { Some(Encryption::Plaintext) };
    let reason = if asking { None } else { reason };
    Ok(Step { facts: Facts { encryption, reason, ..step.facts }, ..step })
}

/// Protocol 2.0: Authentication is `R` and a code without a length, errors are text.
fn version_2(state: &mut FollowState, bytes: &[u8]) -> Result<Step, Short> {
    let mut c = Cursor::new(bytes);
    let facts = match c.u8()? {
        b'R' if c.u32_be()? <= 6 => Facts::FITS,
        b'E' => Facts { refused: true, ..Facts::FITS },
        _ => Facts::MISMATCH,
    };
    state.phase[1] = SERVER_OVER;
    Ok(Step::read(bytes.len(), facts))
}

fn server_session(state: &mut FollowState, bytes: &[u8]) -> Result<Step, Short> {
    let mut c = Cursor::new(bytes);
    if V2_ERRORS.iter().any(|text| bytes.starts_with(text)) {
        state.phase[1] = SERVER_OVER;
        return Ok(Step::read(bytes.len(), refused(5, "ErrorResponse")));
    }
    let (kind, length) = chain::header(&mut c)?;
    if !(4..=SESSION_BYTES_MAX).contains(&length) || !chain::is_backend(kind) {
        state.phase[1] = SERVER_OVER;
        return Ok(Step::read(bytes.len(), Facts::NONE));
    }
    let consumed = length.saturating_add(1);
    let body = length.saturating_sub(4);
    let facts = match kind {
        b'R' => authentication(state, c.u32_be()?),
        b'E' => {
            let shown = if body > ERROR_BYTES_MAX { &[] } else { c.take(body)? };
            state.phase[1] = SERVER_OVER;
            refused(consumed, sqlstate_name(shown))
        }
        b'S' | b'K' | b'N' | b'v' | b'A' => Facts::FITS,
        // ReadyForQuery, or data: the session stands.
        _ => {
            state.phase[1] = SERVER_OVER;
            Facts { accepted: true, ..Facts::FITS }
        }
    };
    Ok(Step::read(consumed, facts))
}

/// An Authentication request: what the client is asked for, or that it was enough.
fn authentication(state: &mut FollowState, code: u32) -> Facts {
    let method = state.words[METHOD];
    if code == auth::UNSEEN && state.phase[0] == CLIENT_OPENING {
        // Without the client's direction: it was asked for its secret, and it gave it.
        return Facts { credentials: auth::given(method), ..Facts::FITS };
    }
    // Continuations of SASL, and requests without a password, say nothing.
    let Some(constant) = auth::request_name(code) else { return Facts::FITS };
    state.words[METHOD] = code;
    // If the answer came first (directions captured apart), anything else was known by its own text.
    let credentials = match code {
        auth::CLEARTEXT | auth::CRYPT if state.flags & SECRET_SEEN != 0 => auth::given(code),
        _ => Credentials::NONE,
    };
    let found = mark("postgresql.authentication", Side::Server, 0, 9, constant);
    Facts { credentials, mark: Some(found), ..Facts::FITS }
}

/// Facts of a side that was joined late: it fits, or cannot be read.
fn joined_late(seen: Seen) -> Result<Facts, Short> {
    match seen {
        Seen::Open | Seen::Silent => Err(Short),
        Seen::Proven(_) => Ok(Facts::FITS),
        Seen::Unclear | Seen::Other => Ok(Facts::NONE),
    }
}

/// Why a session that begins now is in clear; not known where its first bytes were missed.
fn why_plaintext(state: &FollowState, start: Start) -> Option<PlaintextReason> {
    if state.words[ASKED] > 0 || state.words[ANSWERED] > 0 {
        return Some(PlaintextReason::ServerRefused);
    }
    (start == Start::Known).then_some(PlaintextReason::ClientNeverAsked)
}

/// Whether nothing more can be learnt: the server's session stands or ended, and a secret it asked for was seen.
fn is_over(state: &FollowState) -> bool {
    let wanted = auth::request_name(state.words[METHOD]).is_some();
    match state.phase {
        [CLIENT_OVER, SERVER_OVER] => true,
        [CLIENT_SESSION, SERVER_OVER] => !wanted || state.flags & SECRET_SEEN != 0,
        _ => false,
    }
}

/// GSS-API frames from here on.
fn taken() -> Step {
    Step { consumed: 0, facts: Facts { accepted: true, ..Facts::FITS }, next: Next::Done }
}

fn refused(length: usize, constant: &'static str) -> Facts {
    let found = mark("postgresql.refused", Side::Server, 0, length, constant);
    Facts { refused: true, mark: Some(found), ..Facts::FITS }
}

/// Our own word for an error that ends a session before it stands.
fn sqlstate_name(body: &[u8]) -> &'static str {
    match chain::sqlstate(body).as_ref() {
        Some(b"28000") => "SQLSTATE 28000",
        Some(b"28P01") => "SQLSTATE 28P01",
        Some(b"3D000") => "SQLSTATE 3D000",
        Some(b"53300") => "SQLSTATE 53300",
        Some(b"57P03") => "SQLSTATE 57P03",
        Some(b"08P01") => "SQLSTATE 08P01",
        _ => "ErrorResponse",
    }
}

fn opening_mark(opening: Opening) -> Mark {
    let (rule, length, constant) = match opening {
        Opening::Ssl => ("postgresql.ssl-request", 8, "SSLRequest 80877103"),
        Opening::Gss => ("postgresql.gssenc-request", 8, "GSSENCRequest 80877104"),
        Opening::Cancel(length) => ("postgresql.cancel-request", length, "CancelRequest 80877102"),
        Opening::Startup(length) => ("postgresql.startup", length, "StartupMessage 3"),
        Opening::StartupV2 => ("postgresql.startup", VERSION_2_BYTES, "StartupPacket 2"),
    };
    mark(rule, Side::Client, 0, length, constant)
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

const fn preamble(mark: Mark) -> Match {
    Match { encryption: None, mark }
}
/// An Authentication request without a body, or the end of authentication.
const SHORT_ANSWER_BYTES: usize = 9;

static INFO: Info = Info {
    name: "postgresql",
    title: "PostgreSQL",
    spec: "https://www.postgresql.org/docs/current/protocol.html",
    ports: &[5432, 5439, 6432],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};

const UPGRADE: &str = "postgresql-sslrequest";

const REFUSALS_MAX: usize = 2;
/// A view that begins inside a message is searched this far.
const SCAN_BYTES_MAX: usize = 2048;
/// Longest message before the session stands.
const SESSION_BYTES_MAX: usize = 1 << 20;
const ERROR_BYTES_MAX: usize = 2048;
const SECRET_BYTES_SHOWN: usize = 512;
/// Errors of a server that did not get as far as protocol 3.
const V2_ERRORS: &[&[u8]] = &[b"EFATAL:  ", b"EERROR:  ", b"Ecould not fork new process"];

const TLS_HANDSHAKE: u8 = 0x16;
const TLS_MAJOR: u8 = 3;
const TLS_SERVER_HELLO: u8 = 2;
const GSS_TOKEN: u8 = 0x60;

// Phases.
const CLIENT_OPENING: u8 = 0;
const CLIENT_ASKED: u8 = 1;
const CLIENT_SESSION: u8 = 2;
const CLIENT_OVER: u8 = 3;
const SERVER_OPENING: u8 = 0;
const SERVER_SESSION: u8 = 1;
const SERVER_OVER: u8 = 2;

// Words.
const ASKED: usize = 0;
const ANSWERED: usize = 1;
const METHOD: usize = 2;

// Flags.
/// Client phase: its GSS-API token was sent.
const CLIENT_SEALED: u8 = 9;
const LAST_WAS_GSS: u16 = 1;
const SECRET_SEEN: u16 = 1 << 1;
const VERSION_2_0: u16 = 1 << 2;
const CLIENT_WAS_LATE: u16 = 1 << 3;
