//! A flow's key as its slot keeps it: 16 bytes for IPv4; the long addresses of IPv6 stand apart.

use std::{
    hash::{BuildHasher, Hasher as _},
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
            Self::V6(key) => hash_v6(key, seed),
        }
    }
}

/// Whether a key is that of a TCP flow over IPv6.
#[inline]
pub(super) fn is_tcp_v6(key: &FlowKey, [a, b]: [u128; 2], ports: [u16; 2], scope: u16) -> bool {
    let is_ip = |end: Endpoint, bits| matches!(end.ip(), IpAddr::V6(ip) if ip.to_bits() == bits);
    let same = is_ip(key.a, a) && is_ip(key.b, b) && [key.a.port(), key.b.port()] == ports;
    same && key.scope.0 == scope && key.transport == Transport::Tcp
}

/// Hash of a key that is not of IPv4.
pub(super) fn hash_v6(key: &FlowKey, seed: &impl BuildHasher) -> u64 {
    let bits = |end: Endpoint| match end.ip() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let (scope, transport) = (key.scope.0, key.transport);
    hash_wide([bits(key.a), bits(key.b)], [key.a.port(), key.b.port()], scope, transport, seed)
}

/// The same from its parts.
#[inline]
pub(super) fn hash_wide(
    [a, b]: [u128; 2],
    ports: [u16; 2],
    scope: u16,
    transport: Transport,
    seed: &impl BuildHasher,
) -> u64 {
    let mut state = seed.build_hasher();
    state.write_u128(a);
    state.write_u128(b);
    state.write_u64(rest(ports, scope, transport));
    state.finish()
}

/// Ports, scope and transport in one word.
fn rest(ports: [u16; 2], scope: u16, transport: Transport) -> u64 {
    let [a, b] = ports.map(u64::from);
    a << 48 | b << 32 | u64::from(scope) << 8 | u64::from(transport.number())
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
        let rest = rest(self.ports, self.scope, self.transport);
        seed.hash_one(u128::from(a << 32 | b) << 64 | u128::from(rest))
    }
}
