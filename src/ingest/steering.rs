//! The kernel hands each copy to the shard that owns its inner flow: [`steer::frame`] as a classic BPF program, for the
//! sockets of a `SO_REUSEPORT` group and for a packet fanout.
//!
//! Linux: `Documentation/networking/filter.rst`, `socket(7)` (`SO_ATTACH_REUSEPORT_CBPF`), `packet(7)` (`PACKET_FANOUT`).
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    getsockopt_impl,
    libc::{self, sock_filter, sock_fprog},
    setsockopt_impl, sockopt_impl,
    sys::socket::{getsockopt, setsockopt, sockopt},
};

use crate::wire::steer;

/// What the first byte is that a program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// A VXLAN header: the payload of a datagram.
    Vxlan,
    /// A GENEVE header: the payload of a datagram.
    Geneve,
    /// A network header; the outer one, if it is a mirror's copy.
    Ip,
}

/// A program that gives the number of the shard.
#[derive(Clone, Debug)]
pub struct Program(Vec<sock_filter>);

impl Program {
    /// For so many shards.
    pub fn new(view: Sees, seed: u32, shards: u32) -> Self {
        let mut asm = Assembler::new(if view == Sees::Ip { NETWORK_HEADER } else { 0 });
        asm.entry(view);
        asm.ethernet();
        asm.ip();
        asm.ports();
        asm.finish(seed, shards.max(1));
        Self(asm.link())
    }

    /// Steers the `SO_REUSEPORT` group that this socket is of. The number of a shard is that of its socket, in order of
    /// binding.
    pub fn steer_group(&mut self, socket: &impl AsFd) -> io::Result<()> {
        let program = self.program();
        Ok(setsockopt(socket, sockopt::AttachReusePortCbpf, &program)?)
    }

    /// Joins packet sockets of one interface, bound already, to a fanout that this program steers.
    pub fn steer_fanout(&mut self, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let kind = PACKET_FANOUT_CBPF << 16;
        let mut group = kind | PACKET_FANOUT_FLAG_UNIQUEID << 16;
        for (at, socket) in sockets.iter().enumerate() {
            setsockopt(socket, Fanout, &group)?;
            if at == 0 {
                // The kernel chose a number that no other sensor has.
                group = kind | getsockopt(socket, Fanout)? & 0xffff;
                setsockopt(socket, FanoutData, &self.program())?;
            }
        }
        Ok(())
    }

    /// As the kernel takes it; it copies what this points to.
    fn program(&mut self) -> sock_fprog {
        let len = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        sock_fprog { len, filter: self.0.as_mut_ptr() }
    }
}

sockopt_impl!(
    /// `PACKET_FANOUT`: number of the group, kind and flags.
    Fanout, Both, libc::SOL_PACKET, libc::PACKET_FANOUT, u32);
sockopt_impl!(
    /// `PACKET_FANOUT_DATA`: the program of the group.
    FanoutData, SetOnly, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, sock_fprog);

const PACKET_FANOUT_CBPF: u32 = 6;
const PACKET_FANOUT_FLAG_UNIQUEID: u32 = 0x2000;

/// `SKF_NET_OFF`: loads relative to the network header, wherever the kernel's view begins.
const NETWORK_HEADER: u32 = 0xfff0_0000;

/// Jumps by name.
type Label = &'static str;

/// A jump, and where to.
#[derive(Clone, Copy)]
struct Jump {
    at: usize,
    to: Label,
}

/// Memory words of the program.
mod word {
    pub(super) const ADDRESSES: u32 = 0;
    pub(super) const PORTS: u32 = 1;
    pub(super) const PROTOCOL: u32 = 2;
    pub(super) const SPARE: u32 = 3;
    pub(super) const HEADER: u32 = 15;
}

/// Loads are relative to X plus `base`.
struct Assembler {
    base: u32,
    code: Vec<sock_filter>,
    labels: BTreeMap<Label, usize>,
    jumps: Vec<Jump>,
}

impl Assembler {
    const fn new(base: u32) -> Self {
        Self { base, code: Vec::new(), labels: BTreeMap::new(), jumps: Vec::new() }
    }

