//! Java Remote Method Protocol. <https://docs.oracle.com/javase/8/docs/platform/rmi/spec/rmi-protocol3.html>
//!
//! Magic opens a connection; calls and returns are object streams, whose beginnings are told in the middle too.
use super::frames::{self, Flaw, Read, fits, hostname, mark, need, tag};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Start, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct JavaRmi;

impl Detector for JavaRmi {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(view, client, server)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        frames::follow_briefly(state, side, said, |_, bytes| {
            match side {
                Side::Client => client(said)?,
                Side::Server => server(said)?,
            };
            Ok(Step::read(bytes.len(), fits(side)))
        })
    }
}

fn client(said: Said<'_>) -> Read<Mark> {
    let mut cursor = Cursor::new(said.bytes);
    if said.start == Start::Unknown && cursor.peek()? != b'J' {
        tag(&mut cursor, CALL)?;
        return Ok(mark("java-rmi.call", Side::Client, CALL.len(), "Call"));
    }
    tag(&mut cursor, b"JRMI\0")?;
    need(matches!(cursor.u8()?, 1 | 2))?;
    need((STREAM..=MULTIPLEX).contains(&cursor.u8()?))?;
    Ok(mark("java-rmi.header", Side::Client, cursor.at(), "JRMI"))
}

/// The acknowledgement tells the client how it is seen: host and port. Other subprotocols begin with a return.
fn server(said: Said<'_>) -> Read<Mark> {
    let mut cursor = Cursor::new(said.bytes);
    if cursor.peek()? == RETURN_DATA {
        tag(&mut cursor, RETURN)?;
        return Ok(mark("java-rmi.return", Side::Server, RETURN.len(), "ReturnData"));
    }
    if said.start == Start::Unknown {
        return Err(Flaw::Bad);
    }
    tag(&mut cursor, &[PROTOCOL_ACK, 0])?;
    let length = usize::from(cursor.u8()?);
    need(length >= HOST_BYTES_MIN)?;
    frames::all(&mut cursor, length, hostname)?;
    tag(&mut cursor, &[0, 0])?;
    need(cursor.u16_be()? > 0)?;
    Ok(mark("java-rmi.ack", Side::Server, cursor.at(), "ProtocolAck"))
}

const STREAM: u8 = 0x4b;
const MULTIPLEX: u8 = 0x4d;
const PROTOCOL_ACK: u8 = 0x4e;
const RETURN_DATA: u8 = 0x51;
const HOST_BYTES_MIN: usize = 7;
/// Call, stream magic and version, block of object id, operation and hash.
const CALL: &[u8] = b"\x50\xac\xed\0\x05\x77\x22";
/// `ReturnData`, stream magic and version, block of return type and unique id.
const RETURN: &[u8] = b"\x51\xac\xed\0\x05\x77\x0f";

static INFO: Info = Info {
    name: "java-rmi",
    title: "Java RMI",
    spec: "https://docs.oracle.com/javase/8/docs/platform/rmi/spec/rmi-protocol3.html",
    ports: &[1099],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{hear, hear_from, matches, probe_side},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    const OPENING: &[u8] = b"JRMI\0\x02\x4b";
    const ACK: &[u8] = b"\x4e\0\x0a10.77.1.10\0\0\xc0\x01";

    #[test]
    fn magic_acknowledgement_and_object_streams_prove_their_side() {
        assert!(matches(probe_side(&JavaRmi, C, OPENING)) && matches(probe_side(&JavaRmi, S, ACK)));
        assert!(matches(probe_side(&JavaRmi, S, RETURN)));
        for bytes in [&b"JRMI\0\x03\x4b"[..], b"JRMI\0\x02\x4e", CALL, b"N\0\x0a10.77"] {
            assert!(!matches(probe_side(&JavaRmi, C, bytes)));
        }
        assert!(!matches(probe_side(&JavaRmi, S, b"NAME = me\r\n")));
        let heard = hear(&JavaRmi, &[(C, OPENING), (S, ACK), (C, b"\0\x0a10.77.1.10\0\0\0\0")]);
        assert_eq!(heard.fits, [true, true]);
        for line in [(C, CALL), (S, RETURN)] {
            assert!(hear_from(&JavaRmi, &[line], Start::Unknown).matched.is_some());
        }
        assert_eq!(hear_from(&JavaRmi, &[(S, ACK)], Start::Unknown).matched, None);
    }
}
