//! What the text protocols share that begin in clear and may turn to TLS on the way: SMTP, IMAP, POP3, FTP and others.
//!
//! A [`Dialect`] tells what one unit (a line, or an XML tag) proves and means. Here is what follows from that: who spoke
//! this protocol, whether TLS was offered, asked for, granted or refused, what was logged in with, and when all is known.
use super::{Facts, FollowState, Match, Next, OtherSide, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Short, is_text},
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

mod sasl;
mod table;
#[cfg(test)]
mod tests;

use sasl::MECHANISMS;
pub(super) use sasl::{LITERALS, Mechanism, Response, may_be_mechanism, mechanism, response};
pub(super) use table::{Proves, Rest, Row, contains, fit, may_be_reply, meaning, reply, words};

/// One text protocol.
pub(super) trait Dialect: Sync {
    /// Rules of its marks, and its upgrade.
    fn names(&self) -> &'static Names;

    /// How far a unit proves the protocol; of an unfinished one only `No` counts.
    fn fit(&self, place: Place, line: &[u8]) -> Fit;

    /// What a whole unit means.
    fn hear(&self, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Means;

    /// What the client's unit is while a SASL exchange is under way.
    fn response(&self, mechanism: Mechanism, line: &[u8]) -> Response {
        let _ = mechanism;
        response(line)
    }

    /// Whether the first unit evidently cannot be read: what is cheap to see of it.
    fn is_unreadable(&self, bytes: &[u8]) -> bool {
        let shown = bytes.iter().take(GLANCE_BYTES).take_while(|b| **b != b'\n');
        shown.copied().any(|b| !is_text(&[b]))
    }

    /// Length of the first unit.
    fn unit(&self, bytes: &[u8]) -> Result<usize, Short> {
        let at = memchr::memchr(b'\n', bytes).ok_or(Short)?;
        Ok(at.saturating_add(1))
    }
}

/// Rules of marks, and the value of `upgrade`.
pub(super) struct Names {
    pub(super) command: &'static str,
    pub(super) reply: &'static str,
    pub(super) asked: &'static str,
    pub(super) granted: &'static str,
    pub(super) denied: &'static str,
    pub(super) refused: &'static str,
    pub(super) secret: &'static str,
    pub(super) upgrade: &'static str,
}

/// The [`Names`] of a protocol.
macro_rules! names {
    ($name:literal, $upgrade:expr) => {
        $crate::detect::lines::Names {
            command: concat!($name, ".command"),
            reply: concat!($name, ".reply"),
            asked: concat!($name, ".tls-asked"),
            granted: concat!($name, ".tls-granted"),
            denied: concat!($name, ".tls-refused"),
            refused: concat!($name, ".refused"),
            secret: concat!($name, ".credentials"),
            upgrade: $upgrade,
        }
    };
}
pub(super) use names;

/// Where a unit stands.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) side: Side,
    /// How many came before it.
    pub(super) nth: usize,
    /// Whether its end was seen.
    pub(super) whole: bool,
    /// Whether the beginning was not seen: the unit may be the tail of one, or data.
    pub(super) late: bool,
}

