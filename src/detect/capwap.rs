//! Control and Provisioning of Wireless Access Points. <https://www.rfc-editor.org/rfc/rfc5415#section-4>
//!
//! Discovery is in clear; behind a preamble of its own, everything else is DTLS.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info, model::Encryption};

pub(super) struct Capwap;

impl Grammar for Capwap {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        match c.u8()? {
            0 => clear(&mut c, bytes.len()),
            1 => {
                demand!(magic(&mut c, &[0, 0, 0])?);
                demand!(
                    matches!(c.u8()?, 20..=23) && c.u8()? == 0xfe && matches!(c.u8()?, 0xfd | 0xff)
                );
                c.skip(8)?;
                let length = usize::from(c.u16_be()?);
                demand!(length > 0 && length <= c.left());
                let message = Message::new(bytes.len(), 56, "capwap.dtls", "preamble 1, DTLS");
                Ok(Some(message.with(Some(Encryption::Dtls))))
            }
            _ => Ok(None),
        }
    }
}

/// A control message: header of 8 bytes or more, type of the IETF's, sequence, length, flags.
fn clear(c: &mut Cursor<'_>, whole: usize) -> Read {
    let first = c.u8()?;
    let header = usize::from(first >> 3).saturating_mul(4);
    demand!((8..=24).contains(&header));
    c.skip(header.saturating_sub(2))?;
    demand!(magic(c, &[0, 0, 0])? && matches!(c.u8()?, 1..=26));
    c.skip(1)?;
    // It counts its own two bytes and the flags too.
    let length = usize::from(c.u16_be()?);
    demand!(c.u8()? == 0 && length == c.left().saturating_add(3));
    // Elements, one behind the other to the end.
    demand!(!c.is_empty());
    while !c.is_empty() {
        let (kind, size) = (c.u16_be()?, c.u16_be()?);
        demand!(matches!(kind, 1..=60 | 1024..=1060 | 2048..=2100));
        c.skip(usize::from(size))?;
    }
    Ok(Some(Message::new(whole, 60, "capwap.control", "CAPWAP control")))
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "capwap",
        "CAPWAP",
        "https://www.rfc-editor.org/rfc/rfc5415",
        &[5246, 5247],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, probe_udp, proves_udp};
    use super::*;
    use crate::detect::Probe;
    use crate::model::Transport;

    const REQUEST: &[u8] = b"\0\x10\x02\0\0\0\0\0\0\0\0\x01\0\0\x08\0\0\x14\0\x01\x01";
    const DTLS: &[u8] = b"\x01\0\0\0\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x04\x01\0\0\x10";

    #[test]
    fn discovery_is_clear_and_the_rest_is_dtls() {
        proves_udp(&Capwap, &[("discovery", C, REQUEST), ("DTLS", S, DTLS)]);
        let Probe::Match(found) = probe_udp(&Capwap, C, &[DTLS]) else { panic!("no match") };
        assert_eq!(found.encryption, Some(Encryption::Dtls));
        denies(&Capwap, Transport::Udp, &[("DTLS alone", &DTLS[4..]), ("version 1", &[0x10; 24])]);
    }
}
