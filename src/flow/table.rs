//! The flow table: fixed capacity, one entry per connection, aged by packet time on a timer wheel.

use hashbrown::HashMap;

use super::{
    Direction, Flow, SEQUENCE_DISTANCE_MAX, Standing, Timer, VantageId,
    index::Index,
    key::Key,
    limits::{Limits, TableCounters},
};
use crate::{
    model::{
        Address, FlowKey, Origin, Roles, ScopeId, Segment, State, TcpHeader, Timestamp, Transport,
    },
    slab::Slab,
};

/// A flow's place in the table; valid until the flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(u32);

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

/// A TCP segment as integers.
#[derive(Clone, Copy, Debug)]
pub struct NextSegment<A> {
    /// When it was captured.
    pub time: Timestamp,
    /// Source domain.
    pub scope: ScopeId,
    /// Where it was copied.
    pub vantage: VantageId,
    /// Both ends as in a [`FlowKey`], the lower one first.
    pub ends: [(A, u16); 2],
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
    /// Empty ones are listed in `free`.
    slots: Slab<Option<Flow<T>>>,
    free: Vec<u32>,
    index: Index,
    /// The next flow of the same key, of those that have one.
    siblings: HashMap<u32, u32, foldhash::fast::RandomState>,
    wheel: Vec<u32>,
    /// Second up to which the wheel has turned.
    turned: Option<u64>,
    /// What the table met.
    pub counters: TableCounters,
}

