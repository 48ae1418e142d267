//! VNC: the Remote Framebuffer protocol. <https://www.rfc-editor.org/rfc/rfc6143#section-7.1>
//!
//! Security types beyond the RFC: <https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#security-types>. `VeNCrypt`
//! and TLS lead to TLS, RA2 seals by itself, Apple's Diffie-Hellman seals the login only.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
    exchange::{Told, magic, mark, probe_stream},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Vnc;

impl Detector for Vnc {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match probe_stream(view, greeting) {
            // The security type decides.
            Probe::Match(found) => Probe::Match(Match { encryption: None, ..found }),
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let mut c = Cursor::new(said.bytes);
        let step = match side {
            Side::Client => client(state, said, &mut c),
            Side::Server => server(state, said, &mut c),
        };
        match step {
            Err(Short) => Step::WAIT,
            Ok((facts, next)) => Step { consumed: c.at(), facts, next },
        }
    }
}

type Heard = Result<(Facts, Next), Short>;

fn greeting(side: Side, said: Said<'_>) -> Result<Option<Told>, Short> {
    let mut c = Cursor::new(said.bytes);
    let version = version(&mut c)?;
    let rule = match side {
        Side::Client => "vnc.client-version",
        Side::Server => "vnc.server-version",
    };
    Ok(version.map(|_| Told::clear(rule, "RFB 003", c.at())))
}

/// `RFB 003.008` and a newline: the minor version.
fn version(c: &mut Cursor<'_>) -> Result<Option<u32>, Short> {
    if !magic(c, b"RFB 00")? || !matches!(c.u8()?, b'3'..=b'5') || c.u8()? != b'.' {
        return Ok(None);
    }
    let mut minor = 0_u32;
    for _ in 0..3 {
        let digit = c.u8()?;
        if !digit.is_ascii_digit() {
            return Ok(None);
        }
        minor = minor.saturating_mul(10).saturating_add(u32::from(digit & 0xf));
    }
    Ok((c.u8()? == b'\n').then_some(minor))
}

#[allow(clippy::unnecessary_wraps, reason = "one type for all steps")]
const fn go_on(facts: Facts) -> Heard {
    Ok((facts, Next::Continue))
}

#[allow(clippy::unnecessary_wraps, reason = "one type for all steps")]
const fn over(facts: Facts) -> Heard {
    Ok((facts, Next::Done))
}

fn client(state: &mut FollowState, said: Said<'_>, c: &mut Cursor<'_>) -> Heard {
    let server_done = state.phase[1];
    match state.phase[0] {
        VERSION => {
            let Some(minor) = version(c)? else { return foreign(said) };
            state.words[MINOR] = minor;
            state.flags |= CLIENT_SPOKE;
            // Before 3.7 the server says what it is to be.
            state.phase[0] = if minor < 7 { RESPOND } else { CHOOSE };
            go_on(Facts::FITS)
        }
        CHOOSE => {
            let kind = u32::from(c.u8()?);
            chosen(state, Side::Client, kind, c.at())
        }
        VENCRYPT => {
            c.skip(2)?;
            state.phase[0] = SUBTYPE;
            go_on(Facts::FITS)
        }
        SUBTYPE => {
            let kind = c.u32_be()?;
            chosen(state, Side::Client, kind, c.at())
        }
        RESPOND => match state.words[KIND] {
            VNC_AUTH => {
                c.skip(CHALLENGE_BYTES)?;
                state.phase[0] = READ;
                let credentials = Credentials::PASSWORD_HASH_CHALLENGE;
                let facts = Facts { credentials, ..Facts::FITS };
                if server_done == READ { over(facts) } else { go_on(facts) }
            }
            PLAIN => {
                let (user, secret) = (c.u32_be()?, c.u32_be()?);
                let both = user.saturating_add(secret).min(SECRET_BYTES_MAX);
                c.skip(usize::try_from(both).unwrap_or(usize::MAX))?;
                state.phase[0] = READ;
                go_on(Facts { credentials: Credentials::PASSWORD_CLEARTEXT, ..Facts::FITS })
            }
            UNKNOWN => Err(Short),
            _ => {
                state.phase[0] = READ;
                go_on(Facts::NONE)
            }
        },
        // Waits for the server to begin TLS, unless it is not heard.
        TLS_NEXT if c.rest().starts_with(b"\x16\x03") => layer(state, OtherSide::Somewhere),
        TLS_NEXT => Err(Short),
        _ => pass(c),
    }
}

