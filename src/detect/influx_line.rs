//! `InfluxDB` line protocol outside HTTP: measurement, tags, fields, a time.
//! <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>
use super::{
    Directions, FollowState, Info,
    metrics::{is_name_byte, is_number, is_time, lines},
    whole::{Heard, Message, Protocol, Read, Turns},
};
use crate::model::{Credentials, Transport};

pub(super) const INFLUX_LINE: Protocol = Protocol { info: &INFO, turns: Turns::Client, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    lines(heard, "influx-line.point", "name k=v time", may_begin, is_point)
}

/// The time may be left out; then this is left to others, for any `name key=1` would do.
fn is_point(line: &[u8]) -> bool {
    let Some(time) = line.iter().rposition(|b| *b == b' ') else { return false };
    let (head, time) = (line.get(..time).unwrap_or_default(), line.get(time..).unwrap_or_default());
    let time = time.get(1..).unwrap_or_default();
    let Some(fields) = head.iter().position(|b| *b == b' ') else { return false };
    let (series, fields) =
        (head.get(..fields).unwrap_or_default(), head.get(fields..).unwrap_or_default());
    let mut series = series.split(|b| *b == b',');
    let named = series.next().is_some_and(is_name);
    let mut values = fields.get(1..).unwrap_or_default().split(|b| *b == b',');
    let pair = |pair: &[u8], fits: fn(&[u8]) -> bool| {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        let (key, value) = (pair.get(..at).unwrap_or_default(), pair.get(at..).unwrap_or_default());
        is_name(key) && value.get(1..).is_some_and(fits)
    };
    // A string may hold commas: it is looked at no further.
    let mut open = false;
    let fitting = values.all(|value| {
        open |= value.contains(&b'"');
        open || pair(value, is_value)
    });
    let tagged = series.all(|tag| pair(tag, |value| !value.is_empty()));
    named && tagged && fitting && [0, 3, 6, 9].iter().any(|more| is_time(time, *more))
}

fn is_value(value: &[u8]) -> bool {
    let number = value.strip_suffix(b"i").or_else(|| value.strip_suffix(b"u")).unwrap_or(value);
    matches!(value, b"t" | b"f" | b"T" | b"F" | b"true" | b"false") || is_number(number)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| is_name_byte(*b) || matches!(b, b':' | b'\\'))
}

fn may_begin(rest: &[u8]) -> bool {
    let end = rest.iter().position(|b| matches!(b, b',' | b' ')).unwrap_or(rest.len());
    is_name(rest.get(..end).unwrap_or(rest))
        && rest.iter().all(|b| !b.is_ascii_control() || *b == b'\r')
}

static INFO: Info = Info {
    name: "influx-line",
    title: "InfluxDB line protocol",
    spec: "https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/",
    ports: &[8089, 8094],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, datagram, is_choosy, stream};

    #[test]
    fn whole_points_prove_it() {
        let cases: [(&[u8], bool); 9] = [
            (b"cpu,host=web1,region=eu load=0.5,user=3i 1767225600000000000\n", true),
            (b"cpu load=0.5 1767225600", true),
            (b"log,host=a text=\"one, two\",n=1i 1767225600000\n", true),
            (b"cpu load=0.5\n", false),
            (b"cpu load 1767225600\n", false),
            (b"cpu,host load=1 1767225600\n", false),
            (b"cpu load=up 1767225600\n", false),
            (b"a.b 1 1767225600\n", false),
            (b"level=info n=1 1767225600\n", false),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                datagram(&INFLUX_LINE, C, bytes),
                Some(expected),
                "{}",
                bytes.escape_ascii()
            );
            assert_ne!(stream(&INFLUX_LINE, S, bytes), Some(true));
        }
        assert_eq!(stream(&INFLUX_LINE, C, cases[0].0), Some(true));
    }

    #[test]
    fn nothing_else_is_influx_line() {
        is_choosy(&INFLUX_LINE, &[b"cpu,host=a ", b"cpu load=1 "]);
    }
}