    /// X to the inner Ethernet header, or on to the IP header.
    fn entry(&mut self, view: Sees) {
        match view {
            Sees::Vxlan => {
                self.op(LDX | IMM, 8);
                self.go("ethernet");
            }
            Sees::Geneve => {
                self.op(LDX | IMM, 0);
                self.go("geneve");
            }
            Sees::Ip => self.outer(),
        }
        // X is where the GENEVE header is.
        self.label("geneve");
        self.load(H, 2);
        self.op(ST, word::SPARE);
        self.load(B, 0);
        self.op(AND, 0x3f);
        self.op(LSH, 2);
        self.op(ADD | X, 0);
        self.op(ADD, 8);
        self.op(TAX, 0);
        self.op(LD | MEM, word::SPARE);
        self.if_equal(ETHERNET, "ethernet");
        self.go("ip");
    }

    /// An outer header that may carry a mirror's copy.
    fn outer(&mut self) {
        self.op(LDX | IMM, 0);
        self.load(B, 0);
        self.op(RSH, 4);
        self.if_equal(6, "outer v6");
        self.unless_equal(4, "ip");
        self.load(H, 6);
        self.op(AND, FRAGMENT);
        self.unless_equal(0, "ip");
        self.load(B, 9);
        self.unless_equal(UDP, "ip");
        self.load(B, 0);
        self.op(AND, 15);
        self.op(LSH, 2);
        self.op(TAX, 0);
        self.go("datagram");
        self.label("outer v6");
        self.load(B, 6);
        self.unless_equal(UDP, "ip");
        self.op(LDX | IMM, 40);
        self.label("datagram");
        self.load(H, 2);
        self.op(ST, word::SPARE);
        // Past the UDP header, and the VXLAN header.
        self.op(TXA, 0);
        self.op(ADD, 8);
        self.op(TAX, 0);
        self.op(LD | MEM, word::SPARE);
        self.if_equal(u32::from(steer::GENEVE_PORT), "geneve");
        self.unless_equal(u32::from(steer::VXLAN_PORT), "no mirror");
        self.advance(8);
        self.go("ethernet");
        self.label("no mirror");
        self.op(LDX | IMM, 0);
        self.go("ip");
    }

    /// X from the Ethernet header to the IP header.
    fn ethernet(&mut self) {
        self.label("ethernet");
        for tags in 0..=steer::TAGS_MAX {
            self.load(H, 12);
            self.if_equal(ETHERTYPE_V4, "untagged");
            self.if_equal(ETHERTYPE_V6, "untagged");
            let Some(next) = TAGGED.get(usize::from(tags)) else { break };
            let [one, other] = steer::TAGS.map(u32::from);
            self.if_equal(one, next);
            self.unless_equal(other, "zero");
            self.label(next);
            self.advance(4);
        }
        self.go("zero");
        self.label("untagged");
        self.advance(14);
    }

    /// The addresses of the IP header at X; X to the ports, if there are any.
    fn ip(&mut self) {
        self.label("ip");
        self.op(STX, word::HEADER);
        self.op(LD | IMM, 0);
        self.op(ST, word::ADDRESSES);
        self.op(ST, word::PORTS);
        self.load(B, 0);
        self.op(RSH, 4);
        self.if_equal(6, "v6");
        self.unless_equal(4, "zero");
        self.add_words(12, 2);
        self.load(H, 6);
        self.op(AND, FRAGMENT);
        self.unless_equal(0, "finish");
        self.load(B, 9);
        self.op(ST, word::PROTOCOL);
        self.load(B, 0);
        self.op(AND, 15);
        self.op(LSH, 2);
        self.go("transport");
        self.label("v6");
        self.add_words(8, 8);
        self.load(B, 6);
        self.op(ST, word::PROTOCOL);
        self.op(LD | IMM, 40);
        self.label("transport");
        self.op(ADD | X, 0);
        self.op(TAX, 0);
        self.op(LD | MEM, word::PROTOCOL);
        self.if_equal(TCP, "ports");
        self.unless_equal(UDP, "finish");
    }

    /// The sum of both ports, unless another tunnel is behind them.
    fn ports(&mut self) {
        self.label("ports");
        self.load(H, 0);
        self.op(ST, word::SPARE);
        self.load(H, 2);
        self.op(ST, word::PORTS);
        self.op(LD | MEM, word::PROTOCOL);
        self.unless_equal(UDP, "sum");
        self.op(LD | MEM, word::PORTS);
        for port in steer::TUNNEL_PORTS {
            self.if_equal(u32::from(port), "tunnel");
        }
        self.label("sum");
        self.op(LD | MEM, word::PORTS);
        self.op(LDX | MEM, word::SPARE);
        self.op(ADD | X, 0);
        self.op(ST, word::PORTS);
        self.go("finish");
        self.label("tunnel");
        self.op(LD | IMM, 0);
        self.op(ST, word::PORTS);
    }

