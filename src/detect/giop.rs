//! CORBA: GIOP and IIOP. <https://www.omg.org/spec/CORBA/3.3/Interoperability/PDF> section 9.4
//!
//! Each message begins with magic, version, flags, type and length in the byte order that a flag tells.
use super::frames::{self, Read, fits, mark, need, tag};
use super::{Detector, Directions, FollowState, Info, Next, Probe, Said, Step, View};
use crate::{
    bytes::{Cursor, find},
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Giop;

impl Detector for Giop {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(
            view,
            |said| Ok(message(Side::Client, said.bytes)?.1),
            |said| Ok(message(Side::Server, said.bytes)?.1),
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = frames::follow(state, side, said, |_, bytes| {
            let (consumed, _) = message(side, bytes)?;
            let shown = bytes.get(..consumed.min(CONTEXT_BYTES_READ)).ok_or(frames::Flaw::Short)?;
            let mut facts = fits(side);
            if let Some(at) = find(shown, GSSUP) {
                let found = mark("giop.gssup", side, GSSUP.len(), "2.23.130.1.1.1");
                let offset = u32::try_from(at).unwrap_or(u32::MAX);
                facts.credentials = Credentials::PASSWORD_CLEARTEXT;
                facts.mark = Some(Mark { offset, ..found });
            }
            Ok(Step::read(consumed, facts))
        });
        let [.., messages] = state.words;
        let heard = [Side::Client, Side::Server].iter().all(|side| frames::fitted(state, *side));
        let over = heard && messages >= MESSAGES_READ && step.next == Next::Continue;
        if over { Step { next: Next::Done, ..step } } else { step }
    }
}

/// The header of a message; returns how long it is.
fn message(side: Side, bytes: &[u8]) -> Read<(usize, Mark)> {
    let mut cursor = Cursor::new(bytes);
    tag(&mut cursor, b"GIOP\x01")?;
    need(cursor.u8()? <= MINOR_MAX)?;
    let flags = cursor.u8()?;
    need(flags <= FLAGS_MAX)?;
    let (from_client, constant) = match cursor.u8()? {
        0 => (true, "Request"),
        1 => (false, "Reply"),
        2 => (true, "CancelRequest"),
        3 => (true, "LocateRequest"),
        4 => (false, "LocateReply"),
        5 => (false, "CloseConnection"),
        6 => (side == Side::Client, "MessageError"),
        7 => (side == Side::Client, "Fragment"),
        _ => return Err(frames::Flaw::Bad),
    };
    // With bidirectional GIOP a server sends requests too, but not first.
    need(from_client == (side == Side::Client))?;
    let declared = if flags & 1 == 1 { cursor.u32_le()? } else { cursor.u32_be()? };
    need(declared <= SIZE_MAX)?;
    let declared = usize::try_from(declared).map_err(|_| frames::Flaw::Bad)?;
    let found = mark("giop.header", side, HEADER_BYTES, constant);
    Ok((declared.saturating_add(HEADER_BYTES), found))
}

/// The mechanism by which `CSIv2` sends a user's name and password (CORBA 3.3, Interoperability, section 10.2.4.1).
const GSSUP: &[u8] = b"\x06\x06\x67\x81\x02\x01\x01\x01";
const CONTEXT_BYTES_READ: usize = 1024;
const MESSAGES_READ: u32 = 8;
const MINOR_MAX: u8 = 4;
/// Little endian, more fragments.
const FLAGS_MAX: u8 = 3;
const HEADER_BYTES: usize = 12;
const SIZE_MAX: u32 = 256 << 20;

static INFO: Info = Info {
    name: "giop",
    title: "CORBA GIOP",
    spec: "https://www.omg.org/spec/CORBA/3.3/Interoperability/PDF",
    ports: &[683, 2809],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
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

    const REQUEST: &[u8] = b"GIOP\x01\x02\x01\x00\x04\x00\x00\x00ping";
    const REPLY: &[u8] = b"GIOP\x01\x02\x00\x01\x00\x00\x00\x04pong";

    #[test]
    fn a_header_proves_the_side_that_sends_such_messages() {
        assert!(matches(probe_side(&Giop, C, REQUEST)) && matches(probe_side(&Giop, S, REPLY)));
        let look_alikes: [&[u8]; 5] = [
            REPLY,
            b"GIOP\x02\x00\x00\x00",
            b"GIOP\x01\x02\x00\x08",
            b"GIOP\x01\x02\x00\x00\xff\xff\xff\xff",
            b"GET / HTTP/1.1\r\n",
        ];
        for bytes in look_alikes {
            assert_eq!(probe_side(&Giop, C, bytes), Probe::No);
        }
    }

    #[test]
    fn a_password_in_a_service_context_is_seen() {
        let login =
            [&b"GIOP\x01\x02\x00\x00\x00\x00\x00\x20\0\0\0\x0f"[..], GSSUP, &[7; 20]].concat();
        let heard = hear(&Giop, &[(C, &login), (S, REPLY)]);
        assert_eq!(
            (heard.fits, heard.credentials),
            ([true, true], Credentials::PASSWORD_CLEARTEXT)
        );
        let heard = hear_from(&Giop, &[(C, REQUEST)], Start::Unknown);
        assert_eq!((heard.fits, heard.credentials), ([true, false], Credentials::NONE));
    }
}
