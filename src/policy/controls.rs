//! Requirements of standards that a raise bears on. Worded as "weakens" or "supports", never "violates": whether a
//! requirement applies to a flow is for the assessor to scope.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

/// How an observation bears on a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// What was seen weakens it.
    Weakens,
    /// What was seen is evidence an assessment of it can use.
    Supports,
}

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The standard: `PCI DSS 4.0.1`, `HIPAA`, `NIST SP 800-53r5`, ...
    pub framework: Arc<str>,
    /// Its number there.
    pub id: Arc<str>,
    /// How the observation bears on it.
    pub relation: Relation,
    /// What must be true for it to apply, where that is not a matter of course.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<Arc<str>>,
}

/// Requirements that go together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSet {
    /// What it is about.
    pub title: String,
    /// The requirements.
    pub controls: Vec<Control>,
}

/// Every set, by id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Controls {
    sets: BTreeMap<String, ControlSet>,
}

/// Set that is added wherever a secret was readable.
const CREDENTIALS: &str = "credentials-exposed";

impl Controls {
    /// The sets that come with cleartap.
    ///
    /// # Errors
    /// The sentence of the parser; a test holds that there is none.
    pub fn built_in() -> Result<Self, String> {
        toml::from_str(include_str!("controls.toml"))
            .map_err(|error| format!("controls.toml: {error}"))
    }

    /// A set.
    pub fn get(&self, id: &str) -> Option<&ControlSet> {
        self.sets.get(id)
    }

    /// Ids and sets.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ControlSet)> {
        self.sets.iter().map(|(id, set)| (id.as_str(), set))
    }

    /// What readable secrets bear on.
    pub(super) fn credentials(&self) -> &[Control] {
        self.get(CREDENTIALS).map(|set| set.controls.as_slice()).unwrap_or_default()
    }
}
