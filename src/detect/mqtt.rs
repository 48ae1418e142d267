//! MQTT 3.1, 3.1.1 and 5. <https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html>
//!
//! The client's CONNECT names the protocol. The server's CONNACK is short: alone it needs the packet after it. Joined
//! late, packets must chain, one of them with a topic or topic filters.
use super::fit::{self, Fit, begins_any, either, is_name, mark};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Mqtt;

impl Detector for Mqtt {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        either(view, |side, said| match (side, said.start) {
            (Side::Client, Start::Known) => {
                Ok(connect(said.bytes)?.map(|c| mark("mqtt.connect", side, 0, c.read, c.constant)))
            }
            (Side::Server, Start::Known) => {
                if !is_connack(said.bytes)? {
                    return Ok(None);
                }
                chain(side, said.bytes, 2, false)
            }
            (_, Start::Unknown) => match connect(said.bytes) {
                Ok(Some(c)) if side == Side::Client => {
                    Ok(Some(mark("mqtt.connect", side, 0, c.read, c.constant)))
                }
                _ => chain(side, said.bytes, 2, true),
            },
        })
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = match side {
            Side::Client => login(said),
            Side::Server => answer(said),
        };
        let [client, server] = &mut state.phase;
        let mine = if side == Side::Client { client } else { server };
        if *mine == READ {
            return Step::read(said.bytes.len(), Facts::NONE);
        }
        let step = match step {
            Ok(Some(facts)) => Step::read(said.bytes.len(), facts),
            Ok(None) if said.start == Start::Unknown => {
                let fits = matches!(chain(side, said.bytes, 1, true), Ok(Some(_)));
                let facts = if fits { fit::CLEAR } else { Facts::NONE };
                Step::read(said.bytes.len(), facts)
            }
            Ok(None) => return fit::other_protocol(),
            Err(Short) => return Step::WAIT,
        };
        *mine = READ;
        let next = if state.phase == [READ, READ] { Next::Done } else { Next::Continue };
        Step { next, ..step }
    }
}

/// What the client's CONNECT says.
fn login(said: Said<'_>) -> Result<Option<Facts>, Short> {
    let Some(connect) = connect(said.bytes)? else { return Ok(None) };
    if connect.flags & PASSWORD == 0 {
        return Ok(Some(fit::CLEAR));
    }
    let found = mark("mqtt.password", Side::Client, connect.read, 1, "Password Flag");
    let credentials = Credentials::PASSWORD_CLEARTEXT;
    Ok(Some(Facts { credentials, mark: Some(found), ..fit::CLEAR }))
}

/// What the server's CONNACK says: zero is accepted in all versions.
fn answer(said: Said<'_>) -> Result<Option<Facts>, Short> {
    if !is_connack(said.bytes)? {
        return Ok(None);
    }
    let code = said.bytes.get(3).copied().unwrap_or(0);
    if code == 0 {
        return Ok(Some(Facts { accepted: true, ..fit::CLEAR }));
    }
    let found = mark("mqtt.refused", Side::Server, 0, 4, "CONNACK");
    Ok(Some(Facts { refused: true, mark: Some(found), ..fit::CLEAR }))
}

/// A CONNECT packet as far as its flags.
struct Connect {
    flags: u8,
    /// Bytes up to the flags.
    read: usize,
    constant: &'static str,
}

fn connect(bytes: &[u8]) -> Result<Option<Connect>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != CONNECT {
        return Ok(None);
    }
    let Some(length) = remaining_length(&mut c)? else { return Ok(None) };
    let Some(name) = begins_any(c.rest(), &NAMES)? else { return Ok(None) };
    c.skip(NAMES.get(name).map_or(0, |n| n.len()))?;
    let level = c.u8()?;
    // Bridges set the top bit.
    let constant = match (name, level & 0x7f) {
        (0, 4) => "MQTT 3.1.1",
        (0, 5) => "MQTT 5",
        (1, 3) => "MQIsdp 3.1",
        _ => return Ok(None),
    };
    let read = c.at();
    let flags = c.u8()?;
    let will = flags & WILL != 0 || flags & WILL_DETAILS == 0;
    // Keep alive and the client identifier's length follow.
    let sane = flags & RESERVED == 0 && will && flags & WILL_QOS != WILL_QOS;
    Ok((sane && length >= 12).then_some(Connect { flags, read, constant }))
}

