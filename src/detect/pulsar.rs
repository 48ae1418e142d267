//! Apache Pulsar binary protocol. <https://pulsar.apache.org/docs/developing-binary-protocol/>
//!
//! Two lengths, then a protobuf `BaseCommand`: its type, and a field whose number is that type.
use super::grammar::{Grammar, Learnt, Message, Place, Read, TCP, demand, info, size};
use super::{Directions, Facts};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
    model::{Credentials, Side},
};

pub(super) struct Pulsar;

impl Grammar for Pulsar {
    const INFO: &'static Info = &INFO;
    const LEARN_BYTES: usize = 2048;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let total = c.u32_be()?;
        demand!((8..=FRAME_BYTES_MAX).contains(&total));
        let command = c.u32_be()?;
        let payload = command.checked_add(4).and_then(|used| total.checked_sub(used));
        demand!(payload.is_some() && command >= 4 && c.u8()? == 8);
        let kind = c.u8()?;
        // Only messages carry a payload behind the command.
        demand!((2..=80).contains(&kind) && (payload == Some(0) || matches!(kind, 6 | 9)));
        let opens = if place.side == Side::Client { kind == 2 } else { matches!(kind, 3 | 14) };
        demand!(opens || !place.opening);
        let tag = varint(&mut c)?;
        demand!(tag == u32::from(kind) << 3 | 2);
        let length = varint(&mut c)?;
        let tags = if kind < 16 { 3 } else { 4 };
        let used = tags_and_length(tags, length);
        // Other fields may stand behind it in later versions, but not before.
        demand!(used.saturating_add(length) <= command);
        let constant = match kind {
            2 => "CONNECT",
            3 => "CONNECTED",
            _ => "BaseCommand",
        };
        let proof = if payload == Some(0) { 50 } else { 44 };
        Ok(Some(Message::new(size(total).saturating_add(4), proof, "pulsar.command", constant)))
    }

    fn learn(&self, _: &mut [u32; 6], side: Side, bytes: &[u8]) -> Learnt {
        let connect = side == Side::Client && bytes.get(8..11) == Some(&[8, 2, 0x12]);
        let credentials =
            if connect { method(bytes).unwrap_or(Credentials::NONE) } else { Credentials::NONE };
        let refused = side == Side::Server && bytes.get(8..10) == Some(&[8, 14]);
        Learnt::facts(Facts { credentials, refused, ..Facts::NONE })
    }
}

/// The authentication method a CONNECT names, if it sends data with it.
fn method(bytes: &[u8]) -> Result<Credentials, Short> {
    let mut c = Cursor::new(bytes);
    c.skip(11)?;
    varint(&mut c)?;
    let (mut data, mut found) = (false, Credentials::NONE);
    while !c.is_empty() {
        let tag = varint(&mut c)?;
        let value = varint(&mut c)?;
        if tag & 7 != 2 {
            continue;
        }
        let text = c.take(size(value))?;
        match (tag >> 3, text) {
            (3, _) => data = !text.is_empty(),
            (5, b"token") => found = Credentials::BEARER_TOKEN,
            (5, b"basic") => found = Credentials::PASSWORD_CLEARTEXT,
            _ => {}
        }
    }
    Ok(if data { found } else { Credentials::NONE })
}

/// Bytes of the type, the tag and the length of a field.
const fn tags_and_length(tags: u32, length: u32) -> u32 {
    let bytes = match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        _ => 3,
    };
    tags.saturating_add(bytes)
}

fn varint(c: &mut Cursor<'_>) -> Result<u32, Short> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = c.u8()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Ok(u32::MAX)
}

const FRAME_BYTES_MAX: u32 = 5 * 1024 * 1024 + 16 * 1024;

static INFO: Info = Info {
    midstream: true,
    credentials: Credentials::BEARER_TOKEN.with(Credentials::PASSWORD_CLEARTEXT),
    ..info(
        "pulsar",
        "Apache Pulsar",
        "https://pulsar.apache.org/docs/developing-binary-protocol/",
        &[6650],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::hear;
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::model::Transport;

    fn command(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        [&(length + 4).to_be_bytes()[..], &length.to_be_bytes(), body].concat()
    }

    #[test]
    fn a_command_names_its_type_twice() {
        let connect =
            command(b"\x08\x02\x12\x19\x0a\x05Go1.0\x1a\x06secret\x20\x13\x2a\x05token\x58");
        let connected = command(b"\x08\x03\x1a\x09\x0a\x05srv 3\x10\x13");
        let ping = command(b"\x08\x12\x92\x01\x00");
        proves_tcp(&Pulsar, &[("connect", C, &connect), ("connected", S, &connected)]);
        converses(&Pulsar, &[(C, &connect), (S, &connected), (C, &ping)]);
        let late = command(b"\x08\x02\x12\x17\x0a\x05Go1.0\x1a\x06secret\x20\x13\x2a\x05token");
        assert_eq!(hear(&Pulsar, &[(C, &late)]).credentials, Credentials::BEARER_TOKEN);
        denies(
            &Pulsar,
            Transport::Tcp,
            &[
                ("ping first", &ping),
                ("another field", &command(b"\x08\x02\x1a\x07\x0a\x05Go1.0")),
                ("longer than the command", &command(b"\x08\x02\x12\x60\x0a\x05Go1.0")),
            ],
        );
    }
}
