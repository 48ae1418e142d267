//! Which source domain a mirrored copy belongs to, and who may send copies at all.

use std::{
    str::FromStr,
    sync::{Arc, LazyLock},
};

use hashbrown::HashMap;

use crate::model::{BadNetwork, Network, ScopeId, Vantage};

/// One rule: a name, and which copies are its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRule {
    /// Name in records.
    pub name: Arc<str>,
    /// Outer sources; empty: any.
    pub sources: Vec<Network>,
    /// VNIs; empty: any.
    pub vnis: Vec<u32>,
    /// GENEVE endpoint ids; empty: any.
    pub endpoint_ids: Vec<u64>,
}

impl FromStr for ScopeRule {
    type Err = String;

    /// `NAME=vni:7,source:10.1.0.0/16`; several of one kind are alternatives, different kinds must all hold.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, conditions) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("`{text}`: expected NAME=vni:N,source:NETWORK,endpoint:HEX"))?;
        let mut rule = Self {
            name: name.into(),
            sources: Vec::new(),
            vnis: Vec::new(),
            endpoint_ids: Vec::new(),
        };
        for condition in conditions.split(',') {
            let (kind, value) = condition.split_once(':').ok_or_else(|| {
                format!("`{condition}`: expected vni:N, source:NETWORK or endpoint:HEX")
            })?;
            match kind {
                "vni" => rule.vnis.push(vni(value)?),
                "source" => {
                    rule.sources.push(value.parse().map_err(|e: BadNetwork| e.to_string())?);
                }
                "endpoint" => rule.endpoint_ids.push(
                    u64::from_str_radix(value.trim_start_matches("0x"), 16)
                        .map_err(|_| format!("`{value}` is no hexadecimal endpoint id"))?,
                ),
                _ => return Err(format!("`{kind}`: expected vni, source or endpoint")),
            }
        }
        Ok(rule)
    }
}

/// A VXLAN or GENEVE network identifier: 24 bits.
pub fn vni(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|vni| *vni <= VNI_MAX);
    number.ok_or_else(|| format!("`{text}` is no VNI: expected a number up to {VNI_MAX}"))
}

const VNI_MAX: u32 = 0x00ff_ffff;

/// The rules, first match wins; what matches none is in scope `default`.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    /// The rules.
    pub rules: Vec<ScopeRule>,
    /// Outer sources that may send copies; empty: any.
    pub allowed_sources: Vec<Network>,
    /// VNIs that may be used; empty: any.
    pub allowed_vnis: Vec<u32>,
    /// Scopes of copies that no rule matches, by their outer source and VNI.
    pub placed: Arc<Placed>,
    /// Names by id, those of earlier snapshots first; empty where there is none: ids are the rules' own.
    pub names: Vec<Arc<str>>,
}

/// Scopes by outer source and VNI.
pub type Placed = HashMap<Vantage, Arc<str>, foldhash::fast::RandomState>;

/// Name of the scope without rules.
static DEFAULT_SCOPE: LazyLock<Arc<str>> = LazyLock::new(|| "default".into());

impl Scopes {
    /// The scope of a copy, or `None` if its sender or VNI is not allowed.
    pub fn place(&self, vantage: Option<Vantage>, endpoint_id: u64) -> Option<ScopeId> {
        let Some(Vantage { source, vni }) = vantage else { return Some(ScopeId(0)) };
        let sent = self.allowed_sources.is_empty()
            || self.allowed_sources.iter().any(|n| n.contains(source));
        let used = self.allowed_vnis.is_empty() || self.allowed_vnis.contains(&vni);
        if !sent || !used {
            return None;
        }
        let rule = self.rules.iter().find(|rule| {
            (rule.sources.is_empty() || rule.sources.iter().any(|n| n.contains(source)))
                && (rule.vnis.is_empty() || rule.vnis.contains(&vni))
                && (rule.endpoint_ids.is_empty() || rule.endpoint_ids.contains(&endpoint_id))
        });
        let placed = || self.placed.get(&Vantage { source, vni });
        let Some(name) = rule.map(|rule| &rule.name).or_else(placed) else {
            return Some(ScopeId(0));
        };
        // Two rules of one name are one scope.
        let first = match self.names.as_slice() {
            [] => self.rules.iter().position(|other| other.name == *name),
            names => names.iter().position(|known| known == name),
        };
        Some(ScopeId(first.map_or(0, |at| u16::try_from(at + 1).unwrap_or(u16::MAX))))
    }

    /// The same, where copies that no rule matches are placed so.
    #[must_use]
    pub fn with_placed(mut self, placed: Arc<Placed>) -> Self {
        self.placed = placed;
        self.names.clear();
        self.add_own_names();
        self
    }

    /// Name of a scope.
    pub fn name(&self, id: ScopeId) -> &Arc<str> {
        let Some(at) = usize::from(id.0).checked_sub(1) else { return &DEFAULT_SCOPE };
        let name = match self.names.as_slice() {
            [] => self.rules.get(at).map(|rule| &rule.name),
            names => names.get(at),
        };
        name.unwrap_or(&DEFAULT_SCOPE)
    }

    /// Takes over the ids of an earlier snapshot, so that a name keeps its id and an id its name.
    pub(super) fn succeed(&mut self, earlier: &Self) {
        self.names = match earlier.names.as_slice() {
            [] => earlier.rules.iter().map(|rule| rule.name.clone()).collect(),
            names => names.to_vec(),
        };
        self.add_own_names();
    }

    fn add_own_names(&mut self) {
        let mut placed: Vec<&Arc<str>> = self.placed.values().collect();
        placed.sort_unstable();
        for name in self.rules.iter().map(|rule| &rule.name).chain(placed) {
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const fn vantage(source: [u8; 4], vni: u32) -> Vantage {
        let [a, b, c, d] = source;
        Vantage { source: IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d)), vni }
    }

    #[test]
    fn rules_place_copies_and_the_rest_is_default() {
        let scopes = Scopes {
            rules: vec![
                "prod=vni:7,source:10.1.0.0/16".parse().unwrap(),
                "prod=vni:8".parse().unwrap(),
            ],
            ..Scopes::default()
        };
        let name = |v| scopes.name(scopes.place(Some(v), 0).unwrap()).to_string();
        assert_eq!(name(vantage([10, 1, 2, 3], 7)), "prod");
        assert_eq!(name(vantage([10, 2, 2, 3], 7)), "default");
        assert_eq!(name(vantage([10, 2, 2, 3], 8)), "prod");
        let place = |source, vni| scopes.place(Some(vantage(source, vni)), 0);
        assert_eq!(place([10, 1, 2, 3], 7), place([9; 4], 8));
    }

    #[test]
    fn a_sender_that_is_not_allowed_has_no_place() {
        let scopes = Scopes {
            allowed_sources: vec!["10.0.0.0/8".parse().unwrap()],
            allowed_vnis: vec![5],
            ..Scopes::default()
        };
        assert!(scopes.place(Some(vantage([10, 9, 9, 9], 5)), 0).is_some());
        assert!(scopes.place(Some(vantage([11, 9, 9, 9], 5)), 0).is_none());
        assert!(scopes.place(Some(vantage([10, 9, 9, 9], 6)), 0).is_none());
    }

    #[test]
    fn bad_text_is_explained() {
        for rule in ["x=vni:y", "x=vni:16777216", "=vni:7", "x", "x=", "x=host:1"] {
            let error = rule.parse::<ScopeRule>().unwrap_err();
            assert!(error.contains('`') && error.contains("expected"), "{error}");
        }
    }
}
