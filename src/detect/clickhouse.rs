//! `ClickHouse` native protocol. <https://clickhouse.com/docs/native-protocol/basics>
//!
//! Both sides open with Hello: packet code 0, a name, versions. The client's carries user and password. Later packets
//! hold blocks of columns, whose fixed block info gives them away; compressed ones do not tell.
use super::store::{self, Flaw, Read, mark, need, printable};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, find},
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Clickhouse;

impl Detector for Clickhouse {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, |said| prove(Side::Client, said), |said| prove(Side::Server, said))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let usual = Some(PlaintextReason::NoInBandUpgrade);
        store::read_on(state, side, said, usual, |state, bytes| {
            let mut c = Cursor::new(bytes);
            let mut facts = Facts::FITS;
            match side {
                Side::Client => {
                    let user = client_hello(&mut c)?;
                    let password = string(&mut c, SECRET_BYTES_MAX, |_| true)?;
                    facts.credentials = match user {
                        b" JWT AUTHENTICATION " => Credentials::BEARER_TOKEN,
                        // A signature follows.
                        b" INTERSERVER SECRET " => Credentials::PASSWORD_HASH_CHALLENGE,
                        _ if password.is_empty() => Credentials::NONE,
                        _ => Credentials::PASSWORD_CLEARTEXT,
                    };
                    facts.mark = (!facts.credentials.is_empty())
                        .then(|| mark("clickhouse.credentials", side, 0, c.at(), "Hello"));
                }
                Side::Server => match server_opening(&mut c)? {
                    EXCEPTION => facts.refused = true,
                    _ => facts.accepted = true,
                },
            }
            store::over(state, side);
            Ok(Step::read(bytes.len(), facts))
        })
    }
}

fn prove(side: Side, said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let opening = match side {
        Side::Client => client_hello(&mut c).map(|_| "Hello"),
        Side::Server => server_opening(&mut c)
            .map(|code| if code == EXCEPTION { "Exception" } else { "Hello ClickHouse" }),
    };
    match opening {
        Ok(constant) => Ok(store::plaintext(mark("clickhouse.hello", side, 0, c.at(), constant))),
        Err(Flaw::Bad) if said.start == Start::Unknown => late(side, said.bytes),
        Err(flaw) => Err(flaw),
    }
}

/// Reads the client's Hello up to the user, which it returns.
fn client_hello<'a>(c: &mut Cursor<'a>) -> Read<&'a [u8]> {
    store::expect(c, &[HELLO])?;
    let length = store::byte(c, |n| (NAME_BYTES_MIN..=NAME_BYTES_MAX).contains(&n))?;
    store::all(c, usize::from(length), printable)?;
    versions(c)?;
    string(c, TEXT_BYTES_MAX, printable)?;
    string(c, TEXT_BYTES_MAX, printable)
}

/// The server's Hello or an Exception in its place; returns the packet code.
fn server_opening(c: &mut Cursor<'_>) -> Read<u8> {
    let code = store::byte(c, |code| matches!(code, HELLO | EXCEPTION))?;
    if code == EXCEPTION {
        // The error code is below 65536.
        c.skip(2)?;
        store::expect(c, b"\0\0\x0dDB::Exception")?;
        return Ok(code);
    }
    store::expect(c, SERVER_NAME)?;
    versions(c)?;
    Ok(code)
}

/// Major and minor version, and the revision of the protocol.
fn versions(c: &mut Cursor<'_>) -> Read<()> {
    store::byte(c, |major| major < 100)?;
    store::byte(c, |minor| minor < 100)?;
    need(matches!(varint(c)?, 50_000..=59_999))
}

fn string<'a>(c: &mut Cursor<'a>, max: u32, sound: impl Fn(u8) -> bool) -> Read<&'a [u8]> {
    let length = varint(c)?;
    need(length <= max)?;
    store::all(c, store::size(length), sound)
}

/// LEB128 of up to four bytes.
fn varint(c: &mut Cursor<'_>) -> Read<u32> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let byte = c.u8()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Flaw::Bad)
}

/// Joined late: the block info of an uncompressed block, or a query with its id.
fn late(side: Side, bytes: &[u8]) -> Read<Match> {
    if side == Side::Client && query(&mut Cursor::new(bytes)).is_ok() {
        return Ok(store::plaintext(mark("clickhouse.query", side, 0, 38, "Query with id")));
    }
    if let Some(at) = find(bytes, BLOCK_INFO) {
        let found = mark("clickhouse.block", side, at, BLOCK_INFO.len(), "block info");
        return Ok(store::plaintext(found));
    }
    Err(if bytes.len() < SCAN_BYTES_MAX { Flaw::Short } else { Flaw::Bad })
}

