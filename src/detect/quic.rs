//! QUIC long headers. <https://www.rfc-editor.org/rfc/rfc9000#section-17.2>, RFC 9369 (version 2), RFC 8999.
//!
//! A known version, connection IDs of a legal size and a length that agrees with the datagram prove it; the handshake
//! reader then opens the Initial packets. Short headers prove nothing, so a flow joined later cannot be told. Google's
//! own QUIC is known by its version and the tag of its client hello.
use super::{Datagrams, Detector, Directions, Info, Match, Probe, Said, View};
use crate::{
    bytes::{Cursor, Short, holds},
    model::{
        Credentials, Encryption, Mark, Side, Transport,
        quic::{
            FIXED, INITIAL_DATAGRAM_BYTES_MIN, LONG, LongHeader, LongType, QuicVersion, varint,
        },
    },
};

pub(super) struct Quic;

impl Detector for Quic {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Udp {
            return Probe::No;
        }
        let Some(client) = Datagram::first(view.client) else {
            return Datagram::first(view.server).map_or(Probe::More, |d| d.judge(Side::Server));
        };
        match client.judge(Side::Client) {
            Probe::No if client.may_be_negotiated() => negotiated(&client, view),
            answer => answer,
        }
    }
}

/// The first datagram of a side, perhaps not all of it.
struct Datagram<'a> {
    bytes: &'a [u8],
    declared: usize,
}

impl<'a> Datagram<'a> {
    fn first(said: Said<'a>) -> Option<Self> {
        let mut cursor = Cursor::new(said.bytes);
        let declared = usize::from(cursor.u16_be().ok()?);
        let bytes = cursor.rest();
        Some(Self { bytes: bytes.get(..declared).unwrap_or(bytes), declared })
    }

    fn judge(&self, side: Side) -> Probe {
        match self.constant(side) {
            Ok(Some(constant)) => {
                let rule = match side {
                    Side::Client => "quic.client",
                    Side::Server => "quic.server",
                };
                let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
                let mark = Mark { rule, side, offset: 2, length, constant };
                Match::encrypted(Encryption::Quic, mark)
            }
            Err(Short) if self.bytes.len() < self.declared => Probe::More,
            _ => Probe::No,
        }
    }

