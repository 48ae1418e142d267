//! Vantages met lately by their integers, with their numbers and scopes: what is looked up for every packet.

use std::net::IpAddr;

use crate::{
    flow::VantageId,
    model::{ScopeId, Segment},
};

/// One place per hash value: what comes later takes it over.
#[derive(Debug)]
pub(super) struct Places(Vec<Option<Place>>);

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Outer source and VNI; `None`: without encapsulation.
    vantage: Option<(u32, u32)>,
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
    pub(super) fn get(&self, vantage: Option<(u32, u32)>) -> Option<(VantageId, ScopeId)> {
        let place = self.0.get(index(vantage)).copied().flatten()?;
        (place.vantage == vantage).then_some((place.id, place.scope))
    }

    /// Notes where a segment was copied.
    pub(super) fn note(&mut self, segment: &Segment<'_>, id: VantageId, scope: ScopeId) {
        let vantage = match segment.vantage {
            None => None,
            Some(vantage) => match vantage.source {
                IpAddr::V4(source) => Some((source.to_bits(), vantage.vni)),
                IpAddr::V6(_) => return,
            },
        };
        // The scope of a gateway's copy hangs on its endpoint, too; those without a number of their own are counted.
        if segment.endpoint_id != 0 || id.is_crowded_out() {
            return;
        }
        if let Some(place) = self.0.get_mut(index(vantage)) {
            *place = Some(Place { vantage, id, scope });
        }
    }

    /// Forgets all: scopes have changed.
    pub(super) fn clear(&mut self) {
        self.0.fill(None);
    }
}

/// Multiplicative hash of both numbers.
fn index(vantage: Option<(u32, u32)>) -> usize {
    let (source, vni) = vantage.unwrap_or_default();
    let mixed = (u64::from(source) << 24 ^ u64::from(vni)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 32).map_or(0, |hash| hash % PLACES)
}

/// More vantages than a shard meets at a time.
const PLACES: usize = 1024;
