//! What can be mirrored, and why not. AWS "Traffic Mirroring" guide: sources, instance types, quotas (read 2026-11).

use serde::Serialize;

use crate::inventory::{Instance, Interface};

/// Why an interface is not mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Not of a selected subnet, or without a selected tag.
    NotSelected,
    /// Not attached to anything: it would cost and carry nothing.
    NotAttached,
    /// Only interfaces of type `interface` are sources.
    InterfaceType,
    /// A service made it, and only those of RDS and `ElastiCache` are sources.
    RequesterManaged,
    /// Its instance's type is not among the sources.
    InstanceType,
    /// Without IPv4 address: subnets with IPv6 only are not mirrored.
    Ipv6Only,
    /// The target itself.
    IsTarget,
    /// The target takes no more sources.
    TargetFull,
    /// Others have as many sessions on it as there may be.
    SessionsFull,
    /// AWS refused the session.
    Refused,
}

/// What an interface that is not mirrored means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// It could be mirrored.
    NotMirrored,
    /// AWS does not mirror it.
    BlindByDesign,
}

impl Reason {
    /// Whether anything could be done about it.
    pub const fn unseen(self) -> Unseen {
        match self {
            Self::InterfaceType | Self::RequesterManaged | Self::InstanceType | Self::Ipv6Only => {
                Unseen::BlindByDesign
            }
            Self::NotSelected
            | Self::NotAttached
            | Self::IsTarget
            | Self::TargetFull
            | Self::SessionsFull
            | Self::Refused => Unseen::NotMirrored,
        }
    }

    /// In words, with what to do.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotSelected => "not selected by sessions.subnets and sessions.tags",
            Self::NotAttached => "not attached",
            Self::InterfaceType => {
                "AWS does not mirror this type of interface: see its traffic at the other end, on EC2, RDS or ElastiCache"
            }
            Self::RequesterManaged => {
                "AWS mirrors interfaces of its services for RDS and ElastiCache only: see the traffic at the other end"
            }
            Self::InstanceType => "AWS does not mirror this instance type",
            Self::Ipv6Only => "AWS does not mirror subnets with IPv6 only",
            Self::IsTarget => "it is the mirror target",
            Self::TargetFull => {
                "the target takes no more sources: use a load balancer, or the largest size of a family with sources_max = 100"
            }
            Self::SessionsFull => "others have three sessions on it, the most there may be",
            Self::Refused => "AWS refused the session",
        }
    }
}

/// Why an interface cannot be a source, whatever is wanted.
pub(super) fn obstacle(interface: &Interface, instance: Option<&Instance>) -> Option<Reason> {
    if interface.kind != "interface" && !interface.kind.is_empty() {
        return Some(Reason::InterfaceType);
    }
    let mirrors = MIRRORED_REQUESTERS.contains(&interface.requester.as_str());
    if interface.managed && !mirrors {
        return Some(Reason::RequesterManaged);
    }
    if interface.primary.is_none_or(|address| address.is_ipv6()) {
        return Some(Reason::Ipv6Only);
    }
    if instance.is_some_and(|instance| !instance_family_mirrors(&instance.kind)) {
        return Some(Reason::InstanceType);
    }
    if interface.instance.is_none() && !mirrors {
        return Some(Reason::NotAttached);
    }
    None
}

/// Whether AWS mirrors instances of this type. One that we do not know may be: AWS has the last word.
pub fn instance_family_mirrors(kind: &str) -> bool {
    let family = kind.split('.').next().unwrap_or_default();
    let generation = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let eighth =
        generation.starts_with('8') && EIGHTH.iter().any(|letters| family.starts_with(letters));
    !eighth && !UNMIRRORED.contains(&family)
}

/// Services whose interfaces can be sources.
const MIRRORED_REQUESTERS: [&str; 2] = ["amazon-rds", "amazon-elasticache"];
/// Eighth generations that are targets but no sources.
const EIGHTH: [&str; 3] = ["m8", "c8", "r8"];
/// Families that are no sources.
const UNMIRRORED: [&str; 14] =
    ["c7gn", "hpc7g", "t2", "t1", "m1", "m2", "m3", "c1", "c3", "r3", "g2", "hs1", "i2", "cc2"];
