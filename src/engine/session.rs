//! The undecided part of a flow: two streams, the layers on them, and the detectors still in question.
//!
//! Watching: prefixes grow and detectors are asked. Following: a matched protocol is read message by message. Handshake:
//! a TLS layer is read until nothing more can be learnt. Then the session is over and only its [`Summary`] stays.

mod read;
mod watch;

use super::{
    candidates::Candidates,
    choose::Pace,
    summary::Summary,
    texture::Texture,
    trace::{Trace, TraceEvent, TraceStep},
};
use crate::{
    detect::{FollowState, Start},
    flow::{Gap, Pushed, Stream},
    inspect::Reader,
    model::{
        Answer, Outcome, Segment, Side, TcpHeader, Transport, UnknownReason, tls::CertificateCut,
    },
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
/// Messages, or parts of them, read of a session in use while none tells anything new: a secret may come late, or the wish for
/// TLS.
const QUIET_STEPS_MAX: u32 = 64;
/// Unread bytes of a side that waits for the other.
const FOLLOW_UNREAD_MAX: usize = 16 * 1024;

/// A flow being watched.
#[allow(clippy::struct_excessive_bools, reason = "independent observations, each true or not yet")]
#[derive(Debug)]
pub(super) struct Session {
    transport: Transport,
    streams: [Stream; 2],
    /// Which stream is the client's.
    client: usize,
    phase: Phase,
    /// Detectors in question: as the roles are believed, and with the roles exchanged.
    candidates: [Candidates; 2],
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
    /// Bytes of each stream that were looked at in vain and are gone.
    passed: [Texture; 2],
    /// A protocol that can turn to TLS was still possible when detectors were last asked.
    undecided: bool,
    budget_bytes: usize,
    budget_steps: u32,
    /// Messages read since one told anything new.
    quiet_steps: u32,
    summary: Summary,
    /// Addresses of names that were answered, until they are taken.
    answers: Vec<Answer>,
    roles_by_payload: bool,
    /// What name services answer is read.
    hears: bool,
    /// The outcome as soon as it was known for good: later loss takes nothing back.
    pub(super) outcome: Option<Outcome>,
    /// The handshake is over, and its age counts.
    pub(super) taken: bool,
    /// Memory as last accounted.
    pub(super) accounted: usize,
    /// Recorded only for `explain`.
    trace: Option<Box<Trace>>,
}

#[derive(Debug)]
enum Phase {
    Watching,
    Following(usize),
    Handshake(Box<Reader>),
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

/// What a session keeps besides its verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Every step, for `explain`.
    pub(super) steps: bool,
    /// What name services answer.
    pub(super) answers: bool,
}

/// Why a session is closed from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// The flow ended, or is no longer watched.
    End,
    /// The connection was closed or reset: both sides have said all they had to say.
    Over,
    /// The handshake is over, and what may follow it was waited for.
    Taken,
    /// The memory bound was reached.
    Memory,
}

impl Session {
    /// A session for a new flow; `isns` are those of SYNs seen.
    pub(super) fn new(
        transport: Transport,
        client: usize,
        isns: [Option<u32>; 2],
        wanted: Wanted,
    ) -> Self {
        let candidates = Candidates::on(transport);
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
            candidates: [candidates; 2],
            follow: FollowState::default(),
            muted: [false; 2],
            restarts: RESTARTS_MAX,
            pace: Pace::default(),
            first_speaker: Side::Client,
            broken: false,
            passed: [Texture::default(); 2],
            undecided: false,
            budget_bytes: FOLLOW_BYTES_MAX,
            budget_steps: FOLLOW_STEPS_MAX,
            quiet_steps: 0,
            summary: Summary::default(),
            answers: Vec::new(),
            roles_by_payload: false,
            hears: wanted.answers,
            outcome: None,
            taken: false,
            accounted: 0,
            trace: wanted.steps.then(Box::default),
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

    /// Whether [`Self::segment`] would do nothing with the next segment of a stream, not even look for what was lost: it has no
    /// payload, or such as is passed over.
    #[inline]
    pub(super) fn passes(&self, direction: usize, seq: u32, length: u32) -> bool {
        let complete = !self.streams.iter().any(Stream::has_hole);
        let told = self.outcome.is_some() || !self.is_taken();
        complete && told && (length == 0 || self.stream(direction).passes(seq, length))
    }

    /// Takes a segment that [passes](Self::passes).
    pub(super) fn pass(&mut self, direction: usize, length: u32) {
        if let Some(stream) = self.streams.get_mut(direction).filter(|_| length > 0) {
            stream.pass(length);
        }
    }

    /// Nothing more will come: decides with what is there.
    pub(super) fn close(&mut self, close: Close, roles_certain: bool) {
        if close == Close::Taken {
            // Bytes that are missing may come yet: what was read is told, and nothing is made of what was not.
            self.settle("the handshake is over, and nothing was learnt for long");
            return;
        }
        if close != Close::Memory {
            for direction in [0, 1] {
                while !self.is_over() && self.stream(direction).has_hole() {
                    self.pass_hole(direction, roles_certain);
                }
            }
        }
        self.advance(roles_certain, true);
        if matches!(self.phase, Phase::Watching) {
            match close {
                Close::Memory => self.summary.unrecognised(UnknownReason::Memory),
                _ => self.conclude(close == Close::Over),
            }
        }
        if let Phase::Handshake(reader) = &mut self.phase {
            reader.give_up(match close {
                Close::Memory => CertificateCut::Memory,
                _ => CertificateCut::Loss,
            });
        }
        if close == Close::Over {
            self.summary.close();
            self.note_unread();
        }
        self.settle(match close {
            Close::Memory => "the memory bound was reached",
            _ => "the flow ended",
        });
    }

    /// Whether nothing more can be learnt.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Whether a handshake has reached protection, although more may be learnt.
    pub(super) fn is_taken(&self) -> bool {
        matches!(&self.phase, Phase::Handshake(reader) if reader.is_taken())
    }

    /// The client's stream, and whether the grammar says so.
    pub(super) const fn client(&self) -> (usize, bool) {
        (self.client, self.roles_by_payload)
    }

    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        let reader = match &self.phase {
            Phase::Handshake(reader) => reader.memory(),
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

    /// Takes the addresses of names that were answered.
    pub(super) fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
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
        let mut texture = self.passed.get(direction).copied().unwrap_or_default();
        texture.add(self.stream(direction).unread(), false);
        let Some(gap) = self.streams.get_mut(direction).and_then(Stream::jump) else { return };
        if let Gap::Broken { lost } = gap {
            self.summary.reached.holes = self.summary.reached.holes.saturating_add(1);
            self.note(|| TraceEvent::Gap { side, lost });
            self.broken |= matches!(self.phase, Phase::Watching);
            match &mut self.phase {
                Phase::Watching => {
                    self.candidates = [Candidates::on(self.transport); 2];
                    if let Some(passed) = self.passed.get_mut(direction) {
                        *passed = texture;
                    }
                }
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
