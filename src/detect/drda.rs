//! DRDA, the protocol of Db2 and Derby. <https://pubs.opengroup.org/onlinepubs/9699939399/toc.pdf> (DDM architecture)
//!
//! Each data stream structure has a header of six bytes with D0 in it, and an object whose own length must agree. The
//! client opens with EXCSAT; how it logs in is named by a security mechanism.
use super::store::{self, Flaw, Read, mark, need};
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::Cursor,
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Drda;

impl Detector for Drda {
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
            let dss = Dss::read(&mut c, side)?;
            let shown = Cursor::new(bytes).take(dss.length.min(store::SHOWN_BYTES_MAX))?;
            let body = shown.get(c.at()..).unwrap_or_default();
            Ok(Step::read(dss.length, object(state, side, &dss, body)))
        })
    }
}

/// A data stream structure and the object that begins in it.
struct Dss {
    length: usize,
    code: u16,
}

impl Dss {
    fn read(c: &mut Cursor<'_>, side: Side) -> Read<Self> {
        let length = c.u16_be()?;
        need(length >= 10)?;
        store::expect(c, &[0xd0])?;
        // Chained, go on after errors, same correlation; type: request, reply, object.
        let format = store::byte(c, |b| b & 0x80 == 0)?;
        need(match side {
            Side::Client => matches!(format & 0xf, 1 | 3 | 5),
            Side::Server => matches!(format & 0xf, 2..=4),
        })?;
        c.skip(2)?;
        // An object over 32 KiB goes on in further segments; its length is then written elsewhere.
        let inner = c.u16_be()?;
        need(inner == length.saturating_sub(6) || length >= 0x8000 || inner >= 0x8000)?;
        let code = c.u16_be()?;
        Ok(Self { length: usize::from(length & 0x7fff), code })
    }
}

fn prove(side: Side, said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    let opening = match side {
        Side::Client => opening(&mut c, side, &[EXCSAT], EXCSAT_PARAMETERS).map(|()| "EXCSAT"),
        Side::Server => {
            opening(&mut c, side, SERVER_OPENINGS, SERVER_PARAMETERS).map(|()| "EXCSATRD")
        }
    };
    match opening {
        Ok(constant) => Ok(store::plaintext(mark("drda.exchange", side, 0, c.at(), constant))),
        Err(Flaw::Bad) if said.start == Start::Unknown => {
            let mut c = Cursor::new(said.bytes);
            let first = later(&mut c, side)?;
            c = Cursor::new(said.bytes);
            c.skip(first)?;
            later(&mut c, side)?;
            Ok(store::plaintext(mark("drda.objects", side, 0, c.at(), "DSS chain")))
        }
        Err(flaw) => Err(flaw),
    }
}

/// A first object: one of `codes` with a first parameter of `parameters`.
fn opening(c: &mut Cursor<'_>, side: Side, codes: &[u16], parameters: &[u16]) -> Read<()> {
    let dss = Dss::read(c, side)?;
    need(codes.contains(&dss.code) && dss.length >= 14)?;
    let length = usize::from(c.u16_be()?);
    need(length >= 4 && length.saturating_add(10) <= dss.length)?;
    need(parameters.contains(&c.u16_be()?))
}

fn later(c: &mut Cursor<'_>, side: Side) -> Read<usize> {
    let dss = Dss::read(c, side)?;
    let codes = if side == Side::Client { REQUESTS } else { REPLIES };
    need(codes.contains(&dss.code) && dss.length <= LATE_BYTES_MAX)?;
    Ok(dss.length)
}

