//! RDP: connection and security negotiation.
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-rdpbcgr/18a27ef9-6f9a-4501-b000-94b1fe3c2c10>
//!
//! The X.224 connection carries a negotiation request and its answer: TLS, or standard RDP security, whose level stands in
//! the GCC Conference Create Response (section 2.2.1.4.3). Level Low seals the client's data only.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, OtherSide, Probe, Said, Start,
    Step, View,
    exchange::mark,
    tpkt::{Tpdu, packet},
};
use crate::{
    bytes::{Cursor, Short, find},
    model::{Credentials, Encryption, PlaintextReason, Side, Transport},
};

pub(super) struct Rdp;

impl Detector for Rdp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        let silent = view.client.bytes.is_empty();
        let (side, said) =
            if silent { (Side::Server, view.server) } else { (Side::Client, view.client) };
        if said.start == Start::Unknown {
            return Probe::No;
        }
        match opening(side, said.bytes) {
            Ok(Some(found)) => Probe::Match(found),
            Err(Short) => Probe::More,
            // The class is what the client speaks, and it has not spoken.
            Ok(None) if silent => Probe::More,
            Ok(None) => Probe::No,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let heard = match side {
            Side::Client => client(state, said),
            Side::Server => server(state, said),
        };
        heard.unwrap_or(Step::WAIT)
    }
}

