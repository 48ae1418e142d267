//! What an address belongs to, as an inventory names it. Not wire text: it comes from an account's own lists.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What an address belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// What it is: `ec2-instance`, `rds`, `alb`, ...; of a file, its own word.
    pub kind: Arc<str>,
    /// Stable identity: an ARN; of a file without one, its name.
    pub id: Arc<str>,
    /// What people call it.
    pub name: Arc<str>,
    /// Group of clients that it is one of: Auto Scaling group, service, function, else subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Arc<str>>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    /// Account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Arc<str>>,
    /// VPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc: Option<Arc<str>>,
    /// Network interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Arc<str>>,
    /// Managed service by remedy id, where a file names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
    /// Tags that are shown, `key=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Arc<str>>,
}

impl Resource {
    /// The group of clients that it is one of, if only of itself.
    pub fn client_group(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.id)
    }

    /// Every name that policy may match: identity, name, group, owner, interface, tags.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let some = [&self.group, &self.owner, &self.interface];
        [&self.id, &self.name]
            .into_iter()
            .chain(some.into_iter().flatten())
            .chain(&self.tags)
            .map(|name| &**name)
    }
}
