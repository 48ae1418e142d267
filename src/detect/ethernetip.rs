//! EtherNet/IP encapsulation (CIP). <https://www.odva.org/technology-standards/key-technologies/ethernet-ip/>
//!
//! The header is little endian and mostly zero in a request: only commands whose data are fixed prove a session alone.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP_UDP, demand, info};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
    model::Side,
};

pub(super) struct Ethernetip;

impl Grammar for Ethernetip {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        let (low, high) = (c.u8()?, c.u8()?);
        demand!(high == 0 && matches!(low, 4 | 0x63..=0x66 | 0x6f | 0x70));
        let (length, session, status) = (c.u16_le()?, c.u32_le()?, c.u32_le()?);
        let known = matches!(status, 0..=3 | 0x64 | 0x65 | 0x69 | 0x6a);
        demand!(known && (status == 0 || place.side == Side::Server));
        c.skip(8)?;
        demand!(c.u32_le()? == 0);
        let whole = usize::from(length).saturating_add(HEADER_BYTES);
        let mut data = Cursor::new(c.take(usize::from(length))?);
        // What a whole message lacks will not come.
        let read = data_of(low, place.side, session, &mut data).unwrap_or(None);
        let Some((proof, constant)) = read else { return Ok(None) };
        Ok(Some(Message::new(whole, proof, "ethernetip.encapsulation", constant)))
    }

    fn pair(&self, client: &[u8], server: &[u8]) -> u32 {
        let same = |range: std::ops::Range<usize>| client.get(range.clone()) == server.get(range);
        if same(0..2) && same(12..20) { 16 } else { 0 }
    }
}

type Proven = Result<Option<(u32, &'static str)>, Short>;

/// Whether the data fit the command; the proof in the whole message.
fn data_of(command: u8, side: Side, session: u32, c: &mut Cursor<'_>) -> Proven {
    Ok(match (command, side) {
        (4 | 0x63 | 0x64, Side::Client) => (session == 0 && c.is_empty()).then_some((28, "list")),
        (4 | 0x63 | 0x64, Side::Server) => items(c)?.then_some((48, "list answer")),
        (0x65, _) => {
            let fits = c.left() == 4 && c.u16_le()? == 1 && c.u16_le()? == 0;
            let proof = if session == 0 || side == Side::Server { 48 } else { 0 };
            (fits && proof > 0).then_some((proof, "RegisterSession"))
        }
        (0x66, _) => c.is_empty().then_some((20, "UnRegisterSession")),
        // Both carry an interface handle, a timeout and a list of items.
        _ => {
            let handle = c.u32_le()?;
            c.skip(2)?;
            (session != 0 && handle == 0 && items(c)?).then_some((56, "common packet format"))
        }
    })
}

/// A counted list of items that ends where the data end.
fn items(c: &mut Cursor<'_>) -> Result<bool, Short> {
    let count = c.u16_le()?;
    for _ in 0..count.min(ITEMS_MAX) {
        let (kind, length) = (c.u16_le()?, c.u16_le()?);
        let known =
            matches!(kind, 0 | 0x0c | 0x86 | 0x91 | 0xa1 | 0xb1 | 0xb2 | 0x100 | 0x8000..=0x8003);
        if !known {
            return Ok(false);
        }
        c.skip(usize::from(length))?;
    }
    Ok((1..=ITEMS_MAX).contains(&count) && c.is_empty())
}

const HEADER_BYTES: usize = 24;
const ITEMS_MAX: u16 = 8;

static INFO: Info = Info {
    midstream: true,
    ..info(
        "ethernetip",
        "EtherNet/IP",
        "https://www.odva.org/technology-standards/key-technologies/ethernet-ip/",
        &[44818, 2222],
        TCP_UDP,
        Directions::Either,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{
        C, S, converses, denies, probe_udp, proves_tcp, proves_udp,
    };
    use super::*;
    use crate::detect::Probe;
    use crate::model::Transport;

    fn message(command: u8, session: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_le_bytes();
        [&[command, 0], &length[..], &[session, 0, 0, 0], &[0; 16], data].concat()
    }

    #[test]
    fn sessions_and_lists() {
        let register = message(0x65, 0, &[1, 0, 0, 0]);
        let registered = message(0x65, 9, &[1, 0, 0, 0]);
        let read = message(0x6f, 9, b"\0\0\0\0\x05\0\x02\0\0\0\0\0\xb2\0\x04\0\x0e\x01\x20\x01");
        proves_tcp(&Ethernetip, &[("register", C, &register), ("answer", S, &registered)]);
        converses(&Ethernetip, &[(C, &register), (S, &registered), (C, &read)]);
        let list = message(0x63, 0, b"");
        assert_eq!(probe_udp(&Ethernetip, C, &[&list]), Probe::More, "all but zeros");
        let identity = message(0x63, 0, b"\x01\0\x0c\0\x04\0\x01\0\0\x02");
        proves_udp(&Ethernetip, &[("identity", S, &identity)]);
        denies(
            &Ethernetip,
            Transport::Tcp,
            &[
                ("version 2", &message(0x65, 0, &[2, 0, 0, 0])),
                ("item", &message(0x6f, 9, b"\0\0\0\0\x05\0\x01\0\x07\0\0\0")),
                ("no session", &message(0x6f, 0, &read[24..])),
                ("command", &message(0x67, 0, b"")),
            ],
        );
    }
}
