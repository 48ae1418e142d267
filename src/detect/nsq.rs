//! NSQ. <https://nsq.io/clients/tcp_protocol_spec.html>
//!
//! The client begins with a magic and a command; the server answers in frames: size, type, data. TLS is negotiated in
//! IDENTIFY and follows the server's consent.
use super::fit::{self, Fit, begins, begins_any, either, holds, mark};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Nsq;

impl Detector for Nsq {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match either(view, opening) {
            // IDENTIFY may lead to TLS.
            Probe::Match(found) => Match::preamble(found.mark),
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = state.phase;
        let phase = if side == Side::Client { client } else { server };
        if phase == OPENING && said.start == Start::Known {
            match opening(side, said) {
                Ok(None) => return fit::other_protocol(),
                Err(Short) => return Step::WAIT,
                Ok(Some(_)) => {}
            }
        }
        let [messages, ..] = &mut state.words;
        if *messages >= MESSAGES_MAX {
            return Step::DONE;
        }
        let step = match side {
            Side::Client => command(state, said),
            Side::Server => frame(state, said.bytes),
        };
        let Ok(step) = step else {
            return if said.bytes.len() > BODY_BYTES_MAX { Step::DONE } else { Step::WAIT };
        };
        let [messages, ..] = &mut state.words;
        *messages = messages.saturating_add(1);
        if let Some(phase) = state.phase.get_mut(fit::index(side)) {
            *phase = OPENED;
        }
        step
    }
}

fn opening(side: Side, said: Said<'_>) -> Fit {
    if side == Side::Client {
        if !begins(said.bytes, MAGIC)? {
            return Ok(None);
        }
        let command = said.bytes.get(MAGIC.len()..).unwrap_or_default();
        let known = begins_any(command, COMMANDS)?;
        return Ok(known.map(|_| mark("nsq.magic", side, 0, 8, "  V2")));
    }
    let Some(at) = begins_any(said.bytes, SIZES)? else { return Ok(None) };
    let mut c = Cursor::new(said.bytes);
    c.skip(4)?;
    let data: &[u8] = match at {
        0 => b"\0\0\0\0OK",
        1 => b"\0\0\0\0_heartbeat_",
        _ => b"\0\0\0\0{\"max_rdy_count\":",
    };
    Ok(begins(c.rest(), data)?.then(|| mark("nsq.response", side, 0, 10, "FrameTypeResponse")))
}

/// The magic, or a command with what follows its line.
fn command(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    let bytes = said.bytes;
    if state.phase[0] == OPENING && said.start == Start::Known {
        let reason = Some(PlaintextReason::ClientNeverAsked);
        return Ok(Step::read(MAGIC.len(), Facts { reason, ..Facts::FITS }));
    }
    if begins(bytes, b"\x16\x03")? {
        return Ok(layer(0, OtherSide::Somewhere));
    }
    let Some(at) = begins_any(bytes, COMMANDS)? else {
        return Ok(Step::read(bytes.len(), Facts::NONE));
    };
    let mut c = Cursor::new(bytes);
    c.line()?;
    if at >= BODIES {
        return Ok(Step::read(c.at(), PLAIN));
    }
    let size = usize::try_from(c.u32_be()?).unwrap_or(usize::MAX);
    let line = c.at();
    let length = line.saturating_add(size);
    let mut facts = PLAIN;
    match at {
        IDENTIFY if holds(c.take(size)?, b"\"tls_v1\":true") => {
            state.flags = ASKED_FOR_TLS;
            facts.encryption = None;
        }
        AUTH if size > 0 => {
            facts.credentials = Credentials::BEARER_TOKEN;
            facts.mark = Some(mark("nsq.auth", Side::Client, 0, line, "AUTH"));
        }
        _ => {}
    }
    Ok(Step::read(length, facts))
}

/// A frame: its answer to IDENTIFY says whether TLS follows.
fn frame(state: &FollowState, bytes: &[u8]) -> Result<Step, Short> {
    let mut c = Cursor::new(bytes);
    let (size, kind) = (usize::try_from(c.u32_be()?).unwrap_or(usize::MAX), c.u32_be()?);
    if kind > 2 || size < 4 {
        return Ok(Step::read(bytes.len(), Facts::NONE));
    }
    let length = size.saturating_add(4);
    let asked = state.flags & ASKED_FOR_TLS != 0;
    if kind == ERROR {
        let data = c.take(size.saturating_sub(4))?;
        let refused = REFUSALS.iter().any(|start| data.starts_with(start));
        let found = refused.then(|| mark("nsq.refused", Side::Server, 0, 12, "E_AUTH_FAILED"));
        return Ok(Step::read(length, Facts { refused, mark: found, ..PLAIN }));
    }
    if kind == 0 && c.peek().is_ok_and(|first| first == b'{') {
        let data = c.take(size.saturating_sub(4))?;
        if holds(data, b"\"tls_v1\":true") {
            let seen = state.phase[0] == OPENED;
            return Ok(layer(length, if seen { OtherSide::Here } else { OtherSide::Somewhere }));
        }
        let reason = asked.then_some(PlaintextReason::ServerRefused);
        return Ok(Step::read(length, Facts { reason, accepted: true, ..PLAIN }));
    }
    Ok(Step::read(length, Facts { accepted: true, ..PLAIN }))
}

