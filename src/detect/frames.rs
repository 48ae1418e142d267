//! What the detectors of client-first protocols made of messages share: one answer made of two half-views, and a
//! reader that goes from message to message.
use super::sql::{self, Seen};
use super::{Facts, FollowState, Match, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It ends before its end.
    Short,
    /// It fits, but will never prove the protocol by itself.
    Weak,
    /// It is something else.
    Bad,
}

impl From<Short> for Flaw {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// Result of reading a message.
pub(super) type Read<T> = Result<T, Flaw>;

/// Goes on only if the bytes `fit`.
pub(super) const fn need(fit: bool) -> Read<()> {
    if fit { Ok(()) } else { Err(Flaw::Bad) }
}

/// Passes over `constant`; the first byte that differs tells.
pub(super) fn tag(cursor: &mut Cursor<'_>, constant: &[u8]) -> Read<()> {
    need(constant.iter().zip(cursor.rest()).all(|(want, byte)| want == byte))?;
    Ok(cursor.skip(constant.len())?)
}

/// Four bytes of a big-endian length in `min..=max`, judged from the first byte on.
pub(super) fn length(cursor: &mut Cursor<'_>, min: u32, max: u32) -> Read<usize> {
    let [high, ..] = max.to_be_bytes();
    need(cursor.peek()? <= high)?;
    let value = cursor.u32_be()?;
    need((min..=max).contains(&value))?;
    usize::try_from(value).map_err(|_| Flaw::Bad)
}

/// The next `n` bytes, all of which are `fit`; the first that is not tells.
pub(super) fn all<'a>(cursor: &mut Cursor<'a>, n: usize, fit: fn(&u8) -> bool) -> Read<&'a [u8]> {
    let rest = cursor.rest();
    need(rest.get(..n).unwrap_or(rest).iter().all(fit))?;
    Ok(cursor.take(n)?)
}

/// ASCII as it stands in names: no control characters, no space.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "shaped as the tests of `u8` are")]
pub(super) const fn graphic(byte: &u8) -> bool {
    byte.is_ascii_graphic()
}

/// Text for people: no control characters.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "shaped as the tests of `u8` are")]
pub(super) const fn printable(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~' | 0x80..)
}

/// Host names and addresses.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "shaped as the tests of `u8` are")]
pub(super) const fn hostname(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b':' | b'%')
}

/// The answer of `probe` for a TCP protocol in which the client speaks first.
pub(super) fn probe(
    view: &View<'_>,
    client: impl FnOnce(Said<'_>) -> Read<Mark>,
    server: impl FnOnce(Said<'_>) -> Read<Mark>,
) -> Probe {
    if view.transport != Transport::Tcp {
        return Probe::No;
    }
    sql::answer(view, see(view.client, client), see(view.server, server))
}

fn see(said: Said<'_>, read: impl FnOnce(Said<'_>) -> Read<Mark>) -> Seen {
    if said.bytes.is_empty() {
        return Seen::Silent;
    }
    match read(said) {
        Ok(mark) => Seen::Proven(Match { encryption: Some(Encryption::Plaintext), mark }),
        Err(Flaw::Short) => Seen::Open,
        Err(Flaw::Bad) if said.start == Start::Known => Seen::Other,
        Err(Flaw::Weak | Flaw::Bad) => Seen::Unclear,
    }
}

/// Takes one step with `read`, which must leave the state alone unless it succeeds. The phases and the last word belong
/// to this function.
pub(super) fn follow(
    state: &mut FollowState,
    side: Side,
    said: Said<'_>,
    read: impl FnOnce(&mut FollowState, &[u8]) -> Read<Step>,
) -> Step {
    let all = Step::read(said.bytes.len(), Facts::NONE);
    if phase(state, side) == LOST {
        return if phase(state, side.other()) == LOST { Step::DONE } else { all };
    }
    match read(state, said.bytes) {
        Ok(mut step) => {
            if step.facts.fits {
                set_phase(state, side, FITTED);
            }
            let [.., messages] = &mut state.words;
            *messages = messages.saturating_add(1);
            if *messages >= MESSAGES_MAX {
                step.next = Next::Done;
            }
            step
        }
        Err(Flaw::Short) if said.bytes.len() < WAIT_BYTES_MAX => Step::WAIT,
        Err(_) if phase(state, side) == FITTED || said.start == Start::Unknown => {
            set_phase(state, side, LOST);
            all
        }
        Err(_) => Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done },
    }
}

/// As [`follow`], for protocols that tell nothing once both sides have been heard.
pub(super) fn follow_briefly(
    state: &mut FollowState,
    side: Side,
    said: Said<'_>,
    read: impl FnOnce(&mut FollowState, &[u8]) -> Read<Step>,
) -> Step {
    let step = follow(state, side, said, read);
    let heard = state.phase.iter().all(|phase| *phase != SILENT);
    if heard && step.next == Next::Continue { Step { next: Next::Done, ..step } } else { step }
}

/// Whether `side` has been heard to speak the protocol.
pub(super) fn fitted(state: &FollowState, side: Side) -> bool {
    phase(state, side) == FITTED
}

const fn phase(state: &FollowState, side: Side) -> u8 {
    let [client, server] = state.phase;
    match side {
        Side::Client => client,
        Side::Server => server,
    }
}

const fn set_phase(state: &mut FollowState, side: Side, phase: u8) {
    let [client, server] = &mut state.phase;
    match side {
        Side::Client => *client = phase,
        Side::Server => *server = phase,
    }
}

/// A message of a protocol that has no TLS within the connection.
pub(super) const FITS: Facts =
    Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS };

/// What a message of `side` adds where every answer of the server means that the session is in use.
pub(super) fn fits(side: Side) -> Facts {
    Facts { accepted: side == Side::Server, ..FITS }
}

/// A refusal by the server.
pub(super) fn refusal(mark: Mark) -> Facts {
    Facts { refused: true, mark: Some(mark), ..FITS }
}

/// A secret in clear.
pub(super) fn secret(credentials: Credentials, mark: Mark) -> Facts {
    let mark = (!credentials.is_empty()).then_some(mark);
    Facts { credentials, mark, ..FITS }
}

/// Proof at the start of what was given.
pub(super) fn mark(rule: &'static str, side: Side, length: usize, constant: &'static str) -> Mark {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    Mark { rule, side, offset: 0, length, constant }
}

const SILENT: u8 = 0;
const FITTED: u8 = 1;
/// What follows cannot be told apart any more.
const LOST: u8 = 2;
const MESSAGES_MAX: u32 = 64;
const WAIT_BYTES_MAX: usize = 8192;
