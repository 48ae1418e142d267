//! HTTP/2 in clear (h2c with prior knowledge), gRPC included. RFC 9113,
//! <https://www.rfc-editor.org/rfc/rfc9113>.
//!
//! Here: frames, and what a connection looks like. [`hpack`] finds credentials in field sections.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Start, Step, View,
    http::{Fit, credentials, decide, read_on},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Mark, Side, Transport},
};

mod follow;
mod hpack;

pub(super) struct Http2;

impl Detector for Http2 {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        let side = |side| opening(side, view.side(side));
        decide(view, side(Side::Client), side(Side::Server))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow::follow(state, side, said)
    }
}

/// What a side says first, or a chain of frames where it was joined late.
fn opening(side: Side, said: Said<'_>) -> Fit {
    let first = match side {
        Side::Client => preface(said.bytes),
        Side::Server => settings(said.bytes),
    };
    match (first, said.start) {
        (Ok(None), Start::Unknown) => chain(side, said.bytes),
        _ => first,
    }
}

/// The client connection preface (section 3.4).
fn preface(bytes: &[u8]) -> Fit {
    if PREFACE.iter().zip(bytes).any(|(a, b)| a != b) {
        return Ok(None);
    }
    if bytes.len() < PREFACE.len() {
        return Err(Short);
    }
    Ok(Some(mark("http2.preface", Side::Client, PREFACE.len(), "PRI * HTTP/2.0")))
}

/// The server connection preface: a SETTINGS frame that says something known, or another frame behind it.
fn settings(bytes: &[u8]) -> Fit {
    const HEAD: [Option<u8>; 9] =
        [Some(0), Some(0), None, Some(4), Some(0), Some(0), Some(0), Some(0), Some(0)];
    if HEAD.iter().zip(bytes).any(|(want, byte)| want.is_some_and(|want| want != *byte)) {
        return Ok(None);
    }
    let mut cursor = Cursor::new(bytes);
    let frame = Frame::read(&mut cursor)?;
    if !frame.legal() {
        return Ok(None);
    }
    let mut payload = Cursor::new(cursor.take(frame.length)?);
    while let (Ok(id), Ok(value)) = (payload.u16_be(), payload.u32_be()) {
        if !setting(id, value) {
            return Ok(None);
        }
    }
    if frame.length == 0 {
        // Zeros look like an empty one: what servers send next has to follow.
        let second = Frame::read(&mut cursor)?;
        let usual = second.kind == WINDOW_UPDATE || second.kind == SETTINGS && second.has(ACK);
        if !second.legal() || !usual || second.stream != 0 {
            return Ok(None);
        }
    }
    Ok(Some(mark("http2.settings", Side::Server, FRAME_HEADER_BYTES, "SETTINGS")))
}

/// Whether a setting is known and its value allowed (section 6.5.2), or reserved to be ignored.
fn setting(id: u16, value: u32) -> bool {
    match id {
        2 | 8 | 9 => value <= 1,
        4 => value <= 0x7fff_ffff,
        5 => (16_384..=0x00ff_ffff).contains(&value),
        // 0xf000 and above are for experiments (IANA HTTP/2 Settings); gRPC uses them.
        1..=0x10 | 0xf000.. => true,
        _ => id & 0x0f0f == 0x0a0a,
    }
}

/// Three frames in a row, as at the start of a segment in the middle of a connection.
fn chain(side: Side, bytes: &[u8]) -> Fit {
    let mut cursor = Cursor::new(bytes);
    // Stream whose field section goes on in the next frame.
    let (mut open, mut sizes) = (None, 0_usize);
    for left in (0..CHAIN_FRAMES).rev() {
        let frame = Frame::read(&mut cursor)?;
        let goes_on = open.is_none_or(|stream| stream == frame.stream);
        if !frame.legal() || !goes_on || open.is_some() != (frame.kind == CONTINUATION) {
            return Ok(None);
        }
        let fields = matches!(frame.kind, HEADERS | CONTINUATION);
        if frame.kind == HEADERS && !frame.is_told_by(&cursor)? {
            return Ok(None);
        }
        sizes = sizes.saturating_add(usize::from(frame.kind != DATA));
        open = (fields && !frame.has(END_HEADERS)).then_some(frame.stream);
        if left > 0 {
            cursor.skip(frame.length)?;
        }
    }
    Ok((sizes > 0).then(|| mark("http2.frames", side, cursor.at(), "3 frames")))
}

