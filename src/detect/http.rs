//! HTTP/1.x: request and status lines, message framing, credentials. RFC 9112 and RFC 9110,
//! <https://www.rfc-editor.org/rfc/rfc9112>.
//!
//! Here: what a start line looks like. [`follow`] reads whole conversations, [`credentials`] knows where secrets stand.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Mark, Side, Transport},
};

pub(super) mod credentials;
mod follow;

pub(super) struct Http;

impl Detector for Http {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match decide(view, client(view.client.bytes), server(view.server.bytes)) {
            Probe::Match(found) if may_be_tunnel(view) => Match::preamble(found.mark),
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow::follow(state, side, said)
    }
}

/// How the bytes of one side fit a client-first protocol: `Err` wait, `None` another protocol.
pub(super) type Fit = Result<Option<Mark>, Short>;

/// Puts both sides of a client-first TCP protocol together.
///
/// A client that speaks something else from its start decides. A side joined late that does not fit may stand in the
/// middle of a message: it says nothing, and the other side may still prove the protocol.
pub(super) fn decide(view: &View<'_>, client: Fit, server: Fit) -> Probe {
    if view.transport != Transport::Tcp {
        return Probe::No;
    }
    let client_known = view.client.start == Start::Known;
    match (client, server) {
        (Ok(None), _) if client_known => Probe::No,
        // What the server says of it may hold for another protocol's client.
        (Err(Short), _) if client_known && !view.client.bytes.is_empty() => Probe::More,
        (Ok(Some(mark)), _) | (_, Ok(Some(mark))) => Match::plaintext(mark),
        (Ok(None), Ok(None)) => Probe::No,
        _ => Probe::More,
    }
}

/// Takes steps until one learns something, waits or ends, and adds them up.
pub(super) fn read_on(bytes: &[u8], mut step: impl FnMut(&[u8]) -> Step) -> Step {
    let mut consumed = 0_usize;
    loop {
        let rest = bytes.get(consumed..).unwrap_or_default();
        if rest.is_empty() {
            return Step::read(consumed, Facts::NONE);
        }
        let Step { consumed: more, mut facts, next } = step(rest);
        if let Some(mark) = &mut facts.mark {
            let before = u32::try_from(consumed).unwrap_or(u32::MAX);
            mark.offset = mark.offset.saturating_add(before);
        }
        consumed = consumed.saturating_add(more);
        if more == 0 || facts != Facts::NONE || next != Next::Continue {
            return Step { consumed, facts, next };
        }
    }
}

/// A request for a tunnel, or an answer that may grant one: what runs inside decides.
fn may_be_tunnel(view: &View<'_>) -> bool {
    match request(view.client.bytes) {
        Ok(Some(request)) => request.method == b"CONNECT",
        _ => matches!(status(view.server.bytes), Ok(Some(101 | 200..=299))),
    }
}

fn client(bytes: &[u8]) -> Fit {
    Ok(request(bytes)?.map(|request| request.mark()))
}

fn server(bytes: &[u8]) -> Fit {
    Ok(status(bytes)?.map(|_code| status_mark(0)))
}

/// Proof by a status line at `offset`.
fn status_mark(offset: usize) -> Mark {
    let offset = u32::try_from(offset).unwrap_or(u32::MAX);
    Mark { rule: "http.status-line", side: Side::Server, offset, length: 12, constant: "HTTP/1" }
}

/// A request line.
struct Request<'a> {
    /// Empty lines before it (RFC 9112 section 2.2), in bytes.
    skipped: usize,
    method: &'a [u8],
    target: &'a [u8],
    /// Bytes of the line as far as it was looked at, LF included.
    length: usize,
    /// Whether its end was seen.
    whole: bool,
}

impl Request<'_> {
    fn mark(&self) -> Mark {
        let offset = u32::try_from(self.skipped).unwrap_or(u32::MAX);
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let constant = if self.whole { "HTTP/1" } else { "request line" };
        Mark { rule: "http.request-line", side: Side::Client, offset, length, constant }
    }
}

/// The request line at the start of `bytes`; `None` when they begin otherwise.
fn request(bytes: &[u8]) -> Result<Option<Request<'_>>, Short> {
    let skipped = empty_lines(bytes);
    let rest = bytes.get(skipped..).unwrap_or_default();
    let Some(method) = method(rest)? else { return Ok(None) };
    let (line, length, whole) = match line(rest) {
        Line::Short => return if controls(rest) { Ok(None) } else { Err(Short) },
        Line::Whole(line, length) => (line, length, true),
        Line::Piece(line) => (line, line.len(), false),
    };
    let mut cursor = Cursor::new(line);
    cursor.skip(method.len().saturating_add(1))?;
    let rest = cursor.rest();
    let target = if whole { proven(method, rest) } else { overlong(method, rest) };
    Ok(target.map(|target| Request { skipped, method, target, length, whole }))
}

