//! BACnet/IP: ASHRAE 135 annex J (BVLL) and clause 6 (NPDU). <https://bacnet.org/>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info, magic};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
};

pub(super) struct Bacnet;

impl Grammar for Bacnet {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, &[0x81])?);
        let (function, length) = (c.u8()?, usize::from(c.u16_be()?));
        demand!(length == bytes.len());
        let fixed = |bytes: usize| length == bytes.saturating_add(4);
        let (proof, constant) = match function {
            // Results and the tables of broadcast and foreign devices have no NPDU.
            0 => (if fixed(2) { 30 } else { 0 }, "BVLC-Result"),
            1 | 3 => (if c.left() % 10 == 0 { 26 } else { 0 }, "BVLC device table"),
            2 | 6 => (if fixed(0) { 28 } else { 0 }, "BVLC read table"),
            5 => (if fixed(2) { 30 } else { 0 }, "BVLC register device"),
            7 => (if c.left() % 10 == 0 { 26 } else { 0 }, "BVLC device table"),
            8 => (if fixed(6) { 28 } else { 0 }, "BVLC delete device"),
            4 | 9..=11 => {
                if function == 4 {
                    c.skip(6)?;
                }
                (npdu(&mut c)?.map_or(0, |proof| proof.saturating_add(28)), "BVLC 81, NPDU 01")
            }
            _ => return Ok(None),
        };
        demand!(proof > 0);
        Ok(Some(Message::new(length, proof, "bacnet.bvlc", constant)))
    }
}

/// The network layer's header, and the kind of message behind it; the proof in them.
fn npdu(c: &mut Cursor<'_>) -> Result<Option<u32>, Short> {
    let (version, control) = (c.u8()?, c.u8()?);
    demand!(version == 1 && control & 0x50 == 0);
    for present in [control & 0x20 != 0, control & 0x08 != 0] {
        if present {
            let (network, length) = (c.u16_be()?, usize::from(c.u8()?));
            demand!(network > 0 && length <= 7);
            c.skip(length)?;
        }
    }
    if control & 0x20 != 0 {
        c.skip(1)?;
    }
    if control & 0x80 != 0 {
        // A network layer message; 80 and up are the vendors' own.
        return Ok(matches!(c.u8()?, 0..=9 | 0x12 | 0x13).then_some(15));
    }
    let (kind, second) = (c.u8()?, c.u8()?);
    let sound = match kind {
        0x00..=0x0f => {
            // Confirmed request: invoke id and, if segmented, sequence and window stand before the service.
            c.skip(if kind & 8 != 0 { 3 } else { 1 })?;
            second & 0x80 == 0 && c.u8()? <= 34
        }
        0x10 => second <= 13,
        0x20 => c.u8()? <= 34,
        0x30..=0x3f => {
            c.skip(if kind & 8 != 0 { 2 } else { 0 })?;
            c.u8()? <= 34
        }
        0x40..=0x43 | 0x50 | 0x60 | 0x61 | 0x70 | 0x71 => true,
        _ => false,
    };
    Ok(sound.then_some(14))
}

static INFO: Info = Info {
    midstream: true,
    ..info("bacnet", "BACnet/IP", "https://bacnet.org/", &[47808], UDP, Directions::Either)
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, hear_udp, probe_udp, proves_udp};
    use super::*;
    use crate::detect::Probe;
    use crate::model::Transport;

    const READ: &[u8] = b"\x81\x0a\x00\x11\x01\x04\x00\x05\x01\x0c\x0c\x02\x3f\xff\xff\x19\x4b";
    const ACK: &[u8] =
        b"\x81\x0a\x00\x16\x01\x00\x30\x01\x0c\x0c\x02\x00\x00\x01\x19\x4b\x3e\xc4\x02\x00\x00\x01";
    const WHO_IS: &[u8] = b"\x81\x0b\x00\x0c\x01\x20\xff\xff\x00\xff\x10\x08";

    #[test]
    fn whole_messages() {
        let forwarded = b"\x81\x04\x00\x12\x0a\x00\x00\x01\xba\xc0\x01\x20\xff\xff\x00\xff\x10\x08";
        let cases: [(&str, _, &[u8]); 4] =
            [("read", C, READ), ("ack", S, ACK), ("who-is", C, WHO_IS), ("forward", C, forwarded)];
        proves_udp(&Bacnet, &cases);
        let register = b"\x81\x05\x00\x06\x00\x3c";
        assert_eq!(probe_udp(&Bacnet, C, &[register]), Probe::More, "six bytes are too few");
        assert!(matches!(probe_udp(&Bacnet, C, &[register, WHO_IS]), Probe::Match(_)));
        assert_eq!(hear_udp(&Bacnet, &[(C, READ), (S, ACK)]).fits, [true, true]);
    }

    #[test]
    fn flaws_are_not_bacnet() {
        denies(
            &Bacnet,
            Transport::Udp,
            &[
                ("length", b"\x81\x0b\x00\x0d\x01\x20\xff\xff\x00\xff\x10\x08"),
                ("function", b"\x81\x1b\x00\x0c\x01\x20\xff\xff\x00\xff\x10\x08"),
                ("network version", b"\x81\x0b\x00\x0c\x02\x20\xff\xff\x00\xff\x10\x08"),
                ("reserved bits", b"\x81\x0b\x00\x0c\x01\x70\xff\xff\x00\xff\x10\x08"),
                ("service", b"\x81\x0b\x00\x0c\x01\x20\xff\xff\x00\xff\x10\x0e"),
                ("SNMP type", b"\x82\x0b\x00\x0c\x01\x20\xff\xff\x00\xff\x10\x08"),
            ],
        );
    }
}
