//! TLS record layer and `SSLv2` hello. RFC 8446 section 5.1, RFC 5246 section 6.2.1, RFC 6101 appendix E.
//!
//! Either side may open: in FTP active mode the side that accepted the TCP connection is the TLS client.
use super::{Detector, Directions, Info, Match, Probe, Said, Start, View, lines};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Mark, Side, Transport, tls::RecordHeader},
};

pub(super) struct Tls;

impl Detector for Tls {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        match hear(view.client, Side::Client) {
            Heard::Tls(proof) => proof.found(Side::Client),
            Heard::Other => Probe::No,
            Heard::Unsure => Probe::More,
            Heard::Opaque => match hear(view.server, Side::Server) {
                Heard::Tls(proof) => proof.found(Side::Server),
                _ if view.ended => one_record(view),
                _ => one_record_each(view),
            },
        }
    }
}

/// What one side's bytes are, taken alone.
#[derive(Clone, Copy, Debug)]
enum Heard {
    Tls(Proof),
    /// Another protocol, whatever follows.
    Other,
    /// More of this side must come before the other side may decide.
    Unsure,
    /// Says nothing: empty, or joined within a record.
    Opaque,
}

#[derive(Clone, Copy, Debug)]
struct Proof {
    rule: &'static str,
    constant: &'static str,
    offset: usize,
    length: usize,
}

impl Proof {
    fn found(self, side: Side) -> Probe {
        let Self { rule, constant, .. } = self;
        let offset = u32::try_from(self.offset).unwrap_or(u32::MAX);
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        Match::encrypted(Encryption::Tls, Mark { rule, side, offset, length, constant })
    }

    const fn at(self, offset: usize) -> Self {
        Self { offset, ..self }
    }
}

fn hear(said: Said<'_>, side: Side) -> Heard {
    if said.bytes.is_empty() {
        return Heard::Opaque;
    }
    match (opening(said.bytes, side), said.start) {
        (Ok(Some(proof)), Start::Known) => Heard::Tls(proof),
        (Ok(Some(proof)), Start::Unknown) if proof.rule != ALERT_RULE => Heard::Tls(proof),
        (Ok(None), Start::Known) => Heard::Other,
        (Err(Short), Start::Known) => Heard::Unsure,
        (_, Start::Unknown) => midstream(said.bytes),
    }
}

/// A side's first message, from its first byte. `Ok(None)`: not TLS.
fn opening(bytes: &[u8], side: Side) -> Result<Option<Proof>, Short> {
    match bytes.first() {
        Some(&RecordHeader::HANDSHAKE) => hello(bytes),
        Some(&RecordHeader::ALERT) if side == Side::Server => alert(bytes),
        Some(0x80..) => sslv2_hello(bytes),
        Some(_) => Ok(None),
        None => Err(Short),
    }
}

/// `ClientHello` or `ServerHello` up to its version field, which may lie in as many records as it has bytes.
fn hello(bytes: &[u8]) -> Result<Option<Proof>, Short> {
    let mut cursor = Cursor::new(bytes);
    let mut head = [0_u8; HELLO_HEAD];
    let mut left = 0_u16;
    let mut joined = 0_usize;
    for slot in &mut head {
        if left == 0 {
            let Some(length) = handshake_record(&mut cursor)? else { return Ok(None) };
            left = length;
            joined = joined.saturating_add(usize::from(length));
        }
        *slot = cursor.u8()?;
        left = left.saturating_sub(1);
    }
    let [kind, a, b, c, major, minor] = head;
    let length = u32::from_be_bytes([0, a, b, c]);
    let version = u16::from_be_bytes([major, minor]);
    let proof = match kind {
        1 if matches!(version, 0x0300..=0x0304) => CLIENT_HELLO,
        2 if matches!(version, 0x0300..=0x0304 | 0x7e01..=0x7e03 | 0x7f0e..=0x7f1c) => SERVER_HELLO,
        _ => return Ok(None),
    };
    let sane = (HELLO_LENGTH_MIN..=HELLO_LENGTH_MAX).contains(&length);
    // Nothing of the client's can follow its hello in the same record.
    let ends = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(4);
    let alone = kind == 2 || joined <= ends;
    Ok((sane && alone).then_some(Proof { length: cursor.at(), ..proof }))
}

