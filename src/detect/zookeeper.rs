//! Apache `ZooKeeper`: sessions and four-letter words.
//! <https://github.com/apache/zookeeper/blob/master/zookeeper-jute/src/main/resources/zookeeper.jute>
//!
//! Everything is behind a length; the first message is a connect request of a fixed shape, pings are constant.
use super::frames::{self, FITS, Flaw, Read, mark, need, printable, tag};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Start, Step, View};
use crate::{
    bytes::{Cursor, holds},
    model::{Credentials, Mark, Side, Transport},
};

#[cfg(test)]
mod tests;

pub(super) struct Zookeeper;

impl Detector for Zookeeper {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(view, client, server)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let late = said.start == Start::Unknown;
        let step = frames::follow(state, side, said, |state, bytes| match side {
            Side::Client => request(state, bytes, late),
            Side::Server => reply(state, bytes, late),
        });
        let over = state.flags & OVER != 0 && frames::fitted(state, Side::Client);
        if over && step.next == Next::Continue { Step { next: Next::Done, ..step } } else { step }
    }
}

fn client(said: Said<'_>) -> Read<Mark> {
    let connecting = connect(said.bytes, Side::Client);
    match connecting {
        Ok((length, _)) => Ok(mark("zookeeper.connect", Side::Client, length, "ConnectRequest")),
        Err(Flaw::Bad) if said.start == Start::Unknown => late_request(said.bytes),
        Err(Flaw::Bad) => Err(word(said.bytes)),
        Err(flaw) => Err(flaw),
    }
}

fn server(said: Said<'_>) -> Read<Mark> {
    match connect(said.bytes, Side::Server) {
        Ok((length, _)) => Ok(mark("zookeeper.connect", Side::Server, length, "ConnectResponse")),
        Err(Flaw::Bad) if said.start == Start::Unknown => ping_reply(said.bytes),
        Err(Flaw::Bad) => word_reply(said.bytes),
        Err(flaw) => Err(flaw),
    }
}

/// A connect request or its response; returns its length and whether the session was granted.
fn connect(bytes: &[u8], side: Side) -> Read<(usize, bool)> {
    let mut cursor = Cursor::new(bytes);
    // Since 3.4 a flag for read-only servers ends it.
    let (short, long) = if side == Side::Client { (44, 45) } else { (36, 37) };
    let length = frames::length(&mut cursor, short, long)?;
    tag(&mut cursor, &[0; 4])?;
    if side == Side::Client {
        // The last transaction seen.
        need(cursor.peek()? < 0x80)?;
        cursor.skip(8)?;
    }
    let timeout = frames::length(&mut cursor, 0, TIMEOUT_MS_MAX)?;
    need(timeout > 0 || side == Side::Server)?;
    let session = cursor.u64_be()?;
    need((session == 0) == (timeout == 0) || side == Side::Client)?;
    tag(&mut cursor, &[0, 0, 0, PASSWORD_BYTES])?;
    cursor.skip(usize::from(PASSWORD_BYTES))?;
    if cursor.at() < length.saturating_add(4) {
        need(cursor.u8()? <= 1)?;
    }
    Ok((cursor.at(), timeout > 0))
}

/// A four-letter word: other protocols have such words too, the answer has to tell.
fn word(bytes: &[u8]) -> Flaw {
    let shown = bytes.get(..WORD_BYTES).unwrap_or(bytes);
    if !WORDS.iter().any(|word| word.starts_with(shown)) {
        return Flaw::Bad;
    }
    if shown.len() < WORD_BYTES { Flaw::Short } else { Flaw::Weak }
}

fn word_reply(bytes: &[u8]) -> Read<Mark> {
    let mut open = false;
    for (text, constant) in WORD_REPLIES {
        match tag(&mut Cursor::new(bytes), text) {
            Ok(()) => return Ok(mark("zookeeper.word", Side::Server, text.len(), constant)),
            Err(Flaw::Short) => open = true,
            Err(_) => {}
        }
    }
    Err(if open { Flaw::Short } else { Flaw::Bad })
}

