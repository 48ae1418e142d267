//! WebSocket frames of a connection joined late; one seen from its beginning is `http`.
//! <https://www.rfc-editor.org/rfc/rfc6455#section-5.2>
//!
//! Headers are two bytes and weak: it takes whole frames with enough readable text in them. A client's text must come out
//! of its mask, so one frame of it is enough; a server's are in clear and it takes two.
use super::fit::{self, Fit, either, mark};
use super::{Detector, Directions, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) struct Websocket;

impl Detector for Websocket {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        either(view, |side, said| match said.start {
            Start::Known => Ok(None),
            Start::Unknown => frames(side, said.bytes),
        })
    }

    fn follow(&self, _state: &mut FollowState, _side: Side, said: Said<'_>) -> Step {
        Step { consumed: said.bytes.len(), facts: fit::CLEAR, next: Next::Done }
    }
}

/// Whole frames with readable text.
fn frames(side: Side, bytes: &[u8]) -> Fit {
    let mut c = Cursor::new(bytes);
    let (mut whole, mut text) = (0_u32, 0_usize);
    let least = if side == Side::Client { 1 } else { 2 };
    while whole < least || text < TEXT_BYTES_LEAST {
        let [first, second] = c.array()?;
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = opcode >= CLOSE;
        let length = match (second & 0x7f, control) {
            (126, false) => usize::from(c.u16_be()?),
            (127, _) | (126, true) => return Ok(None),
            (short, _) => usize::from(short),
        };
        let minimal = second & 0x7f < 126 || length > 125;
        let masked = second & 0x80 != 0;
        let sound = first & 0x70 == 0
            && matches!(opcode, TEXT | BINARY | CLOSE..=PONG)
            && fin
            && minimal
            && masked == (side == Side::Client);
        if !sound || whole >= FRAMES_MAX {
            return Ok(None);
        }
        let key = if masked { c.array()? } else { [0; 4] };
        let payload = c.rest().get(..length).unwrap_or(c.rest());
        if opcode == TEXT {
            if !is_readable(payload, key) {
                return Ok(None);
            }
            text = text.saturating_add(length);
        }
        c.skip(length)?;
        whole = whole.saturating_add(1);
    }
    Ok(Some(mark("websocket.frames", side, 0, c.at(), "text frames")))
}

/// Whether all bytes, unmasked, are printable ASCII (JSON, STOMP and the like are).
fn is_readable(payload: &[u8], key: [u8; 4]) -> bool {
    let bytes = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
    bytes.into_iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e))
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;
const TEXT_BYTES_LEAST: usize = 24;
const FRAMES_MAX: u32 = 32;

static INFO: Info = Info {
    name: "websocket",
    title: "WebSocket",
    spec: "https://www.rfc-editor.org/rfc/rfc6455",
    ports: &[],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    /// A text frame, masked with `key` if there is one.
    fn frame(text: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        match key {
            None => [&[0x81, length][..], text].concat(),
            Some(key) => {
                let masked = text.iter().zip(key.iter().cycle()).map(|(a, b)| a ^ b);
                let head = [&[0x81, length | 0x80][..], &key].concat();
                head.into_iter().chain(masked).collect()
            }
        }
    }

    #[test]
    fn frames_of_text_tell_a_late_view() {
        let words = b"{\"op\":\"subscribe\",\"id\":17}";
        let late = |side, bytes: &[u8]| {
            let found = hear_from(&Websocket, &[(side, bytes)], Start::Unknown).matched.is_some();
            assert!(hear(&Websocket, &[(side, bytes)]).matched.is_none(), "only late");
            found
        };
        let (plain, masked) = (frame(words, None), frame(words, Some([1, 0x82, 0x43, 0xf4])));
        assert!(late(S, &plain.repeat(2)) && late(C, &masked));
        assert!(!late(C, &plain.repeat(2)) && !late(S, &masked.repeat(2)), "masks by side");
        assert!(!late(S, &plain) && !late(S, &[&plain[..], b"\x01"].concat()));
        assert!(late(S, &[&b"\x89\0"[..], &plain, &plain].concat()), "after a ping");
        assert!(!late(C, &masked[..masked.len() - 1]), "the frame is whole");
        let mut other = masked.repeat(2);
        other[2] ^= 0x80;
        assert!(!late(C, &other), "not text under this mask");
        assert!(!late(S, &b"\x8a\0".repeat(20)), "no text");
    }
}
