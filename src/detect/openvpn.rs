//! Session openings of `OpenVPN` over UDP and TCP. <https://openvpn.net/community-docs/>, `doc/doxygen/doc_protocol_overview.h`
//! (the wire protocol draft <https://openvpn.github.io/openvpn-rfc/openvpn-wire-protocol.html>).
//!
//! A hard reset names its opcode, key 0 and a session ID; then nothing (14 bytes), or a HMAC (tls-auth), or an
//! encrypted rest (tls-crypt): each of an exact length. TCP puts two bytes of length before each packet. A session joined
//! late is told by two packets of it. Static key mode looks like nothing.
use super::{
    Detector, Directions, Facts, FollowState, Info, Probe, Said, Start, Step, View,
    datagram::{Datagram, Proof, follow_each, heads, looks_sealed, probe_first},
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
        let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
        let said = view.side(side);
        if said.start == Start::Unknown {
            return late(view);
        }
        let reset = probe_first(view, may_begin, begun);
        match reset {
            Probe::No if view.transport == Transport::Udp => running(side, said),
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let late = said.start == Start::Unknown;
        follow_each(state, side, said, None, |side, packet| {
            let opcode = packet.bytes.first().map(|first| first >> 3);
            let goes_on = matches!(opcode, Some(CONTROL | ACK | WRAPPED_CLIENT_KEY));
            let opens = reset(side, packet).is_ok_and(|found| found.is_some());
            let accepted = side == Side::Server;
            let data = is_data(packet.bytes);
            (opens || goes_on || data || late).then_some(Facts { accepted, ..Facts::FITS })
        })
    }
}

/// A whole reset.
fn begun(side: Side, packet: &Datagram<'_>) -> Option<Proof> {
    let constant = reset(side, packet).ok().flatten()?;
    let rule = match side {
        Side::Client => "openvpn.client_reset",
        Side::Server => "openvpn.server_reset",
    };
    Some(Proof { rule, constant, encryption: Encryption::OtherEncrypted })
}

/// Joined late: either side tells, where the other stands within a packet, or has sent too few.
fn late(view: &View<'_>) -> Probe {
    let [client, server] = [Side::Client, Side::Server].map(|side| {
        let said = view.side(side);
        match heads(said).next().filter(Datagram::is_whole) {
            Some(first) => match begun(side, &first) {
                Some(proof) => first.matched(side, proof),
                None => running(side, said),
            },
            None => running(side, said),
        }
    });
    match (client, server) {
        (Probe::Match(_), _) => client,
        (_, Probe::Match(_)) | (Probe::No, _) => server,
        _ => client,
    }
}

/// Whether a packet of a session known by its others may be one of data: the number of the peer may be any.
fn is_data(packet: &[u8]) -> bool {
    match packet {
        [first, _, _, _, a, b, c, d, sealed @ ..] if first >> 3 == DATA_V2 => {
            let counter = u32::from_be_bytes([*a, *b, *c, *d]);
            counter < COUNTER_MAX && sealed.get(..16).is_some_and(looks_sealed)
        }
        _ => false,
    }
}

