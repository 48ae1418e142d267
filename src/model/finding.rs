//! Who a finding is about: an edge that matters, with an id that does not depend on sensor, restart or order.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::time::Timestamp;

/// An edge that matters (design: scope, server identity, port, detected protocol, rule, client group).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// Source domain.
    pub scope: String,
    /// Server identity: resource name (ARN) when an inventory knows it, else address.
    pub server: String,
    /// Server port.
    pub port: u16,
    /// Detected protocol; the `encryption` word where no application is known.
    pub protocol: String,
    /// Policy rule.
    pub rule: String,
    /// Client group: inventory group when known, else address; [`EVERY_CLIENT`] for rules about the server alone.
    pub client: String,
}

/// Client group of findings about a server alone, such as its certificate.
pub const EVERY_CLIENT: &str = "*";

/// Stable id of a finding: 128 bits of SHA-256 over the edge, 32 hexadecimal digits in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingId([u8; 16]);

impl FindingId {
    /// The id of an edge.
    ///
    /// Hashed are, after a version tag, the six parts in the order of [`Edge`], each with its length before it, so that no
    /// two edges can run together. A change here would orphan every finding kept: it needs a new tag and a migration.
    pub fn of(edge: &Edge) -> Self {
        let Edge { scope, server, port, protocol, rule, client } = edge;
        let mut hash = Sha256::new();
        hash.update(VERSION_TAG);
        for part in [scope, server, &port.to_string(), protocol, rule, client] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (id, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        Self(*id)
    }
}

const VERSION_TAG: &[u8] = b"cleartap finding 1";

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Text that is no finding id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no finding id: expected 32 hexadecimal digits")]
pub struct BadFindingId(String);

impl FromStr for FindingId {
    type Err = BadFindingId;

    fn from_str(text: &str) -> Result<Self, BadFindingId> {
        let bad = || BadFindingId(text.to_owned());
        let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
        if text.len() != 32 || !digits {
            return Err(bad());
        }
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| bad())
    }
}

impl Serialize for FindingId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FindingId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Names the ends of an edge. An inventory knows resources and groups; [`Addresses`] knows none.
///
/// The time is the flow's: an address can have had another owner before.
pub trait Identity {
    /// The server: resource name when known, else its address.
    fn server(&self, scope: &str, address: IpAddr, at: Timestamp) -> String;
    /// The client's group: Auto Scaling group, service, function or subnet when known, else its address.
    fn client_group(&self, scope: &str, address: IpAddr, at: Timestamp) -> String;
}

/// Without an inventory every end is its address. An IPv4 address written as IPv6 is the IPv4 address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses;

impl Identity for Addresses {
    fn server(&self, _scope: &str, address: IpAddr, _at: Timestamp) -> String {
        address.to_canonical().to_string()
    }

    fn client_group(&self, _scope: &str, address: IpAddr, _at: Timestamp) -> String {
        address.to_canonical().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge() -> Edge {
        Edge {
            scope: "prod".to_owned(),
            server: "10.0.0.9".to_owned(),
            port: 5432,
            protocol: "postgresql".to_owned(),
            rule: "plaintext-database".to_owned(),
            client: "10.0.0.5".to_owned(),
        }
    }

    #[test]
    fn an_id_is_the_same_on_every_sensor_and_after_every_restart() {
        assert_eq!(FindingId::of(&edge()).to_string(), "1484a7b1866349a5725bf63ca87a5a7a");
    }

    #[test]
    fn every_part_of_the_edge_counts_and_parts_do_not_run_together() {
        let id = FindingId::of(&edge());
        let others = [
            Edge { scope: "dev".to_owned(), ..edge() },
            Edge { server: "10.0.0.8".to_owned(), ..edge() },
            Edge { port: 5433, ..edge() },
            Edge { protocol: "mysql".to_owned(), ..edge() },
            Edge { rule: "database-credentials".to_owned(), ..edge() },
            Edge { client: EVERY_CLIENT.to_owned(), ..edge() },
            Edge { scope: "prod1".to_owned(), server: "0.0.0.9".to_owned(), ..edge() },
        ];
        for other in others {
            assert_ne!(FindingId::of(&other), id, "{other:?}");
        }
    }

    #[test]
    fn an_id_reads_what_it_prints() {
        let id = FindingId::of(&edge());
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "abc", "+fffffffffffffffffffffffffffffff", "zz", "é"] {
            assert!(text.parse::<FindingId>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_an_inventory_an_end_is_its_address() {
        let mapped = "::ffff:10.0.0.9".parse().unwrap();
        assert_eq!(Addresses.server("prod", mapped, Timestamp(0)), "10.0.0.9");
    }
}
