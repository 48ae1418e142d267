//! LDAP over TCP, and connectionless LDAP over UDP. <https://www.rfc-editor.org/rfc/rfc4511>
//!
//! Every message is a BER sequence of a number, an operation and perhaps controls, whose lengths must agree. `StartTLS` is
//! an extended operation. After a SASL login a security layer may wrap all that follows (RFC 4422 section 3.7).
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View, lines,
};
use crate::{
    bytes::{Cursor, Short, holds},
    model::{Credentials, Encryption, Mark, PlaintextReason, Side, Transport},
};
use message::{Authentication, Message, authentication, is_root, message};

mod message;
#[cfg(test)]
mod tests;

pub(super) struct Ldap;

impl Detector for Ldap {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        let udp = match view.transport {
            Transport::Tcp => false,
            Transport::Udp => true,
            Transport::Esp => return Probe::No,
        };
        let see = |side| {
            let said = view.side(side);
            if udp { see_datagram(side, said) } else { see(side, said) }
        };
        let (client, server) = (see(Side::Client), see(Side::Server));
        let late = view.client.start == Start::Unknown;
        let silent = view.client.bytes.is_empty();
        match (client, server) {
            (Ok(None), _) if !silent && !late => Probe::No,
            (Err(Short), _) if !silent && !late => Probe::More,
            (Ok(Some(mark)), _) | (_, Ok(Some(mark))) => answer(mark, udp),
            (Ok(None), Ok(None)) => Probe::No,
            (Err(Short), Ok(None)) if udp => Probe::No,
            _ => Probe::More,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let mut talk = Talk(state);
        match said.datagrams().next() {
            Some(datagram) if is_datagram(side, datagram) && said.bytes.first() != Some(&0x30) => {
                talk.datagram(side, datagram.len().saturating_add(2))
            }
            _ => talk.read(side, said),
        }
    }
}

const fn answer(mark: Mark, udp: bool) -> Probe {
    // Over UDP there is no StartTLS (RFC 4511 section 4.14 needs a connection).
    if udp { Match::plaintext(mark) } else { Match::preamble(mark) }
}

fn see(side: Side, said: Said<'_>) -> Result<Option<Mark>, Short> {
    let bytes = said.bytes;
    let Some(message) = message(bytes, side)? else { return Ok(None) };
    if said.start == Start::Unknown {
        // A late view proves itself by a whole message that has more than a number in it.
        if message.body_length < LATE_BODY_BYTES_MIN {
            return Ok(None);
        }
        if bytes.len() < message.length {
            return Err(Short);
        }
    }
    Ok(Some(message_mark(side, &message, 0)))
}

fn see_datagram(side: Side, said: Said<'_>) -> Result<Option<Mark>, Short> {
    let datagram = said.datagrams().next().ok_or(Short)?;
    let first = message(datagram, side).ok().flatten();
    Ok(first.filter(|_| is_datagram(side, datagram)).map(|first| message_mark(side, &first, 2)))
}

/// Whether a datagram is filled by whole messages (an entry and its end come together).
fn is_datagram(side: Side, datagram: &[u8]) -> bool {
    let mut rest = datagram;
    for _ in 0..DATAGRAM_MESSAGES_MAX {
        let Ok(Some(message)) = message(rest, side) else { return false };
        match rest.get(message.length..) {
            Some([]) => return true,
            Some(more) => rest = more,
            None => return false,
        }
    }
    false
}

/// A conversation, as far as it was read.
struct Talk<'a>(&'a mut FollowState);

