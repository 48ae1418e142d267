//! Multicast DNS. <https://www.rfc-editor.org/rfc/rfc6762#section-18>
//!
//! DNS messages with conventions of their own: id 0, no recursion, answers that nobody asked, a flag in the class. Every
//! host asks and answers, so that either side may say both.
use super::Directions;
use super::dns::{Kind, is_message, kind};
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info};
use crate::{detect::Info, model::Side};

pub(super) struct Mdns;

impl Grammar for Mdns {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        // The cheaper question first: nearly all datagrams of this form are DNS.
        demand!(kind(bytes) == Kind::Multicast);
        let answers = is_message(bytes, Side::Server);
        demand!(answers || is_message(bytes, Side::Client));
        let rule = if answers { "mdns.response" } else { "mdns.query" };
        Ok(Some(Message::new(bytes.len(), 60, rule, "id 0, multicast")))
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "mdns",
        "Multicast DNS",
        "https://www.rfc-editor.org/rfc/rfc6762",
        &[5353],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::dns::Dns;
    use super::super::grammar::bench::{C, S, denies, probe_udp, proves_udp};
    use super::super::llmnr::Llmnr;
    use super::*;
    use crate::detect::Probe;
    use crate::model::Transport;

    const BROWSE: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_ipp\x04_tcp\x05local\0\0\x0c\0\x01";
    const UNICAST: &[u8] = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\x80\x01";
    const REVERSE: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01";
    const ANNOUNCE: &[u8] =
        b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x04host\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04\x0a\0\0\x01";
    const LLMNR: &[u8] = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x04wpad\0\0\x01\0\x01";
    const LLMNR_ANSWER: &[u8] = b"\x12\x34\x80\0\0\x01\0\x01\0\0\0\0\x04wpad\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\0\x09";
    const DNS: [&[u8]; 4] = [
        b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04host\x05local\0\0\x01\0\x01",
        b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01",
        b"\x12\x34\0\0\0\x01\0\0\0\0\0\x01\x03com\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0",
        b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x03com\0\0\x02\0\x01",
    ];

    #[test]
    fn each_message_has_one_name() {
        proves_udp(
            &Mdns,
            &[
                ("browse", C, BROWSE),
                ("unicast answer wanted", C, UNICAST),
                ("reverse", C, REVERSE),
                ("announcement", C, ANNOUNCE),
                ("answer", S, ANNOUNCE),
            ],
        );
        proves_udp(&Llmnr, &[("query", C, LLMNR), ("answer", S, LLMNR_ANSWER)]);
        for bytes in [BROWSE, UNICAST, REVERSE, ANNOUNCE] {
            denies(&Llmnr, Transport::Udp, &[("multicast", bytes)]);
            denies(&Dns, Transport::Udp, &[("multicast", bytes)]);
        }
        for (side, bytes) in [(C, LLMNR), (S, LLMNR_ANSWER)] {
            assert!(!matches!(probe_udp(&Dns, side, &[bytes]), Probe::Match(_)));
            assert!(!matches!(probe_udp(&Mdns, side, &[bytes]), Probe::Match(_)));
        }
        for bytes in DNS {
            denies(&Mdns, Transport::Udp, &[("unicast", bytes)]);
            denies(&Llmnr, Transport::Udp, &[("unicast", bytes)]);
            assert!(matches!(probe_udp(&Dns, C, &[bytes]), Probe::Match(_)));
        }
    }
}
