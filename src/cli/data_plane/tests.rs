//! Shards fed from memory, as fast as they take it.

use super::*;
use crate::{
    ingest::{CaptureFile, discover},
    model::{Frame, Link, time::NS_PER_S},
    wire,
};

/// Every frame that we ship, stamped when it is taken.
struct Stamped {
    frames: std::vec::IntoIter<(Link, Vec<u8>)>,
    current: Vec<u8>,
    stamp: fn(u64) -> u64,
}

impl Source for Stamped {
    fn next(&mut self) -> Result<Input<'_>, SourceError> {
        let Some((link, bytes)) = self.frames.next() else { return Ok(Input::End) };
        self.current = bytes;
        let time = Timestamp((self.stamp)(now().0));
        let wire_len = u32::try_from(self.current.len()).unwrap();
        Ok(Input::Frame(Frame { time, link, wire_len, bytes: &self.current }))
    }
}

fn frames() -> Vec<(Link, Vec<u8>)> {
    let mut frames = Vec::new();
    for input in discover(&["captures".into()]).captures {
        let mut source = CaptureFile::open(&input, wire::link_supported, None).unwrap();
        while let Ok(Input::Frame(frame)) = source.next() {
            frames.push((frame.link, frame.bytes.to_vec()));
        }
    }
    frames
}

/// What so many shards met, each with a source of its own or behind one reader.
fn run(stamp: fn(u64) -> u64, shards: Option<usize>) -> Counters {
    let frames = frames().into_iter();
    let source = Box::new(Stamped { frames, current: Vec::new(), stamp });
    let sources = match shards {
        Some(shards) => Sources::Front { source, shards },
        None => {
            Sources::Each { sources: vec![source], seed: 0, steered_from: Timestamp::default() }
        }
    };
    let (records, _kept) = mpsc::channel(1 << 17);
    let (periods, _periods) = mpsc::channel(1);
    let (sum, shown) = watch::channel(Counters::default());
    let common = Common {
        records,
        periods,
        dropped: Arc::default(),
        shown: Arc::new(Shown::new(&sources, sum)),
        stop: Arc::default(),
    };
    let settings = Settings { shed_keep_one_in: 8, ..Settings::default() };
    for shard in start(sources, &settings, &common, Reloads::none).unwrap() {
        shard.join().unwrap().unwrap();
    }
    shown.borrow().clone()
}

#[test]
fn late_packets_are_shed_however_shards_are_fed_and_each_is_accounted_for() {
    let sent = frames().len() as u64;
    // However long this machine takes over them, what is stamped ahead of its clock is not late.
    let ahead: fn(u64) -> u64 = |now| now + 3600 * NS_PER_S;
    let late: fn(u64) -> u64 = |now| now - 2 * LATE_NS;
    for shards in [None, Some(1), Some(2)] {
        for (stamp, sheds) in [(ahead, false), (late, true)] {
            let met = run(stamp, shards);
            let what = format!("{shards:?} shards, late: {sheds}");
            assert_eq!(met.shed > 100, sheds, "{what}: {}", met.shed);
            assert_eq!(met.frames, sent, "{what}");
            let seen = met.segments + met.shed + met.skipped.total() + met.not_allowed;
            assert_eq!(seen, sent, "{what}");
        }
    }
}
