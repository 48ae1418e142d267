//! NTP, its control messages (mode 6) and those of ntpd (mode 7). <https://www.rfc-editor.org/rfc/rfc5905#section-7.3>
//!
//! There is no magic: every field has narrow bounds, and what follows the header must be extension fields and a MAC. With
//! NTS (RFC 8915) the time is still sent in clear, only authenticated.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Ntp;

impl Detector for Ntp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_datagram(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow_datagrams(state, side, said, read)
    }
}

fn read(side: Side, datagram: &[u8]) -> Result<Option<Told>, Short> {
    let mut c = Cursor::new(datagram);
    let head = c.u8()?;
    let (version, mode) = (head >> 3 & 7, head & 7);
    if !(1..=4).contains(&version) {
        return Ok(None);
    }
    let fits = match (mode, side) {
        (1 | 3 | 5, Side::Client) | (1 | 2 | 4 | 5, Side::Server) => time(&mut c, mode)?,
        (6, _) => head < 0x40 && control(side, &mut c)?,
        (7, _) => private(side, head, &mut c)?,
        _ => false,
    };
    let (rule, constant) = match mode {
        6 => ("ntp.control", "mode 6"),
        7 => ("ntp.private", "mode 7"),
        3 => ("ntp.time", "mode 3"),
        4 => ("ntp.time", "mode 4"),
        _ => ("ntp.time", "mode 1, 2 or 5"),
    };
    Ok(fits.then(|| Told::clear(rule, constant, datagram.len())))
}

/// The header of 48 bytes behind its first, and what follows it.
fn time(c: &mut Cursor<'_>, mode: u8) -> Result<bool, Short> {
    let [stratum, poll, precision] = c.array()?;
    let (delay, dispersion) = (c.u32_be()?, c.u32_be()?);
    // Chrony's clients say 32; a clock is never worse than a second.
    let clock = matches!(precision, 0 | 32 | 0xe0..=0xff);
    let interval = poll <= POLL_MAX || poll >= 0xfc;
    let near = delay >> 16 < SECONDS_MAX && dispersion >> 16 < SECONDS_MAX;
    if stratum > STRATUM_MAX || !clock || !interval || !near {
        return Ok(false);
    }
    c.skip(4)?;
    let mut stamps = [0; 4];
    for stamp in &mut stamps {
        *stamp = c.u64_be()?;
    }
    let [reference, origin, received, sent] = stamps.map(|stamp| stamp >> 32);
    let fits = match mode {
        // An answer is sent at once, and says when it was asked and when it was sent.
        4 | 2 => sent != 0 && received != 0 && sent.abs_diff(received) < SECONDS_BETWEEN,
        5 => sent != 0 && (origin == 0 || reference != 0),
        // A client need not tell its time, but what it tells of the server's is one time.
        _ => origin == 0 || received == 0 || origin.abs_diff(received) < SECONDS_PER_DAY,
    };
    Ok(fits && trailer(c)?)
}

/// Extension fields (RFC 7822) and a MAC: what is left is all of them.
fn trailer(c: &mut Cursor<'_>) -> Result<bool, Short> {
    while !MAC_BYTES.contains(&c.left()) {
        let (_kind, length) = (c.u16_be()?, usize::from(c.u16_be()?));
        if length < EXTENSION_BYTES_MIN || length % 4 != 0 {
            return Ok(false);
        }
        c.skip(length.saturating_sub(4))?;
    }
    Ok(true)
}

/// A control message: its count of data bytes is what there is. RFC 9327 section 2
fn control(side: Side, c: &mut Cursor<'_>) -> Result<bool, Short> {
    let operation = c.u8()?;
    let (_sequence, status) = (c.u16_be()?, c.u16_be()?);
    let (_association, offset, count) = (c.u16_be()?, c.u16_be()?, usize::from(c.u16_be()?));
    let known = matches!(operation & 0x1f, 1..=12 | 31);
    let answers = operation & 0x80 != 0;
    let direction = match side {
        Side::Client => operation & 0xe0 == 0 && status == 0 && offset == 0,
        Side::Server => answers,
    };
    let padded = count.next_multiple_of(4);
    let after = c.left().checked_sub(padded).or_else(|| c.left().checked_sub(count));
    Ok(known && direction && after.is_some_and(|rest| MAC_BYTES.contains(&rest)))
}

