//! IP packets: lengths, reasons, extension headers, fragments.

use super::*;
use crate::model::time::NS_PER_S;

#[test]
fn lengths_that_are_wrong_or_missing() {
    let tcp = "c0010fa00000000100000002";
    // IP packet, payload, payload length, IP length.
    let cases = [
        // Total length 0: the card segments.
        (
            format!("45000000 00004000 40060000 0a000001 0a000002 {tcp} 50180200 00000000 6869"),
            2,
            42,
        ),
        (
            format!("4500002a 00004000 40060000 0a000001 0a000002 {tcp} 50180200 00000000 6869 00"),
            2,
            42,
        ),
        // Options of IP and TCP.
        (
            format!(
                "46000032 00004000 40060000 0a000001 0a000002 94040000 {tcp} 60180200 00000000 \
                 01010101 6869"
            ),
            2,
            50,
        ),
        // UDP length 0, too long, shorter than the packet.
        ("4500001e 00004000 40110000 0a000001 0a000002 00350035 0000 0000 6869".into(), 2, 30),
        ("4500001e 00004000 40110000 0a000001 0a000002 00350035 00ff 0000 6869".into(), 2, 30),
        ("4500001f 00004000 40110000 0a000001 0a000002 00350035 000a 0000 686900".into(), 2, 31),
    ];
    for (packet, payload_len, ip_len) in cases {
        let got = raw(&packet).unwrap();
        assert_eq!((got.payload_len, got.ip_len), (payload_len, ip_len), "{packet}");
        assert_eq!(got.payload, b"hi", "{packet}");
    }
}

#[test]
fn reasons() {
    let v4 = |protocol: &str, rest: &str| {
        let rest = hex(rest);
        let mut packet = hex("4500 0000 0000 4000 40 00 0000 0a000001 0a000002");
        packet[9] = hex(protocol)[0];
        packet[3] = u8::try_from(20 + rest.len()).unwrap();
        packet.extend_from_slice(&rest);
        decode_at(&mut Decoder::default(), 0, RAW, &packet)
    };
    let v6 = |rest: &str| raw(&format!("6000000000{rest}"));
    let tcp = "c0010fa00000000100000002";
    let cases = [
        (v4("01", "0800"), Skip::Icmp),
        (v4("3a", "8000"), Skip::Icmp),
        (v4("02", "1600"), Skip::NotTransport),
        (v4("59", "0201"), Skip::NotTransport),
        (v4("84", "0201"), Skip::NotTransport),
        (v4("06", &format!("{tcp} 40180200 00000000 6869")), Skip::BadHeader),
        (v4("06", &format!("{tcp} f0180200 00000000 6869")), Skip::BadHeader),
        (v4("06", &format!("{tcp} 5018")), Skip::BadHeader),
        (v4("11", "0035003500070000 6869"), Skip::BadHeader),
        (v4("11", "00350035"), Skip::BadHeader),
        (v4("32", "00000001"), Skip::BadHeader),
        (v4("33", "06 00 0000 00000001 00000002"), Skip::BadHeader),
        (v4("33", "06"), Skip::BadHeader),
        (v4("2f", "0002 0800"), Skip::BadHeader),
        (v4("2f", "0000 0800 75"), Skip::BadHeader),
        (v4("2f", "2001 880b 0000 0001 00000001"), Skip::NotIp),
        (v4("04", ""), Skip::Truncated),
        (raw(""), Skip::Truncated),
        (raw("35"), Skip::BadHeader),
        (raw("44000014 00000000 40060000 0a000001 0a000002"), Skip::BadHeader),
        (raw("45000013 00000000 40060000 0a000001 0a000002"), Skip::BadHeader),
        (raw("4f00003c 00000000 40060000 0a000001 0a000002"), Skip::Truncated),
        (raw("45000028 00000000 40060000 0a000001 0a000002 c0010fa0"), Skip::Truncated),
        (v6("043b40"), Skip::Truncated),
    ];
    for (case, (got, reason)) in cases.into_iter().enumerate() {
        assert_eq!(got, Err(reason), "case {case}");
    }
    let other_link = decode_at(&mut Decoder::default(), 0, Link::Type(105), b"");
    assert_eq!(other_link, Err(Skip::LinkType));
}

