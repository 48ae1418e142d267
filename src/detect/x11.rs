//! The X Window System: connection setup. <https://www.x.org/releases/current/doc/xproto/x11protocol.html#Connection_Setup>
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Start, Step, View,
    exchange::{Told, follow_stream, magic, printable, probe_stream},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct X11;

impl Detector for X11 {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_stream(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow_stream(state, side, said, read)
    }
}

fn read(side: Side, said: Said<'_>) -> Result<Option<Told>, Short> {
    if said.start == Start::Unknown {
        return Ok(None);
    }
    match side {
        Side::Client => request(&mut Cursor::new(said.bytes)),
        Side::Server => reply(&mut Cursor::new(said.bytes)),
    }
}

/// Numbers in the byte order that the client chose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, c: &mut Cursor<'_>) -> Result<u16, Short> {
        match self {
            Self::Big => c.u16_be(),
            Self::Little => c.u16_le(),
        }
    }

    fn u32(self, c: &mut Cursor<'_>) -> Result<u32, Short> {
        match self {
            Self::Big => c.u32_be(),
            Self::Little => c.u32_le(),
        }
    }
}

/// Byte order, version 11.0, and the name and the data of an authorization.
fn request(c: &mut Cursor<'_>) -> Result<Option<Told>, Short> {
    let order = match c.u8()? {
        b'B' => Order::Big,
        b'l' => Order::Little,
        _ => return Ok(None),
    };
    if c.u8()? != 0 || !version(order, c)? {
        return Ok(None);
    }
    let (name_bytes, data_bytes) = (order.u16(c)?, order.u16(c)?);
    if name_bytes > NAME_BYTES_MAX || data_bytes > DATA_BYTES_MAX {
        return Ok(None);
    }
    c.skip(2)?;
    let name = c.take(usize::from(name_bytes))?;
    let kinds = match name {
        b"MIT-MAGIC-COOKIE-1" if data_bytes > 0 => Credentials::SESSION_SECRET,
        b"XDM-AUTHORIZATION-1" | b"SUN-DES-1" => Credentials::PASSWORD_HASH_CHALLENGE,
        _ => Credentials::NONE,
    };
    let sound = name.iter().all(|byte| printable(*byte));
    Ok(sound.then(|| Told::clear("x11.setup-request", "version 11.0", c.at()).with(kinds)))
}

/// Version 11, minor 0: byte by byte.
fn version(order: Order, c: &mut Cursor<'_>) -> Result<bool, Short> {
    let wanted: &[u8] = if order == Order::Big { &[0, 11, 0, 0] } else { &[11, 0, 0, 0] };
    magic(c, wanted)
}

/// Failed, Success or Authenticate.
fn reply(c: &mut Cursor<'_>) -> Result<Option<Told>, Short> {
    let (code, reason_bytes) = (c.u8()?, c.u8()?);
    if code > 1 {
        return Ok(None);
    }
    let order = if c.peek()? == 0 { Order::Big } else { Order::Little };
    if !version(order, c)? {
        return Ok(None);
    }
    let units = usize::from(order.u16(c)?);
    if code == 0 {
        let reason = c.take(usize::from(reason_bytes))?;
        let text = reason.iter().all(|byte| printable(*byte) || matches!(byte, b'\n' | b'\t' | 0));
        let fits = reason_bytes > 0 && units == usize::from(reason_bytes).div_ceil(4);
        let told = Told::clear("x11.setup-failed", "Failed", 8).refusing(true);
        return Ok((text && fits).then_some(told));
    }
    // Release, then base and mask of resource ids, motion buffer, lengths.
    let (_release, base, mask, _motion) =
        (order.u32(c)?, order.u32(c)?, order.u32(c)?, order.u32(c)?);
    let (vendor, _request) = (usize::from(order.u16(c)?), order.u16(c)?);
    let (screens, formats) = (c.u8()?, usize::from(c.u8()?));
    let least = formats.saturating_mul(2).saturating_add(8).saturating_add(vendor.div_ceil(4));
    let contiguous = mask.checked_shr(mask.trailing_zeros()).unwrap_or(0);
    let ids =
        mask.count_ones() >= 18 && contiguous & contiguous.wrapping_add(1) == 0 && base & mask == 0;
    let fits = ids && screens > 0 && formats > 0 && units > least;
    Ok(fits.then(|| Told::clear("x11.setup-success", "version 11.0", c.at())))
}

const NAME_BYTES_MAX: u16 = 64;
const DATA_BYTES_MAX: u16 = 4096;

static INFO: Info = Info {
    name: "x11",
    title: "X Window System",
    spec: "https://www.x.org/releases/current/doc/xproto/x11protocol.html",
    ports: &[6000, 6001, 6010],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::SESSION_SECRET.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::{hear, probe_side},
        exchange::bench::{OPENINGS, random_proves_nothing},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const COOKIE: &[u8] = b"l\0\x0b\0\0\0\x12\0\x10\0\0\0MIT-MAGIC-COOKIE-1\0\x000123456789abcdef";
    const OPEN: &[u8] = b"B\0\0\x0b\0\0\0\0\0\0\0\0";
    const SUCCESS: &[u8] = b"\x01\0\x0b\0\0\0\x60\x01\x88\x33\x56\x07\0\0\x40\0\xff\xff\x1f\0\
        \0\x01\0\0\x14\0\xff\xff\x01\x07\0\0\x20\x20\x08\xff\0\0\0\0The X.Org Foundation";
    const FAILED: &[u8] = b"\0\x0c\0\x0b\0\0\0\x03no protocol.";

    #[test]
    fn setup_proves_the_side_that_sends_it() {
        for (side, bytes) in [(C, COOKIE), (C, OPEN), (S, SUCCESS), (S, FAILED)] {
            assert!(matches!(probe_side(&X11, side, bytes), Probe::Match(_)), "{bytes:02x?}");
            assert!(!matches!(probe_side(&X11, side.other(), bytes), Probe::Match(_)));
        }
        assert_eq!(probe_side(&X11, C, b"l\0\x0b\0\x01\0"), Probe::No, "minor 1");
        let mut holed = SUCCESS.to_vec();
        holed[17] = 0xef;
        assert!(!matches!(probe_side(&X11, S, &holed), Probe::Match(_)), "mask with a hole");
        for bytes in OPENINGS {
            assert_eq!(probe_side(&X11, C, bytes), Probe::No);
        }
        random_proves_nothing(&X11);
    }

    #[test]
    fn a_cookie_is_a_session_secret() {
        let heard = hear(&X11, &[(C, COOKIE), (S, SUCCESS)]);
        assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::SESSION_SECRET));
        let heard = hear(&X11, &[(C, OPEN), (S, FAILED)]);
        assert_eq!((heard.refused, heard.credentials), (true, Credentials::NONE));
        assert_eq!(hear(&X11, &[(C, OPEN), (S, b"HTTP/1.1 400 Bad")]).mismatch, [false, true]);
    }
}