    /// [`steer::mix`], and the remainder.
    fn finish(&mut self, seed: u32, shards: u32) {
        let [a, b, c] = steer::MIX;
        self.label("finish");
        self.op(LD | MEM, word::ADDRESSES);
        self.op(MUL, a);
        self.op(ST, word::ADDRESSES);
        self.op(LD | MEM, word::PORTS);
        self.op(MUL, b);
        self.op(LDX | MEM, word::ADDRESSES);
        self.op(XOR | X, 0);
        self.op(XOR, seed);
        self.op(TAX, 0);
        self.op(RSH, 16);
        self.op(XOR | X, 0);
        self.op(MUL, c);
        self.op(TAX, 0);
        self.op(RSH, 15);
        self.op(XOR | X, 0);
        self.op(MOD, shards);
        self.op(RET_A, 0);
        self.label("zero");
        self.op(RET, 0);
    }

    /// Adds words of the header at X to the sum of addresses; X stays.
    fn add_words(&mut self, offset: u32, count: u32) {
        for at in 0..count {
            self.load(W, offset + 4 * at);
            self.op(LDX | MEM, word::ADDRESSES);
            self.op(ADD | X, 0);
            self.op(ST, word::ADDRESSES);
            self.op(LDX | MEM, word::HEADER);
        }
    }

    fn advance(&mut self, bytes: u32) {
        self.op(TXA, 0);
        self.op(ADD, bytes);
        self.op(TAX, 0);
    }

    /// A from the bytes at X plus `offset`.
    fn load(&mut self, size: u16, offset: u32) {
        self.op(LD | IND | size, self.base.wrapping_add(offset));
    }

    fn op(&mut self, code: u16, k: u32) {
        self.code.push(sock_filter { code, jt: 0, jf: 0, k });
    }

    fn label(&mut self, label: Label) {
        self.labels.insert(label, self.code.len());
    }

    fn go(&mut self, label: Label) {
        self.jumps.push(Jump { at: self.code.len(), to: label });
        self.op(JA, 0);
    }

    fn if_equal(&mut self, k: u32, label: Label) {
        // Over a long jump, whose reach is not bounded by a byte.
        self.code.push(sock_filter { code: JEQ, jt: 0, jf: 1, k });
        self.go(label);
    }

    fn unless_equal(&mut self, k: u32, label: Label) {
        self.code.push(sock_filter { code: JEQ, jt: 1, jf: 0, k });
        self.go(label);
    }

    /// Puts distances in the place of labels; all jumps go forward.
    fn link(mut self) -> Vec<sock_filter> {
        for Jump { at, to } in self.jumps {
            let distance = self.labels.get(to).and_then(|target| target.checked_sub(at + 1));
            debug_assert!(distance.is_some(), "{to} is not ahead");
            if let (Some(jump), Some(distance)) = (self.code.get_mut(at), distance) {
                jump.k = u32::try_from(distance).unwrap_or(0);
            }
        }
        self.code
    }
}

/// Behind each tag.
const TAGGED: [Label; steer::TAGS_MAX as usize] = ["tagged once", "tagged twice"];

const ETHERNET: u32 = 0x6558;
const ETHERTYPE_V4: u32 = 0x0800;
const ETHERTYPE_V6: u32 = 0x86dd;
/// More fragments, and the offset.
const FRAGMENT: u32 = 0x3fff;
const TCP: u32 = 6;
const UDP: u32 = 17;

/// Instructions of classic BPF; `linux/bpf_common.h` and `linux/filter.h`.
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ADD: u16 = 0x04;
const MUL: u16 = 0x24;
const AND: u16 = 0x54;
const LSH: u16 = 0x64;
const RSH: u16 = 0x74;
const MOD: u16 = 0x94;
const XOR: u16 = 0xa4;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const RET: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
/// Operand X instead of k.
const X: u16 = 0x08;
const IMM: u16 = 0x00;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const W: u16 = 0x00;
const H: u16 = 0x08;
const B: u16 = 0x10;

#[cfg(test)]
mod tests;
