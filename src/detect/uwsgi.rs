//! uwsgi. <https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html>
//!
//! A request is a block of CGI variables behind a header of four bytes; the answer is plain HTTP.
use super::cgi;
use super::frames::{self, FITS, Flaw, Read, fits, mark, need, tag};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Start, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct Uwsgi;

impl Detector for Uwsgi {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        // An answer alone is HTTP.
        frames::probe(view, client, |_| Err(Flaw::Weak))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        frames::follow_briefly(state, side, said, |_, bytes| {
            if side == Side::Server {
                tag(&mut Cursor::new(bytes), b"HTTP/1.")?;
                return Ok(Step::read(bytes.len(), fits(side)));
            }
            client(said)?;
            let mut cursor = Cursor::new(bytes);
            let declared = header(&mut cursor)?;
            let variables = cursor.take(declared.min(VARIABLES_BYTES_READ))?;
            let mut facts = FITS;
            let mut cursor = Cursor::new(variables);
            while let (Ok(name), Ok(value)) = (text(&mut cursor), text(&mut cursor)) {
                if let Some((kinds, constant)) = cgi::secret(name, value) {
                    facts.credentials = facts.credentials.with(kinds);
                    facts.mark = Some(mark("uwsgi.variable", side, HEADER_BYTES, constant));
                }
            }
            Ok(Step::read(bytes.len(), facts))
        })
    }
}

fn client(said: Said<'_>) -> Read<Mark> {
    let mut cursor = Cursor::new(said.bytes);
    let declared = header(&mut cursor)?;
    let room = declared.saturating_sub(2);
    let length = usize::from(cursor.u16_le()?);
    need((NAME_BYTES_MIN..=NAME_BYTES_MAX).contains(&length) && length <= room)?;
    let name = frames::all(&mut cursor, length, |b| b.is_ascii_uppercase() || *b == b'_')?;
    need(cgi::is_variable(name))?;
    let value = usize::from(cursor.u16_le()?);
    need(value.saturating_add(length).saturating_add(4) <= declared)?;
    if said.start == Start::Unknown {
        // A second variable, or the end.
        cursor.skip(value)?;
        if cursor.at() < declared.saturating_add(HEADER_BYTES) {
            let length = usize::from(cursor.u16_le()?);
            need((1..=NAME_BYTES_MAX).contains(&length))?;
            frames::all(&mut cursor, length, frames::graphic)?;
        }
    }
    Ok(mark("uwsgi.variables", Side::Client, cursor.at(), "CGI variable"))
}

/// modifier1, declared, modifier2; returns the declared.
fn header(cursor: &mut Cursor<'_>) -> Read<usize> {
    need(MODIFIERS.contains(&cursor.u8()?))?;
    let declared = usize::from(cursor.u16_le()?);
    need(declared >= VARIABLES_BYTES_MIN)?;
    need(cursor.u8()? <= MODIFIER_2_MAX)?;
    Ok(declared)
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let length = usize::from(cursor.u16_le()?);
    Ok(cursor.take(length)?)
}

/// Requests to a language's plugin.
const MODIFIERS: &[u8] = &[0, 1, 2, 3, 5, 6, 7, 8, 9, 14, 15, 18, 30];
const MODIFIER_2_MAX: u8 = 30;
const HEADER_BYTES: usize = 4;
const VARIABLES_BYTES_MIN: usize = 16;
const VARIABLES_BYTES_READ: usize = 4096;
const NAME_BYTES_MIN: usize = 5;
const NAME_BYTES_MAX: usize = 64;

static INFO: Info = Info {
    name: "uwsgi",
    title: "uwsgi",
    spec: "https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html",
    ports: &[3031],
    transports: &[Transport::Tcp],
    directions: Directions::Client,
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

    fn request(variables: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for text in variables.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        let size = u16::try_from(block.len()).unwrap().to_le_bytes();
        [&[0, size[0], size[1], 0][..], &block].concat()
    }

    #[test]
    fn a_block_of_variables_proves_the_client() {
        let get = request(&[("QUERY_STRING", ""), ("HTTP_COOKIE", "a=b")]);
        assert!(matches(probe_side(&Uwsgi, C, &get)));
        let heard = hear(&Uwsgi, &[(C, &get), (S, b"HTTP/1.1 200 OK\r\n\r\n")]);
        assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::SESSION_SECRET));
        let heard = hear_from(&Uwsgi, &[(C, &get)], Start::Unknown);
        assert_eq!(heard.fits, [true, false]);
        assert!(!matches(probe_side(&Uwsgi, S, b"HTTP/1.1 200 OK\r\n\r\n")));
        let look_alikes = [
            request(&[("COLOUR_OF_THE_SKY", "blue")]),
            request(&[("path", "x"), ("y", "z")]),
            b"\0\0\0\x17\0\x12\0\0\0\0\0\0".to_vec(),
            b"\x05\x01\0".to_vec(),
            b"GET / HTTP/1.1\r\n".to_vec(),
        ];
        for bytes in look_alikes {
            assert!(!matches(probe_side(&Uwsgi, C, &bytes)), "{}", bytes.escape_ascii());
        }
    }
}
