//! Which detectors are still in question for a flow.

use std::sync::{LazyLock, OnceLock};

use crate::{
    detect::{DETECTORS, Probe, Said, Start, View},
    model::{Side, Transport},
};

/// A set of detectors, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidates([u64; WORDS]);

const WORDS: usize = 4;
const _: () = assert!(DETECTORS.len() <= 64 * WORDS, "widen Candidates");

impl Candidates {
    const NONE: Self = Self([0; WORDS]);

    /// Detectors that run on a transport.
    pub(super) fn on(transport: Transport) -> Self {
        static SETS: LazyLock<[Candidates; 3]> = LazyLock::new(|| {
            [Transport::Tcp, Transport::Udp, Transport::Esp].map(|transport| {
                Candidates::of(|at| {
                    let detector = DETECTORS.get(at);
                    detector.is_some_and(|d| d.info().transports.contains(&transport))
                })
            })
        });
        let [tcp, udp, esp] = *SETS;
        match transport {
            Transport::Tcp => tcp,
            Transport::Udp => udp,
            Transport::Esp => esp,
        }
    }

    /// Removes those who say no to the first byte of a stream, and so to all that begins with it. What they answer is
    /// asked once and kept: most detectors are not asked about most streams at all.
    pub(super) fn keep_open_to(&mut self, view: &View<'_>) {
        if view.transport != Transport::Tcp {
            return;
        }
        let start = view.client.start;
        let (side, byte) = match (view.client.bytes, view.server.bytes) {
            ([first, ..], _) => (Side::Client, *first),
            ([], [first, ..]) if view.server.start == start => (Side::Server, *first),
            _ => return,
        };
        let open = open_to(start, side, byte);
        self.0.iter_mut().zip(open.0).for_each(|(mine, open)| *mine &= open);
    }

    /// Takes a detector out of question.
    pub(super) fn remove(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word &= !(1 << (at % 64));
        }
    }

    /// Positions in the registry, in its order.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(64 * at + bit)
            })
        })
    }

    fn of(wanted: impl Fn(usize) -> bool) -> Self {
        let mut set = Self::NONE;
        for at in (0..DETECTORS.len()).filter(|at| wanted(*at)) {
            if let Some(word) = set.0.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
        }
        set
    }
}

/// Who does not say no to the first byte that a side says, while the other is silent; asked when first wanted.
fn open_to(start: Start, side: Side, byte: u8) -> Candidates {
    type PerByte = [OnceLock<Candidates>; 256];
    static KNOWN: [PerByte; 2] = [const { [const { OnceLock::new() }; 256] }; 2];
    static UNKNOWN: [PerByte; 2] = [const { [const { OnceLock::new() }; 256] }; 2];
    let [client, server] = match start {
        Start::Known => &KNOWN,
        Start::Unknown => &UNKNOWN,
    };
    let sets = if side == Side::Client { client } else { server };
    let ask = || {
        let nothing = Said { bytes: &[], start };
        let bytes = [byte];
        let said = Said { bytes: &bytes, start };
        let (client, server) = if side == Side::Client { (said, nothing) } else { (nothing, said) };
        let view = View::new(Transport::Tcp, client, server);
        Candidates::of(|at| DETECTORS.get(at).is_some_and(|d| d.probe(&view) != Probe::No))
    };
    sets.get(usize::from(byte)).map_or_else(ask, |set| *set.get_or_init(ask))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(set: Candidates) -> Vec<&'static str> {
        set.iter().filter_map(|at| DETECTORS.get(at)).map(|d| d.info().name).collect()
    }

    fn open(client: &[u8], server: &[u8], start: Start) -> Vec<&'static str> {
        let said = |bytes| Said { bytes, start };
        let view = View::new(Transport::Tcp, said(client), said(server));
        let mut set = Candidates::on(Transport::Tcp);
        set.keep_open_to(&view);
        named(set)
    }

    #[test]
    fn the_first_byte_of_a_stream_takes_most_detectors_out_of_question() {
        let tls = open(b"\x16\x03", b"", Start::Known);
        assert!(tls.contains(&"tls") && !tls.contains(&"http") && !tls.contains(&"redis"));
        let text = open(b"GET", b"", Start::Known);
        assert!(text.contains(&"http") && text.contains(&"redis") && !text.contains(&"tls"));
        let answered = open(b"GET", b"SSH-2.0-", Start::Known);
        assert_eq!(answered, text, "the client's word counts");
    }

    #[test]
    fn without_a_byte_nothing_is_ruled_out() {
        let all = named(Candidates::on(Transport::Tcp));
        assert_eq!(open(b"", b"", Start::Known), all);
    }

    #[test]
    fn a_detector_taken_out_stays_out() {
        let mut set = Candidates::on(Transport::Tcp);
        let first = set.iter().next().expect("there are detectors");
        set.remove(first);
        assert!(!set.iter().any(|at| at == first));
    }
}
