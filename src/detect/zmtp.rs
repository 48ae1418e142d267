//! ZMTP, the wire protocol of ZeroMQ, versions 2 and 3. <https://rfc.zeromq.org/spec/23/>
//!
//! Both peers greet alike: signature, version, and from version 3 on the security mechanism.
use super::fit::{self, Fit, begins, either, mark};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Zmtp;

impl Detector for Zmtp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match either(view, signature) {
            Probe::Match(found) => Match::preamble(found.mark),
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let at = if side == Side::Client { 0 } else { 1 };
        let phase = state.phase.get(at).copied().unwrap_or(OVER);
        let step = match phase {
            OPENING => match signature(side, said) {
                Ok(Some(_)) => greeting(state, side, said),
                Ok(None) if said.start == Start::Known => return fit::other_protocol(),
                Ok(None) => Ok((OVER, Step::read(said.bytes.len(), Facts::NONE))),
                Err(Short) => Err(Short),
            },
            GREETED => command(side, said.bytes),
            _ => Ok((OVER, Step::read(said.bytes.len(), Facts::NONE))),
        };
        let Ok((next, step)) = step else { return Step::WAIT };
        if let Some(phase) = state.phase.get_mut(at) {
            *phase = next;
        }
        let next = if state.phase == [OVER, OVER] { Next::Done } else { Next::Continue };
        Step { next, ..step }
    }
}

/// Ten bytes of signature and the major version.
fn signature(side: Side, said: Said<'_>) -> Fit {
    // The padding holds a length for peers of version 1; nobody sends a long one.
    if !begins(said.bytes, b"\xff\0\0\0\0\0\0\0")? {
        return Ok(None);
    }
    let mut c = Cursor::new(said.bytes);
    c.skip(9)?;
    let sane = c.u8()? == 0x7f && (1..=3).contains(&c.u8()?);
    Ok(sane.then(|| mark("zmtp.greeting", side, 0, 11, "FF..7F")))
}

/// The rest of the greeting. The client's mechanism says what an observer can read; the server's, where it is alone.
fn greeting(state: &mut FollowState, side: Side, said: Said<'_>) -> Result<(u8, Step), Short> {
    let mut c = Cursor::new(said.bytes);
    c.skip(10)?;
    let mut mechanism = OLD;
    if c.u8()? == 3 {
        c.skip(1)?;
        let name = c.take(20)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        let known = MECHANISMS.iter().position(|m| Some(m.as_bytes()) == name.get(..end));
        mechanism = known.and_then(|at| u32::try_from(at).ok()).unwrap_or(OTHER);
        c.skip(32)?;
    }
    let [client, server, ..] = &mut state.words;
    let (mine, other) = if side == Side::Client { (client, server) } else { (server, client) };
    *mine = mechanism.saturating_add(1);
    let mut facts = Facts { refused: *other != 0 && *other != *mine, ..Facts::FITS };
    if side == Side::Client || *other == 0 {
        let encrypted = matches!(mechanism, CURVE | GSSAPI);
        facts.encryption = match mechanism {
            OTHER => None,
            _ if encrypted => Some(Encryption::OtherEncrypted),
            _ => Some(Encryption::Plaintext),
        };
        facts.reason = (!encrypted).then_some(PlaintextReason::NoInBandUpgrade);
        let constant = usize::try_from(mechanism).ok().and_then(|at| MECHANISMS.get(at));
        facts.mark = constant.map(|name| mark("zmtp.mechanism", side, 12, 20, name));
    }
    let phase = if mechanism == OLD { OVER } else { GREETED };
    Ok((phase, Step::read(c.at(), facts)))
}

