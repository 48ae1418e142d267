//! Bitcoin peer-to-peer messages. <https://developer.bitcoin.org/reference/p2p_networking.html>
//!
//! The later transport (BIP 324) is random from its first byte and is not told.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, size};
use crate::{bytes::Cursor, detect::Info};

pub(super) struct Bitcoin;

impl Grammar for Bitcoin {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let seen = bytes.len().min(4);
        demand!(NETWORKS.iter().any(|n| n.get(..seen) == bytes.get(..seen)));
        c.skip(4)?;
        let command = c.array::<12>()?;
        let end = command.iter().position(|b| *b == 0).unwrap_or(12);
        let (name, fill) = command.split_at_checked(end).unwrap_or_default();
        demand!(
            !name.is_empty()
                && name.iter().all(u8::is_ascii_alphanumeric)
                && fill.iter().all(|b| *b == 0)
        );
        demand!(!place.opening || name == b"version");
        let length = c.u32_le()?;
        demand!(length <= PAYLOAD_BYTES_MAX);
        Ok(Some(Message::new(
            size(length).saturating_add(24),
            72,
            "bitcoin.message",
            "network magic",
        )))
    }
}

/// Main, test (3, 4), signet and regression networks.
const NETWORKS: [&[u8; 4]; 5] = [
    b"\xf9\xbe\xb4\xd9",
    b"\x0b\x11\x09\x07",
    b"\x1c\x16\x3f\x28",
    b"\x0a\x03\xcf\x40",
    b"\xfa\xbf\xb5\xda",
];
const PAYLOAD_BYTES_MAX: u32 = 4_000_000;

static INFO: Info = Info {
    midstream: true,
    ..info(
        "bitcoin",
        "Bitcoin P2P",
        "https://developer.bitcoin.org/reference/p2p_networking.html",
        &[8333, 18333],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    #[test]
    fn peers_say_their_version() {
        let version =
            [&b"\xf9\xbe\xb4\xd9version\0\0\0\0\0\x04\0\0\0\x01\x02\x03\x04"[..], &[7; 4]].concat();
        proves_tcp(&Bitcoin, &[("client", C, &version), ("server", S, &version)]);
        converses(&Bitcoin, &[(C, &version), (S, &version)]);
        let mut name = version.clone();
        name[12] = b'x';
        denies(&Bitcoin, Transport::Tcp, &[("name", &name), ("network", &version[1..])]);
    }
}
