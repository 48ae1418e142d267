//! FTP control connections. <https://www.rfc-editor.org/rfc/rfc959>, AUTH TLS: RFC 4217.
//!
//! The server greets with `220` as SMTP's does: the word `FTP`, its next reply or the client's commands tell. Data run on
//! connections of their own, in any form.
use super::lines::{
    self, Dialect, Fit, Means, Names, Place, Proves, Rest, Row, Talk, contains, may_be_reply,
    reply, words,
};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Ftp;

impl Detector for Ftp {
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

impl Dialect for Ftp {
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
}

fn command(place: Place, line: &[u8]) -> Fit {
    match lines::fit(COMMANDS, line, place.whole) {
        // IRC's has four parameters.
        Fit::Weak("USER") if place.whole && words(line).count() > 2 && line.contains(&b':') => {
            Fit::No
        }
        Fit::Own("PORT") if place.whole && !host_port(line.get(5..).unwrap_or_default()) => Fit::No,
        Fit::Own("SYST" | "PWD" | "FEAT" | "PASV") if place.nth == 0 => Fit::Weak("SYST"),
        Fit::Own(word) if place.late && !matches!(word, "EPRT |" | "AUTH TLS" | "PORT") => Fit::No,
        fit => fit,
    }
}

fn status(place: Place, line: &[u8]) -> Fit {
    if !place.whole {
        let first = place.nth == 0 && !place.late;
        let codes: &[&str] =
            if first { &["220", "120", "421", "530"] } else { &["2", "3", "4", "5", "1"] };
        // Lines between the first and the last of a reply are free text.
        let free = place.nth > 0 && !line.is_empty();
        return if free || may_be_reply(line, codes) { Fit::Open } else { Fit::No };
    }
    let Some((code, _, text)) = reply(line) else {
        return if place.nth > 0 { Fit::Shared } else { Fit::No };
    };
    let passive = code == 227 && contains(text, b"Passive Mode") && host_port(after(text, b'('));
    let extended = code == 229 && contains(text, b"(|||");
    let mail = contains(text, b"SMTP") || contains(text, b"LMTP");
    let named = contains(text, b"FTP");
    match code {
        227 if passive => Fit::Own("227 Passive"),
        229 if extended => Fit::Own("229 Passive"),
        _ if place.late => Fit::No,
        220 if mail && named => Fit::Weak("220"),
        220 if mail && place.nth == 0 => Fit::No,
        220 if named => Fit::Own("220 FTP"),
        220 | 120 | 421 | 530 if place.nth == 0 => Fit::Weak("220"),
        331 | 332 | 230 | 234 | 215 | 257 | 211 if place.nth > 0 => Fit::Own("220 331"),
        _ if place.nth > 0 => Fit::Shared,
        _ => Fit::No,
    }
}

/// `h1,h2,h3,h4,p1,p2` (RFC 959 section 4.1.2).
fn host_port(text: &[u8]) -> bool {
    let end = text.iter().position(|b| !b.is_ascii_digit() && *b != b',').unwrap_or(text.len());
    let numbers = text.get(..end).unwrap_or_default();
    numbers.split(|b| *b == b',').filter(|n| (1..=3).contains(&n.len())).count() == 6
}

fn after(text: &[u8], byte: u8) -> &[u8] {
    let at = text.iter().position(|b| *b == byte).map_or(text.len(), |at| at.saturating_add(1));
    text.get(at..).unwrap_or_default()
}

fn hear_client(talk: &mut Talk<'_>, line: &[u8]) -> Means {
    let Some((word, means)) = lines::meaning(COMMANDS, line) else { return Means::Nothing };
    let argument = words(line).nth(1).unwrap_or_default();
    match word {
        "USER" => {
            let open = [&b"anonymous"[..], b"ftp"].iter().any(|n| n.eq_ignore_ascii_case(argument));
            *talk.note() = if open { ANONYMOUS } else { NAMED };
            means
        }
        // What an anonymous client sends as a password is its address.
        "PASS" if *talk.note() != NAMED => Means::Uses,
        _ => means,
    }
}

fn hear_server(talk: &mut Talk<'_>, line: &[u8]) -> Means {
    let greeting = talk.is_greeting();
    let feature = line.strip_prefix(b" ").unwrap_or_default();
    if feature.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH ")) {
        let tls = contains(feature, b"TLS") || contains(feature, b"SSL");
        return if tls { Means::Offers } else { Means::Fits };
    }
    let Some((code, more, _)) = reply(line) else { return Means::Nothing };
    match code {
        _ if more => Means::Fits,
        211 if talk.listing() => Means::Listed,
        234 => Means::Grants,
        120 | 421 | 530 if greeting => Means::Refuses("no service"),
        400.. if talk.asked() => Means::Denies,
        230 | 150 | 226 | 227 | 229 | 250 | 257 => Means::Accepts,
        421 => Means::Refuses("421"),
        // Before a login: not logged in, or not without TLS; other errors are of commands.
        530 | 532 | 534 | 550 => Means::Refuses("530"),
        100.. => Means::Fits,
        _ => Means::Nothing,
    }
}

