//! RIP versions 1 and 2, and `RIPng`. <https://www.rfc-editor.org/rfc/rfc2453#section-4>, <https://www.rfc-editor.org/rfc/rfc2080>
//!
//! A command, a version and entries of 20 bytes whose unused fields are zero.
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    exchange::{Told, follow_datagrams, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Rip;

impl Detector for Rip {
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
    let [command, version, zero, zero_too] = c.array()?;
    let sends = match side {
        Side::Client => matches!(command, REQUEST | RESPONSE),
        Side::Server => command == RESPONSE,
    };
    let entries = c.left().checked_div(ENTRY_BYTES).unwrap_or(0);
    let whole = c.left().is_multiple_of(ENTRY_BYTES) && (1..=ENTRIES_MAX).contains(&entries);
    if !sends || !matches!(version, 1 | 2) || (zero, zero_too) != (0, 0) || !whole {
        return Ok(None);
    }
    let mut told = Told::clear("rip.message", if version == 1 { "RIPv1" } else { "RIPv2" }, c.at());
    let mut ipv6 = version == 1;
    let mut ipv4 = true;
    let mut first = true;
    while !c.is_empty() {
        let entry = c.array()?;
        let (kind, secret) = authentication(&entry);
        if version == 2 && kind && first {
            told = told.with(secret);
        } else {
            // The key of a digest stands behind the last entry.
            ipv4 &= version == 2 && kind || route(&entry, version);
        }
        ipv6 &= prefix(&entry, entries);
        first = false;
    }
    if ipv6 && !ipv4 {
        told.constant = "RIPng";
    }
    Ok((ipv4 || ipv6).then_some(told))
}

/// Whether an entry carries authentication, and what it shows (RFC 2453 section 4.1, RFC 4822).
fn authentication(entry: &[u8; ENTRY_BYTES]) -> (bool, Credentials) {
    match entry {
        [0xff, 0xff, 0, 2, ..] => (true, Credentials::PASSWORD_CLEARTEXT),
        [0xff, 0xff, 0, 3, ..] => (true, Credentials::PASSWORD_HASH_CHALLENGE),
        [0xff, 0xff, 0, 1, ..] => (true, Credentials::NONE),
        _ => (false, Credentials::NONE),
    }
}

fn route(entry: &[u8; ENTRY_BYTES], version: u8) -> bool {
    let [family, family_low, tag @ .., _, _, _, metric] = entry;
    let ([high, middle, low], sound) = match entry {
        [.., high, middle, low, _] => ([*high, *middle, *low], matches!(metric, 0..=16)),
    };
    let [_, _, _, _, _, _, mask_and_hop @ .., _, _, _, _] = entry;
    let known = *family == 0 && matches!(family_low, 0 | 2);
    let version_1 = matches!(tag, [0, 0, ..]) && mask_and_hop.get(2..) == Some(&[0; 8]);
    known && sound && (high, middle, low) == (0, 0, 0) && (version == 2 || version_1)
}

/// An entry of `RIPng`: no bits behind the prefix, in space that is in use.
fn prefix(entry: &[u8; ENTRY_BYTES], entries: usize) -> bool {
    let [address @ .., tag, tag_low, length, metric] = entry;
    let Some(address) = address.first_chunk::<16>() else { return false };
    let bits = u128::from_be_bytes(*address);
    if *metric == NEXT_HOP {
        return (*tag, *tag_low, *length) == (0, 0, 0);
    }
    let beyond = u128::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
    let used = matches!(address.first(), Some(0 | 0x20..=0x3f | 0xfc..=0xfe));
    let telling = *length <= 64 || entries > 1;
    *length <= 128 && bits & beyond == 0 && used && telling && (1..=16).contains(metric)
}

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const ENTRY_BYTES: usize = 20;
const ENTRIES_MAX: usize = 72;
const NEXT_HOP: u8 = 0xff;

static INFO: Info = Info {
    name: "rip",
    title: "Routing Information Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc2453#section-4",
    ports: &[520, 521],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::exchange::bench::{hear_datagrams, proves, proves_nothing_else};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    const WHOLE_TABLE: &[u8] = b"\x01\x02\0\0\x00\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
    const ROUTE: &[u8] = b"\x00\x02\x00\x00\x0a\x00\x01\x00\xff\xff\xff\x00\0\0\0\0\0\0\0\x01";
    const ROUTE_NG: &[u8] = b"\x20\x01\x0d\xb8\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\x40\x01";

    #[test]
    fn entries_prove_it() {
        let secret = b"\xff\xff\x00\x02secret\0\0\0\0\0\0\0\0\0\0";
        let cases: [(&str, Vec<u8>); 4] = [
            ("request", WHOLE_TABLE.to_vec()),
            ("response", [b"\x02\x02\0\0", ROUTE].concat()),
            ("with a password", [b"\x02\x02\0\0", &secret[..], ROUTE].concat()),
            ("RIPng", [b"\x02\x01\0\0", ROUTE_NG].concat()),
        ];
        for (what, bytes) in &cases {
            assert!(proves(&Rip, C, bytes), "{what}");
            assert!(!proves(&Rip, C, &bytes[..bytes.len() - 1]), "{what}, a byte less");
        }
        assert!(!proves(&Rip, S, WHOLE_TABLE), "a server does not ask");
        assert!(!proves(&Rip, C, &[b"\x02\x01\0\0", ROUTE].concat()), "a mask in version 1");
        assert!(!proves(&Rip, C, &[&b"\x02\x03\0\0"[..], ROUTE].concat()), "version 3");
        let heard = hear_datagrams(&Rip, &[(C, &cases[2].1), (S, &cases[1].1)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert_eq!(heard.fits, [true, true]);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Rip);
    }
}