    /// Name of the version, if all that can be checked fits.
    fn constant(&self, side: Side) -> Result<Option<&'static str>, Short> {
        let constant = google(self.bytes)?;
        if constant.is_some() {
            return Ok(constant.filter(|_| side == Side::Client));
        }
        let Some(header) = LongHeader::read(self.bytes, self.declared)? else { return Ok(None) };
        let negotiation = header.kind == LongType::Negotiation;
        Ok(match (header.kind, side) {
            _ if !header.fixed && !negotiation => None,
            (LongType::Initial, Side::Client) if header.destination.is_empty() => None,
            (LongType::Initial, Side::Client) if self.is_first_flight(&header) => None,
            (LongType::Initial, _) if header.destination.is_empty() && header.source.is_empty() => {
                None
            }
            (LongType::Initial | LongType::ZeroRtt | LongType::Handshake, _) => {
                header.version.name().filter(|_| self.ends_well(&header))
            }
            (LongType::Retry, Side::Server) => {
                let body = self.declared.saturating_sub(header.number_at);
                header
                    .version
                    .name()
                    .filter(|_| body > RETRY_TAG_BYTES && !header.source.is_empty())
            }
            (LongType::Negotiation, Side::Server) => {
                let list = self.bytes.get(header.number_at..).unwrap_or_default();
                offered(list).filter(|_| self.declared == self.bytes.len())
            }
            _ => None,
        })
    }

    /// Whether the first packet ends where the datagram does, or in front of another packet or of zeros.
    fn ends_well(&self, header: &LongHeader<'_>) -> bool {
        if header.end > self.declared {
            // A copy that was cut.
            return self.bytes.len() >= CUT_BYTES_MIN && header.end <= DATAGRAM_BYTES_MAX;
        }
        let rest = self.bytes.get(header.end..).unwrap_or_default();
        match rest.first() {
            None => true,
            Some(0) => rest.iter().all(|byte| *byte == 0),
            Some(first) if first & LONG != 0 => {
                let next = LongHeader::read(rest, self.declared.saturating_sub(header.end));
                next.map_or(true, |next| next.is_some_and(|next| next.version == header.version))
            }
            Some(first) => first & FIXED != 0,
        }
    }

    /// Whether it is the server's hello, and the beginning of what follows it: a client with a Handshake packet to send has
    /// no more than an acknowledgement for its Initial packet.
    fn is_first_flight(&self, header: &LongHeader<'_>) -> bool {
        let rest = self.bytes.get(header.end..).unwrap_or_default();
        let next = LongHeader::read(rest, self.declared.saturating_sub(header.end));
        let handshake = matches!(next, Ok(Some(next)) if next.kind == LongType::Handshake);
        handshake && header.end.saturating_sub(header.number_at) >= SERVER_HELLO_BYTES_MIN
    }

    /// What stays the same in every long header of a client before it is answered: version and connection IDs.
    fn connection(&self) -> Option<(u32, &'a [u8], &'a [u8])> {
        let header = LongHeader::read(self.bytes, self.declared).ok()??;
        Some((header.version.0, header.destination, header.source))
    }

    /// Whether, after the connection IDs, a token and a length lead to the end as in version 1's Initial packets.
    fn is_filled(&self) -> bool {
        let Ok(Some(header)) = LongHeader::read(self.bytes, self.declared) else { return false };
        let mut cursor = Cursor::new(self.bytes);
        let rest = cursor.skip(header.number_at);
        let token = rest.and_then(|()| varint(&mut cursor)).and_then(|n| cursor.skip(n));
        let length = token.and_then(|()| varint(&mut cursor));
        header.fixed && length.is_ok_and(|n| cursor.at().saturating_add(n) == self.declared)
    }

    /// Whether it may be the Initial of a version we do not know; the server's list would prove it.
    fn may_be_negotiated(&self) -> bool {
        let Ok(Some(header)) = LongHeader::read(self.bytes, self.declared) else { return false };
        let unknown = header.version.is_reserved() || matches!(header.version.0, 2..=0xffff);
        header.kind == LongType::Other
            && unknown
            && header.destination.len() >= FIRST_ID_BYTES_MIN
            && self.declared >= INITIAL_DATAGRAM_BYTES_MIN
    }
}

/// The client began with a version we do not know: did the server answer with its own, or the client try another?
fn negotiated(client: &Datagram<'_>, view: &View<'_>) -> Probe {
    let answers = |list: &LongHeader<'_>| {
        LongHeader::read(client.bytes, client.declared).is_ok_and(|own| {
            own.is_some_and(|own| own.source == list.destination && own.destination == list.source)
        })
    };
    if let Some(server) = Datagram::first(view.server) {
        let whole = server.bytes.len() == server.declared;
        return match LongHeader::read(server.bytes, server.declared) {
            Ok(Some(list)) if list.kind == LongType::Negotiation && answers(&list) => {
                let (rule, side) = ("quic.negotiation", Side::Server);
                let length = u32::try_from(server.bytes.len()).unwrap_or(u32::MAX);
                let constant = "Version Negotiation";
                let mark = Mark { rule, side, offset: 2, length, constant };
                Match::encrypted(Encryption::Quic, mark)
            }
            Err(Short) if !whole => Probe::More,
            _ => Probe::No,
        };
    }
    if let Some(answer) = repeated(client, view.client) {
        return answer;
    }
    let mut later: Datagrams<'_> = view.client.datagrams();
    match later.nth(1) {
        Some(bytes) => Datagram { bytes, declared: bytes.len() }.judge(Side::Client),
        None => Probe::More,
    }
}

