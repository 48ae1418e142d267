//! XMPP streams of clients and servers. <https://www.rfc-editor.org/rfc/rfc6120>
//!
//! Each side opens an XML stream whose namespaces name the protocol. What is read are tags with the text before them: one
//! unit is everything up to a `>`.
use super::lines::{
    self, Dialect, Fit, Means, Mechanism, Names, Place, Proves, Response, Rest, Row, Talk,
    contains, mechanism,
};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::{
    bytes::{Short, find, is_text},
    model::{Credentials, Side, Transport},
};

pub(super) struct Xmpp;

impl Detector for Xmpp {
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

impl Dialect for Xmpp {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn fit(&self, place: Place, unit: &[u8]) -> Fit {
        if place.nth > 0 {
            return Fit::Shared;
        }
        let unit = unit.trim_ascii_start();
        let tag = match prolog(unit) {
            Ok(at) => unit.get(at..).unwrap_or_default().trim_ascii_start(),
            // The prolog is still being said.
            Err(Short) => return Fit::Open,
        };
        match lines::fit(HEADERS, tag, place.whole) {
            Fit::Own(_) if NAMESPACES.iter().any(|name| contains(tag, name)) => {
                Fit::Own("etherx.jabber.org")
            }
            Fit::Own(_) => Fit::No,
            fit => fit,
        }
    }

    fn hear(&self, talk: &mut Talk<'_>, side: Side, unit: &[u8]) -> Means {
        let at = unit.iter().position(|b| *b == b'<').unwrap_or(0);
        let (text, tag) = unit.split_at_checked(at).unwrap_or_default();
        match side {
            Side::Client => hear_client(text, tag),
            Side::Server => hear_server(talk, tag),
        }
    }

    /// A message is the text of its element.
    fn response(&self, _: Mechanism, unit: &[u8]) -> Response {
        let unit = unit.trim_ascii_start();
        let ends = [&b"</auth>"[..], b"</response>", b"</initial-response>"];
        match unit.first() {
            _ if unit.starts_with(b"<abort") => Response::Abort,
            Some(first) if *first != b'<' && ends.iter().any(|end| unit.ends_with(end)) => {
                Response::Message
            }
            _ if unit.starts_with(b"<response") && unit.ends_with(b"/>") => Response::Message,
            _ if OTHERS.iter().any(|tag| unit.starts_with(tag)) => Response::Command,
            _ => Response::Part,
        }
    }

    fn is_unreadable(&self, bytes: &[u8]) -> bool {
        // A tag may have lines, and ends at its bracket.
        bytes.first().is_some_and(|first| !is_text(&[*first]))
    }

    /// A tag and the text before it; a prolog belongs to the tag after it.
    fn unit(&self, bytes: &[u8]) -> Result<usize, Short> {
        let start = bytes.len().saturating_sub(bytes.trim_ascii_start().len());
        let from = start.saturating_add(prolog(bytes.trim_ascii_start())?);
        let rest = bytes.get(from..).unwrap_or_default();
        let at = rest.iter().position(|b| *b == b'>').ok_or(Short)?;
        // White space after a tag belongs to it: some end their lines so.
        let end = from.saturating_add(at).saturating_add(1);
        Ok(end)
    }
}

/// Length of an XML declaration; 0 if there is none.
fn prolog(bytes: &[u8]) -> Result<usize, Short> {
    if !b"<?xml".iter().zip(bytes).all(|(a, b)| a == b) || bytes.is_empty() {
        return Ok(0);
    }
    if bytes.len() <= 5 {
        return if bytes == b"<" { Ok(0) } else { Err(Short) };
    }
    let end = find(bytes, b"?>");
    end.map(|at| at.saturating_add(2)).ok_or(Short)
}

fn hear_client(text: &[u8], tag: &[u8]) -> Means {
    let secret = !text.trim_ascii().is_empty();
    match tag {
        // Non-SASL authentication (XEP-0078), component handshake (XEP-0114).
        b"</password>" if secret => Means::Secret(Credentials::PASSWORD_CLEARTEXT, "password"),
        b"</digest>" | b"</handshake>" if secret => {
            Means::Secret(Credentials::PASSWORD_HASH_CHALLENGE, "digest")
        }
        _ if tag.starts_with(b"<starttls") => Means::Asks,
        _ if tag.starts_with(b"<auth") => {
            let name = attribute(tag, b"mechanism=").and_then(mechanism);
            name.map_or(Means::Uses, |mechanism| Means::Sasl { mechanism, given: 0 })
        }
        _ if OTHERS.iter().any(|start| tag.starts_with(start)) => Means::Uses,
        b"</stream:stream>" => Means::Leaves,
        _ => Means::Fits,
    }
}

fn hear_server(talk: &Talk<'_>, tag: &[u8]) -> Means {
    match tag {
        _ if tag.starts_with(b"<starttls") => Means::Offers,
        b"</stream:features>" => Means::Listed,
        _ if tag.starts_with(b"<proceed") => Means::Grants,
        _ if tag.starts_with(b"<failure") && talk.asked() => Means::Denies,
        _ if tag.starts_with(b"<failure") => Means::Refuses("failure"),
        _ if tag.starts_with(b"<stream:error") => Means::Refuses("stream:error"),
        _ if tag.starts_with(b"<success") => Means::Accepts,
        _ if [&b"<message"[..], b"<presence"].iter().any(|start| tag.starts_with(start)) => {
            Means::Accepts
        }
        _ if tag.starts_with(b"<db:verify") || tag.starts_with(b"<db:result") => Means::Accepts,
        _ => Means::Fits,
    }
}

/// Value of an attribute, between the quotes behind `name`.
fn attribute<'a>(tag: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = find(tag, name)?;
    let (quote, rest) = tag.get(at.checked_add(name.len())?..)?.split_first()?;
    let end = rest.iter().position(|b| b == quote)?;
    matches!(quote, b'"' | b'\'').then_some(rest.get(..end)?)
}