/// A Query packet whose id is a UUID.
fn query(c: &mut Cursor<'_>) -> Read<()> {
    store::expect(c, &[QUERY, 36])?;
    for (at, digits) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        store::all(c, digits, |b| b.is_ascii_hexdigit())?;
        if at < 4 {
            store::expect(c, b"-")?;
        }
    }
    Ok(())
}

const HELLO: u8 = 0;
const QUERY: u8 = 1;
const EXCEPTION: u8 = 2;
/// Client names are free; the shortest known is `ClickHouse `.
const NAME_BYTES_MIN: u8 = 6;
const NAME_BYTES_MAX: u8 = 127;
const SERVER_NAME: &[u8] = b"\x0aClickHouse";
const TEXT_BYTES_MAX: u32 = 256;
const SECRET_BYTES_MAX: u32 = 8192;
const SCAN_BYTES_MAX: usize = 2048;
/// No overflow rows, bucket -1, end; behind the empty name of a table.
const BLOCK_INFO: &[u8] = b"\x00\x01\x00\x02\xff\xff\xff\xff\x00";

static INFO: Info = Info {
    name: "clickhouse",
    title: "ClickHouse native protocol",
    spec: "https://clickhouse.com/docs/native-protocol/basics",
    ports: &[9000],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const SERVER: &[u8] = b"\x00\x0aClickHouse\x12\x10\xba\xa9\x03\x03UTC\x04host\x00";
    const DENIED: &[u8] =
        b"\x02\x04\x02\x00\x00\x0dDB::Exception\x20DB::Exception: Authentication...";

    fn hello(user: &[u8], password: &[u8]) -> Vec<u8> {
        let short = |text: &[u8]| [&[u8::try_from(text.len()).unwrap()], text].concat();
        let name: &[u8] = b"ClickHouse client";
        let versions: &[u8] = b"\x12\x10\xba\xa9\x03";
        [&[0], &short(name)[..], versions, &short(b""), &short(user), &short(password)].concat()
    }

    #[test]
    fn a_hello_proves_either_side() {
        let found =
            |side, bytes: &[u8]| matches!(probe_side(&Clickhouse, side, bytes), Probe::Match(_));
        assert!(found(C, &hello(b"default", b"")) && !found(S, &hello(b"default", b"")));
        assert!(found(S, SERVER) && found(S, DENIED) && !found(C, DENIED));
        let others: [&[u8]; 6] = [
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"\x00\x11ClickHouse client\x12\x10\x01\x00\x00",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
            b"GET / HTTP/1.1\r\n",
            b"\x00\x0aPostgreSQL\x12\x10\xba\xa9\x03",
            b"\x00\x00\x00\x23\x00\x12\x00\x00\x00\x00\x00\x01",
        ];
        for bytes in others {
            assert!(!found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_hello_shows_the_password_and_the_answer_tells_what_came_of_it() {
        let cases: [(&[u8], &[u8], Credentials); 4] = [
            (b"default", b"", Credentials::NONE),
            (b"default", b"secret", Credentials::PASSWORD_CLEARTEXT),
            (b" JWT AUTHENTICATION ", b"ey", Credentials::BEARER_TOKEN),
            (b" INTERSERVER SECRET ", b"", Credentials::PASSWORD_HASH_CHALLENGE),
        ];
        for (user, password, expected) in cases {
            let heard = hear(&Clickhouse, &[(C, &hello(user, password)), (S, SERVER)]);
            assert_eq!(heard.credentials, expected);
            assert!(heard.fits == [true, true] && !heard.refused);
            assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        }
        let heard = hear(&Clickhouse, &[(C, &hello(b"u", b"p")), (S, DENIED)]);
        assert!(heard.refused);
        let heard = hear(&Clickhouse, &[(C, &hello(b"u", b"p")), (S, b"HTTP/1.0 400 Bad\r\n")]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
    }

    #[test]
    fn joined_late_a_block_or_a_query_is_proof() {
        let late = |side, bytes: &[u8]| hear_from(&Clickhouse, &[(side, bytes)], Start::Unknown);
        let block = b"\x01\x00\x01\x00\x02\xff\xff\xff\xff\x00\x01\x01\x01n\x05UInt8\x07";
        let query = b"\x01\x24123e4567-e89b-12d3-a456-426614174000\x01\x00";
        let heard = late(S, block);
        assert!(heard.matched.is_some());
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        assert!(late(C, query).matched.is_some());
        assert!(late(C, &[b"\x02".as_slice(), &block[1..]].concat()).matched.is_some());
        assert!(late(S, b"\x01\x00\x82\x10\x20\x30\x40\x50").matched.is_none());
    }
}
