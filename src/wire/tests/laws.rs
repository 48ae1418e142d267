//! No allocation, no panic, and etherparse as oracle of the fast way.

use etherparse::{LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::model::time::NS_PER_S;

#[test]
fn nothing_is_allocated_for_a_packet() {
    let frames: Vec<Vec<u8>> = ENCAPSULATIONS
        .iter()
        .map(|(_, headers, ..)| hex(&format!("{headers} {INNER}")))
        .chain([hex("020000000001020000000002 0806"), Vec::new()])
        .collect();
    let mut decoder = Decoder::default();
    let used = allocation_counter::measure(|| {
        for bytes in &frames {
            let frame = Frame { time: Timestamp(0), link: ETHERNET, wire_len: 0, bytes };
            std::hint::black_box(decoder.decode(&frame).is_ok());
        }
    });
    assert_eq!(used.count_total, 0);
}

#[test]
fn the_usual_stacks_go_the_straight_way() {
    for inner in [
        INNER,
        "6000000000161140 20010db8000000000000000000000001 20010db8000000000000000000000002 c0010fa000160000 0102030405060708090a0b0c0d0e",
    ] {
        let ethernet = format!(
            "020000000001020000000002 {} {inner}",
            if inner == INNER { "0800" } else { "86dd" }
        );
        let mirrored = format!("0800000000000700 {ethernet}");
        for (link, bytes) in
            [(ETHERNET, hex(&ethernet)), (Link::Mirror { source: SOURCE }, hex(&mirrored))]
        {
            let frame = Frame { time: Timestamp(0), link, wire_len: 0, bytes: &bytes };
            assert!(straight::walk(&frame).is_some(), "{link:?} {inner}");
            assert_eq!(bare(&frame).is_some(), inner == INNER, "TCP only: {link:?}");
        }
    }
}

/// What is read at fixed places.
fn bare(frame: &Frame<'_>) -> Option<Usual> {
    let inner = usual::inner(frame)?;
    inner.v4().map(Usual::V4).or_else(|| inner.v6().map(Usual::V6))
}

/// The same, layer by layer.
fn told(frame: &Frame<'_>) -> Option<Usual> {
    Usual::of(&Decoder::default().decode_any(frame).ok()?)
}

fn links() -> impl Strategy<Value = Link> {
    let types = [0, 1, 9, 12, 14, 50, 101, 108, 113, 228, 229, 276, 147];
    prop_oneof![
        proptest::sample::select(types.map(Link::Type).to_vec()),
        Just(Link::Mirror { source: SOURCE }),
        Just(Link::MirrorGeneve { source: SOURCE }),
    ]
}

/// A frame of the table with some bytes changed and its end cut.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let changes = prop::collection::vec(change, 0..6);
    (0..ENCAPSULATIONS.len(), changes, any::<prop::sample::Index>()).prop_map(
        |(row, changes, cut)| {
            let mut frame = hex(&format!("{} {INNER}", ENCAPSULATIONS[row].1));
            for (at, value) in changes {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            frame.truncate(cut.index(frame.len()) + 1);
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_for_usual_is_what_the_loop_tells(
        link in links(),
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), mutated()],
    ) {
        for link in [link, ETHERNET, Link::Mirror { source: SOURCE }] {
            let frame = Frame { time: Timestamp(0), link, wire_len: 0, bytes: &bytes };
            let (usual, told) = (bare(&frame), told(&frame));
            prop_assert!(usual.is_none() || usual == told, "{usual:?} {told:?}");
        }
    }

    #[test]
    fn the_straight_way_tells_what_the_loop_tells(
        link in links(),
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), mutated()],
    ) {
        for link in [link, ETHERNET, Link::Mirror { source: SOURCE }] {
            let frame = Frame { time: Timestamp(7), link, wire_len: 0, bytes: &bytes };
            let Some(straight) = straight::walk(&frame) else { continue };
            let segment = straight.segment(frame.time);
            let mut decoder = Decoder::default();
            let before = *decoder.counters();
            let looped = decoder.decode_any(&frame).map(|s| (format!("{s:?}"), s.payload.to_vec()));
            prop_assert_eq!(looped, Ok((format!("{segment:?}"), segment.payload.to_vec())));
            prop_assert_eq!(*decoder.counters(), before);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        link in links(),
        frames in prop::collection::vec(
            prop_oneof![prop::collection::vec(any::<u8>(), 0..200), mutated()], 1..8,
        ),
    ) {
        let limits = Limits { fragments_max: 2, fragment_bytes_max: 4096, ..Limits::default() };
        let mut decoder = Decoder::new(limits);
        for (time, bytes) in (0..).zip(&frames) {
            if let Ok(got) = decode_at(&mut decoder, time * 9 * NS_PER_S, link, bytes) {
                prop_assert!(got.payload.len() <= usize::try_from(got.payload_len).unwrap());
            }
            let _seen = decode_at(&mut decoder, 0, ETHERNET, bytes);
        }
    }

    /// The mirror's common case against etherparse, which gets the inner Ethernet frame.
    #[test]
    fn the_fast_way_agrees_with_etherparse(
        v6 in any::<bool>(),
        tcp in any::<bool>(),
        vlan in any::<bool>(),
        ports in any::<(u16, u16)>(),
        addresses in any::<([u8; 16], [u8; 16])>(),
        words in any::<(u32, u32, u8)>(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
        trailer in 0..8usize,
        cut in 0..40usize,
    ) {
        prop_assume!(![4789, 4790, 8472, 6081, 2152].contains(&ports.1));
        let frame = generated(v6, tcp, vlan, ports, addresses, words, &payload);
        let mut frame = [frame, vec![0; trailer]].concat();
        let whole = frame.clone();
        frame.truncate(frame.len() - cut.min(payload.len() + trailer));
        let expected = oracle(&whole, &frame);
        let mirror = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &frame].concat();
        let got = decode_at(&mut Decoder::default(), 0, Link::Mirror { source: SOURCE }, &mirror);
        let got = got.unwrap();
        for (link, bytes) in [(Link::Mirror { source: SOURCE }, &mirror), (ETHERNET, &frame)] {
            let frame = Frame { time: Timestamp(0), link, wire_len: 0, bytes };
            prop_assert_eq!(bare(&frame), told(&frame).filter(|_| !vlan));
        }
        prop_assert_eq!(got.vantage.as_deref(), Some("10.1.1.1#1"));
        prop_assert_eq!((got.flow, got.tcp, got.payload, got.payload_len), expected);
    }
}

