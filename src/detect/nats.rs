//! NATS client protocol. <https://docs.nats.io/reference/reference-protocols/nats-protocol>
//!
//! The server greets with INFO and says whether it wants TLS; the client goes on with a TLS handshake or with CONNECT.
//! This comes before TLS in the registry: the client's hello is the answer to a greeting.
use super::fit::{self, Fit, begins, begins_any, decimal, either, mark};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::{Cursor, Short, find, holds},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Nats;

impl Detector for Nats {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        let (client, server) = (view.client, view.server);
        if view.transport != Transport::Tcp || client.bytes.is_empty() && server.bytes.is_empty() {
            return if view.transport == Transport::Tcp { Probe::More } else { Probe::No };
        }
        // This comes before TLS, which shall wait for nobody but a greeting.
        let greets = match server.start {
            Start::Known => info(server.bytes),
            Start::Unknown => later(Side::Server, server.bytes).map(|found| found.is_some()),
        };
        let hello = !client.bytes.is_empty() && begins(client.bytes, TLS_HANDSHAKE) != Ok(false);
        match (greets, server.start) {
            (Ok(true), Start::Known) if hello => return Match::preamble(greeting_mark()),
            (Err(Short), Start::Known) if hello && client.start == Start::Known => {
                return Probe::More;
            }
            // A client that fits counts, whatever answers it.
            (Ok(false), Start::Known) if client.bytes.is_empty() => return Probe::No,
            (Ok(false), Start::Known) if opening(Side::Client, client) == Ok(None) => {
                return Probe::No;
            }
            (Ok(false), _) if client.bytes.is_empty() => return Probe::No,
            _ if hello => return Probe::No,
            _ if (server.bytes.is_empty() || server.start == Start::Unknown)
                && !client.bytes.is_empty()
                && opening(Side::Client, client) == Ok(None) =>
            {
                return Probe::No;
            }
            _ => {}
        }
        match either(view, opening) {
            // The greeting is read first: it says what the client was offered.
            Probe::Match(_) if info(view.server.bytes) == Ok(true) => {
                Match::preamble(greeting_mark())
            }
            Probe::Match(found) if found.mark.rule == GREETING => Match::preamble(found.mark),
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = match (side, state.phase) {
            (Side::Client, [OVER, _]) | (Side::Server, [_, OVER]) => {
                Ok(Step::read(said.bytes.len(), Facts::NONE))
            }
            (Side::Client, _) => client(state, said),
            (Side::Server, [_, OPENING]) => greeted(state, said),
            (Side::Server, _) => server(state, said),
        };
        let step = match step {
            Err(Short) if said.bytes.len() > LINE_BYTES_MAX => return Step::DONE,
            step => step.unwrap_or_else(Step::from),
        };
        if step.next == Next::Continue && state.phase == [OVER, OVER] {
            return Step { next: Next::Done, ..step };
        }
        step
    }
}

fn opening(side: Side, said: Said<'_>) -> Fit {
    match (side, said.start) {
        (Side::Server, Start::Known) => Ok(info(said.bytes)?.then(greeting_mark)),
        (Side::Client, Start::Known) => {
            let found = begins(said.bytes, b"CONNECT {")?;
            Ok(found.then(|| mark("nats.connect", side, 0, 9, "CONNECT {")))
        }
        (_, Start::Unknown) => later(side, said.bytes),
    }
}

/// Whether a greeting begins here: INFO with a server's identity.
fn info(bytes: &[u8]) -> Result<bool, Short> {
    if !begins(bytes, b"INFO {")? {
        return Ok(false);
    }
    let shown = bytes.get(..INFO_BYTES_SHOWN).unwrap_or(bytes);
    let line = shown.split(|b| *b == b'\n').next().unwrap_or_default();
    if holds(line, b"\"server_id\"") {
        return Ok(true);
    }
    if line.len() < shown.len() || shown.len() == INFO_BYTES_SHOWN { Ok(false) } else { Err(Short) }
}

fn greeting_mark() -> crate::model::Mark {
    mark(GREETING, Side::Server, 0, 6, "INFO {")
}

