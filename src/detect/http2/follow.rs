//! A conversation in HTTP/2, frame by frame. RFC 9113 sections 4 and 6.
//!
//! Field sections are read field by field; everything else is passed over by its length. A field that is torn between
//! two frames ends the reading of its section, not of the connection.
use super::{
    CONTINUATION, END_HEADERS, FRAME_HEADER_BYTES, Frame, HEADERS, PADDED, PREFACE, PRIORITY_FLAG,
    PUSH_PROMISE, credentials, hpack, opening, read_on,
};
use crate::{
    bytes::{Cursor, Short},
    detect::{Facts, FollowState, Next, Said, Start, Step},
    model::{PlaintextReason, Side},
};

/// Reads as many frames and fields as have nothing to tell, up to one that has.
pub(super) fn follow(state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
    let mut talk = Talk::unpack(state);
    let step = read_on(said.bytes, |rest| talk.step(side, rest, said.start));
    talk.pack(state);
    step
}

/// One side's place.
#[derive(Clone, Copy)]
struct Half {
    /// Where it stands: `OPENING` ...
    phase: u8,
    /// `SPOKE` ...
    flags: u8,
    /// Bytes of the field section fragment still to come.
    left: u32,
    /// Padding behind it.
    padding: u8,
}

/// Both sides, unpacked from [`FollowState`].
struct Talk {
    client: Half,
    server: Half,
    /// Frames read on both sides.
    frames: u32,
    /// Credential kinds already pointed at.
    seen: u8,
}

impl Talk {
    fn step(&mut self, side: Side, bytes: &[u8], start: Start) -> Step {
        match self.half(side).phase {
            OPENING => self.opening(side, bytes, start),
            FRAMES => self.frame(side, bytes).unwrap_or(Step::WAIT),
            FIELDS => self.field(side, bytes),
            _ => Step::read(bytes.len(), Facts::NONE),
        }
    }

    /// The preface, the first SETTINGS, or frames in the middle.
    fn opening(&mut self, side: Side, bytes: &[u8], start: Start) -> Step {
        let found = match opening(side, Said { bytes, start }) {
            Err(Short) => return Step::WAIT,
            Ok(Some(found)) => found,
            Ok(None) if start == Start::Known => return self.close(side, bytes, Facts::MISMATCH),
            Ok(None) => return self.close(side, bytes, Facts::NONE),
        };
        let heard = self.client.flags | self.server.flags;
        let half = self.half(side);
        half.phase = FRAMES;
        half.flags |= SPOKE;
        let accepted = side == Side::Server;
        let reason = Some(PlaintextReason::NoInBandUpgrade);
        let mut facts = Facts { accepted, reason, ..Facts::FITS };
        if heard & SPOKE != 0 {
            facts.mark = Some(found);
        }
        if side == Side::Client && bytes.starts_with(PREFACE) {
            return Step::read(PREFACE.len(), facts);
        }
        let step = self.frame(side, bytes).unwrap_or(Step::WAIT);
        Step { facts, ..step }
    }

    /// A frame: its header and, before a field section, what stands between them.
    fn frame(&mut self, side: Side, bytes: &[u8]) -> Result<Step, Short> {
        let mut cursor = Cursor::new(bytes);
        let frame = Frame::read(&mut cursor)?;
        let continues = frame.kind == CONTINUATION;
        if !frame.sound() || continues != self.half(side).has(OPEN) {
            return Ok(self.close(side, bytes, Facts::NONE));
        }
        let padded = frame.has(PADDED) && !continues;
        let fields = matches!(frame.kind, HEADERS | PUSH_PROMISE | CONTINUATION);
        let padding = if fields && padded { cursor.u8()? } else { 0 };
        match frame.kind {
            HEADERS if frame.has(PRIORITY_FLAG) => cursor.skip(5)?,
            PUSH_PROMISE => cursor.skip(4)?,
            _ => {}
        }
        self.frames = self.frames.saturating_add(1);
        if self.frames > FRAMES_MAX {
            return Ok(Step::DONE);
        }
        let end = FRAME_HEADER_BYTES.saturating_add(frame.length);
        if !fields {
            return Ok(Step::read(end, Facts::NONE));
        }
        let before = cursor.at().saturating_add(usize::from(padding));
        let left = end.checked_sub(before).and_then(|left| u32::try_from(left).ok());
        let Some(left) = left else { return Ok(self.close(side, bytes, Facts::NONE)) };
        let half = self.half(side);
        let torn = continues && half.has(TORN);
        half.flags &= !(OPEN | TORN);
        if !frame.has(END_HEADERS) {
            half.flags |= OPEN;
        }
        if torn || left == 0 {
            half.flags |= if torn { TORN } else { 0 };
            return Ok(Step::read(end, Facts::NONE));
        }
        (half.phase, half.left, half.padding) = (FIELDS, left, padding);
        Ok(Step::read(cursor.at(), Facts::NONE))
    }

