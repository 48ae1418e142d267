//! DNS messages over UDP and TCP. <https://www.rfc-editor.org/rfc/rfc1035#section-4>
//!
//! Multicast DNS (RFC 6762), LLMNR (RFC 4795) and the `NetBIOS` name service (RFC 1002) share the message format; by
//! their conventions they are told apart, where they can, and left to their own detectors.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Mark, PlaintextReason, Side, Transport},
};

mod kind;

pub(super) use kind::{Kind, is_message, kind};

pub(super) struct Dns;

impl Detector for Dns {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport == Transport::Esp {
            return Probe::No;
        }
        if !view.client.bytes.is_empty() {
            return judge_on(view.transport, Side::Client, view.client);
        }
        match judge_on(view.transport, Side::Server, view.server) {
            // The class is what the client speaks, and it has not spoken.
            Probe::No => Probe::More,
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let Some(message) = Message::first(said) else { return Step::WAIT };
        let judged = judge(side, said);
        let header = Header::read(&mut Cursor::new(message.bytes));
        if judged == Probe::More {
            return Step::WAIT;
        }
        let heard = match header {
            Ok(header) if is_from(header.flags, side) => asked(state, side, header.id, judged),
            _ => Heard::Foreign,
        };
        let [client, server] = &mut state.phase;
        let (mine, other) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        let first = *mine == SILENT;
        let consumed = message.declared.saturating_add(PREFIX_BYTES);
        match heard {
            Heard::Fits => *mine = FITTED,
            Heard::Foreign if first && said.start == Start::Known => {
                return Step { consumed, facts: Facts::MISMATCH, next: Next::Done };
            }
            Heard::Foreign | Heard::Unasked => *mine = (*mine).max(SPOKEN),
        }
        let [.., messages] = &mut state.words;
        *messages = messages.saturating_add(1);
        let over = (*mine == FITTED && *other == FITTED) || *messages >= MESSAGES_MAX;
        Step {
            consumed,
            facts: match heard {
                Heard::Fits => Facts { accepted: side == Side::Server, ..FITS },
                _ => Facts::NONE,
            },
            next: if over { Next::Done } else { Next::Continue },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Fits,
    Unasked,
    Foreign,
}

/// Notes the id of a query, or looks for the query that a response answers.
fn asked(state: &mut FollowState, side: Side, id: u16, judged: Probe) -> Heard {
    let proven = matches!(judged, Probe::Match(_));
    let [ids @ .., _] = &mut state.words;
    let noted = u32::from(id) | NOTED;
    match side {
        Side::Client => {
            ids.rotate_right(1);
            let [newest, ..] = ids;
            *newest = noted;
            if proven { Heard::Fits } else { Heard::Unasked }
        }
        // The id tells whose it is: an error may come back as a bare header.
        Side::Server if ids.contains(&noted) => Heard::Fits,
        // Without the queries (one direction captured) the grammar alone has to do.
        Side::Server if proven && ids.iter().all(|id| *id == 0) => Heard::Fits,
        Side::Server => Heard::Unasked,
    }
}

/// The first message of a side. UDP datagrams and TCP messages stand behind the same two-byte length.
struct Message<'a> {
    declared: usize,
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    fn first(said: Said<'a>) -> Option<Self> {
        let mut cursor = Cursor::new(said.bytes);
        let declared = usize::from(cursor.u16_be().ok()?);
        let bytes = cursor.rest();
        Some(Self { declared, bytes: bytes.get(..declared).unwrap_or(bytes) })
    }

    const fn is_whole(&self) -> bool {
        self.bytes.len() == self.declared
    }
}

/// The same for the transport: datagrams of the kindred protocols are theirs.
fn judge_on(transport: Transport, side: Side, said: Said<'_>) -> Probe {
    let first = said.datagrams().next().filter(|_| transport == Transport::Udp);
    match first.map(kind) {
        Some(Kind::Multicast | Kind::LinkLocal) => Probe::No,
        _ => judge(side, said),
    }
}

/// Whether a side's first message is DNS and goes the way this side sends.
fn judge(side: Side, said: Said<'_>) -> Probe {
    let Some(message) = Message::first(said) else { return Probe::More };
    match parse(&message, side, side == Side::Server) {
        Ok(Some(constant)) => {
            let rule = match side {
                Side::Client => "dns.query",
                Side::Server => "dns.response",
            };
            let length = u32::try_from(message.bytes.len()).unwrap_or(u32::MAX);
            Match::plaintext(Mark { rule, side, offset: 2, length, constant })
        }
        Err(Short) if !message.is_whole() => Probe::More,
        _ => Probe::No,
    }
}

/// Reads header, questions and records; a long message is believed once its first record fits. `cut`: a question read
/// whole is proof enough if the record behind it is cut short.
fn parse(message: &Message<'_>, side: Side, cut: bool) -> Result<Option<&'static str>, Short> {
    let mut cursor = Cursor::new(message.bytes);
    if message.declared < HEADER_BYTES {
        return Ok(None);
    }
    let mut ahead = cursor;
    ahead.skip(2)?;
    if !is_from(ahead.u16_be()?, side) {
        return Ok(None);
    }
    let header = Header::read(&mut cursor)?;
    if !header.counts_fit(message.declared) {
        return Ok(None);
    }
    let constant = Some(header.constant());
    let mut left = RECORDS_MAX;
    for _ in 0..header.questions.min(RECORDS_MAX) {
        if !question(&mut cursor)? {
            return Ok(None);
        }
        left = left.saturating_sub(1);
    }
    if header.is_truncated() && header.questions > 0 && cursor.at() == message.declared {
        return Ok(constant);
    }
    let anchored = cut && header.questions > 0;
    for done in 0..header.records.min(left) {
        let proven = done > 0 || anchored;
        match record(&mut cursor) {
            Ok(Some(data)) if data <= message.declared.saturating_sub(cursor.at()) => {
                if message.declared > LONG_BYTES {
                    return Ok(constant);
                }
                cursor.skip(data)?;
            }
            // A cut copy or a first fragment: one whole record is proof enough.
            Ok(Some(_)) if proven => return Ok(constant),
            Err(Short) if proven && message.is_whole() => return Ok(constant),
            Ok(_) => return Ok(None),
            Err(Short) => return Err(Short),
        }
    }
    let all = header.questions.saturating_add(header.records) <= RECORDS_MAX;
    Ok(constant.filter(|_| !all || cursor.at() == message.declared))
}

struct Header {
    id: u16,
    flags: u16,
    questions: u32,
    answers: u32,
    records: u32,
}

impl Header {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let (id, flags) = (cursor.u16_be()?, cursor.u16_be()?);
        let (questions, answers) = (u32::from(cursor.u16_be()?), u32::from(cursor.u16_be()?));
        let (authority, additional) = (u32::from(cursor.u16_be()?), u32::from(cursor.u16_be()?));
        let records = answers.saturating_add(authority).saturating_add(additional);
        Ok(Self { id, flags, questions, answers, records })
    }

    const fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// Whether something is asked or answered, and as much as the counts say fits into `declared` bytes.
    fn counts_fit(&self, declared: usize) -> bool {
        let least = u64::from(self.questions).saturating_mul(QUESTION_BYTES_MIN);
        // A truncated response counts records it had no room for; a cut copy has lost some.
        let lost = self.is_truncated() || self.records <= RECORDS_LOST_MAX;
        let records = if lost { 0 } else { self.records };
        let least = least.saturating_add(u64::from(records).saturating_mul(RECORD_BYTES_MIN));
        let room = u64::try_from(declared.saturating_sub(HEADER_BYTES)).unwrap_or(0);
        let only_answers = self.flags & 0x8000 != 0 && self.answers > 0;
        least <= room && (self.questions > 0 || only_answers)
    }

    const fn constant(&self) -> &'static str {
        match (self.flags & 0x8000 != 0, opcode(self.flags)) {
            (false, 4) => "QR=0 NOTIFY",
            (true, 4) => "QR=1 NOTIFY",
            (false, 5) => "QR=0 UPDATE",
            (true, 5) => "QR=1 UPDATE",
            (false, _) => "QR=0 QUERY",
            (true, _) => "QR=1 QUERY",
        }
    }
}

