//! Mirrored packets made by hand: Ethernet / IPv4 / UDP 4789 / VXLAN / Ethernet / IPv4 / TCP.

use cleartap::model::{Link, Timestamp};

use super::capture::Owned;

pub const SYN: u8 = 2;
pub const ACK: u8 = 16;
pub const FIN: u8 = 1;
pub const RST: u8 = 4;

/// Where a copy was taken.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub source: [u8; 4],
    pub vni: u32,
}

/// A TCP conversation whose packets can be copied at several vantages.
#[derive(Clone, Debug)]
pub struct Talk {
    pub client: ([u8; 4], u16),
    pub server: ([u8; 4], u16),
    seq: [u32; 2],
    time_ns: u64,
    pub packets: Vec<Packet>,
}

#[derive(Clone, Debug)]
pub struct Packet {
    time_ns: u64,
    from_client: bool,
    seq: u32,
    ack: u32,
    flags: u8,
    payload: Vec<u8>,
}

impl Talk {
    pub fn new(client: ([u8; 4], u16), server: ([u8; 4], u16), isn: [u32; 2]) -> Self {
        let time_ns = 1_700_000_000_000_000_000;
        Self { client, server, seq: isn, time_ns, packets: Vec::new() }
    }

    pub fn handshake(mut self) -> Self {
        self.push(true, SYN, b"");
        self.push(false, SYN | ACK, b"");
        self.push(true, ACK, b"");
        self
    }

    pub fn client(mut self, payload: &[u8]) -> Self {
        self.push(true, ACK | 8, payload);
        self
    }

    pub fn server(mut self, payload: &[u8]) -> Self {
        self.push(false, ACK | 8, payload);
        self
    }

    pub fn close(mut self) -> Self {
        self.push(true, FIN | ACK, b"");
        self.push(false, FIN | ACK, b"");
        self.push(true, ACK, b"");
        self
    }

    /// Nothing is said for so long.
    pub const fn pause(mut self, seconds: u64) -> Self {
        self.time_ns += seconds * 1_000_000_000;
        self
    }

    fn push(&mut self, from_client: bool, flags: u8, payload: &[u8]) {
        self.time_ns += 1_000_000;
        let (me, peer) = if from_client { (0, 1) } else { (1, 0) };
        let ack = if flags & ACK == 0 { 0 } else { self.seq[peer] };
        self.packets.push(Packet {
            time_ns: self.time_ns,
            from_client,
            seq: self.seq[me],
            ack,
            flags,
            payload: payload.to_vec(),
        });
        let length = u32::try_from(payload.len()).unwrap();
        let control = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.seq[me] = self.seq[me].wrapping_add(length + control);
    }

    /// Any segment; what it carries counts in the sequence numbers that follow.
    pub fn segment(mut self, from_client: bool, flags: u8, payload: &[u8]) -> Self {
        self.push(from_client, flags, payload);
        self
    }

    /// A segment without payload from somebody else, whose number is `distance` ahead of the sender's.
    pub fn forged(mut self, from_client: bool, flags: u8, distance: u32) -> Self {
        self.push(from_client, flags, b"");
        if let Some(packet) = self.packets.last_mut() {
            packet.seq = packet.seq.wrapping_add(distance);
        }
        self
    }

    /// The copies taken at one vantage.
    pub fn copies(&self, at: At) -> Vec<Owned> {
        self.packets.iter().map(|p| self.copy(p, at)).collect()
    }

    fn copy(&self, packet: &Packet, at: At) -> Owned {
        let (src, dst) = if packet.from_client {
            (self.client, self.server)
        } else {
            (self.server, self.client)
        };
        let mut tcp = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
        tcp.extend(packet.seq.to_be_bytes());
        tcp.extend(packet.ack.to_be_bytes());
        tcp.extend([0x50, packet.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(&packet.payload);
        let inner = ethernet(ipv4(6, src.0, dst.0, &tcp));
        let mut vxlan = vec![8, 0, 0, 0];
        vxlan.extend((at.vni << 8).to_be_bytes());
        vxlan.extend(inner);
        let length = u16::try_from(vxlan.len() + 8).unwrap();
        let mut udp = [54321_u16.to_be_bytes(), 4789_u16.to_be_bytes()].concat();
        udp.extend(length.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(vxlan);
        let bytes = ethernet(ipv4(17, at.source, [10, 255, 0, 1], &udp));
        Owned {
            time: Timestamp(packet.time_ns),
            link: Link::Type(1),
            wire_len: u32::try_from(bytes.len()).unwrap(),
            bytes,
        }
    }
}

fn ethernet(payload: Vec<u8>) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 20).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(src);
    packet.extend(dst);
    packet.extend(payload);
    packet
}

/// Several vantages' copies as they would arrive: by time.
pub fn merge(lists: &[Vec<Owned>]) -> Vec<Owned> {
    let mut all: Vec<Owned> = lists.concat();
    all.sort_by_key(|f| f.time);
    all
}
