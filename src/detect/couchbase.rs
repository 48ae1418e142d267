//! Couchbase key-value protocol. <https://github.com/couchbase/kv_engine/blob/master/docs/BinaryProtocol.md>
//!
//! Memcached's binary protocol with operations, data types and virtual buckets of its own; clients begin with HELLO.
use super::mcbp::{self, Dialect, Header};
use super::store::{self, Read, mark, need};
use super::{Detector, Directions, FollowState, Info, Match, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Couchbase;

impl Detector for Couchbase {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, |said| prove(Side::Client, said), |said| prove(Side::Server, said))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let usual = Some(PlaintextReason::NoInBandUpgrade);
        store::read_on(state, side, said, usual, |state, bytes| {
            mcbp::packet(state, side, "couchbase.login", bytes)
        })
    }
}

fn prove(side: Side, said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let header = Header::read(&mut c, side)?;
    let scram = header.opcode == mcbp::SASL_AUTH && side == Side::Client && header.key > 5;
    need(header.dialect == Dialect::Couchbase || scram)?;
    let hello = header.opcode == mcbp::HELLO;
    if scram {
        store::expect(&mut c, b"SCRAM-")?;
    } else if !hello {
        // A lone header of which much may be anything: the next must fit too.
        c.skip(header.body)?;
        Header::read(&mut c, side)?;
    }
    let constant = if hello { "HELLO" } else { "header" };
    Ok(store::plaintext(mark("couchbase.header", side, 0, c.at(), constant)))
}

static INFO: Info = Info {
    name: "couchbase",
    title: "Couchbase",
    spec: "https://github.com/couchbase/kv_engine/blob/master/docs/BinaryProtocol.md",
    ports: &[11210],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::SASL_PLAIN
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Start;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const HELLO: &[u8] =
        b"\x80\x1f\0\x03\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\0\0\0\0\0sdk\0\x0a\0\x0b";
    const HELLO_BACK: &[u8] =
        b"\x81\x1f\0\0\0\0\0\0\0\0\0\x04\0\0\0\x01\0\0\0\0\0\0\0\0\0\x0a\0\x0b";
    const PLAIN: &[u8] = b"\x80\x21\0\x05\0\0\0\0\0\0\0\x09\0\0\0\x02\0\0\0\0\0\0\0\0PLAIN\0u\0p";
    const DONE: &[u8] = b"\x81\x21\0\0\0\0\0\0\0\0\0\x0d\0\0\0\x02\0\0\0\0\0\0\0\0Authenticated";
    const DENIED: &[u8] = b"\x81\x21\0\0\0\0\0\x20\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";
    const GET: &[u8] = b"\x80\0\0\x02\0\0\x01\x11\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\0\x08k";

    #[test]
    fn hello_or_what_only_couchbase_has_is_proof() {
        let found =
            |side, bytes: &[u8]| matches!(probe_side(&Couchbase, side, bytes), Probe::Match(_));
        assert!(
            found(C, HELLO) && found(S, HELLO_BACK) && !found(S, HELLO) && !found(C, HELLO_BACK)
        );
        assert!(!found(C, PLAIN), "memcached has it too");
        assert!(!found(C, b"\x80\x01\0\x01\0\0\0\x07getName\0\0\0\0\0"), "Thrift");
        let late =
            |bytes: &[u8]| hear_from(&Couchbase, &[(C, bytes)], Start::Unknown).matched.is_some();
        assert!(late(&[GET, GET].concat()) && !late(GET) && !late(&[0x80; 60]));
    }

    #[test]
    fn a_login_is_read() {
        for (answer, refused) in [(DONE, false), (DENIED, true)] {
            let lines = [(C, HELLO), (S, HELLO_BACK), (C, PLAIN), (S, answer), (C, GET)];
            let heard = hear(&Couchbase, &lines);
            assert_eq!((heard.credentials, heard.refused), (Credentials::SASL_PLAIN, refused));
            assert_eq!(heard.fits, [true, true]);
            assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        }
        let scram = [&PLAIN[..3], b"\x0c\0\0\0\0\0\0\0\x10", &PLAIN[12..24], b"SCRAM-SHA256n,,x"];
        let heard = hear(&Couchbase, &[(C, &scram.concat())]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        let heard = hear(&Couchbase, &[(C, HELLO), (S, b"HTTP/1.1 400 Bad Request\r\n\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
