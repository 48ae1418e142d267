//! SMB 1, 2 and 3, direct or over `NetBIOS` sessions. Framing: <https://www.rfc-editor.org/rfc/rfc1002#section-4.3>
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-smb2/5606ad47-5ee0-437a-817e-70c366052962>
//!
//! Negotiation and session setup are always clear; what follows is clear, signed (readable) or sealed in transform headers.
//! So the opening leaves the class open and the first message with data decides; sealing may still come later.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
    exchange::mark,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};
use message::{Frame, Kind, frame};

mod logon;
mod message;

pub(super) struct Smb;

impl Detector for Smb {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        let silent = view.client.bytes.is_empty();
        let (side, said) =
            if silent { (Side::Server, view.server) } else { (Side::Client, view.client) };
        match frame(side, &mut Cursor::new(said.bytes)) {
            // Nothing of a session request is magic but its encoded names: joined late it cannot be.
            Ok(Some(frame)) if said.start == Start::Known || frame.is_message() => {
                let rule = frame.rule(side);
                let mark = mark(rule, side, 0, frame.proof, frame.constant());
                Probe::Match(Match { encryption: encryption(&frame), mark })
            }
            Err(Short) => Probe::More,
            // The class is what the client speaks, and it has not spoken.
            Ok(None) if silent => Probe::More,
            _ => Probe::No,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let (mine, other) = if side == Side::Client { (client, server) } else { (server, client) };
        let mut c = Cursor::new(said.bytes);
        let frame = match frame(side, &mut c) {
            Err(Short) => return Step::WAIT,
            Ok(Some(frame)) => frame,
            Ok(None) if *mine == SILENT && said.start == Start::Known => {
                *mine = LOST;
                let next = if *other == LOST { Next::Done } else { Next::Continue };
                return Step { consumed: said.bytes.len(), facts: Facts::MISMATCH, next };
            }
            Ok(None) => return Step::DONE,
        };
        *mine = SPOKE;
        let heard_both = *other == SPOKE;
        let [.., messages] = &mut state.words;
        *messages = messages.saturating_add(1);
        let late = *messages > MESSAGES_MAX;
        match facts(state, side, &frame, c) {
            Err(Short) => {
                let [.., messages] = &mut state.words;
                *messages = messages.saturating_sub(1);
                Step::WAIT
            }
            Ok(facts) => {
                let sealed = facts.encryption == Some(Encryption::OtherEncrypted) && heard_both;
                let refused_session = matches!(frame.kind, Kind::SessionRefused);
                let over = sealed || late || refused_session;
                let next = if over { Next::Done } else { Next::Continue };
                Step { consumed: frame.length, facts, next }
            }
        }
    }
}

/// What one message says of the session.
fn encryption(frame: &Frame) -> Option<Encryption> {
    match frame.kind {
        Kind::Transform => Some(Encryption::OtherEncrypted),
        Kind::Compressed => Some(Encryption::Plaintext),
        Kind::Smb1 { command, .. } if is_data_1(command) => Some(Encryption::Plaintext),
        Kind::Smb2 { command, .. } if is_data_2(command) => Some(Encryption::Plaintext),
        _ => None,
    }
}

fn facts(
    state: &mut FollowState,
    side: Side,
    frame: &Frame,
    body: Cursor<'_>,
) -> Result<Facts, Short> {
    let mut facts = Facts::FITS;
    let found = |rule, constant| Some(mark(rule, side, 0, frame.proof, constant));
    match frame.kind {
        Kind::SessionRefused => {
            facts.refused = true;
            facts.mark = found("smb.session-refused", "NetBIOS 83");
        }
        Kind::Transform => {
            facts.encryption = Some(Encryption::OtherEncrypted);
            facts.mark = found("smb.transform", "FD SMB");
            facts.accepted = side == Side::Server;
            return Ok(facts);
        }
        Kind::Smb1 { command, status } => smb1(side, command, status, frame, body, &mut facts)?,
        Kind::Smb2 { command, status } => {
            smb2(state, side, command, status, frame, body, &mut facts)?
        }
        _ => {}
    }
    if let Some(Encryption::Plaintext) = encryption(frame) {
        facts.encryption = Some(Encryption::Plaintext);
        facts.accepted |= side == Side::Server && !facts.refused;
        facts.reason = Some(why_plaintext(state, frame));
        facts.mark = found("smb.data", frame.constant());
    }
    Ok(facts)
}

