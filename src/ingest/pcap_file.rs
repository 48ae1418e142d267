//! Capture files: pcap (<https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/draft-ietf-opsawg-pcap.html>) here,
//! pcapng in `pcapng`, told by their first bytes. Frames are borrowed from the block buffer.

use std::{fmt, io::Read, ops::Range};

use super::{
    Input, LinkSupported, Progress, Source, SourceError,
    blocks::{BLOCK_BYTES, Blocks, Fault, Order, RECORD_BYTES_MAX, size},
    compress::{self, Unpacked},
    discover::{CaptureInput, Place},
    error::{At, shown},
    link::LinkType,
    pcapng::Pcapng,
    progress::Meter,
};
use crate::model::{Frame, Link, Timestamp};

/// A capture file, or standard input.
pub struct CaptureFile {
    name: FileName,
    blocks: Blocks,
    format: Format,
    over: bool,
    meter: Option<Meter>,
}

impl CaptureFile {
    /// Opens a capture and reads its header.
    pub fn open(
        input: &CaptureInput,
        link_supported: LinkSupported,
        progress: Option<&Progress>,
    ) -> Result<Self, SourceError> {
        let (file, opened) = match &input.place {
            Place::StandardInput => ("standard input".to_owned(), compress::standard_input()),
            Place::Path(path) => (shown(path), compress::open(path).map(Some)),
        };
        let unpacked = match opened {
            Ok(Some(unpacked)) => unpacked,
            Ok(None) => return Err(SourceError::NotACapture { file, found: "a terminal" }),
            Err(cause) => return Err(SourceError::Open { file, cause }),
        };
        let meter = progress.map(|progress| progress.meter(&unpacked.position));
        let opened = Self::new(file, unpacked, BLOCK_BYTES, link_supported)?;
        Ok(Self { meter, ..opened })
    }

    /// Reads a capture from anything that can be read; `file` is what errors call it.
    pub fn from_reader(
        file: &str,
        reader: impl Read + Send + 'static,
        link_supported: LinkSupported,
    ) -> Result<Self, SourceError> {
        let unpacked = compress::unpack(Box::new(reader))
            .map_err(|cause| SourceError::Open { file: file.to_owned(), cause })?;
        Self::new(file.to_owned(), unpacked, BLOCK_BYTES, link_supported)
    }

    /// As [`CaptureFile::from_reader`], with the size of one read.
    pub(super) fn new(
        file: String,
        unpacked: Unpacked,
        block_bytes: usize,
        link_supported: LinkSupported,
    ) -> Result<Self, SourceError> {
        let name = FileName { file, packed: unpacked.format };
        let mut blocks = Blocks::new(unpacked.bytes, block_bytes);
        let format = match open_format(&mut blocks, link_supported) {
            Ok(format) => format,
            Err(refusal) => return Err(name.refuse(refusal)),
        };
        Ok(Self { name, blocks, format, over: false, meter: None })
    }

    /// The next record, an error, or the end.
    fn advance(&mut self) -> Result<Option<Record>, SourceError> {
        if self.over {
            return self.leftover();
        }
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.blocks),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.blocks),
        };
        if let Ok(Some(record)) = next {
            if let Some(meter) = &mut self.meter {
                meter.packet(self.blocks.reads());
            }
            return Ok(Some(record));
        }
        self.over = true;
        if let Some(meter) = &mut self.meter {
            meter.tell();
        }
        next.map_err(|fault| self.name.error(fault))?;
        self.leftover()
    }

    /// What is still to be told at the end.
    fn leftover(&mut self) -> Result<Option<Record>, SourceError> {
        if let Format::Pcapng(pcapng) = &mut self.format {
            let interfaces = pcapng.take_skipped();
            if !interfaces.is_empty() {
                let file = self.name.file.clone();
                return Err(SourceError::UnsupportedInterfaces { file, interfaces });
            }
        }
        Ok(None)
    }
}

impl Source for CaptureFile {
    fn next(&mut self) -> Result<Input<'_>, SourceError> {
        let Some(Record { time, link, wire_len, range }) = self.advance()? else {
            return Ok(Input::End);
        };
        let bytes = self.blocks.get(range);
        Ok(Input::Frame(Frame { time, link: Link::Type(link), wire_len, bytes }))
    }
}