fn server(state: &mut FollowState, said: Said<'_>, c: &mut Cursor<'_>) -> Heard {
    match state.phase[1] {
        VERSION => {
            let Some(minor) = version(c)? else { return foreign(said) };
            state.words[SERVER_MINOR] = minor;
            state.phase[1] = CHOOSE;
            go_on(Facts::FITS)
        }
        CHOOSE => offered(state, c),
        RESPOND => match state.words[KIND] {
            UNKNOWN => Err(Short),
            NONE if result_comes(state) => result(state, c),
            VNC_AUTH => {
                c.skip(CHALLENGE_BYTES)?;
                state.phase[1] = RESULT;
                let found =
                    mark("vnc.challenge", Side::Server, 0, CHALLENGE_BYTES, "DES challenge");
                go_on(Facts { mark: Some(found), ..Facts::FITS })
            }
            PLAIN => result(state, c),
            VENCRYPT_TYPE => {
                c.skip(2)?;
                state.phase[1] = VENCRYPT;
                go_on(Facts::FITS)
            }
            _ => {
                state.phase[1] = READ;
                over(Facts { accepted: true, ..Facts::FITS })
            }
        },
        RESULT => result(state, c),
        VENCRYPT => {
            // Its version taken, then the subtypes.
            if c.u8()? != 0 {
                return over(Facts { refused: true, ..Facts::FITS });
            }
            let count = usize::from(c.u8()?);
            for _ in 0..count {
                let kind = c.u32_be()?;
                state.flags |= if is_sealing(kind) { SEALING_OFFERED } else { 0 };
            }
            state.phase[1] = SUBTYPE;
            go_on(Facts::FITS)
        }
        SUBTYPE => match state.words[KIND] {
            // Until the client has chosen.
            VENCRYPT_TYPE | UNKNOWN => Err(Short),
            kind if is_tls(kind) => {
                if c.u8()? != 1 {
                    return over(Facts { refused: true, ..Facts::FITS });
                }
                layer(state, OtherSide::Here)
            }
            _ => {
                state.phase[1] = RESPOND;
                go_on(Facts::NONE)
            }
        },
        _ => pass(c),
    }
}

/// The server's list of security types, or before 3.7 its choice.
fn offered(state: &mut FollowState, c: &mut Cursor<'_>) -> Heard {
    if state.flags & CLIENT_SPOKE == 0 && state.words[SERVER_MINOR] >= 7 {
        let mut ahead = *c;
        // Without the client's version: an old choice begins with three zeros.
        if ahead.u8()? == 0 && ahead.u8()? == 0 {
            state.words[MINOR] = 3;
            state.flags |= CLIENT_SPOKE;
        }
    }
    let minor = if state.flags & CLIENT_SPOKE == 0 {
        state.words[SERVER_MINOR]
    } else {
        state.words[MINOR]
    };
    if minor < 7 {
        let kind = c.u32_be()?;
        state.phase[1] = RESPOND;
        if kind == 0 {
            return over(Facts { refused: true, ..Facts::FITS });
        }
        return chosen(state, Side::Server, kind, c.at());
    }
    let count = usize::from(c.u8()?);
    if count == 0 {
        let found = mark("vnc.refused", Side::Server, 0, 1, "no security types");
        return over(Facts { refused: true, mark: Some(found), ..Facts::FITS });
    }
    let kinds = c.take(count)?;
    if kinds.iter().any(|kind| is_sealing(u32::from(*kind))) {
        state.flags |= SEALING_OFFERED;
    }
    state.phase[1] = RESPOND;
    let found = mark("vnc.security-types", Side::Server, 0, c.at(), "security types");
    let facts = Facts { mark: Some(found), ..Facts::FITS };
    let clear = kinds.iter().all(|kind| matches!(u32::from(*kind), NONE | VNC_AUTH));
    if !clear {
        return go_on(facts);
    }
    let (encryption, reason) = (Some(Encryption::Plaintext), Some(PlaintextReason::ServerRefused));
    go_on(Facts { encryption, reason, ..facts })
}

