//! IMAP 4. <https://www.rfc-editor.org/rfc/rfc9051>
//!
//! The server greets with `* OK`; the client's commands stand behind tags of its choice, and the server's answers behind
//! the same tags.
use super::lines::{
    self, Dialect, Fit, LITERALS, Means, Mechanism, Names, Place, Proves, Response, Rest, Row,
    Talk, contains, mechanism, words,
};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Imap;

impl Detector for Imap {
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

impl Dialect for Imap {
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
        match side {
            Side::Client => hear_client(talk, line),
            Side::Server => hear_server(talk, line),
        }
    }

    fn response(&self, mechanism: Mechanism, line: &[u8]) -> Response {
        if mechanism == LITERALS { Response::Message } else { lines::response(line) }
    }
}

/// A tagged command.
fn command(place: Place, line: &[u8]) -> Fit {
    let Some((tag, rest)) = tagged(line) else {
        let open = !place.whole && line.len() <= TAG_BYTES_MAX && line.iter().all(is_tag);
        return if open { Fit::Open } else { Fit::No };
    };
    let numbered = tag.len() == 1 || tag.iter().any(u8::is_ascii_digit);
    match lines::fit(COMMANDS, rest, place.whole) {
        Fit::Own("NOOP" | "LOGOUT" | "IDLE" | "CHECK" | "CLOSE" | "EXPUNGE") if place.late => {
            Fit::No
        }
        // A name and a password, no more.
        Fit::Own("LOGIN") if place.whole && !two_strings(rest) => Fit::No,
        Fit::Own("FETCH" | "STORE" | "COPY" | "UID FETCH" | "UID STORE" | "UID COPY")
            if place.whole && !sequence(rest) =>
        {
            Fit::No
        }
        Fit::Own(word) if !numbered => Fit::Weak(word),
        Fit::Weak(_) | Fit::Shared if place.late => Fit::No,
        fit => fit,
    }
}

/// An answer: untagged, a continuation, or tagged.
fn status(place: Place, line: &[u8]) -> Fit {
    if !place.whole {
        let untagged = b"* ".iter().zip(line).all(|(a, b)| a == b);
        let later = place.nth > 0 || place.late;
        return if untagged || later { Fit::Open } else { Fit::No };
    }
    if let Some(text) = line.strip_prefix(b"* ") {
        return untagged(place, text);
    }
    match tagged(line) {
        _ if place.nth > 0 && line.starts_with(b"+ ") => Fit::Shared,
        Some((tag, rest)) if place.nth > 0 || place.late => {
            let numbered = tag.iter().any(u8::is_ascii_digit);
            let coded = rest.strip_prefix(b"OK [").is_some_and(code);
            let told =
                COMPLETED.iter().any(|text| contains(rest, text)) && rest.starts_with(b"OK ");
            if numbered && (coded || told) { Fit::Own("tag OK") } else { Fit::Shared }
        }
        _ if place.nth > 0 => Fit::Shared,
        _ => Fit::No,
    }
}

fn untagged(place: Place, text: &[u8]) -> Fit {
    let mut words = words(text);
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let counted = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    match first {
        b"OK" if second.strip_prefix(b"[").is_some_and(code) => Fit::Own("* OK ["),
        b"OK" if contains(text, b"IMAP4") => Fit::Own("* OK IMAP4"),
        b"PREAUTH" => Fit::Own("* PREAUTH"),
        b"CAPABILITY" if contains(text, b"IMAP4") => Fit::Own("* CAPABILITY IMAP4"),
        b"FLAGS" if second.starts_with(b"(\\") => Fit::Own("* FLAGS ("),
        _ if counted && second == b"FETCH" && contains(text, b"FETCH (") => Fit::Own("* FETCH ("),
        _ if counted
            && matches!(second, b"EXISTS" | b"RECENT" | b"EXPUNGE")
            && words.next().is_none() =>
        {
            Fit::Own("* EXISTS")
        }
        b"LIST" | b"LSUB" if second.starts_with(b"(") => Fit::Own("* LIST ("),
        b"OK" | b"BYE" if !place.late => Fit::Weak("* OK"),
        _ if place.nth > 0 && !place.late => Fit::Shared,
        _ => Fit::No,
    }
}

/// A response code of RFC 9051 section 7.1 that greetings and answers begin with.
fn code(text: &[u8]) -> bool {
    CODES.iter().any(|code| {
        text.get(..code.len()).is_some_and(|text| text.eq_ignore_ascii_case(code.as_bytes()))
    })
}

/// Parts the tag from the rest.
fn tagged(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|b| *b == b' ')?;
    let (tag, rest) = line.split_at_checked(at)?;
    let fits = (1..=TAG_BYTES_MAX).contains(&tag.len()) && tag.iter().all(is_tag);
    fits.then_some((tag, rest.get(1..)?))
}

