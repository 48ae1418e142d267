//! What the smaller detectors share: one answer made of two sides, and the reading of a conversation's two openings.
use super::{Facts, FollowState, Match, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::Short,
    model::{Mark, PlaintextReason, Side, Transport},
};

/// How the bytes of one side fit: `Err` wait, `None` another protocol.
pub(super) type Fit = Result<Option<Mark>, Short>;

/// The answer for a TCP protocol that each side can prove alone. A client that speaks from its beginning decides; one
/// joined late that does not fit may stand within a message and leaves it to the server.
pub(super) fn either(view: &View<'_>, fit: impl Fn(Side, Said<'_>) -> Fit) -> Probe {
    if view.transport != Transport::Tcp {
        return Probe::No;
    }
    let heard = |side| if view.side(side).bytes.is_empty() { None } else { Some(side) };
    let client = heard(Side::Client).map(|side| fit(side, view.client));
    let server = || heard(Side::Server).map(|side| fit(side, view.server));
    match client {
        Some(Ok(Some(mark))) => Match::plaintext(mark),
        Some(Ok(None)) if view.client.start == Start::Known => Probe::No,
        Some(Err(Short)) if view.client.start == Start::Known => Probe::More,
        _ => match (client, server()) {
            (_, Some(Ok(Some(mark)))) => Match::plaintext(mark),
            (Some(Ok(None)), Some(Ok(None))) => Probe::No,
            _ => Probe::More,
        },
    }
}

/// The answer for a UDP protocol: the first datagram decides.
pub(super) fn datagram(view: &View<'_>, fit: impl Fn(Side, &[u8]) -> Option<Mark>) -> Probe {
    if view.transport != Transport::Udp {
        return Probe::No;
    }
    let read = |side| {
        let first = view.side(side).datagrams().next()?;
        fit(side, first).map(|mark| Match::plaintext(within(mark)))
    };
    if view.client.bytes.is_empty() {
        // The class is what the client speaks, and it has not spoken.
        return read(Side::Server).unwrap_or(Probe::More);
    }
    read(Side::Client).unwrap_or(Probe::No)
}

/// The first datagram of a side in `follow`, and the bytes to consume for it.
pub(super) fn first_datagram(said: Said<'_>) -> Option<(&[u8], usize)> {
    let datagram = said.datagrams().next()?;
    Some((datagram, datagram.len().saturating_add(DATAGRAM_PREFIX_BYTES)))
}

/// A mark behind the length of its datagram.
const fn within(mark: Mark) -> Mark {
    Mark { offset: mark.offset.saturating_add(2), ..mark }
}

/// Reads each side's opening once, for protocols where nothing later matters.
pub(super) fn openings(state: &mut FollowState, side: Side, said: Said<'_>, fit: &Fit) -> Step {
    let [client, server] = &mut state.phase;
    let (mine, other) = match side {
        Side::Client => (client, server),
        Side::Server => (server, client),
    };
    if *mine == READ {
        return Step::read(said.bytes.len(), Facts::NONE);
    }
    match fit {
        Err(Short) => Step::WAIT,
        Ok(None) if said.start == Start::Known => other_protocol(),
        Ok(fits) => {
            *mine = READ;
            let over = *other == READ;
            let accepted = over && fits.is_some();
            let facts = if fits.is_some() { Facts { accepted, ..CLEAR } } else { Facts::NONE };
            let next = if over { Next::Done } else { Next::Continue };
            Step { consumed: said.bytes.len(), facts, next }
        }
    }
}

/// A side that speaks something else.
pub(super) const fn other_protocol() -> Step {
    Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done }
}

/// Whether `bytes` begin with `start`.
pub(super) fn begins(bytes: &[u8], start: &[u8]) -> Result<bool, Short> {
    // Nearly always the first byte tells.
    if let ([first, ..], [wanted, ..]) = (bytes, start)
        && first != wanted
    {
        return Ok(false);
    }
    let shown = bytes.len().min(start.len());
    match bytes.get(..shown) == start.get(..shown) {
        true if shown < start.len() => Err(Short),
        same => Ok(same),
    }
}

/// Position of the start that `bytes` begin with.
pub(super) fn begins_any(bytes: &[u8], starts: &[&[u8]]) -> Result<Option<usize>, Short> {
    let mut open = false;
    for (at, start) in starts.iter().enumerate() {
        match begins(bytes, start) {
            Ok(true) => return Ok(Some(at)),
            Ok(false) => {}
            Err(Short) => open = true,
        }
    }
    if open { Err(Short) } else { Ok(None) }
}

/// The first `most` bytes, or what there is of them.
pub(super) fn shown(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

/// Position of a side in per-side arrays.
pub(super) const fn index(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

/// Readable on one line: printable ASCII, or UTF-8 beyond it.
pub(super) fn is_name(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| matches!(b, 0x20..=0x7e | 0x80..)) && str::from_utf8(bytes).is_ok()
}

/// A number in decimal digits, at most `max`.
pub(super) fn decimal(digits: &[u8], max: usize) -> Option<usize> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = plain.then(|| str::from_utf8(digits).ok()?.parse().ok())??;
    (number <= max).then_some(number)
}

/// A proof of `length` bytes at `offset`.
pub(super) fn mark(
    rule: &'static str,
    side: Side,
    offset: usize,
    length: usize,
    constant: &'static str,
) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { rule, side, offset: number(offset), length: number(length), constant }
}

/// Fits, and there is no way to TLS within the connection.
pub(super) const CLEAR: Facts =
    Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS };

const READ: u8 = 1;
const DATAGRAM_PREFIX_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_there_or_not_or_may_come() {
        assert_eq!(begins(b"AMQP\x00", b"AMQP"), Ok(true));
        assert_eq!(begins(b"AM", b"AMQP"), Err(Short));
        assert_eq!(begins(b"AX", b"AMQP"), Ok(false));
        assert_eq!(begins_any(b"PU", &[b"PUB ", b"SUB "]), Err(Short));
        assert_eq!(begins_any(b"SUB x", &[b"PUB ", b"SUB "]), Ok(Some(1)));
        assert_eq!(begins_any(b"MSG x", &[b"PUB ", b"SUB "]), Ok(None));
    }

    #[test]
    fn random_datagrams_are_no_protocol() {
        use crate::detect::DETECTORS;
        let mut seed = 0xda7a_u64;
        let mut bytes = [0_u8; 2048];
        for round in 0..50_000_usize {
            for chunk in bytes.chunks_mut(4) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chunk.copy_from_slice(&((seed >> 32) as u32).to_be_bytes());
            }
            let length = 1 + round % 200;
            let mut at = 0;
            while at + length + 2 < 700 {
                bytes[at..at + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
                at += length + 2;
            }
            let said = Said { bytes: &bytes[..at], start: Start::Known };
            for (client, server) in [(said, Said::NOTHING), (Said::NOTHING, said)] {
                let view = View::new(Transport::Udp, client, server);
                for detector in DETECTORS {
                    let runs = detector.info().transports.contains(&Transport::Udp);
                    let found = runs && matches!(detector.probe(&view), Probe::Match(_));
                    assert!(!found, "{} at {length}", detector.info().name);
                }
            }
        }
    }

    #[test]
    fn numbers_are_bounded_digits() {
        let cases: [(&[u8], Option<usize>); 6] = [
            (b"0", Some(0)),
            (b"100", Some(100)),
            (b"101", None),
            (b"", None),
            (b"+1", None),
            (b"99999999999999999999999", None),
        ];
        for (digits, number) in cases {
            assert_eq!(decimal(digits, 100), number, "{digits:?}");
        }
    }
}
