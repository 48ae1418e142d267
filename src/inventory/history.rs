//! Addresses and their owners over time: who has an address now, and who had it before.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::AddAssign,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{Listing, TagKeys, resource::resource};
use crate::model::{Resource, Timestamp};

/// Addresses that are remembered, former owners included; further ones are not, and are counted.
pub const TENURES_MAX: usize = 500_000;

/// Where an address means something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Realm {
    /// Everywhere: a public address, or one of a file that names no scope.
    Anywhere,
    /// In a scope.
    Scope(Arc<str>),
    /// In a VPC.
    Vpc(Arc<str>),
}

/// The time in which an address belonged to one owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenure {
    /// Where the address means something.
    pub realm: Realm,
    /// First moment; zero where nobody had it before as far as is known.
    pub from: Timestamp,
    /// First moment at which it is over; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Last look that found it.
    pub seen: Timestamp,
    /// Which list it is from.
    pub source: Arc<str>,
    /// Whose it was.
    pub resource: Arc<Resource>,
}

/// An address with an owner, as a look finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub address: IpAddr,
    /// Where it means something.
    pub realm: Realm,
    /// Since when, where that is known.
    pub from: Option<Timestamp>,
    /// Until when, where it is over.
    pub until: Option<Timestamp>,
    /// Whose.
    pub resource: Arc<Resource>,
}

/// Who has which address, and who had it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    owners: BTreeMap<IpAddr, Vec<Tenure>>,
    /// VPCs of scopes; a scope that is not there may be in any.
    vpcs: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    tenures: usize,
    /// Addresses that found no room.
    pub not_kept: u64,
}

/// What a look changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Addresses that have an owner now and had none before.
    pub came: u64,
    /// Addresses that lost their owner.
    pub went: u64,
    /// Addresses that have another owner.
    pub passed_on: u64,
}

impl Changed {
    /// Whether anything changed.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl AddAssign for Changed {
    fn add_assign(&mut self, other: Self) {
        let Self { came, went, passed_on } = other;
        self.came += came;
        self.went += went;
        self.passed_on += passed_on;
    }
}

impl Inventory {
    /// What was kept of an earlier run.
    pub fn restore(kept: impl IntoIterator<Item = (IpAddr, Tenure)>) -> Self {
        let mut inventory = Self::default();
        for (address, tenure) in kept {
            inventory.keep(address, tenure);
        }
        inventory
    }

