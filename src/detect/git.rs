//! Git's own transport, `git://`. <https://git-scm.com/docs/pack-protocol>
//!
//! The client's packet line names a service; the server's first names a version, a reference or an error.
use super::fit::{self, Fit, begins_any, either, mark, openings};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Git;

impl Detector for Git {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        either(view, |side, said| match said.start {
            Start::Known => line(side, said),
            // What follows is references and packs, on other transports too.
            Start::Unknown => Ok(None),
        })
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let read = line(side, said);
        let refused = read.is_ok_and(|mark| mark.is_some_and(|mark| mark.constant == ERROR));
        let step = openings(state, side, said, &read);
        if !refused || !step.facts.fits {
            return step;
        }
        let facts =
            Facts { refused: true, accepted: false, mark: read.ok().flatten(), ..fit::CLEAR };
        Step { facts, next: Next::Done, ..step }
    }
}

/// A side's first packet line: four hexadecimal digits of length, then a word only this side says.
fn line(side: Side, said: Said<'_>) -> Fit {
    let mut c = Cursor::new(said.bytes);
    let digits = said.bytes.get(..LENGTH_DIGITS).unwrap_or(said.bytes);
    if !digits.iter().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
        return Ok(None);
    }
    let digits = c.take(LENGTH_DIGITS)?;
    let length = str::from_utf8(digits).ok().and_then(|d| usize::from_str_radix(d, 16).ok());
    let Some(body) = length.unwrap_or(0).checked_sub(LENGTH_DIGITS).filter(|n| *n > 8) else {
        return Ok(None);
    };
    let found = |constant| Ok(Some(mark("git.packet-line", side, 0, 12, constant)));
    if side == Side::Client {
        let Some(at) = begins_any(c.rest(), &SERVICES)? else { return Ok(None) };
        let ends = c.take(body)?.last().is_some_and(|last| matches!(last, 0 | b'\n'));
        return if ends { found(NAMES.get(at).copied().unwrap_or("git")) } else { Ok(None) };
    }
    match begins_any(c.rest(), &[b"version 2\n", b"version 1\n", b"ERR "]) {
        Ok(Some(2)) => return found(ERROR),
        Ok(Some(_)) if body == 10 => return found("version"),
        Err(Short) => return Err(Short),
        _ => {}
    }
    let shown = c.rest().get(..ID_DIGITS).unwrap_or(c.rest());
    if !shown.iter().all(u8::is_ascii_hexdigit) {
        return Ok(None);
    }
    c.skip(ID_DIGITS)?;
    let reference = begins_any(c.rest(), &[b" HEAD\0", b" refs/", b" capabilities^{}"])?;
    if reference.is_some() { found("reference") } else { Ok(None) }
}

const LENGTH_DIGITS: usize = 4;
const ID_DIGITS: usize = 40;
const ERROR: &str = "ERR";
const SERVICES: [&[u8]; 3] = [b"git-upload-pack /", b"git-receive-pack /", b"git-upload-archive /"];
const NAMES: [&str; 3] = ["git-upload-pack", "git-receive-pack", "git-upload-archive"];

static INFO: Info = Info {
    name: "git",
    title: "Git transport",
    spec: "https://git-scm.com/docs/pack-protocol",
    ports: &[9418],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::check::{hear, probe_side},
        model::PlaintextReason,
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const FETCH: &[u8] = b"002dgit-upload-pack /a.git\0host=a\0\0version=2\0";

    #[test]
    fn the_first_packet_line_proves_it() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let head = format!("0050{id} HEAD\0multi_ack");
        let cases: [(&[u8], bool, bool); 9] = [
            (FETCH, true, false),
            (b"000eversion 2\n", false, true),
            (head.as_bytes(), false, true),
            (b"0023ERR access denied or repository", false, true),
            (b"0014git-shell /a.git", false, false),
            (b"000fversion 2\n", false, false),
            (b"0050words words words", false, false),
            (b"GET / HTTP/1.1\r\n", false, false),
            (b"\x16\x03\x01\x02\x00", false, false),
        ];
        for (bytes, client, server) in cases {
            let matches = |side| matches!(probe_side(&Git, side, bytes), Probe::Match(_));
            let text = bytes.escape_ascii();
            assert_eq!((matches(C), matches(S)), (client, server), "{text}");
        }
    }

    #[test]
    fn the_server_answers_or_refuses() {
        let heard = hear(&Git, &[(C, FETCH), (S, b"000eversion 2\n0015agent=git/2.39\n")]);
        assert!(heard.fits == [true, true] && !heard.refused);
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        assert!(hear(&Git, &[(C, FETCH), (S, b"0023ERR access denied or repository")]).refused);
        let heard = hear(&Git, &[(C, FETCH), (S, b"SSH-2.0-x\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
