//! `[inventory]`: who has which address.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{alerts::AwsAccess, inventory::TagKeys, model::is_safe_endpoint};

/// Names of addresses: instances, databases, load balancers, functions, by the EC2 API or by a file. Without either, servers
/// have the names under which clients in the mirror ask for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InventorySection {
    /// Accounts and Regions whose EC2 API is asked: one table each, empty for those of the environment.
    pub ec2: Vec<AwsAccess>,
    /// File of addresses and names, CSV (`.csv`) or JSON; read anew when it changes.
    pub file: Option<PathBuf>,
    /// Seconds between looks at the EC2 API; an address that passes on is known by then.
    #[schemars(range(min = 5, max = 86_400))]
    pub refresh_s: u64,
    /// Days for which former owners of an address are remembered.
    #[schemars(range(min = 1, max = 3650))]
    pub history_days: u32,
    /// File that keeps owners and former owners between runs; `none`: nothing is kept.
    #[schemars(with = "String")]
    pub state: PathBuf,
    /// Whether copies that no `[[scopes]]` places are in the scope of their mirror session's VPC.
    pub vpc_scopes: bool,
    /// VPCs of scopes, in the order they are asked; else those of the mirror sessions placed in a scope.
    pub scope_vpcs: BTreeMap<String, Vec<String>>,
    /// Tags of which the first names the owner; keys are compared without case.
    pub owner_tags: Vec<String>,
    /// Tags that are shown, and that policy matches as `name:KEY=VALUE`.
    pub tags: Vec<String>,
    /// Whether DNS answers, SNI and Host name servers that no inventory knows.
    pub heard_names: bool,
}

impl Default for InventorySection {
    fn default() -> Self {
        let TagKeys { owner, shown } = TagKeys::default();
        Self {
            ec2: Vec::new(),
            file: None,
            refresh_s: 60,
            history_days: 14,
            state: PathBuf::from("/var/lib/cleartap/inventory.json"),
            vpc_scopes: true,
            scope_vpcs: BTreeMap::new(),
            owner_tags: owner,
            tags: shown,
            heard_names: true,
        }
    }
}

impl InventorySection {
    /// Whether addresses are looked up anywhere.
    pub const fn is_used(&self) -> bool {
        !self.ec2.is_empty() || self.file.is_some()
    }

    /// The file of the state, if one is kept.
    pub fn state(&self) -> Option<&std::path::Path> {
        (self.is_used() && self.state.as_os_str() != "none").then_some(&self.state)
    }

    /// Which tags are looked at.
    pub fn tag_keys(&self) -> TagKeys {
        TagKeys { owner: self.owner_tags.clone(), shown: self.tags.clone() }
    }

    /// What is wrong, key first, in words for the user.
    pub fn problems(&self) -> Vec<(String, String)> {
        let clear = self.ec2.iter().enumerate().filter_map(|(at, access)| {
            let endpoint = access.endpoint.as_deref().filter(|e| !is_safe_endpoint(e))?;
            let what = format!(
                "endpoint = \"{}\": expected https://HOST (http:// only on loopback)",
                endpoint.escape_default()
            );
            Some((format!("inventory.ec2[{at}]"), what))
        });
        clear.collect()
    }
}
