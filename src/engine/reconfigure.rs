//! New settings for a running engine: the snapshot is taken whole, flows that are there keep their scope.

use super::{Engine, Scopes, Settings, Shard};
use crate::model::{FlowKey, ScopeId, Segment};

/// Scopes before changes that are still asked for flows that began under them.
const RETIRED_MAX: usize = 4;

impl Engine {
    /// Takes what can be changed while it runs: scopes (for new flows), who may send copies, which networks are inside,
    /// the memory bound, the interval (at once), idle times (when a flow next moves). `flows_max` and what is traced stay.
    ///
    /// A flow that began under another scope keeps it, through the last four changes of scopes.
    pub fn reconfigure(&mut self, settings: Settings) {
        let shard = &mut self.shard;
        let old = &mut shard.settings;
        let mut scopes = settings.scopes;
        scopes.succeed(&old.scopes);
        shard.table.set_idle_times(&settings.limits);
        let same = scopes.rules == old.scopes.rules && scopes.placed == old.scopes.placed;
        let before = std::mem::replace(&mut old.scopes, scopes);
        if !same {
            shard.retired.insert(0, before);
            shard.retired.truncate(RETIRED_MAX);
        }
        old.limits = crate::flow::Limits { flows_max: old.limits.flows_max, ..settings.limits };
        old.session_bytes_max = settings.session_bytes_max;
        old.context = settings.context;
        old.update_ns = settings.update_ns;
        shard.places.clear();
        shard.bound_memory();
    }
}

impl Shard {
    /// The key of a segment that is placed in `scope`, or of its flow that began under an earlier one.
    pub(super) fn key(&self, scope: ScopeId, segment: &Segment<'_>) -> (FlowKey, bool) {
        let key = |scope| FlowKey::new(scope, segment.transport, segment.src, segment.dst);
        let now = key(scope);
        if self.retired.is_empty() || self.table.contains(&now.0) {
            return now;
        }
        let earlier = self.retired.iter().filter_map(|scopes: &Scopes| {
            scopes.place(segment.vantage, segment.endpoint_id).filter(|earlier| *earlier != scope)
        });
        earlier.map(key).find(|(key, _)| self.table.contains(key)).unwrap_or(now)
    }
}
