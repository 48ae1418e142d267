//! Puts together a stream whose pieces come out of order (CRYPTO frames of QUIC, fragments of DTLS).

use std::fmt;

/// Pieces that wait for what comes before them.
#[derive(Clone, Default)]
pub(super) struct Pieces {
    next: usize,
    held: Vec<(usize, Box<[u8]>)>,
    held_bytes: usize,
}

impl fmt::Debug for Pieces {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces")
            .field("next", &self.next)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl Pieces {
    /// Takes the piece at `offset`; what is now in order goes to `sink`. Of two copies the first counts.
    pub(super) fn push(&mut self, offset: usize, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        if offset > self.next {
            self.hold(offset, bytes);
            return;
        }
        self.join(offset, bytes, sink);
        while let Some((offset, bytes)) = self.take_joining() {
            self.join(offset, &bytes, sink);
        }
    }

    /// Memory held.
    pub(super) const fn buffered(&self) -> usize {
        let entry = size_of::<(usize, Box<[u8]>)>();
        self.held_bytes.saturating_add(self.held.capacity().saturating_mul(entry))
    }

    fn join(&mut self, offset: usize, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        let fresh = bytes.get(self.next.saturating_sub(offset)..).unwrap_or_default();
        self.next = self.next.saturating_add(fresh.len());
        if !fresh.is_empty() {
            sink(fresh);
        }
    }

    fn hold(&mut self, offset: usize, bytes: &[u8]) {
        let known = self.held.iter().any(|(at, held)| *at == offset && held.len() >= bytes.len());
        let room = HELD_BYTES_MAX.saturating_sub(self.held_bytes);
        if !known && self.held.len() < HELD_PIECES_MAX && bytes.len() <= room {
            self.held_bytes = self.held_bytes.saturating_add(bytes.len());
            self.held.push((offset, bytes.into()));
        }
    }

    fn take_joining(&mut self) -> Option<(usize, Box<[u8]>)> {
        let at = self.held.iter().position(|(offset, _)| *offset <= self.next)?;
        let piece = self.held.swap_remove(at);
        self.held_bytes = self.held_bytes.saturating_sub(piece.1.len());
        Some(piece)
    }
}

const HELD_PIECES_MAX: usize = 64;
const HELD_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(pieces: &[(usize, &[u8])]) -> Vec<u8> {
        let (mut stream, mut read) = (Pieces::default(), Vec::new());
        for (offset, bytes) in pieces {
            stream.push(*offset, bytes, &mut |fresh| read.extend_from_slice(fresh));
        }
        assert!(stream.held.len() <= HELD_PIECES_MAX && stream.held_bytes <= HELD_BYTES_MAX);
        read
    }

    #[test]
    fn pieces_join_in_any_order_and_the_first_copy_wins() {
        assert_eq!(joined(&[(3, b"def"), (6, b"gh"), (0, b"abcX")]), b"abcXefgh");
        assert_eq!(joined(&[(0, b"abc"), (0, b"xyzd"), (2, b"--e")]), b"abcde");
        assert_eq!(joined(&[(1, b"b"), (2, b"c"), (1, b"bc")]), b"");
    }

    #[test]
    fn what_waits_is_bounded() {
        let far: Vec<(usize, &[u8])> = (1..1000).map(|at| (at * 1000, &[7; 900][..])).collect();
        assert_eq!(joined(&far), b"");
    }
}
