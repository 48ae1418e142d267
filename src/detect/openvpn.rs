//! Session openings of `OpenVPN` over UDP and TCP. <https://openvpn.net/community-docs/>, `doc/doxygen/doc_protocol_overview.h`
//! (the wire protocol draft <https://openvpn.github.io/openvpn-rfc/openvpn-wire-protocol.html>).
//!
//! A hard reset names its opcode, key 0 and a session ID; then nothing (14 bytes), or a HMAC (tls-auth), or an
//! encrypted rest (tls-crypt): each of an exact length. TCP puts two bytes of length before each packet. Static key mode
//! looks like nothing, and data packets prove nothing.
use super::{
    Detector, Directions, Facts, FollowState, Info, Probe, Said, Start, Step, View,
    datagram::{Datagram, Proof, follow_each, looks_sealed, probe_first},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Side, Transport},
};

pub(super) struct Openvpn;

impl Detector for Openvpn {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_first(view, may_begin, |side, packet| {
            let constant = reset(side, packet).ok().flatten()?;
            let rule = match side {
                Side::Client => "openvpn.client_reset",
                Side::Server => "openvpn.server_reset",
            };
            Some(Proof { rule, constant, encryption: Encryption::OtherEncrypted })
        })
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let late = said.start == Start::Unknown;
        follow_each(state, side, said, None, |side, packet| {
            let opcode = packet.bytes.first().map(|first| first >> 3);
            let goes_on = matches!(opcode, Some(CONTROL | ACK | WRAPPED_CLIENT_KEY));
            let opens = reset(side, packet).is_ok_and(|found| found.is_some());
            let accepted = side == Side::Server;
            (opens || goes_on || late).then_some(Facts { accepted, ..Facts::FITS })
        })
    }
}

/// Whether what is there of a packet may be a reset: opcode and size.
fn may_begin(side: Side, packet: &Datagram<'_>) -> bool {
    let wrapped = (WRAPPED_MIN..=WRAPPED_MAX).contains(&packet.declared) && side == Side::Client;
    let bare = size(side, packet.declared).is_some();
    match packet.bytes.first() {
        None => wrapped || bare,
        Some(&CLIENT_V3) => wrapped,
        Some(first) => bare && opens(side, *first),
    }
}

const fn opens(side: Side, first: u8) -> bool {
    match side {
        Side::Client => matches!(first, CLIENT_V1 | CLIENT_V2 | CLIENT_V3),
        Side::Server => matches!(first, SERVER_V1 | SERVER_V2),
    }
}

/// How a reset is protected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    None,
    /// tls-auth: a HMAC of so many bytes.
    Hmac(usize),
    Crypt,
}

/// Guards that give a reset of `side` this length; the server's acknowledges one packet, and may add its early flags.
fn size(side: Side, length: usize) -> Option<&'static [Guard]> {
    let bare = match side {
        Side::Client => length,
        Side::Server => length.checked_sub(SERVER_EXTRA_BYTES)?,
    };
    GUARDS.iter().find(|(size, _)| *size == bare).map(|(_, guards)| *guards)
}

fn reset(side: Side, packet: &Datagram<'_>) -> Result<Option<&'static str>, Short> {
    let mut cursor = Cursor::new(packet.bytes);
    let first = cursor.u8()?;
    if !opens(side, first) {
        return Ok(None);
    }
    if cursor.u64_be()? == 0 {
        return Ok(None);
    }
    if first == CLIENT_V3 {
        return wrapped_key(packet, cursor);
    }
    let mut guards = size(side, packet.declared).unwrap_or_default();
    if guards.is_empty() && first == SERVER_V2 {
        let early = packet.declared.saturating_sub(EARLY_FLAGS_BYTES);
        guards = size(side, early).unwrap_or_default();
    }
    for guard in guards {
        if let Some(constant) = guarded(side, *guard, cursor)? {
            return Ok(Some(constant));
        }
    }
    Ok(None)
}

/// What follows the session ID.
fn guarded(
    side: Side,
    guard: Guard,
    mut cursor: Cursor<'_>,
) -> Result<Option<&'static str>, Short> {
    let constant = match guard {
        Guard::None => "hard reset",
        Guard::Hmac(bytes) => {
            let hmac = cursor.take(bytes)?;
            if !looks_sealed(hmac) || !stamped(&mut cursor)? {
                return Ok(None);
            }
            "hard reset, tls-auth"
        }
        Guard::Crypt => {
            let stamped = stamped(&mut cursor)?;
            let sealed = looks_sealed(cursor.rest());
            return Ok((stamped && sealed).then_some("hard reset, tls-crypt"));
        }
    };
    let acknowledged = usize::from(cursor.u8()?);
    let fits = match side {
        Side::Client => acknowledged == 0,
        // The client's first packet, and the session it opened.
        Side::Server => acknowledged == 1 && cursor.u32_be()? == 0 && cursor.u64_be()? != 0,
    };
    Ok((fits && cursor.u32_be()? == 0).then_some(constant))
}