/// Header of a clear handshake record: its length, or `None` as soon as one byte does not fit.
fn handshake_record(cursor: &mut Cursor<'_>) -> Result<Option<u16>, Short> {
    let fits = |b: Result<u8, Short>, ok: fn(u8) -> bool| b.map(ok);
    if !fits(cursor.u8(), |b| b == RecordHeader::HANDSHAKE)?
        || !fits(cursor.u8(), |b| b == 3)?
        || !fits(cursor.u8(), |b| b <= 4)?
    {
        return Ok(None);
    }
    let length = cursor.u16_be()?;
    Ok((1..=CLEAR_LENGTH_MAX).contains(&length).then_some(length))
}

/// A server that refuses at once. Seven bytes, each of them bound.
fn alert(bytes: &[u8]) -> Result<Option<Proof>, Short> {
    let mut cursor = Cursor::new(bytes);
    for allowed in [0x15..=0x15, 3..=3, 0..=4, 0..=0, 2..=2, 1..=2_u8] {
        if !allowed.contains(&cursor.u8()?) {
            return Ok(None);
        }
    }
    Ok(ALERTS.contains(&cursor.u8()?).then_some(Proof { length: cursor.at(), ..ALERT }))
}

/// `SSLv2` `CLIENT-HELLO` (also the form older clients open TLS with) or `SERVER-HELLO`; every length must add up.
fn sslv2_hello(bytes: &[u8]) -> Result<Option<Proof>, Short> {
    let mut cursor = Cursor::new(bytes);
    let length = usize::from(cursor.u16_be()? & 0x7fff);
    match cursor.u8()? {
        1 => {
            let version = cursor.u16_be()?;
            let [ciphers, session, challenge] =
                [cursor.u16_be()?, cursor.u16_be()?, cursor.u16_be()?].map(usize::from);
            let fits = matches!(version, 0x0002 | 0x0300..=0x0303)
                && ciphers > 0
                && ciphers.checked_rem(3) == Some(0)
                && matches!(session, 0 | 16)
                && (16..=32).contains(&challenge)
                && length == sum([9, ciphers, session, challenge]);
            Ok(fits.then_some(Proof { length: cursor.at(), ..SSLV2_CLIENT_HELLO }))
        }
        4 => {
            let [hit, kind] = cursor.array()?;
            let version = cursor.u16_be()?;
            let [certificate, ciphers, connection] =
                [cursor.u16_be()?, cursor.u16_be()?, cursor.u16_be()?].map(usize::from);
            let fits = hit <= 1
                && kind <= 1
                && version == 0x0002
                && ciphers.checked_rem(3) == Some(0)
                && (16..=32).contains(&connection)
                && length == sum([11, certificate, ciphers, connection]);
            Ok(fits.then_some(Proof { length: cursor.at(), ..SSLV2_SERVER_HELLO }))
        }
        _ => Ok(None),
    }
}

fn sum(lengths: [usize; 4]) -> usize {
    lengths.into_iter().fold(0, usize::saturating_add)
}

/// A side joined late. Two headers that meet prove TLS at the first byte, where a segment began (chance of random data
/// about 2^-46). So does the sealed alert that ends a session (2^-35). Behind the first byte it takes three headers of
/// application data (2^-70 for each place): handshakes are also carried inside other protocols (`OpenVPN`, TDS). A hello
/// behind the line (or XML) that announces it also counts; behind other lines it may be what an upload carries.
///
/// Never [`Heard::Other`]: a record of 16 KiB can hide its header from us for long.
fn midstream(bytes: &[u8]) -> Heard {
    if let Some(length) = chain(bytes, 2, RecordHeader::runs_on) {
        return Heard::Tls(Proof { length, ..RECORDS });
    }
    if let Some(length) = sealed_alert(bytes) {
        return Heard::Tls(Proof { length, ..SEALED_ALERT });
    }
    let text = is_text(bytes);
    let scanned = bytes.get(1..).unwrap_or_default();
    let scanned = scanned.get(..SCAN_BYTES_MAX).unwrap_or(scanned);
    // What follows may begin with these only.
    let (handshake, data) = (RecordHeader::HANDSHAKE, RecordHeader::APPLICATION_DATA);
    for at in memchr::memchr2_iter(handshake, data, scanned) {
        let offset = at.saturating_add(1);
        let (before, rest) = bytes.split_at_checked(offset).unwrap_or_default();
        if announces_tls(before)
            && let Ok(Some(proof)) = hello(rest)
        {
            return Heard::Tls(proof.at(offset));
        }
        if !text && let Some(length) = chain(rest, 3, is_data) {
            return Heard::Tls(Proof { length, ..RECORDS }.at(offset));
        }
    }
    // The other side's records prove nothing against a side that evidently talks in clear.
    if text { Heard::Unsure } else { Heard::Opaque }
}

