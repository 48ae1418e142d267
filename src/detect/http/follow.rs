//! A conversation in HTTP/1.x, message by message. RFC 9112 sections 6 and 7, RFC 9110 sections 7.8 and 9.3.6.
//!
//! Each side stands at a start line, in the fields, before a body, or is lost. Bodies are passed over by their length.
//! A side that is lost (joined in a body, framing that makes no sense) is read again from where it stands when the other
//! side begins a new message: requests and responses take turns.
use super::{
    Line, credentials,
    credentials::{Found, begins},
    empty_lines, line, read_on, request, status, status_mark,
};
use crate::{
    bytes::{Short, holds},
    detect::{Facts, FollowState, Next, OtherSide, Said, Start, Step},
    model::{Encryption, Mark, PlaintextReason, Side},
};

/// Values of `upgrade`.
pub(super) const HTTP_CONNECT: &str = "http-connect";
pub(super) const HTTP_TLS: &str = "http-tls";

/// Reads as many lines as have nothing to tell, up to one that has.
pub(super) fn follow(state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
    let mut talk = Talk::unpack(state);
    let step = read_on(said.bytes, |rest| talk.step(side, rest, said.start));
    talk.pack(state);
    step
}

/// The head of a response tells of a body: no tunnel was granted.
fn in_clear(step: Step, body: bool) -> Step {
    let encryption = if body { Some(Encryption::Plaintext) } else { step.facts.encryption };
    Step { facts: Facts { encryption, ..step.facts }, ..step }
}

/// One side's place.
#[derive(Clone, Copy)]
struct Half {
    /// Where it stands: `START` ...
    phase: u8,
    /// What is known of the current message: `CHUNKED` ...
    flags: u8,
    /// Length of the body, or of the chunk.
    length: u64,
}

/// Both sides, unpacked from [`FollowState`].
struct Talk {
    client: Half,
    server: Half,
    /// Requests not yet answered, two bits each (`PLAIN`, `HEAD`, `CONNECT`), the oldest lowest.
    asked: u32,
    /// How many.
    waiting: u8,
    /// What follows the server's fields: `BODY_FOLLOWS` ...
    ending: u8,
    /// What the server switches to: `OTHER_PROTOCOL` ...
    upgrade: u8,
    /// Credential kinds already pointed at, and `PROBED`.
    seen: u8,
}

impl Half {
    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// A new message begins.
    fn begin(&mut self, whole: bool) {
        self.flags = SPOKE;
        self.length = 0;
        self.phase = if whole { FIELDS } else { LONG_LINE };
    }

    /// A field that frames the message.
    fn framing(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            match decimal(value) {
                Some(length) if !self.has(LENGTH) || self.length == length => {
                    self.length = length;
                    self.flags |= LENGTH;
                }
                _ => self.flags |= UNFRAMED,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|b| *b == b',').next().unwrap_or_default();
            let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            self.flags |= if chunked { CHUNKED } else { UNFRAMED };
        }
    }

    /// Passes over a body or chunk of `length` bytes after `before` more, to `phase`.
    fn pass(&mut self, before: usize, phase: u8) -> Step {
        self.phase = phase;
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        Step::read(before.saturating_add(length), Facts::NONE)
    }
}

impl Talk {
    fn step(&mut self, side: Side, bytes: &[u8], start: Start) -> Step {
        let half = self.half(side);
        match half.phase {
            START if side == Side::Client => self.client_start(bytes, start),
            START => self.server_start(bytes, start),
            FIELDS => self.fields(side, bytes),
            LONG_LINE => {
                let end = bytes.iter().position(|b| *b == b'\n');
                if end.is_some() {
                    half.phase = FIELDS;
                }
                Step::read(end.map_or(bytes.len(), |at| at.saturating_add(1)), Facts::NONE)
            }
            LOOK => self.look(side, bytes),
            SIZE => self.chunk_size(side, bytes),
            TRAILER => match line(bytes) {
                Line::Short => Step::WAIT,
                Line::Whole(line, length) => {
                    half.phase = if line.is_empty() { START } else { TRAILER };
                    Step::read(length, Facts::NONE)
                }
                Line::Piece(_) => self.lose(side, LOST, bytes, Facts::NONE),
            },
            TUNNEL_OR_BODY => Self::tunnel_or_body(),
            _ => Step::read(bytes.len(), Facts::NONE),
        }
    }

