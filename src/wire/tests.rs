//! Whole frames: every encapsulation, what is cut, and what is not what its port says.

mod laws;
mod packets;

use super::*;
use crate::model::TcpHeader;

/// Bytes from hexadecimal with blanks.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    let digit = |d: u8| u8::try_from(char::from(d).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// An IPv4 TCP segment from 10.0.0.1 port 49153 to 10.0.0.2 port 4000 that says "hi".
const INNER: &str = "4500002a00004000400600000a0000010a000002 \
                     c0010fa000000001000000025018020000000000 6869";

/// What was made of a frame, without borrowing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    flow: String,
    vantage: Option<String>,
    endpoint_id: u64,
    tcp: Option<TcpHeader>,
    payload: Vec<u8>,
    payload_len: u32,
    ip_len: u32,
}

fn decode_at(decoder: &mut Decoder, time: u64, link: Link, bytes: &[u8]) -> Result<Got, Skip> {
    let wire_len = u32::try_from(bytes.len()).unwrap();
    let frame = Frame { time: Timestamp(time), link, wire_len, bytes };
    decoder.decode(&frame).map(|s| Got {
        flow: format!("{} {} > {}", s.transport.name(), s.src, s.dst),
        vantage: s.vantage.map(|v| v.to_string()),
        endpoint_id: s.endpoint_id,
        tcp: s.tcp,
        payload: s.payload.to_vec(),
        payload_len: s.payload_len,
        ip_len: s.ip_len,
    })
}

fn decode(bytes: &[u8]) -> Result<Got, Skip> {
    decode_at(&mut Decoder::default(), 0, ETHERNET, bytes)
}

fn raw(text: &str) -> Result<Got, Skip> {
    decode_at(&mut Decoder::default(), 0, RAW, &hex(text))
}

const ETHERNET: Link = Link::Type(1);
const RAW: Link = Link::Type(101);
const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 1, 1));

#[test]
fn every_encapsulation_leads_to_the_innermost_segment() {
    for (name, headers, vantage, endpoint_id) in ENCAPSULATIONS {
        let mut frame = hex(headers);
        frame.extend_from_slice(&hex(INNER));
        let expected = Got {
            flow: "tcp 10.0.0.1:49153 > 10.0.0.2:4000".into(),
            vantage: vantage.map(String::from),
            endpoint_id,
            tcp: Some(TcpHeader { seq: 1, ack: 2, flags: 0x18 }),
            payload: b"hi".to_vec(),
            payload_len: 2,
            ip_len: 42,
        };
        assert_eq!(decode(&frame), Ok(expected.clone()), "{name}");
        // Bytes behind the packet change nothing.
        frame.extend_from_slice(&[0; 9]);
        assert_eq!(decode(&frame), Ok(expected), "{name}");
    }
}

#[test]
fn a_cut_copy_says_less_and_never_something_else() {
    for (name, headers, ..) in ENCAPSULATIONS {
        let mut frame = hex(headers);
        frame.extend_from_slice(&hex(INNER));
        let whole = decode(&frame).unwrap();
        for cut in 0..frame.len() {
            match decode(&frame[..cut]) {
                Ok(got) => {
                    assert_eq!(got.flow, whole.flow, "{name} cut at {cut}");
                    assert_eq!((got.payload_len, got.ip_len), (2, 42));
                    assert!(whole.payload.starts_with(&got.payload));
                    assert!(cut + 2 >= frame.len());
                }
                Err(reason) => assert_eq!(reason, Skip::Truncated, "{name} cut at {cut}"),
            }
        }
    }
}

#[test]
fn a_mirror_socket_sees_the_same_without_the_outer_headers() {
    for (name, headers, vantage, endpoint_id) in ENCAPSULATIONS {
        let link = match name {
            "VXLAN" | "VXLAN overlay in a mirrored frame" => Link::Mirror { source: SOURCE },
            n if n.starts_with("GENEVE") || n.starts_with("Gateway") => {
                Link::MirrorGeneve { source: SOURCE }
            }
            _ => continue,
        };
        let mut frame = hex(headers);
        frame.extend_from_slice(&hex(INNER));
        let got = decode_at(&mut Decoder::default(), 0, link, &frame[42..]).unwrap();
        assert_eq!((got.vantage.as_deref(), got.endpoint_id), (vantage, endpoint_id), "{name}");
        assert_eq!(got.flow, "tcp 10.0.0.1:49153 > 10.0.0.2:4000");
    }
    let mirror = |bytes| {
        let link = Link::Mirror { source: SOURCE };
        decode_at(&mut Decoder::default(), 0, link, &hex(bytes))
    };
    assert_eq!(mirror("0000000000000100 020000000001"), Err(Skip::NotTunnel));
    assert_eq!(mirror("08000000"), Err(Skip::Truncated));
}

