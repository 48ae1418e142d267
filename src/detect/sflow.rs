//! sFlow version 5 datagrams. <https://sflow.org/sflow_version_5.txt>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info, magic, size};
use crate::{bytes::Cursor, detect::Info, model::Side};

pub(super) struct Sflow;

impl Grammar for Sflow {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(place.side == Side::Client && magic(&mut c, &[0, 0, 0, 5, 0, 0, 0])?);
        match c.u8()? {
            1 => c.skip(4)?,
            2 => c.skip(16)?,
            _ => return Ok(None),
        }
        c.skip(12)?;
        let samples = c.u32_be()?;
        demand!((1..=SAMPLES_MAX).contains(&samples));
        for _ in 0..samples {
            let (format, length) = (c.u32_be()?, c.u32_be()?);
            // Formats of the standard enterprise are few; others have their enterprise in front.
            demand!(matches!(format, 1..=5 | 0x1000..) && length >= 8 && length % 4 == 0);
            c.skip(size(length))?;
        }
        demand!(c.is_empty());
        Ok(Some(Message::new(bytes.len(), 60, "sflow.datagram", "version 5")))
    }
}

const SAMPLES_MAX: u32 = 256;

static INFO: Info = Info {
    midstream: true,
    ..info(
        "sflow",
        "sFlow version 5",
        "https://sflow.org/sflow_version_5.txt",
        &[6343],
        UDP,
        Directions::Client,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, denies, proves_udp};
    use super::*;
    use crate::model::Transport;

    fn datagram(samples: &[&[u8]], count: u8) -> Vec<u8> {
        let head = b"\0\0\0\x05\0\0\0\x01\x0a\0\0\x01\0\0\0\0\0\0\0\x09\0\x01\x02\x03\0\0\0";
        [&head[..], &[count], &samples.concat()].concat()
    }

    #[test]
    fn samples_that_end_where_the_datagram_ends() {
        let sample: &[u8] = b"\0\0\0\x02\0\0\0\x0c\0\0\0\x01\0\0\0\x02\0\0\0\x03";
        proves_udp(&Sflow, &[("two", C, &datagram(&[sample, sample], 2))]);
        denies(
            &Sflow,
            Transport::Udp,
            &[
                ("three counted", &datagram(&[sample, sample], 3)),
                ("one counted", &datagram(&[sample, sample], 1)),
                ("none", &datagram(&[], 0)),
                ("length", &datagram(&[b"\0\0\0\x02\0\0\0\x09\0\0\0\x01\0\0\0\x02\x03"], 1)),
            ],
        );
    }
}
