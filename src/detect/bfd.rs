//! Bidirectional Forwarding Detection control packets. <https://www.rfc-editor.org/rfc/rfc5880#section-4.1>
use super::grammar::{Grammar, Learnt, Message, Place, Read, UDP, demand, info};
use super::{Directions, Facts};
use crate::{
    bytes::Cursor,
    detect::Info,
    model::{Credentials, Side},
};

pub(super) struct Bfd;

impl Grammar for Bfd {
    const INFO: &'static Info = &INFO;
    const LEARN_BYTES: usize = 64;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let (first, flags, multiplier, length) = (c.u8()?, c.u8()?, c.u8()?, usize::from(c.u8()?));
        // Version 1; the multipoint bit is reserved; so many diagnostics there are.
        demand!(first >> 5 == 1 && first & 0x1f <= 9 && flags & 1 == 0 && multiplier > 0);
        let authenticated = flags & 4 != 0;
        demand!(length == bytes.len() && if authenticated { length > 26 } else { length == 24 });
        let (mine, its) = (c.u32_be()?, c.u32_be()?);
        // Whoever is up has heard the other.
        demand!(mine != 0 && (its != 0 || matches!(flags >> 6, 0 | 1)));
        let mut proof = 22_u32;
        for _ in 0..3 {
            // Microseconds, in practice whole milliseconds up to a minute.
            let interval = c.u32_be()?;
            demand!(interval <= 60_000_000 && interval % 1000 == 0);
            proof = proof.saturating_add(if interval == 0 { 2 } else { 12 });
        }
        if authenticated {
            let (kind, declared) = (c.u8()?, usize::from(c.u8()?));
            demand!(matches!(kind, 1..=5) && declared == length.saturating_sub(24));
            proof = proof.saturating_add(8);
        }
        Ok(Some(Message::new(length, proof, "bfd.control", "version 1")))
    }

    fn learn(&self, _: &mut [u32; 6], _: Side, bytes: &[u8]) -> Learnt {
        let credentials = match bytes.get(24) {
            Some(1) => Credentials::PASSWORD_CLEARTEXT,
            Some(2..=5) => Credentials::PASSWORD_HASH_CHALLENGE,
            _ => Credentials::NONE,
        };
        Learnt::facts(Facts { credentials, ..Facts::NONE })
    }
}

static INFO: Info = Info {
    midstream: true,
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
    ..info(
        "bfd",
        "Bidirectional Forwarding Detection",
        "https://www.rfc-editor.org/rfc/rfc5880",
        &[3784, 4784],
        UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, hear_udp, proves_udp};
    use super::*;
    use crate::model::Transport;

    const DOWN: &[u8] = b"\x20\x40\x03\x18\0\0\0\x01\0\0\0\0\0\x0f\x42\x40\0\x0f\x42\x40\0\0\0\0";

    #[test]
    fn control_packets() {
        let mut up = DOWN.to_vec();
        (up[1], up[11]) = (0xc4, 7);
        up[3] = 33;
        up.extend_from_slice(b"\x01\x09\x01secret");
        proves_udp(&Bfd, &[("down", C, DOWN), ("up, with a password", S, &up)]);
        let heard = hear_udp(&Bfd, &[(C, DOWN), (S, &up)]);
        assert_eq!(
            (heard.fits, heard.credentials),
            ([true, true], Credentials::PASSWORD_CLEARTEXT)
        );
        let (mut mine, mut odd) = (DOWN.to_vec(), DOWN.to_vec());
        (mine[7], odd[15]) = (0, 0x41);
        let longer = [DOWN, b"x"].concat();
        let cases: [(&str, &[u8]); 3] =
            [("nobody", &mine), ("interval", &odd), ("longer", &longer)];
        denies(&Bfd, Transport::Udp, &cases);
    }
}
