//! Apache Dubbo. <https://cn.dubbo.apache.org/en/overview/reference/protocols/tcp/>
//!
//! A header of sixteen bytes: magic, flags with the serialization, status, request id, length. (Triple is HTTP/2.)
use super::frames::{self, Flaw, Read, fits, mark, need, tag};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Dubbo;

impl Detector for Dubbo {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(
            view,
            |said| Ok(message(Side::Client, said.bytes)?.1),
            |said| Ok(message(Side::Server, said.bytes)?.1),
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        frames::follow_briefly(state, side, said, |_, bytes| {
            let (consumed, _) = message(side, bytes)?;
            Ok(Step::read(consumed, fits(side)))
        })
    }
}

/// Header and the body's beginning; returns how long the message is.
fn message(side: Side, bytes: &[u8]) -> Read<(usize, Mark)> {
    let mut cursor = Cursor::new(bytes);
    tag(&mut cursor, b"\xda\xbb")?;
    let flags = cursor.u8()?;
    let event = flags & EVENT != 0;
    // A server's heartbeat is a request too; by itself it proves nothing.
    let from_client = flags & REQUEST != 0;
    need(from_client == (side == Side::Client))?;
    let serialization = flags & 0x1f;
    need(SERIALIZATIONS.contains(&serialization))?;
    let status = cursor.u8()?;
    need(if from_client { status == 0 } else { STATUSES.contains(&status) })?;
    cursor.skip(8)?;
    let length = frames::length(&mut cursor, 0, BYTES_MAX)?;
    let constant = match (event, from_client) {
        (true, _) => {
            need(length <= EVENT_BYTES_MAX)?;
            "event"
        }
        (false, true) => {
            version(&mut cursor, length)?;
            "request"
        }
        (false, false) => {
            // Hessian's small numbers tell what the answer holds; an error is a text.
            let kind = cursor.u8()?;
            need(serialization != HESSIAN_2 || status != OK || (0x90..=0x95).contains(&kind))?;
            "response"
        }
    };
    let whole = length.saturating_add(cursor.at().min(HEADER_BYTES));
    Ok((whole, mark("dubbo.header", side, cursor.at(), constant)))
}

/// A request begins with the protocol's version: `2.0.2` behind a length or a quotation mark.
fn version(cursor: &mut Cursor<'_>, room: usize) -> Read<()> {
    need(room > VERSION_BYTES_MIN)?;
    for _ in 0..LENGTH_BYTES_MAX {
        if cursor.peek()?.is_ascii_digit() {
            cursor.skip(1)?;
            return tag(cursor, b".");
        }
        cursor.skip(1)?;
    }
    Err(Flaw::Bad)
}

const HEADER_BYTES: usize = 16;
const REQUEST: u8 = 0x80;
const EVENT: u8 = 0x20;
const HESSIAN_2: u8 = 2;
const OK: u8 = 20;
const SERIALIZATIONS: &[u8] = &[2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 16, 20, 21, 22, 23, 24, 25, 27];
const STATUSES: &[u8] = &[20, 25, 30, 31, 35, 40, 50, 60, 70, 80, 90, 100];
const BYTES_MAX: u32 = 64 << 20;
const EVENT_BYTES_MAX: usize = 64;
const VERSION_BYTES_MIN: usize = 6;
const LENGTH_BYTES_MAX: usize = 6;

static INFO: Info = Info {
    name: "dubbo",
    title: "Apache Dubbo",
    spec: "https://cn.dubbo.apache.org/en/overview/reference/protocols/tcp/",
    ports: &[20880],
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

    const CALL: &[u8] = b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\x01\0\0\0\x0a\x052.0.2\x03a.B";
    const RESULT: &[u8] = b"\xda\xbb\x02\x14\0\0\0\0\0\0\0\x01\0\0\0\x04\x94\x02hi";
    const HEARTBEAT: &[u8] = b"\xda\xbb\xe2\0\0\0\0\0\0\0\0\x02\0\0\0\x01N";

    #[test]
    fn a_header_and_the_body_s_beginning_prove_a_side() {
        for bytes in [CALL, HEARTBEAT] {
            assert!(matches(probe_side(&Dubbo, C, bytes)));
        }
        assert!(matches(probe_side(&Dubbo, S, RESULT)));
        let look_alikes: [&[u8]; 5] = [
            RESULT,
            b"\xda\xbb\xc2\x14",
            b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\x01\x7f",
            b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\x01\0\0\0\x0a\x05hello",
            b"\xda\xbc",
        ];
        for bytes in look_alikes {
            assert_eq!(probe_side(&Dubbo, C, bytes), Probe::No);
        }
        let heard = hear(&Dubbo, &[(C, CALL), (S, RESULT)]);
        assert_eq!(heard.fits, [true, true]);
        let heard = hear_from(&Dubbo, &[(S, RESULT)], Start::Unknown);
        assert_eq!(heard.fits, [false, true]);
    }
}
