//! NRPE, Nagios' remote plugin executor: packets with a version, a type and a CRC-32 over all of them.
//! <https://github.com/NagiosEnterprises/nrpe/blob/master/include/common.h.in>
use super::{
    Directions, FollowState, Info,
    whole::{Heard, Message, Protocol, Read, Turns, demand},
};
use crate::model::{Credentials, Side, Transport};

pub(super) const NRPE: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    demand(cursor.u8()? == 0)?;
    let version = cursor.u8()?;
    demand(matches!(version, 2..=4))?;
    let kind = cursor.u16_be()?;
    demand(match heard.side {
        Side::Client => kind == 1,
        Side::Server => matches!(kind, 2 | 3),
    })?;
    let sum = cursor.u32_be()?;
    let _result = cursor.u16_be()?;
    let length = if version == 2 {
        VERSION2_BYTES
    } else {
        let _alignment = cursor.u16_be()?;
        let buffer = usize::try_from(cursor.u32_be()?).unwrap_or(usize::MAX);
        demand(buffer <= BUFFER_BYTES_MAX)?;
        // The structure's last member is one byte of the buffer; some count its padding too.
        cursor.at().saturating_add(buffer)
    };
    let sized = |length| heard.whole(length).map(|packet| crc(packet) == sum);
    if sized(length)? {
        return Ok(Message::proof(length, "nrpe.packet", constant(version)));
    }
    demand(version > 2)?;
    let padded = length.saturating_add(TAIL_BYTES);
    demand(sized(padded)?)?;
    Ok(Message::proof(padded, "nrpe.packet", constant(version)))
}

const fn constant(version: u8) -> &'static str {
    match version {
        2 => "version 2 CRC-32",
        3 => "version 3 CRC-32",
        _ => "version 4 CRC-32",
    }
}

/// CRC-32 (ISO 3309) of a packet, its own field counted as zero.
fn crc(packet: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for (at, byte) in packet.iter().enumerate() {
        crc ^= u32::from(if (4..8).contains(&at) { 0 } else { *byte });
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xedb8_8320 };
        }
    }
    !crc
}

/// Header, 1024 bytes of buffer, two of padding.
const VERSION2_BYTES: usize = 1036;
const BUFFER_BYTES_MAX: usize = 64 << 10;
const TAIL_BYTES: usize = 3;

static INFO: Info = Info {
    name: "nrpe",
    title: "Nagios Remote Plugin Executor",
    spec: "https://github.com/NagiosEnterprises/nrpe",
    ports: &[5666],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, stream};

    fn packet(version: u8, kind: u8, text: &[u8], tail: usize) -> Vec<u8> {
        let mut packet = vec![0, version, 0, kind, 0, 0, 0, 0, 0, 0];
        if version == 2 {
            packet.extend_from_slice(text);
            packet.resize(VERSION2_BYTES, 0);
        } else {
            packet.extend_from_slice(&[0, 0]);
            packet.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            packet.extend_from_slice(text);
            packet.resize(packet.len() + tail, 0);
        }
        let sum = crc(&packet).to_be_bytes();
        packet[4..8].copy_from_slice(&sum);
        packet
    }

    #[test]
    fn the_checksum_proves_each_direction() {
        assert_eq!(crc(b"1234\0\0\0\0"), crc(b"1234abcd"), "its own field counts as zero");
        for (version, tail) in [(2, 0), (3, 0), (3, 3), (4, 0)] {
            let (ask, tell) = (
                packet(version, 1, b"check_load\0", tail),
                packet(version, 2, b"OK - load\0", tail),
            );
            assert_eq!(stream(&NRPE, C, &ask), Some(true), "{version}");
            assert_eq!(stream(&NRPE, S, &tell), Some(true), "{version}");
            assert_eq!(stream(&NRPE, C, &tell), Some(false));
            assert_eq!(hear_streams(&NRPE, &[(C, &ask), (S, &tell)]).fits, [true, true]);
            let mut wrong = [ask, vec![0; 4]].concat();
            wrong[16] ^= 1;
            assert_eq!(stream(&NRPE, C, &wrong), Some(false), "{version}");
        }
    }

    #[test]
    fn nothing_else_is_nrpe() {
        is_choosy(&NRPE, &[b"\x00\x03\x00\x01", b"\x00\x03\x00\x01abcd\0\0\0\0\0\0\0\x08"]);
    }
}