fn mark(rule: &'static str, side: Side, length: usize, constant: &'static str) -> Mark {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    Mark { rule, side, offset: 0, length, constant }
}

/// A frame header (section 4.1).
#[derive(Clone, Copy)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    /// With the reserved bit.
    stream: u32,
}

impl Frame {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let mut header = Cursor::new(cursor.take(FRAME_HEADER_BYTES)?);
        let length = usize::try_from(header.u24_be()?).unwrap_or(usize::MAX);
        let (kind, flags) = (header.u8()?, header.u8()?);
        Ok(Self { length, kind, flags, stream: header.u32_be()? })
    }

    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether length and stream are allowed for the type (section 6). Unknown types are ignored by all (section 5.5).
    fn sound(self) -> bool {
        let on_stream = self.stream != 0 && self.stream & RESERVED_BIT == 0;
        let on_connection = self.stream == 0;
        match self.kind {
            DATA | CONTINUATION => on_stream,
            HEADERS | PUSH_PROMISE => on_stream && self.length > 0,
            PRIORITY => on_stream && self.length == 5,
            RST_STREAM => on_stream && self.length == 4,
            SETTINGS => on_connection && self.length.is_multiple_of(6),
            PING => on_connection && self.length == 8,
            GOAWAY => on_connection && self.length >= 8,
            WINDOW_UPDATE => self.stream & RESERVED_BIT == 0 && self.length == 4,
            _ => true,
        }
    }

    /// Whether the fields behind this HEADERS frame begin as they do: with an entry of a table, or with a literal whose
    /// text is Huffman code or readable (RFC 7541 section 6). Small numbers and zeros do not.
    fn is_told_by(self, payload: &Cursor<'_>) -> Result<bool, Short> {
        let shifted = self.has(PADDED) || self.has(PRIORITY_FLAG);
        if shifted || payload.peek()? >= 0x20 {
            return Ok(true);
        }
        match payload.rest() {
            [_, length, ..] if *length >= 0x80 => Ok(true),
            [_, _, text, ..] => Ok(text.is_ascii_graphic()),
            _ => Err(Short),
        }
    }

    /// Sound, and nothing unusual: known type and flags, the smallest maximum length, streams opened by clients.
    fn legal(self) -> bool {
        let flags = match self.kind {
            DATA => END_STREAM | PADDED,
            HEADERS => END_STREAM | END_HEADERS | PADDED | PRIORITY_FLAG,
            SETTINGS | PING => ACK,
            CONTINUATION => END_HEADERS,
            PRIORITY | RST_STREAM | GOAWAY | WINDOW_UPDATE => 0,
            _ => return false,
        };
        let acknowledges = self.kind == SETTINGS && self.has(ACK);
        self.sound()
            && self.flags & !flags == 0
            && self.length <= FRAME_BYTES_MIN_MAX
            && (self.stream == 0 || self.stream & 1 == 1)
            && (self.kind != SETTINGS || self.length <= SETTINGS_BYTES_MAX)
            && (!acknowledges || self.length == 0)
    }
}

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEADER_BYTES: usize = 9;
const RESERVED_BIT: u32 = 1 << 31;

/// Frames that prove a connection joined late.
const CHAIN_FRAMES: usize = 3;

/// The maximum frame length nobody may refuse (section 4.2).
const FRAME_BYTES_MIN_MAX: usize = 16_384;

/// Longest SETTINGS frame believed: 32 settings.
const SETTINGS_BYTES_MAX: usize = 192;

// Frame types.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

// Frame flags.
const ACK: u8 = 0x01;
const END_STREAM: u8 = 0x01;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY_FLAG: u8 = 0x20;

static INFO: Info = Info {
    name: "http2",
    title: "HTTP/2 in clear (h2c), gRPC",
    spec: "https://www.rfc-editor.org/rfc/rfc9113",
    ports: &[80, 2379, 8080, 50051],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::BASIC_AUTH
        .with(Credentials::BEARER_TOKEN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::SESSION_SECRET),
};

#[cfg(test)]
mod tests;