impl fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureFile")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("offset", &self.blocks.offset())
            .finish_non_exhaustive()
    }
}

/// A packet record: where its bytes lie in the block buffer, and what came with them.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) time: Timestamp,
    pub(super) link: u32,
    pub(super) wire_len: u32,
    pub(super) range: Range<usize>,
}

/// Whether a file that begins so is a capture we read.
pub(super) fn is_capture(magic: [u8; 4]) -> bool {
    magic == PCAPNG || Pcap::from_magic(magic).is_some()
}

/// What errors call the file.
#[derive(Debug)]
struct FileName {
    file: String,
    packed: Option<&'static str>,
}

impl FileName {
    fn error(&self, fault: Fault) -> SourceError {
        let at = |offset| At { offset, unpacked: self.packed.is_some() };
        let file = self.file.clone();
        match (fault, self.packed) {
            (Fault::Cut { offset, need, have }, _) => {
                SourceError::Cut { file, at: at(offset), need, have }
            }
            (Fault::Corrupt { offset, cause }, _) => {
                SourceError::Corrupt { file, at: at(offset), cause }
            }
            (Fault::Read { offset, cause }, None) => {
                SourceError::Read { file, at: at(offset), cause }
            }
            (Fault::Read { offset, cause }, Some(format)) => {
                SourceError::Decompress { file, format, at: at(offset), cause }
            }
        }
    }

    fn refuse(self, refusal: Refusal) -> SourceError {
        match refusal {
            Refusal::Fault(fault) => self.error(fault),
            Refusal::Link(link) => SourceError::UnsupportedLink { place: self.file, link },
            Refusal::NotACapture(found) => SourceError::NotACapture { file: self.file, found },
        }
    }
}

