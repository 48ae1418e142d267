//! `NetBIOS` name service: DNS messages about encoded names. <https://www.rfc-editor.org/rfc/rfc1002#section-4.2>
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Nbns;

impl Detector for Nbns {
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
    let (_id, flags) = (c.u16_be()?, c.u16_be()?);
    let counts = [c.u16_be()?, c.u16_be()?, c.u16_be()?, c.u16_be()?];
    let known = matches!(flags >> 11 & 0xf, 0 | 5..=9 | 15) && flags & 0x0060 == 0;
    let answers = flags & 0x8000 != 0;
    if !known || answers != (side == Side::Server) || counts.iter().any(|count| *count > 2) {
        return Ok(None);
    }
    let asks = matches!(counts, [1, 0, 0, 0..=1]);
    let tells = matches!(counts, [0 | 1, 1, _, _] | [0, 0, 1, _]);
    if !(if answers { tells || asks } else { asks }) || !netbios_name(&mut c)? {
        return Ok(None);
    }
    let kind = c.u16_be()?;
    let fits = matches!(kind, NB | NBSTAT | NULL | NS) && c.u16_be()? & 0x7fff == 1;
    Ok(fits.then(|| Told::clear("nbns.message", "NetBIOS name", c.at())))
}

/// An encoded name (RFC 1001 section 14.1), and its scope.
pub(super) fn netbios_name(c: &mut Cursor<'_>) -> Result<bool, Short> {
    let length = c.u8()?;
    if usize::from(length) != NAME_BYTES
        || !c.take(NAME_BYTES)?.iter().all(|byte| matches!(byte, b'A'..=b'P'))
    {
        return Ok(false);
    }
    for _ in 0..SCOPE_LABELS_MAX {
        match c.u8()? {
            0 => return Ok(true),
            length @ 1..=63 => c.skip(usize::from(length))?,
            64.. => return Ok(false),
        }
    }
    Ok(false)
}

const NAME_BYTES: usize = 32;
const SCOPE_LABELS_MAX: usize = 8;
const NB: u16 = 0x20;
const NBSTAT: u16 = 0x21;
const NULL: u16 = 0x0a;
const NS: u16 = 0x02;

static INFO: Info = Info {
    name: "nbns",
    title: "NetBIOS Name Service",
    spec: "https://www.rfc-editor.org/rfc/rfc1002#section-4.2",
    ports: &[137],
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

    const NAME: &[u8] = b"\x20FDEBENECEBCACACACACACACACACACACA\x00";
    const QUERY: &[u8] = b"\x80\x01\x01\x10\x00\x01\x00\x00\x00\x00\x00\x00";
    const ANSWER: &[u8] = b"\x80\x01\x85\x00\x00\x00\x00\x01\x00\x00\x00\x00";

    #[test]
    fn an_encoded_name_proves_the_side_that_sends_it() {
        let query = [QUERY, NAME, b"\x00\x20\x00\x01"].concat();
        let answer =
            [ANSWER, NAME, b"\x00\x20\x00\x01\0\x04\x93\xe0\0\x06\0\0\x0a\0\0\x01"].concat();
        for (side, bytes) in [(C, &query), (S, &answer)] {
            assert!(proves(&Nbns, side, bytes));
            assert!(!proves(&Nbns, side.other(), bytes));
        }
        let plain =
            [QUERY, &b"\x20fdebenecebcacacacacacacacacacaca\x00\x00\x20\x00\x01"[..]].concat();
        assert!(!proves(&Nbns, C, &plain), "a DNS name of 32 letters");
        assert!(!proves(&Nbns, C, &[QUERY, NAME, b"\x00\x01\x00\x01"].concat()), "an A record");
        assert_eq!(hear_datagrams(&Nbns, &[(C, &query), (S, &answer)]).fits, [true, true]);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Nbns);
    }
}
