//! `ManageSieve`: mail filters kept on a server. <https://www.rfc-editor.org/rfc/rfc5804>
//!
//! The server greets with its capabilities as quoted strings; its answers are bare `OK`, `NO` and `BYE`.
use super::lines::{
    self, Dialect, Fit, Means, Mechanism, Names, Place, Proves, Response, Rest, Row, Talk,
    mechanism, words,
};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Sieve;

impl Detector for Sieve {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        lines::probe(self, view)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        lines::follow(self, state, side, said)
    }
}

impl Dialect for Sieve {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn fit(&self, place: Place, line: &[u8]) -> Fit {
        match place.side {
            _ if place.late => Fit::No,
            Side::Client => lines::fit(COMMANDS, line, place.whole),
            Side::Server => lines::fit(CAPABILITIES, line, place.whole),
        }
    }

    fn hear(&self, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Means {
        match side {
            Side::Client => hear_client(line),
            Side::Server => hear_server(talk, line),
        }
    }

    /// Strings, quoted or behind their length.
    fn response(&self, _: Mechanism, line: &[u8]) -> Response {
        match line {
            [b'{', .., b'}'] => Response::Part,
            br#""*""# => Response::Abort,
            [b'"', text @ .., b'"'] => lines::response(text),
            _ => lines::response(line),
        }
    }
}

fn hear_client(line: &[u8]) -> Means {
    let Some((word, means)) = lines::meaning(COMMANDS, line) else { return Means::Nothing };
    let mut words = words(line).skip(1);
    let name = words.next().unwrap_or_default();
    let name = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name);
    match (word, mechanism(name)) {
        ("AUTHENTICATE \"", Some(mechanism)) => {
            let given = words.next().is_some_and(|word| word.starts_with(b"\""));
            Means::Sasl { mechanism, given: u32::from(given) }
        }
        _ => means,
    }
}

fn hear_server(talk: &mut Talk<'_>, line: &[u8]) -> Means {
    if let Some((_, means)) = lines::meaning(CAPABILITIES, line) {
        // The greeting ends with an OK of its own, which answers nothing.
        if talk.is_greeting() {
            *talk.note() = GREETING;
        }
        return means;
    }
    let ok = match words(line).next().unwrap_or_default() {
        word if word.eq_ignore_ascii_case(b"OK") => true,
        word if word.eq_ignore_ascii_case(b"NO") => false,
        word if word.eq_ignore_ascii_case(b"BYE") => return Means::Refuses("BYE"),
        _ => return Means::Nothing,
    };
    if *talk.note() == GREETING {
        *talk.note() = 0;
        return Means::Listed;
    }
    let last = talk.answered();
    match ok {
        true if last && talk.asked() => Means::Grants,
        false if last && talk.asked() => Means::Denies,
        true if last && talk.logging_in() => Means::Accepts,
        false if last && talk.logging_in() => Means::Refuses("NO"),
        _ => Means::Fits,
    }
}

const COMMANDS: &[Row] = &[
    ("STARTTLS", Rest::End, Proves::Weak, Means::Asks),
    ("CAPABILITY", Rest::End, Proves::Weak, Means::Lists),
    ("AUTHENTICATE \"", Rest::Free, Proves::Own, Means::Uses),
    ("HAVESPACE \"", Rest::Free, Proves::Own, Means::Uses),
    ("LISTSCRIPTS", Rest::End, Proves::Own, Means::Uses),
    ("PUTSCRIPT", Rest::Argument, Proves::Own, Means::Sends),
    ("CHECKSCRIPT", Rest::Argument, Proves::Own, Means::Sends),
    ("GETSCRIPT", Rest::Argument, Proves::Own, Means::Uses),
    ("SETACTIVE", Rest::Argument, Proves::Own, Means::Uses),
    ("NOOP", Rest::Any, Proves::Shared, Means::Fits),
    ("LOGOUT", Rest::End, Proves::Shared, Means::Leaves),
];

const CAPABILITIES: &[Row] = &[
    ("\"IMPLEMENTATION\"", Rest::Argument, Proves::Own, Means::Fits),
    ("\"SIEVE\"", Rest::Argument, Proves::Own, Means::Fits),
    ("\"SASL\"", Rest::Any, Proves::Weak, Means::Fits),
    ("\"NOTIFY\"", Rest::Any, Proves::Weak, Means::Fits),
    ("\"VERSION\"", Rest::Argument, Proves::Weak, Means::Fits),
    ("\"STARTTLS\"", Rest::End, Proves::Weak, Means::Offers),
];

const GREETING: u32 = 1;

static NAMES: Names = lines::names!("sieve", "sieve-starttls");

static INFO: Info = Info {
    name: "sieve",
    title: "ManageSieve",
    spec: "https://www.rfc-editor.org/rfc/rfc5804",
    ports: &[4190],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &["sieve-starttls"],
    credentials: Credentials::SASL_PLAIN.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{Heard, Line, hear, probe_side};
    use crate::model::{Encryption, PlaintextReason};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const GREETING: &[u8] =
        b"\"IMPLEMENTATION\" \"Dovecot Pigeonhole\"\r\n\"SASL\" \"PLAIN\"\r\n\"STARTTLS\"\r\nOK \"ready\"\r\n";
    const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";

    fn begun(lines: &[Line<'_>]) -> Heard {
        hear(&Sieve, &[&[(S, GREETING)][..], lines].concat())
    }

    #[test]
    fn what_each_side_says_alone() {
        let cases: [(Side, &[u8], bool); 8] = [
            (C, b"AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n", true),
            (C, b"LISTSCRIPTS\r\n", true),
            (C, b"STARTTLS\r\n", false),
            (C, b"AUTHENTICATE PLAIN\r\n", false),
            (C, b"a1 CAPABILITY\r\n", false),
            (S, GREETING, true),
            (S, b"\"STARTTLS\"\r\n", false),
            (S, b"{\"IMPLEMENTATION\": 1}\r\n", false),
        ];
        for (side, bytes, expected) in cases {
            let matched = matches!(probe_side(&Sieve, side, bytes), Probe::Match(_));
            assert_eq!(matched, expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_ok_of_the_greeting_grants_nothing() {
        let asked: &[u8] = b"STARTTLS\r\n";
        let heard = begun(&[(C, asked), (S, b"OK go\r\n"), (C, CLIENT_HELLO)]);
        let server = GREETING.len() + 7;
        assert_eq!(heard.layer, Some((Some("sieve-starttls"), Some(10), Some(server))));
        let heard = begun(&[(C, asked)]);
        assert_eq!(heard.layer, None);
        let heard = begun(&[(C, asked), (S, b"NO \"no\"\r\n"), (C, b"LISTSCRIPTS\r\n")]);
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
    }

    #[test]
    fn logins() {
        let cases: [&[Line<'_>]; 3] = [
            &[(C, b"AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n"), (S, b"OK\r\n")],
            &[
                (C, b"AUTHENTICATE \"PLAIN\"\r\n"),
                (S, b"\"\"\r\n"),
                (C, b"\"AGEAYg==\"\r\n"),
                (S, b"OK\r\n"),
            ],
            &[(C, b"AUTHENTICATE \"PLAIN\" {8+}\r\n"), (C, b"AGEAYg==\r\n"), (S, b"NO x\r\n")],
        ];
        for lines in cases {
            let heard = begun(lines);
            assert_eq!(heard.credentials, Credentials::SASL_PLAIN);
            assert_eq!(heard.encryption, Some(Encryption::Plaintext));
            assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
        }
    }
}