    /// A request line, or what comes instead of one.
    fn client_start(&mut self, bytes: &[u8], start: Start) -> Step {
        // A second CONNECT where the server is not seen: it must have asked for credentials.
        let again = || b"CONNECT ".iter().zip(bytes).all(|(a, b)| a == b);
        if self.client.has(CONNECTING) && (self.server.has(SPOKE) || !again()) {
            return self.client_waits(bytes);
        }
        let request = match request(bytes) {
            Err(Short) => return Step::WAIT,
            Ok(None) if self.client.has(SWITCHING) => return self.client_waits(bytes),
            Ok(None) => return self.foreign(Side::Client, bytes, start),
            Ok(Some(request)) => request,
        };
        let kind = match request.method {
            b"HEAD" => HEAD,
            b"CONNECT" => CONNECT,
            _ => PLAIN,
        };
        let first = !self.client.has(SPOKE);
        self.ask(kind);
        self.client.begin(request.whole);
        if kind == CONNECT {
            self.client.flags |= CONNECTING;
        }
        let query = request.target.splitn(2, |b| *b == b'?').nth(1);
        let length = request.skipped.saturating_add(request.length);
        let found = query.and_then(credentials::parameters);
        let mut facts = self.secret(Side::Client, found, length);
        facts.fits = true;
        facts.reason = Some(PlaintextReason::NoInBandUpgrade);
        facts.encryption = if kind == CONNECT { None } else { Some(Encryption::Plaintext) };
        if first && self.server.has(SPOKE) {
            facts.mark = facts.mark.or_else(|| Some(request.mark()));
        }
        Step::read(length, facts)
    }

    /// The client asked for a tunnel or another protocol: what it sends now depends on the answer. Where the answer is
    /// not seen, a `ClientHello` tells.
    fn client_waits(&mut self, bytes: &[u8]) -> Step {
        let silent = self.server.phase == START && !self.server.has(ANSWERING);
        let unanswered = silent || matches!(self.server.phase, LOST | CLOSED);
        if self.client.has(CONNECTING) && unanswered {
            if bytes.starts_with(CLIENT_HELLO) {
                return layer(0, HTTP_CONNECT, OtherSide::Somewhere);
            }
            if CLIENT_HELLO.starts_with(bytes) {
                return Step::WAIT;
            }
        }
        match self.server.phase {
            LOST | CLOSED => self.lose(Side::Client, self.server.phase, bytes, Facts::NONE),
            _ => Step::WAIT,
        }
    }

    /// A request awaits its answer; more than the memory holds, and the pairing is given up.
    fn ask(&mut self, kind: u32) {
        if matches!(self.server.phase, LOST | CLOSED) || self.waiting >= WAITING_MAX {
            self.waiting = 0;
            self.asked = 0;
            self.server.phase = match self.server.phase {
                LOST => START,
                CLOSED => CLOSED,
                _ => LOST,
            };
        }
        let at = u32::from(self.waiting).saturating_mul(2);
        self.asked |= kind.checked_shl(at).unwrap_or(0);
        self.waiting = self.waiting.saturating_add(1);
    }

    /// The oldest unanswered request, if it was seen.
    fn answered(&mut self) -> Option<u32> {
        self.waiting = self.waiting.checked_sub(1)?;
        let kind = self.asked & 3;
        self.asked >>= 2;
        Some(kind)
    }