/// How far a unit proves its protocol, with our own word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Another protocol.
    No,
    /// May become any of the others.
    Open,
    /// Many protocols have it.
    Shared,
    /// Proof together with the other side.
    Weak(&'static str),
    /// Proof by itself.
    Own(&'static str),
}

/// What a unit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Passed over: it may be data.
    Nothing,
    /// It belongs to the protocol.
    Fits,
    /// Client: asks what the server can do.
    Lists,
    /// Client: asks for TLS.
    Asks,
    /// Client: goes on in clear.
    Uses,
    /// Client: goes on in clear, and data follow that are not commands.
    Sends,
    /// Client: leaves.
    Leaves,
    /// Client: a secret.
    Secret(Credentials, &'static str),
    /// Client: begins a SASL exchange; `given` messages came with it.
    Sasl { mechanism: Mechanism, given: u32 },
    /// Server: can do TLS.
    Offers,
    /// Server: that is all it can do.
    Listed,
    /// Server: yes, TLS begins.
    Grants,
    /// Server: no, if TLS was asked for.
    Denies,
    /// Server: the session is taken.
    Accepts,
    /// Server: login or session rejected.
    Refuses(&'static str),
}

/// The answer of [`super::Detector::probe`].
pub(super) fn probe(dialect: &dyn Dialect, view: &View<'_>) -> Probe {
    if view.transport != Transport::Tcp {
        return Probe::No;
    }
    let client = see(dialect, Side::Client, view.client);
    let server = see(dialect, Side::Server, view.server);
    let known = view.client.start == Start::Known;
    let mark = match (client, server) {
        (Seen::Other, _) if known => return Probe::No,
        (Seen::Open, _) if known => return Probe::More,
        (Seen::Proven(mark), _)
        | (
            Seen::Weak(mark) | Seen::Later(mark),
            Seen::Weak(_) | Seen::Later(_) | Seen::Proven(_),
        )
        | (_, Seen::Proven(mark) | Seen::Later(mark)) => mark,
        // A server that spoke first would have been heard by now.
        (Seen::Later(mark), Seen::Silent) if view.ended => mark,
        (Seen::Silent | Seen::Open, Seen::Other) => return Probe::More,
        (_, Seen::Other) => return Probe::No,
        _ => return Probe::More,
    };
    // Until the client goes on, it may ask for TLS.
    Match::preamble(mark)
}

/// What one side's bytes amount to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Silent,
    Open,
    Other,
    Shared,
    Weak(Mark),
    /// Proven, but not by the first unit: another protocol's server has the last word.
    Later(Mark),
    Proven(Mark),
}

fn see(dialect: &dyn Dialect, side: Side, said: Said<'_>) -> Seen {
    let late = said.start == Start::Unknown;
    let names = dialect.names();
    let rule = if side == Side::Client { names.command } else { names.reply };
    let (mut rest, mut at, mut best) = (said.bytes, 0_usize, Seen::Silent);
    for nth in 0..UNITS_MAX {
        if rest.is_empty() {
            break;
        }
        let misfit = if best == Seen::Silent { Seen::Other } else { best };
        if dialect.is_unreadable(rest) {
            return misfit;
        }
        let (line, length, whole) = first_unit(dialect, rest);
        let place = Place { side, nth, whole, late };
        let mark = |constant| mark(rule, side, at, length, constant);
        let readable = line.len() <= PROBE_LINE_MAX && is_text(line);
        match dialect.fit(place, line) {
            fit if !readable || fit == Fit::No => return misfit,
            _ if !whole => return if best == Seen::Silent { Seen::Open } else { best },
            Fit::Own(constant) if nth == 0 => return Seen::Proven(mark(constant)),
            Fit::Own(constant) => return Seen::Later(mark(constant)),
            _ if late => return Seen::Other,
            Fit::Weak(constant) if !matches!(best, Seen::Weak(_)) => {
                best = Seen::Weak(mark(constant));
            }
            _ if best == Seen::Silent => best = Seen::Shared,
            _ => {}
        }
        at = at.saturating_add(length);
        rest = rest.get(length..).unwrap_or_default();
    }
    best
}

/// The first unit without its line end, its length, and whether its end was seen.
fn first_unit<'a>(dialect: &dyn Dialect, bytes: &'a [u8]) -> (&'a [u8], usize, bool) {
    let Ok(length) = dialect.unit(bytes) else { return (bytes, bytes.len(), false) };
    let line = bytes.get(..length).unwrap_or(bytes);
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), length, true)
}

/// A conversation, as far as it was read.
pub(super) struct Talk<'a>(&'a mut FollowState);