    /// One field of a section.
    fn field(&mut self, side: Side, bytes: &[u8]) -> Step {
        let half = self.half(side);
        let left = usize::try_from(half.left).unwrap_or(usize::MAX);
        let limit = left.min(FIELD_BYTES_MAX);
        let shown = bytes.get(..limit).unwrap_or(bytes);
        let (length, found) = match hpack::representation(shown) {
            Ok(field) if field.length <= left => (field.length, field.found),
            Err(Short) if shown.len() < limit => return Step::WAIT,
            _ => {
                half.flags |= TORN;
                (left, None)
            }
        };
        let left = u32::try_from(left.saturating_sub(length)).unwrap_or(0);
        half.left = left;
        let mut consumed = length;
        if left == 0 {
            half.phase = FRAMES;
            consumed = consumed.saturating_add(usize::from(half.padding));
        }
        let Some(found) = found else { return Step::read(consumed, Facts::NONE) };
        let mark = credentials::mark(&mut self.seen, "http2.credentials", side, found, length);
        Step::read(consumed, Facts { credentials: found.0, mark, ..Facts::NONE })
    }

    /// Gives a side up.
    fn close(&mut self, side: Side, bytes: &[u8], facts: Facts) -> Step {
        self.half(side).phase = CLOSED;
        let both = self.client.phase == CLOSED && self.server.phase == CLOSED;
        let next = if both { Next::Done } else { Next::Continue };
        Step { consumed: bytes.len(), facts, next }
    }

    const fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn unpack(state: &FollowState) -> Self {
        let [client_phase, server_phase] = state.phase;
        let [client_flags, server_flags] = state.flags.to_be_bytes();
        let [client_left, server_left, frames, rest, ..] = state.words;
        let [client_padding, server_padding, seen, _] = rest.to_be_bytes();
        let half = |phase, flags, left, padding| Half { phase, flags, left, padding };
        let client = half(client_phase, client_flags, client_left, client_padding);
        let server = half(server_phase, server_flags, server_left, server_padding);
        Self { client, server, frames, seen }
    }

    const fn pack(&self, state: &mut FollowState) {
        let (client, server) = (self.client, self.server);
        let rest = u32::from_be_bytes([client.padding, server.padding, self.seen, 0]);
        state.phase = [client.phase, server.phase];
        state.flags = u16::from_be_bytes([client.flags, server.flags]);
        state.words = [client.left, server.left, self.frames, rest, 0, 0];
    }
}

impl Half {
    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

// Phases.
const OPENING: u8 = 0;
const FRAMES: u8 = 1;
const FIELDS: u8 = 2;
/// Nothing more to read on this side.
const CLOSED: u8 = 3;

// Flags.
const SPOKE: u8 = 1;
/// A field section goes on in a CONTINUATION frame.
const OPEN: u8 = 1 << 1;
/// The rest of the section cannot be read.
const TORN: u8 = 1 << 2;

/// Most bytes of one field looked at.
const FIELD_BYTES_MAX: usize = 1024;

/// Most frames read.
const FRAMES_MAX: u32 = 512;
