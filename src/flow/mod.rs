//! Flows: who talks, how much, seen from where. Fixed capacity, aged by packet time.
//!
//! [`FlowTable`] owns the flows and decides when one begins and ends; [`Stream`] turns segments into contiguous bytes;
//! [`Tally`] counts what one vantage delivered of one direction. What is *said* about a flow is the engine's business:
//! each [`Flow`] carries it as an opaque `T`.
#![forbid(unsafe_code)]

mod coverage;
mod index;
mod roles;
mod slab;
mod stream;
mod table;
mod vantage;

pub use coverage::{Coverage, Seen};
pub use roles::first_guess;
pub use stream::{Gap, HELD_SEGMENTS_MAX, Pushed, Stream};
pub use table::{Arrival, FlowId, FlowTable, Limits, NextSegment, TableCounters};
pub use vantage::{VantageId, VantageTable};

use crate::model::{FlowKey, Origin, Roles, Segment, Side, State, TcpHeader, Timestamp, Transport};

/// One conversation between two endpoints.
#[derive(Debug)]
pub struct Flow<T> {
    /// Scope and canonical 5-tuple.
    pub key: FlowKey,
    /// Number of the packet that began it: the order of creation, for stable output.
    pub serial: u64,
    /// First and last packet.
    pub first: Timestamp,
    /// Last packet.
    pub last: Timestamp,
    /// From `key.a`, and from `key.b`.
    pub directions: [Direction; 2],
    /// Which direction is the client's.
    pub client: usize,
    /// How we know.
    pub roles: Roles,
    /// Whether the beginning was seen.
    pub origin: Origin,
    /// How it stands.
    pub state: State,
    /// What the engine keeps.
    pub data: T,
}

/// What one end sends.
#[derive(Debug, Default)]
pub struct Direction {
    /// First sequence number after the SYN, when seen.
    pub isn: Option<u32>,
    /// First and highest acknowledgement number sent in this direction.
    pub acked: Option<(u32, u32)>,
    /// FIN seen.
    pub fin: bool,
    /// Sequence number of the RST that was believed and that answers nothing.
    pub reset: Option<u32>,
    /// What the first vantage delivered.
    main: Tally,
    /// What further vantages delivered.
    more: Option<Box<Further>>,
}

/// Tallies of further vantages: most flows have none.
#[derive(Debug, Default)]
struct Further(Vec<Tally>);

/// How long a closed connection waits for late copies once both FINs are acknowledged.
const ACKNOWLEDGED_LINGER_NS_MAX: u64 = 2 * crate::model::time::NS_PER_S;

/// Sequence numbers further apart than this belong to different connections.
const SEQUENCE_DISTANCE_MAX: u32 = 1 << 24;

const fn is_close(seq: u32, ack: u32) -> bool {
    seq.wrapping_sub(ack).cast_signed().unsigned_abs() <= SEQUENCE_DISTANCE_MAX
}

/// Most vantages counted for one direction.
pub const VANTAGES_MAX: usize = 4;

/// Packets and bytes of one direction from one vantage.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Which vantage.
    pub vantage: VantageId,
    /// Packets.
    pub packets: u64,
    /// Bytes of the innermost IP packets, headers included.
    pub bytes: u64,
    /// Payload bytes according to the headers, retransmissions included.
    pub payload: u64,
    /// Copies that arrived cut.
    pub truncated: u32,
    /// TCP segments that brought only what had been seen.
    pub retransmits: u32,
    /// TCP sequence space seen.
    pub coverage: Coverage,
}

impl Direction {
    /// Counts one packet; false if its vantage finds no room.
    fn count(&mut self, vantage: VantageId, segment: &Segment<'_>) -> bool {
        let Some(tally) = self.tally_mut(vantage) else { return false };
        tally.packets += 1;
        tally.bytes += u64::from(segment.ip_len);
        tally.payload += u64::from(segment.payload_len);
        let captured = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        tally.truncated += u32::from(captured < segment.payload_len);
        if let Some(tcp) = segment.tcp {
            let control = u32::from(tcp.has(TcpHeader::SYN)) + u32::from(tcp.has(TcpHeader::FIN));
            let length = segment.payload_len + control;
            if length > 0 && tally.coverage.add(tcp.seq, length) == Seen::Again {
                tally.retransmits += 1;
            }
        }
        true
    }

