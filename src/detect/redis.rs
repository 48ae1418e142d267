//! Redis and Valkey: RESP2, RESP3, inline. <https://redis.io/docs/latest/develop/reference/protocol-spec/>
//!
//! A request array names a command and is proof by itself. Inline commands share their words with other text protocols,
//! and `+OK` and `-ERR` are POP3 and NATS too: those need the other side, or more of the same.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Mark, PlaintextReason, Side, Transport},
};
use resp::{Flaw, Head, Read};
use words::{NATS, POP3, command, family, is_text, listed, verb};

mod later;
mod resp;
mod words;

pub(super) struct Redis;

impl Detector for Redis {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        match (bus(Side::Client, view.client.bytes), bus(Side::Server, view.server.bytes)) {
            (Ok(Some(mark)), _) => return Match::plaintext(mark),
            (Ok(None), Ok(Some(mark))) if view.client.bytes.is_empty() => {
                return Match::plaintext(mark);
            }
            (Err(Short), _) => return Probe::More,
            _ => {}
        }
        let start = view.client.start;
        let replies = Replies::read(view.server.bytes);
        match (requests(view.client), replies.alone(view.server.start)) {
            (Requests::Proven(mark), _) => Match::plaintext(mark),
            (Requests::Foreign, _) if start == Start::Known => Probe::No,
            (Requests::Plausible(mark, families), _) if replies.answer(families, start) => {
                Match::plaintext(mark)
            }
            (Requests::Silent | Requests::Foreign | Requests::Plausible(..), Some(mark)) => {
                Match::plaintext(mark)
            }
            // A command we do not know takes more than an error to be believed.
            (Requests::Words, Some(mark)) if replies.data > 0 => Match::plaintext(mark),
            (Requests::Words | Requests::Foreign, _) if replies.foreign => Probe::No,
            _ => Probe::More,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let phase = if side == Side::Client { client } else { server };
        if *phase == LOST {
            return Step::read(said.bytes.len(), Facts::NONE);
        }
        if let Ok(Some(_)) = bus(side, said.bytes) {
            *phase = LOST;
            let facts = Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS };
            return Step::read(said.bytes.len(), facts);
        }
        let heard = match side {
            Side::Client => later::request(&mut state.words, said.bytes),
            Side::Server => later::reply(&mut state.words, &mut state.flags, said.bytes),
        };
        match heard {
            Ok(mut step) => {
                if *phase != FITTED && said.start == Start::Unknown {
                    // The line may be part of a value.
                    step.facts = Facts { credentials: Credentials::NONE, mark: None, ..step.facts };
                }
                *phase = if step.facts.fits { FITTED } else { *phase };
                step
            }
            Err(Flaw::Short) if said.bytes.len() < LINE_BYTES_MAX => Step::WAIT,
            Err(_) if *phase == FITTED || said.start == Start::Unknown => {
                *phase = LOST;
                Step::read(said.bytes.len(), Facts::NONE)
            }
            Err(_) => Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done },
        }
    }
}

/// A message between nodes of a cluster (`clusterMsg` of the reference implementation): magic, total length, version.
fn bus(side: Side, bytes: &[u8]) -> Result<Option<Mark>, Short> {
    let magic = b"RCmb";
    if bytes.is_empty() || !magic.iter().zip(bytes).all(|(want, byte)| want == byte) {
        return Ok(None);
    }
    let mut cursor = Cursor::new(bytes);
    cursor.skip(magic.len())?;
    let (length, version) = (cursor.u32_be()?, cursor.u16_be()?);
    let sane = (BUS_BYTES_MIN..=BUS_BYTES_MAX).contains(&length) && version <= 1;
    Ok(sane.then(|| mark("redis.cluster-bus", side, 0, 10, "RCmb")))
}

/// What the client's bytes amount to.
enum Requests {
    Silent,
    Partial,
    /// Not Redis, unless the beginning is missing.
    Foreign,
    /// A line of text whose first word is no command we know.
    Words,
    /// Commands that need a RESP reply, and the other protocols that have all of them too.
    Plausible(Mark, u8),
    Proven(Mark),
}

