//! Vantages met lately, with their numbers and scopes: what is looked up for every packet.

use std::net::IpAddr;

use crate::{
    flow::VantageId,
    model::{ScopeId, Vantage},
};

/// One place per hash value: what comes later takes it over.
#[derive(Debug)]
pub(super) struct Places(Vec<Option<Place>>);

#[derive(Clone, Copy, Debug)]
struct Place {
    vantage: Option<Vantage>,
    endpoint_id: u64,
    id: VantageId,
    scope: ScopeId,
}

impl Default for Places {
    fn default() -> Self {
        Self(vec![None; PLACES])
    }
}

impl Places {
    /// Number and scope of a vantage, if it was met lately.
    pub(super) fn get(
        &self,
        vantage: Option<Vantage>,
        endpoint_id: u64,
    ) -> Option<(VantageId, ScopeId)> {
        let place = self.0.get(index(vantage, endpoint_id))?.as_ref()?;
        let same = place.vantage == vantage && place.endpoint_id == endpoint_id;
        same.then_some((place.id, place.scope))
    }

    /// Notes a vantage. Those without a number of their own are counted one by one, and not noted.
    pub(super) fn note(
        &mut self,
        vantage: Option<Vantage>,
        endpoint_id: u64,
        id: VantageId,
        scope: ScopeId,
    ) {
        if id.is_crowded_out() {
            return;
        }
        if let Some(place) = self.0.get_mut(index(vantage, endpoint_id)) {
            *place = Some(Place { vantage, endpoint_id, id, scope });
        }
    }

    /// Forgets all: scopes have changed.
    pub(super) fn clear(&mut self) {
        self.0.fill(None);
    }
}

/// Multiplicative hash of what tells vantages apart.
fn index(vantage: Option<Vantage>, endpoint_id: u64) -> usize {
    let Some(Vantage { source, vni }) = vantage else { return 0 };
    let source = match source {
        IpAddr::V4(source) => u64::from(source.to_bits()),
        IpAddr::V6(source) => {
            source.segments().iter().fold(0, |sum, part| sum << 7 ^ u64::from(*part))
        }
    };
    let mixed = (source << 24 ^ u64::from(vni) ^ endpoint_id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 32).map_or(0, |hash| hash % PLACES)
}

/// More vantages than a shard meets at a time.
const PLACES: usize = 1024;
