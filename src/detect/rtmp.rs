//! RTMP. <https://rtmp.veriskope.com/docs/spec/>
//!
//! Both sides begin with a version byte and 1536 bytes: time, zero (or the version of a Flash player, or of nginx), noise.
//! RTMPE has version 6. A flow joined late is known by a whole command message.
use super::fit::{Fit, mark, openings};
use super::{Detector, Directions, FollowState, Info, Match, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Side, Transport},
};

pub(super) struct Rtmp;

impl Detector for Rtmp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        let alone = |side| match view.side(side) {
            said if said.bytes.is_empty() => Err(Short),
            said if said.start == Start::Unknown => command(side, said.bytes),
            said => hello(side, said.bytes, HANDSHAKE_BYTES),
        };
        // Both beginnings together need not be whole.
        let both = || {
            Ok::<_, Short>((
                hello(Side::Client, view.client.bytes, BEGINNING_BYTES)?,
                hello(Side::Server, view.server.bytes, BEGINNING_BYTES)?,
            ))
        };
        let known = view.client.start == Start::Known && view.server.start == Start::Known;
        let client_silent = view.client.bytes.is_empty();
        let found = match (alone(Side::Client), alone(Side::Server)) {
            (Ok(None), _) if !client_silent => return Probe::No,
            (Ok(Some(found)), _) => found,
            (Err(Short), Ok(Some(found))) if client_silent => found,
            _ => match both() {
                Ok((Some(found), Some(_))) if known => found,
                _ => return Probe::More,
            },
        };
        match found.constant {
            ENCRYPTED => Match::encrypted(Encryption::OtherEncrypted, found),
            _ => Match::plaintext(found),
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let fit = match said.start {
            Start::Known => hello(side, said.bytes, 9),
            Start::Unknown => command(side, said.bytes),
        };
        let mut step = openings(state, side, said, &fit);
        if fit.is_ok_and(|found| found.is_some_and(|mark| mark.constant == ENCRYPTED)) {
            step.facts.reason = None;
        }
        step
    }
}

/// C0 and C1, or S0 and S1, of which `least` bytes must be there.
fn hello(side: Side, bytes: &[u8], least: usize) -> Fit {
    let mut c = Cursor::new(bytes);
    let constant = match c.u8()? {
        3 => "RTMP version 3",
        6 => ENCRYPTED,
        _ => return Ok(None),
    };
    c.skip(4)?;
    // Zero, or the version of a Flash player or server.
    let zero = c.rest().iter().take(4).all(|b| *b == 0);
    let major = c.peek()?;
    if !zero && !matches!(major, 1..=0x20 | 0x80) {
        return Ok(None);
    }
    // All else is noise where it is encrypted: Flash players say N.0, servers up to N.5.
    let minor_max = if side == Side::Client { 0 } else { 5 };
    if constant == ENCRYPTED && !zero && bytes.get(6).is_none_or(|minor| *minor > minor_max) {
        return if bytes.len() > 6 { Ok(None) } else { Err(Short) };
    }
    c.skip(4)?;
    // TPKT has the same first byte; its first packet is shorter, and says so.
    if let [3, 0, 0, length, ..] = bytes
        && (TPKT_BYTES_MIN..=bytes.len()).contains(&usize::from(*length))
        && !zero
    {
        return Ok(None);
    }
    if bytes.len() < least {
        return Err(Short);
    }
    let values = if least == HANDSHAKE_BYTES { NOISE_VALUES_MIN } else { BEGINNING_VALUES_MIN };
    if least >= BEGINNING_BYTES && !is_noise(bytes.get(..least).unwrap_or(bytes), values) {
        return Ok(None);
    }
    let told = zero || side == Side::Server && bytes.get(5..9) == Some(NGINX);
    let enough = told && constant != ENCRYPTED || least < HANDSHAKE_BYTES;
    if enough { Ok(Some(mark("rtmp.handshake", side, 0, 9, constant))) } else { Err(Short) }
}

