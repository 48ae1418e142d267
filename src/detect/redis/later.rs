//! What comes after the match: who fits, passwords, refusals.
use super::{
    Facts, Next, Step, mark,
    resp::{self, Flaw, Head, Read},
    words::{command, is_text, listed, verb},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, PlaintextReason, Side},
};

/// Reads the head of a command, one argument, or one inline command.
///
/// Words: arguments left, index of the next, topic, arguments up to the secret, commands, replies.
pub(super) fn request(words: &mut [u32; 6], bytes: &[u8]) -> Read<Step> {
    let [left, _, _, _, commands, _] = words;
    let mut cursor = Cursor::new(bytes);
    if *left > 0 {
        let length = resp::bulk_length(&mut cursor)?;
        let head = cursor.at();
        let word = cursor.take(length.min(LOOK_BYTES))?;
        let consumed = head.saturating_add(length).saturating_add(CRLF_BYTES);
        return Ok(Step::read(consumed, argument(words, word, head)));
    }
    if *commands >= COMMANDS_MAX {
        return Ok(Step::DONE);
    }
    match cursor.peek()? {
        b'*' => {
            cursor.skip(1)?;
            let arguments = resp::count(resp::number(&mut cursor)?)?;
            begin(words, arguments.unwrap_or(0));
            Ok(Step::read(cursor.at(), Facts::NONE))
        }
        b'\r' | b'\n' if cursor.line()?.is_empty() => Ok(Step::read(cursor.at(), Facts::NONE)),
        first if first.is_ascii_alphabetic() => inline(words, cursor),
        _ => Err(Flaw::Bad),
    }
}

/// Reads one type of a reply. `flags` remembers whether nothing but refusals has been answered.
pub(super) fn reply(words: &mut [u32; 6], flags: &mut u16, bytes: &[u8]) -> Read<Step> {
    let [.., replies] = words;
    let mut cursor = Cursor::new(bytes);
    let head = resp::head(&mut cursor)?;
    let mut step = Step::read(cursor.at(), FITS);
    match head {
        Head::Blob(length) => {
            step.consumed = step.consumed.saturating_add(length).saturating_add(CRLF_BYTES);
        }
        // The session ends before it began.
        Head::Text(b'-', text) if *replies == 0 && refuses(text) => {
            let refusal = REFUSALS.iter().find(|(start, _)| text.starts_with(start));
            if let Some((start, constant)) = refusal {
                let mark = mark("redis.refused", Side::Server, 1, start.len(), constant);
                step.facts = Facts { refused: true, mark: Some(mark), ..FITS };
            }
        }
        Head::Text(b'-', text) if *replies == 0 || *flags & REFUSED != 0 => {
            let refusal = ACCESS.iter().find(|(start, _)| text.starts_with(start));
            if let Some((start, constant)) = refusal {
                *flags |= REFUSED;
                *replies = replies.saturating_add(1);
                let mark = mark("redis.refused", Side::Server, 1, start.len(), constant);
                step.facts = Facts { refused: true, mark: Some(mark), ..FITS };
                return Ok(step);
            }
        }
        // What follows is a snapshot and a feed of commands.
        Head::Text(b'+', text) if listed("FULLRESYNC CONTINUE", verb(text)).is_some() => {
            step.next = Next::Done;
        }
        _ => {}
    }
    if !step.facts.refused {
        *flags &= !REFUSED;
        step.facts.accepted = true;
    }
    *replies = replies.saturating_add(1);
    if *replies >= REPLIES_MAX {
        step.next = Next::Done;
    }
    Ok(step)
}

fn refuses(text: &[u8]) -> bool {
    REFUSALS.iter().any(|(start, _)| text.starts_with(start))
}

fn inline(words: &mut [u32; 6], mut cursor: Cursor<'_>) -> Read<Step> {
    let line = cursor.line()?;
    if !is_text(line) {
        return Err(Flaw::Bad);
    }
    let arguments = || line.split(|b| *b == b' ').filter(|word| !word.is_empty()).take(WORDS_MAX);
    let known = command(verb(line)).is_some();
    begin(words, u32::try_from(arguments().count()).unwrap_or(0));
    let mut facts = if known { FITS } else { Facts::NONE };
    for word in arguments() {
        let learnt = argument(words, word, verb(line).len());
        facts.credentials = facts.credentials.with(learnt.credentials);
        facts.mark = facts.mark.or(learnt.mark);
    }
    let [left, ..] = words;
    *left = 0;
    Ok(Step::read(cursor.at(), facts))
}

fn begin(words: &mut [u32; 6], arguments: u32) {
    let [left, index, topic, secret, commands, _] = words;
    (*left, *index, *topic, *secret) = (arguments, 0, 0, 0);
    *commands = commands.saturating_add(1);
}