fn requests(said: Said<'_>) -> Requests {
    let read = match said.bytes.first() {
        None => return Requests::Silent,
        Some(b'*') => arrays(said),
        Some(first) if first.is_ascii_alphabetic() => inline(said),
        Some(_) => Err(Flaw::Bad),
    };
    match read {
        Ok(requests) => requests,
        Err(Flaw::Short) => Requests::Partial,
        Err(Flaw::Bad) => Requests::Foreign,
    }
}

/// Arrays of bulk strings. A command we do not know counts if its whole array holds and another or a reply follows.
fn arrays(said: Said<'_>) -> Read<Requests> {
    let mut cursor = Cursor::new(said.bytes);
    let (arguments, name) = named_array(&mut cursor)?;
    let mut mark = mark("redis.command", Side::Client, 0, cursor.at(), "RESP array");
    if let Some(constant) = command(name) {
        mark.constant = constant;
        return Ok(Requests::Proven(mark));
    }
    let push = listed(PUSHES, name).is_some();
    if said.start == Start::Unknown || push || !name.iter().all(u8::is_ascii_alphabetic) {
        return Err(Flaw::Bad);
    }
    for _ in 1..arguments {
        let length = resp::bulk_length(&mut cursor)?;
        resp::body(&mut cursor, length)?;
    }
    match named_array(&mut cursor) {
        Ok(_) => Ok(Requests::Proven(mark)),
        Err(Flaw::Short) => Ok(Requests::Plausible(mark, 0)),
        Err(Flaw::Bad) => Err(Flaw::Bad),
    }
}

/// Reads `*N`, `$L` and the command's name.
fn named_array<'a>(cursor: &mut Cursor<'a>) -> Read<(u32, &'a [u8])> {
    let b'*' = cursor.u8()? else { return Err(Flaw::Bad) };
    let arguments = resp::count(resp::number(cursor)?)?.filter(|n| *n > 0).ok_or(Flaw::Bad)?;
    let length = resp::bulk_length(cursor)?;
    if !(1..=NAME_BYTES_MAX).contains(&length) {
        return Err(Flaw::Bad);
    }
    Ok((arguments, resp::body(cursor, length)?))
}

/// Lines of inline commands: two that no other text protocol has are proof.
fn inline(said: Said<'_>) -> Read<Requests> {
    let mut cursor = Cursor::new(said.bytes);
    let (mut first, mut own, mut families) = (None, 0_u8, u8::MAX);
    while own < 2 && cursor.peek().is_ok_and(|byte| byte != b'*') {
        let rest = cursor.rest();
        let line = cursor.line();
        let name = command(verb(line.unwrap_or(rest)));
        let unknown = name.is_none() && (line.is_ok() || rest.contains(&b' '));
        if !is_text(line.unwrap_or(rest)) || (unknown && first.is_some()) {
            return Err(Flaw::Bad);
        }
        let (Ok(_), Some(name)) = (line, name) else {
            if unknown && line.is_ok() {
                return Ok(Requests::Words);
            }
            break;
        };
        let shared = family(name);
        families &= shared;
        own = own.saturating_add(u8::from(shared == 0 && said.start == Start::Known));
        first = first.or(Some(name));
    }
    let constant = first.ok_or(Flaw::Short)?;
    let mark = mark("redis.inline", Side::Client, 0, constant.len(), constant);
    Ok(if own >= 2 { Requests::Proven(mark) } else { Requests::Plausible(mark, families) })
}

/// What the server's bytes amount to.
#[derive(Default)]
struct Replies {
    /// Whole replies.
    items: u32,
    /// Types read, in aggregates too.
    tokens: u32,
    /// Strings that are as long as they say.
    bulks: u32,
    /// Something other than `+text` and `-text`.
    telling: u32,
    /// Strings and aggregates in the open reply.
    solid: u32,
    /// Whole replies that had any.
    data: u32,
    /// What only Redis says.
    own: Option<Mark>,
    /// It begins as a request does: the roles are exchanged, or this feeds a replica.
    request: bool,
    /// After these replies comes something else.
    foreign: bool,
}

