//! Protocols whose messages are read whole, one by one: a function per protocol reads one message of one side, and a
//! [`Protocol`] makes a detector of it.
use super::{
    Detector, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, Short, is_text},
    model::{Encryption, Mark, PlaintextReason, Side, Transport},
};

#[cfg(test)]
pub(super) mod bench;

/// A detector made of a reader of single messages.
pub(super) struct Protocol {
    /// Static facts.
    pub(super) info: &'static Info,
    /// Who speaks.
    pub(super) turns: Turns,
    /// Reads one message. Asked about the same bytes by `probe` (with a fresh state) and `follow`.
    pub(super) read: fn(&mut FollowState, &Heard<'_>) -> Read<Message>,
}

/// Who speaks in a protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turns {
    /// Both sides.
    Both,
    /// Only the client: what it sends is in use without an answer.
    Client,
    /// Only the server.
    Server,
}

/// The bytes of one side, at the start of a message.
pub(super) struct Heard<'a> {
    /// Who said it.
    pub(super) side: Side,
    /// Whether the beginning of the stream was missed.
    pub(super) late: bool,
    /// UDP: the length of the datagram. TCP: none.
    pub(super) datagram: Option<usize>,
    /// Whether it is read to learn more; else only to recognise it.
    pub(super) follows: bool,
    /// TCP: the stream from here. UDP: the datagram, cut where the view ends.
    pub(super) bytes: &'a [u8],
}

impl<'a> Heard<'a> {
    pub(super) const fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.bytes)
    }

    /// A message of `length` bytes: a datagram holds exactly one.
    pub(super) fn exactly(&self, length: usize) -> Read<()> {
        demand(self.datagram.is_none_or(|whole| whole == length))
    }

    /// Waits until `length` bytes are there.
    pub(super) fn whole(&self, length: usize) -> Read<&'a [u8]> {
        self.bytes.get(..length).ok_or(Flaw::Short)
    }
}

/// Why no message can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It fits so far.
    Short,
    /// It is something else.
    Foreign,
}

impl From<Short> for Flaw {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

pub(super) type Read<T> = Result<T, Flaw>;

/// One message.
#[derive(Clone, Copy)]
pub(super) struct Message {
    /// Bytes up to the next one; may exceed what is there.
    pub(super) length: usize,
    /// Rule and constant, if it proves the protocol by itself.
    pub(super) proof: Option<(&'static str, &'static str)>,
    /// What an observer can read.
    pub(super) encryption: Encryption,
    /// What else it tells.
    pub(super) facts: Facts,
    /// Whether later messages will tell more, though both sides have spoken.
    pub(super) more: bool,
    /// Whether a server that sends it has taken the session.
    pub(super) taken: bool,
    /// Upgrade that begins behind it.
    pub(super) layer: Option<&'static str>,
}

impl Message {
    /// Fits, which is not enough by itself.
    pub(super) const fn weak(length: usize) -> Self {
        Self {
            length,
            proof: None,
            encryption: Encryption::Plaintext,
            facts: Facts::NONE,
            more: false,
            taken: true,
            layer: None,
        }
    }

    /// Proves the protocol.
    pub(super) const fn proof(length: usize, rule: &'static str, constant: &'static str) -> Self {
        Self { proof: Some((rule, constant)), ..Self::weak(length) }
    }
}

impl Detector for Protocol {
    fn info(&self) -> &'static Info {
        self.info
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if !self.info.transports.contains(&view.transport) {
            return Probe::No;
        }
        let udp = view.transport == Transport::Udp;
        let (client, server) = (self.first(view, Side::Client), self.first(view, Side::Server));
        #[allow(clippy::match_same_arms, reason = "one line for each pair of answers")]
        match (client, server) {
            (Some(Ok(found)), _) if found.proof.is_some() => answer(view, Side::Client, &found),
            (Some(Err(Flaw::Foreign)), _) => Probe::No,
            (None | Some(Ok(_)), Some(Ok(found))) if found.proof.is_some() => {
                answer(view, Side::Server, &found)
            }
            (Some(Ok(_)), Some(Ok(_) | Err(Flaw::Foreign))) => Probe::No,
            (None, Some(Err(Flaw::Foreign))) if udp || self.turns == Turns::Server => Probe::No,
            // The class is what the client speaks, and it has not spoken.
            _ => Probe::More,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let udp = self.is_datagrams(said.bytes);
        let Some((mut heard, prefix)) = hear(side, said, udp) else { return Step::WAIT };
        heard.follows = true;
        let [client, server] = state.phase;
        let (mine, other) = if side == Side::Client { (client, server) } else { (server, client) };
        if mine == LOST {
            return Step::read(said.bytes.len(), Facts::NONE);
        }
        match self.one(state, &heard) {
            Ok(message) => {
                set(state, side, FITTED);
                let [.., count] = &mut state.words;
                *count = count.saturating_add(1);
                let ran = !udp || *count > 1;
                let over = *count >= MESSAGES_MAX || (other != SILENT && !message.more);
                let taken = match self.turns {
                    Turns::Client => side == Side::Client && ran,
                    Turns::Server => side == Side::Server,
                    Turns::Both => side == Side::Server && client == FITTED,
                };
                let alone = self.turns != Turns::Both && taken && !message.more;
                let facts = Facts {
                    fits: true,
                    accepted: message.facts.accepted
                        || (taken && message.taken && !message.facts.refused),
                    reason: message.facts.reason.or(Some(PlaintextReason::NoInBandUpgrade)),
                    ..message.facts
                };
                let next = match message.layer {
                    Some(name) => Next::Layer { upgrade: Some(name), other: OtherSide::Here },
                    None if over || alone => Next::Done,
                    None => Next::Continue,
                };
                let length = heard.datagram.unwrap_or(message.length);
                Step { consumed: length.saturating_add(prefix), facts, next }
            }
            Err(Flaw::Short) if said.bytes.len() < MESSAGE_BYTES_MAX => Step::WAIT,
            Err(Flaw::Foreign) if mine == SILENT && !heard.late => {
                Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done }
            }
            Err(_) => {
                let [.., count] = &mut state.words;
                *count = count.saturating_add(1);
                let over = *count >= MESSAGES_MAX || other == LOST;
                let rest = said.bytes.len();
                let consumed = heard.datagram.map_or(rest, |length| length.saturating_add(prefix));
                if !udp {
                    set(state, side, LOST);
                }
                let next = if over { Next::Done } else { Next::Continue };
                Step { consumed, facts: Facts::NONE, next }
            }
        }
    }
}

