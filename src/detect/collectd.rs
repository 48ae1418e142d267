//! collectd's network plugin: parts of type and length that fill the datagram.
//! <https://github.com/collectd/collectd/wiki/Binary-protocol>
//!
//! A signature part leaves the rest readable, an encryption part (AES-256) holds it. The host with its time and interval is
//! proof enough where the rest is cut off or damaged.
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, demand},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Encryption, Side, Transport},
};

pub(super) const COLLECTD: Protocol = Protocol { info: &INFO, turns: Turns::Client, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    demand(heard.side == Side::Client)?;
    let mut cursor = heard.cursor();
    if Cursor::new(heard.bytes).u16_be()? == ENCRYPTION {
        return sealed(heard);
    }
    let (mut parts, mut values, mut times, mut signed) = (0_u32, false, 0_u32, false);
    while !cursor.is_empty() && parts < PARTS_MAX {
        match part(&mut cursor, parts) {
            Ok(kind) => {
                values |= matches!(kind, VALUES | MESSAGE);
                times = times.saturating_add(u32::from(TIMES.contains(&kind)));
                signed |= kind == SIGNATURE;
            }
            // Host, time and interval alone are as good as a hundred bits of magic.
            Err(_) if times >= TIMES_MIN => break,
            Err(flaw) => return Err(flaw),
        }
        parts = parts.saturating_add(1);
    }
    demand(parts >= PARTS_MIN && (values || times >= TIMES_MIN))?;
    let constant = if signed { "part 0x0200" } else { "part 0x0000" };
    // A datagram is one message.
    let length = heard.datagram.unwrap_or_else(|| cursor.at());
    Ok(Message::proof(length, "collectd.parts", constant))
}

/// An encryption part: the user's name, and the rest cannot be read.
fn sealed(heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    cursor.skip(2)?;
    let length = usize::from(cursor.u16_be()?);
    heard.exactly(length)?;
    let user = usize::from(cursor.u16_be()?);
    let user = cursor.take(user)?;
    demand(is_name(user) && cursor.left() >= IV_AND_HASH_BYTES)?;
    let message = Message::proof(length, "collectd.encrypted", "part 0x0210");
    Ok(Message { encryption: Encryption::OtherEncrypted, ..message })
}

/// The type of the next part, if it has that type's form.
fn part(cursor: &mut Cursor<'_>, before: u32) -> Read<u16> {
    let (kind, length) = (cursor.u16_be()?, usize::from(cursor.u16_be()?));
    let rest = length.checked_sub(PART_HEADER_BYTES).ok_or(crate::bytes::Short)?;
    let body = cursor.take(rest)?;
    demand(fits(kind, body, before))?;
    Ok(kind)
}

/// Whether a part's body has the form of its type; a host or a signature comes first.
fn fits(kind: u16, body: &[u8], before: u32) -> bool {
    match kind {
        SIGNATURE => before == 0 && body.get(HMAC_BYTES..).is_some_and(is_name),
        _ if before == 0 && kind != HOST => false,
        HOST..=5 if kind != 1 => body
            .split_last()
            .is_some_and(|(end, text)| *end == 0 && text.iter().all(|b| !b.is_ascii_control())),
        1 | 7 | 8 | 9 | 0x0101 => body.len() == 8,
        VALUES => {
            let mut cursor = Cursor::new(body);
            let Ok(count) = cursor.u16_be().map(usize::from) else { return false };
            let kinds = cursor.take(count);
            count > 0
                && kinds.is_ok_and(|kinds| kinds.iter().all(|kind| *kind <= 3))
                && cursor.left() == count.saturating_mul(8)
        }
        MESSAGE => body.last() == Some(&0),
        _ => false,
    }
}

fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
}

const HOST: u16 = 0;
const VALUES: u16 = 6;
const MESSAGE: u16 = 0x0100;
const SIGNATURE: u16 = 0x0200;
const ENCRYPTION: u16 = 0x0210;
const HMAC_BYTES: usize = 32;
const IV_AND_HASH_BYTES: usize = 36;
const PART_HEADER_BYTES: usize = 4;
/// Time and interval, in either resolution.
const TIMES: [u16; 4] = [1, 7, 8, 9];
const TIMES_MIN: u32 = 2;
const PARTS_MIN: u32 = 3;
const PARTS_MAX: u32 = 256;

static INFO: Info = Info {
    name: "collectd",
    title: "collectd network plugin",
    spec: "https://github.com/collectd/collectd/wiki/Binary-protocol",
    ports: &[25826],
    transports: &[Transport::Udp],
    directions: Directions::Client,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, datagram, hear_datagrams, is_choosy};

    fn part(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 4).unwrap();
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
    }

    fn values() -> Vec<u8> {
        [
            part(0, b"web1\0"),
            part(8, &[0; 8]),
            part(9, &[0; 8]),
            part(2, b"cpu\0"),
            part(4, b"cpu\0"),
        ]
        .into_iter()
        .chain([part(6, &[&b"\x00\x01\x02"[..], &[7; 8]].concat())])
        .collect::<Vec<_>>()
        .concat()
    }

    #[test]
    fn parts_fill_the_datagram() {
        let signed = [part(0x0200, &[&[9; 32][..], b"alice"].concat()), values()].concat();
        let sealed = part(0x0210, &[&b"\x00\x05alice"[..], &[0x3c; 100]].concat());
        for (bytes, expected) in [
            (values(), true),
            (signed, true),
            (sealed.clone(), true),
            ([values(), vec![0]].concat(), true),
            ([&values()[..33], &part(2, b"cpu\0")[..2], &[0xff; 40]].concat(), true),
            (values()[..20].to_vec(), false),
            ([sealed, vec![0]].concat(), false),
            (values()[9..].to_vec(), false),
            ([part(0, b"web1\0"), part(8, &[0; 8]), part(9, &[0; 8])].concat(), true),
            ([part(0, b"web1\0"), part(8, &[0; 8]), part(2, b"cpu\0")].concat(), false),
        ] {
            assert_eq!(datagram(&COLLECTD, C, &bytes), Some(expected), "{bytes:02x?}");
            assert_eq!(datagram(&COLLECTD, S, &bytes), Some(false));
        }
    }

    #[test]
    fn sealed_parts_are_encrypted_and_nobody_answers() {
        let sealed = part(0x0210, &[&b"\x00\x05alice"[..], &[0x3c; 100]].concat());
        let heard = hear_datagrams(&COLLECTD, &[(C, &sealed), (C, &sealed)]);
        assert_eq!(heard.encryption, Some(Encryption::OtherEncrypted));
        assert_eq!(heard.fits, [true, false]);
        let heard = hear_datagrams(&COLLECTD, &[(C, &values())]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    }

    #[test]
    fn nothing_else_is_collectd() {
        is_choosy(&COLLECTD, &[b"\x00\x00\x00\x09web1\x00", b"\x02\x10\x00\x60\x00\x05alice"]);
    }
}