/// Takes note of one argument (its first bytes), `proof` bytes into what is pointed at.
fn argument(words: &mut [u32; 6], word: &[u8], proof: usize) -> Facts {
    let [left, index, topic, secret, ..] = words;
    let at = *index;
    *left = left.saturating_sub(1);
    *index = index.saturating_add(1);
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    if at == 0 {
        *topic = TOPICS.iter().zip(1..).find(|((name, _), _)| is(name)).map_or(0, |(_, n)| n);
        if *topic == AUTH && *left <= 2 {
            *secret = *left;
        }
        return FITS;
    }
    let found = match *secret {
        0 => *topic == ACL && at >= 3 && matches!(word, [b'>' | b'<', _, ..]),
        n => {
            *secret = n.saturating_sub(1);
            *secret == 0 && !word.is_empty()
        }
    };
    if found {
        let constant = usize::try_from(topic.saturating_sub(1)).ok().and_then(|n| TOPICS.get(n));
        let constant = constant.map_or("", |(_, constant)| *constant);
        let mark = mark("redis.password", Side::Client, 0, proof, constant);
        let credentials = Credentials::PASSWORD_CLEARTEXT;
        return Facts { credentials, mark: Some(mark), ..Facts::NONE };
    }
    match (*topic, at) {
        (CONFIG, 1) if !is(b"SET") => *topic = 0,
        (ACL, 1) if !is(b"SETUSER") => *topic = 0,
        (MIGRATE, 6..) if is(b"KEYS") => *topic = 0,
        (CONFIG | SENTINEL, 2..) if PASSWORDS.iter().any(|name| is(name)) => *secret = 1,
        (MIGRATE, 6..) if is(b"AUTH") => *secret = 1,
        (MIGRATE, 6..) if is(b"AUTH2") => *secret = 2,
        (HELLO, 2..) if is(b"AUTH") => *secret = 2,
        _ => {}
    }
    Facts::NONE
}

const FITS: Facts = Facts { reason: Some(PlaintextReason::NoInBandUpgrade), ..Facts::FITS };
const COMMANDS_MAX: u32 = 256;
const REPLIES_MAX: u32 = 1024;
const WORDS_MAX: usize = 64;
const CRLF_BYTES: usize = 2;
/// Longer than any word looked for.
const LOOK_BYTES: usize = 16;
const AUTH: u32 = 1;
const HELLO: u32 = 2;
const CONFIG: u32 = 3;
const MIGRATE: u32 = 4;
const ACL: u32 = 5;
const SENTINEL: u32 = 6;
/// Commands that can carry a password, by topic, and what is said of them.
const TOPICS: [(&[u8], &str); 6] = [
    (b"AUTH", "AUTH"),
    (b"HELLO", "HELLO AUTH"),
    (b"CONFIG", "CONFIG SET password"),
    (b"MIGRATE", "MIGRATE AUTH"),
    (b"ACL", "ACL SETUSER"),
    (b"SENTINEL", "SENTINEL SET auth-pass"),
];
const PASSWORDS: [&[u8]; 3] = [b"requirepass", b"masterauth", b"auth-pass"];
const REFUSALS: [(&[u8], &str); 2] =
    [(b"DENIED ", "DENIED"), (b"ERR max number of clients", "max number of clients")];