#[test]
fn a_tunnel_port_alone_makes_no_tunnel() {
    // Destination port, UDP payload.
    let cases = [
        ("12b5", "1234010000010000000000000377777700 00010001"),
        ("12b5", "0000000000000100 020000000001020000000002 0800 45000014"),
        ("12b5", "0800000000000100 6162636465666768696a6b6c6d6e6f7071727374"),
        ("12b5", "0800000000000100 020000000001020000000002 0800 00000014"),
        ("12b5", "08"),
        ("12b5", ""),
        ("2118", "0880000000000100 020000000001020000000002 0800 45000014"),
        ("12b6", "0800000300000100 020000000001020000000002 0800 45000014"),
        ("12b6", "0c00000900000100 45000014"),
        ("17c1", "4000080000000100 45000014"),
        ("17c1", "0000080000000100 16030100"),
        ("17c1", "3f00080000000100 45000014"),
        ("0868", "3201000400000000 00000000"),
        ("0868", "30ff000400000000 00000000"),
        ("0868", "30ff100400000000 45000014"),
    ];
    for (port, payload) in cases {
        let payload = hex(payload);
        let mut frame = hex("4500 0000 0000 4000 4011 0000 0a010101 0a010102 c350");
        frame.extend_from_slice(&hex(port));
        frame.extend_from_slice(&u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
        frame.extend_from_slice(&payload);
        let mut decoder = Decoder::default();
        let got = decode_at(&mut decoder, 0, RAW, &frame).unwrap();
        let port = u16::from_str_radix(port, 16).unwrap();
        assert_eq!(got.flow, format!("udp 10.1.1.1:50000 > 10.1.1.2:{port}"));
        assert_eq!((got.payload, got.vantage), (payload, None));
        assert_eq!(decoder.counters().tunnel_fallbacks, 1);
    }
}

#[test]
fn a_tunnel_that_carries_arp_is_a_tunnel() {
    let arp = "4500003a00004000401100000a0101010a010102 c35012b500260000 0800000000000100 \
               ffffffffffff020000000002 0806 00010800";
    assert_eq!(raw(arp), Err(Skip::Arp));
}

#[test]
fn four_tunnels_may_be_inside_one_another() {
    let mut packet = hex(INNER);
    for nesting in 1..=6 {
        let length = u16::try_from(20 + packet.len()).unwrap().to_be_bytes();
        let mut outer = hex("4500 0000 0000 4000 4004 0000 0a010101 0a010102");
        outer[2..4].copy_from_slice(&length);
        outer.extend_from_slice(&packet);
        packet = outer;
        let got = decode_at(&mut Decoder::default(), 0, RAW, &packet);
        match nesting {
            1..=4 => assert!(got.is_ok(), "{nesting}"),
            _ => assert_eq!(got, Err(Skip::TooDeep), "{nesting}"),
        }
    }
    let limits = Limits { nesting_max: 0, ..Limits::default() };
    assert_eq!(decode_at(&mut Decoder::new(limits), 0, RAW, &packet), Err(Skip::TooDeep));
}

/// Name, headers around [`INNER`], vantage, endpoint id.
type Row = (&'static str, &'static str, Option<&'static str>, u64);

const ENCAPSULATIONS: [Row; 29] = [
    ("plain", "0200000000010200000000020800", None, 0),
    (
        "VXLAN",
        "0200000000010200000000020800 4500005c00004000401100000a0101010a010102 \
             c35012b500480000 0800000012345600 0200000000010200000000020800",
        Some("10.1.1.1#1193046"),
        0,
    ),
    (
        "VXLAN over 802.1Q and IPv6; reserved bits set, 802.1Q inside",
        "0200000000010200000000028100 006486dd \
             60000000004c114020010db800000000000000000000000120010db8000000000000000000000002 \
             c35012b5004c0000 8801000200000700 0200000000010200000000028100 00050800",
        Some("2001:db8::1#7"),
        0,
    ),
    (
        "VXLAN on the old port of Linux",
        "0200000000010200000000020800 4500005c00004000401100000a0101010a010102 \
             c350211800480000 0800000000000900 0200000000010200000000020800",
        Some("10.1.1.1#9"),
        0,
    ),
    (
        "VXLAN-GPE with Ethernet",
        "0200000000010200000000020800 4500005c00004000401100000a0101010a010102 \
             c35012b600480000 0c00000300000900 0200000000010200000000020800",
        Some("10.1.1.1#9"),
        0,
    ),
    (
        "VXLAN-GPE with IP",
        "0200000000010200000000020800 4500004e00004000401100000a0101010a010102 \
             c35012b6003a0000 0c00000100000900",
        Some("10.1.1.1#9"),
        0,
    ),
    (
        "GENEVE with Ethernet",
        "0200000000010200000000020800 4500006400004000401100000a0101010a010102 \
             c35017c100500000 0200655800002a000102800100000001 \
             0200000000010200000000020800",
        Some("10.1.1.1#42"),
        0,
    ),
    (
        "GENEVE with IP",
        "0200000000010200000000020800 4500004e00004000401100000a0101010a010102 \
             c35017c1003a0000 0000080000002b00",
        Some("10.1.1.1#43"),
        0,
    ),
    (
        "Gateway Load Balancer, inline",
        "0200000000010200000000020800 4500006e00004000401100000a0101010a010102 \
             c35017c1005a0000 \
             08000800000000000108010200000000000000ab0108020200000000000000010108030100000007",
        Some("10.1.1.1#0"),
        0xab,
    ),
    (
        "Gateway Load Balancer, mirror",
        "0200000000010200000000020800 450000a000004000401100000a0101010a010102 \
             c35017c1008c0000 \
             08000800000000000108010200000000000000ab0108020200000000000000010108030100000007 \
             4500005c00004000401100000a0909090a090901 c35012b500480000 0800000000000700 \
             0200000000010200000000020800",
        Some("10.9.9.9#7"),
        0xab,
    ),
    (
        "VXLAN overlay in a mirrored frame",
        "0200000000010200000000020800 4500008e00004000401100000a0101010a010102 \
             c35012b5007a0000 0800000000000100 0200000000010200000000020800 \
             4500005c00004000401100000a0202020a020203 c35012b500480000 0800000000000200 \
             0200000000010200000000020800",
        Some("10.1.1.1#1"),
        0,
    ),
    (
        "GRE",
        "0200000000010200000000020800 4500004200004000402f00000a0101010a010102 \
             00000800",
        None,
        0,
    ),
    (
        "GRE with checksum, key, sequence",
        "0200000000010200000000020800 4500004e00004000402f00000a0101010a010102 \
             b0000800000000000000000100000002",
        None,
        0,
    ),
    (
        "GRE with a source route",
        "0200000000010200000000020800 4500005200004000402f00000a0101010a010102 \
             4000080000000000080000040a00000100000000",
        None,
        0,
    ),
    (
        "GRE with Ethernet",
        "0200000000010200000000020800 4500005400004000402f00000a0101010a010102 \
             2000655800000001 0200000000010200000000020800",
        None,
        0,
    ),
    (
        "GRE with MPLS",
        "0200000000010200000000020800 4500004600004000402f00000a0101010a010102 \
             00008847 00010140",
        None,
        0,
    ),
    (
        "PPTP",
        "0200000000010200000000020800 4500005200004000402f00000a0101010a010102 \
             3081880b002c00010000000100000000 ff030021",
        None,
        0,
    ),
    (
        "WCCP version 2",
        "0200000000010200000000020800 4500004600004000402f00000a0101010a010102 \
             0000883e 00000000",
        None,
        0,
    ),
    (
        "ERSPAN type I",
        "0200000000010200000000020800 4500005000004000402f00000a0101010a010102 \
             000088be 0200000000010200000000020800",
        None,
        0,
    ),
    (
        "ERSPAN type II",
        "0200000000010200000000020800 4500005c00004000402f00000a0101010a010102 \
             100088be00000001 1000000100000000 0200000000010200000000020800",
        None,
        0,
    ),
    (
        "ERSPAN type III",
        "0200000000010200000000020800 4500006000004000402f00000a0101010a010102 \
             100022eb00000001 200000010000000000000000 0200000000010200000000020800",
        None,
        0,
    ),
    (
        "ERSPAN type III with subheader and IP",
        "0200000000010200000000020800 4500005a00004000402f00000a0101010a010102 \
             100022eb00000001 2000000100000000000008010000000000000000",
        None,
        0,
    ),
    ("IP in IP", "0200000000010200000000020800 4500003e00004000400400000a0101010a010102", None, 0),
    (
        "IP in IPv6",
        "02000000000102000000000286dd \
             60000000002a044020010db800000000000000000000000120010db8000000000000000000000002",
        None,
        0,
    ),
    (
        "EtherIP",
        "0200000000010200000000020800 4500004e00004000406100000a0101010a010102 3000 \
             0200000000010200000000020800",
        None,
        0,
    ),
    (
        "MPLS in IP",
        "0200000000010200000000020800 4500004200004000408900000a0101010a010102 \
             00010140",
        None,
        0,
    ),
    (
        "GTP-U",
        "0200000000010200000000020800 4500004e00004000401100000a0101010a010102 \
             c3500868003a0000 30ff002a00000001",
        None,
        0,
    ),
    (
        "GTP-U with sequence number",
        "0200000000010200000000020800 4500005200004000401100000a0101010a010102 \
             c3500868003e0000 32ff002e00000001 00010000",
        None,
        0,
    ),
    (
        "GTP-U with extension header",
        "0200000000010200000000020800 4500005600004000401100000a0101010a010102 \
             c350086800420000 34ff003200000001 0000008501100000",
        None,
        0,
    ),
];
