//! The loop: a frame in, a record out when its flow ends (live: also when it settles, and every interval).
//!
//! One engine is one shard: it owns its decoder, flow table and sessions; nothing is shared, nothing is locked. Time is
//! the packets' own, so the same capture gives the same records.
//!
//! The lattice: a verdict may only gain. `unknown` may become anything; cleartext may gain `upgrade`, sealing or
//! `credentials`; nothing turns encrypted into plaintext or back (a NULL cipher is settled with the ServerHello).
#![forbid(unsafe_code)]

mod answered;
mod batch;
mod books;
mod candidates;
mod choose;
mod counted;
mod front;
mod guess;
mod many;
mod measure;
mod places;
mod publish;
mod reached;
mod reconfigure;
mod report;
mod scopes;
mod session;
mod settled;
mod shed;
mod summary;
mod texture;
mod trace;

use std::{collections::VecDeque, sync::Arc};

use answered::Answered;
pub use batch::Batch;
pub use front::Front;
use guess::guess;
use many::Doorman;
pub use many::{Given, Home, Order};

use measure::Measurer;
pub use measure::{Excluded, Measure};
use places::Places;
use publish::{last_record, record};
pub use report::RecordContext;
pub use scopes::{Placed, ScopeRule, Scopes, vni};
use session::{Close, Context, Session, Wanted};
use settled::{Alike, Data, Settled, Work};
use shed::Shed;
pub use summary::{Stage, Summary};
pub use trace::{TraceEvent, TraceFilter, TraceStep};

use crate::{
    counters::Counters,
    flow::{Arrival, Direction, Flow, FlowId, FlowTable, Limits, VantageId, VantageTable},
    metrics::Activity,
    model::{
        Answer, FlowKey, Frame, NamedAddress, Outcome, Roles, ScopeId, Segment, State, Timestamp,
        Transport, record::Record, time::NS_PER_S,
    },
    wire::{Decoder, Usual},
};

/// How an engine works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of the flow table.
    pub limits: Limits,
    /// Memory of all sessions together, in bytes.
    pub session_bytes_max: usize,
    /// Source domains.
    pub scopes: Scopes,
    /// What is the same for all records.
    pub context: RecordContext,
    /// Live: time between records of an open flow. `None`: one record per flow, at its end.
    pub update_ns: Option<u64>,
    /// Count flows for metrics, period by period.
    pub measure: Option<Measure>,
    /// Record every step of flows that match, for `explain`.
    pub traced: Option<TraceFilter>,
    /// Of the packets that only move counters, one in so many is kept while there are too many; zero: all.
    pub shed_keep_one_in: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            session_bytes_max: 256 << 20,
            scopes: Scopes::default(),
            context: RecordContext::default(),
            update_ns: None,
            measure: None,
            traced: None,
            shed_keep_one_in: 0,
        }
    }
}

/// What an engine gives: a record, and its steps if traced.
#[derive(Debug)]
pub struct Emitted {
    /// The record. It is large, and moves on a few times.
    pub record: Box<Record>,
    /// How its verdict was reached.
    pub steps: Vec<TraceStep>,
    /// What name services answered before it.
    pub answers: Vec<NamedAddress>,
    /// Number of the packet that began its flow.
    pub began: u64,
}

impl Emitted {
    /// A record that nobody traced, marked if load is shed, with what was answered before it.
    fn new(mut record: Record, began: u64, shed: &Shed, answered: &mut Answered) -> Self {
        shed.mark(&mut record);
        let (record, answers) = (Box::new(record), answered.take());
        Self { record, steps: Vec::new(), answers, began }
    }
}

/// One shard: from frames to records.
#[derive(Debug)]
pub struct Engine {
    decoder: Decoder,
    shard: Shard,
    /// Where there are other shards.
    doorman: Option<Doorman>,
}

