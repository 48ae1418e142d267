//! Aerospike wire protocol. <https://aerospike.com/docs/server/architecture/wire-protocol/>
//!
//! Version 2, a type, a length of six bytes. Info is text; a message has a header of 22 bytes that says so; security
//! messages carry the login.
use super::store::{self, Flaw, Read, mark, need};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::Cursor,
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Aerospike;

impl Detector for Aerospike {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, |said| prove(Side::Client, said), |said| prove(Side::Server, said))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let usual = Some(PlaintextReason::NoInBandUpgrade);
        store::read_on(state, side, said, usual, |state, bytes| {
            let mut c = Cursor::new(bytes);
            let (kind, length) = header(&mut c)?;
            let body = c.take(length.min(store::SHOWN_BYTES_MAX))?;
            let consumed = length.saturating_add(HEADER_BYTES);
            let mut facts = Facts::FITS;
            if kind == SECURITY {
                match side {
                    Side::Client => facts = login(body, consumed),
                    Side::Server => {
                        let result = body.get(1).copied().unwrap_or(0);
                        facts.accepted = result == 0;
                        // 50 and 51: the end of a list; security not enabled.
                        facts.refused = result >= 52;
                    }
                }
            }
            if kind == MESSAGE {
                facts.accepted = side == Side::Server;
                store::over(state, side);
            }
            Ok(Step::read(consumed, facts))
        })
    }
}

/// What a login or a token shows.
fn login(body: &[u8], length: usize) -> Facts {
    let mut c = Cursor::new(body);
    let mut kinds = Credentials::NONE;
    let fields = body.get(3).copied().unwrap_or(0);
    let login = matches!(body.get(2), Some(0 | 20));
    for _ in 0..if login { fields } else { 0 } {
        if c.at() == 0 && c.skip(SECURITY_HEADER_BYTES).is_err() {
            break;
        }
        let (Ok(size), Ok(kind)) = (c.u32_be(), c.u8()) else { break };
        let value = c.take(store::size(size).saturating_sub(1)).unwrap_or_default();
        kinds = kinds.with(match kind {
            _ if value.is_empty() => Credentials::NONE,
            FIELD_CREDENTIAL => Credentials::PASSWORD_HASH_CHALLENGE,
            FIELD_CLEAR_PASSWORD => Credentials::PASSWORD_CLEARTEXT,
            FIELD_TOKEN => Credentials::SESSION_SECRET,
            _ => Credentials::NONE,
        });
    }
    let found = mark("aerospike.login", Side::Client, 0, length, "LOGIN");
    Facts { credentials: kinds, mark: (!kinds.is_empty()).then_some(found), ..Facts::FITS }
}

/// Type and length of a message.
fn header(c: &mut Cursor<'_>) -> Read<(u8, usize)> {
    store::expect(c, &[2])?;
    let kind = store::byte(c, |kind| (INFO_TEXT..=COMPRESSED).contains(&kind))?;
    store::expect(c, &[0, 0])?;
    let length = c.u32_be()?;
    need(length <= MESSAGE_BYTES_MAX)?;
    Ok((kind, store::size(length)))
}

fn prove(side: Side, said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let (kind, length) = header(&mut c)?;
    let constant = match kind {
        INFO_TEXT => {
            // A name ends its line; in an answer its value follows a tab.
            need((1..=INFO_BYTES_MAX).contains(&length) && said.start == Start::Known)?;
            let end: &[u8] = if side == Side::Client { b"\n:" } else { b"\t" };
            let mut name = 0;
            loop {
                let byte = store::byte(&mut c, |b| end.contains(&b) || is_name(b))?;
                if end.contains(&byte) {
                    break;
                }
                name = usize::saturating_add(name, 1);
                if name == length && side == Side::Client {
                    break;
                }
                need(name < length && name < NAME_BYTES_MAX)?;
            }
            need(name >= 3)?;
            "info"
        }
        SECURITY => {
            need(length >= SECURITY_HEADER_BYTES)?;
            store::expect(&mut c, &[0])?;
            store::byte(&mut c, |result| side == Side::Server || result == 0)?;
            store::byte(&mut c, |command| command <= 24)?;
            let fields = store::byte(&mut c, |fields| fields <= 12)?;
            store::expect(&mut c, &[0; 12])?;
            // Small numbers and zeros are common: the fields must fill the message.
            let mut left = length.saturating_sub(SECURITY_HEADER_BYTES);
            for _ in 0..fields {
                let body = store::size(c.u32_be()?);
                left = left.checked_sub(body.saturating_add(4)).ok_or(Flaw::Bad)?;
                need(body > 0)?;
                c.skip(body)?;
            }
            need(left == 0)?;
            "security"
        }
        MESSAGE => {
            need(length >= MESSAGE_HEADER_BYTES)?;
            store::expect(&mut c, &[22])?;
            c.skip(4)?;
            store::byte(&mut c, |result| side == Side::Server || result == 0)?;
            c.skip(12)?;
            need(c.u16_be()? <= FIELDS_MAX)?;
            need(c.u16_be()? <= OPERATIONS_MAX)?;
            "message"
        }
        _ => return Err(Flaw::Bad),
    };
    Ok(store::plaintext(mark("aerospike.header", side, 0, c.at(), constant)))
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'/' | b':' | b';' | b'=' | b'.' | b',')
}

