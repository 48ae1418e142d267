//! Bolt, the protocol of Neo4j. <https://neo4j.com/docs/bolt/current/bolt/message/>
//!
//! The client opens with a magic number and four versions, the server picks one; then messages in chunks follow, each a
//! structure of `PackStream`. Over WebSocket the same is HTTP first.
use super::store::{self, Flaw, Read, mark, need};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, holds},
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Bolt;

impl Detector for Bolt {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, |said| prove(Side::Client, said), |said| prove(Side::Server, said))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let usual = Some(PlaintextReason::NoInBandUpgrade);
        store::read_on(state, side, said, usual, |state, bytes| match side {
            _ if !store::has_spoken(state, side) => opening(state, side, bytes),
            Side::Client => client_chunk(state, bytes),
            Side::Server => server_chunk(state, bytes),
        })
    }
}

fn prove(side: Side, said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let opening = match side {
        Side::Client => handshake(&mut c),
        Side::Server => answer(&mut c).and_then(|()| reply(&mut c)),
    };
    let (rule, constant) = match (opening, side, said.start) {
        (Ok(()), Side::Client, _) => ("bolt.handshake", "6060B017"),
        (Ok(()), Side::Server, _) => ("bolt.reply", "version, SUCCESS"),
        (Err(Flaw::Bad), _, Start::Unknown) => {
            c = Cursor::new(said.bytes);
            message(&mut c, side)?;
            message(&mut c, side)?;
            ("bolt.messages", "structures in chunks")
        }
        (Err(flaw), _, _) => return Err(flaw),
    };
    Ok(store::plaintext(mark(rule, side, 0, c.at(), constant)))
}

/// The magic number and the first of four versions: a zero, a range, minor, major; or the manifest's mark.
fn handshake(c: &mut Cursor<'_>) -> Read<()> {
    store::expect(c, MAGIC)?;
    store::expect(c, &[0])?;
    let range = c.u8()?;
    let minor = c.u8()?;
    let major = c.u8()?;
    need(major <= VERSION_MAX && range <= minor || [range, minor, major] == MANIFEST)
}

/// The version the server picks.
fn answer(c: &mut Cursor<'_>) -> Read<()> {
    store::expect(c, &[0, 0])?;
    store::byte(c, |minor| minor <= MINOR_MAX)?;
    store::byte(c, |major| (1..=VERSION_MAX).contains(&major)).map(|_| ())
}

/// The first reply: SUCCESS or FAILURE with a map whose first key is a short word.
fn reply(c: &mut Cursor<'_>) -> Read<()> {
    let length = c.u16_be()?;
    need(length >= 4)?;
    store::expect(c, &[0xb1])?;
    store::byte(c, |signature| matches!(signature, SUCCESS | FAILURE))?;
    store::byte(c, |map| matches!(map, 0xa1..=0xaf | 0xd8))?;
    let key = usize::from(store::byte(c, |key| matches!(key, 0x82..=0x8f))? & 0xf);
    store::all(c, key, |b| b.is_ascii_lowercase() || b == b'_').map(|_| ())
}

/// A whole message of one chunk.
fn message(c: &mut Cursor<'_>, side: Side) -> Read<()> {
    let length = usize::from(c.u16_be()?);
    need((2..=LATE_BYTES_MAX).contains(&length))?;
    let fields = store::byte(c, |b| matches!(b, 0xb0..=0xb4))?;
    let signature = c.u8()?;
    need(signatures(side).contains(&(signature, fields & 0xf)))?;
    c.skip(length.saturating_sub(2))?;
    store::expect(c, &[0, 0])
}

fn opening(state: &mut FollowState, side: Side, bytes: &[u8]) -> Read<Step> {
    let mut c = Cursor::new(bytes);
    if side == Side::Client {
        handshake(&mut c)?;
        c = Cursor::new(bytes);
        c.skip(HANDSHAKE_BYTES)?;
        return Ok(Step::read(c.at(), Facts::FITS));
    }
    if c.u8()? == 0 && c.u8()? == 0 && c.u8()? == 0 && c.u8()? == 0 {
        let facts = Facts { refused: true, ..Facts::FITS };
        return Ok(Step { consumed: 4, facts, next: Next::Done });
    }
    c = Cursor::new(bytes);
    let [zero, range, minor, major] = c.array::<4>()?;
    let [_, logins, ..] = &mut state.words;
    if zero == 0 && [range, minor, major] == MANIFEST {
        // A count, as many versions, a capability mask; the client picks with four bytes and a mask.
        *logins = 2;
        let versions = usize::from(store::byte(&mut c, |n| n < 0x80)?);
        c.skip(versions.saturating_mul(4))?;
        c.skip(1)?;
        return Ok(Step::read(c.at(), Facts::FITS));
    }
    answer(&mut Cursor::new(bytes))?;
    // Since 5.1 HELLO and LOGON are two messages.
    *logins = if (major, minor) >= (5, 1) { 2 } else { 1 };
    Ok(Step::read(4, Facts::FITS))
}