/// All but the decoder, which lends the segments.
#[derive(Debug)]
struct Shard {
    settings: Settings,
    /// Scopes before the last changes, newest first: flows that began under them keep them.
    retired: Vec<Scopes>,
    table: FlowTable<Data>,
    vantages: VantageTable,
    /// Vantages met lately, with their scopes.
    places: Places,
    counters: Counters,
    /// Number of the packet at hand.
    packet: u64,
    /// Sessions in order of their beginning, for the memory bound.
    begun: VecDeque<(FlowId, u64)>,
    /// Sessions whose handshake is over, in the order in which that was seen, and when it was.
    taken: VecDeque<(FlowId, u64, Timestamp)>,
    sessions: usize,
    session_bytes: usize,
    /// Memory of what is known of settled flows.
    settled_bytes: usize,
    alike: Alike,
    ended: Vec<Flow<Data>>,
    /// Live: flows that have just settled.
    settled: Vec<FlowId>,
    now: Timestamp,
    /// Where the second of `now` ends.
    second_ends: Timestamp,
    updated: Option<Timestamp>,
    measurer: Option<Measurer>,
    answered: Answered,
    shed: Shed,
}

impl Engine {
    /// An engine with nothing seen.
    pub fn new(settings: Settings) -> Self {
        let shard = Shard {
            table: FlowTable::new(settings.limits.clone()),
            vantages: VantageTable::default(),
            places: Places::default(),
            counters: Counters::default(),
            packet: 0,
            begun: VecDeque::new(),
            taken: VecDeque::new(),
            sessions: 0,
            session_bytes: 0,
            settled_bytes: 0,
            alike: Alike::default(),
            ended: Vec::new(),
            settled: Vec::new(),
            now: Timestamp::default(),
            second_ends: Timestamp::new(1, 0),
            updated: None,
            retired: Vec::new(),
            measurer: settings.measure.as_ref().map(Measurer::new),
            answered: Answered::default(),
            shed: Shed::new(settings.shed_keep_one_in),
            settings,
        };
        Self { decoder: Decoder::default(), shard, doorman: None }
    }

    /// Takes one frame; records of flows that end by it, or by its time, go to `emit`.
    pub fn frame(&mut self, frame: &Frame<'_>, emit: &mut dyn FnMut(Emitted)) {
        let shard = &mut self.shard;
        shard.counters.frames += 1;
        shard.counters.frame_bytes += frame.bytes.len() as u64;
        shard.tick(frame.time, emit);
        shard.packet = shard.counters.frames;
        if let Some(doorman) = &self.doorman {
            shard.packet = doorman.packet(shard.packet);
        }
        let doubted = self.doorman.as_mut().is_some_and(|doorman| doorman.doubts(frame.time));
        let doorman = self.doorman.as_mut();
        let tried = !doubted && !shard.shed.is_on();
        if tried && shard.move_frame_on(&self.decoder, frame) {
            return;
        }
        match self.decoder.straight(frame) {
            Some(straight) => {
                let segment = straight.segment(frame.time);
                if shard.shed.is_on() && shard.shed.lets_go(&segment) {
                    return;
                }
                if let Some(doorman) = doorman.filter(|_| doubted)
                    && doorman.take(shard.packet, shard.now, &segment, true)
                {
                    return;
                }
                // Doubted, or while load is shed: it was not tried yet.
                if !tried
                    && let Some(usual) = Usual::of(&segment)
                    && shard.move_usual_on(frame.time, &usual)
                {
                    return;
                }
                shard.segment(&segment);
            }
            None => match self.decoder.decode_any(frame) {
                Ok(segment) => {
                    if doorman.is_some_and(|d| d.take(shard.packet, shard.now, &segment, false)) {
                        return;
                    }
                    if shard.shed.is_on() && shard.shed.lets_go(&segment) {
                        return;
                    }
                    shard.segment(&segment);
                }
                Err(skip) => shard.counters.skipped.count(skip),
            },
        }
        shard.flush(emit);
    }

    /// Time went on: ends idle flows and writes the records that are due.
    pub fn tick(&mut self, now: Timestamp, emit: &mut dyn FnMut(Emitted)) {
        self.decoder.expire(now);
        self.shard.tick(now, emit);
    }

    /// Ends every flow: the capture is over, or the sensor stops.
    pub fn finish(&mut self, emit: &mut dyn FnMut(Emitted)) {
        self.shard.drain(emit);
        if let Some(measurer) = &mut self.shard.measurer {
            measurer.close();
        }
    }