/// Characters of a tag (RFC 9051 section 9).
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as iterators want it")]
const fn is_tag(byte: &u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+')
}

/// Whether a command has two strings (quoted, literal or bare) and no more.
fn two_strings(command: &[u8]) -> bool {
    let (mut quoted, mut escaped, mut spaces) = (false, false, 0_u32);
    for byte in command.trim_ascii_end() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' if !quoted => spaces = spaces.saturating_add(1),
            _ => {}
        }
    }
    // A literal ends the line; what follows it comes later.
    let literal = command.trim_ascii_end().ends_with(b"}");
    !quoted && (spaces == 2 || spaces == 1 && literal)
}

/// Whether the first argument behind the command's word is a sequence set.
fn sequence(command: &[u8]) -> bool {
    let mut words = words(command).skip_while(|word| word.iter().all(u8::is_ascii_alphabetic));
    words.next().is_some_and(|set| {
        set.iter().all(|b| b.is_ascii_digit() || matches!(b, b':' | b',' | b'*' | b'$'))
    })
}

fn hear_client(talk: &mut Talk<'_>, line: &[u8]) -> Means {
    let Some((tag, rest)) = tagged(line) else { return Means::Nothing };
    let Some((word, means)) = lines::meaning(COMMANDS, rest) else { return Means::Nothing };
    if matches!(word, "STARTTLS" | "LOGIN" | "AUTHENTICATE") {
        let tag = lines::hash(tag);
        if *talk.note() == !tag {
            talk.refused_before();
        }
        *talk.note() = tag;
    }
    let mut words = words(rest).skip(1);
    match word {
        "AUTHENTICATE" => match words.next().and_then(mechanism) {
            Some(mechanism) => Means::Sasl { mechanism, given: u32::from(words.next().is_some()) },
            None => Means::Uses,
        },
        // The name and the password follow when the server asks for them.
        "LOGIN" if rest.trim_ascii_end().ends_with(b"}") => {
            let unnamed = words.next().is_some_and(|word| word.starts_with(b"{"));
            Means::Sasl { mechanism: LITERALS, given: u32::from(!unnamed) }
        }
        _ => means,
    }
}

fn hear_server(talk: &mut Talk<'_>, line: &[u8]) -> Means {
    let greeting = talk.is_greeting();
    if let Some(text) = line.strip_prefix(b"* ") {
        let listed = contains(text, b"CAPABILITY ");
        return match words(text).next().unwrap_or_default() {
            b"PREAUTH" => {
                talk.never_offers();
                Means::Accepts
            }
            b"BYE" if greeting => Means::Refuses("* BYE"),
            _ if listed && words(text).any(is_starttls) => Means::Offers,
            // After a login the list is another.
            _ if listed && !talk.logging_in() => Means::Listed,
            b"FLAGS" | b"LIST" | b"LSUB" | b"STATUS" | b"SEARCH" => Means::Accepts,
            count if !count.is_empty() && count.iter().all(u8::is_ascii_digit) => Means::Accepts,
            _ => Means::Fits,
        };
    }
    let Some((tag, rest)) = tagged(line) else { return Means::Nothing };
    let mine = *talk.note() == lines::hash(tag);
    match words(rest).next() {
        Some(b"OK") if mine && talk.asked() => Means::Grants,
        Some(b"NO" | b"BAD") if mine && talk.asked() => Means::Denies,
        Some(b"OK") if mine => Means::Accepts,
        Some(b"NO" | b"BAD") if mine => Means::Refuses("tag NO"),
        // Its command comes later: the packets were out of order.
        Some(b"NO" | b"BAD") if !talk.logging_in() && !talk.asked() => {
            *talk.note() = !lines::hash(tag);
            Means::Fits
        }
        Some(b"OK" | b"NO" | b"BAD") => Means::Fits,
        _ => Means::Nothing,
    }
}

fn is_starttls(word: &[u8]) -> bool {
    let word = word.strip_suffix(b"]").unwrap_or(word);
    word.eq_ignore_ascii_case(b"STARTTLS")
}

const SECRET: Means = Means::Secret(Credentials::PASSWORD_CLEARTEXT, "LOGIN");

