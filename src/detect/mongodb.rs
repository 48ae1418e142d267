//! `MongoDB` and what speaks its protocol (`DocumentDB`, Cosmos DB).
//! <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>
//!
//! A header of four little-endian numbers ends in the opcode; what follows it is checked down to the first element of
//! the first BSON document.
use super::frames::{self, FITS, Flaw, Read, mark, need, tag};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

mod bson;
#[cfg(test)]
mod tests;

pub(super) struct Mongodb;

impl Detector for Mongodb {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(view, |said| proof(Side::Client, said), |said| proof(Side::Server, said))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        frames::follow(state, side, said, |state, bytes| message(state, side, bytes))
    }
}

fn proof(side: Side, said: Said<'_>) -> Read<Mark> {
    let mut cursor = Cursor::new(said.bytes);
    let header = Header::read(&mut cursor, side)?;
    header.body(&mut cursor)?;
    let rule = match side {
        Side::Client => "mongodb.request",
        Side::Server => "mongodb.reply",
    };
    Ok(mark(rule, side, cursor.at(), header.opcode.name()))
}

/// `MsgHeader`.
struct Header {
    length: usize,
    opcode: Opcode,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Reply,
    Update,
    Insert,
    Query,
    GetMore,
    Delete,
    KillCursors,
    Compressed,
    Msg,
}

impl Opcode {
    const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Reply,
            2001 => Self::Update,
            2002 => Self::Insert,
            2004 => Self::Query,
            2005 => Self::GetMore,
            2006 => Self::Delete,
            2007 => Self::KillCursors,
            2012 => Self::Compressed,
            2013 => Self::Msg,
            _ => return None,
        })
    }

    const fn is_from(self, side: Side) -> bool {
        match self {
            Self::Msg | Self::Compressed => true,
            Self::Reply => matches!(side, Side::Server),
            _ => matches!(side, Side::Client),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Reply => "OP_REPLY",
            Self::Update => "OP_UPDATE",
            Self::Insert => "OP_INSERT",
            Self::Query => "OP_QUERY",
            Self::GetMore => "OP_GET_MORE",
            Self::Delete => "OP_DELETE",
            Self::KillCursors => "OP_KILL_CURSORS",
            Self::Compressed => "OP_COMPRESSED",
            Self::Msg => "OP_MSG",
        }
    }
}

impl Header {
    fn read(cursor: &mut Cursor<'_>, side: Side) -> Read<Self> {
        let length = cursor.u32_le()?;
        need((LENGTH_MIN..=LENGTH_MAX).contains(&length))?;
        cursor.skip(4)?;
        let response_to = cursor.u32_le()?;
        // Only answers answer something (some old clients write -1); one to request 0 is told by its opcode.
        need(side == Side::Server || matches!(response_to, 0 | u32::MAX))?;
        let opcode = Opcode::from_number(cursor.u32_le()?).ok_or(Flaw::Bad)?;
        let told = side == Side::Client || response_to != 0 || opcode == Opcode::Reply;
        need(opcode.is_from(side) && told)?;
        Ok(Self { length: usize::try_from(length).map_err(|_| Flaw::Bad)?, opcode })
    }

    const fn left(&self, cursor: &Cursor<'_>) -> usize {
        self.length.saturating_sub(cursor.at())
    }

    /// Checks the fixed fields and the beginning of the first document.
    fn body(&self, cursor: &mut Cursor<'_>) -> Read<()> {
        match self.opcode {
            Opcode::Msg => {
                need(cursor.u32_le()? & !MSG_FLAGS == 0)?;
                if cursor.u8()? != 0 {
                    return self.sequence(cursor);
                }
            }
            Opcode::Query => {
                need(cursor.u32_le()? < QUERY_FLAGS_END)?;
                namespace(cursor)?;
                cursor.skip(8)?;
            }
            Opcode::Reply => {
                need(cursor.u32_le()? < REPLY_FLAGS_END)?;
                cursor.skip(12)?;
                let documents = cursor.u32_le()?;
                need(documents <= DOCUMENTS_MAX)?;
                if documents == 0 {
                    return need(self.length == cursor.at());
                }
                // Small numbers look like an answer of empty documents; servers always say something in it.
                let mut ahead = *cursor;
                need(usize::try_from(ahead.u32_le()?).is_ok_and(|n| n > bson::DOCUMENT_BYTES_MIN))?;
            }
            Opcode::Compressed => {
                let original = Opcode::from_number(cursor.u32_le()?).ok_or(Flaw::Bad)?;
                need(original != Opcode::Compressed)?;
                need((1..=LENGTH_MAX).contains(&cursor.u32_le()?))?;
                return need(cursor.u8()? <= COMPRESSORS_MAX && self.left(cursor) > 0);
            }
            Opcode::KillCursors => {
                tag(cursor, &[0; 4])?;
                let bytes = usize::try_from(cursor.u32_le()?).unwrap_or(usize::MAX);
                return need(bytes > 0 && self.left(cursor) == bytes.saturating_mul(8));
            }
            Opcode::GetMore => {
                tag(cursor, &[0; 4])?;
                namespace(cursor)?;
                cursor.skip(4)?;
                return need(self.left(cursor) == 8);
            }
            Opcode::Insert => {
                need(cursor.u32_le()? <= 1)?;
                namespace(cursor)?;
            }
            Opcode::Update | Opcode::Delete => {
                tag(cursor, &[0; 4])?;
                namespace(cursor)?;
                need(cursor.u32_le()? <= 3)?;
            }
        }
        bson::opening(cursor, self.left(cursor))
    }