/// A request in the middle of a session that proves itself: a ping, or one that is a path and a flag.
fn late_request(bytes: &[u8]) -> Read<Mark> {
    let mut cursor = Cursor::new(bytes);
    if PING.starts_with(bytes.get(..PING.len()).unwrap_or(bytes)) {
        tag(&mut cursor, PING)?;
        return Ok(mark("zookeeper.ping", Side::Client, PING.len(), "xid -2 type 11"));
    }
    let length = frames::length(&mut cursor, REQUEST_BYTES_MIN, REQUEST_BYTES_MAX)?;
    need(cursor.peek()? < 0x80)?;
    cursor.skip(4)?;
    tag(&mut cursor, &[0, 0, 0])?;
    need(matches!(cursor.u8()?, EXISTS | GET_DATA | GET_CHILDREN | GET_CHILDREN_2))?;
    let path = frames::length(&mut cursor, 1, REQUEST_BYTES_MAX)?;
    need(path.saturating_add(REQUEST_FIXED_BYTES) == length)?;
    need(cursor.peek()? == b'/')?;
    frames::all(&mut cursor, path, printable)?;
    need(cursor.u8()? <= 1)?;
    Ok(mark("zookeeper.request", Side::Client, cursor.at(), "path request"))
}

/// The answer to a ping: xid -2, a transaction id, no error.
fn ping_reply(bytes: &[u8]) -> Read<Mark> {
    let mut cursor = Cursor::new(bytes);
    tag(&mut cursor, b"\0\0\0\x10\xff\xff\xff\xfe")?;
    need(cursor.peek()? < 0x80)?;
    cursor.skip(8)?;
    tag(&mut cursor, &[0; 4])?;
    Ok(mark("zookeeper.ping", Side::Server, cursor.at(), "xid -2"))
}

fn request(state: &mut FollowState, bytes: &[u8], late: bool) -> Read<Step> {
    let mut cursor = Cursor::new(bytes);
    if !frames::fitted(state, Side::Client) {
        match connect(bytes, Side::Client) {
            Ok((length, _)) => return Ok(Step::read(length, FITS)),
            Err(Flaw::Bad) => {}
            Err(flaw) => return Err(flaw),
        }
        match word(bytes) {
            Flaw::Weak => {
                state.flags |= WORD;
                return Ok(Step::read(bytes.len(), FITS));
            }
            Flaw::Bad if late => {
                late_request(bytes)?;
            }
            flaw => return Err(flaw),
        }
    }
    if state.flags & WORD != 0 {
        return Ok(Step::read(bytes.len(), Facts::NONE));
    }
    let length = frames::length(&mut cursor, 8, REQUEST_BYTES_MAX)?;
    let consumed = length.saturating_add(4);
    let (xid, kind) = (cursor.u32_be()?, cursor.u32_be()?);
    need(kind <= KIND_MAX || kind >= KIND_CLOSE)?;
    let facts = match (xid, kind) {
        (XID_AUTH, AUTH) => {
            cursor.skip(4)?;
            let scheme = frames::length(&mut cursor, 0, SCHEME_BYTES_MAX)?;
            match cursor.take(scheme)? {
                b"digest" => {
                    let found = mark("zookeeper.auth", Side::Client, 12, "digest");
                    frames::secret(Credentials::PASSWORD_CLEARTEXT, found)
                }
                _ => FITS,
            }
        }
        (_, SASL) => {
            let token = frames::length(&mut cursor, 0, REQUEST_BYTES_MAX)?;
            let shown = cursor.take(token.min(TOKEN_BYTES_READ))?;
            let digest = holds(shown, DIGEST_MD5);
            let kinds =
                if digest { Credentials::PASSWORD_HASH_CHALLENGE } else { Credentials::NONE };
            frames::secret(kinds, mark("zookeeper.sasl", Side::Client, 12, "DIGEST-MD5"))
        }
        _ => FITS,
    };
    Ok(Step::read(consumed, facts))
}

