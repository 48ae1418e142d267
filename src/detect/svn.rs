//! Subversion's own transport, `svn://`. <https://svn.apache.org/repos/asf/subversion/trunk/subversion/libsvn_ra_svn/protocol>
//!
//! The server greets with the versions it speaks; the client answers with one, its capabilities and a URL.
use super::fit::{self, Fit, begins, decimal, either, mark};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short, find},
    model::{Credentials, Side, Transport},
};

pub(super) struct Svn;

impl Detector for Svn {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        either(view, |side, said| match said.start {
            Start::Known => opening(side, said.bytes),
            Start::Unknown => Ok(None),
        })
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let at = fit::index(side);
        let items = state.phase.get(at).copied().unwrap_or(OVER);
        if items == OVER || said.start == Start::Unknown {
            return Step::read(said.bytes.len(), Facts::NONE);
        }
        let length = match (items, opening(side, said.bytes)) {
            (0, Ok(None)) => return fit::other_protocol(),
            (0, Err(Short)) => return Step::WAIT,
            _ => match list(said.bytes) {
                Ok(Some(length)) => length,
                Ok(None) => return Step::read(said.bytes.len(), Facts::NONE),
                Err(Short) if said.bytes.len() > LIST_BYTES_MAX => return Step::DONE,
                Err(Short) => return Step::WAIT,
            },
        };
        let item = said.bytes.get(..length).unwrap_or_default();
        let facts = match side {
            Side::Client => login(item),
            Side::Server => answer(item, items),
        };
        let done = items >= ITEMS_MAX || facts.refused || facts.accepted;
        if let Some(phase) = state.phase.get_mut(at) {
            *phase = if done { OVER } else { items.saturating_add(1) };
        }
        let over = facts.accepted || facts.refused || state.phase == [OVER, OVER];
        Step { consumed: length, facts, next: if over { Next::Done } else { Next::Continue } }
    }
}

/// The server's greeting, or the client's answer to it.
fn opening(side: Side, bytes: &[u8]) -> Fit {
    let start: &[u8] = if side == Side::Client { b"( 2 ( " } else { b"( success ( " };
    if !begins(bytes, start)? {
        return Ok(None);
    }
    let Some(rest) = bytes.get(start.len()..) else { return Ok(None) };
    let shown = rest.get(..OPENING_BYTES_SHOWN).unwrap_or(rest);
    let known: &[u8] = if side == Side::Client { b":svn" } else { b" ( " };
    // What comes behind the proof takes nothing from it.
    let found = find(shown, known);
    let before = found.and_then(|at| shown.get(..at)).unwrap_or(shown);
    if !before.iter().all(|b| b.is_ascii_graphic() || matches!(b, b' ' | b'\n')) {
        return Ok(None);
    }
    if found.is_some()
        && (side == Side::Client || shown.starts_with(b"2 2") || shown.starts_with(b"1 2"))
    {
        let constant = if side == Side::Client { "( 2 (" } else { "( success (" };
        return Ok(Some(mark("svn.greeting", side, 0, start.len(), constant)));
    }
    if shown.len() < OPENING_BYTES_SHOWN { Err(Short) } else { Ok(None) }
}

/// The client's choice of a mechanism: `( PLAIN ( token ) ) `.
fn login(item: &[u8]) -> Facts {
    for (start, kinds, constant) in MECHANISMS {
        if item.starts_with(start) {
            let found = mark("svn.login", Side::Client, 0, start.len(), constant);
            return Facts { credentials: *kinds, mark: Some(found), ..fit::CLEAR };
        }
    }
    fit::CLEAR
}

/// The server's answer: a refusal, or (after greeting and mechanisms) the repository.
fn answer(item: &[u8], items: u8) -> Facts {
    if item.starts_with(b"( failure (") {
        let found = mark("svn.refused", Side::Server, 0, 11, "( failure (");
        return Facts { refused: true, mark: Some(found), ..fit::CLEAR };
    }
    let taken = items >= 2 && item.starts_with(b"( success (");
    Facts { accepted: taken, ..fit::CLEAR }
}

