//! Tables of commands, three-digit replies, words.
use super::{Fit, Means};

/// What may stand behind a command's word.
#[derive(Clone, Copy)]
pub(in crate::detect) enum Rest {
    /// Nothing.
    End,
    /// An argument.
    Argument,
    /// An argument or nothing.
    Any,
    /// Whatever; the word need not end there.
    Free,
}

/// A row of a command table: the word, what stands behind it, how far it proves the protocol, what it means.
pub(in crate::detect) type Row = (&'static str, Rest, Proves, Means);

/// How far a command proves its protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::detect) enum Proves {
    Shared,
    Weak,
    Own,
}

/// The best that rows of `table` make of a line.
pub(in crate::detect) fn fit(table: &'static [Row], line: &[u8], whole: bool) -> Fit {
    let fits = table.iter().map(|(word, rest, proves, _)| {
        match (matches(word, *rest, line, whole), proves) {
            (None, _) => Fit::Open,
            (Some(false), _) => Fit::No,
            (_, Proves::Shared) => Fit::Shared,
            (_, Proves::Weak) => Fit::Weak(word),
            (_, Proves::Own) => Fit::Own(word),
        }
    });
    fits.max().unwrap_or(Fit::No)
}

/// Meaning of a whole line: that of the first row that has it.
pub(in crate::detect) fn meaning(
    table: &'static [Row],
    line: &[u8],
) -> Option<(&'static str, Means)> {
    let has = |row: &&Row| matches(row.0, row.1, line, true) == Some(true);
    table.iter().find(has).map(|(word, _, _, means)| (*word, *means))
}

/// Whether a line is `word` and what may follow it; `None`: so far it may.
fn matches(word: &str, rest: Rest, line: &[u8], whole: bool) -> Option<bool> {
    if !starts(word.as_bytes(), line) {
        return Some(false);
    }
    let Some(after) = line.get(word.len()..) else {
        return if whole { Some(false) } else { None };
    };
    let argument = after.first() == Some(&b' ');
    let nothing = after.trim_ascii().is_empty();
    let fits = match rest {
        Rest::End => nothing,
        Rest::Argument if whole => argument && !nothing,
        Rest::Argument | Rest::Any => argument || nothing,
        Rest::Free => true,
    };
    if fits && !whole { None } else { Some(fits) }
}

/// Whether the shorter of both begins the longer, in any case.
pub(super) fn starts(word: &[u8], line: &[u8]) -> bool {
    word.iter().zip(line).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// Whether `text` holds `word` in any case.
pub(in crate::detect) fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// The words of a line.
pub(in crate::detect) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A reply of three digits and its text (RFC 5321 section 4.2, RFC 959 section 4.2); the flag tells of more lines.
pub(in crate::detect) fn reply(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits
        .iter()
        .fold(0_u16, |n, d| n.saturating_mul(10).saturating_add(u16::from(d.saturating_sub(b'0'))));
    match rest.split_first() {
        None => Some((code, false, rest)),
        Some((b' ', text)) => Some((code, false, text)),
        Some((b'-', text)) => Some((code, true, text)),
        Some((b'\r', _)) => Some((code, false, &[])),
        _ => None,
    }
}

/// Whether an unfinished line may yet be a reply with one of `codes`.
pub(in crate::detect) fn may_be_reply(line: &[u8], codes: &[&str]) -> bool {
    codes.iter().any(|code| starts(code.as_bytes(), line))
        && line.get(3).is_none_or(|b| matches!(b, b' ' | b'-' | b'\r' | b'\n'))
}
