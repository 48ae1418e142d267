//! NNTP. <https://www.rfc-editor.org/rfc/rfc3977>, STARTTLS: RFC 4642, AUTHINFO: RFC 4643.
use super::lines::{
    self, Dialect, Fit, Means, Names, Place, Proves, Rest, Row, Talk, contains, mechanism, reply,
    words,
};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Nntp;

impl Detector for Nntp {
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

impl Dialect for Nntp {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn fit(&self, place: Place, line: &[u8]) -> Fit {
        match place.side {
            _ if place.late => Fit::No,
            Side::Client => lines::fit(COMMANDS, line, place.whole),
            Side::Server => status(place, line),
        }
    }

    fn hear(&self, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Means {
        match side {
            Side::Client => hear_client(line),
            Side::Server => hear_server(talk, line),
        }
    }
}

/// The greeting: posting allowed or not, or no service; then what only news servers answer.
fn status(place: Place, line: &[u8]) -> Fit {
    if place.nth > 0 {
        let own = place.whole && matches!(reply(line), Some((381 | 281 | 480 | 382, false, _)));
        return if own { Fit::Own("200 381") } else { Fit::Shared };
    }
    if !place.whole {
        let open = lines::may_be_reply(line, &["200", "201", "400", "502"]);
        return if open { Fit::Open } else { Fit::No };
    }
    match reply(line) {
        Some((200 | 201, false, text)) => {
            let named = GREETINGS.iter().any(|word| contains(text, word));
            if named { Fit::Own("200 NNTP") } else { Fit::Weak("200") }
        }
        Some((400 | 502, false, _)) => Fit::Weak("400"),
        _ => Fit::No,
    }
}

fn hear_client(line: &[u8]) -> Means {
    let Some((word, means)) = lines::meaning(COMMANDS, line) else { return Means::Nothing };
    let mut words = words(line).skip(2);
    match (word, words.next().and_then(mechanism)) {
        ("AUTHINFO SASL", Some(mechanism)) => {
            Means::Sasl { mechanism, given: u32::from(words.next().is_some()) }
        }
        _ => means,
    }
}

fn hear_server(talk: &mut Talk<'_>, line: &[u8]) -> Means {
    let greeting = talk.is_greeting();
    let Some((code, _, _)) = reply(line) else {
        return match line {
            _ if !talk.listing() => Means::Nothing,
            b"STARTTLS" => Means::Offers,
            b"." => Means::Listed,
            _ => Means::Nothing,
        };
    };
    match code {
        400 | 502 if greeting => Means::Refuses("no service"),
        382 => Means::Grants,
        400.. if talk.asked() => Means::Denies,
        281 | 211 | 215 | 220..=225 | 335 | 340 => Means::Accepts,
        400 | 480 | 481 | 482 | 483 => Means::Refuses("48x"),
        502 if talk.logging_in() => Means::Refuses("502"),
        100.. => Means::Fits,
        _ => Means::Nothing,
    }
}

const SECRET: Means = Means::Secret(Credentials::PASSWORD_CLEARTEXT, "AUTHINFO PASS");

const COMMANDS: &[Row] = &[
    ("CAPABILITIES", Rest::Any, Proves::Own, Means::Lists),
    ("MODE READER", Rest::End, Proves::Own, Means::Fits),
    ("MODE STREAM", Rest::End, Proves::Own, Means::Fits),
    ("STARTTLS", Rest::End, Proves::Weak, Means::Asks),
    ("AUTHINFO USER", Rest::Argument, Proves::Own, Means::Fits),
    ("AUTHINFO PASS", Rest::Argument, Proves::Own, SECRET),
    ("AUTHINFO SASL", Rest::Argument, Proves::Own, Means::Uses),
    ("AUTHINFO GENERIC", Rest::Argument, Proves::Own, Means::Uses),
    ("GROUP", Rest::Argument, Proves::Weak, Means::Uses),
    ("LISTGROUP", Rest::Any, Proves::Weak, Means::Uses),
    ("NEWGROUPS", Rest::Argument, Proves::Weak, Means::Uses),
    ("NEWNEWS", Rest::Argument, Proves::Weak, Means::Uses),
    ("XOVER", Rest::Any, Proves::Weak, Means::Uses),
    ("OVER", Rest::Any, Proves::Weak, Means::Uses),
    ("XHDR", Rest::Argument, Proves::Weak, Means::Uses),
    ("ARTICLE", Rest::Any, Proves::Weak, Means::Uses),
    ("HEAD", Rest::Any, Proves::Shared, Means::Uses),
    ("BODY", Rest::Any, Proves::Shared, Means::Uses),
    ("STAT", Rest::Any, Proves::Shared, Means::Uses),
    ("LIST", Rest::Any, Proves::Shared, Means::Uses),
    ("IHAVE <", Rest::Free, Proves::Own, Means::Sends),
    ("CHECK <", Rest::Free, Proves::Own, Means::Uses),
    ("TAKETHIS <", Rest::Free, Proves::Own, Means::Sends),
    ("POST", Rest::End, Proves::Shared, Means::Sends),
    ("DATE", Rest::End, Proves::Shared, Means::Fits),
    ("HELP", Rest::Any, Proves::Shared, Means::Fits),
    ("QUIT", Rest::End, Proves::Shared, Means::Leaves),
];

const GREETINGS: [&[u8]; 4] = [b"NNTP", b"InterNetNews", b"NNRP", b"Usenet"];

static NAMES: Names = lines::names!("nntp", "nntp-starttls");

static INFO: Info = Info {
    name: "nntp",
    title: "Network News Transfer Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc3977",
    ports: &[119, 433],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &["nntp-starttls"],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::SASL_PLAIN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{Heard, Line, hear, probe_side};
    use crate::model::{Encryption, PlaintextReason};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const USER: &[u8] = b"AUTHINFO USER bob\r\n";
    const PASS: &[u8] = b"AUTHINFO PASS secret\r\n";
    const LIST: &[u8] = b"101 Capabilities:\r\nVERSION 2\r\nSTARTTLS\r\n.\r\n";

    fn begun(lines: &[Line<'_>]) -> Heard {
        hear(&Nntp, &[&[(S, &b"200 news.example.com ready\r\n"[..])][..], lines].concat())
    }

    #[test]
    fn what_each_side_says_alone() {
        let cases: [(Side, &[u8], bool); 12] = [
            (C, b"MODE READER\r\n", true),
            (C, b"CAPABILITIES\r\n", true),
            (C, USER, true),
            (C, b"GROUP misc.test\r\n", false),
            (C, b"CAPABILITY\r\n", false),
            (C, b"MODE bob +i\r\n", false),
            (S, b"200 news InterNetNews NNRP server ready\r\n", true),
            (S, b"201 x\r\n381 more\r\n", true),
            (S, b"200 ready\r\n", false),
            (S, b"200 OK\r\n250 x\r\n", false),
            (S, b"220 NNTP\r\n", false),
            (S, b"HTTP/1.1 200 OK\r\n", false),
        ];
        for (side, bytes, expected) in cases {
            let matched = matches!(probe_side(&Nntp, side, bytes), Probe::Match(_));
            assert_eq!(matched, expected, "{}", bytes.escape_ascii());
        }
        assert!(begun(&[(C, b"GROUP misc.test\r\n")]).matched.is_some());
    }

    #[test]
    fn starttls_and_logins() {
        let asked: &[u8] = b"STARTTLS\r\n";
        let heard = begun(&[(C, asked), (S, b"382 go\r\n")]);
        assert_eq!(heard.layer, Some((Some("nntp-starttls"), Some(10), Some(36))));
        let heard =
            begun(&[(C, asked), (S, b"580 no\r\n"), (C, USER), (S, b"381 x\r\n"), (C, PASS)]);
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);

        let listed =
            [(C, &b"CAPABILITIES\r\n"[..]), (S, LIST), (C, USER), (S, b"381 x\r\n"), (C, PASS)];
        let heard = begun(&[&listed[..], &[(S, b"281 ok\r\n")]].concat());
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
        let heard = begun(&[&listed[..], &[(S, b"481 no\r\n")]].concat());
        assert!(heard.refused);
        let heard = begun(&[(C, b"AUTHINFO SASL PLAIN AGEAYg==\r\n")]);
        assert_eq!(heard.credentials, Credentials::SASL_PLAIN);
    }
}
