//! What grows has a bound, and a counter tells when it was reached.

use cleartap::{
    counters::Counters,
    engine::{Emitted, Engine, Settings},
    model::{Timestamp, record::Record},
    output::Report,
};

use super::{
    build::{ACK, At, RST, SYN, Talk, merge},
    capture::{Owned, root, setting},
};

const AT: At = At { source: [10, 9, 0, 1], vni: 7 };

/// Bytes behind their length in two bytes.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// Bytes behind their length in three bytes.
fn prefixed24(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..], bytes].concat()
}

/// A client's hello with the longest names that are believed, as one record.
fn greedy_hello() -> Vec<u8> {
    let name = [&[0][..], &prefixed(&[b'a'; 250])].concat();
    let protocol = [&[255][..], &[b'p'; 255]].concat();
    let mut extensions = vec![0, 0];
    extensions.extend(prefixed(&prefixed(&name)));
    extensions.extend([0, 16]);
    extensions.extend(prefixed(&prefixed(&protocol.repeat(16))));
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    body.extend(prefixed(&extensions));
    let message = [&[1], prefixed24(&body).as_slice()].concat();
    [&[22, 3, 1], prefixed(&message).as_slice()].concat()
}

/// A server's `ServerHello` of TLS 1.2 and its certificates, in records.
fn server_flight(chain: &[Vec<u8>]) -> Vec<u8> {
    let hello = [&[3, 3][..], &[9; 32], &[0, 0xc0, 0x2f, 0]].concat();
    let list: Vec<u8> = chain.iter().flat_map(|der| prefixed24(der)).collect();
    let messages = [
        &[2][..],
        &prefixed24(&hello),
        &[11],
        &prefixed24(&prefixed24(&list)),
        &[14],
        &prefixed24(b""),
    ]
    .concat();
    let records = messages.chunks(16_384).map(|part| [&[22, 3, 3], &prefixed(part)[..]].concat());
    records.collect::<Vec<_>>().concat()
}

const FATAL_ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

#[test]
fn settled_flows_keep_little_of_a_greedy_hello() {
    let hello = greedy_hello();
    let flows = 50_000_u32;
    let settings = Settings { session_bytes_max: 1 << 20, ..Settings::default() };
    let mut engine = Engine::new(settings);
    let mut first = None;
    let info = allocation_counter::measure(|| {
        for flow in 0..flows {
            let [_, b, c, d] = flow.to_be_bytes();
            let talk = Talk::new(([10, b, c, d], 40_000), ([10, 255, 0, 2], 443), [100, 200])
                .segment(true, SYN, b"")
                .segment(false, SYN | ACK, b"")
                .client(&hello)
                .server(&FATAL_ALERT);
            for frame in talk.copies(AT) {
                engine.frame(&frame.frame(), &mut |_| {});
            }
        }
    });
    let counters = engine.counters();
    let each = info.bytes_max / u64::from(flows);
    println!("{each} bytes per flow, {} of them settled", counters.settled_bytes_peak);
    assert!(each < 2500, "{each} bytes per flow");
    assert!(counters.settled_bytes_peak < u64::from(flows) * 1024);
    assert_eq!(counters.facts_trimmed, u64::from(flows));
    engine.finish(&mut |e: Emitted| {
        first.get_or_insert(e.record);
    });
    let record: Record = *first.unwrap();
    assert_eq!((record.encryption, record.outcome), ("tls", "refused"));
    let tls = record.tls.unwrap();
    assert_eq!(tls.sni.unwrap().as_str().len(), 250);
    assert!(tls.alpn_offered.is_empty());
}

