//! The rsync daemon. <https://download.samba.org/pub/rsync/rsyncd.conf.5>, protocol as in its `clientserver.c`
//!
//! Both sides greet with `@RSYNCD:` and a version, the server first; then lines, until it says `@RSYNCD: OK`.
use super::{
    Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View,
    exchange::{Told, magic, mark, probe_stream},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Rsync;

impl Detector for Rsync {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_stream(view, greeting)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let phase = if side == Side::Client { client } else { server };
        let mut c = Cursor::new(said.bytes);
        if *phase == SILENT {
            let facts = match greeting(side, said) {
                Err(Short) => return Step::WAIT,
                Ok(Some(_)) => {
                    Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS }
                }
                Ok(None) if said.start == Start::Known => Facts::MISMATCH,
                Ok(None) => Facts::NONE,
            };
            let line = c.line();
            if facts.mismatch || !facts.fits {
                return Step { consumed: said.bytes.len(), facts, next: Next::Done };
            }
            if line.is_err() {
                return Step::WAIT;
            }
            *phase = GREETED;
            return Step::read(c.at(), facts);
        }
        match c.line() {
            Err(Short) if said.bytes.len() < LINE_BYTES_MAX => Step::WAIT,
            Err(Short) => Step::DONE,
            Ok(line) => Step { consumed: c.at(), ..spoken(state, side, line) },
        }
    }
}

/// A line after the greetings.
fn spoken(state: &mut FollowState, side: Side, line: &[u8]) -> Step {
    let [lines, answers, ..] = &mut state.words;
    if side == Side::Client {
        *lines = lines.saturating_add(1);
        // The first names a module, and the second, if the server asks for it, the user with the response.
        let response = *lines == 2 && is_response(line);
        if response {
            let credentials = Credentials::PASSWORD_HASH_CHALLENGE;
            let found = mark("rsync.response", Side::Client, 0, line.len(), "user, digest");
            return Step::read(0, Facts { credentials, mark: Some(found), ..Facts::FITS });
        }
        return Step::read(0, Facts::NONE);
    }
    *answers = answers.saturating_add(1);
    let done = |facts| Step { consumed: 0, facts, next: Next::Done };
    match line {
        b"@RSYNCD: OK" | b"@RSYNCD: EXIT" => done(Facts { accepted: true, ..Facts::FITS }),
        _ if line.starts_with(b"@ERROR") => {
            let found = mark("rsync.refused", Side::Server, 0, 6, "@ERROR");
            done(Facts { refused: true, mark: Some(found), ..Facts::FITS })
        }
        _ if *answers > LINES_MAX => done(Facts::NONE),
        _ => Step::read(0, Facts::NONE),
    }
}

/// A user and a base 64 digest.
fn is_response(line: &[u8]) -> bool {
    let digest = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    digest.len() >= 21 && digest.len() < line.len() && digest.iter().all(base64)
}

fn greeting(side: Side, said: Said<'_>) -> Result<Option<Told>, Short> {
    let mut c = Cursor::new(said.bytes);
    if !magic(&mut c, b"@RSYNCD: ")? || !c.u8()?.is_ascii_digit() {
        return Ok(None);
    }
    let rule = match side {
        Side::Client => "rsync.client-greeting",
        Side::Server => "rsync.server-greeting",
    };
    Ok(Some(Told::clear(rule, "@RSYNCD:", c.at())))
}

const SILENT: u8 = 0;
const GREETED: u8 = 1;
const LINE_BYTES_MAX: usize = 2048;
const LINES_MAX: u32 = 128;

static INFO: Info = Info {
    name: "rsync",
    title: "rsync daemon",
    spec: "https://download.samba.org/pub/rsync/rsync.1",
    ports: &[873],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE,
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
    const HELLO: &[u8] = b"@RSYNCD: 31.0 sha512 sha256 sha1 md5 md4\n";

    #[test]
    fn a_greeting_proves_either_side() {
        for side in [C, S] {
            assert!(matches!(probe_side(&Rsync, side, HELLO), Probe::Match(_)));
            assert!(!matches!(probe_side(&Rsync, side, b"@RSYNCD: OK\n"), Probe::Match(_)));
        }
        for bytes in OPENINGS {
            assert_eq!(probe_side(&Rsync, C, bytes), Probe::No);
        }
        random_proves_nothing(&Rsync);
    }

    #[test]
    fn a_login_shows_a_digest() {
        let start = [(S, HELLO), (C, HELLO), (C, &b"data\n"[..])];
        let auth: [(Side, &[u8]); 2] = [
            (S, b"@RSYNCD: AUTHREQD 6/DXLL0iZLzDsAi9g0fmNg\n"),
            (C, b"bob 4Ygd4MBRZ7kqXQ1IQVYlbQ\n"),
        ];
        let heard = hear(&Rsync, &[&start[..], &auth, &[(S, b"@RSYNCD: OK\n")]].concat());
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
        let heard = hear(&Rsync, &[&start[..], &auth, &[(S, b"@ERROR: auth failed\n")]].concat());
        assert!(heard.refused);
        let heard = hear(&Rsync, &[&start[..], &[(S, b"Welcome\n@RSYNCD: OK\n")]].concat());
        assert_eq!((heard.credentials, heard.refused), (Credentials::NONE, false));
    }
}
