//! Large reads: a block buffer from which records are borrowed, also those that straddle two reads.

use std::{
    io::{self, Read},
    ops::Range,
};

/// Size of one read. A record (see [`RECORD_BYTES_MAX`]) with its header always fits, so the buffer does not grow.
pub(super) const BLOCK_BYTES: usize = 512 * 1024;

/// Most captured bytes in one record; more is corruption. The value is libpcap's own limit.
pub(super) const RECORD_BYTES_MAX: u32 = 256 * 1024;

/// Why a capture cannot be read on. The file's name is added by the caller.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file ends inside the record at `offset`.
    Cut { offset: u64, need: u64, have: u64 },
    /// The record at `offset` cannot be right.
    Corrupt { offset: u64, cause: String },
    /// Reading or unpacking failed after `offset`.
    Read { offset: u64, cause: io::Error },
}

impl Fault {
    /// A record over [`RECORD_BYTES_MAX`].
    pub(super) fn too_long(offset: u64, captured: u32) -> Self {
        let cause =
            format!("a record of {captured} captured bytes, and {RECORD_BYTES_MAX} is the most");
        Self::Corrupt { offset, cause }
    }
}

/// Byte order of a file or section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    pub(super) const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    pub(super) const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }

    /// The two halves of a 32-bit word that was read as one.
    pub(super) const fn halves(self, word: u32) -> (u16, u16) {
        let [a, b, c, d] = match self {
            Self::Big => word.to_be_bytes(),
            Self::Little => word.to_le_bytes(),
        };
        (self.u16([a, b]), self.u16([c, d]))
    }
}

/// A reader that keeps what is unread in one contiguous buffer.
pub(super) struct Blocks {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    reads: u64,
}

impl Blocks {
    pub(super) fn new(input: Box<dyn Read + Send>, block_bytes: usize) -> Self {
        Self { input, buffer: vec![0; block_bytes], start: 0, end: 0, offset: 0, reads: 0 }
    }

    /// Offset of the first unread byte.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// How often the input was read; progress is worth telling when it changes.
    pub(super) const fn reads(&self) -> u64 {
        self.reads
    }

    /// The unread bytes, at least `need` of them unless the input ends before.
    pub(super) fn fill(&mut self, need: usize) -> Result<&[u8], Fault> {
        if self.end - self.start < need {
            self.refill(need)?;
        }
        Ok(self.unread())
    }

    /// Consumes the next record if all of it lies in the buffer: `measure` reads the length of the body, behind `head` bytes,
    /// from the first `N` words; `None` if it will have none of it.
    #[inline]
    pub(super) fn at_hand<const N: usize, T>(
        &mut self,
        order: Order,
        head: usize,
        measure: impl FnOnce([u32; N]) -> Option<(usize, T)>,
    ) -> Option<(Range<usize>, T)> {
        let unread = self.unread();
        let words = unread.as_chunks::<4>().0.first_chunk::<N>()?;
        let (body, measured) = measure(words.map(|word| order.u32(word)))?;
        let need = head.saturating_add(body);
        if need > unread.len() {
            return None;
        }
        self.consume(need);
        Some((self.start - body..self.start, measured))
    }

    /// The next `N` 32-bit words, not consumed; `None` if the input ends here.
    pub(super) fn words<const N: usize>(
        &mut self,
        order: Order,
    ) -> Result<Option<[u32; N]>, Fault> {
        let need = N * 4;
        let bytes = self.fill(need)?;
        let (words, _) = bytes.as_chunks::<4>();
        if let Some(words) = words.first_chunk::<N>() {
            return Ok(Some(words.map(|word| order.u32(word))));
        }
        let have = length(bytes.len());
        if have == 0 {
            return Ok(None);
        }
        Err(Fault::Cut { offset: self.offset, need: length(need), have })
    }

    /// Consumes `head + body` bytes and says where the body lies; `record` is the length a cut record is said to need.
    pub(super) fn take(
        &mut self,
        head: usize,
        body: usize,
        record: u64,
    ) -> Result<Range<usize>, Fault> {
        let need = head.saturating_add(body);
        let have = self.fill(need)?.len();
        if have < need {
            return Err(Fault::Cut { offset: self.offset, need: record, have: length(have) });
        }
        self.consume(need);
        Ok(self.start - body..self.start)
    }

    /// What [`Blocks::take`] gave, until the next fill.
    pub(super) fn get(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Passes over `count` bytes however many; says how many are missing at the end of the input.
    pub(super) fn skip(&mut self, count: u64) -> Result<u64, Fault> {
        let mut left = count;
        while left > 0 {
            let have = self.fill(1)?.len();
            if have == 0 {
                break;
            }
            let step = usize::try_from(left).map_or(have, |left| left.min(have));
            self.consume(step);
            left -= length(step);
        }
        Ok(left)
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    const fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Moves what is unread to the front and reads until `need` bytes are there or the input ends.
    #[cold]
    fn refill(&mut self, need: usize) -> Result<(), Fault> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < need {
            self.buffer.resize(need, 0);
        }
        while self.end < need {
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.input.read(free) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    let offset = self.offset + length(self.end);
                    return Err(Fault::Read { offset, cause });
                }
            }
            self.reads += 1;
        }
        Ok(())
    }
}

/// A length as 64 bits; `usize` is never wider.
pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A 32-bit length as an index.
pub(super) fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
