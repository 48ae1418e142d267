//! BSD rsh and rexec. <https://www.rfc-editor.org/rfc/rfc1258>, protocol as in rshd(8) and rexecd(8)
//!
//! The client sends the port for standard error in decimal, two names and a command, each ended by NUL. Of rexec the
//! second is the password; the bytes do not tell which of the two it is.
use super::{
    Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View,
    exchange::{Told, printable, probe_stream, string},
    rlogin::{is_name, opening},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Rsh;

impl Detector for Rsh {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_stream(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let facts = match (side, *client, *server) {
            (Side::Client, 0, _) => {
                match read(side, said) {
                    Err(Short) => return Step::WAIT,
                    Ok(_) => *client = 1,
                }
                Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS }
            }
            (Side::Server, _, 0) => {
                *server = 1;
                // A zero byte, or one and the error as text.
                let taken = said.bytes.first() == Some(&0);
                Facts { accepted: taken, refused: !taken, ..Facts::FITS }
            }
            _ => Facts::NONE,
        };
        let over = state.phase == [1, 1];
        let next = if over { Next::Done } else { Next::Continue };
        Step { consumed: said.bytes.len(), facts, next }
    }
}

fn read(side: Side, said: Said<'_>) -> Result<Option<Told>, Short> {
    if side == Side::Server || said.start == Start::Unknown {
        return Ok(None);
    }
    let mut c = Cursor::new(said.bytes);
    let Some(port) = string(&mut c, PORT_BYTES_MAX, |byte| byte.is_ascii_digit())? else {
        return Ok(None);
    };
    let number = port.iter().fold(0_u32, |n, byte| {
        n.saturating_mul(10).saturating_add(u32::from(byte.wrapping_sub(b'0')))
    });
    let canonical = port.first() != Some(&b'0') || port.len() == 1;
    if !canonical || number > 0xffff {
        return Ok(None);
    }
    let Some(user) = string(&mut c, NAME_BYTES_MAX, is_name)? else { return Ok(None) };
    if user.is_empty() {
        return Ok(None);
    }
    let Some(second) = string(&mut c, NAME_BYTES_MAX, printable)? else { return Ok(None) };
    let Some(command) = string(&mut c, COMMAND_BYTES_MAX, is_command)? else { return Ok(None) };
    let text = user.len().saturating_add(second.len()).saturating_add(command.len());
    let enough = text >= if port.is_empty() { TEXT_BYTES_ALONE } else { TEXT_BYTES_MIN };
    // Without a port, a terminal and its speed are those of rlogin.
    let terminal = port.is_empty() && opening(said.bytes)?.is_some();
    let sound = enough && !terminal && !second.is_empty() && !command.is_empty();
    Ok(sound.then(|| Told::clear("rsh.request", "port, names, command", c.at())))
}

const fn is_command(byte: u8) -> bool {
    printable(byte) || matches!(byte, b'\t' | b'\n' | 0x80..)
}

const PORT_BYTES_MAX: usize = 5;
const NAME_BYTES_MAX: usize = 64;
const COMMAND_BYTES_MAX: usize = 1024;
const TEXT_BYTES_MIN: usize = 6;
/// Without a port more text is needed.
const TEXT_BYTES_ALONE: usize = 12;

static INFO: Info = Info {
    name: "rsh",
    title: "BSD remote shell and rexec",
    spec: "https://www.rfc-editor.org/rfc/rfc1258",
    ports: &[512, 514],
    transports: &[Transport::Tcp],
    directions: Directions::Client,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
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
    const REQUEST: &[u8] = b"1022\0alice\0bob\0uname -a\0";

    #[test]
    fn the_request_proves_it() {
        for good in [REQUEST, b"0\0alice\0bob\0ls\0", b"\0alice\0bob\0cat /etc/motd\0"] {
            assert!(matches!(probe_side(&Rsh, C, good), Probe::Match(_)), "{good:?}");
        }
        for bad in [
            &b"70000\0alice\0bob\0ls\0"[..],
            b"1022\0\0bob\0ls\0",
            b"1022\0al ice\0bob\0ls\0",
            b"1022 alice",
            b"\0a\0b\0ls\0",
        ] {
            assert_eq!(probe_side(&Rsh, C, bad), Probe::No, "{bad:?}");
        }
        for bytes in OPENINGS {
            assert!(!matches!(probe_side(&Rsh, C, bytes), Probe::Match(_)));
        }
        random_proves_nothing(&Rsh);
    }

    #[test]
    fn the_first_byte_of_the_server_tells_whether_it_is_taken() {
        let heard = hear(&Rsh, &[(C, REQUEST), (S, b"\0Linux")]);
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
        assert!(hear(&Rsh, &[(C, REQUEST), (S, b"\x01Permission denied.\n")]).refused);
    }
}
