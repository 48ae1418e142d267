//! The flow table: fixed capacity, one entry per connection, aged by packet time on a timer wheel.

use super::{Direction, Flow, SEQUENCE_DISTANCE_MAX, VantageId, index::Index, slab::Slab};
use crate::model::{
    FlowKey, Origin, Roles, ScopeId, Segment, State, TcpHeader, Timestamp, Transport,
};

/// A flow's place in the table; valid until the flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(u32);

/// Bounds of the table.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most flows at once.
    pub flows_max: usize,
    /// TCP idle time.
    pub tcp_idle_ns: u64,
    /// TCP idle time before both ends have spoken.
    pub half_open_idle_ns: u64,
    /// UDP and ESP idle time.
    pub udp_idle_ns: u64,
    /// How long a closed TCP flow waits for late copies.
    pub linger_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = |s: u64| s * crate::model::time::NS_PER_S;
        Self {
            flows_max: 1 << 20,
            tcp_idle_ns: seconds(300),
            half_open_idle_ns: seconds(20),
            udp_idle_ns: seconds(60),
            // A FIN without an answer is sent again with ever longer pauses.
            linger_ns: seconds(15),
        }
    }
}

/// What the table met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounters {
    /// Flows begun.
    pub flows: u64,
    /// Flows pushed out of a full table.
    pub evicted: u64,
    /// Connections told apart although their keys are equal (two networks under one scope).
    pub scope_collision: u64,
    /// Segments of a vantage that fit no connection known.
    pub stray: u64,
    /// Segments that fit none of the connections of their key, which are as many as can be told apart.
    pub siblings_crowded_out: u64,
    /// Resets whose sequence number lies far from the connection's, not believed.
    pub blind_resets: u64,
    /// Copies of flows from further vantages than are counted for one direction.
    pub copies_uncounted: u64,
    /// Ports used again by a new connection.
    pub port_reuse: u64,
}

impl TableCounters {
    /// Adds what another table met.
    pub const fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.evicted += other.evicted;
        self.scope_collision += other.scope_collision;
        self.stray += other.stray;
        self.siblings_crowded_out += other.siblings_crowded_out;
        self.blind_resets += other.blind_resets;
        self.copies_uncounted += other.copies_uncounted;
        self.port_reuse += other.port_reuse;
    }
}

/// One packet as the table needs it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'s, 'a> {
    /// Scope and canonical 5-tuple.
    pub key: FlowKey,
    /// Direction: 0 from `key.a`, 1 from `key.b`.
    pub direction: usize,
    /// Where it was copied.
    pub vantage: VantageId,
    /// The segment.
    pub segment: &'s Segment<'a>,
    /// What tells a flow that this packet begins from all others, growing.
    pub serial: u64,
    /// First guess, asked for new flows only: is the sender the client, and how sure.
    pub guess: fn(&Segment<'_>) -> (bool, Roles),
}

/// A TCP segment over IPv4 as integers.
#[derive(Clone, Copy, Debug)]
pub struct NextSegment {
    /// When it was captured.
    pub time: Timestamp,
    /// Source domain.
    pub scope: ScopeId,
    /// Where it was copied.
    pub vantage: VantageId,
    /// Both ends as in a [`FlowKey`], the lower one first.
    pub ends: [(u32, u16); 2],
    /// Direction: 0 from the first end, 1 from the second.
    pub direction: usize,
    /// TCP header fields.
    pub tcp: TcpHeader,
    /// Payload length; all of it was captured.
    pub payload_len: u32,
    /// Length of the IP packet.
    pub ip_len: u32,
}

/// Flows by key.
#[derive(Debug)]
pub struct FlowTable<T> {
    limits: Limits,
    slots: Slab<Slot<T>>,
    free: Vec<u32>,
    index: Index,
    wheel: Vec<u32>,
    /// Second up to which the wheel has turned.
    turned: Option<u64>,
    /// What the table met.
    pub counters: TableCounters,
}

#[derive(Debug)]
struct Slot<T> {
    flow: Option<Flow<T>>,
    /// Next flow of the same key.
    sibling: u32,
    previous: u32,
    next: u32,
    wheel: u32,
}

