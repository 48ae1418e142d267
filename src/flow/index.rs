//! From a flow's key to its place: keys as integers, IPv4 apart, so that little is hashed and compared per packet.
//!
//! The hash is seeded: the hosts that are watched choose their ports.

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::model::FlowKey;

/// Places of flows by key.
#[derive(Debug, Default)]
pub(super) struct Index {
    v4: HashMap<u128, u32, foldhash::fast::RandomState>,
    v6: HashMap<[u64; 5], u32, foldhash::fast::RandomState>,
}

/// A key as integers.
enum Packed {
    V4(u128),
    V6([u64; 5]),
}

impl Index {
    /// The place of a key.
    pub(super) fn get(&self, key: &FlowKey) -> Option<u32> {
        match Packed::from(key) {
            Packed::V4(key) => self.v4.get(&key).copied(),
            Packed::V6(key) => self.v6.get(&key).copied(),
        }
    }

    /// The place of a key of IPv4, given as its parts: the lower end first.
    pub(super) fn get_v4(&self, ends: [(u32, u16); 2], scope: u16, transport: u8) -> Option<u32> {
        self.v4.get(&packed_v4(ends, scope, transport)).copied()
    }

    /// Puts a key at a place; returns where it was before.
    pub(super) fn insert(&mut self, key: &FlowKey, at: u32) -> Option<u32> {
        match Packed::from(key) {
            Packed::V4(key) => self.v4.insert(key, at),
            Packed::V6(key) => self.v6.insert(key, at),
        }
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, key: &FlowKey) {
        match Packed::from(key) {
            Packed::V4(key) => self.v4.remove(&key),
            Packed::V6(key) => self.v6.remove(&key),
        };
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.v4.clear();
        self.v6.clear();
    }
}

impl From<&FlowKey> for Packed {
    fn from(key: &FlowKey) -> Self {
        match (key.a.ip(), key.b.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let ends = [(a.to_bits(), key.a.port()), (b.to_bits(), key.b.port())];
                Self::V4(packed_v4(ends, key.scope.0, key.transport.number()))
            }
            (a, b) => {
                let ports = [key.a.port(), key.b.port()];
                let rest = packed_rest(ports, key.scope.0, key.transport.number());
                let [[a1, a0], [b1, b0]] = [a, b].map(halves);
                Self::V6([a1, a0, b1, b0, rest])
            }
        }
    }
}

fn packed_v4(ends: [(u32, u16); 2], scope: u16, transport: u8) -> u128 {
    let [(a, port_a), (b, port_b)] = ends;
    let addresses = u64::from(a) << 32 | u64::from(b);
    u128::from(addresses) << 64 | u128::from(packed_rest([port_a, port_b], scope, transport))
}

fn packed_rest(ports: [u16; 2], scope: u16, transport: u8) -> u64 {
    let [a, b] = ports.map(u64::from);
    a << 48 | b << 32 | u64::from(scope) << 8 | u64::from(transport)
}

/// Both halves of an address. One packet never mixes the families.
const fn halves(ip: IpAddr) -> [u64; 2] {
    let bits = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    [low(bits >> 64), low(bits)]
}

/// The lower 64 bits.
#[allow(clippy::cast_possible_truncation, reason = "the upper half is cut on purpose")]
const fn low(bits: u128) -> u64 {
    bits as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, ScopeId, Transport};

    #[test]
    fn every_part_of_a_key_tells_flows_apart() {
        let end = |text: &str| text.parse::<Endpoint>().unwrap();
        let mut index = Index::default();
        let mut keys = Vec::new();
        for [a, b, c] in [
            ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.2:1"],
            ["[fd00::1]:1", "[fd00::2]:2", "[fd00::2]:1"],
            ["[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.2]:2", "[::ffff:10.0.0.2]:1"],
        ] {
            for transport in [Transport::Tcp, Transport::Udp, Transport::Esp] {
                for scope in [0, 1, u16::MAX] {
                    for (src, dst) in [(a, b), (a, c), (b, c)] {
                        keys.push(FlowKey::new(ScopeId(scope), transport, end(src), end(dst)).0);
                    }
                }
            }
        }
        for (at, key) in (0..).zip(&keys) {
            assert_eq!(index.insert(key, at), None, "{key:?}");
        }
        for (at, key) in (0..).zip(&keys) {
            assert_eq!(index.get(key), Some(at));
            index.remove(key);
            assert_eq!(index.get(key), None);
        }
    }
}