/// The Initial of a version we do not know, said again: the same connection IDs stay (RFC 8999), and in both the token and
/// the length lead to the end of the datagram. `None`: the second datagram is something else.
fn repeated(client: &Datagram<'_>, said: Said<'_>) -> Option<Probe> {
    let second = said.bytes.get(client.declared.saturating_add(2)..).unwrap_or_default();
    let Some(second) = Datagram::first(Said { bytes: second, ..said }) else {
        return Some(Probe::More);
    };
    let same = second.connection().is_some() && second.connection() == client.connection();
    if !(same && client.is_filled() && second.is_filled()) {
        return None;
    }
    let length = u32::try_from(client.bytes.len()).unwrap_or(u32::MAX);
    let constant = "same connection IDs";
    let mark = Mark { rule: "quic.repeated", side: Side::Client, offset: 2, length, constant };
    Some(Match::encrypted(Encryption::Quic, mark))
}

/// A version we know, in the list of a Version Negotiation packet (RFC 9000 section 17.2.1).
fn offered(list: &[u8]) -> Option<&'static str> {
    let (versions, rest) = list.as_chunks::<4>();
    let known = |version: &[u8; 4]| QuicVersion(u32::from_be_bytes(*version)).name();
    rest.is_empty().then(|| versions.iter().find_map(known)).flatten()
}

/// Google QUIC up to Q049: its version, behind the connection ID or (from Q044 on) before it, and `CHLO` soon after.
fn google(bytes: &[u8]) -> Result<Option<&'static str>, Short> {
    let mut cursor = Cursor::new(bytes);
    let first = cursor.u8()?;
    match first {
        // Public flags: version, a connection ID of eight bytes; no reset.
        0..LONG if first & 0b1011 == 0b1001 => cursor.skip(8)?,
        0xc0.. => {}
        _ => return Ok(None),
    }
    let [q, zero, tens, ones] = cursor.array()?;
    let Some((_, constant)) = GOOGLE.iter().find(|(version, _)| *version == [tens, ones]) else {
        return Ok(None);
    };
    if [q, zero] != *b"Q0" {
        return Ok(None);
    }
    let hello = cursor.take(cursor.left().min(HELLO_WITHIN))?;
    Ok(holds(hello, b"CHLO").then_some(*constant))
}

const GOOGLE: [([u8; 2], &str); 16] = [
    (*b"24", "Q024"),
    (*b"25", "Q025"),
    (*b"30", "Q030"),
    (*b"33", "Q033"),
    (*b"34", "Q034"),
    (*b"35", "Q035"),
    (*b"36", "Q036"),
    (*b"37", "Q037"),
    (*b"38", "Q038"),
    (*b"39", "Q039"),
    (*b"41", "Q041"),
    (*b"42", "Q042"),
    (*b"43", "Q043"),
    (*b"44", "Q044"),
    (*b"46", "Q046"),
    (*b"48", "Q048"),
];
/// Packet number, hash and the header of one stream frame.
const HELLO_WITHIN: usize = 64;
const SERVER_HELLO_BYTES_MIN: usize = 90;
const RETRY_TAG_BYTES: usize = 16;
/// A client's first destination is at least this long (RFC 9000 section 7.2).
const FIRST_ID_BYTES_MIN: usize = 8;
const CUT_BYTES_MIN: usize = 64;
const DATAGRAM_BYTES_MAX: usize = 1500;

