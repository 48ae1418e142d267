//! Apache Thrift: strict binary and compact protocol, framed or not, over TCP and UDP (as Jaeger's agents use it).
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-rpc.md>
//!
//! A message begins with version, type, method name and sequence id; a field of a struct follows.
use super::frames::{self, Read, fits, mark, need, tag};
use super::{Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Thrift;

impl Detector for Thrift {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match view.transport {
            Transport::Udp => datagram(view),
            _ => frames::probe(
                view,
                |said| Ok(message(Side::Client, said.bytes)?.1),
                |said| Ok(message(Side::Server, said.bytes)?.1),
            ),
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        if let Ok((declared, _)) = first_datagram(side, said) {
            let length = declared.saturating_add(2);
            return Step { consumed: length, facts: fits(side), next: Next::Done };
        }
        // Without frames a message has no length: the first of each side tells all there is.
        frames::follow_briefly(state, side, said, |state, bytes| {
            if frames::fitted(state, side) {
                return Ok(Step::read(bytes.len(), Facts::NONE));
            }
            message(side, bytes)?;
            Ok(Step::read(bytes.len(), fits(side)))
        })
    }
}

/// The message type a side may send: calls, or replies and exceptions.
const fn is_from(side: Side, kind: u8) -> bool {
    match side {
        Side::Client => matches!(kind, 1 | 4),
        Side::Server => matches!(kind, 2 | 3),
    }
}

/// The first message of a stream; returns where its struct begins.
fn message(side: Side, bytes: &[u8]) -> Read<(usize, Mark)> {
    let mut cursor = Cursor::new(bytes);
    let first = cursor.peek()?;
    if matches!(first, BINARY | COMPACT) {
        return unframed(side, &mut cursor);
    }
    let declared = frames::length(&mut cursor, FRAME_BYTES_MIN, FRAME_BYTES_MAX)?;
    need(matches!(cursor.peek()?, BINARY | COMPACT))?;
    let (at, found) = unframed(side, &mut cursor)?;
    need(at <= declared.saturating_add(4))?;
    Ok((at, found))
}

fn unframed(side: Side, cursor: &mut Cursor<'_>) -> Read<(usize, Mark)> {
    let constant =
        if cursor.peek()? == BINARY { binary(side, cursor)? } else { compact(side, cursor)? };
    Ok((cursor.at(), mark("thrift.message", side, cursor.at(), constant)))
}

fn binary(side: Side, cursor: &mut Cursor<'_>) -> Read<&'static str> {
    tag(cursor, b"\x80\x01\0")?;
    need(is_from(side, cursor.u8()?))?;
    let name = frames::length(cursor, 1, NAME_BYTES_MAX)?;
    method(cursor, name)?;
    cursor.skip(4)?;
    // A field's type and id, or the struct's end.
    let kind = cursor.u8()?;
    need(kind <= TYPE_MAX)?;
    if kind != 0 {
        need(matches!(cursor.peek()?, 0 | 0xff))?;
        cursor.skip(2)?;
    }
    Ok("binary version 1")
}

fn compact(side: Side, cursor: &mut Cursor<'_>) -> Read<&'static str> {
    tag(cursor, &[COMPACT])?;
    let head = cursor.u8()?;
    need(head & 0x1f == 1 && is_from(side, head >> 5))?;
    for left in (0..VARINT_BYTES_MAX).rev() {
        if cursor.u8()? < 0x80 {
            break;
        }
        need(left > 0)?;
    }
    let name = cursor.u8()?;
    need((1..0x80).contains(&name))?;
    method(cursor, usize::from(name))?;
    // The first field's id as a small step and its type, or the struct's end.
    let field = cursor.u8()?;
    need(
        field == 0
            || (field & 0x0f <= COMPACT_TYPE_MAX && field & 0x0f > 0 && field >> 4 > 0)
            || field <= COMPACT_TYPE_MAX && side == Side::Server,
    )?;
    Ok("compact version 1")
}

/// Names of methods; a multiplexed service stands before a colon.
fn method(cursor: &mut Cursor<'_>, length: usize) -> Read<()> {
    let legal =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-' | b'/' | b'$');
    let name = frames::all(cursor, length, legal)?;
    need(name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_'))
}

/// A message in the first datagram of the side that spoke: it ends with the end of a struct.
fn datagram(view: &View<'_>) -> Probe {
    let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
    match first_datagram(side, view.side(side)) {
        Ok((_, found)) => Match::plaintext(Mark { offset: 2, ..found }),
        Err(_) if side == Side::Server => Probe::More,
        Err(_) => Probe::No,
    }
}

/// The message in a side's first datagram, and how long that is. A long one is not seen to its end.
fn first_datagram(side: Side, said: Said<'_>) -> Read<(usize, Mark)> {
    let mut cursor = Cursor::new(said.bytes);
    let declared = usize::from(cursor.u16_be()?);
    let rest = cursor.rest();
    let bytes = rest.get(..declared).unwrap_or(rest);
    need(matches!(bytes.first(), Some(&(BINARY | COMPACT))))?;
    need(bytes.len() < declared || bytes.last() == Some(&0))?;
    Ok((declared, unframed(side, &mut Cursor::new(bytes))?.1))
}

const BINARY: u8 = 0x80;
const COMPACT: u8 = 0x82;
const FRAME_BYTES_MIN: u32 = 8;
const FRAME_BYTES_MAX: u32 = 256 << 20;
const NAME_BYTES_MAX: u32 = 255;
const TYPE_MAX: u8 = 16;
const COMPACT_TYPE_MAX: u8 = 13;
const VARINT_BYTES_MAX: u8 = 5;

static INFO: Info = Info {
    name: "thrift",
    title: "Apache Thrift",
    spec: "https://github.com/apache/thrift/blob/master/doc/specs/thrift-rpc.md",
    ports: &[9090, 6831, 6832],
    transports: &[Transport::Tcp, Transport::Udp],
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

    const CALL: &[u8] = b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x01\x0b\0\x01\0\0\0\x02hi\0";
    const REPLY: &[u8] = b"\x80\x01\0\x02\0\0\0\x04ping\0\0\0\x01\0";
    const COMPACT_CALL: &[u8] = b"\x82\x21\x01\x04ping\x18\x02hi\0";
    const EMIT: &[u8] = b"\x82\x81\x01\x09emitBatch\x1c\x1c\x18\x03app\0\x19\x1c\0\0\0";

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0, 0, 0, u8::try_from(message.len()).unwrap()][..], message].concat()
    }

    #[test]
    fn version_type_and_name_prove_a_side_framed_or_not() {
        for bytes in [CALL, COMPACT_CALL, EMIT] {
            assert!(matches(probe_side(&Thrift, C, bytes)));
            assert!(matches(probe_side(&Thrift, C, &framed(bytes))));
            assert!(!matches(probe_side(&Thrift, S, bytes)));
        }
        assert!(
            matches(probe_side(&Thrift, S, REPLY))
                && matches(probe_side(&Thrift, S, &framed(REPLY)))
        );
        let look_alikes: [&[u8]; 6] = [
            b"\x80\x01\0\0\0\0\0\x04",
            b"\x80\x01\0\x03key\0\0\0",
            b"\x80\x01\0\x01\0\0\0\x04p ng",
            b"\x82\x22\x01",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x82\x21\xff\xff\xff\xff\xff\x04ping",
        ];
        for bytes in look_alikes {
            assert_eq!(probe_side(&Thrift, C, bytes), Probe::No);
        }
        let heard = hear(&Thrift, &[(C, CALL), (S, REPLY)]);
        assert_eq!(heard.fits, [true, true]);
        let heard = hear_from(&Thrift, &[(S, &framed(REPLY))], Start::Unknown);
        assert_eq!(heard.fits, [false, true]);
    }

    #[test]
    fn a_datagram_is_a_whole_message() {
        let probe = |message: &[u8], side| {
            let bytes = [&[0, u8::try_from(message.len()).unwrap()][..], message].concat();
            let said = Said { bytes: &bytes, start: Start::Known };
            let (client, server) =
                if side == C { (said, Said::NOTHING) } else { (Said::NOTHING, said) };
            let step = Thrift.follow(&mut FollowState::default(), side, said);
            let answer = Thrift.probe(&View::new(Transport::Udp, client, server));
            assert_eq!(matches(answer), step.next == Next::Done && step.facts.fits);
            answer
        };
        assert!(matches(probe(EMIT, C)) && matches(probe(CALL, C)) && matches(probe(REPLY, S)));
        assert_eq!(probe(&EMIT[..20], C), Probe::No, "cut");
        assert_eq!(probe(b"\x80\x60\0\x01\0\0\0\0\0\0\0\0", C), Probe::No, "RTP");
    }
}