/// Whether these bytes end with a line or an XML element that names TLS: `STARTTLS`, `AUTH TLS`, `STLS`, `<starttls/>`.
fn announces_tls(before: &[u8]) -> bool {
    let Some((b'\n' | b'>', line)) = before.split_last() else { return false };
    let start = line.len().saturating_sub(ANNOUNCEMENT_BYTES);
    let line = line.get(start..).unwrap_or(line);
    let line = line.rsplit(|b| matches!(b, b'\n' | b'<')).next().unwrap_or_default();
    lines::contains(line, b"TLS")
}

/// Length from the first to the end of the last of `links` record headers that meet.
fn chain(bytes: &[u8], links: u8, fits: fn(RecordHeader) -> bool) -> Option<usize> {
    let mut cursor = Cursor::new(bytes);
    let mut version = None;
    for link in 1..=links {
        let header = RecordHeader::read(cursor.array().ok()?).filter(|h| fits(*h))?;
        if *version.get_or_insert(header.version) != header.version {
            return None;
        }
        if link < links {
            cursor.skip(usize::from(header.length)).ok()?;
        }
    }
    Some(cursor.at())
}

/// Length of a whole protected alert at the first byte.
fn sealed_alert(bytes: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(bytes);
    let header = RecordHeader::read(cursor.array().ok()?).filter(|h| h.is_sealed_alert())?;
    cursor.skip(usize::from(header.length)).ok()?;
    Some(cursor.at())
}

/// Joined late, and all that one side ever said is one record of application data, from its first byte to its last (2^-40):
/// too short a one for the login of TDS, which may be the only thing sealed there.
fn one_record(view: &View<'_>) -> Probe {
    let whole = |said: Said<'_>| {
        let mut cursor = Cursor::new(said.bytes);
        let header = RecordHeader::read(cursor.array().ok()?).filter(|h| is_data(*h))?;
        let all = usize::from(header.length) == cursor.left()
            && (SEALED_BYTES_MIN..SEALED_LOGIN_BYTES_MIN).contains(&cursor.left());
        (all && said.start == Start::Unknown).then_some(cursor.at())
    };
    for side in [Side::Client, Side::Server] {
        if let Some(length) = whole(view.side(side)) {
            return Proof { length, ..RECORDS }.found(side);
        }
    }
    one_record_each(view)
}

/// Both sides joined late, and each begins with a header of application data of one version: as good as two in a chain.
fn one_record_each(view: &View<'_>) -> Probe {
    let first = |said: Said<'_>| {
        if said.start == Start::Known {
            return None;
        }
        let header = RecordHeader::read(Cursor::new(said.bytes).array().ok()?)?;
        is_data(header).then_some(header)
    };
    match (first(view.client), first(view.server)) {
        (Some(client), Some(server)) if client.version == server.version => {
            Proof { length: RecordHeader::BYTES, ..RECORDS }.found(Side::Client)
        }
        _ => Probe::More,
    }
}

fn is_data(header: RecordHeader) -> bool {
    header.runs_on() && header.kind == RecordHeader::APPLICATION_DATA
}

/// Whether the first bytes, as far as they go, are all text.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().take(TEXT_BYTES).all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~'))
}

