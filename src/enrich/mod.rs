//! What a record gains from outside its own flow. Part of the control plane: records pass in order, one at a time, so that
//! shards know nothing of one another and the same capture gives the same records.
#![forbid(unsafe_code)]

mod names;
mod remembered;
mod servers;

use std::sync::Arc;

pub use names::{NAMES_MAX, Names};
pub use servers::Servers;

use crate::{
    inventory::Inventory,
    model::{NamedAddress, record::Record},
};

/// Everything that records of one timeline gain.
#[derive(Debug)]
pub struct Enrichment {
    /// Who the ends are.
    pub names: Names,
    /// What servers speak.
    pub servers: Servers,
    /// Nobody reads names.
    brief: bool,
}

impl Enrichment {
    /// Nothing seen yet. `heard`: whether what is heard on the wire names servers.
    pub fn new(inventory: Arc<Inventory>, heard: bool) -> Self {
        Self { names: Names::new(inventory, heard), servers: Servers::default(), brief: false }
    }

    /// Completes only what verdicts and totals rest on: for records of which nobody reads more.
    pub fn brief() -> Self {
        Self { brief: true, ..Self::new(Arc::default(), false) }
    }

    /// Completes a record with what is known by now, after what was answered before it: for records of flows that go on.
    pub fn complete(&mut self, answers: &[NamedAddress], record: &mut Record) {
        self.names.learn(answers);
        self.servers.complete(record);
        self.names.complete(record);
    }

    /// Completes a record and passes it on; one that needs evidence of other flows waits for [`Self::finish`].
    pub fn take(
        &mut self,
        answers: &[NamedAddress],
        mut record: Box<Record>,
        emit: &mut dyn FnMut(&Record),
    ) {
        if !self.brief {
            self.names.learn(answers);
            self.names.complete(&mut record);
        }
        self.servers.take(record, emit);
    }

    /// Nothing more will be learnt: passes on what waited.
    pub fn finish(&mut self, emit: &mut dyn FnMut(&Record)) {
        self.servers.finish(emit);
    }
}
