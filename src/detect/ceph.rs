//! Ceph: messenger versions 1 and 2. <https://docs.ceph.com/en/latest/dev/msgr2/>
//!
//! Both sides begin with a banner. Version 2 agrees on a mode at the end of the login: checksums, or encryption.
use super::frames::{self, Flaw, Read, fits, mark, need, tag};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

pub(super) struct Ceph;

impl Detector for Ceph {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        let answer = frames::probe(
            view,
            |said| banner(Side::Client, said),
            |said| banner(Side::Server, said),
        );
        match answer {
            // The mode is not agreed yet.
            Probe::Match(found) if found.mark.rule == VERSION_2 => Match::preamble(found.mark),
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = frames::follow(state, side, said, |state, bytes| {
            if frames::fitted(state, side) && state.flags & SECOND != 0 {
                return frame(state, side, bytes);
            }
            if frames::fitted(state, side) {
                return Ok(Step::read(bytes.len(), fits(side)));
            }
            if banner(side, said)?.rule != VERSION_2 {
                return Ok(Step::read(bytes.len(), fits(side)));
            }
            let mut cursor = Cursor::new(bytes);
            tag(&mut cursor, BANNER_2)?;
            let length = usize::from(cursor.u16_le()?);
            // Supported features: without the first, frames end as in revision 0.
            if cursor.u64_le()? & REVISION_1 == 0 {
                state.flags |= OLD;
            }
            state.flags |= SECOND;
            Ok(Step::read(BANNER_2.len().saturating_add(2).saturating_add(length), Facts::FITS))
        });
        let heard = [Side::Client, Side::Server].iter().all(|side| frames::fitted(state, *side));
        let over = heard && state.flags & SECOND == 0 && step.next == Next::Continue;
        if over { Step { next: Next::Done, ..step } } else { step }
    }
}

fn banner(side: Side, said: Said<'_>) -> Read<Mark> {
    need(said.start == Start::Known)?;
    let mut cursor = Cursor::new(said.bytes);
    tag(&mut cursor, b"ceph v")?;
    if cursor.peek()? == b'0' {
        cursor.skip(1)?;
        frames::all(&mut cursor, 2, u8::is_ascii_digit)?;
        return Ok(mark("ceph.banner", side, cursor.at(), "ceph v0"));
    }
    tag(&mut cursor, b"2\n\x10\0")?;
    Ok(mark(VERSION_2, side, cursor.at(), "ceph v2"))
}

/// A frame of version 2: the preamble tells tag and segments.
fn frame(state: &FollowState, side: Side, bytes: &[u8]) -> Read<Step> {
    let mut cursor = Cursor::new(bytes);
    let Some((kind, consumed)) = preamble(state, &mut cursor)? else {
        // After the login frames are sealed, if so agreed.
        let found = mark("ceph.sealed", side, PREAMBLE_BYTES, "no frame");
        return Ok(settled(Encryption::OtherEncrypted, found));
    };
    if kind > AUTH_DONE {
        let found = mark("ceph.frame", side, PREAMBLE_BYTES, "frame after login");
        return Ok(settled(Encryption::Plaintext, found));
    }
    if kind == AUTH_DONE {
        cursor.skip(8)?;
        let found = mark("ceph.auth-done", side, cursor.at(), "con_mode");
        return match cursor.u32_le()? {
            CRC => Ok(settled(Encryption::Plaintext, found)),
            SECURE => Ok(settled(Encryption::OtherEncrypted, found)),
            _ => Err(Flaw::Bad),
        };
    }
    let refused = kind == AUTH_BAD_METHOD;
    let found = refused.then(|| mark("ceph.refused", side, PREAMBLE_BYTES, "AUTH_BAD_METHOD"));
    Ok(Step::read(consumed, Facts { refused, mark: found, ..Facts::FITS }))
}