/// The first command of a handshake: flags, size, name.
fn command(side: Side, bytes: &[u8]) -> Result<(u8, Step), Short> {
    let mut c = Cursor::new(bytes);
    let size = match c.u8()? {
        4 => usize::from(c.u8()?),
        6 => usize::try_from(c.u64_be()?).unwrap_or(usize::MAX),
        _ => return Ok((OVER, Step::read(bytes.len(), Facts::NONE))),
    };
    let name = usize::from(c.u8()?);
    let name = c.take(name)?;
    let at = c.at();
    let facts = match (side, name) {
        (Side::Client, b"HELLO") if size < 512 => {
            // PLAIN has a user and a password here, CURVE a key in a much longer command.
            let user = usize::from(c.u8()?);
            c.skip(user)?;
            let found = mark("zmtp.password", side, 0, at, "PLAIN HELLO");
            let given = size < CURVE_HELLO_BYTES && c.u8()? > 0;
            if given {
                let credentials = Credentials::PASSWORD_CLEARTEXT;
                Facts { credentials, mark: Some(found), ..Facts::FITS }
            } else {
                Facts::FITS
            }
        }
        (Side::Server, b"ERROR") => {
            let found = mark("zmtp.refused", side, 0, at, "ERROR");
            Facts { refused: true, mark: Some(found), ..Facts::FITS }
        }
        (Side::Server, b"READY" | b"WELCOME") => Facts { accepted: true, ..Facts::FITS },
        _ => Facts::FITS,
    };
    // After WELCOME the server may still say ERROR to the client's INITIATE.
    let phase = if name == b"WELCOME" { GREETED } else { OVER };
    let length = at.saturating_add(size).saturating_sub(name.len()).saturating_sub(1);
    Ok((phase, Step::read(length, facts)))
}

const OPENING: u8 = 0;
const GREETED: u8 = 1;
const OVER: u8 = 2;
const CURVE_HELLO_BYTES: usize = 200;
const MECHANISMS: [&str; 4] = ["NULL", "PLAIN", "CURVE", "GSSAPI"];
const CURVE: u32 = 2;
const GSSAPI: u32 = 3;
/// A mechanism we do not know, or a version without any.
const OTHER: u32 = 8;
const OLD: u32 = 9;

static INFO: Info = Info {
    name: "zmtp",
    title: "ZMTP (ZeroMQ)",
    spec: "https://rfc.zeromq.org/spec/23/",
    ports: &[],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    /// A whole greeting of version 3.
    fn greeting(mechanism: &[u8]) -> Vec<u8> {
        let mut bytes = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00".to_vec();
        bytes.extend_from_slice(mechanism);
        bytes.resize(64, 0);
        bytes
    }

    fn hello(mechanism: &[u8], command: &[u8], answer: &[u8]) -> crate::detect::check::Heard {
        let greeting = greeting(mechanism);
        hear(&Zmtp, &[(C, &greeting), (S, &greeting), (C, command), (S, answer)])
    }

    #[test]
    fn the_signature_proves_either_side() {
        let old: &[u8] = b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05";
        for side in [C, S] {
            for bytes in [&greeting(b"NULL")[..], old, b"\xff\0\0\0\0\0\0\0\0\x7f\x03"] {
                assert!(matches!(probe_side(&Zmtp, side, bytes), Probe::Match(_)));
            }
            for bytes in [
                &b"\xff\0\0\0\0\0\0\0\x01\x7f"[..],
                b"\xff\0\0\0\0\0\0\0\x01\x7e\x03",
                b"\xff\0\0\0\0\0\0\0\x01\x7f\x09",
                b"\xff\xfb\x01\xff\xfb\x03",
            ] {
                assert!(!matches!(probe_side(&Zmtp, side, bytes), Probe::Match(_)));
            }
        }
    }

    #[test]
    fn the_mechanism_says_what_can_be_read() {
        let ready = b"\x04\x06\x05READY";
        let heard = hello(b"NULL", ready, ready);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert!(heard.fits == [true, true] && heard.credentials.is_empty() && !heard.refused);
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));

        let plain = b"\x04\x0a\x05HELLO\x01u\x01p";
        let heard = hello(b"PLAIN", plain, b"\x04\x08\x07WELCOME");
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert!(hello(b"PLAIN", plain, b"\x04\x08\x05ERROR\x01x").refused);

        let curve = [&b"\x04\xc8\x05HELLO\x01\x00"[..], &[0x5a; 192]].concat();
        let heard = hello(b"CURVE", &curve, b"\x04\xa8\x07WELCOME");
        assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
        assert!(heard.reason.is_none() && heard.credentials.is_empty());
        let (curve, null) = (greeting(b"CURVE"), greeting(b"NULL"));
        for lines in [[(C, &curve[..]), (S, &null)], [(S, &null[..]), (C, &curve)]] {
            let heard = hear(&Zmtp, &lines);
            assert!(heard.refused && heard.encryption == Some(Encryption::OtherEncrypted));
        }
        let old = b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05\0\0";
        let heard = hear(&Zmtp, &[(C, old), (S, old)]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        let heard = hear(&Zmtp, &[(C, &null), (S, b"HTTP/1.1 400 Bad Request\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