/// CONNACK with its flags and code (and properties in version 5).
fn is_connack(bytes: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != CONNACK {
        return Ok(false);
    }
    let Some(length) = remaining_length(&mut c)? else { return Ok(false) };
    let [flags, code] = c.array()?;
    if flags > 1 || !(2..=CONNACK_BYTES_MAX).contains(&length) {
        return Ok(false);
    }
    Ok(match length {
        2 => code <= 5,
        // Short properties have a length of one byte.
        3..=130 => (code == 0 || code >= 0x80) && usize::from(c.u8()?) == length.saturating_sub(3),
        _ => code == 0 || code >= 0x80,
    })
}

/// Whole packets one after another, at least `least`; with `telling`, one of them with a topic. Bounded by the view.
fn chain(side: Side, bytes: &[u8], least: usize, telling: bool) -> Fit {
    let mut c = Cursor::new(bytes);
    let (mut packets, mut told) = (0_usize, false);
    while packets < least || (telling && !told) {
        let first = c.u8()?;
        let Some(length) = remaining_length(&mut c)? else { return Ok(None) };
        if packets >= CHAIN_MAX || length > PACKET_BYTES_MAX {
            return Ok(None);
        }
        let fits = is_kind(side, first, length);
        let shown = fit::shown(c.rest(), length);
        match fits.then(|| body(first, shown, length)) {
            Some(Ok(topic)) => told |= topic,
            Some(Err(Flaw::Short)) => return Err(Short),
            Some(Err(Flaw::Bad)) | None => return Ok(None),
        }
        c.skip(length)?;
        packets = packets.saturating_add(1);
    }
    Ok(Some(mark("mqtt.packets", side, 0, c.at(), "chained packets")))
}

enum Flaw {
    Short,
    Bad,
}

impl From<Short> for Flaw {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

/// Whether the packet's body (as much as is `shown`) is sound; true if it is telling: it has a topic.
fn body(first: u8, shown: &[u8], length: usize) -> Result<bool, Flaw> {
    let mut c = Cursor::new(shown);
    match first >> 4 {
        PUBLISH => {
            let topic = topic(&mut c, length)?;
            let plain = !topic.iter().any(|b| matches!(b, b'+' | b'#'));
            if plain { Ok(topic.len() >= TOPIC_BYTES_TELLING) } else { Err(Flaw::Bad) }
        }
        SUBSCRIBE | UNSUBSCRIBE => {
            let id = c.u16_be()?;
            // Version 5 has properties before the filters, most often none.
            if c.peek()? == 0 && c.rest().get(1..3).is_some_and(|l| l.starts_with(&[0])) {
                let mut ahead = c;
                ahead.skip(1)?;
                if ahead.u16_be()? > 0 {
                    c.skip(1)?;
                }
            }
            let filter = topic(&mut c, length)?;
            if id == 0 { Err(Flaw::Bad) } else { Ok(filter.len() >= TOPIC_BYTES_TELLING) }
        }
        _ => Ok(false),
    }
}

/// A topic name or filter: readable UTF-8.
fn topic<'a>(c: &mut Cursor<'a>, length: usize) -> Result<&'a [u8], Flaw> {
    let bytes = usize::from(c.u16_be()?);
    if bytes == 0 || bytes >= length {
        return Err(Flaw::Bad);
    }
    let topic = c.take(bytes)?;
    if is_name(topic) { Ok(topic) } else { Err(Flaw::Bad) }
}

/// Whether `side` sends packets with this first byte and length (section 2.1).
const fn is_kind(side: Side, first: u8, length: usize) -> bool {
    let client = matches!(side, Side::Client);
    let (kind, flags) = (first >> 4, first & 0xf);
    match kind {
        PUBLISH => flags & 6 != 6 && length >= 5,
        2 => !client && flags == 0 && length >= 2,
        4 | 5 | 7 => flags == 0 && length >= 2,
        6 => flags == 2 && length >= 2,
        SUBSCRIBE => client && flags == 2 && length >= 6,
        9 => !client && flags == 0 && length >= 3,
        UNSUBSCRIBE => client && flags == 2 && length >= 5,
        11 => !client && flags == 0 && length >= 2,
        12 => client && flags == 0 && length == 0,
        13 => !client && flags == 0 && length == 0,
        14 => flags == 0 && (client || length > 0),
        _ => false,
    }
}

/// A variable byte integer (section 1.5.5) in its shortest form.
fn remaining_length(c: &mut Cursor<'_>) -> Result<Option<usize>, Short> {
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21] {
        let byte = c.u8()?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((byte > 0 || shift == 0).then_some(length));
        }
    }
    Ok(None)
}