impl Talk<'_> {
    /// Whether TLS was asked for and not yet answered.
    pub(super) const fn asked(&self) -> bool {
        self.0.flags & ASKED != 0
    }

    /// Whether the server said that it can do TLS.
    pub(super) const fn offered(&self) -> bool {
        self.0.flags & OFFERED != 0
    }

    /// Whether a secret was sent and not yet judged.
    pub(super) const fn logging_in(&self) -> bool {
        self.0.flags & LOGGING_IN != 0
    }

    /// The login that the client will ask for, or asks for now, was refused: the answer came first.
    pub(super) const fn refused_before(&mut self) {
        self.0.flags |= REFUSED_BEFORE;
    }

    /// A login under way, or one that comes later, was refused.
    fn refuse(&mut self) {
        self.0.flags &= !LOGGING_IN;
        self.0.words[MECHANISM] = 0;
        if self.0.flags & ANSWERED_BEFORE != 0 {
            self.refused_before();
        }
    }

    /// Whether the client goes on in clear.
    pub(super) const fn used(&self) -> bool {
        self.0.flags & USED != 0
    }

    /// Whether the server was asked for a list, or is giving one.
    pub(super) const fn listing(&self) -> bool {
        self.0.flags & LISTING != 0
    }

    /// The server cannot do TLS any more.
    pub(super) const fn never_offers(&mut self) {
        self.0.flags |= LISTED;
    }

    /// The server gives a list of what it can do.
    pub(super) const fn begin_list(&mut self) {
        self.0.flags |= LISTING;
    }

    /// Whether the server has said nothing before.
    pub(super) const fn is_greeting(&self) -> bool {
        let [_, server] = self.0.phase;
        server == FRESH && self.0.flags & LATE == 0
    }

    /// Whether the client waits for no answer, as far as it was read.
    pub(super) const fn is_idle(&self) -> bool {
        self.0.words[WAITING] == 0
    }

    /// A status line answers the oldest command; whether it was the last one.
    pub(super) fn answered(&mut self) -> bool {
        self.0.flags &= !REFUSED_BEFORE;
        let waiting = &mut self.0.words[WAITING];
        if *waiting == 0 && self.0.flags & LATE == 0 {
            self.0.flags |= ANSWERED_BEFORE;
        }
        *waiting = waiting.saturating_sub(1);
        *waiting == 0
    }

    /// A number of the dialect's own.
    pub(super) const fn note(&mut self) -> &mut u32 {
        let [_, _, _, note, ..] = &mut self.0.words;
        note
    }

    fn phase(&mut self, side: Side) -> &mut u8 {
        let [client, server] = &mut self.0.phase;
        if side == Side::Client { client } else { server }
    }

    /// The session goes on in clear.
    fn settle(&mut self, facts: Facts) -> Facts {
        self.0.flags |= SETTLED;
        Facts { encryption: Some(Encryption::Plaintext), reason: self.why(), ..facts }
    }

    /// Why the session is in clear, if it is.
    const fn why(&self) -> Option<PlaintextReason> {
        let flags = self.0.flags;
        if flags & (DENIED | ASKED) != 0 {
            Some(PlaintextReason::ServerRefused)
        } else if flags & OFFERED != 0 {
            Some(PlaintextReason::ClientDeclined)
        } else if flags & LISTED != 0 {
            Some(PlaintextReason::ServerRefused)
        } else if flags & LATE != 0 {
            None
        } else {
            Some(PlaintextReason::ClientNeverAsked)
        }
    }

    fn sasl(&mut self, mechanism: Mechanism, given: u32) -> Facts {
        let index = MECHANISMS.iter().position(|known| *known == mechanism);
        let index = index.and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
        self.0.words[MECHANISM] = index.saturating_add(1);
        self.0.words[MESSAGES] = 0;
        let facts = self.settle(Facts::FITS);
        (0..given).fold(facts, |facts, _| self.message(facts))
    }

    /// One more message of the client in a SASL exchange.
    fn message(&mut self, facts: Facts) -> Facts {
        let Some(mechanism) = self.mechanism() else { return facts };
        let messages = &mut self.0.words[MESSAGES];
        *messages = messages.saturating_add(1);
        if *messages != mechanism.messages {
            return facts;
        }
        self.0.flags |= LOGGING_IN;
        Facts { credentials: mechanism.kind, ..facts }
    }

    /// The mechanism of the exchange under way.
    fn mechanism(&self) -> Option<Mechanism> {
        let index = usize::try_from(self.0.words[MECHANISM]).ok()?.checked_sub(1)?;
        MECHANISMS.get(index).copied()
    }
}

