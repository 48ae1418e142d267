//! S7 communication of Siemens controllers, over COTP. Fields as in <https://www.wireshark.org/docs/dfref/s/s7comm.html>
//!
//! No public specification. The connection request is that of any protocol over COTP; the first data tells.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    cotp::{self, Above},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct S7comm;

impl Detector for S7comm {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        cotp::probe(view, &ABOVE)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        cotp::follow(state, side, said)
    }
}

static ABOVE: Above = Above { rule: "s7comm.message", constant: "S7", reads: Some(reads) };

/// Header of S7 (0x32) with lengths that fill the packet, or of S7comm-plus (0x72).
fn reads(data: &[u8], whole: usize) -> Result<bool, Short> {
    let mut c = Cursor::new(data);
    let (protocol, kind) = (c.u8()?, c.u8()?);
    if protocol == PLUS {
        let length = usize::from(c.u16_be()?);
        return Ok(matches!(kind, 1..=3) && length.saturating_add(4) <= whole);
    }
    let header = match kind {
        1 | 7 => 10_usize,
        2 | 3 => 12,
        _ => return Ok(false),
    };
    if protocol != S7 || c.u16_be()? != 0 {
        return Ok(false);
    }
    c.skip(2)?;
    let (parameters, items) = (usize::from(c.u16_be()?), usize::from(c.u16_be()?));
    Ok(header.saturating_add(parameters).saturating_add(items) == whole)
}

const S7: u8 = 0x32;
const PLUS: u8 = 0x72;

static INFO: Info = Info {
    name: "s7comm",
    title: "Siemens S7 communication",
    spec: "https://www.wireshark.org/docs/dfref/s/s7comm.html",
    ports: &[102],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};