fn generated(
    v6: bool,
    tcp: bool,
    vlan: bool,
    ports: (u16, u16),
    (src, dst): ([u8; 16], [u8; 16]),
    (seq, ack, flags): (u32, u32, u8),
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let link = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
    let ip = if v6 {
        let v6 = etherparse::IpHeaders::Ipv6(
            etherparse::Ipv6Header { source: src, destination: dst, ..Default::default() },
            etherparse::Ipv6Extensions::default(),
        );
        if vlan { link.single_vlan(5.try_into().unwrap()).ip(v6) } else { link.ip(v6) }
    } else {
        let (src, dst) = ([src[0], src[1], src[2], src[3]], [dst[0], dst[1], dst[2], dst[3]]);
        if vlan {
            link.single_vlan(5.try_into().unwrap()).ipv4(src, dst, 64)
        } else {
            link.ipv4(src, dst, 64)
        }
    };
    if tcp {
        let mut header = etherparse::TcpHeader::new(ports.0, ports.1, seq, 1024);
        header.acknowledgment_number = ack;
        (header.fin, header.syn, header.rst) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        (header.psh, header.ack) = (flags & 8 != 0, flags & 16 != 0);
        if flags & 128 != 0 {
            header.set_options_raw(&[1; 12]).unwrap();
        }
        ip.tcp_header(header).write(&mut bytes, payload).unwrap();
    } else {
        ip.udp(ports.0, ports.1).write(&mut bytes, payload).unwrap();
    }
    bytes
}

/// What etherparse reads: flow and payload length from the whole frame, the payload from the cut one.
fn oracle(whole: &[u8], cut: &[u8]) -> (String, Option<TcpHeader>, Vec<u8>, u32) {
    let strict = SlicedPacket::from_ethernet(whole).unwrap();
    let (src, dst) = match strict.net.unwrap() {
        NetSlice::Ipv4(v4) => {
            (IpAddr::V4(v4.header().source_addr()), IpAddr::V4(v4.header().destination_addr()))
        }
        NetSlice::Ipv6(v6) => {
            (IpAddr::V6(v6.header().source_addr()), IpAddr::V6(v6.header().destination_addr()))
        }
        NetSlice::Arp(_) => panic!("IP was generated"),
    };
    let lax = LaxSlicedPacket::from_ethernet(cut).unwrap();
    let read = |transport: &TransportSlice<'_>| match transport {
        TransportSlice::Tcp(t) => {
            let header = TcpHeader {
                seq: t.sequence_number(),
                ack: t.acknowledgment_number(),
                flags: t.slice()[13],
            };
            let ports = (t.source_port(), t.destination_port());
            ("tcp", ports, Some(header), t.payload().to_vec())
        }
        TransportSlice::Udp(u) => {
            ("udp", (u.source_port(), u.destination_port()), None, u.payload().to_vec())
        }
        _ => panic!("TCP or UDP was generated"),
    };
    let (name, ports, header, full) = read(&strict.transport.unwrap());
    let captured = read(&lax.transport.unwrap()).3;
    let (src, dst) = (Endpoint::new(src, ports.0), Endpoint::new(dst, ports.1));
    (format!("{name} {src} > {dst}"), header, captured, u32::try_from(full.len()).unwrap())
}
