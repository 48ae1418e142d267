//! GTP signalling of mobile networks. 3GPP TS 29.060 (GTPv1-C), TS 29.274 (GTPv2-C), TS 29.281 (GTP-U's own messages).
//!
//! Version, a known message type and a length that is the datagram's; then information elements that end with it exactly.
//! User packets are taken out of GTP-U before detection.
use super::{
    Detector, Directions, Facts, FollowState, Info, Probe, Said, Step, View,
    datagram::{Datagram, Proof, follow_each, probe_first},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Gtp;

impl Detector for Gtp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Udp {
            return Probe::No;
        }
        probe_first(
            view,
            |_, _| true,
            |_, datagram| {
                let constant = message(datagram).ok().flatten()?;
                Some(Proof { rule: "gtp.message", constant, encryption: Encryption::Plaintext })
            },
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let reason = Some(PlaintextReason::NoInBandUpgrade);
        follow_each(state, side, said, reason, |side, datagram| {
            let fits = message(datagram).is_ok_and(|found| found.is_some());
            fits.then_some(Facts { accepted: side == Side::Server, ..Facts::FITS })
        })
    }
}

/// Version of a message whose elements fill the datagram.
fn message(datagram: &Datagram<'_>) -> Result<Option<&'static str>, Short> {
    let mut cursor = Cursor::new(datagram.bytes);
    let (flags, kind) = (cursor.u8()?, cursor.u8()?);
    let length = usize::from(cursor.u16_be()?);
    match flags {
        0x30 | 0x32 if length.saturating_add(8) == datagram.declared => {
            cursor.skip(4)?;
            let echo = kind == 1 || kind == 2;
            if flags == 0x32 {
                // Sequence number; N-PDU number and extension are not there.
                cursor.u16_be()?;
                if cursor.u16_be()? != 0 {
                    return Ok(None);
                }
            }
            let known =
                matches!(kind, 1..=3 | 16..=31 | 48..=62 | 96..=106 | 112..=122 | 128..=129);
            let told = !cursor.is_empty() || kind == 1 && flags == 0x32;
            let fits = known && told && elements_v1(&mut cursor, echo)?;
            Ok(fits.then_some("GTPv1"))
        }
        0x40 | 0x48 if length.saturating_add(4) == datagram.declared => {
            let tunnel = flags == 0x48;
            cursor.skip(if tunnel { 8 } else { 4 })?;
            let known = match kind {
                1..=3 => !tunnel,
                32..=41 | 64..=73 | 95..=103 | 128..=142 | 149..=180 | 200..=201 | 211..=212 => {
                    tunnel
                }
                _ => false,
            };
            Ok((known && elements_v2(&mut cursor)? > 0).then_some("GTPv2"))
        }
        _ => Ok(None),
    }
}

/// Type, value of a fixed size; or from type 128 on type, length, value. In ascending order of type.
fn elements_v1(cursor: &mut Cursor<'_>, echo: bool) -> Result<bool, Short> {
    let mut last = 0;
    while !cursor.is_empty() {
        let kind = cursor.u8()?;
        let size = match kind {
            1 | 8 | 11 | 13..=15 | 19..=21 | 23 | 24 | 29 => 1,
            25..=28 => 2,
            12 => 3,
            4 | 5 | 16 | 17 | 127 => 4,
            18 => 5,
            3 => 6,
            2 => 8,
            22 => 9,
            9 => 28,
            128.. => usize::from(cursor.u16_be()?),
            _ => return Ok(false),
        };
        cursor.skip(size)?;
        let allowed = !echo || matches!(kind, 14 | 255);
        if kind < last || !allowed {
            return Ok(false);
        }
        last = kind;
    }
    Ok(true)
}

/// Type, length, instance, value; returns how many there are, zero if they do not fit.
fn elements_v2(cursor: &mut Cursor<'_>) -> Result<usize, Short> {
    let mut count = 0_usize;
    while !cursor.is_empty() {
        let (kind, length, instance) = (cursor.u8()?, cursor.u16_be()?, cursor.u8()?);
        if kind == 0 || instance > 0x0f {
            return Ok(0);
        }
        cursor.skip(usize::from(length))?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

static INFO: Info = Info {
    name: "gtp",
    title: "GPRS Tunnelling Protocol, signalling",
    spec: "https://www.3gpp.org/dynareport/29274.htm",
    ports: &[2123, 2152],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::datagram::tests::{never_matches_noise, probe, rule};

    #[test]
    fn messages_whose_elements_fill_the_datagram_match() {
        let cases: [(&[u8], &str); 5] = [
            (b"\x32\x01\0\x04\0\0\0\0\0\x07\0\0", "GTPv1"),
            (b"\x32\x02\0\x06\0\0\0\0\0\x07\0\0\x0e\x01", "GTPv1"),
            (b"\x30\x1a\0\x05\0\0\0\0\x10\0\0\0\x01", "GTPv1"),
            (b"\x40\x01\0\x09\0\0\x01\0\x03\0\x01\0\x05", "GTPv2"),
            (b"\x48\x20\0\x0e\0\0\0\0\0\0\x01\0\x52\0\x02\0\x06\x07", "GTPv2"),
        ];
        for (datagram, constant) in cases {
            assert_eq!(rule(probe(&Gtp, &[datagram], &[])), Some(("gtp.message", constant)));
            assert_eq!(rule(probe(&Gtp, &[], &[datagram])), Some(("gtp.message", constant)));
        }
    }

    #[test]
    fn flaws_look_alikes_and_noise_do_not_match() {
        let cases: [&[u8]; 7] = [
            b"\x32\x01\0\x05\0\0\0\0\0\x07\0\0",
            b"\x32\x01\0\x04\0\0\0\0\0\x07\0\x01",
            b"\x32\x02\0\x06\0\0\0\0\0\x07\0\0\x0f\x01",
            b"\x40\x01\0\x09\0\0\x01\0\x03\0\x02\0\x05",
            b"\x40\x04\0\x09\0\0\x01\0\x03\0\x01\0\x05",
            b"\x40\x01\0\x04\0\0\x01\0",
            b"220 ftp ready\r\n",
        ];
        for datagram in cases {
            assert_eq!(probe(&Gtp, &[datagram], &[]), Probe::No, "{datagram:02x?}");
        }
        never_matches_noise(&Gtp, &[0x30, 0x32, 0x40, 0x48]);
    }
}
