//! What grows has a bound, and a counter tells when it was reached.

use cleartap::{
    engine::{Emitted, Engine, Settings},
    model::record::Record,
};

use super::build::{ACK, At, SYN, Talk};

const AT: At = At { source: [10, 9, 0, 1], vni: 7 };

/// A client's hello with the longest names that are believed, as one record.
fn greedy_hello() -> Vec<u8> {
    let prefixed = |bytes: &[u8]| {
        let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
        out.extend(bytes);
        out
    };
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
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    [&[22, 3, 1], prefixed(&message).as_slice()].concat()
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
    let record: Record = first.unwrap();
    assert_eq!((record.encryption, record.outcome), ("tls", "refused"));
    let tls = record.tls.unwrap();
    assert_eq!(tls.sni.unwrap().as_str().len(), 250);
    assert!(tls.alpn_offered.is_empty());
}
