//! The text protocol: commands, meta commands, replies.
//! <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>
use super::super::store::{Flaw, Read, need, printable, size};
use crate::bytes::Cursor;

/// A command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// No other text protocol has it in this form.
    pub(super) own: bool,
    /// What replies to it besides those that prove themselves.
    pub(super) replies: &'static [&'static str],
    /// Our own spelling.
    pub(super) name: &'static str,
    /// Bytes of data that follow the line.
    pub(super) data: Option<usize>,
}

/// What stands behind a command's name.
#[derive(Clone, Copy)]
enum Form {
    /// Key, flags, expiry, length.
    Store(usize),
    /// Key, length.
    MetaStore,
    /// Key, flags: its own with two of them, or with one that has a number.
    Meta,
    /// At least so many words.
    Words(usize),
    /// Key and number.
    KeyNumber,
    /// Number, then keys.
    NumberKeys,
    /// So many numbers, at most.
    Numbers(usize),
}

use Form::{KeyNumber, Meta, MetaStore, NumberKeys, Numbers, Store, Words};

/// Name, form, whether it is memcached's own, replies.
const COMMANDS: &[(&str, Form, bool, &[&str])] = &[
    ("get", Words(1), false, &["END"]),
    ("gets", Words(1), true, &["END"]),
    ("gat", NumberKeys, true, &["END"]),
    ("gats", NumberKeys, true, &["END"]),
    ("set", Store(3), true, &[]),
    ("add", Store(3), true, &[]),
    ("replace", Store(3), true, &[]),
    ("append", Store(3), true, &[]),
    ("prepend", Store(3), true, &[]),
    ("cas", Store(4), true, &["EXISTS", "NOT_FOUND"]),
    ("delete", Words(1), false, &["DELETED", "NOT_FOUND"]),
    ("incr", KeyNumber, false, &["NUMBER", "NOT_FOUND"]),
    ("decr", KeyNumber, false, &["NUMBER", "NOT_FOUND"]),
    ("touch", KeyNumber, false, &["TOUCHED", "NOT_FOUND"]),
    ("flush_all", Numbers(1), false, &["OK"]),
    ("verbosity", Numbers(1), false, &["OK"]),
    ("version", Numbers(0), false, &[]),
    ("quit", Numbers(0), false, &[]),
    ("stats", Words(0), false, &["END", "RESET"]),
    ("mg", Meta, false, &["EN", "HD"]),
    ("ms", MetaStore, true, &["HD", "NS", "EX", "NF"]),
    ("md", Meta, false, &["HD", "NF", "EX"]),
    ("ma", Meta, false, &["HD", "NF", "NS", "EX"]),
    ("me", Meta, false, &["EN"]),
    ("mn", Numbers(0), false, &["MN"]),
];

/// Reads one command line. A byte that cannot belong to one fails at once.
pub(super) fn command(c: &mut Cursor<'_>) -> Read<Command> {
    let (line, whole) = line(c)?;
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let verb = words.next().ok_or(if whole { Flaw::Bad } else { Flaw::Short })?;
    let named = whole || line.len() > verb.len();
    if !named {
        let open = COMMANDS.iter().any(|(name, ..)| name.as_bytes().starts_with(verb));
        return Err(if open { Flaw::Short } else { Flaw::Bad });
    }
    let found = COMMANDS.iter().find(|(name, ..)| name.as_bytes() == verb);
    let &(name, form, own, replies) = found.ok_or(Flaw::Bad)?;
    need(line.starts_with(verb))?;
    if !whole {
        return Err(Flaw::Short);
    }
    let mut command = Command { own, replies, name, data: None };
    let mut next = || words.next();
    let sound = match form {
        Store(numbers) => {
            let key = next().is_some_and(is_key);
            let [_, _, length] = [next(), next(), next()].map(|word| word.and_then(number));
            command.data = length.and_then(|length| u32::try_from(length).ok()).map(size);
            key && command.data.is_some() && (numbers == 3 || next().and_then(number).is_some())
        }
        MetaStore => {
            let key = next().is_some_and(is_key);
            command.data = next().and_then(number).and_then(|n| u32::try_from(n).ok()).map(size);
            key && command.data.is_some()
        }
        Meta => {
            let (mut weight, mut sound) = (0_u8, next().is_some_and(is_key));
            for flag in words.by_ref() {
                let (letter, value) = flag.split_first().unwrap_or((&0, &[]));
                sound &= letter.is_ascii_alphabetic();
                sound &= value.is_empty()
                    || *letter == b'O'
                    || value.iter().all(u8::is_ascii_digit)
                    || *letter == b'M' && value.len() == 1;
                weight = weight.saturating_add(if value.is_empty() { 1 } else { 2 });
            }
            command.own = weight >= 2;
            sound
        }
        Words(least) => {
            let mut count = 0_usize;
            while next().is_some_and(is_key) {
                count = count.saturating_add(1);
            }
            count >= least && next().is_none()
        }
        KeyNumber => next().is_some_and(is_key) && next().and_then(number).is_some(),
        NumberKeys => next().and_then(number).is_some() && next().is_some_and(is_key),
        Numbers(most) => {
            let mut count = 0_usize;
            while next().is_some_and(|word| number(word).is_some() || word == b"noreply") {
                count = count.saturating_add(1);
            }
            count <= most.saturating_add(1) && next().is_none()
        }
    };
    need(sound)?;
    Ok(command)
}

