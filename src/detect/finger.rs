//! Finger: one line asks for a user, a table of who is logged on or a description answers.
//! <https://www.rfc-editor.org/rfc/rfc1288>
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand, text_line},
};
use crate::{
    bytes::{Cursor, find},
    model::{Credentials, Side, Transport},
};

pub(super) const FINGER: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    if heard.side == Side::Client {
        return question(&mut cursor);
    }
    let blank = heard.bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    demand(blank <= BLANK_BYTES_MAX)?;
    cursor.skip(blank)?;
    let begin = ANSWERS.iter().find(|(begin, _)| {
        let shown = cursor.rest().get(..begin.len()).unwrap_or_else(|| cursor.rest());
        begin.as_bytes().starts_with(shown)
    });
    let (begin, then) = begin.ok_or(Flaw::Foreign)?;
    let line = text_line(&mut cursor, LINE_BYTES_MAX)?;
    // `Login: alice    Name: Alice Liddell`: two columns make the difference to a prompt.
    let wide = |at: usize| matches!(line.get(..at), Some([.., b' ' | b'\t', b' ' | b'\t']));
    let column = find(line, then.as_bytes());
    demand(line.starts_with(begin.as_bytes()) && (*begin == *then || column.is_some_and(wide)))?;
    Ok(Message::proof(heard.bytes.len(), "finger.answer", begin))
}

/// `{/W} {user}{@host}` and CRLF.
fn question(cursor: &mut Cursor<'_>) -> Read<Message> {
    let rest = cursor.rest();
    let rest = rest.strip_prefix(b"/W ").unwrap_or(rest);
    let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len());
    let name = rest.get(..end).unwrap_or(rest);
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"._-@/".contains(b);
    demand(name.len() <= NAME_BYTES_MAX && name.iter().all(fits))?;
    text_line(cursor, QUESTION_BYTES_MAX)?;
    Ok(Message::weak(cursor.at()))
}

const NAME_BYTES_MAX: usize = 64;
const QUESTION_BYTES_MAX: usize = 80;
const LINE_BYTES_MAX: usize = 256;
const BLANK_BYTES_MAX: usize = 4;
/// How an answer begins, and what the same line holds further right.
const ANSWERS: [(&str, &str); 4] = [
    ("Login: ", "Name: "),
    ("Login name: ", "In real life: "),
    ("Login    ", "Name "),
    ("No one logged on", "No one logged on"),
];

static INFO: Info = Info {
    name: "finger",
    title: "Finger",
    spec: "https://www.rfc-editor.org/rfc/rfc1288",
    ports: &[79],
    transports: &[Transport::Tcp],
    directions: Directions::Server,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, stream};

    #[test]
    fn the_answer_tells() {
        let user = b"Login: alice          \t\t\tName: Alice\nDirectory: /home/alice\n";
        let cases: [(&[u8], &[u8], bool); 6] = [
            (b"alice\r\n", user, true),
            (b"/W alice\r\n", user, true),
            (b"\r\n", b"Login     Name       Tty      Idle  Login Time\n", true),
            (b"\r\n", b"No one logged on.\r\n", true),
            (b"alice\r\n", b"Login: incorrect\r\nName: x\r\n", false),
            (b"GET / HTTP/1.0\r\n", user, false),
        ];
        for (ask, tell, expected) in cases {
            let heard = hear_streams(&FINGER, &[(C, ask), (S, tell)]);
            assert_eq!(heard.matched.is_some(), expected, "{}", ask.escape_ascii());
            assert_ne!(stream(&FINGER, C, ask), Some(true), "a question proves nothing");
        }
        assert_eq!(stream(&FINGER, S, b"Login: "), None, "a prompt proves nothing");
    }

    #[test]
    fn nothing_else_is_finger() {
        is_choosy(&FINGER, &[b"Login: ", b"alice\r\n"]);
    }
}