fn smb1(
    side: Side,
    command: u8,
    status: u32,
    frame: &Frame,
    body: Cursor<'_>,
    facts: &mut Facts,
) -> Result<(), Short> {
    if command == SESSION_SETUP_ANDX {
        facts.reason = Some(PlaintextReason::NoInBandUpgrade);
        match side {
            Side::Client => facts.credentials = logon::smb1(shown(body, frame)?),
            Side::Server => setup_answer(status, facts),
        }
    }
    Ok(())
}

fn smb2(
    state: &mut FollowState,
    side: Side,
    command: u16,
    status: u32,
    frame: &Frame,
    body: Cursor<'_>,
    facts: &mut Facts,
) -> Result<(), Short> {
    match (command, side) {
        (NEGOTIATE, Side::Server) if status == 0 => {
            let shown = shown(body, frame)?;
            if logon::offers_encryption(shown).unwrap_or(false) {
                state.flags |= OFFERED;
            }
            state.flags |= NEGOTIATED;
        }
        (SESSION_SETUP, Side::Client) => {
            facts.credentials = logon::credentials(shown(body, frame)?);
        }
        (SESSION_SETUP, Side::Server) => setup_answer(status, facts),
        (NEGOTIATE, Side::Server) => facts.refused = true,
        _ => {}
    }
    Ok(())
}

/// A session setup that succeeded, that goes on, or that failed.
const fn setup_answer(status: u32, facts: &mut Facts) {
    match status {
        0 => facts.accepted = true,
        MORE_PROCESSING_REQUIRED => {}
        _ => facts.refused = true,
    }
}

/// The beginning of a message's body.
fn shown<'a>(body: Cursor<'a>, frame: &Frame) -> Result<&'a [u8], Short> {
    let mut body = body;
    body.take(frame.length.saturating_sub(frame.proof).min(SHOWN_BYTES_MAX))
}

/// Signing leaves it readable. A client that could seal and did not, declined.
const fn why_plaintext(state: &FollowState, frame: &Frame) -> PlaintextReason {
    match frame.kind {
        Kind::Smb1 { .. } => PlaintextReason::NoInBandUpgrade,
        _ if state.flags & OFFERED != 0 => PlaintextReason::ClientDeclined,
        _ if state.flags & NEGOTIATED != 0 => PlaintextReason::ServerRefused,
        _ => PlaintextReason::ClientNeverAsked,
    }
}

/// Commands of SMB 1 other than negotiation, session setup, tree connection, logoff and echo.
const fn is_data_1(command: u8) -> bool {
    !matches!(command, 0x70..=0x75 | 0x2b)
}

/// Commands of SMB 2 that carry names or data. A session may still become sealed after its tree connections, and the
/// check of the negotiation (an IOCTL) comes before.
const fn is_data_2(command: u16) -> bool {
    matches!(command, 5..=10 | 14..=18)
}

const NEGOTIATE: u16 = 0;
const SESSION_SETUP: u16 = 1;
const SESSION_SETUP_ANDX: u8 = 0x73;
const MORE_PROCESSING_REQUIRED: u32 = 0xc000_0016;
const MESSAGES_MAX: u32 = 96;
const SHOWN_BYTES_MAX: usize = 2048;

// Phases.
const SILENT: u8 = 0;
const SPOKE: u8 = 1;
const LOST: u8 = 2;

// Flags.
const NEGOTIATED: u16 = 1;
const OFFERED: u16 = 1 << 1;

static INFO: Info = Info {
    name: "smb",
    title: "Server Message Block",
    spec: "https://learn.microsoft.com/openspecs/windows_protocols/ms-smb2/5606ad47-5ee0-437a-817e-70c366052962",
    ports: &[445, 139],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_HASH_CHALLENGE.with(Credentials::PASSWORD_CLEARTEXT),
};

#[cfg(test)]
mod tests;