const fn layer(consumed: usize, other: OtherSide) -> Step {
    Step { consumed, facts: Facts::FITS, next: Next::Layer { upgrade: Some(UPGRADE), other } }
}

/// It goes on in clear.
const PLAIN: Facts = Facts { encryption: Some(Encryption::Plaintext), ..Facts::FITS };
const UPGRADE: &str = "nsq-tls";
const MAGIC: &[u8] = b"  V2";
const OPENING: u8 = 0;
const OPENED: u8 = 1;
const ASKED_FOR_TLS: u16 = 1;
const ERROR: u32 = 1;
const MESSAGES_MAX: u32 = 32;
const BODY_BYTES_MAX: usize = 8192;
/// Commands: first those with a body.
const COMMANDS: &[&[u8]] = &[
    b"IDENTIFY\n",
    b"AUTH\n",
    b"PUB ",
    b"MPUB ",
    b"DPUB ",
    b"SUB ",
    b"NOP\n",
    b"RDY ",
    b"FIN ",
    b"REQ ",
    b"TOUCH ",
    b"CLS\n",
];
const IDENTIFY: usize = 0;
const AUTH: usize = 1;
const BODIES: usize = 5;
const REFUSALS: [&[u8]; 3] = [b"E_AUTH_FAILED", b"E_UNAUTHORIZED", b"E_AUTH_DISABLED"];
/// Frames a server begins with: OK, a heartbeat, its answer to IDENTIFY.
const SIZES: &[&[u8]] = &[b"\0\0\0\x06", b"\0\0\0\x0f", b"\0\0\x01", b"\0\0\0"];

static INFO: Info = Info {
    name: "nsq",
    title: "NSQ",
    spec: "https://nsq.io/clients/tcp_protocol_spec.html",
    ports: &[4150],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[UPGRADE],
    credentials: Credentials::BEARER_TOKEN,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn identify(json: &str) -> Vec<u8> {
        let size = u32::try_from(json.len()).unwrap().to_be_bytes();
        [&b"  V2IDENTIFY\n"[..], &size, json.as_bytes()].concat()
    }

    fn response(kind: u8, data: &str) -> Vec<u8> {
        let size = u32::try_from(data.len() + 4).unwrap().to_be_bytes();
        [&size[..], &[0, 0, 0, kind], data.as_bytes()].concat()
    }

    #[test]
    fn magic_and_frames_prove_it() {
        let features =
            response(0, "{\"max_rdy_count\":2500,\"version\":\"1.2.1\",\"tls_v1\":false}");
        let cases: [(&[u8], bool, bool); 9] = [
            (&identify("{}"), true, false),
            (b"  V2SUB t c\n", true, false),
            (&response(0, "OK"), false, true),
            (&response(0, "_heartbeat_"), false, true),
            (&features, false, true),
            (b"  V2words", false, false),
            (b"\0\0\0\x06\0\0\0\x01OK", false, false),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", false, false),
            (b"GET / HTTP/1.1\r\n", false, false),
        ];
        for (bytes, client, server) in cases {
            let matches = |side| matches!(probe_side(&Nsq, side, bytes), Probe::Match(_));
            assert_eq!((matches(C), matches(S)), (client, server), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn tls_follows_the_servers_consent() {
        let ask = identify("{\"tls_v1\":true}");
        let consent = response(0, "{\"max_rdy_count\":2500,\"tls_v1\":true}");
        let heard = hear(&Nsq, &[(C, &ask), (S, &consent), (C, b"\x16\x03\x01")]);
        assert_eq!(heard.encryption, None);
        assert_eq!(heard.layer, Some((Some(UPGRADE), Some(ask.len()), Some(consent.len()))));
        let refusal = response(0, "{\"max_rdy_count\":2500,\"tls_v1\":false}");
        let heard = hear(&Nsq, &[(C, &ask), (S, &refusal)]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        let auth = [&identify("{}")[..], b"AUTH\n\0\0\0\x03abc"].concat();
        let heard = hear(&Nsq, &[(C, &auth), (S, &response(1, "E_AUTH_FAILED x"))]);
        assert_eq!(heard.mismatch, [false, true], "an error is no first answer");
        let answer = [response(0, "OK"), response(1, "E_AUTH_FAILED x")].concat();
        let heard = hear(&Nsq, &[(C, &auth), (S, &answer)]);
        assert!(heard.refused && heard.credentials == Credentials::BEARER_TOKEN);
    }
}
