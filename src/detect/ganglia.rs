//! Ganglia's gmond: XDR messages about metrics. <https://github.com/ganglia/monitor-core/blob/master/lib/gm_protocol.x>
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Side, Transport},
};

pub(super) const GANGLIA: Protocol = Protocol { info: &INFO, turns: Turns::Client, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    demand(heard.side == Side::Client)?;
    let mut cursor = heard.cursor();
    let id = cursor.u32_be()?;
    demand((METADATA..=DOUBLE).contains(&id))?;
    let (host, name) = (text(&mut cursor)?, text(&mut cursor)?);
    demand(!host.is_empty() && !name.is_empty() && cursor.u32_be()? <= 1)?;
    // A type's name, or how to print the value.
    let form = text(&mut cursor)?;
    let constant = match id {
        METADATA => {
            demand(TYPES.contains(&form) && text(&mut cursor)? == name)?;
            "metadata 128"
        }
        REQUEST => return Err(Flaw::Foreign),
        _ => {
            demand(form.starts_with(b"%"))?;
            demand(match id {
                STRING => text(&mut cursor).is_ok(),
                DOUBLE => cursor.left() == 8,
                _ => cursor.left() == 4,
            })?;
            "value 129-135"
        }
    };
    let length = heard.bytes.len();
    Ok(Message::proof(length, "ganglia.metric", constant))
}

/// An XDR string: length, text, zeros up to four bytes.
fn text<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let length = usize::try_from(cursor.u32_be()?).unwrap_or(usize::MAX);
    demand(length <= TEXT_BYTES_MAX)?;
    let text = cursor.take(length)?;
    let padding = cursor.take(length.next_multiple_of(4).saturating_sub(length))?;
    demand(text.iter().all(|b| !b.is_ascii_control()) && padding.iter().all(|b| *b == 0))?;
    Ok(text)
}

const METADATA: u32 = 128;
const STRING: u32 = 133;
const DOUBLE: u32 = 135;
/// Asks the others for their metadata: too little to be told by.
const REQUEST: u32 = 136;
const TEXT_BYTES_MAX: usize = 512;
const TYPES: [&[u8]; 9] =
    [b"string", b"uint8", b"int8", b"uint16", b"int16", b"uint32", b"int32", b"float", b"double"];

static INFO: Info = Info {
    name: "ganglia",
    title: "Ganglia gmond",
    spec: "https://github.com/ganglia/monitor-core/blob/master/lib/gm_protocol.x",
    ports: &[8649],
    transports: &[Transport::Udp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, datagram, is_choosy};

    #[test]
    fn metadata_and_values() {
        let value: &[u8] =
            b"\0\0\0\x86\0\0\0\x04web1\0\0\0\x08load_one\0\0\0\0\0\0\0\x04%.2f\x3e\0\0\0";
        let metadata: &[u8] =
            b"\0\0\0\x80\0\0\0\x04web1\0\0\0\x08load_one\0\0\0\0\0\0\0\x05float\0\0\0\
            \0\0\0\x08load_one\0\0\0\0\0\0\0\x03\0\0\0\x46";
        for bytes in [value, metadata] {
            assert_eq!(datagram(&GANGLIA, C, bytes), Some(true), "{}", bytes.escape_ascii());
            assert_eq!(datagram(&GANGLIA, S, bytes), Some(false));
            assert_eq!(datagram(&GANGLIA, C, &bytes[..30]), Some(false));
        }
    }

    #[test]
    fn nothing_else_is_ganglia() {
        is_choosy(&GANGLIA, &[b"\0\0\0\x86\0\0\0\x04", b"\0\0\0\x80"]);
    }
}