const READ: u8 = 1;
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
/// Protocol names behind their length.
const NAMES: [&[u8]; 2] = [b"\x00\x04MQTT", b"\x00\x06MQIsdp"];
// Connect flags.
const RESERVED: u8 = 1;
const WILL: u8 = 4;
const WILL_QOS: u8 = 0x18;
const WILL_DETAILS: u8 = 0x38;
const PASSWORD: u8 = 0x40;
const CONNACK_BYTES_MAX: usize = 1024;
const PACKET_BYTES_MAX: usize = 8192;
const CHAIN_MAX: usize = 32;
const TOPIC_BYTES_TELLING: usize = 3;

static INFO: Info = Info {
    name: "mqtt",
    title: "MQTT",
    spec: "https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html",
    ports: &[1883],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::check::{hear, hear_from, matches, probe_side},
        model::PlaintextReason,
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const PLAIN: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a";
    const LOGIN: &[u8] = b"\x10\x13\0\x04MQTT\x04\xc2\0\x3c\0\x01a\0\x01u\0\x01p";
    const SUBACK: &[u8] = b"\x90\x03\0\x01\0";

    #[test]
    fn connect_and_a_confirmed_connack_prove_it() {
        let cases: [(&[u8], bool, bool); 16] = [
            (PLAIN, true, false),
            (LOGIN, true, false),
            (b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01a", true, false),
            (b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01a", true, false),
            (b"\x10\x0f\0\x06MQIsdp\x83\x02\0\x3c\0\x01a", true, false),
            (b"\x10\x0d\0\x04MQTT\x06\x02\0\x3c\0\x01a", false, false),
            (b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01a", false, false),
            (b"\x10\x0d\0\x04MQTX\x04\x02\0\x3c\0\x01a", false, false),
            (b"\x20\x02\0\0", false, false),
            (b"\x20\x02\0\0\x90\x03\0\x01\0", false, true),
            (b"\x20\x09\0\0\x06\x22\0\x0a\x21\0\x14\x90\x04\0\x01\0\0", false, true),
            (b"\x20\x02\x02\0\x90\x03\0\x01\0", false, false),
            (b"\x20\x02\0\0\x16\x03\x01\0\0", false, false),
            (b"GET / HTTP/1.1\r\n", false, false),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", false, false),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", false, false),
        ];
        for (bytes, client, server) in cases {
            assert_eq!(matches(probe_side(&Mqtt, C, bytes)), client, "{bytes:02x?}");
            assert_eq!(matches(probe_side(&Mqtt, S, bytes)), server, "{bytes:02x?}");
        }
    }

    #[test]
    fn the_password_flag_and_the_return_code_are_told() {
        let heard = hear(&Mqtt, &[(C, PLAIN), (S, b"\x20\x02\0\0")]);
        assert!(heard.fits == [true, true] && heard.credentials.is_empty() && !heard.refused);
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        let heard = hear(&Mqtt, &[(C, LOGIN), (S, b"\x20\x02\0\x05")]);
        assert!(heard.refused && heard.credentials == Credentials::PASSWORD_CLEARTEXT);
        let heard = hear(&Mqtt, &[(C, LOGIN), (S, b"\x20\x03\0\x87\0")]);
        assert!(heard.refused, "version 5: not authorized");
        let heard = hear(&Mqtt, &[(C, PLAIN), (S, b"HTTP/1.1 400 Bad Request\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }

    #[test]
    fn a_late_view_needs_two_packets_and_a_topic() {
        let publish: &[u8] = b"\x30\x0b\0\x05a/b/c1234";
        let ping: &[u8] = b"\xc0\x00";
        let late = |side, bytes: &[u8]| {
            let heard = hear_from(&Mqtt, &[(side, bytes)], Start::Unknown);
            assert_eq!(heard.mismatch, [false, false]);
            heard.matched.is_some()
        };
        assert!(late(C, &[publish, publish].concat()));
        assert!(late(S, &[publish, publish].concat()));
        assert!(late(C, &[publish, ping].concat()));
        assert!(late(C, &[b"\x82\x0a\0\x01\0\x05a/#/c\0", ping].concat()));
        assert!(late(C, &[b"\x82\x0b\0\x01\0\0\x05a/#/c\0", ping].concat()), "version 5");
        assert!(!late(S, &[publish, ping].concat()), "a server does not ask");
        assert!(!late(C, publish), "one packet");
        assert!(!late(C, &ping.repeat(20)), "no topic");
        assert!(!late(C, b"\x30\x0b\0\x05a/b#c1234\xc0\0"), "a wildcard in a name");
        assert!(!late(C, b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0"), "LDAP");
        assert!(late(C, PLAIN));
        assert!(!late(S, SUBACK));
    }
}
