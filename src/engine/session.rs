//! The undecided part of a flow: two streams, the layers on them, and the detectors still in question.
//!
//! Watching: prefixes grow and detectors are asked. Following: a matched protocol is read message by message. Handshake:
//! a TLS layer is read until nothing more can be learnt. Then the session is over and only its [`Summary`] stays.

use super::{
    choose::{Choice, Found, Pace, choose, choose_alone, choose_answer, waits_for_client},
    summary::Summary,
    texture,
    trace::{Trace, TraceEvent, TraceStep},
};
use crate::{
    detect::{CandidateMask, DETECTORS, FollowState, Next, OtherSide, Said, Start, Step, View},
    flow::{Gap, Pushed, Stream},
    inspect::tls::TlsReader,
    model::{Encryption, Segment, Side, TcpHeader, Transport, UnknownReason},
};

/// Bytes of a known start shown to detectors, per side.
const PREFIX_BYTES_MAX: usize = 2048;
/// Bytes shown where the start is not known: record chains need room.
const LATE_PREFIX_BYTES_MAX: usize = 16 * 1024;
/// Segments at which detection is tried again in a stream joined late.
const RESTARTS_MAX: u8 = 16;
/// Bytes and messages read after the match.
const FOLLOW_BYTES_MAX: usize = 64 * 1024;
const FOLLOW_STEPS_MAX: u32 = 4096;
/// Unread bytes of a side that waits for the other.
const FOLLOW_UNREAD_MAX: usize = 16 * 1024;

/// A flow being watched.
#[derive(Debug)]
pub(super) struct Session {
    transport: Transport,
    streams: [Stream; 2],
    /// Which stream is the client's.
    client: usize,
    phase: Phase,
    /// Detectors in question: as the roles are believed, and with the roles exchanged.
    masks: [CandidateMask; 2],
    follow: FollowState,
    /// Streams that can no longer be read in this layer.
    muted: [bool; 2],
    restarts: u8,
    /// When detectors were last asked.
    pace: Pace,
    /// Whose bytes were recognised: that side is read first.
    first_speaker: Side,
    /// Bytes were lost while watching.
    broken: bool,
    budget_bytes: usize,
    budget_steps: u32,
    summary: Summary,
    roles_by_payload: bool,
    /// Recorded only for `explain`.
    trace: Option<Box<Trace>>,
}

#[derive(Debug)]
enum Phase {
    Watching,
    Following(usize),
    Handshake(Box<TlsReader>),
    Over,
}

/// What the engine knows of the flow when a segment comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// Stream the segment belongs to.
    pub direction: usize,
    /// Stream of the client, as far as known.
    pub client: usize,
    /// Whether the roles are certain (handshake seen).
    pub roles_certain: bool,
    /// Highest acknowledgement sent *to* each stream.
    pub acked: [Option<u32>; 2],
    /// Packet number, for `explain`.
    pub packet: u64,
}

/// Why a session is closed from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// The flow ended, or is no longer watched.
    End,
    /// The connection was closed or reset: both sides have said all they had to say.
    Over,
    /// The memory bound was reached.
    Memory,
}

impl Session {
    /// A session for a new flow; `isns` are those of SYNs seen, `traced` records every step.
    pub(super) fn new(
        transport: Transport,
        client: usize,
        isns: [Option<u32>; 2],
        traced: bool,
    ) -> Self {
        let mask = super::transport_mask(transport);
        let streams = isns.map(|isn| {
            let mut stream = Stream::default();
            if let Some(isn) = isn {
                stream.begin(isn);
            }
            stream
        });
        Self {
            transport,
            streams,
            client,
            phase: Phase::Watching,
            masks: [mask; 2],
            follow: FollowState::default(),
            muted: [false; 2],
            restarts: RESTARTS_MAX,
            pace: Pace::default(),
            first_speaker: Side::Client,
            broken: false,
            budget_bytes: FOLLOW_BYTES_MAX,
            budget_steps: FOLLOW_STEPS_MAX,
            summary: Summary::default(),
            roles_by_payload: false,
            trace: traced.then(Box::default),
        }
    }