/// A security type was chosen.
fn chosen(state: &mut FollowState, side: Side, kind: u32, length: usize) -> Heard {
    let i = usize::from(side == Side::Server);
    if state.words[KIND] == UNKNOWN || state.words[KIND] == VENCRYPT_TYPE {
        state.words[KIND] = kind;
    }
    let phase = match kind {
        VENCRYPT_TYPE => VENCRYPT,
        TLS_TYPE => TLS_NEXT,
        kind if is_tls(kind) => TLS_NEXT,
        _ => RESPOND,
    };
    if let Some(mine) = state.phase.get_mut(i) {
        *mine = phase;
    }
    let (encryption, constant) = match kind {
        NONE => (Some(Encryption::Plaintext), "None"),
        VNC_AUTH => (Some(Encryption::Plaintext), "VNC Authentication"),
        PLAIN => (Some(Encryption::Plaintext), "VeNCrypt Plain"),
        5 | 129 => (Some(Encryption::OtherEncrypted), "RA2"),
        6 | 130 => (Some(Encryption::Partial), "RA2ne"),
        13 | 133 => (Some(Encryption::Partial), "RA2 login"),
        APPLE_DH => (Some(Encryption::Partial), "Apple Diffie-Hellman"),
        16 => (Some(Encryption::Plaintext), "Tight"),
        _ => (None, "security type"),
    };
    let clear = matches!(encryption, Some(Encryption::Plaintext | Encryption::Partial));
    let reason = if state.flags & SEALING_OFFERED != 0 {
        PlaintextReason::ClientDeclined
    } else if state.phase[1] == VERSION {
        PlaintextReason::ClientNeverAsked
    } else {
        PlaintextReason::ServerRefused
    };
    let found = mark("vnc.security-type", side, 0, length, constant);
    let reason = clear.then_some(reason);
    let facts = Facts { encryption, reason, mark: Some(found), ..Facts::FITS };
    match (kind, encryption) {
        (TLS_TYPE, _) => Ok((facts, Next::Layer { upgrade: Some(TLS), other: OtherSide::Here })),
        (NONE | VNC_AUTH | PLAIN | VENCRYPT_TYPE, _) => go_on(facts),
        _ if is_tls(kind) => go_on(facts),
        (_, Some(_)) => over(Facts { accepted: true, ..facts }),
        _ => over(facts),
    }
}

/// `SecurityResult`.
fn result(state: &mut FollowState, c: &mut Cursor<'_>) -> Heard {
    let code = c.u32_be()?;
    let waits = state.words[KIND] == VNC_AUTH && state.phase[0] == RESPOND;
    state.phase[1] = READ;
    let facts = match code {
        0 => Facts { accepted: true, ..Facts::FITS },
        _ => Facts { refused: true, ..Facts::FITS },
    };
    if waits { go_on(facts) } else { over(facts) }
}

/// Without authentication the result was added in 3.8.
fn result_comes(state: &FollowState) -> bool {
    state.words[MINOR] >= 8
}

#[allow(clippy::unnecessary_wraps, reason = "one type for all steps")]
fn layer(state: &FollowState, other: OtherSide) -> Heard {
    let upgrade = Some(if state.words[KIND] == TLS_TYPE { TLS } else { UPGRADE });
    Ok((Facts::FITS, Next::Layer { upgrade, other }))
}

fn foreign(said: Said<'_>) -> Heard {
    over(if said.start == Start::Known { Facts::MISMATCH } else { Facts::NONE })
}

fn pass(c: &mut Cursor<'_>) -> Heard {
    c.skip(c.left())?;
    go_on(Facts::NONE)
}

/// Leads to TLS within `VeNCrypt`.
const fn is_tls(kind: u32) -> bool {
    matches!(kind, 257..=264)
}

/// Seals the session.
const fn is_sealing(kind: u32) -> bool {
    matches!(kind, 5 | 129 | TLS_TYPE | VENCRYPT_TYPE) || is_tls(kind)
}

// Security types and VeNCrypt subtypes.
const UNKNOWN: u32 = 0;
const NONE: u32 = 1;
const VNC_AUTH: u32 = 2;
const TLS_TYPE: u32 = 18;
const VENCRYPT_TYPE: u32 = 19;
const APPLE_DH: u32 = 30;
const PLAIN: u32 = 256;

const UPGRADE: &str = "vnc-vencrypt";
const TLS: &str = "vnc-tls";
const CHALLENGE_BYTES: usize = 16;
const SECRET_BYTES_MAX: u32 = 1024;

// Phases of a side.
const VERSION: u8 = 0;
const CHOOSE: u8 = 1;
const RESPOND: u8 = 2;
const RESULT: u8 = 3;
const VENCRYPT: u8 = 4;
const SUBTYPE: u8 = 5;
const TLS_NEXT: u8 = 6;
const READ: u8 = 7;

// Words.
const MINOR: usize = 0;
const SERVER_MINOR: usize = 1;
const KIND: usize = 2;

