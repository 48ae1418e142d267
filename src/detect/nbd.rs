//! NBD, the network block device. <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>
use super::{
    Detector, Directions, Facts, FollowState, Info, Next, OtherSide, Probe, Said, Start, Step,
    View,
    exchange::{Told, magic, mark, probe_stream},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Nbd;

impl Detector for Nbd {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_stream(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        if said.start == Start::Unknown && state.phase == [0, 0] {
            let fits = matches!(read(side, said), Ok(Some(_)));
            let reason = Some(PlaintextReason::ClientNeverAsked);
            let facts = if fits { Facts { reason, ..Facts::FITS } } else { Facts::NONE };
            return Step { consumed: 0, facts, next: Next::Done };
        }
        let mut c = Cursor::new(said.bytes);
        let heard = match side {
            Side::Client => client(state, &mut c),
            Side::Server => server(state, &mut c),
        };
        match heard {
            Err(Short) => Step::WAIT,
            Ok((facts, next, beyond)) => {
                Step { consumed: c.at().saturating_add(beyond), facts, next }
            }
        }
    }
}

/// What was read, and how much more is passed over.
type Heard = Result<(Facts, Next, usize), Short>;

const MISMATCH: Heard = Ok((Facts::MISMATCH, Next::Done, 0));

fn client(state: &mut FollowState, c: &mut Cursor<'_>) -> Heard {
    match state.phase[0] {
        OPENING => {
            if state.flags & OLDSTYLE != 0 {
                state.phase[0] = SENDING;
                return Ok((Facts::NONE, Next::Done, 0));
            }
            if c.u32_be()? > CLIENT_FLAGS_MAX {
                return MISMATCH;
            }
            state.phase[0] = OPTIONS;
            Ok((Facts::FITS, Next::Continue, 0))
        }
        // Until the server has answered.
        WAITING => {
            if c.rest().starts_with(b"\x16\x03") {
                return layer(OtherSide::Somewhere);
            }
            if state.phase[1] == OPENING && c.rest().starts_with(b"IHAVEOPT") {
                state.phase[0] = OPTIONS;
                return Ok((Facts::NONE, Next::Continue, 0));
            }
            Err(Short)
        }
        OPTIONS => {
            if !magic(c, b"IHAVEOPT")? {
                return MISMATCH;
            }
            let (option, length) = (c.u32_be()?, c.u32_be()?);
            let beyond = usize::try_from(length).unwrap_or(usize::MAX);
            if option == START_TLS {
                state.phase[0] = WAITING;
                state.flags |= ASKED;
                return Ok((Facts::FITS, Next::Continue, beyond));
            }
            let reason = if state.flags & ASKED != 0 {
                PlaintextReason::ServerRefused
            } else {
                PlaintextReason::ClientNeverAsked
            };
            if matches!(option, EXPORT_NAME | LIST | INFO_OPTION | GO) {
                let found = mark("nbd.option", Side::Client, 0, 16, "IHAVEOPT");
                let facts = Facts {
                    encryption: Some(Encryption::Plaintext),
                    reason: Some(reason),
                    mark: Some(found),
                    ..Facts::FITS
                };
                state.phase[0] = if option == EXPORT_NAME { SENDING } else { OPTIONS };
                let over = option == EXPORT_NAME && state.phase[1] != OPENING;
                let next = if over { Next::Done } else { Next::Continue };
                return Ok((facts, next, beyond));
            }
            Ok((Facts::FITS, Next::Continue, beyond))
        }
        _ => {
            c.skip(c.left())?;
            Ok((Facts::NONE, Next::Continue, 0))
        }
    }
}

fn server(state: &mut FollowState, c: &mut Cursor<'_>) -> Heard {
    if state.phase[1] == OPENING {
        if !magic(c, b"NBDMAGIC")? {
            return MISMATCH;
        }
        if magic(&mut c.clone(), OLDSTYLE_MAGIC)? {
            let reason = Some(PlaintextReason::NoInBandUpgrade);
            let encryption = Some(Encryption::Plaintext);
            state.flags |= OLDSTYLE;
            return Ok((Facts { encryption, reason, ..Facts::FITS }, Next::Done, 0));
        }
        if !magic(c, b"IHAVEOPT")? {
            return MISMATCH;
        }
        c.skip(2)?;
        state.phase[1] = OPTIONS;
        return Ok((Facts::FITS, Next::Continue, 0));
    }
    if state.phase[0] == SENDING {
        return Ok((Facts { accepted: true, ..Facts::FITS }, Next::Done, 0));
    }
    if c.u64_be()? != REPLY_MAGIC {
        return Ok((Facts::NONE, Next::Done, 0));
    }
    let (option, kind, length) = (c.u32_be()?, c.u32_be()?, c.u32_be()?);
    let beyond = usize::try_from(length).unwrap_or(usize::MAX);
    let mut facts = Facts::FITS;
    match (option, kind) {
        (START_TLS, ACK) => return layer(OtherSide::Here),
        (START_TLS, _) => {
            facts.mark = Some(mark("nbd.starttls-refused", Side::Server, 0, 20, "error"));
            state.phase[0] = OPTIONS;
        }
        (GO, ACK) => {
            return Ok((Facts { accepted: true, ..facts }, Next::Done, beyond));
        }
        (_, TLS_REQUIRED) => {
            facts.refused = true;
            facts.mark =
                Some(mark("nbd.tls-required", Side::Server, 0, 20, "NBD_REP_ERR_TLS_REQD"));
        }
        (GO | LIST | INFO_OPTION, kind) => facts.refused = kind & ERROR != 0,
        _ => {}
    }
    Ok((facts, Next::Continue, beyond))
}

#[allow(clippy::unnecessary_wraps, reason = "one type for all steps")]
fn layer(other: OtherSide) -> Heard {
    Ok((Facts::FITS, Next::Layer { upgrade: Some(UPGRADE), other }, 0))
}

fn read(side: Side, said: Said<'_>) -> Result<Option<Told>, Short> {
    let mut c = Cursor::new(said.bytes);
    if said.start == Start::Unknown {
        return transmission(side, &mut c);
    }
    let open = |rule, length| Told { encryption: None, ..Told::clear(rule, "IHAVEOPT", length) };
    if side == Side::Client {
        if !magic(&mut c, &[0, 0, 0])? || u32::from(c.u8()?) > CLIENT_FLAGS_MAX {
            return Ok(None);
        }
        return Ok(magic(&mut c, b"IHAVEOPT")?.then(|| open("nbd.client", c.at())));
    }
    if !magic(&mut c, b"NBDMAGIC")? {
        return Ok(None);
    }
    let mut ahead = c;
    match magic(&mut ahead, OLDSTYLE_MAGIC) {
        Ok(true) => return Ok(Some(Told::clear("nbd.server", "NBDMAGIC", ahead.at()))),
        Err(Short) => return Err(Short),
        Ok(false) => {}
    }
    Ok(magic(&mut c, b"IHAVEOPT")?.then(|| open("nbd.server", c.at())))
}

/// A request or a reply of the transmission phase.
fn transmission(side: Side, c: &mut Cursor<'_>) -> Result<Option<Told>, Short> {
    let number = c.u32_be()?;
    let fits = match (side, number) {
        (Side::Client, 0x2560_9513) => {
            let (flags, kind) = (c.u16_be()?, c.u16_be()?);
            c.skip(20)?;
            flags < 0x80 && kind <= 7
        }
        (Side::Server, 0x6744_6698) => {
            let error = c.u32_be()?;
            c.skip(8)?;
            error <= 200
        }
        (Side::Server, 0x668e_33ef) => {
            let (flags, kind) = (c.u16_be()?, c.u16_be()?);
            c.skip(12)?;
            flags <= 1 && matches!(kind, 0..=6 | 32769 | 32770)
        }
        _ => false,
    };
    Ok(fits.then(|| Told::clear("nbd.transmission", "request or reply magic", c.at())))
}

const OLDSTYLE_MAGIC: &[u8] = b"\x00\x00\x42\x02\x81\x86\x12\x53";
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const CLIENT_FLAGS_MAX: u32 = 3;
const UPGRADE: &str = "nbd-starttls";

// Options.
const EXPORT_NAME: u32 = 1;
const LIST: u32 = 3;
const START_TLS: u32 = 5;
const INFO_OPTION: u32 = 6;
const GO: u32 = 7;

// Replies.
const ACK: u32 = 1;
const ERROR: u32 = 1 << 31;
const TLS_REQUIRED: u32 = ERROR | 5;

// Phases.
const OPENING: u8 = 0;
const OPTIONS: u8 = 1;
const WAITING: u8 = 2;
const SENDING: u8 = 3;

// Flags.
const ASKED: u16 = 1;
const OLDSTYLE: u16 = 1 << 1;

static INFO: Info = Info {
    name: "nbd",
    title: "Network Block Device",
    spec: "https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md",
    ports: &[10809],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[UPGRADE],
    credentials: Credentials::NONE,
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
    const HELLO: &[u8] = b"NBDMAGICIHAVEOPT\x00\x03";
    const FLAGS: &[u8] = b"\0\0\0\x03";
    const TLS: &[u8] = b"IHAVEOPT\0\0\0\x05\0\0\0\0";
    const GO_A: &[u8] = b"IHAVEOPT\0\0\0\x07\0\0\0\x07\0\0\0\x01a\0\0";

    fn reply(option: u8, kind: u32) -> Vec<u8> {
        [&REPLY_MAGIC.to_be_bytes()[..], &[0, 0, 0, option], &kind.to_be_bytes(), &[0; 4]].concat()
    }

    #[test]
    fn magic_numbers_prove_either_side() {
        let client = [FLAGS, GO_A].concat();
        let old = [b"NBDMAGIC", OLDSTYLE_MAGIC].concat();
        for (side, bytes) in [(S, HELLO), (S, &old), (C, &client)] {
            assert!(matches!(probe_side(&Nbd, side, bytes), Probe::Match(_)));
            assert!(!matches!(probe_side(&Nbd, side.other(), bytes), Probe::Match(_)));
        }
        for bytes in OPENINGS {
            assert_eq!(probe_side(&Nbd, C, bytes), Probe::No);
        }
        random_proves_nothing(&Nbd);
    }

    #[test]
    fn an_export_in_clear_or_behind_tls() {
        let heard = hear(&Nbd, &[(S, HELLO), (C, FLAGS), (C, GO_A), (S, &reply(7, ACK))]);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
        let heard = hear(
            &Nbd,
            &[(S, HELLO), (C, FLAGS), (C, TLS), (S, &reply(5, ACK)), (C, b"\x16\x03\x01")],
        );
        assert_eq!(heard.layer, Some((Some("nbd-starttls"), Some(20), Some(38))));
        assert_eq!(heard.encryption, None);
        let refused = reply(5, ERROR | 1);
        let heard = hear(&Nbd, &[(S, HELLO), (C, FLAGS), (C, TLS), (S, &refused), (C, GO_A)]);
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        let required = reply(7, TLS_REQUIRED);
        assert!(hear(&Nbd, &[(S, HELLO), (C, FLAGS), (C, GO_A), (S, &required)]).refused);
    }

    #[test]
    fn requests_and_replies_are_known_when_joined_late() {
        let request = b"\x25\x60\x95\x13\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x10\0";
        let answer = b"\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\x01data";
        let heard = hear_from(&Nbd, &[(C, request), (S, answer)], Start::Unknown);
        assert!(heard.matched.is_some_and(|found| found.encryption == Some(Encryption::Plaintext)));
        assert!(hear(&Nbd, &[(C, request)]).matched.is_none(), "not at the start");
    }
}
