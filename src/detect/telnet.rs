//! Telnet. <https://www.rfc-editor.org/rfc/rfc854>, options <https://www.rfc-editor.org/rfc/rfc855>
//!
//! Three negotiations of assigned options at the beginning are proof, or one and a whole subnegotiation. Fewer also open
//! other things, so they need the other side's, or a login prompt behind them.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
    exchange::mark,
    lines,
    login::{asks_password, is_typed},
};
use crate::{
    bytes::{Cursor, Short, find},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Telnet;

impl Detector for Telnet {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        let (client, server) = (Opening::read(view.client), Opening::read(view.server));
        let silent = view.client.bytes.is_empty();
        if client.foreign || silent && server.foreign {
            // The class is what the client speaks, and it has not spoken.
            return if silent { Probe::More } else { Probe::No };
        }
        let found = |side, constant| {
            Match::plaintext(mark("telnet.negotiation", side, 0, 3 * NEGOTIATIONS_MIN, constant))
        };
        let both = client.count >= 1 && server.count >= 1;
        if client.count >= NEGOTIATIONS_MIN || both && client.count.saturating_add(server.count) > 2
        {
            return found(Side::Client, "IAC negotiations");
        }
        if silent && (server.count >= NEGOTIATIONS_MIN || server.prompts) {
            return found(Side::Server, "IAC negotiations");
        }
        Probe::More
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        if state.phase == [STARTED; 2] {
            let other = OtherSide::Here;
            let next = Next::Layer { upgrade: Some(UPGRADE), other };
            return Step { consumed: 0, facts: Facts::NONE, next };
        }
        let [client, server] = &mut state.phase;
        let phase = if side == Side::Client { client } else { server };
        if *phase == STARTED {
            return Step::WAIT;
        }
        let mut c = Cursor::new(said.bytes);
        match command(&mut c) {
            Err(Short) if said.bytes.len() > SUBNEGOTIATION_BYTES_MAX => {
                Step::read(said.bytes.len(), Facts::NONE)
            }
            Err(Short) => Step::WAIT,
            Ok(Command::Option(verb, option)) => {
                *phase = (*phase).max(SPOKEN);
                let offered = option == START_TLS && matches!(verb, DO | WILL);
                if offered && side == Side::Server {
                    state.flags |= TLS_OFFERED;
                }
                let declined = state.flags & TLS_OFFERED != 0;
                let reason = if declined {
                    PlaintextReason::ClientDeclined
                } else {
                    PlaintextReason::NoInBandUpgrade
                };
                Step::read(c.at(), Facts { reason: Some(reason), ..Facts::FITS })
            }
            Ok(Command::Sub(START_TLS, Some(TLS_FOLLOWS))) => {
                *phase = STARTED;
                Step::read(c.at(), Facts::FITS)
            }
            Ok(Command::Sub(ENCRYPT, Some(ENCRYPT_START))) => {
                let found = mark("telnet.encrypt", side, 0, c.at(), "ENCRYPT START");
                let encryption = Some(Encryption::OtherEncrypted);
                let facts = Facts { encryption, mark: Some(found), ..Facts::FITS };
                Step { consumed: c.at(), facts, next: Next::Done }
            }
            Ok(Command::Sub(..) | Command::Simple) => Step::read(c.at(), Facts::FITS),
            Ok(Command::Text(text)) => self::text(state, side, text, said.start),
        }
    }
}

/// Data between commands: a prompt, or what is typed after it.
fn text(state: &mut FollowState, side: Side, text: &[u8], start: Start) -> Step {
    let [client, server] = &mut state.phase;
    let phase = if side == Side::Client { client } else { server };
    if *phase == SILENT && start == Start::Known {
        *phase = SPOKEN;
        // A terminal may say nothing of options, but what it says is text.
        let is_text =
            text.iter().take(64).all(|b| matches!(b, 0 | 7..=13 | 27 | b' '..=b'~' | 0x80..));
        if !is_text {
            return Step { consumed: text.len(), facts: Facts::MISMATCH, next: Next::Continue };
        }
    }
    let [prompt, ..] = &mut state.words;
    let mut facts = Facts::NONE;
    match side {
        Side::Server if asks_password(prompt, text) => state.flags |= ASKED,
        Side::Client if state.flags & ASKED != 0 && is_typed(text) => {
            state.flags &= !ASKED;
            facts.credentials = Credentials::PASSWORD_CLEARTEXT;
        }
        _ => {}
    }
    Step::read(text.len(), facts)
}