const ALERT_RULE: &str = "tls.alert";
const CLIENT_HELLO: Proof = proof("tls.client-hello", "ClientHello");
const SERVER_HELLO: Proof = proof("tls.server-hello", "ServerHello");
const ALERT: Proof = proof(ALERT_RULE, "alert");
const RECORDS: Proof = proof("tls.records", "record headers");
const SEALED_ALERT: Proof = proof("tls.records", "sealed alert");
const SSLV2_CLIENT_HELLO: Proof = proof("tls.sslv2-client-hello", "SSLv2 CLIENT-HELLO");
const SSLV2_SERVER_HELLO: Proof = proof("tls.sslv2-server-hello", "SSLv2 SERVER-HELLO");

const fn proof(rule: &'static str, constant: &'static str) -> Proof {
    Proof { rule, constant, offset: 0, length: 0 }
}

/// Handshake type, length, version.
const HELLO_HEAD: usize = 6;
/// `ServerHello` of the early drafts of TLS 1.3, without session id.
const HELLO_LENGTH_MIN: u32 = 38;
/// Both 64 KiB lists of a `ClientHello`, and the rest.
const HELLO_LENGTH_MAX: u32 = 0x0002_00ff;
/// A clear record holds at most 2^14 bytes.
const CLEAR_LENGTH_MAX: u16 = 1 << 14;
/// Offsets tried when the first byte is not a header.
const SCAN_BYTES_MAX: usize = 2048;
/// Longest announcement of TLS looked at.
const ANNOUNCEMENT_BYTES: usize = 128;
/// Bytes that must all be text for a side to be text.
const TEXT_BYTES: usize = 32;
/// Alerts of RFC 8446 section 6 and its predecessors (IANA TLS Alerts).
const ALERTS: [u8; 37] = [
    0, 10, 20, 21, 22, 30, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 60, 70, 71, 80, 86,
    90, 100, 109, 110, 111, 112, 113, 114, 115, 116, 117, 120, 121,
];

