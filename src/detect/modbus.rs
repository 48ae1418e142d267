//! Modbus over TCP. <https://www.modbus.org/docs/Modbus_Messaging_Implementation_Guide_V1_0b.pdf>
//!
//! Requests and answers have a length that their function tells, and the header tells it again. Zeros are frequent in
//! them, so that one alone proves a beginning only if its quantity is sound too.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP, demand, info};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
    model::Side,
};

pub(super) struct Modbus;

impl Grammar for Modbus {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        c.skip(2)?;
        demand!(c.u8()? == 0 && c.u8()? == 0);
        let (high, low) = (c.u8()?, c.u8()?);
        let length = u16::from_be_bytes([high, low]);
        demand!((3..=254).contains(&length));
        let (_unit, function) = (c.u8()?, c.u8()?);
        let declared = usize::from(length).saturating_sub(2);
        let sound = match place.side {
            Side::Client => request(function, &mut c, declared)?,
            Side::Server => answer(function, &mut c, declared)?,
        };
        demand!(sound);
        c = Cursor::new(bytes);
        let whole = usize::from(length).saturating_add(6);
        c.skip(whole)?;
        let (rule, constant) = match place.side {
            Side::Client => ("modbus.request", "protocol 0, function"),
            Side::Server => ("modbus.response", "protocol 0, function"),
        };
        Ok(Some(Message::new(whole, proof(function, declared), rule, constant)))
    }

    fn pair(&self, client: &[u8], server: &[u8]) -> u32 {
        let same = |range: std::ops::Range<usize>| client.get(range.clone()) == server.get(range);
        let function = |b: &[u8]| b.get(7).map(|f| f & 0x7f);
        if same(0..2) && same(6..7) && function(client) == function(server) { 24 } else { 0 }
    }
}

/// Common functions prove most; a rare one with free data next to nothing.
const fn proof(function: u8, declared: usize) -> u32 {
    match function {
        1..=6 | 15 | 16 | 22 | 23 => 40,
        0x81..=0xab if declared == 1 => 34,
        _ => 20,
    }
}

/// Whether the data of a request are as its function has them: addresses, a quantity in bounds, the bytes counted.
fn request(function: u8, c: &mut Cursor<'_>, declared: usize) -> Result<bool, Short> {
    if !has_length(function, declared, Side::Client) {
        return Ok(false);
    }
    let bounds = match function {
        1 | 2 => 1..=2000,
        3 | 4 | 23 => 1..=125,
        15 => 1..=1968,
        16 => 1..=123,
        5 => {
            c.skip(2)?;
            return Ok(matches!(c.u16_be()?, 0 | 0xff00));
        }
        _ => return Ok(true),
    };
    c.skip(2)?;
    let quantity = c.u16_be()?;
    if !bounds.contains(&quantity) {
        return Ok(false);
    }
    let bytes = match function {
        15 => quantity.div_ceil(8),
        16 => quantity.saturating_mul(2),
        23 => {
            c.skip(2)?;
            c.u16_be()?.saturating_mul(2)
        }
        _ => return Ok(true),
    };
    let counted = u16::from(c.u8()?);
    let header = if function == 23 { 9 } else { 5 };
    Ok(counted == bytes && usize::from(counted).saturating_add(header) == declared)
}

/// Whether the data of an answer are as its function has them.
fn answer(function: u8, c: &mut Cursor<'_>, declared: usize) -> Result<bool, Short> {
    if !has_length(function, declared, Side::Server) {
        return Ok(false);
    }
    Ok(match function {
        1..=4 | 23 => {
            let bytes = usize::from(c.u8()?);
            let words = function < 3 || bytes % 2 == 0;
            bytes > 0 && words && bytes.saturating_add(1) == declared
        }
        5 => {
            c.skip(2)?;
            matches!(c.u16_be()?, 0 | 0xff00)
        }
        15 | 16 => {
            c.skip(2)?;
            matches!(c.u16_be()?, 1..=1968)
        }
        0x81..=0xab => matches!(c.u8()?, 1..=6 | 8 | 10 | 11),
        _ => true,
    })
}

/// Bytes behind the function code, where it fixes them.
const fn has_length(function: u8, declared: usize, side: Side) -> bool {
    match (side, function) {
        (Side::Client, 1..=6) | (Side::Server, 5 | 6 | 15 | 16) => declared == 4,
        (Side::Client, 7 | 11 | 12 | 17) => declared == 0,
        (Side::Client, 15 | 16) => declared >= 6,
        (Side::Client, 23) => declared >= 11,
        (_, 22) => declared == 6,
        (Side::Client, 24) | (Side::Server, 11) => declared == if function == 24 { 2 } else { 4 },
        (Side::Server, 7 | 0x81..=0x98 | 0xab) => declared == 1,
        (_, 8) => declared >= 4,
        (_, 20 | 21 | 43) | (Side::Server, 1..=4 | 12 | 17 | 23 | 24) => declared >= 2,
        _ => false,
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "modbus",
        "Modbus/TCP",
        "https://www.modbus.org/docs/Modbus_Messaging_Implementation_Guide_V1_0b.pdf",
        &[502],
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

    const READ: &[u8] = b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x10\x00\x02";
    const VALUES: &[u8] = b"\x00\x01\x00\x00\x00\x07\x01\x03\x04\x00\x2a\x01\x00";
    const WRITE: &[u8] = b"\x00\x02\x00\x00\x00\x0b\xff\x10\x00\x10\x00\x02\x04\x00\x01\x00\x02";
    const WRITTEN: &[u8] = b"\x00\x02\x00\x00\x00\x06\xff\x10\x00\x10\x00\x02";
    const ERROR: &[u8] = b"\x00\x03\x00\x00\x00\x03\x01\x83\x02";

    #[test]
    fn lengths_that_the_function_tells() {
        let cases = [("read", C, READ), ("values", S, VALUES), ("write", C, WRITE)];
        proves_tcp(&Modbus, &cases);
        converses(&Modbus, &[(C, READ), (S, VALUES), (C, WRITE), (S, WRITTEN)]);
        let read = [&b"\x00\x03"[..], &READ[2..]].concat();
        converses(&Modbus, &[(C, &read), (S, ERROR)]);
    }

    #[test]
    fn a_late_view_needs_two_messages() {
        let late = |lines: &[(Side, &[u8])]| hear_from(&Modbus, lines, Start::Unknown).matched;
        assert!(late(&[(C, READ)]).is_none());
        assert!(late(&[(C, READ), (C, WRITE)]).is_some());
        assert!(late(&[(C, READ), (S, VALUES)]).is_some());
        assert!(late(&[(C, READ), (S, WRITTEN)]).is_some());
    }

    #[test]
    fn flaws_are_not_modbus() {
        denies(
            &Modbus,
            Transport::Tcp,
            &[
                ("protocol 1", b"\x00\x01\x00\x01\x00\x06\x01\x03\x00\x10\x00\x02"),
                ("too long", b"\x00\x01\x00\x00\x00\x07\x01\x03\x00\x10\x00\x02\x00"),
                ("quantity 0", b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x10\x00\x00"),
                ("function 0", b"\x00\x01\x00\x00\x00\x06\x01\x00\x00\x10\x00\x02"),
                ("function 99", b"\x00\x01\x00\x00\x00\x06\x01\x63\x00\x10\x00\x02"),
                (
                    "bytes counted",
                    b"\x00\x02\x00\x00\x00\x0b\xff\x10\x00\x10\x00\x02\x05\x00\x01\x00\x02",
                ),
            ],
        );
    }
}
