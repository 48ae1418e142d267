//! PROXY protocol versions 1 and 2: a preamble that names the real client, then any other protocol.
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Step, View,
};
use crate::{
    bytes::{Cursor, Short, find},
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Proxy;

impl Detector for Proxy {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        match header(view.client.bytes) {
            Ok(Some(header)) => Match::preamble(header.mark()),
            Ok(None) => Probe::No,
            Err(Short) => Probe::More,
        }
    }

    fn follow(&self, _state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        if side == Side::Server {
            return Step::WAIT;
        }
        let Ok(Some(header)) = header(said.bytes) else { return Step::WAIT };
        if said.bytes.len() < header.length {
            return Step::WAIT;
        }
        let next = Next::Layer { upgrade: Some(header.version), other: OtherSide::Here };
        Step { consumed: header.length, facts: Facts::FITS, next }
    }
}

/// A proven header.
struct Header {
    /// Value of `upgrade`.
    version: &'static str,
    /// Bytes before the inner protocol.
    length: usize,
}

impl Header {
    fn mark(&self) -> Mark {
        let (rule, constant) = match self.version {
            V1 => ("proxy.v1", "PROXY"),
            _ => ("proxy.v2", "0D0A0D0A000D0A515549540A"),
        };
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        Mark { rule, side: Side::Client, offset: 0, length, constant }
    }
}

/// The header at the start of `bytes`; `None` when they begin otherwise.
fn header(bytes: &[u8]) -> Result<Option<Header>, Short> {
    if bytes.first() == SIGNATURE.first() { binary(bytes) } else { text(bytes) }
}

/// Version 1: one line of at most 107 bytes.
fn text(bytes: &[u8]) -> Result<Option<Header>, Short> {
    let shown = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let may_be = |start: &&[u8]| start.iter().zip(shown).all(|(a, b)| a == b);
    let starts: [&[u8]; 4] =
        [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r\n"];
    if !starts.iter().any(may_be) {
        return Ok(None);
    }
    let Some(end) = find(shown, b"\r\n") else {
        let full = shown.len() == V1_BYTES_MAX;
        return if full { Ok(None) } else { Err(Short) };
    };
    let line = shown.get(..end).unwrap_or_default();
    let header = Header { version: V1, length: end.saturating_add(2) };
    Ok(addresses(line).then_some(header))
}

/// Whether family, addresses and ports of a version 1 line agree.
fn addresses(line: &[u8]) -> bool {
    let Ok(line) = str::from_utf8(line) else { return false };
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return line.bytes().all(|b| (0x20..0x7f).contains(&b));
    }
    let [source, destination] = [words.next().unwrap_or(""), words.next().unwrap_or("")];
    let addressed = match family {
        Some("TCP4") => [source, destination].iter().all(|a| a.parse::<Ipv4Addr>().is_ok()),
        _ => [source, destination].iter().all(|a| a.parse::<Ipv6Addr>().is_ok()),
    };
    let port = |word: Option<&str>| {
        word.is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit()) && w.parse::<u16>().is_ok())
    };
    addressed && port(words.next()) && port(words.next()) && words.next().is_none()
}

/// Version 2: signature, version and command, family and transport, length.
fn binary(bytes: &[u8]) -> Result<Option<Header>, Short> {
    if SIGNATURE.iter().zip(bytes).any(|(a, b)| a != b) {
        return Ok(None);
    }
    let mut cursor = Cursor::new(bytes);
    cursor.skip(SIGNATURE.len())?;
    let local = match cursor.u8()? {
        0x20 => true,
        0x21 => false,
        _ => return Ok(None),
    };
    let addresses_length = match cursor.u8()? {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Ok(None),
    };
    let length = usize::from(cursor.u16_be()?);
    // A LOCAL header (health check) may leave the addresses out.
    let fits = length <= V2_LENGTH_MAX && (local || length >= addresses_length);
    let header = Header { version: V2, length: cursor.at().saturating_add(length) };
    Ok(fits.then_some(header))
}

const V1: &str = "proxy-v1";
const V2: &str = "proxy-v2";

/// Longest version 1 line with its CRLF (section 2.1).
const V1_BYTES_MAX: usize = 107;

/// Section 2.2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Longest version 2 remainder believed. Real ones, TLVs included, stay below 600 bytes; the whole header must fit in
/// what `follow` is shown.
const V2_LENGTH_MAX: usize = 1536;

static INFO: Info = Info {
    name: "proxy",
    title: "PROXY protocol",
    spec: "https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt",
    ports: &[],
    transports: &[Transport::Tcp],
    directions: Directions::Client,
    midstream: false,
    upgrades: &[V1, V2],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, probe_side};

    fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), rest].concat()
    }

    #[test]
    fn headers_are_recognised_and_the_inner_layer_begins_right_after() {
        let table: [(&[u8], &str); 9] = [
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 56324 443\r\n", V1),
            (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", V1),
            (b"PROXY UNKNOWN\r\n", V1),
            (b"PROXY UNKNOWN ff::1 ff::2 65535 65535\r\n", V1),
            (&v2(0x21, 0x11, 12, &[0; 12]), V2),
            (&v2(0x21, 0x21, 36, &[0; 36]), V2),
            (&v2(0x20, 0x00, 0, &[]), V2),
            (&v2(0x21, 0x00, 7, &[4, 0, 4, 1, 2, 3, 4]), V2),
            // AWS: IPv4, then TLV 0xEA (VPC endpoint id).
            (
                &v2(
                    0x21,
                    0x11,
                    20,
                    &[&[0; 12][..], &[0xea, 0, 5, 1, b'v', b'p', b'c', b'e']].concat(),
                ),
                V2,
            ),
        ];
        for (bytes, version) in table {
            let with_inner = [bytes, b"\x16\x03\x01\x02\x00"].concat();
            let heard = hear(&Proxy, &[(Side::Client, &with_inner)]);
            assert_eq!(heard.encryption, None, "a preamble is never the verdict");
            assert_eq!(heard.layer, Some((Some(version), Some(bytes.len()), Some(0))), "{bytes:?}");
            assert!(matches!(probe_side(&Proxy, Side::Client, &with_inner), Probe::Match(_)));
        }
    }

    #[test]
    fn server_bytes_wait_for_the_inner_layer() {
        let heard = hear(
            &Proxy,
            &[
                (Side::Client, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r"),
                (Side::Server, b"220 early\r\n"),
                (Side::Client, b"\nEHLO a\r\n"),
            ],
        );
        assert_eq!(heard.layer, Some((Some(V1), Some(32), Some(0))));
    }

    #[test]
    fn look_alikes_are_refused() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        let table: [&[u8]; 16] = [
            b"PROXY\r\n",
            b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            b"PROXYS TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"GET / HTTP/1.1\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            &long,
            &v2(0x11, 0x11, 12, &[0; 12]),
            &v2(0x21, 0x41, 12, &[0; 12]),
            &v2(0x21, 0x21, 12, &[0; 12]),
        ];
        for bytes in table {
            assert_eq!(probe_side(&Proxy, Side::Client, bytes), Probe::No, "{bytes:?}");
        }
        assert_eq!(probe_side(&Proxy, Side::Client, &v2(0x21, 0x11, 9000, &[])), Probe::No);
        assert_eq!(probe_side(&Proxy, Side::Server, b"PROXY UNKNOWN\r\n"), Probe::More);
    }
}