const HEADERS: &[Row] = &[
    ("<stream:stream", Rest::Argument, Proves::Own, Means::Fits),
    ("<stream:stream\n", Rest::Free, Proves::Own, Means::Fits),
    ("<stream ", Rest::Free, Proves::Own, Means::Fits),
    ("<flash:stream", Rest::Argument, Proves::Own, Means::Fits),
];

const NAMESPACES: [&[u8]; 3] =
    [b"http://etherx.jabber.org/streams", b"jabber:client", b"jabber:server"];

/// Tags by which a client goes on in clear.
const OTHERS: [&[u8]; 6] = [b"<iq", b"<message", b"<presence", b"<db:", b"<handshake", b"<enable"];

static NAMES: Names = lines::names!("xmpp", "xmpp-starttls");

static INFO: Info = Info {
    name: "xmpp",
    title: "Extensible Messaging and Presence Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc6120",
    ports: &[5222, 5269],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &["xmpp-starttls"],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::SASL_PLAIN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{Heard, Line, hear, probe_side};
    use crate::model::{Encryption, PlaintextReason};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const OPEN: &[u8] =
        b"<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client' \
        xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
    const TLS: &[u8] = b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>\
        </starttls></stream:features>";
    const NO_TLS: &[u8] = b"<stream:features><mechanisms><mechanism>PLAIN</mechanism></mechanisms>\
        </stream:features>";
    const ASK: &[u8] = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    const AUTH: &[u8] =
        b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>";

    fn begun(lines: &[Line<'_>]) -> Heard {
        hear(&Xmpp, &[&[(C, OPEN), (S, OPEN)][..], lines].concat())
    }

    #[test]
    fn a_stream_header_proves_either_side() {
        let cases: [(&[u8], Option<bool>); 9] = [
            (OPEN, Some(true)),
            (b"<stream:stream xmlns:stream=\"http://etherx.jabber.org/streams\">", Some(true)),
            (b"<?xml version='1.0'?>\n<stream:stream\nxmlns='jabber:server'>", Some(true)),
            (b"<?xml version='1.0'?>", None),
            (b"<stream:stream xmlns='jabber:client'", None),
            (b"<stream:stream>", Some(false)),
            (b"<stream:stream to='x'>", Some(false)),
            (b"<?xml version='1.0'?><soap:Envelope>", Some(false)),
            (b"<34>Oct 11 22:14:15 host su: x\n", Some(false)),
        ];
        for (bytes, expected) in cases {
            let answer = match probe_side(&Xmpp, C, bytes) {
                Probe::More => None,
                answer => Some(matches!(answer, Probe::Match(_))),
            };
            assert_eq!(answer, expected, "{}", bytes.escape_ascii());
        }
        assert!(matches!(probe_side(&Xmpp, S, OPEN), Probe::Match(_)));
    }

    #[test]
    fn starttls() {
        let heard = begun(&[(S, TLS), (C, ASK), (S, b"<proceed xmlns='urn:x'/>")]);
        let server = OPEN.len() + TLS.len() + 24;
        assert_eq!(
            heard.layer,
            Some((Some("xmpp-starttls"), Some(OPEN.len() + ASK.len()), Some(server)))
        );
        assert_eq!(heard.encryption, None);
        let heard = begun(&[(S, TLS), (C, ASK), (S, b"<failure xmlns='urn:x'/></stream:stream>")]);
        assert!(heard.refused && heard.layer.is_none());
    }

    #[test]
    fn logins() {
        let cases: [(&[Line<'_>], Credentials, PlaintextReason); 4] = [
            (&[(S, NO_TLS), (C, AUTH), (S, b"<success xmlns='x'/>")], Credentials::SASL_PLAIN, PlaintextReason::ServerRefused),
            (&[(S, TLS), (C, AUTH)], Credentials::SASL_PLAIN, PlaintextReason::ClientDeclined),
            (&[(C, b"<auth mechanism='SCRAM-SHA-1'>biws</auth>"), (S, b"<challenge>eA==</challenge>"), (C, b"<response xmlns='x'>Yz1i</response>")], Credentials::PASSWORD_HASH_CHALLENGE, PlaintextReason::ClientNeverAsked),
            (&[(C, b"<iq type='set'><query xmlns='jabber:iq:auth'><username>a</username><password>b</password></query></iq>")], Credentials::PASSWORD_CLEARTEXT, PlaintextReason::ClientNeverAsked),
        ];
        for (lines, credentials, reason) in cases {
            let heard = begun(lines);
            assert_eq!((heard.credentials, heard.reason), (credentials, Some(reason)));
            assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        }
        let heard = begun(&[
            (S, NO_TLS),
            (C, AUTH),
            (S, b"<failure xmlns='x'><not-authorized/></failure>"),
        ]);
        assert!(heard.refused);
    }
}
