//! Elasticsearch and `OpenSearch` between nodes: the transport protocol. (Their clients speak HTTP.)
//! <https://github.com/elastic/elasticsearch/blob/main/server/src/main/java/org/elasticsearch/transport/TcpHeader.java>
//!
//! `ES`, length, request id, status, version; a ping is `ES` and a length of -1.
use super::frames::{self, Flaw, Read, fits, mark, need, tag};
use super::http::credentials;
use super::{Detector, Directions, FollowState, Info, Next, Probe, Said, Step, View};
use crate::{
    bytes::{Cursor, find},
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Elasticsearch;

impl Detector for Elasticsearch {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(
            view,
            |said| Ok(message(Side::Client, said.bytes)?.mark),
            |said| Ok(message(Side::Server, said.bytes)?.mark),
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = frames::follow(state, side, said, |_, bytes| {
            let message = message(side, bytes)?;
            let context = message.context.min(CONTEXT_BYTES_READ);
            let shown = match context {
                0 => &[],
                _ => bytes
                    .get(HEADER_BYTES..HEADER_BYTES.saturating_add(context))
                    .ok_or(Flaw::Short)?,
            };
            Ok(Step::read(message.length, authorization(side, shown)))
        });
        let [.., messages] = state.words;
        let heard = [Side::Client, Side::Server].iter().all(|side| frames::fitted(state, *side));
        let over = heard && messages >= MESSAGES_READ && step.next == Next::Continue;
        if over { Step { next: Next::Done, ..step } } else { step }
    }
}

struct Message {
    length: usize,
    /// Bytes of the thread context.
    context: usize,
    mark: Mark,
}

fn message(side: Side, bytes: &[u8]) -> Read<Message> {
    let mut cursor = Cursor::new(bytes);
    tag(&mut cursor, b"ES")?;
    if cursor.peek()? == 0xff {
        tag(&mut cursor, &[0xff; 4])?;
        let mark = mark("elasticsearch.ping", side, cursor.at(), "ES -1");
        return Ok(Message { length: cursor.at(), context: 0, mark });
    }
    let declared = frames::length(&mut cursor, SIZE_MIN, SIZE_MAX)?;
    need(cursor.peek()? < 0x80)?;
    cursor.skip(8)?;
    let status = cursor.u8()?;
    let from_server = status & RESPONSE != 0;
    need(status & !STATUS == 0 && from_server == (side == Side::Server))?;
    let version = frames::length(&mut cursor, VERSION_MIN, VERSION_MAX)?;
    let mut context = 0;
    if version >= CONTEXT_SINCE {
        context = frames::length(&mut cursor, 0, SIZE_MAX)?;
        need(context <= declared)?;
    }
    let mark = mark("elasticsearch.header", side, cursor.at(), "ES");
    Ok(Message { length: declared.saturating_add(6), context, mark })
}

/// A user's credentials travel with the request: field name, length, value.
fn authorization(side: Side, context: &[u8]) -> crate::detect::Facts {
    let name = b"Authorization";
    let at = find(context, name).filter(|_| side == Side::Client);
    let value = at.and_then(|at| context.get(at.saturating_add(name.len())..)).unwrap_or_default();
    let field = credentials::field(|known| known == b"authorization");
    let found =
        value.iter().position(u8::is_ascii_alphabetic).filter(|at| *at <= 3).and_then(|at| {
            let value = value.get(at..)?;
            // The length before the value may look like a letter.
            [value, value.get(1..)?]
                .iter()
                .find_map(|value| field?.with_value(|word| credentials::begins(value, word)))
        });
    match found {
        Some((kinds, constant)) => {
            let found = mark("elasticsearch.context", side, HEADER_BYTES, constant);
            crate::detect::Facts { credentials: kinds, mark: Some(found), ..fits(side) }
        }
        None => fits(side),
    }
}

const RESPONSE: u8 = 1;
/// Response, error, compressed, handshake.
const STATUS: u8 = 0x0f;
const SIZE_MIN: u32 = 13;
/// Text is more than this.
const SIZE_MAX: u32 = 0x1fff_ffff;
const HEADER_BYTES: usize = 23;
const VERSION_MIN: u32 = 10_000;
/// `OpenSearch` sets bit 27.
const VERSION_MAX: u32 = 0x0fff_ffff;
/// 7.6.0: the thread context has a length of its own.
const CONTEXT_SINCE: usize = 7_060_099;
const CONTEXT_BYTES_READ: usize = 2048;
const MESSAGES_READ: u32 = 16;

static INFO: Info = Info {
    name: "elasticsearch",
    title: "Elasticsearch and OpenSearch transport",
    spec: "https://github.com/elastic/elasticsearch/blob/main/server/src/main/java/org/elasticsearch/transport/TcpHeader.java",
    ports: &[9300],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::BASIC_AUTH.with(Credentials::BEARER_TOKEN),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{hear, hear_from, matches, probe_side},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    const HANDSHAKE: &[u8] =
        b"ES\0\0\0\x1a\0\0\0\0\0\0\0\x01\x08\0\x6d\x68\x33\0\0\0\x05\0\0\0\0\x01xxxx";
    const ANSWER: &[u8] = b"ES\0\0\0\x13\0\0\0\0\0\0\0\x01\x09\0\x6d\x68\x33\0\0\0\x02\0\0";

    #[test]
    fn headers_and_pings_prove_their_side() {
        assert!(matches(probe_side(&Elasticsearch, C, HANDSHAKE)));
        assert!(matches(probe_side(&Elasticsearch, S, ANSWER)));
        assert!(matches(probe_side(&Elasticsearch, C, b"ES\xff\xff\xff\xff")));
        let before_7_6 = b"ES\0\0\0\x33\0\0\0\0\0\0\0\x05\0\0\x5b\x8d\xe3rest";
        assert!(matches(probe_side(&Elasticsearch, C, before_7_6)));
        for bytes in [
            ANSWER,
            b"ES\0\0\0\x05\0\0",
            b"ES 1\r\n",
            b"EST /",
            b"ES\0\0\0\x1a\0\0\0\0\0\0\0\x01\x18",
        ] {
            assert_eq!(probe_side(&Elasticsearch, C, bytes), Probe::No);
        }
    }

    #[test]
    fn the_thread_context_may_hold_credentials() {
        let context = b"\x01\x0dAuthorization\x0aBasic dTpw\0";
        let size = u8::try_from(17 + context.len()).unwrap();
        let mut request =
            [&b"ES\0\0\0"[..], &[size], b"\0\0\0\0\0\0\0\x07\0\0\x6d\x68\x33\0\0\0"].concat();
        request.push(u8::try_from(context.len()).unwrap());
        request.extend_from_slice(context);
        let heard = hear(&Elasticsearch, &[(C, HANDSHAKE), (S, ANSWER), (C, &request)]);
        assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::BASIC_AUTH));
        let heard = hear_from(&Elasticsearch, &[(C, &request)], Start::Unknown);
        assert_eq!(heard.credentials, Credentials::BASIC_AUTH);
    }
}