impl Replies {
    fn read(bytes: &[u8]) -> Self {
        let mut replies = Self { request: bytes.starts_with(b"*"), ..Self::default() };
        let (mut cursor, mut due) = (Cursor::new(bytes), 0);
        while replies.tokens < TOKENS_MAX && !cursor.is_empty() {
            match replies.token(&mut cursor, due) {
                Ok(still) => due = still,
                Err(flaw) => {
                    replies.foreign = matches!(flaw, Flaw::Bad);
                    break;
                }
            }
        }
        replies
    }

    /// Reads one type while `due` children are; returns how many still are.
    fn token(&mut self, cursor: &mut Cursor<'_>, due: u32) -> Read<u32> {
        let at = cursor.at();
        let head = resp::head(cursor)?;
        let telling = u32::from(!matches!(head, Head::Text(..)));
        self.telling = self.telling.saturating_add(telling);
        let mut requesting = self.tokens == 0;
        let mut due = due.max(1);
        match head {
            Head::Text(kind, text) => self.note(at, own_text(kind, text)),
            Head::Scalar => {}
            Head::Blob(length) => {
                self.note(at, own_blob(cursor.rest()).filter(|_| !self.request));
                let word = resp::body(cursor, length)?;
                requesting = self.tokens > 1 || command(word).is_some();
                self.bulks = self.bulks.saturating_add(u32::from(length > 0));
                self.solid = self.solid.saturating_add(u32::from(length > 0));
            }
            Head::Aggregate(children) => {
                due = due.saturating_add(children);
                self.solid = self.solid.saturating_add(u32::from(children > 0));
            }
            // Belongs to the reply that follows it.
            Head::Attribute(children) => due = due.saturating_add(children).saturating_add(1),
        }
        due = due.saturating_sub(1);
        self.request &= requesting || self.items > 0;
        self.tokens = self.tokens.saturating_add(1);
        if due == 0 {
            self.items = self.items.saturating_add(1);
            self.data = self.data.saturating_add(self.solid.min(1));
            self.solid = 0;
        }
        Ok(due)
    }

    fn note(&mut self, at: usize, own: Option<&'static str>) {
        let own = own.map(|word| mark("redis.reply", Side::Server, at, word.len(), word));
        self.own = self.own.or(own);
    }

    /// Proof without the client's help.
    fn alone(&self, start: Start) -> Option<Mark> {
        let least = if start == Start::Known { 1 } else { 2 };
        let held = (self.data > 0 && self.items >= least)
            || (self.bulks >= 2 && self.tokens >= 6)
            || (self.telling > 0 && self.items >= 3);
        let replies = mark("redis.reply", Side::Server, 0, 1, "RESP replies");
        self.own.or_else(|| (held && !self.request).then_some(replies))
    }

    /// Whether this answers commands that `families` have too.
    fn answer(&self, families: u8, start: Start) -> bool {
        let simple = self.items > 0 && start == Start::Known && families & (POP3 | NATS) == 0;
        self.telling > 0 || simple
    }
}

/// A simple string or an error that only Redis sends.
fn own_text(kind: u8, text: &[u8]) -> Option<&'static str> {
    let mut words = text.splitn(3, |b| *b == b' ');
    let (word, second) = (words.next()?, words.next());
    if kind == b'+' {
        let replication = second.is_some_and(|id| {
            id.len() == REPLICATION_ID_BYTES && id.iter().all(u8::is_ascii_hexdigit)
        });
        return match word {
            b"PONG" | b"QUEUED" if second.is_none() => listed("PONG QUEUED", word),
            b"FULLRESYNC" | b"CONTINUE" if replication => listed("FULLRESYNC CONTINUE", word),
            _ => None,
        };
    }
    let sentence = |start: &&&'static str| text.starts_with(start.as_bytes());
    match (word, second) {
        (b"ERR", _) => OWN_ERRS.iter().find(sentence).map(|_| "ERR"),
        (b"MOVED" | b"ASK", Some(slot)) if !slot.iter().all(u8::is_ascii_digit) => None,
        (b"DENIED", Some(subject)) if subject != b"Redis" && subject != b"Running" => None,
        (_, Some(_)) if word.iter().all(u8::is_ascii_uppercase) => listed(OWN_ERRORS, word),
        _ => None,
    }
}

