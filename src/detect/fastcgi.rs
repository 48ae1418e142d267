//! `FastCGI`. <https://fastcgi-archives.github.io/FastCGI_Specification.html>
//!
//! Records of version 1. A request begins with a record of fixed shape; an answer's first record holds CGI fields.
use super::cgi;
use super::frames::{self, FITS, Flaw, Read, fits, mark, need, tag};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Fastcgi;

impl Detector for Fastcgi {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(view, |said| client(said.bytes), |said| server(said.bytes))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = frames::follow(state, side, said, |state, bytes| {
            if !frames::fitted(state, side) {
                match side {
                    Side::Client => client(bytes)?,
                    Side::Server => server(bytes)?,
                };
            }
            let record = Record::read(&mut Cursor::new(bytes))?;
            let facts = if record.kind == PARAMS {
                let end = HEADER_BYTES.saturating_add(record.content.min(PARAMS_BYTES_READ));
                params(bytes.get(HEADER_BYTES..end).ok_or(Flaw::Short)?)
            } else {
                fits(side)
            };
            Ok(Step::read(record.length(), facts))
        });
        let [.., messages] = state.words;
        let heard = [Side::Client, Side::Server].iter().all(|side| frames::fitted(state, *side));
        let over = heard && messages >= RECORDS_READ && step.next == Next::Continue;
        if over { Step { next: Next::Done, ..step } } else { step }
    }
}

struct Record {
    kind: u8,
    content: usize,
    padding: usize,
}

impl Record {
    fn read(cursor: &mut Cursor<'_>) -> Read<Self> {
        tag(cursor, &[1])?;
        let kind = cursor.u8()?;
        need((1..=11).contains(&kind))?;
        cursor.skip(2)?;
        let content = usize::from(cursor.u16_be()?);
        let padding = usize::from(cursor.u8()?);
        tag(cursor, &[0])?;
        Ok(Self { kind, content, padding })
    }

    const fn length(&self) -> usize {
        self.content.saturating_add(self.padding).saturating_add(HEADER_BYTES)
    }
}

/// `FCGI_BEGIN_REQUEST`: role, whether to keep the connection.
fn client(bytes: &[u8]) -> Read<Mark> {
    let mut cursor = Cursor::new(bytes);
    tag(&mut cursor, &[1])?;
    if cursor.peek()? == GET_VALUES {
        tag(&mut cursor, &[GET_VALUES, 0, 0])?;
        let content = usize::from(cursor.u16_be()?);
        cursor.skip(1)?;
        tag(&mut cursor, &[0])?;
        let names = usize::from(cursor.u8()?);
        need((9..content).contains(&names))?;
        tag(&mut cursor, b"\0FCGI_")?;
        return Ok(mark("fastcgi.get-values", Side::Client, cursor.at(), "FCGI_GET_VALUES"));
    }
    tag(&mut cursor, &[BEGIN_REQUEST])?;
    need(cursor.u16_be()? > 0)?;
    tag(&mut cursor, &[0, 8])?;
    need(cursor.u8()? < 8)?;
    tag(&mut cursor, &[0, 0])?;
    need((1..=3).contains(&cursor.u8()?))?;
    need(cursor.u8()? <= 1)?;
    tag(&mut cursor, &[0; 5])?;
    Ok(mark("fastcgi.begin", Side::Client, cursor.at(), "FCGI_BEGIN_REQUEST"))
}

/// The first record of an answer: output that begins with a CGI field, or the request's end.
fn server(bytes: &[u8]) -> Read<Mark> {
    let mut cursor = Cursor::new(bytes);
    let record = Record::read(&mut cursor)?;
    match record.kind {
        END_REQUEST => {
            need(record.content == 8)?;
            cursor.skip(4)?;
            need(cursor.u8()? <= 3)?;
            tag(&mut cursor, &[0; 3])?;
            Ok(mark("fastcgi.end", Side::Server, cursor.at(), "FCGI_END_REQUEST"))
        }
        STDOUT => {
            let rest = cursor.rest();
            let shown = rest.get(..record.content.min(FIELD_BYTES_MAX)).unwrap_or(rest);
            let end = shown.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'-'));
            let Some(end) = end else {
                need(shown.len() < record.content.min(FIELD_BYTES_MAX))?;
                return Err(Flaw::Short);
            };
            need(end >= 4 && shown.get(end) == Some(&b':'))?;
            let length = cursor.at().saturating_add(end);
            Ok(mark("fastcgi.stdout", Side::Server, length, "FCGI_STDOUT"))
        }
        GET_VALUES_RESULT => {
            cursor.skip(1)?;
            tag(&mut cursor, &[1])?;
            tag(&mut cursor, b"FCGI_")?;
            Ok(mark("fastcgi.get-values", Side::Server, cursor.at(), "FCGI_GET_VALUES_RESULT"))
        }
        // Errors alone prove little.
        STDERR => Err(Flaw::Weak),
        _ => Err(Flaw::Bad),
    }
}

