//! Line Printer Daemon: a job for a queue, then its control or data file. <https://www.rfc-editor.org/rfc/rfc1179>
//!
//! The commands are a byte and a word: both of the first two are needed. The printer answers with zeros.
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, demand, text_line},
};
use crate::model::{Credentials, Side, Transport};

pub(super) const LPD: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    if heard.side == Side::Server {
        demand(cursor.u8()? == 0)?;
        return Ok(Message::weak(heard.bytes.len()));
    }
    demand(cursor.u8()? == RECEIVE_JOB)?;
    let rest = cursor.rest();
    let fits = |b: &u8| b.is_ascii_graphic();
    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    demand(end <= QUEUE_BYTES_MAX && rest.get(..end).is_some_and(|queue| queue.iter().all(fits)))?;
    let queue = text_line(&mut cursor, QUEUE_BYTES_MAX.saturating_add(1))?;
    demand(!queue.is_empty())?;
    let kind = cursor.u8()?;
    demand(matches!(kind, CONTROL_FILE | DATA_FILE))?;
    let line = text_line(&mut cursor, LINE_BYTES_MAX)?;
    let mut words = line.splitn(2, |b| *b == b' ');
    let (size, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let prefix = if kind == CONTROL_FILE { b"cfA" } else { b"dfA" };
    let number = name
        .strip_prefix(prefix)
        .is_some_and(|rest| matches!(rest, [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', _, ..]));
    demand(!size.is_empty() && size.iter().all(u8::is_ascii_digit) && number)?;
    let constant = if kind == CONTROL_FILE { "cfA" } else { "dfA" };
    Ok(Message::proof(heard.bytes.len(), "lpd.job", constant))
}

const RECEIVE_JOB: u8 = 2;
const CONTROL_FILE: u8 = 2;
const DATA_FILE: u8 = 3;
const QUEUE_BYTES_MAX: usize = 128;
const LINE_BYTES_MAX: usize = 256;

static INFO: Info = Info {
    name: "lpd",
    title: "Line Printer Daemon",
    spec: "https://www.rfc-editor.org/rfc/rfc1179",
    ports: &[515],
    transports: &[Transport::Tcp],
    directions: Directions::Client,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, stream};

    #[test]
    fn a_queue_and_a_file_prove_a_job() {
        let cases: [(&[u8], Option<bool>); 6] = [
            (b"\x02raw\n\x02131 cfA001host\n", Some(true)),
            (b"\x02raw\n\x034000 dfA001host\n", Some(true)),
            (b"\x02raw\n", None),
            (b"\x02raw\n\x02131 dfA001host\n", Some(false)),
            (b"\x02raw\n\x04", Some(false)),
            (b"\x02\x01", Some(false)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(stream(&LPD, C, bytes), expected, "{}", bytes.escape_ascii());
        }
        let lines: [(Side, &[u8]); 4] =
            [(C, b"\x02raw\n"), (S, b"\0"), (C, b"\x029 cfA001h\n"), (S, b"\0")];
        assert_eq!(hear_streams(&LPD, &lines).fits, [true, true]);
    }

    #[test]
    fn nothing_else_is_lpd() {
        is_choosy(&LPD, &[b"\x02raw\n", b"\x02raw\n\x0212 cfA0"]);
    }
}
