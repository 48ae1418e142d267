//! Finds the record layer again after a gap or a late start, byte by byte and in constant memory.

use std::fmt;

use crate::model::tls::RecordHeader;

/// Follows up to [`CANDIDATES`] possible chains of records through a stream.
#[derive(Clone)]
pub(super) struct Resync {
    at: u64,
    /// The latest bytes, the last one lowest.
    window: u128,
    candidates: [Option<Candidate>; CANDIDATES],
    /// Where the next header of a chain must stand.
    due: u64,
    /// So many bytes ago, at most, came one with which something may begin.
    near: u8,
}

impl fmt::Debug for Resync {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resync").field("at", &self.at).finish_non_exhaustive()
    }
}

/// A header that may be one: where the next must stand.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    version: u16,
    links: u8,
    next: u64,
}

/// What the last byte completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Nothing,
    /// The third header of a chain; its body follows.
    Header(RecordHeader),
    /// A hello: its record's header and the first bytes of the body.
    Hello(RecordHeader, [u8; 6]),
    /// The search has cost enough.
    GaveUp,
}

impl Resync {
    pub(super) const fn new() -> Self {
        Self { at: 0, window: 0, candidates: [None; CANDIDATES], due: u64::MAX, near: 0 }
    }

    /// Takes bytes that [`Self::push`] would do nothing with, and says how many.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        if self.near > 0 {
            return 0;
        }
        let calm = memchr::memchr2(MAJOR, RecordHeader::HANDSHAKE, bytes).unwrap_or(bytes.len());
        let wanted = self.due.saturating_add(4).min(SEARCH_BYTES_MAX.saturating_sub(1));
        let left = usize::try_from(wanted.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let passed = calm.min(left);
        let last = bytes.get(passed.saturating_sub(WINDOW_BYTES)..passed).unwrap_or_default();
        self.window = last.iter().fold(self.window, |all, byte| all << 8 | u128::from(*byte));
        self.at = self.at.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        passed
    }

    /// Takes one byte.
    pub(super) fn push(&mut self, byte: u8) -> Found {
        let telling = matches!(byte, MAJOR | RecordHeader::HANDSHAKE);
        self.near = if telling { TELLING_BYTES } else { self.near.saturating_sub(1) };
        self.window = self.window << 8 | u128::from(byte);
        self.at = self.at.saturating_add(1);
        let [.., first, _, _, _, _, _, kind, major, minor, high, low] = self.window.to_be_bytes();
        // Nearly every byte: nothing may begin with it, and no chain wants a header here.
        let here = self.at.saturating_sub(5);
        if first != RecordHeader::HANDSHAKE && major != MAJOR && here != self.due {
            return if self.at >= SEARCH_BYTES_MAX { Found::GaveUp } else { Found::Nothing };
        }
        if let Some((header, body)) = self.hello() {
            return Found::Hello(header, body);
        }
        let header = RecordHeader::read([kind, major, minor, high, low]);
        let header = header.filter(|h| h.runs_on());
        let linked = self.link(header);
        self.due = self.candidates.iter().flatten().map(|c| c.next).min().unwrap_or(u64::MAX);
        match linked {
            Some(header) => Found::Header(header),
            None if self.at >= SEARCH_BYTES_MAX => Found::GaveUp,
            None => Found::Nothing,
        }
    }

    /// Advances the chains that meet here, or starts one.
    fn link(&mut self, header: Option<RecordHeader>) -> Option<RecordHeader> {
        let here = self.at.saturating_sub(5);
        let next = |h: RecordHeader| self.at.saturating_add(u64::from(h.length));
        let mut met = false;
        for slot in &mut self.candidates {
            let Some(candidate) = slot else { continue };
            if candidate.next != here {
                continue;
            }
            match header {
                Some(header) if header.version == candidate.version => {
                    met = true;
                    candidate.links = candidate.links.saturating_add(1);
                    candidate.next = next(header);
                    if candidate.links >= LINKS {
                        return Some(header);
                    }
                }
                _ => *slot = None,
            }
        }
        let header = header.filter(|_| !met && self.at >= 5)?;
        if let Some(free) = self.candidates.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(Candidate { version: header.version, links: 1, next: next(header) });
        }
        None
    }

    /// A record header followed by the head of a hello, seen when its eleventh byte arrives.
    fn hello(&self) -> Option<(RecordHeader, [u8; 6])> {
        let [_, _, _, _, _, kind, major, minor, high, low, body @ ..] = self.window.to_be_bytes();
        if self.at < 11 || kind != RecordHeader::HANDSHAKE {
            return None;
        }
        let header = RecordHeader::read([kind, major, minor, high, low])?;
        let [1 | 2, 0, _, _, 3, 0..=4] = body else { return None };
        (header.length > 38).then_some((header, body))
    }
}