const SECRET: Means = Means::Secret(Credentials::PASSWORD_CLEARTEXT, "PASS");

const COMMANDS: &[Row] = &[
    ("AUTH TLS", Rest::End, Proves::Own, Means::Asks),
    ("AUTH TLS-C", Rest::End, Proves::Own, Means::Asks),
    ("AUTH TLS-P", Rest::End, Proves::Own, Means::Asks),
    ("AUTH SSL", Rest::End, Proves::Own, Means::Asks),
    ("AUTH GSSAPI", Rest::End, Proves::Weak, Means::Fits),
    ("USER", Rest::Argument, Proves::Weak, Means::Fits),
    ("PASS", Rest::Any, Proves::Weak, SECRET),
    ("ACCT", Rest::Argument, Proves::Weak, SECRET),
    ("FEAT", Rest::End, Proves::Own, Means::Lists),
    ("SYST", Rest::End, Proves::Own, Means::Fits),
    ("OPTS UTF8", Rest::Free, Proves::Own, Means::Fits),
    ("CLNT", Rest::Argument, Proves::Weak, Means::Fits),
    ("HOST", Rest::Argument, Proves::Weak, Means::Fits),
    ("PBSZ", Rest::Argument, Proves::Weak, Means::Fits),
    ("PROT", Rest::Argument, Proves::Weak, Means::Fits),
    ("PWD", Rest::End, Proves::Own, Means::Uses),
    ("XPWD", Rest::End, Proves::Own, Means::Uses),
    ("PASV", Rest::End, Proves::Own, Means::Uses),
    ("EPSV", Rest::Any, Proves::Own, Means::Uses),
    ("PORT", Rest::Argument, Proves::Own, Means::Uses),
    ("EPRT |", Rest::Free, Proves::Own, Means::Uses),
    ("TYPE", Rest::Argument, Proves::Weak, Means::Uses),
    ("CWD", Rest::Argument, Proves::Weak, Means::Uses),
    ("CDUP", Rest::End, Proves::Weak, Means::Uses),
    ("MKD", Rest::Argument, Proves::Weak, Means::Uses),
    ("SIZE", Rest::Argument, Proves::Weak, Means::Uses),
    ("MDTM", Rest::Argument, Proves::Weak, Means::Uses),
    ("MLSD", Rest::Any, Proves::Weak, Means::Uses),
    ("NLST", Rest::Any, Proves::Weak, Means::Uses),
    ("STOR", Rest::Argument, Proves::Weak, Means::Uses),
    ("RETR", Rest::Argument, Proves::Shared, Means::Uses),
    ("LIST", Rest::Any, Proves::Shared, Means::Uses),
    ("DELE", Rest::Argument, Proves::Shared, Means::Uses),
    ("SITE", Rest::Argument, Proves::Shared, Means::Uses),
    ("STAT", Rest::Any, Proves::Shared, Means::Uses),
    ("NOOP", Rest::End, Proves::Shared, Means::Fits),
    ("HELP", Rest::Any, Proves::Shared, Means::Fits),
    ("QUIT", Rest::End, Proves::Shared, Means::Leaves),
];

const ANONYMOUS: u32 = 1;
const NAMED: u32 = 2;

static NAMES: Names = lines::names!("ftp", "ftp-auth-tls");

