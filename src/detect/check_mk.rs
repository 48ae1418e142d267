//! Checkmk agents: the server says it all at once, in sections, the first of which is its own.
//! <https://docs.checkmk.com/latest/en/agent_linux.html>
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, demand, expect},
};
use crate::model::{Credentials, Side, Transport};

pub(super) const CHECK_MK: Protocol = Protocol { info: &INFO, turns: Turns::Server, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    demand(heard.side == Side::Server)?;
    expect(&mut heard.cursor(), FIRST.as_bytes())?;
    Ok(Message::proof(FIRST.len(), "check-mk.section", FIRST))
}

const FIRST: &str = "<<<check_mk>>>";

static INFO: Info = Info {
    name: "check-mk",
    title: "Checkmk agent",
    spec: "https://docs.checkmk.com/latest/en/agent_linux.html",
    ports: &[6556],
    transports: &[Transport::Tcp],
    directions: Directions::Server,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, stream};

    #[test]
    fn the_first_section_proves_the_server() {
        let report = b"<<<check_mk>>>\nVersion: 2.2.0\nAgentOS: linux\n<<<df>>>\n";
        assert_eq!(stream(&CHECK_MK, S, report), Some(true));
        assert_eq!(stream(&CHECK_MK, C, report), Some(false));
        assert_eq!(stream(&CHECK_MK, S, b"<<<check"), None);
        assert_eq!(stream(&CHECK_MK, S, b"<<<df>>>\n"), Some(false));
        let heard = hear_streams(&CHECK_MK, &[(S, report)]);
        assert_eq!((heard.fits, heard.mismatch), ([false, true], [false, false]));
    }

    #[test]
    fn nothing_else_is_check_mk() {
        is_choosy(&CHECK_MK, &[b"<<<"]);
    }
}
