//! `StatsD`: lines of a name, a value and a type. <https://github.com/statsd/statsd/blob/master/docs/metric_types.md>
//! Datadog's additions: <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/>
use super::{
    Directions, FollowState, Info,
    metrics::{is_name_byte, is_number, lines},
    whole::{Heard, Message, Protocol, Read, Turns, demand},
};
use crate::model::{Credentials, Transport};

pub(super) const STATSD: Protocol = Protocol { info: &INFO, turns: Turns::Client, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    demand(heard.datagram.is_none_or(|length| length >= DATAGRAM_BYTES_MIN))?;
    lines(heard, "statsd.metric", "name:value|type", may_begin, is_metric)
}

fn is_metric(line: &[u8]) -> bool {
    let mut parts = line.split(|b| *b == b'|');
    let (Some(head), Some(kind)) = (parts.next(), parts.next()) else { return false };
    // An event, `_e{5,4}:title|text`, or a service check, `_sc|name|0`.
    let event = head.strip_prefix(b"_e{").and_then(|e| e.iter().position(|b| *b == b'}'));
    if let Some(end) = event {
        let lengths = head.get(3..).and_then(|lengths| lengths.get(..end)).unwrap_or_default();
        return lengths.iter().all(|b| matches!(b, b'0'..=b'9' | b',')) && lengths.contains(&b',');
    }
    if head == b"_sc" {
        return is_name(kind) && parts.next().is_some_and(|s| matches!(s, [b'0'..=b'3']));
    }
    let Some(colon) = head.iter().rposition(|b| *b == b':') else { return false };
    let (name, value) =
        (head.get(..colon).unwrap_or_default(), head.get(colon..).unwrap_or_default());
    let value = value.get(1..).unwrap_or_default();
    // Several values may share a name.
    let name = name.split(|b| *b == b':').next().unwrap_or(name);
    let counted = match kind {
        b"c" | b"g" | b"ms" | b"h" | b"d" | b"m" => is_number(value),
        b"s" => !value.is_empty() && value.iter().all(u8::is_ascii_graphic),
        _ => false,
    };
    let sections = |part: &[u8]| {
        let rated = part.strip_prefix(b"@").is_some_and(is_number);
        rated || matches!(part, [b'#' | b'c' | b'T' | b'e', ..])
    };
    is_name(name) && counted && parts.all(sections)
}

fn may_begin(rest: &[u8]) -> bool {
    let end = rest.iter().position(|b| matches!(b, b':' | b'|')).unwrap_or(rest.len());
    let name = rest.get(..end).unwrap_or(rest);
    name.is_empty() || is_name(name) || name.starts_with(b"_e{")
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| is_name_byte(*b))
}

/// Less is too little grammar.
const DATAGRAM_BYTES_MIN: usize = 7;

static INFO: Info = Info {
    name: "statsd",
    title: "StatsD",
    spec: "https://github.com/statsd/statsd/blob/master/docs/metric_types.md",
    ports: &[8125],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, datagram, hear_datagrams, is_choosy, stream};

    #[test]
    fn whole_lines_prove_it() {
        let cases: [(&[u8], bool); 14] = [
            (b"page.views:1|c", true),
            (b"fuel.level:0.5|g\nsong.length:240|h|@0.5\n", true),
            (b"users.uniques:a-1|s", true),
            (b"users.online:1|c|#country:china,city:x", true),
            (b"page.time:320:15:7|ms", true),
            (b"_e{5,4}:title|text|#tag", true),
            (b"_sc|db.up|0|#tag", true),
            (b"a:1|c", false),
            (b"page.views:1|q", false),
            (b"page.views:x|c", false),
            (b"page views:1|c", false),
            (b"page.views:1|c|x", false),
            (b"page.views:1|c\nwords\n", false),
            (b"Host: a|b", false),
        ];
        for (bytes, expected) in cases {
            assert_eq!(datagram(&STATSD, C, bytes), Some(expected), "{}", bytes.escape_ascii());
            assert_eq!(datagram(&STATSD, S, bytes), Some(false));
        }
        assert_eq!(stream(&STATSD, C, b"page.views:1|c\n"), Some(true));
        assert_eq!(stream(&STATSD, C, b"page.views:1|c"), None);
        let heard = hear_datagrams(&STATSD, &[(C, cases[0].0), (C, cases[0].0)]);
        assert_eq!(heard.fits, [true, false]);
    }

    #[test]
    fn nothing_else_is_statsd() {
        is_choosy(&STATSD, &[b"page.v"]);
    }
}
