//! What could not be delivered yet, on disk: bounded, with checksums, in order, across restarts and `kill -9`.
//!
//! A spool is a folder of append-only segments `<number>.spool` and a file `cursor` that says how far delivery has come.
//! An entry is `length u32 | CRC-32 u32 | time u64 | payload`, little endian; the checksum covers time and payload.
//!
//! [`Spool::append`] returns after `fdatasync`: what it returned for survives a crash of the machine. The cursor is
//! written by rename and not synced: after a crash what was delivered last may be delivered once more, never less than
//! once. Above the bound the oldest segment goes, and its entries that were not delivered are counted.
#![allow(clippy::disallowed_methods, reason = "edge: keeps files")]

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::model::Timestamp;

/// Disk a spool takes unless it is told otherwise.
pub const SPOOL_BYTES_MAX: u64 = 256 << 20;

/// Longest payload of an entry.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// Where and how large.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// Folder; made if it is missing.
    pub folder: PathBuf,
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// Length at which a new segment begins.
    pub segment_bytes: u64,
}

impl SpoolOptions {
    /// In `folder`, at most `bytes_max` on disk.
    pub fn new(folder: PathBuf, bytes_max: u64) -> Self {
        // Fine enough that the bound drops little at once.
        Self { folder, bytes_max, segment_bytes: (bytes_max / 32).clamp(4096, 8 << 20) }
    }
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system said no.
    #[error("spool {folder}: {error}")]
    Io {
        /// Which spool.
        folder: String,
        /// What it said.
        error: io::Error,
    },
    /// Two sensors must not deliver the same entries.
    #[error("spool {folder}: another process uses it")]
    InUse {
        /// Which spool.
        folder: String,
    },
    /// What was to be spooled could not be written down.
    #[error("an entry cannot be written down: {0}")]
    Encode(io::Error),
    /// Longer than an entry may be.
    #[error("an entry of {bytes} bytes: expected at most {ENTRY_BYTES_MAX}")]
    TooLong {
        /// How long.
        bytes: usize,
    },
}

/// An entry, and where it ends: what [`Spool::delivered`] wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position after it.
    pub end: Position,
    /// When what it tells happened.
    pub time: Timestamp,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// A place in a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    segment: u64,
    offset: u64,
}

/// What went wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolCounters {
    /// Entries dropped undelivered because the bound was reached.
    pub dropped: u64,
    /// Ends of segments that a crash left torn, or that were damaged; what followed in that segment is lost.
    pub torn: u64,
}

/// A queue on disk.
#[derive(Debug)]
pub struct Spool {
    options: SpoolOptions,
    /// Length of each segment.
    segments: BTreeMap<u64, u64>,
    /// Undelivered entries of each segment: where they end.
    waiting: BTreeMap<u64, VecDeque<u64>>,
    head: Position,
    out: Option<File>,
    /// What went wrong so far.
    pub counters: SpoolCounters,
    /// Held for as long as the spool is open.
    _lock: File,
}

