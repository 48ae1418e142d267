//! Diameter over TCP: a header of version, length, flags and command, then AVPs that fill the message.
//! <https://www.rfc-editor.org/rfc/rfc6733#section-3>
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, demand},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const DIAMETER: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(state: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    demand(cursor.u8()? == 1)?;
    let length = usize::try_from(cursor.u24_be()?).unwrap_or(usize::MAX);
    demand((HEADER_BYTES..=MESSAGE_BYTES_MAX).contains(&length) && length.is_multiple_of(4))?;
    let flags = cursor.u8()?;
    let request = flags & REQUEST != 0;
    // The connecting peer asks first; later both do.
    let begins = !heard.late && state.flags & OPEN == 0;
    let turn = request == (heard.side == Side::Client);
    demand(flags & RESERVED == 0 && !(request && flags & ERROR != 0) && (turn || !begins))?;
    let command = cursor.u24_be()?;
    demand((COMMAND_MIN..=COMMAND_MAX).contains(&command))?;
    cursor.skip(APPLICATION_AND_IDS)?;
    let avps = Avps::read(&mut cursor, length)?;
    demand(avps.origin && (request || avps.result.is_some()))?;
    let constant = match (command, request) {
        (CAPABILITIES, true) => "CER 257",
        (CAPABILITIES, false) => "CEA 257",
        (_, true) => "request",
        (_, false) => "answer",
    };
    let mut message = Message::proof(length, "diameter.message", constant);
    if command == CAPABILITIES && !heard.late {
        message.facts.refused = avps.result.is_some_and(|code| code / 1000 != 2);
        let tls = avps.inband_tls;
        message.more = request && tls;
        if request && tls {
            state.flags |= TLS_ASKED;
        } else if tls && state.flags & TLS_ASKED != 0 && !message.facts.refused {
            message.layer = Some(UPGRADE);
        }
    }
    state.flags |= OPEN;
    Ok(message)
}

/// What the AVPs of a message say.
#[derive(Default)]
struct Avps {
    origin: bool,
    result: Option<u32>,
    inband_tls: bool,
}

impl Avps {
    /// Code, flags, length, perhaps a vendor, data, padding to four bytes (section 4.1).
    fn read(cursor: &mut Cursor<'_>, end: usize) -> Read<Self> {
        let mut avps = Self::default();
        while cursor.at() < end {
            let (code, flags) = (cursor.u32_be()?, cursor.u8()?);
            let length = usize::try_from(cursor.u24_be()?).unwrap_or(usize::MAX);
            let vendor = flags & AVP_VENDOR != 0;
            let header = if vendor { AVP_HEADER_BYTES.saturating_add(4) } else { AVP_HEADER_BYTES };
            let next = cursor.at().saturating_add(length.saturating_sub(AVP_HEADER_BYTES));
            let next = next.next_multiple_of(4);
            demand(flags & AVP_RESERVED == 0 && code != 0 && length >= header && next <= end)?;
            let rest = cursor.rest();
            let data = rest.get(..next.saturating_sub(cursor.at())).ok_or(crate::bytes::Short)?;
            match (vendor, code, data) {
                (false, ORIGIN_HOST, name) => {
                    demand(name.iter().all(|b| b.is_ascii_graphic() || *b == 0))?;
                    avps.origin = true;
                }
                (false, RESULT_CODE, [a, b, c, d]) => {
                    avps.result = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                }
                (false, EXPERIMENTAL_RESULT, _) => avps.result = avps.result.or(Some(2000)),
                (false, INBAND_SECURITY, [0, 0, 0, 1]) => avps.inband_tls = true,
                _ => {}
            }
            cursor.skip(data.len())?;
        }
        Ok(avps)
    }
}

