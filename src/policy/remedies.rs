//! What turns a finding off: the exact setting of each service, the client's side, what breaks, the vendor's page.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    classes,
    controls::{Control, Relation},
    services::RDS_NAMES,
};

/// One remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remedy {
    /// Stable id; for managed services what an inventory calls the service: `rds-postgresql`.
    pub id: String,
    /// For people.
    pub title: String,
    /// Protocols it is for, by registry name; empty for the generic ones.
    #[serde(default)]
    pub apps: Vec<String>,
    /// Classes of protocol it is for where no remedy names the protocol.
    #[serde(default)]
    pub classes: Vec<classes::Class>,
    /// Whether it is for servers that one runs oneself, and so the answer where no service is known.
    #[serde(default)]
    pub self_managed: bool,
    /// The exact setting or call at the server.
    pub server: String,
    /// What the client changes.
    pub client: String,
    /// What breaks, and how to find out before.
    pub breaks: String,
    /// Where the vendor says so.
    pub vendor_page: String,
    /// Name suffixes of the service (SNI, Host, DNS).
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Security Hub (AWS FSBP) controls that check the setting.
    #[serde(default)]
    pub fsbp: Vec<String>,
}

impl Remedy {
    /// Its Security Hub controls. They check the setting; the raise is about the traffic.
    pub fn fsbp(&self) -> impl Iterator<Item = Control> + '_ {
        self.fsbp.iter().map(|id| {
            let own = OUTSIDE_FSBP.contains(&id.as_str());
            Control {
                framework: Arc::from(if own { "AWS Security Hub" } else { "AWS FSBP" }),
                id: Arc::from(id.as_str()),
                relation: Relation::Weakens,
                caveat: Some(Arc::from("the control checks the setting, the finding the traffic")),
            }
        })
    }
}

/// All remedies, by id.
#[derive(Clone, Debug)]
pub struct Remedies {
    list: Vec<Remedy>,
    by_id: BTreeMap<String, usize>,
    generic: Remedy,
}

/// Controls of Security Hub that its standard FSBP does not list (looked up 2026-11-26 in the list of the user guide's page
/// "AWS Foundational Security Best Practices standard"; all other ids of the remedies are in it, spelled as there).
const OUTSIDE_FSBP: [&str; 2] = ["RDS.38", "RDS.39"];

/// How names of AWS end.
const AWS_SUFFIXES: [&str; 4] = [".amazonaws.com", ".amazonaws.com.cn", ".on.aws", ".api.aws"];

/// The remedy where nothing more is known.
pub const GENERIC: &str = "self-managed";

impl Remedies {
    /// The remedies that come with cleartap.
    ///
    /// # Errors
    /// The sentence of the parser, and ids that are missing or there twice; a test holds that there is none.
    pub fn built_in() -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            remedy: Vec<Remedy>,
        }
        let mut list = Vec::new();
        for (name, text) in FILES {
            let file: File = toml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
            list.extend(file.remedy);
        }
        Self::new(list)
    }

    /// From a list.
    ///
    /// # Errors
    /// Ids that are there twice, or no [`GENERIC`] one.
    pub fn new(list: Vec<Remedy>) -> Result<Self, String> {
        let mut by_id = BTreeMap::new();
        for (at, remedy) in list.iter().enumerate() {
            if by_id.insert(remedy.id.clone(), at).is_some() {
                return Err(format!("two remedies are called `{}`", remedy.id));
            }
        }
        let generic = list.iter().find(|r| r.id == GENERIC).cloned();
        let generic = generic.ok_or_else(|| format!("no remedy is called `{GENERIC}`"))?;
        Ok(Self { list, by_id, generic })
    }

    /// Every remedy, in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &Remedy> {
        self.list.iter()
    }

    /// The remedy of this id.
    pub fn get(&self, id: &str) -> Option<&Remedy> {
        self.by_id.get(id).and_then(|at| self.list.get(*at))
    }

    /// The remedy for a flow: the one the rule names, else that of the service, else that for servers one runs oneself of
    /// this protocol, of its class, and last the generic one.
    pub fn resolve(
        &self,
        named: Option<&str>,
        service: Option<&str>,
        app: Option<&str>,
    ) -> &Remedy {
        let own =
            |test: &dyn Fn(&Remedy) -> bool| self.list.iter().find(|r| r.self_managed && test(r));
        named
            .and_then(|id| self.get(id))
            .or_else(|| service.and_then(|id| self.get(id)))
            .or_else(|| app.and_then(|app| own(&|r| r.apps.iter().any(|a| a == app))))
            .or_else(|| {
                app.and_then(classes::class).and_then(|class| own(&|r| r.classes.contains(&class)))
            })
            .unwrap_or(&self.generic)
    }

    /// The managed service that a server of this name is, where it speaks the service's protocol.
    pub fn by_host(&self, name: &str, app: Option<&str>) -> Option<&str> {
        // Every name here is AWS's own: `s3.example.com` is nobody's bucket.
        if !AWS_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            return None;
        }
        let app = app?;
        let fits = |remedy: &&Remedy| {
            remedy.apps.iter().any(|known| known == app)
                && remedy.hosts.iter().any(|host| match host.strip_prefix('.') {
                    Some(_) => name.contains(host.as_str()),
                    None => name.starts_with(host.as_str()) || name.contains(&format!(".{host}")),
                })
        };
        let mut found: Vec<&Remedy> = self.list.iter().filter(fits).collect();
        let marked = RDS_NAMES.iter().find(|(mark, _)| name.contains(mark));
        if let Some((_, prefix)) = marked {
            found.retain(|remedy| remedy.id.starts_with(prefix));
        }
        found.first().map(|remedy| remedy.id.as_str())
    }

    /// Remedies of every service that speaks this protocol: what it may be where no inventory tells.
    pub fn candidates<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a Remedy> {
        self.list.iter().filter(move |remedy| remedy.apps.iter().any(|a| a == app))
    }
}

const FILES: &[(&str, &str)] = &[
    ("self-managed.toml", include_str!("remedies/self-managed.toml")),
    ("databases.toml", include_str!("remedies/databases.toml")),
    ("caches.toml", include_str!("remedies/caches.toml")),
    ("brokers.toml", include_str!("remedies/brokers.toml")),
    ("web.toml", include_str!("remedies/web.toml")),
    ("storage.toml", include_str!("remedies/storage.toml")),
    ("tls.toml", include_str!("remedies/tls.toml")),
];
