//! memcached: text, meta and binary, and their frames over UDP.
//! <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>
//!
//! Words such as `get` and `stats` belong to other text protocols too, and so do `END` and `OK`: these count only as a
//! command and its reply. Storing commands, and replies such as `VALUE`, are proof by themselves.
use super::mcbp::{self, Dialect, Header};
use super::store::{self, Flaw, Read, mark, need};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, PlaintextReason, Side, Transport},
};
use text::{Command, Reply};

mod text;

pub(super) struct Memcached;

impl Detector for Memcached {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        match view.transport {
            Transport::Tcp => stream(view),
            Transport::Udp => {
                let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
                let first = view.side(side).datagrams().next();
                let found = first.and_then(|datagram| datagram_mark(side, datagram));
                found.map_or(Probe::No, Match::plaintext)
            }
            Transport::Esp => Probe::No,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let usual = Some(PlaintextReason::NoInBandUpgrade);
        if state.flags & DATAGRAMS != 0 || is_datagram(side, said) {
            return datagram(state, side, said);
        }
        store::read_on(state, side, said, usual, |state, bytes| match bytes.first() {
            Some(0x80..) => mcbp::packet(state, side, "memcached.login", bytes),
            _ => words(state, side, bytes),
        })
    }
}

/// What one side's bytes amount to.
#[derive(Clone, Copy)]
enum Heard {
    Silent,
    Open,
    Other,
    /// Fits, but so might other protocols. Whether it may yet become proof.
    Shared(Shared, bool),
    /// A whole header, by its operation, with nothing behind it: noise of zeros looks like that.
    Bare(u8, Mark),
    Proven(Mark),
}

