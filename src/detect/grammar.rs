//! What small protocols share: messages one behind the other, each with its weight as proof.
//!
//! A protocol that is in clear from its first message to its last needs no more than [`Grammar::message`]; the rest of a
//! detector is the same for all of them and stands here. Proof is counted in bits: how unlikely it is that other bytes
//! look like this. Zero bytes are common and count little.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};

/// A protocol as the grammar of its messages.
pub(super) trait Grammar: Sync {
    /// Static facts.
    const INFO: &'static Info;
    /// Why it is in clear, unless [`Grammar::learn`] tells.
    const REASON: Option<PlaintextReason> = Some(PlaintextReason::NoInBandUpgrade);
    /// So much of a message must be there for [`Grammar::learn`].
    const LEARN_BYTES: usize = 0;

    /// The message at the front of `bytes` (UDP: the datagram). `None`: it is none, whatever follows.
    fn message(&self, place: Place, bytes: &[u8]) -> Read;

    /// Further proof in two first messages together: the answer repeats what the request said.
    fn pair(&self, client: &[u8], server: &[u8]) -> u32 {
        let (_, _) = (client, server);
        0
    }

    /// What a message tells beyond that it fits. `words`: memory, the last one is taken.
    fn learn(&self, words: &mut [u32; 6], side: Side, bytes: &[u8]) -> Learnt {
        let (_, _, _) = (words, side, bytes);
        Learnt::NOTHING
    }
}

/// A message, or none, or not enough bytes.
pub(super) type Read = Result<Option<Message>, Short>;

/// Where a message stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Who says it.
    pub(super) side: Side,
    /// It is known to be the first of its side.
    pub(super) opening: bool,
    /// The beginning of its side was not seen.
    pub(super) late: bool,
    /// It is a datagram of its own.
    pub(super) datagram: bool,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// Its bytes; more than are there, if it goes on.
    pub(super) length: usize,
    /// Bits of proof.
    pub(super) proof: u32,
    /// Rule of the mark.
    pub(super) rule: &'static str,
    /// Constant of the mark.
    pub(super) constant: &'static str,
    /// What an observer can read; `None` while that is open.
    pub(super) encryption: Option<Encryption>,
}

impl Message {
    /// A message in clear.
    pub(super) const fn new(
        length: usize,
        proof: u32,
        rule: &'static str,
        constant: &'static str,
    ) -> Self {
        let encryption = Some(Encryption::Plaintext);
        Self { length, proof, rule, constant, encryption }
    }

    /// All that its side says from here on: it has been recognised, and the rest is passed over.
    pub(super) const fn rest(rule: &'static str) -> Self {
        Self::new(1 << 30, 0, rule, "")
    }

    /// The same message, of another class.
    pub(super) const fn with(self, encryption: Option<Encryption>) -> Self {
        Self { encryption, ..self }
    }
}

/// What a message tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learnt {
    /// Facts beyond `fits`.
    pub(super) facts: Facts,
    /// The next message may tell more, even if both sides have spoken.
    pub(super) more: bool,
    /// A server that says so has taken the session.
    pub(super) taken: bool,
    /// A new layer begins, or nothing more can be learnt.
    pub(super) next: Option<Next>,
}

impl Learnt {
    /// Nothing.
    pub(super) const NOTHING: Self =
        Self { facts: Facts::NONE, more: false, taken: true, next: None };

    /// Facts, and nothing more to come.
    pub(super) const fn facts(facts: Facts) -> Self {
        Self { facts, ..Self::NOTHING }
    }

    /// Facts, and the next message may tell more.
    pub(super) const fn more(facts: Facts) -> Self {
        Self { facts, more: true, ..Self::NOTHING }
    }

    /// Facts of a message that leaves open what the server thinks of the session; the next one may tell.
    pub(super) const fn undecided(facts: Facts) -> Self {
        Self { facts, more: true, taken: false, next: None }
    }
}

/// Goes on only where `$fits`.
macro_rules! demand {
    ($fits:expr) => {
        if !$fits {
            return Ok(None);
        }
    };
}
pub(super) use demand;