static INFO: Info = Info {
    name: "quic",
    title: "QUIC",
    spec: "https://www.rfc-editor.org/rfc/rfc9000",
    ports: &[443, 853, 784],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Start;

    /// Datagrams behind their lengths.
    fn said(datagrams: &[&[u8]]) -> Vec<u8> {
        let each = |d: &&[u8]| [&u16::try_from(d.len()).unwrap().to_be_bytes()[..], d].concat();
        datagrams.iter().flat_map(each).collect()
    }

    fn probe(client: &[&[u8]], server: &[&[u8]]) -> Probe {
        let (client, server) = (said(client), said(server));
        let said = |bytes| Said { bytes, start: Start::Known };
        Quic.probe(&View::new(Transport::Udp, said(&client), said(&server)))
    }

    fn rule(probe: Probe) -> Option<(&'static str, &'static str)> {
        match probe {
            Probe::Match(found) => Some((found.mark.rule, found.mark.constant)),
            _ => None,
        }
    }

    /// First byte, version, connection IDs of 8 and 4 bytes, no token, and a length that fills `size`.
    fn initial(first: u8, version: u32, size: usize) -> Vec<u8> {
        let mut packet = vec![first];
        packet.extend(version.to_be_bytes());
        packet.extend(b"\x08AAAAAAAA\x04BBBB\x00");
        let length = u16::try_from(size - packet.len() - 2).unwrap() | 0x4000;
        packet.extend(length.to_be_bytes());
        packet.resize(size, 0x5a);
        packet
    }

    #[test]
    fn long_headers_of_known_versions_prove_the_side_that_sends_them() {
        let v1 = initial(0xc3, 1, 1200);
        let zero_rtt = [&b"\xd0\0\0\0\x01\x08AAAAAAAA\0\x40\x20"[..], &[1; 32]].concat();
        let handshake = [&b"\xe0\0\0\0\x01\x00\x04BBBB\x40\x20"[..], &[1; 32]].concat();
        let retry = [&b"\xf0\0\0\0\x01\x04BBBB\x04CCCCtoken"[..], &[1; 16]].concat();
        let list: &[u8] = b"\x80\0\0\0\0\x04BBBB\x08AAAAAAAA\x1a\x2a\x3a\x4a\0\0\0\x01";
        let coalesced = [&initial(0xc3, 1, 100)[..], &handshake].concat();
        let flight = [&initial(0xc3, 1, 130)[..], &handshake].concat();
        let padded = [&initial(0xc3, 1, 100)[..], &[0; 1100]].concat();
        let short = [&initial(0xc3, 1, 100)[..], b"\x4aABCDEF"].concat();
        let cases: [(&str, &[u8], bool, bool); 13] = [
            ("version 1", &v1, true, true),
            ("version 2", &initial(0xd3, 0x6b33_43cf, 1200), true, true),
            ("draft 29", &initial(0xc3, 0xff00_001d, 1200), true, true),
            ("mvfst", &initial(0xc3, 0xface_b002, 1200), true, true),
            ("early data", &zero_rtt, true, true),
            ("handshake", &handshake, true, true),
            ("retry", &retry, false, true),
            ("version negotiation", list, false, true),
            ("coalesced", &coalesced, true, true),
            ("a server's first flight", &flight, false, true),
            ("padded", &padded, true, true),
            ("and a short header", &short, true, true),
            ("a copy cut at 200 bytes", &v1[..200], true, true),
        ];
        for (what, bytes, client, server) in cases {
            assert_eq!(rule(probe(&[bytes], &[])).is_some(), client, "client {what}");
            assert_eq!(rule(probe(&[], &[bytes])).is_some(), server, "server {what}");
            assert_ne!(probe(&[bytes], &[]), Probe::More, "{what}");
        }
    }

    #[test]
    fn flaws_and_look_alikes_are_not_quic() {
        let good = initial(0xc3, 1, 1200);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let trailing = [&initial(0xc3, 1, 100)[..], b"\x00\x01"].concat();
        let cases: [(&str, &[u8]); 9] = [
            ("no fixed bit", &with(0, 0x83)),
            ("unknown version", &initial(0xc3, 0x0102_0304, 1200)),
            ("draft 21", &initial(0xc3, 0xff00_0015, 1200)),
            ("connection ID of 21 bytes", &with(5, 21)),
            ("length of nothing", &with(20, 0)),
            ("bytes after the end", &trailing),
            ("short header", &[0x40; 1200]),
            ("STUN", b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"),
            ("DNS", b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01"),
        ];
        for (what, bytes) in cases {
            assert_eq!(probe(&[bytes], &[]), Probe::No, "{what}");
            assert_eq!(probe(&[], &[bytes]), Probe::No, "{what} from the server");
        }
        assert_eq!(probe(&[b"GET / HTTP/1.1\r\n\r\n"], &[&good]), Probe::No, "client's own words");
    }

    #[test]
    fn an_unknown_version_is_proven_by_the_answer_to_it() {
        let unknown = initial(0xc7, 0x1a2a_3a4a, 1200);
        let list: &[u8] = b"\xf5\0\0\0\0\x04BBBB\x08AAAAAAAA\x7a\x7a\x7a\x7a\x0f\x0f\x0f\x0f";
        let other: &[u8] = b"\xf5\0\0\0\0\x04BBBB\x08AAAAAAAX\x7a\x7a\x7a\x7a\x0f\x0f\x0f\x0f";
        assert_eq!(probe(&[&unknown], &[]), Probe::More);
        let found = rule(probe(&[&unknown], &[list]));
        assert_eq!(found, Some(("quic.negotiation", "Version Negotiation")));
        assert_eq!(probe(&[&unknown], &[other]), Probe::No, "of another connection");
        assert_eq!(probe(&[&unknown], &[b"what?"]), Probe::No);
        let again = initial(0xc7, 1, 1200);
        assert_eq!(rule(probe(&[&unknown, &again], &[])), Some(("quic.client", "version 1")));
        assert_eq!(probe(&[&unknown[..900]], &[]), Probe::No, "too small for an Initial");
    }

    #[test]
    fn an_unknown_version_is_proven_by_saying_the_same_again() {
        for version in [2, 0x1a2a_3a4a] {
            let unknown = initial(0xc7, version, 1200);
            let (first, mut other) = (said(&[&unknown, &unknown]), unknown.clone());
            let found = rule(probe(&[&unknown, &unknown], &[]));
            assert_eq!(found, Some(("quic.repeated", "same connection IDs")), "{version}");
            let cut = Said { bytes: &first[..2048], start: Start::Known };
            let cut = Quic.probe(&View::new(Transport::Udp, cut, Said::NOTHING));
            assert!(rule(cut).is_some(), "as much as is shown of two datagrams");
            other[8] = b'X';
            assert_eq!(probe(&[&unknown, &other], &[]), Probe::No, "another connection");
            let unfilled = [&unknown[..], b"\0"].concat();
            assert_eq!(probe(&[&unfilled, &unfilled], &[]), Probe::No, "a length that ends early");
        }
    }

    #[test]
    fn google_quic_is_known_by_its_version_and_hello() {
        let hash = [0x77; 12];
        let old = [b"\x0dCONNIDCIQ043\x01", &hash[..], b"\xa0\x01\x10\x04CHLO\x09\0\0\0PAD\0"];
        let new = [b"\xc3Q046\x50CONNIDCI\0\0\0\x01", &hash[..], b"\xa0\x01\x10\x04CHLO\x09\0\0\0"];
        assert_eq!(rule(probe(&[&old.concat()], &[])), Some(("quic.client", "Q043")));
        assert_eq!(rule(probe(&[&new.concat()], &[])), Some(("quic.client", "Q046")));
        assert_eq!(probe(&[&old.concat()[..26]], &[]), Probe::No, "no hello");
        assert_eq!(probe(&[b"\x0dCONNIDCIQ099\x01............CHLO"], &[]), Probe::No);
    }

    #[test]
    fn random_datagrams_never_match() {
        let mut seed = 0x9_u64;
        let mut bytes = [0_u8; 1202];
        for round in 0..20_000_usize {
            for chunk in bytes.chunks_mut(4) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chunk.copy_from_slice(&((seed >> 32) as u32).to_be_bytes()[..chunk.len()]);
            }
            bytes[0] |= 0xc0;
            let length = 40 + round % 1160;
            assert_eq!(probe(&[&bytes[..length]], &[]), Probe::No);
            assert_eq!(probe(&[], &[&bytes[..length]]), Probe::No);
        }
    }
}
