//! Who the ends of a flow are: by inventory; without one a server has the name under which clients ask for it.
//!
//! What is heard on the wire only labels: it may be anybody's word. Identities, groups and what policy matches are the
//! inventory's alone.

use std::{net::IpAddr, sync::Arc};

use hashbrown::Equivalent;

use super::remembered::Remembered;
use crate::{
    inventory::Inventory,
    model::{
        Addresses, Hostname, Identity, NamedAddress, Timestamp,
        record::{NameSource, Record},
        time::NS_PER_S,
    },
};

/// Names heard that are remembered; the one heard first is forgotten first.
pub const NAMES_MAX: usize = 131_072;
/// A name that was heard stands for flows that begin within this time after it.
const HEARD_NS_MAX: u64 = 86_400 * NS_PER_S;

/// Names of both ends of flows.
#[derive(Debug, Default)]
pub struct Names {
    inventory: Arc<Inventory>,
    /// What is heard names nobody.
    deaf: bool,
    heard: Remembered<Key, Heard, NAMES_MAX>,
}

/// Whose name of which server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: Arc<str>,
    server: IpAddr,
    /// The client that calls it so; none: anybody.
    client: Option<IpAddr>,
    source: NameSource,
}

/// The same to look for.
#[derive(Hash)]
struct Sought<'a> {
    scope: &'a str,
    server: IpAddr,
    client: Option<IpAddr>,
    source: NameSource,
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.server == key.server
            && self.client == key.client
            && self.source == key.source
            && self.scope == &*key.scope
    }
}

#[derive(Clone, Debug)]
struct Heard {
    /// None: clients do not agree.
    name: Option<Arc<str>>,
    at: Timestamp,
}

impl Names {
    /// Names by this inventory, and by what is heard on the wire where that is wanted.
    pub fn new(inventory: Arc<Inventory>, heard: bool) -> Self {
        Self { inventory, deaf: !heard, ..Self::default() }
    }

    /// Names by this inventory from now on.
    pub fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.inventory = inventory;
    }

    /// Names forgotten to make room.
    pub const fn forgotten(&self) -> u64 {
        self.heard.forgotten
    }

    /// Name services answered.
    pub fn learn(&mut self, answers: &[NamedAddress]) {
        if self.deaf {
            return;
        }
        for told in answers {
            self.answered(told);
        }
    }

    fn answered(&mut self, told: &NamedAddress) {
        let answer = &told.answer;
        // The name asked for says more to people, unless it stands for a managed service.
        let managed = MANAGED.iter().any(|suffix| answer.name.as_str().ends_with(suffix));
        let name = if managed { &answer.name } else { &answer.asked };
        for client in [Some(told.client), None] {
            let source = NameSource::Dns;
            self.hear(&told.scope, answer.address, client, source, &name.shared(), told.at);
        }
    }

    /// Completes a record, and learns from it.
    pub fn complete(&mut self, record: &mut Record) {
        let own = if self.deaf { None } else { own_name(record) };
        if let Some((name, source)) = &own
            && record.outcome == "established"
        {
            self.hear(&record.scope, record.dst_ip, None, *source, name, record.ts_last);
        }
        let owner = |address| self.inventory.owner(&record.scope, address, record.ts_last);
        let (client, server) = (owner(record.src_ip).cloned(), owner(record.dst_ip).cloned());
        let label = match &server {
            Some(resource) => Some((resource.name.clone(), NameSource::Inventory)),
            None => self.heard_of(record, own),
        };
        if server.as_ref().is_some_and(|resource| &*resource.kind == ENDPOINT) {
            record.boundary = "aws_endpoint";
        }
        let names = &mut record.names;
        names.src_name = client.as_ref().map(|resource| resource.name.clone());
        (names.src_aws, names.dst_aws) = (client, server);
        (names.dst_name, names.dst_name_source) = label.unzip();
    }

    /// What this client calls its server, else what clients call it that agree.
    fn heard_of(
        &self,
        record: &Record,
        own: Option<(Arc<str>, NameSource)>,
    ) -> Option<(Arc<str>, NameSource)> {
        let known = |client, source| {
            let key = Sought { scope: &record.scope, server: record.dst_ip, client, source };
            let heard = self.heard.get(&key)?;
            let fresh = record.ts_first.since(heard.at) <= HEARD_NS_MAX;
            heard.name.clone().filter(|_| fresh).map(|name| (name, source))
        };
        if self.heard.is_empty() {
            return own;
        }
        known(Some(record.src_ip), NameSource::Dns)
            .or(own)
            .or_else(|| known(None, NameSource::Dns))
            .or_else(|| known(None, NameSource::Sni))
            .or_else(|| known(None, NameSource::Host))
    }

    fn hear(
        &mut self,
        scope: &Arc<str>,
        server: IpAddr,
        client: Option<IpAddr>,
        source: NameSource,
        name: &Arc<str>,
        at: Timestamp,
    ) {
        if let Some(known) = self.heard.get_mut(&Sought { scope, server, client, source }) {
            let same = known.name.as_ref() == Some(name);
            // One client may ask by several names in turn: the last counts for it.
            let replaced = client.is_some() || at.since(known.at) > HEARD_NS_MAX;
            if !same {
                known.name = replaced.then(|| Arc::clone(name));
            }
            known.at = known.at.max(at);
            return;
        }
        let key = Key { scope: Arc::clone(scope), server, client, source };
        self.heard.learn(key, Heard { name: Some(Arc::clone(name)), at });
    }
}