/// A bulk string that only Redis sends: a snapshot, the answer to INFO.
fn own_blob(body: &[u8]) -> Option<&'static str> {
    let found = OWN_BLOBS.iter().find(|(start, _)| body.starts_with(start));
    found.map(|(_, constant)| *constant)
}

fn mark(
    rule: &'static str,
    side: Side,
    offset: usize,
    length: usize,
    constant: &'static str,
) -> Mark {
    let to_u32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { rule, side, offset: to_u32(offset), length: to_u32(length), constant }
}

const FITTED: u8 = 1;
/// What follows cannot be told apart any more: a gap, or a feed of another kind.
const LOST: u8 = 2;
const LINE_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 32;
const TOKENS_MAX: u32 = 256;
const REPLICATION_ID_BYTES: usize = 40;
const PUSHES: &str = "MESSAGE PMESSAGE SMESSAGE";
const OWN_ERRORS: &str = "NOAUTH WRONGPASS NOPERM MOVED ASK LOADING DENIED WRONGTYPE READONLY \
    NOSCRIPT EXECABORT MISCONF CLUSTERDOWN CROSSSLOT TRYAGAIN MASTERDOWN NOREPLICAS NOPROTO \
    BUSYGROUP BUSYKEY NOGROUP BUSY UNKILLABLE NOTBUSY INPROG NOMASTERLINK OOM UNBLOCKED";
const OWN_ERRS: [&str; 4] = [
    "ERR max number of clients reached",
    "ERR wrong number of arguments for '",
    "ERR unknown command '",
    "ERR unknown command `",
];
const OWN_BLOBS: [(&[u8], &str); 2] =
    [(b"REDIS0", "REDIS"), (b"# Server\r\nredis_version:", "redis_version")];