/// Whether `magic` stands next; a byte that differs decides before all are there.
pub(super) fn magic(cursor: &mut Cursor<'_>, magic: &[u8]) -> Result<bool, Short> {
    for byte in magic {
        if cursor.u8()? != *byte {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A length on the wire as a number of bytes.
pub(super) fn size(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Facts of a protocol in clear without credentials, told by its beginning.
pub(super) const fn info(
    name: &'static str,
    title: &'static str,
    spec: &'static str,
    ports: &'static [u16],
    transports: &'static [Transport],
    directions: Directions,
) -> Info {
    let (midstream, upgrades, credentials) = (false, &[], Credentials::NONE);
    Info { name, title, spec, ports, transports, directions, midstream, upgrades, credentials }
}

pub(super) const TCP: &[Transport] = &[Transport::Tcp];
pub(super) const UDP: &[Transport] = &[Transport::Udp];
pub(super) const TCP_UDP: &[Transport] = &[Transport::Tcp, Transport::Udp];

impl<G: Grammar> Detector for G {
    fn info(&self) -> &'static Info {
        Self::INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if !Self::INFO.transports.contains(&view.transport) {
            return Probe::No;
        }
        let datagrams = view.transport == Transport::Udp;
        let client = Half::read(self, Side::Client, view.client, datagrams);
        let server = Half::read(self, Side::Server, view.server, datagrams);
        match (client.seen, server.seen) {
            (Seen::Proven(found), _) | (Seen::Silent, Seen::Proven(found)) => Probe::Match(found),
            (Seen::Other, _) => Probe::No,
            // The class is what the client speaks, and it has not spoken.
            (Seen::Silent, _) => Probe::More,
            (seen, other) => match (client.first, server.first) {
                (Some(_), _) if matches!(other, Seen::Proven(_)) => match other {
                    Seen::Proven(found) => Probe::Match(found),
                    _ => Probe::More,
                },
                (Some(mine), Some(its)) if self.paired(mine, its, view) => {
                    Probe::Match(mine.found(Side::Client, datagrams))
                }
                _ if matches!((seen, other), (Seen::Spent, Seen::Spent | Seen::Other)) => Probe::No,
                _ => Probe::More,
            },
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = state.phase;
        let (mine, other) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        let opening = mine == SILENT && said.start == Start::Known;
        let (consumed, found, bytes) = match hear(self, &mut state.flags, side, opening, said) {
            Heard::Wait => return Step::WAIT,
            Heard::Foreign(_) if opening => {
                return Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done };
            }
            Heard::Foreign(0) => return Step::DONE,
            Heard::Foreign(consumed) => return over(state, Step::read(consumed, Facts::NONE)),
            Heard::Fits(consumed, found, bytes) => (consumed, found, bytes),
        };
        let learnt = self.learn(&mut state.words, side, bytes);
        let [client, server] = &mut state.phase;
        *(if side == Side::Client { client } else { server }) = FITTED;
        let sealed = found.encryption.filter(|e| *e != Encryption::Plaintext);
        let facts = Facts {
            fits: true,
            accepted: (side == Side::Server && learnt.taken && !learnt.facts.refused)
                || learnt.facts.accepted,
            encryption: learnt.facts.encryption.or(sealed),
            reason: learnt.facts.reason.or(Self::REASON),
            ..learnt.facts
        };
        let both = other == FITTED && !learnt.more;
        let next = learnt.next.unwrap_or(if both { Next::Done } else { Next::Continue });
        over(state, Step { consumed, facts, next })
    }
}

/// Ends the reading after so many messages.
fn over(state: &mut FollowState, step: Step) -> Step {
    let [.., messages] = &mut state.words;
    *messages = messages.saturating_add(1);
    match step.next {
        Next::Continue if *messages >= MESSAGES_MAX => Step { next: Next::Done, ..step },
        _ => step,
    }
}

trait Paired {
    fn paired(&self, client: First<'_>, server: First<'_>, view: &View<'_>) -> bool;
}

impl<G: Grammar> Paired for G {
    fn paired(&self, client: First<'_>, server: First<'_>, view: &View<'_>) -> bool {
        let needed = needed(view.client.start).max(needed(view.server.start));
        let own = client.message.proof.saturating_add(server.message.proof);
        own.saturating_add(self.pair(client.bytes, server.bytes)) >= needed
    }
}

/// The first message of a side.
#[derive(Clone, Copy)]
struct First<'a> {
    message: Message,
    bytes: &'a [u8],
}

impl First<'_> {
    fn found(&self, side: Side, datagram: bool) -> Match {
        let Message { length, rule, constant, encryption, .. } = self.message;
        let offset = if datagram { 2 } else { 0 };
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Match { encryption, mark: Mark { rule, side, offset, length, constant } }
    }
}

/// What one side's bytes say.
#[derive(Clone, Copy)]
enum Seen {
    /// It has not spoken.
    Silent,
    /// Could still become proof.
    Open,
    /// Began as it should, and then went on otherwise, or proved too little.
    Spent,
    /// Another protocol.
    Other,
    /// This protocol.
    Proven(Match),
}

struct Half<'a> {
    first: Option<First<'a>>,
    seen: Seen,
}

impl<'a> Half<'a> {
    fn read<G: Grammar>(grammar: &G, side: Side, said: Said<'a>, datagrams: bool) -> Self {
        let mut half = Self { first: None, seen: Seen::Silent };
        let mut rest = said.bytes;
        let mut proof = 0_u32;
        for count in 0..PROBED_MAX {
            if rest.is_empty() {
                half.seen = if count == 0 { Seen::Silent } else { Seen::Open };
                return half;
            }
            let late = said.start == Start::Unknown;
            let place = Place { side, opening: count == 0 && !late, late, datagram: datagrams };
            let misfit = if count == 0 { Seen::Other } else { Seen::Spent };
            let (message, bytes, after) = match next(grammar, place, rest) {
                Ok(Some(found)) => found,
                Ok(None) => return Self { seen: misfit, ..half },
                Err(Short) => return Self { seen: Seen::Open, ..half },
            };
            let first = *half.first.get_or_insert(First { message, bytes });
            proof = proof.saturating_add(message.proof);
            if proof >= needed(said.start) {
                let found =
                    Match { encryption: message.encryption, ..first.found(side, datagrams) };
                return Self { seen: Seen::Proven(found), ..half };
            }
            match after {
                Some(after) => rest = after,
                None => return Self { seen: Seen::Open, ..half },
            }
        }
        Self { seen: Seen::Spent, ..half }
    }
}

/// A message, its bytes as far as they are there, and what comes behind it.
type Found<'a> = (Message, &'a [u8], Option<&'a [u8]>);

/// The message at the front of `rest`.
fn next<'a, G: Grammar>(
    grammar: &G,
    place: Place,
    rest: &'a [u8],
) -> Result<Option<Found<'a>>, Short> {
    if !place.datagram {
        let found = grammar.message(place, rest)?;
        return Ok(found.map(|message| {
            let bytes = rest.get(..message.length).unwrap_or(rest);
            (message, bytes, rest.get(message.length..))
        }));
    }
    let mut cursor = Cursor::new(rest);
    let declared = usize::from(cursor.u16_be()?);
    let datagram = cursor.take(declared)?;
    // What a datagram lacks will not come.
    let message = grammar.message(place, datagram).unwrap_or(None);
    let message = message.filter(|message| message.length == declared);
    Ok(message.map(|message| (message, datagram, Some(cursor.rest()))))
}