    /// What metrics counted in the periods that are over, oldest first.
    pub fn activity(&mut self) -> Vec<Activity> {
        self.shard.measurer.as_mut().map(Measurer::take).unwrap_or_default()
    }

    /// What was met so far.
    pub fn counters(&self) -> Counters {
        Counters {
            table: self.shard.table.counters,
            decoder: *self.decoder.counters(),
            vantages_crowded_out: self.shard.vantages.crowded_out,
            answers_dropped: self.shard.answered.dropped,
            periods_dropped: self.shard.measurer.as_ref().map_or(0, Measurer::periods_dropped),
            shed: self.shard.shed.segments,
            shed_bytes: self.shard.shed.bytes,
            missteered: self.doorman.as_ref().map_or(0, |doorman| doorman.missteered),
            handed_over: self.doorman.as_ref().map_or(0, |doorman| doorman.handed_over),
            ..self.shard.counters.clone()
        }
    }

    /// Memory of one flow in the table, without what its session and its facts take.
    pub const FLOW_BYTES: usize = FlowTable::<Data>::FLOW_BYTES;

    /// Flows alive.
    pub fn flows(&self) -> usize {
        self.shard.table.len()
    }
}

impl Shard {
    #[inline]
    fn tick(&mut self, now: Timestamp, emit: &mut dyn FnMut(Emitted)) {
        // Nearly every packet: the same second.
        if self.now <= now && now < self.second_ends {
            self.now = now;
        } else {
            self.turn(now, emit);
        }
    }

    /// What a new second, or another clock, asks for.
    #[cold]
    fn turn(&mut self, now: Timestamp, emit: &mut dyn FnMut(Emitted)) {
        let begun = self.now != Timestamp::default();
        let back = self.now.since(now) > TIME_JUMP_NS;
        self.counters.time_jumps += u64::from(begun && now.since(self.now) > TIME_JUMP_NS || back);
        if back {
            // Else nothing would end until time has caught up.
            self.set_clock(now);
            self.updated = None;
            self.turn_back_taken(now);
            self.table.turn_back(now, TIME_JUMP_NS, &mut self.ended);
            self.flush(emit);
        }
        if now <= self.now {
            return;
        }
        self.set_clock(now);
        // What ends now was still alive in the period that is over.
        if let Some(measurer) = &mut self.measurer {
            measurer.tick(now, &self.settings, &self.vantages, &mut self.table);
        }
        self.table.expire(now, &mut self.ended);
        self.settle_taken();
        self.flush(emit);
        if let Some(interval) = self.settings.update_ns {
            let since = *self.updated.get_or_insert(now);
            if now.since(since) >= interval {
                self.updated = Some(now);
                self.updates(emit);
            }
        }
    }

    const fn set_clock(&mut self, now: Timestamp) {
        self.now = now;
        self.second_ends = Timestamp::new(now.seconds() + 1, 0);
    }

    fn segment(&mut self, segment: &Segment<'_>) {
        let Some((vantage, scope)) = self.place(segment) else {
            self.counters.not_allowed += 1;
            return;
        };
        self.counters.segments += 1;
        let (key, forward) = self.key(scope, segment);
        let direction = usize::from(!forward);
        let serial = self.packet;
        let arrival = Arrival { key, direction, vantage, segment, serial, guess };
        let Some(id) = self.table.arrive(&arrival, &mut self.ended) else { return };
        let Some(flow) = self.table.get_mut(id) else { return };
        self.shed.note(flow, false);
        self.counters.duplicates += u64::from(!flow.is_first_vantage(direction, vantage));
        // Of a flow that has told all it could only the counters move on.
        let unwritten = flow.data.is_unwritten() && self.settings.update_ns.is_some();
        if matches!(flow.data.work, Work::Settled { .. }) && !unwritten {
            return;
        }
        self.work(id, direction, vantage, segment);
    }

    /// Where a segment was copied, and of which scope it is; nothing if such copies are not allowed.
    fn place(&mut self, segment: &Segment<'_>) -> Option<(VantageId, ScopeId)> {
        let Segment { vantage, endpoint_id, .. } = *segment;
        if let Some(known) = self.places.get(vantage, endpoint_id) {
            return Some(known);
        }
        let scope = self.settings.scopes.place(vantage, endpoint_id)?;
        let id = self.vantages.intern(vantage);
        self.places.note(vantage, endpoint_id, id, scope);
        Some((id, scope))
    }