/// No slot.
const NIL: u32 = u32::MAX;
/// Seconds on the wheel.
const WHEEL_SECONDS: u64 = 512;
/// Busy flows put in their place at most before one flow is pushed out.
const EVICTION_TRIES_MAX: usize = 16;
/// Connections of one key told apart at once.
const SIBLINGS_MAX: usize = 8;

/// How a segment relates to a flow of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Belongs,
    /// The ports serve a new connection.
    Reuse,
    /// Another connection, elsewhere.
    Other,
    /// Belongs to nothing known and begins nothing.
    Stray,
}

impl<T: Default> FlowTable<T> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        let wheel = vec![NIL; usize::try_from(WHEEL_SECONDS).unwrap_or(512)];
        Self {
            limits,
            slots: Slab::new(),
            free: Vec::new(),
            index: Index::default(),
            wheel,
            turned: None,
            counters: TableCounters::default(),
        }
    }

    /// Takes new idle times; the number of flows it can hold stays.
    pub fn set_idle_times(&mut self, limits: &Limits) {
        self.limits = Limits { flows_max: self.limits.flows_max, ..limits.clone() };
    }

    /// Whether a flow of this key is alive.
    pub fn contains(&self, key: &FlowKey) -> bool {
        self.index.get(key).is_some()
    }

    /// Counts a packet on its flow, which may be new. Flows that end by this go to `ended`.
    pub fn arrive(
        &mut self,
        arrival: &Arrival<'_, '_>,
        ended: &mut Vec<Flow<T>>,
    ) -> Option<FlowId> {
        let slot = match self.find(arrival) {
            (Some(slot), Fit::Belongs) => slot,
            (Some(slot), Fit::Reuse) => {
                self.counters.port_reuse += 1;
                ended.extend(self.remove(slot));
                self.create(arrival, ended)
            }
            (None, Fit::Stray) => {
                self.counters.siblings_crowded_out += 1;
                return None;
            }
            (Some(_), Fit::Stray) => {
                self.counters.stray += 1;
                return None;
            }
            (Some(_), Fit::Other) => {
                self.counters.scope_collision += 1;
                self.create(arrival, ended)
            }
            // The end of a connection begins none.
            (None, _) if is_farewell(arrival.segment) => {
                self.counters.stray += 1;
                return None;
            }
            (None, _) => self.create(arrival, ended),
        };
        let flow = self.slots.get_mut(index(slot))?.flow.as_mut()?;
        let before = flow.state;
        flow.count(arrival.direction, arrival.vantage, arrival.segment, &mut self.counters);
        // The acknowledgement of the last FIN lets a closed one end sooner.
        if flow.state != before || flow.state == State::Closed {
            self.schedule(slot);
        }
        Some(FlowId(slot))
    }

    /// Counts the next segment of a TCP flow over IPv4 that `is_over` says is only counted, and that is open and was seen
    /// from this vantage before, without a gap. False if anything else may be the case: then nothing was done, and
    /// [`Self::arrive`] has to look.
    pub fn move_on(&mut self, next: &NextSegment, is_over: impl FnOnce(&T) -> bool) -> bool {
        let transport = Transport::Tcp.number();
        let Some(at) = self.index.get_v4(next.ends, next.scope.0, transport) else { return false };
        let flow = self.slots.get_mut(index(at)).and_then(|slot| slot.flow.as_mut());
        flow.is_some_and(|flow| is_over(&flow.data) && flow.move_on(next))
    }

    /// Memory of one flow: its slot, and its entry in the index (IPv4, three quarters full).
    pub const FLOW_BYTES: usize = size_of::<Slot<T>>() + (size_of::<(u128, u32)>() + 1) * 4 / 3;

    /// The flow at `id`.
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow<T>> {
        self.slots.get_mut(index(id.0))?.flow.as_mut()
    }

    /// Ends what has been idle for too long.
    pub fn expire(&mut self, now: Timestamp, ended: &mut Vec<Flow<T>>) {
        let second = now.seconds();
        let turned = *self.turned.get_or_insert(second);
        if second <= turned {
            return;
        }
        self.turned = Some(second);
        let from = ended.len();
        for tick in turned + 1..=second.min(turned + WHEEL_SECONDS) {
            self.turn(tick, now, ended);
        }
        if let Some(ended) = ended.get_mut(from..) {
            ended.sort_unstable_by_key(|flow| flow.serial);
        }
    }

    /// The clock goes back to `now`: flows that lie more than `ahead_ns_max` ahead end, the others are due anew.
    pub fn turn_back(&mut self, now: Timestamp, ahead_ns_max: u64, ended: &mut Vec<Flow<T>>) {
        self.turned = Some(now.seconds());
        let mut alive = Vec::with_capacity(self.len());
        for head in &self.wheel {
            let mut at = *head;
            while let Some(slot) = self.slots.get(index(at)) {
                alive.push(at);
                at = slot.next;
            }
        }
        let from = ended.len();
        for at in alive {
            let flow = self.slots.get(index(at)).and_then(|slot| slot.flow.as_ref());
            if flow.is_some_and(|flow| flow.last.since(now) > ahead_ns_max) {
                ended.extend(self.remove(at).map(Flow::timed_out));
            } else {
                self.schedule(at);
            }
        }
        if let Some(ended) = ended.get_mut(from..) {
            ended.sort_by_key(|flow| flow.serial);
        }
    }

    /// Every flow as it stands, in order of creation, out of the table, which is empty then. They are handed out one at a
    /// time: no flow lies twice in memory.
    pub fn take_all(&mut self) -> impl Iterator<Item = Flow<T>> + use<T> {
        let mut slots = std::mem::replace(&mut self.slots, Slab::new());
        self.free.clear();
        self.index.clear();
        self.wheel.fill(NIL);
        let flow = |at| slots.get(at).and_then(|slot: &Slot<T>| slot.flow.as_ref());
        let mut order: Vec<(u64, usize)> =
            (0..slots.len()).filter_map(|at| Some((flow(at)?.serial, at))).collect();
        order.sort_unstable();
        order.into_iter().filter_map(move |(_, at)| slots.get_mut(at)?.flow.take())
    }

    /// Flows alive.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether no flow is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every flow alive, with its place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (FlowId, &mut Flow<T>)> {
        (0_u32..)
            .zip(self.slots.iter_mut())
            .filter_map(|(at, slot)| Some((FlowId(at), slot.flow.as_mut()?)))
    }

    /// The flow of a packet: first one that knows its vantage, then one that fits its sequence numbers.
    fn find(&self, arrival: &Arrival<'_, '_>) -> (Option<u32>, Fit) {
        let Some(head) = self.index.get(&arrival.key) else { return (None, Fit::Other) };
        let syn = arrival.segment.tcp.is_some_and(|tcp| tcp.has(TcpHeader::SYN));
        let mut fallback = (Some(head), Fit::Other);
        let mut chain = 0;
        let mut at = head;
        while let Some(slot) = self.slots.get(index(at)) {
            if let Some(flow) = &slot.flow {
                let knows = flow.directions.iter().any(|d| d.knows(arrival.vantage));
                // Nearly every packet. `fit` would find nothing else.
                if knows && !syn && flow.state == State::Open {
                    return (Some(at), Fit::Belongs);
                }
                if flow.is_begun_by(arrival) {
                    return (Some(at), Fit::Belongs);
                }
                let fit = flow.fit(arrival, knows);
                if knows {
                    return (Some(at), if fit == Fit::Reuse { fit } else { Fit::Belongs });
                }
                if fallback.1 == Fit::Other || fallback.1 == Fit::Stray && fit == Fit::Belongs {
                    fallback = (Some(at), fit);
                }
            }
            chain += 1;
            at = slot.sibling;
        }
        if fallback.1 == Fit::Other && chain >= SIBLINGS_MAX {
            (None, Fit::Stray)
        } else {
            fallback
        }
    }

    fn create(&mut self, arrival: &Arrival<'_, '_>, ended: &mut Vec<Flow<T>>) -> u32 {
        if self.free.is_empty() && self.slots.len() >= self.limits.flows_max {
            self.evict(ended);
        }
        let flow = Flow::begin(arrival, arrival.serial);
        self.counters.flows += 1;
        let at = self.free.pop().unwrap_or_else(|| {
            let at = u32::try_from(self.slots.len()).unwrap_or(NIL - 1);
            self.slots.push(Slot {
                flow: None,
                sibling: NIL,
                previous: NIL,
                next: NIL,
                wheel: NIL,
            });
            at
        });
        let sibling = self.index.insert(&arrival.key, at).unwrap_or(NIL);
        if let Some(slot) = self.slots.get_mut(index(at)) {
            slot.flow = Some(flow);
            slot.sibling = sibling;
        }
        self.schedule(at);
        at
    }

    /// Takes a flow out of the table.
    fn remove(&mut self, at: u32) -> Option<Flow<T>> {
        self.unlink(at);
        let slot = self.slots.get_mut(index(at))?;
        let flow = slot.flow.take()?;
        let sibling = std::mem::replace(&mut slot.sibling, NIL);
        self.free.push(at);
        match self.index.get(&flow.key) {
            Some(head) if head == at => {
                if sibling == NIL {
                    self.index.remove(&flow.key);
                } else {
                    self.index.insert(&flow.key, sibling);
                }
            }
            Some(mut before) => {
                while let Some(slot) = self.slots.get_mut(index(before)) {
                    if slot.sibling == at {
                        slot.sibling = sibling;
                        break;
                    }
                    before = slot.sibling;
                }
            }
            None => {}
        }
        Some(flow)
    }

    /// Pushes out the flow that is due next.
    fn evict(&mut self, ended: &mut Vec<Flow<T>>) {
        let mut due = self.next_due();
        // Packets do not move a flow on the wheel, so one that is still busy is put where it belongs first.
        for _ in 0..EVICTION_TRIES_MAX {
            let Some((at, second)) = due else { break };
            let flow = self.slots.get(index(at)).and_then(|slot| slot.flow.as_ref());
            let busy = flow.is_some_and(|f| f.due(&self.limits).seconds() > second);
            if !busy {
                break;
            }
            self.schedule(at);
            due = self.next_due();
        }
        if let Some(mut flow) = due.and_then(|(at, _)| self.remove(at)) {
            self.counters.evicted += 1;
            flow.state = State::Evicted;
            ended.push(flow);
        }
    }

    /// The flow that the wheel reaches next, and when.
    fn next_due(&self) -> Option<(u32, u64)> {
        let turned = self.turned.unwrap_or(0);
        (turned..turned + WHEEL_SECONDS)
            .filter_map(|second| Some((*self.wheel.get(wheel_index(second))?, second)))
            .find(|(at, _)| *at != NIL)
    }

    /// One second of the wheel: what is idle ends, the rest is put where it is due.
    fn turn(&mut self, second: u64, now: Timestamp, ended: &mut Vec<Flow<T>>) {
        let mut at = self.wheel.get(wheel_index(second)).copied().unwrap_or(NIL);
        while let Some(slot) = self.slots.get(index(at)) {
            let next = slot.next;
            let due = slot.flow.as_ref().is_none_or(|f| f.due(&self.limits) <= now);
            if due {
                ended.extend(self.remove(at).map(Flow::timed_out));
            } else {
                self.schedule(at);
            }
            at = next;
        }
    }

    /// Puts a flow on the wheel at the second it is due.
    fn schedule(&mut self, at: u32) {
        self.unlink(at);
        let Some(due) = self.slots.get(index(at)).and_then(|s| s.flow.as_ref()) else { return };
        let due = due.due(&self.limits).seconds() + 1;
        let turned = self.turned.unwrap_or_else(|| due.saturating_sub(WHEEL_SECONDS));
        self.turned = Some(turned);
        let second = due.clamp(turned + 1, turned + WHEEL_SECONDS - 1);
        let place = wheel_index(second);
        let head = self.wheel.get(place).copied().unwrap_or(NIL);
        if let Some(slot) = self.slots.get_mut(index(at)) {
            slot.previous = NIL;
            slot.next = head;
            slot.wheel = u32::try_from(place).unwrap_or(NIL);
        }
        if let Some(next) = self.slots.get_mut(index(head)) {
            next.previous = at;
        }
        if let Some(first) = self.wheel.get_mut(place) {
            *first = at;
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some(slot) = self.slots.get_mut(index(at)) else { return };
        let (previous, next, place) = (slot.previous, slot.next, slot.wheel);
        if place == NIL {
            return;
        }
        (slot.previous, slot.next, slot.wheel) = (NIL, NIL, NIL);
        if let Some(next) = self.slots.get_mut(index(next)) {
            next.previous = previous;
        }
        match self.slots.get_mut(index(previous)) {
            Some(previous) => previous.next = next,
            None => {
                if let Some(first) = self.wheel.get_mut(index(place)) {
                    *first = next;
                }
            }
        }
    }
}