impl Protocol {
    /// Reads the first message of a side; none if it has not spoken.
    fn first(&self, view: &View<'_>, side: Side) -> Option<Read<Message>> {
        let said = view.side(side);
        if said.bytes.is_empty() {
            return None;
        }
        let Some((heard, _)) = hear(side, said, view.transport == Transport::Udp) else {
            return Some(Err(Flaw::Short));
        };
        Some(self.one(&mut FollowState::default(), &heard))
    }

    fn one(&self, state: &mut FollowState, heard: &Heard<'_>) -> Read<Message> {
        if heard.late && !self.info.midstream {
            return Err(Flaw::Foreign);
        }
        match (self.read)(state, heard) {
            // Nothing will be added to a datagram.
            Err(Flaw::Short) if heard.datagram == Some(heard.bytes.len()) => Err(Flaw::Foreign),
            read => read,
        }
    }

    /// Whether `bytes` are datagrams. No stream of a protocol here begins with a byte below 16, but for a length of four
    /// bytes; and no datagram is empty, or as long as its first byte would then say.
    fn is_datagrams(&self, bytes: &[u8]) -> bool {
        let has = |transport| self.info.transports.contains(&transport);
        match (has(Transport::Udp), has(Transport::Tcp)) {
            (true, true) => matches!(bytes, [0, 1..=255, ..] | [1..=15, ..]),
            (udp, _) => udp,
        }
    }
}

/// The next message's bytes, and how many stand before them.
fn hear(side: Side, said: Said<'_>, udp: bool) -> Option<(Heard<'_>, usize)> {
    let late = said.start == Start::Unknown && !udp;
    if !udp {
        return Some((Heard { side, late, datagram: None, follows: false, bytes: said.bytes }, 0));
    }
    let mut cursor = Cursor::new(said.bytes);
    let length = usize::from(cursor.u16_be().ok()?);
    let bytes = cursor.rest();
    let bytes = bytes.get(..length).unwrap_or(bytes);
    Some((Heard { side, late, datagram: Some(length), follows: false, bytes }, cursor.at()))
}

fn answer(view: &View<'_>, side: Side, message: &Message) -> Probe {
    let Some((rule, constant)) = message.proof else { return Probe::More };
    let offset = if view.transport == Transport::Udp { 2 } else { 0 };
    let there = view.side(side).bytes.len();
    let length = u32::try_from(message.length.min(there)).unwrap_or(u32::MAX);
    Match::encrypted(message.encryption, Mark { rule, side, offset, length, constant })
}

const fn set(state: &mut FollowState, side: Side, to: u8) {
    let [client, server] = &mut state.phase;
    match side {
        Side::Client => *client = to,
        Side::Server => *server = to,
    }
}

/// Goes on if the grammar holds.
pub(super) const fn demand(holds: bool) -> Read<()> {
    if holds { Ok(()) } else { Err(Flaw::Foreign) }
}

/// Reads `constant`, byte by byte: the first wrong one tells.
pub(super) fn expect(cursor: &mut Cursor<'_>, constant: &[u8]) -> Read<()> {
    demand(cursor.rest().iter().zip(constant).all(|(byte, want)| byte == want))?;
    Ok(cursor.skip(constant.len())?)
}

/// Reads a line of text of at most `max` bytes.
pub(super) fn text_line<'a>(cursor: &mut Cursor<'a>, max: usize) -> Read<&'a [u8]> {
    let rest = cursor.rest();
    let shown = rest.get(..max).unwrap_or(rest);
    if let Some(end) = shown.iter().position(|b| *b == b'\n') {
        demand(shown.get(..end).is_some_and(is_text))?;
        return Ok(cursor.line()?);
    }
    demand(shown.len() < max && is_text(shown))?;
    Err(Flaw::Short)
}

/// The last line of a datagram may lack its end.
pub(super) fn line_or_rest<'a>(
    heard: &Heard<'_>,
    cursor: &mut Cursor<'a>,
    max: usize,
) -> Read<&'a [u8]> {
    match text_line(cursor, max) {
        Err(Flaw::Short) if heard.datagram == Some(heard.bytes.len()) => {
            let rest = cursor.rest();
            cursor.skip(rest.len())?;
            Ok(rest)
        }
        line => line,
    }
}

/// The entry of `words` that is `word`.
pub(super) fn listed(words: &[&'static str], word: &[u8]) -> Option<&'static str> {
    words.iter().find(|w| w.as_bytes() == word).copied()
}

const SILENT: u8 = 0;
const FITTED: u8 = 1;
/// What follows on a stream cannot be told apart any more.
const LOST: u8 = 2;
const MESSAGES_MAX: u32 = 32;
/// Less than is kept unread.
pub(super) const MESSAGE_BYTES_MAX: usize = 15 << 10;
