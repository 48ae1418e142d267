use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use super::{proof::PROOF_FLOWS, *};

struct Bench {
    mirror: MirrorSocket,
    stop: Arc<AtomicBool>,
    address: SocketAddr,
}

/// A mirror socket on a port of its own, unless this machine does not have such addresses.
fn bench(listen: &str, adjust: impl Fn(&mut MirrorOptions)) -> Option<Bench> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut options = MirrorOptions::default();
    options.listen.push(listen.parse().unwrap());
    options.receive_buffer_bytes = 256 * 1024;
    adjust(&mut options);
    let mirror = match MirrorSocket::open(&options, Arc::clone(&stop)) {
        Ok(mirror) => mirror,
        Err(SourceError::Bind { .. }) => return None,
        Err(other) => panic!("{other}"),
    };
    let address = mirror.listening().next().unwrap().0;
    Some(Bench { mirror, stop, address })
}

fn send(to: SocketAddr, datagrams: &[&[u8]]) {
    let from = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let sender = UdpSocket::bind(from).unwrap();
    for datagram in datagrams {
        sender.send_to(datagram, to).unwrap();
    }
}

/// The frames up to the first tick or end: source, length on the wire, bytes.
fn take(mirror: &mut MirrorSocket) -> Vec<(IpAddr, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Input::Frame(frame) = mirror.next().unwrap() {
        let Link::Mirror { source } = frame.link else { panic!("{:?}", frame.link) };
        let age = now().since(frame.time);
        assert!(age < 60_000_000_000, "{age}");
        frames.push((source, frame.wire_len, frame.bytes.to_vec()));
    }
    frames
}

#[test]
fn gives_datagrams_of_both_families_in_order() {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for (listen, to, source) in
        [("127.0.0.1:0", v4, v4), ("[::1]:0", v6, v6), ("[::]:0", v6, v6), ("[::]:0", v4, v4)]
    {
        let Some(mut bench) = bench(listen, |options| options.batch = 3) else { continue };
        let to = SocketAddr::new(to, bench.address.port());
        send(to, &[b"one", b"", b"three", b"four", b"five"]);
        let expected = [&b"one"[..], b"", b"three", b"four", b"five"]
            .map(|bytes| (source, u32::try_from(bytes.len()).unwrap(), bytes.to_vec()));
        assert_eq!(take(&mut bench.mirror), expected, "{listen} from {source}");
    }
}

#[test]
fn a_datagram_that_is_too_long_is_cut_and_says_so() {
    let Some(mut bench) = bench("127.0.0.1:0", |options| options.datagram_bytes = 100) else {
        return;
    };
    send(bench.address, &[&[1; 9_000], &[2; 100]]);
    let frames = take(&mut bench.mirror);
    let shapes: Vec<_> = frames.iter().map(|(_, wire, bytes)| (*wire, bytes.clone())).collect();
    assert_eq!(shapes, [(9_000, vec![1; 100]), (100, vec![2; 100])]);
}

#[test]
fn several_sockets_take_turns() {
    let Some(mut bench) = bench("127.0.0.1:0", |options| {
        options.listen.push("127.0.0.1:0".parse().unwrap());
        options.batch = 1;
    }) else {
        return;
    };
    let addresses: Vec<_> = bench.mirror.listening().map(|(address, _)| address).collect();
    send(addresses[0], &[b"a", b"a"]);
    send(addresses[1], &[b"b", b"b"]);
    let texts: Vec<_> = take(&mut bench.mirror).into_iter().map(|frame| frame.2).collect();
    assert!(texts == [b"b", b"a", b"b", b"a"] || texts == [b"a", b"b", b"a", b"b"]);
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let Some(mut bench) = bench("127.0.0.1:0", |options| options.receive_buffer_bytes = 16_384)
    else {
        return;
    };
    // Frames without a drop count come first, between and after those with one.
    let mut given = 0;
    for _ in 0..3 {
        send(bench.address, &[b"x"]);
        given += take(&mut bench.mirror).len();
        send(bench.address, &[&[0; 1_000][..]; 200]);
        given += take(&mut bench.mirror).len();
    }
    // No datagram comes that would bring the last count along.
    let dropped = bench.mirror.drops().kernel;
    assert!(dropped > 0);
    assert_eq!(u64::try_from(given).unwrap() + dropped, 603);
}