    /// A status line, or what comes instead of one.
    fn server_start(&mut self, bytes: &[u8], start: Start) -> Step {
        let skipped = empty_lines(bytes);
        let rest = bytes.get(skipped..).unwrap_or_default();
        let (code, length, whole) = match (status(rest), line(rest)) {
            (Ok(None), _) => return self.foreign(Side::Server, bytes, start),
            (Err(Short), _) | (_, Line::Short) => {
                self.server.flags |= ANSWERING;
                return Step::WAIT;
            }
            (Ok(Some(code)), Line::Whole(_, length)) => (code, length, true),
            (Ok(Some(code)), Line::Piece(piece)) => (code, piece.len(), false),
        };
        let first = !self.server.has(SPOKE);
        self.server.begin(whole);
        let interim = (100..200).contains(&code) && code != 101;
        let asked = if interim { None } else { self.answered() };
        self.upgrade = OTHER_PROTOCOL;
        self.ending = match (code, asked) {
            (101, _) => SWITCHED,
            (..200, _) => NOTHING_FOLLOWS,
            (..300, Some(CONNECT)) => TUNNEL_FOLLOWS,
            (204 | 304, _) | (_, Some(HEAD)) => NOTHING_FOLLOWS,
            (_, None) => ANY_FOLLOWS,
            _ => BODY_FOLLOWS,
        };
        if code == 400 {
            self.server.flags |= LOOK_AT_BODY;
        }
        if !interim && self.client.phase == LOST {
            self.client.phase = START;
        }
        if code >= 200 && self.ending != TUNNEL_FOLLOWS && self.waiting == 0 {
            self.client.flags &= !(CONNECTING | SWITCHING);
        }
        let mut facts = Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS };
        // After 407 the client asks again; other answers from 300 on grant no tunnel.
        if code >= 300 && code != 407 {
            facts.encryption = Some(Encryption::Plaintext);
        }
        // Whatever was asked, unseen: it was not HTTP, or not as this server wants it.
        if code == 400 && asked.is_none() && !self.client.has(SPOKE) {
            facts.refused = true;
        }
        facts.accepted = code >= 200 && code != 400;
        if code == 497 {
            facts = refusal(Facts { accepted: false, ..facts }, length);
        } else if first && self.client.has(SPOKE) {
            facts.mark = Some(status_mark(skipped));
        }
        Step::read(skipped.saturating_add(length), facts)
    }

    /// One field line, or the empty line after the last.
    fn fields(&mut self, side: Side, bytes: &[u8]) -> Step {
        let (line, length) = match line(bytes) {
            Line::Short => return Step::WAIT,
            Line::Whole(b"", length) if side == Side::Server => return self.server_head(length),
            Line::Whole(b"", length) => return self.body(side, length),
            Line::Whole(line, length) => (line, length),
            Line::Piece(piece) => {
                self.half(side).phase = LONG_LINE;
                (piece, piece.len())
            }
        };
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return Step::read(length, Facts::NONE);
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        self.half(side).framing(name, value);
        if side == Side::Server && name.eq_ignore_ascii_case(b"content-type") {
            self.server.flags |= TYPED;
        }
        if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade_field(side, value);
        }
        let form = side == Side::Client && begins(value, b"application/x-www-form-urlencoded");
        if form && name.eq_ignore_ascii_case(b"content-type") {
            self.client.flags |= LOOK_AT_BODY;
        }
        if side == Side::Client && name.eq_ignore_ascii_case(b"user-agent") {
            return Step::read(length, self.prober(value, length));
        }
        let field = credentials::field(|known| name.eq_ignore_ascii_case(known));
        let found = field
            .filter(|_| !value.is_empty())
            .and_then(|field| field.with_value(|word| begins(value, word)));
        Step::read(length, self.secret(side, found, length))
    }

    fn upgrade_field(&mut self, side: Side, value: &[u8]) {
        if side == Side::Client {
            self.client.flags |= SWITCHING;
        } else if begins(value, b"websocket") {
            self.upgrade = WEBSOCKET;
        } else if begins(value, b"h2c") {
            self.upgrade = H2C;
        } else if begins(value, b"tls/") {
            self.upgrade = TLS;
        }
    }

    /// The end of the server's fields.
    fn server_head(&mut self, length: usize) -> Step {
        let switches = matches!(self.ending, TUNNEL_FOLLOWS | SWITCHED);
        if switches && matches!(self.client.phase, FIELDS | LONG_LINE) {
            return Step::WAIT;
        }
        let agreed = self.waiting == 0 && self.client.phase == START && self.client.has(SPOKE);
        let other = if agreed { OtherSide::Here } else { OtherSide::Somewhere };
        let (rule, constant) = match (self.ending, self.upgrade) {
            (TUNNEL_FOLLOWS, _) => return layer(length, HTTP_CONNECT, other),
            (SWITCHED, TLS) => return layer(length, HTTP_TLS, other),
            (SWITCHED, WEBSOCKET) => ("http.websocket", "101 websocket"),
            (SWITCHED, H2C) => ("http.h2c-upgrade", "101 h2c"),
            (SWITCHED, _) => ("http.upgrade", "101"),
            (NOTHING_FOLLOWS, _) => {
                self.server.phase = START;
                return Step::read(length, Facts::NONE);
            }
            _ => return self.body(Side::Server, length),
        };
        let shown = u32::try_from(length).unwrap_or(u32::MAX);
        let mark = Mark { rule, side: Side::Server, offset: 0, length: shown, constant };
        let clear = matches!(self.upgrade, WEBSOCKET | H2C);
        let encryption = clear.then_some(Encryption::Plaintext);
        let facts = Facts { mark: Some(mark), encryption, ..Facts::NONE };
        Step { consumed: length, facts, next: Next::Done }
    }

    /// What follows the fields, which end after `before` more bytes.
    fn body(&mut self, side: Side, before: usize) -> Step {
        let any = self.ending == ANY_FOLLOWS;
        let half = self.half(side);
        let described = half.has(LENGTH) || half.has(CHUNKED) || half.has(UNFRAMED);
        let body = side == Side::Server && (described || half.has(TYPED));
        let look = half.has(LOOK_AT_BODY);
        if side == Side::Client && half.has(CONNECTING) {
            half.phase = START;
        } else if half.has(CHUNKED) {
            half.phase = SIZE;
        } else if half.has(UNFRAMED) {
            half.phase = if side == Side::Client { LOST } else { CLOSED };
        } else if half.has(LENGTH) && !look {
            return in_clear(half.pass(before, START), body);
        } else if half.has(LENGTH) {
            half.phase = if half.length == 0 { START } else { LOOK };
        } else if side == Side::Client {
            half.phase = START;
        } else if look {
            half.phase = LOOK;
        } else {
            half.phase = if any && !body { TUNNEL_OR_BODY } else { CLOSED };
        }
        in_clear(Step::read(before, Facts::NONE), body)
    }

    /// The first bytes of a form, or of the answer to a request that seems to miss its encryption.
    fn look(&mut self, side: Side, bytes: &[u8]) -> Step {
        let half = self.half(side);
        let framed = half.has(LENGTH) || half.has(CHUNKED);
        let length = usize::try_from(half.length).unwrap_or(usize::MAX);
        let wanted = if framed { length.min(LOOK_BYTES_MAX) } else { LOOK_BYTES_MAX };
        let shown = bytes.get(..wanted).unwrap_or(bytes);
        let refused = side == Side::Server && wants_tls(shown);
        if shown.len() < wanted && !refused {
            return Step::WAIT;
        }
        half.flags &= !LOOK_AT_BODY;
        let mut step = if half.has(CHUNKED) {
            half.pass(CRLF, SIZE)
        } else if framed {
            half.pass(0, START)
        } else {
            half.phase = CLOSED;
            Step::read(shown.len(), Facts::NONE)
        };
        if refused {
            step.facts = refusal(step.facts, shown.len());
        } else if side == Side::Client {
            step.facts = self.secret(side, credentials::parameters(shown), shown.len());
        }
        step
    }

    /// The size line of a chunk.
    fn chunk_size(&mut self, side: Side, bytes: &[u8]) -> Step {
        let (line, length) = match line(bytes) {
            Line::Short => return Step::WAIT,
            Line::Piece(_) => return self.lose(side, LOST, bytes, Facts::NONE),
            Line::Whole(line, length) => (line, length),
        };
        let Some(octets) = hexadecimal(line) else {
            return self.lose(side, LOST, bytes, Facts::NONE);
        };
        let half = self.half(side);
        half.length = octets;
        if octets == 0 {
            half.phase = TRAILER;
        } else if half.has(LOOK_AT_BODY) {
            half.phase = LOOK;
        } else {
            return half.pass(length.saturating_add(CRLF), SIZE);
        }
        Step::read(length, Facts::NONE)
    }

    /// After a response that tells of no body, whose request was not seen: what runs in the tunnel it may have granted.
    fn tunnel_or_body() -> Step {
        layer(0, HTTP_CONNECT, OtherSide::Somewhere)
    }

    /// Bytes that are no start line: another protocol if this is how the side begins.
    fn foreign(&mut self, side: Side, bytes: &[u8], start: Start) -> Step {
        if start == Start::Known && !self.half(side).has(SPOKE) {
            return self.lose(side, CLOSED, bytes, Facts::MISMATCH);
        }
        self.lose(side, LOST, bytes, Facts::NONE)
    }

    /// Gives a side up: until the other side takes its turn (`LOST`), or for good (`CLOSED`).
    fn lose(&mut self, side: Side, phase: u8, bytes: &[u8], facts: Facts) -> Step {
        self.half(side).phase = phase;
        let both = self.client.phase == CLOSED && self.server.phase == CLOSED;
        let next = if both { Next::Done } else { Next::Continue };
        Step { consumed: bytes.len(), facts, next }
    }

    fn secret(&mut self, side: Side, found: Option<Found>, length: usize) -> Facts {
        let Some(found) = found else { return Facts::NONE };
        let mark = credentials::mark(&mut self.seen, "http.credentials", side, found, length);
        Facts { credentials: found.0, mark, ..Facts::NONE }
    }

    /// A client that only asks whether the service is alive says so once.
    fn prober(&mut self, value: &[u8], length: usize) -> Facts {
        let known = credentials::PROBERS.iter().find(|(word, ..)| begins(value, word));
        let Some((_, constant, rule)) = known.filter(|_| self.seen & PROBED == 0) else {
            return Facts::NONE;
        };
        self.seen |= PROBED;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let side = Side::Client;
        Facts { mark: Some(Mark { rule, side, offset: 0, length, constant }), ..Facts::NONE }
    }

    const fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn unpack(state: &FollowState) -> Self {
        let [client, server] = state.phase;
        let [client_flags, server_flags] = state.flags.to_be_bytes();
        let [client_high, client_low, server_high, server_low, asked, rest] = state.words;
        let [waiting, ending, upgrade, seen] = rest.to_be_bytes();
        let long = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let length = long(client_high, client_low);
        let client = Half { phase: client, flags: client_flags, length };
        let length = long(server_high, server_low);
        let server = Half { phase: server, flags: server_flags, length };
        Self { client, server, asked, waiting, ending, upgrade, seen }
    }

    fn pack(&self, state: &mut FollowState) {
        let low = |n: u64| u32::try_from(n & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let words = |half: Half| [low(half.length >> 32), low(half.length)];
        let ([a, b], [c, d]) = (words(self.client), words(self.server));
        let rest = u32::from_be_bytes([self.waiting, self.ending, self.upgrade, self.seen]);
        state.phase = [self.client.phase, self.server.phase];
        state.flags = u16::from_be_bytes([self.client.flags, self.server.flags]);
        state.words = [a, b, c, d, self.asked, rest];
    }
}