fn reply(state: &mut FollowState, bytes: &[u8], late: bool) -> Read<Step> {
    if !frames::fitted(state, Side::Server) {
        match connect(bytes, Side::Server) {
            Ok((length, true)) => return Ok(Step::read(length, ACCEPTED)),
            Ok((length, false)) => {
                let found = mark("zookeeper.refused", Side::Server, length, "session expired");
                return Ok(Step::read(length, frames::refusal(found)));
            }
            Err(Flaw::Bad) => {}
            Err(flaw) => return Err(flaw),
        }
        match word_reply(bytes) {
            Ok(_) => {
                state.flags |= OVER;
                return Ok(Step::read(bytes.len(), ACCEPTED));
            }
            Err(Flaw::Bad) => {}
            Err(flaw) => return Err(flaw),
        }
        // The answers to some words begin in their own ways.
        if state.flags & WORD != 0 {
            need(bytes.first().is_some_and(u8::is_ascii))?;
            state.flags |= OVER;
            return Ok(Step::read(bytes.len(), ACCEPTED));
        }
        if !late {
            return Err(Flaw::Bad);
        }
        ping_reply(bytes)?;
    }
    let mut cursor = Cursor::new(bytes);
    let length = frames::length(&mut cursor, 16, REPLY_BYTES_MAX)?;
    let (xid, _zxid, error) = (cursor.u32_be()?, cursor.u64_be()?, cursor.u32_be()?);
    let consumed = length.saturating_add(4);
    if xid == XID_AUTH && error == AUTH_FAILED {
        let found = mark("zookeeper.refused", Side::Server, 20, "AUTHFAILED");
        return Ok(Step::read(consumed, frames::refusal(found)));
    }
    Ok(Step::read(consumed, ACCEPTED))
}

const ACCEPTED: Facts = Facts { accepted: true, ..FITS };
const WORD: u16 = 1;
const OVER: u16 = 1 << 1;
const TIMEOUT_MS_MAX: u32 = 24 * 3_600_000;
const PASSWORD_BYTES: u8 = 16;
const WORD_BYTES: usize = 4;
static WORDS: &[&[u8]] = &[
    b"ruok", b"stat", b"srvr", b"mntr", b"conf", b"cons", b"crst", b"dump", b"envi", b"srst",
    b"wchc", b"wchp", b"wchs", b"isro", b"dirs", b"gtmk", b"stmk", b"hash", b"icfg", b"lsnp",
];
static WORD_REPLIES: &[(&[u8], &str)] = &[
    (b"imok", "imok"),
    (b"Zookeeper version: ", "Zookeeper version"),
    (b"zk_version\t", "zk_version"),
    (b"clientPort=", "clientPort"),
    (b"Environment:\nzookeeper.version=", "zookeeper.version"),
    (b"SessionTracker dump:\n", "SessionTracker dump"),
    (b"This ZooKeeper instance is not", "This ZooKeeper instance"),
];
const PING: &[u8] = b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b";
const REQUEST_BYTES_MIN: u32 = 14;
/// `jute.maxbuffer` is 1 MiB unless told otherwise.
const REQUEST_BYTES_MAX: u32 = 16 << 20;
const REPLY_BYTES_MAX: u32 = 64 << 20;
/// xid, type, length of the path, flag.
const REQUEST_FIXED_BYTES: usize = 13;
const EXISTS: u8 = 3;
const GET_DATA: u8 = 4;
const GET_CHILDREN: u8 = 8;
const GET_CHILDREN_2: u8 = 12;
const KIND_MAX: u32 = 128;
/// closeSession is -11, createSession -10.
const KIND_CLOSE: u32 = u32::MAX - 15;
const XID_AUTH: u32 = u32::MAX - 3;
const AUTH: u32 = 100;
const SASL: u32 = 102;
/// -115
const AUTH_FAILED: u32 = u32::MAX - 114;
const SCHEME_BYTES_MAX: u32 = 64;
const TOKEN_BYTES_READ: usize = 512;
const DIGEST_MD5: &[u8] = b"response=";

static INFO: Info = Info {
    name: "zookeeper",
    title: "Apache ZooKeeper",
    spec: "https://github.com/apache/zookeeper/blob/master/zookeeper-jute/src/main/resources/zookeeper.jute",
    ports: &[2181],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
};