/// Answers to who has not logged in, or not rightly.
const ACCESS: [(&[u8], &str); 2] = [(b"NOAUTH ", "NOAUTH"), (b"WRONGPASS ", "WRONGPASS")];
/// Flag: only refusals so far.
const REFUSED: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        Start,
        check::{Heard, hear, hear_from},
        redis::Redis,
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    /// A request array.
    fn array(line: &str) -> Vec<u8> {
        let words: Vec<&str> = line.split(' ').collect();
        let bulks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!("*{}\r\n{}", words.len(), bulks.collect::<String>()).into_bytes()
    }

    fn secret(heard: &Heard) -> bool {
        assert!(heard.credentials.is_empty() || heard.rules.contains(&"redis.password"));
        heard.credentials == Credentials::PASSWORD_CLEARTEXT
    }

    #[test]
    fn both_sides_fit_and_the_reason_is_named() {
        let heard = hear(&Redis, &[(C, &array("GET k")), (S, b"$-1\r\n"), (C, &array("PING"))]);
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        assert!(!heard.refused && heard.credentials.is_empty());
    }

    #[test]
    fn passwords_are_found_in_every_command_that_carries_one() {
        let cases = [
            ("AUTH secret", true),
            ("auth user secret", true),
            ("HELLO 3 AUTH user secret SETNAME x", true),
            ("CONFIG SET requirepass secret", true),
            ("CONFIG SET maxmemory 1 masterauth secret", true),
            ("MIGRATE host 6379 key 0 5000 COPY AUTH secret", true),
            ("MIGRATE host 6379 key 0 5000 AUTH2 user secret KEYS a b", true),
            ("ACL SETUSER user on >secret ~* +@all", true),
            ("SENTINEL SET mymaster auth-pass secret", true),
            ("GET AUTH", false),
            ("HELLO 3 SETNAME AUTH", false),
            ("CONFIG GET requirepass", false),
            ("MIGRATE host 6379 key 0 5000 KEYS AUTH secret", false),
            ("ACL SETUSER user on #0123456789abcdef ~*", false),
            ("ACL GETUSER >user x", false),
        ];
        for (line, expected) in cases {
            let heard = hear(&Redis, &[(C, &array(line)), (S, b"+OK\r\n:1\r\n")]);
            assert_eq!(secret(&heard), expected, "{line}");
            let line = format!("{line}\r\n");
            let heard = hear(&Redis, &[(C, line.as_bytes()), (S, b":1\r\n")]);
            assert_eq!(secret(&heard), expected, "inline {line}");
        }
        let later = [array("PING"), array("SET key value"), array("AUTH later")].concat();
        assert!(secret(&hear(&Redis, &[(C, &later)])));
        assert!(!secret(&hear(&Redis, &[(C, b"*2\r\n$4\r\nAUTH\r\n$0\r\n\r\n")])));
        assert!(!secret(&hear(&Redis, &[(C, b"*2\r\n$4\r\nAUTH\r\n")])), "not sent yet");
    }

    #[test]
    fn long_values_are_passed_over() {
        let value = "AUTH".repeat(5000);
        let said = [array(&format!("SET key {value}")), array("AUTH secret")].concat();
        let reply = format!("${}\r\n{value}\r\n-ERR max number of clients\r\n", value.len());
        let heard = hear(&Redis, &[(C, &said), (S, reply.as_bytes())]);
        assert!(secret(&heard) && heard.fits == [true, true] && !heard.refused);
    }

    #[test]
    fn refusals_are_the_first_reply() {
        let denied = b"-DENIED Redis is running in protected mode because ...\r\n";
        let full = b"-ERR max number of clients reached\r\n";
        for reply in [&denied[..], full] {
            let heard = hear(&Redis, &[(S, reply)]);
            assert!(heard.refused && heard.fits == [false, true]);
            let heard = hear(&Redis, &[(C, &array("PING")), (S, reply)]);
            assert!(heard.refused && heard.fits == [true, true]);
        }
        let refusal: &[u8] = b"-NOAUTH Authentication.\r\n";
        let heard = hear(&Redis, &[(C, &array("GET k")), (S, refusal)]);
        assert!(heard.refused, "nothing but a refusal was answered");
        let heard = hear(
            &Redis,
            &[(C, &array("GET k")), (S, refusal), (C, &array("AUTH x")), (S, b"+OK\r\n")],
        );
        assert!(!heard.refused, "the login was taken");
    }

    #[test]
    fn another_protocol_on_one_side_is_a_mismatch() {
        for reply in [&b"\x15\x03\x03\x00\x02\x02\x46"[..], b"HTTP/1.1 400 Bad Request\r\n"] {
            let heard = hear(&Redis, &[(C, &array("PING")), (S, reply)]);
            assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
        }
        let first = b"-DENIED Redis is running in protected mode\r\n";
        for client in [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let heard = hear(&Redis, &[(S, first), (C, client)]);
            assert_eq!((heard.fits, heard.mismatch), ([false, true], [true, false]));
        }
    }

    #[test]
    fn a_replica_feed_and_a_late_view_end_the_reading_quietly() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let sync = format!("+FULLRESYNC {id} 0\r\n$9999\r\nREDIS0011...");
        let heard = hear(&Redis, &[(C, &array("PSYNC ? -1")), (S, sync.as_bytes())]);
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
        let replies = b"$3\r\nabc\r\n+OK\r\n";
        let late = |tail: &[u8]| {
            let client = [tail, &array("AUTH secret")].concat();
            hear_from(&Redis, &[(S, replies), (C, &client)], Start::Unknown)
        };
        let heard = late(b"of a value\r\n");
        assert!(heard.fits == [true, true] && secret(&heard));
        let heard = late(b"\x00 of a value\r\n");
        assert_eq!((heard.fits, heard.mismatch), ([false, true], [false, false]));
        let heard = hear_from(&Redis, &[(S, replies), (C, b"AUTH words\r\n")], Start::Unknown);
        assert!(!secret(&heard), "may be a value");
    }
}