    /// Lets the flow's session read a segment, and keeps the books of all sessions.
    fn work(&mut self, id: FlowId, direction: usize, vantage: VantageId, segment: &Segment<'_>) {
        self.counters.flows_peak = self.counters.flows_peak.max(self.table.len() as u64);
        let packet = self.packet;
        let Some(flow) = self.table.get_mut(id) else { return };
        let is_traced = |filter: &TraceFilter| {
            let FlowKey { a, b, .. } = flow.key();
            filter.matches(a, b)
        };
        let wanted = Wanted {
            steps: self.settings.traced.as_ref().is_some_and(is_traced),
            answers: !self.settings.context.brief,
        };
        let before = flow.data.session_bytes();
        let watched = matches!(flow.data.work, Work::Watched(_));
        let is_taken = |flow: &Flow<Data>| matches!(&flow.data.work, Work::Watched(s) if s.taken);
        let taken_before = is_taken(flow);
        let answers = work(flow, direction, vantage, segment, packet, wanted);
        if !answers.is_empty() {
            let FlowKey { scope, a, b, .. } = flow.key();
            let client = if flow.client() == 0 { a } else { b };
            let scope = self.settings.scopes.name(scope);
            self.answered.add(scope, client.ip(), segment.time, answers);
        }
        self.shed.note(flow, false);
        let (settled, taken) = (flow.data.is_unwritten(), is_taken(flow) && !taken_before);
        let (after, now_watched) =
            (flow.data.session_bytes(), matches!(flow.data.work, Work::Watched(_)));
        let serial = flow.serial;
        self.account(before, after);
        if !now_watched {
            self.account_settled(id);
        }
        match (watched, now_watched) {
            (false, true) => {
                self.sessions += 1;
                self.begun.push_back((id, serial));
            }
            (true, false) => self.sessions -= 1,
            _ => {}
        }
        if taken {
            self.note_taken(id, serial);
        }
        if settled && self.settings.update_ns.is_some() {
            self.settled.push(id);
        }
        self.bound_memory();
    }

    /// Writes the records of flows that settled or ended.
    fn flush(&mut self, emit: &mut dyn FnMut(Emitted)) {
        for id in self.settled.drain(..) {
            let Some(flow) = self.table.get_mut(id) else { continue };
            if !flow.data.write() {
                continue;
            }
            let began = flow.serial;
            let record = record(&self.settings, &self.vantages, flow, Some("settled"));
            emit(Emitted::new(record, began, &self.shed, &mut self.answered));
        }
        if self.ended.is_empty() {
            return;
        }
        let mut ended = std::mem::take(&mut self.ended);
        for flow in ended.drain(..) {
            self.end(flow, emit);
        }
        self.ended = ended;
    }

    /// Ends every flow.
    fn drain(&mut self, emit: &mut dyn FnMut(Emitted)) {
        for flow in self.table.take_all() {
            self.end(flow, emit);
        }
    }

    /// Writes the last record of a flow.
    fn end(&mut self, mut flow: Flow<Data>, emit: &mut dyn FnMut(Emitted)) {
        let before = flow.data.session_bytes();
        self.shed.note(&mut flow, true);
        if let Work::Settled { what, .. } = &flow.data.work {
            self.settled_bytes = self.settled_bytes.saturating_sub(what.bytes);
        }
        let over = matches!(flow.state, State::Closed | State::Reset);
        if close(&mut flow, if over { Close::Over } else { Close::End }) {
            self.sessions -= 1;
            self.account(before, 0);
        }
        if let Some(measurer) = &mut self.measurer {
            measurer.count(&self.settings, &self.vantages, &mut flow, true);
        }
        let event = self.settings.update_ns.map(|_| "end");
        let Settled { summary, steps, outcome, .. } = match std::mem::take(&mut flow.data.work) {
            Work::Settled { what, .. } => Arc::unwrap_or_clone(what),
            _ => Settled::default(),
        };
        summary.reached.count(&mut self.counters);
        let known = (summary, outcome);
        let record = last_record(&self.settings, &self.vantages, &mut flow, known, event);
        self.counters.count_verdict(record.encryption);
        let told = Emitted::new(record, flow.serial, &self.shed, &mut self.answered);
        emit(Emitted { steps, ..told });
    }

