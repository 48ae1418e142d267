//! Syslog: a priority in angle brackets, then a header. <https://www.rfc-editor.org/rfc/rfc5424#section-6>, in datagrams
//! (RFC 5426), or in a stream behind octet counts or as lines (RFC 6587); and what was sent before (RFC 3164).
//!
//! In a datagram the priority and text to the end will do: devices write all sorts of headers. In a stream a full
//! time stamp has to follow.
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand, expect},
};
use crate::{
    bytes::{Cursor, is_text},
    model::{Credentials, Side, Transport},
};

pub(super) const SYSLOG: Protocol = Protocol { info: &INFO, turns: Turns::Client, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    demand(heard.side == Side::Client)?;
    let mut cursor = heard.cursor();
    let mut end = heard.bytes.len();
    if heard.datagram.is_none() && cursor.peek()?.is_ascii_digit() {
        let count = number(&mut cursor, b' ', COUNT_DIGITS_MAX)?;
        demand(count >= MESSAGE_BYTES_MIN)?;
        end = cursor.at().saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
    }
    expect(&mut cursor, b"<")?;
    demand(number(&mut cursor, b'>', 3)? <= PRIORITY_MAX)?;
    match header(&mut cursor) {
        Ok(constant) => Ok(Message::proof(end, "syslog.header", constant)),
        Err(_) if heard.datagram.is_some() => {
            let text = cursor.rest();
            let ending = text.iter().rev().take_while(|b| **b == 0).count();
            let text = text.get(..text.len().saturating_sub(ending)).unwrap_or_default();
            // An older character set has a letter here and there.
            let odd = text.iter().filter(|b| !b.is_ascii()).count();
            let letters = str::from_utf8(text).is_ok() || odd <= text.len() / 8;
            demand(text.len() >= TEXT_BYTES_MIN && is_text(text) && letters)?;
            Ok(Message::proof(end, "syslog.priority", "<PRI>"))
        }
        Err(flaw) => Err(flaw),
    }
}

/// A decimal number of at most `digits` digits without leading zeros, and the byte after it.
fn number(cursor: &mut Cursor<'_>, end: u8, digits: usize) -> Read<u32> {
    let mut number = 0_u32;
    for at in 0..=digits {
        match cursor.u8()? {
            digit @ b'0'..=b'9' if at < digits && (at == 0 || number > 0) => {
                number = number.saturating_mul(10).saturating_add(u32::from(digit & 0x0f));
            }
            byte => {
                demand(byte == end && at > 0)?;
                return Ok(number);
            }
        }
    }
    Err(Flaw::Foreign)
}

/// Version 1 and a time stamp or none (RFC 5424), such a time stamp alone, or that of RFC 3164.
fn header(cursor: &mut Cursor<'_>) -> Read<&'static str> {
    let month = MONTHS.iter().any(|m| m.first() == cursor.rest().first());
    if cursor.peek()?.is_ascii_digit() {
        let mut ahead = *cursor;
        if ahead.u8()? == b'1' && ahead.u8()? == b' ' {
            if ahead.peek()? == b'-' {
                expect(&mut ahead, b"- ")?;
                return Ok("<PRI>1 -");
            }
            pattern(&mut ahead, b"0000-00-00T00:00:00")?;
            return Ok("<PRI>1 TIMESTAMP");
        }
        pattern(cursor, b"0000-00-00T00:00:00")?;
        return Ok("<PRI>TIMESTAMP");
    }
    demand(month)?;
    let name = cursor.take(3)?;
    demand(MONTHS.contains(&name))?;
    pattern(cursor, b" _0 00:00:00 ")?;
    Ok("<PRI>Mmm dd hh:mm:ss")
}

/// Zero stands for a digit, an underscore for a digit or a space.
fn pattern(cursor: &mut Cursor<'_>, form: &[u8]) -> Read<()> {
    for want in form {
        let byte = cursor.u8()?;
        demand(match want {
            b'0' => byte.is_ascii_digit(),
            b'_' => byte.is_ascii_digit() || byte == b' ',
            _ => byte == *want,
        })?;
    }
    Ok(())
}

const PRIORITY_MAX: u32 = 191;
const COUNT_DIGITS_MAX: usize = 5;
const MESSAGE_BYTES_MIN: u32 = 8;
const TEXT_BYTES_MIN: usize = 5;
const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

static INFO: Info = Info {
    name: "syslog",
    title: "Syslog",
    spec: "https://www.rfc-editor.org/rfc/rfc5424",
    ports: &[514, 601],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{
        C, S, datagram, hear_datagrams, hear_streams, is_choosy, late, stream,
    };

    const NEW: &[u8] = b"<34>1 2026-10-11T22:14:15.003Z host app 1 ID47 - ready\n";
    const OLD: &[u8] = b"<133>Apr  5 12:56:51 robin: Hello\n";

    #[test]
    fn headers_prove_streams_and_text_proves_datagrams() {
        let cases: [(&[u8], Option<bool>, bool); 15] = [
            (NEW, Some(true), true),
            (OLD, Some(true), true),
            (b"<0>2026-10-11T22:14:15+02:00 host app: x", Some(true), true),
            (b"<191>1 - - - - - -", Some(true), true),
            (b"<189>45: *Mar  1 18:46:11: %SYS-5-CONFIG_I: x\0", Some(false), true),
            (b"<13>root: hello", Some(false), true),
            (b"54 <34>1 2026-10-11T22:14:15.003Z host app 1 ID47 - ready", Some(true), false),
            (b"54 <34>x", Some(false), false),
            (b"<34>1 2026-10-1", None, true),
            (b"<192>Apr  5 12:56:51 x", Some(false), false),
            (b"<01>Apr  5 12:56:51 x", Some(false), false),
            (b"<>Apr  5 12:56:51 x", Some(false), false),
            (b"<34>x\x01\x02\x03\x04", Some(false), false),
            (b"<34>\0\0\0\0", Some(false), false),
            (b"<html>", Some(false), false),
        ];
        for (bytes, tcp, udp) in cases {
            assert_eq!(stream(&SYSLOG, C, bytes), tcp, "{}", bytes.escape_ascii());
            assert_eq!(late(&SYSLOG, C, bytes), tcp);
            assert_eq!(datagram(&SYSLOG, C, bytes), Some(udp), "{}", bytes.escape_ascii());
            assert_eq!(datagram(&SYSLOG, S, bytes), Some(false));
        }
    }

    #[test]
    fn nobody_answers() {
        assert_eq!(hear_datagrams(&SYSLOG, &[(C, OLD), (C, NEW)]).fits, [true, false]);
        assert_eq!(hear_streams(&SYSLOG, &[(C, OLD), (C, NEW)]).fits, [true, false]);
    }

    #[test]
    fn nothing_else_is_syslog() {
        is_choosy(&SYSLOG, &[b"<3", b"<", b"55 <3"]);
    }
}