/// Tag and length of a frame; `None` when this is none.
fn preamble(state: &FollowState, cursor: &mut Cursor<'_>) -> Read<Option<(u8, usize)>> {
    let mut preamble = Cursor::new(cursor.take(PREAMBLE_BYTES)?);
    let (kind, segments) = (preamble.u8()?, preamble.u8()?);
    let mut length = PREAMBLE_BYTES;
    let mut sound = (1..=KIND_MAX).contains(&kind) && (1..=4).contains(&segments);
    for at in 0..4 {
        let (bytes, alignment) = (preamble.u32_le()?, preamble.u16_le()?);
        sound &= at < segments || (bytes, alignment) == (0, 0);
        sound &= alignment == 0 || alignment.is_power_of_two();
        length = length.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        if at == 0 && bytes > 0 && state.flags & OLD == 0 {
            length = length.saturating_add(4);
        }
    }
    let epilogue = match (state.flags & OLD != 0, segments) {
        (true, _) => 17,
        (false, 1) => 0,
        (false, _) => 13,
    };
    Ok(sound.then_some((kind, length.saturating_add(epilogue))))
}

fn settled(encryption: Encryption, found: Mark) -> Step {
    let clear = encryption == Encryption::Plaintext;
    let facts = Facts {
        accepted: true,
        encryption: Some(encryption),
        reason: clear.then_some(PlaintextReason::ClientDeclined),
        mark: Some(found),
        ..Facts::FITS
    };
    Step { consumed: 0, facts, next: Next::Done }
}

const VERSION_2: &str = "ceph.banner-v2";
const BANNER_2: &[u8] = b"ceph v2\n";
const REVISION_1: u64 = 1;
const SECOND: u16 = 1;
const OLD: u16 = 1 << 1;
const PREAMBLE_BYTES: usize = 32;
const AUTH_BAD_METHOD: u8 = 3;
const AUTH_DONE: u8 = 6;
const KIND_MAX: u8 = 24;
const CRC: u32 = 1;
const SECURE: u32 = 2;

static INFO: Info = Info {
    name: "ceph",
    title: "Ceph messenger",
    spec: "https://docs.ceph.com/en/latest/dev/msgr2/",
    ports: &[3300, 6789],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{hear, hear_from, matches, probe_side},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    const V2: &[u8] = b"ceph v2\n\x10\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let size = u8::try_from(body.len()).unwrap();
        [&[kind, 1, size, 0, 0, 0, 8, 0][..], &[0; 24], body, &[0; 4]].concat()
    }

    #[test]
    fn a_banner_proves_either_side() {
        for side in [C, S] {
            assert!(matches(probe_side(&Ceph, side, b"ceph v027\0\0\0\0")));
            assert!(matches(probe_side(&Ceph, side, V2)));
            assert!(!matches(probe_side(&Ceph, side, b"ceph version 2\n")));
        }
        let heard = hear(&Ceph, &[(S, b"ceph v027\0\0"), (C, b"ceph v027\0\0")]);
        assert_eq!((heard.fits, heard.encryption), ([true, true], Some(Encryption::Plaintext)));
        let late = hear_from(&Ceph, &[(C, V2)], Start::Unknown);
        assert_eq!(late.matched, None, "it only ever begins a stream");
    }

    #[test]
    fn the_agreed_mode_decides() {
        let modes = [(1, Encryption::Plaintext), (2, Encryption::OtherEncrypted)];
        for (mode, encryption) in modes {
            let done = frame(6, &[7, 0, 0, 0, 0, 0, 0, 0, mode, 0, 0, 0, 0, 0, 0, 0]);
            let hello = frame(1, b"\x08hello");
            let heard = hear(&Ceph, &[(C, V2), (S, V2), (S, &hello), (C, &hello), (S, &done)]);
            assert_eq!((heard.fits, heard.encryption), ([true, true], Some(encryption)));
        }
        let login = frame(2, b"cephx");
        let heard = hear(&Ceph, &[(C, V2), (C, &login), (C, &frame(7, &[0; 32]))]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        let heard = hear(&Ceph, &[(C, V2), (C, &login), (C, &[0xa7; 64])]);
        assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
    }
}