const INFO_TEXT: u8 = 1;
const SECURITY: u8 = 2;
const MESSAGE: u8 = 3;
const COMPRESSED: u8 = 4;
const FIELD_CREDENTIAL: u8 = 3;
const FIELD_CLEAR_PASSWORD: u8 = 4;
const FIELD_TOKEN: u8 = 5;
const HEADER_BYTES: usize = 8;
const SECURITY_HEADER_BYTES: usize = 16;
const MESSAGE_HEADER_BYTES: usize = 22;
const FIELDS_MAX: u16 = 64;
const OPERATIONS_MAX: u16 = 32_767;
const INFO_BYTES_MAX: usize = 1 << 20;
const NAME_BYTES_MAX: usize = 256;
const MESSAGE_BYTES_MAX: u32 = 128 << 20;

static INFO: Info = Info {
    name: "aerospike",
    title: "Aerospike",
    spec: "https://aerospike.com/docs/server/architecture/wire-protocol/",
    ports: &[3000],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT
        .with(Credentials::PASSWORD_HASH_CHALLENGE)
        .with(Credentials::SESSION_SECRET),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const ASK: &[u8] = b"\x02\x01\0\0\0\0\0\x0enode\nfeatures\n";
    const TELL: &[u8] = b"\x02\x01\0\0\0\0\0\x0anode\tBB9\n\n";

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[2, kind, 0, 0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
    }

    fn login(field: u8) -> Vec<u8> {
        let header = [&[0, 0, 20, 2][..], &[0; 12]].concat();
        let fields = [b"\0\0\0\x02\0u\0\0\0\x04".as_slice(), &[field], b"abc"].concat();
        message(SECURITY, &[header, fields].concat())
    }

    fn get() -> Vec<u8> {
        let header = [&[22, 3, 0, 0, 0, 0][..], &[0; 12], &[0, 1, 0, 0]].concat();
        message(MESSAGE, &[header, b"\0\0\0\x05\0test".to_vec()].concat())
    }

    #[test]
    fn headers_that_agree_with_their_bodies_are_proof() {
        let found =
            |side, bytes: &[u8]| matches!(probe_side(&Aerospike, side, bytes), Probe::Match(_));
        assert!(found(C, ASK) && found(S, TELL) && !found(S, ASK) && !found(C, TELL));
        assert!(found(C, &login(3)) && found(C, &get()) && found(S, &get()));
        let late =
            |bytes: &[u8]| hear_from(&Aerospike, &[(C, bytes)], Start::Unknown).matched.is_some();
        assert!(late(&get()) && !late(ASK));
        let mut zeros = message(SECURITY, &[0; 24]);
        zeros[8 + 2] = 4;
        let others: [&[u8]; 5] = [
            &zeros,
            b"\x02\x01\0\0\0\0\0\x02\n\n",
            b"\x02\x03\0\0\0\0\0\x20\x15\0\0\0",
            b"\x02\0\0\0\0\0\0\0\x01\x02\0\0\x04\x02\0\0\x0dDB::Exce",
            b"\x16\x03\x01\x02\0\x01",
        ];
        for bytes in others {
            assert!(!found(C, bytes) && !found(S, bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_login_shows_a_hash_a_password_or_a_token() {
        let answer = |result| message(SECURITY, &[&[0, result, 0, 0][..], &[0; 12]].concat());
        for (field, kind) in [
            (3, Credentials::PASSWORD_HASH_CHALLENGE),
            (4, Credentials::PASSWORD_CLEARTEXT),
            (5, Credentials::SESSION_SECRET),
            (1, Credentials::NONE),
        ] {
            let heard =
                hear(&Aerospike, &[(C, &login(field)), (S, &answer(0)), (C, &get()), (S, &get())]);
            assert_eq!((heard.credentials, heard.fits), (kind, [true, true]));
            assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
            assert!(!heard.refused);
        }
        assert!(hear(&Aerospike, &[(C, &login(3)), (S, &answer(65))]).refused);
        let heard = hear(&Aerospike, &[(C, ASK), (S, b"\x15\x03\x03\0\x02\x02\x46")]);
        assert_eq!(heard.mismatch, [false, true]);
    }
}
