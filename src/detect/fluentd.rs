//! Fluentd's forward protocol: `MessagePack` arrays of a tag and of events with their time.
//! <https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>
use super::{
    Directions, Facts, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand, expect},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const FLUENTD: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    let there = heard.bytes.len();
    if heard.side == Side::Server {
        let hello = match cursor.u8()? {
            0x92 => "HELO",
            0x95 => "PONG",
            0x81 => {
                expect(&mut cursor, b"\xa3ack")?;
                return Ok(Message::weak(there));
            }
            _ => return Err(Flaw::Foreign),
        };
        expect(&mut cursor, b"\xa4")?;
        expect(&mut cursor, hello.as_bytes())?;
        let next = cursor.u8()?;
        demand(if hello == "HELO" {
            matches!(next, 0x80..=0x8f)
        } else {
            matches!(next, 0xc2 | 0xc3)
        })?;
        let mut message = Message::proof(there, "fluentd.handshake", hello);
        message.facts.refused = next == 0xc2;
        message.more = hello == "HELO";
        return Ok(message);
    }
    let fields = cursor.u8()?;
    if fields == 0x96 {
        expect(&mut cursor, b"\xa4PING")?;
        let credentials = Credentials::PASSWORD_HASH_CHALLENGE;
        let message = Message::proof(there, "fluentd.handshake", "PING");
        return Ok(Message { facts: Facts { credentials, ..Facts::NONE }, more: true, ..message });
    }
    demand(matches!(fields, 0x92..=0x94))?;
    let tag = text(&mut cursor)?;
    demand(
        tag.len() >= TAG_BYTES_MIN
            && tag.iter().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(b)),
    )?;
    let constant = match cursor.peek()? {
        0xce | 0xd7 => {
            demand(fields != 0x92)?;
            event(&mut cursor)?;
            "[tag, time, record]"
        }
        kind => {
            entries(&mut cursor, kind)?;
            "[tag, entries]"
        }
    };
    // Without acknowledgements, which are an option, nobody answers.
    let facts = Facts { accepted: true, ..Facts::NONE };
    Ok(Message { facts, ..Message::proof(there, "fluentd.forward", constant) })
}

/// An array of events, or such events packed in one string.
fn entries(cursor: &mut Cursor<'_>, kind: u8) -> Read<()> {
    cursor.skip(1)?;
    let header = match kind {
        0x91..=0x9f | 0xa1..=0xbf => 0,
        0xc4 | 0xd9 => 1,
        0xc5 | 0xda | 0xdc => 2,
        0xc6 | 0xdb | 0xdd => 4,
        _ => return Err(Flaw::Foreign),
    };
    cursor.skip(header)?;
    let packed = !matches!(kind, 0x91..=0x9f | 0xdc | 0xdd);
    if packed && cursor.peek()? == 0x1f {
        return expect(cursor, &[0x1f, 0x8b, 8]);
    }
    expect(cursor, &[0x92])?;
    event(cursor)
}

/// A time (seconds, or with nanoseconds) and the first key of a record.
fn event(cursor: &mut Cursor<'_>) -> Read<()> {
    let kind = cursor.u8()?;
    demand(matches!(kind, 0xce | 0xd7))?;
    if kind == 0xce {
        demand(TIMES.contains(&cursor.u8()?))?;
        cursor.skip(3)?;
    } else {
        // EventTime is the extension of type 0.
        expect(cursor, &[0])?;
        demand(TIMES.contains(&cursor.u8()?))?;
        cursor.skip(7)?;
    }
    match cursor.u8()? {
        0x81..=0x8f => {}
        0xde => cursor.skip(2)?,
        _ => return Err(Flaw::Foreign),
    }
    let key = text(cursor)?;
    demand(!key.is_empty() && key.iter().all(|b| matches!(b, b' '..=b'~')))
}

/// A short string.
fn text<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let length = match cursor.u8()? {
        fixed @ 0xa0..=0xbf => fixed & 0x1f,
        0xd9 => cursor.u8()?,
        _ => return Err(Flaw::Foreign),
    };
    Ok(cursor.take(usize::from(length))?)
}

const TAG_BYTES_MIN: usize = 3;
/// High byte of the time: 2012 to 2046.
const TIMES: std::ops::RangeInclusive<u8> = 0x50..=0x8f;

static INFO: Info = Info {
    name: "fluentd",
    title: "Fluentd forward",
    spec: "https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1",
    ports: &[24224],
    transports: &[Transport::Tcp],
    directions: Directions::Client,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, stream};

    const EVENT: &[u8] =
        b"\x93\xa7app.log\xd7\x00\x69\x55\xb9\x00\x00\x00\x00\x00\x81\xa3msg\xa2hi";

    #[test]
    fn tag_time_and_key_prove_it() {
        let cases: [(&[u8], Option<bool>); 9] = [
            (EVENT, Some(true)),
            (b"\x93\xa7app.log\xce\x69\x55\xb9\x00\x81\xa3msg\xa2hi", Some(true)),
            (b"\x92\xa7app.log\x91\x92\xce\x69\x55\xb9\x00\x81\xa3msg\xa2hi", Some(true)),
            (
                b"\x93\xa7app.log\xc5\x01\x00\x92\xd7\x00\x69\x55\xb9\0\0\0\0\0\x81\xa3msg",
                Some(true),
            ),
            (b"\x93\xa7app.log\xc4\x40\x1f\x8b\x08", Some(true)),
            (b"\x93\xa7app.log\xce\x69", None),
            (b"\x93\xa7app.log\xce\x09\x55\xb9\x00\x81\xa3msg", Some(false)),
            (b"\x93\xa7app\x01log", Some(false)),
            (b"\x93\xcc", Some(false)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(stream(&FLUENTD, C, bytes), expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(stream(&FLUENTD, S, b"\x92\xa4HELO\x83"), Some(true));
        assert_eq!(stream(&FLUENTD, S, b"\x81\xa3ack\xa1x"), None);
    }

    #[test]
    fn a_shared_key_is_proven_by_its_digest() {
        for (answer, refused) in [(b"\x95\xa4PONG\xc3", false), (b"\x95\xa4PONG\xc2", true)] {
            let heard = hear_streams(
                &FLUENTD,
                &[(S, b"\x92\xa4HELO\x83"), (C, b"\x96\xa4PING"), (S, answer)],
            );
            assert_eq!((heard.fits, heard.refused), ([true, true], refused));
            assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        }
        let heard = hear_streams(&FLUENTD, &[(C, EVENT), (S, b"\x81\xa3ack\xa1x")]);
        assert_eq!(heard.fits, [true, true]);
    }

    #[test]
    fn nothing_else_is_fluentd() {
        is_choosy(&FLUENTD, &[b"\x93\xa7app.log", b"\x92\xa3tag\x91\x92"]);
    }
}