impl<T: Default> Flow<T> {
    fn begin(arrival: &Arrival<'_, '_>, serial: u64) -> Self {
        let (sender_is_client, roles) = (arrival.guess)(arrival.segment);
        let client = if sender_is_client { arrival.direction } else { 1 - arrival.direction };
        let origin = match arrival.key.transport {
            Transport::Tcp => Origin::Midstream,
            Transport::Udp | Transport::Esp => Origin::Start,
        };
        Self {
            key: arrival.key,
            serial,
            first: arrival.segment.time,
            last: arrival.segment.time,
            directions: [Direction::default(), Direction::default()],
            client,
            roles,
            origin,
            state: State::Open,
            data: T::default(),
        }
    }
}

impl<T> Flow<T> {
    /// The flow at its end, unless something else ended it.
    fn timed_out(mut self) -> Self {
        if self.state == State::Open {
            self.state = State::Timeout;
        }
        self
    }

    fn due(&self, limits: &Limits) -> Timestamp {
        Timestamp(self.last.0.saturating_add(self.idle_ns_max(limits)))
    }

    /// Whether this is a copy of the SYN that began the flow.
    fn is_begun_by(&self, arrival: &Arrival<'_, '_>) -> bool {
        let isn = self.directions.get(arrival.direction).and_then(|d| d.isn);
        let syn = arrival.segment.tcp.filter(|tcp| tcp.has(TcpHeader::SYN));
        syn.is_some_and(|tcp| isn == Some(tcp.seq))
    }