/// The name by which the flow's own client asks for its server.
fn own_name(record: &Record) -> Option<(Arc<str>, NameSource)> {
    let sni = record.tls.as_ref().and_then(|tls| tls.sni.as_ref());
    // A name that is none (an address, odd bytes) names nobody.
    let sni = sni.and_then(|sni| Hostname::from_wire(sni.as_str().as_bytes()));
    let host = || record.host.as_ref().map(|host| (host.shared(), NameSource::Host));
    sni.map(|sni| (sni.shared(), NameSource::Sni)).or_else(host)
}

impl Identity for Names {
    fn server(&self, scope: &str, address: IpAddr, at: Timestamp) -> String {
        let owner = self.inventory.owner(scope, address, at);
        owner.map_or_else(|| Addresses.server(scope, address, at), |r| r.id.to_string())
    }

    fn client_group(&self, scope: &str, address: IpAddr, at: Timestamp) -> String {
        let owner = self.inventory.owner(scope, address, at);
        let group = owner.map(|resource| resource.client_group().to_owned());
        group.unwrap_or_else(|| Addresses.client_group(scope, address, at))
    }
}

const ENDPOINT: &str = "vpc-endpoint";
/// How names of managed services end.
const MANAGED: [&str; 4] = [".amazonaws.com", ".amazonaws.com.cn", ".on.aws", ".api.aws"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        findings::tests::record,
        inventory::{Held, Realm},
        model::{Answer, Resource},
    };

    const SERVER: [u8; 4] = [10, 200, 0, 9];

    fn answer(client: u32, asked: &str, name: &str, s: u64) -> NamedAddress {
        let host = |text: &str| Hostname::from_wire(text.as_bytes()).unwrap();
        let flow = record(client, s, s);
        NamedAddress {
            scope: flow.scope,
            client: flow.src_ip,
            at: flow.ts_first,
            answer: Answer { asked: host(asked), name: host(name), address: SERVER.into() },
        }
    }

    fn named(names: &mut Names, mut flow: Record) -> Option<(String, &'static str)> {
        names.complete(&mut flow);
        let source = flow.names.dst_name_source?;
        Some((flow.names.dst_name?.to_string(), source.name()))
    }

    fn by(name: &str, source: &'static str) -> (String, &'static str) {
        (name.to_owned(), source)
    }

    #[test]
    fn a_server_has_the_name_its_client_asked_for_and_the_services_own_where_it_is_managed() {
        let mut names = Names::new(Arc::default(), true);
        names.learn(&[answer(1, "db.corp", "node7.corp", 0)]);
        assert_eq!(named(&mut names, record(1, 1, 2)), Some(by("db.corp", "dns")));
        let rds = "users.abc.eu-central-1.rds.amazonaws.com";
        names.learn(&[answer(1, "db.corp", rds, 5)]);
        assert_eq!(named(&mut names, record(1, 6, 7)), Some(by(rds, "dns")));
    }

    #[test]
    fn where_clients_do_not_agree_only_their_own_word_counts() {
        let mut names = Names::new(Arc::default(), true);
        names.learn(&[answer(1, "writer.corp", "writer.corp", 0)]);
        assert_eq!(named(&mut names, record(3, 1, 2)), Some(by("writer.corp", "dns")));
        names.learn(&[answer(2, "reader.corp", "reader.corp", 1)]);
        assert_eq!(named(&mut names, record(1, 1, 2)), Some(by("writer.corp", "dns")));
        assert_eq!(named(&mut names, record(2, 1, 2)), Some(by("reader.corp", "dns")));
        assert_eq!(named(&mut names, record(3, 1, 2)), None);
    }

    #[test]
    fn a_name_heard_does_not_outlive_a_day() {
        let mut names = Names::new(Arc::default(), true);
        names.learn(&[answer(1, "db.corp", "db.corp", 0)]);
        assert_eq!(named(&mut names, record(1, 86_400, 86_401)), Some(by("db.corp", "dns")));
        assert_eq!(named(&mut names, record(1, 86_401, 86_402)), None);
    }

    #[test]
    fn a_host_that_was_asked_for_names_the_server_for_others_too() {
        let host = Hostname::from_wire(b"shop.example");
        let asked = Record { host, ..record(1, 0, 1) };
        let mut names = Names::new(Arc::default(), true);
        assert_eq!(named(&mut names, asked.clone()), Some(by("shop.example", "host")));
        assert_eq!(named(&mut names, record(2, 2, 3)), Some(by("shop.example", "host")));
        let mut deaf = Names::new(Arc::default(), false);
        assert_eq!(named(&mut deaf, asked.clone()), None);
        let refused = Record { outcome: "refused", ..asked };
        let mut names = Names::new(Arc::default(), true);
        assert_eq!(named(&mut names, refused), Some(by("shop.example", "host")), "its own word");
        assert_eq!(named(&mut names, record(2, 2, 3)), None, "no word for others");
    }

    #[test]
    fn an_inventory_knows_better_and_alone_gives_identities() {
        let resource = Resource {
            kind: "vpc-endpoint".into(),
            id: "arn:aws:ec2:eu-central-1:1:vpc-endpoint/vpce-1".into(),
            name: "queue".into(),
            ..Resource::default()
        };
        let mut inventory = Inventory::default();
        let held = Held {
            address: SERVER.into(),
            realm: Realm::Anywhere,
            from: None,
            until: None,
            resource: Arc::new(resource),
        };
        inventory.take("file", vec![held], record(1, 0, 0).ts_first);
        let mut names = Names::new(Arc::new(inventory), true);
        names.learn(&[answer(1, "excepted.corp", "excepted.corp", 0)]);
        let mut flow = record(1, 1, 2);
        names.complete(&mut flow);
        assert_eq!(flow.names.dst_name.as_deref(), Some("queue"));
        assert_eq!(flow.names.dst_name_source, Some(NameSource::Inventory));
        assert_eq!((flow.boundary, flow.names.src_name.as_deref()), ("aws_endpoint", None));
        let id = names.server("prod", SERVER.into(), flow.ts_last);
        assert!(id.ends_with("vpce-1"), "{id}");
        let mut heard = Names::new(Arc::default(), true);
        heard.learn(&[answer(1, "excepted.corp", "excepted.corp", 0)]);
        assert_eq!(heard.server("prod", SERVER.into(), flow.ts_last), "10.200.0.9");
        assert_eq!(names.client_group("prod", flow.src_ip, flow.ts_last), flow.src_ip.to_string());
    }

    #[test]
    fn memory_is_bounded_and_what_it_costs_is_counted() {
        let mut names = Names::new(Arc::default(), true);
        for n in 0..u32::try_from(NAMES_MAX).unwrap() {
            names.learn(&[answer(n, "db.corp", "db.corp", 0)]);
        }
        assert_eq!((names.heard.len(), names.forgotten()), (NAMES_MAX, 1));
    }
}
