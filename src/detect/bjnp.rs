//! Canon's printer and scanner protocol. <https://git.openprinting.org/index.cgi/cups-bjnp>
//!
//! No public specification: the header is that of the `cups-bjnp` and SANE sources, magic and exact length.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Bjnp;

impl Detector for Bjnp {
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
    let known = MAGICS.contains(&&c.array::<4>()?);
    let device = c.u8()?;
    c.skip(7)?;
    let length = usize::try_from(c.u32_be()?).unwrap_or(usize::MAX);
    let answers = device & 0x80 != 0;
    let fits = known && answers == (side == Side::Server) && length == c.left();
    Ok(fits.then(|| Told::clear("bjnp.message", "BJNP", 16)))
}

const MAGICS: [&[u8; 4]; 3] = [b"BJNP", b"BJNB", b"MFNP"];

static INFO: Info = Info {
    name: "bjnp",
    title: "Canon BJNP",
    spec: "https://git.openprinting.org/index.cgi/cups-bjnp",
    ports: &[8611, 8612, 8613],
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
    fn magic_and_length_prove_it() {
        let (ask, answer) =
            (b"BJNP\x01\x01\0\0\0\0\0\0\0\0\0\0", b"BJNP\x81\x01\0\0\0\0\0\0\0\0\0\x01x");
        assert!(proves(&Bjnp, C, ask) && proves(&Bjnp, S, answer));
        assert!(!proves(&Bjnp, S, ask) && !proves(&Bjnp, C, answer));
        assert!(!proves(&Bjnp, C, b"BJNP\x01\x01\0\0\0\0\0\0\0\0\0\x01"));
        assert_eq!(hear_datagrams(&Bjnp, &[(C, ask), (S, answer)]).fits, [true, true]);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Bjnp);
    }
}
