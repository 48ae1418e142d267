//! Turns captures into seeds: `seeds CAPTURE...` writes one input per capture and target below `seeds/`.
//!
//! A fuzz target like the others, because all of this crate is linked with the fuzzer; given files it runs each once.
#![no_main]

use std::{
    error::Error,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Cursor,
    path::Path,
};

use cleartap::{
    ingest::{CaptureFile, Input, Source},
    model::{Link, Transport},
    wire::{self, Decoder},
};
use libfuzzer_sys::fuzz_target;

/// Longest input, as `-max_len` says.
const SEED_BYTES_MAX: usize = 8192;

fuzz_target!(|data: &[u8]| {
    // The fuzzer tries the empty input first.
    if !data.is_empty() {
        write(data).unwrap();
    }
});

fn write(capture: &[u8]) -> Result<(), Box<dyn Error>> {
    let (frames, dialogue) = seeds(capture)?;
    for (target, seed) in [("file", capture), ("frame", &frames), ("detect", &dialogue)] {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        let folder = Path::new("seeds").join(target);
        fs::create_dir_all(&folder)?;
        if seed.len() <= SEED_BYTES_MAX {
            fs::write(folder.join(format!("seed-{:016x}", hasher.finish())), seed)?;
        }
    }
    Ok(())
}

/// The capture as the targets `frame` and `detect` read it, as far as it fits.
fn seeds(capture: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Box<dyn Error>> {
    let mut source =
        CaptureFile::from_reader("seed", Cursor::new(capture.to_vec()), wire::link_supported)?;
    let mut decoder = Decoder::default();
    let mut frames = vec![0, 1];
    let mut transport = Transport::Tcp;
    let mut first = None;
    let mut said = [Vec::new(), Vec::new()];
    while let Input::Frame(frame) = source.next()? {
        if frame.link == Link::Type(1) && frames.len() + 2 + frame.bytes.len() <= SEED_BYTES_MAX {
            frames.extend(u16::try_from(frame.bytes.len())?.to_be_bytes());
            frames.extend(frame.bytes);
        }
        let Ok(segment) = decoder.decode(&frame) else { continue };
        let (src, dst) = *first.get_or_insert((segment.src, segment.dst));
        let side = match (segment.src, segment.dst) {
            ends if ends == (src, dst) => 0,
            ends if ends == (dst, src) => 1,
            _ => continue,
        };
        transport = segment.transport;
        if said[0].len() + said[1].len() + 5 + segment.payload.len() > SEED_BYTES_MAX {
            continue;
        }
        if transport == Transport::Udp {
            said[side].extend(u16::try_from(segment.payload.len())?.to_be_bytes());
        }
        said[side].extend(segment.payload);
    }
    let [client, server] = said;
    let mut dialogue = vec![if transport == Transport::Udp { 2 } else { 0 }];
    dialogue.extend(u16::try_from(client.len())?.to_be_bytes());
    dialogue.extend(client);
    dialogue.extend(server);
    Ok((frames, dialogue))
}
