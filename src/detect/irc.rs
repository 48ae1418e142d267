//! Internet Relay Chat. <https://www.rfc-editor.org/rfc/rfc2812>, and for CAP, SASL and STARTTLS
//! <https://ircv3.net/specs/>.
use super::lines::{
    self, Dialect, Fit, Means, Mechanism, Names, Place, Proves, Response, Rest, Row, Talk,
    mechanism, words,
};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::{
    bytes::holds,
    model::{Credentials, Side, Transport},
};

pub(super) struct Irc;

impl Detector for Irc {
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

impl Dialect for Irc {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn fit(&self, place: Place, line: &[u8]) -> Fit {
        match place.side {
            Side::Client => command(place, line),
            Side::Server => message(place, line),
        }
    }

    fn hear(&self, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Means {
        match side {
            Side::Client => hear_client(line),
            Side::Server => hear_server(talk, line),
        }
    }

    /// `AUTHENTICATE` stands before each message.
    fn response(&self, _: Mechanism, line: &[u8]) -> Response {
        match words(line).nth(1) {
            Some(text) if matches!(lines::meaning(COMMANDS, line), Some(("AUTHENTICATE", _))) => {
                lines::response(text)
            }
            _ => Response::Part,
        }
    }
}

fn command(place: Place, line: &[u8]) -> Fit {
    match lines::fit(COMMANDS, line, place.whole) {
        // A nickname is one word; a user has four parameters, the last with spaces in it.
        Fit::Own("NICK") if place.whole && words(line).count() != 2 => Fit::No,
        Fit::Own("USER") if place.whole && !user(line) => Fit::No,
        Fit::Own(word) if place.late && !matches!(word, "PRIVMSG #" | "JOIN #") => Fit::No,
        fit => fit,
    }
}

/// `USER <name> <mode> <unused> :<real name>`
fn user(line: &[u8]) -> bool {
    words(line).count() >= 5 && words(line).nth(4).is_some_and(|name| name.starts_with(b":"))
        || words(line).count() == 5 && words(line).nth(3) == Some(b"*")
}

fn message(place: Place, line: &[u8]) -> Fit {
    if !place.whole {
        let open = match line {
            _ if place.nth > 0 => true,
            [b':', name @ ..] => name.first().is_none_or(u8::is_ascii_alphanumeric),
            _ => place.late || lines::fit(MESSAGES, line, false) == Fit::Open,
        };
        return if open { Fit::Open } else { Fit::No };
    }
    let Some(prefixed) = line.strip_prefix(b":") else {
        return match lines::fit(MESSAGES, line, true) {
            Fit::No if place.nth > 0 => Fit::Shared,
            fit => fit,
        };
    };
    let mut words = words(prefixed);
    let (Some(source), Some(verb), Some(target)) = (words.next(), words.next(), words.next())
    else {
        return if place.nth > 0 { Fit::Shared } else { Fit::No };
    };
    let numeric = verb.len() == 3 && verb.iter().all(u8::is_ascii_digit);
    let person = source.contains(&b'!') && source.contains(&b'@');
    let server = source.contains(&b'.') || !place.late;
    match verb {
        b"NOTICE" | b"PRIVMSG" if (person || server) && contains_text(prefixed) => {
            Fit::Own(":x NOTICE")
        }
        b"CAP" if server && words.next().is_some_and(|sub| SUBCOMMANDS.contains(&sub)) => {
            Fit::Own(":x CAP")
        }
        b"001" | b"002" | b"004" | b"005" | b"372" | b"433" | b"451" if server => {
            Fit::Own(":x 001")
        }
        b"JOIN" | b"PART" | b"QUIT" | b"MODE" if person => Fit::Own(":x JOIN"),
        _ if place.late => Fit::No,
        b"PONG" | b"MODE" | b"NICK" => Fit::Weak(":x"),
        _ if numeric && !target.is_empty() => Fit::Weak(":x 000"),
        _ if place.nth > 0 => Fit::Shared,
        _ => Fit::No,
    }
}

/// Whether the last parameter has a text.
fn contains_text(line: &[u8]) -> bool {
    holds(line, b" :")
}

fn hear_client(line: &[u8]) -> Means {
    let Some((word, means)) = lines::meaning(COMMANDS, line) else { return Means::Nothing };
    match (word, words(line).nth(1).and_then(mechanism)) {
        ("AUTHENTICATE", Some(mechanism)) => Means::Sasl { mechanism, given: 0 },
        _ => means,
    }
}

fn hear_server(talk: &mut Talk<'_>, line: &[u8]) -> Means {
    let body = match line.strip_prefix(b":") {
        Some(rest) => rest.splitn(2, |b| *b == b' ').nth(1).unwrap_or_default(),
        None => line,
    };
    let mut parameters = words(body);
    match parameters.next().unwrap_or_default() {
        b"CAP" => {
            let (sub, more) = (parameters.nth(1), parameters.next() == Some(b"*"));
            let listed = sub.is_some_and(|sub| sub == b"LS");
            let offers = words(body).any(|word| matches!(word, b"tls" | b":tls"));
            match (listed, offers) {
                (true, true) => Means::Offers,
                (true, false) if !more => Means::Listed,
                _ => Means::Fits,
            }
        }
        b"670" => Means::Grants,
        b"691" | b"421" | b"451" if talk.asked() => Means::Denies,
        b"001" | b"PRIVMSG" | b"JOIN" => Means::Accepts,
        b"464" => Means::Refuses("464"),
        b"465" => Means::Refuses("465"),
        b"904" | b"905" => Means::Refuses("904"),
        b"ERROR" => Means::Refuses("ERROR"),
        _ => Means::Fits,
    }
}

const fn secret(word: &'static str) -> Means {
    Means::Secret(Credentials::PASSWORD_CLEARTEXT, word)
}

const COMMANDS: &[Row] = &[
    ("NICK", Rest::Argument, Proves::Own, Means::Fits),
    ("USER", Rest::Argument, Proves::Own, Means::Uses),
    ("CAP LS", Rest::Any, Proves::Own, Means::Lists),
    ("CAP REQ", Rest::Argument, Proves::Own, Means::Fits),
    ("CAP END", Rest::End, Proves::Own, Means::Uses),
    ("STARTTLS", Rest::End, Proves::Weak, Means::Asks),
    ("PASS", Rest::Argument, Proves::Weak, secret("PASS")),
    ("OPER", Rest::Argument, Proves::Weak, secret("OPER")),
    ("AUTHENTICATE", Rest::Argument, Proves::Shared, Means::Fits),
    ("WEBIRC", Rest::Argument, Proves::Weak, secret("WEBIRC")),
    ("PROTOCTL", Rest::Argument, Proves::Weak, Means::Fits),
    ("SERVER", Rest::Argument, Proves::Weak, Means::Uses),
    ("JOIN #", Rest::Free, Proves::Own, Means::Uses),
    ("PRIVMSG #", Rest::Free, Proves::Own, Means::Uses),
    ("PRIVMSG", Rest::Argument, Proves::Weak, Means::Uses),
    ("NOTICE", Rest::Argument, Proves::Weak, Means::Uses),
    ("PING", Rest::Argument, Proves::Shared, Means::Fits),
    ("PONG", Rest::Argument, Proves::Shared, Means::Fits),
    ("QUIT", Rest::Any, Proves::Shared, Means::Leaves),
];

const MESSAGES: &[Row] = &[
    ("NOTICE AUTH :", Rest::Free, Proves::Own, Means::Fits),
    ("NOTICE * :", Rest::Free, Proves::Own, Means::Fits),
    ("PING :", Rest::Free, Proves::Weak, Means::Fits),
    ("AUTHENTICATE +", Rest::Any, Proves::Shared, Means::Fits),
    ("ERROR :Closing Link", Rest::Free, Proves::Own, Means::Fits),
    ("ERROR :", Rest::Free, Proves::Weak, Means::Fits),
];

const SUBCOMMANDS: &[&[u8]] = &[b"LS", b"ACK", b"NAK", b"NEW", b"DEL", b"LIST"];

static NAMES: Names = lines::names!("irc", "irc-starttls");

static INFO: Info = Info {
    name: "irc",
    title: "Internet Relay Chat",
    spec: "https://www.rfc-editor.org/rfc/rfc2812",
    ports: &[6667],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &["irc-starttls"],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::SASL_PLAIN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{Heard, Line, hear, hear_from, probe_side},
    };
    use crate::model::{Encryption, PlaintextReason};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const LOGIN: &[u8] = b"NICK bob\r\nUSER bob 0 * :Bob B\r\n";
    const WELCOME: &[u8] = b":irc.example.com 001 bob :Welcome\r\n";