fn client(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    if begins(said.bytes, b"\x16\x03")? {
        let greeted = state.phase[1] != OPENING;
        let other = if greeted { OtherSide::Here } else { OtherSide::Somewhere };
        return Ok(layer(other));
    }
    let late = said.start == Start::Unknown;
    if !begins(said.bytes, b"CONNECT {")? {
        let fits = late && matches!(later(Side::Client, said.bytes), Ok(Some(_)));
        if !late {
            return Ok(fit::other_protocol());
        }
        state.phase[0] = OVER;
        let encryption = fits.then_some(Encryption::Plaintext);
        return Ok(Step::read(said.bytes.len(), Facts { fits, encryption, ..Facts::NONE }));
    }
    let mut c = Cursor::new(said.bytes);
    let line = c.line()?;
    state.phase[0] = OVER;
    let mut facts = Facts { encryption: Some(Encryption::Plaintext), ..Facts::FITS };
    facts.reason = declined(state).or(Some(PlaintextReason::ClientNeverAsked));
    for (key, kind, constant) in SECRETS {
        if value(line, key)
            .is_some_and(|value| value.starts_with(b"\"") && !value.starts_with(b"\"\""))
        {
            facts.credentials = facts.credentials.with(*kind);
            facts.mark = Some(mark("nats.login", Side::Client, 0, 9, constant));
        }
    }
    Ok(Step::read(said.bytes.len(), facts))
}

/// The server's first line.
fn greeted(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    if !begins(said.bytes, b"INFO {")? {
        if said.start == Start::Known {
            return Ok(fit::other_protocol());
        }
        return server(state, said);
    }
    let mut c = Cursor::new(said.bytes);
    let line = c.line()?;
    let on = |key| value(line, key).is_some_and(|value| value.starts_with(b"true"));
    let offered = on(b"\"tls_required\"") || on(b"\"tls_available\"") || on(b"\"tls_verify\"");
    state.words[0] = if offered { OFFERED } else { NOT_OFFERED };
    state.phase[1] = GREETED;
    Ok(Step::read(c.at(), Facts::FITS))
}

/// Why a client goes on in clear after this greeting.
const fn declined(state: &FollowState) -> Option<PlaintextReason> {
    match state.words {
        [OFFERED, ..] => Some(PlaintextReason::ClientDeclined),
        [NOT_OFFERED, ..] => Some(PlaintextReason::ServerRefused),
        _ => None,
    }
}

/// Lines after the greeting.
fn server(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    if begins(said.bytes, b"\x16\x03")? && state.phase[0] == OPENING {
        return Ok(layer(OtherSide::Somewhere));
    }
    let known = begins_any(said.bytes, SERVER_LINES);
    // Where the client is not seen, what it was offered tells why.
    let reason = (state.phase[0] == OPENING).then(|| declined(state)).flatten();
    let plain = Facts { encryption: Some(Encryption::Plaintext), reason, ..Facts::FITS };
    match known? {
        Some(INFO_LINE | PING_LINE) => {
            let mut c = Cursor::new(said.bytes);
            c.line()?;
            Ok(Step::read(c.at(), plain))
        }
        Some(ERROR_LINE) => {
            let length = Cursor::new(said.bytes).line()?.len();
            state.phase[1] = OVER;
            let found = mark("nats.refused", Side::Server, 0, length, "-ERR");
            let facts = Facts { refused: true, mark: Some(found), ..plain };
            Ok(Step::read(said.bytes.len(), facts))
        }
        Some(_) => {
            state.phase[1] = OVER;
            Ok(Step::read(said.bytes.len(), Facts { accepted: true, ..plain }))
        }
        None => {
            state.phase[1] = OVER;
            Ok(Step::read(said.bytes.len(), Facts::NONE))
        }
    }
}

const fn layer(other: OtherSide) -> Step {
    Step { consumed: 0, facts: Facts::FITS, next: Next::Layer { upgrade: Some(UPGRADE), other } }
}

/// What stands behind `key` in an object without nesting.
fn value<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = find(line, key)?;
    let rest = line.get(at.saturating_add(key.len())..)?.trim_ascii_start();
    Some(rest.strip_prefix(b":")?.trim_ascii_start())
}