impl Talk<'_> {
    fn datagram(&mut self, side: Side, length: usize) -> Step {
        *self.phase(side) = SPOKEN;
        let over = self.0.phase == [SPOKEN, SPOKEN];
        let reason = Some(PlaintextReason::NoInBandUpgrade);
        let accepted = side == Side::Server;
        let next = if over { Next::Done } else { Next::Continue };
        Step { consumed: length, facts: Facts { accepted, reason, ..Facts::FITS }, next }
    }

    fn read(&mut self, side: Side, said: Said<'_>) -> Step {
        let bytes = said.bytes;
        let late = said.start == Start::Unknown;
        let fresh = *self.phase(side) == FRESH;
        if late {
            self.0.flags |= LATE;
        }
        if *self.phase(side) == LOST {
            return Step::read(bytes.len(), Facts::NONE);
        }
        match lines::hello(side, bytes) {
            Err(Short) => return Step::WAIT,
            Ok(true) if !fresh || late => return layer(0, Facts::FITS, OtherSide::Somewhere),
            Ok(_) => {}
        }
        if self.0.flags & LAYERED != 0 && bytes.first() == Some(&0) {
            return self.wrapped(side, bytes).unwrap_or_else(Step::from);
        }
        let message = match message(bytes, side) {
            Ok(Some(message)) => message,
            Ok(None) if fresh && !late => {
                return Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done };
            }
            Err(Short) if bytes.len() < WAIT_BYTES_MAX => return Step::WAIT,
            _ => return self.lose(side, bytes.len()),
        };
        // Long ones are read by their first fields.
        if bytes.len() < message.length && message.length <= WHOLE_BYTES_MAX {
            return Step::WAIT;
        }
        *self.phase(side) = SPOKEN;
        let [.., messages] = &mut self.0.words;
        *messages = messages.saturating_add(1);
        let over = *messages > MESSAGES_MAX;
        let step = match side {
            Side::Client => self.request(&message),
            Side::Server => self.response(&message),
        };
        let next = if over && step.next == Next::Continue { Next::Done } else { step.next };
        Step { next, ..step }
    }

    fn request(&mut self, message: &Message<'_>) -> Step {
        let mut facts = Facts { reason: self.why(), ..Facts::FITS };
        match message.op {
            message::BIND => facts = self.bind(message, facts),
            message::EXTENDED if lines::contains(message.body, START_TLS) => {
                self.0.flags |= ASKED;
                self.0.words[ASKED_ID] = message.id;
                facts.mark = Some(found("ldap.start-tls", Side::Client, message, "1466.20037"));
            }
            message::EXTENDED => {}
            // Some ask the server what it can do before they ask for TLS.
            message::SEARCH if is_root(message.body) => {}
            // Refused TLS, it leaves: nothing was said in clear.
            message::UNBIND if self.0.flags & (ASKED | DENIED) != 0 => {}
            _ => facts = self.settle(facts),
        }
        Step::read(message.length, facts)
    }

    fn bind(&mut self, message: &Message<'_>, facts: Facts) -> Facts {
        self.0.flags &= !SECRET;
        match authentication(message.body) {
            Some(Authentication::Simple { empty: true }) => self.settle(facts),
            Some(Authentication::Simple { empty: false }) => {
                self.secret(message, facts, Credentials::PASSWORD_CLEARTEXT, "simple bind")
            }
            Some(Authentication::Sasl { mechanism, credentials }) => {
                self.sasl(message, facts, mechanism, credentials)
            }
            Some(Authentication::Sicily) if lines::contains(message.body, NTLM_ANSWER) => {
                self.0.flags |= LAYERED;
                self.secret(message, facts, Credentials::PASSWORD_HASH_CHALLENGE, "NTLM")
            }
            Some(Authentication::Sicily) => {
                self.0.flags |= LAYERED;
                facts
            }
            None => facts,
        }
    }

    fn sasl(
        &mut self,
        message: &Message<'_>,
        facts: Facts,
        mechanism: &[u8],
        credentials: &[u8],
    ) -> Facts {
        let ntlm = holds(credentials, NTLM_ANSWER);
        let hash = Credentials::PASSWORD_HASH_CHALLENGE;
        let layered = LAYERS.iter().any(|name| name.eq_ignore_ascii_case(mechanism));
        let Some(mechanism) = lines::mechanism(mechanism) else { return self.settle(facts) };
        if layered {
            // What follows may be sealed: nothing is settled yet.
            self.0.flags |= LAYERED;
        }
        if ntlm {
            return self.secret(message, facts, hash, "NTLMSSP");
        }
        let [_, steps, ..] = &mut self.0.words;
        *steps = steps.saturating_add(u32::from(!credentials.is_empty()));
        match mechanism.exposes(*steps) {
            Some(kind) if !kind.is_empty() => self.secret(message, facts, kind, mechanism.name),
            _ if layered => facts,
            _ => self.settle(facts),
        }
    }

    fn secret(
        &mut self,
        message: &Message<'_>,
        facts: Facts,
        kind: Credentials,
        constant: &'static str,
    ) -> Facts {
        self.0.flags |= SECRET;
        let mark = Some(found("ldap.credentials", Side::Client, message, constant));
        let facts = Facts { credentials: kind, mark, ..facts };
        if self.0.flags & LAYERED != 0 { facts } else { self.settle(facts) }
    }

    fn response(&mut self, message: &Message<'_>) -> Step {
        let code = message::result(&mut Cursor::new(message.body)).ok().flatten();
        let mut facts = Facts { reason: self.why(), ..Facts::FITS };
        let layered = self.0.flags & LAYERED != 0;
        match (message.op, code) {
            (message::EXTENDED_RESPONSE, Some(code)) if self.is_answer(message.id) => {
                self.0.flags &= !ASKED;
                if code == 0 {
                    facts.mark = Some(found("ldap.tls-granted", Side::Server, message, "success"));
                    return layer(message.length, facts, OtherSide::Here);
                }
                self.0.flags |= DENIED;
                facts.refused = self.0.flags & SETTLED == 0;
                facts.mark = Some(found("ldap.tls-refused", Side::Server, message, "resultCode"));
                facts.reason = self.why();
            }
            (message::BIND_RESPONSE, Some(SASL_IN_PROGRESS)) => {}
            (message::BIND_RESPONSE, Some(0)) if layered => facts.accepted = true,
            (message::BIND_RESPONSE, Some(0)) => {
                facts = Facts { accepted: true, ..self.settle(facts) };
                if self.0.flags & SECRET != 0 {
                    return Step { next: Next::Done, ..Step::read(message.length, facts) };
                }
            }
            (message::BIND_RESPONSE, Some(_)) => {
                self.0.flags &= !LAYERED;
                facts = Facts { refused: true, ..self.settle(facts) };
                facts.mark = Some(found("ldap.refused", Side::Server, message, "resultCode"));
            }
            (message::SEARCH_DONE, Some(1 | 8 | 13 | 50)) => {
                facts.refused = true;
                facts.mark = Some(found("ldap.refused", Side::Server, message, "resultCode"));
            }
            (message::SEARCH_ENTRY, _) if lines::contains(message.body, START_TLS) => {
                self.0.flags |= OFFERED;
                facts.reason = self.why();
            }
            (message::SEARCH_ENTRY, _) if !is_root(message.body) => {
                facts = Facts { accepted: true, ..self.settle(facts) };
            }
            (message::SEARCH_DONE, Some(0)) => facts.accepted = true,
            _ => {}
        }
        Step::read(message.length, facts)
    }

    /// A buffer of a SASL security layer: sealed, or only signed (RFC 4422 section 3.7).
    fn wrapped(&mut self, side: Side, bytes: &[u8]) -> Result<Step, Short> {
        let mut c = Cursor::new(bytes);
        let length = usize::try_from(c.u32_be()?).unwrap_or(usize::MAX);
        let token = c.take(length.min(TOKEN_BYTES_SHOWN))?;
        let constant = if is_readable(token) { "signed" } else { "sealed" };
        let (rule, length) = ("ldap.security-layer", 4_u32);
        let mark = Some(Mark { rule, side, offset: 0, length, constant });
        let facts = Facts { accepted: true, mark, ..Facts::FITS };
        let facts = if is_readable(token) {
            self.settle(facts)
        } else {
            Facts { encryption: Some(Encryption::OtherEncrypted), ..facts }
        };
        Ok(Step { consumed: bytes.len(), facts, next: Next::Done })
    }

    fn lose(&mut self, side: Side, length: usize) -> Step {
        *self.phase(side) = LOST;
        let next = if self.0.phase == [LOST, LOST] { Next::Done } else { Next::Continue };
        Step { next, ..Step::read(length, Facts::NONE) }
    }

    const fn is_answer(&self, id: u32) -> bool {
        let [asked, ..] = self.0.words;
        self.0.flags & ASKED != 0 && (id == asked || id == 0)
    }

    const fn settle(&mut self, facts: Facts) -> Facts {
        self.0.flags |= SETTLED;
        Facts { encryption: Some(Encryption::Plaintext), reason: self.why(), ..facts }
    }

    /// Why the session is in clear, if it is.
    const fn why(&self) -> Option<PlaintextReason> {
        let flags = self.0.flags;
        if flags & (ASKED | DENIED) != 0 {
            Some(PlaintextReason::ServerRefused)
        } else if flags & OFFERED != 0 {
            Some(PlaintextReason::ClientDeclined)
        } else if flags & LATE != 0 {
            None
        } else {
            Some(PlaintextReason::ClientNeverAsked)
        }
    }

    const fn phase(&mut self, side: Side) -> &mut u8 {
        let [client, server] = &mut self.0.phase;
        match side {
            Side::Client => client,
            Side::Server => server,
        }
    }
}