/// Reads one unit.
pub(super) fn follow(
    dialect: &dyn Dialect,
    state: &mut FollowState,
    side: Side,
    said: Said<'_>,
) -> Step {
    let mut talk = Talk(state);
    let bytes = said.bytes;
    let late = said.start == Start::Unknown;
    if late {
        talk.0.flags |= LATE;
    }
    let fresh = *talk.phase(side) == FRESH;
    match hello(side, bytes) {
        _ if *talk.phase(side) == LOST => return Step::read(bytes.len(), Facts::NONE),
        Err(Short) => return Step::WAIT,
        Ok(true) if !fresh || late => return layer(dialect, 0, Facts::FITS, OtherSide::Somewhere),
        Ok(_) => {}
    }
    let (line, length, whole) = first_unit(dialect, bytes);
    let readable = is_text(line);
    if !whole && readable && line.len() <= LINE_BYTES_MAX {
        return Step::WAIT;
    }
    let place = Place { side, nth: 0, whole, late };
    let other = fresh && dialect.fit(place, line) == Fit::No;
    if fresh && !late && (other || !readable) {
        return Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done };
    }
    if !readable || !whole {
        *talk.phase(side) = LOST;
        let over = talk.0.phase == [LOST, LOST];
        let next = if over { Next::Done } else { Next::Continue };
        return Step { next, ..Step::read(bytes.len(), Facts::NONE) };
    }
    if fresh && late && !matches!(dialect.fit(place, line), Fit::Own(_)) {
        // It may be the end of a longer line, or data.
        *talk.phase(side) = SPOKEN;
        return Step::read(length, Facts::NONE);
    }
    let means = heard(dialect, &mut talk, side, line);
    if *talk.phase(side) == FRESH {
        *talk.phase(side) = SPOKEN;
    }
    apply(dialect, &mut talk, means, side, length)
}

/// What a unit means, that of a SASL exchange included.
fn heard(dialect: &dyn Dialect, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Heard {
    if side == Side::Client
        && let Some(mechanism) = talk.mechanism()
    {
        match dialect.response(mechanism, line) {
            Response::Message => return Heard::Message,
            Response::Part => return Heard::Means(Means::Fits),
            Response::Abort => {
                talk.0.words[MECHANISM] = 0;
                return Heard::Means(Means::Fits);
            }
            Response::Command => talk.0.words[MECHANISM] = 0,
        }
    }
    if side == Side::Client {
        let waiting = &mut talk.0.words[WAITING];
        // The packets were out of order: its answer came first.
        let answered = talk.0.flags & ANSWERED_BEFORE != 0;
        *waiting = waiting.saturating_add(u32::from(!answered));
        talk.0.flags &= !ANSWERED_BEFORE;
    }
    Heard::Means(dialect.hear(talk, side, line))
}

#[derive(Clone, Copy)]
enum Heard {
    /// A message of the client in a SASL exchange.
    Message,
    Means(Means),
}

fn apply(
    dialect: &dyn Dialect,
    talk: &mut Talk<'_>,
    heard: Heard,
    side: Side,
    length: usize,
) -> Step {
    let names = dialect.names();
    let mut facts = Facts::FITS;
    let point = |rule, constant| Some(mark(rule, side, 0, length, constant));
    let means = match heard {
        Heard::Means(means) => means,
        Heard::Message => {
            let facts = talk.message(Facts::FITS);
            let name = talk.mechanism().map_or("SASL", |mechanism| mechanism.name);
            let shown = if facts.credentials.is_empty() { None } else { point(names.secret, name) };
            return Step::read(length, Facts { mark: shown, ..facts });
        }
    };
    match means {
        Means::Nothing => facts = Facts::NONE,
        Means::Lists => talk.0.flags |= LISTING,
        Means::Asks => {
            talk.0.flags |= ASKED;
            facts.mark = point(names.asked, "TLS asked");
        }
        Means::Uses | Means::Sends => {
            talk.0.flags |= USED;
            facts = talk.settle(facts);
            if means == Means::Sends {
                *talk.phase(side) = LOST;
            }
        }
        // Refused TLS, it has said nothing in clear.
        Means::Leaves if talk.0.flags & (ASKED | DENIED) != 0 => {}
        Means::Leaves => facts = talk.settle(facts),
        Means::Secret(kind, constant) => {
            let refused = talk.0.flags & REFUSED_BEFORE != 0;
            talk.0.flags |= if refused { USED } else { LOGGING_IN | USED };
            facts = Facts { credentials: kind, refused, ..talk.settle(facts) };
            facts.mark = point(names.secret, constant);
        }
        Means::Sasl { mechanism, given } => {
            facts = talk.sasl(mechanism, given);
            if !facts.credentials.is_empty() {
                facts.mark = point(names.secret, mechanism.name);
            }
        }
        Means::Offers => talk.0.flags |= OFFERED,
        Means::Listed => talk.0.flags = talk.0.flags & !LISTING | LISTED,
        Means::Grants => {
            facts.mark = point(names.granted, "TLS granted");
            // Who asked was not seen.
            let other = if talk.asked() { OtherSide::Here } else { OtherSide::Somewhere };
            return layer(dialect, length, facts, other);
        }
        Means::Denies if talk.asked() => {
            talk.0.flags = talk.0.flags & !ASKED | DENIED;
            facts.refused = talk.0.flags & SETTLED == 0;
            facts.mark = point(names.denied, "TLS refused");
        }
        Means::Fits | Means::Denies => {}
        Means::Accepts => {
            facts = Facts { accepted: true, ..talk.settle(facts) };
            return Step { next: Next::Done, ..Step::read(length, facts) };
        }
        Means::Refuses(constant) => {
            talk.refuse();
            facts = Facts { refused: true, ..talk.settle(facts) };
            facts.mark = point(names.refused, constant);
        }
    }
    talk.go_on(Step::read(length, facts))
}

impl Talk<'_> {
    /// Where only one side is seen, its going on in clear must do; and what goes on and on has nothing more to tell.
    fn go_on(&mut self, step: Step) -> Step {
        let units = &mut self.0.words[UNITS];
        *units = units.saturating_add(1);
        let units = *units;
        let settled = self.0.flags & SETTLED != 0;
        let facts = match step.facts {
            facts if units > OPEN_UNITS_MAX && !settled => self.settle(facts),
            facts if facts.fits => Facts { reason: self.why(), ..facts },
            facts => facts,
        };
        let next = if units > SETTLED_UNITS_MAX { Next::Done } else { step.next };
        Step { facts, next, ..step }
    }
}

