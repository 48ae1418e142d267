//! SLP version 2. <https://www.rfc-editor.org/rfc/rfc2608#section-8>
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Slp;

impl Detector for Slp {
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
    let (version, function, length) = (c.u8()?, c.u8()?, c.u24_be()?);
    let sender = match function {
        1 | 3 | 4 | 6 | 9 => Side::Client,
        // Advertisements come unasked too.
        2 | 5 | 7 | 8 | 10 | 11 => Side::Server,
        _ => return Ok(None),
    };
    let (flags, extension, _id) = (c.u16_be()?, c.u24_be()?, c.u16_be()?);
    let language = usize::from(c.u16_be()?);
    let total = usize::try_from(length).unwrap_or(usize::MAX);
    if version != 2 || sender != side || total != datagram.len() || extension > length {
        return Ok(None);
    }
    let tag = c.take(language)?;
    let named = (2..=LANGUAGE_BYTES_MAX).contains(&language)
        && tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    Ok((named && flags.trailing_zeros() >= 13).then(|| Told::clear("slp.message", "SLPv2", c.at())))
}

const LANGUAGE_BYTES_MAX: usize = 35;

static INFO: Info = Info {
    name: "slp",
    title: "Service Location Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc2608#section-8",
    ports: &[427],
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

    const REQUEST: &[u8] = b"\x02\x01\x00\x00\x31\x00\x00\x00\x00\x00\x00\x01\x00\x02en\
        \x00\x00\x00\x0fservice:printer\x00\x07default\x00\x00\x00\x00";
    const REPLY: &[u8] = b"\x02\x02\x00\x00\x14\x00\x00\x00\x00\x00\x00\x01\x00\x02en\0\0\0\0";

    #[test]
    fn version_length_and_language_prove_it() {
        let mut request = REQUEST.to_vec();
        request[4] = u8::try_from(REQUEST.len()).unwrap();
        assert!(proves(&Slp, C, &request) && proves(&Slp, S, REPLY));
        assert!(!proves(&Slp, S, &request) && !proves(&Slp, C, REPLY));
        assert!(!proves(&Slp, C, &request[..request.len() - 1]));
        assert_eq!(hear_datagrams(&Slp, &[(C, &request), (S, REPLY)]).fits, [true, true]);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Slp);
    }
}
