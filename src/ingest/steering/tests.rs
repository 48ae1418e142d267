use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    ingest::{CaptureFile, Input, Source},
    model::{Frame, Link},
    wire::{self, Decoder},
};

const SEED: u32 = 0x5eed;
const SHARDS: u32 = 7;

/// What the kernel does with a program, for the instructions used.
fn interpret(program: &Program, bytes: &[u8]) -> u32 {
    let (mut a, mut x, mut words) = (0_u32, 0_u32, [0_u32; 16]);
    let mut at = 0;
    loop {
        let sock_filter { code, jt, jf, k } = program.0[at];
        at += 1;
        let operand = if code & X != 0 { x } else { k };
        match code {
            _ if code & 0xe7 == IND => {
                let size = match code & 0x18 {
                    H => 2,
                    B => 1,
                    _ => 4,
                };
                let from = usize::try_from(x.wrapping_add(k) & 0x000f_ffff).unwrap();
                let Some(read) = bytes.get(from..from + size) else { return 0 };
                a = read.iter().fold(0, |a, byte| a << 8 | u32::from(*byte));
            }
            LD => a = k,
            LDX => x = k,
            0x60 => a = words[k as usize],
            0x61 => x = words[k as usize],
            ST => words[k as usize] = a,
            STX => words[k as usize] = x,
            ADD | 0x0c => a = a.wrapping_add(operand),
            MUL => a = a.wrapping_mul(k),
            AND => a &= k,
            LSH => a <<= k,
            RSH => a >>= k,
            MOD => a %= k,
            XOR | 0xac => a ^= operand,
            JA => at += k as usize,
            JEQ => at += usize::from(if a == k { jt } else { jf }),
            RET => return k,
            RET_A => return a,
            TAX => x = a,
            TXA => a = x,
            other => panic!("{other:#x}"),
        }
    }
}

fn shard_by_program(sees: Sees, bytes: &[u8]) -> usize {
    interpret(&Program::new(sees, SEED, SHARDS), bytes) as usize
}

/// Calls with every frame of the captures we ship.
fn every_frame(mut take: impl FnMut(&Frame<'_>)) {
    let inputs = crate::ingest::discover(&["captures".into()]).captures;
    for input in inputs {
        let mut source = CaptureFile::open(&input, wire::link_supported, None).unwrap();
        while let Ok(Input::Frame(frame)) = source.next() {
            take(&frame);
        }
    }
}

#[test]
fn the_program_says_what_user_space_says() {
    let (mut frames, mut hit) = (0, [0_u32; SHARDS as usize]);
    every_frame(|frame| {
        let expected = steer::shard(steer::frame(SEED, frame), SHARDS as usize);
        let Link::Type(1) = frame.link else { return };
        let Some((header, ip)) = frame.bytes.split_first_chunk::<14>() else { return };
        if !matches!(header[12..], [8, 0] | [0x86, 0xdd]) {
            return;
        }
        assert_eq!(shard_by_program(Sees::Ip, ip), expected, "{frame:?}");
        frames += 1;
        hit[expected] += 1;
        // The same inside a mirror's copy, whichever way it is seen.
        let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0], frame.bytes].concat();
        let geneve = [&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 8, 1, 0], frame.bytes].concat();
        let mirror = |link, bytes| steer::frame(SEED, &Frame { link, bytes, ..*frame });
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let inside = steer::shard(mirror(Link::Mirror { source }, &vxlan), SHARDS as usize);
        assert_eq!(shard_by_program(Sees::Vxlan, &vxlan), inside);
        let other = steer::shard(mirror(Link::MirrorGeneve { source }, &geneve), SHARDS as usize);
        assert_eq!((shard_by_program(Sees::Geneve, &geneve), inside), (inside, other));
    });
    assert!(frames > 10_000, "{frames}");
    assert!(hit.iter().all(|count| *count > frames / 50), "{hit:?}");
}

#[test]
fn what_the_usual_stack_holds_is_steered_to_its_own_shard() {
    let decoder = Decoder::default();
    let mut segments = 0;
    every_frame(|frame| {
        let Some(straight) = decoder.straight(frame) else { return };
        let segment = straight.segment(frame.time);
        assert_eq!(steer::frame(SEED, frame), steer::segment(SEED, &segment), "{segment:?}");
        let back = crate::model::Segment { src: segment.dst, dst: segment.src, ..segment };
        assert_eq!(steer::segment(SEED, &back), steer::segment(SEED, &segment));
        segments += 1;
    });
    assert!(segments > 10_000, "{segments}");
}

#[test]
fn tags_are_looked_behind_and_fragments_go_by_their_addresses() {
    let frame = |tags: &[u8], fragment: [u8; 2], ports: [u8; 4]| {
        let mac = [2; 12];
        let ip =
            [0x45, 0, 0, 60, 0, 9, fragment[0], fragment[1], 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&[8, 0, 0, 0, 0, 0, 7, 0], &mac[..], tags, &[8, 0], &ip, &ports, &[0; 36]].concat()
    };
    let program = Program::new(Sees::Vxlan, SEED, 1 << 30);
    let hash = |tags: &[u8], fragment, ports| interpret(&program, &frame(tags, fragment, ports));
    let plain = hash(&[], [0, 0], [0, 9, 0, 8]);
    assert_eq!(hash(&[], [0x40, 0], [0, 8, 0, 9]), plain, "the other way");
    assert_eq!(hash(&[0x81, 0, 0, 5], [0, 0], [0, 9, 0, 8]), plain);
    assert_eq!(hash(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], [0, 0], [0, 9, 0, 8]), plain);
    assert_eq!(hash(&[0x81, 0, 0, 5].repeat(3), [0, 0], [0, 9, 0, 8]), 0, "too many");
    let first = hash(&[], [0x20, 0], [0, 9, 0, 8]);
    assert_eq!(hash(&[], [0, 7], [3, 3, 3, 3]), first, "no ports in what follows");
    assert_ne!(first, plain);
    let whole = frame(&[], [0, 0], [0, 9, 0, 8]);
    assert_eq!(interpret(&program, &whole[..45]), 0, "cut within the ports");
}
