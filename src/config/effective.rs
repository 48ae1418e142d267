//! What is in effect, where each value comes from, and how a change of it takes effect.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

use super::{
    Place,
    check::join,
    schema::{self, json_schema},
};

/// Where an effective value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Built in.
    Default,
    /// Written.
    Written(Place),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Written(place) => place.fmt(f),
        }
    }
}

/// How a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// At once.
    Live,
    /// For flows that begin after it; flows that are there keep what they began with.
    NewFlows,
    /// When the sensor starts again.
    Restart,
}

impl Reload {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NewFlows => "new-flows",
            Self::Restart => "restart",
        }
    }
}

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// Its value; null where it is not set.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
    /// How a change takes effect.
    pub reload: Reload,
}

/// Every setting of a configuration, in the order of their keys.
pub(super) fn settings(config: &Value, origins: &BTreeMap<String, Place>) -> Vec<Setting> {
    let mut list = Vec::new();
    walk(config, json_schema(), "", None, &mut |key, value, reload| {
        let origin = origins.get(key).cloned().map_or(Origin::Default, Origin::Written);
        let reload = reload.unwrap_or(Reload::Restart);
        list.push(Setting { key: key.to_owned(), value: value.clone(), origin, reload });
    });
    list
}

/// Visits the settings: what is no table with fixed keys is one setting, whatever it holds.
pub(super) fn walk(
    value: &Value,
    schema: &Value,
    key: &str,
    above: Option<Reload>,
    visit: &mut dyn FnMut(&str, &Value, Option<Reload>),
) {
    let own = schema::reload(schema).or(above);
    let fixed = schema::alternatives(schema).into_iter().find_map(schema::properties);
    match (value.as_object(), fixed) {
        (Some(object), Some(properties)) => {
            for (name, value) in object {
                let schema = properties.get(name).unwrap_or(&Value::Null);
                walk(value, schema, &join(key, name), own, visit);
            }
        }
        _ => visit(key, value, own),
    }
}

/// The keys whose values differ.
pub(super) fn differences(old: &[Setting], new: &[Setting]) -> Vec<(String, Reload)> {
    let old: BTreeMap<&str, &Value> = old.iter().map(|s| (s.key.as_str(), &s.value)).collect();
    let changed = new.iter().filter(|s| old.get(s.key.as_str()) != Some(&&s.value));
    changed.map(|s| (s.key.clone(), s.reload)).collect()
}
