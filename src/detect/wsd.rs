//! WS-Discovery: SOAP over UDP. <https://docs.oasis-open.org/ws-dd/discovery/1.1/wsdd-discovery-1.1-spec.html>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info};
use crate::{
    bytes::{Cursor, holds, is_text},
    detect::Info,
};

pub(super) struct Wsd;

impl Grammar for Wsd {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut c = Cursor::new(text);
        demand!(c.u8()? == b'<' && matches!(c.u8()?, b'?' | b'a'..=b'z' | b'A'..=b'Z'));
        let has = |word: &[u8]| holds(text, word);
        demand!(is_text(text) && has(b":Envelope") && has(b"MessageID"));
        let Some((_, constant)) = NAMESPACES.iter().find(|(n, _)| has(n.as_bytes())) else {
            return Ok(None);
        };
        Ok(Some(Message::new(bytes.len(), 99, "wsd.envelope", constant)))
    }
}

/// Namespaces, and how evidence names them.
const NAMESPACES: [(&str, &str); 2] = [
    ("http://schemas.xmlsoap.org/ws/2005/04/discovery", "ws/2005/04/discovery"),
    ("http://docs.oasis-open.org/ws-dd/ns/discovery/2009/01", "ws-dd/ns/discovery"),
];

static INFO: Info = Info {
    midstream: true,
    ..info(
        "wsd",
        "Web Services Dynamic Discovery",
        "https://docs.oasis-open.org/ws-dd/discovery/1.1/wsdd-discovery-1.1-spec.html",
        &[3702],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, hear_udp, proves_udp};
    use super::*;
    use crate::detect::Detector;
    use crate::model::Transport;

    fn envelope(namespace: &str, body: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
             xmlns:d=\"{namespace}\"><s:Header><a:MessageID>urn:uuid:1</a:MessageID></s:Header>\
             <s:Body>{body}</s:Body></s:Envelope>"
        )
        .into_bytes()
    }

    #[test]
    fn an_envelope_of_the_namespace() {
        let probe = envelope(NAMESPACES[0].0, "<d:Probe/>");
        let answer = envelope(NAMESPACES[1].0, "<d:ProbeMatches/>");
        for (side, bytes) in [(C, &probe), (S, &answer)] {
            let heard = super::super::grammar::bench::probe_udp(&Wsd, side, &[bytes]);
            assert!(matches!(heard, crate::detect::Probe::Match(_)));
        }
        proves_udp(&Wsd, &[]);
        assert_eq!(Wsd.info().name, "wsd");
        assert_eq!(hear_udp(&Wsd, &[(C, &probe), (S, &answer)]).fits, [true, true]);
        denies(
            &Wsd,
            Transport::Udp,
            &[
                ("other SOAP", &envelope("http://example.com/", "<d:Probe/>")),
                ("not text", &envelope(NAMESPACES[0].0, "\u{1}")),
                ("JSON", b"{\"Envelope\": 1}"),
            ],
        );
    }
}