fn opening(side: Side, bytes: &[u8]) -> Result<Option<Match>, Short> {
    let mut c = Cursor::new(bytes);
    let Some(first) = packet(&mut c)? else { return Ok(None) };
    let Tpdu::Connect { confirm, variable } = first.tpdu else { return Ok(None) };
    if confirm != (side == Side::Server) {
        return Ok(None);
    }
    let (rule, constant) = match negotiation(variable, side) {
        Some(Negotiation::Absent) => {
            // Any protocol may begin like that: the next packet carries T.125 or not.
            let Some(second) = packet(&mut c)? else { return Ok(None) };
            let Tpdu::Data(data) = second.tpdu else { return Ok(None) };
            let wanted = if confirm { 0x66 } else { 0x65 };
            match data {
                [0x7f, kind, ..] if *kind == wanted => ("rdp.mcs-connect", "T.125 Connect"),
                [] | [0x7f] => return Err(Short),
                _ => return Ok(None),
            }
        }
        Some(_) => ("rdp.negotiation", "X.224, RDP_NEG"),
        None => return Ok(None),
    };
    let mark = mark(rule, side, 0, first.length, constant);
    Ok(Some(Match { encryption: None, mark }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Negotiation {
    Absent,
    /// A cookie or routing token, and no more: standard RDP security.
    Cookie,
    /// Protocols requested, or the one selected.
    Protocols(u32),
    Failure,
}

/// The variable part of a connection request or confirm (section 2.2.1.1, 2.2.1.2); `None`: it is not of RDP.
fn negotiation(variable: &[u8], side: Side) -> Option<Negotiation> {
    let mut c = Cursor::new(variable);
    let mut cookie = false;
    if side == Side::Client && variable.starts_with(b"Cookie: ") {
        c.line().ok()?;
        cookie = true;
    }
    let (kind, _flags, length) = match (c.u8(), c.u8(), c.u16_le()) {
        (Err(Short), ..) if cookie => return Some(Negotiation::Cookie),
        (Err(Short), ..) => return Some(Negotiation::Absent),
        (Ok(kind), Ok(flags), Ok(length)) => (kind, flags, length),
        _ => return None,
    };
    let value = c.u32_le().ok()?;
    // Correlation info may stand behind a request.
    let ends = c.is_empty() || side == Side::Client && c.left() == CORRELATION_BYTES;
    if length != 8 || !ends || value > PROTOCOLS_MAX {
        return None;
    }
    match (side, kind) {
        (Side::Client, REQUEST) | (Side::Server, RESPONSE) => Some(Negotiation::Protocols(value)),
        (Side::Server, FAILURE) => Some(Negotiation::Failure),
        _ => None,
    }
}

fn client(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    let mut c = Cursor::new(said.bytes);
    if state.phase[0] == WAITING && state.phase[1] == SILENT && is_tls(said.bytes) {
        return Ok(layer(0, Facts::FITS, OtherSide::Somewhere));
    }
    if state.phase[0] == WAITING && state.phase[1] == SILENT && said.bytes.first() != Some(&3) {
        return Err(Short);
    }
    let Some(packet) = packet(&mut c)? else {
        return Ok(foreign(state.phase[0], said));
    };
    let read = |facts| Step::read(packet.length, facts);
    match packet.tpdu {
        Tpdu::Connect { variable, .. } => {
            state.phase[0] = WAITING;
            if let Some(Negotiation::Protocols(protocols)) = negotiation(variable, Side::Client) {
                state.flags |= if protocols != 0 { TLS_ASKED } else { 0 };
            }
            Ok(read(Facts::FITS))
        }
        Tpdu::Data(data) => match data {
            [] => Err(Short),
            // A packet of data for the server: how it is secured stands in front.
            [SEND_DATA_REQUEST, ..] => {
                let mut d = Cursor::new(data);
                let facts = secured(state, &mut d)?;
                let over = facts.encryption.is_some() && state.phase[1] != WAITING;
                let next = if over { Next::Done } else { Next::Continue };
                Ok(Step { next, ..read(facts) })
            }
            _ => Ok(read(Facts::FITS)),
        },
    }
}

/// Security header of the first data of the client (sections 2.2.1.10, 2.2.1.11).
fn secured(state: &FollowState, d: &mut Cursor<'_>) -> Result<Facts, Short> {
    d.skip(6)?;
    if d.u8()? & 0x80 != 0 {
        d.skip(1)?;
    }
    let flags = d.u16_le()?;
    d.skip(2)?;
    if flags & (SEC_EXCHANGE | SEC_ENCRYPT) != 0 {
        // Whether the server's data is sealed too, only the server says.
        return Ok(Facts::FITS);
    }
    if flags & SEC_INFO == 0 {
        return Ok(Facts::FITS);
    }
    d.skip(12)?;
    let secret = d.u16_le()? > 0;
    let credentials = if secret { Credentials::PASSWORD_CLEARTEXT } else { Credentials::NONE };
    let (encryption, reason) = (Some(Encryption::Plaintext), Some(why_plaintext(state)));
    Ok(Facts { encryption, credentials, reason, ..Facts::FITS })
}

fn server(state: &mut FollowState, said: Said<'_>) -> Result<Step, Short> {
    let mut c = Cursor::new(said.bytes);
    let Some(packet) = packet(&mut c)? else {
        return Ok(foreign(state.phase[1], said));
    };
    let consumed = packet.length;
    match packet.tpdu {
        Tpdu::Connect { variable, .. } => {
            state.phase[1] = WAITING;
            let found = |rule, constant| Some(mark(rule, Side::Server, 0, consumed, constant));
            Ok(match negotiation(variable, Side::Server) {
                Some(Negotiation::Protocols(selected)) if selected != 0 => {
                    let facts =
                        Facts { mark: found("rdp.tls-selected", "RDP_NEG_RSP"), ..Facts::FITS };
                    let seen = state.phase[0] != SILENT;
                    layer(
                        consumed,
                        facts,
                        if seen { OtherSide::Here } else { OtherSide::Somewhere },
                    )
                }
                Some(Negotiation::Failure) => {
                    let mark = found("rdp.refused", "RDP_NEG_FAILURE");
                    let facts = Facts { refused: true, mark, ..Facts::FITS };
                    Step { consumed, facts, next: Next::Done }
                }
                _ => {
                    let mark = found("rdp.standard-security", "PROTOCOL_RDP");
                    Step::read(consumed, Facts { mark, ..Facts::FITS })
                }
            })
        }
        Tpdu::Data(data) => {
            let whole = consumed.saturating_sub(7);
            if data.len() < whole.min(RESPONSE_BYTES_MAX) {
                return Err(Short);
            }
            let Some((method, level)) = security(data) else {
                return Ok(Step::read(consumed, Facts { accepted: true, ..Facts::FITS }));
            };
            state.phase[1] = DECIDED;
            let (encryption, constant) = match (method, level) {
                (0, _) | (_, 0) => (Encryption::Plaintext, "ENCRYPTION_LEVEL_NONE"),
                (_, 1) => (Encryption::Partial, "ENCRYPTION_LEVEL_LOW"),
                _ => (Encryption::OtherEncrypted, "encryptionMethod not 0"),
            };
            let clear = encryption != Encryption::OtherEncrypted;
            let facts = Facts {
                accepted: true,
                encryption: Some(encryption),
                reason: clear.then_some(why_plaintext(state)),
                mark: Some(mark("rdp.encryption-level", Side::Server, 0, consumed, constant)),
                ..Facts::FITS
            };
            // In clear, the password is yet to come.
            let done = encryption != Encryption::Plaintext;
            let next = if done { Next::Done } else { Next::Continue };
            Ok(Step { consumed, facts, next })
        }
    }
}

const fn why_plaintext(state: &FollowState) -> PlaintextReason {
    if state.flags & TLS_ASKED != 0 {
        PlaintextReason::ServerRefused
    } else {
        PlaintextReason::ClientNeverAsked
    }
}

/// Method and level of encryption in an MCS Connect Response.
fn security(data: &[u8]) -> Option<(u32, u32)> {
    if !data.starts_with(&[0x7f, 0x66]) {
        return None;
    }
    let at = find(data, H221_KEY)?;
    let mut c = Cursor::new(data.get(at..)?);
    c.skip(H221_KEY.len()).ok()?;
    if c.u8().ok()? & 0x80 != 0 {
        c.skip(1).ok()?;
    }
    for _ in 0..BLOCKS_MAX {
        let (kind, length) = (c.u16_le().ok()?, usize::from(c.u16_le().ok()?));
        if kind == SC_SECURITY {
            return Some((c.u32_le().ok()?, c.u32_le().ok()?));
        }
        c.skip(length.checked_sub(4)?).ok()?;
    }
    None
}

const fn foreign(phase: u8, said: Said<'_>) -> Step {
    let known = matches!(said.start, Start::Known);
    let facts = if phase == SILENT && known { Facts::MISMATCH } else { Facts::NONE };
    Step { consumed: 0, facts, next: Next::Done }
}

const fn layer(consumed: usize, facts: Facts, other: OtherSide) -> Step {
    Step { consumed, facts, next: Next::Layer { upgrade: Some(UPGRADE), other } }
}

const fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 3, ..])
}

