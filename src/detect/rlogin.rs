//! BSD rlogin. <https://www.rfc-editor.org/rfc/rfc1282>
//!
//! The client begins with a NUL, then two user names and the terminal with its speed, each ended by NUL.
use super::{
    Detector, Directions, Facts, FollowState, Info, Probe, Said, Start, Step, View,
    exchange::{Told, probe_stream, string},
    login::{asks_password, is_typed},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Rlogin;

impl Detector for Rlogin {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_stream(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let bytes = said.bytes;
        let [client, server] = &mut state.phase;
        let [prompt, ..] = &mut state.words;
        let all = |facts| Step::read(bytes.len(), facts);
        match (side, *client, *server) {
            (Side::Client, 0, _) => match opening(bytes) {
                Ok(Some(length)) => {
                    *client = 1;
                    let reason = Some(PlaintextReason::NoInBandUpgrade);
                    Step::read(length, Facts { reason, ..Facts::FITS })
                }
                Ok(None) => all(Facts::NONE),
                Err(Short) => Step::WAIT,
            },
            (Side::Client, ..) if state.flags & ASKED != 0 && is_typed(bytes) => {
                state.flags &= !ASKED;
                all(Facts { credentials: Credentials::PASSWORD_CLEARTEXT, ..Facts::NONE })
            }
            (Side::Client, ..) => all(Facts::NONE),
            (Side::Server, _, 0) => {
                *server = 1;
                // A zero byte: go on.
                let taken = bytes.first() == Some(&0);
                let facts = Facts { accepted: taken, refused: !taken, ..Facts::FITS };
                Step::read(1, facts)
            }
            (Side::Server, ..) => {
                if asks_password(prompt, bytes) {
                    state.flags |= ASKED;
                }
                all(Facts::NONE)
            }
        }
    }
}

fn read(side: Side, said: Said<'_>) -> Result<Option<Told>, Short> {
    if side == Side::Server || said.start == Start::Unknown {
        return Ok(None);
    }
    let length = opening(said.bytes)?;
    Ok(length.map(|length| Told::clear("rlogin.users", "users, terminal/speed", length)))
}

/// Its length.
pub(super) fn opening(bytes: &[u8]) -> Result<Option<usize>, Short> {
    let mut c = Cursor::new(bytes);
    if c.u8()? != 0 {
        return Ok(None);
    }
    for _ in 0..2 {
        if string(&mut c, NAME_BYTES_MAX, is_name)?.is_none_or(<[u8]>::is_empty) {
            return Ok(None);
        }
    }
    let Some(terminal) = string(&mut c, NAME_BYTES_MAX, is_terminal)? else { return Ok(None) };
    let speed = terminal.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let sound = speed.len() < terminal.len().saturating_sub(1)
        && (2..=7).contains(&speed.len())
        && speed.iter().all(u8::is_ascii_digit);
    Ok(sound.then(|| c.at()))
}

/// A character of a user name.
pub(super) const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@' | b'\\' | b'$')
}

const fn is_terminal(byte: u8) -> bool {
    is_name(byte) || matches!(byte, b'/' | b'+')
}

const NAME_BYTES_MAX: usize = 64;
/// The server asked for a password that was not yet typed.
const ASKED: u16 = 1;

static INFO: Info = Info {
    name: "rlogin",
    title: "BSD rlogin",
    spec: "https://www.rfc-editor.org/rfc/rfc1282",
    ports: &[513],
    transports: &[Transport::Tcp],
    directions: Directions::Client,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
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
    const OPENING: &[u8] = b"\0alice\0bob\0xterm-256color/38400\0";

    #[test]
    fn the_opening_of_the_client_proves_it() {
        assert!(matches!(probe_side(&Rlogin, C, OPENING), Probe::Match(_)));
        for bad in [
            &b"\0alice\0bob\0xterm\0"[..],
            b"\0alice\0bob\0/38400\0",
            b"\0\0bob\0xterm/38400\0",
            b"alice\0bob\0xterm/38400\0",
            b"\0al ice\0",
        ] {
            assert_eq!(probe_side(&Rlogin, C, bad), Probe::No, "{bad:?}");
        }
        for bytes in OPENINGS {
            assert!(!matches!(probe_side(&Rlogin, C, bytes), Probe::Match(_)));
        }
        random_proves_nothing(&Rlogin);
    }

    #[test]
    fn a_typed_password_is_a_secret() {
        let heard = hear(&Rlogin, &[(C, OPENING), (S, b"\0Password: "), (C, b"x\r")]);
        assert_eq!(heard.fits, [true, true]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        let heard = hear(&Rlogin, &[(C, OPENING), (S, b"\0$ "), (C, b"ls\r")]);
        assert_eq!((heard.credentials, heard.refused), (Credentials::NONE, false));
        assert!(
            hear(&Rlogin, &[(C, OPENING), (S, b"\x01rlogind: Permission denied.\r\n")]).refused
        );
    }
}
