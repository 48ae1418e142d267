//! IEC 60870-5-104 telecontrol. <https://webstore.iec.ch/en/publication/3746>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info, magic};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
};

pub(super) struct Iec104;

impl Grammar for Iec104 {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, &[0x68])?);
        let length = c.u8()?;
        demand!((4..=253).contains(&length));
        let whole = usize::from(length).saturating_add(2);
        let first = c.u8()?;
        let message =
            |proof, constant| Ok(Some(Message::new(whole, proof, "iec104.apdu", constant)));
        match first & 3 {
            // Unnumbered: one of six functions, and zeros.
            3 => {
                demand!(length == 4 && matches!(first, 0x07 | 0x0b | 0x13 | 0x23 | 0x43 | 0x83));
                demand!(magic(&mut c, &[0, 0, 0])?);
                message(40, "STARTDT, STOPDT, TESTFR")
            }
            // Supervisory: a receive number.
            1 => {
                demand!(length == 4 && first == 1 && c.u8()? == 0 && c.u8()? & 1 == 0);
                c.skip(1)?;
                message(26, "S-format")
            }
            _ => {
                c.skip(1)?;
                demand!(length >= 10 && c.u8()? & 1 == 0);
                c.skip(1)?;
                demand!(asdu(&mut c, usize::from(length).saturating_sub(4))?);
                message(32, "I-format")
            }
        }
    }
}

/// Type, number of objects, cause, addresses, and as many bytes as such objects take.
fn asdu(c: &mut Cursor<'_>, length: usize) -> Result<bool, Short> {
    let (kind, number) = (c.u8()?, c.u8()?);
    let cause = c.u8()? & 0x3f;
    if !matches!(cause, 1..=13 | 20..=41 | 44..=47) {
        return Ok(false);
    }
    let Some((_, element)) = SIZES.iter().find(|(kinds, _)| kinds.contains(&kind)) else {
        return Ok(false);
    };
    let objects = usize::from(number & 0x7f);
    let bytes = match number & 0x80 {
        0 => objects.saturating_mul(element.saturating_add(ADDRESS_BYTES)),
        _ => objects.saturating_mul(*element).saturating_add(ADDRESS_BYTES),
    };
    Ok(objects > 0 && length == bytes.saturating_add(HEADER_BYTES))
}

const HEADER_BYTES: usize = 6;
/// Address of an information object.
const ADDRESS_BYTES: usize = 3;
/// Types and the bytes of their element (IEC 60870-5-101, section 7.3, and the types of 104 with time).
const SIZES: [(&[u8], usize); 9] = [
    (&[1, 3, 45, 46, 47, 70, 100, 101, 105], 1),
    (&[9, 11, 48, 49], 3),
    (&[5, 21], 2),
    (&[7, 13, 15, 50, 51], 5),
    (&[30, 31, 58, 59, 60, 103], 8),
    (&[34, 35, 61, 62], 10),
    (&[33, 36, 37, 63, 64], 12),
    (&[32, 107], 9),
    (&[102], 0),
];

static INFO: Info = Info {
    midstream: true,
    ..info(
        "iec104",
        "IEC 60870-5-104",
        "https://webstore.iec.ch/en/publication/3746",
        &[2404],
        TCP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::check::hear_from;
    use super::super::grammar::bench::{C, S, converses, denies, proves_tcp};
    use super::*;
    use crate::detect::Start;
    use crate::model::Transport;

    const START: &[u8] = b"\x68\x04\x07\0\0\0";
    const STARTED: &[u8] = b"\x68\x04\x0b\0\0\0";
    const INTERROGATION: &[u8] = b"\x68\x0e\0\0\0\0\x64\x01\x06\0\x01\0\0\0\0\x14";
    const FLOATS: &[u8] = b"\x68\x1a\x02\0\x02\0\x0d\x02\x14\0\x01\0\x01\0\0abcd\0\x02\0\0abcd\0";

    #[test]
    fn functions_and_objects() {
        proves_tcp(&Iec104, &[("start", C, START), ("started", S, STARTED)]);
        converses(&Iec104, &[(C, START), (S, STARTED), (C, INTERROGATION), (S, FLOATS)]);
        let late = |bytes: &[u8]| hear_from(&Iec104, &[(S, bytes)], Start::Unknown).matched;
        assert!(late(&FLOATS.repeat(2)).is_some());
        assert!(late(FLOATS).is_none() && late(START).is_none());
        denies(
            &Iec104,
            Transport::Tcp,
            &[
                ("function", b"\x68\x04\x0f\0\0\0"),
                ("number in it", b"\x68\x04\x07\0\x02\0"),
                ("length", b"\x68\x0f\0\0\0\0\x64\x01\x06\0\x01\0\0\0\0\x14\0"),
                ("cause 0", b"\x68\x0e\0\0\0\0\x64\x01\0\0\x01\0\0\0\0\x14"),
                ("text", b"hello, world\r\n"),
            ],
        );
    }
}