const UPGRADE: &str = "rdp-negotiation";
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const FAILURE: u8 = 3;
/// All protocols of section 2.2.1.1.1 together, and room for more.
const PROTOCOLS_MAX: u32 = 0xff;
const CORRELATION_BYTES: usize = 36;
const SEND_DATA_REQUEST: u8 = 0x64;
const SEC_EXCHANGE: u16 = 1;
const SEC_ENCRYPT: u16 = 8;
const SEC_INFO: u16 = 0x40;
const SC_SECURITY: u16 = 0x0c02;
const H221_KEY: &[u8] = b"McDn";
const BLOCKS_MAX: usize = 8;
const RESPONSE_BYTES_MAX: usize = 4096;

// Phases.
const SILENT: u8 = 0;
const WAITING: u8 = 1;
const DECIDED: u8 = 2;

// Flags.
const TLS_ASKED: u16 = 1;

static INFO: Info = Info {
    name: "rdp",
    title: "Remote Desktop Protocol",
    spec: "https://learn.microsoft.com/openspecs/windows_protocols/ms-rdpbcgr/5073f4ed-1e93-45e1-b039-6e30c385867c",
    ports: &[3389],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[UPGRADE],
    credentials: Credentials::PASSWORD_CLEARTEXT,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const COOKIE: &[u8] = b"Cookie: mstshash=bob\r\n";
    const MCS: &[u8] = b"\x03\0\0\x0b\x02\xf0\x80\x7f\x65\x82\x01";

    fn connect(code: u8, variable: &[&[u8]]) -> Vec<u8> {
        let variable = variable.concat();
        let length = u8::try_from(variable.len() + 6).unwrap();
        [&[3, 0, 0, length + 5, length, code, 0, 0, 0, 0, 0], &variable[..]].concat()
    }

    fn request(protocols: u8) -> Vec<u8> {
        connect(0xe0, &[COOKIE, &[1, 0, 8, 0, protocols, 0, 0, 0]])
    }

    fn confirm(kind: u8, value: u8) -> Vec<u8> {
        connect(0xd0, &[&[kind, 0, 8, 0, value, 0, 0, 0]])
    }

    /// An MCS Connect Response with this method and level.
    fn response(method: u8, level: u8) -> Vec<u8> {
        let gcc: &[u8] = b"\x7f\x66\x82\x01\x00\x0a\x01\x00\x02\x01\x00McDn\x14\
            \x01\x0c\x08\0\x04\0\x08\0\x02\x0c\x0c\0";
        let data = [gcc, &[method, 0, 0, 0, level, 0, 0, 0]].concat();
        [&[3, 0, 0, u8::try_from(data.len() + 7).unwrap(), 2, 0xf0, 0x80], &data[..]].concat()
    }

    #[test]
    fn negotiation_proves_the_side_that_sends_it() {
        let bare = [connect(0xe0, &[]), MCS.to_vec()].concat();
        let cases: [(Side, Vec<u8>); 5] = [
            (C, request(3)),
            (C, connect(0xe0, &[COOKIE])),
            (C, bare),
            (S, confirm(2, 1)),
            (S, confirm(3, 5)),
        ];
        for (side, bytes) in cases {
            assert!(matches!(probe_side(&Rdp, side, &bytes), Probe::Match(_)), "{bytes:02x?}");
            assert!(!matches!(probe_side(&Rdp, side.other(), &bytes), Probe::Match(_)));
        }
        assert_eq!(probe_side(&Rdp, C, &connect(0xe0, &[])), Probe::More);
        assert_eq!(probe_side(&Rdp, C, &connect(0xe0, &[b"\x01\0\x09\0\x01\0\0\0"])), Probe::No);
    }

    #[test]
    fn tls_begins_where_the_server_selects_it() {
        let (asked, selected) = (request(3), confirm(2, 2));
        let heard = hear(&Rdp, &[(C, &asked), (S, &selected), (C, b"\x16\x03\x01")]);
        assert_eq!(heard.layer, Some((Some(UPGRADE), Some(asked.len()), Some(selected.len()))));
        let heard = hear(&Rdp, &[(C, &asked), (C, b"\x16\x03\x01")]);
        assert_eq!(heard.layer, Some((Some(UPGRADE), Some(asked.len()), None)), "the client alone");
        let heard = hear(&Rdp, &[(S, &selected)]);
        assert_eq!(heard.layer, Some((Some(UPGRADE), None, Some(selected.len()))));
        assert!(hear(&Rdp, &[(C, &request(0)), (S, &confirm(3, 1))]).refused);
    }

    #[test]
    fn the_level_decides_standard_security() {
        let start = [(C, request(1)), (S, confirm(2, 0)), (C, MCS.to_vec())];
        for (method, level, encryption) in [
            (2, 2, Encryption::OtherEncrypted),
            (1, 1, Encryption::Partial),
            (0, 0, Encryption::Plaintext),
        ] {
            let last = response(method, level);
            let mut lines: Vec<(Side, &[u8])> =
                start.iter().map(|(side, bytes)| (*side, bytes.as_slice())).collect();
            lines.push((S, &last));
            let heard = hear(&Rdp, &lines);
            assert_eq!(heard.encryption, Some(encryption), "method {method}, level {level}");
            let clear = encryption != Encryption::OtherEncrypted;
            assert_eq!(heard.reason, clear.then_some(PlaintextReason::ServerRefused));
        }
    }

    #[test]
    fn without_security_the_password_is_clear() {
        let info = b"\x03\0\0\x21\x02\xf0\x80\x64\0\x06\x03\xeb\x70\x13\x40\0\0\0\
            \0\0\0\0\x33\0\0\0\0\0\x06\0\x08\0x";
        let (asked, taken, level) = (connect(0xe0, &[COOKIE]), connect(0xd0, &[]), response(0, 0));
        let heard = hear(&Rdp, &[(C, &asked), (S, &taken), (C, MCS), (S, &level), (C, info)]);
        assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
        assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
        let mut exchange = info.to_vec();
        exchange[14] = 1;
        let heard = hear(&Rdp, &[(C, &asked), (C, MCS), (C, &exchange)]);
        assert_eq!(heard.encryption, None, "the client alone cannot tell the level");
    }
}