/// Whether a token of a security layer shows what it carries.
fn is_readable(token: &[u8]) -> bool {
    match token {
        // RFC 4121 section 4.2.6.2: the flag says whether it is sealed.
        [5, 4, flags, ..] => flags & 2 == 0,
        // RFC 1964 section 1.2.2: no sealing algorithm.
        [0x60, ..] => token.windows(6).any(|part| matches!(part, [2, 1, _, _, 0xff, 0xff])),
        // NTLM has a signature of 16 bytes before the data, DIGEST-MD5 one behind them.
        _ => [0, 16].iter().any(|at| {
            let inner = token.get(*at..).unwrap_or_default();
            [Side::Client, Side::Server]
                .iter()
                .any(|side| matches!(message(inner, *side), Ok(Some(_))))
        }),
    }
}

const fn layer(consumed: usize, facts: Facts, other: OtherSide) -> Step {
    Step { consumed, facts, next: Next::Layer { upgrade: Some(UPGRADE), other } }
}

fn message_mark(side: Side, message: &Message<'_>, offset: u32) -> Mark {
    let constant = match message.op {
        message::BIND => "BindRequest",
        message::SEARCH => "SearchRequest",
        message::EXTENDED => "ExtendedRequest",
        message::BIND_RESPONSE => "BindResponse",
        message::SEARCH_ENTRY => "SearchResultEntry",
        message::SEARCH_DONE => "SearchResultDone",
        message::EXTENDED_RESPONSE => "ExtendedResponse",
        message::UNBIND => "UnbindRequest",
        _ => "LDAPMessage",
    };
    Mark { offset, ..found("ldap.message", side, message, constant) }
}