impl Spool {
    /// Opens or makes it; cuts off what a crash left torn.
    pub fn open(options: SpoolOptions) -> Result<Self, SpoolError> {
        let place = options.folder.display().to_string();
        let wrong = |error| SpoolError::Io { folder: place.clone(), error };
        fs::create_dir_all(&options.folder).map_err(wrong)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(options.folder.join("lock"));
        let lock = lock.map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::InUse { folder: place }),
            Err(TryLockError::Error(error)) => return Err(wrong(error)),
        }
        let mut spool = Self {
            options,
            segments: BTreeMap::new(),
            waiting: BTreeMap::new(),
            head: Position::default(),
            out: None,
            counters: SpoolCounters::default(),
            _lock: lock,
        };
        spool.recover().map_err(wrong)?;
        Ok(spool)
    }

    /// Appends an entry; once this returns it is on disk. Returns where it ends.
    pub fn append(&mut self, time: Timestamp, payload: &[u8]) -> Result<Position, SpoolError> {
        let ends = self.append_all(time, &[payload])?;
        Ok(ends.last().copied().unwrap_or_default())
    }

    /// Appends entries with as few waits for the disk as can be; once this returns they are on disk. Returns where each
    /// ends. After an error the first of them may be there.
    pub fn append_all<P: AsRef<[u8]>>(
        &mut self,
        time: Timestamp,
        payloads: &[P],
    ) -> Result<Vec<Position>, SpoolError> {
        if let Some(long) = payloads.iter().find(|p| p.as_ref().len() > ENTRY_BYTES_MAX) {
            return Err(SpoolError::TooLong { bytes: long.as_ref().len() });
        }
        let folder = self.options.folder.display().to_string();
        let mut ends = Vec::with_capacity(payloads.len());
        let mut rest = payloads;
        while !rest.is_empty() {
            let written = self.write(time, rest, &mut ends);
            let written = written.map_err(|error| SpoolError::Io { folder: folder.clone(), error });
            rest = rest.get(written?..).unwrap_or_default();
            self.bound();
        }
        Ok(ends)
    }

    /// The oldest undelivered entries, at most `entries_max` and about `bytes_max`; at least one if there is any.
    pub fn peek(&mut self, entries_max: usize, bytes_max: usize) -> Result<Vec<Entry>, SpoolError> {
        let folder = self.options.folder.display().to_string();
        self.read(entries_max, bytes_max).map_err(|error| SpoolError::Io { folder, error })
    }

    /// Everything before `end` was delivered.
    pub fn delivered(&mut self, end: Position) -> Result<(), SpoolError> {
        self.head = self.head.max(end);
        let head = self.head;
        self.waiting.retain(|segment, ends| {
            ends.retain(|offset| Position { segment: *segment, offset: *offset } > head);
            !ends.is_empty()
        });
        let newest = self.segments.last_key_value().map(|(segment, _)| *segment);
        let done: Vec<u64> = self
            .segments
            .keys()
            .copied()
            .filter(|segment| !self.waiting.contains_key(segment) && Some(*segment) != newest)
            .collect();
        let folder = self.options.folder.display().to_string();
        self.save_cursor().map_err(|error| SpoolError::Io { folder, error })?;
        for segment in done {
            self.remove(segment);
        }
        Ok(())
    }

    /// Undelivered entries.
    pub fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Whether all is delivered.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    fn recover(&mut self) -> io::Result<()> {
        self.head = self.load_cursor();
        for file in fs::read_dir(&self.options.folder)? {
            let name = file?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".spool"));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                self.segments.insert(number, 0);
            }
        }
        for segment in self.segments.keys().copied().collect::<Vec<_>>() {
            self.recover_segment(segment)?;
        }
        // A cursor beyond all that is left must not hide what is appended next.
        let newest = self.segments.last_key_value();
        let end = newest.map_or_else(Position::default, |(segment, bytes)| Position {
            segment: *segment,
            offset: *bytes,
        });
        if self.head.segment >= end.segment && self.segments.is_empty() {
            self.segments.insert(self.head.segment + 1, 0);
        } else {
            self.head = self.head.min(end);
        }
        let done: Vec<u64> =
            self.segments.keys().copied().filter(|s| !self.waiting.contains_key(s)).collect();
        let newest = self.segments.last_key_value().map(|(segment, _)| *segment);
        for segment in done.into_iter().filter(|segment| Some(*segment) != newest) {
            self.remove(segment);
        }
        Ok(())
    }

    fn recover_segment(&mut self, segment: u64) -> io::Result<()> {
        let path = self.path(segment);
        let bytes = fs::metadata(&path)?.len();
        let mut file = File::open(&path)?;
        let mut end = 0;
        let mut ends = VecDeque::new();
        while let Some((_, payload)) = read_entry(&mut file)? {
            end += HEADER_BYTES + payload.len() as u64;
            if (Position { segment, offset: end }) > self.head {
                ends.push_back(end);
            }
        }
        if end < bytes {
            self.counters.torn += 1;
            OpenOptions::new().write(true).open(&path)?.set_len(end)?;
        }
        self.segments.insert(segment, end);
        if !ends.is_empty() {
            self.waiting.insert(segment, ends);
        }
        Ok(())
    }

    /// Writes the first of `payloads`, as many as the segment takes, and says how many.
    fn write<P: AsRef<[u8]>>(
        &mut self,
        time: Timestamp,
        payloads: &[P],
        ends: &mut Vec<Position>,
    ) -> io::Result<usize> {
        let newest = self.segments.last_key_value().map(|(segment, bytes)| (*segment, *bytes));
        let segment = match newest {
            Some((segment, bytes)) if bytes < self.options.segment_bytes => segment,
            Some((segment, _)) => segment + 1,
            None => 1,
        };
        if self.out.is_none() || newest.is_none_or(|(newest, _)| newest != segment) {
            let file = OpenOptions::new().create(true).append(true).open(self.path(segment))?;
            // The name of a new file is in its folder: that must reach the disk as well.
            File::open(&self.options.folder)?.sync_all()?;
            self.out = Some(file);
        }
        let before = self.segments.get(&segment).copied().unwrap_or(0);
        let Some(out) = &mut self.out else { return Ok(0) };
        let mut bytes = Vec::new();
        let mut offsets = Vec::new();
        for payload in payloads {
            if !bytes.is_empty() && before + bytes.len() as u64 >= self.options.segment_bytes {
                break;
            }
            bytes.extend_from_slice(&entry_bytes(time, payload.as_ref()));
            offsets.push(before + bytes.len() as u64);
        }
        if let Err(error) = out.write_all(&bytes).and_then(|()| out.sync_data()) {
            // A half-written entry would hide all that comes after it.
            let cut = out.set_len(before);
            self.out = None;
            if cut.is_err() {
                self.segments.insert(segment + 1, 0);
            }
            return Err(error);
        }
        self.segments.insert(segment, before + bytes.len() as u64);
        ends.extend(offsets.iter().map(|offset| Position { segment, offset: *offset }));
        let count = offsets.len();
        self.waiting.entry(segment).or_default().extend(offsets);
        Ok(count)
    }

    /// Drops the oldest segments until the rest fits; the one being written stays.
    fn bound(&mut self) {
        while self.bytes() > self.options.bytes_max && self.segments.len() > 1 {
            let Some((segment, _)) = self.segments.first_key_value() else { return };
            let segment = *segment;
            let torn = self.waiting.remove(&segment).map_or(0, |ends| ends.len());
            self.counters.dropped += torn as u64;
            self.remove(segment);
        }
    }

    fn remove(&mut self, segment: u64) {
        // A segment that cannot be removed now is found again, delivered, at the next start.
        let _ok = fs::remove_file(self.path(segment));
        self.segments.remove(&segment);
    }

    fn read(&mut self, entries_max: usize, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut list = Vec::new();
        let mut bytes = 0;
        let mut damaged = None;
        'segments: for (segment, ends) in &self.waiting {
            let mut file = File::open(self.path(*segment))?;
            let mut at = None;
            for end in ends {
                if list.len() >= entries_max || bytes >= bytes_max {
                    break 'segments;
                }
                if at.is_none() {
                    let begin = if *segment == self.head.segment { self.head.offset } else { 0 };
                    file.seek(SeekFrom::Start(begin))?;
                }
                at = Some(*end);
                let Some((time, payload)) = read_entry(&mut file)? else {
                    damaged = Some(*segment);
                    break 'segments;
                };
                bytes += payload.len();
                let end = Position { segment: *segment, offset: *end };
                list.push(Entry { end, time, payload });
            }
        }
        if let (Some(segment), true) = (damaged, list.is_empty()) {
            let torn = self.waiting.remove(&segment).map_or(0, |ends| ends.len());
            self.counters.torn += 1;
            self.counters.dropped += torn as u64;
            return self.read(entries_max, bytes_max);
        }
        Ok(list)
    }

    fn save_cursor(&self) -> io::Result<()> {
        let text = format!("{} {}\n", self.head.segment, self.head.offset);
        let new = self.options.folder.join("cursor.new");
        fs::write(&new, text)?;
        fs::rename(new, self.options.folder.join("cursor"))
    }

    fn load_cursor(&self) -> Position {
        // Without a cursor everything is delivered once more: at least once.
        let text = fs::read_to_string(self.options.folder.join("cursor")).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(segment)), Some(Ok(offset))) => Position { segment, offset },
            _ => Position::default(),
        }
    }

    fn path(&self, segment: u64) -> PathBuf {
        segment_path(&self.options.folder, segment)
    }
}

