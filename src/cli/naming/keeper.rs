//! The part of `run` that keeps the inventory: looks at its sources, keeps its history, hands it on.
#![allow(
    clippy::disallowed_methods,
    reason = "edge: asks the EC2 API, writes the inventory's state"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use tokio::{sync::watch, time::MissedTickBehavior};
use tracing::{error, info, warn};

use super::{FILE, STATE_VERSION, State, file, restore};
use crate::{
    cli::{args, whole_file},
    clock::now,
    config::Config,
    ingest::error::shown,
    inventory::{Changed, Inventory, MirrorSource, Tenure},
    model::{Timestamp, Vantage, time::NS_PER_S},
    policy::Remedies,
};
#[cfg(feature = "inventory")]
use crate::{ec2::Ec2, inventory};

/// How long the first look at the EC2 API may hold up the start; it goes on afterwards.
#[cfg(feature = "inventory")]
const FIRST_LOOK_S_MAX: u64 = 20;

/// What the rest of the sensor takes of the inventory.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Naming {
    /// Who has which address.
    pub(in crate::cli) inventory: Arc<Inventory>,
    /// Mirror sources with the VPC of each.
    pub(in crate::cli) sources: Arc<Vec<MirrorSource>>,
}

/// The inventory and its sources.
pub(in crate::cli) struct Keeper {
    config: Config,
    inventory: Inventory,
    sources: BTreeMap<String, Vec<MirrorSource>>,
    #[cfg(feature = "inventory")]
    accounts: Vec<Account>,
    /// Modification time and length of the file as last read.
    file: Option<(SystemTime, u64)>,
    services: Vec<String>,
    /// Whether what is known is kept for the next run.
    kept: bool,
    /// The state could not be written, and this was said.
    unsaved: bool,
}

/// An account and Region.
#[cfg(feature = "inventory")]
struct Account {
    name: String,
    client: Ec2,
    failing: bool,
}

impl Keeper {
    /// Opens the sources. A file that is not in order is an error; an account that cannot be asked is asked again later.
    /// `kept`: what is known is kept for the next run.
    pub(in crate::cli) async fn open(config: &Config, kept: bool) -> anyhow::Result<Self> {
        let remedies = Remedies::built_in().map_err(anyhow::Error::msg)?;
        let mut keeper = Self {
            inventory: config.inventory.state().map_or_else(Inventory::default, restore),
            config: config.clone(),
            sources: BTreeMap::new(),
            #[cfg(feature = "inventory")]
            accounts: Vec::new(),
            file: None,
            services: remedies.iter().map(|remedy| remedy.id.clone()).collect(),
            kept,
            unsaved: false,
        };
        keeper.read_file()?;
        keeper.connect().await?;
        Ok(keeper)
    }

    #[cfg(feature = "inventory")]
    async fn connect(&mut self) -> anyhow::Result<()> {
        for (at, access) in self.config.inventory.ec2.iter().enumerate() {
            let client = Ec2::connect(access).await;
            let client = client.with_context(|| format!("inventory.ec2[{at}]"))?;
            let role = access.role_arn.as_deref().unwrap_or_default();
            let name = format!("ec2 {} {role}", client.region()).trim().to_owned();
            self.accounts.push(Account { name, client, failing: false });
        }
        let limit = Duration::from_secs(FIRST_LOOK_S_MAX);
        if tokio::time::timeout(limit, self.look()).await.is_err() {
            warn!("The EC2 API has not answered yet: addresses get their names when it has.");
        }
        Ok(())
    }