    /// How a segment of this key relates to this flow (design decision 8).
    fn fit(&self, arrival: &Arrival<'_, '_>, knows: bool) -> Fit {
        let Some(tcp) = arrival.segment.tcp else { return Fit::Belongs };
        let Some(direction) = self.directions.get(arrival.direction) else { return Fit::Stray };
        let open = self.state == State::Open;
        let distance = direction.tallies().map(|t| t.coverage.distance(tcp.seq)).min().unwrap_or(0);
        let far = distance > SEQUENCE_DISTANCE_MAX;
        if tcp.has(TcpHeader::SYN) {
            // Without a SYN seen, this is a late copy of it only if it stands before all that was seen.
            let begins = !far && direction.tallies().all(|t| t.coverage.may_begin_at(tcp.seq));
            let same = direction.isn.map_or(begins, |isn| isn == tcp.seq);
            let reply = tcp.has(TcpHeader::ACK);
            return match (same, knows, open) {
                (true, ..) => Fit::Belongs,
                // A second SYN/ACK with another number is an oddity of one server, not a new connection.
                (false, true, true) if reply => Fit::Belongs,
                (false, true, _) | (false, false, false) => Fit::Reuse,
                (false, false, true) => Fit::Other,
            };
        }
        match (far, knows, arrival.segment.payload_len > 0) {
            (true, true, true) if !open => Fit::Reuse,
            (false, ..) | (true, true, _) => Fit::Belongs,
            (true, false, true) => Fit::Other,
            (true, false, false) => Fit::Stray,
        }
    }
}

/// FIN or RST without payload.
fn is_farewell(segment: &Segment<'_>) -> bool {
    let ends = |tcp: TcpHeader| tcp.has(TcpHeader::FIN) || tcp.has(TcpHeader::RST);
    segment.payload_len == 0 && segment.tcp.is_some_and(ends)
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn wheel_index(second: u64) -> usize {
    usize::try_from(second % WHEEL_SECONDS).unwrap_or(0)
}
