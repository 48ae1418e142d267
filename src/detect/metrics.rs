//! Lines of metrics: what graphite, `StatsD` and the line protocol of `InfluxDB` share.
use super::whole::{Flaw, Heard, Message, Read, demand, line_or_rest};
use crate::model::Side;

/// Reads the first line, which `fits` proves; of a datagram, all of them have to fit.
pub(super) fn lines(
    heard: &Heard<'_>,
    rule: &'static str,
    constant: &'static str,
    may_begin: fn(&[u8]) -> bool,
    fits: fn(&[u8]) -> bool,
) -> Read<Message> {
    demand(heard.side == Side::Client)?;
    let mut cursor = heard.cursor();
    for read in 0..LINES_MAX {
        let rest = cursor.rest();
        let line = match line_or_rest(heard, &mut cursor, LINE_BYTES_MAX) {
            // The view ends inside a long datagram.
            Err(Flaw::Short) if heard.datagram.is_some() && read > 0 => break,
            Err(flaw) => {
                demand(may_begin(rest))?;
                return Err(flaw);
            }
            Ok(line) => line.strip_suffix(b"\r").unwrap_or(line),
        };
        demand(fits(line))?;
        if cursor.is_empty() || heard.datagram.is_none() {
            break;
        }
    }
    Ok(Message::proof(heard.bytes.len(), rule, constant))
}

/// `12`, `-0.5`, `1e9`, `nan`.
pub(super) fn is_number(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").or_else(|| word.strip_prefix(b"+")).unwrap_or(word);
    let formed = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    digits.eq_ignore_ascii_case(b"nan") || formed && digits.first().is_some_and(u8::is_ascii_digit)
}

/// A time between 2001 and 2128, in whole seconds with `more` further digits.
pub(super) fn is_time(word: &[u8], more: usize) -> bool {
    let digits = word.len() == more.saturating_add(10) && word.iter().all(u8::is_ascii_digit);
    digits && matches!(word.first(), Some(b'1'..=b'4'))
}

/// Characters of metric names.
pub(super) const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'%' | b'*' | b'~')
}

const LINES_MAX: usize = 64;
const LINE_BYTES_MAX: usize = 1024;