/// The replay protection of a first packet: number one (perhaps with the early negotiation mark), and a time.
fn stamped(cursor: &mut Cursor<'_>) -> Result<bool, Short> {
    let (number, time) = (cursor.u32_be()?, cursor.u32_be()?);
    let first =
        number & 0x00ff_ffff <= RESENT_MAX && number & 0x00ff_ffff > 0 && number >> 24 <= 0x0f;
    Ok(first && (TIME_MIN..TIME_MAX).contains(&time))
}

/// tls-crypt-v2: the client's key, wrapped, follows with its own length at its end.
fn wrapped_key(
    packet: &Datagram<'_>,
    mut cursor: Cursor<'_>,
) -> Result<Option<&'static str>, Short> {
    if !(WRAPPED_MIN..=WRAPPED_MAX).contains(&packet.declared) {
        return Ok(None);
    }
    let (number, time) = (cursor.u32_be()?, cursor.u32_be()?);
    let Some((_, length)) = packet.bytes.split_last_chunk::<2>() else { return Err(Short) };
    let wrapped = usize::from(u16::from_be_bytes(*length));
    let rest = packet.declared.checked_sub(CRYPT_BYTES);
    let fits = rest == Some(wrapped)
        || rest.and_then(|r| r.checked_sub(EARLY_FLAGS_BYTES)) == Some(wrapped);
    let stamped = number >> 24 <= 0x0f && (TIME_MIN..TIME_MAX).contains(&time);
    let sealed = cursor.rest().get(..32).is_some_and(looks_sealed);
    Ok((fits && stamped && sealed).then_some("hard reset, tls-crypt-v2"))
}

const CLIENT_V1: u8 = 1 << 3;
const SERVER_V1: u8 = 2 << 3;
const CONTROL: u8 = 4;
const ACK: u8 = 5;
const CLIENT_V2: u8 = 7 << 3;
const SERVER_V2: u8 = 8 << 3;
const CLIENT_V3: u8 = 10 << 3;
const WRAPPED_CLIENT_KEY: u8 = 11;
/// Lengths of a client's reset, by the digest of tls-auth, which is of the administrator's choosing.
const GUARDS: [(usize, &[Guard]); 7] = [
    (14, &[Guard::None]),
    (38, &[Guard::Hmac(16)]),
    (42, &[Guard::Hmac(20)]),
    (50, &[Guard::Hmac(28)]),
    (54, &[Guard::Hmac(32), Guard::Crypt]),
    (70, &[Guard::Hmac(48)]),
    (86, &[Guard::Hmac(64)]),
];
/// Packet number acknowledged, and the client's session ID.
const SERVER_EXTRA_BYTES: usize = 12;
/// Type, length and value of the flags that early negotiation adds.
const EARLY_FLAGS_BYTES: usize = 6;
const CRYPT_BYTES: usize = 54;
const WRAPPED_MIN: usize = 54 + 290;
const WRAPPED_MAX: usize = 54 + 1024;
/// A reset is sent again while nobody answers.
const RESENT_MAX: u32 = 64;
/// Years 2001 to 2100.
const TIME_MIN: u32 = 0x3a4f_c880;
const TIME_MAX: u32 = 0xf486_5700;

