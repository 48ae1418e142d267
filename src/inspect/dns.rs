//! Addresses that a DNS response gives for a name. RFC 1035 sections 4.1 and 4.1.4.
//!
//! Only the addresses of the name asked for count, directly or by way of its canonical names; what else a response carries is
//! passed over.

use std::net::IpAddr;

use crate::{
    bytes::{Cursor, Short},
    model::{Answer, Hostname},
};

/// Records of a response that are read.
const RECORDS_MAX: u16 = 64;
/// Addresses taken from one response.
const ANSWERS_MAX: usize = 32;
/// Canonical names followed.
const ALIASES_MAX: usize = 8;
/// Pointers followed in one name; each must lead back.
const POINTERS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 255;
/// Most names are shorter.
const NAME_BYTES: usize = 64;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const IN: u16 = 1;

/// The addresses that a whole message gives; none where it is no answer, or is cut.
pub fn answers(message: &[u8]) -> Vec<Answer> {
    read(message).unwrap_or_default()
}

fn read(message: &[u8]) -> Result<Vec<Answer>, Short> {
    let mut cursor = Cursor::new(message);
    let (_id, flags) = (cursor.u16_be()?, cursor.u16_be()?);
    let (questions, records) = (cursor.u16_be()?, cursor.u16_be()?);
    cursor.skip(4)?;
    // A response to a standard query, without error (RFC 1035 section 4.1.1).
    if flags & 0xf80f != 0x8000 || questions != 1 {
        return Ok(Vec::new());
    }
    let Some(asked) = name(message, &mut cursor)? else { return Ok(Vec::new()) };
    cursor.skip(4)?;
    let mut stands_for = vec![asked];
    let mut list: Vec<(usize, IpAddr)> = Vec::new();
    for _ in 0..records.min(RECORDS_MAX) {
        let owner = name(message, &mut cursor)?;
        let (kind, class) = (cursor.u16_be()?, cursor.u16_be()?);
        cursor.skip(4)?;
        let length = usize::from(cursor.u16_be()?);
        let mut data = cursor;
        cursor.skip(length)?;
        let owner = owner.filter(|_| class == IN);
        let known = |owner: Vec<u8>| stands_for.iter().position(|name| *name == owner);
        let Some(owner) = owner.and_then(known) else { continue };
        let address = match (kind, length) {
            (A, 4) => IpAddr::from(data.array::<4>()?),
            (AAAA, 16) => IpAddr::from(data.array::<16>()?),
            (CNAME, _) => {
                if let Some(target) = name(message, &mut data)?
                    && stands_for.len() < ALIASES_MAX
                {
                    stands_for.push(target);
                }
                continue;
            }
            _ => continue,
        };
        let nobody = address.is_unspecified() || address.is_loopback() || address.is_multicast();
        if !nobody && list.len() < ANSWERS_MAX {
            list.push((owner, address));
        }
    }
    // The first is the name asked for.
    let host = |at: usize| stands_for.get(at).and_then(|name| Hostname::from_wire(name));
    let Some(asked) = host(0) else { return Ok(Vec::new()) };
    let answers = list.into_iter().filter_map(|(owner, address)| {
        let name = if owner == 0 { asked.clone() } else { host(owner)? };
        Some(Answer { asked: asked.clone(), name, address })
    });
    Ok(answers.collect())
}

/// A name in lower case with its dots; none where it is malformed, or has a dot within a label. The cursor stands behind it.
fn name<'m>(message: &'m [u8], cursor: &mut Cursor<'m>) -> Result<Option<Vec<u8>>, Short> {
    let mut text = Vec::with_capacity(NAME_BYTES);
    let mut at = *cursor;
    let mut jumped = false;
    let mut least = cursor.at();
    for _ in 0..POINTERS_MAX {
        let target = loop {
            let length = at.u8()?;
            match length {
                0 => {
                    if !jumped {
                        *cursor = at;
                    }
                    return Ok(Some(text));
                }
                1..=63 => {
                    let label = at.take(usize::from(length))?;
                    if !text.is_empty() {
                        text.push(b'.');
                    }
                    text.extend(label.iter().map(u8::to_ascii_lowercase));
                    if text.len() > NAME_BYTES_MAX || label.contains(&b'.') {
                        return skip(cursor, at, jumped);
                    }
                }
                0xc0.. => {
                    break usize::from(u16::from_be_bytes([length & 0x3f, at.u8()?]));
                }
                64..=0xbf => return skip(cursor, at, jumped),
            }
        };
        if !jumped {
            *cursor = at;
        }
        jumped = true;
        if target >= least {
            return Ok(None);
        }
        least = target;
        at = Cursor::new(message);
        at.skip(target)?;
    }
    Ok(None)
}

