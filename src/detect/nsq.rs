//! NSQ. <https://nsq.io/clients/tcp_protocol_spec.html>
//!
//! The client's magic, then commands; the server sends frames. `IDENTIFY` negotiates TLS within the connection.
use super::frames::{self, Flaw, Read, mark, need, tag};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
};
use crate::{
    bytes::{Cursor, find},
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

pub(super) struct Nsq;

impl Detector for Nsq {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match frames::probe(view, client, |said| server(said.bytes)) {
            // What the client asks for next decides.
            Probe::Match(found) if found.mark.side == Side::Client => Match::preamble(found.mark),
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        frames::follow(state, side, said, |state, bytes| match side {
            Side::Client => command(state, bytes),
            Side::Server => answer(state, bytes),
        })
    }
}

fn client(said: Said<'_>) -> Read<Mark> {
    need(said.start == Start::Known)?;
    let mut cursor = Cursor::new(said.bytes);
    tag(&mut cursor, MAGIC)?;
    for word in COMMANDS {
        match tag(&mut cursor, word) {
            Ok(()) => return Ok(mark("nsq.magic", Side::Client, cursor.at(), "  V2")),
            Err(Flaw::Short) => return Err(Flaw::Short),
            Err(_) => {}
        }
    }
    Err(Flaw::Bad)
}

/// Frames that prove themselves: a heartbeat, a message, an error.
fn server(bytes: &[u8]) -> Read<Mark> {
    let mut cursor = Cursor::new(bytes);
    let size = frames::length(&mut cursor, 6, FRAME_BYTES_MAX)?;
    tag(&mut cursor, &[0; 3])?;
    let constant = match cursor.u8()? {
        RESPONSE if size == 6 => return Err(Flaw::Weak),
        RESPONSE if cursor.peek()? == b'_' => {
            tag(&mut cursor, b"_heartbeat_")?;
            "_heartbeat_"
        }
        RESPONSE => {
            tag(&mut cursor, b"{\"max_rdy_count\":")?;
            "max_rdy_count"
        }
        ERROR => {
            tag(&mut cursor, b"E_")?;
            frames::all(&mut cursor, 3, u8::is_ascii_uppercase)?;
            "E_"
        }
        MESSAGE => {
            // Nanoseconds since 1970, attempts, message id.
            need((TIME_NS_MIN..TIME_NS_MAX).contains(&cursor.u64_be()?))?;
            cursor.skip(2)?;
            frames::all(&mut cursor, 16, u8::is_ascii_hexdigit)?;
            "message"
        }
        _ => return Err(Flaw::Bad),
    };
    Ok(mark("nsq.frame", Side::Server, cursor.at(), constant))
}

fn command(state: &mut FollowState, bytes: &[u8]) -> Read<Step> {
    let mut cursor = Cursor::new(bytes);
    if !frames::fitted(state, Side::Client) {
        tag(&mut cursor, MAGIC)?;
        return Ok(Step::read(cursor.at(), Facts::FITS));
    }
    if state.flags & ASKED != 0 && state.flags & ANSWERED == 0 {
        // Without the server's direction the next bytes tell what it said.
        if matches!(bytes, [0x16, 3, ..]) {
            return Ok(upgrade(0, OtherSide::Somewhere));
        }
        need(bytes.first() != Some(&0x16) || bytes.len() < 2)?;
        if bytes.first() == Some(&0x16) {
            return Err(Flaw::Short);
        }
        return Ok(Step::WAIT);
    }
    let line = cursor.line()?;
    let word = line.split(|b| *b == b' ').next().unwrap_or_default();
    let mut facts = Facts::FITS;
    let mut body = 0;
    if matches!(word, b"IDENTIFY" | b"AUTH" | b"PUB" | b"MPUB" | b"DPUB") {
        body = frames::length(&mut cursor, 0, FRAME_BYTES_MAX)?;
    }
    let consumed = cursor.at().saturating_add(body);
    if word == b"IDENTIFY" {
        let shown = cursor.take(body.min(IDENTIFY_BYTES_READ))?;
        if has(shown, TLS_ASKED) {
            state.flags |= ASKED;
        }
    }
    if word == b"AUTH" {
        facts.credentials = Credentials::PASSWORD_CLEARTEXT;
        facts.mark = Some(mark("nsq.auth", Side::Client, line.len(), "AUTH"));
    }
    if state.flags & (ASKED | PLAIN) == 0 {
        state.flags |= PLAIN;
        facts.encryption = Some(Encryption::Plaintext);
        facts.reason = Some(PlaintextReason::ClientNeverAsked);
    }
    Ok(Step::read(consumed, facts))
}

fn answer(state: &mut FollowState, bytes: &[u8]) -> Read<Step> {
    let mut cursor = Cursor::new(bytes);
    let size = frames::length(&mut cursor, 6, FRAME_BYTES_MAX)?;
    let consumed = size.saturating_add(4);
    tag(&mut cursor, &[0; 3])?;
    let kind = cursor.u8()?;
    need(kind <= MESSAGE)?;
    let shown = cursor.take(size.saturating_sub(4).min(IDENTIFY_BYTES_READ))?;
    if state.flags & ASKED != 0 && state.flags & ANSWERED == 0 {
        state.flags |= ANSWERED | PLAIN;
        if has(shown, TLS_ASKED) {
            return Ok(upgrade(consumed, OtherSide::Here));
        }
        let facts = Facts {
            encryption: Some(Encryption::Plaintext),
            reason: Some(PlaintextReason::ServerRefused),
            ..Facts::FITS
        };
        return Ok(Step::read(consumed, facts));
    }
    let mut facts = Facts { accepted: kind != ERROR, ..Facts::FITS };
    if kind == ERROR && (shown.starts_with(b"E_AUTH") || shown.starts_with(b"E_UNAUTHORIZED")) {
        let found = mark("nsq.refused", Side::Server, 14, "E_AUTH");
        facts = Facts { refused: true, mark: Some(found), ..Facts::FITS };
    }
    Ok(Step::read(consumed, facts))
}

const fn upgrade(consumed: usize, other: OtherSide) -> Step {
    let next = Next::Layer { upgrade: Some(UPGRADE), other };
    Step { consumed, facts: Facts::FITS, next }
}

/// Whether a JSON text has this member set; spaces may stand behind the colon.
fn has(text: &[u8], member: &[u8]) -> bool {
    let at = find(text, member);
    let rest = at.and_then(|at| text.get(at.saturating_add(member.len())..)).unwrap_or_default();
    rest.iter().find(|b| **b != b' ') == Some(&b't')
}

const UPGRADE: &str = "nsq-identify";
const MAGIC: &[u8] = b"  V2";
const COMMANDS: &[&[u8]] = &[b"IDENTIFY\n", b"SUB ", b"PUB ", b"MPUB ", b"DPUB ", b"AUTH\n"];
const TLS_ASKED: &[u8] = b"\"tls_v1\":";
const RESPONSE: u8 = 0;
const ERROR: u8 = 1;
const MESSAGE: u8 = 2;
const FRAME_BYTES_MAX: u32 = 64 << 20;
const IDENTIFY_BYTES_READ: usize = 2048;
const ASKED: u16 = 1;
const ANSWERED: u16 = 1 << 1;
const PLAIN: u16 = 1 << 2;
/// 2010 and 2100.
const TIME_NS_MIN: u64 = 1_262_304_000_000_000_000;
const TIME_NS_MAX: u64 = 4_102_444_800_000_000_000;

static INFO: Info = Info {
    name: "nsq",
    title: "NSQ",
    spec: "https://nsq.io/clients/tcp_protocol_spec.html",
    ports: &[4150],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{hear, hear_from, matches, probe_side},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let size = u8::try_from(body.len() + 4).unwrap();
        [&[0, 0, 0, size, 0, 0, 0, kind][..], body].concat()
    }

    fn identify(json: &[u8]) -> Vec<u8> {
        let size = u8::try_from(json.len()).unwrap();
        [&b"  V2IDENTIFY\n\0\0\0"[..], &[size], json].concat()
    }

    #[test]
    fn magic_and_telling_frames_prove_a_side() {
        assert!(matches(probe_side(&Nsq, C, b"  V2SUB topic channel\n")));
        assert!(!matches(probe_side(&Nsq, C, b"  V2 of the text\n")));
        assert_eq!(probe_side(&Nsq, C, b"  V1"), Probe::No);
        assert!(matches(probe_side(&Nsq, S, &frame(0, b"_heartbeat_"))));
        let message = frame(2, b"\x18\x50\0\0\0\0\0\0\0\x010123456789abcdefbody");
        assert!(matches(probe_side(&Nsq, S, &message)));
        assert!(!matches(probe_side(&Nsq, S, &frame(0, b"OK"))));
        assert!(hear_from(&Nsq, &[(S, &message)], Start::Unknown).matched.is_some());
    }

    #[test]
    fn identify_decides_about_tls() {
        let asked = identify(b"{\"feature_negotiation\":true,\"tls_v1\":true}");
        let granted = frame(0, b"{\"max_rdy_count\":2500,\"tls_v1\":true}");
        let hello: &[u8] = b"\x16\x03\x01\0\x05\x01";
        let heard = hear(&Nsq, &[(C, &asked), (S, &granted), (C, hello)]);
        let at = (Some("nsq-identify"), Some(asked.len()), Some(granted.len()));
        assert_eq!((heard.encryption, heard.layer), (None, Some(at)));
        let heard = hear(&Nsq, &[(C, &asked), (C, hello)]);
        assert_eq!(heard.layer, Some((Some("nsq-identify"), Some(asked.len()), None)));
        let denied = frame(0, b"{\"max_rdy_count\":2500,\"tls_v1\":false}");
        let heard = hear(&Nsq, &[(C, &asked), (S, &denied), (C, b"AUTH\n\0\0\0\x03key")]);
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        let heard = hear(&Nsq, &[(C, &identify(b"{}")), (S, &frame(0, b"OK")), (C, b"NOP\n")]);
        assert_eq!(
            (heard.fits, heard.reason),
            ([true, true], Some(PlaintextReason::ClientNeverAsked))
        );
        let refusal = frame(1, b"E_AUTH_FAILED no");
        let heard = hear(&Nsq, &[(C, b"  V2AUTH\n\0\0\0\x03key"), (S, &refusal)]);
        assert!(heard.refused);
    }
}