/// Joined late: two control packets of one session, or two data packets of one peer whose counters grow.
fn running(side: Side, said: Said<'_>) -> Probe {
    let mut before: Option<(Datagram<'_>, Packet)> = None;
    for packet in heads(said).take(PACKETS_READ_MAX) {
        let read = match Packet::read(&packet) {
            Ok(Some(read)) => read,
            Err(Short) if !packet.is_whole() => return Probe::More,
            _ => return Probe::No,
        };
        match before {
            // Sent again, it proves nothing.
            Some((first, Packet::Control { .. })) if first.bytes == packet.bytes => {}
            Some((first, known)) if known.is_followed_by(read) => {
                let (rule, constant) = ("openvpn.session", "packets of one session");
                let encryption = Encryption::OtherEncrypted;
                return first.matched(side, Proof { rule, constant, encryption });
            }
            // One of control between those of data, or the other way.
            Some((_, known)) if known.is_control() != read.is_control() => {}
            Some(_) => return Probe::No,
            None if carries_tls(&packet).unwrap_or(false) => {
                let (rule, constant) = ("openvpn.control", "P_CONTROL_V1, TLS");
                let encryption = Encryption::OtherEncrypted;
                return packet.matched(side, Proof { rule, constant, encryption });
            }
            None => before = Some((packet, read)),
        }
    }
    let room = heads(said).nth(PACKETS_READ_MAX).is_none();
    if room { Probe::More } else { Probe::No }
}

/// Whether a whole control packet carries the beginning of a TLS record, in clear or behind a HMAC.
fn carries_tls(packet: &Datagram<'_>) -> Result<bool, Short> {
    let mut cursor = Cursor::new(packet.bytes);
    if !packet.is_whole() || cursor.u8()? != CONTROL << 3 {
        return Ok(false);
    }
    cursor.skip(8)?;
    let tls = |mut cursor: Cursor<'_>, guard: usize| {
        cursor.skip(guard)?;
        let acknowledged = usize::from(cursor.u8()?);
        if acknowledged > ACKNOWLEDGED_MAX {
            return Ok(false);
        }
        for _ in 0..acknowledged {
            if cursor.u32_be()? > NUMBER_MAX {
                return Ok(false);
            }
        }
        cursor.skip(if acknowledged > 0 { 8 } else { 0 })?;
        let number = cursor.u32_be()?;
        let [kind, major, minor] = cursor.array()?;
        Ok(number <= NUMBER_MAX && matches!(kind, 20..=23) && major == 3 && minor <= 4)
    };
    Ok(TLS_BEHIND.iter().any(|guard| tls(cursor, *guard) == Ok::<_, Short>(true)))
}

/// What the head of a packet within a session says.
#[derive(Clone, Copy)]
enum Packet {
    Control { session: u64 },
    Data { peer: u32, counter: u32 },
}

impl Packet {
    fn read(packet: &Datagram<'_>) -> Result<Option<Self>, Short> {
        let sized = (PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&packet.declared);
        if !sized {
            return Ok(None);
        }
        let mut cursor = Cursor::new(packet.bytes);
        let first = cursor.peek()?;
        match first >> 3 {
            CONTROL | ACK if first & KEY_BITS == 0 => {
                cursor.skip(1)?;
                let session = cursor.array::<8>()?;
                let text = session.iter().all(|byte| matches!(byte, 0 | b' '..=b'~'));
                let found = Self::Control { session: u64::from_be_bytes(session) };
                Ok((!text && !is_bfd(packet) && is_varied(session)).then_some(found))
            }
            DATA_V2 => {
                let (peer, counter) = (cursor.u32_be()?, cursor.u32_be()?);
                let number = peer & 0x00ff_ffff;
                let sealed = cursor.take(16)?;
                let fits = (number <= PEER_MAX || number == PEER_NONE) && looks_sealed(sealed);
                Ok((fits && counter < COUNTER_MAX).then_some(Self::Data { peer, counter }))
            }
            _ => Ok(None),
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Control { .. })
    }

    fn is_followed_by(self, next: Self) -> bool {
        match (self, next) {
            (Self::Control { session }, Self::Control { session: again }) => session == again,
            (Self::Data { peer, counter }, Self::Data { peer: again, counter: next }) => {
                let ahead = next.checked_sub(counter);
                peer == again && ahead.is_some_and(|n| (1..=COUNTERS_NEAR).contains(&n))
            }
            _ => false,
        }
    }
}

/// Whether the head is one of Bidirectional Forwarding Detection: version 1, flags, multiplier, and its own length.
fn is_bfd(packet: &Datagram<'_>) -> bool {
    let length = packet.bytes.get(3).copied().map(usize::from);
    length == Some(packet.declared) && packet.declared <= BFD_BYTES_MAX
}