#[derive(Clone, Copy)]
enum Shared {
    Command(Command),
    Reply(&'static str),
}

fn stream(view: &View<'_>) -> Probe {
    let client = hear(Side::Client, view.client);
    let server = hear(Side::Server, view.server);
    let known = view.client.start == Start::Known;
    match (client, server) {
        (Heard::Other, _) if known => Probe::No,
        (Heard::Open, _) if known => Probe::More,
        (Heard::Proven(found), _) | (_, Heard::Proven(found)) => Match::plaintext(found),
        (Heard::Bare(asked, found), Heard::Bare(answered, _)) if asked == answered => {
            Match::plaintext(found)
        }
        (Heard::Shared(Shared::Command(command), _), Heard::Shared(Shared::Reply(reply), _))
            if known && (command.replies.contains(&reply) || reply == "ERROR") =>
        {
            let constant = command.name;
            Match::plaintext(mark("memcached.command", Side::Client, 0, constant.len(), constant))
        }
        (
            Heard::Shared(_, false) | Heard::Bare(..) | Heard::Other,
            Heard::Other | Heard::Shared(..),
        ) => Probe::No,
        // Only the client was captured, and all it said were commands.
        (Heard::Shared(Shared::Command(command), true), Heard::Silent) if view.ended && known => {
            let constant = command.name;
            let found = mark("memcached.command", Side::Client, 0, constant.len(), constant);
            let lines = view.client.bytes.iter().filter(|b| **b == b'\n').take(2).count();
            if lines == 2 { Match::plaintext(found) } else { Probe::More }
        }
        _ => Probe::More,
    }
}

fn hear(side: Side, said: Said<'_>) -> Heard {
    let late = said.start == Start::Unknown;
    let read = match said.bytes.first() {
        None => return Heard::Silent,
        Some(0x80..) => binary(side, said.bytes, late),
        Some(_) if side == Side::Client => commands(said.bytes, late),
        Some(_) => replies(said.bytes, late),
    };
    match read {
        Ok(heard) => heard,
        Err(Flaw::Short) => Heard::Open,
        Err(Flaw::Bad) => Heard::Other,
    }
}

fn binary(side: Side, bytes: &[u8], late: bool) -> Read<Heard> {
    let mut c = Cursor::new(bytes);
    let header = Header::read(&mut c, side)?;
    need(header.dialect == Dialect::Memcached)?;
    c.skip(header.extras)?;
    let name = store::all(&mut c, header.key, |b| b > b' ' && b != 0x7f)?;
    // So do the clients of Couchbase.
    let login = side == Side::Client && header.opcode == mcbp::SASL_AUTH;
    need(!login || !name.starts_with(b"SCRAM-"))?;
    let found = mark("memcached.binary", side, 0, c.at(), "binary header");
    // A header without a key is little to go by.
    if name.is_empty() && (late || header.body == 0) {
        if !late && c.is_empty() {
            return Ok(Heard::Bare(header.opcode, found));
        }
        c = Cursor::new(bytes);
        c.skip(mcbp::HEADER_BYTES.saturating_add(header.body))?;
        need(Header::read(&mut c, side)?.dialect == Dialect::Memcached)?;
    }
    Ok(Heard::Proven(found))
}

/// Command lines: one that is memcached's own is proof, as is a long run of others.
fn commands(bytes: &[u8], late: bool) -> Read<Heard> {
    let mut c = Cursor::new(bytes);
    let first = text::command(&mut c)?;
    let (mut command, mut own) = (first, 0_u8);
    loop {
        own = own.saturating_add(u8::from(command.own));
        let stored = command.data.is_some();
        let found = mark("memcached.command", Side::Client, 0, c.at(), command.name);
        if own > u8::from(late) || c.at() >= RUN_BYTES && !late {
            return Ok(Heard::Proven(found));
        }
        if let Some(data) = command.data {
            need(data <= LATE_DATA_BYTES_MAX)?;
            c.skip(data)?;
            store::expect(&mut c, b"\r\n")?;
        }
        if stored && late {
            return Ok(Heard::Proven(found));
        }
        command = match text::command(&mut c) {
            Ok(command) => command,
            Err(Flaw::Short) => return Ok(Heard::Shared(Shared::Command(first), true)),
            Err(Flaw::Bad) => return Ok(Heard::Shared(Shared::Command(first), false)),
        };
    }
}

fn replies(bytes: &[u8], late: bool) -> Read<Heard> {
    let mut c = Cursor::new(bytes);
    match text::reply(&mut c)? {
        Reply::Own(name, data) => {
            let found = mark("memcached.reply", Side::Server, 0, c.at(), name);
            if late {
                // The line may stand in a text: what follows must fit.
                need(data.is_none_or(|data| data <= LATE_DATA_BYTES_MAX))?;
                if let Some(data) = data {
                    c.skip(data)?;
                    store::expect(&mut c, b"\r\n")?;
                }
                need(data.is_some() || name == "STAT")?;
                let fits = match text::reply(&mut c)? {
                    Reply::Own(next, _) => next == name,
                    Reply::Shared(next) => matches!(next, "END" | "HD" | "EN" | "MN"),
                };
                need(fits)?;
            }
            Ok(Heard::Proven(found))
        }
        Reply::Shared(_) if late => Err(Flaw::Bad),
        Reply::Shared(name) => Ok(Heard::Shared(Shared::Reply(name), false)),
    }
}

/// A datagram: request id, sequence number, count, zero; then what a stream would have.
fn datagram_mark(side: Side, datagram: &[u8]) -> Option<Mark> {
    let mut c = Cursor::new(datagram);
    c.skip(2).ok()?;
    let (number, count, reserved) = (c.u16_be().ok()?, c.u16_be().ok()?, c.u16_be().ok()?);
    let sound = reserved == 0 && number < count && (side == Side::Server || count == 1);
    if !sound || number != 0 {
        return None;
    }
    let offset = UDP_HEADER_BYTES.saturating_add(2);
    if c.peek().ok()? >= 0x80 {
        let header = Header::read(&mut c, side).ok()?;
        let whole = header.body == c.left() || count > 1 && header.body > c.left();
        let found = mark("memcached.binary", side, offset, 24, "binary header");
        return (whole && header.dialect == Dialect::Memcached).then_some(found);
    }
    let constant = match side {
        Side::Client => text::command(&mut c).ok()?.name,
        Side::Server => match text::reply(&mut c).ok()? {
            Reply::Own(name, _) => name,
            Reply::Shared(name) => Some(name).filter(|_| c.is_empty())?,
        },
    };
    Some(mark("memcached.datagram", side, offset, constant.len(), constant))
}

/// Whether what is to be read is a datagram behind its length: no stream begins like that.
fn is_datagram(side: Side, said: Said<'_>) -> bool {
    said.datagrams().next().is_some_and(|datagram| datagram_mark(side, datagram).is_some())
}

fn datagram(state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
    state.flags |= DATAGRAMS;
    let Some(datagram) = said.datagrams().next() else { return Step::WAIT };
    let consumed = datagram.len().saturating_add(2);
    let [client, server] = &mut state.phase;
    let (mine, other) = if side == Side::Client { (client, server) } else { (server, client) };
    let fits = datagram_mark(side, datagram).is_some();
    let [.., count] = &mut state.words;
    *count = count.saturating_add(1);
    *mine = (*mine).max(u8::from(fits));
    let done = *mine == 1 && *other == 1 || *count >= DATAGRAMS_MAX;
    let reason = Some(PlaintextReason::NoInBandUpgrade);
    let accepted = fits && side == Side::Server;
    let facts = if fits { Facts { accepted, reason, ..Facts::FITS } } else { Facts::NONE };
    Step { consumed, facts, next: if done { Next::Done } else { Next::Continue } }
}

/// The first command or reply in words; nothing later tells more.
fn words(state: &mut FollowState, side: Side, bytes: &[u8]) -> Read<Step> {
    let mut facts = Facts::FITS;
    let mut c = Cursor::new(bytes);
    match side {
        Side::Client => {
            text::command(&mut c)?;
        }
        Side::Server => {
            text::reply(&mut c)?;
            let denied = text::is_denial(bytes);
            facts.refused = denied.is_some();
            facts.accepted = denied.is_none();
            if denied == Some(true) {
                // The login is the value of the first `set`.
                facts.credentials = Credentials::PASSWORD_CLEARTEXT;
                facts.mark = Some(mark("memcached.denied", side, 0, c.at(), "CLIENT_ERROR"));
            }
        }
    }
    store::over(state, side);
    Ok(Step::read(bytes.len(), facts))
}

/// So many bytes of shared commands in a row are no other protocol.
const RUN_BYTES: usize = 1024;
const LATE_DATA_BYTES_MAX: usize = 8 * 1024;
const UDP_HEADER_BYTES: usize = 8;
const DATAGRAMS_MAX: u32 = 16;
/// Flag: over UDP.
const DATAGRAMS: u16 = 1;

static INFO: Info = Info {
    name: "memcached",
    title: "memcached",
    spec: "https://github.com/memcached/memcached/blob/master/doc/protocol.txt",
    ports: &[11211],
    transports: &[Transport::Tcp, Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::SASL_PLAIN
        .with(Credentials::PASSWORD_CLEARTEXT)
        .with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const BINARY_GET: &[u8] = b"\x80\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0key";
    const BINARY_VALUE: &[u8] =
        b"\x81\0\0\0\x04\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0value";
    const PLAIN: &[u8] = b"\x80\x21\0\x05\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0PLAIN\0u\0p";
    const DONE: &[u8] = b"\x81\x21\0\0\0\0\0\0\0\0\0\x0d\0\0\0\0\0\0\0\0\0\0\0\0Authenticated";
    const DENIED: &[u8] = b"\x81\x21\0\0\0\0\0\x20\0\0\0\x0d\0\0\0\0\0\0\0\0\0\0\0\0Auth failure.";

    fn found(side: Side, bytes: &[u8]) -> bool {
        matches!(probe_side(&Memcached, side, bytes), Probe::Match(_))
    }

    #[test]
    fn commands_of_its_own_and_replies_of_its_own_are_proof() {
        let clients: [&[u8]; 8] = [
            b"set key 0 0 5\r\nvalue\r\n",
            b"cas key 0 60 1 77\r\n",
            b"gets a b\r\n",
            b"gat 60 key\r\n",
            b"mg key v t\r\n",
            b"ms key 2 T90\r\nab\r\n",
            b"get key\r\nadd key 0 -1 1 noreply\r\nx\r\n",
            BINARY_GET,
        ];
        for bytes in clients {
            assert!(found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
        }
        let servers: [&[u8]; 7] = [
            b"VALUE key 0 5\r\nvalue\r\nEND\r\n",
            b"STAT pid 1\r\n",
            b"STORED\r\n",
            b"VERSION 1.6.18\r\n",
            b"CLIENT_ERROR bad data chunk\r\n",
            b"VA 5 t60\r\nvalue\r\n",
            BINARY_VALUE,
        ];
        for bytes in servers {
            assert!(found(S, bytes) && !found(C, bytes), "{}", bytes.escape_ascii());
        }
        let neither: [&[u8]; 12] = [
            b"get key\r\n",
            b"stats\r\n",
            b"END\r\n",
            b"GET key\r\n",
            b"set key value\r\n",
            b"get key\r\nget\r\n",
            b"*2\r\n$3\r\nget\r\n$1\r\na\r\n",
            b"+OK\r\n",
            b"\x80\x01\0\x01\0\0\0\x07getName\0\0\0\0\0\0\0\0\0\0",
            b"\x80\0\0\x28\x12\x34\x56\x78\0\0\0\0\0\0\0\x02\0\x01\x86\xa3\0\0\0\x03",
            b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10\0\0\x39\0\0\x38\0\0\x35\0\0\x16",
            b"\x80\x1f\0\x03\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\0\0\0\0\0sdk\0\x0a\0\x0b",
        ];
        for bytes in neither {
            assert!(!found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_header_alone_counts_with_its_like() {
        let bare = |magic: u8, opcode: u8| [&[magic, opcode][..], &[0; 22]].concat();
        let noop = bare(0x80, 0x0a);
        assert_eq!(probe_side(&Memcached, C, &noop), Probe::More, "zeros may be anything");
        assert_eq!(probe_side(&Memcached, S, &bare(0x81, 0x0a)), Probe::More);
        assert!(!found(C, &[&noop[..], &[0; 40]].concat()), "more zeros");
        assert!(found(C, &noop.repeat(2)) && found(C, &[&noop, BINARY_GET].concat()));
        let answers: [(&[u8], bool); 4] = [
            (&bare(0x81, 0x0a), true),
            (BINARY_VALUE, true),
            (&bare(0x81, 0x07), false),
            (b"HTTP/1.1 400 Bad\r\n", false),
        ];
        for (answer, expected) in answers {
            let heard = hear(&Memcached, &[(C, &noop), (S, answer)]);
            assert_eq!(heard.matched.is_some(), expected, "{}", answer.escape_ascii());
        }
    }

    #[test]
    fn a_shared_command_counts_with_its_reply() {
        let cases: [(&[u8], &[u8], bool); 8] = [
            (b"get key\r\n", b"END\r\n", true),
            (b"delete key\r\n", b"NOT_FOUND\r\n", true),
            (b"incr n 1\r\n", b"42\r\n", true),
            (b"stats\r\n", b"STAT pid 1\r\nEND\r\n", true),
            (b"flush_all\r\n", b"OK\r\n", true),
            (b"get key\r\n", b"$5\r\nvalue\r\n", false),
            (b"version\r\n", b"OK\r\n", false),
            (b"stats\r\n", b"OK 900\r\n---\r\n", false),
        ];
        for (client, server, expected) in cases {
            let heard = hear(&Memcached, &[(C, client), (S, server)]);
            assert_eq!(heard.matched.is_some(), expected, "{}", client.escape_ascii());
            assert!(!expected || heard.fits == [true, true]);
        }
        let (client, server) =
            (Said { bytes: b"get a\r\nget b\r\n", start: Start::Known }, Said::NOTHING);
        let view = View { ended: true, ..View::new(Transport::Tcp, client, server) };
        assert!(matches!(Memcached.probe(&view), Probe::Match(_)), "nobody answered");
        assert!(found(C, &b"get some-key\r\n".repeat(80)));
    }

    #[test]
    fn logins_are_read() {
        let reason = Some(PlaintextReason::NoInBandUpgrade);
        for (answer, refused) in [(DONE, false), (DENIED, true)] {
            let heard = hear(&Memcached, &[(C, PLAIN), (S, answer), (C, BINARY_GET)]);
            assert_eq!((heard.credentials, heard.refused), (Credentials::SASL_PLAIN, refused));
            assert_eq!((heard.fits, heard.reason), ([true, true], reason));
        }
        let denied = b"CLIENT_ERROR authentication failure\r\n";
        let heard = hear(&Memcached, &[(C, b"set auth 0 0 8\r\nuser pwd\r\n"), (S, denied)]);
        assert_eq!((heard.credentials, heard.refused), (Credentials::PASSWORD_CLEARTEXT, true));
        let heard = hear(&Memcached, &[(C, b"set k 0 0 1\r\nx\r\n"), (S, b"HTTP/1.1 400 Bad\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }

    #[test]
    fn joined_late_data_must_be_as_long_as_it_says() {
        let late = |side, bytes: &[u8]| {
            hear_from(&Memcached, &[(side, bytes)], Start::Unknown).matched.is_some()
        };
        assert!(late(C, b"set key 0 0 5\r\nvalue\r\n") && !late(C, b"set key 0 0 5\r\nvalues\r\n"));
        assert!(late(C, b"gets a\r\ngets b\r\n") && !late(C, b"gets a\r\n"));
        assert!(late(S, b"VALUE k 0 1\r\nx\r\nEND\r\n") && !late(S, b"VALUE k 0 1\r\nxy\r\n"));
        assert!(late(S, b"STAT a 1\r\nSTAT b 2\r\n") && !late(S, b"STORED\r\n"));
        assert!(late(C, BINARY_GET) && late(S, &[BINARY_VALUE, BINARY_VALUE].concat()));
    }

    #[test]
    fn datagrams_are_framed() {
        let probe = |side: Side, datagram: &[u8]| {
            let bytes =
                [&u16::try_from(datagram.len()).unwrap().to_be_bytes()[..], datagram].concat();
            let said = Said { bytes: &bytes, start: Start::Known };
            let view = View::new(Transport::Udp, said, Said::NOTHING);
            let view = if side == C { view } else { view.swapped() };
            let answer = Memcached.probe(&view);
            assert_ne!(answer, Probe::More);
            let mut state = FollowState::default();
            let step = Memcached.follow(&mut state, side, said);
            assert!(answer == Probe::No || step.facts.fits && step.consumed == bytes.len());
            answer != Probe::No
        };
        assert!(
            probe(C, b"\x12\x34\0\0\0\x01\0\0stats\r\n")
                && probe(C, &[b"\0\x01\0\0\0\x01\0\0", BINARY_GET].concat())
        );
        assert!(
            probe(S, b"\x12\x34\0\0\0\x03\0\0STAT pid 1\r\nSTAT")
                && probe(S, b"\0\0\0\0\0\x01\0\0END\r\n")
        );
        assert!(
            !probe(C, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www")
                && !probe(C, b"\0\0\0\0\0\x02\0\0stats\r\n")
        );
        assert!(!probe(S, b"\0\0\0\0\0\x01\0\0END\r\nx"));
    }
}
