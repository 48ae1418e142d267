//! A flow's key as its slot keeps it: 16 bytes for IPv4; the long addresses of IPv6 stand apart.

use std::{
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr},
};

use crate::model::{Endpoint, FlowKey, ScopeId, Transport};

/// Scope and canonical 5-tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    V4(KeyV4),
    V6(Box<FlowKey>),
}

const _: () = assert!(size_of::<Key>() <= 16, "one of each flow");

/// The same of IPv4, as integers: the lower end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyV4 {
    pub(super) addresses: [u32; 2],
    pub(super) ports: [u16; 2],
    pub(super) scope: u16,
    pub(super) transport: Transport,
}

impl From<&FlowKey> for Key {
    fn from(key: &FlowKey) -> Self {
        KeyV4::of(key).map_or_else(|| Self::V6(Box::new(*key)), Self::V4)
    }
}

impl Key {
    pub(super) const fn transport(&self) -> Transport {
        match self {
            Self::V4(key) => key.transport,
            Self::V6(key) => key.transport,
        }
    }

    pub(super) fn whole(&self) -> FlowKey {
        match self {
            Self::V4(key) => {
                let [a, b] = key.addresses.map(|ip| IpAddr::from(Ipv4Addr::from_bits(ip)));
                let [port_a, port_b] = key.ports;
                FlowKey {
                    scope: ScopeId(key.scope),
                    transport: key.transport,
                    a: Endpoint::new(a, port_a),
                    b: Endpoint::new(b, port_b),
                }
            }
            Self::V6(key) => **key,
        }
    }

    pub(super) fn hash(&self, seed: &impl BuildHasher) -> u64 {
        match self {
            Self::V4(key) => key.hash(seed),
            Self::V6(key) => seed.hash_one(**key),
        }
    }
}

impl KeyV4 {
    /// The key, if it is of IPv4.
    pub(super) fn of(key: &FlowKey) -> Option<Self> {
        let (IpAddr::V4(a), IpAddr::V4(b)) = (key.a.ip(), key.b.ip()) else { return None };
        Some(Self {
            addresses: [a.to_bits(), b.to_bits()],
            ports: [key.a.port(), key.b.port()],
            scope: key.scope.0,
            transport: key.transport,
        })
    }

    pub(super) fn hash(self, seed: &impl BuildHasher) -> u64 {
        let [a, b] = self.addresses.map(u64::from);
        let [port_a, port_b] = self.ports.map(u64::from);
        let transport = u64::from(self.transport.number());
        let rest = port_a << 48 | port_b << 32 | u64::from(self.scope) << 8 | transport;
        seed.hash_one(u128::from(a << 32 | b) << 64 | u128::from(rest))
    }
}