    /// Whether `seq` is near what was seen here, or near what the other end acknowledged of it.
    fn is_near(&self, seq: u32, acked: Option<u32>) -> bool {
        if self.more.is_none() && self.main.coverage.has_begun() {
            let distance = self.main.coverage.distance(seq);
            return distance <= SEQUENCE_DISTANCE_MAX
                || acked.is_some_and(|ack| is_close(seq, ack));
        }
        let mut seen = self.tallies().filter(|t| t.coverage.has_begun()).peekable();
        if seen.peek().is_none() && acked.is_none() {
            return true;
        }
        let acked = acked.is_some_and(|ack| is_close(seq, ack));
        acked || seen.any(|t| t.coverage.distance(seq) <= SEQUENCE_DISTANCE_MAX)
    }

    /// Whether what was seen here ends before this sequence number.
    fn ends_at(&self, next: u32) -> bool {
        self.elected().0.coverage.ends_at(next)
    }

    fn tally_mut(&mut self, vantage: VantageId) -> Option<&mut Tally> {
        if self.main.packets == 0 {
            self.main.vantage = vantage;
        }
        if self.main.vantage == vantage {
            return Some(&mut self.main);
        }
        let Further(more) = &mut **self.more.get_or_insert_default();
        if let Some(at) = more.iter().position(|t| t.vantage == vantage) {
            return more.get_mut(at);
        }
        if more.len() + 1 >= VANTAGES_MAX {
            return None;
        }
        more.push(Tally { vantage, ..Tally::default() });
        more.last_mut()
    }

    /// Every vantage's tally, in order of appearance; none before the first packet.
    pub fn tallies(&self) -> impl Iterator<Item = &Tally> {
        let more = self.more.iter().flat_map(|further| &further.0);
        std::iter::once(&self.main).chain(more).filter(|t| t.packets > 0)
    }

    /// Whether `vantage` has delivered a packet of this direction.
    pub fn knows(&self, vantage: VantageId) -> bool {
        if self.main.vantage == vantage && self.main.packets > 0 {
            return true;
        }
        self.tallies().any(|t| t.vantage == vantage)
    }

    /// The vantage to count by: one without gaps that saw all the others saw, else the one that saw most.
    ///
    /// The flag tells whether the counts are exact: no gap in its sequence space, nothing before or after it elsewhere.
    pub fn elected(&self) -> (&Tally, bool) {
        if self.more.is_none() {
            return (&self.main, self.main.packets == 0 || self.main.coverage.is_gapless());
        }
        let widest = self.tallies().fold(None, |all: Option<Coverage>, t| match all {
            Some(all) => Some(all.union_bounds(&t.coverage)),
            None => Some(t.coverage.bounds()),
        });
        let Some(widest) = widest else { return (&self.main, true) };
        // A lost pure acknowledgement leaves no hole, so among equals the one that saw most is nearest to the truth.
        let most = |t: &&Tally| (t.packets, t.bytes, std::cmp::Reverse(t.vantage));
        // Without sequence numbers vantages that saw unequal numbers of packets may each have missed some.
        let packets = self.main.packets;
        let unequal = !widest.has_begun() && self.tallies().any(|t| t.packets != packets);
        let complete =
            |t: &&Tally| !unequal && t.coverage.is_gapless() && t.coverage.same_bounds(&widest);
        match self.tallies().filter(complete).max_by_key(most) {
            Some(tally) => (tally, true),
            None => (self.tallies().max_by_key(most).unwrap_or(&self.main), false),
        }
    }

    /// Notes an acknowledgement number sent in this direction.
    fn acknowledge(&mut self, ack: u32) {
        self.acked = Some(match self.acked {
            None => (ack, ack),
            Some((first, high)) if ack.wrapping_sub(high).cast_signed() > 0 => (first, ack),
            Some(range) => range,
        });
    }

    /// Whether the acknowledgements sent here cover all that was seen of `other`.
    fn acknowledges(&self, other: &Self) -> bool {
        self.acked.is_some_and(|(_, high)| other.ends_at(high))
    }

