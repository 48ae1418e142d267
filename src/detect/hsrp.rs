//! Hot Standby Router Protocol, version 0. <https://www.rfc-editor.org/rfc/rfc2281#section-5.1>
//!
//! The password is in clear in every message; `cisco` is the default and no secret.
use super::grammar::{Grammar, Learnt, Message, Place, Read, UDP, demand, info};
use super::{Directions, Facts};
use crate::{
    bytes::Cursor,
    detect::Info,
    model::{Credentials, Side},
};

pub(super) struct Hsrp;

impl Grammar for Hsrp {
    const INFO: &'static Info = &INFO;
    const LEARN_BYTES: usize = 64;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(c.u8()? == 0 && c.u8()? <= 2 && matches!(c.u8()?, 0 | 1 | 2 | 4 | 8 | 16));
        let (hello, hold) = (c.u8()?, c.u8()?);
        c.skip(2)?;
        demand!(hello > 0 && hold > hello && c.u8()? == 0);
        let password = c.array::<8>()?;
        c.skip(4)?;
        // Text up to the zeros that fill it.
        let end = password.iter().position(|b| *b == 0).unwrap_or(8);
        let (text, fill) = password.split_at_checked(end).unwrap_or_default();
        demand!(!text.is_empty() && text.iter().all(u8::is_ascii_graphic));
        demand!(fill.iter().all(|b| *b == 0) && c.is_empty());
        let proof = if password == *DEFAULT { 64 } else { 34 };
        Ok(Some(Message::new(bytes.len(), proof, "hsrp.message", "version 0")))
    }

    fn learn(&self, _: &mut [u32; 6], _: Side, bytes: &[u8]) -> Learnt {
        let secret = bytes.get(8..16).is_some_and(|password| password != DEFAULT);
        let credentials = if secret { Credentials::PASSWORD_CLEARTEXT } else { Credentials::NONE };
        Learnt::facts(Facts { credentials, ..Facts::NONE })
    }
}

const DEFAULT: &[u8; 8] = b"cisco\0\0\0";

static INFO: Info = Info {
    midstream: true,
    credentials: Credentials::PASSWORD_CLEARTEXT,
    ..info(
        "hsrp",
        "Hot Standby Router Protocol",
        "https://www.rfc-editor.org/rfc/rfc2281",
        &[1985],
        UDP,
        Directions::Client,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, denies, hear_udp, probe_udp, proves_udp};
    use super::*;
    use crate::detect::Probe;
    use crate::model::Transport;

    const HELLO: &[u8] = b"\0\0\x10\x03\x0a\x64\x01\0cisco\0\0\0\x0a\0\0\x01";

    #[test]
    fn hellos_and_their_password() {
        proves_udp(&Hsrp, &[("hello", C, HELLO)]);
        let mut own = HELLO.to_vec();
        own[8..16].copy_from_slice(b"s3cret\0\0");
        assert_eq!(probe_udp(&Hsrp, C, &[&own]), Probe::More);
        assert!(matches!(probe_udp(&Hsrp, C, &[&own, &own]), Probe::Match(_)));
        assert_eq!(hear_udp(&Hsrp, &[(C, &own)]).credentials, Credentials::PASSWORD_CLEARTEXT);
        assert_eq!(hear_udp(&Hsrp, &[(C, HELLO)]).credentials, Credentials::NONE);
        let mut state = HELLO.to_vec();
        state[2] = 3;
        denies(&Hsrp, Transport::Udp, &[("state", &state), ("zeros", &[0; 20])]);
    }
}
