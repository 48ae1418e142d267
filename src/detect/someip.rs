//! Scalable service-oriented middleware over IP. <https://www.autosar.org/standards/foundation>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP_UDP, demand, info, size};
use crate::{bytes::Cursor, detect::Info};

pub(super) struct Someip;

impl Grammar for Someip {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let (service, _method) = (c.u16_be()?, c.u16_be()?);
        let length = size(c.u32_be()?);
        demand!(service != 0 && (8..=65_536).contains(&length));
        let whole = length.saturating_add(8);
        // A datagram may hold several messages.
        demand!(!place.datagram || whole <= bytes.len());
        c.skip(4)?;
        let (protocol, interface, kind, code) = (c.u8()?, c.u8()?, c.u8()?, c.u8()?);
        let answers = matches!(kind, 0x80 | 0x81 | 0xa0 | 0xa1);
        let known = answers || matches!(kind, 0 | 1 | 2 | 0x20 | 0x21 | 0x22);
        demand!(protocol == 1 && interface > 0 && known && code <= if answers { 0x5e } else { 0 });
        let exact = place.datagram && whole == bytes.len();
        let whole = if place.datagram { bytes.len() } else { whole };
        // Discovery has its own service, method and interface.
        let (proof, constant) = match (exact, service) {
            (true, 0xffff) => (56, "service discovery"),
            (true, _) => (36, "protocol 1"),
            _ => (24, "protocol 1"),
        };
        Ok(Some(Message::new(whole, proof, "someip.message", constant)))
    }

    fn pair(&self, client: &[u8], server: &[u8]) -> u32 {
        let same = |range: std::ops::Range<usize>| client.get(range.clone()) == server.get(range);
        if same(0..4) && same(8..14) { 24 } else { 0 }
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "someip",
        "SOME/IP",
        "https://www.autosar.org/standards/foundation",
        &[30490],
        TCP_UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::S;
    use super::super::grammar::bench::{C, converses, datagrams, denies, probe_udp, proves_udp};
    use super::*;
    use crate::detect::{Detector, Probe, Said, Start, View};
    use crate::model::Transport;

    const ASK: &[u8] = b"\x12\x34\0\x21\0\0\0\x0c\0\x05\0\x01\x01\x01\0\0abcd";
    const ANSWER: &[u8] = b"\x12\x34\0\x21\0\0\0\x0a\0\x05\0\x01\x01\x01\x80\0ok";

    #[test]
    fn an_answer_repeats_service_and_session() {
        let discovery = b"\xff\xff\x81\0\0\0\0\x10\0\0\0\x01\x01\x01\x02\0\xc0\0\0\0\0\0\0\0";
        proves_udp(&Someip, &[("discovery", C, discovery)]);
        assert_eq!(probe_udp(&Someip, C, &[ASK]), Probe::More);
        let (client, server) = (datagrams(&[ASK]), datagrams(&[ANSWER]));
        let said = |bytes| Said { bytes, start: Start::Known };
        let both = View::new(Transport::Udp, said(&client), said(&server));
        assert!(matches!(Someip.probe(&both), Probe::Match(_)));
        converses(&Someip, &[(C, ASK), (S, ANSWER)]);
        let (mut protocol, mut code) = (ASK.to_vec(), ASK.to_vec());
        (protocol[12], code[15]) = (2, 1);
        denies(
            &Someip,
            Transport::Udp,
            &[("protocol", &protocol), ("code", &code), ("cut", &ASK[..18])],
        );
    }
}