const fn opcode(flags: u16) -> u16 {
    flags >> 11 & 0xf
}

/// Whether the flags are sane for a message from `side`: QR, opcode, Z, and no RCODE in a query.
const fn is_from(flags: u16, side: Side) -> bool {
    let (from_server, rcode) = (flags & 0x8000 != 0, flags & 0xf);
    matches!(opcode(flags), 0 | 4 | 5)
        && flags & 0x0040 == 0
        && match side {
            Side::Client => !from_server && rcode == 0,
            Side::Server => from_server && rcode <= RCODE_MAX,
        }
}

fn question(cursor: &mut Cursor<'_>) -> Result<bool, Short> {
    if name(cursor)?.is_none() {
        return Ok(false);
    }
    let (kind, class) = (cursor.u16_be()?, cursor.u16_be()?);
    Ok(is_type(kind) && is_class(class))
}

/// Reads a record up to its data, whose length it returns.
fn record(cursor: &mut Cursor<'_>) -> Result<Option<usize>, Short> {
    let Some(name_bytes) = name(cursor)? else { return Ok(None) };
    let (kind, class) = (cursor.u16_be()?, cursor.u16_be()?);
    let (_ttl, data) = (cursor.u32_be()?, usize::from(cursor.u16_be()?));
    // OPT belongs to the root and has a payload size as its class (RFC 6891 section 6.1).
    let sound = if kind == OPT { name_bytes == 1 } else { is_type(kind) && is_class(class) };
    let whole = match kind {
        A => data == 4 || data == 0,
        AAAA => data == 16 || data == 0,
        _ => true,
    };
    Ok((sound && whole).then_some(data))
}

