//! Apache `JServ` Protocol 1.3. <https://tomcat.apache.org/connectors-doc/ajp/ajpv13a.html>
//!
//! A web server's packets begin with 0x1234, the container's with `AB`; request and answer have fixed beginnings.
use super::frames::{self, FITS, Flaw, Read, fits, mark, need, printable, tag};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Step, View};
use super::{cgi, http::credentials};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Ajp;

impl Detector for Ajp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(view, |said| client(said.bytes), |said| server(said.bytes))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = frames::follow(state, side, said, |state, bytes| {
            // Bodies of requests have no code, so only the beginning is checked.
            if !frames::fitted(state, side) {
                match side {
                    Side::Client => client(bytes)?,
                    Side::Server => server(bytes)?,
                };
            }
            let mut cursor = Cursor::new(bytes);
            let length = header(&mut cursor, side)?;
            let mut facts = fits(side);
            if side == Side::Client && cursor.rest().starts_with(&[FORWARD_REQUEST]) {
                let shown = cursor.take(length.min(REQUEST_BYTES_READ))?;
                facts = fields(shown).unwrap_or(FITS);
            }
            Ok(Step::read(length.saturating_add(HEADER_BYTES), facts))
        });
        let [.., messages] = state.words;
        let heard = [Side::Client, Side::Server].iter().all(|side| frames::fitted(state, *side));
        let over = heard && messages >= PACKETS_READ && step.next == Next::Continue;
        if over { Step { next: Next::Done, ..step } } else { step }
    }
}

/// Magic and length.
fn header(cursor: &mut Cursor<'_>, side: Side) -> Read<usize> {
    tag(cursor, if side == Side::Client { b"\x12\x34" } else { b"AB" })?;
    Ok(usize::from(cursor.u16_be()?))
}

fn client(bytes: &[u8]) -> Read<Mark> {
    let mut cursor = Cursor::new(bytes);
    let length = header(&mut cursor, Side::Client)?;
    match cursor.u8()? {
        CPING => {
            need(length == 1)?;
            Ok(mark("ajp.cping", Side::Client, cursor.at(), "CPing"))
        }
        FORWARD_REQUEST => {
            need(matches!(cursor.u8()?, 1..=28 | 0xff))?;
            let protocol = string(&mut cursor, length)?.ok_or(Flaw::Bad)?;
            need(protocol.starts_with(b"HTTP/"))?;
            Ok(mark("ajp.request", Side::Client, cursor.at(), "Forward Request"))
        }
        _ => Err(Flaw::Bad),
    }
}

fn server(bytes: &[u8]) -> Read<Mark> {
    let mut cursor = Cursor::new(bytes);
    let length = header(&mut cursor, Side::Server)?;
    let constant = match cursor.u8()? {
        SEND_BODY_CHUNK => {
            let chunk = usize::from(cursor.u16_be()?);
            need(chunk > 0 && matches!(length.saturating_sub(chunk), 3 | 4))?;
            // Behind a chunk comes the next packet, or nothing yet.
            cursor.skip(length.saturating_sub(3))?;
            tag(&mut cursor, b"AB")?;
            "Send Body Chunk"
        }
        SEND_HEADERS => {
            need((100..600).contains(&cursor.u16_be()?))?;
            string(&mut cursor, length)?;
            "Send Headers"
        }
        END_RESPONSE => {
            need(length == 2 && cursor.u8()? <= 1)?;
            "End Response"
        }
        GET_BODY_CHUNK => {
            need(length == 3)?;
            cursor.skip(2)?;
            "Get Body Chunk"
        }
        CPONG => {
            need(length == 1)?;
            "CPong"
        }
        _ => return Err(Flaw::Bad),
    };
    Ok(mark("ajp.response", Side::Server, cursor.at(), constant))
}

/// A string and its NUL; `None` when it is null.
fn string<'a>(cursor: &mut Cursor<'a>, room: usize) -> Read<Option<&'a [u8]>> {
    let length = cursor.u16_be()?;
    if length == 0xffff {
        return Ok(None);
    }
    need(usize::from(length) < room)?;
    let text = frames::all(cursor, usize::from(length), printable)?;
    tag(cursor, &[0])?;
    Ok(Some(text))
}

