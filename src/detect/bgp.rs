//! Border Gateway Protocol 4. <https://www.rfc-editor.org/rfc/rfc4271#section-4>
//!
//! Either side may speak first, and both say the same: OPEN, then KEEPALIVE. The marker alone proves nothing, for runs of
//! ones are common.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, magic};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
};

pub(super) struct Bgp;

impl Grammar for Bgp {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, &[0xff; 16])?);
        let (length, kind) = (c.u16_be()?, c.u8()?);
        demand!((19..=4096).contains(&length));
        let body = length.saturating_sub(19);
        let (proof, constant) = match kind {
            1 => {
                demand!(body >= 10 && open(&mut c, body)?);
                (60, "OPEN version 4")
            }
            // A session begins with OPEN; who will not have it says why.
            2 if !place.opening && body >= 4 => {
                let withdrawn = c.u16_be()?;
                demand!(withdrawn <= body.saturating_sub(4));
                (34, "UPDATE")
            }
            3 if body >= 2 => {
                demand!(matches!(c.u8()?, 1..=8) && c.u8()? <= 11);
                (42, "NOTIFICATION")
            }
            4 if !place.opening && body == 0 => (40, "KEEPALIVE"),
            5 if !place.opening && body >= 4 => {
                demand!(matches!(c.u16_be()?, 1 | 2 | 25 | 16388));
                (36, "ROUTE-REFRESH")
            }
            _ => return Ok(None),
        };
        Ok(Some(Message::new(usize::from(length), proof, "bgp.message", constant)))
    }
}

/// Version, AS number, hold time, identifier, and optional parameters of the length that is left.
fn open(c: &mut Cursor<'_>, body: u16) -> Result<bool, Short> {
    if c.u8()? != 4 {
        return Ok(false);
    }
    let (_as, hold, _identifier) = (c.u16_be()?, c.u16_be()?, c.u32_be()?);
    let (parameters, left) = (c.u8()?, body.saturating_sub(10));
    // RFC 9072: 255 announces a longer list.
    Ok(!matches!(hold, 1 | 2) && (u16::from(parameters) == left || parameters == 0xff && left > 3))
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "bgp",
        "Border Gateway Protocol",
        "https://www.rfc-editor.org/rfc/rfc4271",
        &[179],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::hear_from;
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::detect::Start;
    use crate::model::Transport;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
        [&[0xff; 16][..], &length, &[kind], body].concat()
    }

    const OPEN: &[u8] = b"\x04\xfd\xe8\x00\xf0\x0a\x00\x00\x01\x08\x02\x06\x01\x04\x00\x01\x00\x01";

    #[test]
    fn a_session_begins_with_open_on_either_side() {
        let (open, alive) = (message(1, OPEN), message(4, b""));
        let refusal = message(3, b"\x06\x05");
        proves_tcp(&Bgp, &[("open", C, &open), ("open", S, &open), ("refusal", S, &refusal)]);
        converses(&Bgp, &[(C, &open), (S, &open), (C, &alive), (S, &alive)]);
    }

    #[test]
    fn a_late_view_needs_two_messages() {
        let late = |bytes: &[u8]| hear_from(&Bgp, &[(S, bytes)], Start::Unknown).matched.is_some();
        assert!(late(&message(4, b"").repeat(2)));
        assert!(late(&[message(2, &[0, 0, 0, 0]), message(4, b"")].concat()));
        assert!(!late(&message(4, b"")));
    }

    #[test]
    fn ones_are_not_bgp() {
        let mut short = message(1, OPEN);
        short[19] = 3;
        let mut parameters = message(1, OPEN);
        parameters[28] += 1;
        denies(
            &Bgp,
            Transport::Tcp,
            &[
                ("ones", &[0xff; 64]),
                ("version 3", &short),
                ("parameters of another length", &parameters),
                ("keepalive first", &message(4, b"")),
                ("type 6", &message(6, b"")),
            ],
        );
    }
}
