//! SNMP versions 1, 2c and 3. <https://www.rfc-editor.org/rfc/rfc1157>, <https://www.rfc-editor.org/rfc/rfc3412#section-6>
//!
//! Nested BER whose lengths all end with the datagram. Version 3 says itself whether its data is encrypted; its discovery
//! of the engine (RFC 3414 section 4) is always clear and leaves that open.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Side, Transport},
};

pub(super) struct Snmp;

impl Detector for Snmp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_datagram(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow_datagrams(state, side, said, read)
    }
}

fn read(side: Side, datagram: &[u8]) -> Result<Option<Told>, Short> {
    let mut c = Cursor::new(datagram);
    if !ends(&mut c, SEQUENCE)? {
        return Ok(None);
    }
    let [INTEGER, 1, version] = c.array()? else { return Ok(None) };
    match version {
        0 | 1 => Ok(community(side, version, &mut c)?),
        3 => Ok(version_3(side, &mut c)?),
        _ => Ok(None),
    }
}

fn community(side: Side, version: u8, c: &mut Cursor<'_>) -> Result<Option<Told>, Short> {
    let Some(_community) = value(c, OCTET_STRING)? else { return Ok(None) };
    let constant = if version == 0 { "SNMPv1" } else { "SNMPv2c" };
    let told = Told::clear("snmp.community", constant, c.at());
    let kind = c.peek()?;
    Ok((pdu(side, kind, c)? != Pdu::Foreign).then(|| told.with(Credentials::COMMUNITY_STRING)))
}

fn version_3(side: Side, c: &mut Cursor<'_>) -> Result<Option<Told>, Short> {
    let Some(header) = value(c, SEQUENCE)? else { return Ok(None) };
    let mut h = Cursor::new(header);
    let (Some(_id), Some(_size)) = (value(&mut h, INTEGER)?, value(&mut h, INTEGER)?) else {
        return Ok(None);
    };
    let ([OCTET_STRING, 1, flags], [INTEGER, 1, 1..=4]) = (h.array()?, h.array()?) else {
        return Ok(None);
    };
    let Some(_security) = value(c, OCTET_STRING)? else { return Ok(None) };
    if !h.is_empty() || flags > 7 || flags & 3 == PRIVATE {
        return Ok(None);
    }
    let length = c.at();
    if flags & PRIVATE != 0 {
        let sealed = ends(c, OCTET_STRING)?;
        let told = Told::clear("snmp.encrypted", "msgFlags authPriv", length);
        let encryption = Some(Encryption::OtherEncrypted);
        return Ok(sealed.then_some(Told { encryption, ..told }));
    }
    if !ends(c, SEQUENCE)? {
        return Ok(None);
    }
    let (Some(engine), Some(_context)) = (value(c, OCTET_STRING)?, value(c, OCTET_STRING)?) else {
        return Ok(None);
    };
    let kind = c.peek()?;
    let told = Told::clear("snmp.scoped-pdu", "SNMPv3", length);
    Ok(match pdu(side, kind, c)? {
        Pdu::Foreign => None,
        // Asking which engine this is, and the report that tells.
        _ if kind == REPORT => Some(Told { rule: "snmp.discovery", encryption: None, ..told }),
        Pdu::Empty if engine.is_empty() => {
            Some(Told { rule: "snmp.discovery", encryption: None, ..told })
        }
        _ => Some(told),
    })
}

#[derive(PartialEq, Eq)]
enum Pdu {
    Foreign,
    /// No variables.
    Empty,
    Full,
}

/// A protocol data unit that ends with the message.
fn pdu(side: Side, kind: u8, c: &mut Cursor<'_>) -> Result<Pdu, Short> {
    let sender = match kind {
        0xa0 | 0xa1 | 0xa3..=0xa7 => Side::Client,
        // An agent answers; an inform is answered by the one who was told.
        0xa2 | REPORT => Side::Server,
        _ => return Ok(Pdu::Foreign),
    };
    if sender != side || !ends(c, kind)? {
        return Ok(Pdu::Foreign);
    }
    if kind == TRAP_V1 {
        let enterprise = value(c, OBJECT_IDENTIFIER)?;
        let address = value(c, IP_ADDRESS)?;
        let sound = enterprise.is_some() && address.is_some_and(|a| a.len() == 4);
        return Ok(if sound { Pdu::Full } else { Pdu::Foreign });
    }
    for _ in 0..3 {
        if value(c, INTEGER)?.is_none_or(|number| !(1..=5).contains(&number.len())) {
            return Ok(Pdu::Foreign);
        }
    }
    Ok(match ends(c, SEQUENCE)? {
        false => Pdu::Foreign,
        true if c.is_empty() => Pdu::Empty,
        true => Pdu::Full,
    })
}

/// Reads a tag and a length that reaches exactly to the end.
fn ends(c: &mut Cursor<'_>, tag: u8) -> Result<bool, Short> {
    Ok(c.u8()? == tag && length(c)? == Some(c.left()))
}

