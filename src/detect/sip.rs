//! SIP over UDP and TCP. <https://www.rfc-editor.org/rfc/rfc3261#section-7>
use super::fit::either;
use super::headline::{Grammar, is_keep_alive, whole};
use super::{Detector, Directions, FollowState, Info, Match, Probe, Said, Step, View};
use crate::model::{Credentials, Mark, Side, Transport};

pub(super) struct Sip;

impl Detector for Sip {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Udp {
            return either(view, |side, said| match side {
                Side::Client => GRAMMAR.request(side, said.bytes),
                Side::Server => GRAMMAR.line(side, said.bytes),
            });
        }
        let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
        let mut at = 2_usize;
        for datagram in view.side(side).datagrams() {
            if !is_keep_alive(datagram) {
                let fit = match side {
                    Side::Client => GRAMMAR.request(side, datagram),
                    Side::Server => GRAMMAR.line(side, datagram),
                };
                let found =
                    whole(fit).map(|mark| Mark { offset: u32::try_from(at).unwrap_or(0), ..mark });
                return match (found, side) {
                    (Some(mark), _) => Match::plaintext(mark),
                    (None, Side::Client) => Probe::No,
                    (None, Side::Server) => Probe::More,
                };
            }
            at = at.saturating_add(datagram.len()).saturating_add(2);
        }
        Probe::More
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        GRAMMAR.follow(state, side, said)
    }
}

static GRAMMAR: Grammar = Grammar {
    methods: &[
        b"INVITE ",
        b"ACK ",
        b"BYE ",
        b"CANCEL ",
        b"REGISTER ",
        b"OPTIONS ",
        b"INFO ",
        b"MESSAGE ",
        b"NOTIFY ",
        b"PRACK ",
        b"PUBLISH ",
        b"REFER ",
        b"SUBSCRIBE ",
        b"UPDATE ",
    ],
    targets: &[b"sip:", b"sips:", b"tel:", b"urn:"],
    ends: &[b" SIP/2.0"],
    statuses: &[b"SIP/2.0 "],
    rules: ["sip.request-line", "sip.status-line", "sip.authorization"],
    constant: "SIP/2.0",
};

static INFO: Info = Info {
    name: "sip",
    title: "Session Initiation Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc3261",
    ports: &[5060],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE
        .with(Credentials::BASIC_AUTH)
        .with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{hear, hear_from, probe_side},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const REGISTER: &[u8] = b"REGISTER sip:a SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 0\r\n\r\n";
    const LOGIN: &[u8] =
        b"REGISTER sip:a SIP/2.0\r\nAuthorization: Digest username=\"u\"\r\nContent-Length: 4\r\n\r\nbody";

    /// A datagram as `Said` holds it.
    fn datagram(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    #[test]
    fn start_lines_prove_it() {
        let cases: [(&[u8], bool, bool); 8] = [
            (REGISTER, true, true),
            (b"OPTIONS sip:a@b SIP/2.0\r\n", true, true),
            (b"SIP/2.0 200 OK\r\n", false, true),
            (b"OPTIONS * HTTP/1.1\r\n", false, false),
            (b"OPTIONS sip:a HTTP/1.1\r\n", false, false),
            (b"SIP/3.0 200 OK\r\n", false, false),
            (b"INFO {\"server_id\":1}\r\n", false, false),
            (b"\x16\x03\x01\x02\x00", false, false),
        ];
        for (bytes, client, server) in cases {
            let matches = |side| matches!(probe_side(&Sip, side, bytes), Probe::Match(_));
            assert_eq!((matches(C), matches(S)), (client, server), "{}", bytes.escape_ascii());
        }
        assert!(hear_from(&Sip, &[(C, REGISTER)], Start::Unknown).matched.is_some());
    }

    #[test]
    fn a_keep_alive_may_come_before_the_first_datagram() {
        let probe = |client: &[u8], server: &[u8]| {
            let said = |bytes| Said { bytes, start: Start::Known };
            Sip.probe(&View::new(Transport::Udp, said(client), said(server)))
        };
        let alive = datagram(b"\r\n\r\n");
        assert!(matches!(probe(&datagram(REGISTER), b""), Probe::Match(_)));
        assert!(matches!(probe(b"", &datagram(b"SIP/2.0 200 OK\r\n")), Probe::Match(_)));
        assert_eq!(probe(&alive, b""), Probe::More);
        assert!(matches!(probe(&[&alive[..], &datagram(REGISTER)].concat(), b""), Probe::Match(_)));
        assert_eq!(probe(&datagram(b"\0\0\0\0"), b""), Probe::No);
    }

    #[test]
    fn digests_and_refusals_are_told() {
        let ask = b"SIP/2.0 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
        let with = |last: &[u8]| hear(&Sip, &[(C, REGISTER), (S, ask), (C, LOGIN), (S, last)]);
        let heard = with(b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        assert!(heard.fits == [true, true] && !heard.refused && heard.reason.is_some());
        assert!(with(b"SIP/2.0 403 Forbidden\r\n\r\n").refused);
        let (first, answer) = (datagram(LOGIN), datagram(b"SIP/2.0 200 OK\r\n\r\n"));
        let mut state = FollowState::default();
        let step = Sip.follow(&mut state, C, Said { bytes: &first, start: Start::Known });
        assert_eq!(step.consumed, first.len());
        assert_eq!(step.facts.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        let step = Sip.follow(&mut state, S, Said { bytes: &answer, start: Start::Known });
        assert!(step.facts.accepted && step.consumed == answer.len());
        let heard = hear(&Sip, &[(C, REGISTER), (S, b"HTTP/1.1 400 Bad Request\r\n\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
