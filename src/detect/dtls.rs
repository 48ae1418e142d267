//! DTLS records. <https://www.rfc-editor.org/rfc/rfc6347#section-4.1>, RFC 9147 (DTLS 1.3), RFC 4347.
//!
//! A datagram of records whose lengths end with it: each with a DTLS version, an early epoch and a small sequence number,
//! and in epoch 0 a sound handshake fragment, alert or `change_cipher_spec`. Sealed records do too, so a flow joined late is
//! told, except for the unified headers of DTLS 1.3, which prove nothing.
use super::{Detector, Directions, Info, Match, Probe, Said, View};
use crate::{
    bytes::{Cursor, Short},
    model::{
        Credentials, Encryption, Mark, Side, Transport,
        dtls::{DtlsRecord, Fragment},
    },
};

pub(super) struct Dtls;

impl Detector for Dtls {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Udp {
            return Probe::No;
        }
        let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
        judge(side, view.side(side))
    }
}

/// Whether the first datagram of a side is DTLS; STUN on the same ports (RFC 7983) and a damaged hello, which will be said
/// again, are passed over.
fn judge(side: Side, said: Said<'_>) -> Probe {
    let (mut rest, mut at) = (said.bytes, 0_usize);
    for _ in 0..DATAGRAMS_MAX {
        let Some((declared, tail)) = rest.split_first_chunk::<2>() else { return Probe::More };
        let declared = usize::from(u16::from_be_bytes(*declared));
        let bytes = tail.get(..declared).unwrap_or(tail);
        match records(side, bytes, declared) {
            Ok(Some(constant)) => {
                let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let (offset, length) = (number(at.saturating_add(2)), number(bytes.len()));
                let mark = Mark { rule: "dtls.records", side, offset, length, constant };
                return Match::encrypted(Encryption::Dtls, mark);
            }
            Err(Short) if bytes.len() < declared => return Probe::More,
            // The other side's words are not damaged ones.
            _ if matches!(records(side.other(), bytes, declared), Ok(Some(_))) => return Probe::No,
            _ if is_stun(bytes) || is_damaged(bytes) => {}
            _ => return Probe::No,
        }
        rest = tail.get(declared..).unwrap_or_default();
        at = at.saturating_add(declared).saturating_add(2);
    }
    Probe::No
}

/// A STUN message with its cookie.
fn is_stun(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first <= 3) && bytes.get(4..8) == Some(&STUN_COOKIE)
}

/// The header of the first records of a handshake, whatever stands behind it.
fn is_damaged(bytes: &[u8]) -> bool {
    matches!(bytes, [DtlsRecord::HANDSHAKE, 0xfe, 0xfd | 0xff, 0, 0, 0, 0, 0, 0, 0, ..])
}

/// What the first record is, if every record is sound and the last one ends with the datagram.
fn records(side: Side, bytes: &[u8], declared: usize) -> Result<Option<&'static str>, Short> {
    let mut cursor = Cursor::new(bytes);
    let mut first = None;
    while !cursor.is_empty() {
        if first.is_some() && matches!(cursor.peek(), Ok(0x20..=0x3f)) {
            // A unified header behind the server's hello of DTLS 1.3.
            return Ok(first);
        }
        let Some(record) = DtlsRecord::read(&mut cursor)? else { return Ok(None) };
        let left = declared.saturating_sub(cursor.at());
        let body = cursor.take(record.length.min(cursor.left()))?;
        let Some(constant) = describe(side, &record, body)? else { return Ok(None) };
        if record.length > left {
            // A copy that was cut: a handshake record has said enough.
            let cut = record.kind == DtlsRecord::HANDSHAKE && record.epoch == 0;
            return Ok(first.or(Some(constant)).filter(|_| cut && body.len() >= CUT_BYTES_MIN));
        }
        first = first.or(Some(constant));
    }
    Ok(first)
}

