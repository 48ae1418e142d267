//! Graphite's Carbon: lines of a dotted path, a value and a time; or a pickled list of them behind its length.
//! <https://graphite.readthedocs.io/en/stable/feeding-carbon.html>
use super::{
    Directions, FollowState, Info,
    metrics::{is_name_byte, is_number, is_time, lines},
    whole::{Heard, Message, Protocol, Read, Turns, demand},
};
use crate::model::{Credentials, Side, Transport};

pub(super) const GRAPHITE: Protocol = Protocol { info: &INFO, turns: Turns::Client, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    if heard.datagram.is_none() && heard.cursor().peek()? == 0 {
        return pickle(heard);
    }
    lines(heard, "graphite.line", "path value time", may_begin, is_metric)
}

fn is_metric(line: &[u8]) -> bool {
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let (path, value, time) = (words.next(), words.next(), words.next());
    let dotted = path.is_some_and(|path| is_path(path) && path.contains(&b'.'));
    let timed = time.is_some_and(|time| {
        is_time(time, 0) || time.split_once_dot().is_some_and(|seconds| is_time(seconds, 0))
    });
    dotted && value.is_some_and(is_number) && timed && words.next().is_none()
}

/// The whole seconds of a time with a fraction.
trait Seconds {
    fn split_once_dot(&self) -> Option<&[u8]>;
}

impl Seconds for [u8] {
    fn split_once_dot(&self) -> Option<&[u8]> {
        let at = self.iter().position(|b| *b == b'.')?;
        let (seconds, fraction) = self.split_at_checked(at)?;
        fraction.iter().skip(1).all(u8::is_ascii_digit).then_some(seconds)
    }
}

fn may_begin(rest: &[u8]) -> bool {
    let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
    let (path, more) = (rest.get(..end).unwrap_or(rest), rest.get(end..).unwrap_or_default());
    is_path(path)
        && more.iter().all(|b| {
            matches!(
                b,
                b' ' | b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+' | b'n' | b'a' | b'N' | b'\r'
            )
        })
}

/// A path; since 1.1 tags may follow it.
fn is_path(path: &[u8]) -> bool {
    let first = path.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    first && path.iter().all(|b| is_name_byte(*b) || matches!(b, b';' | b'=' | b':'))
}

/// Length, protocol 2 or later, a list; STOP is the last byte.
fn pickle(heard: &Heard<'_>) -> Read<Message> {
    demand(heard.side == Side::Client)?;
    let mut cursor = heard.cursor();
    let length = usize::try_from(cursor.u32_be()?).unwrap_or(usize::MAX);
    demand((PICKLE_BYTES_MIN..=PICKLE_BYTES_MAX).contains(&length))?;
    let end = cursor.at().saturating_add(length);
    demand(cursor.u8()? == 0x80 && matches!(cursor.u8()?, 2..=5))?;
    let mut opcode = cursor.u8()?;
    if opcode == 0x95 {
        // FRAME and its length.
        cursor.skip(8)?;
        opcode = cursor.u8()?;
    }
    // EMPTY_LIST, BINPUT or MEMOIZE, MARK or what the one item is made of.
    demand(opcode == b']')?;
    demand(match cursor.u8()? {
        b'q' => cursor.u8()? == 0,
        0x94 => true,
        _ => false,
    })?;
    demand(matches!(cursor.u8()?, b'(' | b'X' | b'U' | 0x8c))?;
    if length <= PICKLE_WHOLE_BYTES {
        demand(heard.whole(end)?.last() == Some(&b'.'))?;
    }
    Ok(Message::proof(end, "graphite.pickle", "PROTO EMPTY_LIST"))
}

const PICKLE_BYTES_MIN: usize = 12;
const PICKLE_BYTES_MAX: usize = 1 << 20;
/// Up to here the last byte is waited for.
const PICKLE_WHOLE_BYTES: usize = 1024;

static INFO: Info = Info {
    name: "graphite",
    title: "Graphite Carbon",
    spec: "https://graphite.readthedocs.io/en/stable/feeding-carbon.html",
    ports: &[2003, 2004],
    transports: &[Transport::Tcp, Transport::Udp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, datagram, hear_streams, is_choosy, late, stream};

    #[test]
    fn whole_lines_prove_it() {
        let cases: [(&[u8], Option<bool>); 10] = [
            (b"servers.web1.load 0.52 1767225600\n", Some(true)),
            (b"servers.web1.load;dc=fra 1e3 1767225600.25\nx", Some(true)),
            (b"servers.web1.load nan 1767225600\r\n", Some(true)),
            (b"servers.web1.load 0.52 17672256", None),
            (b"servers.web1.load 0.52 12\n", Some(false)),
            (b"load 0.52 1767225600\n", Some(false)),
            (b"servers.web1.load up 1767225600\n", Some(false)),
            (b"a.b 1 1767225600 5\n", Some(false)),
            (b"touch a.key 1767225600\r\n", Some(false)),
            (b".x 1 1767225600\n", Some(false)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(stream(&GRAPHITE, C, bytes), expected, "{}", bytes.escape_ascii());
            assert_eq!(late(&GRAPHITE, C, bytes), expected);
            assert_ne!(stream(&GRAPHITE, S, bytes), Some(true));
        }
        let two = b"a.b 1 1767225600\nc.d 2 1767225600";
        assert_eq!(datagram(&GRAPHITE, C, two), Some(true));
        assert_eq!(datagram(&GRAPHITE, C, b"a.b 1 1767225600\nwords\n"), Some(false));
        assert_eq!(hear_streams(&GRAPHITE, &[(C, two)]).fits, [true, false]);
    }

    #[test]
    fn pickles_prove_it_too() {
        let pickled = b"\x80\x02]q\0(X\x03\0\0\0a.bq\x01J\x80\xc3\x55\x69K\x01\x86q\x02\x86q\x03e.";
        let length = u32::try_from(pickled.len()).unwrap().to_be_bytes();
        let framed = [&length[..], pickled].concat();
        assert_eq!(stream(&GRAPHITE, C, &framed), Some(true));
        assert_eq!(stream(&GRAPHITE, C, &framed[..20]), None);
        let mut wrong = [framed, b"x".to_vec()].concat();
        wrong[3] += 1;
        assert_eq!(stream(&GRAPHITE, C, &wrong), Some(false), "no STOP at its end");
    }

    #[test]
    fn nothing_else_is_graphite() {
        is_choosy(&GRAPHITE, &[b"a.b 1 ", b"\0\0\0\x40\x80\x02]"]);
    }
}
