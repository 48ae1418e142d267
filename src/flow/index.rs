//! From a flow's key to its place. The table holds places only, five bytes each: the keys stand in the flows, which are
//! needed anyway.
//!
//! The hash is seeded: the hosts that are watched choose their ports.

use hashbrown::HashTable;

use super::key::{Key, KeyV4, hash_v6, hash_wide, is_tcp_v6};
use crate::model::{Address, FlowKey, Transport};

/// Places of flows by key. Where a place is asked for its key, `key_at` says it.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: HashTable<u32>,
    seed: foldhash::fast::RandomState,
}

impl Index {
    /// Bytes of one entry, three quarters full.
    pub(super) const ENTRY_BYTES: usize = (size_of::<u32>() + 1) * 4 / 3;

    /// The place of a key.
    pub(super) fn get<'k>(
        &self,
        key: &FlowKey,
        key_at: impl Fn(u32) -> Option<&'k Key>,
    ) -> Option<u32> {
        if let Some(key) = KeyV4::of(key) {
            return self.get_v4(key, key_at);
        }
        let is_it = |at: &u32| matches!(key_at(*at), Some(Key::V6(known)) if **known == *key);
        self.places.find(hash_v6(key, &self.seed), is_it).copied()
    }

    /// The place of a TCP flow between these ends, the lower first.
    #[allow(clippy::inline_always, reason = "the hot path: the key is used in registers")]
    #[inline(always)]
    pub(super) fn get_tcp<'k, A: Address>(
        &self,
        [(a, port_a), (b, port_b)]: [(A, u16); 2],
        scope: u16,
        key_at: impl Fn(u32) -> Option<&'k Key>,
    ) -> Option<u32> {
        let (addresses, ports) = ([a.bits(), b.bits()], [port_a, port_b]);
        let transport = Transport::Tcp;
        if A::IS_V4 {
            let addresses = addresses.map(|bits| u32::try_from(bits).unwrap_or_default());
            return self.get_v4(KeyV4 { addresses, ports, scope, transport }, key_at);
        }
        let is_it = |at: &u32| match key_at(*at) {
            Some(Key::V6(key)) => is_tcp_v6(key, addresses, ports, scope),
            _ => false,
        };
        self.places.find(hash_wide(addresses, ports, scope, transport, &self.seed), is_it).copied()
    }

    /// The place of a key of IPv4.
    #[inline]
    pub(super) fn get_v4<'k>(
        &self,
        key: KeyV4,
        key_at: impl Fn(u32) -> Option<&'k Key>,
    ) -> Option<u32> {
        let is_it = |at: &u32| matches!(key_at(*at), Some(Key::V4(known)) if *known == key);
        self.places.find(key.hash(&self.seed), is_it).copied()
    }

    /// Puts a key at a place; returns where it was before.
    pub(super) fn insert<'k>(
        &mut self,
        key: &Key,
        at: u32,
        key_at: impl Fn(u32) -> Option<&'k Key>,
    ) -> Option<u32> {
        let hash = key.hash(&self.seed);
        if let Some(place) = self.places.find_mut(hash, |at| key_at(*at) == Some(key)) {
            return Some(std::mem::replace(place, at));
        }
        let seed = &self.seed;
        let rehash = |at: &u32| key_at(*at).map_or(0, |key| key.hash(seed));
        self.places.insert_unique(hash, at, rehash);
        None
    }

    /// Forgets the key of a place.
    pub(super) fn remove(&mut self, key: &Key, at: u32) {
        if let Ok(place) = self.places.find_entry(key.hash(&self.seed), |place| *place == at) {
            place.remove();
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::{Endpoint, ScopeId};

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
                        let (key, _) = FlowKey::new(ScopeId(scope), transport, end(src), end(dst));
                        assert_eq!(Key::from(&key).whole(), key);
                        keys.push(key);
                    }
                }
            }
        }
        let packed: Vec<Key> = keys.iter().map(Key::from).collect();
        let key_at = |at: u32| packed.get(usize::try_from(at).unwrap());
        for (at, key) in (0..).zip(&packed) {
            assert_eq!(index.insert(key, at, key_at), None, "{key:?}");
        }
        for ((at, key), packed) in (0..).zip(&keys).zip(&packed) {
            assert_eq!(index.get(key, key_at), Some(at));
            let ports = (key.a.port(), key.b.port());
            let found = match (key.a.ip(), key.b.ip()) {
                (IpAddr::V4(a), IpAddr::V4(b)) => index.get_tcp(
                    [(a.to_bits(), ports.0), (b.to_bits(), ports.1)],
                    key.scope.0,
                    key_at,
                ),
                (IpAddr::V6(a), IpAddr::V6(b)) => index.get_tcp(
                    [(a.to_bits(), ports.0), (b.to_bits(), ports.1)],
                    key.scope.0,
                    key_at,
                ),
                _ => None,
            };
            let tcp = key.transport == Transport::Tcp;
            assert_eq!(found == Some(at), tcp, "{key:?}");
            index.remove(packed, at);
            assert_eq!(index.get(key, key_at), None);
        }
    }
}