/// Random, and so hardly counts or zeros.
fn is_varied(session: [u8; 8]) -> bool {
    let new = |(at, byte)| !session.iter().take(at).any(|before| before == byte);
    session.iter().enumerate().filter(|pair| new(*pair)).count() >= VARIED_MIN
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
    if !is_varied(cursor.array()?) {
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
const DATA_V2: u8 = 9;
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
/// Head, tag and at least some bytes; more than an Ethernet frame only without fragments.
const PACKET_BYTES_MIN: usize = 22;
const PACKET_BYTES_MAX: usize = 2048;
const PACKETS_READ_MAX: usize = 8;
/// Nothing, or a HMAC with a packet number and a time.
const TLS_BEHIND: [usize; 7] = [0, 24, 28, 36, 40, 56, 72];
const ACKNOWLEDGED_MAX: usize = 8;
const NUMBER_MAX: u32 = 0xffff;
const KEY_BITS: u8 = 7;
/// With authentication (RFC 5880 section 4.1).
const BFD_BYTES_MAX: usize = 64;
const VARIED_MIN: usize = 6;
const PEER_MAX: u32 = 0xffff;
const PEER_NONE: u32 = 0x00ff_ffff;
const COUNTER_MAX: u32 = 1 << 28;
const COUNTERS_NEAR: u32 = 8;
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
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::{hear, hear_from, probe_side},
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
    fn a_session_joined_late_is_told_by_two_packets() {
        let control = |first: u8| [&[first], &b"\x90ession\xff"[..], &noise(40)].concat();
        let data = |counter: u8| [&[0x48, 0, 0, 3, 0, 0, 0, counter][..], &noise(40)].concat();
        let expected = Some(("openvpn.session", "packets of one session"));
        let (one, two) = (control(0x20), control(0x28));
        for pair in [[&one, &two], [&data(7), &data(8)]] {
            assert_eq!(rule(probe(&Openvpn, &[pair[0], pair[1]], &[])), expected);
            let bytes = said(&[pair[0], pair[1]]);
            let late = hear_from(&Openvpn, &[(Side::Server, &bytes)], Start::Unknown);
            assert!(late.matched.is_some(), "TCP");
        }
        assert!(rule(probe(&Openvpn, &[&one, &data(7), &two], &[])).is_some(), "between them");
        assert_eq!(probe(&Openvpn, &[&data(7), &data(7)], &[]), Probe::No);
        let tls = [&one[..9], b"\x00\0\0\0\x01\x16\x03\x01", &noise(40)].concat();
        let found = rule(probe(&Openvpn, &[&tls], &[]));
        assert_eq!(found, Some(("openvpn.control", "P_CONTROL_V1, TLS")), "one that carries TLS");
        let dns = b"\x20\x11\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";
        assert_eq!(probe(&Openvpn, &[&dns[..], dns], &[]), Probe::No, "a query sent again");
        assert_eq!(probe(&Openvpn, &[&one, &one], &[]), Probe::More, "sent again");
        let bfd = |echo| {
            [&b"\x20\x40\x03\x18\x6a\xc1\0\xd0\0\0\0\0\0\x0f\x42\x40\0\x0f\x42\x40\0\0"[..], echo]
                .concat()
        };
        assert_eq!(probe(&Openvpn, &[&bfd(b"\0\0"), &bfd(b"\xc3\x50")], &[]), Probe::No, "BFD");
        let text = b"HTTP/1.1 200 OK and so on until it is long enough";
        assert_eq!(probe(&Openvpn, &[&text[..], text], &[]), Probe::No);
    }

    #[test]
    fn late_over_tcp_each_side_may_tell() {
        let late = |lines: &[(Side, &[u8])]| hear_from(&Openvpn, lines, Start::Unknown).rules;
        let (client, server) = (said(&[&client(&[])]), said(&[&server(&[])]));
        assert_eq!(late(&[(Side::Client, &client)]), ["openvpn.client_reset"]);
        assert_eq!(late(&[(Side::Server, &server)]), ["openvpn.server_reset"]);
        // The ClientHello was sent before it was watched, or only its tail was seen.
        let hello = [&b"\x20\x90ession\xff\x00\0\0\0\x01\x16\x03\x03"[..], &noise(40)].concat();
        let (tail, hello) = (noise(60), said(&[&hello]));
        for other in [&tail[..], b"\0\x10\x28"] {
            let lines = [(Side::Client, other), (Side::Server, &hello)];
            assert_eq!(late(&lines), ["openvpn.control"]);
        }
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
        let data = [&b"\x48\xa0\xf3\xda\0\0\0\x01"[..], &noise(32)].concat();
        let heard = hear(&Openvpn, &[(Side::Client, &open), (Side::Server, &said(&[&data]))]);
        assert_eq!(heard.fits, [true, true], "data of a peer of any number");
        let heard = hear(&Openvpn, &[(Side::Client, &open), (Side::Server, b"\0\x06HTTP/1")]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
    }
}
