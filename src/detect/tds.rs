//! Tabular Data Stream, the protocol of SQL Server (and of Sybase, from which it comes).
//! <https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/>
//!
//! Both sides open with PRELOGIN, which settles encryption; a TLS handshake then travels inside PRELOGIN packets. With
//! encryption off only the login is sealed. TDS 8 begins with TLS and is told by its ALPN.
use super::store::{self, Flaw, Read, mark, need};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, holds},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport, tls::RecordHeader},
};
use packets::{
    BATCH, HEADER_BYTES, Header, LOGIN7, Login, OLD_LOGIN, PRELOGIN, RESPONSE, RPC, SSPI, TOKEN,
    TRANSACTION,
};

mod packets;
#[cfg(test)]
mod tests;

pub(super) struct Tds;

impl Detector for Tds {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, see_client, see_server)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        store::read_on(state, side, said, None, |state, bytes| match side {
            Side::Client => from_client(state, bytes),
            Side::Server => from_server(state, bytes),
        })
    }
}

fn see_client(said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let header = Header::read(&mut c, CLIENT_KINDS)?;
    let late = said.start == Start::Unknown;
    let found = |rule, length, constant| mark(rule, Side::Client, 0, length, constant);
    Ok(match header.kind {
        PRELOGIN if late && is_record(&c)? => wrapped(c, header, Side::Client)?,
        PRELOGIN => {
            packets::prelogin(&mut c, header.body)?;
            Match { encryption: None, mark: found("tds.prelogin", c.at(), "PRELOGIN") }
        }
        LOGIN7 => {
            packets::login7(&mut c, header)?;
            store::plaintext(found("tds.login", c.at(), "LOGIN7"))
        }
        OLD_LOGIN => {
            packets::old_login(&mut c, header)?;
            store::plaintext(found("tds.login", c.at(), "login record"))
        }
        BATCH | RPC | TRANSACTION if late => {
            packets::request(&mut c, header)?;
            store::plaintext(found("tds.request", c.at(), "request"))
        }
        _ => return Err(Flaw::Bad),
    })
}

fn see_server(said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let late = said.start == Start::Unknown;
    let header = Header::read(&mut c, if late { &[RESPONSE, PRELOGIN] } else { &[RESPONSE] })?;
    if header.kind == PRELOGIN {
        return wrapped(c, header, Side::Server);
    }
    if c.peek()? == 0 {
        packets::prelogin(&mut c, header.body)?;
        let found = mark("tds.prelogin", Side::Server, 0, c.at(), "PRELOGIN");
        return Ok(Match { encryption: None, mark: found });
    }
    packets::first_token(&mut Cursor::new(c.rest()))?;
    let body = c.take(header.body)?;
    if !(header.last && packets::ends_done(body)) {
        // A result of several packets: the next header must follow the last.
        need(!header.last)?;
        let next = Header::read(&mut c, &[RESPONSE])?;
        need(header.goes_on(&next) && c.at() >= RESULT_BYTES_MIN)?;
    }
    Ok(store::plaintext(mark("tds.response", Side::Server, 0, c.at(), "tokens, DONE")))
}

/// Joined late: a packet that carries a record of a TLS handshake, to its end or beyond.
fn wrapped(mut c: Cursor<'_>, header: Header, side: Side) -> Read<Match> {
    let record = RecordHeader::read(c.array()?);
    let handshake =
        |kind| matches!(kind, RecordHeader::HANDSHAKE | RecordHeader::CHANGE_CIPHER_SPEC);
    need(record.is_some_and(|record| handshake(record.kind) && record.length > 0))?;
    need(header.body > RecordHeader::BYTES)?;
    let found = mark("tds.tls-handshake", side, 0, c.at(), "TLS in PRELOGIN");
    Ok(Match { encryption: None, mark: found })
}

fn from_client(state: &mut FollowState, bytes: &[u8]) -> Read<Step> {
    let mut c = Cursor::new(bytes);
    let header = Header::read(&mut c, CLIENT_KINDS)?;
    let consumed = header.body.saturating_add(HEADER_BYTES);
    if header.kind == PRELOGIN && (store::has_spoken(state, Side::Client) || is_record(&c)?) {
        return handshake(state, &mut c, Side::Client);
    }
    let mut facts = Facts::FITS;
    match header.kind {
        PRELOGIN => {
            let value = packets::prelogin(&mut c, header.body)?;
            set(state, CLIENT_VALUE, value);
        }
        LOGIN7 | OLD_LOGIN => {
            let login = if header.kind == LOGIN7 {
                packets::login7(&mut c, header)?
            } else {
                packets::old_login(&mut c, header)?
            };
            facts = logged_in(state, login, consumed);
        }
        SSPI => {
            let body = c.take(header.body.min(store::SHOWN_BYTES_MAX))?;
            if holds(body, b"NTLMSSP\0\x03") {
                facts.credentials = Credentials::PASSWORD_HASH_CHALLENGE;
            }
        }
        TOKEN => facts.credentials = Credentials::BEARER_TOKEN,
        _ => store::over(state, Side::Client),
    }
    if !facts.credentials.is_empty() {
        facts.mark = Some(mark("tds.login", Side::Client, 0, consumed, "LOGIN7"));
    }
    Ok(Step::read(consumed, facts))
}

