//! Request and status lines with header fields, as SIP, RTSP and SSDP have them from HTTP (RFC 3261 section 7, RFC 2326
//! section 4, `UPnP` Device Architecture section 1).
use super::fit::{self, Fit, begins, begins_any, decimal, mark};
use super::http::credentials::{Field, begins as has, field};
use super::{Facts, FollowState, Next, Said, Start, Step};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Mark, Side},
};

/// What tells one of these protocols.
pub(super) struct Grammar {
    /// Methods, with the space behind them.
    pub(super) methods: &'static [&'static [u8]],
    /// How targets begin.
    pub(super) targets: &'static [&'static [u8]],
    /// Version at the end of a request line, with the space before it.
    pub(super) ends: &'static [&'static [u8]],
    /// Beginnings of status lines, up to the code.
    pub(super) statuses: &'static [&'static [u8]],
    /// Rule ids of both lines and of a login.
    pub(super) rules: [&'static str; 3],
    /// What is said of both lines.
    pub(super) constant: &'static str,
}

impl Grammar {
    /// A request line.
    pub(super) fn request(&self, side: Side, bytes: &[u8]) -> Fit {
        let Some(at) = begins_any(bytes, self.methods)? else { return Ok(None) };
        let mut c = Cursor::new(bytes);
        c.skip(self.methods.get(at).map_or(0, |method| method.len()))?;
        if begins_any(c.rest(), self.targets)?.is_none() {
            return Ok(None);
        }
        let shown = bytes.get(..LINE_BYTES_MAX);
        let mut c = Cursor::new(shown.unwrap_or(bytes));
        let text = |line: &[u8]| !line.iter().any(|b| b.is_ascii_control() && *b != b'\r');
        let Ok(line) = c.line() else {
            return if shown.is_some() || !text(bytes) { Ok(None) } else { Err(Short) };
        };
        let ends = text(line) && self.ends.iter().any(|end| line.ends_with(end));
        let [rule, ..] = self.rules;
        Ok(ends.then(|| mark(rule, side, 0, c.at(), self.constant)))
    }

    /// A status line.
    pub(super) fn status(&self, side: Side, bytes: &[u8]) -> Fit {
        let [_, rule, _] = self.rules;
        let found = self.code(bytes)?.map(|_| mark(rule, side, 0, 12, self.constant));
        Ok(found)
    }

    fn code(&self, bytes: &[u8]) -> Result<Option<usize>, Short> {
        let Some(at) = begins_any(bytes, self.statuses)? else { return Ok(None) };
        let mut c = Cursor::new(bytes);
        c.skip(self.statuses.get(at).map_or(0, |start| start.len()))?;
        let code = decimal(&c.array::<3>()?, 699).filter(|code| *code >= 100);
        let ends = matches!(c.u8()?, b' ' | b'\r' | b'\n');
        Ok(code.filter(|_| ends))
    }

    /// Either line; these peers ask each other.
    pub(super) fn line(&self, side: Side, bytes: &[u8]) -> Fit {
        match (self.request(side, bytes), self.status(side, bytes)) {
            (Ok(Some(found)), _) | (_, Ok(Some(found))) => Ok(Some(found)),
            (Ok(None), Ok(None)) => Ok(None),
            _ => Err(Short),
        }
    }

    /// Reads message by message, in a stream or in datagrams (told by the length before them).
    pub(super) fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let bytes = said.bytes;
        if matches!(bytes.first(), Some(b'\r' | b'\n')) {
            let keep_alive = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            return Step::read(keep_alive, Facts::NONE);
        }
        let text = |byte: &u8| byte.is_ascii_graphic();
        let read = match fit::first_datagram(said) {
            Some((datagram, length)) if !bytes.first().is_some_and(text) => self
                .head(side, datagram)
                .map(|head| head.map(|head| Head { length, ..head }))
                .or(Ok(None)),
            _ => self.head(side, bytes),
        };
        let step = match read {
            Err(Short) if bytes.len() < HEAD_BYTES_MAX => return Step::WAIT,
            Err(Short) => return Step::DONE,
            Ok(Some(head)) => Step::read(head.length, head.facts),
            Ok(None) => {
                let first = state.phase[usize::from(side == Side::Server)] == 0;
                let datagrams =
                    fit::first_datagram(said).filter(|_| !bytes.first().is_some_and(text));
                match datagrams {
                    Some((_, length)) => Step::read(length, Facts::NONE),
                    None if first && said.start == Start::Known => return fit::other_protocol(),
                    None => Step::read(bytes.len(), Facts::NONE),
                }
            }
        };
        let [messages, ..] = &mut state.words;
        *messages = messages.saturating_add(1);
        let over = *messages >= MESSAGES_MAX;
        state.phase[usize::from(side == Side::Server)] = 1;
        Step { next: if over { Next::Done } else { Next::Continue }, ..step }
    }

    /// A whole head and the length of its message.
    fn head(&self, side: Side, bytes: &[u8]) -> Result<Option<Head>, Short> {
        if self.line(side, bytes)?.is_none() {
            return Ok(None);
        }
        let code = self.code(bytes)?;
        let mut c = Cursor::new(bytes);
        c.line()?;
        let mut facts = match code {
            Some(200..=299) => Facts { accepted: true, ..fit::CLEAR },
            // Asking for a login is no refusal.
            Some(401 | 407) => fit::CLEAR,
            Some(400..) => Facts { refused: true, ..fit::CLEAR },
            _ => fit::CLEAR,
        };
        let mut content = 0;
        loop {
            let at = c.at();
            let line = c.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = split(line);
            if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
                content = decimal(value, CONTENT_BYTES_MAX).unwrap_or(0);
            }
            if let Some((credentials, constant)) = login(name, value) {
                let [_, _, rule] = self.rules;
                facts.credentials = facts.credentials.with(credentials);
                facts.mark = Some(mark(rule, side, at, name.len(), constant));
            }
        }
        Ok(Some(Head { length: c.at().saturating_add(content), facts }))
    }
}

struct Head {
    length: usize,
    facts: Facts,
}

/// Name and value of a header field.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
    let (name, value) = line.split_at_checked(at).unwrap_or((line, b""));
    (name.trim_ascii(), value.strip_prefix(b":").unwrap_or(value).trim_ascii())
}

/// What an authorization field shows.
fn login(name: &[u8], value: &[u8]) -> Option<(Credentials, &'static str)> {
    let known = field(|known| name.eq_ignore_ascii_case(known))?;
    match known {
        Field::Authorization { .. } => known.with_value(|word| has(value, word)),
        Field::Secret(_) => None,
    }
}

/// Whether a mark may be given for a datagram: all of it text.
pub(super) fn whole(fit: Fit) -> Option<Mark> {
    fit.ok().flatten()
}

/// Line ends alone keep a binding alive.
pub(super) fn is_keep_alive(bytes: &[u8]) -> bool {
    begins(b"\r\n\r\n", bytes) == Ok(true)
}

const LINE_BYTES_MAX: usize = 1024;
const HEAD_BYTES_MAX: usize = 8192;
const CONTENT_BYTES_MAX: usize = 1 << 20;
const MESSAGES_MAX: u32 = 32;