    /// Live: a record for every flow that settled or moved data since its last one.
    fn updates(&mut self, emit: &mut dyn FnMut(Emitted)) {
        for (_, flow) in self.table.iter_mut() {
            let settled = flow.data.write();
            let published = flow.data.told.as_ref().and_then(|told| told.published);
            let moved = published.is_none_or(|p| p.last < flow.last);
            if !settled && !moved {
                continue;
            }
            let event = if settled { "settled" } else { "update" };
            let began = flow.serial;
            let record = record(&self.settings, &self.vantages, flow, Some(event));
            emit(Emitted::new(record, began, &self.shed, &mut self.answered));
        }
    }
}

/// Hands a segment to the flow's session, which it may begin or end. Returns the addresses of names that it answers.
fn work(
    flow: &mut Flow<Data>,
    direction: usize,
    vantage: VantageId,
    segment: &Segment<'_>,
    packet: u64,
    wanted: Wanted,
) -> Vec<Answer> {
    if matches!(flow.data.work, Work::Silent) {
        begin(flow, segment, wanted);
    }
    // Copies of a datagram cannot be told from two datagrams, so only one vantage is read.
    let copy = segment.tcp.is_none() && !flow.is_first_vantage(direction, vantage);
    let (acked, client) = (flow.acked(), flow.client());
    let Work::Watched(session) = &mut flow.data.work else { return Vec::new() };
    if copy {
        return Vec::new();
    }
    let context =
        Context { direction, client, roles_certain: flow.roles == Roles::Handshake, acked, packet };
    session.segment(context, segment);
    let (client, by_payload) = session.client();
    session.accounted = session.memory();
    let over = session.is_over();
    let answers = session.take_answers();
    if by_payload && flow.roles != Roles::Handshake {
        flow.learn_roles(client, Roles::Payload);
    }
    if over {
        close(flow, Close::End);
    } else if let Work::Watched(session) = &flow.data.work
        && session.is_taken()
    {
        let known = session.outcome.or_else(|| known_outcome(flow, &session.summary()));
        if let Work::Watched(session) = &mut flow.data.work {
            (session.taken, session.outcome) = (true, known);
        }
    }
    answers
}

/// The outcome, if it is known for good.
fn known_outcome(flow: &Flow<Data>, summary: &Summary) -> Option<Outcome> {
    Some(summary.final_outcome(flow)).filter(|outcome| *outcome != Outcome::Unknown)
}

/// Begins a session with the first payload; what has no payload to read is settled at once.
fn begin(flow: &mut Flow<Data>, segment: &Segment<'_>, wanted: Wanted) {
    match segment.transport {
        Transport::Esp => {
            flow.data.work = Work::settled(Summary::esp(segment), Vec::new(), None);
        }
        Transport::Tcp | Transport::Udp if segment.payload_len > 0 => {
            let isns = [0, 1].map(|d| flow.directions.get(d).and_then(Direction::isn));
            let session = Session::new(segment.transport, flow.client(), isns, wanted);
            flow.data.work = Work::Watched(Box::new(session));
        }
        Transport::Tcp | Transport::Udp => {}
    }
}

/// Closes the flow's session, if one is open; true if it was.
fn close(flow: &mut Flow<Data>, why: Close) -> bool {
    let Work::Watched(session) = &mut flow.data.work else { return false };
    session.close(why, flow.roles == Roles::Handshake);
    let (client, by_payload) = session.client();
    if by_payload && flow.roles != Roles::Handshake {
        flow.learn_roles(client, Roles::Payload);
    }
    let Work::Watched(session) = std::mem::take(&mut flow.data.work) else { return false };
    let outcome = session.outcome;
    let (mut summary, steps) = session.into_summary();
    summary.shrink();
    let outcome = outcome.or_else(|| known_outcome(flow, &summary));
    flow.data.work = Work::settled(summary, steps, outcome);
    true
}

/// Packet times further apart than this are no pause but another clock, or files out of order.
const TIME_JUMP_NS: u64 = 3600 * NS_PER_S;