    /// Everything known, by address and time.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Tenure)> {
        self.owners.iter().flat_map(|(address, list)| list.iter().map(|tenure| (*address, tenure)))
    }

    /// Tenures known.
    pub const fn len(&self) -> usize {
        self.tenures
    }

    /// Whether nothing is known.
    pub const fn is_empty(&self) -> bool {
        self.tenures == 0
    }

    /// Which VPCs a scope has.
    pub fn set_vpcs(&mut self, vpcs: BTreeMap<Arc<str>, Vec<Arc<str>>>) {
        self.vpcs = vpcs;
    }

    /// The owner of an address as seen from a scope, at a time. None where nobody is known, and where it could be one of
    /// several.
    pub fn owner(&self, scope: &str, address: IpAddr, at: Timestamp) -> Option<&Arc<Resource>> {
        let then =
            self.owners.get(&address.to_canonical())?.iter().filter(|tenure| tenure.holds(at));
        let vpcs = self.vpcs.get(scope);
        let rank = |realm: &Realm| match realm {
            Realm::Scope(of) => (&**of == scope).then_some(0),
            Realm::Vpc(of) if **of == *scope => Some(1),
            Realm::Vpc(of) => match vpcs {
                Some(vpcs) => vpcs.iter().position(|vpc| vpc == of).map(|at| at + 1),
                // The name of another VPC is no scope of this one.
                None if scope.starts_with("vpc-") => None,
                None => Some(usize::MAX - 1),
            },
            Realm::Anywhere => Some(usize::MAX),
        };
        let mut best: Option<(usize, &Arc<Resource>)> = None;
        let mut several = false;
        for (rank, resource) in then.filter_map(|t| Some((rank(&t.realm)?, &t.resource))) {
            match best {
                Some((least, _)) if least < rank => {}
                Some((least, known)) if least == rank => several |= known.id != resource.id,
                _ => (best, several) = (Some((rank, resource)), false),
            }
        }
        best.filter(|_| !several).map(|(_, resource)| resource)
    }

    /// Takes what a look at `source` found at `now`. What it found before and not now is over.
    pub fn take(&mut self, source: &str, held: Vec<Held>, now: Timestamp) -> Changed {
        let source: Arc<str> = source.into();
        let mut changed = Changed::default();
        let mut found: BTreeSet<(IpAddr, Realm)> = BTreeSet::new();
        for one in held {
            let address = one.address.to_canonical();
            found.insert((address, one.realm.clone()));
            self.found(&source, address, one, now, &mut changed);
        }
        for (address, list) in &mut self.owners {
            let open = list.iter_mut().filter(|t| t.until.is_none() && t.source == source);
            for tenure in open.filter(|t| !found.contains(&(*address, t.realm.clone()))) {
                tenure.until = Some(now);
                changed.went += 1;
            }
        }
        changed
    }

    fn found(
        &mut self,
        source: &Arc<str>,
        address: IpAddr,
        held: Held,
        now: Timestamp,
        changed: &mut Changed,
    ) {
        let Held { realm, from, until, resource, .. } = held;
        let list = self.owners.entry(address).or_default();
        if until.is_some() {
            // History of a file: it stands as it is written.
            let told = Tenure {
                realm,
                from: from.unwrap_or_default(),
                until,
                seen: now,
                source: source.clone(),
                resource,
            };
            let same =
                |t: &Tenure| t.from == told.from && t.until == told.until && t.realm == told.realm;
            match list.iter_mut().find(|t| same(t) && t.source == told.source) {
                Some(known) => *known = told,
                None => self.keep(address, told),
            }
            return;
        }
        let own = list.iter_mut().filter(|t| t.realm == realm && t.source == *source);
        let latest = own.max_by_key(|t| (t.until.is_none(), t.from));
        let mut begun = from.unwrap_or_default();
        match latest {
            Some(open) if open.until.is_none() && open.resource.id == resource.id => {
                (open.seen, open.resource) = (now, resource);
                return;
            }
            Some(open) if open.until.is_none() => {
                begun = from.filter(|from| *from > open.seen && *from <= now).unwrap_or(now);
                open.until = Some(begun);
                changed.passed_on += 1;
            }
            Some(over) => {
                let end = over.until.unwrap_or(now);
                begun = from.filter(|from| *from >= end && *from <= now).unwrap_or(now);
                changed.came += 1;
            }
            None => changed.came += 1,
        }
        let source = source.clone();
        self.keep(address, Tenure { realm, from: begun, until: None, seen: now, source, resource });
    }

    fn keep(&mut self, address: IpAddr, tenure: Tenure) {
        if self.tenures >= TENURES_MAX {
            self.not_kept += 1;
            return;
        }
        self.tenures += 1;
        self.owners.entry(address.to_canonical()).or_default().push(tenure);
    }

    /// Forgets owners whose time was over before `then`, but for those of a source that tells history itself.
    pub fn forget(&mut self, then: Timestamp, but: &str) {
        self.owners.retain(|_, list| {
            list.retain(|t| t.until.is_none_or(|until| until >= then) || *t.source == *but);
            !list.is_empty()
        });
        self.tenures = self.owners.values().map(Vec::len).sum();
    }
}

impl Tenure {
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// Who has which address by a listing. Public addresses mean the same everywhere.
pub fn held(listing: &Listing, keys: &TagKeys) -> Vec<Held> {
    let instances: BTreeMap<&str, _> =
        listing.instances.iter().map(|instance| (instance.id.as_str(), instance)).collect();
    let mut list = Vec::new();
    for interface in &listing.interfaces {
        let instance = interface.instance.as_deref().and_then(|id| instances.get(id).copied());
        let resource = Arc::new(resource(interface, instance, &listing.region, keys));
        let vpc = Realm::Vpc(interface.vpc.as_str().into());
        let inside = interface.addresses.iter().map(|address| (*address, vpc.clone()));
        let outside = interface.public.iter().map(|address| (*address, Realm::Anywhere));
        for (address, realm) in inside.chain(outside) {
            let from = interface.attached_at;
            list.push(Held { address, realm, from, until: None, resource: resource.clone() });
        }
    }
    list
}

/// A source of mirrored copies: what its outer header carries, and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MirrorSource {
    /// Outer source: the interface's primary address.
    pub address: IpAddr,
    /// VXLAN network identifier.
    pub vni: u32,
    /// VPC of the interface.
    pub vpc: Arc<str>,
}