/// What a record is, if it is one that this side sends.
fn describe(side: Side, record: &DtlsRecord, body: &[u8]) -> Result<Option<&'static str>, Short> {
    if record.epoch > 0 {
        return Ok(Some("sealed record"));
    }
    match (record.kind, body) {
        (DtlsRecord::CHANGE_CIPHER_SPEC, [1, ..]) => Ok(Some("change_cipher_spec")),
        (DtlsRecord::ALERT, [1 | 2, ..]) => Ok(Some("alert")),
        (DtlsRecord::HANDSHAKE, _) => handshake(side, body),
        _ => Ok(None),
    }
}

fn handshake(side: Side, body: &[u8]) -> Result<Option<&'static str>, Short> {
    let mut cursor = Cursor::new(body);
    let Some(fragment) = Fragment::read(&mut cursor)? else { return Ok(None) };
    let fits = |from: &[u8]| from.contains(&fragment.kind);
    let sends = match side {
        Side::Client => fits(&[1, 11, 15, 16, 20]),
        Side::Server => fits(&[0, 2, 3, 4, 11, 12, 13, 14, 22]),
    };
    let opens = fragment.offset == 0 && matches!(fragment.kind, 1..=3);
    let version = if opens && fragment.bytes >= 2 { Some(cursor.u16_be()?) } else { None };
    let known = version.is_none_or(|v| matches!(v, 0xfefd..=0xfeff | DtlsRecord::BAD_VERSION));
    Ok(Some("handshake record").filter(|_| sends && known))
}

const CUT_BYTES_MIN: usize = 24;
const DATAGRAMS_MAX: usize = 4;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

