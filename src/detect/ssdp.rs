//! SSDP, discovery for `UPnP`. <https://openconnectivity.org/upnp-specs/UPnP-arch-DeviceArchitecture-v2.0-20200417.pdf>
//!
//! Requests go to a group, answers come from elsewhere: they are flows of their own.
use super::fit::datagram;
use super::headline::{Grammar, whole};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View, lines};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Ssdp;

impl Detector for Ssdp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        datagram(view, |side, bytes| match side {
            Side::Client => whole(GRAMMAR.request(side, bytes)),
            Side::Server => {
                let has = |name| lines::contains(bytes, name);
                whole(GRAMMAR.status(side, bytes)).filter(|_| has(b"\r\nUSN:") || has(b"\r\nST:"))
            }
        })
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        GRAMMAR.follow(state, side, said)
    }
}

static GRAMMAR: Grammar = Grammar {
    methods: &[b"M-SEARCH ", b"NOTIFY "],
    targets: &[b"* HTTP/"],
    ends: &[b" HTTP/1.1", b" HTTP/1.0"],
    statuses: &[b"HTTP/1.1 ", b"HTTP/1.0 "],
    rules: ["ssdp.request-line", "ssdp.status-line", "ssdp.authorization"],
    constant: "HTTP/1",
};

static INFO: Info = Info {
    name: "ssdp",
    title: "SSDP (UPnP discovery)",
    spec: "https://openconnectivity.org/developer/specifications/upnp-resources/upnp/",
    ports: &[1900],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Start;

    fn probe(client: &[u8], server: &[u8]) -> Probe {
        let datagram = |bytes: &[u8]| match bytes {
            [] => Vec::new(),
            _ => [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat(),
        };
        let (client, server) = (datagram(client), datagram(server));
        let said = |bytes| Said { bytes, start: Start::Known };
        Ssdp.probe(&View::new(Transport::Udp, said(&client), said(&server)))
    }

    #[test]
    fn searches_announcements_and_answers() {
        let search = b"M-SEARCH * HTTP/1.1\r\nST: ssdp:all\r\nMX: 1\r\n\r\n";
        let answer = b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nUSN: uuid:1\r\n\r\n";
        assert!(matches!(probe(search, b""), Probe::Match(_)));
        assert!(matches!(
            probe(b"NOTIFY * HTTP/1.1\r\nNTS: ssdp:alive\r\n\r\n", b""),
            Probe::Match(_)
        ));
        assert!(matches!(probe(b"", answer), Probe::Match(_)));
        assert_eq!(probe(b"GET / HTTP/1.1\r\n\r\n", b""), Probe::No);
        assert_eq!(probe(b"", b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"), Probe::More);
        assert_eq!(probe(answer, b""), Probe::No);
    }
}
