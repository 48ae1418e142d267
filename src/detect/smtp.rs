//! SMTP and its extensions. <https://www.rfc-editor.org/rfc/rfc5321>, STARTTLS: RFC 3207, AUTH: RFC 4954.
//!
//! The server speaks first, and FTP's does so with the same `220`: its own words (`ESMTP`), its next reply, or the
//! client's commands tell them apart. LMTP (RFC 2033) has the same grammar and a greeting command of its own.
use super::lines::{
    self, Dialect, Fit, Means, Names, Place, Proves, Rest, Row, Talk, contains, mechanism, reply,
    words,
};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Smtp;

impl Detector for Smtp {
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

impl Dialect for Smtp {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn fit(&self, place: Place, line: &[u8]) -> Fit {
        fit(&VARIANT, place, line)
    }

    fn hear(&self, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Means {
        hear(&VARIANT, talk, side, line)
    }
}

/// What SMTP and LMTP do not have in common.
pub(super) struct Variant {
    /// Its own greeting commands.
    pub(super) hello: &'static [Row],
    /// Words of a greeting, ours first.
    pub(super) word: &'static str,
    pub(super) other: &'static str,
}

/// How far a line proves the variant.
pub(super) fn fit(variant: &Variant, place: Place, line: &[u8]) -> Fit {
    if place.side == Side::Client {
        let fit = lines::fit(variant.hello, line, place.whole).max(lines::fit(
            COMMANDS,
            line,
            place.whole,
        ));
        return match fit {
            // FTP has the word too, at the very beginning.
            Fit::Weak("AUTH") if place.nth == 0 => Fit::No,
            // Addresses stand in brackets, though some clients forget them.
            Fit::Own("MAIL FROM:" | "RCPT TO:") if place.late && !line.contains(&b'<') => Fit::No,
            fit => fit,
        };
    }
    if !place.whole {
        let first = place.nth == 0 && !place.late;
        let codes: &[&str] = if first { &["220", "421", "554"] } else { &["2", "3", "4", "5"] };
        return if lines::may_be_reply(line, codes) { Fit::Open } else { Fit::No };
    }
    let Some((code, more, text)) = reply(line) else { return Fit::No };
    let ours = contains(text, variant.word.as_bytes());
    let theirs = contains(text, variant.other.as_bytes()) || contains(text, b"FTP");
    let extension = || more && words(text).next().is_some_and(is_extension);
    match code {
        220 if theirs && ours => Fit::Weak("220"),
        220 if theirs && place.nth == 0 => Fit::No,
        220 if ours => Fit::Own(variant.word),
        250 if extension() => Fit::Own("250 extension"),
        354 if place.late && contains(text, b"<CR><LF>.<CR><LF>") => Fit::Own("354"),
        _ if place.late => Fit::No,
        220 | 421 | 554 => Fit::Weak("220"),
        // FTP has nothing to say 250 to before a login; LMTP has said who it is.
        250 if variant.word == "SMTP" && place.nth > 0 => Fit::Own("220 250"),
        _ if place.nth > 0 => Fit::Shared,
        _ => Fit::No,
    }
}

/// Keywords of EHLO responses (IANA, SMTP Service Extensions), enough to know one by.
fn is_extension(word: &[u8]) -> bool {
    let known = ["PIPELINING", "SIZE", "8BITMIME", "STARTTLS", "ENHANCEDSTATUSCODES", "CHUNKING"];
    known.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}

/// What a line means.
pub(super) fn hear(variant: &Variant, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Means {
    if side == Side::Client {
        return match lines::meaning(variant.hello, line).or_else(|| lines::meaning(COMMANDS, line))
        {
            Some(("AUTH", _)) => auth(line),
            Some(("XCLIENT", means)) => {
                *talk.note() = XCLIENT;
                means
            }
            Some((_, means)) => means,
            None => Means::Nothing,
        };
    }
    let greeting = talk.is_greeting();
    let Some((code, more, text)) = reply(line) else { return Means::Nothing };
    if words(text).next().is_some_and(|word| word.eq_ignore_ascii_case(b"STARTTLS")) && code == 250
    {
        if more {
            talk.begin_list();
        }
        return Means::Offers;
    }
    match code {
        // A greeting comes before any offer; XCLIENT is answered by another one.
        220 if !more && (talk.asked() || talk.offered()) && *talk.note() != XCLIENT => {
            Means::Grants
        }
        250 if more => {
            talk.begin_list();
            Means::Fits
        }
        250 if talk.listing() => Means::Listed,
        235 | 354 => Means::Accepts,
        250..=252 if talk.used() => Means::Accepts,
        421 | 521 | 554 if greeting => Means::Refuses("no service"),
        400.. if talk.asked() => Means::Denies,
        421 => Means::Refuses("421"),
        530 => Means::Refuses("530"),
        535 => Means::Refuses("535"),
        400.. if talk.logging_in() => Means::Refuses("login failed"),
        200.. => Means::Fits,
        _ => Means::Nothing,
    }
}

/// AUTH, its mechanism, and perhaps an initial response (RFC 4954 section 4).
fn auth(line: &[u8]) -> Means {
    let mut words = words(line).skip(1);
    match words.next().and_then(mechanism) {
        Some(mechanism) => Means::Sasl { mechanism, given: u32::from(words.next().is_some()) },
        None => Means::Uses,
    }
}

const COMMANDS: &[Row] = &[
    ("MAIL FROM:", Rest::Free, Proves::Own, Means::Uses),
    ("MAIL FROM :", Rest::Free, Proves::Weak, Means::Uses),
    ("RCPT TO:", Rest::Free, Proves::Own, Means::Uses),
    ("STARTTLS", Rest::End, Proves::Weak, Means::Asks),
    ("AUTH", Rest::Argument, Proves::Weak, Means::Uses),
    ("VRFY", Rest::Argument, Proves::Weak, Means::Uses),
    ("EXPN", Rest::Argument, Proves::Weak, Means::Uses),
    ("ETRN", Rest::Argument, Proves::Weak, Means::Uses),
    ("XCLIENT", Rest::Argument, Proves::Weak, Means::Fits),
    ("XFORWARD", Rest::Argument, Proves::Weak, Means::Uses),
    ("DATA", Rest::End, Proves::Shared, Means::Sends),
    ("BDAT", Rest::Argument, Proves::Weak, Means::Sends),
    ("QUIT", Rest::End, Proves::Shared, Means::Leaves),
    ("RSET", Rest::End, Proves::Shared, Means::Fits),
    ("NOOP", Rest::Any, Proves::Shared, Means::Fits),
    ("HELP", Rest::Any, Proves::Shared, Means::Fits),
];

const XCLIENT: u32 = 1;

static VARIANT: Variant = Variant {
    hello: &[
        ("EHLO", Rest::Argument, Proves::Own, Means::Lists),
        ("EHLO", Rest::End, Proves::Weak, Means::Lists),
        ("HELO", Rest::Argument, Proves::Own, Means::Fits),
    ],
    word: "SMTP",
    other: "LMTP",
};

static NAMES: Names = lines::names!("smtp", "smtp-starttls");

static INFO: Info = Info {
    name: "smtp",
    title: "Simple Mail Transfer Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc5321",
    ports: &[25, 587],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &["smtp-starttls"],
    credentials: Credentials::SASL_PLAIN
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
    const GREETING: &[u8] = b"220 mail.example.com ESMTP Postfix\r\n";
    const EHLO: &[u8] = b"EHLO client.example.com\r\n";
    const OFFER: &[u8] =
        b"250-mail.example.com\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250 8BITMIME\r\n";
    const NO_OFFER: &[u8] =
        b"250-mail.example.com\r\n250-AUTH PLAIN LOGIN CRAM-MD5\r\n250 SIZE\r\n";
    const MAIL: &[u8] = b"MAIL FROM:<a@example.com>\r\n";
    const OK: &[u8] = b"250 2.1.0 Ok\r\n";
    const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
    const SERVER_HELLO: &[u8] = b"\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03";

    fn begun(lines: &[Line<'_>]) -> Heard {
        hear(&Smtp, &[&[(S, GREETING), (C, EHLO)][..], lines].concat())
    }

    #[test]
    fn what_each_side_says_alone() {
        let client: [(&[u8], Option<bool>); 14] = [
            (EHLO, Some(true)),
            (b"helo x\r\n", Some(true)),
            (b"MAIL FROM:<a@b>\r\n", Some(true)),
            (b"EHLO", None),
            (b"QUIT\r\n", None),
            (b"QUIT\r\nQUIT\r\n", None),
            (b"EHLO\r\n", None),
            (b"EHLOX y\r\n", Some(false)),
            (b"LHLO x\r\n", Some(false)),
            (b"AUTH TLS\r\n", Some(false)),
            (b"USER bob\r\n", Some(false)),
            (b"EHLO \x01\r\n", Some(false)),
            (b"GET / HTTP/1.1\r\n", Some(false)),
            (b"\x16\x03\x01\x02\x00\x01\x00", Some(false)),
        ];
        for (bytes, expected) in client {
            assert_eq!(answer(probe_side(&Smtp, C, bytes)), expected, "{}", bytes.escape_ascii());
        }
        let server: [(&[u8], Option<bool>); 11] = [
            (GREETING, Some(true)),
            (b"220-x ready\r\n220 y SMTP\r\n", Some(true)),
            (b"220 x\r\n250-x\r\n", Some(true)),
            (b"220 x\r\n250 x\r\n", Some(true)),
            (b"220 x ready\r\n", None),
            (b"220 mail ESMTP", None),
            (b"220 x\r\n331 Password\r\n", None),
            (b"220 FTP server\r\n250 x\r\n", None),
            (b"220 x LMTP\r\n250-x\r\n", None),
            (b"+OK POP3\r\n", None),
            (b"HTTP/1.1 220 SMTP\r\n", None),
        ];
        for (bytes, expected) in server {
            assert_eq!(answer(probe_side(&Smtp, S, bytes)), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_greeting_that_could_be_ftp_needs_the_client() {
        let heard = |client: &[u8], server: &[u8]| {
            hear(&Smtp, &[(C, client), (S, server)]).matched.is_some()
        };
        assert!(heard(EHLO, b"220 ready\r\n"));
        assert!(heard(b"VRFY bob\r\n", b"220 ready\r\n"));
        assert!(!heard(b"QUIT\r\n", b"220 ready\r\n"));
        assert!(heard(b"QUIT\r\n", GREETING));
        assert!(!heard(b"USER bob\r\n", GREETING));
    }

    #[test]
    fn tls_begins_on_both_sides_behind_the_answer() {
        let heard = begun(&[
            (S, OFFER),
            (C, b"STARTTLS\r\n"),
            (S, b"220 2.0.0 Ready\r\n"),
            (C, CLIENT_HELLO),
        ]);
        let client = EHLO.len() + 10;
        let server = GREETING.len() + OFFER.len() + 17;
        assert_eq!(heard.layer, Some((Some("smtp-starttls"), Some(client), Some(server))));
        assert_eq!(heard.encryption, None);

        let heard = hear(&Smtp, &[(C, EHLO), (C, b"STARTTLS\r\n"), (C, CLIENT_HELLO)]);
        assert_eq!(heard.layer, Some((Some("smtp-starttls"), Some(client), None)), "client alone");
        let lines = [(S, GREETING), (S, OFFER), (S, b"220 2.0.0 Ready\r\n"), (S, SERVER_HELLO)];
        let heard = hear(&Smtp, &lines);
        assert_eq!(heard.layer, Some((Some("smtp-starttls"), None, Some(server))), "server alone");
    }

    #[test]
    fn a_greeting_grants_nothing() {
        let lines: [Line<'_>; 4] =
            [(S, b"220-mail ESMTP\r\n220 ready\r\n"), (C, EHLO), (S, OFFER), (C, MAIL)];
        for start in [Start::Known, Start::Unknown] {
            let heard = hear_from(&Smtp, &lines, start);
            assert_eq!((heard.layer, heard.reason), (None, Some(PlaintextReason::ClientDeclined)));
        }
        let heard = begun(&[(S, OFFER), (C, b"XCLIENT NAME=x\r\n"), (S, GREETING), (C, EHLO)]);
        assert_eq!(heard.layer, None);
    }

    #[test]
    fn why_it_is_in_clear() {
        let cases: [(&str, Heard, PlaintextReason); 6] = [
            ("offered", begun(&[(S, OFFER), (C, MAIL), (S, OK)]), PlaintextReason::ClientDeclined),
            ("no offer", begun(&[(S, NO_OFFER), (C, MAIL)]), PlaintextReason::ServerRefused),
            (
                "refused",
                begun(&[
                    (S, OFFER),
                    (C, b"STARTTLS\r\n"),
                    (S, b"454 4.7.0 TLS not available\r\n"),
                    (C, MAIL),
                ]),
                PlaintextReason::ServerRefused,
            ),
            (
                "HELO",
                hear(&Smtp, &[(S, GREETING), (C, b"HELO x\r\n"), (S, b"250 x\r\n"), (C, MAIL)]),
                PlaintextReason::ClientNeverAsked,
            ),
            (
                "client alone",
                hear(&Smtp, &[(C, EHLO), (C, MAIL)]),
                PlaintextReason::ClientNeverAsked,
            ),
            ("no mail", begun(&[(S, OFFER), (C, b"QUIT\r\n")]), PlaintextReason::ClientDeclined),
        ];
        for (what, heard, reason) in cases {
            assert_eq!(heard.encryption, Some(Encryption::Plaintext), "{what}");
            assert_eq!(heard.reason, Some(reason), "{what}");
        }
        let refused = begun(&[(S, OFFER), (C, b"STARTTLS\r\n"), (S, b"502 5.5.1 no\r\n")]);
        assert!(refused.refused && refused.encryption.is_none(), "the client may yet leave");
    }

    #[test]
    fn logins() {
        let hash = Credentials::PASSWORD_HASH_CHALLENGE;
        let wait: &[u8] = b"334 \r\n";
        let done: &[u8] = b"235 2.7.0 ok\r\n";
        let plain: &[u8] = b"AUTH PLAIN AGEAYg==\r\n";
        let cases: [(&[Line<'_>], Credentials); 7] = [
            (&[(C, plain), (S, done)], Credentials::SASL_PLAIN),
            (
                &[(C, b"AUTH PLAIN\r\n"), (S, wait), (C, b"AGEAYg==\r\n"), (S, done)],
                Credentials::SASL_PLAIN,
            ),
            (
                &[
                    (C, b"AUTH LOGIN\r\n"),
                    (S, wait),
                    (C, b"Ym9i\r\n"),
                    (S, wait),
                    (C, b"c2VjcmV0\r\n"),
                    (S, done),
                ],
                Credentials::SASL_PLAIN,
            ),
            (
                &[(C, b"AUTH LOGIN\r\n"), (S, wait), (C, b"Ym9i\r\n"), (S, wait), (C, b"*\r\n")],
                Credentials::NONE,
            ),
            (
                &[(C, b"AUTH CRAM-MD5\r\n"), (S, b"334 PDE+\r\n"), (C, b"Ym9iIDEy\r\n"), (S, done)],
                hash,
            ),
            (&[(C, b"AUTH XOAUTH2 dXNlcj1h\r\n"), (S, done)], Credentials::BEARER_TOKEN),
            (&[(C, b"AUTH PLAIN\r\n"), (S, b"504 no\r\n"), (C, b"QUIT\r\n")], Credentials::NONE),
        ];
        for (lines, credentials) in cases {
            let heard = begun(&[&[(S, NO_OFFER)][..], lines].concat());
            assert_eq!(heard.credentials, credentials, "{}", lines[0].1.escape_ascii());
            assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        }
        let wrong = begun(&[(S, NO_OFFER), (C, plain), (S, b"535 5.7.8 no\r\n"), (C, b"QUIT\r\n")]);
        assert!(wrong.refused && wrong.credentials == Credentials::SASL_PLAIN);
        let body =
            [(C, EHLO), (C, MAIL), (C, b"DATA\r\n"), (C, b"\r\nAUTH PLAIN AGEAYg==\r\n.\r\n")];
        assert_eq!(hear(&Smtp, &body).credentials, Credentials::NONE, "words in a mail");
    }

    #[test]
    fn refusals_and_strangers() {
        let heard = hear(&Smtp, &[(S, b"554 no service\r\n"), (C, EHLO)]);
        assert!(heard.refused && heard.fits == [true, true]);
        let heard = hear(&Smtp, &[(C, EHLO), (S, b"SSH-2.0-OpenSSH_9.2\r\n")]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
        let heard = hear(&Smtp, &[(S, GREETING), (C, CLIENT_HELLO)]);
        assert_eq!((heard.layer, heard.fits[0]), (None, false));
    }

    #[test]
    fn a_late_view_needs_an_envelope_or_an_offer() {
        let late =
            |side, bytes| hear_from(&Smtp, &[(side, bytes)], Start::Unknown).matched.is_some();
        assert!(late(C, b"RCPT TO:<bob@example.com>\r\n"));
        assert!(late(S, b"250-PIPELINING\r\n"));
        assert!(!late(C, b"RCPT TO: somebody\r\n"));
        assert!(!late(C, b"QUIT\r\n"));
        assert!(!late(S, b"250 2.1.0 Ok\r\n"));
        assert!(!late(C, b"om:<a@b>\r\nMAIL FROM:<a@b>\r\n"));
    }
}