/// Whether what should be noise is neither zeros nor a few values (some clients leave a part of it empty).
fn is_noise(bytes: &[u8], values: usize) -> bool {
    let mut seen = [false; 256];
    for byte in bytes.iter().skip(9) {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    seen.iter().filter(|seen| **seen).count() >= values
}

/// A command message (type 20) behind a whole chunk header: a name in AMF0, its string marker and length before it.
fn command(side: Side, bytes: &[u8]) -> Fit {
    let mut c = Cursor::new(bytes);
    // Chunk streams 3 to 63, with a header of 11 bytes.
    if !(3..=63).contains(&c.u8()?) {
        return Ok(None);
    }
    let (_time, length, kind, stream) = (c.u24_be()?, c.u24_be()?, c.u8()?, c.u32_le()?);
    if kind != 20 || stream > STREAM_MAX || length < 3 {
        return Ok(None);
    }
    if c.array::<2>()? != [2, 0] {
        return Ok(None);
    }
    let length = usize::from(c.u8()?);
    let known = match side {
        Side::Client => CLIENT_COMMANDS,
        Side::Server => SERVER_COMMANDS,
    };
    if !known.iter().any(|name| name.len() == length) {
        return Ok(None);
    }
    let name = c.take(length)?;
    let found = known.iter().find(|known| known.as_bytes() == name);
    Ok(found.map(|constant| mark("rtmp.command", side, 0, c.at(), constant)))
}

/// Section 7.2, and what Flash encoders say before they publish.
const CLIENT_COMMANDS: &[&str] = &[
    "connect",
    "createStream",
    "releaseStream",
    "FCPublish",
    "FCUnpublish",
    "publish",
    "play",
    "deleteStream",
    "getStreamLength",
    "_checkbw",
];
const SERVER_COMMANDS: &[&str] =
    &["_result", "_error", "onStatus", "onFCPublish", "onFCUnpublish", "onBWDone"];
/// Message streams are numbered from 1.
const STREAM_MAX: u32 = 1024;
/// What nginx's module says where the version is.
const NGINX: &[u8] = b"\x0d\x0e\x0a\x0d";
const ENCRYPTED: &str = "RTMPE version 6";
const TPKT_BYTES_MIN: usize = 7;
/// Different bytes in 1528 that are noise.
const NOISE_VALUES_MIN: usize = 64;
/// So much of both sides tells as much as all of one; different bytes in 55 that are noise.
const BEGINNING_BYTES: usize = 64;
const BEGINNING_VALUES_MIN: usize = 16;
/// C0 and C1.
const HANDSHAKE_BYTES: usize = 1537;

static INFO: Info = Info {
    name: "rtmp",
    title: "RTMP",
    spec: "https://rtmp.veriskope.com/docs/spec/",
    ports: &[1935],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    /// The opening of either side, with noise.
    fn opening(version: u8, field: [u8; 4]) -> Vec<u8> {
        let noise = (0..1528_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
        [version, 0, 0x12, 0x34, 0x56].into_iter().chain(field).chain(noise).collect()
    }

    #[test]
    fn one_whole_opening_or_two_beginnings_prove_it() {
        let plain = opening(3, [0; 4]);
        for side in [C, S] {
            assert!(matches!(probe_side(&Rtmp, side, &plain), Probe::Match(_)));
            assert_eq!(probe_side(&Rtmp, side, &plain[..1536]), Probe::More);
        }
        let mut flash = opening(3, [9, 0, 124, 2]);
        flash[1..5].fill(0);
        assert_eq!(probe_side(&Rtmp, C, &flash), Probe::More);
        let heard = hear(&Rtmp, &[(C, &flash), (S, &flash)]);
        assert_eq!((heard.encryption, heard.fits), (Some(Encryption::Plaintext), [true, true]));
        assert!(hear(&Rtmp, &[(C, &flash[..64]), (S, &plain[..64])]).matched.is_some());
        let small = [&[3, 0, 1, 0, 4][..], &[0, 0, 0, 2, 0, 7, 0, 0, 1].repeat(40)].concat();
        assert!(hear(&Rtmp, &[(C, &small), (S, &small)]).matched.is_none(), "small numbers");
        let sealed = opening(6, [0; 4]);
        let heard = hear(&Rtmp, &[(C, &sealed), (S, &sealed)]);
        assert_eq!((heard.encryption, heard.reason), (Some(Encryption::OtherEncrypted), None));
        for bytes in
            [&b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"[..], b"GET / HTTP/1.1"]
        {
            assert_eq!(probe_side(&Rtmp, C, bytes), Probe::No, "{bytes:02x?}");
        }
    }

    #[test]
    fn the_version_of_nginx_is_known() {
        let nginx = opening(3, *b"\x0d\x0e\x0a\x0d");
        assert!(matches!(probe_side(&Rtmp, S, &nginx), Probe::Match(_)));
        assert_eq!(probe_side(&Rtmp, C, &nginx), Probe::More);
    }

    #[test]
    fn a_late_view_needs_a_command() {
        let connect = b"\x03\0\0\0\0\0\xc0\x14\0\0\0\0\x02\0\x07connect\0";
        let result = b"\x03\0\0\0\0\0\x1d\x14\0\0\0\0\x02\0\x07_result\0@\x10";
        let status = b"\x05\0\0\0\0\0\x69\x14\x01\0\0\0\x02\0\x08onStatus\0";
        assert!(hear_from(&Rtmp, &[(C, connect)], Start::Unknown).matched.is_some());
        for answer in [&result[..], status] {
            assert!(hear_from(&Rtmp, &[(S, answer)], Start::Unknown).matched.is_some());
            assert!(hear_from(&Rtmp, &[(C, answer)], Start::Unknown).matched.is_none());
        }
        // Sound, and a command nobody knows.
        for other in [
            &b"\x04\0\0\0\0\0\xc0\x08\x01\0\0\0\xaf\x01\0\0\0\0\0\0"[..],
            b"\x03\0\0\0\0\0\xc0\x14\0\0\0\0\x02\0\x07connekt\0",
        ] {
            assert!(hear_from(&Rtmp, &[(C, other)], Start::Unknown).matched.is_none());
        }
        assert!(hear_from(&Rtmp, &[(C, &opening(3, [0; 4]))], Start::Unknown).matched.is_none());
    }

    #[test]
    fn noise_that_begins_with_the_version_of_rtmpe_is_nothing() {
        let noise =
            |head: &[u8]| [head, &(0..=255).cycle().take(1600).collect::<Vec<u8>>()].concat();
        let client = noise(&[6, 0x17, 0xbc, 0x61, 0x7c, 0x0b, 0x75, 0xda, 0x9d]);
        let server = noise(&[6, 0xe1, 0x8e, 0xcd, 0x0c, 0x0a, 0xe5, 0x2d, 0x22]);
        for (side, bytes) in [(Side::Client, &client), (Side::Server, &server)] {
            assert_eq!(hello(side, bytes, BEGINNING_BYTES), Ok(None));
        }
        let flash = noise(&[6, 0, 0, 0, 0, 0x0a, 0, 0x20, 2]);
        assert!(hello(Side::Client, &flash, BEGINNING_BYTES).is_ok_and(|found| found.is_some()));
    }
}
