//! Whether the kernel steers as it should: tried, before the sensor relies on it.
#![allow(clippy::disallowed_methods, reason = "edge: sends datagrams to itself")]

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, atomic::AtomicBool},
};

use super::{MirrorOptions, MirrorSocket};
use crate::{
    ingest::{Input, Source as _},
    wire::steer,
};

/// Sends copies of flows with random ends to sockets of this machine's own, and looks whether both directions of each
/// come to the shard that [`steer::frame`] says. Gives how many came, or what is wrong.
pub fn prove_steering(shards: usize, seed: u32) -> Result<usize, String> {
    let local = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), (Ipv6Addr::LOCALHOST, 0).into()];
    let mut problem = String::new();
    for address in local {
        let options = MirrorOptions {
            listen: vec![address],
            receive_buffer_bytes: 1 << 20,
            ..MirrorOptions::default()
        };
        let stop = Arc::new(AtomicBool::new(true));
        match MirrorSocket::open_shards(&options, shards, seed, &stop) {
            Ok(mut sockets) => return try_steering(&mut sockets, seed),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(problem)
}

fn try_steering(sockets: &mut [MirrorSocket], seed: u32) -> Result<usize, String> {
    let address = sockets.first().and_then(|socket| socket.listening().next());
    let (to, _) = address.ok_or("no socket")?;
    let from = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let mut random = fastrand::Rng::with_seed(u64::from(seed));
    for nth in 0..PROOF_FLOWS {
        let mut end = || (random.u32(..), random.u16(..));
        let (one, other) = (end(), end());
        // Other outer ports for either direction, as two mirrors would choose.
        for (src, dst) in [(one, other), (other, one)] {
            let sender = UdpSocket::bind(from).map_err(|e| e.to_string())?;
            let copy = copy_of_flow(src, dst, nth % 3 == 0);
            sender.send_to(&copy, to).map_err(|error| error.to_string())?;
        }
    }
    let (shards, mut came) = (sockets.len(), 0);
    for (shard, socket) in sockets.iter_mut().enumerate() {
        while let Ok(Input::Frame(frame)) = socket.next() {
            let owner = steer::shard(steer::frame(seed, &frame), shards);
            if owner != shard {
                return Err(format!("a copy for shard {owner} came to shard {shard}"));
            }
            came += 1;
        }
    }
    let sent = PROOF_FLOWS * 2;
    if came == sent { Ok(came) } else { Err(format!("{came} of {sent} copies came")) }
}

/// A mirror's copy of a TCP segment without payload.
fn copy_of_flow(src: (u32, u16), dst: (u32, u16), v6: bool) -> Vec<u8> {
    let mut copy = vec![8, 0, 0, 0, 0, 0, 1, 0];
    copy.extend([2; 12]);
    if v6 {
        copy.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
        for (address, _) in [src, dst] {
            copy.extend([0xfd; 12]);
            copy.extend(address.to_be_bytes());
        }
    } else {
        copy.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        copy.extend(src.0.to_be_bytes());
        copy.extend(dst.0.to_be_bytes());
    }
    for (_, port) in [src, dst] {
        copy.extend(port.to_be_bytes());
    }
    copy.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 2, 0, 0, 0, 0, 0]);
    copy
}

/// Flows that prove steering: with two shards, chance proves as much once in 10^77.
pub(super) const PROOF_FLOWS: usize = 128;