/// What a side begins with.
#[derive(Default)]
struct Opening {
    count: usize,
    /// It cannot begin like that.
    foreign: bool,
    /// A prompt of a login stands behind the negotiations.
    prompts: bool,
}

impl Opening {
    fn read(said: Said<'_>) -> Self {
        let mut opening = Self::default();
        let mut c = Cursor::new(said.bytes);
        if said.bytes.is_empty() {
            return opening;
        }
        loop {
            match (negotiation(&mut c), opening.count) {
                (Ok(0), 0) => {
                    opening.foreign = true;
                    return opening;
                }
                (Ok(0), _) => break,
                (Ok(count), _) => opening.count = opening.count.saturating_add(count),
                (Err(Short), _) => return opening,
            }
            if opening.count >= NEGOTIATIONS_MIN {
                return opening;
            }
        }
        let late = said.start == Start::Unknown;
        opening.prompts = !late && asks_login(c.rest());
        opening
    }
}

/// One negotiation, or a subnegotiation (with its end as good as two), of an assigned option; none at the first byte that
/// is neither.
fn negotiation(c: &mut Cursor<'_>) -> Result<usize, Short> {
    let mut ahead = *c;
    if ahead.u8()? != IAC {
        return Ok(0);
    }
    let verb = ahead.u8()?;
    if !(SB..=DONT).contains(&verb) || !is_option(ahead.u8()?) {
        return Ok(0);
    }
    if verb == SB {
        let end = find(ahead.rest(), &[IAC, SE]);
        let seen = ahead.left();
        let Some(end) = end else {
            return if seen > SUBNEGOTIATION_BYTES_MAX { Ok(0) } else { Err(Short) };
        };
        if end > SUBNEGOTIATION_BYTES_MAX {
            return Ok(0);
        }
        ahead.skip(end.saturating_add(2))?;
    }
    *c = ahead;
    Ok(if verb == SB { 2 } else { 1 })
}

/// `login:`, `Username:` or `Password:` in readable text.
fn asks_login(text: &[u8]) -> bool {
    let text = text.get(..PROMPT_BYTES_MAX).unwrap_or(text);
    let readable = text.iter().all(|b| matches!(b, 0 | 7..=13 | 27 | b' '..=b'~' | 0x80..=0xfe));
    let asks = |prompt| lines::contains(text, prompt);
    readable && [&b"login:"[..], b"username:", b"password:"].into_iter().any(asks)
}

enum Command<'a> {
    Option(u8, u8),
    /// Option and its first byte.
    Sub(u8, Option<u8>),
    Simple,
    Text(&'a [u8]),
}

/// The next command, or the data up to it.
fn command<'a>(c: &mut Cursor<'a>) -> Result<Command<'a>, Short> {
    if c.peek()? != IAC {
        let rest = c.rest();
        let length = rest.iter().position(|byte| *byte == IAC).unwrap_or(rest.len());
        return Ok(Command::Text(c.take(length)?));
    }
    c.skip(1)?;
    Ok(match c.u8()? {
        verb @ WILL..=DONT => Command::Option(verb, c.u8()?),
        SB => {
            let option = c.u8()?;
            let rest = c.rest();
            let end = find(rest, &[IAC, SE]).ok_or(Short)?;
            c.skip(end.saturating_add(2))?;
            Command::Sub(option, rest.get(..end).and_then(<[u8]>::first).copied())
        }
        _ => Command::Simple,
    })
}

/// Assigned by IANA (Telnet Options), or in wide use (MCCP, GMCP and the like of games are not).
const fn is_option(option: u8) -> bool {
    matches!(option, 0..=49 | 138..=140 | 255)
}

const IAC: u8 = 255;
const SE: u8 = 240;
const SB: u8 = 250;
const WILL: u8 = 251;
const DO: u8 = 253;
const DONT: u8 = 254;
const START_TLS: u8 = 46;
const TLS_FOLLOWS: u8 = 1;
const ENCRYPT: u8 = 38;
const ENCRYPT_START: u8 = 3;
const UPGRADE: &str = "telnet-starttls";
const NEGOTIATIONS_MIN: usize = 3;
const SUBNEGOTIATION_BYTES_MAX: usize = 512;
const PROMPT_BYTES_MAX: usize = 1024;