/// The method token and the space after it. Methods are case-sensitive and in practice upper case.
fn method(bytes: &[u8]) -> Result<Option<&[u8]>, Short> {
    let token = |b: &u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
    let end = bytes.iter().take(METHOD_BYTES_MAX.saturating_add(1)).position(|b| !token(b));
    let Some(end) = end else {
        return if bytes.len() > METHOD_BYTES_MAX { Ok(None) } else { Err(Short) };
    };
    let mut cursor = Cursor::new(bytes);
    let method = cursor.take(end)?;
    let fits = method.len() >= METHOD_BYTES_MIN && cursor.peek()? == b' ';
    Ok(fits.then_some(method))
}

/// The target of a complete line: the version at its end is the proof. An unregistered method must have a target that
/// no other text protocol would have as its argument.
fn proven<'a>(method: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let target = rest.strip_suffix(b" HTTP/1.1").or_else(|| rest.strip_suffix(b" HTTP/1.0"))?;
    let sane = !target.is_empty() && !target.iter().any(u8::is_ascii_control);
    let strict = || !target.contains(&b' ') && (target.starts_with(b"/") || absolute(target));
    (sane && (METHODS.contains(&method) || strict())).then_some(target)
}

/// The target of a line whose end is out of sight: only a registered method with a path or an absolute HTTP URL of
/// visible characters, so long that no other protocol's command has it.
fn overlong<'a>(method: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let (target, version) = match rest.iter().position(|b| *b == b' ') {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, &b""[..]),
    };
    let version = version.get(..8).unwrap_or(version);
    let sane = METHODS.contains(&method)
        && (target.starts_with(b"/") || absolute(target))
        && target.iter().all(u8::is_ascii_graphic)
        && b" HTTP/1.".starts_with(version);
    sane.then_some(target)
}

/// Absolute form, as sent to a proxy.
fn absolute(target: &[u8]) -> bool {
    let scheme = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    scheme(b"http://") || scheme(b"https://")
}

/// Whether a control character rules out text; a CR at the end may belong to CRLF.
fn controls(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    bytes.iter().any(u8::is_ascii_control)
}

/// The code of the status line at the start of `bytes`; `None` when they begin otherwise.
fn status(bytes: &[u8]) -> Result<Option<u16>, Short> {
    let mut cursor = Cursor::new(bytes);
    let mut code = 0_u16;
    for expected in b"HTTP/1.# ###" {
        let byte = cursor.u8()?;
        match expected {
            b'#' if byte.is_ascii_digit() => {
                code = code.wrapping_mul(10).wrapping_add(u16::from(byte & 0x0f));
            }
            b' ' if byte == b' ' => code = 0,
            _ if byte == *expected => {}
            _ => return Ok(None),
        }
    }
    let ends = matches!(cursor.u8()?, b' ' | b'\r' | b'\n');
    Ok((ends && code >= 100).then_some(code))
}

/// Bytes of empty lines at the start.
fn empty_lines(bytes: &[u8]) -> usize {
    bytes.iter().take(EMPTY_BYTES_MAX).take_while(|b| matches!(b, b'\r' | b'\n')).count()
}

/// A line at the start of some bytes, without its CRLF.
enum Line<'a> {
    /// Its end has not come yet.
    Short,
    /// Complete, with its length on the wire.
    Whole(&'a [u8], usize),
    /// Longer than we look: its first [`LINE_BYTES_MAX`] bytes.
    Piece(&'a [u8]),
}

/// The first line. What lies beyond [`LINE_BYTES_MAX`] is not looked at, so that the answer does not depend on segments.
fn line(bytes: &[u8]) -> Line<'_> {
    let shown = bytes.get(..LINE_BYTES_MAX);
    let mut cursor = Cursor::new(shown.unwrap_or(bytes));
    match (cursor.line(), shown) {
        (Ok(line), _) => Line::Whole(line, cursor.at()),
        (Err(Short), Some(piece)) => Line::Piece(piece),
        (Err(Short), None) => Line::Short,
    }
}

/// Longest line read as a whole.
const LINE_BYTES_MAX: usize = 1024;

/// Most CR and LF passed over before a start line.
const EMPTY_BYTES_MAX: usize = 8;

/// Shortest and longest method token believed.
const METHOD_BYTES_MIN: usize = 3;
const METHOD_BYTES_MAX: usize = 20;

/// IANA HTTP Method Registry (without PRI, which is HTTP/2), and those of `UPnP` over TCP.
static METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"ACL",
    b"BASELINE-CONTROL",
    b"BIND",
    b"CHECKIN",
    b"CHECKOUT",
    b"COPY",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"M-SEARCH",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"MOVE",
    b"NOTIFY",
    b"ORDERPATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"QUERY",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SUBSCRIBE",
    b"TRACE",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UNLOCK",
    b"UNSUBSCRIBE",
    b"UPDATE",
    b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL",
];

static INFO: Info = Info {
    name: "http",
    title: "HTTP/1.x",
    spec: "https://www.rfc-editor.org/rfc/rfc9112",
    ports: &[80, 3128, 8000, 8008, 8080, 8081, 8888, 9200],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[follow::HTTP_CONNECT, follow::HTTP_TLS],
    credentials: Credentials::BASIC_AUTH
        .with(Credentials::BEARER_TOKEN)
        .with(Credentials::PASSWORD_CLEARTEXT)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::SESSION_SECRET),
};

#[cfg(test)]
mod tests;