    fn matched(side: Side, bytes: &[u8]) -> bool {
        matches!(probe_side(&Irc, side, bytes), Probe::Match(_))
    }

    #[test]
    fn what_each_side_says_alone() {
        let cases: [(Side, &[u8], bool); 19] = [
            (C, LOGIN, true),
            (C, b"CAP LS 302\r\n", true),
            (C, b"USER bob 0 * Bob\r\n", true),
            (C, b"PASS x\r\n", false),
            (C, b"NICK\r\n", false),
            (C, b"USER bob\r\n", false),
            (C, b"PING x\r\n", false),
            (C, b"CAPA\r\n", false),
            (C, b"GET / HTTP/1.1\r\n", false),
            (S, WELCOME, true),
            (S, b":irc.example.com NOTICE * :*** Looking up\r\n", true),
            (S, b"NOTICE AUTH :*** Looking up\r\n", true),
            (S, b":irc CAP * LS :tls\r\n", true),
            (S, b"ERROR :Closing Link: x\r\n", true),
            (S, b":1\r\n", false),
            (S, b":1000\r\n:2000\r\n", false),
            (S, b"PING :123\r\n", false),
            (S, b"ERROR :x\r\n", false),
            (S, b"220 irc\r\n", false),
        ];
        for (side, bytes, expected) in cases {
            assert_eq!(matched(side, bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn starttls() {
        let start: [Line<'_>; 3] =
            [(C, b"CAP LS\r\n"), (S, b":x CAP * LS :multi-prefix tls\r\n"), (C, b"STARTTLS\r\n")];
        let heard = hear(&Irc, &[&start[..], &[(S, b":x 670 * :go\r\n")]].concat());
        assert_eq!(heard.layer, Some((Some("irc-starttls"), Some(18), Some(45))));
        let heard = hear(&Irc, &[&start[..], &[(S, b":x 691 * :no\r\n"), (C, LOGIN)]].concat());
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        let heard = hear(&Irc, &[&start[..2], &[(C, LOGIN), (S, WELCOME)]].concat());
        assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    }

    #[test]
    fn logins() {
        let password: Heard = hear(
            &Irc,
            &[(S, b":x.y NOTICE * :hi\r\n"), (C, b"PASS secret\r\n"), (C, LOGIN), (S, WELCOME)],
        );
        assert_eq!(password.credentials, Credentials::PASSWORD_CLEARTEXT);
        let sasl = hear(
            &Irc,
            &[
                (C, b"CAP REQ :sasl\r\n"),
                (C, LOGIN),
                (C, b"AUTHENTICATE PLAIN\r\n"),
                (S, b"AUTHENTICATE +\r\n"),
                (C, b"AUTHENTICATE AGEAYg==\r\n"),
                (S, b":x 904 bob :no\r\n"),
            ],
        );
        assert_eq!((sasl.credentials, sasl.refused), (Credentials::SASL_PLAIN, true));
        let wrong = hear(&Irc, &[(C, LOGIN), (S, b":x 464 bob :Password incorrect\r\n")]);
        assert!(wrong.refused && wrong.credentials.is_empty());
        assert_eq!(wrong.reason, Some(PlaintextReason::ClientNeverAsked));
    }

    #[test]
    fn a_late_view_needs_somebody_who_speaks() {
        let late =
            |side, bytes| hear_from(&Irc, &[(side, bytes)], Start::Unknown).matched.is_some();
        assert!(late(S, b":bob!b@host PRIVMSG #chan :hello there\r\n"));
        assert!(late(C, b"PRIVMSG #chan :hello\r\n"));
        assert!(!late(C, b"NICK bob\r\n"));
        assert!(!late(S, b":bob PRIVMSG #chan :hello\r\n"));
        assert!(!late(S, b"PING :irc.example.com\r\n"));
    }
}