/// Name-value pairs: secrets among the request's fields.
fn params(content: &[u8]) -> Facts {
    let mut facts = FITS;
    let mut cursor = Cursor::new(content);
    while let Ok((name, value)) = pair(&mut cursor) {
        if let Some((kinds, constant)) = cgi::secret(name, value) {
            facts.credentials = facts.credentials.with(kinds);
            facts.mark = Some(mark("fastcgi.params", Side::Client, HEADER_BYTES, constant));
        }
    }
    facts
}

fn pair<'a>(cursor: &mut Cursor<'a>) -> Read<(&'a [u8], &'a [u8])> {
    let (name, value) = (pair_length(cursor)?, pair_length(cursor)?);
    Ok((cursor.take(name)?, cursor.take(value)?))
}

fn pair_length(cursor: &mut Cursor<'_>) -> Read<usize> {
    if cursor.peek()? < 0x80 {
        return Ok(usize::from(cursor.u8()?));
    }
    usize::try_from(cursor.u32_be()? & 0x7fff_ffff).map_err(|_| Flaw::Bad)
}

const HEADER_BYTES: usize = 8;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const GET_VALUES: u8 = 9;
const GET_VALUES_RESULT: u8 = 10;
const FIELD_BYTES_MAX: usize = 64;
const PARAMS_BYTES_READ: usize = 4096;
const RECORDS_READ: u32 = 8;

static INFO: Info = Info {
    name: "fastcgi",
    title: "FastCGI",
    spec: "https://fastcgi-archives.github.io/FastCGI_Specification.html",
    ports: &[9000],
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

    const BEGIN: &[u8] = b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0";
    const OUT: &[u8] = b"\x01\x06\0\x01\0\x1c\x04\0Content-type: text/html\r\n\r\nok\0\0\0\0";
    const END: &[u8] = b"\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0";

    #[test]
    fn the_first_record_of_a_side_proves_it() {
        let values = b"\x01\x09\0\0\0\x11\0\0\x0f\0FCGI_MPXS_CONNS";
        for bytes in [BEGIN, &values[..]] {
            assert!(matches(probe_side(&Fastcgi, C, bytes)));
        }
        for bytes in [OUT, END] {
            assert!(matches(probe_side(&Fastcgi, S, bytes)));
            assert!(!matches(probe_side(&Fastcgi, C, bytes)));
        }
        let look_alikes: [&[u8]; 4] = [
            b"\x01\x01\0\x01\0\x08\0\0\0\x07",
            b"\x01\x01\0\x01\0\x09",
            b"\x01\0\0\x90\0\0\x01\x01",
            b"\x16\x03\x01",
        ];
        for bytes in look_alikes {
            assert_eq!(probe_side(&Fastcgi, C, bytes), Probe::No);
        }
        assert!(!matches(probe_side(&Fastcgi, S, b"\x01\x06\0\x01\0\x08\0\0<html>\r\n")));
    }

    #[test]
    fn fields_of_the_request_may_be_secrets() {
        let pairs = b"\x0e\x03REQUEST_METHODGET\x12\x0aHTTP_AUTHORIZATIONBasic dTpw";
        let size = u8::try_from(pairs.len()).unwrap();
        let params = [&[1, 4, 0, 1, 0, size, 0, 0][..], pairs].concat();
        let heard = hear(&Fastcgi, &[(C, BEGIN), (C, &params), (S, OUT), (S, END)]);
        assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::BASIC_AUTH));
        let heard = hear_from(&Fastcgi, &[(S, OUT), (S, END)], Start::Unknown);
        assert_eq!(heard.fits, [false, true]);
        let heard = hear(&Fastcgi, &[(C, BEGIN), (S, b"HTTP/1.1 400 Bad Request\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
