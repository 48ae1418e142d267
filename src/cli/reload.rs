//! New configurations for a running sensor: SIGHUP, or the file has changed.
#![allow(clippy::disallowed_methods, reason = "edge: looks at the configuration file")]

use std::{
    os::unix::fs::MetadataExt as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{args, keep::Judging};
use crate::{
    config::{self, Config, Reload, Settings, Sources},
    engine::{self, Engine, Measure, Placed},
    inventory::MirrorSource,
    model::{Vantage, time::NS_PER_S},
};

/// The configuration in effect, and the file it came from.
pub(super) struct Watched {
    sources: Sources,
    settings: Settings,
    /// What is counted for metrics.
    measure: Option<Measure>,
    /// How many engines share what memory there is.
    shards: usize,
    /// Scopes of mirror sources that no rule places.
    placed: Arc<Placed>,
    /// How records are judged from now on.
    judging: watch::Sender<Judging>,
    /// The file as last looked at.
    identity: Option<Identity>,
    /// What the data plane shall take next.
    next: watch::Sender<Option<Arc<engine::Settings>>>,
    rejected: Arc<AtomicU64>,
}

/// What tells one state of a file from another: also when it is replaced within its time's grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Identity {
    /// Of the configuration file, if there is one.
    pub(super) fn of(sources: &Sources) -> Option<Self> {
        let meta = std::fs::metadata(sources.file.as_deref()?).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

impl Watched {
    /// `identity`: of the file before it was read, so that a change while the sensor starts is seen.
    pub(super) fn new(
        sources: Sources,
        identity: Option<Identity>,
        settings: Settings,
        measure: Option<Measure>,
        shards: usize,
    ) -> Self {
        let (next, _) = watch::channel(None);
        let (judging, _) = watch::channel(Judging::of(&settings));
        Self {
            sources,
            settings,
            measure,
            shards,
            placed: Arc::default(),
            judging,
            identity,
            next,
            rejected: Arc::default(),
        }
    }

    /// How records are judged, as it changes.
    pub(super) fn judging(&self) -> watch::Receiver<Judging> {
        self.judging.subscribe()
    }

    /// The data plane's end.
    pub(super) fn reloads(&self) -> Reloads {
        let next = self.next.subscribe();
        Reloads { next, taken: 0, rejected: Arc::clone(&self.rejected) }
    }

    /// The configuration in effect.
    pub(super) const fn config(&self) -> &Config {
        &self.settings.config
    }

    /// Time between summaries.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs(self.settings.config.records.interval_s)
    }

    /// Settings of each engine.
    pub(super) fn engine(&self) -> engine::Settings {
        let config = &self.settings.config;
        let update_ns = Some(config.records.interval_s.saturating_mul(NS_PER_S));
        let measure = self.measure.clone();
        let settings = args::engine(config, None);
        let scopes = settings.scopes.with_placed(Arc::clone(&self.placed));
        let session_bytes_max = settings.session_bytes_max / self.shards.max(1);
        engine::Settings {
            scopes,
            update_ns,
            measure,
            session_bytes_max,
            shed_keep_one_in: config.capture.shed_keep_one_in,
            ..settings
        }
    }

    /// Copies of these mirror sources that no rule places are in the scope of their VPC from now on.
    pub(super) fn place(&mut self, sources: &[MirrorSource]) {
        if !self.settings.config.inventory.vpc_scopes {
            return;
        }
        let placed: Placed = sources
            .iter()
            .map(|one| (Vantage { source: one.address, vni: one.vni }, one.vpc.clone()))
            .collect();
        if placed != *self.placed {
            self.placed = Arc::new(placed);
            self.next.send_replace(Some(Arc::new(self.engine())));
        }
    }

    /// Reloads if the file is another than before; true if a new configuration is in effect.
    pub(super) fn reload_if_changed(&mut self) -> bool {
        let now = Identity::of(&self.sources);
        // A file that is away for a moment is being replaced.
        if now.is_none() || now == self.identity {
            return false;
        }
        self.reload()
    }

    /// Reloads; a configuration that is not in order changes nothing. True if a new one is in effect.
    pub(super) fn reload(&mut self) -> bool {
        self.identity = Identity::of(&self.sources);
        let settings = match config::load(&self.sources) {
            Ok(settings) => settings,
            Err(errors) => {
                self.rejected.fetch_add(1, Ordering::Relaxed);
                for error in &errors {
                    error!("{error}");
                }
                error!(
                    errors = errors.len(),
                    "The new configuration is not in order: nothing is changed."
                );
                return false;
            }
        };
        let changes = self.settings.changes(&settings);
        if changes.is_empty() {
            info!("The configuration is as before.");
            return false;
        }
        let keys = |wanted: &dyn Fn(Reload) -> bool| {
            let keys = changes.iter().filter(|(_, reload)| wanted(*reload));
            keys.map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ")
        };
        let restart = keys(&|reload| reload == Reload::Restart);
        if !restart.is_empty() {
            warn!(keys = restart, "These changes take effect when the sensor starts again.");
        }
        let taken = keys(&|reload| reload != Reload::Restart);
        self.settings = settings;
        if taken.is_empty() {
            return false;
        }
        info!(keys = taken, "The new configuration is in effect.");
        self.judging.send_replace(Judging::of(&self.settings));
        self.next.send_replace(Some(Arc::new(self.engine())));
        true
    }
}

/// The data plane's end: what it shall take next.
pub(super) struct Reloads {
    next: watch::Receiver<Option<Arc<engine::Settings>>>,
    taken: u64,
    rejected: Arc<AtomicU64>,
}

impl Reloads {
    /// Never any.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { next: watch::channel(None).1, taken: 0, rejected: Arc::default() }
    }

    /// Hands the engine new settings, if there are any.
    pub(super) fn take(&mut self, engine: &mut Engine) {
        if !self.next.has_changed().unwrap_or(false) {
            return;
        }
        let settings = self.next.borrow_and_update().clone();
        if let Some(settings) = settings {
            engine.reconfigure(engine::Settings::clone(&settings));
            self.taken += 1;
        }
    }

    /// New configurations taken.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// New configurations that were not in order.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }
}
