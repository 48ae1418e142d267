//! What small protocols share: a message proves itself, one of each side is enough, and datagrams come one by one.
use super::{Facts, FollowState, Match, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

/// What one message tells.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) rule: &'static str,
    pub(super) constant: &'static str,
    /// Bytes of the proof.
    pub(super) length: usize,
    /// `None`: the next messages decide.
    pub(super) encryption: Option<Encryption>,
    pub(super) credentials: Credentials,
    pub(super) refused: bool,
}

impl Told {
    /// A message in clear.
    pub(super) const fn clear(rule: &'static str, constant: &'static str, length: usize) -> Self {
        let (encryption, credentials) = (Some(Encryption::Plaintext), Credentials::NONE);
        Self { rule, constant, length, encryption, credentials, refused: false }
    }

    /// The same message with secrets in it.
    pub(super) const fn with(self, credentials: Credentials) -> Self {
        Self { credentials: self.credentials.with(credentials), ..self }
    }

    /// The same message, and it rejects.
    pub(super) const fn refusing(self, refused: bool) -> Self {
        Self { refused, ..self }
    }

    fn mark(self, side: Side, offset: usize) -> Mark {
        let Self { rule, constant, length, .. } = self;
        mark(rule, side, offset, length, constant)
    }

    fn facts(self, side: Side) -> Facts {
        let clear = self.encryption == Some(Encryption::Plaintext);
        Facts {
            accepted: side == Side::Server && !self.refused,
            refused: self.refused,
            encryption: self.encryption,
            credentials: self.credentials,
            reason: clear.then_some(PlaintextReason::NoInBandUpgrade),
            ..Facts::FITS
        }
    }
}

/// Reads the opening of one side of a stream: `None` is another protocol.
pub(super) type Opening = fn(Side, Said<'_>) -> Result<Option<Told>, Short>;

/// Reads one datagram of a side.
pub(super) type Datagram = fn(Side, &[u8]) -> Result<Option<Told>, Short>;

/// Asks about a stream: the class is what the client speaks, and where it has not spoken, it may yet.
pub(super) fn probe_stream(view: &View<'_>, read: Opening) -> Probe {
    if view.transport != Transport::Tcp {
        return Probe::No;
    }
    if !view.client.bytes.is_empty() {
        return answer(Side::Client, view.client, read);
    }
    match answer(Side::Server, view.server, read) {
        Probe::No => Probe::More,
        answer => answer,
    }
}

fn answer(side: Side, said: Said<'_>, read: Opening) -> Probe {
    if said.bytes.is_empty() {
        return Probe::More;
    }
    match read(side, said) {
        Ok(Some(told)) => {
            Probe::Match(Match { encryption: told.encryption, mark: told.mark(side, 0) })
        }
        Ok(None) => Probe::No,
        Err(Short) => Probe::More,
    }
}

/// Reads the opening of each side, and no more.
pub(super) fn follow_stream(
    state: &mut FollowState,
    side: Side,
    said: Said<'_>,
    read: Opening,
) -> Step {
    let [client, server] = &mut state.phase;
    let (mine, other) = if side == Side::Client { (client, server) } else { (server, client) };
    if *mine != SILENT {
        return Step::read(said.bytes.len(), Facts::NONE);
    }
    let facts = match read(side, said) {
        Err(Short) => return Step::WAIT,
        Ok(Some(told)) => told.facts(side),
        Ok(None) if said.start == Start::Unknown => Facts::NONE,
        Ok(None) => Facts::MISMATCH,
    };
    *mine = HEARD;
    let next = if *other == HEARD || facts.mismatch { Next::Done } else { Next::Continue };
    Step { consumed: said.bytes.len(), facts, next }
}

/// Asks about the first datagram of either side: it fits or it does not.
pub(super) fn probe_datagram(view: &View<'_>, read: Datagram) -> Probe {
    if view.transport != Transport::Udp {
        return Probe::No;
    }
    for side in [Side::Client, Side::Server] {
        let said = view.side(side);
        if said.bytes.is_empty() {
            continue;
        }
        let Some(datagram) = first_datagram(said) else { return Probe::More };
        return match read(side, datagram) {
            Ok(Some(told)) => Probe::Match(Match {
                encryption: told.encryption,
                mark: told.mark(side, DATAGRAM_PREFIX_BYTES),
            }),
            _ => Probe::No,
        };
    }
    Probe::More
}

pub(super) fn first_datagram(said: Said<'_>) -> Option<&[u8]> {
    said.datagrams().next()
}

/// Reads datagrams until both sides are heard and the class is known.
pub(super) fn follow_datagrams(
    state: &mut FollowState,
    side: Side,
    said: Said<'_>,
    read: Datagram,
) -> Step {
    let Some(datagram) = first_datagram(said) else { return Step::WAIT };
    let consumed = datagram.len().saturating_add(DATAGRAM_PREFIX_BYTES);
    let [client, server] = &mut state.phase;
    let (mine, other) = if side == Side::Client { (client, server) } else { (server, client) };
    let facts = match read(side, datagram) {
        Ok(Some(told)) => {
            *mine = HEARD;
            state.flags |= u16::from(told.encryption.is_some());
            let offset = DATAGRAM_PREFIX_BYTES;
            Facts { mark: Some(told.mark(side, offset)), ..told.facts(side) }
        }
        _ if *mine == SILENT => {
            *mine = FOREIGN;
            Facts::MISMATCH
        }
        _ => Facts::NONE,
    };
    let [.., messages] = &mut state.words;
    *messages = messages.saturating_add(1);
    let settled = *mine == HEARD && *other == HEARD && state.flags & 1 != 0;
    let over = settled || facts.mismatch || *messages >= MESSAGES_MAX;
    Step { consumed, facts, next: if over { Next::Done } else { Next::Continue } }
}

/// Whether `magic` comes next: `false` at the first byte that differs.
pub(super) fn magic(cursor: &mut Cursor<'_>, magic: &[u8]) -> Result<bool, Short> {
    let rest = cursor.rest();
    if !magic.iter().zip(rest).all(|(want, byte)| want == byte) {
        return Ok(false);
    }
    cursor.skip(magic.len()).map(|()| true)
}

/// Text up to a NUL of at most `max` bytes that all satisfy `fits`; `None` at the first that does not.
pub(super) fn string<'a>(
    cursor: &mut Cursor<'a>,
    max: usize,
    fits: fn(u8) -> bool,
) -> Result<Option<&'a [u8]>, Short> {
    let rest = cursor.rest();
    let length = rest.iter().position(|byte| *byte == 0);
    let text = rest.get(..length.unwrap_or(rest.len())).unwrap_or(rest);
    if text.len() > max || !text.iter().all(|byte| fits(*byte)) {
        return Ok(None);
    }
    cursor.skip(length.ok_or(Short)?.saturating_add(1))?;
    Ok(Some(text))
}

