use proptest::prelude::*;

use super::*;

fn options(folder: &tempfile::TempDir, bytes_max: u64) -> SpoolOptions {
    SpoolOptions { segment_bytes: 256, ..SpoolOptions::new(folder.path().join("spool"), bytes_max) }
}

fn payloads(spool: &mut Spool) -> Vec<Vec<u8>> {
    spool.peek(usize::MAX, usize::MAX).unwrap().into_iter().map(|e| e.payload).collect()
}

#[test]
fn entries_come_back_in_order_with_their_time_until_they_are_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(&folder, 1 << 20)).unwrap();
    for n in 0..100_u64 {
        spool.append(Timestamp(n), &n.to_le_bytes()).unwrap();
    }
    let first = spool.peek(3, usize::MAX).unwrap();
    assert_eq!(first.iter().map(|e| e.time.0).collect::<Vec<_>>(), [0, 1, 2]);
    spool.delivered(first[1].end).unwrap();
    assert_eq!(spool.len(), 98);
    drop(spool);
    let mut spool = Spool::open(options(&folder, 1 << 20)).unwrap();
    let rest = spool.peek(usize::MAX, usize::MAX).unwrap();
    assert_eq!(rest.iter().map(|e| e.time.0).collect::<Vec<_>>(), (2..100).collect::<Vec<_>>());
    spool.delivered(rest.last().unwrap().end).unwrap();
    assert!(spool.is_empty() && spool.bytes() <= 512, "{}", spool.bytes());
    spool.append(Timestamp(7), b"again").unwrap();
    assert_eq!(payloads(&mut spool), [b"again"]);
}

#[test]
fn above_the_bound_the_oldest_go_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(&folder, 2048)).unwrap();
    for n in 0..1000_u64 {
        spool.append(Timestamp(n), &[0; 32]).unwrap();
        assert!(spool.bytes() <= 2048 + 256 + 48);
    }
    let left = spool.peek(usize::MAX, usize::MAX).unwrap();
    assert_eq!(left.last().unwrap().time, Timestamp(999));
    assert_eq!(spool.counters.dropped + left.len() as u64, 1000);
    assert_eq!(left[0].time.0, spool.counters.dropped);
}

/// What a crash leaves: any prefix of what was written.
#[test]
fn a_torn_end_costs_only_the_entry_it_tears() {
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions { segment_bytes: 1 << 20, ..options(&folder, 1 << 20) };
    let mut spool = Spool::open(options.clone()).unwrap();
    for n in 0..3_u8 {
        spool.append(Timestamp(0), &[n; 20]).unwrap();
    }
    drop(spool);
    let path = segment_path(&options.folder, 1);
    let whole = fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let mut spool = Spool::open(options.clone()).unwrap();
        let kept = length / 36;
        assert_eq!(spool.len(), kept, "{length}");
        assert_eq!(spool.counters.torn, u64::from(length % 36 != 0));
        spool.append(Timestamp(0), b"next").unwrap();
        assert_eq!(payloads(&mut spool).last().unwrap(), b"next");
    }
}

#[test]
fn damage_costs_what_follows_in_its_segment_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(&folder, 1 << 20)).unwrap();
    for n in 0..40_u8 {
        spool.append(Timestamp(0), &[n; 20]).unwrap();
    }
    drop(spool);
    let path = segment_path(&folder.path().join("spool"), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut spool = Spool::open(options(&folder, 1 << 20)).unwrap();
    let left: Vec<u8> = payloads(&mut spool).iter().map(|p| p[0]).collect();
    assert_eq!((left[0], left[1], *left.last().unwrap()), (0, 8, 39));
}

#[test]
fn a_spool_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Spool::open(options(&folder, 4096)).unwrap();
    let error = Spool::open(options(&folder, 4096)).unwrap_err().to_string();
    assert!(error.contains("another process uses it"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let error = Spool::open(SpoolOptions::new("/proc/none".into(), 4096)).unwrap_err().to_string();
    assert!(error.starts_with("spool /proc/none: "), "{error}");
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Deliver(usize),
    Crash,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Whatever happens, nothing is lost, and nothing that was delivered in this life comes again.
    #[test]
    fn nothing_is_lost_without_being_counted(
        steps in proptest::collection::vec(prop_oneof![
            6 => (1_u8..60).prop_map(Step::Append),
            3 => (0_usize..8).prop_map(Step::Deliver),
            1 => Just(Step::Crash),
        ], 1..80),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(options(&folder, 1 << 20)).unwrap();
        let (mut next, mut model) = (0_u64, VecDeque::new());
        for step in steps {
            match step {
                Step::Append(length) => {
                    spool.append(Timestamp(next), &vec![1; usize::from(length)]).unwrap();
                    model.push_back(next);
                    next += 1;
                }
                Step::Deliver(count) => {
                    let got = spool.peek(count, usize::MAX).unwrap();
                    if let Some(last) = got.last() {
                        spool.delivered(last.end).unwrap();
                        model.drain(..got.len());
                    }
                }
                Step::Crash => {
                    drop(spool);
                    spool = Spool::open(options(&folder, 1 << 20)).unwrap();
                }
            }
            let left: Vec<u64> =
                spool.peek(usize::MAX, usize::MAX).unwrap().iter().map(|e| e.time.0).collect();
            prop_assert_eq!(&left, &model.iter().copied().collect::<Vec<_>>());
        }
    }
}
