//! Who is the client, before anything proves it: ports as a hint only.

use std::sync::LazyLock;

use crate::{
    detect::DETECTORS,
    flow::first_guess,
    model::{Roles, Segment},
};

/// Who is the client, by the ports of a flow's first packet.
pub(super) fn guess(segment: &Segment<'_>) -> (bool, Roles) {
    first_guess(segment.src, segment.dst, is_service)
}

/// Whether a port is a usual one of any protocol we know.
fn is_service(port: u16) -> bool {
    static PORTS: LazyLock<Vec<u16>> = LazyLock::new(|| {
        let mut ports: Vec<u16> = DETECTORS.iter().flat_map(|d| d.info().ports).copied().collect();
        ports.sort_unstable();
        ports
    });
    PORTS.binary_search(&port).is_ok()
}
