//! Link-Local Multicast Name Resolution. <https://www.rfc-editor.org/rfc/rfc4795#section-2.1>
//!
//! DNS messages that ask for the address of a single label, with neither recursion nor EDNS. Its reverse queries cannot
//! be told from those of DNS.
use super::Directions;
use super::dns::{Kind, is_message, kind};
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info};
use crate::{detect::Info, model::Side};

pub(super) struct Llmnr;

impl Grammar for Llmnr {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        demand!(kind(bytes) == Kind::LinkLocal && is_message(bytes, place.side));
        let rule = if place.side == Side::Client { "llmnr.query" } else { "llmnr.response" };
        Ok(Some(Message::new(bytes.len(), 50, rule, "single label")))
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "llmnr",
        "Link-Local Multicast Name Resolution",
        "https://www.rfc-editor.org/rfc/rfc4795",
        &[5355],
        UDP,
        Directions::Either,
    )
};

// Its tests stand with those of mDNS: the three are told from one another.