/// First byte of all versions.
const MAJOR: u8 = 3;
/// Bytes that a hello's and a record's first byte are looked back at.
const TELLING_BYTES: u8 = 10;
const WINDOW_BYTES: usize = size_of::<u128>();
/// Headers that must meet.
const LINKS: u8 = 3;
/// Chains followed at once.
const CANDIDATES: usize = 8;
/// Several of the longest records.
const SEARCH_BYTES_MAX: u64 = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn push_all(bytes: &[u8]) -> Option<(usize, Found)> {
        let mut resync = Resync::new();
        let answers = bytes.iter().enumerate().map(|(at, b)| (at + 1, resync.push(*b)));
        answers.into_iter().find(|(_, found)| *found != Found::Nothing)
    }

    fn record(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut record = vec![0x17, 3, 3, high, low];
        record.resize(5 + usize::from(length), 0xa5);
        record
    }

    #[test]
    fn what_is_passed_changes_nothing() {
        let mut seed = 7_u64;
        let mut random = || {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            u8::try_from(seed >> 56).unwrap()
        };
        for round in 0..200_usize {
            let mut bytes: Vec<u8> = (0..round * 7).map(|_| random()).collect();
            let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
            bytes.extend(if round % 3 == 0 { hello.to_vec() } else { record(30).repeat(3) });
            bytes.extend((0..40).map(|_| random()));
            let one_by_one = push_all(&bytes);
            for piece in [1, 5, 64, bytes.len()] {
                let (mut resync, mut at, mut found) = (Resync::new(), 0, None);
                'read: for piece in bytes.chunks(piece) {
                    let mut rest = piece;
                    while let Some((byte, tail)) = rest.split_first() {
                        let passed = resync.pass(rest);
                        if passed > 0 {
                            (rest, at) = (&rest[passed..], at + passed);
                            continue;
                        }
                        (rest, at) = (tail, at + 1);
                        let answer = resync.push(*byte);
                        if answer != Found::Nothing {
                            found = Some((at, answer));
                            break 'read;
                        }
                    }
                }
                assert_eq!(found, one_by_one, "round {round}, pieces of {piece}");
            }
        }
        let mut resync = Resync::new();
        let long = vec![0; 200 * 1024];
        let passed = resync.pass(&long);
        assert_eq!(push_all(&long), Some((passed + 1, Found::GaveUp)));
    }

    #[test]
    fn three_headers_that_meet_are_found_behind_other_bytes() {
        let mut bytes = vec![0x17, 3, 3, 0, 60, 0x99];
        for _ in 0..3 {
            bytes.extend(record(30));
        }
        let header = RecordHeader { kind: 0x17, version: 0x0303, length: 30 };
        assert_eq!(push_all(&bytes), Some((6 + 35 + 35 + 5, Found::Header(header))));
        assert_eq!(push_all(&bytes[..6 + 35 + 35 + 4]), None);
    }

    #[test]
    fn a_hello_is_found_at_once() {
        let mut bytes = b"EHLO x\r\nSTARTTLS\r\n".to_vec();
        bytes.extend([0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]);
        assert!(matches!(push_all(&bytes), Some((29, Found::Hello(_, [1, 0, 0, 196, 3, 3])))));
    }

    #[test]
    fn the_search_ends() {
        let bytes = vec![0x17; 1 << 18];
        assert_eq!(push_all(&bytes), Some((1 << 17, Found::GaveUp)));
    }
}