const COMMANDS: &[Row] = &[
    ("CAPABILITY", Rest::End, Proves::Own, Means::Lists),
    ("STARTTLS", Rest::End, Proves::Own, Means::Asks),
    ("LOGIN", Rest::Argument, Proves::Own, SECRET),
    ("AUTHENTICATE", Rest::Argument, Proves::Own, Means::Uses),
    ("ID (", Rest::Free, Proves::Own, Means::Fits),
    ("ID NIL", Rest::End, Proves::Own, Means::Fits),
    ("NOOP", Rest::End, Proves::Own, Means::Fits),
    ("LOGOUT", Rest::End, Proves::Own, Means::Leaves),
    ("SELECT", Rest::Argument, Proves::Weak, Means::Uses),
    ("EXAMINE", Rest::Argument, Proves::Weak, Means::Uses),
    ("LIST \"", Rest::Free, Proves::Own, Means::Uses),
    ("LSUB \"", Rest::Free, Proves::Own, Means::Uses),
    ("STATUS", Rest::Argument, Proves::Weak, Means::Uses),
    ("APPEND", Rest::Argument, Proves::Weak, Means::Sends),
    ("NAMESPACE", Rest::End, Proves::Own, Means::Uses),
    ("ENABLE", Rest::Argument, Proves::Weak, Means::Uses),
    ("IDLE", Rest::End, Proves::Own, Means::Uses),
    ("FETCH", Rest::Argument, Proves::Own, Means::Uses),
    ("STORE", Rest::Argument, Proves::Own, Means::Uses),
    ("COPY", Rest::Argument, Proves::Own, Means::Uses),
    ("SEARCH", Rest::Argument, Proves::Weak, Means::Uses),
    ("UID FETCH", Rest::Argument, Proves::Own, Means::Uses),
    ("UID STORE", Rest::Argument, Proves::Own, Means::Uses),
    ("UID COPY", Rest::Argument, Proves::Own, Means::Uses),
    ("UID SEARCH", Rest::Argument, Proves::Own, Means::Uses),
    ("CHECK", Rest::End, Proves::Own, Means::Uses),
    ("CLOSE", Rest::End, Proves::Own, Means::Uses),
    ("EXPUNGE", Rest::End, Proves::Own, Means::Uses),
];

const CODES: &[&str] = &[
    "CAPABILITY ",
    "ALERT]",
    "UIDVALIDITY ",
    "UIDNEXT ",
    "UNSEEN ",
    "PERMANENTFLAGS ",
    "READ-WRITE]",
    "READ-ONLY]",
    "HIGHESTMODSEQ ",
    "TRYCREATE]",
    "APPENDUID ",
    "COPYUID ",
];
const COMPLETED: &[&[u8]] = &[
    b"FETCH completed",
    b"SELECT completed",
    b"SEARCH completed",
    b"NOOP completed",
    b"Logged in",
];
const TAG_BYTES_MAX: usize = 24;

static NAMES: Names = lines::names!("imap", "imap-starttls");