const UPGRADE: &str = "diameter-inband-tls";
const OPEN: u16 = 1;
const TLS_ASKED: u16 = 2;
const REQUEST: u8 = 0x80;
const ERROR: u8 = 0x20;
const RESERVED: u8 = 0x0f;
const CAPABILITIES: u32 = 257;
/// Commands of the base protocol and of applications: 256 and up; 3GPP's end at 8388733 or so.
const COMMAND_MIN: u32 = 256;
const COMMAND_MAX: u32 = 8_389_000;
const APPLICATION_AND_IDS: usize = 12;
const AVP_HEADER_BYTES: usize = 8;
const AVP_VENDOR: u8 = 0x80;
const AVP_RESERVED: u8 = 0x1f;
const ORIGIN_HOST: u32 = 264;
const RESULT_CODE: u32 = 268;
const EXPERIMENTAL_RESULT: u32 = 297;
const INBAND_SECURITY: u32 = 299;
const HEADER_BYTES: usize = 20;
const MESSAGE_BYTES_MAX: usize = 16 << 10;

static INFO: Info = Info {
    name: "diameter",
    title: "Diameter",
    spec: "https://www.rfc-editor.org/rfc/rfc6733",
    ports: &[3868],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream};

    const HOST: &[u8] = b"\x00\x00\x01\x08\x40\x00\x00\x0fpeer.ex\x00";
    const SUCCESS: &[u8] = b"\x00\x00\x01\x0c\x40\x00\x00\x0c\x00\x00\x07\xd1";
    const FAILURE: &[u8] = b"\x00\x00\x01\x0c\x40\x00\x00\x0c\x00\x00\x13\x92";
    const TLS: &[u8] = b"\x00\x00\x01\x2b\x40\x00\x00\x0c\x00\x00\x00\x01";

    fn message(flags: u8, command: u32, avps: &[&[u8]]) -> Vec<u8> {
        let avps = avps.concat();
        let length = u32::try_from(20 + avps.len()).unwrap().to_be_bytes();
        let command = command.to_be_bytes();
        [&[1][..], &length[1..], &[flags], &command[1..], &[0; 4], &[7; 8], &avps].concat()
    }

    #[test]
    fn avps_fill_the_message() {
        let cases = [
            (C, message(0x80, 257, &[HOST]), Some(true)),
            (S, message(0, 257, &[SUCCESS, HOST]), Some(true)),
            (C, message(0xc0, 316, &[HOST]), Some(true)),
            (C, message(0x80, 257, &[HOST])[..30].to_vec(), None),
            (C, message(0x80, 257, &[]), Some(false)),
            (C, message(0x00, 257, &[HOST]), Some(false)),
            (S, message(0x00, 257, &[HOST]), None),
            (C, message(0x81, 257, &[HOST]), Some(false)),
            (C, message(0x80, 257, &[b"\x00\x00\x01\x08\x40\x00\x00\x4fpeer.ex\x00"]), Some(false)),
            (C, message(0x80, 2, &[HOST]), Some(false)),
        ];
        for (side, bytes, expected) in cases {
            assert_eq!(stream(&DIAMETER, side, &bytes), expected, "{bytes:02x?}");
        }
        assert_eq!(late(&DIAMETER, S, &message(0x80, 280, &[HOST])), Some(true));
    }

    #[test]
    fn capabilities_agree_or_not() {
        let ask = |avps: &[&[u8]]| message(0x80, 257, avps);
        let say = |avps: &[&[u8]]| message(0, 257, avps);
        let heard = hear_streams(&DIAMETER, &[(C, &ask(&[HOST])), (S, &say(&[SUCCESS, HOST]))]);
        assert_eq!((heard.fits, heard.refused, heard.layer), ([true, true], false, None));
        let heard = hear_streams(&DIAMETER, &[(C, &ask(&[HOST])), (S, &say(&[FAILURE, HOST]))]);
        assert!(heard.refused);
        let lines = [(C, ask(&[HOST, TLS])), (S, say(&[SUCCESS, HOST, TLS]))];
        let heard = hear_streams(&DIAMETER, &[(C, &lines[0].1), (S, &lines[1].1)]);
        let ends = (Some(lines[0].1.len()), Some(lines[1].1.len()));
        assert_eq!(heard.layer, Some((Some(UPGRADE), ends.0, ends.1)));
    }

    #[test]
    fn nothing_else_is_diameter() {
        is_choosy(
            &DIAMETER,
            &[b"\x01\x00\x00\x5c\x80\x00\x01\x01", b"\x01\x00\x00\x40\x00\x00\x01\x01"],
        );
    }
}