/// A mark with its numbers narrowed.
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

/// Printable ASCII.
pub(super) const fn printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

const SILENT: u8 = 0;
const HEARD: u8 = 1;
const FOREIGN: u8 = 2;
const DATAGRAM_PREFIX_BYTES: usize = 2;
const MESSAGES_MAX: u32 = 32;

#[cfg(test)]
pub(super) mod bench {
    //! Test bench for datagrams, as `check` is for streams.
    use super::*;
    use crate::detect::{
        Detector,
        check::{Heard, hear},
    };

    /// `datagram` behind its length.
    pub(in crate::detect) fn framed(datagram: &[u8]) -> Vec<u8> {
        [&u16::try_from(datagram.len()).unwrap().to_be_bytes()[..], datagram].concat()
    }

    /// What `probe` says of one datagram of one side.
    pub(in crate::detect) fn probe_one(
        detector: &dyn Detector,
        side: Side,
        datagram: &[u8],
    ) -> Probe {
        let bytes = framed(datagram);
        let said = Said { bytes: &bytes, start: Start::Known };
        let view = View::new(Transport::Udp, said, Said::NOTHING);
        detector.probe(&if side == Side::Client { view } else { view.swapped() })
    }

    /// Whether one datagram proves the protocol.
    pub(in crate::detect) fn proves(detector: &dyn Detector, side: Side, datagram: &[u8]) -> bool {
        matches!(probe_one(detector, side, datagram), Probe::Match(_))
    }

    /// Other protocols' datagrams.
    pub(in crate::detect) const FOREIGN: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01",
        b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x36\x01\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x2a\xfe\xfd",
        b"\x00\x01\x00\x00\x21\x12\xa4\x42\0\0\0\0\0\0\0\0\0\0\0\0",
        &[0; 48],
        &[0xff; 300],
    ];

    /// Neither random datagrams nor other protocols' prove anything, and nothing waits.
    #[track_caller]
    pub(in crate::detect) fn proves_nothing_else(detector: &dyn Detector) {
        let mut seed = 0x5eed_u64;
        for round in 0..40_000_usize {
            let bytes: Vec<u8> = (0..round % 90)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 56) as u8
                })
                .collect();
            for side in [Side::Client, Side::Server] {
                assert!(!proves(detector, side, &bytes), "{bytes:02x?}");
            }
        }
        for bytes in FOREIGN.iter().filter(|bytes| !bytes.is_empty()) {
            for side in [Side::Client, Side::Server] {
                assert_eq!(probe_one(detector, side, bytes), Probe::No, "{bytes:02x?}");
            }
        }
    }

    /// Random openings of a stream prove nothing.
    #[track_caller]
    pub(in crate::detect) fn random_proves_nothing(detector: &dyn Detector) {
        let mut seed = 0x5eed_u64;
        for round in 0..40_000_usize {
            let bytes: Vec<u8> = (0..=round % 90)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 56) as u8
                })
                .collect();
            for start in [Start::Known, Start::Unknown] {
                let said = Said { bytes: &bytes, start };
                for view in [
                    View::new(Transport::Tcp, said, Said::NOTHING),
                    View::new(Transport::Tcp, Said::NOTHING, said),
                ] {
                    assert!(!matches!(detector.probe(&view), Probe::Match(_)), "{bytes:02x?}");
                }
            }
        }
    }

    /// Openings that other protocols' clients send over a stream.
    pub(in crate::detect) const OPENINGS: [&[u8]; 7] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"\x00\x00\x00\x12\x00\x12\x00\x03\x00\x00\x00\x00\x00\x08client-1",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"EHLO example.com\r\n",
    ];

    /// Plays datagrams as UDP: every one whole.
    pub(in crate::detect) fn hear_datagrams(
        detector: &dyn Detector,
        lines: &[(Side, &[u8])],
    ) -> Heard {
        let framed: Vec<(Side, Vec<u8>)> =
            lines.iter().map(|(side, bytes)| (*side, framed(bytes))).collect();
        let lines: Vec<(Side, &[u8])> =
            framed.iter().map(|(side, bytes)| (*side, bytes.as_slice())).collect();
        hear(&AsUdp(detector), &lines)
    }

    /// The bench speaks TCP; datagrams stand behind the same lengths.
    struct AsUdp<'d>(&'d dyn Detector);

    impl Detector for AsUdp<'_> {
        fn info(&self) -> &'static crate::detect::Info {
            self.0.info()
        }
        fn probe(&self, view: &View<'_>) -> Probe {
            self.0.probe(&View { transport: Transport::Udp, ..*view })
        }
        fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
            self.0.follow(state, side, said)
        }
    }
}