/// Why a file is not read at all.
enum Refusal {
    Fault(Fault),
    Link(LinkType),
    NotACapture(&'static str),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

fn open_format(blocks: &mut Blocks, link_supported: LinkSupported) -> Result<Format, Refusal> {
    let magic = blocks.fill(4)?.first_chunk::<4>().copied();
    if magic == Some(PCAPNG) {
        return Ok(Format::Pcapng(Pcapng::new(link_supported)));
    }
    let Some(mut pcap) = magic.and_then(Pcap::from_magic) else {
        return Err(Refusal::NotACapture(what_it_is(blocks.fill(SNIFF_BYTES)?)));
    };
    pcap.read_header(blocks)?;
    if !link_supported(pcap.link.0) {
        return Err(Refusal::Link(pcap.link));
    }
    Ok(Format::Pcap(pcap))
}

/// Reading state of a pcap file.
#[derive(Debug)]
struct Pcap {
    order: Order,
    /// Nanoseconds in one unit of the fraction field.
    unit_ns: u64,
    head_bytes: usize,
    link: LinkType,
    /// Before version 2.4 the two lengths were written in either order.
    lengths_may_be_swapped: bool,
}

impl Pcap {
    const fn from_magic(magic: [u8; 4]) -> Option<Self> {
        let (order, unit_ns, head_bytes) = match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => (Order::Big, 1000, 16),
            [0xd4, 0xc3, 0xb2, 0xa1] => (Order::Little, 1000, 16),
            [0xa1, 0xb2, 0x3c, 0x4d] => (Order::Big, 1, 16),
            [0x4d, 0x3c, 0xb2, 0xa1] => (Order::Little, 1, 16),
            // The patched libpcap of A. Kuznetzov: interface, protocol and packet type after the lengths.
            [0xa1, 0xb2, 0xcd, 0x34] => (Order::Big, 1000, 24),
            [0x34, 0xcd, 0xb2, 0xa1] => (Order::Little, 1000, 24),
            _ => return None,
        };
        let link = LinkType(0);
        Some(Self { order, unit_ns, head_bytes, link, lengths_may_be_swapped: false })
    }

    fn read_header(&mut self, blocks: &mut Blocks) -> Result<(), Fault> {
        let header = blocks.words::<6>(self.order)?;
        let [_, version, _, _, _, network] = header.unwrap_or_default();
        let (major, minor) = self.order.halves(version);
        if major != 2 {
            let cause = format!("pcap version {major}.{minor} is not known");
            return Err(Fault::Corrupt { offset: 4, cause });
        }
        self.lengths_may_be_swapped = minor < 4;
        // The high half tells about a frame check sequence, which the IP length leaves out anyway.
        self.link = LinkType::from_dlt(network & 0xffff);
        blocks.take(HEADER_BYTES, 0, HEADER_BYTES as u64).map(drop)
    }

    #[inline]
    fn next(&self, blocks: &mut Blocks) -> Result<Option<Record>, Fault> {
        let whole = blocks.at_hand(self.order, self.head_bytes, |words| {
            let head = self.head(words);
            (head.captured <= RECORD_BYTES_MAX).then(|| (size(head.captured), head))
        });
        match whole {
            Some((range, head)) => Ok(Some(self.record(&head, range))),
            None => self.next_in_pieces(blocks),
        }
    }

    /// The next record, for which the input may have to be read.
    #[cold]
    fn next_in_pieces(&self, blocks: &mut Blocks) -> Result<Option<Record>, Fault> {
        let Some(words) = blocks.words(self.order)? else { return Ok(None) };
        let head = self.head(words);
        if head.captured > RECORD_BYTES_MAX {
            return Err(Fault::too_long(blocks.offset(), head.captured));
        }
        let record_bytes = self.head_bytes.saturating_add(size(head.captured)) as u64;
        let range = blocks.take(self.head_bytes, size(head.captured), record_bytes)?;
        Ok(Some(self.record(&head, range)))
    }

    fn head(&self, [seconds, fraction, captured, original]: [u32; 4]) -> Head {
        let (captured, original) = if self.lengths_may_be_swapped {
            (captured.min(original), captured.max(original))
        } else {
            (captured, original)
        };
        let ns = u64::from(fraction).saturating_mul(self.unit_ns);
        let time = Timestamp::new(u64::from(seconds), ns);
        Head { time, captured, wire_len: original.max(captured) }
    }

    const fn record(&self, head: &Head, range: Range<usize>) -> Record {
        Record { time: head.time, link: self.link.0, wire_len: head.wire_len, range }
    }
}

/// What stands before a packet's bytes.
struct Head {
    time: Timestamp,
    captured: u32,
    wire_len: u32,
}

/// Names what was found instead of a capture.
fn what_it_is(head: &[u8]) -> &'static str {
    let known = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature));
    if let Some((_, name)) = known {
        return name;
    }
    let text = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    match head {
        [] => "an empty file",
        _ if head.iter().all(text) && std::str::from_utf8(head).is_ok() => "text",
        [_, _, _] | [_, _] | [_] => "a file of less than four bytes",
        _ => "binary data of an unknown kind",
    }
}

const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const HEADER_BYTES: usize = 24;
const SNIFF_BYTES: usize = 64;

