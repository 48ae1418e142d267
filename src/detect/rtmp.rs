//! RTMP. <https://rtmp.veriskope.com/docs/spec/>
//!
//! Both sides begin with a version byte and 1536 bytes: time, zero (or a Flash version), noise. RTMPE has version 6. A
//! flow joined late is known by its `connect` command.
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
            said if said.start == Start::Unknown => connect(side, said.bytes),
            said => hello(side, said.bytes, HANDSHAKE_BYTES),
        };
        // Both beginnings together need not be whole.
        let both = || {
            Ok::<_, Short>((
                hello(Side::Client, view.client.bytes, 9)?,
                hello(Side::Server, view.server.bytes, 9)?,
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
            Start::Unknown => connect(side, said.bytes),
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
    if least == HANDSHAKE_BYTES && !is_noise(bytes) {
        return Ok(None);
    }
    let enough = zero && constant != ENCRYPTED || least < HANDSHAKE_BYTES;
    if enough { Ok(Some(mark("rtmp.handshake", side, 0, 9, constant))) } else { Err(Short) }
}

/// Whether what should be noise is neither zeros nor a few values (some clients leave a part of it empty).
fn is_noise(bytes: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in bytes.iter().take(HANDSHAKE_BYTES).skip(9) {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    seen.iter().filter(|seen| **seen).count() >= NOISE_VALUES_MIN
}

/// The command message that opens a session: type 20, AMF0 string `connect`.
fn connect(side: Side, bytes: &[u8]) -> Fit {
    let mut c = Cursor::new(bytes);
    if side == Side::Server || c.u8()? != 3 {
        return Ok(None);
    }
    let (_time, _length, kind, stream) = (c.u24_be()?, c.u24_be()?, c.u8()?, c.u32_le()?);
    if kind != 20 || stream != 0 {
        return Ok(None);
    }
    let named = c.take(10)? == b"\x02\x00\x07connect";
    Ok(named.then(|| mark("rtmp.connect", side, 0, c.at(), "connect")))
}

const ENCRYPTED: &str = "RTMPE version 6";
const TPKT_BYTES_MIN: usize = 7;
/// Different bytes in 1528 that are noise.
const NOISE_VALUES_MIN: usize = 64;
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
    fn a_late_view_needs_the_connect_command() {
        let connect = b"\x03\0\0\0\0\0\xc0\x14\0\0\0\0\x02\0\x07connect\0";
        assert!(hear_from(&Rtmp, &[(C, connect)], Start::Unknown).matched.is_some());
        assert!(hear_from(&Rtmp, &[(C, &opening(3, [0; 4]))], Start::Unknown).matched.is_none());
    }
}
