//! Java Debug Wire Protocol. <https://docs.oracle.com/en/java/javase/21/docs/specs/jdwp/jdwp-spec.html>
//!
//! Both sides say the same fourteen bytes first; packets after them are not recognised by themselves.
use super::frames::{self, Flaw, Read, fits, mark, tag};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Start, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Jdwp;

impl Detector for Jdwp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(
            view,
            |said| handshake(Side::Client, said),
            |said| handshake(Side::Server, said),
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        frames::follow_briefly(state, side, said, |_, _| {
            handshake(side, said)?;
            Ok(Step::read(HANDSHAKE.len(), fits(side)))
        })
    }
}

fn handshake(side: Side, said: Said<'_>) -> Read<Mark> {
    if said.start == Start::Unknown {
        return Err(Flaw::Bad);
    }
    tag(&mut Cursor::new(said.bytes), HANDSHAKE)?;
    Ok(mark("jdwp.handshake", side, HANDSHAKE.len(), "JDWP-Handshake"))
}

const HANDSHAKE: &[u8] = b"JDWP-Handshake";

static INFO: Info = Info {
    name: "jdwp",
    title: "Java Debug Wire Protocol",
    spec: "https://docs.oracle.com/en/java/javase/21/docs/specs/jdwp/jdwp-spec.html",
    ports: &[5005, 8000],
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

    #[test]
    fn the_handshake_proves_either_side() {
        for side in [C, S] {
            assert!(matches(probe_side(&Jdwp, side, b"JDWP-Handshake\0\0\0\x0b")));
            assert!(!matches(probe_side(&Jdwp, side, b"JDWP-Handshak")));
            assert!(!matches(probe_side(&Jdwp, side, b"JDWP-handshake")));
        }
        let heard = hear(&Jdwp, &[(C, b"JDWP-Handshake"), (S, b"JDWP-Handshake")]);
        assert_eq!((heard.fits, heard.reason.is_some()), ([true, true], true));
        let late = hear_from(&Jdwp, &[(C, b"JDWP-Handshake")], Start::Unknown);
        assert_eq!(late.matched, None, "it only ever begins a stream");
    }
}
