//! L2TP control messages and the PPP they lead to. <https://www.rfc-editor.org/rfc/rfc2661#section-3>, RFC 3931 (version 3).
//!
//! A control message has its length, version and sequence numbers, and begins with the Message Type AVP. Without IPsec all
//! of it is in clear, the PPP login too.
use super::{
    Detector, Directions, Facts, FollowState, Info, Probe, Said, Step, View,
    datagram::{Datagram, Proof, follow_each, probe_first},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct L2tp;

impl Detector for L2tp {
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
                let constant = control(datagram).ok().flatten()?;
                Some(Proof { rule: "l2tp.control", constant, encryption: Encryption::Plaintext })
            },
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let reason = Some(PlaintextReason::NoInBandUpgrade);
        follow_each(state, side, said, reason, |side, datagram| {
            let accepted = side == Side::Server;
            if control(datagram).is_ok_and(|found| found.is_some()) || is_empty_ack(datagram) {
                return Some(Facts { accepted, ..Facts::FITS });
            }
            let credentials = ppp_login(Cursor::new(datagram.bytes)).ok().flatten()?;
            Some(Facts { credentials, ..Facts::FITS })
        })
    }
}

/// Version of a control message with a Message Type AVP at its head.
fn control(datagram: &Datagram<'_>) -> Result<Option<&'static str>, Short> {
    let mut cursor = Cursor::new(datagram.bytes);
    let constant = match cursor.u16_be()? {
        0xc802 => "L2TP version 2",
        0xc803 => "L2TP version 3",
        _ => return Ok(None),
    };
    let length = usize::from(cursor.u16_be()?);
    // Tunnel and session, or one control connection; then the sequence numbers.
    cursor.skip(8)?;
    let [flags, size, vendor @ .., high, low] = cursor.array::<8>()?;
    let kind = u16::from_be_bytes([high, low]);
    let message_type = matches!(flags, 0 | 0x80) && size == 8 && vendor == [0; 4];
    let known = matches!(kind, 1..=29);
    Ok((length == datagram.declared && message_type && known).then_some(constant))
}

/// An acknowledgement without a message.
fn is_empty_ack(datagram: &Datagram<'_>) -> bool {
    matches!(datagram.bytes, [0xc8, 2 | 3, 0, 12, ..]) && datagram.declared == 12
}

/// A login in the PPP frame of a data message: PAP (RFC 1334) or CHAP (RFC 1994).
fn ppp_login(mut cursor: Cursor<'_>) -> Result<Option<Credentials>, Short> {
    let flags = cursor.u16_be()?;
    if flags & T_AND_VERSION != 0x0002 {
        return Ok(None);
    }
    // Length, if there; tunnel and session; sequence numbers, if there.
    cursor.skip(if flags & 0x4000 != 0 { 6 } else { 4 })?;
    cursor.skip(if flags & 0x0800 != 0 { 4 } else { 0 })?;
    if flags & 0x0200 != 0 {
        let padding = cursor.u16_be()?;
        cursor.skip(usize::from(padding))?;
    }
    let mut protocol = cursor.u16_be()?;
    if protocol == 0xff03 {
        protocol = cursor.u16_be()?;
    }
    Ok(match (protocol, cursor.u8()?) {
        (0xc023, 1) => Some(Credentials::PASSWORD_CLEARTEXT),
        (0xc223, 2) => Some(Credentials::PASSWORD_HASH_CHALLENGE),
        // Any other PPP frame: LCP, IPCP, IP and their like.
        (0xc021 | 0xc023 | 0xc223 | 0x8021 | 0x8057 | 0x80fd | 0x0021 | 0x0057, _) => {
            Some(Credentials::NONE)
        }
        _ => None,
    })
}

const T_AND_VERSION: u16 = 0x800f;

static INFO: Info = Info {
    name: "l2tp",
    title: "Layer Two Tunneling Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc2661",
    ports: &[1701],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::Heard,
        datagram::tests::{never_matches_noise, probe, rule, said},
    };

    /// SCCRQ: a message type, and a protocol version.
    fn request(version: u8) -> Vec<u8> {
        let mut bytes = vec![0xc8, version, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(b"\x80\x08\0\0\0\0\0\x01\x80\x08\0\0\0\x02\x01\0");
        bytes
    }

    #[test]
    fn a_control_message_proves_either_side() {
        for (version, constant) in [(2, "L2TP version 2"), (3, "L2TP version 3")] {
            let expected = Some(("l2tp.control", constant));
            assert_eq!(rule(probe(&L2tp, &[&request(version)], &[])), expected);
            assert_eq!(rule(probe(&L2tp, &[], &[&request(version)])), expected);
        }
        let mut long = request(2);
        long.push(0);
        let mut other = request(2);
        other[19] = 99;
        for wrong in [long, other, request(4), request(2)[..20].to_vec(), vec![0xc8, 2, 0, 4]] {
            assert_eq!(probe(&L2tp, &[&wrong], &[]), Probe::No);
        }
        never_matches_noise(&L2tp, &[0xc8]);
    }

    #[test]
    fn ppp_logins_in_data_messages_are_credentials() {
        let mut state = FollowState::default();
        let mut heard = Heard::default();
        let pap = b"\x40\x02\0\x1a\0\x01\0\x01\xff\x03\xc0\x23\x01\x01\0\x0e\x04user\x04word";
        let chap = b"\x00\x02\0\x01\0\x01\xc2\x23\x02\x01\0\x04";
        for datagram in [&request(2)[..], pap, chap] {
            let bytes = said(&[datagram]);
            let said = Said { bytes: &bytes, start: crate::detect::Start::Known };
            let step = L2tp.follow(&mut state, Side::Client, said);
            assert_eq!(step.consumed, bytes.len());
            heard.credentials = heard.credentials.with(step.facts.credentials);
        }
        assert_eq!(heard.credentials, INFO.credentials);
    }
}
