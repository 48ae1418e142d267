//! Zabbix agents, senders and proxies: `ZBXD`, flags, lengths.
//! <https://www.zabbix.com/documentation/current/en/manual/appendix/protocols/header_datalen>
//!
//! Servers before 4.0 ask an agent with a bare line that holds an item's key; then the answer has to tell.
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, demand, expect, text_line},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const ZABBIX: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    let key = cursor.peek()?.is_ascii_lowercase() && heard.side == Side::Client && !heard.late;
    if key {
        return item(&mut cursor);
    }
    expect(&mut cursor, b"ZBXD")?;
    let flags = cursor.u8()?;
    demand(flags & PROTOCOL != 0 && flags & !(PROTOCOL | COMPRESSED | LARGE) == 0)?;
    let (length, reserved) = if flags & LARGE == 0 {
        (u64::from(cursor.u32_le()?), u64::from(cursor.u32_le()?))
    } else {
        let [length, reserved] = [cursor.array()?, cursor.array()?].map(u64::from_le_bytes);
        (length, reserved)
    };
    // Compressed data say here how long they will be.
    demand((length <= DATA_BYTES_MAX) && (flags & COMPRESSED != 0 || reserved == 0))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Ok(Message::proof(cursor.at().saturating_add(length), "zabbix.header", "ZBXD"))
}

/// `system.cpu.load[all,avg1]`.
fn item(cursor: &mut Cursor<'_>) -> Read<Message> {
    let (rest, line) = (cursor.rest(), text_line(cursor, ITEM_BYTES_MAX));
    let line = line.map_or_else(|flaw| Err((rest, flaw)), Ok);
    // Of an unfinished line the last byte may belong to its end.
    let shown = line.unwrap_or_else(|(rest, _)| rest.strip_suffix(b"\r").unwrap_or(rest));
    let parameters = shown.iter().position(|b| *b == b'[').unwrap_or(shown.len());
    let name = shown.get(..parameters).unwrap_or(shown);
    demand(name.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b)))?;
    line.map_err(|(_, flaw)| flaw)?;
    demand(parameters == shown.len() || shown.ends_with(b"]"))?;
    Ok(Message::weak(cursor.at()))
}

const PROTOCOL: u8 = 1;
const COMPRESSED: u8 = 2;
const LARGE: u8 = 4;
const DATA_BYTES_MAX: u64 = 1 << 30;
const ITEM_BYTES_MAX: usize = 1024;

static INFO: Info = Info {
    name: "zabbix",
    title: "Zabbix",
    spec: "https://www.zabbix.com/documentation/current/en/manual/appendix/protocols",
    ports: &[10050, 10051],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream},
        model::PlaintextReason,
    };

    const ASK: &[u8] = b"ZBXD\x01\x0a\x00\x00\x00\x00\x00\x00\x00agent.ping";
    const TELL: &[u8] = b"ZBXD\x01\x01\x00\x00\x00\x00\x00\x00\x001";

    #[test]
    fn the_header_proves_either_side() {
        let cases: [(&[u8], Option<bool>); 8] = [
            (ASK, Some(true)),
            (b"ZBXD\x03\x0a\x00\x00\x00\x0e\x00\x00\x00x\x9c", Some(true)),
            (b"ZBXD\x05\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{", Some(true)),
            (b"ZBXD\x01\x0a\x00\x00", None),
            (b"ZBXD\x01\x0a\x00\x00\x00\x00\x00\x00\x01agent.ping", Some(false)),
            (b"ZBXD\x00\x0a\x00\x00\x00\x00\x00\x00\x00", Some(false)),
            (b"ZBXD\x09", Some(false)),
            (b"ZBX\x00", Some(false)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(stream(&ZABBIX, C, bytes), expected, "{}", bytes.escape_ascii());
            let other = expected.filter(|matched| *matched);
            assert_eq!(stream(&ZABBIX, S, bytes), other, "{}", bytes.escape_ascii());
            assert_eq!(late(&ZABBIX, C, bytes), expected);
        }
    }

    #[test]
    fn request_and_response() {
        for ask in [ASK, b"agent.ping\n", b"vfs.fs.size[/,free]\n"] {
            let heard = hear_streams(&ZABBIX, &[(C, ask), (S, TELL)]);
            assert_eq!(heard.fits, [true, true], "{}", ask.escape_ascii());
            assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        }
        for ask in [&b"get key\n"[..], b"ping[\n", b"STATS\n"] {
            let heard = hear_streams(&ZABBIX, &[(C, ask), (S, TELL)]);
            assert_eq!(heard.matched, None, "{}", ask.escape_ascii());
        }
        let heard = hear_streams(&ZABBIX, &[(C, b"quit\n"), (S, b"bye\n")]);
        assert_eq!(heard.matched, None);
    }

    #[test]
    fn nothing_else_is_zabbix() {
        is_choosy(&ZABBIX, &[b"ZB"]);
    }
}