// Flags.
const CLIENT_SPOKE: u16 = 1;
const SEALING_OFFERED: u16 = 1 << 1;

static INFO: Info = Info {
    name: "vnc",
    title: "VNC (Remote Framebuffer)",
    spec: "https://www.rfc-editor.org/rfc/rfc6143",
    ports: &[5900, 5901, 5902],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[UPGRADE, TLS],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE.with(Credentials::PASSWORD_CLEARTEXT),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::{hear, probe_side},
        exchange::bench::{OPENINGS, random_proves_nothing},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const V8: &[u8] = b"RFB 003.008\n";
    const V3: &[u8] = b"RFB 003.003\n";

    #[test]
    fn a_version_proves_either_side() {
        for side in [C, S] {
            assert!(matches!(probe_side(&Vnc, side, V8), Probe::Match(_)));
            assert!(matches!(probe_side(&Vnc, side, b"RFB 003.889\n"), Probe::Match(_)));
            assert!(!matches!(probe_side(&Vnc, side, b"RFB 003.0a8\n"), Probe::Match(_)));
        }
        for bytes in OPENINGS {
            assert_eq!(probe_side(&Vnc, C, bytes), Probe::No);
        }
        random_proves_nothing(&Vnc);
    }

    #[test]
    fn what_is_chosen_decides() {
        let both = [(S, V8), (C, V8)];
        let heard = hear(&Vnc, &[&both[..], &[(S, b"\x02\x02\x13"), (C, b"\x02")]].concat());
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
        let heard =
            hear(&Vnc, &[&both[..], &[(S, b"\x01\x01"), (C, b"\x01"), (S, &[0; 4])]].concat());
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        assert_eq!((heard.credentials, heard.refused), (Credentials::NONE, false));
        for (kind, encryption) in [
            (5, Some(Encryption::OtherEncrypted)),
            (6, Some(Encryption::Partial)),
            (30, Some(Encryption::Partial)),
            (99, None),
        ] {
            let heard = hear(&Vnc, &[&both[..], &[(S, &[1, kind]), (C, &[kind])]].concat());
            assert_eq!(heard.encryption, encryption, "type {kind}");
        }
        assert!(hear(&Vnc, &[&both[..], &[(S, b"\0\0\0\0\x04busy")]].concat()).refused);
    }

    #[test]
    fn a_challenge_shows_what_the_password_gives() {
        let rest = [(S, &[0x11; 16][..]), (C, &[0x22; 16][..]), (S, b"\0\0\0\x01")];
        let new = [(S, V8), (C, V8), (S, &b"\x01\x02"[..]), (C, &b"\x02"[..])];
        let old = [(S, V8), (C, V3), (S, &b"\0\0\0\x02"[..])];
        for start in [&new[..], &old] {
            let heard = hear(&Vnc, &[start, &rest].concat());
            assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
            assert_eq!((heard.encryption, heard.refused), (Some(Encryption::Plaintext), true));
        }
        let heard = hear(&Vnc, &[(C, V8), (C, b"\x02"), (C, &[0x22; 16])]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE, "the client alone");
        let heard = hear(&Vnc, &[(S, V8), (S, b"\x01\x02"), (S, &[0x11; 16])]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext), "the server alone");
    }

    #[test]
    fn vencrypt_leads_to_tls_or_shows_the_password() {
        let start = [
            (S, V8),
            (C, V8),
            (S, &b"\x01\x13"[..]),
            (C, &b"\x13"[..]),
            (S, &b"\x00\x02"[..]),
            (C, &b"\x00\x02"[..]),
            (S, &b"\x00\x02\x00\x00\x01\x00\x00\x00\x01\x05"[..]),
        ];
        let tls = [(C, &b"\x00\x00\x01\x05"[..]), (S, &b"\x01"[..]), (C, &b"\x16\x03\x01"[..])];
        let heard = hear(&Vnc, &[&start[..], &tls].concat());
        assert_eq!(heard.layer, Some((Some("vnc-vencrypt"), Some(19), Some(27))));
        let plain = [(C, &b"\x00\x00\x01\x00\0\0\0\x03\0\0\0\x01bobx"[..]), (S, &[0; 4][..])];
        let heard = hear(&Vnc, &[&start[..], &plain].concat());
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
        let heard = hear(&Vnc, &[(S, V8), (C, V8), (S, b"\x01\x12"), (C, b"\x12"), (S, b"")]);
        assert_eq!(heard.layer, Some((Some("vnc-tls"), Some(13), Some(14))));
    }
}
