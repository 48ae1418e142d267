//! RTSP 1.0 and 2.0. <https://www.rfc-editor.org/rfc/rfc2326>, <https://www.rfc-editor.org/rfc/rfc7826>
//!
//! A flow joined late may be amidst media frames (`$`, channel, length): three of one source tell it.
use super::fit::{Fit, either, mark};
use super::headline::Grammar;
use super::{Detector, Directions, FollowState, Info, Probe, Said, Start, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) struct Rtsp;

impl Detector for Rtsp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        either(view, |side, said| match (said.start, said.bytes.first()) {
            (Start::Unknown, Some(b'$')) => interleaved(side, said.bytes),
            _ if side == Side::Client => GRAMMAR.request(side, said.bytes),
            _ => GRAMMAR.line(side, said.bytes),
        })
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        if said.bytes.first() == Some(&b'$') {
            // Media from here on.
            return Step::DONE;
        }
        GRAMMAR.follow(state, side, said)
    }
}

/// Three frames with RTP or RTCP of version 2 and one synchronization source.
fn interleaved(side: Side, bytes: &[u8]) -> Fit {
    let mut c = Cursor::new(bytes);
    let mut source = None;
    for _ in 0..3 {
        let [dollar, channel] = c.array()?;
        let mut media = Cursor::new({
            let length = usize::from(c.u16_be()?);
            c.take(length)?
        });
        let Ok([version, _, _, _]) = media.array::<4>() else { return Ok(None) };
        // RTCP has its source where RTP has its time.
        let here = if channel % 2 == 0 {
            media.skip(4).and_then(|()| media.u32_be())
        } else {
            media.u32_be()
        };
        let Ok(here) = here else { return Ok(None) };
        let sound = dollar == b'$' && channel < CHANNELS && version >> 6 == 2;
        if !sound || source.is_some_and(|source| source != here) {
            return Ok(None);
        }
        source = Some(here);
    }
    Ok(Some(mark("rtsp.interleaved", side, 0, c.at(), "$ frames")))
}

const CHANNELS: u8 = 16;

static GRAMMAR: Grammar = Grammar {
    methods: &[
        b"OPTIONS ",
        b"DESCRIBE ",
        b"ANNOUNCE ",
        b"SETUP ",
        b"PLAY ",
        b"PAUSE ",
        b"TEARDOWN ",
        b"GET_PARAMETER ",
        b"SET_PARAMETER ",
        b"RECORD ",
        b"REDIRECT ",
        b"PLAY_NOTIFY ",
    ],
    targets: &[b"rtsp://", b"rtspu://", b"rtsps://", b"* RTSP/"],
    ends: &[b" RTSP/1.0", b" RTSP/2.0"],
    statuses: &[b"RTSP/1.0 ", b"RTSP/2.0 "],
    rules: ["rtsp.request-line", "rtsp.status-line", "rtsp.authorization"],
    constant: "RTSP",
};

static INFO: Info = Info {
    name: "rtsp",
    title: "Real Time Streaming Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc7826",
    ports: &[554, 8554],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::BASIC_AUTH.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    #[test]
    fn start_lines_and_logins() {
        let cases: [(&[u8], bool, bool); 6] = [
            (b"OPTIONS rtsp://a/b RTSP/1.0\r\n", true, true),
            (b"OPTIONS * RTSP/2.0\r\n", true, true),
            (b"RTSP/1.0 200 OK\r\n", false, true),
            (b"OPTIONS * HTTP/1.1\r\n", false, false),
            (b"HTTP/1.0 200 OK\r\n", false, false),
            (b"$\0\0\x08\x80\x60\0\x01", false, false),
        ];
        for (bytes, client, server) in cases {
            let matches = |side| matches!(probe_side(&Rtsp, side, bytes), Probe::Match(_));
            assert_eq!((matches(C), matches(S)), (client, server), "{}", bytes.escape_ascii());
        }
        let describe =
            b"DESCRIBE rtsp://a/b RTSP/1.0\r\nCSeq: 2\r\nAuthorization: Basic dTpw\r\n\r\n";
        let heard = hear(&Rtsp, &[(C, describe), (S, b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n")]);
        assert_eq!(heard.credentials, Credentials::BASIC_AUTH);
        assert!(heard.fits == [true, true] && heard.reason.is_some());
    }

    #[test]
    fn media_frames_of_one_source_tell_a_late_view() {
        let frame = |seq: u8, source: u8| {
            [&b"$\0\0\x10\x80\x60\0"[..], &[seq], b"\0\0\0\x09\0\0\0", &[source], b"data"].concat()
        };
        let late = |frames: &[Vec<u8>]| {
            hear_from(&Rtsp, &[(S, &frames.concat())], Start::Unknown).matched.is_some()
        };
        assert!(late(&[frame(1, 7), frame(2, 7), frame(3, 7)]));
        assert!(!late(&[frame(1, 7), frame(2, 7)]));
        assert!(!late(&[frame(1, 7), frame(2, 8), frame(3, 7)]));
    }
}