/// What a reply line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Only memcached says so; data of this length follows.
    Own(&'static str, Option<usize>),
    /// Belongs to certain commands; other protocols may say it too.
    Shared(&'static str),
}

pub(super) fn reply(c: &mut Cursor<'_>) -> Read<Reply> {
    let (line, whole) = line(c)?;
    let end = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    let named = whole || !rest.is_empty();
    if !named {
        let open = OWN.iter().chain(SHARED).any(|name| name.as_bytes().starts_with(word))
            || word.iter().all(u8::is_ascii_digit) && word.len() <= NUMBER_DIGITS_MAX;
        return Err(if open { Flaw::Short } else { Flaw::Bad });
    }
    let own = OWN.iter().find(|name| name.as_bytes() == word);
    let shared = SHARED.iter().find(|name| name.as_bytes() == word);
    if own.is_none() && shared.is_none() && number(word).is_none() {
        return Err(Flaw::Bad);
    }
    if !whole {
        return Err(Flaw::Short);
    }
    let mut words = rest.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let mut next = || words.next();
    let Some(&name) = own else {
        // Meta replies carry flags, and ERROR nothing.
        let bare = rest.is_empty() || word.len() == 2;
        let name = shared.copied().unwrap_or("NUMBER");
        return if bare { Ok(Reply::Shared(name)) } else { Err(Flaw::Bad) };
    };
    let length =
        |word: Option<&[u8]>| word.and_then(number).and_then(|n| u32::try_from(n).ok()).map(size);
    let (sound, data) = match name {
        "VALUE" => {
            let key = next().is_some_and(is_key) && next().and_then(number).is_some();
            let length = length(next());
            (key && length.is_some(), length)
        }
        "VA" => {
            let length = length(next());
            (length.is_some(), length)
        }
        "STAT" => (next().is_some() && next().is_some(), None),
        "VERSION" => (next().is_some_and(|v| v.first().is_some_and(u8::is_ascii_digit)), None),
        "STORED" | "NOT_STORED" => (next().is_none(), None),
        _ => (next().is_some(), None),
    };
    need(sound)?;
    Ok(Reply::Own(name, data))
}

/// Whether this reply says that the login failed, or was not made.
pub(super) fn is_denial(bytes: &[u8]) -> Option<bool> {
    let line = bytes.strip_prefix(b"CLIENT_ERROR ")?;
    if line.starts_with(b"authentication failure") {
        return Some(true);
    }
    line.starts_with(b"unauthenticated").then_some(false)
}

/// A line of printable words up to LF, which is read if it is there.
fn line<'a>(c: &mut Cursor<'a>) -> Read<(&'a [u8], bool)> {
    let rest = c.rest();
    let end = rest.iter().position(|b| *b == b'\n');
    let seen = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
    need(seen.len() <= LINE_BYTES_MAX)?;
    let text = seen.strip_suffix(b"\r").unwrap_or(seen);
    need(text.iter().all(|b| printable(*b) || *b >= 0x80) && text.first() != Some(&b' '))?;
    if end.is_some() {
        c.skip(seen.len().saturating_add(1))?;
    }
    Ok((text, end.is_some()))
}

fn is_key(word: &[u8]) -> bool {
    word.len() <= KEY_BYTES_MAX
}

fn number(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let sound = (1..=NUMBER_DIGITS_MAX).contains(&digits.len());
    (sound && digits.iter().all(u8::is_ascii_digit)).then(|| {
        digits.iter().fold(0_u64, |n, digit| {
            n.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
        })
    })
}

const OWN: &[&str] =
    &["VALUE", "VA", "STAT", "STORED", "NOT_STORED", "VERSION", "CLIENT_ERROR", "SERVER_ERROR"];
const SHARED: &[&str] = &[
    "END",
    "DELETED",
    "TOUCHED",
    "NOT_FOUND",
    "EXISTS",
    "OK",
    "ERROR",
    "HD",
    "EN",
    "NF",
    "NS",
    "EX",
    "MN",
    "RESET",
];
const KEY_BYTES_MAX: usize = 250;
const NUMBER_DIGITS_MAX: usize = 20;
const LINE_BYTES_MAX: usize = 2048;
