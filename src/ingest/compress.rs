//! Compressed captures, told by their first bytes, never by the file name. Works on pipes too.
#![allow(clippy::disallowed_methods, reason = "edge: opens the captures the user names")]

use std::{
    fs::File,
    io::{self, BufReader, Cursor, IsTerminal as _, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

/// An opened input, unpacked as it is read.
pub(super) struct Unpacked {
    /// The capture's bytes.
    pub(super) bytes: Box<dyn Read + Send>,
    /// `gzip`, `zstd`, or `None` for plain.
    pub(super) format: Option<&'static str>,
    /// Bytes read so far from the file itself: what progress is measured by.
    pub(super) position: Arc<AtomicU64>,
}

/// Opens a file, unpacked.
pub(super) fn open(path: &Path) -> io::Result<Unpacked> {
    unpack(Box::new(File::open(path)?))
}

/// Standard input, unpacked; `None` when it is a terminal.
pub(super) fn standard_input() -> io::Result<Option<Unpacked>> {
    let input = io::stdin();
    if input.is_terminal() {
        return Ok(None);
    }
    unpack(Box::new(input)).map(Some)
}

/// Unpacks `raw` if it is compressed.
pub(super) fn unpack(raw: Box<dyn Read + Send>) -> io::Result<Unpacked> {
    let position = Arc::new(AtomicU64::new(0));
    let mut raw = Counted { raw, position: Arc::clone(&position) };
    let mut head = Vec::with_capacity(4);
    raw.by_ref().take(4).read_to_end(&mut head)?;
    let format = match *head {
        [0x1f, 0x8b, ..] => Some("gzip"),
        // A frame, or a skippable frame as parallel compressors put first (RFC 8878 section 3.1).
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some("zstd"),
        _ => None,
    };
    let whole = Cursor::new(head).chain(raw);
    let bytes: Box<dyn Read + Send> = match format {
        Some("gzip") => {
            let packed = BufReader::with_capacity(PACKED_BYTES, whole);
            Box::new(ShortReads(MultiGzDecoder::new(packed)))
        }
        Some(_) => Box::new(ShortReads(zstd::stream::read::Decoder::new(whole)?)),
        None => Box::new(whole),
    };
    Ok(Unpacked { bytes, format, position })
}

/// Counts what is read.
struct Counted {
    raw: Box<dyn Read + Send>,
    position: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.raw.read(buffer)?;
        self.position.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(count)
    }
}

/// Unpacks in short steps: an unpacker that meets damage throws away what the same call had already unpacked.
struct ShortReads<R>(R);

impl<R: Read> Read for ShortReads<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let step = buffer.len().min(STEP_BYTES);
        self.0.read(buffer.get_mut(..step).unwrap_or_default())
    }
}

const PACKED_BYTES: usize = 128 * 1024;
const STEP_BYTES: usize = 16 * 1024;
