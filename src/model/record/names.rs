//! Who the ends of a flow are.

use std::sync::Arc;

use serde::Serialize;

use crate::model::Resource;

/// Names of both ends, where they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NamesRecord {
    /// The client's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_name: Option<Arc<str>>,
    /// The server's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_name: Option<Arc<str>>,
    /// Where the server's name comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_name_source: Option<NameSource>,
    /// What an inventory says of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_aws: Option<Arc<Resource>>,
    /// What an inventory says of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_aws: Option<Arc<Resource>>,
}

/// Where a name comes from. Only an inventory's is more than what somebody said on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// An inventory.
    Inventory,
    /// A name service answered with this address.
    Dns,
    /// A client asked for it in its TLS hello.
    Sni,
    /// A client asked for it in a request in clear.
    Host,
}

impl NameSource {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Dns => "dns",
            Self::Sni => "sni",
            Self::Host => "host",
        }
    }
}