/// No slot.
const NIL: u32 = u32::MAX;
/// On no wheel.
const NOWHERE: u16 = u16::MAX;
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
            siblings: HashMap::default(),
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
        self.index.get(key, self.key_at()).is_some()
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
        let flow = self.slots.get_mut(index(slot))?.as_mut()?;
        let before = flow.state;
        flow.count(arrival.direction, arrival.vantage, arrival.segment, &mut self.counters);
        // The acknowledgement of the last FIN lets a closed one end sooner, an answer what has asked one question.
        if flow.state != before || flow.state == State::Closed || flow.is_one_exchange() {
            self.schedule(slot);
        }
        Some(FlowId(slot))
    }

    /// Counts the next segment of a TCP flow that `passes` says is only counted, and that is open and was seen
    /// from this vantage before, without a gap; returns what the engine keeps with it. `None` if anything else may be the
    /// case: then nothing was done, and [`Self::arrive`] has to look.
    #[allow(clippy::inline_always, reason = "the hot path: what is read here is used in registers")]
    #[inline(always)]
    pub fn move_on<A: Address>(
        &mut self,
        next: &NextSegment<A>,
        passes: impl FnOnce(&T) -> bool,
    ) -> Option<&mut T> {
        let at = self.index.get_tcp(next.ends, next.scope.0, self.key_at())?;
        let flow = self.slots.get_mut(index(at))?.as_mut()?;
        (passes(&flow.data) && flow.move_on(next)).then_some(&mut flow.data)
    }

    /// Memory of one flow: its slot, and its entry in the index.
    pub const FLOW_BYTES: usize = size_of::<Option<Flow<T>>>() + Index::ENTRY_BYTES;

    /// The flow at `id`.
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow<T>> {
        self.slots.get_mut(index(id.0))?.as_mut()
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
            while let Some(flow) = self.flow(at) {
                alive.push(at);
                at = flow.timer.next;
            }
        }
        let from = ended.len();
        for at in alive {
            if self.flow(at).is_some_and(|flow| flow.last.since(now) > ahead_ns_max) {
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
        let mut slots = std::mem::take(&mut self.slots);
        self.free.clear();
        self.index.clear();
        self.siblings.clear();
        self.wheel.fill(NIL);
        let flow = |at| slots.get(at).and_then(|slot: &Option<Flow<T>>| slot.as_ref());
        let mut order: Vec<(u64, usize)> =
            (0..slots.len()).filter_map(|at| Some((flow(at)?.serial, at))).collect();
        order.sort_unstable();
        order.into_iter().filter_map(move |(_, at)| slots.get_mut(at)?.take())
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
            .filter_map(|(at, slot)| Some((FlowId(at), slot.as_mut()?)))
    }

    fn flow(&self, at: u32) -> Option<&Flow<T>> {
        self.slots.get(index(at))?.as_ref()
    }

    /// The key of a place.
    fn key_at<'t>(&'t self) -> impl Fn(u32) -> Option<&'t Key> {
        let slots = &self.slots;
        |at| Some(&slots.get(index(at))?.as_ref()?.key)
    }

    /// The next flow of the same key.
    fn sibling(&self, at: u32) -> u32 {
        if self.siblings.is_empty() { NIL } else { self.siblings.get(&at).copied().unwrap_or(NIL) }
    }

    /// The flow of a packet: first one that knows its vantage, then one that fits its sequence numbers.
    fn find(&self, arrival: &Arrival<'_, '_>) -> (Option<u32>, Fit) {
        let Some(head) = self.index.get(&arrival.key, self.key_at()) else {
            return (None, Fit::Other);
        };
        let syn = arrival.segment.tcp.is_some_and(|tcp| tcp.has(TcpHeader::SYN));
        let mut fallback = (Some(head), Fit::Other);
        let mut chain = 0;
        let mut at = head;
        while let Some(flow) = self.flow(at) {
            let knows = flow.directions.iter().any(|d| d.knows(arrival.vantage));
            // Nearly every packet. `fit` would find nothing else.
            if knows && !syn && flow.state == State::Open || flow.is_begun_by(arrival) {
                return (Some(at), Fit::Belongs);
            }
            let fit = flow.fit(arrival, knows);
            if knows {
                return (Some(at), if fit == Fit::Reuse { fit } else { Fit::Belongs });
            }
            if fallback.1 == Fit::Other || fallback.1 == Fit::Stray && fit == Fit::Belongs {
                fallback = (Some(at), fit);
            }
            chain += 1;
            at = self.sibling(at);
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
            self.slots.push(None);
            at
        });
        let sibling = {
            let slots = &self.slots;
            let key_at = |at| Some(&slots.get(index(at))?.as_ref()?.key);
            self.index.insert(&flow.key, at, key_at)
        };
        if let Some(sibling) = sibling {
            self.siblings.insert(at, sibling);
        }
        if let Some(slot) = self.slots.get_mut(index(at)) {
            *slot = Some(flow);
        }
        self.schedule(at);
        at
    }

    /// Takes a flow out of the table.
    fn remove(&mut self, at: u32) -> Option<Flow<T>> {
        self.unlink(at);
        let flow = self.slots.get_mut(index(at))?.take()?;
        self.free.push(at);
        let sibling = self.siblings.remove(&at);
        let slots = &self.slots;
        let key_at = |at| Some(&slots.get(index(at))?.as_ref()?.key);
        // Of several the index knows the first: this one, whose slot is empty by now, or one that leads to it.
        if let Some(head) = self.index.get(&flow.key(), key_at) {
            self.bypass(head, at, sibling);
        } else {
            self.index.remove(&flow.key, at);
            if let Some(sibling) = sibling {
                self.index.insert(&flow.key, sibling, key_at);
            }
        }
        Some(flow)
    }

    /// Takes `at` out of the list of flows of one key that begins at `head`.
    fn bypass(&mut self, head: u32, at: u32, sibling: Option<u32>) {
        let mut before = head;
        while let Some(next) = self.siblings.get(&before).copied() {
            if next == at {
                match sibling {
                    Some(sibling) => self.siblings.insert(before, sibling),
                    None => self.siblings.remove(&before),
                };
                return;
            }
            before = next;
        }
    }

    /// Pushes out the flow that is due next.
    fn evict(&mut self, ended: &mut Vec<Flow<T>>) {
        let mut due = self.next_due();
        // Packets do not move a flow on the wheel, so one that is still busy is put where it belongs first.
        for _ in 0..EVICTION_TRIES_MAX {
            let Some((at, second)) = due else { break };
            let busy = self.flow(at).is_some_and(|f| f.due(&self.limits).seconds() > second);
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
        while let Some(flow) = self.flow(at) {
            let next = flow.timer.next;
            let due = flow.due(&self.limits) <= now;
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
        let Some(flow) = self.flow(at) else { return };
        let due = flow.due(&self.limits).seconds() + 1;
        let turned = self.turned.unwrap_or_else(|| due.saturating_sub(WHEEL_SECONDS));
        self.turned = Some(turned);
        let second = due.clamp(turned + 1, turned + WHEEL_SECONDS - 1);
        let place = wheel_index(second);
        let head = self.wheel.get(place).copied().unwrap_or(NIL);
        if let Some(flow) = self.slots.get_mut(index(at)).and_then(Option::as_mut) {
            flow.timer_place = u16::try_from(place).unwrap_or(NOWHERE);
            flow.timer = Timer { previous: NIL, next: head };
        }
        if let Some(next) = self.slots.get_mut(index(head)).and_then(Option::as_mut) {
            next.timer.previous = at;
        }
        if let Some(first) = self.wheel.get_mut(place) {
            *first = at;
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some(flow) = self.slots.get_mut(index(at)).and_then(Option::as_mut) else { return };
        let place = std::mem::replace(&mut flow.timer_place, NOWHERE);
        let Timer { previous, next } = std::mem::replace(&mut flow.timer, Timer::NOWHERE);
        if place == NOWHERE {
            return;
        }
        if let Some(next) = self.slots.get_mut(index(next)).and_then(Option::as_mut) {
            next.timer.previous = previous;
        }
        match self.slots.get_mut(index(previous)).and_then(Option::as_mut) {
            Some(previous) => previous.timer.next = next,
            None => {
                if let Some(first) = self.wheel.get_mut(usize::from(place)) {
                    *first = next;
                }
            }
        }
    }
}

impl Timer {
    const NOWHERE: Self = Self { previous: NIL, next: NIL };
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
            key: Key::from(&arrival.key),
            serial,
            first: arrival.segment.time,
            last: arrival.segment.time,
            directions: [Direction::default(), Direction::default()],
            second_asks: client != 0,
            roles,
            origin,
            state: State::Open,
            standing: Standing::Out,
            timer: Timer::NOWHERE,
            timer_place: NOWHERE,
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
        let isn = self.directions.get(arrival.direction).and_then(Direction::isn);
        let syn = arrival.segment.tcp.filter(|tcp| tcp.has(TcpHeader::SYN));
        syn.is_some_and(|tcp| isn == Some(tcp.seq))
    }

    /// How a segment of this key relates to this flow (design decision 8).
    fn fit(&self, arrival: &Arrival<'_, '_>, knows: bool) -> Fit {
        let Some(tcp) = arrival.segment.tcp else { return Fit::Belongs };
        let Some(direction) = self.directions.get(arrival.direction) else { return Fit::Stray };
        let open = self.state == State::Open;
        let distance = direction.all_bounds().map(|seen| seen.distance(tcp.seq)).min().unwrap_or(0);
        let far = distance > SEQUENCE_DISTANCE_MAX;
        if tcp.has(TcpHeader::SYN) {
            // Without a SYN seen, this is a late copy of it only if it stands before all that was seen.
            let begins = !far && direction.all_bounds().all(|seen| seen.may_begin_at(tcp.seq));
            let same = direction.isn().map_or(begins, |isn| isn == tcp.seq);
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
