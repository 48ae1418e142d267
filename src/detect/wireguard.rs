//! WireGuard's four messages. <https://www.wireguard.com/papers/wireguard.pdf> section 5.4.
//!
//! A type, three reserved zeros, and exact lengths; what is sealed must look so. One data message proves little, two of
//! one receiver with growing counters do, so that a tunnel joined late is told. Tailscale's path discovery
//! (<https://pkg.go.dev/tailscale.com/disco>) shares the tunnel's ports and counts as part of it.
use super::{
    Detector, Directions, Facts, FollowState, Info, Probe, Said, Step, View,
    datagram::{Datagram, Proof, follow_each, heads, looks_sealed},
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Encryption, Side, Transport},
};

pub(super) struct Wireguard;

impl Detector for Wireguard {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Udp {
            return Probe::No;
        }
        let side = if view.client.bytes.is_empty() { Side::Server } else { Side::Client };
        let Some(first) = heads(view.side(side)).next() else { return Probe::More };
        // An answer heard before all else tells who the server is.
        if side == Side::Client && matches!(first.bytes, [2 | 3, 0, 0, 0, ..]) {
            return Probe::No;
        }
        if let Some(constant) = handshake(&first) {
            return first.matched(side, proof("wireguard.handshake", constant));
        }
        let Some(data) = Data::read(&first) else { return Probe::No };
        let mine = heads(view.side(side)).nth(1);
        let other = heads(view.side(side.other())).next();
        let follows = |next: Data| next.receiver == data.receiver && data.is_near(next);
        match (mine, other) {
            (Some(next), _) if Data::read(&next).is_some_and(follows) => {
                first.matched(side, proof("wireguard.data", "04 00 00 00, counters"))
            }
            (_, Some(answer)) if handshake(&answer).is_some() || Data::read(&answer).is_some() => {
                first.matched(side, proof("wireguard.data", "04 00 00 00, both sides"))
            }
            // Keys may change in between.
            (Some(next), _) if handshake(&next).is_some() => {
                first.matched(side, proof("wireguard.data", "04 00 00 00, handshake"))
            }
            (Some(_), _) | (_, Some(_)) => Probe::No,
            (None, None) => Probe::More,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow_each(state, side, said, None, |side, datagram| {
            let fits = handshake(datagram).is_some() || Data::read(datagram).is_some();
            fits.then_some(Facts { accepted: side == Side::Server, ..Facts::FITS })
        })
    }
}

const fn proof(rule: &'static str, constant: &'static str) -> Proof {
    Proof { rule, constant, encryption: Encryption::Wireguard }
}

