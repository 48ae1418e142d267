//! iSCSI: the login phase. <https://www.rfc-editor.org/rfc/rfc7143#section-11.12>
//!
//! Later PDUs have too little in them that is fixed, so a session joined late is not claimed.
use super::{
    Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View,
    exchange::{Told, mark, probe_stream},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Iscsi;

impl Detector for Iscsi {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_stream(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let phase = if side == Side::Client { client } else { server };
        let login = match pdu(side, said.bytes) {
            Err(Short) => return Step::WAIT,
            Ok(Some(login)) => login,
            Ok(None) if *phase == 0 && said.start == Start::Known => {
                return Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done };
            }
            // Full feature phase.
            Ok(None) => return Step { consumed: 0, facts: Facts::NONE, next: Next::Done },
        };
        *phase = 1;
        let Some(text) = said.bytes.get(HEADER_BYTES..HEADER_BYTES.saturating_add(login.shown))
        else {
            return Step::WAIT;
        };
        let mut facts = Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS };
        let key = |name: &[u8]| text.split(|byte| *byte == 0).any(|pair| pair.starts_with(name));
        if side == Side::Client && key(b"CHAP_R=") {
            facts.credentials = Credentials::PASSWORD_HASH_CHALLENGE;
            facts.mark = Some(mark("iscsi.chap", side, HEADER_BYTES, login.shown, "CHAP_R"));
        }
        if side == Side::Server {
            facts.accepted = login.status == 0 && login.is_last;
            facts.refused = login.status >= INITIATOR_ERROR;
        }
        let over = facts.accepted || facts.refused;
        let next = if over { Next::Done } else { Next::Continue };
        Step { consumed: login.length, facts, next }
    }
}

fn read(side: Side, said: Said<'_>) -> Result<Option<Told>, Short> {
    if said.start == Start::Unknown {
        return Ok(None);
    }
    let (rule, constant) = match side {
        Side::Client => ("iscsi.login-request", "Login Request"),
        Side::Server => ("iscsi.login-response", "Login Response"),
    };
    Ok(pdu(side, said.bytes)?.map(|_| Told::clear(rule, constant, HEADER_BYTES)))
}

/// A PDU of the login phase.
struct Login {
    length: usize,
    /// Text read of it.
    shown: usize,
    status: u8,
    /// To the full feature phase.
    is_last: bool,
}

fn pdu(side: Side, bytes: &[u8]) -> Result<Option<Login>, Short> {
    let mut c = Cursor::new(bytes);
    let opcode = match side {
        Side::Client => 0x43,
        Side::Server => 0x23,
    };
    if c.u8()? != opcode {
        return Ok(None);
    }
    let flags = c.u8()?;
    // Stages 0, 1 and 3; a transit goes forward.
    let (now, next, transit) = (flags >> 2 & 3, flags & 3, flags & 0x80 != 0);
    let forward = !transit || next > now && next != 2;
    if flags & 0x30 != 0 || now >= 2 || !forward || transit && flags & 0x40 != 0 {
        return Ok(None);
    }
    // Versions 0, and no additional header.
    if c.u8()? != 0 || c.u8()? != 0 || c.u8()? != 0 {
        return Ok(None);
    }
    let data = usize::try_from(c.u24_be()?).unwrap_or(usize::MAX);
    if data > TEXT_BYTES_MAX {
        return Ok(None);
    }
    c.skip(12)?;
    let mut status = 0;
    let reserved = match side {
        Side::Client => {
            c.skip(12)?;
            c.array::<16>()?.iter().all(|byte| *byte == 0)
        }
        Side::Server => {
            let reserved = c.u32_be()? == 0;
            c.skip(12)?;
            status = c.u8()?;
            c.skip(1)?;
            reserved && status <= 3 && c.array::<10>()?.iter().all(|byte| *byte == 0)
        }
    };
    // The first key begins with a capital letter.
    let named = data == 0 || c.peek()?.is_ascii_uppercase();
    let length = HEADER_BYTES.saturating_add(data.next_multiple_of(4));
    let is_last = transit && next == 3;
    Ok((reserved && named).then_some(Login {
        length,
        shown: data.min(TEXT_BYTES_SHOWN),
        status,
        is_last,
    }))
}

const HEADER_BYTES: usize = 48;
const TEXT_BYTES_MAX: usize = 65536;
const TEXT_BYTES_SHOWN: usize = 8192;
const INITIATOR_ERROR: u8 = 2;

static INFO: Info = Info {
    name: "iscsi",
    title: "iSCSI",
    spec: "https://www.rfc-editor.org/rfc/rfc7143",
    ports: &[3260],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::{hear, probe_side},
        exchange::bench::{OPENINGS, random_proves_nothing},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn login(flags: u8, text: &[u8]) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        let head = [0x43, flags, 0, 0, 0, 0, 0, length, 0x80, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 1];
        let pad = vec![0; text.len().next_multiple_of(4) - text.len()];
        [&head[..], &[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], &[0; 16], text, &pad].concat()
    }

    fn response(flags: u8, status: u8) -> Vec<u8> {
        let head = [0x23, flags, 0, 0, 0, 0, 0, 0, 0x80, 1, 2, 3, 4, 5, 0, 1, 0, 0, 0, 1];
        [&head[..], &[0; 4], &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, status, 0], &[0; 10]].concat()
    }

    #[test]
    fn a_login_proves_the_side_that_sends_it() {
        let request =
            login(0x81, b"InitiatorName=iqn.1993-08.org.debian:01:1\0SessionType=Normal\0");
        for (side, bytes) in [(C, request.clone()), (S, response(0x81, 0))] {
            assert!(matches!(probe_side(&Iscsi, side, &bytes), Probe::Match(_)));
            assert!(!matches!(probe_side(&Iscsi, side.other(), &bytes), Probe::Match(_)));
        }
        for at in [1, 2, 40] {
            let mut bad = request.clone();
            bad[at] = 0x3f;
            assert_eq!(probe_side(&Iscsi, C, &bad), Probe::No, "byte {at}");
        }
        for bytes in OPENINGS {
            assert_eq!(probe_side(&Iscsi, C, bytes), Probe::No);
        }
        random_proves_nothing(&Iscsi);
    }

    #[test]
    fn chap_shows_a_digest() {
        let first = login(0x81, b"InitiatorName=iqn.a\0AuthMethod=CHAP,None\0");
        let chap = login(0x81, b"CHAP_N=bob\0CHAP_R=0x0123456789abcdef0123456789abcdef\0");
        let (go_on, last, failed) = (response(0, 0), response(0x87, 0), response(0, 2));
        let heard = hear(&Iscsi, &[(C, &first), (S, &go_on), (C, &chap), (S, &last)]);
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
        assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
        assert!(hear(&Iscsi, &[(C, &first), (S, &go_on), (C, &chap), (S, &failed)]).refused);
        let heard = hear(&Iscsi, &[(C, &first), (S, &last), (C, b"\x01\x81\0\0")]);
        assert_eq!(heard.credentials, Credentials::NONE);
    }
}
