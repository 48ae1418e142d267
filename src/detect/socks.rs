//! SOCKS 4, 4a and 5: a request for a relay, then any other protocol. <https://www.rfc-editor.org/rfc/rfc1928>,
//! <https://www.rfc-editor.org/rfc/rfc1929>, <https://www.openssh.com/txt/socks4.protocol>
//!
//! The client's first message is too short to be proof: it takes the server's answer or the client's next message.
use super::fit::{self, mark};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Side, Transport},
};

mod messages;
#[cfg(test)]
mod tests;

use messages::{Request, answer_4, greeting, login, name_of, reply, request_4, request_5};

pub(super) struct Socks;

impl Detector for Socks {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        let (client, server) = (view.client, view.server);
        if client.bytes.is_empty() {
            let found = server.start == Start::Known && server_alone(server.bytes) == Ok(true);
            let proof = mark("socks.reply", Side::Server, 0, 12, "VER 5 REP 0");
            return if found { Match::preamble(proof) } else { Probe::More };
        }
        if client.start == Start::Unknown {
            return Probe::No;
        }
        let answer = match client.bytes.first() {
            Some(5) => version_5(client.bytes, server),
            Some(4) => version_4(client.bytes, server),
            _ => Ok(None),
        };
        match answer {
            Ok(Some(length)) => {
                let constant = name_of(client.bytes);
                Match::preamble(mark("socks.request", Side::Client, 0, length, constant))
            }
            Ok(None) => Probe::No,
            Err(Short) => Probe::More,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = match side {
            Side::Client => follow_client(state, said.bytes),
            Side::Server => follow_server(state, said),
        };
        step.unwrap_or_else(Step::from)
    }
}

/// A greeting, proven by the server's choice or by what the client says next.
fn version_5(bytes: &[u8], server: Said<'_>) -> Result<Option<usize>, Short> {
    let Some(methods) = greeting(bytes)? else { return Ok(None) };
    let length = methods.len().saturating_add(2);
    let rest = bytes.get(length..).unwrap_or_default();
    let usual = methods.iter().all(|method| *method <= PASSWORD);
    let foreign = match rest.first() {
        None => false,
        Some(1) if methods.contains(&PASSWORD) => login(rest) == Ok(None),
        Some(1) if methods.contains(&GSSAPI) => false,
        // Other methods have messages of their own.
        Some(_) => usual && matches!(request_5(rest), Ok(None)),
    };
    if foreign {
        return Ok(None);
    }
    if let [5, method, ..] = server.bytes
        && (methods.contains(method) || *method == NO_METHOD)
    {
        return Ok(Some(length));
    }
    let next = match rest.first().ok_or(Short)? {
        1 if methods.contains(&PASSWORD) => login(rest)?.is_some(),
        1 if methods.contains(&GSSAPI) => return Err(Short),
        _ => request_5(rest)?.is_some(),
    };
    if next { Ok(Some(length)) } else { Err(Short) }
}

/// A request, proven by a name in it, by the server's answer or by TLS right behind it.
fn version_4(bytes: &[u8], server: Said<'_>) -> Result<Option<usize>, Short> {
    let Some(request) = request_4(bytes)? else { return Ok(None) };
    let tls = || bytes.get(request.length..).is_some_and(|rest| rest.starts_with(b"\x16\x03"));
    if request.named || answer_4(server.bytes) == Ok(Some(true)) || tls() {
        return Ok(Some(request.length));
    }
    if answer_4(server.bytes) == Ok(Some(false)) { Ok(Some(request.length)) } else { Err(Short) }
}

/// Whether a server's bytes alone are a choice of method and a granted request.
fn server_alone(bytes: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != 5 {
        return Ok(false);
    }
    match c.u8()? {
        0 => {}
        PASSWORD if c.array()? == [1, 0] => {}
        _ => return Ok(false),
    }
    Ok(matches!(reply(c.rest())?, Some((0, _))))
}