/// `CLEARTAP_TLS_FLOWS` says how many; every fourth has a short chain, a long one, one that never ends, one above the bound.
#[test]
fn many_flows_with_chains_stay_within_the_memory_bound_and_say_what_was_cut_off() {
    const MAX: usize = 8 << 20;
    let der = |name: &str| {
        std::fs::read(root().join("tests/data/x509").join(name).with_extension("der")).unwrap()
    };
    let short = server_flight(&[der("chain-leaf"), der("chain-middle"), der("chain-root")]);
    let long = server_flight(&vec![der("san-100"); 24]);
    let longest = server_flight(&vec![der("san-100"); 26]);
    assert!(longest.len() > (64 << 10) && long.len() < (64 << 10));
    let finished = [&[20, 3, 3, 0, 1, 1, 22, 3, 3, 0, 40][..], &[5; 40]].concat();
    let flights = [&short[..], &long, &long[..long.len() - 2000], &longest];
    let flows = u32::try_from(setting("CLEARTAP_TLS_FLOWS").unwrap_or(4000)).unwrap();
    let mut engine = Engine::new(Settings { session_bytes_max: MAX, ..Settings::default() });
    let mut records = Vec::new();
    let hello = greedy_hello();
    let info = allocation_counter::measure(|| {
        for flow in 0..flows {
            let [_, b, c, d] = flow.to_be_bytes();
            let flight = flights[flow as usize % 4];
            let mut talk = Talk::new(([10, b, c, d], 40_000), ([10, 255, 0, 2], 443), [100, 200])
                .segment(true, SYN, b"")
                .segment(false, SYN | ACK, b"")
                .client(&hello);
            for part in flight.chunks(1400) {
                talk = talk.server(part);
            }
            // Half of those that came to their end finish the handshake.
            if flow % 4 != 2 && flow % 8 < 4 {
                talk = talk.client(&finished).server(&finished);
            }
            for frame in talk.copies(AT) {
                engine.frame(&frame.frame(), &mut |_| {});
            }
        }
    });
    let counters = engine.counters();
    engine.finish(&mut |e: Emitted| records.push(e.record));
    println!(
        "{flows} flows: {} MiB at most, {} KiB of open sessions, {} KiB of settled ones, {} closed for memory",
        info.bytes_max >> 20,
        counters.session_bytes_peak >> 10,
        counters.settled_bytes_peak >> 10,
        counters.memory_closed
    );
    // One session may stand above the bound for the segment that brings it there.
    assert!(counters.session_bytes_peak < (MAX + (256 << 10)) as u64);
    assert!(counters.settled_bytes_peak < MAX as u64 + u64::from(flows) * 1024);
    assert!(info.bytes_max < 3 * MAX as u64 + u64::from(flows) * 2500);
    assert!(counters.memory_closed > 0);
    assert_eq!(records.len(), flows as usize);
    for record in &records {
        let tls = record.tls.as_ref().unwrap();
        let read = tls.certificates.certificate.is_some();
        let reason = tls.certificate_cut;
        assert!(read != reason.is_some(), "read, or null with its reason: {reason:?}");
        assert!(matches!(reason, None | Some("memory" | "size" | "loss")), "{reason:?}");
    }
    let cut = |why| {
        records.iter().filter(|r| r.tls.as_ref().unwrap().certificate_cut == Some(why)).count()
    };
    let (memory, size, loss) = (cut("memory"), cut("size"), cut("loss"));
    println!("{memory} cut off by memory, {size} by size, {loss} lost");
    assert!(memory > 0 && size > 0);
}

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 8080);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HOUR: u64 = 3600;

fn talk() -> Talk {
    Talk::new(CLIENT, SERVER, [100, 900]).handshake()
}

/// Records and counters of frames in the order given.
fn run(frames: &[Owned]) -> (Vec<Record>, Counters) {
    let mut engine = Engine::new(Settings::default());
    let mut records = Vec::new();
    for frame in frames {
        engine.frame(&frame.frame(), &mut |e| records.push(*e.record));
    }
    engine.finish(&mut |e| records.push(*e.record));
    (records, engine.counters())
}

#[test]
fn a_reset_that_no_end_can_have_sent_is_not_believed() {
    let far = 1 << 25;
    for (distance, state, blind) in [
        (far, "open", 1),
        (0_u32.wrapping_sub(far), "open", 1),
        (0, "reset", 0),
        (1000, "reset", 0),
    ] {
        let talk = talk().client(GET).forged(false, RST | ACK, distance).client(GET);
        let (records, counters) = run(&talk.copies(AT));
        let states: Vec<_> = records.iter().map(|r| r.state).collect();
        assert_eq!((states, counters.table.blind_resets), (vec![state], blind), "{distance}");
    }
}

#[test]
fn a_time_far_ahead_does_not_stop_the_clock() {
    let mut frames = talk().client(GET).copies(AT);
    let mut odd = Talk::new(([10, 0, 0, 9], 40_001), SERVER, [5, 6]).client(GET).copies(AT);
    odd[0].time = Timestamp(odd[0].time.0 + 1000 * HOUR * 1_000_000_000);
    frames.extend(odd);
    let late = Talk::new(([10, 0, 0, 3], 40_002), SERVER, [7, 8]);
    frames.extend(late.pause(1).handshake().client(GET).pause(400).client(GET).copies(AT));
    let (records, counters) = run(&frames);
    let ends: Vec<_> = records.iter().map(|r| (r.src_port, r.state)).collect();
    let expected =
        [(40_000, "timeout"), (40_001, "timeout"), (40_002, "timeout"), (40_002, "open")];
    assert_eq!((ends.as_slice(), counters.time_jumps), (&expected[..], 2));
}

