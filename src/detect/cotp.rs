//! ISO transport over TCP (TPKT and COTP), whatever it carries. <https://www.rfc-editor.org/rfc/rfc1006>
//!
//! What has a detector of its own above it (`rdp`, `s7comm`) is asked first.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
    exchange::mark,
    tpkt::{Tpdu, are_parameters, packet},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Cotp;

impl Detector for Cotp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe(view, &ABOVE)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow(state, side, said)
    }
}

static ABOVE: Above =
    Above { rule: "cotp.connection", constant: "TPKT, X.224 CR or CC", reads: None };

/// A protocol above: what its first data looks like, given as much as is there and the length of it all.
pub(super) struct Above {
    pub(super) rule: &'static str,
    pub(super) constant: &'static str,
    pub(super) reads: Option<fn(&[u8], usize) -> Result<bool, Short>>,
}

pub(super) fn probe(view: &View<'_>, above: &Above) -> Probe {
    if view.transport != Transport::Tcp {
        return Probe::No;
    }
    let silent = view.client.bytes.is_empty();
    let (side, said) =
        if silent { (Side::Server, view.server) } else { (Side::Client, view.client) };
    match read(side, said, above) {
        Ok(Some(length)) => Match::plaintext(mark(above.rule, side, 0, length, above.constant)),
        Err(Short) => Probe::More,
        // The class is what the client speaks, and it has not spoken.
        Ok(None) if silent => Probe::More,
        Ok(None) => Probe::No,
    }
}

/// Bytes of the proof.
fn read(side: Side, said: Said<'_>, above: &Above) -> Result<Option<usize>, Short> {
    let mut c = Cursor::new(said.bytes);
    let Some(first) = packet(&mut c)? else { return Ok(None) };
    match (first.tpdu, above.reads) {
        (Tpdu::Connect { confirm, variable }, reads) => {
            if confirm != (side == Side::Server) || !are_parameters(variable) {
                return Ok(None);
            }
            let Some(reads) = reads else { return Ok(Some(c.at())) };
            let Some(second) = packet(&mut c)? else { return Ok(None) };
            let Tpdu::Data(data) = second.tpdu else { return Ok(None) };
            Ok(reads(data, second.length.saturating_sub(7))?.then(|| c.at()))
        }
        // Joined late: the header of the protocol above fills its packet.
        (Tpdu::Data(data), Some(reads)) if said.start == Start::Unknown => {
            Ok(reads(data, first.length.saturating_sub(7))?.then(|| c.at()))
        }
        _ => Ok(None),
    }
}

/// One packet of each side is all there is to learn.
pub(super) fn follow(state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
    let [client, server] = &mut state.phase;
    let (mine, other) = if side == Side::Client { (client, server) } else { (server, client) };
    let mut c = Cursor::new(said.bytes);
    let facts = match packet(&mut c) {
        Err(Short) => return Step::WAIT,
        Ok(Some(_)) => {
            let reason = Some(PlaintextReason::NoInBandUpgrade);
            Facts { accepted: side == Side::Server, reason, ..Facts::FITS }
        }
        Ok(None) if *mine == 0 && said.start == Start::Known => Facts::MISMATCH,
        Ok(None) => Facts::NONE,
    };
    *mine = 1;
    let over = *other == 1 || facts.mismatch;
    let next = if over { Next::Done } else { Next::Continue };
    Step { consumed: said.bytes.len(), facts, next }
}

static INFO: Info = Info {
    name: "cotp",
    title: "ISO transport over TCP",
    spec: "https://www.rfc-editor.org/rfc/rfc1006",
    ports: &[102],
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
        check::{hear, hear_from, probe_side},
        exchange::bench::{OPENINGS, random_proves_nothing},
        rdp::Rdp,
        s7comm::S7comm,
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const REQUEST: &[u8] =
        b"\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02";
    const CONFIRM: &[u8] =
        b"\x03\0\0\x16\x11\xd0\0\x01\0\x02\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02";
    const S7_SETUP: &[u8] =
        b"\x03\0\0\x19\x02\xf0\x80\x32\x01\0\0\0\0\0\x08\0\0\xf0\0\0\x01\0\x01\x01\xe0";
    const MMS: &[u8] = b"\x03\0\0\x0a\x02\xf0\x80\x0d\xb4\x05";

    fn proves(detector: &dyn Detector, side: Side, bytes: &[u8]) -> bool {
        matches!(probe_side(detector, side, bytes), Probe::Match(_))
    }

    #[test]
    fn parameters_prove_a_connection_and_its_first_data_what_it_is_for() {
        assert!(proves(&Cotp, C, REQUEST) && proves(&Cotp, S, CONFIRM));
        assert!(!proves(&Cotp, S, REQUEST) && !proves(&Cotp, C, CONFIRM));
        assert!(proves(&S7comm, C, &[REQUEST, S7_SETUP].concat()));
        assert_eq!(probe_side(&S7comm, C, &[REQUEST, MMS].concat()), Probe::No);
        assert_eq!(probe_side(&Rdp, C, REQUEST), Probe::No);
        for (at, byte) in [(3, 0x17), (4, 0x10), (6, 1), (11, 0xbf), (12, 2)] {
            let mut bad = REQUEST.to_vec();
            bad[at] = byte;
            assert!(!proves(&Cotp, C, &bad), "byte {at}");
        }
        for detector in [&Cotp as &dyn Detector, &S7comm, &Rdp] {
            for bytes in OPENINGS {
                assert_eq!(probe_side(detector, C, bytes), Probe::No);
            }
            random_proves_nothing(detector);
        }
    }

    #[test]
    fn both_sides_and_a_late_view() {
        let heard = hear(&S7comm, &[(C, REQUEST), (S, CONFIRM), (C, S7_SETUP)]);
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
        assert!(hear_from(&S7comm, &[(C, S7_SETUP)], Start::Unknown).matched.is_some());
        assert!(hear_from(&Cotp, &[(C, MMS)], Start::Unknown).matched.is_none());
    }
}