const fn layer(consumed: usize, upgrade: &'static str, other: OtherSide) -> Step {
    Step { consumed, facts: Facts::NONE, next: Next::Layer { upgrade: Some(upgrade), other } }
}

/// The server is a TLS server and says so in clear.
fn refusal(facts: Facts, length: usize) -> Facts {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let side = Side::Server;
    let mark =
        Mark { rule: "http.tls-required", side, offset: 0, length, constant: "TLS required" };
    Facts { refused: true, mark: Some(mark), ..facts }
}

fn wants_tls(body: &[u8]) -> bool {
    TLS_REQUIRED.iter().any(|text| holds(body, text))
}

/// A length; `None` beyond anything real.
fn decimal(value: &[u8]) -> Option<u64> {
    let value = str::from_utf8(value).ok()?;
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let length = value.parse().ok()?;
    (digits && length <= LENGTH_MAX).then_some(length)
}

/// A chunk size before its extensions.
fn hexadecimal(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let hexadecimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let size = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    (hexadecimal && size <= LENGTH_MAX).then_some(size)
}

// Phases.
const START: u8 = 0;
const FIELDS: u8 = 1;
/// Inside a line longer than we read as a whole.
const LONG_LINE: u8 = 2;
/// Before a body or chunk worth a look.
const LOOK: u8 = 3;
const SIZE: u8 = 4;
const TRAILER: u8 = 5;
const TUNNEL_OR_BODY: u8 = 6;
const LOST: u8 = 7;
/// Nothing more to read on this side.
const CLOSED: u8 = 8;

