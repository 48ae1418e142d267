//! Munin nodes: the server introduces itself, the master asks with commands.
//! <https://guide.munin-monitoring.org/en/latest/master/network-protocol.html>
//!
//! `STARTTLS` is part of the protocol, though few set it up.
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, demand, expect, text_line},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) const MUNIN: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(state: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    match heard.side {
        Side::Client => command(state, &mut cursor),
        Side::Server if state.flags & GREETED == 0 => {
            expect(&mut cursor, GREETING.as_bytes())?;
            text_line(&mut cursor, LINE_BYTES_MAX)?;
            state.flags |= GREETED;
            let mut message = Message::proof(cursor.at(), "munin.greeting", GREETING);
            message.more = true;
            message.facts.reason = Some(PlaintextReason::ClientNeverAsked);
            Ok(message)
        }
        Side::Server => {
            let line = text_line(&mut cursor, LINE_BYTES_MAX)?;
            let mut message = Message::weak(cursor.at());
            if state.flags & TLS_ASKED != 0 {
                if matches!(line, b"TLS OK" | b"TLS MAYBE") {
                    message.layer = Some(UPGRADE);
                } else {
                    message.facts.reason = Some(PlaintextReason::ServerRefused);
                }
            } else {
                message.facts.reason = Some(PlaintextReason::ClientNeverAsked);
            }
            state.flags &= !TLS_ASKED;
            message.facts.accepted = true;
            Ok(message)
        }
    }
}

fn command(state: &mut FollowState, cursor: &mut Cursor<'_>) -> Read<Message> {
    let rest = cursor.rest();
    let verb = rest.split(|b| matches!(b, b' ' | b'\r' | b'\n')).next().unwrap_or(rest);
    let whole = verb.len() < rest.len();
    let is = |want: &[u8]| {
        let known = want.get(..verb.len());
        known.is_some_and(|known| known.eq_ignore_ascii_case(verb))
            && (!whole || want.len() == verb.len())
    };
    demand(COMMANDS.iter().any(|want| is(want)))?;
    let line = text_line(cursor, LINE_BYTES_MAX)?;
    let tls = line.eq_ignore_ascii_case(b"starttls");
    let mut message = match line.strip_prefix(b"cap ") {
        Some(capabilities) if capabilities.starts_with(b"multigraph") => {
            Message::proof(cursor.at(), "munin.capabilities", "cap multigraph")
        }
        _ => Message::weak(cursor.at()),
    };
    let reason =
        if tls { PlaintextReason::ServerRefused } else { PlaintextReason::ClientNeverAsked };
    // A server that says nothing to the question has refused it.
    if tls {
        state.flags |= TLS_ASKED;
    } else {
        message.facts.reason = Some(reason);
    }
    message.more = true;
    Ok(message)
}

const UPGRADE: &str = "munin-starttls";
const GREETING: &str = "# munin node at ";
const GREETED: u16 = 1;
const TLS_ASKED: u16 = 2;
const LINE_BYTES_MAX: usize = 1024;
const COMMANDS: [&[u8]; 10] = [
    b"cap",
    b"list",
    b"nodes",
    b"config",
    b"fetch",
    b"version",
    b"quit",
    b"starttls",
    b"spoolfetch",
    b".",
];

static INFO: Info = Info {
    name: "munin",
    title: "Munin node",
    spec: "https://guide.munin-monitoring.org/en/latest/master/network-protocol.html",
    ports: &[4949],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[UPGRADE],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, stream};

    const HELLO: &[u8] = b"# munin node at web1.example.com\n";

    #[test]
    fn greeting_and_capabilities_prove_it() {
        let cases: [(Side, &[u8], Option<bool>); 7] = [
            (S, HELLO, Some(true)),
            (S, b"# munin node", None),
            (S, b"# something else\n", None),
            (C, b"cap multigraph dirtyconfig\n", Some(true)),
            (C, b"list\n", None),
            (C, b"listen\n", Some(false)),
            (C, b"GET / HTTP/1.1\r\n", Some(false)),
        ];
        for (side, bytes, expected) in cases {
            assert_eq!(stream(&MUNIN, side, bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn who_asks_for_tls_may_get_it() {
        let heard = hear_streams(&MUNIN, &[(S, HELLO), (C, b"list\n"), (S, b"cpu df\n")]);
        assert_eq!(heard.fits, [true, true]);
        assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
        let lines: [(Side, &[u8]); 3] = [(S, HELLO), (C, b"STARTTLS\n"), (S, b"TLS OK\n")];
        let heard = hear_streams(&MUNIN, &lines);
        assert_eq!(heard.layer, Some((Some(UPGRADE), Some(9), Some(HELLO.len() + 7))));
        let lines: [(Side, &[u8]); 3] =
            [(S, HELLO), (C, b"starttls\n"), (S, b"# Unknown command.\n")];
        let heard = hear_streams(&MUNIN, &lines);
        assert_eq!((heard.layer, heard.reason), (None, Some(PlaintextReason::ServerRefused)));
    }

    #[test]
    fn nothing_else_is_munin() {
        is_choosy(&MUNIN, &[b"# munin", b"cap "]);
    }
}