static INFO: Info = Info {
    name: "dtls",
    title: "Datagram Transport Layer Security",
    spec: "https://www.rfc-editor.org/rfc/rfc6347",
    ports: &[443, 853, 4433, 5684],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Start;

    fn judge(side: Side, datagram: &[u8]) -> Probe {
        let bytes = [&u16::try_from(datagram.len()).unwrap().to_be_bytes()[..], datagram].concat();
        super::judge(side, Said { bytes: &bytes, start: Start::Known })
    }

    fn record(kind: u8, version: u16, epoch: u8, body: &[u8]) -> Vec<u8> {
        let [high, low] = version.to_be_bytes();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind, high, low, 0, epoch, 0, 0, 0, 0, 0, 1], &length[..], body].concat()
    }

    /// A fragment of a message of 60 bytes.
    fn fragment(kind: u8, offset: u8, body: &[u8]) -> Vec<u8> {
        let bytes = u8::try_from(body.len()).unwrap();
        [&[kind, 0, 0, 60, 0, 0, 0, 0, offset, 0, 0, bytes], body].concat()
    }

    #[test]
    fn records_prove_the_side_that_sends_them() {
        let hello = fragment(1, 0, &[&[0xfe, 0xfd][..], &[7; 40]].concat());
        let old = fragment(1, 0, &[&[0x01, 0x00][..], &[7; 40]].concat());
        let answer = fragment(2, 0, &[&[0xfe, 0xfd][..], &[7; 58]].concat());
        let flight =
            [record(22, 0xfefd, 0, &answer), record(22, 0xfefd, 0, &fragment(14, 0, &[1; 4]))];
        let new = [&record(22, 0xfefd, 0, &answer)[..], b"\x2e\x11\x22\x00\x05abcde"].concat();
        let sealed = [record(20, 0xfefd, 0, &[1]), record(22, 0xfefd, 1, &[9; 40])].concat();
        let cases: [(&str, Vec<u8>, bool, bool); 10] = [
            ("ClientHello", record(22, 0xfeff, 0, &hello), true, false),
            (
                "ClientHello, later piece",
                record(22, 0xfeff, 0, &fragment(1, 20, &[1; 30])),
                true,
                false,
            ),
            ("ClientHello before the standard", record(22, 0x0100, 0, &old), true, false),
            ("ClientHello, cut copy", record(22, 0xfeff, 0, &hello)[..50].to_vec(), true, false),
            ("ServerHello", record(22, 0xfefd, 0, &answer), false, true),
            ("ServerHello and more", flight.concat(), false, true),
            ("ServerHello of 1.3", new, false, true),
            ("Finished", sealed, true, true),
            ("alert", record(21, 0xfefd, 0, &[2, 40]), true, true),
            ("data", record(23, 0xfefd, 1, &[9; 40]), true, true),
        ];
        for (what, datagram, client, server) in cases {
            assert_eq!(judge(Side::Client, &datagram) != Probe::No, client, "client {what}");
            assert_eq!(judge(Side::Server, &datagram) != Probe::No, server, "server {what}");
            assert_ne!(judge(Side::Client, &datagram), Probe::More, "{what}");
        }
    }

    #[test]
    fn flaws_and_look_alikes_are_not_dtls() {
        let hello = fragment(1, 0, &[&[0xfe, 0xfd][..], &[7; 40]].concat());
        let good = record(22, 0xfeff, 0, &hello);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let cases: [(&str, Vec<u8>); 7] = [
            ("content type 26", with(0, 26)),
            ("TLS version", with(1, 3)),
            ("epoch of 256", with(3, 1)),
            ("sequence number of 2^40", with(5, 1)),
            ("data in clear", record(23, 0xfefd, 0, &[9; 40])),
            ("TLS", b"\x16\x03\x01\x00\x31\x01\x00\x00\x2d\x03\x03".to_vec()),
            ("unified header", b"\x2e\x11\x22\x00\x05abcde".to_vec()),
        ];
        for (what, datagram) in cases {
            assert_eq!(judge(Side::Client, &datagram), Probe::No, "{what}");
            assert_eq!(judge(Side::Server, &datagram), Probe::No, "{what} from the server");
        }
    }

    #[test]
    fn a_damaged_hello_and_stun_are_passed_over() {
        let hello = fragment(1, 0, &[&[0xfe, 0xfd][..], &[7; 40]].concat());
        let good = record(22, 0xfeff, 0, &hello);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let stun = [&b"\x00\x01\x00\x00\x21\x12\xa4\x42"[..], &[5; 12]].concat();
        let cases: [(&str, Vec<u8>); 6] = [
            ("STUN", stun),
            ("body that ends early", with(12, 53)),
            ("message type 99", with(13, 99)),
            ("fragment beyond its message", with(21, 60)),
            ("hello of TLS 1.2", with(25, 3)),
            ("byte behind", [&good[..], b"\0"].concat()),
        ];
        let framed = |datagram: &[u8]| {
            [&u16::try_from(datagram.len()).unwrap().to_be_bytes()[..], datagram].concat()
        };
        for (what, datagram) in cases {
            assert_eq!(judge(Side::Client, &datagram), Probe::More, "{what}");
            let bytes = [framed(&datagram), framed(&good)].concat();
            let said = |bytes| Said { bytes, start: Start::Known };
            let Probe::Match(found) = super::judge(Side::Client, said(&bytes)) else {
                panic!("{what}, then a sound hello");
            };
            assert_eq!(usize::try_from(found.mark.offset).unwrap(), 4 + datagram.len());
            let bytes = [framed(&datagram), framed(b"something else altogether")].concat();
            assert_eq!(super::judge(Side::Client, said(&bytes)), Probe::No, "{what}");
            let bytes = framed(&datagram).repeat(4);
            assert_eq!(super::judge(Side::Client, said(&bytes)), Probe::No, "{what}, four times");
        }
    }

    #[test]
    fn random_datagrams_never_match() {
        let mut seed = 0xd715_u64;
        let mut bytes = [0_u8; 64];
        for round in 0..500_000_usize {
            for chunk in bytes.chunks_mut(4) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chunk.copy_from_slice(&((seed >> 32) as u32).to_be_bytes()[..chunk.len()]);
            }
            bytes[0] = 20 + (bytes[0] & 3);
            let datagram = &bytes[..14 + round % 50];
            assert_eq!(judge(Side::Client, datagram), Probe::No);
            assert_eq!(judge(Side::Server, datagram), Probe::No);
        }
    }
}
