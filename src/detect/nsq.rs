//! NSQ. <https://nsq.io/clients/tcp_protocol_spec.html>
//!
//! The client begins with `  V2`; IDENTIFY may ask for TLS, which then follows the server's answer.
use super::grammar::{Grammar, Learnt, Message, Place, Read, TCP, demand, info, magic, size};
use super::{Directions, Facts, Next, OtherSide};
use crate::{
    bytes::Cursor,
    detect::Info,
    model::{Credentials, PlaintextReason, Side},
};

pub(super) struct Nsq;

impl Grammar for Nsq {
    const INFO: &'static Info = &INFO;
    const REASON: Option<PlaintextReason> = None;
    const LEARN_BYTES: usize = 2048;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        if place.side == Side::Server {
            // Two small numbers: they fit, and prove nothing.
            let length = c.u32_be()?;
            demand!((6..=FRAME_BYTES_MAX).contains(&length) && matches!(c.u32_be()?, 0..=2));
            return Ok(Some(Message::new(size(length).saturating_add(4), 0, "nsq.frame", "frame")));
        }
        if place.opening {
            demand!(magic(&mut c, b"  V2")?);
            return Ok(Some(Message::new(4, 34, "nsq.magic", "V2")));
        }
        let rest = c.rest();
        let known = COMMANDS.iter().find(|(word, _)| {
            let seen = rest.len().min(word.len());
            rest.get(..seen) == word.get(..seen)
        });
        let Some((word, body)) = known else { return Ok(None) };
        c.skip(word.len())?;
        let line_end = c.rest().iter().position(|b| *b == b'\n');
        demand!(c.left().min(line_end.unwrap_or(usize::MAX)) <= LINE_BYTES_MAX);
        demand!(c.line()?.iter().all(u8::is_ascii_graphic) || word.ends_with(b" "));
        if *body {
            let length = c.u32_be()?;
            demand!(length <= FRAME_BYTES_MAX);
            c = Cursor::new(bytes.get(..c.at()).unwrap_or(bytes));
            let whole = c.left().saturating_add(size(length));
            return Ok(Some(Message::new(whole, 24, "nsq.command", "command")));
        }
        Ok(Some(Message::new(c.at(), 24, "nsq.command", "command")))
    }

    fn learn(&self, words: &mut [u32; 6], side: Side, bytes: &[u8]) -> Learnt {
        let [asked, ..] = words;
        let has = |word: &[u8]| bytes.windows(word.len()).any(|w| w == word);
        let on = has(b"\"tls_v1\":true") || has(b"\"tls_v1\": true");
        let reason = |reason| Facts { reason: Some(reason), ..Facts::NONE };
        match side {
            Side::Client if bytes.starts_with(b"IDENTIFY") => {
                *asked = if on { ASKED } else { IDENTIFIED };
                Learnt::more(if on {
                    Facts::NONE
                } else {
                    reason(PlaintextReason::ClientNeverAsked)
                })
            }
            Side::Client if bytes.starts_with(b"AUTH") => {
                Learnt::more(Facts { credentials: Credentials::BEARER_TOKEN, ..Facts::NONE })
            }
            Side::Client if *asked == NOTHING && bytes.len() > 4 => {
                Learnt::more(reason(PlaintextReason::ClientNeverAsked))
            }
            Side::Server if on && *asked != IDENTIFIED => {
                let other = if *asked == ASKED { OtherSide::Here } else { OtherSide::Somewhere };
                let next = Some(Next::Layer { upgrade: Some(UPGRADE), other });
                Learnt { next, ..Learnt::NOTHING }
            }
            Side::Server if *asked == ASKED => Learnt::more(reason(PlaintextReason::ServerRefused)),
            _ => Learnt::more(Facts::NONE),
        }
    }
}

/// Commands, and whether a length and a body follow their line.
const COMMANDS: [(&[u8], bool); 11] = [
    (b"IDENTIFY", true),
    (b"AUTH", true),
    (b"SUB ", false),
    (b"PUB ", true),
    (b"MPUB ", true),
    (b"DPUB ", true),
    (b"RDY ", false),
    (b"FIN ", false),
    (b"REQ ", false),
    (b"NOP", false),
    (b"CLS", false),
];
const LINE_BYTES_MAX: usize = 160;
const FRAME_BYTES_MAX: u32 = 1 << 24;
const UPGRADE: &str = "nsq-identify";
const NOTHING: u32 = 0;
const IDENTIFIED: u32 = 1;
const ASKED: u32 = 2;

static INFO: Info = Info {
    upgrades: &[UPGRADE],
    credentials: Credentials::BEARER_TOKEN,
    ..info(
        "nsq",
        "NSQ",
        "https://nsq.io/clients/tcp_protocol_spec.html",
        &[4150],
        TCP,
        Directions::Client,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::{Heard, hear};
    use super::super::grammar::bench::{C, S, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    fn identify(json: &str) -> Vec<u8> {
        let length = u32::try_from(json.len()).unwrap().to_be_bytes();
        [b"IDENTIFY\n", &length[..], json.as_bytes()].concat()
    }

    fn frame(text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len() + 4).unwrap().to_be_bytes();
        [&length[..], &[0; 4], text.as_bytes()].concat()
    }

    fn session(asks: &str, answers: &str) -> Heard {
        hear(
            &Nsq,
            &[(C, b"  V2"), (C, &identify(asks)), (S, &frame(answers)), (C, b"\x16\x03\x01")],
        )
    }

    #[test]
    fn identify_may_lead_to_tls() {
        proves_tcp(&Nsq, &[("magic and command", C, b"  V2SUB topic channel\n")]);
        let up = session("{\"tls_v1\":true}", "{\"max_rdy_count\":2500,\"tls_v1\":true}");
        assert_eq!(up.layer.map(|(name, ..)| name), Some(Some("nsq-identify")));
        let refused = session("{\"tls_v1\":true}", "{\"tls_v1\":false}");
        assert_eq!(refused.reason, Some(PlaintextReason::ServerRefused));
        let never = session("{\"client_id\":\"a\"}", "OK");
        assert_eq!(never.reason, Some(PlaintextReason::ClientNeverAsked));
        let login = hear(&Nsq, &[(C, b"  V2AUTH\n\0\0\0\x06secret"), (S, &frame("OK"))]);
        assert_eq!(login.credentials, Credentials::BEARER_TOKEN);
        denies(
            &Nsq,
            Transport::Tcp,
            &[
                ("version 1", b"  V1"),
                ("indented text", b"  Valid\r\n"),
                ("command first", b"NOP\n"),
            ],
        );
    }
}
