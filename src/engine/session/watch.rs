//! Watching: which detector recognises what both sides have said.

use super::{LATE_PREFIX_BYTES_MAX, PREFIX_BYTES_MAX, Phase, RESTARTS_MAX, Session};
use crate::{
    detect::{DETECTORS, FollowState, Probe, Said, Start, View},
    engine::{
        candidates::Candidates,
        choose::{Choice, Found, choose, choose_alone, choose_answer, waits_for_client},
        texture::{self, Texture},
        trace::TraceEvent,
    },
    flow::Stream,
    inspect::Reader,
    model::{Side, Transport, UnknownReason},
};

impl Session {
    /// Asks the detectors; true if the phase changed.
    pub(super) fn watch(&mut self, roles_certain: bool, last: bool) -> bool {
        let full = self.streams.iter().any(|s| s.unread().len() >= PREFIX_BYTES_MAX);
        let decide = last || full;
        let unread = self.streams.iter().map(|s| s.unread().len()).sum();
        if !decide && self.pace.is_too_soon(unread) {
            return false;
        }
        let [mut candidates, mut swapped_candidates] = self.candidates;
        let view = View { ended: last, ..self.view() };
        let mut answer = choose(&view, &mut candidates, decide, false);
        if answer.leaves_open(&view) && !roles_certain {
            let swapped = choose(&view.swapped(), &mut swapped_candidates, decide, true);
            answer = answer.or(swapped);
        }
        if answer.leaves_open(&view) {
            answer = answer.or(choose_alone(&view, roles_certain));
        }
        // At the end one who still waits waits for nothing.
        let waiting = matches!(answer, Choice::Waiting { .. });
        let nobody = matches!(answer, Choice::Nobody) || last && waiting;
        let undecided = matches!(answer, Choice::Waiting { tls: true });
        let answered = nobody && texture::is_text(view.client.bytes);
        if answered {
            answer = choose_answer(&view);
        }
        let hold =
            matches!(&answer, Choice::Found(found) if !decide && waits_for_client(&view, found));
        let spoken = [Side::Client, Side::Server].map(|side| !view.side(side).bytes.is_empty());
        // A detector that merely waits for more of the client has not been contradicted.
        let foreign = matches!(&answer, Choice::Found(found) if answered
            && DETECTORS.get(found.detector).is_some_and(|d| d.probe(&view) == Probe::No));
        // What was said of a server whose client is silent holds until that client speaks.
        for ((kept, new), spoken) in
            self.candidates.iter_mut().zip([candidates, swapped_candidates]).zip(spoken)
        {
            if spoken {
                *kept = new;
            }
        }
        self.undecided = undecided;
        match answer {
            Choice::Found(found) if !hold => {
                self.matched(&found);
                if foreign {
                    self.summary.misfit(Side::Client);
                    self.mute(self.client);
                }
                true
            }
            Choice::Found(_) => false,
            Choice::Waiting { .. } if !full => false,
            Choice::Waiting { .. } | Choice::Nobody => !last && self.try_later(),
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
            if !self.may_be_answered() && !self.may_be_text() {
                self.give_up_watching();
            }
            return false;
        }
        self.restarts -= 1;
        self.candidates = [Candidates::on(self.transport); 2];
        let mut again = false;
        for direction in [0, 1] {
            let side = self.side(direction);
            let Some(stream) = self.streams.get_mut(direction).filter(|s| late(s)) else {
                continue;
            };
            if let Some(texture) = self.passed.get_mut(direction) {
                texture.add(stream.before_latest(), false);
            }
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

    /// All of it is text so far, and more would tell whether it stays so.
    fn may_be_text(&self) -> bool {
        let textures = self.textures();
        textures.iter().all(|t| t.may_be_text())
    }

    /// What the unrecognised bytes of both streams look like.
    fn textures(&self) -> [Texture; 2] {
        let datagrams = self.transport != Transport::Tcp;
        let mut textures = self.passed;
        for (texture, stream) in textures.iter_mut().zip(&self.streams) {
            texture.add(stream.unread(), datagrams);
        }
        textures
    }

    /// Nobody recognised the bytes, and nobody will: they are readable text, or the reason is given. `over`: the
    /// connection was closed, so nothing else was said.
    pub(super) fn conclude(&mut self, over: bool) {
        let textures = self.textures();
        let bytes = textures.iter().map(|t| t.bytes()).sum::<usize>();
        // After TLS was granted, text is no longer what leads to it.
        let leads_on = !over && !self.summary.is_upgrading();
        let undecided = self.undecided && leads_on && bytes < TEXT_UNDECIDED_BYTES_MAX;
        let open = !undecided && !textures.iter().any(|t| t.is_closed());
        let sides = [Side::Client, Side::Server].map(|side| {
            let texture = textures.get(self.direction(side)).filter(|t| open && t.is_text());
            texture.map(|t| t.bytes())
        });
        if sides == [None, None] {
            let reason = self.reason();
            self.summary.unrecognised(reason);
        } else {
            let known = [Side::Client, Side::Server].map(|side| self.start(side) == Start::Known);
            self.summary.readable(sides, known == [true, true]);
        }
    }

    pub(super) fn give_up_watching(&mut self) {
        self.conclude(false);
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
        self.quiet_steps = 0;
        self.first_speaker = mark.side;
        self.muted = [false; 2];
        let starts = [Side::Client, Side::Server].map(|side| self.start(side));
        let reader = found.answer.encryption.and_then(|e| Reader::new(e, starts));
        self.phase = match reader {
            Some(reader) => Phase::Handshake(Box::new(reader)),
            None => Phase::Following(found.detector),
        };
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
    pub(super) fn reason(&self) -> UnknownReason {
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
}

/// While a protocol that can turn to TLS is possible and more may come, so little text is not called that.
const TEXT_UNDECIDED_BYTES_MAX: usize = 256;
