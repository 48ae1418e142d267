//! AMQP 0-9-1 and its predecessors, and AMQP 1.0. <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf>,
//! <https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html>
//!
//! The client begins with a protocol header; in 1.0 the server echoes it, in 0-9-1 it starts the connection. Later only
//! frames tell: a method we know and the end byte (0-9-1), or a performative (1.0).
use super::fit::{self, Fit, begins, begins_any, either, mark};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::Short,
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

mod frames;
#[cfg(test)]
mod tests;

use frames::Frame;

pub(super) struct Amqp;

impl Detector for Amqp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match either(view, opening) {
            Probe::Match(found) if found.mark.constant == constant(TLS) => {
                Match::preamble(found.mark)
            }
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = match phase(state, side) {
            OVER => Ok(Step::read(said.bytes.len(), Facts::NONE)),
            _ => message(state, side, said),
        };
        let step = step.unwrap_or_else(Step::from);
        if step.next == Next::Continue && state.phase == [OVER, OVER] {
            return Step { next: Next::Done, ..step };
        }
        step
    }
}

fn opening(side: Side, said: Said<'_>) -> Fit {
    let header = begins_any(said.bytes, &HEADERS);
    if let Ok(Some(at)) = header {
        return Ok(Some(mark("amqp.header", side, 0, HEADER_BYTES, constant(at))));
    }
    if said.start == Start::Unknown {
        return frames::late(side, said.bytes);
    }
    match (header, side) {
        (Ok(_), Side::Server) => {
            let started = frames::is_start(said.bytes)?;
            Ok(started.then(|| mark("amqp.start", side, 0, 13, "Connection.Start")))
        }
        (header, _) => header.map(|_| None),
    }
}

/// One protocol header or frame.
fn message(state: &mut FollowState, side: Side, said: Said<'_>) -> Result<Step, Short> {
    if let Some(at) = begins_any(said.bytes, &HEADERS)? {
        return Ok(header(state, side, at));
    }
    let first = phase(state, side) == OPENING;
    if side == Side::Client && asked_for_tls(state) {
        // The server's consent was not seen, but TLS is.
        let tls = begins(said.bytes, b"\x16\x03")?;
        return Ok(if tls { layer(0, OtherSide::Somewhere) } else { fit::other_protocol() });
    }
    if first
        && said.start == Start::Known
        && (side == Side::Client || !frames::is_start(said.bytes)?)
    {
        return Ok(fit::other_protocol());
    }
    let Some(frame) = frames::frame(side, said.bytes)? else {
        set(state, side, OVER);
        return Ok(Step::read(said.bytes.len(), Facts::NONE));
    };
    let length = frame.length();
    set(state, side, FRAMES);
    let mut facts = Facts::FITS;
    if first && said.start == Start::Known {
        facts.reason = Some(PlaintextReason::NoInBandUpgrade);
    }
    match frame {
        Frame::Login { constant, credentials, .. } => {
            facts.credentials = credentials;
            facts.mark = Some(mark("amqp.login", side, 0, 11, constant));
        }
        Frame::Refusal { constant, .. } => {
            set(state, side, OVER);
            facts.refused = true;
            facts.mark = Some(mark("amqp.refused", side, 0, length.min(32), constant));
        }
        Frame::Session { .. } => {
            set(state, side, OVER);
            facts.accepted = side == Side::Server;
        }
        Frame::Other { .. } => {}
    }
    Ok(Step::read(length, facts))
}

/// A protocol header: the client's wish, the server's answer.
fn header(state: &mut FollowState, side: Side, at: usize) -> Step {
    let noted = u32::try_from(at).unwrap_or(0).saturating_add(1);
    set(state, side, FRAMES);
    if side == Side::Client {
        state.words[ASKED] = noted;
        if at == TLS {
            return Step::read(HEADER_BYTES, Facts::FITS);
        }
        let reason = match at {
            PLAIN | SASL => PlaintextReason::ClientNeverAsked,
            _ => PlaintextReason::NoInBandUpgrade,
        };
        let encryption = Some(Encryption::Plaintext);
        return Step::read(HEADER_BYTES, Facts { reason: Some(reason), encryption, ..Facts::FITS });
    }
    let asked = state.words[ASKED];
    if at == TLS && asked == noted {
        return layer(HEADER_BYTES, OtherSide::Here);
    }
    if at == TLS && asked == 0 {
        return layer(HEADER_BYTES, OtherSide::Somewhere);
    }
    if asked == 0 || asked == noted {
        return Step::read(HEADER_BYTES, Facts::FITS);
    }
    // A server that cannot speak what was asked for names what it can, and closes.
    set(state, side, OVER);
    let reason = asked_for_tls(state).then_some(PlaintextReason::ServerRefused);
    let found = mark("amqp.refused", side, 0, HEADER_BYTES, constant(at));
    let facts = Facts { refused: true, reason, mark: Some(found), ..Facts::FITS };
    Step::read(HEADER_BYTES, facts)
}

const fn layer(consumed: usize, other: OtherSide) -> Step {
    Step { consumed, facts: Facts::FITS, next: Next::Layer { upgrade: Some(UPGRADE), other } }
}

const fn asked_for_tls(state: &FollowState) -> bool {
    let [asked, ..] = state.words;
    asked == TLS_NOTED
}

const fn phase(state: &FollowState, side: Side) -> u8 {
    let [client, server] = state.phase;
    match side {
        Side::Client => client,
        Side::Server => server,
    }
}

const fn set(state: &mut FollowState, side: Side, phase: u8) {
    let [client, server] = &mut state.phase;
    match side {
        Side::Client => *client = phase,
        Side::Server => *server = phase,
    }
}

fn constant(at: usize) -> &'static str {
    NAMES.get(at).copied().unwrap_or("AMQP")
}

const UPGRADE: &str = "amqp-tls";
const HEADER_BYTES: usize = 8;
/// AMQP 1.0 section 2.2, 5.2.1 and 5.3.1; 0-9-1 section 4.2.2.
static HEADERS: [&[u8]; 7] = [
    b"AMQP\x00\x01\x00\x00",
    b"AMQP\x02\x01\x00\x00",
    b"AMQP\x03\x01\x00\x00",
    b"AMQP\x00\x00\x09\x01",
    b"AMQP\x01\x01\x00\x09",
    b"AMQP\x01\x01\x08\x00",
    b"AMQP\x01\x01\x00\x0a",
];
static NAMES: [&str; 7] = [
    "AMQP 1.0",
    "AMQP 1.0 TLS",
    "AMQP 1.0 SASL",
    "AMQP 0-9-1",
    "AMQP 0-9",
    "AMQP 0-8",
    "AMQP 0-10",
];
const PLAIN: usize = 0;
const TLS: usize = 1;
const SASL: usize = 2;
/// The client's header, counted from 1, in `words`.
const ASKED: usize = 0;
const TLS_NOTED: u32 = 2;

const OPENING: u8 = 0;
const FRAMES: u8 = 1;
const OVER: u8 = 2;

static INFO: Info = Info {
    name: "amqp",
    title: "AMQP",
    spec: "https://www.amqp.org/resources/download",
    ports: &[5672],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::SASL_PLAIN
        .with(Credentials::PASSWORD_CLEARTEXT)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};
