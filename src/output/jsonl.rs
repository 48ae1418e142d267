//! Records as JSON lines.

use std::io::{self, Write};

use crate::model::record::Record;

/// A buffered writer of one record per line. A record is written whole or not at all: what the operating system does not
/// take waits for the next try, up to a bound.
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    out: W,
    waiting: Vec<u8>,
    lost: u64,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`.
    pub const fn new(out: W) -> Self {
        Self { out, waiting: Vec::new(), lost: 0 }
    }

    /// Ends a line that someone else began.
    pub fn end_line(&mut self) {
        self.waiting.push(b'\n');
    }

    /// Appends one record. After an error it still waits, unless too many do: then it is counted as lost.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let before = self.waiting.len();
        if before > WAITING_BYTES_MAX {
            // Once something is taken there is room again.
            self.flush().inspect_err(|_| self.lost += 1)?;
        }
        let before = self.waiting.len().min(before);
        if let Err(error) = serde_json::to_writer(&mut self.waiting, record) {
            self.waiting.truncate(before);
            self.lost += 1;
            return Err(error.into());
        }
        self.waiting.push(b'\n');
        if self.waiting.len() < HANDED_OVER_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut taken = 0;
        let result = loop {
            let rest = self.waiting.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.out.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.waiting.drain(..taken.min(self.waiting.len()));
        result?;
        self.out.flush()
    }

    /// Records that are not written: those lost, and those that still wait.
    pub fn unwritten(&self) -> u64 {
        let waiting = self.waiting.split_inclusive(|byte| *byte == b'\n').count();
        self.lost + u64::try_from(waiting).unwrap_or(u64::MAX)
    }
}

/// Bytes handed over at a time.
const HANDED_OVER_BYTES: usize = 256 * 1024;

/// Bytes that may wait while nothing can be written.
const WAITING_BYTES_MAX: usize = 4 << 20;