// Phases.
const SILENT: u8 = 0;
const SPOKEN: u8 = 1;
/// Said that TLS follows.
const STARTED: u8 = 2;

// Flags.
const ASKED: u16 = 1;
const TLS_OFFERED: u16 = 1 << 1;

static INFO: Info = Info {
    name: "telnet",
    title: "Telnet",
    spec: "https://www.rfc-editor.org/rfc/rfc854",
    ports: &[23, 2323],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::{hear, hear_from, probe_side},
        exchange::bench::{OPENINGS, random_proves_nothing},
    };

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const DOS: &[u8] = b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27";
    const WILLS: &[u8] = b"\xff\xfb\x18\xff\xfc\x20\xff\xfc\x23\xff\xfb\x27";

    fn proves(side: Side, bytes: &[u8]) -> bool {
        matches!(probe_side(&Telnet, side, bytes), Probe::Match(_))
    }

    #[test]
    fn three_negotiations_prove_a_side() {
        assert!(proves(S, DOS) && proves(C, WILLS));
        assert!(proves(C, b"\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0\xff\xfb\x18\xff\xfd\x03"));
        assert!(proves(S, b"\xff\xfb\x01\xff\xfb\x03\r\nlogin: "), "or fewer and a prompt");
        let asked = b"\xff\xfe\x24\xff\xfa\x18\x01\xff\xf0\xff\xfa\x7b\xf5\0\0";
        assert!(proves(S, asked), "or one and a subnegotiation, whatever comes then");
        assert!(!proves(S, &asked[3..]) && !proves(S, b"\xff\xfe\x24\xff\xfa\x18\x01\xff"));
        let late = hear_from(&Telnet, &[(S, asked)], Start::Unknown);
        assert!(late.matched.is_some());
        for bad in [&b"\xff\xfb\x01"[..], b"\xff\xfb\x01\xff\xfb\x03\r\nhello", b"\xff\xfb\x77\xff"]
        {
            assert!(!proves(S, bad) && !proves(C, bad), "{bad:02x?}");
        }
        assert_eq!(probe_side(&Telnet, C, b"\xff\xd8\xff\xe0\x00\x10JFIF"), Probe::No, "a picture");
        for bytes in OPENINGS {
            assert_eq!(probe_side(&Telnet, C, bytes), Probe::No);
        }
        random_proves_nothing(&Telnet);
    }

    #[test]
    fn one_of_each_side_and_one_more() {
        let heard = hear(&Telnet, &[(S, b"\xff\xfb\x01\xff\xfb\x03"), (C, b"\xff\xfd\x01")]);
        assert!(heard.matched.is_some());
        let heard = hear(&Telnet, &[(S, b"\xff\xfb\x01"), (C, b"\xff\xfd\x01")]);
        assert!(heard.matched.is_none());
    }

    #[test]
    fn a_password_that_is_asked_for_and_typed() {
        let lines: [Line<'_>; 6] = [
            (S, DOS),
            (C, WILLS),
            (S, b"Debian\r\nlogin: "),
            (C, b"bob\r\0"),
            (S, b"bob\r\nPassword: "),
            (C, b"x\r\0"),
        ];
        let heard = hear(&Telnet, &lines);
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        assert_eq!(hear(&Telnet, &lines[..4]).credentials, Credentials::NONE);
        assert!(hear_from(&Telnet, &[(C, b"ls\r\0")], Start::Unknown).matched.is_none());
    }

    #[test]
    fn start_tls_begins_a_layer_on_both_sides() {
        let follows = b"\xff\xfa\x2e\x01\xff\xf0";
        let heard = hear(
            &Telnet,
            &[
                (S, b"\xff\xfd\x2e\xff\xfd\x18\xff\xfd\x27"),
                (C, b"\xff\xfb\x2e"),
                (S, follows),
                (C, follows),
                (C, b"\x16\x03\x01"),
            ],
        );
        assert_eq!(heard.layer, Some((Some("telnet-starttls"), Some(9), Some(15))));
        let heard =
            hear(&Telnet, &[(S, b"\xff\xfd\x2e\xff\xfd\x18\xff\xfd\x27"), (C, b"\xff\xfc\x2e")]);
        assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
    }

    use crate::detect::check::Line;
}
