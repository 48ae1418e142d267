//! Records on a disk that fills up: whole lines only, and what is missing is counted.

use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
};

use cleartap::{
    engine::{Emitted, Engine, Settings},
    model::record::Record,
    output::JsonLines,
};
use serde_json::Value;

use super::capture::{frames, root};

/// Takes so many bytes, then says that it is full.
#[derive(Clone, Default)]
struct Disk(Rc<RefCell<(Vec<u8>, usize)>>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (held, room) = &mut *self.0.borrow_mut();
        let count = bytes.len().min(*room);
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *room -= count;
        held.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn record() -> Record {
    let mut engine = Engine::new(Settings::default());
    let mut last = None;
    let mut take = |emitted: Emitted| last = Some(emitted.record);
    for frame in frames(&root().join("captures/postgresql/ssl-refused-then-plain.pcap")) {
        engine.frame(&frame.frame(), &mut take);
    }
    engine.finish(&mut take);
    *last.unwrap()
}

#[test]
fn a_record_is_written_whole_or_counted() {
    let (disk, record) = (Disk::default(), record());
    let mut lines = JsonLines::new(disk.clone());
    disk.0.borrow_mut().1 = 100_000;
    let written = 20_000;
    let failed = (0..written).filter(|_| lines.write(&record).is_err()).count();
    assert!(failed > 0 && lines.flush().is_err());
    let missing = lines.unwritten();
    assert!(missing > 0);

    disk.0.borrow_mut().1 = usize::MAX;
    lines.write(&record).unwrap();
    lines.flush().unwrap();
    let text = String::from_utf8(disk.0.borrow().0.clone()).unwrap();
    for line in text.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "a torn line: {line}");
    }
    let kept = u64::try_from(text.lines().count()).unwrap();
    assert_eq!(kept + lines.unwritten(), written + 1, "what is not there is counted");
    assert!(lines.unwritten() < missing, "what waited was written");
}