enum Heard<'a> {
    Wait,
    /// So many bytes that are no message; zero: nobody knows where the next one begins.
    Foreign(usize),
    Fits(usize, Message, &'a [u8]),
}

/// The next message of a side. Which framing it has is not told: the first message that fits tells.
fn hear<'a, G: Grammar>(
    grammar: &G,
    framing: &mut u16,
    side: Side,
    opening: bool,
    said: Said<'a>,
) -> Heard<'a> {
    let late = said.start == Start::Unknown;
    let may = |transport| G::INFO.transports.contains(&transport);
    if *framing != STREAM && may(Transport::Udp) {
        let place = Place { side, opening, late, datagram: true };
        let length = said.datagrams().next().map(<[u8]>::len);
        match (next(grammar, place, said.bytes), length) {
            (Ok(Some((message, bytes, _))), Some(length)) => {
                *framing = DATAGRAMS;
                return Heard::Fits(length.saturating_add(2), message, bytes);
            }
            (_, Some(length)) if *framing == DATAGRAMS || !may(Transport::Tcp) => {
                return Heard::Foreign(length.saturating_add(2));
            }
            (_, None) if *framing == DATAGRAMS || !may(Transport::Tcp) => return Heard::Wait,
            _ => {}
        }
    }
    match next(grammar, Place { side, opening, late, datagram: false }, said.bytes) {
        Err(Short) => Heard::Wait,
        Ok(None) => Heard::Foreign(0),
        Ok(Some((message, bytes, _))) => {
            if bytes.len() < message.length.min(G::LEARN_BYTES) {
                return Heard::Wait;
            }
            *framing = STREAM;
            let bytes = bytes.get(..message.length.min(G::LEARN_BYTES)).unwrap_or(bytes);
            Heard::Fits(message.length, message, bytes)
        }
    }
}