fn object(state: &mut FollowState, side: Side, dss: &Dss, body: &[u8]) -> Facts {
    let mut facts = Facts::FITS;
    match (side, dss.code) {
        (Side::Client, EXCSAT | ACCSEC) | (Side::Server, EXCSATRD | ACCSECRD) => {}
        (Side::Client, SECCHK) => {
            let mechanism = parameter(body, SECMEC).and_then(|mut c| c.u16_be().ok());
            let secret = parameter(body, PASSWORD).is_some();
            facts.credentials = match mechanism {
                Some(3) | None if secret => Credentials::PASSWORD_CLEARTEXT,
                // A substitute computed from the password.
                Some(6 | 8) => Credentials::PASSWORD_HASH_CHALLENGE,
                _ => Credentials::NONE,
            };
            // Security-sensitive data is encrypted too.
            if matches!(mechanism, Some(12 | 13)) {
                facts.encryption = Some(Encryption::OtherEncrypted);
            }
            facts.mark = Some(mark("drda.login", side, 0, dss.length, "SECCHK"));
        }
        (Side::Server, SECCHKRM) => {
            let code = parameter(body, SECCHKCD).and_then(|mut c| c.u8().ok());
            facts.accepted = code == Some(0);
            facts.refused = code.is_some_and(|code| code != 0);
            if facts.refused {
                facts.mark = Some(mark("drda.refused", side, 0, dss.length, "SECCHKRM"));
            }
        }
        (Side::Server, ACCRDBRM) => {
            facts.accepted = true;
            store::over(state, side);
        }
        (Side::Server, RDBNFNRM | RDBATHRM | MGRLVLRM) => facts.refused = true,
        _ => store::over(state, side),
    }
    facts
}

/// The value of a parameter of an object.
fn parameter(body: &[u8], code: u16) -> Option<Cursor<'_>> {
    let mut c = Cursor::new(body);
    for _ in 0..PARAMETERS_MAX {
        let length = usize::from(c.u16_be().ok()?);
        let found = c.u16_be().ok()?;
        let value = c.take(length.checked_sub(4)?).ok()?;
        if found == code {
            return Some(Cursor::new(value));
        }
    }
    None
}

const EXCSAT: u16 = 0x1041;
const EXCSATRD: u16 = 0x1443;
const ACCSEC: u16 = 0x106d;
const ACCSECRD: u16 = 0x14ac;
const SECCHK: u16 = 0x106e;
const SECCHKRM: u16 = 0x1219;
const ACCRDBRM: u16 = 0x2201;
const RDBNFNRM: u16 = 0x2211;
const RDBATHRM: u16 = 0x2203;
const MGRLVLRM: u16 = 0x1210;
const SECMEC: u16 = 0x11a2;
const PASSWORD: u16 = 0x11a1;
const SECCHKCD: u16 = 0x11a4;

/// External name, manager levels, product release, class name, server name, its type.
const EXCSAT_PARAMETERS: &[u16] = &[0x115e, 0x1404, 0x115a, 0x1147, 0x116d, 0x115d];
/// EXCSATRD, and the errors in its place: conversation protocol, manager levels, syntax, command check, permanent.
const SERVER_OPENINGS: &[u16] = &[EXCSATRD, 0x1245, MGRLVLRM, 0x124c, 0x1254, 0x1232];
/// Those of the client, and severity.
const SERVER_PARAMETERS: &[u16] = &[0x115e, 0x1404, 0x115a, 0x1147, 0x116d, 0x115d, 0x1149];

/// EXCSQLIMM, EXCSQLSTT, PRPSQLSTT, OPNQRY, CNTQRY, CLSQRY, RDBCMM, RDBRLLBCK, DSCSQLSTT, DSCRDBTBL, EXCSQLSET,
/// BNDSQLSTT, ACCRDB, SQLSTT, SQLDTA, SQLATTR, and the login.
const REQUESTS: &[u16] = &[
    0x200a, 0x200b, 0x200d, 0x200c, 0x2006, 0x2005, 0x200e, 0x200f, 0x2008, 0x2012, 0x2014, 0x2004,
    0x2001, 0x2414, 0x2412, 0x2450, EXCSAT, ACCSEC, SECCHK,
];
/// SQLCARD, QRYDTA, QRYDSC, SQLDARD, SQLDTARD, OPNQRYRM, ENDQRYRM, ENDUOWRM, RDBUPDRM, SQLERRRM, ACCRDBRM, OPNQFLRM,
/// EXTDTA, SQLCINRD, SQLRSLRD, and the login.
const REPLIES: &[u16] = &[
    0x2408, 0x241b, 0x241a, 0x2411, 0x2413, 0x2205, 0x220b, 0x220c, 0x2218, 0x2213, ACCRDBRM,
    0x2212, 0x146c, 0x240b, 0x240e, EXCSATRD, ACCSECRD, SECCHKRM,
];
const PARAMETERS_MAX: usize = 32;
const LATE_BYTES_MAX: usize = 8 * 1024;