static INFO: Info = Info {
    name: "openvpn",
    title: "OpenVPN",
    spec: "https://openvpn.github.io/openvpn-rfc/openvpn-wire-protocol.html",
    ports: &[1194],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::{hear, probe_side},
        datagram::tests::{never_matches_noise, noise, probe, rule, said},
    };

    const STAMP: &[u8] = b"\0\0\0\x01\x65\0\0\0";

    fn client(guard: &[&[u8]]) -> Vec<u8> {
        [b"\x38SESSIONc", &guard.concat()[..], b"\0\0\0\0\0"].concat()
    }

    fn server(guard: &[&[u8]]) -> Vec<u8> {
        [b"\x40SESSIONs", &guard.concat()[..], b"\x01\0\0\0\0SESSIONc\0\0\0\0"].concat()
    }

    fn crypt(first: u8, rest: usize) -> Vec<u8> {
        [&[first], &b"SESSIONx"[..], STAMP, &noise(rest)].concat()
    }

    #[test]
    fn resets_of_every_kind_match_from_their_side_on_both_transports() {
        let (sha1, sha512) = (noise(20), noise(64));
        let wrapped = [&crypt(0x50, 37)[..], &noise(298), &300_u16.to_be_bytes()].concat();
        let cases: [(&str, Vec<u8>, Side); 9] = [
            ("hard reset", client(&[]), Side::Client),
            ("hard reset, tls-auth", client(&[&sha1, STAMP]), Side::Client),
            ("hard reset, tls-auth", client(&[&sha512, STAMP]), Side::Client),
            ("hard reset, tls-crypt", crypt(0x38, 37), Side::Client),
            ("hard reset, tls-crypt-v2", wrapped, Side::Client),
            ("hard reset", server(&[]), Side::Server),
            ("hard reset, tls-auth", server(&[&sha1, STAMP]), Side::Server),
            ("hard reset, tls-crypt", crypt(0x40, 49), Side::Server),
            ("hard reset, tls-crypt", crypt(0x40, 55), Side::Server),
        ];
        for (what, packet, side) in cases {
            let (client, server) =
                (probe(&Openvpn, &[&packet], &[]), probe(&Openvpn, &[], &[&packet]));
            let (mine, other) =
                if side == Side::Client { (client, server) } else { (server, client) };
            assert_eq!(rule(mine).map(|(_, constant)| constant), Some(what));
            assert_eq!(other, Probe::No, "{what} from the other side");
            if packet.len() != 72 {
                assert_eq!(rule(probe_side(&Openvpn, side, &said(&[&packet]))), rule(mine), "TCP");
            }
        }
    }

    #[test]
    fn look_alikes_and_flaws_do_not_match() {
        let key_1 = [b"\x39", &client(&[])[1..]].concat();
        let acknowledging = [&client(&[])[..9], b"\x01\0\0\0\0"].concat();
        let cases: [&[u8]; 8] = [
            &key_1,
            &acknowledging,
            &client(&[])[..13],
            &client(&[&[0; 20], STAMP]),
            &client(&[&noise(20), b"\0\0\0\x01\0\0\0\0"]),
            b"\x38\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"8 bytes of text and more text, so that it has the length of one..",
            b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0",
        ];
        for packet in cases {
            assert_eq!(probe(&Openvpn, &[packet], &[]), Probe::No, "{packet:02x?}");
            assert_eq!(probe(&Openvpn, &[], &[packet]), Probe::No, "{packet:02x?}");
        }
        for bytes in
            [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\0\x01", b"\0\0\0\x08\x04\xd2\x16\x2f"]
        {
            assert_eq!(probe_side(&Openvpn, Side::Client, bytes), Probe::No);
        }
        never_matches_noise(&Openvpn, &[0x38, 0x40, 0x50, 0x08, 0x10]);
    }

    #[test]
    fn an_answer_establishes_and_another_protocol_does_not() {
        let open = said(&[&client(&[])]);
        let heard =
            hear(&Openvpn, &[(Side::Client, &open), (Side::Server, &said(&[&server(&[])]))]);
        assert_eq!(
            (heard.encryption, heard.fits),
            (Some(Encryption::OtherEncrypted), [true, true])
        );
        let heard = hear(&Openvpn, &[(Side::Client, &open), (Side::Server, b"\0\x06HTTP/1")]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
    }
}
