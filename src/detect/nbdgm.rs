//! `NetBIOS` datagram service. <https://www.rfc-editor.org/rfc/rfc1002#section-4.4>
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, probe_datagram},
    nbns::netbios_name,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Nbdgm;

impl Detector for Nbdgm {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_datagram(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow_datagrams(state, side, said, read)
    }
}

fn read(_side: Side, datagram: &[u8]) -> Result<Option<Told>, Short> {
    let mut c = Cursor::new(datagram);
    let (kind, flags) = (c.u8()?, c.u8()?);
    if !(DIRECT_UNIQUE..=NEGATIVE_ANSWER).contains(&kind) || flags & 0xf0 != 0 {
        return Ok(None);
    }
    // Id, address and port of the sender.
    c.skip(8)?;
    let fits = if kind > BROADCAST {
        kind == ERROR && c.left() == 1 || kind > ERROR && netbios_name(&mut c)? && c.is_empty()
    } else {
        let length = usize::from(c.u16_be()?);
        c.skip(2)?;
        length == c.left() && netbios_name(&mut c)? && netbios_name(&mut c)?
    };
    // An error has nothing in it that would prove anything.
    Ok((fits && kind != ERROR).then(|| Told::clear("nbdgm.message", "NetBIOS names", c.at())))
}

const DIRECT_UNIQUE: u8 = 0x10;
const BROADCAST: u8 = 0x12;
const ERROR: u8 = 0x13;
const NEGATIVE_ANSWER: u8 = 0x16;

static INFO: Info = Info {
    name: "nbdgm",
    title: "NetBIOS Datagram Service",
    spec: "https://www.rfc-editor.org/rfc/rfc1002#section-4.4",
    ports: &[138],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::exchange::bench::{hear_datagrams, proves, proves_nothing_else};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    #[test]
    fn two_encoded_names_and_a_length_prove_it() {
        let name = b"\x20FDEBENECEBCACACACACACACACACACACA\x00";
        let head = b"\x11\x0a\x12\x34\x0a\x00\x00\x01\x00\x8a\x00\x48\x00\x00";
        let whole = [&head[..], name, name, b"\xffSMB"].concat();
        assert!(proves(&Nbdgm, C, &whole) && proves(&Nbdgm, S, &whole));
        assert!(!proves(&Nbdgm, C, &whole[..whole.len() - 1]), "a byte less");
        assert!(!proves(&Nbdgm, C, &[&whole[..], b"x"].concat()), "a byte more");
        assert_eq!(hear_datagrams(&Nbdgm, &[(C, &whole), (S, &whole)]).fits, [true, true]);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Nbdgm);
    }
}
