//! `OpenWire`, the native protocol of `ActiveMQ`. <https://activemq.apache.org/components/classic/documentation/openwire-version-2-specification>
//!
//! Both sides begin with a `WireFormatInfo`: length, type 1, magic, version. Later commands depend on what it negotiated.
use super::fit::{Fit, begins, either, mark, openings};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Start, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) struct Openwire;

impl Detector for Openwire {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        either(view, |side, said| match wire_format(side, said) {
            // What follows the opening has no constants.
            Ok(None) if said.start == Start::Unknown => Ok(None),
            fit => fit,
        })
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        openings(state, side, said, &wire_format(side, said))
    }
}

fn wire_format(side: Side, said: Said<'_>) -> Fit {
    let mut c = Cursor::new(said.bytes);
    if !begins(said.bytes, b"\0\0")? {
        return Ok(None);
    }
    let length = c.u32_be()?;
    if !(WIRE_FORMAT_BYTES_MIN..=WIRE_FORMAT_BYTES_MAX).contains(&length) {
        return Ok(None);
    }
    if !begins(c.rest(), b"\x01ActiveMQ\0\0\0")? {
        return Ok(None);
    }
    c.skip(12)?;
    let sane = (1..=VERSION_MAX).contains(&c.u8()?);
    Ok(sane.then(|| mark("openwire.wire-format", side, 0, c.at(), "ActiveMQ")))
}

const WIRE_FORMAT_BYTES_MIN: u32 = 13;
const WIRE_FORMAT_BYTES_MAX: u32 = 4096;
const VERSION_MAX: u8 = 32;

static INFO: Info = Info {
    name: "openwire",
    title: "OpenWire (ActiveMQ)",
    spec: "https://activemq.apache.org/components/classic/documentation/openwire-version-2-specification",
    ports: &[61616],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::check::{hear, probe_side},
        model::PlaintextReason,
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const OPENING: &[u8] = b"\0\0\x01\x12\x01ActiveMQ\0\0\0\x0c\x01\0\0\x01\0\0\0\x0c";

    #[test]
    fn either_side_begins_with_its_wire_format() {
        for side in [C, S] {
            assert!(matches!(probe_side(&Openwire, side, OPENING), Probe::Match(_)));
            for bytes in [
                &b"\0\0\x01\x12\x01ActiveMQ\0\0\0\0"[..],
                b"\0\0\x01\x12\x02ActiveMQ\0\0\0\x0c",
                b"\0\0\0\x08\x01ActiveMQ\0\0\0\x0c",
                b"\0\0\0\x08\x04\xd2\x16\x2f",
                b"\x16\x03\x01\x02\x00",
            ] {
                assert!(!matches!(probe_side(&Openwire, side, bytes), Probe::Match(_)));
            }
        }
        let heard = hear(&Openwire, &[(S, OPENING), (C, OPENING)]);
        assert_eq!(heard.fits, [true, true]);
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        let heard = hear(&Openwire, &[(C, OPENING), (S, b"AMQP\x03\x01\x00\x00")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