    /// Takes one segment.
    pub(super) fn segment(&mut self, context: Context, segment: &Segment<'_>) {
        if let Some(trace) = &mut self.trace {
            (trace.packet, trace.time) = (context.packet, segment.time);
        }
        if !self.roles_by_payload && self.client != context.client && self.is_fresh() {
            self.client = context.client;
        }
        let pushed = match segment.tcp {
            Some(tcp) => self.push_tcp(context.direction, tcp, segment),
            None => self.push_datagram(context.direction, segment),
        };
        if pushed == Pushed::Grown {
            self.advance(context.roles_certain, false);
        }
        for direction in [0, 1] {
            let acked = context.acked.get(direction).copied().flatten();
            while !self.is_over() && self.stream(direction).has_lost(acked, segment.time) {
                self.pass_hole(direction, context.roles_certain);
            }
        }
    }

    /// Nothing more will come: decides with what is there.
    pub(super) fn close(&mut self, close: Close, roles_certain: bool) {
        if close != Close::Memory {
            for direction in [0, 1] {
                while !self.is_over() && self.stream(direction).has_hole() {
                    self.pass_hole(direction, roles_certain);
                }
            }
        }
        self.advance(roles_certain, true);
        if matches!(self.phase, Phase::Watching) {
            let reason = match close {
                Close::End | Close::Over => self.reason(),
                Close::Memory => UnknownReason::Memory,
            };
            self.summary.unrecognised(reason);
        }
        if close == Close::Over {
            self.summary.close();
            self.note_unread();
        }
        self.settle(match close {
            Close::End | Close::Over => "the flow ended",
            Close::Memory => "the memory bound was reached",
        });
    }