const SIGNATURES: &[(&[u8], &str)] = &[
    (b"snoop\0\0\0", "a Solaris snoop file (convert it with `editcap -F pcap`)"),
    (b"GMBU", "a Network Monitor capture (convert it with `editcap -F pcap`)"),
    (b"RTSS", "a Network Monitor capture (convert it with `editcap -F pcap`)"),
    (b"TRSNIFF data", "a Sniffer capture (convert it with `editcap -F pcap`)"),
    (b"XCP\0", "a NetXRay capture (convert it with `editcap -F pcap`)"),
    (b"\xfd7zXZ\0", "xz-compressed data (unpack it first)"),
    (b"BZh", "bzip2-compressed data (unpack it first)"),
    (b"\x04\x22\x4d\x18", "lz4-compressed data (unpack it first)"),
    (b"\x1f\x9d", "compress(1) data (unpack it first)"),
    (b"PK\x03\x04", "a zip archive (unpack it first)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive (unpack it first)"),
    (b"\x1f\x8b", "gzip data packed twice (unpack it first)"),
    (b"\x28\xb5\x2f\xfd", "zstd data packed twice (unpack it first)"),
    (b"\x7fELF", "a program"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a Parquet file"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "writes a capture to open")]

    use proptest::prelude::*;

    use super::*;
    use crate::ingest::check::{self, Got, pcap, read, read_packed, record, refused};

    const ORDERS: [Order; 2] = [Order::Big, Order::Little];

    #[test]
    fn every_variant_gives_its_records() {
        for order in ORDERS {
            for (magic, head_bytes, ns) in [
                (0xa1b2_c3d4, 16, 7_000_000_250_000_u64),
                (0xa1b2_3c4d, 16, 7_000_000_000_250),
                (0xa1b2_cd34, 24, 7_000_000_250_000),
            ] {
                let mut file = pcap(order, magic, 1);
                record(&mut file, order, head_bytes, [7_000, 250, 3, 60], b"abc");
                record(&mut file, order, head_bytes, [7_000, 250, 0, 0], b"");
                let got = |wire_len, bytes: &[u8]| Got {
                    time: Timestamp(ns),
                    link: 1,
                    wire_len,
                    bytes: bytes.to_vec(),
                };
                for block_bytes in [1, 16, 33, BLOCK_BYTES] {
                    let (frames, errors) = read(&file, block_bytes);
                    assert_eq!(frames, [got(60, b"abc"), got(0, b"")], "{magic:x} {order:?}");
                    assert!(errors.is_empty(), "{errors:?}");
                }
            }
        }
    }

    #[test]
    fn each_prefix_gives_its_records_and_then_says_where_it_was_cut() {
        let order = Order::Little;
        let mut file = pcap(order, 0xa1b2_c3d4, 1);
        let mut ends = vec![file.len()];
        for data in [&b"first"[..], b"", b"the third"] {
            record(&mut file, order, 16, [1, 2, check::u32_of(data.len()), 70], data);
            ends.push(file.len());
        }
        for end in 4..=file.len() {
            let (frames, errors) = read(&file[..end], 32);
            let whole = ends.iter().filter(|at| **at <= end).count();
            assert_eq!(frames.len(), whole.saturating_sub(1), "prefix of {end}");
            if ends.contains(&end) {
                assert!(errors.is_empty(), "{errors:?}");
                continue;
            }
            let begins = if whole == 0 { 0 } else { ends[whole - 1] };
            let [SourceError::Cut { at, need, have, .. }] = &errors[..] else {
                panic!("prefix of {end}: {errors:?}");
            };
            assert_eq!(at.offset, begins as u64);
            assert_eq!(*have, (end - begins) as u64);
            assert!(need > have);
        }
    }

    #[test]
    fn lengths_before_version_2_4_come_in_either_order() {
        let order = Order::Big;
        let mut file = pcap(order, 0xa1b2_c3d4, 1);
        file[7] = 3;
        record(&mut file, order, 16, [1, 0, 60, 3], b"abc");
        let (frames, errors) = read(&file, 64);
        assert_eq!((frames[0].wire_len, frames[0].bytes.len()), (60, 3));
        assert!(errors.is_empty());
    }

    #[test]
    fn frame_check_sequence_bits_are_not_part_of_the_link_type() {
        let mut file = pcap(Order::Big, 0xa1b2_c3d4, 0x9400_0001);
        record(&mut file, Order::Big, 16, [1, 0, 1, 1], b"x");
        assert_eq!(read(&file, 64).0[0].link, 1);
    }

    #[test]
    fn what_cannot_be_right_is_said() {
        let mut long = pcap(Order::Little, 0xa1b2_c3d4, 1);
        record(&mut long, Order::Little, 16, [1, 0, 1, 1], b"x");
        record(&mut long, Order::Little, 16, [1, 0, 0x8000_0000, 1], b"x");
        let (frames, errors) = read(&long, 64);
        assert_eq!(frames.len(), 1);
        let text = errors[0].to_string();
        assert!(text.contains("corrupt at byte 41: a record of 2147483648 captured"), "{text}");

        let mut version = pcap(Order::Little, 0xa1b2_c3d4, 1);
        version[4] = 9;
        assert!(refused(&version).contains("pcap version 9.4"), "{}", refused(&version));
        let wifi = pcap(Order::Little, 0xa1b2_c3d4, 105);
        assert!(refused(&wifi).contains("link type 105 (IEEE 802.11) cannot be decoded"));
    }

    #[test]
    fn names_what_is_not_a_capture() {
        for (bytes, found) in [
            (&b""[..], "an empty file"),
            (b"\xa1\xb2\xc3", "a file of less than four bytes"),
            (b"time,src,dst\n1,2,3\n", "text"),
            (b"no", "text"),
            (b"PK\x03\x04....", "a zip archive"),
            (b"\xfd7zXZ\0....", "xz-compressed"),
            (b"snoop\0\0\0....", "snoop"),
            (b"\x01\x02\x03\x04\x05", "binary data"),
        ] {
            let text = refused(bytes);
            assert!(text.contains(found), "{text}");
            assert!(text.starts_with("test: this is "), "{text}");
        }
    }

    #[test]
    fn compression_is_told_by_the_first_bytes() {
        let mut file = pcap(Order::Little, 0xa1b2_c3d4, 1);
        for i in 0..200 {
            record(&mut file, Order::Little, 16, [i, 0, 100, 100], &[7; 100]);
        }
        let (first, second) = file.split_at(5_000);
        let gzip = [check::gzip(first), check::gzip(second)].concat();
        let zstd = [check::zstd(first), check::zstd(second)].concat();
        let skippable = [b"\x50\x2a\x4d\x18\x04\0\0\0abcd", &zstd[..]].concat();
        for packed in [&gzip, &zstd, &skippable] {
            let (frames, errors) = read(packed, BLOCK_BYTES);
            assert_eq!(frames.len(), 200);
            assert!(errors.is_empty(), "{errors:?}");
        }
        for packed in [&gzip, &zstd] {
            let (frames, errors) = read(&packed[..packed.len() - 12], BLOCK_BYTES);
            assert!(frames.len() > 40, "{}", frames.len());
            let text = errors[0].to_string();
            assert!(text.contains("cannot be unpacked after byte"), "{text}");
            assert!(text.contains("of the uncompressed data"), "{text}");
        }
        let (_, errors) = read(&check::gzip(&file[..file.len() - 3]), BLOCK_BYTES);
        let text = errors[0].to_string();
        assert!(text.contains("cut at byte 23108 of the uncompressed data"), "{text}");
        assert!(refused(&check::gzip(b"hello")).contains("this is text"));
    }

    #[test]
    fn opens_files_and_names_them_in_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcap");
        let open = |path: &std::path::Path| {
            let place = Place::Path(path.to_path_buf());
            let input = CaptureInput { place, capture: "a.pcap".to_owned(), bytes: None };
            CaptureFile::open(&input, check::supported, None)
        };
        let missing = open(&path).unwrap_err().to_string();
        assert!(missing.contains("a.pcap: cannot be opened: No such file"), "{missing}");
        std::fs::write(&path, pcap(Order::Little, 0xa1b2_c3d4, 1)).unwrap();
        let mut opened = open(&path).unwrap();
        assert!(matches!(opened.next(), Ok(Input::End)));
        assert!(matches!(opened.next(), Ok(Input::End)));
        let folder = open(folder.path()).unwrap_err().to_string();
        assert!(folder.contains("s a directory"), "{folder}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end_cleanly(
            tail in proptest::collection::vec(any::<u8>(), 0..400),
            which in 0..8_usize,
            block_bytes in 1..200_usize,
        ) {
            let mut file = check::openings().swap_remove(which);
            file.extend(tail);
            let (frames, errors) = read(&file, block_bytes);
            prop_assert!(frames.len() <= file.len() / 12);
            prop_assert!(errors.len() <= 2);
        }

        #[test]
        fn any_change_to_a_capture_ends_cleanly(
            at in 0..2_000_usize,
            to in any::<u8>(),
            cut in 0..2_000_usize,
        ) {
            for mut file in check::openings() {
                if let Some(byte) = file.get_mut(at) {
                    *byte = to;
                }
                for packed in [file.clone(), check::gzip(&file), check::zstd(&file)] {
                    let kept = packed.len().min(cut);
                    let (_, errors) = read_packed(&packed[..kept]);
                    prop_assert!(errors.len() <= 2);
                }
            }
        }
    }
}
