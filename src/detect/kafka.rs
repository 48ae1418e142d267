//! Apache Kafka and what speaks its protocol (MSK, Redpanda, Event Hubs). <https://kafka.apache.org/protocol.html>
//!
//! A request names its API and version behind a length, then a correlation id and the client's name; the response has
//! nothing but length and correlation id in front, so only a few responses prove themselves.
use super::frames::{self, FITS, Flaw, Read, mark, need};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

mod requests;
mod responses;
#[cfg(test)]
mod tests;

use requests::{API_VERSIONS, SASL_AUTHENTICATE, SASL_HANDSHAKE};

pub(super) struct Kafka;

impl Detector for Kafka {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(view, client, server)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = frames::follow(state, side, said, |state, bytes| match side {
            Side::Client => request(state, bytes),
            Side::Server => response(state, bytes),
        });
        let over = state.flags & ACCEPTED != 0;
        if over && step.next == Next::Continue { Step { next: Next::Done, ..step } } else { step }
    }
}

fn client(said: Said<'_>) -> Read<Mark> {
    let mut cursor = Cursor::new(said.bytes);
    let header = requests::header(&mut cursor)?;
    let proven = requests::body(&header, &mut cursor)?;
    need(proven || header.named)?;
    let known = said.start == Start::Known;
    // Else the rest need not be seen: the body's beginning tells enough.
    if !proven || !known && !requests::carries_records(&header) {
        let next = said.bytes.get(header.whole()..).ok_or(Flaw::Short)?;
        match requests::header(&mut Cursor::new(next)) {
            // Who came late may stand within data: another request has to begin where this one ends.
            Err(flaw) if !known && flaw != Flaw::Short => return Err(flaw),
            _ => {}
        }
    }
    Ok(mark("kafka.request", Side::Client, header.at, requests::name(header.key)))
}

fn server(said: Said<'_>) -> Read<Mark> {
    let mut rest = said.bytes;
    let mut before = None;
    for _ in 0..RESPONSES_READ {
        let mut cursor = Cursor::new(rest);
        let size = frames::length(&mut cursor, 4, responses::BYTES_MAX)?;
        let id = cursor.u32_be()?;
        need(before.is_none_or(|before: u32| id.wrapping_sub(before) <= PIPELINED_MAX))?;
        before = Some(id);
        match responses::alone(rest) {
            Ok((length, response)) => {
                let found = mark("kafka.response", Side::Server, length, response.name());
                let at = said.bytes.len().saturating_sub(rest.len());
                return Ok(Mark { offset: u32::try_from(at).unwrap_or(u32::MAX), ..found });
            }
            Err(Flaw::Weak) => {}
            Err(flaw) => return Err(flaw),
        }
        // One of those that prove nothing: the next one answers a later request.
        rest = rest.get(size.saturating_add(4)..).ok_or(Flaw::Short)?;
        if rest.is_empty() {
            return Err(Flaw::Short);
        }
    }
    Err(Flaw::Weak)
}

/// Words: correlation id of the request whose answer tells more, what it was, the latest three correlation ids
/// of other requests.
fn request(state: &mut FollowState, bytes: &[u8]) -> Read<Step> {
    let mut cursor = Cursor::new(bytes);
    let header = match requests::header(&mut cursor) {
        Ok(header) => header,
        Err(Flaw::Bad) if state.flags & RAW_SASL != 0 => return raw_sasl(bytes),
        Err(flaw) => return Err(flaw),
    };
    let (kind, facts) = match header.key {
        API_VERSIONS => (KIND_VERSIONS, FITS),
        SASL_HANDSHAKE => (KIND_HANDSHAKE, FITS),
        SASL_AUTHENTICATE => {
            let kind = if header.flexible { KIND_LOGIN_FLEXIBLE } else { KIND_LOGIN };
            (kind, sasl(requests::sasl_bytes(&header, &mut cursor)?, header.at))
        }
        _ => (KIND_OTHER, FITS),
    };
    if header.key == SASL_HANDSHAKE && header.version == 0 {
        state.flags |= RAW_SASL;
    }
    let noted = header.correlation.saturating_add(1);
    let [special, what, ids @ .., _] = &mut state.words;
    if kind == KIND_OTHER {
        ids.rotate_right(1);
        let [newest, ..] = ids;
        *newest = noted;
    } else {
        (*special, *what) = (noted, kind);
    }
    Ok(Step::read(header.whole(), facts))
}

