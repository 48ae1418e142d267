//! DHCP and BOOTP. <https://www.rfc-editor.org/rfc/rfc2131#section-2>
//!
//! The magic cookie of the options (RFC 1497) stands behind the fixed header.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, magic, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Dhcp;

impl Detector for Dhcp {
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
    let [operation, hardware, length, hops] = c.array()?;
    let direction = match side {
        Side::Client => operation == BOOTREQUEST,
        Side::Server => operation == BOOTREPLY,
    };
    if !direction || hardware > HARDWARE_MAX || length > ADDRESS_BYTES || hops > HOPS_MAX {
        return Ok(None);
    }
    c.skip(COOKIE_AT.saturating_sub(c.at()))?;
    let fits = magic(&mut c, b"\x63\x82\x53\x63")? && options(&mut c);
    Ok(fits.then(|| Told::clear("dhcp.message", "63825363", c.at())))
}

/// The first options are as long as they say; the last may be cut off.
fn options(c: &mut Cursor<'_>) -> bool {
    for _ in 0..OPTIONS_SEEN {
        match (c.u8(), c.peek()) {
            (Ok(0), _) => {}
            (Ok(255) | Err(Short), _) => return true,
            (Ok(_), Ok(length)) if c.skip(usize::from(length).saturating_add(1)).is_ok() => {}
            _ => return false,
        }
    }
    true
}

const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const HARDWARE_MAX: u8 = 38;
const ADDRESS_BYTES: u8 = 16;
const HOPS_MAX: u8 = 16;
const COOKIE_AT: usize = 236;
const OPTIONS_SEEN: usize = 8;

static INFO: Info = Info {
    name: "dhcp",
    title: "Dynamic Host Configuration Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc2131#section-2",
    ports: &[67, 68],
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

    fn message(operation: u8) -> Vec<u8> {
        let mut all = vec![0; COOKIE_AT];
        all[..4].copy_from_slice(&[operation, 1, 6, 0]);
        all.extend(b"\x63\x82\x53\x63\x35\x01\x01\x37\x02\x01\x03\xff\x00\x00");
        all
    }

    #[test]
    fn the_magic_cookie_proves_the_side_that_sends_it() {
        for (side, operation) in [(C, 1), (S, 2)] {
            assert!(proves(&Dhcp, side, &message(operation)));
            assert!(!proves(&Dhcp, side.other(), &message(operation)));
        }
        let mut other = message(1);
        other[COOKIE_AT] = 0x62;
        assert!(!proves(&Dhcp, C, &other), "another vendor area");
        other = message(1);
        other[2] = 17;
        assert!(!proves(&Dhcp, C, &other), "a hardware address too long");
        assert!(
            !proves(&Dhcp, C, &[&message(1)[..240], b"\x35\x40\x01"].concat()),
            "an option too long"
        );
        let heard = hear_datagrams(&Dhcp, &[(C, &message(1)), (S, &message(2))]);
        assert_eq!(heard.fits, [true, true]);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Dhcp);
    }
}
