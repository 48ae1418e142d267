//! Which detector recognises what has been said.

use super::{candidates::Candidates, summary::index};
use crate::{
    detect::{DETECTORS, Match, Probe, Said, Start, View},
    model::{Side, Transport},
};

/// A match, and the view it was found in.
pub(super) struct Found {
    /// Position in the registry.
    pub(super) detector: usize,
    /// Its answer.
    pub(super) answer: Match,
    /// Found with client and server exchanged.
    pub(super) swapped: bool,
}

/// What the detectors say together.
pub(super) enum Choice {
    /// All said no.
    Nobody,
    /// One that comes first cannot tell yet.
    Waiting {
        /// What one of them waits for may lead to TLS.
        tls: bool,
    },
    /// Recognised.
    Found(Found),
}

impl Choice {
    /// Whether other views should be asked: nobody recognised this one; or it was joined late or is over, where a
    /// detector may wait for ever; or it has no handshake that tells who is the client.
    pub(super) fn leaves_open(&self, view: &View<'_>) -> bool {
        let late = [view.client, view.server]
            .iter()
            .any(|said| said.start == Start::Unknown && !said.bytes.is_empty());
        match self {
            Self::Nobody => true,
            Self::Waiting { .. } => late || view.ended || view.transport != Transport::Tcp,
            Self::Found(_) => false,
        }
    }

    /// The more telling of two answers.
    pub(super) fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Found(_), _)
            | (Self::Waiting { tls: true }, Self::Waiting { .. })
            | (Self::Waiting { .. }, Self::Nobody) => self,
            _ => other,
        }
    }
}

/// How often detectors are asked: all is read anew each time, and a sender may send single bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Unread bytes when they were last asked.
    asked_at: usize,
}

impl Pace {
    /// Whether the bytes have hardly grown since, so that asking can wait.
    pub(super) fn is_too_soon(&mut self, unread: usize) -> bool {
        let grown = unread.checked_sub(self.asked_at);
        let too_soon =
            unread > ASK_ALWAYS_BYTES && grown.is_some_and(|n| n < unread / ASK_AGAIN_SHARE);
        if !too_soon {
            self.asked_at = unread;
        }
        too_soon
    }
}

/// The first detector in registry order that does not say no. With `decide`, one that still waits is passed over.
pub(super) fn choose(
    view: &View<'_>,
    candidates: &mut Candidates,
    decide: bool,
    swapped: bool,
) -> Choice {
    candidates.keep_open_to(view);
    let (mut waiting, mut tls) = (false, false);
    for at in candidates.iter() {
        let Some(detector) = DETECTORS.get(at) else { continue };
        match detector.probe(view) {
            Probe::No => candidates.remove(at),
            Probe::More => {
                waiting = true;
                tls |= !detector.info().upgrades.is_empty();
            }
            Probe::Match(_) if waiting && !decide => return Choice::Waiting { tls },
            Probe::Match(found) => {
                return Choice::Found(Found { detector: at, answer: found, swapped });
            }
        }
    }
    if waiting { Choice::Waiting { tls } } else { Choice::Nobody }
}

/// In a stream joined late one side may be in the middle of a message: each side is asked alone.
pub(super) fn choose_alone(view: &View<'_>, roles_certain: bool) -> Choice {
    let mut views = Vec::with_capacity(4);
    for side in [Side::Client, Side::Server] {
        let said = view.side(side);
        let other = view.side(side.other());
        if said.bytes.is_empty() || other.bytes.is_empty() || other.start == Start::Known {
            continue;
        }
        let nothing = Said { bytes: &[], start: Start::Unknown };
        let alone = match side {
            Side::Client => View { server: nothing, ..*view },
            Side::Server => View { client: nothing, ..*view },
        };
        views.push((alone, false));
        if !roles_certain {
            views.push((alone.swapped(), true));
        }
    }
    for (view, swapped) in views {
        if let Choice::Found(found) =
            choose(&view, &mut Candidates::on(view.transport), true, swapped)
        {
            return Choice::Found(found);
        }
    }
    Choice::Nobody
}

/// What the server's answer alone proves, where nobody recognises the client's readable words (a request with a
/// mistake in it): the server took them for its own protocol.
pub(super) fn choose_answer(view: &View<'_>) -> Choice {
    if view.server.bytes.is_empty() || view.client.bytes.is_empty() {
        return Choice::Nobody;
    }
    let nothing = Said { bytes: &[], start: Start::Unknown };
    let alone = View { client: nothing, ..*view };
    choose(&alone, &mut Candidates::on(view.transport), true, false)
}

/// The server spoke first and the client may yet say something else, which would then count.
pub(super) fn waits_for_client(view: &View<'_>, found: &Found) -> bool {
    let view = if found.swapped { view.swapped() } else { *view };
    view.transport == Transport::Tcp
        && view.client.bytes.is_empty()
        && view.server.start == Start::Known
        && index(found.answer.mark.side) == 1
}

/// Up to so many bytes detectors are asked at every segment, then whenever the bytes have grown by such a share.
const ASK_ALWAYS_BYTES: usize = 256;
const ASK_AGAIN_SHARE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_bytes_are_not_each_a_reason_to_read_all_again() {
        let mut pace = Pace::default();
        let asked = (1..=2048).filter(|unread| !pace.is_too_soon(*unread)).count();
        assert!((256..300).contains(&asked), "{asked}");
        assert!(!pace.is_too_soon(400), "less than before: another place");
    }
}