// Flags of a message; `SPOKE` stays.
const SPOKE: u8 = 1;
const CHUNKED: u8 = 1 << 1;
const LENGTH: u8 = 1 << 2;
/// A transfer coding other than chunked, or a length that makes no sense.
const UNFRAMED: u8 = 1 << 3;
const LOOK_AT_BODY: u8 = 1 << 4;
/// The client's request is CONNECT.
const CONNECTING: u8 = 1 << 5;
/// The client's request asks for another protocol.
const SWITCHING: u8 = 1 << 6;
/// On the server's side: the message names its content type.
const TYPED: u8 = CONNECTING;
/// In `seen`, beside the kinds: the client was pointed at as a health check.
const PROBED: u8 = 1 << 7;
/// Part of the server's status line has come.
const ANSWERING: u8 = 1 << 7;

// Requests as remembered for their responses.
const PLAIN: u32 = 0;
const HEAD: u32 = 1;
const CONNECT: u32 = 2;
const WAITING_MAX: u8 = 16;

// What follows a response's fields.
const BODY_FOLLOWS: u8 = 0;
const NOTHING_FOLLOWS: u8 = 1;
const TUNNEL_FOLLOWS: u8 = 2;
const SWITCHED: u8 = 3;
/// The request was not seen.
const ANY_FOLLOWS: u8 = 4;

// What a 101 response switches to.
const OTHER_PROTOCOL: u8 = 0;
const WEBSOCKET: u8 = 1;
const H2C: u8 = 2;
const TLS: u8 = 3;

const CRLF: usize = 2;

/// Longest body or chunk believed.
const LENGTH_MAX: u64 = 1 << 48;

/// How far into a body we look.
const LOOK_BYTES_MAX: usize = 512;

/// A TLS record of type handshake.
const CLIENT_HELLO: &[u8] = &[0x16, 0x03];

/// How TLS servers answer plain HTTP: nginx and AWS load balancers, Go, Apache, Tomcat, Cheroot.
static TLS_REQUIRED: &[&[u8]] = &[
    b"plain HTTP request was sent to HTTPS port",
    b"Client sent an HTTP request to an HTTPS server",
    b"speaking plain HTTP to an SSL-enabled server port",
    b"This combination of host and port requires TLS",
    b"sent a plain HTTP request, but this server only speaks HTTPS",
];