/// Signature, number of fields, and the fields.
type Head<'a> = (u8, u8, &'a [u8]);

/// Reads the beginning of a chunk: its length, and the structure that begins with it.
fn chunk<'a>(flags: &mut u16, open: u16, bytes: &'a [u8]) -> Read<(usize, Option<Head<'a>>)> {
    let mut c = Cursor::new(bytes);
    let length = usize::from(c.u16_be()?);
    if length == 0 {
        *flags &= !open;
        return Ok((2, None));
    }
    let body = c.take(length.min(store::SHOWN_BYTES_MAX))?;
    let consumed = length.saturating_add(2);
    if *flags & open != 0 {
        return Ok((consumed, None));
    }
    let mut c = Cursor::new(body);
    let fields = store::byte(&mut c, |b| matches!(b, 0xb0..=0xb4))? & 0xf;
    let signature = c.u8().map_err(|_| Flaw::Bad)?;
    *flags |= open;
    Ok((consumed, Some((signature, fields, c.rest()))))
}

fn client_chunk(state: &mut FollowState, bytes: &[u8]) -> Read<Step> {
    let mut c = Cursor::new(bytes);
    let [picked, ..] = &mut state.words;
    if *picked == 0 && c.u16_be()? == 0 {
        // No message is empty here: the version picked from the manifest.
        c.skip(3)?;
        *picked = 1;
        return Ok(Step::read(c.at(), Facts::FITS));
    }
    *picked = 1;
    let (consumed, structure) = chunk(&mut state.flags, CLIENT_MESSAGE, bytes)?;
    let Some((signature, fields, body)) = structure else {
        return Ok(Step::read(consumed, Facts::NONE));
    };
    need(signatures(Side::Client).contains(&(signature, fields)))?;
    let mut facts = Facts::FITS;
    if !matches!(signature, HELLO | LOGON) {
        store::over(state, Side::Client);
        return Ok(Step::read(consumed, facts));
    }
    if holds(body, b"\x8bcredentials") {
        let kind = if holds(body, b"\x86scheme\x86bearer") {
            Credentials::BEARER_TOKEN
        } else if holds(body, b"\x86scheme\x88kerberos") {
            Credentials::NONE
        } else {
            Credentials::PASSWORD_CLEARTEXT
        };
        let constant = if signature == LOGON { "LOGON" } else { "HELLO" };
        facts.credentials = kind;
        facts.mark = (!kind.is_empty())
            .then(|| mark("bolt.credentials", Side::Client, 0, consumed, constant));
    }
    Ok(Step::read(consumed, facts))
}

fn server_chunk(state: &mut FollowState, bytes: &[u8]) -> Read<Step> {
    let (consumed, structure) = chunk(&mut state.flags, SERVER_MESSAGE, bytes)?;
    let Some((signature, fields, _)) = structure else {
        return Ok(Step::read(consumed, Facts::NONE));
    };
    need(signatures(Side::Server).contains(&(signature, fields)))?;
    let mut facts = Facts::FITS;
    let [_, logins, ..] = &mut state.words;
    *logins = logins.saturating_sub(1);
    facts.refused = signature == FAILURE;
    facts.accepted = signature == SUCCESS && *logins == 0;
    if *logins == 0 || facts.refused {
        store::over(state, Side::Server);
    }
    Ok(Step::read(consumed, facts))
}

/// Signatures of a side's messages and their numbers of fields.
const fn signatures(side: Side) -> &'static [(u8, u8)] {
    match side {
        Side::Client => &[
            (HELLO, 1),
            (HELLO, 2),
            (LOGON, 1),
            (0x6b, 0),
            (0x54, 1),
            (0x02, 0),
            (0x0e, 0),
            (0x0f, 0),
            (0x10, 2),
            (0x10, 3),
            (0x11, 1),
            (0x12, 0),
            (0x13, 0),
            (0x2f, 0),
            (0x2f, 1),
            (0x3f, 0),
            (0x3f, 1),
            (0x66, 3),
        ],
        Side::Server => &[(SUCCESS, 1), (0x71, 1), (0x7e, 0), (FAILURE, 1)],
    }
}

const MAGIC: &[u8] = b"\x60\x60\xb0\x17";
/// Range, minor and major of the version that asks for a list.
const MANIFEST: [u8; 3] = [0, 1, 0xff];
const HANDSHAKE_BYTES: usize = 20;
const VERSION_MAX: u8 = 7;
const MINOR_MAX: u8 = 15;
const LATE_BYTES_MAX: usize = 8 * 1024;
const HELLO: u8 = 0x01;
const LOGON: u8 = 0x6a;
const SUCCESS: u8 = 0x70;
const FAILURE: u8 = 0x7f;
// Flags.
const CLIENT_MESSAGE: u16 = 1;
const SERVER_MESSAGE: u16 = 1 << 1;