static INFO: Info = Info {
    name: "ftp",
    title: "File Transfer Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc959",
    ports: &[21],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &["ftp-auth-tls"],
    credentials: Credentials::PASSWORD_CLEARTEXT,
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
    const GREETING: &[u8] = b"220 (vsFTPd 3.0.3)\r\n";
    const USER: &[u8] = b"USER bob\r\n";
    const PASS: &[u8] = b"PASS secret\r\n";
    const ASK: &[u8] = b"331 Please specify the password.\r\n";
    const IN: &[u8] = b"230 Login successful.\r\n";
    const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";

    fn begun(lines: &[Line<'_>]) -> Heard {
        hear(&Ftp, &[&[(S, GREETING)][..], lines].concat())
    }

    #[test]
    fn what_each_side_says_alone() {
        let client: [(&[u8], Option<bool>); 10] = [
            (b"AUTH TLS\r\n", Some(true)),
            (b"EPRT |1|10.0.0.1|5282|\r\n", Some(true)),
            (b"PORT 10,0,0,1,20,33\r\n", Some(true)),
            (b"USER bob\r\nPASS x\r\nSYST\r\n", None),
            (b"FEAT\r\n", None),
            (b"PORT 21\r\n", Some(false)),
            (b"AUTH TLSsecret\r\n", Some(false)),
            (b"AUTH PLAIN\r\n", Some(false)),
            (b"EHLO x\r\n", Some(false)),
            (b"USER bob 0 * :Bob\r\n", Some(false)),
        ];
        for (bytes, expected) in client {
            assert_eq!(answer(probe_side(&Ftp, C, bytes)), expected, "{}", bytes.escape_ascii());
        }
        let server: [(&[u8], bool); 8] = [
            (GREETING, true),
            (b"220-Welcome\r\n free text\r\n220 FTP\r\n", true),
            (b"220 Welcome\r\n331 Password\r\n", true),
            (b"220 Welcome\r\n", false),
            (b"220 mail ESMTP\r\n", false),
            (b"220 x\r\n250-x\r\n", false),
            (b"331 FTP\r\n", false),
            (b"SSH-2.0-x\r\n", false),
        ];
        for (bytes, expected) in server {
            let matched = matches!(probe_side(&Ftp, S, bytes), Probe::Match(_));
            assert_eq!(matched, expected, "{}", bytes.escape_ascii());
        }
        let ended = View {
            ended: true,
            ..View::new(
                Transport::Tcp,
                Said { bytes: b"USER bob\r\nPASS x\r\nSYST\r\n", start: Start::Known },
                Said::NOTHING,
            )
        };
        assert_eq!(answer(Ftp.probe(&ended)), Some(true), "the client alone, at the end");
    }

    #[test]
    fn auth_tls() {
        let asked: &[u8] = b"AUTH TLS\r\n";
        let heard = begun(&[(C, asked), (S, b"234 go\r\n"), (C, CLIENT_HELLO)]);
        assert_eq!(heard.layer, Some((Some("ftp-auth-tls"), Some(10), Some(GREETING.len() + 8))));
        let heard = begun(&[(C, asked), (S, b"530 no\r\n"), (C, USER), (S, ASK), (C, PASS)]);
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        let features = b"211-Features:\r\n AUTH TLS\r\n EPSV\r\n211 End\r\n";
        let heard = begun(&[(C, b"FEAT\r\n"), (S, features), (C, USER), (S, ASK), (C, PASS)]);
        assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
        let heard = hear(&Ftp, &[(C, asked), (C, CLIENT_HELLO)]);
        assert_eq!(heard.layer, Some((Some("ftp-auth-tls"), Some(10), None)));
    }

    #[test]
    fn logins() {
        let clear = Credentials::PASSWORD_CLEARTEXT;
        let cases: [(&[Line<'_>], Credentials, bool); 4] = [
            (&[(C, USER), (S, ASK), (C, PASS), (S, IN)], clear, false),
            (&[(C, USER), (S, ASK), (C, PASS), (S, b"530 no\r\n")], clear, true),
            (&[(C, b"USER anonymous\r\n"), (S, ASK), (C, PASS), (S, IN)], Credentials::NONE, false),
            (&[(C, USER), (S, IN)], Credentials::NONE, false),
        ];
        for (lines, credentials, refused) in cases {
            let heard = begun(lines);
            assert_eq!((heard.credentials, heard.refused), (credentials, refused));
            assert_eq!(heard.encryption, Some(Encryption::Plaintext));
            assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
        }
    }

    #[test]
    fn a_late_view_needs_an_address() {
        let late =
            |side, bytes| hear_from(&Ftp, &[(side, bytes)], Start::Unknown).matched.is_some();
        assert!(late(S, b"227 Entering Passive Mode (10,0,0,1,156,64).\r\n"));
        assert!(late(S, b"229 Entering Extended Passive Mode (|||6446|)\r\n"));
        assert!(late(C, b"PORT 10,0,0,1,20,33\r\n"));
        assert!(!late(C, b"PASV\r\n"));
        assert!(!late(S, b"226 Transfer complete.\r\n"));
    }
}
