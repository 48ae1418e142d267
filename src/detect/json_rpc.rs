//! JSON-RPC over a bare stream: lines or a sequence of objects, or with the header of language servers. Also Stratum
//! (mining), OVSDB, Electrum. <https://www.jsonrpc.org/specification>
//!
//! The members at the top level of the first object tell.
use super::frames::{self, FITS, Flaw, Read, mark, need, tag};
use super::{Detector, Directions, Facts, FollowState, Info, Next, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, Mark, Side, Transport},
};

pub(super) struct JsonRpc;

impl Detector for JsonRpc {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        frames::probe(
            view,
            |said| proof(Side::Client, said.bytes),
            |said| proof(Side::Server, said.bytes),
        )
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = frames::follow(state, side, said, |state, bytes| {
            if !frames::fitted(state, side) {
                proof(side, bytes)?;
            }
            let mut cursor = Cursor::new(bytes);
            opening(&mut cursor)?;
            let members = object(&mut cursor, |_| false)?;
            let accepted = side == Side::Server && members.result;
            let mut facts = Facts { accepted, ..FITS };
            if members.login && side == Side::Client {
                facts.credentials = Credentials::PASSWORD_CLEARTEXT;
                facts.mark = Some(mark("json-rpc.login", side, cursor.at(), "login"));
            }
            Ok(Step::read(cursor.at(), facts))
        });
        let [.., messages] = state.words;
        let heard = [Side::Client, Side::Server].iter().all(|side| frames::fitted(state, *side));
        let over = heard && messages >= MESSAGES_READ && step.next == Next::Continue;
        if over { Step { next: Next::Done, ..step } } else { step }
    }
}

fn proof(side: Side, bytes: &[u8]) -> Read<Mark> {
    let mut cursor = Cursor::new(bytes);
    opening(&mut cursor)?;
    let members = object(&mut cursor, |members| members.prove(side))?;
    need(members.prove(side))?;
    let constant = if members.version { "\"jsonrpc\":\"2.0\"" } else { "method, params, id" };
    Ok(mark("json-rpc.object", side, cursor.at(), constant))
}

/// What comes before the first member: space, a header, the bracket of a batch.
fn opening(cursor: &mut Cursor<'_>) -> Read<()> {
    space(cursor);
    if cursor.peek()? == b'C' {
        tag(cursor, b"Content-")?;
        for _ in 0..2 {
            let line = line(cursor)?;
            if line.is_empty() {
                break;
            }
            let more = cursor.peek()?;
            need(matches!(more, b'\r' | b'C'))?;
            if more == b'\r' {
                tag(cursor, b"\r\n")?;
                break;
            }
        }
        return need(cursor.peek()? == b'{');
    }
    if cursor.peek()? == b'[' {
        cursor.skip(1)?;
        space(cursor);
    }
    need(cursor.peek()? == b'{')
}

fn line<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let rest = cursor.rest();
    let shown = rest.get(..HEADER_BYTES_MAX).unwrap_or(rest);
    let end = shown.iter().position(|b| *b == b'\n');
    let text = |b: &u8| frames::printable(b) || *b == b'\r';
    need(shown.iter().take(end.unwrap_or(shown.len())).all(text))?;
    need(end.is_some() || shown.len() < HEADER_BYTES_MAX)?;
    Ok(cursor.line()?)
}

/// Members seen at the top level.
#[allow(clippy::struct_excessive_bools, reason = "one for each member")]
#[derive(Clone, Copy, Default)]
struct Members {
    version: bool,
    method: bool,
    params: bool,
    id: bool,
    result: bool,
    error: bool,
    /// The method is one that takes a password.
    login: bool,
}

impl Members {
    const fn prove(self, side: Side) -> bool {
        // A notification may come from either side; before version 2 an answer has all three members.
        let call = self.method && (self.version || self.params && self.id);
        let answer =
            self.version && (self.result || self.error) || self.id && self.result && self.error;
        match side {
            Side::Client => call,
            Side::Server => call || answer,
        }
    }
}

/// Reads members until they are `enough` or the object ends.
fn object(cursor: &mut Cursor<'_>, enough: impl Fn(&Members) -> bool) -> Read<Members> {
    let mut members = Members::default();
    tag(cursor, b"{")?;
    loop {
        space(cursor);
        let key = string(cursor)?;
        space(cursor);
        tag(cursor, b":")?;
        space(cursor);
        let value = value(cursor)?;
        let text = value.first() == Some(&b'"');
        match key {
            b"jsonrpc" => {
                need(value == b"\"2.0\"" || value == b"\"1.0\"")?;
                members.version = true;
            }
            b"method" => {
                need(text)?;
                members.method = true;
                members.login = LOGINS.contains(&value);
            }
            b"params" => members.params = matches!(value.first(), Some(b'[' | b'{')),
            b"id" => members.id = true,
            b"result" => members.result = true,
            b"error" => members.error = true,
            _ => {}
        }
        space(cursor);
        if enough(&members) {
            return Ok(members);
        }
        match cursor.u8()? {
            b',' => {}
            b'}' => return Ok(members),
            _ => return Err(Flaw::Bad),
        }
    }
}