static INFO: Info = Info {
    name: "bolt",
    title: "Bolt (Neo4j)",
    spec: "https://neo4j.com/docs/bolt/current/bolt/",
    ports: &[7687],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const OPEN: &[u8] = b"\x60\x60\xb0\x17\0\x01\x01\x05\0\x02\x04\x04\0\0\x01\x04\0\0\0\x03";
    const VERSION: &[u8] = b"\0\0\x01\x05";
    const OK: &[u8] = b"\x00\x10\xb1\x70\xa1\x86server\x85Neo4j\0\0";
    const LOGGED_IN: &[u8] = b"\x00\x03\xb1\x70\xa0\0\0";
    const DENIED: &[u8] = b"\x00\x0b\xb1\x7f\xa1\x84code\x82No\0\0";

    fn message(body: &[u8]) -> Vec<u8> {
        [&u16::try_from(body.len()).unwrap().to_be_bytes(), body, &[0, 0]].concat()
    }

    fn login(scheme: &[u8]) -> Vec<u8> {
        let map: &[u8] = b"\xb1\x6a\xa3\x86scheme";
        let scheme = [&[0x80 | u8::try_from(scheme.len()).unwrap()], scheme].concat();
        message(&[map, &scheme, b"\x89principal\x81u\x8bcredentials\x81p"].concat())
    }

    #[test]
    fn the_handshake_proves_the_client_and_the_first_reply_the_server() {
        let found = |side, bytes: &[u8]| matches!(probe_side(&Bolt, side, bytes), Probe::Match(_));
        assert!(found(C, OPEN) && found(S, &[VERSION, OK].concat()));
        assert!(found(C, b"\x60\x60\xb0\x17\0\0\x01\xff\0\x01\x01\x05"));
        assert!(found(S, &[VERSION, DENIED].concat()));
        let others: [&[u8]; 6] = [
            b"\x60\x60\xb0\x18\0\0\x01\x05",
            b"\x60\x60\xb0\x17\x01\0\x01\x05",
            b"\0\0\x01\x05",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\0\0\x01\x05\0\x10\xb1\x71\x91\x01",
            b"\x16\x03\x01\x02\x00\x01",
        ];
        for bytes in others {
            assert!(!found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_login_shows_its_credentials() {
        let hello = message(b"\xb1\x01\xa1\x8auser_agent\x81x");
        for (scheme, kind) in [
            (&b"basic"[..], Credentials::PASSWORD_CLEARTEXT),
            (b"bearer", Credentials::BEARER_TOKEN),
            (b"kerberos", Credentials::NONE),
        ] {
            let heard = hear(
                &Bolt,
                &[
                    (C, OPEN),
                    (S, VERSION),
                    (C, &hello),
                    (S, OK),
                    (C, &login(scheme)),
                    (S, LOGGED_IN),
                ],
            );
            assert_eq!((heard.credentials, heard.refused), (kind, false));
            assert_eq!(heard.fits, [true, true]);
            assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        }
        let lines = [(C, OPEN), (S, VERSION), (C, &hello[..]), (S, OK), (S, DENIED)];
        assert!(hear(&Bolt, &lines).refused);
        assert!(hear(&Bolt, &[(C, OPEN), (S, b"\0\0\0\0")]).refused);
        let heard = hear(&Bolt, &[(C, OPEN), (S, b"HTTP/1.1 400 Bad Request\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }

    #[test]
    fn a_manifest_is_answered_by_a_list() {
        let open = b"\x60\x60\xb0\x17\0\0\x01\xff\0\x08\x08\x05\0\x02\x04\x04\0\0\0\x03";
        let list = b"\0\0\x01\xff\x01\0\x08\x08\x05\x00";
        let picked = b"\0\0\x08\x05\x00";
        let heard = hear(
            &Bolt,
            &[(C, open), (S, list), (C, picked), (C, &login(b"basic")), (S, OK), (S, LOGGED_IN)],
        );
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
    }

    #[test]
    fn joined_late_two_messages_are_proof() {
        let late = |side, bytes: &[u8]| {
            hear_from(&Bolt, &[(side, bytes)], Start::Unknown).matched.is_some()
        };
        let run = message(b"\xb3\x10\x88RETURN 1\xa0\xa0");
        let pull = message(b"\xb1\x3f\xa1\x81n\xff");
        let record = message(b"\xb1\x71\x91\x01");
        assert!(late(C, &[&run[..], &pull].concat()) && !late(C, &run));
        assert!(late(S, &[OK, &record].concat()) && !late(S, &[&run[..], &pull].concat()));
    }
}
