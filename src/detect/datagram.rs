//! What detectors of datagram protocols share: datagrams behind two-byte lengths, of which a view may cut the last. Messages
//! of a TCP stream behind such lengths read the same.

use super::{Facts, FollowState, Match, Next, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Encryption, Mark, PlaintextReason, Side},
};

/// A datagram, perhaps not all of it.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) declared: usize,
}

/// What a datagram turned out to be.
#[derive(Clone, Copy)]
pub(super) struct Proof {
    pub(super) rule: &'static str,
    pub(super) constant: &'static str,
    pub(super) encryption: Encryption,
}

/// The datagrams of a side; the last may be cut.
pub(super) fn heads(said: Said<'_>) -> impl Iterator<Item = Datagram<'_>> {
    let mut cursor = Cursor::new(said.bytes);
    std::iter::from_fn(move || {
        let declared = usize::from(cursor.u16_be().ok()?);
        let bytes = cursor.take(declared.min(cursor.left())).ok()?;
        Some(Datagram { bytes, declared })
    })
}

impl Datagram<'_> {
    pub(super) const fn is_whole(&self) -> bool {
        self.bytes.len() == self.declared
    }

    /// A match on this datagram, the first of `side`.
    pub(super) fn matched(&self, side: Side, proof: Proof) -> Probe {
        let Proof { rule, constant, encryption } = proof;
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        Match::encrypted(encryption, Mark { rule, side, offset: 2, length, constant })
    }
}

/// Asks `judge` about the first message of the client, or else of the server. A message of a stream that is not yet whole is
/// asked about with `may_begin`, so that what cannot be one is dismissed at once.
pub(super) fn probe_first(
    view: &View<'_>,
    may_begin: fn(Side, &Datagram<'_>) -> bool,
    judge: fn(Side, &Datagram<'_>) -> Option<Proof>,
) -> Probe {
    let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
    let Some(first) = heads(view.side(side)).next() else { return Probe::More };
    match judge(side, &first) {
        Some(proof) if first.is_whole() => first.matched(side, proof),
        _ if !first.is_whole() && may_begin(side, &first) => Probe::More,
        _ => Probe::No,
    }
}

/// Reads message by message until both sides were heard to fit, or enough was read.
pub(super) fn follow_each(
    state: &mut FollowState,
    side: Side,
    said: Said<'_>,
    reason: Option<PlaintextReason>,
    read: impl Fn(Side, &Datagram<'_>) -> Option<Facts>,
) -> Step {
    let Some(message) = heads(said).next().filter(Datagram::is_whole) else {
        // More than is ever kept unread.
        let long = said.bytes.len() > MESSAGE_BYTES_MAX;
        return if long { Step::DONE } else { Step::WAIT };
    };
    let [client, server] = &mut state.phase;
    let (mine, other) = match side {
        Side::Client => (client, server),
        Side::Server => (server, client),
    };
    let found = read(side, &message);
    let first = *mine == SILENT;
    if found.is_some() {
        *mine = FITTED;
    } else if first {
        *mine = SPOKEN;
    }
    let [messages, ..] = &mut state.words;
    *messages = messages.saturating_add(1);
    let enough = *mine == FITTED && *other == FITTED && reason.is_none();
    let over = enough || *messages >= MESSAGES_MAX;
    let facts = match found {
        Some(facts) => Facts { fits: true, reason, ..facts },
        None if first => Facts::MISMATCH,
        None => Facts::NONE,
    };
    let consumed = message.declared.saturating_add(2);
    let next = if over || facts.mismatch { Next::Done } else { Next::Continue };
    Step { consumed, facts, next }
}

/// Whether `bytes` look sealed: as varied as random ones are, which padding, text and counters are not.
pub(super) fn looks_sealed(bytes: &[u8]) -> bool {
    let mut seen = [0_u64; 4];
    for byte in bytes {
        if let Some(word) = seen.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }
    let values: u32 = seen.iter().map(|word| word.count_ones()).sum();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    // 16 random bytes have fewer than 11 values once in a million times, 32 fewer than 22.
    values.saturating_mul(16) >= length.saturating_mul(11) && length >= 16
}

const SILENT: u8 = 0;
const SPOKEN: u8 = 1;
const FITTED: u8 = 2;
const MESSAGES_MAX: u32 = 32;
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        detect::{Detector, Start},
        model::Transport,
    };

    /// Datagrams behind their lengths.
    pub(in crate::detect) fn said(datagrams: &[&[u8]]) -> Vec<u8> {
        let each = |d: &&[u8]| [&u16::try_from(d.len()).unwrap().to_be_bytes()[..], d].concat();
        datagrams.iter().flat_map(each).collect()
    }

    /// What a detector says of datagrams of both sides.
    pub(in crate::detect) fn probe(
        detector: &dyn Detector,
        client: &[&[u8]],
        server: &[&[u8]],
    ) -> Probe {
        let (client, server) = (said(client), said(server));
        let said = |bytes| Said { bytes, start: Start::Known };
        detector.probe(&View::new(Transport::Udp, said(&client), said(&server)))
    }

    /// Rule and constant of a match.
    pub(in crate::detect) fn rule(probe: Probe) -> Option<(&'static str, &'static str)> {
        match probe {
            Probe::Match(found) => Some((found.mark.rule, found.mark.constant)),
            _ => None,
        }
    }

    /// Bytes that look sealed.
    pub(in crate::detect) fn noise(length: usize) -> Vec<u8> {
        let mut seed = 0xbeef_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// Random datagrams, also such as begin with one of `firsts`, are never matched.
    pub(in crate::detect) fn never_matches_noise(detector: &dyn Detector, firsts: &[u8]) {
        let noise = noise(200_064);
        for round in 0..200_000_usize {
            let length = 1 + round * 7 % 63;
            let mut bytes = noise[round..round + length].to_vec();
            if let Some(first) = firsts.get(round % (firsts.len() + 1)) {
                bytes[0] = *first;
            }
            assert!(rule(probe(detector, &[&bytes], &[])).is_none(), "{bytes:02x?}");
            assert!(rule(probe(detector, &[], &[&bytes])).is_none(), "{bytes:02x?}");
        }
    }

    #[test]
    fn sealed_bytes_are_told_from_others() {
        assert!(looks_sealed(&noise(32)) && looks_sealed(&noise(16)));
        assert!(
            !looks_sealed(&[0; 32]) && !looks_sealed(b"aaaabbbbccccdddd") && !looks_sealed(b"abc")
        );
    }
}