/// Secrets among the fields of a request.
fn fields(request: &[u8]) -> Read<Facts> {
    let mut facts = FITS;
    let mut cursor = Cursor::new(request);
    cursor.skip(2)?;
    // Protocol, URI, address, host, server name.
    for _ in 0..5 {
        string(&mut cursor, request.len())?;
    }
    cursor.skip(3)?;
    for _ in 0..cursor.u16_be()?.min(FIELDS_MAX) {
        let code = cursor.peek()?;
        let name: &[u8] = if code == CODED {
            match cursor.u16_be()? {
                0xa005 => b"authorization",
                0xa009 => b"cookie",
                _ => b"",
            }
        } else {
            string(&mut cursor, request.len())?.unwrap_or_default()
        };
        let value = string(&mut cursor, request.len())?.unwrap_or_default();
        let field = credentials::field(|known| known.eq_ignore_ascii_case(name));
        if let Some((kinds, constant)) = field.and_then(|field| cgi::field_secret(field, value)) {
            facts.credentials = facts.credentials.with(kinds);
            facts.mark = Some(mark("ajp.header", Side::Client, cursor.at(), constant));
        }
    }
    Ok(facts)
}

const HEADER_BYTES: usize = 4;
const FORWARD_REQUEST: u8 = 2;
const CPING: u8 = 10;
const SEND_BODY_CHUNK: u8 = 3;
const SEND_HEADERS: u8 = 4;
const END_RESPONSE: u8 = 5;
const GET_BODY_CHUNK: u8 = 6;
const CPONG: u8 = 9;
const CODED: u8 = 0xa0;
const FIELDS_MAX: u16 = 100;
const REQUEST_BYTES_READ: usize = 8186;
const PACKETS_READ: u32 = 8;

static INFO: Info = Info {
    name: "ajp",
    title: "Apache JServ Protocol",
    spec: "https://tomcat.apache.org/connectors-doc/ajp/ajpv13a.html",
    ports: &[8009],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::BASIC_AUTH
        .with(Credentials::BEARER_TOKEN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::SESSION_SECRET),
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

    fn request(fields: &[u8], count: u8) -> Vec<u8> {
        let mut body =
            b"\x02\x02\0\x08HTTP/1.1\0\0\x01/\0\0\x0910.77.1.9\0\xff\xff\0\x02db\0\0\x50\0\0"
                .to_vec();
        body.push(count);
        body.extend_from_slice(fields);
        body.push(0xff);
        [&[0x12, 0x34, 0, u8::try_from(body.len()).unwrap()][..], &body].concat()
    }

    const HEADERS: &[u8] = b"AB\0\x0b\x04\0\xc8\0\x02OK\0\0\0";
    const CHUNK: &[u8] = b"AB\0\x06\x03\0\x02hi\0";
    const END: &[u8] = b"AB\0\x02\x05\x01";

    #[test]
    fn the_first_packet_of_a_side_proves_it() {
        assert!(matches(probe_side(&Ajp, C, &request(b"", 0))));
        assert!(matches(probe_side(&Ajp, C, b"\x12\x34\0\x01\x0a")));
        let chunk = [CHUNK, END].concat();
        for bytes in [HEADERS, END, &chunk, b"AB\0\x01\x09", b"AB\0\x03\x06\x1f\xf8"] {
            assert!(matches(probe_side(&Ajp, S, bytes)), "{}", bytes.escape_ascii());
        }
        let look_alikes: [&[u8]; 5] = [
            b"\x12\x34\0\x20\x02\x02\0\x04SMTP\0",
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www",
            b"\x12\x01\0\x2f\0\0\0\0",
            HEADERS,
            b"GET / HTTP/1.1\r\n",
        ];
        for bytes in look_alikes {
            assert!(!matches(probe_side(&Ajp, C, bytes)));
        }
        assert!(!matches(probe_side(&Ajp, S, b"ABOUT this server\r\n")));
    }

    #[test]
    fn coded_and_named_fields_may_be_secrets() {
        let fields = b"\xa0\x05\0\x0aBasic dTpw\0\0\x09X-Api-Key\0\0\x01k\0";
        let get = request(fields, 2);
        let heard = hear(&Ajp, &[(C, &get), (S, HEADERS), (S, CHUNK), (S, END)]);
        let both = Credentials::BASIC_AUTH.with(Credentials::BEARER_TOKEN);
        assert_eq!((heard.fits, heard.credentials), ([true, true], both));
        let heard = hear_from(&Ajp, &[(S, HEADERS), (S, END)], Start::Unknown);
        assert_eq!(heard.fits, [false, true]);
    }
}