    /// Whether nothing more can be learnt.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// The client's stream, and whether the grammar says so.
    pub(super) const fn client(&self) -> (usize, bool) {
        (self.client, self.roles_by_payload)
    }

    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        let reader = match &self.phase {
            Phase::Handshake(reader) => reader.buffered() + size_of::<TlsReader>(),
            _ => 0,
        };
        size_of::<Self>() + reader + self.streams.iter().map(Stream::memory).sum::<usize>()
    }

    /// What is known, with the handshake read so far.
    pub(super) fn summary(&self) -> Summary {
        let mut summary = self.summary.clone();
        if let Phase::Handshake(reader) = &self.phase {
            summary.handshake(reader);
        }
        summary
    }

    /// Ends the session, leaving what is known.
    pub(super) fn into_summary(self) -> (Summary, Vec<TraceStep>) {
        (self.summary, self.trace.map(|t| t.steps).unwrap_or_default())
    }

    /// The server's words to the end were never this protocol's: it did not take the session.
    fn note_unread(&mut self) {
        let direction = self.direction(Side::Server);
        let stream = self.stream(direction);
        let following = matches!(self.phase, Phase::Following(_));
        let muted = self.muted.get(direction).copied().unwrap_or(true);
        let untouched = stream.has_known_start() && stream.offset() == 0;
        if following && !muted && untouched && !stream.unread().is_empty() {
            self.summary.misfit(Side::Server);
        }
    }

    fn push_tcp(&mut self, direction: usize, tcp: TcpHeader, segment: &Segment<'_>) -> Pushed {
        let syn = tcp.has(TcpHeader::SYN);
        let Some(stream) = self.streams.get_mut(direction) else { return Pushed::Nothing };
        if syn {
            stream.begin(tcp.seq);
        }
        let seq = tcp.seq.wrapping_add(u32::from(syn));
        let (offset, unread) = (stream.offset(), stream.unread().len());
        let pushed = stream.push(seq, segment.payload, segment.time);
        let length = stream.unread().len().saturating_sub(unread);
        let side = self.side(direction);
        match pushed {
            Pushed::Grown => {
                self.note(|| TraceEvent::Bytes { side, offset: offset + unread as u64, length });
            }
            Pushed::Held => self.note(|| TraceEvent::Held { side }),
            Pushed::Dropped => self.summary.reached.drop_held(),
            Pushed::Nothing => {}
        }
        pushed
    }

    fn push_datagram(&mut self, direction: usize, segment: &Segment<'_>) -> Pushed {
        let side = self.side(direction);
        let Some(stream) = self.streams.get_mut(direction) else { return Pushed::Nothing };
        let (offset, length) = (stream.offset(), segment.payload.len());
        let room = stream.push_datagram(segment.payload, 2 * PREFIX_BYTES_MAX);
        self.note(|| TraceEvent::Bytes { side, offset, length });
        if !room && length > 0 && matches!(self.phase, Phase::Watching) {
            self.advance(false, true);
            if matches!(self.phase, Phase::Watching) {
                self.give_up_watching();
            }
            return Pushed::Nothing;
        }
        if room { Pushed::Grown } else { Pushed::Nothing }
    }

    /// Goes on behind a hole.
    fn pass_hole(&mut self, direction: usize, roles_certain: bool) {
        let unread = !self.stream(direction).unread().is_empty();
        if matches!(self.phase, Phase::Watching) && unread {
            self.advance(roles_certain, true);
        }
        let side = self.side(direction);
        let Some(gap) = self.streams.get_mut(direction).and_then(Stream::jump) else { return };
        if let Gap::Broken { lost } = gap {
            self.summary.reached.holes = self.summary.reached.holes.saturating_add(1);
            self.note(|| TraceEvent::Gap { side, lost });
            self.broken |= matches!(self.phase, Phase::Watching);
            match &mut self.phase {
                Phase::Watching => self.masks = [super::transport_mask(self.transport); 2],
                Phase::Following(_) => self.mute(direction),
                Phase::Handshake(reader) => reader.gap(side),
                Phase::Over => {}
            }
        }
        self.advance(roles_certain, false);
    }

    /// Reads as far as the bytes go. `last`: nothing more will come, so decide.
    fn advance(&mut self, roles_certain: bool, last: bool) {
        loop {
            let moved = match self.phase {
                Phase::Watching => self.watch(roles_certain, last),
                Phase::Following(detector) => self.follow(detector),
                Phase::Handshake(_) => self.handshake(),
                Phase::Over => false,
            };
            if !moved {
                return;
            }
        }
    }

    /// Asks the detectors; true if the phase changed.
    fn watch(&mut self, roles_certain: bool, last: bool) -> bool {
        let full = self.streams.iter().any(|s| s.unread().len() >= PREFIX_BYTES_MAX);
        let decide = last || full;
        let unread = self.streams.iter().map(|s| s.unread().len()).sum();
        if !decide && self.pace.is_too_soon(unread) {
            return false;
        }
        let mut masks = self.masks;
        let view = View { ended: last, ..self.view() };
        let mut answer = choose(&view, masks.get_mut(0), decide, false);
        if answer.leaves_open(&view) && !roles_certain {
            let swapped = choose(&view.swapped(), masks.get_mut(1), decide, true);
            answer = answer.or(swapped);
        }
        if answer.leaves_open(&view) {
            answer = answer.or(choose_alone(&view, roles_certain));
        }
        // At the end one who still waits waits for nothing.
        let nobody = matches!(answer, Choice::Nobody) || last && matches!(answer, Choice::Waiting);
        let answered = nobody && texture::is_text(view.client.bytes);
        if answered {
            answer = choose_answer(&view);
        }
        let hold =
            matches!(&answer, Choice::Found(found) if !decide && waits_for_client(&view, found));
        self.masks = masks;
        match answer {
            Choice::Found(found) if !hold => {
                self.matched(&found);
                if answered {
                    self.summary.misfit(Side::Client);
                    self.mute(self.client);
                }
                true
            }
            Choice::Found(_) => false,
            Choice::Waiting if !full => false,
            Choice::Waiting | Choice::Nobody => !last && self.try_later(),
        }
    }

    /// Nobody recognised the bytes: a late stream gets another chance at its next segment, others are settled. True if
    /// there are bytes to look at again.
    fn try_later(&mut self) -> bool {
        let late = |s: &Stream| !s.has_known_start() && !s.unread().is_empty();
        if self.streams.iter().all(|s| s.unread().is_empty()) {
            return false;
        }
        if self.restarts == 0 || !self.streams.iter().any(late) {
            if !self.may_be_answered() {
                self.give_up_watching();
            }
            return false;
        }
        self.restarts -= 1;
        self.masks = [super::transport_mask(self.transport); 2];
        let mut again = false;
        for direction in [0, 1] {
            let side = self.side(direction);
            let Some(stream) = self.streams.get_mut(direction).filter(|s| late(s)) else {
                continue;
            };
            again |= stream.restart_at_latest();
            let offset = stream.offset();
            self.note(|| TraceEvent::Restart { side, offset });
        }
        again
    }

    /// The client has said something readable that nobody recognises: the server's answer may tell what it was taken for.
    fn may_be_answered(&self) -> bool {
        let view = self.view();
        let short = view.client.bytes.len() < PREFIX_BYTES_MAX;
        view.server.bytes.is_empty() && short && texture::is_text(view.client.bytes)
    }

    fn give_up_watching(&mut self) {
        let reason = self.reason();
        self.summary.unrecognised(reason);
        self.settle("no detector is left in question");
    }

    /// Enters the layer that was found.
    fn matched(&mut self, found: &Found) {
        let Some(info) = DETECTORS.get(found.detector).map(|d| d.info()) else { return };
        if found.swapped {
            self.client = 1 - self.client;
            self.note(|| TraceEvent::RolesSwapped);
        }
        self.roles_by_payload = true;
        let mark = found.answer.mark;
        let stream = self.stream(self.direction(mark.side));
        let (offset, known) = (stream.offset(), stream.has_known_start());
        self.summary.matched(info.name, found.answer, offset, known);
        self.note(|| TraceEvent::Matched {
            detector: info.name,
            encryption: found.answer.encryption,
            rule: mark.rule,
            side: mark.side,
            offset: offset + u64::from(mark.offset),
            length: mark.length,
            constant: mark.constant,
        });
        self.follow = FollowState::default();
        self.first_speaker = mark.side;
        self.muted = [false; 2];
        self.phase = if found.answer.encryption == Some(Encryption::Tls) {
            let reader = TlsReader::new(self.start(Side::Client), self.start(Side::Server));
            Phase::Handshake(Box::new(reader))
        } else {
            Phase::Following(found.detector)
        };
    }

    /// Reads messages of a matched layer; true if the phase changed.
    fn follow(&mut self, detector: usize) -> bool {
        let mut moved = true;
        while moved {
            moved = false;
            for side in [self.first_speaker, self.first_speaker.other()] {
                while let Some(consumed) = self.step(detector, side) {
                    if !matches!(self.phase, Phase::Following(_)) {
                        return matches!(self.phase, Phase::Watching);
                    }
                    if consumed == 0 {
                        break;
                    }
                    moved = true;
                }
                if !matches!(self.phase, Phase::Following(_)) {
                    return matches!(self.phase, Phase::Watching);
                }
            }
        }
        let waiting = self.streams.iter().any(|s| s.unread().len() > FOLLOW_UNREAD_MAX);
        if waiting || self.muted == [true, true] {
            self.settle("nothing more can be read");
        }
        false
    }

    /// One message of one side: how many bytes it took, `None` when there is nothing to read.
    fn step(&mut self, detector: usize, side: Side) -> Option<usize> {
        let direction = self.direction(side);
        if self.muted.get(direction).copied().unwrap_or(true) {
            return None;
        }
        let start = self.start(side);
        let stream = self.streams.get(direction)?;
        let (offset, bytes) = (stream.offset(), stream.unread());
        if bytes.is_empty() {
            return None;
        }
        if self.budget_steps == 0 || self.budget_bytes == 0 {
            self.summary.reached.follow = true;
            self.settle("as much was read as the limit allows");
            return None;
        }
        let said = Said { bytes, start };
        let Step { consumed, facts, next } =
            DETECTORS.get(detector)?.follow(&mut self.follow, side, said);
        self.budget_bytes = self.budget_bytes.saturating_sub(consumed.min(bytes.len()));
        self.budget_steps -= 1;
        self.summary.learn(side, facts, offset);
        if let Some(trace) = &mut self.trace {
            trace.learnt(detector, side, offset, facts);
        }
        if let Some(stream) = self.streams.get_mut(direction) {
            stream.consume(consumed);
        }
        if facts.mismatch {
            self.mute(direction);
        }
        match next {
            Next::Continue => {}
            Next::Done => self.settle("the protocol has nothing more to tell"),
            Next::Layer { upgrade, other } => self.layer(side, upgrade, other),
        }
        Some(consumed)
    }

    /// A new layer begins where both sides stand.
    fn layer(&mut self, side: Side, upgrade: Option<&'static str>, other: OtherSide) {
        if !self.summary.has_room_for_layer() {
            self.summary.reached.layers = true;
            self.settle("too many layers");
            return;
        }
        self.summary.layer(upgrade);
        let (here, there) = (self.direction(side), self.direction(side.other()));
        let muted = self.muted;
        for (direction, known) in [(here, true), (there, other == OtherSide::Here)] {
            let readable = !muted.get(direction).copied().unwrap_or(true);
            if let Some(stream) = self.streams.get_mut(direction) {
                stream.set_known_start(known && readable);
            }
        }
        self.masks = [super::transport_mask(self.transport); 2];
        self.phase = Phase::Watching;
        let at =
            [Side::Client, Side::Server].map(|side| self.stream(self.direction(side)).offset());
        self.note(|| TraceEvent::Layer { upgrade, at });
    }

    /// Feeds the handshake reader; the phase never goes back.
    fn handshake(&mut self) -> bool {
        let client = self.client;
        let Phase::Handshake(reader) = &mut self.phase else { return false };
        for (side, direction) in [(Side::Client, client), (Side::Server, 1 - client)] {
            if let Some(stream) = self.streams.get_mut(direction) {
                let taken = reader.feed(side, stream.unread());
                stream.consume(taken);
            }
        }
        if reader.is_done() {
            self.settle("the handshake has nothing more to tell");
        }
        false
    }

    fn settle(&mut self, why: &'static str) {
        if self.is_over() {
            return;
        }
        if let Phase::Handshake(reader) = &self.phase {
            self.summary.handshake(reader);
        }
        self.phase = Phase::Over;
        self.streams = [Stream::default(), Stream::default()];
        self.note(|| TraceEvent::Settled { why });
    }

    fn mute(&mut self, direction: usize) {
        if let Some(muted) = self.muted.get_mut(direction) {
            *muted = true;
        }
    }

    fn view(&self) -> View<'_> {
        let said = |side| {
            let start = self.start(side);
            let bytes = self.stream(self.direction(side)).unread();
            let max = match start {
                Start::Known => PREFIX_BYTES_MAX,
                Start::Unknown => LATE_PREFIX_BYTES_MAX,
            };
            Said { bytes: bytes.get(..max).unwrap_or(bytes), start }
        };
        View::new(self.transport, said(Side::Client), said(Side::Server))
    }

    /// Why nothing was recognised.
    fn reason(&self) -> UnknownReason {
        let [a, b] = &self.streams;
        if self.broken {
            return UnknownReason::GapAtStart;
        }
        if self.restarts < RESTARTS_MAX {
            return UnknownReason::MidstreamOpaque;
        }
        let datagrams = self.transport != Transport::Tcp;
        texture::reason(a.unread(), b.unread(), datagrams)
    }

    fn start(&self, side: Side) -> Start {
        let stream = self.stream(self.direction(side));
        if stream.has_known_start() || self.transport != Transport::Tcp {
            Start::Known
        } else {
            Start::Unknown
        }
    }

    fn is_fresh(&self) -> bool {
        matches!(self.phase, Phase::Watching)
    }

    const fn direction(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client,
            Side::Server => 1 - self.client,
        }
    }

    const fn side(&self, direction: usize) -> Side {
        if direction == self.client { Side::Client } else { Side::Server }
    }

    const fn stream(&self, direction: usize) -> &Stream {
        let [a, b] = &self.streams;
        if direction == 0 { a } else { b }
    }

    fn note(&mut self, event: impl FnOnce() -> TraceEvent) {
        if let Some(trace) = &mut self.trace {
            trace.push(event());
        }
    }
}
