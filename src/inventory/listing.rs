//! What one look at an account and Region shows, as the EC2 API or a file tells it.

use std::{collections::BTreeMap, net::IpAddr};

use crate::model::{Network, Timestamp};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// Everything seen in one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Region that was asked.
    pub region: String,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// Instances.
    pub instances: Vec<Instance>,
    /// Subnets.
    pub subnets: Vec<Subnet>,
    /// Traffic mirror sessions.
    pub sessions: Vec<MirrorSession>,
}

/// An elastic network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `eni-...`.
    pub id: String,
    /// Account that owns it.
    pub account: String,
    /// `InterfaceType`: `interface`, `lambda`, `vpc_endpoint`, ...
    pub kind: String,
    /// What the service that made it wrote.
    pub description: String,
    /// Who asked for it: `amazon-rds`, `amazon-elb`, an account id.
    pub requester: String,
    /// AWS manages it, for a service.
    pub managed: bool,
    /// VPC.
    pub vpc: String,
    /// Subnet.
    pub subnet: String,
    /// Availability Zone.
    pub zone: String,
    /// Instance that it is attached to.
    pub instance: Option<String>,
    /// When it was attached.
    pub attached_at: Option<Timestamp>,
    /// Primary private address: outer source of mirrored copies.
    pub primary: Option<IpAddr>,
    /// Every address within the VPC, the primary one included.
    pub addresses: Vec<IpAddr>,
    /// Public addresses.
    pub public: Vec<IpAddr>,
    /// Its own tags.
    pub tags: Tags,
}

/// An instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// `i-...`.
    pub id: String,
    /// Instance type: `m7i.large`.
    pub kind: String,
    /// Its tags.
    pub tags: Tags,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-...`.
    pub id: String,
    /// VPC.
    pub vpc: String,
    /// Its networks.
    pub networks: Vec<Network>,
    /// Its tags.
    pub tags: Tags,
}

/// A traffic mirror session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorSession {
    /// `tms-...`.
    pub id: String,
    /// Source: the interface that is mirrored.
    pub interface: String,
    /// VXLAN network identifier.
    pub vni: Option<u32>,
    /// `tmt-...`.
    pub target: String,
    /// `tmf-...`.
    pub filter: String,
    /// Sessions of one interface are asked in this order; the first whose filter accepts takes the packet.
    pub number: u32,
    /// Account that owns it.
    pub account: String,
    /// Bytes kept of each packet; none: all.
    pub packet_bytes: Option<u32>,
    /// Its tags.
    pub tags: Tags,
}