static INFO: Info = Info {
    name: "imap",
    title: "Internet Message Access Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc9051",
    ports: &[143],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &["imap-starttls"],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::SASL_PLAIN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{Heard, Line, answer, hear, hear_from, probe_side},
    };
    use crate::model::{Encryption, PlaintextReason};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const GREETING: &[u8] = b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\r\n";
    const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";

    fn begun(lines: &[Line<'_>]) -> Heard {
        hear(&Imap, &[&[(S, GREETING)][..], lines].concat())
    }

    #[test]
    fn what_each_side_says_alone() {
        let client: [(&[u8], Option<bool>); 15] = [
            (b"a001 CAPABILITY\r\n", Some(true)),
            (b"1 ID (\"name\" \"x\")\r\n", Some(true)),
            (b"a login bob \"se cret\"\r\n", Some(true)),
            (b"A1 STARTTLS\r\n", Some(true)),
            (b"t.2 UID FETCH 1:* (FLAGS)\r\n", Some(true)),
            (b"abcd CAPABILITY\r\n", None),
            (b"SET login alice NX\r\n", None),
            (b"SET login alice\r\n", Some(false)),
            (b"a1 LOGIN bob\r\n", Some(false)),
            (b"a1 FETCH all\r\n", Some(false)),
            (b"GET / HTTP/1.1\r\n", Some(false)),
            (b"EHLO example.com\r\n", Some(false)),
            (b"USER bob\r\n", Some(false)),
            (b"*1\r\n$4\r\nPING\r\n", Some(false)),
            (b"\x16\x03\x01\x02\x00\x01\x00", Some(false)),
        ];
        for (bytes, expected) in client {
            assert_eq!(answer(probe_side(&Imap, C, bytes)), expected, "{}", bytes.escape_ascii());
        }
        let server: [(&[u8], Option<bool>); 8] = [
            (GREETING, Some(true)),
            (b"* OK Cyrus IMAP4 v2.3 server ready\r\n", Some(true)),
            (b"* PREAUTH ready\r\n", Some(true)),
            (b"* OK ready\r\n* CAPABILITY IMAP4rev1\r\n", Some(true)),
            (b"* OK ready\r\n", None),
            (b"* BYE busy\r\n", None),
            (b"*1\r\n$4\r\nPING\r\n", None),
            (b"+OK POP3\r\n", None),
        ];
        for (bytes, expected) in server {
            assert_eq!(answer(probe_side(&Imap, S, bytes)), expected, "{}", bytes.escape_ascii());
        }
        let heard = hear(&Imap, &[(S, b"* OK ready\r\n"), (C, b"abcd CAPABILITY\r\n")]);
        assert!(heard.matched.is_some(), "a tag in letters, and a greeting");
    }

    #[test]
    fn tls_begins_behind_the_answer_with_the_same_tag() {
        let asked: &[u8] = b"a1 STARTTLS\r\n";
        let heard = begun(&[(C, asked), (S, b"a1 OK begin\r\n"), (C, CLIENT_HELLO)]);
        let server = GREETING.len() + 13;
        assert_eq!(heard.layer, Some((Some("imap-starttls"), Some(asked.len()), Some(server))));
        let heard = begun(&[(C, b"a0 NOOP\r\n"), (C, asked), (S, b"a0 OK\r\na1 BAD no\r\n")]);
        assert!(heard.refused && heard.layer.is_none());
        let heard = hear(&Imap, &[(C, asked), (C, CLIENT_HELLO)]);
        assert_eq!(heard.layer, Some((Some("imap-starttls"), Some(asked.len()), None)));
    }

    #[test]
    fn logins() {
        let clear = Credentials::PASSWORD_CLEARTEXT;
        let go: &[u8] = b"+ go\r\n";
        let cases: [(&[Line<'_>], Credentials); 6] = [
            (&[(C, b"a1 LOGIN bob secret\r\n"), (S, b"a1 OK Logged in\r\n")], clear),
            (
                &[
                    (C, b"a1 LOGIN {3}\r\n"),
                    (S, go),
                    (C, b"bob {6}\r\n"),
                    (S, go),
                    (C, b"secret\r\n"),
                ],
                clear,
            ),
            (
                &[(C, b"a1 LOGIN {3}\r\n"), (S, b"a1 NO disabled\r\n"), (C, b"a2 LOGOUT\r\n")],
                Credentials::NONE,
            ),
            (
                &[
                    (C, b"a1 AUTHENTICATE PLAIN\r\n"),
                    (S, go),
                    (C, b"AGEAYg==\r\n"),
                    (S, b"a1 OK\r\n"),
                ],
                Credentials::SASL_PLAIN,
            ),
            (&[(C, b"a1 AUTHENTICATE PLAIN AGEAYg==\r\n")], Credentials::SASL_PLAIN),
            (
                &[(C, b"a1 AUTHENTICATE CRAM-MD5\r\n"), (S, go), (C, b"AGEAYg==\r\n")],
                Credentials::PASSWORD_HASH_CHALLENGE,
            ),
        ];
        for (lines, credentials) in cases {
            let heard = begun(lines);
            assert_eq!(heard.credentials, credentials, "{}", lines[0].1.escape_ascii());
            assert_eq!(heard.encryption, Some(Encryption::Plaintext));
            assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
        }
        let heard = begun(&[(C, b"a1 LOGIN bob x\r\n"), (S, b"a1 NO [AUTHENTICATIONFAILED]\r\n")]);
        assert!(heard.refused);
        let no: Line<'_> = (S, b"a1 NO [AUTHENTICATIONFAILED]\r\n");
        let capability: Line<'_> = (C, b"a0 CAPABILITY\r\n");
        let heard = begun(&[capability, no, (C, b"a1 LOGIN bob x\r\n")]);
        assert!(heard.refused, "the packets were out of order");
        assert!(!begun(&[capability, no, (C, b"a2 LOGIN bob x\r\n")]).refused);
        let heard =
            hear(&Imap, &[(S, b"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n"), (C, b"1 NOOP\r\n")]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused), "no STARTTLS from there");
    }

    #[test]
    fn a_late_view_needs_a_tagged_line_or_a_mailbox() {
        let late =
            |side, bytes| hear_from(&Imap, &[(side, bytes)], Start::Unknown).matched.is_some();
        assert!(late(C, b"A5 UID FETCH 12 (BODY[])\r\n"));
        assert!(late(S, b"* 12 EXISTS\r\n"));
        assert!(late(S, b"* 3 FETCH (FLAGS (\\Seen))\r\n"));
        assert!(late(S, b"A5 OK FETCH completed\r\n"));
        assert!(!late(C, b"A5 NOOP\r\n"));
        assert!(!late(C, b"word CAPABILITY\r\n"));
        assert!(!late(S, b"* OK still here\r\n"));
        assert!(!late(S, b"lo\r\n* 12 EXISTS\r\n"));
    }
}
