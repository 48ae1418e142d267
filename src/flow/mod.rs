//! Flows: who talks, how much, seen from where. Fixed capacity, aged by packet time.
//!
//! [`FlowTable`] owns the flows and decides when one begins and ends; [`Stream`] turns segments into contiguous bytes;
//! [`Tally`] counts what one vantage delivered of one direction. What is *said* about a flow is the engine's business:
//! each [`Flow`] carries it as an opaque `T`.
#![forbid(unsafe_code)]

mod coverage;
mod direction;
mod index;
mod key;
mod limits;
mod roles;
mod stream;
mod table;
mod vantage;

pub use coverage::{Coverage, Seen};
pub use direction::{Direction, Tally, VANTAGES_MAX};
use key::Key;
pub use limits::{Limits, TableCounters};
pub use roles::first_guess;
pub use stream::{Gap, HELD_SEGMENTS_MAX, Pushed, Stream};
pub use table::{Arrival, FlowId, FlowTable, NextSegment};
pub use vantage::{VantageId, VantageTable};

use crate::model::{FlowKey, Origin, Roles, Segment, Side, State, TcpHeader, Timestamp, Transport};

/// One conversation between two endpoints. With `T` of 24 bytes it takes 160: a table holds hundreds of thousands. What most
/// flows lack stands apart: further vantages, holes, cut copies, retransmissions (in [`Direction`]), the addresses of IPv6.
#[derive(Debug)]
pub struct Flow<T> {
    key: Key,
    /// Number of the packet that began it: the order of creation, for stable output.
    pub serial: u64,
    /// First and last packet.
    pub first: Timestamp,
    /// Last packet.
    pub last: Timestamp,
    /// From `key.a`, and from `key.b`.
    pub directions: [Direction; 2],
    /// Whether the second direction is the client's.
    second_asks: bool,
    /// How we know.
    pub roles: Roles,
    /// Whether the beginning was seen.
    pub origin: Origin,
    /// How it stands.
    pub state: State,
    /// How it stands when load is shed.
    pub standing: Standing,
    /// Its place on the timer wheel.
    timer: Timer,
    /// The list of the wheel that it is in.
    timer_place: u16,
    /// What the engine keeps.
    pub data: T,
}

/// How a flow stands in the engine's books of load. Here, not in `T`, for that has no byte left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not in them.
    #[default]
    Out,
    /// Every packet may tell something.
    Undecided,
    /// Packets only move counters.
    Decided,
}

/// Neighbours in a list of the timer wheel: that of the second in which the flow is due.
#[derive(Clone, Copy, Debug)]
struct Timer {
    previous: u32,
    next: u32,
}

/// How long a question and its answer over UDP wait for another: as long as resolvers ask again.
const ONE_EXCHANGE_IDLE_NS_MAX: u64 = 10 * crate::model::time::NS_PER_S;

/// How long a closed connection waits for late copies where nobody has anything left to send again.
const NOTHING_LEFT_LINGER_NS_MAX: u64 = 2 * crate::model::time::NS_PER_S;

/// Sequence numbers further apart than this belong to different connections.
const SEQUENCE_DISTANCE_MAX: u32 = 1 << 24;

const fn is_close(seq: u32, ack: u32) -> bool {
    seq.wrapping_sub(ack).cast_signed().unsigned_abs() <= SEQUENCE_DISTANCE_MAX
}

impl<T> Flow<T> {
    /// Scope and canonical 5-tuple.
    pub fn key(&self) -> FlowKey {
        self.key.whole()
    }

    /// Which direction is the client's.
    pub fn client(&self) -> usize {
        usize::from(self.second_asks)
    }

    /// Which direction is the client's, and how we know.
    pub fn learn_roles(&mut self, client: usize, roles: Roles) {
        (self.second_asks, self.roles) = (client != 0, roles);
    }

