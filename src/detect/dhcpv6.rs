//! DHCP for IPv6. <https://www.rfc-editor.org/rfc/rfc8415#section-8>
//!
//! No magic: the options are a chain that ends with the datagram, with one in it that names a client or a server.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Dhcpv6;

impl Detector for Dhcpv6 {
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

fn read(side: Side, datagram: &[u8]) -> Result<Option<Told>, Short> {
    let mut c = Cursor::new(datagram);
    let kind = c.u8()?;
    let sender = match kind {
        1 | 3..=6 | 8 | 9 | 11 | 12 | 14 => Side::Client,
        2 | 7 | 10 | 13 | 15..=17 => Side::Server,
        _ => return Ok(None),
    };
    if sender != side {
        return Ok(None);
    }
    // Relayed: hop count, link address, peer address.
    if matches!(kind, RELAY_FORW | RELAY_REPL) {
        if c.u8()? > HOPS_MAX {
            return Ok(None);
        }
        c.skip(32)?;
    } else {
        c.skip(3)?;
    }
    let fits = options(&mut c)?;
    Ok(fits.then(|| Told::clear("dhcpv6.message", "DHCPv6 options", datagram.len())))
}

/// Whether the rest is options, and who it is about is among them.
fn options(c: &mut Cursor<'_>) -> Result<bool, Short> {
    let (mut count, mut named, mut asked) = (0_u8, false, 0_u8);
    while !c.is_empty() {
        let (code, length) = (c.u16_be()?, c.u16_be()?);
        let body = c.take(usize::from(length))?;
        let sized = match code {
            CLIENT_ID | SERVER_ID => {
                named = true;
                length > 4 && matches!(body, [0, 1..=4, ..])
            }
            RELAY_MSG => {
                named = true;
                matches!(body, [1..=17, _, _, _, ..])
            }
            ELAPSED_TIME => {
                asked = asked.saturating_add(1);
                length == 2
            }
            ORO => {
                asked = asked.saturating_add(1);
                length > 0 && length % 2 == 0
            }
            PREFERENCE => length == 1,
            RAPID_COMMIT => length == 0,
            code => (1..=CODE_MAX).contains(&code),
        };
        if !sized {
            return Ok(false);
        }
        count = count.saturating_add(1);
    }
    Ok((named || asked >= 2) && count >= 2)
}

const RELAY_FORW: u8 = 12;
const RELAY_REPL: u8 = 13;
const HOPS_MAX: u8 = 32;
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const ORO: u16 = 6;
const PREFERENCE: u16 = 7;
const ELAPSED_TIME: u16 = 8;
const RELAY_MSG: u16 = 9;
const RAPID_COMMIT: u16 = 14;
const CODE_MAX: u16 = 148;

static INFO: Info = Info {
    name: "dhcpv6",
    title: "DHCP for IPv6",
    spec: "https://www.rfc-editor.org/rfc/rfc8415#section-8",
    ports: &[546, 547],
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

    const SOLICIT: &[u8] = b"\x01\x10\x20\x30\
        \x00\x01\x00\x0a\x00\x03\x00\x01\x02\x00\x00\x00\x00\x01\
        \x00\x06\x00\x04\x00\x17\x00\x18\x00\x08\x00\x02\x00\x00";
    const ADVERTISE: &[u8] = b"\x02\x10\x20\x30\
        \x00\x01\x00\x0a\x00\x03\x00\x01\x02\x00\x00\x00\x00\x01\
        \x00\x02\x00\x0a\x00\x03\x00\x01\x02\x00\x00\x00\x00\x02";

    #[test]
    fn a_whole_chain_of_options_proves_the_side_that_sends_it() {
        let relayed =
            [&b"\x0c\x00"[..], &[0xfe; 32], b"\x00\x12\x00\x02ab\x00\x09\x00\x20", SOLICIT];
        let cases: [(Side, Vec<u8>); 4] = [
            (C, SOLICIT.to_vec()),
            (S, ADVERTISE.to_vec()),
            (C, b"\x0b\x00\x00\x01\x00\x06\x00\x02\x00\x17\x00\x08\x00\x02\x00\x00".to_vec()),
            (C, relayed.concat()),
        ];
        for (side, bytes) in cases {
            assert!(proves(&Dhcpv6, side, &bytes), "{bytes:02x?}");
            assert!(!proves(&Dhcpv6, side.other(), &bytes), "{bytes:02x?} from the other side");
            assert!(!proves(&Dhcpv6, side, &bytes[..bytes.len() - 1]), "a byte less");
            assert!(!proves(&Dhcpv6, side, &[&bytes[..], b"x"].concat()), "a byte more");
        }
        assert!(!proves(&Dhcpv6, C, &SOLICIT[..18]), "one option alone");
        let heard = hear_datagrams(&Dhcpv6, &[(C, SOLICIT), (S, ADVERTISE)]);
        assert_eq!(heard.fits, [true, true]);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Dhcpv6);
    }
}