/// Bits that prove a protocol.
const fn needed(start: Start) -> u32 {
    match start {
        Start::Known => 40,
        Start::Unknown => 64,
    }
}

const SILENT: u8 = 0;
const FITTED: u8 = 1;
const STREAM: u16 = 1;
const DATAGRAMS: u16 = 2;
/// Messages looked at for proof.
const PROBED_MAX: usize = 8;
/// Messages read after that.
const MESSAGES_MAX: u32 = 32;

#[cfg(test)]
pub(super) mod bench {
    //! Tables of messages that must prove a protocol, or must not.
    use super::*;
    use crate::detect::check::{Heard, hear, probe_side};

    pub(in crate::detect) const C: Side = Side::Client;
    pub(in crate::detect) const S: Side = Side::Server;

    /// Datagrams as a side of a UDP flow says them.
    pub(in crate::detect) fn datagrams(list: &[&[u8]]) -> Vec<u8> {
        let framed = |d: &&[u8]| [&u16::try_from(d.len()).unwrap().to_be_bytes()[..], d].concat();
        list.iter().flat_map(framed).collect()
    }

    /// Asks about UDP datagrams of one side; `No` and `Match` must be final, and no datagram may be waited for.
    #[track_caller]
    pub(in crate::detect) fn probe_udp(
        detector: &dyn Detector,
        side: Side,
        sent: &[&[u8]],
    ) -> Probe {
        let mut last = Probe::More;
        for end in 1..=sent.len() {
            let bytes = datagrams(&sent[..end]);
            let heard = Said { bytes: &bytes, start: Start::Known };
            let (client, server) = match side {
                Side::Client => (heard, Said::NOTHING),
                Side::Server => (Said::NOTHING, heard),
            };
            let answer = detector.probe(&View::new(Transport::Udp, client, server));
            if last != Probe::More {
                assert_eq!(matches!(last, Probe::Match(_)), matches!(answer, Probe::Match(_)));
            }
            last = answer;
        }
        last
    }

    fn is_match(probe: Probe) -> bool {
        matches!(probe, Probe::Match(_))
    }

    /// Each message proves the protocol by itself, and nothing shorter or longer does as a datagram.
    #[track_caller]
    pub(in crate::detect) fn proves_udp(d: &dyn Detector, cases: &[(&str, Side, &[u8])]) {
        for (what, side, bytes) in cases {
            assert!(is_match(probe_udp(d, *side, &[bytes])), "{what}");
            let cut = &bytes[..bytes.len() - 1];
            assert!(!is_match(probe_udp(d, *side, &[cut])), "{what}, a byte short");
        }
        refuses(d, Transport::Udp);
    }

