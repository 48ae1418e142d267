//! Raw printing (`JetDirect`): jobs that begin with the Universal Exit Language, and what printers answer in PJL.
//! <https://developers.hp.com/hp-printer-command-languages-pcl> (PJL Technical Reference, chapter 2)
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, expect},
};
use crate::model::{Credentials, Side, Transport};

pub(super) const JETDIRECT: Protocol = Protocol { info: &INFO, turns: Turns::Client, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    match heard.side {
        Side::Client => {
            expect(&mut cursor, b"\x1b%-12345X")?;
            Ok(Message::proof(heard.bytes.len(), "jetdirect.uel", "ESC%-12345X"))
        }
        Side::Server => {
            expect(&mut cursor, b"@PJL ")?;
            Ok(Message::proof(heard.bytes.len(), "jetdirect.pjl", "@PJL"))
        }
    }
}

static INFO: Info = Info {
    name: "jetdirect",
    title: "JetDirect raw printing",
    spec: "https://developers.hp.com/hp-printer-command-languages-pcl",
    ports: &[9100],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, stream};

    #[test]
    fn the_exit_language_begins_a_job() {
        let job = b"\x1b%-12345X@PJL JOB\r\n@PJL ENTER LANGUAGE=PCL\r\n";
        assert_eq!(stream(&JETDIRECT, C, job), Some(true));
        assert_eq!(stream(&JETDIRECT, C, b"\x1b%-1"), None);
        assert_eq!(stream(&JETDIRECT, C, b"\x1b[2J"), Some(false));
        assert_eq!(stream(&JETDIRECT, S, b"@PJL INFO ID\r\n"), Some(true));
        assert_eq!(hear_streams(&JETDIRECT, &[(C, job)]).fits, [true, false]);
    }

    #[test]
    fn nothing_else_is_jetdirect() {
        is_choosy(&JETDIRECT, &[b"\x1b%-123", b"@P"]);
    }
}
