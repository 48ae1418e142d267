//! HL7 version 2 over MLLP: a vertical tab, then a segment that says which characters separate its fields.
//! <https://www.hl7.org/documentcenter/public/wg/inm/mllp_transport_specification.PDF>
use super::{
    Directions, FollowState, Info,
    whole::{Flaw, Heard, Message, Protocol, Read, Turns, demand, expect},
};
use crate::model::{Credentials, Transport};

pub(super) const HL7: Protocol = Protocol { info: &INFO, turns: Turns::Both, read };

fn read(_: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
    let mut cursor = heard.cursor();
    expect(&mut cursor, b"\x0b")?;
    let segment = SEGMENTS.iter().find(|s| s.as_bytes().first() == cursor.rest().first());
    let segment = match (segment, cursor.peek()) {
        (Some(segment), _) => *segment,
        (None, Ok(_)) => return Err(Flaw::Foreign),
        (None, Err(short)) => return Err(short.into()),
    };
    expect(&mut cursor, segment.as_bytes())?;
    let separator = cursor.u8()?;
    demand(separator.is_ascii_punctuation())?;
    // Component, repetition, escape, subcomponent, since 2.7 perhaps truncation: all different.
    let mut seen = [separator, 0, 0, 0, 0, 0];
    for at in 1..=ENCODING_CHARACTERS_MAX {
        let character = cursor.u8()?;
        if character == separator && at >= ENCODING_CHARACTERS_MIN {
            let length = heard.bytes.len();
            return Ok(Message::proof(length, "hl7.message", segment));
        }
        demand(character.is_ascii_punctuation() && !seen.contains(&character))?;
        if let Some(slot) = seen.get_mut(at) {
            *slot = character;
        }
    }
    Err(Flaw::Foreign)
}

/// A message, a file of batches, a batch.
const SEGMENTS: [&str; 3] = ["MSH", "FHS", "BHS"];
/// At least this many characters, the closing separator counted.
const ENCODING_CHARACTERS_MIN: usize = 4;
const ENCODING_CHARACTERS_MAX: usize = 6;

static INFO: Info = Info {
    name: "hl7",
    title: "HL7 version 2 (MLLP)",
    spec: "https://www.hl7.org/documentcenter/public/wg/inm/mllp_transport_specification.PDF",
    ports: &[2575],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::whole::bench::{C, S, hear_streams, is_choosy, late, stream};

    #[test]
    fn the_first_segment_proves_either_side() {
        let cases: [(&[u8], Option<bool>); 9] = [
            (b"\x0bMSH|^~\\&|ADT|A|B|C|2026||ADT^A01|1|P|2.5\r", Some(true)),
            (b"\x0bMSH|^~\\&#|ADT", Some(true)),
            (b"\x0bFHS|^~\\&|", Some(true)),
            (b"\x0bMSH$%~\\&$", Some(true)),
            (b"\x0bMSH|^~", None),
            (b"\x0bMSH|^^\\&|", Some(false)),
            (b"\x0bMSH|ADT|", Some(false)),
            (b"MSH|^~\\&|", Some(false)),
            (b"\x0bXYZ|^~\\&|", Some(false)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(stream(&HL7, C, bytes), expected, "{}", bytes.escape_ascii());
            assert_eq!(late(&HL7, S, bytes).filter(|yes| *yes), expected.filter(|yes| *yes));
        }
    }

    #[test]
    fn a_message_and_its_acknowledgement() {
        let heard = hear_streams(
            &HL7,
            &[
                (C, b"\x0bMSH|^~\\&|A|B\rPID|||1\r\x1c\r"),
                (S, b"\x0bMSH|^~\\&|B|A\rMSA|AA|1\r\x1c\r"),
            ],
        );
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
    }

    #[test]
    fn nothing_else_is_hl7() {
        is_choosy(&HL7, &[b"\x0bMSH", b"\x0b"]);
    }
}