/// `CLEARTAP_STEERED_FLOWS` tries more.
#[test]
fn the_kernel_gives_both_directions_of_a_flow_to_its_shard() {
    let wanted = std::env::var("CLEARTAP_STEERED_FLOWS").ok();
    let flows: usize = wanted.map_or(2_560, |count| count.parse().unwrap());
    for (round, shards) in (0..flows.div_ceil(PROOF_FLOWS)).zip([2, 3, 8].into_iter().cycle()) {
        let seed = u32::try_from(round).unwrap().wrapping_mul(0x9e37_79b9);
        assert_eq!(prove_steering(shards, seed), Ok(PROOF_FLOWS * 2));
    }
}

#[test]
fn a_second_sensor_at_the_same_port_is_refused() {
    let options = MirrorOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        receive_buffer_bytes: 65_536,
        ..MirrorOptions::default()
    };
    let first = MirrorSocket::open_shards(&options, 2, 0, &Arc::default()).unwrap();
    let address = first[0].listening().next().unwrap().0;
    assert_eq!(first[1].listening().next().unwrap().0, address);
    let again = MirrorOptions { listen: vec![address], ..options };
    let refused = MirrorSocket::open_shards(&again, 2, 0, &Arc::default()).unwrap_err();
    assert!(matches!(refused, SourceError::AddressInUse { .. }), "{refused}");
}

#[test]
fn the_drop_count_wraps() {
    let Some(mut bench) = bench("127.0.0.1:0", |options| options.receive_buffer_bytes = 16_384)
    else {
        return;
    };
    bench.mirror.listeners[0].overflow = u32::MAX - 9;
    send(bench.address, &[&[0; 1_000][..]; 200]);
    let first = take(&mut bench.mirror).len();
    send(bench.address, &[b"x"]);
    let given = first + take(&mut bench.mirror).len();
    let dropped = usize::try_from(bench.mirror.drops().kernel).unwrap();
    assert_eq!(dropped, 201 - given + 10);
}

#[test]
fn ticks_while_silent_and_stops_when_told() {
    let Some(mut bench) = bench("127.0.0.1:0", |_| {}) else { return };
    let started = Instant::now();
    assert!(matches!(bench.mirror.next(), Ok(Input::Tick(_))));
    assert!(started.elapsed() < Duration::from_secs(1));
    send(bench.address, &[b"held", b"by", b"the kernel"]);
    bench.stop.store(true, Ordering::Relaxed);
    assert_eq!(take(&mut bench.mirror).len(), 3);
    assert!(matches!(bench.mirror.next(), Ok(Input::End)));
    send(bench.address, &[b"too late"]);
    assert!(matches!(bench.mirror.next(), Ok(Input::End)));
}

#[test]
fn says_what_it_listens_on_and_what_is_wrong() {
    let Some(bench) = bench("127.0.0.1:0", |_| {}) else { return };
    let (address, buffer) = bench.mirror.listening().next().unwrap();
    assert_ne!(address.port(), 0);
    assert_eq!(buffer.asked, 256 * 1024);
    assert!(buffer.granted > 0);
    let open = |address: SocketAddr| {
        let options = MirrorOptions { listen: vec![address], ..MirrorOptions::default() };
        MirrorSocket::open(&options, Arc::default()).unwrap_err().to_string()
    };
    let taken = open(address);
    assert!(taken.starts_with(&format!("UDP {address} is already in use: stop")), "{taken}");
    let elsewhere = open("192.0.2.1:4789".parse().unwrap());
    assert!(elsewhere.starts_with("cannot listen on UDP 192.0.2.1:4789: "), "{elsewhere}");
}

#[test]
fn listens_everywhere_and_for_each_family_alone() {
    let listener = listen_everywhere(0, 65_536).unwrap();
    assert!(listener.address.ip().is_unspecified());
    let port = listener.address.port();
    drop(listener);
    let both = [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
    match listen(&both, 65_536) {
        Ok(listeners) => assert_eq!(listeners.len(), 2),
        Err(SourceError::Bind { cause, .. }) => assert!(is_no_ipv6(&cause), "{cause}"),
        Err(other) => panic!("{other}"),
    }
}