fn layer(dialect: &dyn Dialect, consumed: usize, facts: Facts, other: OtherSide) -> Step {
    let upgrade = Some(dialect.names().upgrade);
    Step { consumed, facts, next: Next::Layer { upgrade, other } }
}

/// A TLS record that begins the handshake of `side`, where a line might begin.
pub(super) fn hello(side: Side, bytes: &[u8]) -> Result<bool, Short> {
    let kind = if side == Side::Client { 1 } else { 2 };
    let fits = match bytes {
        [0x16, 3, 0..=4, _, _, found, ..] => return Ok(*found == kind),
        [0x16] | [0x16, 3] | [0x16, 3, 0..=4] | [0x16, 3, 0..=4, _] | [0x16, 3, 0..=4, _, _] => {
            true
        }
        _ => false,
    };
    if fits { Err(Short) } else { Ok(false) }
}

/// A short number for a word, to find it again.
pub(super) fn hash(word: &[u8]) -> u32 {
    word.iter().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(*b)).wrapping_mul(0x0100_0193))
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

/// Units and bytes of a unit looked at for proof.
const UNITS_MAX: usize = 16;
const PROBE_LINE_MAX: usize = 1024;
const GLANCE_BYTES: usize = 32;
/// A longer unit is data.
const LINE_BYTES_MAX: usize = 4096;
/// Units after which a session that was not seen to go on in clear evidently does.
const OPEN_UNITS_MAX: u32 = 64;
/// Units read in all.
const SETTLED_UNITS_MAX: u32 = 128;

// Phases.
const FRESH: u8 = 0;
const SPOKEN: u8 = 1;
const LOST: u8 = 2;

// Flags.
const OFFERED: u16 = 1;
const LISTED: u16 = 1 << 1;
const LISTING: u16 = 1 << 2;
const ASKED: u16 = 1 << 3;
const DENIED: u16 = 1 << 4;
const SETTLED: u16 = 1 << 5;
const USED: u16 = 1 << 6;
const LOGGING_IN: u16 = 1 << 7;
const LATE: u16 = 1 << 8;
const REFUSED_BEFORE: u16 = 1 << 9;
const ANSWERED_BEFORE: u16 = 1 << 10;

// Words.
const MECHANISM: usize = 0;
const MESSAGES: usize = 1;
const WAITING: usize = 2;
const UNITS: usize = 4;
