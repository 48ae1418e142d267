//! Media Gateway Control Protocol. <https://www.rfc-editor.org/rfc/rfc3435#section-3.2>
//!
//! A response is a number and little else: it counts only beside the command it answers.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info};
use crate::{
    bytes::{Cursor, is_text},
    detect::Info,
    model::Side,
};

pub(super) struct Mgcp;

impl Grammar for Mgcp {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let line = c.line()?;
        demand!(is_text(bytes));
        let mut words = line.split(|b| *b == b' ');
        let mut next = || words.next().unwrap_or_default();
        let (first, transaction) = (next(), next());
        let number =
            matches!(transaction.len(), 1..=9) && transaction.iter().all(u8::is_ascii_digit);
        demand!(number);
        if place.side == Side::Server {
            let code = matches!(first, [b'0' | b'1' | b'2' | b'4' | b'5' | b'8', b, c]
                if b.is_ascii_digit() && c.is_ascii_digit());
            demand!(code);
            return Ok(Some(Message::new(bytes.len(), 20, "mgcp.response", "response code")));
        }
        let Some(verb) = VERBS.iter().find(|verb| first == verb.as_bytes()) else {
            return Ok(None);
        };
        let (endpoint, name, version) = (next(), next(), next());
        demand!(!endpoint.is_empty() && name == b"MGCP" && matches!(version, b"1.0" | b"0.1"));
        Ok(Some(Message::new(bytes.len(), 80, "mgcp.command", verb)))
    }
}

const VERBS: [&str; 10] =
    ["EPCF", "CRCX", "MDCX", "DLCX", "RQNT", "NTFY", "AUEP", "AUCX", "RSIP", "MESG"];

static INFO: Info = Info {
    midstream: true,
    ..info(
        "mgcp",
        "Media Gateway Control Protocol",
        "https://www.rfc-editor.org/rfc/rfc3435",
        &[2427, 2727],
        UDP,
        Directions::Client,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, hear_udp, probe_udp, proves_udp};
    use super::*;
    use crate::detect::Probe;
    use crate::model::Transport;

    #[test]
    fn a_command_names_the_version() {
        let command = b"RSIP 1201 *@gw.example.net MGCP 1.0\r\nRM: restart\n";
        assert!(matches!(probe_udp(&Mgcp, C, &[command]), Probe::Match(_)));
        proves_udp(&Mgcp, &[]);
        assert_eq!(hear_udp(&Mgcp, &[(C, command), (S, b"200 1201 OK\r\n")]).fits, [true, true]);
        assert_eq!(probe_udp(&Mgcp, S, &[b"200 1201 OK\r\n"]), Probe::More);
        denies(
            &Mgcp,
            Transport::Udp,
            &[
                ("SIP", b"REGISTER sip:example.net SIP/2.0\r\n"),
                ("no number", b"RSIP 12a1 *@gw.example.net MGCP 1.0\r\n"),
                ("other version", b"RSIP 1201 *@gw.example.net MGCP 2.0\r\n"),
            ],
        );
    }
}