fn segment_path(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("{segment:020}.spool"))
}

/// Bytes before the payload.
const HEADER_BYTES: u64 = 16;

fn entry_bytes(time: Timestamp, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut entry = Vec::with_capacity(payload.len() + 16);
    entry.extend_from_slice(&length.to_le_bytes());
    entry.extend_from_slice(&checksum(time, payload).to_le_bytes());
    entry.extend_from_slice(&time.0.to_le_bytes());
    entry.extend_from_slice(payload);
    entry
}

fn checksum(time: Timestamp, payload: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&time.0.to_le_bytes());
    hash.update(payload);
    hash.finalize()
}

/// The next entry; none at the end, or where something is torn or damaged.
fn read_entry(file: &mut File) -> io::Result<Option<(Timestamp, Vec<u8>)>> {
    let (mut length, mut sum, mut time) = ([0; 4], [0; 4], [0; 8]);
    for part in [&mut length[..], &mut sum[..], &mut time[..]] {
        if !fill(file, part)? {
            return Ok(None);
        }
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > ENTRY_BYTES_MAX {
        return Ok(None);
    }
    let mut payload = vec![0; length];
    let time = Timestamp(u64::from_le_bytes(time));
    let whole = fill(file, &mut payload)? && checksum(time, &payload) == u32::from_le_bytes(sum);
    Ok(whole.then_some((time, payload)))
}

/// Fills `part`; false if the file ends before.
fn fill(file: &mut File, part: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(part) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
