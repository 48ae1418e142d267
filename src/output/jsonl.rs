//! Records as JSON lines.

use std::io::{self, BufWriter, Write};

use crate::model::record::Record;

/// A buffered writer of one record per line.
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    out: BufWriter<W>,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out: BufWriter::with_capacity(256 * 1024, out) }
    }

    /// Appends one record.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, record)?;
        self.out.write_all(b"\n")
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