/// A login in clear. The password is only obfuscated: nibbles exchanged, XOR A5.
fn logged_in(state: &mut FollowState, login: Login, consumed: usize) -> Facts {
    state.flags |= CLEAR_LOGIN;
    let credentials = if login.password && !login.sspi {
        Credentials::PASSWORD_CLEARTEXT
    } else {
        Credentials::NONE
    };
    Facts {
        encryption: Some(Encryption::Plaintext),
        reason: Some(reason(state)),
        credentials,
        mark: Some(mark("tds.login", Side::Client, 0, consumed, "LOGIN7")),
        ..Facts::FITS
    }
}

fn from_server(state: &mut FollowState, bytes: &[u8]) -> Read<Step> {
    let mut c = Cursor::new(bytes);
    let header = Header::read(&mut c, &[RESPONSE, PRELOGIN])?;
    let consumed = header.body.saturating_add(HEADER_BYTES);
    if header.kind == PRELOGIN || store::has_spoken(state, Side::Server) && is_record(&c)? {
        return handshake(state, &mut c, Side::Server);
    }
    need(header.kind == RESPONSE)?;
    let mut facts = Facts::FITS;
    if c.peek()? == 0 {
        let value = packets::prelogin(&mut c, header.body)?;
        set(state, SERVER_VALUE, value);
        let client = get(state, CLIENT_VALUE);
        let refuses = match value {
            Some(NOT_SUPPORTED) => matches!(client, Some(ON | REQUIRED)),
            Some(REQUIRED) => client == Some(NOT_SUPPORTED),
            _ => false,
        };
        facts.refused = refuses;
        facts.reason = (state.flags & CLEAR_LOGIN != 0).then(|| reason(state));
        if refuses {
            facts.mark = Some(mark("tds.encryption", Side::Server, 0, consumed, "ENCRYPTION"));
        }
        return Ok(Step::read(consumed, facts));
    }
    packets::first_token(&mut Cursor::new(c.rest()))?;
    let body = c.take(header.body.min(store::SHOWN_BYTES_MAX))?;
    // A response in clear: to a login that was not seen, if need be.
    facts.encryption = Some(Encryption::Plaintext);
    if let Some(taken) = packets::login_answer(body) {
        (facts.accepted, facts.refused) = (taken, !taken);
        if facts.refused {
            facts.mark = Some(mark("tds.refused", Side::Server, 0, consumed, "ERROR"));
        }
        store::over(state, Side::Server);
    }
    Ok(Step::read(consumed, facts))
}

/// Whether a record of a TLS handshake stands here: old servers send it in responses.
fn is_record(c: &Cursor<'_>) -> Read<bool> {
    let mut ahead = *c;
    let kind = ahead.u8()?;
    let handshake = matches!(kind, RecordHeader::HANDSHAKE | RecordHeader::CHANGE_CIPHER_SPEC);
    Ok(handshake && ahead.u8()? == TLS_MAJOR)
}

/// A TLS handshake begins inside the packet at hand.
fn handshake(state: &mut FollowState, c: &mut Cursor<'_>, side: Side) -> Read<Step> {
    need(is_record(c)?)?;
    let sealed = match (get(state, CLIENT_VALUE), get(state, SERVER_VALUE)) {
        (_, Some(OFF)) => Some(false),
        (_, Some(ON | REQUIRED)) | (Some(ON | REQUIRED), None) => Some(true),
        _ => None,
    };
    let found = mark("tds.tls-handshake", side, 0, c.at().saturating_add(2), "TLS in PRELOGIN");
    let reason = Some(PlaintextReason::ClientDeclined);
    let facts = Facts { mark: Some(found), reason, ..Facts::FITS };
    Ok(Step { consumed: 0, facts, next: Next::Wrapped { upgrade: UPGRADE, sealed } })
}

/// Why a login went in clear.
fn reason(state: &FollowState) -> PlaintextReason {
    match (get(state, CLIENT_VALUE), get(state, SERVER_VALUE)) {
        (Some(OFF | ON | REQUIRED), Some(NOT_SUPPORTED)) => PlaintextReason::ServerRefused,
        (_, Some(OFF | ON | REQUIRED)) => PlaintextReason::ClientDeclined,
        _ => PlaintextReason::ClientNeverAsked,
    }
}

fn set(state: &mut FollowState, word: usize, value: Option<u8>) {
    if let (Some(word), Some(value)) = (state.words.get_mut(word), value) {
        // Without the flag for a client certificate.
        *word = u32::from(value & 0x7f).saturating_add(1);
    }
}

fn get(state: &FollowState, word: usize) -> Option<u8> {
    let value = state.words.get(word)?.checked_sub(1)?;
    u8::try_from(value).ok()
}

const CLIENT_KINDS: &[u8] = &[BATCH, OLD_LOGIN, RPC, TOKEN, TRANSACTION, LOGIN7, SSPI, PRELOGIN];
/// A packet that a result fills is at least so long.
const RESULT_BYTES_MIN: usize = 512;
const UPGRADE: &str = "tds-prelogin";
const TLS_MAJOR: u8 = 3;

// Values of ENCRYPTION.
const OFF: u8 = 0;
const ON: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const REQUIRED: u8 = 3;

// Words: these values, plus one.
const CLIENT_VALUE: usize = 0;
const SERVER_VALUE: usize = 1;
/// Flag: the login was read.
const CLEAR_LOGIN: u16 = 1;

static INFO: Info = Info {
    name: "tds",
    title: "Tabular Data Stream (SQL Server)",
    spec: "https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/",
    ports: &[1433],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};