    /// A document sequence before the body: size, identifier, documents.
    fn sequence(&self, cursor: &mut Cursor<'_>) -> Read<()> {
        let size = usize::try_from(cursor.u32_le()?).unwrap_or(usize::MAX);
        need(size <= self.left(cursor).saturating_add(4))?;
        need(!bson::name(cursor)?.is_empty())?;
        bson::opening(cursor, self.left(cursor))
    }
}

/// `database.collection`
fn namespace(cursor: &mut Cursor<'_>) -> Read<()> {
    let name = bson::name(cursor)?;
    need(name.len() >= 3 && name.contains(&b'.'))
}

fn message(state: &mut FollowState, side: Side, bytes: &[u8]) -> Read<Step> {
    let mut cursor = Cursor::new(bytes);
    let header = Header::read(&mut cursor, side)?;
    header.body(&mut cursor)?;
    let shown = bytes.get(..header.length.min(DOCUMENT_BYTES_READ)).ok_or(Flaw::Short)?;
    let mut cursor = Cursor::new(shown);
    cursor.skip(HEADER_BYTES)?;
    let document = match header.opcode {
        Opcode::Msg => {
            cursor.skip(4)?;
            (cursor.u8()? == 0).then(|| cursor.rest())
        }
        Opcode::Query => {
            cursor.skip(4)?;
            cursor.until(0)?;
            cursor.skip(8)?;
            Some(cursor.rest())
        }
        Opcode::Reply => shown.get(HEADER_BYTES.saturating_add(20)..),
        _ => None,
    };
    let facts = match (side, document) {
        (Side::Client, Some(document)) => asked(document),
        (Side::Server, Some(document)) => answered(state, document),
        (Side::Server, None) => {
            state.flags |= IN_USE;
            Facts { accepted: true, ..FITS }
        }
        (Side::Client, None) => FITS,
    };
    let [.., messages] = state.words;
    let over = state.flags & IN_USE != 0 && messages >= MESSAGES_READ;
    let next = if over { Next::Done } else { Next::Continue };
    Ok(Step { consumed: header.length, facts, next })
}

/// Secrets in a command. `hello` may carry the beginning of a login.
fn asked(document: &[u8]) -> Facts {
    let mut kinds = login(document);
    let mut user = false;
    for (at, element) in bson::elements(document).enumerate() {
        user |= at == 0 && matches!(element.name, b"createUser" | b"updateUser");
        if element.name == b"speculativeAuthenticate" {
            kinds = kinds.with(login(element.value));
        }
        if user && element.name == b"pwd" {
            kinds = kinds.with(Credentials::PASSWORD_CLEARTEXT);
        }
    }
    frames::secret(kinds, mark("mongodb.credentials", Side::Client, 16, "saslStart"))
}

/// What `saslStart` or `authenticate` sends, by mechanism.
fn login(document: &[u8]) -> Credentials {
    let (mut starts, mut key) = (false, false);
    let mut mechanism: &[u8] = &[];
    for (at, element) in bson::elements(document).enumerate() {
        starts |= at == 0 && matches!(element.name, b"saslStart" | b"authenticate");
        key |= element.name == b"key";
        if element.name == b"mechanism" {
            mechanism = element.text();
        }
    }
    match mechanism {
        _ if !starts => Credentials::NONE,
        b"PLAIN" => Credentials::SASL_PLAIN,
        b"MONGODB-OIDC" => Credentials::BEARER_TOKEN,
        [b'S', b'C', b'R', b'A', b'M', ..] | b"MONGODB-CR" => Credentials::PASSWORD_HASH_CHALLENGE,
        b"" if key => Credentials::PASSWORD_HASH_CHALLENGE,
        _ => Credentials::NONE,
    }
}

/// What an answer says of the session.
fn answered(state: &mut FollowState, document: &[u8]) -> Facts {
    let (mut fine, mut greeting, mut conversation, mut done) = (true, false, false, false);
    let mut code = 0;
    for element in bson::elements(document) {
        match element.name {
            b"ok" => fine = element.value.iter().any(|byte| *byte != 0),
            b"code" => code = element.number(),
            b"maxWireVersion" | b"ismaster" | b"isWritablePrimary" => greeting = true,
            b"conversationId" => conversation = true,
            b"done" => done = element.value.contains(&1),
            _ => {}
        }
    }
    if !fine && state.flags & IN_USE == 0 && matches!(code, UNAUTHORIZED | AUTHENTICATION_FAILED) {
        let constant = if code == UNAUTHORIZED { "Unauthorized" } else { "AuthenticationFailed" };
        return frames::refusal(mark("mongodb.refused", Side::Server, 16, constant));
    }
    if !fine || greeting || conversation && !done {
        return FITS;
    }
    state.flags |= IN_USE;
    Facts { accepted: true, ..FITS }
}

const IN_USE: u16 = 1;
const HEADER_BYTES: usize = 16;
const LENGTH_MIN: u32 = 26;
/// `maxMessageSizeBytes`.
const LENGTH_MAX: u32 = 48_000_000;
/// checksumPresent, moreToCome, exhaustAllowed.
const MSG_FLAGS: u32 = 1 << 16 | 3;
const QUERY_FLAGS_END: u32 = 1 << 8;
const REPLY_FLAGS_END: u32 = 1 << 4;
const DOCUMENTS_MAX: u32 = 1 << 20;
const COMPRESSORS_MAX: u8 = 3;
const DOCUMENT_BYTES_READ: usize = 4096;
const MESSAGES_READ: u32 = 24;
const UNAUTHORIZED: u32 = 13;
const AUTHENTICATION_FAILED: u32 = 18;

static INFO: Info = Info {
    name: "mongodb",
    title: "MongoDB",
    spec: "https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/",
    ports: &[27017, 27018, 27019],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::SASL_PLAIN
        .with(Credentials::PASSWORD_CLEARTEXT)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};