static INFO: Info = Info {
    name: "tls",
    title: "TLS and SSL",
    spec: "https://www.rfc-editor.org/rfc/rfc8446",
    ports: &[443],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

/// Explicit nonce and tag: no AEAD record of TLS 1.2 is shorter.
const SEALED_BYTES_MIN: usize = 24;
/// LOGIN7 without any name ([MS-TDS] 2.2.6.4) behind its packet's header, and a tag.
const SEALED_LOGIN_BYTES_MIN: usize = 86 + 8 + 16;

#[cfg(test)]
mod tests {
    use super::{
        super::check::{hear, hear_from, probe_side},
        *,
    };

    const HELLO: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    const SERVER: &[u8] = &[0x16, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3];
    const REFUSAL: &[u8] = &[0x15, 3, 1, 0, 2, 2, 40];
    const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: db.example\r\n\r\n";

    fn rule(probe: Probe) -> Option<&'static str> {
        match probe {
            Probe::Match(found) => Some(found.mark.rule),
            _ => None,
        }
    }

    /// Records of one version with bodies of these lengths.
    fn records(version: u8, lengths: &[u8]) -> Vec<u8> {
        let record = |n: &u8| [vec![0x17, 3, version, 0, *n], vec![0xaa; usize::from(*n)]].concat();
        lengths.iter().flat_map(record).collect()
    }

    fn probe(client: (&[u8], Start), server: (&[u8], Start)) -> Probe {
        let said = |(bytes, start)| Said { bytes, start };
        let (client, server) = (said(client), said(server));
        Tls.probe(&View::new(Transport::Tcp, client, server))
    }

    /// One late side alone, every prefix; `No` never comes.
    #[track_caller]
    fn late(bytes: &[u8]) -> Option<&'static str> {
        let mut matched = None;
        for end in 0..=bytes.len() {
            let answer = probe((&bytes[..end], Start::Unknown), (&[], Start::Known));
            let swapped = probe((&[], Start::Known), (&bytes[..end], Start::Unknown));
            assert_eq!(rule(answer), rule(swapped));
            assert_ne!(answer, Probe::No);
            assert!(matched.is_none() || rule(answer).is_some(), "withdrawn at {end}");
            matched = rule(answer);
        }
        matched
    }

    #[test]
    fn openings_from_a_known_start() {
        let tiny: Vec<u8> =
            [1, 0, 0, 196, 3, 3].into_iter().flat_map(|b| [0x16, 3, 1, 0, 1, b]).collect();
        let sslv2 = [0x80, 46, 1, 3, 1, 0, 21, 0, 0, 0, 16];
        let sslv2_server = [0x83, 0x2b, 4, 0, 1, 0, 2, 3, 13, 0, 3, 0, 16];
        let draft = [0x16, 3, 1, 0, 82, 2, 0, 0, 78, 0x7f, 18];
        for (client, server, bytes) in [
            (Some("tls.client-hello"), Some("tls.client-hello"), HELLO),
            (Some("tls.client-hello"), Some("tls.client-hello"), &tiny),
            (Some("tls.server-hello"), Some("tls.server-hello"), SERVER),
            (Some("tls.server-hello"), Some("tls.server-hello"), &draft),
            (Some("tls.sslv2-client-hello"), Some("tls.sslv2-client-hello"), &sslv2),
            (Some("tls.sslv2-server-hello"), Some("tls.sslv2-server-hello"), &sslv2_server),
            (None, Some("tls.alert"), REFUSAL),
        ] {
            assert_eq!(rule(probe_side(&Tls, Side::Client, bytes)), client, "{bytes:02x?}");
            assert_eq!(rule(probe_side(&Tls, Side::Server, bytes)), server, "{bytes:02x?}");
        }
    }

    #[test]
    fn look_alikes_from_a_known_start() {
        for bytes in [
            HTTP,
            b"SSH-2.0-OpenSSH_9.2\r\n",
            // Application data and change_cipher_spec open nothing.
            &records(3, &[40, 40, 40]),
            &[0x14, 3, 3, 0, 1, 1],
            // Version, length, message type, hello length, hello version, record longer than the hello.
            &[0x16, 3, 5, 0, 200, 1, 0, 0, 196, 3, 3],
            &[0x16, 3, 1, 0x40, 1, 1, 0, 0, 196, 3, 3],
            &[0x16, 3, 1, 0, 200, 11, 0, 0, 196, 3, 3],
            &[0x16, 3, 1, 0, 20, 1, 0, 0, 16, 3, 3],
            &[0x16, 3, 1, 0, 200, 1, 9, 0, 196, 3, 3],
            &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 4, 3],
            &[0x16, 3, 1, 0, 200, 1, 0, 0, 190, 3, 3],
            // SSLv2: cipher list not by threes, lengths that do not add up, an SMB2 or LDAP-like first byte.
            &[0x80, 47, 1, 3, 1, 0, 22, 0, 0, 0, 16],
            &[0x80, 45, 1, 3, 1, 0, 21, 0, 0, 0, 16],
            &[0x80, 46, 9, 3, 1, 0, 21, 0, 0, 0, 16],
        ] {
            assert_eq!(probe_side(&Tls, Side::Client, bytes), Probe::No, "{bytes:02x?}");
        }
        for bytes in [
            &b"220 mail.example ESMTP\r\n"[..],
            &[0x15, 3, 1, 0, 2, 3, 40],
            &[0x15, 3, 1, 0, 2, 2, 41 + 11 + 1],
            &[0x15, 3, 1, 0, 3, 2, 40],
        ] {
            // A client that says hello to them would still be TLS.
            assert_eq!(probe_side(&Tls, Side::Server, bytes), Probe::More, "{bytes:02x?}");
        }
    }

    #[test]
    fn the_class_is_what_the_client_spoke() {
        let known = |bytes| (bytes, Start::Known);
        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert_eq!(rule(probe(known(HELLO), known(http))), Some("tls.client-hello"));
        assert_eq!(probe(known(HTTP), known(REFUSAL)), Probe::No);
        assert_eq!(probe(known(HTTP), known(SERVER)), Probe::No);
        assert_eq!(probe(known(&HELLO[..4]), known(SERVER)), Probe::More);
        let late_http = (HTTP, Start::Unknown);
        assert_eq!(probe(late_http, (&records(3, &[40, 40, 40]), Start::Unknown)), Probe::More);
        let view =
            View::new(Transport::Udp, Said { bytes: HELLO, start: Start::Known }, Said::NOTHING);
        assert_eq!(Tls.probe(&view), Probe::No);
    }

    #[test]
    fn late_sides_need_records_that_meet() {
        let with = |head: &[u8], tail: &[u8]| [head, tail].concat();
        for (bytes, expected) in [
            (records(3, &[40, 40]), Some("tls.records")),
            (records(1, &[24])[..].to_vec(), None),
            (with(&records(3, &[40]), &records(2, &[40])), None),
            (with(&[0xee; 7], &records(3, &[40, 40])), None),
            (with(&[0xee; 7], &records(3, &[40, 40, 40])), Some("tls.records")),
            (
                with(&[0xee; 7], &[&[0x14, 3, 3, 0, 1, 1], &records(3, &[40, 40])[..]].concat()),
                None,
            ),
            (with(&[0xee; 2100], &records(3, &[40, 40, 40])), None),
            (with(&[0x14, 3, 3, 0, 1, 1], &[0x16, 3, 3, 0, 40]), Some("tls.records")),
            (with(b"a2 STARTTLS\r\n", HELLO), Some("tls.client-hello")),
            (with(b"<starttls/>", HELLO), Some("tls.client-hello")),
            (with(b"EHLO x\r\nauth tls\r\n", HELLO), Some("tls.client-hello")),
            // An upload that carries a recorded hello.
            (with(b"PUT /tls HTTP/1.1\r\nContent-Length: 99\r\n\r\n", HELLO), None),
            (with(b"HTTP/1.1 200 OK\r\n\r\n11\r\n", HELLO), None),
            (with(b"<data>", HELLO), None),
            (
                with(
                    b"PUT /capture HTTP/1.1\r\nContent-Type: application/x\r\n\r\n",
                    &records(3, &[40; 4]),
                ),
                None,
            ),
            (REFUSAL.to_vec(), None),
            (with(&[0x15, 3, 3, 0, 26], &[0; 26]), Some("tls.records")),
            (with(&[0x15, 3, 3, 0, 27], &[0; 27]), None),
            (with(&[0x99, 0x15, 3, 3, 0, 26], &[0; 26]), None),
            (HELLO.to_vec(), Some("tls.client-hello")),
        ] {
            assert_eq!(late(&bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn one_record_on_each_late_side_is_enough() {
        let (one, other) = (records(3, &[34]), records(2, &[34]));
        let (unknown, known) = (Start::Unknown, Start::Known);
        assert_eq!(rule(probe((&one, unknown), (&one, unknown))), Some("tls.records"));
        assert_eq!(probe((&one, unknown), (&other, unknown)), Probe::More);
        assert_eq!(probe((&one, unknown), (&one, known)), Probe::More);
    }

    #[test]
    fn whole_dialogues_in_any_segmentation() {
        let (client, server) = (Side::Client, Side::Server);
        let tls = Some(Encryption::Tls);
        let direct = hear(&Tls, &[(client, HELLO), (server, SERVER)]);
        assert_eq!((direct.encryption, direct.rules), (tls, vec!["tls.client-hello"]));
        assert_eq!(hear(&Tls, &[(client, HTTP), (server, REFUSAL)]).encryption, None);
        assert_eq!(hear(&Tls, &[(server, b"220 ready\r\n"), (client, HELLO)]).encryption, tls);
        let run = records(3, &[40, 50, 60]);
        let late = hear_from(&Tls, &[(server, &[0x99; 40]), (client, &run)], Start::Unknown);
        assert_eq!((late.encryption, late.rules), (tls, vec!["tls.records"]));
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_are_never_tls(bytes in proptest::collection::vec(0..=255_u8, 0..600)) {
            for start in [Start::Known, Start::Unknown] {
                let answer = probe((&bytes, start), (&bytes, start));
                proptest::prop_assert!(rule(answer).is_none());
            }
        }

        #[test]
        fn answers_stay(bytes in proptest::collection::vec(proptest::sample::select(
            &[0x14_u8, 0x15, 0x16, 0x17, 3, 3, 0, 0, 1, 2, 10, 40, 0x80, b'a', b'\n'][..]), 0..80)) {
            probe_side(&Tls, Side::Client, &bytes);
            probe_side(&Tls, Side::Server, &bytes);
            late(&bytes);
        }
    }
}
