//! tinc's meta connection. <https://www.tinc-vpn.org/documentation/Meta_002dprotocol.html>
//!
//! Both sides say `0 name 17`; keys follow (`1 ...` in hex, or SPTPS from 17.1 on) and all else is sealed under them.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::model::{Credentials, Encryption, Mark, Side, Transport};

pub(super) struct Tinc;

impl Detector for Tinc {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
        let said = view.side(side);
        let other = match side {
            Side::Client => view.server,
            Side::Server => Said::NOTHING,
        };
        match (identity(said.bytes), side) {
            _ if said.start == Start::Unknown => Probe::No,
            (Identity::No, Side::Client) => Probe::No,
            (Identity::No, Side::Server) | (Identity::Begun, _) => Probe::More,
            (Identity::Whole(end), _) => {
                let rest = said.bytes.get(end..).unwrap_or_default();
                let key = [b"1 94 ".as_slice(), b"1 428 "];
                let follows = key.iter().any(|key| rest.starts_with(key));
                let begins = key.iter().any(|key| key.starts_with(rest));
                let answered = matches!(identity(other.bytes), Identity::Whole(_));
                if follows || answered {
                    let (rule, constant) = ("tinc.id", "ID, protocol version 17");
                    let length = u32::try_from(end).unwrap_or(u32::MAX);
                    let mark = Mark { rule, side, offset: 0, length, constant };
                    Match::encrypted(Encryption::OtherEncrypted, mark)
                } else if begins || rest.len() < KEY_BYTES_MAX {
                    Probe::More
                } else {
                    Probe::No
                }
            }
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let (mine, other) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        match identity(said.bytes) {
            _ if *mine == 1 => Step::read(said.bytes.len(), Facts::NONE),
            Identity::Begun => Step::WAIT,
            Identity::No => Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done },
            Identity::Whole(end) => {
                *mine = 1;
                let accepted = side == Side::Server;
                let next = if *other == 1 { Next::Done } else { Next::Continue };
                Step { consumed: end, facts: Facts { accepted, ..Facts::FITS }, next }
            }
        }
    }
}

enum Identity {
    No,
    Begun,
    /// Its line ends here.
    Whole(usize),
}

/// The ID request: `0 name 17`, perhaps with a minor version.
fn identity(bytes: &[u8]) -> Identity {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let whole = line.len() < bytes.len();
    if line.len() > LINE_BYTES_MAX {
        return Identity::No;
    }
    let mut words = line.split(|byte| *byte == b' ');
    let (kind, name, version) = (words.next(), words.next(), words.next());
    let name_fits = |name: &[u8]| name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let version_fits = |version: &[u8]| match version {
        [b'1'] | [] => !whole,
        [b'1', b'7'] => true,
        [b'1', b'7', b'.', minor @ ..] => {
            minor.len() <= 2 && minor.iter().all(u8::is_ascii_digit) && !(whole && minor.is_empty())
        }
        _ => false,
    };
    let fits = kind.is_none_or(|kind| kind == b"0" || kind.is_empty() && bytes.is_empty())
        && name.is_none_or(|n| name_fits(n) && (!n.is_empty() || version.is_none()))
        && version.is_none_or(version_fits)
        && words.next().is_none();
    match (fits, whole) {
        (false, _) => Identity::No,
        (true, false) => Identity::Begun,
        (true, true) if version.is_none() => Identity::No,
        (true, true) => Identity::Whole(line.len().saturating_add(1)),
    }
}

const LINE_BYTES_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 6;

static INFO: Info = Info {
    name: "tinc",
    title: "tinc VPN",
    spec: "https://www.tinc-vpn.org/documentation/",
    ports: &[655],
    transports: &[Transport::Tcp],
    directions: Directions::Both,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    #[test]
    fn two_identities_or_one_and_a_key_are_tinc() {
        let heard = hear(&Tinc, &[(C, b"0 alice 17\n"), (S, b"0 bob 17\n1 94 64 0 0 AB")]);
        assert_eq!(
            (heard.encryption, heard.fits),
            (Some(Encryption::OtherEncrypted), [true, true])
        );
        let heard = hear(&Tinc, &[(C, b"0 alice 17.7\n"), (S, b"0 bob 17.4\n\x00\x80")]);
        assert!(heard.matched.is_some());
        assert!(matches!(probe_side(&Tinc, C, b"0 alice 17\n1 94 64 0 0 AB"), Probe::Match(_)));
        assert_eq!(probe_side(&Tinc, C, b"0 alice 17\n"), Probe::More);
        let heard = hear(&Tinc, &[(C, b"0 alice 17\n1 94 64"), (S, b"220 hello\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }

    #[test]
    fn look_alikes_do_not_match() {
        for bytes in [
            &b"0 alice 18\n"[..],
            b"0 al-ice",
            b"0 alice 17 x",
            b"0 alice\n",
            b"01 a",
            b"0  17\n",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01",
            b"0 alice 17\nhello world",
        ] {
            assert_eq!(
                probe_side(&Tinc, C, bytes),
                Probe::No,
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
        let late = hear_from(&Tinc, &[(C, b"0 alice 17\n1 94 64 0 0 AB")], Start::Unknown);
        assert!(late.matched.is_none());
    }
}
