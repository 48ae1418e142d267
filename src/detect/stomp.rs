//! STOMP 1.0 to 1.2. <https://stomp.github.io/stomp-specification-1.2.html>
//!
//! A frame is a command line, header lines, an empty line, a body and NUL. The client's first is `CONNECT` or `STOMP`.
use super::fit::{self, Fit, begins_any, either, is_name, mark};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Stomp;

impl Detector for Stomp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        either(view, opening)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let mine = if side == Side::Client { client } else { server };
        if *mine == READ {
            return Step::read(said.bytes.len(), Facts::NONE);
        }
        match opening(side, said) {
            Ok(None) if said.start == Start::Known => return fit::other_protocol(),
            Err(Short) => return Step::WAIT,
            Ok(_) => {}
        }
        let step = match headers(said.bytes) {
            Ok(facts) => Step::read(said.bytes.len(), facts),
            Err(Short) if said.bytes.len() < HEADERS_BYTES_MAX => return Step::WAIT,
            Err(Short) => Step::read(said.bytes.len(), fit::CLEAR),
        };
        *mine = READ;
        let next = if state.phase == [READ, READ] { Next::Done } else { Next::Continue };
        Step { next, ..step }
    }
}

/// A command on its own line and a header line a frame of that side has (a connection may begin without headers).
fn opening(side: Side, said: Said<'_>) -> Fit {
    let (first, later): (&[&[u8]], &[&[u8]]) = match side {
        Side::Client => (&[b"CONNECT", b"STOMP"], CLIENT_FRAMES),
        Side::Server => (&[b"CONNECTED", b"ERROR"], SERVER_FRAMES),
    };
    let late = said.start == Start::Unknown;
    let mut c = Cursor::new(said.bytes);
    // Line ends between frames: heart beats.
    while late && c.peek()? == b'\n' {
        c.skip(1)?;
    }
    let at = c.at();
    let command = |names: &[&[u8]]| -> Result<Option<usize>, Short> {
        let mut open = false;
        for name in names {
            match ends_line(c.rest(), name) {
                Ok(true) => return Ok(Some(name.len())),
                Ok(false) => {}
                Err(Short) => open = true,
            }
        }
        if open { Err(Short) } else { Ok(None) }
    };
    let Some(length) = (match (command(first), late) {
        (Ok(None) | Err(Short), true) => command(later),
        (found, _) => found,
    })?
    else {
        return Ok(None);
    };
    c.skip(length)?;
    c.line()?;
    let bare = matches!(c.peek()?, b'\n' | b'\r');
    let found = mark("stomp.frame", side, at, c.at().saturating_sub(at), "command line");
    if bare {
        return Ok((side == Side::Client && !late).then_some(found));
    }
    if begins_any(c.rest(), NAMES)?.is_none() {
        return Ok(None);
    }
    Ok(is_name(c.line()?).then_some(found))
}

/// Whether `bytes` begin with `command` and a line end.
fn ends_line(bytes: &[u8], command: &[u8]) -> Result<bool, Short> {
    if !fit::begins(bytes, command)? {
        return Ok(false);
    }
    let mut c = Cursor::new(bytes);
    c.skip(command.len())?;
    Ok(match c.u8()? {
        b'\n' => true,
        b'\r' => c.u8()? == b'\n',
        _ => false,
    })
}

/// Reads the first frame's headers.
fn headers(bytes: &[u8]) -> Result<Facts, Short> {
    let mut c = Cursor::new(bytes);
    while matches!(c.peek()?, b'\n' | b'\r') {
        c.skip(1)?;
    }
    let mut facts = match c.line()? {
        b"ERROR" => {
            let found = mark("stomp.refused", Side::Server, 0, 5, "ERROR");
            Facts { refused: true, mark: Some(found), ..fit::CLEAR }
        }
        b"CONNECTED" | b"MESSAGE" | b"RECEIPT" => Facts { accepted: true, ..fit::CLEAR },
        _ => fit::CLEAR,
    };
    loop {
        let at = c.at();
        let line = c.line()?;
        if line.is_empty() {
            return Ok(facts);
        }
        if matches!(line.strip_prefix(b"passcode:"), Some([_, ..])) {
            facts.credentials = Credentials::PASSWORD_CLEARTEXT;
            facts.mark = Some(mark("stomp.passcode", Side::Client, at, 9, "passcode:"));
        }
    }
}

