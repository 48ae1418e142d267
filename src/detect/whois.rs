//! WHOIS: one line asks, text answers. <https://www.rfc-editor.org/rfc/rfc3912>
//!
//! The question could be anybody's: only the words with which the known servers begin are proof.
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand, text_line},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const WHOIS: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    if heard.side == Side::Client {
        return question(&mut cursor);
    }
    // Blank lines and white space may come first.
    let rest = heard.bytes;
    let blank = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
    demand(blank < BLANK_BYTES_MAX)?;
    let said = rest.get(blank..).unwrap_or_default();
    let mut short = said.is_empty();
    for begin in BEGINNINGS {
        let known = begin.len().min(said.len());
        if said.get(..known) == begin.as_bytes().get(..known) {
            if known == begin.len() {
                let constant = begin.get(..begin.len().min(24)).unwrap_or("whois");
                return Ok(Message::proof(rest.len(), "whois.answer", constant));
            }
            short = true;
        }
    }
    Err(if short { Flaw::Short } else { Flaw::Foreign })
}

/// One line that ends in a domain, an address, an AS number or a handle.
fn question(cursor: &mut Cursor<'_>) -> Read<Message> {
    let rest = cursor.rest();
    let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
    let shown = rest.get(..end).unwrap_or(rest);
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b" .:-_/=+*@,!$%\"".contains(b) || *b >= 0x80;
    demand(end > 0 && shown.iter().all(fits))?;
    text_line(cursor, QUESTION_BYTES_MAX)?;
    let name = shown.rsplit(|b| matches!(b, b' ' | b'=')).next().unwrap_or(shown);
    let number = name.get(2..).is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit));
    let named = name.iter().any(|b| matches!(b, b'.' | b':' | b'-')) || number;
    demand(named && !name.starts_with(b"HTTP/"))?;
    Ok(Message::weak(cursor.at()))
}

const QUESTION_BYTES_MAX: usize = 255;
const BLANK_BYTES_MAX: usize = 64;
/// What registries' and registrars' servers say first.
const BEGINNINGS: [&str; 20] = [
    "% IANA WHOIS server",
    "% This is the RIPE Database query service",
    "% [whois.",
    "% This is the AfriNIC Whois server",
    "% Joint Whois",
    "% LACNIC resource: ",
    "% Copyright (c) Nic.br",
    "% Copyright (c) LACNIC",
    "% Restricted rights.",
    "% The objects are in RPSL format",
    "% WHOIS ",
    "# ARIN WHOIS data and services",
    "#\n# ARIN WHOIS data",
    "Domain Name: ",
    "Domain name:",
    "domain:       ",
    "No match for \"",
    "No match for domain",
    "Registry Domain ID: ",
    "Whois Server Version ",
];

static INFO: Info = Info {
    name: "whois",
    title: "WHOIS",
    spec: "https://www.rfc-editor.org/rfc/rfc3912",
    ports: &[43],
    transports: &[Transport::Tcp],
    directions: Directions::Server,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream};

    #[test]
    fn the_answer_tells() {
        let cases: [(&[u8], &[u8], bool); 7] = [
            (b"example.com\r\n", b"   Domain Name: EXAMPLE.COM\r\n   Registry", true),
            (b"-B 193.0.0.1\r\n", b"% This is the RIPE Database query service.\n", true),
            (b"domain =example.com\r\n", b"No match for \"X\".\r\n", true),
            (b"AS3333\n", b"\n#\n# ARIN WHOIS data and services are", true),
            (b"example.com\r\n", b"HTTP/1.1 400 Bad Request\r\n", false),
            (b"GET / HTTP/1.0\r\n\r\n", b"% IANA WHOIS server\n", false),
            (b"help\r\n", b"% IANA WHOIS server\n", false),
        ];
        for (ask, tell, expected) in cases {
            let heard = hear_streams(&WHOIS, &[(C, ask), (S, tell)]);
            assert_eq!(heard.matched.is_some(), expected, "{}", ask.escape_ascii());
            assert_eq!(heard.fits, [expected; 2]);
            assert_ne!(stream(&WHOIS, C, ask), Some(true), "a question proves nothing");
        }
        assert_eq!(stream(&WHOIS, S, b"% IANA WHOIS server\n"), Some(true));
        assert_eq!(late(&WHOIS, S, b"% IANA WHOIS server\n"), None);
    }

    #[test]
    fn nothing_else_is_whois() {
        is_choosy(&WHOIS, &[b"% ", b"example.com\r\n"]);
    }
}
