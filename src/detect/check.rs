//! Test bench for detectors: a dialogue goes in, what was understood comes out, and the laws are checked on the way.

use super::{Detector, Facts, FollowState, Match, Next, OtherSide, Probe, Said, Start, Step, View};
use crate::model::{Credentials, Encryption, PlaintextReason, Side, Transport};

/// What a detector made of a dialogue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The match, if any.
    pub(super) matched: Option<Match>,
    /// What the match and the steps together say.
    pub(super) encryption: Option<Encryption>,
    /// Sides whose bytes fit.
    pub(super) fits: [bool; 2],
    /// Sides that spoke something else.
    pub(super) mismatch: [bool; 2],
    /// The server rejected it.
    pub(super) refused: bool,
    /// Credential kinds.
    pub(super) credentials: Credentials,
    /// Why in clear.
    pub(super) reason: Option<PlaintextReason>,
    /// Rules of all marks, in the order given.
    pub(super) rules: Vec<&'static str>,
    /// A handshake inside packets: upgrade name, whether the data is sealed.
    pub(super) wrapped: Option<(&'static str, Option<bool>)>,
    /// New layer: upgrade name, client offset, server offset (`None`: somewhere).
    pub(super) layer: Option<(Option<&'static str>, Option<usize>, Option<usize>)>,
}

/// One utterance of a dialogue.
pub(super) type Line<'a> = (Side, &'a [u8]);

/// Plays a whole dialogue from its start.
#[track_caller]
pub(super) fn hear(detector: &dyn Detector, lines: &[Line<'_>]) -> Heard {
    hear_from(detector, lines, Start::Known)
}

/// Plays a dialogue: whole lines, then one byte at a time; both must be understood alike (marks aside).
#[track_caller]
pub(super) fn hear_from(detector: &dyn Detector, lines: &[Line<'_>], start: Start) -> Heard {
    let whole = Player::play(detector, lines, start, usize::MAX);
    let bytes = Player::play(detector, lines, start, 1);
    let plain = |h: &Heard| Heard { rules: Vec::new(), matched: None, ..h.clone() };
    assert_eq!(plain(&whole), plain(&bytes), "segmentation changes what is understood");
    assert_eq!(whole.matched.is_some(), bytes.matched.is_some());
    whole
}

/// Whether a probe matched.
pub(super) fn matches(probe: Probe) -> bool {
    answer(probe) == Some(true)
}

/// Whether a probe matched; `None` if it needs more.
pub(super) fn answer(probe: Probe) -> Option<bool> {
    match probe {
        Probe::No => Some(false),
        Probe::More => None,
        Probe::Match(_) => Some(true),
    }
}

/// Asks `probe` about every prefix of one side alone; returns the last answer. `No` and `Match` must be final.
#[track_caller]
pub(super) fn probe_side(detector: &dyn Detector, side: Side, bytes: &[u8]) -> Probe {
    let mut last = Probe::More;
    for end in 0..=bytes.len() {
        let said = Said { bytes: &bytes[..end], start: Start::Known };
        let (client, server) = match side {
            Side::Client => (said, Said::NOTHING),
            Side::Server => (Said::NOTHING, said),
        };
        let answer = detector.probe(&View::new(Transport::Tcp, client, server));
        let stays = match last {
            Probe::More => true,
            Probe::No => answer == Probe::No,
            Probe::Match(_) => matches!(answer, Probe::Match(_)),
        };
        assert!(stays, "{last:?} became {answer:?} at {end} of {}", bytes.len());
        last = answer;
    }
    last
}

struct Player<'d> {
    detector: &'d dyn Detector,
    start: Start,
    said: [Vec<u8>; 2],
    at: [usize; 2],
    state: FollowState,
    done: bool,
    heard: Heard,
}

impl<'d> Player<'d> {
    fn play(detector: &'d dyn Detector, lines: &[Line<'_>], start: Start, segment: usize) -> Heard {
        let mut player = Self {
            detector,
            start,
            said: [Vec::new(), Vec::new()],
            at: [0, 0],
            state: FollowState::default(),
            done: false,
            heard: Heard::default(),
        };
        for (side, bytes) in lines {
            for piece in bytes.chunks(segment.min(bytes.len()).max(1)) {
                player.said[index(*side)].extend_from_slice(piece);
                player.advance();
            }
        }
        player.heard
    }

    fn advance(&mut self) {
        if self.heard.matched.is_none() {
            let said = |i: usize| Said { bytes: &self.said[i], start: self.start };
            let view = View::new(Transport::Tcp, said(0), said(1));
            let Probe::Match(found) = self.detector.probe(&view) else { return };
            assert!(found.mark.constant.len() <= 24, "{}", found.mark.constant);
            self.heard.matched = Some(found);
            self.heard.encryption = found.encryption;
            self.heard.rules.push(found.mark.rule);
        }
        let mut progress = true;
        while progress && !self.done {
            progress = false;
            for side in [Side::Client, Side::Server] {
                while !self.done && self.step(side) {
                    progress = true;
                }
            }
        }
    }

    fn step(&mut self, side: Side) -> bool {
        let i = index(side);
        let Some(rest) = self.said[i].get(self.at[i]..) else { return false };
        if rest.is_empty() {
            return false;
        }
        let said = Said { bytes: rest, start: self.start };
        let Step { consumed, facts, next } = self.detector.follow(&mut self.state, side, said);
        self.learn(i, facts);
        self.at[i] += consumed;
        match next {
            Next::Continue => {}
            Next::Done => self.done = true,
            Next::Wrapped { upgrade, sealed } => {
                self.done = true;
                self.heard.wrapped = Some((upgrade, sealed));
            }
            Next::Layer { upgrade, other } => {
                self.done = true;
                let mut at = [Some(self.at[0]), Some(self.at[1])];
                if other == OtherSide::Somewhere {
                    at[1 - i] = None;
                }
                self.heard.layer = Some((upgrade, at[0], at[1]));
            }
        }
        consumed > 0
    }

    fn learn(&mut self, i: usize, facts: Facts) {
        let heard = &mut self.heard;
        heard.fits[i] |= facts.fits;
        heard.mismatch[i] |= facts.mismatch;
        heard.refused = (heard.refused && !facts.accepted) || facts.refused;
        if facts.encryption.is_some() {
            heard.encryption = facts.encryption;
        }
        heard.credentials = heard.credentials.with(facts.credentials);
        heard.reason = facts.reason.or(heard.reason);
        if let Some(mark) = facts.mark {
            assert!(mark.constant.len() <= 24, "{}", mark.constant);
            heard.rules.push(mark.rule);
        }
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}