#[test]
fn names_and_places_of_reasons_are_their_own() {
    for (index, skip) in Skip::ALL.into_iter().enumerate() {
        assert_eq!(skip.index(), index);
        assert!(skip.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        assert!(Skip::ALL.into_iter().filter(|s| s.name() == skip.name()).count() == 1);
    }
}

const V6: &str = "20010db8000000000000000000000001 20010db8000000000000000000000002";

#[test]
fn extension_headers_lead_to_the_transport() {
    let udp = "00350035000a0000 6869";
    let cases = [
        format!("60000000 000a 11 40 {V6} {udp}"),
        format!("60000000 0012 00 40 {V6} 1100050200000100 {udp}"),
        format!(
            "60000000 0022 00 40 {V6} 2b00050200000100 3c00000000000000 1100010400000000 {udp}"
        ),
        // A fragment that is the whole.
        format!("60000000 0012 2c 40 {V6} 1100000000000007 {udp}"),
        format!("60000000 0022 33 40 {V6} 1104 0000 00000001 00000002 {} {udp}", "00".repeat(12)),
        // Payload length 0.
        format!("60000000 0000 11 40 {V6} {udp}"),
    ];
    for packet in cases {
        let got = raw(&packet).unwrap();
        assert_eq!(got.flow, "udp [2001:db8::1]:53 > [2001:db8::2]:53", "{packet}");
        assert_eq!((got.payload.as_slice(), got.payload_len), (&b"hi"[..], 2), "{packet}");
    }
    for (rest, reason) in [
        (format!("0004 3b 40 {V6} 00000000"), Skip::NotTransport),
        (format!("0008 3a 40 {V6} 8000000000000000"), Skip::Icmp),
        (format!("0010 3c 40 {V6} 00000104 00000000 1100010400000000"), Skip::BadHeader),
        (format!("0008 00 40 {V6} 11ff000000000000"), Skip::BadHeader),
        (format!("0108 00 40 {V6} 11ff000000000000"), Skip::Truncated),
    ] {
        assert_eq!(raw(&format!("60000000 {rest}")), Err(reason), "{rest}");
    }
}

#[test]
fn esp_and_its_udp_form() {
    let esp =
        raw("45000020 00004000 40320000 0a000001 0a000002 00000001 00000002 cafebabe").unwrap();
    assert_eq!(esp.flow, "esp 10.0.0.1:0 > 10.0.0.2:0");
    assert_eq!(esp.payload, hex("00000001 00000002 cafebabe"));
    let udp =
        raw("45000024 00004000 40110000 0a000001 0a000002 11941194 00100000 00000001 00000002");
    assert_eq!(udp.unwrap().flow, "udp 10.0.0.1:4500 > 10.0.0.2:4500");
}

/// Fragments of a UDP datagram that says "hi there, you".
fn v4_fragments() -> [Vec<u8>; 3] {
    let header = "0a000001 0a000002";
    [
        hex(&format!("4500001c 0007 2000 40110000 {header} 0035003500160000")),
        hex(&format!("4500001c 0007 2001 40110000 {header} 6869207468657265")),
        hex(&format!("4500001a 0007 0002 40110000 {header} 2c20796f7521")),
    ]
}

#[test]
fn fragments_in_any_order_make_the_datagram() {
    let [a, b, c] = v4_fragments();
    for order in [[&a, &b, &c], [&c, &b, &a], [&b, &c, &a], [&a, &c, &b]] {
        let mut decoder = Decoder::default();
        let mut feed = |packet: &Vec<u8>| decode_at(&mut decoder, 0, RAW, packet);
        assert_eq!(feed(order[0]), Err(Skip::Fragment));
        assert_eq!(feed(order[0]), Err(Skip::Fragment), "the same again");
        assert_eq!(feed(order[1]), Err(Skip::Fragment));
        let got = feed(order[2]).unwrap();
        assert_eq!(got.flow, "udp 10.0.0.1:53 > 10.0.0.2:53");
        assert_eq!((got.payload.as_slice(), got.payload_len), (&b"hi there, you!"[..], 14));
        assert_eq!(got.ip_len, 42);
        assert_eq!(decoder.counters().fragments_reassembled, 1);
    }
}

#[test]
fn fragments_behind_extension_headers() {
    // Destination options are part of what was fragmented; later fragments may look like anything.
    let first =
        format!("60000000 0018 2c 40 {V6} 3c00000100000007 1100010400000000 00350035000a0000");
    let second = format!("60000000 000a 2c 40 {V6} 3c00001000000007 6869");
    let mut decoder = Decoder::default();
    assert_eq!(decode_at(&mut decoder, 0, RAW, &hex(&second)), Err(Skip::Fragment));
    let got = decode_at(&mut decoder, 0, RAW, &hex(&first)).unwrap();
    assert_eq!(got.flow, "udp [2001:db8::1]:53 > [2001:db8::2]:53");
    assert_eq!((got.payload.as_slice(), got.ip_len), (&b"hi"[..], 58));
    // The same for the authentication header of IPv4.
    let header = "0a000001 0a000002";
    let first =
        format!("4500002c 0007 2000 40330000 {header} 1104000000000001 {}", "00".repeat(16));
    let second = format!("4500001e 0007 0003 40330000 {header} 00350035000a0000 6869");
    assert_eq!(decode_at(&mut decoder, 0, RAW, &hex(&first)), Err(Skip::Fragment));
    assert_eq!(decode_at(&mut decoder, 0, RAW, &hex(&second)).unwrap().payload, b"hi");
}

#[test]
fn a_mirror_datagram_in_fragments_may_hold_fragments() {
    let inner = v4_fragments();
    let mut decoder = Decoder::default();
    let mut got = Err(Skip::Fragment);
    for (id, packet) in (1u8..).zip(&inner) {
        assert_eq!(got, Err(Skip::Fragment));
        let mut udp = hex("c35012b5 0000 0000 0800000000000100 020000000001020000000002 0800");
        udp.extend_from_slice(packet);
        udp[5] = u8::try_from(udp.len()).unwrap();
        let (head, tail) = udp.split_at(24);
        for (part, flags) in [(head, [0x20, 0]), (tail, [0, 3])] {
            let mut outer = hex("4500 0000 0000 0000 4011 0000 0a010101 0a010102");
            outer[3] = u8::try_from(20 + part.len()).unwrap();
            outer[5] = id;
            outer[6..8].copy_from_slice(&flags);
            outer.extend_from_slice(part);
            got = decode_at(&mut decoder, 0, RAW, &outer);
        }
    }
    let got = got.unwrap();
    assert_eq!(got.vantage.as_deref(), Some("10.1.1.1#1"));
    assert_eq!(got.payload, b"hi there, you!");
}

#[test]
fn copies_taken_at_two_vantages_are_two_datagrams() {
    let [a, b, c] = v4_fragments();
    let mut decoder = Decoder::default();
    let mut feed = |vni: u8, packet: &[u8]| {
        let mut bytes = hex("0800000000000000 020000000001020000000002 0800");
        bytes[6] = vni;
        bytes.extend_from_slice(packet);
        decode_at(&mut decoder, 0, Link::Mirror { source: SOURCE }, &bytes)
    };
    for (vni, packet) in [(1, &a), (2, &a), (1, &b), (2, &c)] {
        assert_eq!(feed(vni, packet), Err(Skip::Fragment));
    }
    assert_eq!(feed(1, &c).unwrap().vantage.as_deref(), Some("10.1.1.1#1"));
    assert_eq!(feed(2, &b).unwrap().vantage.as_deref(), Some("10.1.1.1#2"));
}

#[test]
fn a_datagram_that_stays_incomplete_is_counted() {
    let [a, b, c] = v4_fragments();
    let mut decoder = Decoder::default();
    assert_eq!(decode_at(&mut decoder, 0, RAW, &a), Err(Skip::Fragment));
    assert_eq!(decode_at(&mut decoder, 30 * NS_PER_S, RAW, &b), Err(Skip::Fragment));
    decoder.expire(Timestamp(30 * NS_PER_S + 1));
    assert_eq!(decoder.counters().fragments_expired, 1);
    assert_eq!(decode_at(&mut decoder, 31 * NS_PER_S, RAW, &c), Err(Skip::Fragment));
    assert_eq!(decode_at(&mut decoder, 31 * NS_PER_S, RAW, &b[..27]), Err(Skip::Truncated));
    let mut icmp = a.clone();
    icmp[9] = 1;
    assert_eq!(decode_at(&mut decoder, 31 * NS_PER_S, RAW, &icmp), Err(Skip::Icmp));
}

#[test]
fn a_cut_first_fragment_is_a_cut_datagram() {
    let first = hex("4500002c 0007 2000 40110000 0a000001 0a000002 00350035 0026 0000 6869");
    let mut decoder = Decoder::default();
    let got = decode_at(&mut decoder, 0, RAW, &first).unwrap();
    assert_eq!(got.flow, "udp 10.0.0.1:53 > 10.0.0.2:53");
    assert_eq!((got.payload.as_slice(), got.payload_len), (&b"hi"[..], 16));
    assert_eq!(decoder.counters().segments_truncated, 1);
}
