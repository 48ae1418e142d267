//! FIX, tag=value sessions: every message begins with its version, its length and its type.
//! <https://www.fixtrading.org/standards/fix-session-layer-online/>
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand, expect, listed},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const FIX: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    expect(&mut cursor, b"8=")?;
    // Some houses write a version of their own.
    let version = value(&mut cursor, VERSION_BYTES_MAX)?;
    demand(!version.is_empty())?;
    let version = listed(&VERSIONS, version).unwrap_or("8= 9= 35=");
    expect(&mut cursor, b"9=")?;
    let body = value(&mut cursor, 7)?;
    let body = str::from_utf8(body).ok().filter(|b| b.bytes().all(|b| b.is_ascii_digit()));
    let body: usize = body.and_then(|b| b.parse().ok()).ok_or(Flaw::Foreign)?;
    let end = cursor.at().saturating_add(body);
    let length = end.saturating_add(CHECKSUM_BYTES);
    expect(&mut cursor, b"35=")?;
    let kind = value(&mut cursor, 3)?;
    demand(!kind.is_empty() && kind.iter().all(u8::is_ascii_alphanumeric) && end > cursor.at())?;
    let mut message = Message::proof(length, "fix.begin-string", version);
    if heard.follows && body <= BODY_BYTES_MAX {
        let whole = heard.whole(length)?;
        let (fields, checksum) = whole.split_at_checked(end).ok_or(Flaw::Foreign)?;
        demand(checksum.starts_with(b"10=") && checksum.ends_with(b"\x01"))?;
        if kind == LOGON && fields.split(|b| *b == 1).any(|f| f.starts_with(b"554=") && f.len() > 4)
        {
            message.facts.credentials = Credentials::PASSWORD_CLEARTEXT;
        }
    }
    // The answer to a logon that fails.
    let first = heard.side == Side::Server && !heard.late;
    message.taken = !matches!(kind, LOGOUT | REJECT);
    message.facts.refused = first && !message.taken;
    Ok(message)
}

/// A field's value of at most `max` bytes, up to its SOH.
fn value<'a>(cursor: &mut Cursor<'a>, max: usize) -> Read<&'a [u8]> {
    let rest = cursor.rest();
    let shown = rest.get(..=max).unwrap_or(rest);
    let end = shown.iter().position(|b| *b == 1);
    demand(end.is_some() || shown.len() <= max)?;
    demand(
        shown.get(..end.unwrap_or(shown.len())).is_some_and(|v| v.iter().all(u8::is_ascii_graphic)),
    )?;
    Ok(cursor.until(1)?)
}

const VERSION_BYTES_MAX: usize = 8;
const LOGON: &[u8] = b"A";
const LOGOUT: &[u8] = b"5";
const REJECT: &[u8] = b"3";
const VERSIONS: [&str; 7] =
    ["FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIX.5.0", "FIXT.1.1"];
/// `10=123` and SOH.
const CHECKSUM_BYTES: usize = 7;
const BODY_BYTES_MAX: usize = 4096;

static INFO: Info = Info {
    name: "fix",
    title: "Financial Information eXchange",
    spec: "https://www.fixtrading.org/standards/fix-session-layer-online/",
    ports: &[],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream};
    use crate::detect::{Start, check::hear_from};

    fn message(version: &str, fields: &str) -> Vec<u8> {
        let fields = fields.replace('|', "\x01");
        format!("8={version}\x019={}\x01{fields}10=128\x01", fields.len()).into_bytes()
    }

    #[test]
    fn version_length_and_type_prove_either_side() {
        let cases = [
            (message("FIX.4.2", "35=A|49=A|56=B|98=0|108=30|"), Some(true)),
            (message("FIXT.1.1", "35=AE|49=A|"), Some(true)),
            (message("FIX.4.4", "35=0|49=A|")[..12].to_vec(), None),
            (message("OWN", "35=0|49=A|"), Some(true)),
            (message("FIX.4.4", "36=0|49=A|"), Some(false)),
            (message("FIX.4.4", ""), Some(false)),
            (b"8=FIX.4.4\x019=x\x0135=0\x01".to_vec(), Some(false)),
            (b"8=GETTING LATE".to_vec(), Some(false)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(stream(&FIX, C, &bytes), expected, "{}", bytes.escape_ascii());
            assert_eq!(late(&FIX, S, &bytes).filter(|yes| *yes), expected.filter(|yes| *yes));
        }
    }

    #[test]
    fn a_logon_and_its_answer() {
        let logon = message("FIX.4.4", "35=A|49=A|56=B|98=0|108=30|553=alice|554=secret|");
        let taken = message("FIX.4.4", "35=A|49=B|56=A|98=0|108=30|");
        let heard = hear_streams(&FIX, &[(C, &logon), (S, &taken)]);
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        let logout = message("FIX.4.4", "35=5|49=B|56=A|58=no|");
        let heard = hear_streams(&FIX, &[(C, &taken), (S, &logout)]);
        assert_eq!((heard.refused, heard.credentials), (true, Credentials::NONE));
        let heard = hear_from(&FIX, &[(C, &taken), (S, &logout)], Start::Unknown);
        assert!(!heard.refused, "it may have been the end of a session");
    }

    #[test]
    fn nothing_else_is_fix() {
        is_choosy(&FIX, &[b"8=FIX.4.4\x01", b"8=F\x01"]);
    }
}