/// Names a message that proves itself.
fn handshake(datagram: &Datagram<'_>) -> Option<&'static str> {
    let sealed = |from: usize, to| datagram.bytes.get(from..to).is_some_and(looks_sealed);
    let (kind, rest) = datagram.bytes.split_first_chunk::<4>()?;
    match (kind, datagram.declared) {
        ([1, 0, 0, 0], 148) if sealed(8, 40) && sealed(40, 88) && sealed(116, 132) => {
            Some("01 00 00 00, 148 bytes")
        }
        ([2, 0, 0, 0], 92) if sealed(12, 44) && sealed(44, 60) && sealed(60, 76) => {
            Some("02 00 00 00, 92 bytes")
        }
        ([3, 0, 0, 0], 64) if sealed(8, 32) && sealed(32, 64) => Some("03 00 00 00, 64 bytes"),
        (b"TS\xf0\x9f", 62..) if rest.starts_with(b"\x92\xac") && sealed(6, 38) => {
            Some("Tailscale disco")
        }
        _ => None,
    }
}

/// A data message.
#[derive(Clone, Copy)]
struct Data {
    receiver: u32,
    counter: u64,
}

impl Data {
    fn read(datagram: &Datagram<'_>) -> Option<Self> {
        let mut cursor = Cursor::new(datagram.bytes);
        let kind = cursor.array::<4>().ok()?;
        let (receiver, counter) = (cursor.u32_be().ok()?, cursor.u64_le().ok()?);
        let sized = datagram.declared >= DATA_BYTES_MIN && datagram.declared.is_multiple_of(16);
        let sealed = cursor.take(16).is_ok_and(looks_sealed);
        let fits = kind == [4, 0, 0, 0] && sized && sealed && counter < COUNTER_MAX;
        fits.then_some(Self { receiver, counter })
    }

    const fn is_near(self, next: Self) -> bool {
        let ahead = next.counter.wrapping_sub(self.counter).cast_signed();
        ahead != 0 && ahead.unsigned_abs() < COUNTERS_NEAR
    }
}

const DATA_BYTES_MIN: usize = 32;
/// A key is used for so many messages (section 6.2: 2^60), of which 2^48 would take years.
const COUNTER_MAX: u64 = 1 << 48;
const COUNTERS_NEAR: u64 = 256;

static INFO: Info = Info {
    name: "wireguard",
    title: "WireGuard",
    spec: "https://www.wireguard.com/protocol/",
    ports: &[51820],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::datagram::tests::{never_matches_noise, noise, probe, rule};

    type Datagrams<'a> = &'a [&'a [u8]];

    fn message(kind: u8, rest: usize) -> Vec<u8> {
        [&[kind, 0, 0, 0], &noise(rest)[..]].concat()
    }

    fn data(receiver: u8, counter: u8, sealed: usize) -> Vec<u8> {
        [&[4, 0, 0, 0, receiver, 2, 3, 4, counter, 0, 0, 0, 0, 0, 0, 0], &noise(sealed)[..]]
            .concat()
    }

    fn found(client: &[&[u8]], server: &[&[u8]]) -> Option<&'static str> {
        rule(probe(&Wireguard, client, server)).map(|(rule, _)| rule)
    }

    #[test]
    fn handshake_messages_prove_themselves_by_their_length() {
        let disco = [&b"TS\xf0\x9f\x92\xac"[..], &noise(80)].concat();
        for datagram in [message(1, 144), disco] {
            assert_eq!(found(&[&datagram], &[]), Some("wireguard.handshake"));
            assert_eq!(found(&[], &[&datagram]), Some("wireguard.handshake"));
        }
        for answer in [message(2, 88), message(3, 60)] {
            assert_eq!(probe(&Wireguard, &[&answer], &[]), Probe::No, "a server answers");
            assert_eq!(found(&[], &[&answer]), Some("wireguard.handshake"));
        }
        for wrong in [message(1, 143), message(2, 89), message(5, 144), vec![1; 148]] {
            assert_eq!(probe(&Wireguard, &[&wrong], &[]), Probe::No);
        }
        let empty = [&[1, 0, 0, 0][..], &[0; 144]].concat();
        assert_eq!(probe(&Wireguard, &[&empty], &[]), Probe::No, "nothing sealed");
    }

    #[test]
    fn data_is_told_by_two_messages() {
        let (one, two) = (data(9, 1, 16), data(9, 2, 112));
        assert_eq!(probe(&Wireguard, &[&one], &[]), Probe::More);
        assert_eq!(found(&[&one, &two], &[]), Some("wireguard.data"));
        assert_eq!(found(&[&two, &one], &[]), Some("wireguard.data"), "out of order");
        assert_eq!(found(&[&one], &[&data(7, 200, 16)]), Some("wireguard.data"));
        assert_eq!(found(&[], &[&one, &two]), Some("wireguard.data"));
        let noes: [(Datagrams<'_>, Datagrams<'_>); 4] = [
            (&[&one, &data(8, 2, 16)], &[]),
            (&[&one, &one], &[]),
            (&[&one], &[b"what?"]),
            (&[&data(9, 1, 17)], &[]),
        ];
        for (client, server) in noes {
            assert_eq!(probe(&Wireguard, client, server), Probe::No);
        }
    }

    #[test]
    fn random_datagrams_never_match() {
        never_matches_noise(&Wireguard, &[1, 2, 3, 4]);
    }
}
