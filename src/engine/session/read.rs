//! Reading a recognised layer: its messages, the layers that follow it, its handshake.

use super::{FOLLOW_UNREAD_MAX, Phase, QUIET_STEPS_MAX, Session};
use crate::{
    detect::{DETECTORS, Info, Next, OtherSide, Said, Step},
    engine::{candidates::Candidates, texture::Texture, trace::TraceEvent},
    inspect::{Reader, TdsReader, dns, http},
    model::Side,
};

impl Session {
    /// Reads messages of a matched layer; true if the phase changed.
    pub(super) fn follow(&mut self, detector: usize) -> bool {
        let mut moved = true;
        while moved {
            moved = false;
            for side in [self.first_speaker, self.first_speaker.other()] {
                while let Some(consumed) = self.step(detector, side) {
                    if !matches!(self.phase, Phase::Following(_)) {
                        return !self.is_over();
                    }
                    if consumed == 0 {
                        break;
                    }
                    moved = true;
                }
                if !matches!(self.phase, Phase::Following(_)) {
                    return !self.is_over();
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
        let reader = DETECTORS.get(detector)?;
        let Step { consumed, facts, next } = reader.follow(&mut self.follow, side, said);
        let info = reader.info();
        match (info.name, side) {
            ("http", Side::Client) if !self.summary.has_host() => {
                self.summary.set_host(http::host(bytes));
            }
            // Behind its length. Only a response that was asked for names anybody.
            ("dns", Side::Server) if facts.accepted && self.hears => {
                self.answers.extend(bytes.get(2..consumed).map(dns::answers).unwrap_or_default());
            }
            _ => {}
        }
        self.budget_bytes = self.budget_bytes.saturating_sub(consumed.min(bytes.len()));
        self.budget_steps -= 1;
        let news = self.summary.learn(side, facts, offset);
        self.quiet_steps = if news { 0 } else { self.quiet_steps.saturating_add(1) };
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
            Next::Continue if self.is_told(info) => self.settle("for long nothing new was said"),
            Next::Continue => {}
            Next::Done => self.settle("the protocol has nothing more to tell"),
            Next::Layer { upgrade, other } => self.layer(side, upgrade, other),
            Next::Wrapped { upgrade, sealed } => self.wrapped(upgrade, sealed),
        }
        Some(consumed)
    }

    /// Whether the session is in use, and its messages have stopped telling anything new. Answers to questions for names are
    /// always new.
    fn is_told(&self, info: &Info) -> bool {
        let names = info.name == "dns" && self.hears;
        self.quiet_steps >= QUIET_STEPS_MAX && self.summary.is_in_use() && !names
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
        self.candidates = [Candidates::on(self.transport); 2];
        self.phase = Phase::Watching;
        self.passed = [Texture::default(); 2];
        let at =
            [Side::Client, Side::Server].map(|side| self.stream(self.direction(side)).offset());
        self.note(|| TraceEvent::Layer { upgrade, at });
    }

    /// A handshake begins inside the packets of the layer at hand.
    fn wrapped(&mut self, upgrade: &'static str, sealed: Option<bool>) {
        self.summary.layer(Some(upgrade));
        let starts = [self.start(Side::Client), self.start(Side::Server)];
        let reader = Reader::Tds(TdsReader::new(starts, sealed));
        self.phase = Phase::Handshake(Box::new(reader));
        let at =
            [Side::Client, Side::Server].map(|side| self.stream(self.direction(side)).offset());
        self.note(|| TraceEvent::Layer { upgrade: Some(upgrade), at });
    }

    /// Feeds the handshake reader; the phase never goes back.
    pub(super) fn handshake(&mut self) -> bool {
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
}
