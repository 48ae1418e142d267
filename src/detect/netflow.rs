//! `NetFlow` export, versions 1, 5, 7 and 9. <https://www.rfc-editor.org/rfc/rfc3954#section-5>
//!
//! In the old versions the count tells the datagram's length to the byte, and the records have padding that is zero; in
//! version 9 the flow sets follow one another to its end.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info};
use crate::{
    bytes::{Cursor, Short},
    detect::Info,
    model::Side,
};

pub(super) struct Netflow;

impl Grammar for Netflow {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(place.side == Side::Client);
        let (version, count) = (c.u16_be()?, c.u16_be()?);
        c.skip(4)?;
        // Exporters have had a clock since 2001.
        demand!(c.u32_be()? >= SECONDS_MIN);
        if version == 9 {
            c.skip(8)?;
            demand!((1..=COUNT_MAX).contains(&count));
            let Some(proof) = sets(&mut c, 0..=1)? else { return Ok(None) };
            let proof = proof.saturating_add(24);
            return Ok(Some(Message::new(bytes.len(), proof, "netflow.export", "version 9")));
        }
        let Some((_, constant, header, record, most, zeros)) =
            FIXED.iter().find(|(v, ..)| *v == version)
        else {
            return Ok(None);
        };
        demand!((1..=*most).contains(&count) && c.u32_be()? < 1_000_000_000);
        let records = usize::from(count).saturating_mul(*record);
        demand!(bytes.len() == header.saturating_add(records));
        for record in bytes.get(*header..).unwrap_or_default().chunks_exact(*record) {
            let mut zero = zeros.iter().map(|at| record.get(*at).copied());
            demand!(zero.all(|byte| byte == Some(0)));
        }
        Ok(Some(Message::new(bytes.len(), 52, "netflow.export", constant)))
    }
}

/// Reads the sets of version 9 or of IPFIX to the end; the proof in them. `templates`: ids below 256 that there are.
pub(super) fn sets(
    c: &mut Cursor<'_>,
    templates: std::ops::RangeInclusive<u16>,
) -> Result<Option<u32>, Short> {
    let mut proof = 0_u32;
    demand!(!c.is_empty());
    while !c.is_empty() {
        let (id, length) = (c.u16_be()?, usize::from(c.u16_be()?));
        demand!(length > 4 && (templates.contains(&id) || id >= 256));
        let body = c.take(length.saturating_sub(4))?;
        proof = proof.saturating_add(12);
        if id == *templates.start() {
            let mut template = Cursor::new(body);
            let (id, fields) = (template.u16_be()?, template.u16_be()?);
            demand!(id >= 256 && fields > 0);
            proof = proof.saturating_add(12);
        }
    }
    Ok(Some(proof.saturating_add(8)))
}

const SECONDS_MIN: u32 = 978_307_200;
const COUNT_MAX: u16 = 512;

/// Version, constant, bytes of header and record, most records, and which bytes of a record are zero.
type Fixed = (u16, &'static str, usize, usize, u16, &'static [usize]);
const FIXED: [Fixed; 3] = [
    (1, "version 1", 16, 52, 24, &[36, 37, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51]),
    (5, "version 5", 24, 48, 30, &[46, 47]),
    (7, "version 7", 24, 52, 28, &[]),
];

static INFO: Info = Info {
    midstream: true,
    ..info(
        "netflow",
        "Cisco NetFlow export",
        "https://www.rfc-editor.org/rfc/rfc3954",
        &[2055, 2056, 9995, 9996],
        UDP,
        Directions::Client,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, denies, proves_udp};
    use super::*;
    use crate::model::Transport;

    fn v5(count: u8, records: usize) -> Vec<u8> {
        let head = [&[0, 5, 0, count, 0, 1, 2, 3, 0x65, 0, 0, 0, 0, 1, 0, 0][..], &[0; 8]].concat();
        let mut record = [9; 48];
        record[46..].fill(0);
        [head, record.repeat(records)].concat()
    }

    fn v9(sets: &[u8]) -> Vec<u8> {
        [&b"\x00\x09\x00\x02\x00\x01\x02\x03\x65\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"[..], sets]
            .concat()
    }

    #[test]
    fn exports() {
        let v1 = {
            let mut record = [9; 52];
            record[36..38].fill(0);
            record[41..].fill(0);
            [&v5(1, 0)[..16], &record].concat()
        };
        let v1 = [&[0, 1][..], &v1[2..]].concat();
        let templates = v9(b"\x00\x00\x00\x0c\x01\x00\x00\x01\x00\x08\x00\x04");
        let data = v9(b"\x01\x00\x00\x08abcd\x01\x01\x00\x08abcd");
        proves_udp(
            &Netflow,
            &[("1", C, &v1), ("5", C, &v5(2, 2)), ("9", C, &templates), ("9 data", C, &data)],
        );
    }

    #[test]
    fn flaws_are_not_netflow() {
        let mut padded = v5(2, 2);
        padded[24 + 46] = 1;
        denies(
            &Netflow,
            Transport::Udp,
            &[
                ("count", &v5(2, 3)),
                ("padding", &padded),
                ("set longer than the datagram", &v9(b"\x01\x00\x00\x09abcd")),
                ("set 2", &v9(b"\x00\x02\x00\x08abcd")),
                ("no set", &v9(b"")),
            ],
        );
    }
}
