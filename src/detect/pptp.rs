//! PPTP control messages. <https://www.rfc-editor.org/rfc/rfc2637#section-2>
//!
//! Length, message type 1, the cookie 1A2B3C4D and a control type whose messages have that length. The PPP session itself
//! runs in GRE beside it.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Mark, PlaintextReason, Side, Transport},
};

pub(super) struct Pptp;

impl Detector for Pptp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
        match control(view.side(side).bytes) {
            Ok(Some(_)) => {
                let (rule, constant) = ("pptp.control", "1A 2B 3C 4D");
                Match::plaintext(Mark { rule, side, offset: 0, length: 12, constant })
            }
            Ok(None) if side == Side::Client => Probe::No,
            // The class is what the client speaks, and it has not spoken.
            Ok(None) | Err(Short) => Probe::More,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let (mine, other) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        match control(said.bytes) {
            Ok(Some(length)) => {
                *mine = 1;
                let accepted = side == Side::Server;
                let reason = Some(PlaintextReason::NoInBandUpgrade);
                let next = if *other == 1 { Next::Done } else { Next::Continue };
                Step { consumed: length, facts: Facts { accepted, reason, ..Facts::FITS }, next }
            }
            Err(Short) => Step::WAIT,
            Ok(None) if *mine == 1 || said.start == Start::Unknown => Step::DONE,
            Ok(None) => Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done },
        }
    }
}

/// Length of the control message that begins here; `None`: there is none.
fn control(bytes: &[u8]) -> Result<Option<usize>, Short> {
    let mut cursor = Cursor::new(bytes);
    let length = usize::from(match (cursor.u8()?, cursor.peek()) {
        (0, Ok(low)) => low,
        (0, Err(short)) => return Err(short),
        _ => return Ok(None),
    });
    if !LENGTHS.contains(&length) {
        return Ok(None);
    }
    cursor.skip(1)?;
    for expected in TYPE_AND_COOKIE {
        if cursor.u8()? != expected {
            return Ok(None);
        }
    }
    let (kind, reserved) = (usize::from(cursor.u16_be()?), cursor.u16_be()?);
    let right = kind.checked_sub(1).and_then(|at| LENGTHS.get(at)) == Some(&length);
    Ok((right && reserved == 0).then_some(length))
}

const TYPE_AND_COOKIE: [u8; 6] = [0, 1, 0x1a, 0x2b, 0x3c, 0x4d];
/// By control message type, from 1.
const LENGTHS: [usize; 15] = [156, 156, 16, 16, 16, 20, 168, 32, 220, 24, 28, 16, 148, 40, 24];

static INFO: Info = Info {
    name: "pptp",
    title: "Point-to-Point Tunneling Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc2637",
    ports: &[1723],
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

    fn message(kind: u8, length: u8) -> Vec<u8> {
        let head = [0, length, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, kind, 0, 0];
        [&head[..], &vec![0; usize::from(length) - 12]].concat()
    }

    #[test]
    fn control_messages_match_from_either_side_and_late() {
        let (request, reply, echo) = (message(1, 156), message(2, 156), message(5, 16));
        for (side, bytes) in [(Side::Client, &request), (Side::Server, &reply)] {
            assert!(matches!(probe_side(&Pptp, side, bytes), Probe::Match(_)));
        }
        let heard = hear(&Pptp, &[(Side::Client, &request), (Side::Server, &reply)]);
        assert_eq!(heard.fits, [true, true]);
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        assert!(hear_from(&Pptp, &[(Side::Server, &echo)], Start::Unknown).matched.is_some());
        let heard = hear(&Pptp, &[(Side::Client, &request), (Side::Server, b"SSH-2.0-x\r\n")]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
    }

    #[test]
    fn other_lengths_cookies_and_protocols_do_not_match() {
        let wrong_cookie = [&message(1, 156)[..7], &[0x4e; 149]].concat();
        for bytes in [
            &message(1, 16)[..],
            &message(16, 24),
            &wrong_cookie,
            b"\0\x9c\0\x02",
            b"\x16\x03\x01\0\x05",
            b"GET / ",
        ] {
            assert_eq!(probe_side(&Pptp, Side::Client, bytes), Probe::No, "{bytes:02x?}");
        }
    }
}