static INFO: Info = Info {
    name: "drda",
    title: "DRDA (Db2, Derby)",
    spec: "https://pubs.opengroup.org/onlinepubs/9699939399/toc.pdf",
    ports: &[50000, 446, 1527],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::PASSWORD_CLEARTEXT.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn parameter(code: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap().to_be_bytes();
        [&length[..], &code.to_be_bytes(), value].concat()
    }

    fn dss(format: u8, code: u16, parameters: &[Vec<u8>]) -> Vec<u8> {
        let object = parameter(code, &parameters.concat());
        let length = u16::try_from(object.len() + 6).unwrap().to_be_bytes();
        [&length[..], &[0xd0, format, 0, 1], &object].concat()
    }

    fn excsat() -> Vec<u8> {
        dss(0x41, EXCSAT, &[parameter(0x115e, b"\x84\x82"), parameter(0x1404, &[0; 8])])
    }

    fn excsatrd() -> Vec<u8> {
        dss(0x42, EXCSATRD, &[parameter(0x115e, b"\x84\x82"), parameter(0x1404, &[0; 8])])
    }

    fn secchk(mechanism: u8) -> Vec<u8> {
        let secret = parameter(PASSWORD, b"\xa2\x85\x83");
        dss(0x01, SECCHK, &[parameter(SECMEC, &[0, mechanism]), parameter(0x11a0, b"u"), secret])
    }

    #[test]
    fn exchanging_attributes_proves_either_side() {
        let found = |side, bytes: &[u8]| matches!(probe_side(&Drda, side, bytes), Probe::Match(_));
        assert!(found(C, &excsat()) && !found(S, &excsat()));
        assert!(found(S, &excsatrd()) && !found(C, &excsatrd()));
        let mut wrong = excsat();
        wrong[7] += 1;
        assert!(!found(C, &wrong), "the object is as long as its structure");
        for bytes in
            [&b"\x00\x26\xd0\x01\x00\x01\x00\x20\x10\x42\x00\x06"[..], b"\x16\x03\x01\x02\x00"]
        {
            assert!(!found(C, bytes));
        }
    }

    #[test]
    fn the_security_mechanism_tells_what_is_shown() {
        let cases = [
            (3, Credentials::PASSWORD_CLEARTEXT, Encryption::Plaintext),
            (8, Credentials::PASSWORD_HASH_CHALLENGE, Encryption::Plaintext),
            (9, Credentials::NONE, Encryption::Plaintext),
            (13, Credentials::NONE, Encryption::OtherEncrypted),
        ];
        for (mechanism, credentials, encryption) in cases {
            for (code, refused) in [(0, false), (15, true)] {
                let reply = dss(
                    0x02,
                    SECCHKRM,
                    &[parameter(0x1149, &[0, 0]), parameter(SECCHKCD, &[code])],
                );
                let accsec = dss(0x01, ACCSEC, &[parameter(SECMEC, &[0, mechanism])]);
                let heard = hear(
                    &Drda,
                    &[
                        (C, &[excsat(), accsec].concat()),
                        (S, &excsatrd()),
                        (C, &secchk(mechanism)),
                        (S, &reply),
                    ],
                );
                assert_eq!((heard.credentials, heard.encryption), (credentials, Some(encryption)));
                assert_eq!((heard.fits, heard.refused), ([true, true], refused));
                assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
            }
        }
        let heard = hear(&Drda, &[(C, &excsat()), (S, b"HTTP/1.1 400 Bad Request\r\n")]);
        assert_eq!(heard.mismatch, [false, true]);
    }

    #[test]
    fn joined_late_a_chain_of_structures_is_proof() {
        let late = |side, bytes: &[u8]| {
            hear_from(&Drda, &[(side, bytes)], Start::Unknown).matched.is_some()
        };
        let prepare = dss(0x51, 0x200d, &[parameter(0x2113, &[0; 32])]);
        let statement = dss(0x43, 0x2414, &[vec![0, 0, 0, 8, b'S', b'E']]);
        let card = dss(0x43, 0x2408, &[vec![0xff; 3]]);
        assert!(late(C, &[prepare.clone(), statement.clone()].concat()) && !late(C, &prepare));
        assert!(
            late(S, &[card.clone(), card].concat()) && !late(S, &[prepare, statement].concat())
        );
    }
}
