//! Distributed Network Protocol (IEEE 1815), data link frames. <https://standards.ieee.org/ieee/1815/5414/>
//!
//! Every frame has a checksum of its header and one of each sixteen bytes of data. Secure Authentication signs, it does
//! not seal.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP_UDP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info};

pub(super) struct Dnp3;

impl Grammar for Dnp3 {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, &[0x05, 0x64])?);
        let (length, control) = (c.u8()?, c.u8()?);
        let function = control & 0xf;
        let known = match control & 0x40 {
            0 => matches!(function, 0 | 1 | 11 | 14 | 15),
            _ => matches!(function, 0 | 2 | 3 | 4 | 9),
        };
        demand!(length >= 5 && known);
        let mut header = Cursor::new(bytes);
        let block = header.take(HEADER_BYTES)?;
        demand!(header.u16_le()? == checksum(block));
        let mut data = usize::from(length).saturating_sub(5);
        // Only these two carry data.
        demand!((data > 0) == (control & 0x40 != 0 && matches!(function, 3 | 4)));
        let mut proof = 40_u32;
        let mut blocks = header;
        while data > 0 {
            let block = blocks.take(data.min(BLOCK_BYTES))?;
            demand!(blocks.u16_le()? == checksum(block));
            data = data.saturating_sub(BLOCK_BYTES);
            proof = proof.saturating_add(14);
        }
        // A datagram may hold several frames.
        let whole = if place.datagram { bytes.len() } else { blocks.at() };
        Ok(Some(Message::new(whole, proof, "dnp3.frame", "05 64 and checksums")))
    }
}

/// CRC-16/DNP, bit by bit: frames are short and read once.
fn checksum(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xa6bc };
        }
    }
    !crc
}

const HEADER_BYTES: usize = 8;
const BLOCK_BYTES: usize = 16;

static INFO: Info = Info {
    midstream: true,
    ..info(
        "dnp3",
        "Distributed Network Protocol 3",
        "https://standards.ieee.org/ieee/1815/5414/",
        &[20000],
        TCP_UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::hear_from;
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp, proves_udp};
    use super::*;
    use crate::detect::Start;
    use crate::model::Transport;

    /// A frame with its checksums.
    fn frame(control: u8, data: &[u8]) -> Vec<u8> {
        let length = u8::try_from(5 + data.len()).unwrap();
        let mut out = vec![0x05, 0x64, length, control, 1, 0, 2, 0];
        out.extend_from_slice(&checksum(&out).to_le_bytes());
        for block in data.chunks(16) {
            out.extend_from_slice(block);
            out.extend_from_slice(&checksum(block).to_le_bytes());
        }
        out
    }

    #[test]
    fn checksums_prove_a_frame() {
        // From the standard's own example: a reset of the link.
        assert_eq!(checksum(b"\x05\x64\x05\xc0\x01\x00\x00\x04"), 0x21e9);
        let read =
            frame(0xc4, b"\xc0\xc3\x01\x3c\x02\x06\x3c\x03\x06\x3c\x04\x06\x3c\x01\x06\x00\x01");
        let status = frame(0x0b, b"");
        proves_tcp(&Dnp3, &[("read", C, &read), ("status", S, &status)]);
        proves_udp(&Dnp3, &[("read", C, &read)]);
        converses(&Dnp3, &[(C, &read), (S, &status)]);
        let late = |bytes: &[u8]| hear_from(&Dnp3, &[(C, bytes)], Start::Unknown).matched;
        assert!(late(&read).is_some() && late(&status).is_none());
    }

    #[test]
    fn flaws_are_not_dnp3() {
        let mut data = frame(0xc4, &[7; 20]);
        data[30] ^= 1;
        denies(
            &Dnp3,
            Transport::Tcp,
            &[
                ("header checksum", b"\x05\x64\x05\xc0\x01\x00\x00\x04\xe9\x22"),
                ("data checksum", &data),
                ("function", &frame(0xc7, b"")),
                ("data where there is none", &frame(0xc9, &[7; 20])),
            ],
        );
    }
}