fn follow_client(state: &mut FollowState, bytes: &[u8]) -> Result<Step, Short> {
    match (state.phase, bytes.first().ok_or(Short)?) {
        ([OPENING, _], 5) => {
            let methods = greeting(bytes)?.ok_or(Short)?;
            state.phase[0] = GREETED;
            Ok(Step::read(methods.len().saturating_add(2), Facts::FITS))
        }
        ([OPENING, _], 4) => {
            let request = request_4(bytes)?.ok_or(Short)?;
            Ok(asked(state, request))
        }
        ([GREETED, _], 1) if state.words[METHOD] != GSSAPI_NOTED => {
            let Some((length, given)) = login(bytes)? else { return Ok(Step::DONE) };
            if !given {
                return Ok(Step::read(length, Facts::FITS));
            }
            let found = mark("socks.password", Side::Client, 0, length, "VER 1 PASSWD");
            let credentials = Credentials::PASSWORD_CLEARTEXT;
            let facts = Facts { credentials, mark: Some(found), ..Facts::FITS };
            Ok(Step::read(length, facts))
        }
        ([GREETED, _], 5) => {
            let Some(request) = request_5(bytes)? else { return Ok(Step::DONE) };
            Ok(asked(state, request))
        }
        // The server's consent was not seen, but the client goes on.
        ([ASKED, OPENING], _) => Ok(layer(0, OtherSide::Somewhere)),
        ([ASKED, _], _) => Ok(Step::WAIT),
        _ => Ok(Step::DONE),
    }
}

fn asked(state: &mut FollowState, request: Request) -> Step {
    state.phase[0] = ASKED;
    state.words[COMMAND] = request.command;
    Step::read(request.length, Facts::FITS)
}

fn follow_server(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    let bytes = said.bytes;
    let foreign = |state: &FollowState| match state.phase {
        [_, OPENING] if said.start == Start::Known => fit::other_protocol(),
        _ => Step::DONE,
    };
    match (state.phase, bytes.first().ok_or(Short)?) {
        ([_, OPENING], 0) => Ok(match answer_4(bytes)? {
            Some(true) => granted(state, ANSWER_4_BYTES),
            Some(false) => refused(ANSWER_4_BYTES, "VN 0 rejected"),
            None => foreign(state),
        }),
        ([_, OPENING], 5) => {
            let [_, method] = Cursor::new(bytes).array()?;
            if method == NO_METHOD {
                return Ok(refused(2, "METHOD FF"));
            }
            state.phase[1] = if method == 0 { LET_IN } else { GREETED };
            state.words[METHOD] = u32::from(method).saturating_add(1);
            Ok(Step::read(2, Facts::FITS))
        }
        ([_, GREETED], 1) if state.words[METHOD] == PASSWORD_NOTED => {
            let [_, status] = Cursor::new(bytes).array()?;
            if status != 0 {
                return Ok(refused(2, "VER 1 STATUS"));
            }
            state.phase[1] = LET_IN;
            Ok(Step::read(2, Facts::FITS))
        }
        ([_, LET_IN], 5) => Ok(match reply(bytes)? {
            Some((0, length)) => granted(state, length),
            Some((_, length)) => refused(length, "VER 5 REP"),
            None => foreign(state),
        }),
        _ => Ok(foreign(state)),
    }
}

/// The server has made the connection (for CONNECT): what runs inside decides.
fn granted(state: &FollowState, length: usize) -> Step {
    let [_, command, ..] = state.words;
    if command > CONNECT {
        let encryption = Some(Encryption::Plaintext);
        let facts = Facts { encryption, accepted: true, ..fit::CLEAR };
        return Step { consumed: length, facts, next: Next::Done };
    }
    // A client whose beginning was seen has asked by now, unless the directions were captured apart.
    let [client, _] = state.phase;
    let other = if client == ASKED { OtherSide::Here } else { OtherSide::Somewhere };
    layer(length, other)
}

const fn layer(consumed: usize, other: OtherSide) -> Step {
    Step { consumed, facts: Facts::FITS, next: Next::Layer { upgrade: Some(UPGRADE), other } }
}

fn refused(length: usize, constant: &'static str) -> Step {
    let found = mark("socks.refused", Side::Server, 0, length, constant);
    let encryption = Some(Encryption::Plaintext);
    let facts = Facts { refused: true, encryption, mark: Some(found), ..fit::CLEAR };
    Step { consumed: length, facts, next: Next::Done }
}

const UPGRADE: &str = "socks";
const ANSWER_4_BYTES: usize = 8;
const GSSAPI: u8 = 1;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u32 = 1;

// Phases: of the client, and of the server.
const OPENING: u8 = 0;
const GREETED: u8 = 1;
const ASKED: u8 = 2;
const LET_IN: u8 = 2;

// Words: the server's choice, counted from 1, and the command.
const METHOD: usize = 0;
const COMMAND: usize = 1;
const GSSAPI_NOTED: u32 = 2;
const PASSWORD_NOTED: u32 = 3;

static INFO: Info = Info {
    name: "socks",
    title: "SOCKS",
    spec: "https://www.rfc-editor.org/rfc/rfc1928",
    ports: &[1080],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};