fn space(cursor: &mut Cursor<'_>) {
    while cursor.peek().is_ok_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
        if cursor.skip(1).is_err() {
            return;
        }
    }
}

/// A string without its quotation marks.
fn string<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    tag(cursor, b"\"")?;
    let rest = cursor.rest();
    let mut escaped = false;
    for (at, byte) in rest.iter().enumerate() {
        need(*byte >= b' ')?;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                cursor.skip(at.saturating_add(1))?;
                return Ok(rest.get(..at).unwrap_or_default());
            }
            _ => {}
        }
    }
    Err(Flaw::Short)
}

/// Any value, passed over.
fn value<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let whole = cursor.rest();
    let before = cursor.left();
    let mut depth = 0_u32;
    loop {
        match cursor.peek()? {
            b'"' => {
                string(cursor)?;
            }
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                cursor.skip(1)?;
            }
            b'}' | b']' if depth > 0 => {
                depth = depth.saturating_sub(1);
                cursor.skip(1)?;
            }
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth > 0 => cursor.skip(1)?,
            b'0'..=b'9' | b'-' | b't' | b'f' | b'n' => {
                let scalar = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+');
                let end = cursor.rest().iter().position(|b| !scalar(b)).ok_or(Flaw::Short)?;
                cursor.skip(end)?;
            }
            _ => return Err(Flaw::Bad),
        }
        if depth == 0 {
            let length = before.saturating_sub(cursor.left());
            return Ok(whole.get(..length).unwrap_or_default());
        }
    }
}

const HEADER_BYTES_MAX: usize = 128;
const MESSAGES_READ: u32 = 8;
/// Stratum: a miner's login.
const LOGINS: &[&[u8]] = &[b"\"mining.authorize\"", b"\"login\""];

static INFO: Info = Info {
    name: "json-rpc",
    title: "JSON-RPC",
    spec: "https://www.jsonrpc.org/specification",
    ports: &[3333, 6640, 50001],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
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

    #[test]
    fn members_of_the_first_object_prove_a_side() {
        let cases: [(&[u8], bool, bool); 15] = [
            (br#"{"jsonrpc":"2.0","method":"add","params":[1,2],"id":1}"#, true, true),
            (br#"{"jsonrpc": "2.0", "result": 3, "id": 1}"#, false, true),
            (br#"{"id":1,"jsonrpc":"2.0","error":{"code":-32601,"message":"no"}}"#, false, true),
            (br#"[{"jsonrpc":"2.0","method":"a"}]"#, true, true),
            (br#"{"id": 1, "method": "mining.subscribe", "params": ["x\"{"]}"#, true, true),
            (br#"{"id":1,"result":[[],"00",4],"error":null}"#, false, true),
            (br#"{"id":null,"method":"mining.notify","params":[]}"#, true, true),
            (b"Content-Length: 40\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"x\"}", true, true),
            (br#"{"method":"GET","path":"/"}"#, false, false),
            (br#"{"jsonrpc":"3.0","method":"x"}"#, false, false),
            (br#"{"a":{"jsonrpc":"2.0","method":"x","id":1}}"#, false, false),
            (br#"{"method":1,"id":1,"params":[]}"#, false, false),
            (b"Content-\x01\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"x\"}", false, false),
            (b"{not json", false, false),
            (b"Content-Type: text/html\r\n\r\n<html>", false, false),
        ];
        for (bytes, client, server) in cases {
            let text = bytes.escape_ascii();
            assert_eq!(matches(probe_side(&JsonRpc, C, bytes)), client, "client {text}");
            assert_eq!(matches(probe_side(&JsonRpc, S, bytes)), server, "server {text}");
        }
    }

    #[test]
    fn a_miner_s_login_is_a_password() {
        let heard = hear(
            &JsonRpc,
            &[
                (C, b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n"),
                (S, b"{\"id\":1,\"result\":[],\"error\":null}\n"),
                (C, b"{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"u\",\"p\"]}\n"),
            ],
        );
        assert_eq!(
            (heard.fits, heard.credentials),
            ([true, true], Credentials::PASSWORD_CLEARTEXT)
        );
        let line: &[u8] = br#"{"jsonrpc":"2.0","result":true,"id":7}"#;
        assert_eq!(hear_from(&JsonRpc, &[(S, line)], Start::Unknown).fits, [false, true]);
    }
}