const READ: u8 = 1;
const HEADERS_BYTES_MAX: usize = 8192;
const CLIENT_FRAMES: &[&[u8]] = &[
    b"SEND",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"ACK",
    b"NACK",
    b"BEGIN",
    b"COMMIT",
    b"ABORT",
    b"DISCONNECT",
];
const SERVER_FRAMES: &[&[u8]] = &[b"MESSAGE", b"RECEIPT"];
/// Headers that frames of any version have.
const NAMES: &[&[u8]] = &[
    b"accept-version:",
    b"ack:",
    b"client-id:",
    b"content-length:",
    b"content-type:",
    b"correlation-id:",
    b"destination:",
    b"expires:",
    b"heart-beat:",
    b"host:",
    b"id:",
    b"login:",
    b"message:",
    b"message-id:",
    b"passcode:",
    b"persistent:",
    b"priority:",
    b"receipt:",
    b"receipt-id:",
    b"reply-to:",
    b"server:",
    b"session:",
    b"subscription:",
    b"timestamp:",
    b"transaction:",
    b"version:",
];

static INFO: Info = Info {
    name: "stomp",
    title: "STOMP",
    spec: "https://stomp.github.io/stomp-specification-1.2.html",
    ports: &[61613],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, matches, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    #[test]
    fn the_first_frame_proves_it() {
        let cases: [(&[u8], bool, bool); 12] = [
            (b"CONNECT\naccept-version:1.2\nhost:a\n\n\0", true, false),
            (b"STOMP\r\nhost:a\r\n\r\n\0", true, false),
            (b"CONNECT\n\n\0", true, false),
            (b"CONNECTED\nversion:1.2\n\n\0", false, true),
            (b"ERROR\nmessage:no\n\n\0", false, true),
            (b"ERROR\n", false, false),
            (b"ERROR\r\n\r\n", false, false),
            (b"CONNECT a:443 HTTP/1.1\r\n\r\n", false, false),
            (b"CONNECT\nwords words\n", false, false),
            (b"CONNECT {\"verbose\":false}\r\n", false, false),
            (b"SEND\ndestination:/q\n\nx\0", false, false),
            (b"\x16\x03\x01\x02\x00", false, false),
        ];
        for (bytes, client, server) in cases {
            let text = bytes.escape_ascii();
            assert_eq!(matches(probe_side(&Stomp, C, bytes)), client, "{text}");
            assert_eq!(matches(probe_side(&Stomp, S, bytes)), server, "{text}");
        }
    }

    #[test]
    fn a_passcode_and_an_error_are_told() {
        let login = b"STOMP\naccept-version:1.2\nlogin:u\npasscode:p\n\n\0";
        let heard = hear(&Stomp, &[(C, login), (S, b"CONNECTED\nversion:1.2\n\n\0")]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert!(heard.fits == [true, true] && !heard.refused && heard.reason.is_some());
        let heard = hear(&Stomp, &[(C, login), (S, b"ERROR\nmessage:Bad CONNECT\n\nx\0")]);
        assert!(heard.refused);
        let bare = hear(&Stomp, &[(C, b"CONNECT\npasscode:\n\n\0"), (S, b"+OK\r\n")]);
        assert_eq!((bare.credentials, bare.mismatch), (Credentials::NONE, [false, true]));
    }

    #[test]
    fn a_late_view_needs_a_frame_of_its_side() {
        let send = b"SEND\ndestination:/queue/a\n\nx\0";
        let message = b"\n\nMESSAGE\nsubscription:0\nmessage-id:1\n\nx\0";
        let late = |side, bytes: &[u8]| {
            hear_from(&Stomp, &[(side, bytes)], Start::Unknown).matched.is_some()
        };
        assert!(late(C, send) && !late(S, send));
        assert!(late(S, message) && !late(C, message));
        assert!(!late(C, b"SEND\nwords\n") && !late(C, b"tion:/queue/a\n\nx\0"));
    }
}