/// A stream joined late: a message whose payload ends where it says, or two subscriptions.
fn later(side: Side, bytes: &[u8]) -> Fit {
    let mut c = Cursor::new(bytes);
    for lines in 0..LATE_LINES_MAX {
        let starts = if side == Side::Client { CLIENT_OPS } else { SERVER_OPS };
        let Some(at) = begins_any(c.rest(), starts)? else { return Ok(None) };
        let verb = starts.get(at).copied().unwrap_or_default();
        if verb.ends_with(b"\n") {
            c.skip(verb.len())?;
            continue;
        }
        if c.left() > LINE_BYTES_MAX && !c.rest().iter().take(LINE_BYTES_MAX).any(|b| *b == b'\n') {
            return Ok(None);
        }
        let line = c.until(b'\n')?;
        let Some(arguments) = line.strip_prefix(verb).and_then(|l| l.strip_suffix(b"\r")) else {
            return Ok(None);
        };
        let found = || Ok(Some(mark("nats.operation", side, 0, verb.len(), "operation line")));
        match verb {
            b"SUB " | b"UNSUB " => {
                if !is_operation(arguments, 3) {
                    return Ok(None);
                }
                if lines > 0 {
                    return found();
                }
            }
            _ => {
                let digits = arguments.rsplit(|b| *b == b' ').next().unwrap_or_default();
                let length = decimal(digits, PAYLOAD_BYTES_MAX);
                let (true, Some(length)) = (is_operation(arguments, 5), length) else {
                    return Ok(None);
                };
                c.skip(length)?;
                return if begins(c.rest(), b"\r\n")? { found() } else { Ok(None) };
            }
        }
    }
    Ok(None)
}

/// Two to `most` words: a subject first, a number or a subscription's id last.
fn is_operation(arguments: &[u8], most: usize) -> bool {
    let mut words = arguments.split(|b| *b == b' ').filter(|word| !word.is_empty());
    (2..=most).contains(&words.clone().count())
        && words.clone().all(|word| word.iter().all(u8::is_ascii_graphic))
        && words.next_back().is_some_and(|word| word.iter().all(u8::is_ascii_alphanumeric))
}

const GREETING: &str = "nats.info";
const UPGRADE: &str = "nats-tls";
const TLS_HANDSHAKE: &[u8] = b"\x16\x03";
/// A greeting names the server early; lists of addresses come last.
const INFO_BYTES_SHOWN: usize = 512;
const LINE_BYTES_MAX: usize = 8192;
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
const LATE_LINES_MAX: usize = 16;

const OPENING: u8 = 0;
const GREETED: u8 = 1;
const OVER: u8 = 2;
// What the greeting said of TLS.
const OFFERED: u32 = 1;
const NOT_OFFERED: u32 = 2;

const SERVER_LINES: &[&[u8]] =
    &[b"INFO {", b"PING\r\n", b"-ERR ", b"+OK\r\n", b"PONG\r\n", b"MSG ", b"HMSG "];
const INFO_LINE: usize = 0;
const PING_LINE: usize = 1;
const ERROR_LINE: usize = 2;
const CLIENT_OPS: &[&[u8]] = &[b"PUB ", b"HPUB ", b"SUB ", b"UNSUB ", b"PING\r\n", b"PONG\r\n"];
const SERVER_OPS: &[&[u8]] = &[b"MSG ", b"HMSG ", b"PING\r\n", b"PONG\r\n", b"+OK\r\n"];

/// Options of CONNECT. A signed nonce proves a key; the token and the password are sent as they are.
static SECRETS: &[(&[u8], Credentials, &str)] = &[
    (b"\"pass\"", Credentials::PASSWORD_CLEARTEXT, "pass"),
    (b"\"auth_token\"", Credentials::BEARER_TOKEN, "auth_token"),
    (b"\"sig\"", Credentials::PASSWORD_HASH_CHALLENGE, "sig"),
];

