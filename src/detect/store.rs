//! What the detectors of data stores share: strict reading, byte by byte, and reading on, message by message.
use super::sql::{self, Seen};
use super::{FollowState, Match, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Encryption, Mark, PlaintextReason, Side, Transport},
};

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The bytes end first.
    Short,
    /// Not this grammar.
    Bad,
}

impl From<Short> for Flaw {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

pub(super) type Read<T> = Result<T, Flaw>;

/// The answer for a protocol whose sides each prove it alone, over TCP.
pub(super) fn tcp(
    view: &View<'_>,
    client: impl Fn(Said<'_>) -> Read<Match>,
    server: impl Fn(Said<'_>) -> Read<Match>,
) -> Probe {
    if view.transport != Transport::Tcp {
        return Probe::No;
    }
    sql::answer(view, seen(view.client, client), seen(view.server, server))
}

fn seen(said: Said<'_>, proof: impl Fn(Said<'_>) -> Read<Match>) -> Seen {
    if said.bytes.is_empty() {
        return Seen::Silent;
    }
    match proof(said) {
        Ok(found) => Seen::Proven(found),
        Err(Flaw::Short) => Seen::Open,
        Err(Flaw::Bad) if said.start == Start::Known => Seen::Other,
        Err(Flaw::Bad) => Seen::Unclear,
    }
}

/// Reads one message with `message` and keeps the books: a first message that does not fit is another protocol, a later
/// one (or one of a stream joined late) ends the reading of its side. `usual` is why such a session is in clear.
pub(super) fn read_on(
    state: &mut FollowState,
    side: Side,
    said: Said<'_>,
    usual: Option<PlaintextReason>,
    message: impl FnOnce(&mut FollowState, &[u8]) -> Read<Step>,
) -> Step {
    if *phase(state, side) == OVER {
        return Step::read(said.bytes.len(), super::Facts::NONE);
    }
    let mut step = match message(state, said.bytes) {
        Ok(step) => step,
        Err(Flaw::Short) if said.bytes.len() < WAIT_BYTES_MAX => return Step::WAIT,
        Err(_) if *phase(state, side) == FITTED || said.start == Start::Unknown => {
            *phase(state, side) = OVER;
            Step::read(said.bytes.len(), super::Facts::NONE)
        }
        Err(_) => Step { consumed: 0, facts: super::Facts::MISMATCH, next: Next::Done },
    };
    if *phase(state, side) == SILENT {
        *phase(state, side) = FITTED;
    }
    step.facts.reason = step.facts.reason.or(usual);
    if state.phase == [OVER, OVER] && step.next == Next::Continue {
        step.next = Next::Done;
    }
    step
}

/// This side has nothing more to tell; when neither has, the reading ends.
pub(super) fn over(state: &mut FollowState, side: Side) {
    *phase(state, side) = OVER;
}

/// Whether a message of this side was read.
pub(super) fn has_spoken(state: &FollowState, side: Side) -> bool {
    let [client, server] = state.phase;
    (if side == Side::Client { client } else { server }) != SILENT
}

fn phase(state: &mut FollowState, side: Side) -> &mut u8 {
    let [client, server] = &mut state.phase;
    if side == Side::Client { client } else { server }
}

/// Fails at once unless `sound`.
pub(super) const fn need(sound: bool) -> Read<()> {
    if sound { Ok(()) } else { Err(Flaw::Bad) }
}

/// Reads exactly `want`; the first other byte fails.
pub(super) fn expect(c: &mut Cursor<'_>, want: &[u8]) -> Read<()> {
    let shared = want.len().min(c.left());
    need(c.rest().get(..shared) == want.get(..shared))?;
    Ok(c.skip(want.len())?)
}

/// Reads `n` bytes that are all `sound`; the first that is not fails.
pub(super) fn all<'a>(c: &mut Cursor<'a>, n: usize, sound: impl Fn(u8) -> bool) -> Read<&'a [u8]> {
    let seen = c.rest().get(..n.min(c.left())).unwrap_or_default();
    need(seen.iter().all(|b| sound(*b)))?;
    Ok(c.take(n)?)
}

/// One byte that is `sound`.
pub(super) fn byte(c: &mut Cursor<'_>, sound: impl Fn(u8) -> bool) -> Read<u8> {
    let byte = c.u8()?;
    need(sound(byte)).map(|()| byte)
}

/// Printable ASCII.
pub(super) const fn printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

pub(super) fn size(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

pub(super) fn mark(
    rule: &'static str,
    side: Side,
    offset: usize,
    length: usize,
    constant: &'static str,
) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { rule, side, offset: number(offset), length: number(length), constant }
}

pub(super) const fn plaintext(mark: Mark) -> Match {
    Match { encryption: Some(Encryption::Plaintext), mark }
}

/// Longest message waited for.
const WAIT_BYTES_MAX: usize = 8 * 1024;
/// Most of a message looked at: the rest is passed over.
pub(super) const SHOWN_BYTES_MAX: usize = 4 * 1024;

// Phases of `read_on`.
const SILENT: u8 = 0;
const FITTED: u8 = 1;
const OVER: u8 = 2;
