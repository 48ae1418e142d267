//! Lumberjack, the protocol of Beats and Logstash: frames of a version, a type, and lengths.
//! <https://github.com/logstash-plugins/logstash-input-beats/blob/main/PROTOCOL.md>
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand},
};
use crate::model::{Credentials, Side, Transport};

pub(super) const LUMBERJACK: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    let version = cursor.u8()?;
    demand(matches!(version, b'1' | b'2'))?;
    let kind = cursor.u8()?;
    let count = |cursor: &mut crate::bytes::Cursor<'_>| {
        let count = cursor.u32_be()?;
        demand((1..=COUNT_MAX).contains(&count))?;
        Ok::<_, Flaw>(count)
    };
    if heard.side == Side::Server {
        // An acknowledgement: too little by itself.
        demand(kind == b'A')?;
        return match cursor.u32_be()? {
            0..=COUNT_MAX => Ok(Message::weak(cursor.at())),
            _ => Err(Flaw::Foreign),
        };
    }
    // A window size, then the first frame of data.
    demand(kind == b'W')?;
    count(&mut cursor)?;
    demand(cursor.u8()? == version)?;
    let constant = match (version, cursor.u8()?) {
        (b'2', b'J') => {
            count(&mut cursor)?;
            count(&mut cursor)?;
            demand(cursor.u8()? == b'{')?;
            "2W 2J"
        }
        (_, b'C') => {
            count(&mut cursor)?;
            // zlib (RFC 1950).
            demand(cursor.u8()? == 0x78)?;
            if version == b'1' { "1W 1C" } else { "2W 2C" }
        }
        (_, b'D') => {
            count(&mut cursor)?;
            count(&mut cursor)?;
            if version == b'1' { "1W 1D" } else { "2W 2D" }
        }
        _ => return Err(Flaw::Foreign),
    };
    Ok(Message::proof(heard.bytes.len(), "lumberjack.frames", constant))
}

/// Frames in a window, keys of an event, bytes of one.
const COUNT_MAX: u32 = 0x00ff_ffff;

static INFO: Info = Info {
    name: "lumberjack",
    title: "Lumberjack (Beats to Logstash)",
    spec: "https://github.com/logstash-plugins/logstash-input-beats/blob/main/PROTOCOL.md",
    ports: &[5044],
    transports: &[Transport::Tcp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream};

    const JSON: &[u8] = b"2W\x00\x00\x00\x02\x32J\x00\x00\x00\x01\x00\x00\x00\x0d{\"message\":1}";

    #[test]
    fn a_window_and_its_first_frame_prove_the_client() {
        let cases: [(&[u8], Option<bool>); 7] = [
            (JSON, Some(true)),
            (b"2W\x00\x00\x08\x00\x32C\x00\x00\x01\x0c\x78\x01\xb5", Some(true)),
            (b"1W\x00\x00\x00\x0a1D\x00\x00\x00\x01\x00\x00\x00\x02\x00", Some(true)),
            (b"2W\x00\x00\x00\x02", None),
            (b"2W\x00\x00\x00\x00", Some(false)),
            (b"2W\x00\x00\x00\x021D", Some(false)),
            (b"2A\x00\x00\x00\x02", Some(false)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(stream(&LUMBERJACK, C, bytes), expected, "{}", bytes.escape_ascii());
            assert_eq!(late(&LUMBERJACK, C, bytes), expected);
            assert_eq!(stream(&LUMBERJACK, S, bytes), None, "the server alone proves nothing");
        }
        let heard = hear_streams(&LUMBERJACK, &[(C, JSON), (S, b"2A\x00\x00\x00\x02")]);
        assert_eq!(heard.fits, [true, true]);
    }

    #[test]
    fn nothing_else_is_lumberjack() {
        is_choosy(&LUMBERJACK, &[b"2W\x00\x00\x00\x02", b"2W", b"1W\x00\x00\x00\x05"]);
    }
}