    /// Whether the acknowledgements sent here prove that the other end has sent payload.
    ///
    /// `syn_seen`: the first acknowledgement is that of a SYN/ACK exchange and covers no payload.
    pub fn acks_payload(&self) -> bool {
        self.acked.is_some_and(|(first, high)| high.wrapping_sub(first) > 1)
    }
}

impl<T> Flow<T> {
    /// Counts `segment`, sent in `direction` and copied at `vantage`; follows the TCP state.
    fn count(
        &mut self,
        direction: usize,
        vantage: VantageId,
        segment: &Segment<'_>,
        counters: &mut TableCounters,
    ) {
        self.first = self.first.min(segment.time);
        self.last = self.last.max(segment.time);
        let acked = self.acked().get(direction).copied().flatten();
        let Some(dir) = self.directions.get_mut(direction) else { return };
        let near = segment.tcp.is_none_or(|tcp| dir.is_near(tcp.seq, acked));
        counters.copies_uncounted += u64::from(!dir.count(vantage, segment));
        let Some(tcp) = segment.tcp else { return };
        // No end of this connection sent it (RFC 5961 section 3): what it says of the state is not believed.
        if tcp.has(TcpHeader::RST) && !near {
            counters.blind_resets += 1;
            return;
        }
        if tcp.has(TcpHeader::ACK) {
            dir.acknowledge(tcp.ack);
        }
        if tcp.has(TcpHeader::SYN) {
            dir.isn = Some(tcp.seq);
            self.origin = Origin::Start;
            self.roles = Roles::Handshake;
            self.client = if tcp.has(TcpHeader::ACK) { 1 - direction } else { direction };
        }
        if let Some(dir) = self.directions.get_mut(direction) {
            dir.fin |= tcp.has(TcpHeader::FIN);
        }
        // After both FINs an RST only hurries the end.
        if tcp.has(TcpHeader::RST) && self.state == State::Open {
            self.state = State::Reset;
            // Without an acknowledgement it answers a segment (RFC 9293 section 3.10.7.1), maybe one that was not seen.
            if let Some(dir) = self.directions.get_mut(direction) {
                dir.reset = Some(tcp.seq).filter(|_| tcp.has(TcpHeader::ACK));
            }
        } else if self.state == State::Open && self.directions.iter().all(|d| d.fin) {
            self.state = State::Closed;
        }
    }

    /// What [`Self::count`] does with a segment that joins what was seen, and changes no state. False, and nothing is done,
    /// if it is another.
    fn move_on(&mut self, next: &NextSegment) -> bool {
        let control = TcpHeader::SYN | TcpHeader::FIN | TcpHeader::RST;
        if self.state != State::Open || next.tcp.flags & control != 0 {
            return false;
        }
        let Some(dir) = self.directions.get_mut(next.direction) else { return false };
        let tally = &mut dir.main;
        let known = tally.vantage == next.vantage && tally.packets > 0;
        if !known || !tally.coverage.extend(next.tcp.seq, next.payload_len) {
            return false;
        }
        tally.packets += 1;
        tally.bytes += u64::from(next.ip_len);
        tally.payload += u64::from(next.payload_len);
        if next.tcp.has(TcpHeader::ACK) {
            dir.acknowledge(next.tcp.ack);
        }
        self.first = self.first.min(next.time);
        self.last = self.last.max(next.time);
        true
    }

    /// Whether `vantage` is the one that first delivered `direction`.
    pub fn is_first_vantage(&self, direction: usize, vantage: VantageId) -> bool {
        self.directions.get(direction).is_some_and(|d| d.main.vantage == vantage)
    }

    /// Highest acknowledgement sent *to* each direction's sender.
    pub fn acked(&self) -> [Option<u32>; 2] {
        let [a, b] = &self.directions;
        [b.acked.map(|(_, high)| high), a.acked.map(|(_, high)| high)]
    }

    /// What `side` sends.
    pub const fn direction(&self, side: Side) -> &Direction {
        let [a, b] = &self.directions;
        match (side, self.client) {
            (Side::Client, 0) | (Side::Server, 1..) => a,
            (Side::Client, 1..) | (Side::Server, 0) => b,
        }
    }