/// The sources of a listing's mirror sessions.
pub fn mirror_sources(listing: &Listing) -> Vec<MirrorSource> {
    let interfaces: BTreeMap<&str, _> =
        listing.interfaces.iter().map(|interface| (interface.id.as_str(), interface)).collect();
    let sources = listing.sessions.iter().filter_map(|session| {
        let interface = interfaces.get(session.interface.as_str())?;
        let vpc = Arc::from(interface.vpc.as_str());
        Some(MirrorSource { address: interface.primary?, vni: session.vni?, vpc })
    });
    sources.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(id: &str) -> Arc<Resource> {
        Arc::new(Resource { id: id.into(), name: id.into(), ..Resource::default() })
    }

    fn held(address: &str, realm: Realm, id: &str, from: Option<u64>) -> Held {
        let from = from.map(at);
        Held { address: address.parse().unwrap(), realm, from, until: None, resource: resource(id) }
    }

    fn vpc(id: &str) -> Realm {
        Realm::Vpc(id.into())
    }

    fn at(s: u64) -> Timestamp {
        Timestamp::new(s, 0)
    }

    fn owner(inventory: &Inventory, scope: &str, s: u64) -> Option<String> {
        let owner = inventory.owner(scope, "10.0.0.9".parse().unwrap(), at(s));
        owner.map(|resource| resource.id.to_string())
    }

    #[test]
    fn a_reused_address_is_not_blamed_on_its_former_owner_nor_the_new_one_for_what_was_before() {
        let mut inventory = Inventory::default();
        inventory.take("ec2", vec![held("10.0.0.9", vpc("vpc-1"), "old", Some(50))], at(100));
        inventory.take("ec2", vec![held("10.0.0.9", vpc("vpc-1"), "old", Some(50))], at(160));
        let changed =
            inventory.take("ec2", vec![held("10.0.0.9", vpc("vpc-1"), "new", Some(190))], at(220));
        assert_eq!(changed.passed_on, 1);
        for (s, expected) in [
            (40, None),
            (60, Some("old")),
            (160, Some("old")),
            (189, Some("old")),
            (190, Some("new")),
            (500, Some("new")),
        ] {
            assert_eq!(owner(&inventory, "vpc-1", s).as_deref(), expected, "{s}");
        }
    }

    #[test]
    fn without_a_time_of_its_own_a_new_owner_begins_when_it_is_found() {
        let mut inventory = Inventory::default();
        inventory.take("ec2", vec![held("10.0.0.9", vpc("vpc-1"), "old", None)], at(100));
        assert_eq!(owner(&inventory, "vpc-1", 1).as_deref(), Some("old"), "nobody before it");
        inventory.take("ec2", Vec::new(), at(200));
        assert_eq!(owner(&inventory, "vpc-1", 199).as_deref(), Some("old"));
        assert_eq!(owner(&inventory, "vpc-1", 200), None);
        inventory.take("ec2", vec![held("10.0.0.9", vpc("vpc-1"), "new", None)], at(300));
        assert_eq!(owner(&inventory, "vpc-1", 250), None);
        assert_eq!(owner(&inventory, "vpc-1", 300).as_deref(), Some("new"));
    }

    #[test]
    fn overlapping_addresses_are_told_apart_by_scope_and_not_guessed_at() {
        let mut inventory = Inventory::default();
        let list = vec![
            held("10.0.0.9", vpc("vpc-1"), "one", None),
            held("10.0.0.9", vpc("vpc-2"), "two", None),
        ];
        inventory.take("ec2", list, at(100));
        assert_eq!(owner(&inventory, "vpc-1", 100).as_deref(), Some("one"));
        assert_eq!(owner(&inventory, "vpc-3", 100), None, "another VPC's");
        assert_eq!(owner(&inventory, "default", 100), None, "either of two");
        let both = vec!["vpc-2".into(), "vpc-1".into()];
        inventory.set_vpcs(BTreeMap::from([("prod".into(), both)]));
        assert_eq!(owner(&inventory, "prod", 100).as_deref(), Some("two"), "the first named");
        inventory.take(
            "file",
            vec![held("10.0.0.9", Realm::Scope("prod".into()), "mine", None)],
            at(100),
        );
        assert_eq!(owner(&inventory, "prod", 100).as_deref(), Some("mine"), "a scope's own word");
        assert_eq!(owner(&inventory, "vpc-1", 100).as_deref(), Some("one"));
    }

    #[test]
    fn a_look_at_one_source_says_nothing_of_another() {
        let mut inventory = Inventory::default();
        inventory.take("one", vec![held("10.0.0.9", vpc("vpc-1"), "x", None)], at(100));
        inventory.take("two", Vec::new(), at(200));
        assert_eq!(owner(&inventory, "vpc-1", 300).as_deref(), Some("x"));
    }

    #[test]
    fn former_owners_are_forgotten_in_time_and_survive_a_restart_until_then() {
        let mut inventory = Inventory::default();
        inventory.take("ec2", vec![held("10.0.0.9", vpc("vpc-1"), "old", None)], at(100));
        inventory.take("ec2", vec![held("10.0.0.9", vpc("vpc-1"), "new", None)], at(200));
        let text = serde_json::to_string(&inventory.iter().collect::<Vec<_>>()).unwrap();
        let kept: Vec<(IpAddr, Tenure)> = serde_json::from_str(&text).unwrap();
        let mut again = Inventory::restore(kept);
        assert_eq!(again, inventory);
        again.forget(at(250), "ec2");
        assert_eq!(again.len(), 2);
        again.forget(at(250), "file");
        assert_eq!((again.len(), owner(&again, "vpc-1", 90)), (1, None));
        assert_eq!(owner(&again, "vpc-1", 300).as_deref(), Some("new"));
    }
}