/// Frames between an old `SaslHandshake` and the first request hold the mechanism's own bytes only.
fn raw_sasl(bytes: &[u8]) -> Read<Step> {
    let mut cursor = Cursor::new(bytes);
    let size = frames::length(&mut cursor, 0, requests::SASL_BYTES_MAX)?;
    let body = cursor.take(size.min(requests::SASL_BYTES_READ))?;
    Ok(Step::read(size.saturating_add(4), sasl(body, 4)))
}

fn sasl(message: &[u8], at: usize) -> Facts {
    let (credentials, constant) = requests::sasl_kind(message);
    frames::secret(credentials, mark("kafka.sasl", Side::Client, at, constant))
}

fn response(state: &mut FollowState, bytes: &[u8]) -> Read<Step> {
    let mut cursor = Cursor::new(bytes);
    let raw = state.flags & RAW_SASL != 0;
    let size = frames::length(&mut cursor, if raw { 0 } else { 4 }, responses::BYTES_MAX)?;
    let consumed = size.saturating_add(4);
    if size < 4 {
        return Ok(Step::read(consumed, FITS));
    }
    let noted = cursor.u32_be()?.saturating_add(1);
    let [special, what, ids @ .., _] = state.words;
    if noted == special {
        let skipped = usize::from(what == KIND_LOGIN_FLEXIBLE);
        cursor.skip(skipped)?;
        let facts = match (what, cursor.u16_be()?) {
            (KIND_HANDSHAKE | KIND_LOGIN | KIND_LOGIN_FLEXIBLE, error @ (33 | 34 | 58)) => {
                frames::refusal(mark("kafka.refused", Side::Server, 10, error_name(error)))
            }
            (KIND_LOGIN | KIND_LOGIN_FLEXIBLE, 0) => Facts { accepted: true, ..FITS },
            _ => FITS,
        };
        return Ok(Step::read(consumed, facts));
    }
    if ids.contains(&noted) {
        state.flags |= ACCEPTED;
        return Ok(Step::read(consumed, Facts { accepted: true, ..FITS }));
    }
    // Read before its request, which will tell what it answers.
    let newest = ids.iter().copied().fold(special, u32::max);
    let ahead = noted.checked_sub(newest).is_some_and(|n| (1..=PIPELINED_MAX).contains(&n));
    if !raw && ahead && newest > 0 && frames::fitted(state, Side::Client) {
        return Err(Flaw::Short);
    }
    match responses::alone(bytes) {
        Ok((_, response)) => {
            Ok(Step::read(consumed, Facts { accepted: response.is_data(), ..FITS }))
        }
        Err(Flaw::Short) => Err(Flaw::Short),
        // The request was not seen, or is one of the mechanism's own.
        Err(Flaw::Weak) => Ok(Step::read(consumed, Facts::NONE)),
        Err(flaw) => Err(flaw),
    }
}

const fn error_name(code: u16) -> &'static str {
    match code {
        33 => "UNSUPPORTED_SASL_MECH",
        34 => "ILLEGAL_SASL_STATE",
        _ => "SASL_AUTHENTICATION_FAIL",
    }
}

const RESPONSES_READ: usize = 4;
const PIPELINED_MAX: u32 = 16;

/// Flags.
const RAW_SASL: u16 = 1;
const ACCEPTED: u16 = 1 << 1;

/// What the noted request is.
const KIND_OTHER: u32 = 0;
const KIND_VERSIONS: u32 = 1;
const KIND_HANDSHAKE: u32 = 2;
const KIND_LOGIN: u32 = 3;
const KIND_LOGIN_FLEXIBLE: u32 = 4;

static INFO: Info = Info {
    name: "kafka",
    title: "Apache Kafka",
    spec: "https://kafka.apache.org/protocol.html",
    ports: &[9092],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::SASL_PLAIN
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};