    /// Whether the connection is over and numbers show that neither end said more than was seen: FINs stand where the
    /// data ends; who resets names its next number and has acknowledged all that was seen of the other; after a silence
    /// all is acknowledged.
    pub fn is_seen_to_its_end(&self) -> bool {
        let [a, b] = &self.directions;
        let left = |by: &Direction, of: &Direction| {
            by.reset.is_some_and(|seq| by.ends_at(seq)) && by.acknowledges(of)
        };
        match self.state {
            State::Closed => true,
            State::Reset => left(a, b) || left(b, a),
            State::Timeout => self.is_acknowledged(),
            State::Open | State::Evicted => false,
        }
    }

    /// Whether each end has acknowledged all that was seen of the other.
    fn is_acknowledged(&self) -> bool {
        let [a, b] = &self.directions;
        a.acknowledges(b) && b.acknowledges(a)
    }

    /// Packet and payload counts over all vantages, for liveness only.
    pub fn has_payload(&self, side: Side) -> bool {
        self.direction(side).tallies().any(|t| t.payload > 0)
    }

    /// Idle time after which the flow ends.
    fn idle_ns_max(&self, limits: &Limits) -> u64 {
        match (self.key.transport, self.state) {
            (Transport::Tcp, State::Open) if self.directions.iter().all(|d| d.main.packets > 0) => {
                limits.tcp_idle_ns
            }
            (Transport::Tcp, State::Open) if self.directions.iter().any(|d| d.main.payload > 0) => {
                limits.tcp_idle_ns
            }
            (Transport::Tcp, State::Open) => limits.half_open_idle_ns,
            // Nobody has anything left to send again.
            (Transport::Tcp, State::Closed) if self.is_acknowledged() => {
                limits.linger_ns.min(ACKNOWLEDGED_LINGER_NS_MAX)
            }
            (Transport::Tcp, _) => limits.linger_ns,
            (Transport::Udp | Transport::Esp, _) => limits.udp_idle_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, ScopeId};

    fn datagram(source: u16, destination: u16) -> Segment<'static> {
        Segment {
            time: Timestamp(0),
            vantage: None,
            endpoint_id: 0,
            transport: Transport::Udp,
            src: Endpoint::from(([10, 0, 0, 1], source)),
            dst: Endpoint::from(([10, 0, 0, 2], destination)),
            tcp: None,
            payload: b"x",
            payload_len: 1,
            ip_len: 29,
        }
    }

    #[test]
    fn datagrams_that_two_vantages_saw_in_unequal_numbers_are_not_counted_exactly() {
        for (seen, exact) in [([5, 5], true), ([5, 4], false), ([4, 5], false), ([5, 0], true)] {
            let mut direction = Direction::default();
            for (vantage, count) in (1..).zip(seen) {
                for _ in 0..count {
                    direction.count(VantageId(vantage), &datagram(40_000, 53));
                }
            }
            let (tally, said) = direction.elected();
            assert_eq!((tally.packets, said), (5, exact), "{seen:?}");
        }
    }

    #[test]
    fn a_full_table_pushes_out_the_idle_not_the_busy() {
        let limits = Limits { flows_max: 3, ..Limits::default() };
        let mut table = FlowTable::<()>::new(limits);
        let mut ended = Vec::new();
        let mut arrive = |port: u16, second: u64| {
            let segment = Segment { time: Timestamp(second * 1_000_000_000), ..datagram(port, 53) };
            let (key, _) = FlowKey::new(ScopeId(0), Transport::Udp, segment.src, segment.dst);
            table.expire(segment.time, &mut ended);
            let guess = |_: &Segment<'_>| (true, Roles::Guess);
            let vantage = VantageId(0);
            table.arrive(
                &Arrival { key, direction: 0, vantage, segment: &segment, guess, serial: 0 },
                &mut ended,
            );
        };
        arrive(1, 0);
        for second in 1..30 {
            arrive(1, second);
        }
        arrive(2, 10);
        arrive(3, 29);
        arrive(4, 30);
        let ports: Vec<u16> = ended.iter().map(|f| f.key.a.port()).collect();
        assert_eq!(ports, [2]);
    }
}