#[test]
fn files_out_of_order_age_by_their_own_time() {
    let later = talk().pause(2 * HOUR).client(GET).copies(AT);
    let first = Talk::new(([10, 0, 0, 3], 40_002), SERVER, [7, 8]).handshake().client(GET);
    let mut engine = Engine::new(Settings::default());
    let mut ports = Vec::new();
    let mut take = |e: Emitted| ports.push(e.record.src_port);
    for frame in later.iter().skip(3).chain(&first.copies(AT)) {
        engine.frame(&frame.frame(), &mut take);
    }
    let now = first.copies(AT)[0].time;
    engine.tick(Timestamp(now.0 + 1_000_000_000_000), &mut take);
    assert_eq!((engine.flows(), engine.counters().time_jumps), (0, 1));
    assert_eq!(ports, [40_000, 40_002]);
}

#[test]
fn reading_on_and_holes_are_counted() {
    let long = (0..100).fold(talk(), |talk, _| talk.client(&GET.repeat(40)));
    let (records, counters) = run(&long.copies(AT));
    assert_eq!((records[0].app, counters.follow_exceeded), (Some("http"), 1));
    let mut holed = talk().client(GET).client(GET).client(GET);
    holed.packets.remove(4);
    let (_, counters) = run(&holed.copies(AT));
    assert_eq!((counters.holes_passed, counters.follow_exceeded), (1, 0));
}

#[test]
fn a_fifth_vantage_of_a_flow_is_counted_apart() {
    let talk = talk().client(GET);
    let copies: Vec<_> = (1..=5).map(|vni| talk.copies(At { vni, ..AT })).collect();
    let (records, counters) = run(&merge(&copies));
    assert_eq!((records.len(), records[0].vantages.len()), (1, 4));
    assert_eq!(counters.table.copies_uncounted, talk.packets.len() as u64);
}

#[test]
fn a_ninth_connection_of_the_same_ends_is_counted_apart() {
    let copies: Vec<_> = (0..9_u32)
        .map(|n| Talk::new(CLIENT, SERVER, [n << 26, n << 26]).client(GET))
        .zip(1..)
        .map(|(talk, vni)| talk.copies(At { vni, ..AT }))
        .collect();
    let (records, counters) = run(&copies.concat());
    let table = counters.table;
    assert_eq!((records.len(), table.scope_collision), (8, 7));
    assert_eq!((table.siblings_crowded_out, table.stray), (1, 0));
}

#[test]
fn edges_that_find_no_room_are_counted() {
    let frames: Vec<Owned> = (1..=3)
        .flat_map(|n| Talk::new(([10, 0, 0, n], 40_000), SERVER, [1, 2]).client(GET).copies(AT))
        .collect();
    let (records, counters) = run(&frames);
    let mut report = Report::with_edges_max(2);
    for record in records.iter().chain(&records) {
        report.add(record);
    }
    report.add_counters(&counters);
    assert_eq!(report.edges().iter().map(|e| e.flows).collect::<Vec<_>>(), [2, 2]);
    assert_eq!((report.flows(), report.counters.get("edges_not_listed")), (6, Some(&2)));
}

#[test]
fn a_session_in_use_is_read_until_nothing_new_was_said_for_long() {
    for (questions, credentials) in [(18, &["password_cleartext"][..]), (24, &[])] {
        let asked = (0..questions)
            .fold(talk(), |talk, _| talk.client(b"*1\r\n$4\r\nPING\r\n").server(b"+PONG\r\n"));
        let login = b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n";
        let talk = asked.client(login).server(b"+OK\r\n").client(GET);
        let (records, _) = run(&talk.copies(AT));
        let [record] = records.as_slice() else { panic!("one flow") };
        assert_eq!((record.app, record.encryption), (Some("redis"), "plaintext"));
        assert_eq!(record.credentials, credentials, "after {questions} questions");
    }
}

#[test]
fn a_body_that_is_passed_over_is_counted_like_any_other_bytes() {
    let body = vec![b'x'; 1000];
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n";
    let answered = (0..5).fold(talk().client(GET).server(head), |talk, _| talk.server(&body));
    let authorized = b"GET / HTTP/1.1\r\nAuthorization: Basic dTpw\r\n\r\n";
    let talk = answered.client(authorized).server(b"HTTP/1.1 204 No Content\r\n\r\n");
    let (records, _) = run(&talk.copies(AT));
    let [record] = records.as_slice() else { panic!("one flow") };
    assert_eq!((record.counts, &record.credentials[..]), ("exact", &["basic_auth"][..]));
    let told = |record: &Record| serde_json::to_value(record).unwrap();
    // One after the other and all behind a hole that is filled: the same.
    let mut late = talk.copies(AT);
    let first = late.remove(5);
    late.insert(8, first);
    let (mut other, _) = run(&late);
    other[0].ts_first = record.ts_first;
    other[0].ts_last = record.ts_last;
    assert_eq!(told(record), told(&other[0]));
}