static INFO: Info = Info {
    name: "nats",
    title: "NATS",
    spec: "https://docs.nats.io/reference/reference-protocols/nats-protocol",
    ports: &[4222, 6222],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::BEARER_TOKEN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, matches, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const OPEN: &[u8] = b"INFO {\"server_id\":\"NA\",\"version\":\"2.9\",\"headers\":true} \r\n";
    const TLS: &[u8] = b"INFO {\"server_id\":\"NA\",\"tls_required\":true,\"port\":4222} \r\n";
    const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc";

    #[test]
    fn a_greeting_or_connect_proves_it() {
        let cases: [(&[u8], bool, bool); 8] = [
            (OPEN, false, true),
            (TLS, false, true),
            (b"CONNECT {\"verbose\":false}\r\n", true, false),
            (b"INFO {\"other\":1}\r\n", false, false),
            (b"INFO\r\n", false, false),
            (b"CONNECT a:443 HTTP/1.1\r\n", false, false),
            (b"+OK\r\n", false, false),
            (HELLO, false, false),
        ];
        for (bytes, client, server) in cases {
            let text = bytes.escape_ascii();
            assert_eq!(matches(probe_side(&Nats, C, bytes)), client, "{text}");
            assert_eq!(matches(probe_side(&Nats, S, bytes)), server, "{text}");
        }
        let hello = Said { bytes: HELLO, start: Start::Known };
        let alert = Said { bytes: b"\x15\x03\x03\x00\x02\x02\x28", start: Start::Known };
        assert_eq!(Nats.probe(&View::new(Transport::Tcp, hello, alert)), Probe::No);
    }

    #[test]
    fn the_client_answers_with_tls_or_in_clear() {
        let heard = hear(&Nats, &[(S, TLS), (C, HELLO)]);
        assert_eq!(heard.encryption, None);
        assert_eq!(heard.layer, Some((Some(UPGRADE), Some(0), Some(TLS.len()))));
        let heard = hear(&Nats, &[(S, TLS), (S, b"\x16\x03\x03\x00\x7a\x02")]);
        assert_eq!(heard.layer, Some((Some(UPGRADE), None, Some(TLS.len()))), "one direction");
        let (connect, pong) =
            (&b"CONNECT {\"tls_required\":false}\r\nPING\r\n"[..], &b"PONG\r\n"[..]);
        let reason = |info| hear(&Nats, &[(S, info), (C, connect), (S, pong)]).reason;
        assert_eq!(reason(OPEN), Some(PlaintextReason::ServerRefused));
        assert_eq!(reason(TLS), Some(PlaintextReason::ClientDeclined));
        assert_eq!(hear(&Nats, &[(C, connect)]).reason, Some(PlaintextReason::ClientNeverAsked));
        let heard = hear(&Nats, &[(S, OPEN), (S, b"PING\r\n")]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext), "one direction");
    }

    #[test]
    fn logins_and_refusals_are_told() {
        let cases: [(&[u8], Credentials); 5] = [
            (b"CONNECT {\"user\":\"u\",\"pass\":\"p\"}\r\n", Credentials::PASSWORD_CLEARTEXT),
            (b"CONNECT {\"auth_token\": \"t\"}\r\n", Credentials::BEARER_TOKEN),
            (b"CONNECT {\"jwt\":\"x\",\"sig\":\"y\"}\r\n", Credentials::PASSWORD_HASH_CHALLENGE),
            (b"CONNECT {\"user\":\"\",\"pass\":\"\"}\r\n", Credentials::NONE),
            (b"CONNECT {\"pass\":null}\r\n", Credentials::NONE),
        ];
        for (connect, credentials) in cases {
            let heard = hear(&Nats, &[(S, OPEN), (C, connect), (S, b"+OK\r\n")]);
            assert_eq!(heard.credentials, credentials, "{}", connect.escape_ascii());
            assert!(heard.fits == [true, true] && !heard.refused);
            let refusal = b"-ERR 'Authorization Violation'\r\n";
            assert!(hear(&Nats, &[(S, OPEN), (C, connect), (S, refusal)]).refused);
        }
    }

    #[test]
    fn a_late_view_needs_a_message_or_two_subscriptions() {
        let late = |side, bytes: &[u8]| {
            let heard = hear_from(&Nats, &[(side, bytes)], Start::Unknown);
            assert_eq!(heard.mismatch, [false, false]);
            heard.matched.is_some()
        };
        assert!(late(C, b"PUB a.b 5\r\nhello\r\n"));
        assert!(late(C, b"PING\r\nPUB a.b inbox 5\r\nhello\r\n"));
        assert!(late(S, b"MSG a.b 1 5\r\nhello\r\nMSG"));
        assert!(late(C, b"SUB a.* 1\r\nSUB b.> q 2\r\n"));
        assert!(!late(C, b"SUB a.* 1\r\n"));
        assert!(!late(C, b"PUB a.b 5\r\nhello!!\r\n"), "the payload ends elsewhere");
        assert!(!late(S, b"PUB a.b 5\r\nhello\r\n"));
        assert!(!late(S, b"+OK\r\n+OK\r\n+OK\r\n"));
    }
}
