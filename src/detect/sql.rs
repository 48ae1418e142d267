//! What the SQL databases' detectors share: statement text, and one answer made of two half-views.
use super::{Match, Probe, Start, View};
use crate::bytes::find;
pub(super) use crate::bytes::is_text;

/// What one side's bytes say about a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It has not spoken.
    Silent,
    /// Could still become proof.
    Open,
    /// These bytes will never prove it, but do not speak against it.
    Unclear,
    /// Another protocol.
    Other,
    /// This protocol.
    Proven(Match),
}

/// The answer of `probe` for both sides together. Final wherever each side's `Seen` is.
pub(super) fn answer(view: &View<'_>, client: Seen, server: Seen) -> Probe {
    match (client, server) {
        (Seen::Other, _) | (Seen::Unclear, Seen::Unclear | Seen::Other) => Probe::No,
        // A known beginning may yet turn out to be another protocol; the client's word counts.
        (Seen::Open, _) if view.client.start == Start::Known => Probe::More,
        (Seen::Proven(found), _) | (_, Seen::Proven(found)) => Probe::Match(found),
        _ => Probe::More,
    }
}

/// Whether `text` is readable throughout and begins with an SQL verb.
pub(super) fn is_statement(text: &[u8]) -> bool {
    let body = after_comments(text);
    let end = body.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(body.len());
    let Some((word, rest)) = body.split_at_checked(end) else { return false };
    let delimited =
        rest.first().is_none_or(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'('));
    delimited && VERBS.iter().any(|verb| verb.eq_ignore_ascii_case(word)) && is_text(text)
}

/// Skips white space, opening parentheses and up to [`COMMENTS_MAX`] comments (drivers tag their queries).
fn after_comments(text: &[u8]) -> &[u8] {
    let mut rest = text;
    for _ in 0..COMMENTS_MAX {
        rest = trim(rest);
        let end: &[u8] = match rest {
            [b'/', b'*', ..] => b"*/",
            [b'-', b'-', ..] => b"\n",
            _ => break,
        };
        let at = find(rest, end).unwrap_or(rest.len());
        rest = rest.get(at.saturating_add(end.len())..).unwrap_or_default();
    }
    trim(rest)
}

fn trim(text: &[u8]) -> &[u8] {
    let skip = |b: &u8| !b.is_ascii_whitespace() && *b != b'(';
    let at = text.iter().position(skip).unwrap_or(text.len());
    text.get(at..).unwrap_or_default()
}

const COMMENTS_MAX: usize = 4;

const VERBS: &[&[u8]] = &[
    b"SELECT",
    b"INSERT",
    b"UPDATE",
    b"DELETE",
    b"REPLACE",
    b"SET",
    b"SHOW",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK",
    b"START",
    b"END",
    b"ABORT",
    b"SAVEPOINT",
    b"RELEASE",
    b"CREATE",
    b"ALTER",
    b"DROP",
    b"TRUNCATE",
    b"WITH",
    b"VALUES",
    b"TABLE",
    b"MERGE",
    b"CALL",
    b"EXPLAIN",
    b"DESCRIBE",
    b"ANALYZE",
    b"VACUUM",
    b"OPTIMIZE",
    b"USE",
    b"LOCK",
    b"UNLOCK",
    b"GRANT",
    b"REVOKE",
    b"PREPARE",
    b"EXECUTE",
    b"DEALLOCATE",
    b"DECLARE",
    b"FETCH",
    b"MOVE",
    b"CLOSE",
    b"COPY",
    b"LOAD",
    b"LISTEN",
    b"UNLISTEN",
    b"NOTIFY",
    b"DISCARD",
    b"RESET",
    b"KILL",
    b"FLUSH",
    b"DO",
];

#[cfg(test)]
mod tests {
    use super::is_statement;

    #[test]
    fn a_statement_begins_with_a_verb_and_is_readable_to_its_end() {
        let yes: &[&[u8]] = &[
            b"SELECT 1",
            b"select\n*\nfrom t",
            b"COMMIT",
            b"begin;",
            b"/* app:web */ -- why\n UPDATE t SET a = 1",
            b"((SELECT 1) UNION (SELECT 2))",
            "INSERT INTO t VALUES ('gr\u{fc}n')".as_bytes(),
        ];
        let no: &[&[u8]] =
            &[b"", b"SELECTED 1", b"GET / HTTP/1.1", b"SELECT \x00", b"/* open", b"set_x", b"PING"];
        for text in yes {
            assert!(is_statement(text), "{}", text.escape_ascii());
        }
        for text in no {
            assert!(!is_statement(text), "{}", text.escape_ascii());
        }
    }
}