static INFO: Info = Info {
    name: "redis",
    title: "Redis and Valkey",
    spec: "https://redis.io/docs/latest/develop/reference/protocol-spec/",
    ports: &[6379, 6380, 26379],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

const BUS_BYTES_MIN: u32 = 16;
const BUS_BYTES_MAX: u32 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, matches, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    #[test]
    fn what_the_client_says_alone() {
        let cases: [(&[u8], Option<bool>); 31] = [
            (b"*1\r\n$4\r\nPING\r\n", Some(true)),
            (b"*3\r\n$3\r\nset\r\n$3\r\nkey\r\n", Some(true)),
            (b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n", Some(true)),
            (b"*2\r\n$8\r\nJSON.GET\r\n", Some(true)),
            (b"*2\r\n$9\r\nFT.SEARCH\r\n", Some(true)),
            (b"*1\r\n$3\r\nFOO\r\n*1\r\n$3\r\nBAR\r\n", Some(true)),
            (b"HSET h f v\r\nZADD z 1 m\r\n", Some(true)),
            (b"PING\r\nLPUSH l 1\r\nLLEN l\r\n", Some(true)),
            (b"*1\r\n$3\r\nFOO\r\n", None),
            (b"*1\r\n$4\r\nPING", None),
            (b"HSET h f v\r\n", None),
            (b"PING\r\nPING\r\nPING\r\n", None),
            (b"AUTH PLAIN\r\n", None),
            (b"get x\r\n", None),
            (b"set x 0 0 4\r\nabcd\r\n", Some(false)),
            (b"AUTH PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\n", Some(false)),
            (b"SUBSCRIBE\nid:0\n\n\0", Some(false)),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some(false)),
            (b"SUBSCRIBE sip:a@b SIP/2.0\r\n", Some(false)),
            (b"*2\r\n$3\r\nFOO\r\n$1\r\nxyz\r\n", Some(false)),
            (b"*1\r\n$4\r\nPINGS\r\n", Some(false)),
            (b"*1\r\n$3\r\nF-O\r\n*1\r\n$3\r\nBAR\r\n", Some(false)),
            (b"*0\r\n", Some(false)),
            (b"*1\n$4\nPING\n", Some(false)),
            (b"*99999999\r\n$3\r\nGET\r\n", Some(false)),
            (b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", Some(false)),
            (b"*** NOTICE ***\r\n", Some(false)),
            (b"+OK\r\n+OK\r\n", Some(false)),
            (b"$5\r\nhello\r\n", Some(false)),
            (b"\x16\x03\x01\x02\x00\x01\x00", Some(false)),
            (b"\x00\x00\x00\x2d\x00\x00", Some(false)),
        ];
        for (bytes, expected) in cases {
            let answer = match probe_side(&Redis, C, bytes) {
                Probe::More => None,
                answer => Some(matches(answer)),
            };
            assert_eq!(answer, expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_the_server_says_alone() {
        let id = "+FULLRESYNC 0123456789abcdef0123456789abcdef01234567 14\r\n";
        let cases: [(&[u8], bool); 43] = [
            (b"+PONG\r\n", true),
            (b"-NOAUTH Authentication required.\r\n", true),
            (b"-WRONGPASS invalid username-password pair\r\n", true),
            (b"-MOVED 3999 127.0.0.1:6381\r\n", true),
            (b"-ASK 3999 127.0.0.1:6381\r\n", true),
            (b"-LOADING Redis is loading the dataset in memory\r\n", true),
            (b"-DENIED Redis is running in protected mode\r\n", true),
            (b"-DENIED Running in protected mode because ...\r\n", true),
            (b"-ERR max number of clients reached\r\n", true),
            (b"-ERR wrong number of arguments for 'get' command\r\n", true),
            (b"+OK\r\n-NOAUTH Authentication required.\r\n", true),
            (id.as_bytes(), true),
            (b"$3\r\nabc\r\n", true),
            (b"$-1\r\n+OK\r\n+OK\r\n", true),
            (b":1\r\n:2\r\n+OK\r\n", true),
            (b"_\r\n#t\r\n,1.5\r\n", true),
            (b"*2\r\n$1\r\na\r\n:5\r\n", true),
            (b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", true),
            (b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", true),
            (b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n", true),
            (b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n", true),
            (b"~1\r\n:1\r\n", true),
            (b"|1\r\n+ttl\r\n:3600\r\n*1\r\n:1\r\n", true),
            (b"=7\r\ntxt:abc\r\n", true),
            (b"*240\r\n*3\r\n$3\r\nset\r\n:-3\r\n*2\r\n$5\r\nwrite\r\n", true),
            (b"$5000\r\n# Server\r\nredis_version:7.0.15\r\n", true),
            (b"$176\r\nREDIS0011\xfa\x09redis-ver", true),
            (b"+OK\r\n", false),
            (b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n", false),
            (b"+OK POP3 ready <1@x>\r\n", false),
            (b"-ERR\r\n", false),
            (b"-ERR Unknown command.\r\n", false),
            (b"-ERR 'Authorization Violation'\r\n", false),
            (b"-MOVED away\r\n", false),
            (b"-DENIED by policy\r\n", false),
            (b":1\r\n", false),
            (b":1\r\n:2\r\n", false),
            (b"$3\r\nabcd\r\n", false),
            (b"$0\r\n\r\n", false),
            (b"*2\r\n$3\r\nabc\r\n", false),
            (b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", false),
            (b"* OK IMAP4rev1 ready\r\n", false),
            (b"220 mail ready\r\n+PONG\r\n", false),
        ];
        for (bytes, expected) in cases {
            let answer = matches(probe_side(&Redis, S, bytes));
            assert_eq!(answer, expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn inline_commands_need_a_reply_that_other_protocols_do_not_give() {
        let cases: [(&[u8], &[u8], bool); 17] = [
            (b"PING\r\n", b"+PONG\r\n", true),
            (b"SET k v\r\n", b"+OK\r\n", true),
            (b"GET k\r\n", b"$1\r\n3\r\n", true),
            (b"INCR k\n", b":2\r\n", true),
            (b"GET k\r\n", b"-ERR something\r\n", true),
            (b"AUTH x\r\n", b"-WRONGPASS invalid password\r\n", true),
            (b"AUTH u p\r\nPING\r\n", b"+OK\r\n+OK\r\nnot RESP\r\n", true),
            (b"FAKE COMMAND\r\n", b"*2\r\n:1\r\n:2\r\n", true),
            (b"FAKE COMMAND\r\n", b"-NOAUTH Authentication required.\r\n", false),
            (b"AUTH PLAIN AGEAYg==\r\n", b"+OK ready\r\n+OK Logged in.\r\n", false),
            (b"QUIT\r\n", b"+OK\r\n", false),
            (b"PING\r\n", b"+OK\r\n", false),
            (b"PING\r\n", b"PONG\r\n", false),
            (b"get k\r\n", b"VALUE k 0 1\r\nx\r\nEND\r\n", false),
            (b"INFO\r\n", b"* OK IMAP\r\n", false),
            (b"EHLO x\r\n", b"-ERR unknown command 'EHLO', with args\r\n", false),
            (b"GET / HTTP/1.0\r\n\r\n", b"$-1\r\n*1\r\n:1\r\n:2\r\n", false),
        ];
        for (client, server, expected) in cases {
            let heard = hear(&Redis, &[(C, client), (S, server)]);
            assert_eq!(heard.matched.is_some(), expected, "{}", client.escape_ascii());
        }
    }

    #[test]
    fn a_late_view_needs_more() {
        let late = |side, bytes| hear_from(&Redis, &[(side, bytes)], Start::Unknown).matched;
        assert!(late(C, b"*1\r\n$4\r\nPING\r\n").is_some());
        assert!(late(C, b"HSET h f v\r\nZADD z 1 m\r\n").is_none());
        assert!(late(S, b"$3\r\nabc\r\n").is_none());
        assert!(late(S, b"$3\r\nabc\r\n+OK\r\n").is_some());
        assert!(late(S, b"-NOAUTH Authentication required.\r\n").is_some());
        let both: [(Side, &[u8]); 2] = [(C, b"tail of a value\x00"), (S, b"+PONG\r\n")];
        assert!(hear_from(&Redis, &both, Start::Unknown).matched.is_some());
        assert!(hear(&Redis, &both).matched.is_none(), "another protocol from its start");
    }

    #[test]
    fn the_tables_are_whole() {
        for (letter, names) in (b'A'..=b'Z').zip(words::COMMANDS) {
            for name in names.split(' ').filter(|name| !name.is_empty()) {
                assert_eq!(name.as_bytes()[0], letter, "{name}");
                assert!(name.len() <= 24 && command(name.as_bytes()) == Some(name), "{name}");
            }
        }
        for name in words::SHARED.split(' ') {
            assert_eq!(command(name.as_bytes()), Some(name));
        }
        for word in ["", "GE", "GETS", "HTTP", "X.Y", "1.2"] {
            assert_eq!(command(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn random_bytes_never_match() {
        let mut seed = 0x6379_u64;
        let kinds = b"*$+-:_#,(%~>=!|";
        for round in 0..100_000_usize {
            let mut bytes = [0; 40];
            for byte in &mut bytes {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 56) as u8;
            }
            bytes[0] = if round % 2 == 0 { kinds[round / 2 % kinds.len()] } else { bytes[0] };
            let said = Said { bytes: &bytes, start: Start::Known };
            let view = View::new(Transport::Tcp, said, Said::NOTHING);
            let answers = [Redis.probe(&view), Redis.probe(&view.swapped())];
            assert!(!answers.into_iter().any(matches), "{bytes:02x?}");
        }
    }
}
