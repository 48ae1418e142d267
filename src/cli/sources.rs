//! Opens what `run` reads: one source for each shard, steered by the kernel, or one reader for all.
#![allow(clippy::disallowed_methods, reason = "edge: asks how many processors there are")]

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, atomic::AtomicBool},
};

use tracing::{info, warn};

use super::data_plane::{Reading, Sources};
use crate::{
    clock::now,
    config::Capture,
    ingest::{Live, LiveOptions, MirrorOptions, MirrorSocket, SourceError, mirror_socket},
    model::Timestamp,
    wire,
};

/// Opens the sources that the configuration names.
pub(super) fn open(capture: &Capture, stop: &Arc<AtomicBool>) -> Result<Sources, SourceError> {
    let shards = shards(capture);
    match &capture.interface {
        Some(interface) => open_interface(capture, interface, shards, stop),
        None => open_socket(capture, shards, stop),
    }
}

/// How many shards are wanted.
fn shards(capture: &Capture) -> usize {
    match usize::from(capture.shards) {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(SHARDS_MAX),
        given => given,
    }
}

fn open_interface(
    capture: &Capture,
    interface: &str,
    shards: usize,
    stop: &Arc<AtomicBool>,
) -> Result<Sources, SourceError> {
    let options = LiveOptions {
        filter: capture.bpf.clone(),
        snap_bytes: capture.snaplen_bytes,
        buffer_bytes: capture.buffer_mib << 20,
        promiscuous: capture.promiscuous,
        ..LiveOptions::new(interface)
    };
    let supported = wire::link_supported;
    if shards > 1 {
        let seed = seed();
        match Live::open_shards(&options, supported, shards, seed, stop) {
            Ok(all) => {
                info!(interface, shards, "Capturing; the kernel steers by the inner flow.");
                return Ok(each(all.into_iter().map(|live| Box::new(live) as Reading), seed));
            }
            Err(error @ SourceError::Steering { .. }) => tell_unsteered(&error.to_string()),
            Err(error) => return Err(error),
        }
    }
    let live = Live::open(&options, supported, Arc::clone(stop))?;
    info!(interface, "Capturing.");
    Ok(for_all(Box::new(live), shards))
}

fn open_socket(
    capture: &Capture,
    shards: usize,
    stop: &Arc<AtomicBool>,
) -> Result<Sources, SourceError> {
    let buffer_bytes = usize::try_from(capture.buffer_mib).unwrap_or(usize::MAX);
    let options = MirrorOptions {
        listen: capture.listen.clone(),
        receive_buffer_bytes: buffer_bytes.saturating_mul(1 << 20),
        busy_poll_us: capture.busy_poll_us,
        ..MirrorOptions::default()
    };
    if shards > 1 {
        let seed = seed();
        match mirror_socket::prove_steering(shards, seed) {
            Ok(datagrams) => {
                let all = MirrorSocket::open_shards(&options, shards, seed, stop)?;
                tell_listening(all.first(), shards);
                info!(shards, datagrams, "The kernel steers by the inner flow, as was tried.");
                return Ok(each(all.into_iter().map(|one| Box::new(one) as Reading), seed));
            }
            Err(problem) => tell_unsteered(&problem),
        }
    }
    let socket = MirrorSocket::open(&options, Arc::clone(stop))?;
    tell_listening(Some(&socket), 1);
    Ok(for_all(Box::new(socket), shards))
}

fn each(sources: impl Iterator<Item = Reading>, seed: u32) -> Sources {
    Sources::Each { sources: sources.collect(), seed, steered_from: now() }
}

fn for_all(source: Reading, shards: usize) -> Sources {
    if shards > 1 {
        return Sources::Front { source, shards };
    }
    Sources::Each { sources: vec![source], seed: 0, steered_from: Timestamp::default() }
}

fn tell_listening(socket: Option<&MirrorSocket>, shards: usize) {
    for (address, buffer) in socket.into_iter().flat_map(MirrorSocket::listening) {
        let receive_buffer_bytes = buffer.granted.saturating_mul(shards);
        info!(%address, receive_buffer_bytes, "Listening for mirrored packets.");
    }
}

fn tell_unsteered(problem: &str) {
    warn!(
        problem,
        "The kernel does not steer by the inner flow: one reader decodes for all shards, which bounds the rate."
    );
}

/// Peers choose their ports; they shall not choose the shard.
fn seed() -> u32 {
    let hash = RandomState::new().hash_one(0_u32);
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// More shards than a machine has use for.
const SHARDS_MAX: usize = 64;
