//! Test bench for protocols of whole messages.
use crate::{
    detect::{
        Detector, FollowState, Next, Probe, Said, Start, View,
        check::{Heard, hear, probe_side},
    },
    model::{Side, Transport},
};

pub(in crate::detect) const C: Side = Side::Client;
pub(in crate::detect) const S: Side = Side::Server;

fn told(probe: Probe) -> Option<bool> {
    match probe {
        Probe::More => None,
        answer => Some(matches!(answer, Probe::Match(_))),
    }
}

/// What one side's stream alone tells: yes, no, or not yet. Every prefix is asked.
#[track_caller]
pub(in crate::detect) fn stream(detector: &dyn Detector, side: Side, bytes: &[u8]) -> Option<bool> {
    told(probe_side(detector, side, bytes))
}

/// The same of a stream joined late.
pub(in crate::detect) fn late(detector: &dyn Detector, side: Side, bytes: &[u8]) -> Option<bool> {
    told(ask(detector, Transport::Tcp, side, bytes, Start::Unknown))
}

/// What one side's datagram alone tells.
pub(in crate::detect) fn datagram(
    detector: &dyn Detector,
    side: Side,
    bytes: &[u8],
) -> Option<bool> {
    told(ask(detector, Transport::Udp, side, &framed(bytes), Start::Known))
}

fn ask(
    detector: &dyn Detector,
    transport: Transport,
    side: Side,
    bytes: &[u8],
    start: Start,
) -> Probe {
    let view = View::new(transport, Said { bytes, start }, Said { bytes: &[], start });
    detector.probe(&if side == Side::Client { view } else { view.swapped() })
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// Plays a dialogue of datagrams.
pub(in crate::detect) fn hear_datagrams(detector: &dyn Detector, lines: &[(Side, &[u8])]) -> Heard {
    let mut heard = Heard::default();
    let (mut said, mut state) = ([Vec::new(), Vec::new()], FollowState::default());
    for (side, bytes) in lines {
        said[usize::from(*side == S)].extend(framed(bytes));
        if heard.matched.is_none() {
            let all = |i: usize| Said { bytes: &said[i], start: Start::Known };
            let view = View::new(Transport::Udp, all(0), all(1));
            let Probe::Match(found) = detector.probe(&view) else { continue };
            (heard.matched, heard.encryption) = (Some(found), found.encryption);
        }
        for (i, side) in [C, S].into_iter().enumerate() {
            while !said[i].is_empty() {
                let bytes = said[i].clone();
                let step =
                    detector.follow(&mut state, side, Said { bytes: &bytes, start: Start::Known });
                let facts = step.facts;
                heard.fits[i] |= facts.fits;
                heard.mismatch[i] |= facts.mismatch;
                heard.refused = (heard.refused && !facts.accepted) || facts.refused;
                heard.encryption = facts.encryption.or(heard.encryption);
                heard.credentials = heard.credentials.with(facts.credentials);
                heard.reason = facts.reason.or(heard.reason);
                if step.next == Next::Done {
                    return heard;
                }
                said[i].drain(..step.consumed.min(bytes.len()));
                if step.consumed == 0 {
                    break;
                }
            }
        }
    }
    heard
}

/// Plays a dialogue of streams, in whole lines and byte by byte.
#[track_caller]
pub(in crate::detect) fn hear_streams(detector: &dyn Detector, lines: &[(Side, &[u8])]) -> Heard {
    hear(detector, lines)
}

/// Other protocols' openings and random bytes, behind each of `starts` too, are not `detector`'s.
#[track_caller]
pub(in crate::detect) fn is_choosy(detector: &dyn Detector, starts: &[&[u8]]) {
    for bytes in OTHERS {
        let text = bytes.escape_ascii();
        for side in [C, S] {
            assert_ne!(stream(detector, side, bytes), Some(true), "{text}");
            assert_ne!(late(detector, side, bytes), Some(true), "late {text}");
            assert_eq!(datagram(detector, side, bytes), Some(false), "datagram {text}");
        }
    }
    let mut seed = 0x5eed_u64;
    let mut bytes = [0; 96];
    for round in 0..60_000_usize {
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 56) as u8;
        }
        let start: &[u8] = match round % (starts.len() + 1) {
            0 => &[],
            n => starts[n - 1],
        };
        bytes[..start.len()].copy_from_slice(start);
        let shown = &bytes[..(4 + round % 92).max(start.len())];
        for side in [C, S] {
            for (transport, shown) in
                [(Transport::Tcp, shown.to_vec()), (Transport::Udp, framed(shown))]
            {
                for begun in [Start::Known, Start::Unknown] {
                    let answer = told(ask(detector, transport, side, &shown, begun));
                    assert_ne!(answer, Some(true), "{transport:?} {side:?} {shown:02x?}");
                }
            }
        }
    }
}

/// Openings that belong to no protocol of this bench.
const OTHERS: &[&[u8]] = &[
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07",
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    b"\x00\x00\x00\x29\x00\x03\x00\x00user\x00alice\x00database\x00shop\x00\x00",
    b"\x00\x00\x00\x1a\x00\x12\x00\x00\x00\x00\x00\x01\x00\x08consumer\x00\x00\x00\x00",
    b"\x00\x00\x00\x2c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x75\x30",
    b"GET /index.html HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
    b"220 mail.example.com ESMTP Postfix\r\n",
    b"EHLO client.example.com\r\n",
    b"+OK Dovecot ready.\r\n",
    b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n",
    b"a1 LOGIN alice secret\r\n",
    b"USER alice\r\nPASS secret\r\n",
    b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n",
    b"$5\r\nhello\r\n",
    b"set key.name 0 1700000000 5\r\nhello\r\n",
    b"incr counter.a 1700000000\r\n",
    b"INFO {\"server_id\":\"x\",\"version\":\"2.9\"}\r\n",
    b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_version\"}\n",
    b"{\"version\":1,\"id\":\"host\"}\n",
    b"OPTIONS sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1\r\n\r\n",
    b"CONNECT\naccept-version:1.2\nhost:x\n\n\x00",
    b"AMQP\x00\x00\x09\x01",
    b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04cnry",
    b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00",
    b"\x00\x00\x00\x45\xfeSMB\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x1f\x00",
    b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
    b"\x12\x01\x00\x2f\x00\x00\x01\x00\x00\x00\x1a\x00\x06\x01\x00\x20\x00\x01\x02\x00\x21",
    b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x01\x00",
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01",
    b"\x23\x02\x06\xe8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
      \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x00\x01\x00\x00\x21\x12\xa4\x42\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b",
    b"\x30\x29\x02\x01\x01\x04\x06public\xa0\x1c\x02\x04\x01\x02\x03\x04\x02\x01\x00\x02\x01\x00",
    b"\x01\x01\x06\x00\x12\x34\x56\x78\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x00\x01file.txt\x00octet\x00",
    b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\n\r\n",
    b"login: ",
    b"Password: ",
    b"RFB 003.008\n",
    b"\x05\x01\x00",
    b"level=info ts=2026-01-01 msg=\"request handled\" status=200\n",
    b"name,count\nalice,1\nbob,2\n",
    b"<?xml version=\"1.0\"?><stream:stream to=\"x\" xmlns=\"jabber:client\">",
    b"<html><head></head></html>",
    b"Hello, world. This is text that belongs to nothing.\r\n",
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];