/// Reads a name and returns its bytes in place. A pointer must lead back, and is not followed.
fn name(cursor: &mut Cursor<'_>) -> Result<Option<usize>, Short> {
    let start = cursor.at();
    for labels in 0..LABELS_MAX {
        let length = cursor.u8()?;
        match length {
            0 => return Ok(Some(cursor.at().saturating_sub(start))),
            1..=63 => {
                let label = cursor.take(usize::from(length))?;
                let netbios = labels == 0
                    && label.len() == NETBIOS_BYTES
                    && label.iter().all(|b| matches!(b, b'A'..=b'P'));
                if netbios || label.iter().any(u8::is_ascii_control) {
                    return Ok(None);
                }
            }
            0xc0.. => {
                let target = usize::from(u16::from_be_bytes([length & 0x3f, cursor.u8()?]));
                let back = (HEADER_BYTES..start).contains(&target);
                return Ok(back.then(|| cursor.at().saturating_sub(start)));
            }
            64..=0xbf => return Ok(None),
        }
        if cursor.at().saturating_sub(start) >= NAME_BYTES_MAX {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Assigned or private types (IANA, Domain Name System Parameters).
const fn is_type(kind: u16) -> bool {
    matches!(kind, 1..=264 | 32768..=32770 | 65280..=65534)
}

/// Assigned classes. The top bit is mDNS's unicast-response or cache-flush bit (RFC 6762 section 18).
const fn is_class(class: u16) -> bool {
    matches!(class & 0x7fff, 1..=4 | 254 | 255)
}

const FITS: Facts = Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS };
const A: u16 = 1;
const AAAA: u16 = 28;
const SILENT: u8 = 0;
const SPOKEN: u8 = 1;
const FITTED: u8 = 2;
/// Tells a noted id from an empty word.
const NOTED: u32 = 1 << 16;
const PREFIX_BYTES: usize = 2;
const HEADER_BYTES: usize = 12;
const QUESTION_BYTES_MIN: u64 = 5;
const RECORD_BYTES_MIN: u64 = 11;
const RECORDS_MAX: u32 = 32;
const RECORDS_LOST_MAX: u32 = 64;
const LONG_BYTES: usize = 1024;
const LABELS_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 255;
const NETBIOS_BYTES: usize = 32;
const MESSAGES_MAX: u32 = 16;
const OPT: u16 = 41;
/// Highest assigned code of four bits.
const RCODE_MAX: u16 = 11;

static INFO: Info = Info {
    name: "dns",
    title: "Domain Name System",
    spec: "https://www.rfc-editor.org/rfc/rfc1035",
    ports: &[53],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, matches, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const NAME: &[u8] = b"\x03www\x07example\x03com\x00";
    const A_IN: &[u8] = b"\x00\x01\x00\x01";
    const ANSWER: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x01";
    const EDNS: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";
    const ONE: &[u8] = b"\x00\x01\x00\x00\x00\x00\x00\x00";
    const ONE_ONE: &[u8] = b"\x00\x01\x00\x01\x00\x00\x00\x00";

    /// A message behind its length: id, flags, counts, and the rest.
    fn message(flags: u16, counts: &[u8], rest: &[&[u8]]) -> Vec<u8> {
        let body = [&b"\x12\x34"[..], &flags.to_be_bytes(), counts, &rest.concat()].concat();
        [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
    }

    fn query() -> Vec<u8> {
        message(0x0100, ONE, &[NAME, A_IN])
    }

    fn response() -> Vec<u8> {
        message(0x8180, ONE_ONE, &[NAME, A_IN, ANSWER])
    }

    #[test]
    fn whole_messages_prove_the_side_that_sends_them() {
        let zone: &[u8] = b"\x07example\x03com\x00\x00\x06\x00\x01";
        let mdns: &[u8] = b"\x04_ipp\x04_tcp\x05local\x00\x00\x0c\x80\x01";
        let instance: &[u8] =
            b"\x0aA printer!\xc0\x0c\x00\x21\x80\x01\0\0\0\x78\x00\x08\0\0\0\0\0\x50\xc0\x0c";
        let deletion: &[u8] = b"\xc0\x0c\x00\xff\x00\xff\x00\x00\x00\x00\x00\x00";
        let cases: [(&str, Side, Vec<u8>); 10] = [
            ("query", C, query()),
            ("query for the root", C, message(0x0010, ONE, &[b"\x00\x00\x02\x00\x01"])),
            ("with EDNS", C, message(0x0120, b"\0\x01\0\0\0\0\0\x01", &[NAME, A_IN, EDNS])),
            ("notify", C, message(0x2400, ONE, &[zone])),
            ("update", C, message(0x2800, b"\0\x01\0\0\0\x01\0\0", &[zone, deletion])),
            ("mDNS query", C, message(0, ONE, &[mdns])),
            ("response", S, response()),
            ("name error", S, message(0x8183, ONE, &[NAME, A_IN])),
            ("truncated", S, message(0x8380, ONE_ONE, &[NAME, A_IN])),
            ("transfer", S, message(0x8400, b"\0\0\0\x01\0\0\0\0", &[b"\x01a\x00", &ANSWER[2..]])),
        ];
        for (what, side, bytes) in cases {
            assert!(matches(probe_side(&Dns, side, &bytes)), "{what}");
            assert!(!matches(probe_side(&Dns, side.other(), &bytes)), "{what} from the other side");
        }
        let announced = [&mdns[..17], &b"\x00\x0c\x80\x01\0\0\0\x78\x00\x02\xc0\x0c"[..], instance];
        let announced = message(0x8400, b"\0\0\0\x02\0\0\0\0", &announced);
        assert!(matches(probe_side(&Dns, S, &announced)), "mDNS announcement");
    }

    #[test]
    fn look_alikes_and_flaws_are_not_dns() {
        let netbios: &[u8] = b"\x20CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\x00\x21\x00\x01";
        let long = [&b"\x3f"[..], &[b'a'; 63]].concat().repeat(4);
        let cases: [(&str, Vec<u8>); 15] = [
            ("NetBIOS name query", message(0x0110, ONE, &[netbios])),
            ("byte after the end", message(0x0100, ONE, &[NAME, A_IN, b"x"])),
            ("byte missing", message(0x0100, ONE, &[NAME, &A_IN[..3]])),
            ("no question", message(0x0100, &[0; 8], &[NAME, A_IN])),
            ("two questions counted", message(0x0100, b"\0\x02\0\0\0\0\0\0", &[NAME, A_IN])),
            ("opcode 1", message(0x0900, ONE, &[NAME, A_IN])),
            ("Z bit", message(0x0140, ONE, &[NAME, A_IN])),
            ("query with an error", message(0x0103, ONE, &[NAME, A_IN])),
            ("class 7", message(0x0100, ONE, &[NAME, b"\x00\x01\x00\x07"])),
            ("type 0", message(0x0100, ONE, &[NAME, b"\x00\x00\x00\x01"])),
            ("label of 64", message(0x0100, ONE, &[b"\x40", &[b'a'; 64], b"\x00", A_IN])),
            ("name of 256", message(0x0100, ONE, &[&long, b"\x00", A_IN])),
            ("pointer to itself", message(0x0100, ONE, &[b"\xc0\x0c", A_IN])),
            ("pointer ahead", message(0x0100, ONE, &[b"\x01a\xc0\x20", A_IN])),
            ("control character", message(0x0100, ONE, &[b"\x02a\x07\x00", A_IN])),
        ];
        for (what, bytes) in cases {
            assert_eq!(probe_side(&Dns, C, &bytes), Probe::No, "{what}");
        }
        let texts: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00",
            &[&b"\x00\x30\x23\x02\x06\xe8"[..], &[0; 44]].concat(),
            b"\x00\x14\x00\x01\x00\x00\x21\x12\xa4\x42\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\x00\x00",
        ];
        for bytes in texts {
            assert_eq!(probe_side(&Dns, C, bytes), Probe::No, "{bytes:02x?}");
            assert!(!matches(probe_side(&Dns, S, bytes)), "{bytes:02x?}");
        }
        let mut bad = response();
        bad[45] = 5;
        assert_eq!(probe_side(&Dns, S, &bad), Probe::More, "data longer than the message");
    }

    #[test]
    fn a_long_or_cut_message_needs_only_its_first_record() {
        let two = |answer: &[u8]| {
            let counts = b"\x00\x01\x00\x02\x00\x00\x00\x00";
            message(0x8180, counts, &[NAME, A_IN, ANSWER, answer])
        };
        for end in 0..=ANSWER.len() {
            assert!(matches(probe_side(&Dns, S, &two(&ANSWER[..end]))), "cut at {end}");
        }
        assert!(!matches(probe_side(&Dns, S, &two(b"\x47ET / HTTP/1.1\r\n"))), "not a record");

        let text = [&b"\xc0\x0c\x00\x10\x00\x01\0\0\0\x00\x04\x00"[..], &[7; 1024]].concat();
        let long = message(0x8180, ONE_ONE, &[NAME, A_IN, &text]);
        assert!(matches(probe_side(&Dns, S, &long[..60])));
        let many = ANSWER.repeat(40);
        let counts = b"\x00\x01\x00\x28\x00\x00\x00\x00";
        assert!(matches(probe_side(&Dns, S, &message(0x8180, counts, &[NAME, A_IN, &many]))));
    }

    #[test]
    fn a_response_with_the_id_of_the_query_establishes_it() {
        let heard = hear(&Dns, &[(C, &query()), (S, &response())]);
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        let refusal = message(0x8105, &[0; 8], &[]);
        let heard = hear(&Dns, &[(C, &query()), (S, &refusal)]);
        assert_eq!(heard.fits, [true, true], "an error may be a bare header");
        let mut other = response();
        other[2] = 0x99;
        let heard = hear(&Dns, &[(C, &query()), (S, &other)]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, false]), "other id");
        let heard = hear(&Dns, &[(C, &query()), (S, &[other, response()].concat())]);
        assert_eq!(heard.fits, [true, true], "several messages in one stream");
        let heard = hear_from(&Dns, &[(S, &response()), (S, &response())], Start::Unknown);
        assert_eq!(heard.fits, [false, true], "one direction captured");
        let heard = hear(&Dns, &[(C, &query()), (S, b"\x15\x03\x03\x00\x02\x02\x46")]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]), "a TLS alert");
        let heard = hear(&Dns, &[(C, &response()), (S, &query())]);
        assert_eq!(heard.matched, None, "roles exchanged");
    }

    #[test]
    fn random_datagrams_never_match() {
        let mut seed = 0xd15_u64;
        let mut bytes = [0; 66];
        for round in 0..1_000_000_usize {
            for chunk in bytes.chunks_mut(4) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chunk.copy_from_slice(&((seed >> 32) as u32).to_be_bytes()[..chunk.len()]);
            }
            let length = 12 + round % 53;
            bytes[..2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            let said = Said { bytes: &bytes[..length + 2], start: Start::Known };
            assert!(!matches(judge(C, said)) && !matches(judge(S, said)), "{said:02x?}");
        }
    }
}
