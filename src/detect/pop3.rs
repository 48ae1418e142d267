//! POP3. <https://www.rfc-editor.org/rfc/rfc1939>, STLS: RFC 2595, AUTH: RFC 5034.
//!
//! The server greets with `+OK`, which Redis says too: only a timestamp or the name proves it. `USER` and `PASS` are FTP's
//! as well.
use super::lines::{
    self, Dialect, Fit, Means, Names, Place, Proves, Rest, Row, Talk, contains, mechanism, words,
};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Pop3;

impl Detector for Pop3 {
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

impl Dialect for Pop3 {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn fit(&self, place: Place, line: &[u8]) -> Fit {
        match place.side {
            Side::Client => command(place, line),
            Side::Server => status(place, line),
        }
    }

    fn hear(&self, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Means {
        if side == Side::Client {
            return match lines::meaning(COMMANDS, line) {
                Some(("AUTH", means)) => auth(line, means),
                Some(("APOP", _)) if !apop(line) => Means::Uses,
                Some((_, means)) => means,
                None => Means::Nothing,
            };
        }
        hear_server(talk, line)
    }
}

fn command(place: Place, line: &[u8]) -> Fit {
    let fit = lines::fit(COMMANDS, line, place.whole);
    match fit {
        Fit::Weak("AUTH") if matches!(auth(line, Means::Fits), Means::Nothing) => Fit::No,
        Fit::Own("APOP") if !apop(line) => Fit::No,
        // Names have no spaces here; IRC's USER has four parameters.
        Fit::Weak("USER") if words(line).count() > 2 => Fit::No,
        // After a login without more FTP would ask for other things.
        Fit::Shared if place.nth >= 2 && line.eq_ignore_ascii_case(b"STAT") => Fit::Own("STAT"),
        Fit::Open if !place.whole && !may_be_auth(line) => Fit::No,
        fit => fit,
    }
}

fn may_be_auth(line: &[u8]) -> bool {
    let Some(name) = line.get(5..).filter(|_| line.to_ascii_uppercase().starts_with(b"AUTH "))
    else {
        return true;
    };
    let end = name.iter().position(|b| matches!(b, b' ' | b'\r'));
    match end.and_then(|end| name.get(..end)) {
        Some(name) => name.is_empty() || mechanism(name).is_some(),
        None => lines::may_be_mechanism(name),
    }
}

fn status(place: Place, line: &[u8]) -> Fit {
    if place.late {
        let begins = b"+OK".iter().zip(line).all(|(a, b)| a == b);
        return match place.whole {
            true if begins && stamped(line) => Fit::Own("+OK <"),
            false if begins => Fit::Open,
            _ => Fit::No,
        };
    }
    let ok = b"+OK".iter().zip(line).all(|(a, b)| a == b);
    let err = b"-ERR".iter().zip(line).all(|(a, b)| a == b);
    if !place.whole {
        return if ok || err || place.nth > 0 { Fit::Open } else { Fit::No };
    }
    match line {
        _ if ok && line.len() > 3 && (stamped(line) || contains(line, b"POP3")) => {
            Fit::Own("+OK POP3")
        }
        b"+OK" => Fit::Shared,
        [b'+', b'O', b'K', b' ', ..] => Fit::Weak("+OK"),
        _ if err && line.len() >= 4 => Fit::Shared,
        b"STLS" | b"UIDL" | b"TOP" if place.nth > 0 => Fit::Own("STLS"),
        _ if place.nth > 0 => Fit::Shared,
        _ => Fit::No,
    }
}

/// Whether a greeting has a timestamp for APOP (RFC 1939 section 7), in the form of a message id.
fn stamped(line: &[u8]) -> bool {
    let Some(from) = line.iter().position(|b| *b == b'<') else { return false };
    let id = line.get(from..).unwrap_or_default();
    let end = id.iter().position(|b| *b == b'>').unwrap_or(0);
    let id = id.get(..end).unwrap_or_default();
    id.contains(&b'@') && id.contains(&b'.') && !id.contains(&b' ')
}

/// APOP has a name and an MD5 digest.
fn apop(line: &[u8]) -> bool {
    let digest = words(line).nth(2).unwrap_or_default();
    digest.len() == 32 && digest.iter().all(u8::is_ascii_hexdigit) && words(line).count() == 3
}

fn auth(line: &[u8], bare: Means) -> Means {
    let mut words = words(line).skip(1);
    match words.next().map(mechanism) {
        Some(Some(mechanism)) => {
            Means::Sasl { mechanism, given: u32::from(words.next().is_some()) }
        }
        Some(None) => Means::Nothing,
        None => bare,
    }
}

fn hear_server(talk: &mut Talk<'_>, line: &[u8]) -> Means {
    let greeting = talk.is_greeting();
    let ok = line.starts_with(b"+OK");
    if ok || line.starts_with(b"-ERR") {
        if greeting {
            return if ok { Means::Fits } else { Means::Refuses("-ERR") };
        }
        let unasked = talk.is_idle();
        let last = talk.answered();
        let statuses = talk.note();
        *statuses = statuses.saturating_add(1);
        let many = *statuses >= STATUSES_MIN;
        return match ok {
            // Without the client: after so many answers TLS would have begun; or the client is read late.
            _ if unasked && many => Means::Uses,
            false if unasked => Means::Refuses("-ERR"),
            true if last && talk.asked() => Means::Grants,
            false if last && talk.asked() => Means::Denies,
            true if last && talk.logging_in() => Means::Accepts,
            false if talk.logging_in() => Means::Refuses("-ERR"),
            _ => Means::Fits,
        };
    }
    match line {
        b"STLS" => Means::Offers,
        b"." if talk.listing() => Means::Listed,
        _ => Means::Nothing,
    }
}

const fn secret(kind: Credentials, word: &'static str) -> Means {
    Means::Secret(kind, word)
}

const COMMANDS: &[Row] = &[
    ("CAPA", Rest::End, Proves::Own, Means::Lists),
    ("STLS", Rest::End, Proves::Own, Means::Asks),
    ("APOP", Rest::Argument, Proves::Own, secret(Credentials::PASSWORD_HASH_CHALLENGE, "APOP")),
    ("USER", Rest::Argument, Proves::Weak, Means::Fits),
    ("PASS", Rest::Argument, Proves::Weak, secret(Credentials::PASSWORD_CLEARTEXT, "PASS")),
    ("AUTH", Rest::Any, Proves::Weak, Means::Fits),
    ("UIDL", Rest::Any, Proves::Own, Means::Uses),
    ("TOP", Rest::Argument, Proves::Weak, Means::Uses),
    ("DELE", Rest::Argument, Proves::Shared, Means::Uses),
    ("RETR", Rest::Argument, Proves::Shared, Means::Uses),
    ("LIST", Rest::Any, Proves::Shared, Means::Uses),
    ("STAT", Rest::End, Proves::Shared, Means::Uses),
    ("RSET", Rest::End, Proves::Shared, Means::Uses),
    ("NOOP", Rest::End, Proves::Shared, Means::Fits),
    ("QUIT", Rest::End, Proves::Shared, Means::Leaves),
];

/// CAPA, STLS or a login, what follows.
const STATUSES_MIN: u32 = 5;

static NAMES: Names = lines::names!("pop3", "pop3-stls");

static INFO: Info = Info {
    name: "pop3",
    title: "Post Office Protocol version 3",
    spec: "https://www.rfc-editor.org/rfc/rfc1939",
    ports: &[110],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &["pop3-stls"],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::SASL_PLAIN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{Heard, Line, answer, hear, probe_side};
    use crate::model::{Encryption, PlaintextReason};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const OK: &[u8] = b"+OK\r\n";
    const USER: &[u8] = b"USER bob\r\n";
    const PASS: &[u8] = b"PASS secret\r\n";

    fn begun(lines: &[Line<'_>]) -> Heard {
        hear(&Pop3, &[&[(S, &b"+OK Dovecot ready.\r\n"[..])][..], lines].concat())
    }

    #[test]
    fn what_each_side_says_alone() {
        let client: [(&[u8], Option<bool>); 13] = [
            (b"CAPA\r\n", Some(true)),
            (b"STLS\r\n", Some(true)),
            (b"APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n", Some(true)),
            (b"USER bob\r\nPASS x\r\n", None),
            (b"AUTH PLAIN\r\n", None),
            (b"QUIT\r\n", None),
            (b"CAPABILITY\r\n", Some(false)),
            (b"APOP mrose hello\r\n", Some(false)),
            (b"AUTH secret\r\n", Some(false)),
            (b"AUTH TLS\r\n", Some(false)),
            (b"USER bob 0 * :Bob\r\n", Some(false)),
            (b"*1\r\n$4\r\nPING\r\n", Some(false)),
            (b"\x16\x03\x01\x02\x00\x01\x00", Some(false)),
        ];
        for (bytes, expected) in client {
            assert_eq!(answer(probe_side(&Pop3, C, bytes)), expected, "{}", bytes.escape_ascii());
        }
        let server: [(&[u8], bool); 8] = [
            (b"+OK <1896.697170952@dbc.mtview.ca.us>\r\n", true),
            (b"+OK POP3 ready\r\n", true),
            (b"+OK\r\n+OK\r\nTOP\r\nSTLS\r\n", true),
            (b"+OK ready\r\n", false),
            (b"+OK\r\n+OK\r\n", false),
            (b"+PONG\r\n", false),
            (b"-ERR unknown command\r\n", false),
            (b"220 ready\r\n", false),
        ];
        for (bytes, expected) in server {
            let matched = matches!(probe_side(&Pop3, S, bytes), Probe::Match(_));
            assert_eq!(matched, expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn shared_words_need_the_other_side() {
        let heard = |client: &[u8], server: &[u8]| {
            hear(&Pop3, &[(S, server), (C, client)]).matched.is_some()
        };
        assert!(heard(USER, b"+OK ready\r\n"));
        assert!(heard(b"AUTH PLAIN\r\n", b"+OK ready\r\n"));
        assert!(!heard(b"AUTH PLAIN\r\n", OK), "Redis, perhaps");
        assert!(!heard(USER, b"220 ready\r\n"));
        assert!(!heard(b"QUIT\r\n", OK));
    }

    #[test]
    fn stls() {
        let asked = [(C, &b"CAPA\r\n"[..]), (S, b"+OK\r\nSTLS\r\n.\r\n"), (C, b"STLS\r\n")];
        let heard = begun(&[&asked[..], &[(S, b"+OK begin\r\n")]].concat());
        assert_eq!(heard.layer, Some((Some("pop3-stls"), Some(12), Some(45))));
        let heard =
            begun(&[&asked[..], &[(S, b"-ERR no\r\n"), (C, USER), (S, OK), (C, PASS)]].concat());
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        let heard = begun(&[&asked[..2], &[(C, USER), (S, OK), (C, PASS), (S, OK)]].concat());
        assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
    }

    #[test]
    fn logins() {
        let hash = Credentials::PASSWORD_HASH_CHALLENGE;
        let apop: &[u8] = b"APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n";
        let cases: [(&[Line<'_>], Credentials, bool); 6] = [
            (&[(C, USER), (S, OK), (C, PASS), (S, OK)], Credentials::PASSWORD_CLEARTEXT, false),
            (
                &[(C, USER), (S, OK), (C, PASS), (S, b"-ERR no\r\n")],
                Credentials::PASSWORD_CLEARTEXT,
                true,
            ),
            (&[(C, apop), (S, OK)], hash, false),
            (
                &[(C, b"AUTH PLAIN\r\n"), (S, b"+ \r\n"), (C, b"AGEAYg==\r\n"), (S, OK)],
                Credentials::SASL_PLAIN,
                false,
            ),
            (&[(C, USER), (S, OK), (C, b"QUIT\r\n"), (S, OK)], Credentials::NONE, false),
            // The packets were out of order.
            (
                &[(C, USER), (S, OK), (S, b"-ERR\r\n"), (C, PASS), (C, b"QUIT\r\n"), (S, OK)],
                Credentials::PASSWORD_CLEARTEXT,
                true,
            ),
        ];
        for (lines, credentials, refused) in cases {
            let heard = begun(lines);
            assert_eq!((heard.credentials, heard.refused), (credentials, refused));
            assert_eq!(heard.encryption, Some(Encryption::Plaintext));
            assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
        }
    }
}