/// Length of the list at the start of `bytes`, white space behind it included.
fn list(bytes: &[u8]) -> Result<Option<usize>, Short> {
    let mut c = Cursor::new(bytes);
    let mut depth = 0_u32;
    loop {
        let byte = c.peek()?;
        match byte {
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            b' ' | b'\n' if depth == 0 && c.at() > 0 => return Ok(Some(c.at().saturating_add(1))),
            b'0'..=b'9' => {
                let digits = c.rest().iter().take_while(|b| b.is_ascii_digit()).count();
                let digits = c.take(digits)?;
                if c.peek()? == b':' {
                    let Some(length) = decimal(digits, LIST_BYTES_MAX) else { return Ok(None) };
                    c.skip(length.saturating_add(1))?;
                }
                continue;
            }
            _ if depth == 0 => return Ok(None),
            _ => {}
        }
        c.skip(1)?;
    }
}

const OVER: u8 = u8::MAX;
const ITEMS_MAX: u8 = 8;
const LIST_BYTES_MAX: usize = 8192;
const OPENING_BYTES_SHOWN: usize = 1024;

static MECHANISMS: &[(&[u8], Credentials, &str)] = &[
    (b"( CRAM-MD5 (", Credentials::PASSWORD_HASH_CHALLENGE, "CRAM-MD5"),
    (b"( DIGEST-MD5 (", Credentials::PASSWORD_HASH_CHALLENGE, "DIGEST-MD5"),
    (b"( SCRAM-SHA-", Credentials::PASSWORD_HASH_CHALLENGE, "SCRAM-SHA"),
    (b"( PLAIN (", Credentials::SASL_PLAIN, "PLAIN"),
    (b"( LOGIN (", Credentials::SASL_PLAIN, "LOGIN"),
];

static INFO: Info = Info {
    name: "svn",
    title: "Subversion",
    spec: "https://svn.apache.org/repos/asf/subversion/trunk/subversion/libsvn_ra_svn/protocol",
    ports: &[3690],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE.with(Credentials::SASL_PLAIN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const GREETING: &[u8] = b"( success ( 2 2 ( ) ( edit-pipeline svndiff1 ) ) ) ";
    const ANSWER: &[u8] = b"( 2 ( edit-pipeline ) 11:svn://a/b/c 8:SVN/1.14 ( ) ) ";
    const ASK: &[u8] = b"( success ( ( ANONYMOUS CRAM-MD5 ) 4:abcd ) ) ";

    #[test]
    fn greeting_and_answer_prove_it() {
        let cases: [(&[u8], bool, bool); 6] = [
            (GREETING, false, true),
            (ANSWER, true, false),
            (b"( success ( 9 9 ( ) ) ) ", false, false),
            (b"( 2 ( words ) ) ", false, false),
            (b"(lambda (x) x)\n", false, false),
            (b"\x16\x03\x01\x02\x00", false, false),
        ];
        for (bytes, client, server) in cases {
            let matches = |side| matches!(probe_side(&Svn, side, bytes), Probe::Match(_));
            assert_eq!((matches(C), matches(S)), (client, server), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn mechanisms_and_failures_are_told() {
        let to = |choice: &[u8], result: &[u8]| {
            hear(&Svn, &[(S, GREETING), (C, ANSWER), (S, ASK), (C, choice), (S, result)])
        };
        let heard = to(b"( ANONYMOUS ( 0: ) ) ", b"( success ( ) ) ( success ( 2:ab ) ) ");
        assert!(heard.fits == [true, true] && heard.credentials.is_empty() && !heard.refused);
        let heard = to(b"( CRAM-MD5 ( ) ) ", b"( step ( 3:<1> ) ) ( failure ( 3:bad ) ) ");
        assert!(heard.refused && heard.credentials == Credentials::PASSWORD_HASH_CHALLENGE);
        assert_eq!(to(b"( PLAIN ( 1:x ) ) ", b"").credentials, Credentials::SASL_PLAIN);
        let heard = hear(&Svn, &[(S, GREETING), (C, b"GET / HTTP/1.1\r\n\r\n")]);
        assert_eq!(heard.mismatch, [true, false]);
    }
}