fn found(rule: &'static str, side: Side, message: &Message<'_>, constant: &'static str) -> Mark {
    let length = u32::try_from(message.length).unwrap_or(u32::MAX);
    Mark { rule, side, offset: 0, length, constant }
}

const UPGRADE: &str = "ldap-starttls";
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
const NTLM_ANSWER: &[u8] = b"NTLMSSP\0\x03";
/// Mechanisms that can seal or sign what follows.
const LAYERS: [&[u8]; 5] = [b"GSSAPI", b"GSS-SPNEGO", b"GS2-KRB5", b"DIGEST-MD5", b"KERBEROS_V4"];
const SASL_IN_PROGRESS: u8 = 14;
const LATE_BODY_BYTES_MIN: usize = 7;
const DATAGRAM_MESSAGES_MAX: usize = 64;
const MESSAGES_MAX: u32 = 256;
/// First fields are within so many bytes.
const WAIT_BYTES_MAX: usize = 4096;
/// Messages up to this length are read whole.
const WHOLE_BYTES_MAX: usize = 8192;
const TOKEN_BYTES_SHOWN: usize = 64;

// Phases.
const FRESH: u8 = 0;
const SPOKEN: u8 = 1;
const LOST: u8 = 2;

// Flags.
const ASKED: u16 = 1;
const DENIED: u16 = 1 << 1;
const OFFERED: u16 = 1 << 2;
const SETTLED: u16 = 1 << 3;
const SECRET: u16 = 1 << 4;
const LAYERED: u16 = 1 << 5;
const LATE: u16 = 1 << 6;

// Words.
const ASKED_ID: usize = 0;

static INFO: Info = Info {
    name: "ldap",
    title: "Lightweight Directory Access Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc4511",
    ports: &[389, 3268],
    transports: &[Transport::Tcp, Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::SASL_PLAIN)
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::BEARER_TOKEN),
};