    /// Whether payload has come since this was last asked.
    pub fn take_moved(&mut self) -> bool {
        let [a, b] = &mut self.directions;
        a.take_moved() | b.take_moved()
    }

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
            dir.begin(tcp.seq);
            self.origin = Origin::Start;
            let client = if tcp.has(TcpHeader::ACK) { 1 - direction } else { direction };
            self.learn_roles(client, Roles::Handshake);
        }
        if let Some(dir) = self.directions.get_mut(direction).filter(|_| tcp.has(TcpHeader::FIN)) {
            dir.finish();
        }
        // After both FINs an RST only hurries the end.
        if tcp.has(TcpHeader::RST) && self.state == State::Open {
            self.state = State::Reset;
            // Without an acknowledgement it answers a segment (RFC 9293 section 3.10.7.1), maybe one that was not seen.
            if let Some(dir) = self.directions.get_mut(direction) {
                dir.reset(Some(tcp.seq).filter(|_| tcp.has(TcpHeader::ACK)));
            }
        } else if self.state == State::Open && self.directions.iter().all(Direction::is_finished) {
            self.state = State::Closed;
        }
    }

    /// What [`Self::count`] does with a segment that joins what was seen, and changes no state. False, and nothing is done,
    /// if it is another.
    #[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
    #[inline(always)]
    fn move_on<A: Copy>(&mut self, next: &NextSegment<A>) -> bool {
        if self.state != State::Open || next.tcp.is_control() {
            return false;
        }
        let Some(dir) = self.directions.get_mut(next.direction) else { return false };
        if !dir.extend(next) {
            return false;
        }
        if next.tcp.has(TcpHeader::ACK) {
            dir.acknowledge(next.tcp.ack);
        }
        self.first = self.first.min(next.time);
        self.last = self.last.max(next.time);
        true
    }

    /// Whether `vantage` is the one that first delivered `direction`.
    pub fn is_first_vantage(&self, direction: usize, vantage: VantageId) -> bool {
        self.directions.get(direction).is_some_and(|d| d.first_vantage() == vantage)
    }

    /// Highest acknowledgement sent *to* each direction's sender.
    pub fn acked(&self) -> [Option<u32>; 2] {
        let [a, b] = &self.directions;
        [b.acked(), a.acked()]
    }

    /// What `side` sends.
    pub const fn direction(&self, side: Side) -> &Direction {
        let [a, b] = &self.directions;
        match (side, self.second_asks) {
            (Side::Client, false) | (Side::Server, true) => a,
            (Side::Client, true) | (Side::Server, false) => b,
        }
    }

    /// Whether the connection is over and numbers show that neither end said more than was seen: FINs stand where the
    /// data ends; who resets names its next number and has acknowledged all that was seen of the other; after a silence
    /// all is acknowledged.
    pub fn is_seen_to_its_end(&self) -> bool {
        let [a, b] = &self.directions;
        let left = |by: &Direction, of: &Direction| {
            by.reset_at().is_some_and(|seq| by.ends_at(seq)) && by.acknowledges(of)
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
        self.direction(side).has_payload()
    }

    /// One datagram each way: a question and its answer.
    fn is_one_exchange(&self) -> bool {
        self.key.transport() == Transport::Udp && self.directions.iter().all(Direction::is_single)
    }

    /// Closed, and both FINs are acknowledged; or refused, so that there was nothing.
    fn has_nothing_to_send_again(&self) -> bool {
        match self.state {
            State::Closed => self.is_acknowledged(),
            State::Reset => !self.directions.iter().any(Direction::has_payload),
            _ => false,
        }
    }

    /// Idle time after which the flow ends.
    fn idle_ns_max(&self, limits: &Limits) -> u64 {
        match (self.key.transport(), self.state) {
            (Transport::Tcp, State::Open) if self.directions.iter().all(Direction::is_seen) => {
                limits.tcp_idle_ns
            }
            (Transport::Tcp, State::Open) if self.directions.iter().any(Direction::has_payload) => {
                limits.tcp_idle_ns
            }
            (Transport::Tcp, State::Open) => limits.half_open_idle_ns,
            (Transport::Tcp, _) if self.has_nothing_to_send_again() => {
                limits.linger_ns.min(NOTHING_LEFT_LINGER_NS_MAX)
            }
            (Transport::Tcp, _) => limits.linger_ns,
            (Transport::Udp, _) if self.is_one_exchange() => {
                limits.udp_idle_ns.min(ONE_EXCHANGE_IDLE_NS_MAX)
            }
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

    /// Seconds in which the flow of these packets (forward or not, flags of TCP) ended, one packet a second.
    fn ends_at(packets: &[(bool, Option<u8>)]) -> u64 {
        let mut table = FlowTable::<()>::new(Limits::default());
        let mut ended = Vec::new();
        for (second, (forward, flags)) in (0..).zip(packets) {
            let mut segment = Segment {
                time: Timestamp(second * 1_000_000_000),
                payload: if flags.is_some() { b"" } else { b"x" },
                payload_len: u32::from(flags.is_none()),
                tcp: flags.map(|flags| TcpHeader { seq: 1, ack: 2, flags }),
                ..datagram(1000, 53)
            };
            if !forward {
                (segment.src, segment.dst) = (segment.dst, segment.src);
            }
            let transport = if flags.is_some() { Transport::Tcp } else { Transport::Udp };
            segment.transport = transport;
            let (key, _) = FlowKey::new(ScopeId(0), transport, segment.src, segment.dst);
            table.expire(segment.time, &mut ended);
            table.arrive(
                &Arrival {
                    key,
                    direction: usize::from(!forward),
                    vantage: VantageId(0),
                    segment: &segment,
                    serial: 0,
                    guess: |_| (true, Roles::Guess),
                },
                &mut ended,
            );
        }
        let ends = |second: &u64| {
            table.expire(Timestamp(second * 1_000_000_000), &mut ended);
            !ended.is_empty()
        };
        (0..1000).find(ends).unwrap()
    }

    #[test]
    fn what_has_nothing_left_to_say_ends_early() {
        let (there, back) = ((true, None), (false, None));
        assert_eq!(ends_at(&[there]), 61, "no answer yet");
        assert_eq!(ends_at(&[there, back]), 12, "a question and its answer");
        assert_eq!(ends_at(&[there, back, there]), 63, "more than that");
        assert_eq!(ends_at(&[there, there]), 61, "asked twice, no answer yet");
        let syn = (true, Some(TcpHeader::SYN));
        assert_eq!(ends_at(&[syn]), 21, "half open");
        let refusal = (false, Some(TcpHeader::RST | TcpHeader::ACK));
        assert_eq!(ends_at(&[syn, refusal]), 4, "refused");
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
                &Arrival { key, direction: 0, vantage, segment: &segment, serial: 0, guess },
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
        let ports: Vec<u16> = ended.iter().map(|f| f.key().a.port()).collect();
        assert_eq!(ports, [2]);
    }
}