/// A value of this tag; `None`: it is another.
fn value<'a>(c: &mut Cursor<'a>, tag: u8) -> Result<Option<&'a [u8]>, Short> {
    if c.u8()? != tag {
        return Ok(None);
    }
    length(c)?.map(|length| c.take(length)).transpose()
}

/// A definite BER length of up to four bytes.
fn length(c: &mut Cursor<'_>) -> Result<Option<usize>, Short> {
    let first = c.u8()?;
    let mut length = 0_usize;
    match first {
        0..=0x7f => return Ok(Some(usize::from(first))),
        0x81..=0x84 => {}
        _ => return Ok(None),
    }
    for _ in 0..first & 0x7f {
        length = length << 8 | usize::from(c.u8()?);
    }
    Ok(Some(length))
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const IP_ADDRESS: u8 = 0x40;
const TRAP_V1: u8 = 0xa4;
const REPORT: u8 = 0xa8;
const PRIVATE: u8 = 2;

static INFO: Info = Info {
    name: "snmp",
    title: "Simple Network Management Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc3412#section-6",
    ports: &[161, 162],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::COMMUNITY_STRING,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::exchange::bench::{hear_datagrams, proves, proves_nothing_else};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    /// A value behind its tag and length.
    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&[tag, u8::try_from(body.len()).unwrap()], &body[..]].concat()
    }

    fn pdu_of(kind: u8, variables: &[u8]) -> Vec<u8> {
        tlv(kind, &[b"\x02\x01\x07\x02\x01\x00\x02\x01\x00", &tlv(0x30, &[variables])])
    }

    const NAME: &[u8] = b"\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x05\x00\x05\x00";

    fn v2c(kind: u8) -> Vec<u8> {
        tlv(0x30, &[b"\x02\x01\x01\x04\x06public", &pdu_of(kind, NAME)])
    }

    fn v3(flags: u8, data: &[u8]) -> Vec<u8> {
        let header =
            tlv(0x30, &[b"\x02\x01\x09\x02\x03\x00\xff\xe3\x04\x01", &[flags], b"\x02\x01\x03"]);
        tlv(0x30, &[b"\x02\x01\x03", &header, b"\x04\x02\x30\x00", data])
    }

    fn scoped(engine: &[u8], kind: u8, variables: &[u8]) -> Vec<u8> {
        tlv(0x30, &[&tlv(4, &[engine]), b"\x04\x00", &pdu_of(kind, variables)])
    }

    #[test]
    fn nested_lengths_prove_the_side_that_sends_it() {
        let trap = tlv(0xa4, &[b"\x06\x03\x2b\x06\x01\x40\x04\x0a\0\0\x01\x02\x01\x06\x02\x01\x01\x43\x01\x05\x30\x00"]);
        let cases: [(&str, Side, Vec<u8>); 5] = [
            ("get", C, v2c(0xa0)),
            ("response", S, v2c(0xa2)),
            ("trap of version 1", C, tlv(0x30, &[b"\x02\x01\x00\x04\x06public", &trap])),
            ("version 3 in clear", C, v3(5, &scoped(b"\x80engine", 0xa0, NAME))),
            ("version 3 encrypted", C, v3(7, &tlv(4, &[&[0x5a; 40]]))),
        ];
        for (what, side, bytes) in cases {
            assert!(proves(&Snmp, side, &bytes), "{what}");
            assert!(!proves(&Snmp, side, &bytes[..bytes.len() - 1]), "{what}, a byte less");
            assert!(!proves(&Snmp, side, &[&bytes[..], b"x"].concat()), "{what}, a byte more");
        }
        assert!(!proves(&Snmp, S, &v2c(0xa0)) && !proves(&Snmp, C, &v2c(0xa2)));
        assert!(
            !proves(&Snmp, C, &v3(2, &tlv(4, &[&[0x5a; 40]]))),
            "privacy without authentication"
        );
        assert!(
            !proves(&Snmp, C, &v3(7, &scoped(b"", 0xa0, NAME))),
            "clear data said to be encrypted"
        );
    }

    #[test]
    fn a_community_is_a_secret() {
        let heard = hear_datagrams(&Snmp, &[(C, &v2c(0xa0)), (S, &v2c(0xa2))]);
        assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::COMMUNITY_STRING));
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    }

    #[test]
    fn the_discovery_of_version_3_leaves_open_what_its_data_decides() {
        let ask = v3(4, &scoped(b"", 0xa0, b""));
        let report = v3(0, &scoped(b"\x80engine", 0xa8, NAME));
        let (sealed, clear) =
            (v3(7, &tlv(4, &[&[0x5a; 40]])), v3(5, &scoped(b"\x80engine", 0xa0, NAME)));
        let heard = |last: &[u8]| hear_datagrams(&Snmp, &[(C, &ask), (S, &report), (C, last)]);
        assert_eq!(heard(&sealed).encryption, Some(Encryption::OtherEncrypted));
        assert_eq!(heard(&clear).encryption, Some(Encryption::Plaintext));
        assert_eq!(heard(&clear).credentials, Credentials::NONE);
        assert_eq!(hear_datagrams(&Snmp, &[(C, &ask), (S, &report)]).encryption, None);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Snmp);
    }
}
