//! Test bench for capture files: builds them in memory and reads them to the end.

use std::io::{self, Read, Write as _};

use super::{
    CaptureFile, Input, Source as _, SourceError,
    blocks::{BLOCK_BYTES, Order},
    compress,
};
use crate::model::{Link, Timestamp};

/// A frame, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) time: Timestamp,
    pub(super) link: u32,
    pub(super) wire_len: u32,
    pub(super) bytes: Vec<u8>,
}

/// The link types that tests take as supported.
pub(super) fn supported(link: u32) -> bool {
    matches!(link, 0 | 1 | 101)
}

/// Reads to the end, `block_bytes` at a time and never more than seven bytes from the input.
pub(super) fn read(file: &[u8], block_bytes: usize) -> (Vec<Got>, Vec<SourceError>) {
    let step = if block_bytes == BLOCK_BYTES { usize::MAX } else { 7 };
    read_with(Drip { bytes: file.to_vec(), at: 0, step }, block_bytes)
}

/// As [`read`], in blocks of the real size.
pub(super) fn read_packed(file: &[u8]) -> (Vec<Got>, Vec<SourceError>) {
    read(file, BLOCK_BYTES)
}

/// The message for a file that is not read at all.
#[track_caller]
pub(super) fn refused(file: &[u8]) -> String {
    let (frames, errors) = read(file, BLOCK_BYTES);
    assert_eq!((frames.len(), errors.len()), (0, 1), "{errors:?}");
    errors[0].to_string()
}

fn read_with(
    reader: impl Read + Send + 'static,
    block_bytes: usize,
) -> (Vec<Got>, Vec<SourceError>) {
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    let unpacked = compress::unpack(Box::new(reader)).unwrap();
    let mut source = match CaptureFile::new("test".to_owned(), unpacked, block_bytes, supported) {
        Ok(source) => source,
        Err(error) => return (frames, vec![error]),
    };
    loop {
        match source.next() {
            Ok(Input::Frame(frame)) => {
                let Link::Type(link) = frame.link else { panic!("{:?}", frame.link) };
                let bytes = frame.bytes.to_vec();
                frames.push(Got { time: frame.time, link, wire_len: frame.wire_len, bytes });
            }
            Ok(Input::Tick(_)) => panic!("a file has no clock"),
            Ok(Input::End) => return (frames, errors),
            Err(error) => errors.push(error),
        }
    }
}

/// Gives a few bytes at a time, as a pipe does.
struct Drip {
    bytes: Vec<u8>,
    at: usize,
    step: usize,
}

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let count = rest.len().min(buffer.len()).min(self.step);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

pub(super) fn word(order: Order, value: u32) -> [u8; 4] {
    match order {
        Order::Big => value.to_be_bytes(),
        Order::Little => value.to_le_bytes(),
    }
}

pub(super) fn half(order: Order, value: u16) -> [u8; 2] {
    match order {
        Order::Big => value.to_be_bytes(),
        Order::Little => value.to_le_bytes(),
    }
}

pub(super) fn u32_of(length: usize) -> u32 {
    u32::try_from(length).unwrap()
}

/// A pcap header.
pub(super) fn pcap(order: Order, magic: u32, network: u32) -> Vec<u8> {
    let mut file = word(order, magic).to_vec();
    file.extend(half(order, 2));
    file.extend(half(order, 4));
    for value in [0, 0, 65_535, network] {
        file.extend(word(order, value));
    }
    file
}

/// Adds a pcap record; `head` is seconds, fraction, captured and original length.
pub(super) fn record(
    file: &mut Vec<u8>,
    order: Order,
    head_bytes: usize,
    head: [u32; 4],
    data: &[u8],
) {
    for value in head {
        file.extend(word(order, value));
    }
    file.resize(file.len() + head_bytes - 16, 0xee);
    file.extend(data);
}

/// Adds a pcapng block of these parts, padded.
pub(super) fn block(file: &mut Vec<u8>, order: Order, kind: u32, parts: &[&[u8]]) {
    let mut body = parts.concat();
    body.resize(body.len().next_multiple_of(4), 0);
    let total = word(order, u32_of(body.len() + 12));
    file.extend(word(order, kind));
    file.extend(total);
    file.extend(body);
    file.extend(total);
}

/// Adds a section header.
pub(super) fn section(file: &mut Vec<u8>, order: Order) {
    let version = [half(order, 1), half(order, 0)].concat();
    block(file, order, 0x0a0d_0d0a, &[&word(order, 0x1a2b_3c4d), &version, &[0xff; 8]]);
}

/// Adds an interface description with options.
pub(super) fn interface(
    file: &mut Vec<u8>,
    order: Order,
    link: u16,
    snap_bytes: u32,
    options: &[(u16, &[u8])],
) {
    let mut body = [half(order, link), half(order, 0)].concat();
    body.extend(word(order, snap_bytes));
    for (code, value) in options {
        body.extend(half(order, *code));
        body.extend(half(order, u16::try_from(value.len()).unwrap()));
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    block(file, order, 1, &[&body]);
}

/// Adds an enhanced packet with a comment after it.
pub(super) fn enhanced(
    file: &mut Vec<u8>,
    order: Order,
    number: u32,
    units: u64,
    original: u32,
    data: &[u8],
) {
    let high = u32::try_from(units >> 32).unwrap();
    let low = u32::try_from(units & 0xffff_ffff).unwrap();
    let mut body = Vec::new();
    for value in [number, high, low, u32_of(data.len()), original] {
        body.extend(word(order, value));
    }
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend([half(order, 1), half(order, 3)].concat());
    body.extend(b"hey\0\0\0\0\0");
    block(file, order, 6, &[&body]);
}

/// The beginnings of capture files of each kind.
pub(super) fn openings() -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for order in [Order::Big, Order::Little] {
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34] {
            let mut file = pcap(order, magic, 1);
            let head_bytes = if magic == 0xa1b2_cd34 { 24 } else { 16 };
            for _ in 0..10 {
                record(&mut file, order, head_bytes, [1, 2, 8, 60], b"12345678");
            }
            files.push(file);
        }
        let mut file = Vec::new();
        section(&mut file, order);
        for link in [1, 105] {
            interface(&mut file, order, link, 0, &[(2, b"eth0"), (9, &[9]), (14, &[0; 8])]);
        }
        for number in [0, 1, 0, 0] {
            enhanced(&mut file, order, number, 1 << 60, 60, b"12345678");
        }
        files.push(file);
    }
    files
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 0).unwrap()
}