    /// Each beginning of a stream proves the protocol by itself.
    #[track_caller]
    pub(in crate::detect) fn proves_tcp(d: &dyn Detector, cases: &[(&str, Side, &[u8])]) {
        for (what, side, bytes) in cases {
            assert!(is_match(probe_side(d, *side, bytes)), "{what}");
        }
        refuses(d, Transport::Tcp);
    }

    /// None of these is the protocol, nor will it become it.
    #[track_caller]
    pub(in crate::detect) fn denies(d: &dyn Detector, t: Transport, cases: &[(&str, &[u8])]) {
        for (what, bytes) in cases {
            let ask = |side| match t {
                Transport::Udp => probe_udp(d, side, &[bytes]),
                _ => probe_side(d, side, bytes),
            };
            assert_eq!(ask(C), Probe::No, "{what}");
            assert!(!is_match(ask(S)), "{what}, from the server");
        }
    }

    /// A dialogue over UDP.
    #[track_caller]
    pub(in crate::detect) fn hear_udp(d: &dyn Detector, lines: &[(Side, &[u8])]) -> Heard {
        let mut state = FollowState::default();
        let mut heard = Heard::default();
        for (side, bytes) in lines {
            let framed = datagrams(&[bytes]);
            let said = Said { bytes: &framed, start: Start::Known };
            let step = d.follow(&mut state, *side, said);
            let i = usize::from(*side == S);
            heard.fits[i] |= step.facts.fits;
            heard.mismatch[i] |= step.facts.mismatch;
            heard.refused |= step.facts.refused;
            heard.encryption = step.facts.encryption.or(heard.encryption);
            heard.credentials = heard.credentials.with(step.facts.credentials);
            heard.reason = step.facts.reason.or(heard.reason);
            if step.next == Next::Done {
                break;
            }
        }
        heard
    }

    /// Both sides fit, in clear, without an upgrade.
    #[track_caller]
    pub(in crate::detect) fn converses(d: &dyn Detector, lines: &[(Side, &[u8])]) {
        let heard = hear(d, lines);
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
    }

    /// Openings of other protocols, and bytes that mean nothing.
    #[track_caller]
    fn refuses(d: &dyn Detector, transport: Transport) {
        for bytes in OTHERS {
            denies(d, transport, &[("another protocol", bytes)]);
        }
        let mut seed = 0x00dd_ba11_u64;
        let mut bytes = [0; 96];
        for round in 0..20_000_usize {
            for byte in &mut bytes {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 56) as u8;
            }
            match round % 4 {
                0 => bytes[round % 32 + 1..].fill(0),
                1 => bytes[..20].fill(0xff),
                2 => bytes[..3].fill(0),
                _ => {}
            }
            let bytes = &bytes[..=round % 95];
            let framed = datagrams(&[bytes]);
            let said = match transport {
                Transport::Udp => &framed,
                _ => bytes,
            };
            for start in [Start::Known, Start::Unknown] {
                let said = Said { bytes: said, start };
                for (c, s) in [(said, Said::NOTHING), (Said::NOTHING, said)] {
                    let answer = d.probe(&View::new(transport, c, s));
                    assert!(!is_match(answer), "{bytes:02x?}");
                }
            }
        }
    }

    const OTHERS: [&[u8]; 12] = [
        b"GET / HTTP/1.1\r\nHost: example.com\r\nUser-Agent: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x54\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00",
        b"\x00\x00\x00\x2f\x00\x12\x00\x04\x00\x00\x00\x01\x00\x07rdkafka\x00\x08librdkafka",
        b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
        b"EHLO client.example\r\n",
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test",
        b"\x00\x1d\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x02ex\x03com\x00\x00\x01",
        b"\x23\x02\x06\xe8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x04\x01\x02\x03\x04\x02\x01\x00\x02\x01\x00",
        b"\x00\x01\x00\x08\x21\x12\xa4\x42\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b",
        &[0; 64],
    ];
}