/// A message of ntpd's own: items of one size, as many as counted, then nothing but padding.
fn private(side: Side, head: u8, c: &mut Cursor<'_>) -> Result<bool, Short> {
    let (sequence, implementation, request) = (c.u8()?, c.u8()?, c.u8()?);
    let (counts, sizes) = (c.u16_be()?, c.u16_be()?);
    let answers = head & 0x80 != 0;
    let (error, items) = (counts >> 12, usize::from(counts & 0xfff));
    let item_bytes = usize::from(sizes & 0xfff);
    let known = matches!(implementation, 0 | 2 | 3) && request <= 45;
    let direction = match side {
        Side::Client => {
            head & 0xc0 == 0 && matches!(sequence, 0 | 0x80) && error == 0 && items == 0
        }
        Side::Server => answers && error <= 7,
    };
    let rest = c.rest().get(items.saturating_mul(item_bytes)..).ok_or(Short)?;
    Ok(known && direction && rest.iter().all(|byte| *byte == 0))
}

const STRATUM_MAX: u8 = 16;
const POLL_MAX: u8 = 17;
const SECONDS_MAX: u32 = 64;
const SECONDS_BETWEEN: u64 = 64;
const SECONDS_PER_DAY: u64 = 86_400;
const EXTENSION_BYTES_MIN: usize = 16;
/// None, a crypto-NAK, and key id with MD5, SHA-1, SHA-256, SHA-384 or SHA-512.
const MAC_BYTES: [usize; 7] = [0, 4, 20, 24, 36, 52, 68];

static INFO: Info = Info {
    name: "ntp",
    title: "Network Time Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc5905#section-7.3",
    ports: &[123],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::exchange::bench::{hear_datagrams, proves, proves_nothing_else};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    /// First byte, stratum to precision, then the timestamps' seconds: reference, origin, received, sent.
    fn packet(head: u8, bytes: [u8; 3], seconds: [u32; 4]) -> Vec<u8> {
        let mut all = vec![head];
        all.extend(bytes);
        all.extend(b"\x00\x00\x01\x20\x00\x00\x08\x40LOCL");
        for second in seconds {
            all.extend(second.to_be_bytes());
            all.extend(b"\x12\x34\x56\x78");
        }
        all
    }

    const NOW: u32 = 0xe9a1_0203;

    fn request() -> Vec<u8> {
        [&b"\x23"[..], &[0; 47]].concat()
    }

    fn answer() -> Vec<u8> {
        packet(0x24, [2, 6, 0xe9], [NOW, NOW, NOW, NOW])
    }

    #[test]
    fn bounded_fields_prove_a_side() {
        let extended =
            [&packet(0x23, [0, 6, 32], [0, 0, 0, NOW])[..], b"\x01\x04\x00\x24", &[7; 32]];
        let monlist = [&b"\x17\x00\x03\x2a\x00\x00\x00\x00"[..], &[0; 40]].concat();
        let readvar: &[u8] = b"\x16\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00";
        let cases: [(&str, Side, Vec<u8>); 9] = [
            ("SNTP request", C, request()),
            ("version 1", C, [&b"\x0b"[..], &[0; 47]].concat()),
            ("chrony's request", C, packet(0x23, [0, 6, 32], [0, 0, 0, 0x1234_5678])),
            ("request with an NTS extension field", C, extended.concat()),
            ("answer", S, answer()),
            ("answer with a MAC", S, [answer(), vec![9; 20]].concat()),
            ("monlist", C, monlist),
            ("read variables", C, readvar.to_vec()),
            (
                "its answer",
                S,
                [&b"\x16\x82\x00\x01\x06\x15\0\0\0\0\x00\x05"[..], b"a=bcd\0\0\0"].concat(),
            ),
        ];
        for (what, side, bytes) in cases {
            assert!(proves(&Ntp, side, &bytes), "{what}");
            assert!(!proves(&Ntp, side.other(), &bytes), "{what} from the other side");
        }
    }

    #[test]
    fn a_field_out_of_bounds_proves_nothing() {
        let bad = |at: usize, byte: u8| {
            let mut bytes = answer();
            bytes[at] = byte;
            bytes
        };
        let cases = [
            ("version 0", bad(0, 0x04)),
            ("stratum 17", bad(1, 17)),
            ("poll", bad(2, 40)),
            ("precision", bad(3, 0x55)),
            ("root delay", bad(4, 1)),
            ("sent long after it was received", bad(40, 0)),
            ("a byte more", [answer(), vec![0]].concat()),
            ("a byte less", answer()[..47].to_vec()),
        ];
        for (what, bytes) in cases {
            assert!(!proves(&Ntp, S, &bytes), "{what}");
        }
    }

    #[test]
    fn request_and_answer() {
        let heard = hear_datagrams(&Ntp, &[(C, &request()), (S, &answer())]);
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Ntp);
    }
}
