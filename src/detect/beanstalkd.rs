//! Beanstalkd work queue. <https://github.com/beanstalkd/beanstalkd/blob/master/doc/protocol.txt>
//!
//! Lines of words. Some commands are like no other protocol's, others need the server's answer.
use super::frames::{self, Flaw, Read, fits, mark, need};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Beanstalkd;

impl Detector for Beanstalkd {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(
            view,
            |said| line(Side::Client, said.bytes, COMMANDS),
            |said| line(Side::Server, said.bytes, ANSWERS),
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        frames::follow_briefly(state, side, said, |state, bytes| {
            if frames::fitted(state, side) {
                return Ok(Step::read(bytes.len(), frames::FITS));
            }
            let words = if side == Side::Client { COMMANDS } else { ANSWERS };
            match line(side, bytes, words) {
                Ok(_) | Err(Flaw::Weak) => Ok(Step::read(bytes.len(), fits(side))),
                Err(flaw) => Err(flaw),
            }
        })
    }
}

/// A word and what stands behind it on its line.
struct Form {
    word: &'static str,
    /// `n` a number, `t` a tube's name.
    arguments: &'static [u8],
    /// Whether no other protocol has it.
    own: bool,
}

const fn own(word: &'static str, arguments: &'static [u8]) -> Form {
    Form { word, arguments, own: true }
}

const fn shared(word: &'static str, arguments: &'static [u8]) -> Form {
    Form { word, arguments, own: false }
}

/// Judges the first line by the form that its word asks for.
fn line(side: Side, bytes: &[u8], forms: &[Form]) -> Read<Mark> {
    let shown = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let end = shown.iter().position(|b| *b == b'\n');
    let text = shown.get(..end.unwrap_or(shown.len())).unwrap_or(shown);
    let word_end = text.iter().position(|b| matches!(b, b' ' | b'\r'));
    let Some(word_end) = word_end else {
        need(end.is_none() && forms.iter().any(|form| form.word.as_bytes().starts_with(text)))?;
        return Err(Flaw::Short);
    };
    let (word, rest) = text.split_at_checked(word_end).ok_or(Flaw::Bad)?;
    let form = forms.iter().find(|form| form.word.as_bytes() == word).ok_or(Flaw::Bad)?;
    let mut cursor = Cursor::new(rest);
    for argument in form.arguments {
        frames::tag(&mut cursor, b" ")?;
        let legal = if *argument == b'n' { u8::is_ascii_digit } else { is_tube };
        let length = cursor.rest().iter().position(|b| !legal(b)).unwrap_or_else(|| cursor.left());
        need(length > 0 || cursor.is_empty())?;
        cursor.skip(length)?;
    }
    frames::tag(&mut cursor, b"\r")?;
    need(cursor.is_empty())?;
    if end.is_none() {
        need(shown.len() < LINE_BYTES_MAX)?;
        return Err(Flaw::Short);
    }
    if form.own {
        Ok(mark("beanstalkd.line", side, text.len(), form.word))
    } else {
        Err(Flaw::Weak)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "shaped as the tests of `u8` are")]
const fn is_tube(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'+' | b'/' | b';' | b'.' | b'$' | b'_' | b'(' | b')')
}

const LINE_BYTES_MAX: usize = 224;

static COMMANDS: &[Form] = &[
    own("put", b"nnnn"),
    shared("use", b"t"),
    shared("watch", b"t"),
    shared("ignore", b"t"),
    shared("reserve", b""),
    own("reserve-with-timeout", b"n"),
    own("reserve-job", b"n"),
    shared("delete", b"n"),
    own("release", b"nnn"),
    own("bury", b"nn"),
    shared("touch", b"n"),
    shared("peek", b"n"),
    own("peek-ready", b""),
    own("peek-delayed", b""),
    own("peek-buried", b""),
    shared("kick", b"n"),
    own("kick-job", b"n"),
    own("stats-job", b"n"),
    own("stats-tube", b"t"),
    shared("stats", b""),
    own("list-tubes", b""),
    own("list-tube-used", b""),
    own("list-tubes-watched", b""),
    own("pause-tube", b"tn"),
];

static ANSWERS: &[Form] = &[
    own("INSERTED", b"n"),
    own("USING", b"t"),
    own("WATCHING", b"n"),
    own("RESERVED", b"nn"),
    own("NOT_IGNORED", b""),
    own("KICKED", b"n"),
    own("TIMED_OUT", b""),
    own("DEADLINE_SOON", b""),
    own("BAD_FORMAT", b""),
    own("UNKNOWN_COMMAND", b""),
    own("EXPECTED_CRLF", b""),
    own("JOB_TOO_BIG", b""),
    own("DRAINING", b""),
    own("FOUND", b"nn"),
    shared("BURIED", b""),
    shared("DELETED", b""),
    shared("RELEASED", b""),
    shared("TOUCHED", b""),
    shared("PAUSED", b""),
    shared("NOT_FOUND", b""),
    shared("OUT_OF_MEMORY", b""),
    shared("OK", b"n"),
];

static INFO: Info = Info {
    name: "beanstalkd",
    title: "Beanstalkd",
    spec: "https://github.com/beanstalkd/beanstalkd/blob/master/doc/protocol.txt",
    ports: &[11300],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
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

    #[test]
    fn lines_of_their_own_prove_a_side() {
        let cases: [(&[u8], bool, bool); 14] = [
            (b"put 0 0 60 5\r\nhello\r\n", true, false),
            (b"reserve-with-timeout 5\r\n", true, false),
            (b"list-tubes\r\n", true, false),
            (b"use default\r\n", false, false),
            (b"stats\r\n", false, false),
            (b"INSERTED 1\r\n", false, true),
            (b"USING default\r\n", false, true),
            (b"RESERVED 1 5\r\nhello\r\n", false, true),
            (b"DELETED\r\n", false, false),
            (b"put file.txt\r\n", false, false),
            (b"put 0 0 60\r\n", false, false),
            (b"puts 1\r\n", false, false),
            (b"USING default tube\r\n", false, false),
            (b"220 ready\r\n", false, false),
        ];
        for (bytes, client, server) in cases {
            let text = bytes.escape_ascii();
            assert_eq!(matches(probe_side(&Beanstalkd, C, bytes)), client, "client {text}");
            assert_eq!(matches(probe_side(&Beanstalkd, S, bytes)), server, "server {text}");
        }
    }

    #[test]
    fn a_common_command_needs_the_answer() {
        let heard = hear(&Beanstalkd, &[(C, b"use mail\r\n"), (S, b"USING mail\r\n")]);
        assert_eq!(heard.fits, [true, true]);
        let heard = hear(&Beanstalkd, &[(C, b"stats\r\n"), (S, b"STAT pid 1\r\n")]);
        assert_eq!(heard.matched, None, "memcached");
        let heard = hear_from(&Beanstalkd, &[(S, b"WATCHING 2\r\n")], Start::Unknown);
        assert_eq!(heard.fits, [false, true]);
    }
}