/// The name is of no use, but what follows it is.
fn skip(
    cursor: &mut Cursor<'_>,
    mut at: Cursor<'_>,
    jumped: bool,
) -> Result<Option<Vec<u8>>, Short> {
    if jumped {
        return Ok(None);
    }
    loop {
        match at.u8()? {
            0 => break,
            length @ 1..=63 => at.skip(usize::from(length))?,
            0xc0.. => {
                at.skip(1)?;
                break;
            }
            64..=0xbf => return Err(Short),
        }
    }
    cursor.skip(at.at().saturating_sub(cursor.at()))?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: &[u8] = b"\x02db\x04corp\x00";
    const A_IN: &[u8] = b"\x00\x01\x00\x01";

    /// Header with counts, question, records.
    fn response(flags: u16, answers: u16, rest: &[&[u8]]) -> Vec<u8> {
        let head = [
            &b"\x12\x34"[..],
            &flags.to_be_bytes(),
            b"\0\x01",
            &answers.to_be_bytes(),
            b"\0\0\0\0",
        ];
        [&head.concat()[..], &rest.concat()].concat()
    }

    fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        [owner, &kind.to_be_bytes(), b"\0\x01\0\0\0\x3c", &length, data].concat()
    }

    fn said(message: &[u8]) -> Vec<String> {
        let line = |a: &Answer| format!("{} {} {}", a.asked, a.name, a.address);
        answers(message).iter().map(line).collect()
    }

    #[test]
    fn the_addresses_of_the_name_asked_for_are_taken_by_way_of_its_canonical_names() {
        let plain = response(0x8180, 1, &[DB, A_IN, &record(b"\xc0\x0c", A, &[10, 0, 0, 9])]);
        assert_eq!(said(&plain), ["db.corp db.corp 10.0.0.9"]);
        // db.corp is an alias of users.rds.corp; its name points back to `corp`.
        let target = b"\x05users\x03rds\xc0\x0f";
        let alias = record(b"\xc0\x0c", CNAME, target);
        let at = u16::try_from(12 + DB.len() + 4 + 12).unwrap();
        let pointer = (0xc000 | at).to_be_bytes();
        let v6 = [&[0xfd][..], &[0; 14], &[9]].concat();
        let both = response(
            0x8180,
            3,
            &[DB, A_IN, &alias, &record(&pointer, A, &[10, 0, 0, 9]), &record(&pointer, AAAA, &v6)],
        );
        assert_eq!(
            said(&both),
            ["db.corp users.rds.corp 10.0.0.9", "db.corp users.rds.corp fd00::9",]
        );
    }

    #[test]
    fn what_was_not_asked_for_and_what_is_no_answer_gives_nothing() {
        let a = record(b"\xc0\x0c", A, &[10, 0, 0, 9]);
        let other = record(b"\x05other\x00", A, &[10, 0, 0, 9]);
        for (what, message) in [
            ("a query", response(0x0100, 1, &[DB, A_IN, &a])),
            ("an error", response(0x8183, 1, &[DB, A_IN, &a])),
            ("another name's", response(0x8180, 1, &[DB, A_IN, &other])),
            (
                "another class",
                response(0x8180, 1, &[DB, A_IN, &[b"\xc0\x0c\0\x01\0\x03", &a[6..]].concat()]),
            ),
            ("a sinkhole", response(0x8180, 1, &[DB, A_IN, &record(b"\xc0\x0c", A, &[0; 4])])),
            ("an odd length", response(0x8180, 1, &[DB, A_IN, &record(b"\xc0\x0c", A, &[1; 5])])),
            ("an odd name", response(0x8180, 1, &[b"\x03a\nb\x00", A_IN, &a])),
            ("a dot in a label", response(0x8180, 1, &[b"\x03a.b\x00", A_IN, &a])),
        ] {
            assert_eq!(said(&message), Vec::<String>::new(), "{what}");
        }
    }

    #[test]
    fn a_name_that_leads_in_circles_or_is_cut_ends_the_reading() {
        let own = response(0x8180, 1, &[b"\xc0\x0c", A_IN]);
        let forward = response(0x8180, 1, &[b"\x01a\xc0\x40", A_IN]);
        let whole = response(0x8180, 1, &[DB, A_IN, &record(b"\xc0\x0c", A, &[10, 0, 0, 9])]);
        for message in [own, forward] {
            assert!(said(&message).is_empty());
        }
        for end in 0..whole.len() {
            assert!(said(&whole[..end]).is_empty(), "{end}");
        }
    }
}