    #[cfg(not(feature = "inventory"))]
    #[allow(clippy::unused_async, reason = "as with the feature")]
    async fn connect(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.config.inventory.ec2.is_empty(),
            "inventory.ec2: this cleartap is built without the EC2 API (feature `inventory`)"
        );
        Ok(())
    }

    /// What is known now.
    pub(in crate::cli) fn naming(&self) -> Naming {
        let sources: Vec<MirrorSource> = self.sources.values().flatten().cloned().collect();
        Naming { inventory: Arc::new(self.inventory.clone()), sources: Arc::new(sources) }
    }

    /// What is known; an account that did not answer is an error.
    #[cfg_attr(
        not(feature = "inventory"),
        expect(clippy::unnecessary_wraps, reason = "as with the feature")
    )]
    pub(in crate::cli) fn into_inventory(self) -> anyhow::Result<Inventory> {
        #[cfg(feature = "inventory")]
        for account in &self.accounts {
            anyhow::ensure!(!account.failing, "{}: the EC2 API cannot be asked", account.name);
        }
        Ok(self.inventory)
    }

    /// Time between looks.
    fn refresh(&self) -> Duration {
        Duration::from_secs(self.config.inventory.refresh_s)
    }

    /// Looks at the sources again and again, and hands on what is other than before.
    pub(in crate::cli) async fn work(mut self, naming: watch::Sender<Naming>) {
        if !self.config.inventory.is_used() {
            return;
        }
        let mut tick = tokio::time::interval(self.refresh());
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        tick.tick().await;
        loop {
            tick.tick().await;
            if self.look().await {
                naming.send_replace(self.naming());
            }
        }
    }

    /// Looks at every source; true if anything is other than before. What cannot be read is as it was.
    pub(in crate::cli) async fn look(&mut self) -> bool {
        let before = self.sources.clone();
        let mut changed = match self.read_file() {
            Ok(changed) => changed,
            Err(error) => {
                error!("{error:#}: the inventory is as before.");
                Changed::default()
            }
        };
        changed += self.ask().await;
        let days = u64::from(self.config.inventory.history_days);
        self.inventory.forget(Timestamp(now().0.saturating_sub(days * 86_400 * NS_PER_S)), FILE);
        self.place_vpcs();
        if changed.any() {
            let Changed { came, went, passed_on } = changed;
            info!(
                came,
                went,
                passed_on,
                known = self.inventory.len(),
                "The inventory has changed."
            );
            if self.inventory.not_kept > 0 {
                let not_kept = self.inventory.not_kept;
                warn!(not_kept, "The inventory is full: some addresses have no name.");
            }
            self.save();
        }
        changed.any() || before != self.sources
    }

    #[cfg(feature = "inventory")]
    async fn ask(&mut self) -> Changed {
        let mut changed = Changed::default();
        let keys = self.config.inventory.tag_keys();
        for account in &mut self.accounts {
            match account.client.listing().await {
                Ok(listing) => {
                    if account.failing {
                        info!(source = account.name, "The EC2 API answers again.");
                    }
                    account.failing = false;
                    let held = inventory::held(&listing, &keys);
                    changed += self.inventory.take(&account.name, held, now());
                    self.sources.insert(account.name.clone(), inventory::mirror_sources(&listing));
                }
                Err(_) if account.failing => {}
                Err(fault) => {
                    account.failing = true;
                    error!(source = account.name, "The EC2 API: {fault}: names are as before.");
                }
            }
        }
        changed
    }

    #[cfg(not(feature = "inventory"))]
    #[allow(clippy::unused_async, reason = "as with the feature")]
    async fn ask(&mut self) -> Changed {
        Changed::default()
    }

    fn read_file(&mut self) -> anyhow::Result<Changed> {
        let Some(path) = &self.config.inventory.file else { return Ok(Changed::default()) };
        let meta = fs::metadata(path);
        let meta = meta.with_context(|| format!("inventory.file: {}", shown(path)))?;
        let seen = (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len());
        if self.file == Some(seen) {
            return Ok(Changed::default());
        }
        // Also one that is not in order is read once only.
        self.file = Some(seen);
        let services: Vec<&str> = self.services.iter().map(String::as_str).collect();
        let held = file(path, meta.len(), &self.config.inventory, &services)?;
        Ok(self.inventory.take(FILE, held, now()))
    }

    /// Tells the inventory which VPC a scope is: as written, else where its mirror sessions are, if that is one.
    fn place_vpcs(&mut self) {
        let scopes = args::engine(&self.config, None).scopes;
        let mut vpcs: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for source in self.sources.values().flatten() {
            let vantage = Vantage { source: source.address, vni: source.vni };
            let Some(scope) = scopes.place(Some(vantage), 0) else { continue };
            let list = vpcs.entry(scopes.name(scope).clone()).or_default();
            if !list.contains(&source.vpc) {
                list.push(source.vpc.clone());
            }
        }
        vpcs.retain(|_, list| list.len() == 1);
        for (scope, list) in &self.config.inventory.scope_vpcs {
            let list = list.iter().map(|vpc| vpc.as_str().into()).collect();
            vpcs.insert(scope.as_str().into(), list);
        }
        self.inventory.set_vpcs(vpcs);
    }

    /// Keeps the inventory for the next run.
    fn save(&mut self) {
        let Some(path) = self.config.inventory.state().filter(|_| self.kept) else { return };
        match save(path, &self.inventory) {
            Ok(()) => self.unsaved = false,
            Err(error) if !self.unsaved => {
                self.unsaved = true;
                warn!(
                    "inventory.state: {} cannot be written ({error}): former owners are forgotten at the next start.",
                    shown(path)
                );
            }
            Err(_) => {}
        }
    }
}

fn save(path: &Path, inventory: &Inventory) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let owners: Vec<(IpAddr, &Tenure)> = inventory.iter().collect();
    let text = serde_json::to_vec(&State { version: STATE_VERSION, owners })?;
    whole_file::replace(path, 0o640, &text)
}
