//! ONC RPC messages, for the detectors of its programs. <https://www.rfc-editor.org/rfc/rfc5531#section-9>
//!
//! A call names its program; a reply does not. Over TCP each record stands behind a mark with its length (section 11).
use super::{
    Facts, FollowState, Match, Next, OtherSide, Probe, Said, Start, Step, View,
    exchange::{magic, mark},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Encryption, PlaintextReason, Side, Transport},
};

/// Which programs a detector claims.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Programs {
    Nfs,
    Other,
}

impl Programs {
    const fn have(self, program: u32) -> bool {
        matches!(program, NFS | NFS_ACL) == matches!(self, Self::Nfs)
    }

    const fn rules(self) -> [&'static str; 2] {
        match self {
            Self::Nfs => ["nfs.call", "nfs.reply"],
            Self::Other => ["sunrpc.call", "sunrpc.reply"],
        }
    }
}

pub(super) fn probe(view: &View<'_>, programs: Programs) -> Probe {
    let datagrams = match view.transport {
        Transport::Tcp => false,
        Transport::Udp => true,
        Transport::Esp => return Probe::No,
    };
    let [call_rule, reply_rule] = programs.rules();
    if !view.client.bytes.is_empty() {
        return match read_call(view.client, datagrams) {
            Ok(Some(call)) if programs.have(call.program) => Probe::Match(Match {
                encryption: call.encryption(),
                mark: mark(call_rule, Side::Client, 0, call.length, program_name(call.program)),
            }),
            Err(Short) if !datagrams => Probe::More,
            _ => Probe::No,
        };
    }
    // A reply alone does not tell of which program.
    match read_reply(view.server, datagrams) {
        Ok(Some(reply)) if datagrams && reply.id >> 24 == 0 => Probe::No,
        Ok(Some(reply)) if programs == Programs::Other => {
            let mark = mark(reply_rule, Side::Server, 0, reply.length, "REPLY");
            Probe::Match(Match { encryption: reply.encryption(), mark })
        }
        Err(Short) if !datagrams || view.server.bytes.is_empty() => Probe::More,
        Ok(None) if !datagrams => Probe::More,
        _ => Probe::No,
    }
}

pub(super) fn follow(state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
    // A datagram stands behind a shorter length: what was recognised tells which it is.
    if state.flags & (DATAGRAMS | STREAM) == 0 {
        let fits = |udp| match side {
            Side::Client => matches!(read_call(said, udp), Ok(Some(_))),
            Side::Server => matches!(read_reply(said, udp), Ok(Some(_))),
        };
        state.flags |= if fits(true) && !fits(false) { DATAGRAMS } else { STREAM };
    }
    let udp = state.flags & DATAGRAMS != 0;
    let mut c = Cursor::new(said.bytes);
    let Ok(length) = record(&mut c, udp) else { return Step::WAIT };
    let consumed = length.consumed;
    let i = usize::from(side == Side::Server);
    if side == Side::Client && state.flags & TLS_ASKED != 0 && is_tls(said.bytes) {
        // Its answer comes first, unless that direction is not heard.
        let unheard = state.phase == [SPOKE, SILENT];
        let next = Next::Layer { upgrade: Some(UPGRADE), other: OtherSide::Somewhere };
        return if unheard { Step { consumed: 0, facts: Facts::FITS, next } } else { Step::WAIT };
    }
    let continues = state.flags & CONTINUES << i != 0;
    let first = state.phase.get(i) == Some(&SILENT);
    let heard = match side {
        _ if continues => Ok(None),
        Side::Client => read_call(said, udp).map(|call| call.map(|call| called(state, &call))),
        Side::Server => {
            read_reply(said, udp).map(|reply| reply.map(|reply| replied(state, &reply)))
        }
    };
    if heard.is_err() && (!udp || said.bytes.len() < consumed) {
        return Step::WAIT;
    }
    state.flags &= !(CONTINUES << i);
    if !length.last {
        state.flags |= CONTINUES << i;
    }
    // Calls and replies.
    let [calls, replies, ..] = &mut state.words;
    let messages = if side == Side::Client { &mut *calls } else { &mut *replies };
    *messages = messages.saturating_add(1);
    let answered = *replies >= *calls && state.flags & SETTLED != 0;
    let late = calls.saturating_add(*replies) > MESSAGES_MAX;
    let (facts, next) = match heard {
        Ok(Some(heard)) => heard,
        // Calls back to the client come on the same connection, but not first.
        Ok(None) if first && said.start == Start::Known => (Facts::MISMATCH, Next::Done),
        _ => (Facts::NONE, Next::Continue),
    };
    if let Some(phase) = state.phase.get_mut(i).filter(|_| facts.fits) {
        *phase = SPOKE;
    }
    let over = late || answered && state.phase == [SPOKE; 2];
    let next = if over && next == Next::Continue { Next::Done } else { next };
    Step { consumed, facts, next }
}

const fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 3, ..])
}

fn called(state: &mut FollowState, call: &Call) -> (Facts, Next) {
    let encryption = call.encryption();
    if call.flavor == AUTH_TLS {
        state.flags |= TLS_ASKED;
        return (Facts::FITS, Next::Continue);
    }
    // A NULL call tells nothing of the calls with data.
    if call.procedure != 0 && encryption.is_some() {
        state.flags |= SETTLED;
    }
    let reason = if state.flags & TLS_ASKED != 0 {
        PlaintextReason::ServerRefused
    } else {
        never_asked(state)
    };
    let sealed = encryption == Some(Encryption::OtherEncrypted);
    let found = mark("rpc.gss-privacy", Side::Client, 0, call.length, "rpc_gss_svc_privacy");
    let facts = Facts {
        encryption,
        reason: (encryption == Some(Encryption::Plaintext)).then_some(reason),
        mark: sealed.then_some(found),
        ..Facts::FITS
    };
    (facts, Next::Continue)
}

fn replied(state: &FollowState, reply: &Reply) -> (Facts, Next) {
    let unheard = state.phase == [SILENT; 2];
    if reply.starttls && (unheard || state.flags & TLS_ASKED != 0) {
        let other = if unheard { OtherSide::Somewhere } else { OtherSide::Here };
        let next = Next::Layer { upgrade: Some(UPGRADE), other };
        return (Facts::FITS, next);
    }
    let reason = unheard.then_some(never_asked(state));
    (
        Facts { refused: reply.denied, accepted: !reply.denied, reason, ..Facts::FITS },
        Next::Continue,
    )
}

/// TLS is begun on a connection only.
const fn never_asked(state: &FollowState) -> PlaintextReason {
    if state.flags & DATAGRAMS != 0 {
        PlaintextReason::NoInBandUpgrade
    } else {
        PlaintextReason::ClientNeverAsked
    }
}

struct Call {
    program: u32,
    procedure: u32,
    flavor: u32,
    /// Of the credential of `RPCSEC_GSS` (RFC 2203 section 5): procedure and service.
    gss: Option<(u32, u32)>,
    /// Of the header that proves it.
    length: usize,
}

impl Call {
    const fn encryption(&self) -> Option<Encryption> {
        match (self.flavor, self.gss) {
            (RPCSEC_GSS, Some((GSS_DATA, GSS_PRIVACY))) => Some(Encryption::OtherEncrypted),
            // TLS is yet to begin; the context is made in clear.
            (AUTH_TLS, _) | (RPCSEC_GSS, Some((1..=3, _)) | None) => None,
            _ => Some(Encryption::Plaintext),
        }
    }
}

struct Reply {
    denied: bool,
    starttls: bool,
    /// Its verifier is of `RPCSEC_GSS`, which may have sealed what follows.
    gss: bool,
    /// Chosen at random by most, and all else may be zeros.
    id: u32,
    length: usize,
}

impl Reply {
    /// What it shows by itself.
    const fn encryption(&self) -> Option<Encryption> {
        if self.starttls || self.gss { None } else { Some(Encryption::Plaintext) }
    }
}

/// Where a message stands.
struct Record {
    /// Bytes of it, the mark included.
    consumed: usize,
    /// Bytes of the message in this fragment.
    length: usize,
    last: bool,
}

/// Reads the record mark, or the length of the datagram.
fn record(c: &mut Cursor<'_>, udp: bool) -> Result<Record, Short> {
    if udp {
        let length = usize::from(c.u16_be()?);
        return Ok(Record { consumed: length.saturating_add(2), length, last: true });
    }
    let word = c.u32_be()?;
    let length = usize::try_from(word & !LAST_FRAGMENT).unwrap_or(usize::MAX);
    let consumed = length.saturating_add(4);
    Ok(Record { consumed, length, last: word & LAST_FRAGMENT != 0 })
}

/// Items are padded to four bytes; a long datagram was cut to be kept.
const fn is_padded(record: &Record, udp: bool) -> bool {
    record.length.is_multiple_of(4) || udp && record.length > DATAGRAM_BYTES_WHOLE
}

/// The header of a call; every number in it is bounded.
fn read_call(said: Said<'_>, udp: bool) -> Result<Option<Call>, Short> {
    let mut c = Cursor::new(said.bytes);
    // The length is judged byte by byte: other protocols begin with a length too.
    if !udp && !matches!(c.peek()?, 0 | 0x80) {
        return Ok(None);
    }
    let record = record(&mut c, udp)?;
    let sized = (CALL_BYTES_MIN..=RECORD_BYTES_MAX).contains(&record.length);
    if !sized || !is_padded(&record, udp) {
        return Ok(None);
    }
    c.skip(4)?;
    if !magic(&mut c, &[0, 0, 0, 0])? || !magic(&mut c, &[0, 0, 0, 2])? {
        return Ok(None);
    }
    let (program, version, procedure) = (c.u32_be()?, c.u32_be()?, c.u32_be()?);
    if !is_program(program) || version > VERSION_MAX || procedure > PROCEDURE_MAX {
        return Ok(None);
    }
    let (flavor, size) = (c.u32_be()?, c.u32_be()?);
    if !is_flavor(flavor) || size > AUTH_BYTES_MAX {
        return Ok(None);
    }
    let body = c.take(usize::try_from(size).unwrap_or(usize::MAX))?;
    let (verifier, size) = (c.u32_be()?, c.u32_be()?);
    if !is_flavor(verifier) || size > AUTH_BYTES_MAX || c.at() > record.consumed {
        return Ok(None);
    }
    let mut g = Cursor::new(body);
    let gss = (flavor == RPCSEC_GSS).then(|| {
        let (_version, kind, _sequence) = (g.u32_be()?, g.u32_be()?, g.u32_be()?);
        Ok::<_, Short>((kind, g.u32_be()?))
    });
    let gss = gss.and_then(Result::ok);
    Ok(Some(Call { program, procedure, flavor, gss, length: c.at() }))
}

/// The header of a reply. It has little in it, so all of its record has to be there, and what follows to fit.
fn read_reply(said: Said<'_>, udp: bool) -> Result<Option<Reply>, Short> {
    let mut c = Cursor::new(said.bytes);
    if !udp && !matches!(c.peek()?, 0 | 0x80) {
        return Ok(None);
    }
    let record = record(&mut c, udp)?;
    let sized = (REPLY_BYTES_MIN..=RECORD_BYTES_MAX).contains(&record.length);
    if !sized || !is_padded(&record, udp) {
        return Ok(None);
    }
    let id = c.u32_be()?;
    if id == 0 || !magic(&mut c, &[0, 0, 0, 1])? || !magic(&mut c, &[0, 0, 0])? {
        return Ok(None);
    }
    let denied = match c.u8()? {
        0 => false,
        1 => true,
        _ => return Ok(None),
    };
    let (mut starttls, mut gss) = (false, false);
    if denied {
        // A mismatch of versions with its range, or an authentication error with its cause.
        let (kind, cause) = (c.u32_be()?, c.u32_be()?);
        let body = record.length.saturating_sub(16);
        let fits =
            (kind == 0 && cause == 2 && body == 8) || (kind == 1 && cause <= 14 && body == 4);
        if !fits {
            return Ok(None);
        }
    } else {
        let (flavor, size) = (c.u32_be()?, c.u32_be()?);
        if !is_flavor(flavor) || size > AUTH_BYTES_MAX || flavor == 0 && !matches!(size, 0 | 8) {
            return Ok(None);
        }
        let verifier = c.take(usize::try_from(size).unwrap_or(usize::MAX).next_multiple_of(4))?;
        gss = flavor == RPCSEC_GSS;
        starttls = verifier == b"STARTTLS";
        let sound = !(flavor == 0 && size == 8) || starttls;
        if c.u32_be()? > SYSTEM_ERR || !sound {
            return Ok(None);
        }
    }
    if c.at() > record.consumed {
        return Ok(None);
    }
    let length = c.at();
    if said.start == Start::Unknown && !another_follows(said.bytes, &record)? {
        return Ok(None);
    }
    Ok(Some(Reply { denied, starttls, gss, id, length }))
}

/// Joined late, one reply is not enough: the mark of another one has to follow, and its message type.
fn another_follows(bytes: &[u8], record: &Record) -> Result<bool, Short> {
    let mut c = Cursor::new(bytes);
    c.skip(record.consumed)?;
    if !magic(&mut c, &[0x80, 0])? {
        return Ok(false);
    }
    c.skip(6)?;
    magic(&mut c, &[0, 0, 0, 1])
}

/// In the ranges of RFC 5531 section 13: assigned, or local, or made up for a session.
const fn is_program(program: u32) -> bool {
    matches!(program, 100_000..=100_999 | 150_000..=151_000 | 200_000..=202_000 | 300_000..=301_000)
        || matches!(program, 390_000..=400_300 | 536_870_912..=1_073_741_823)
}

/// Our own word for a program.
const fn program_name(program: u32) -> &'static str {
    match program {
        100_000 => "portmapper 100000",
        NFS => "NFS 100003",
        100_004 => "ypserv 100004",
        100_005 => "mountd 100005",
        100_021 => "nlockmgr 100021",
        100_024 => "status 100024",
        NFS_ACL => "nfs_acl 100227",
        _ => "RPC program",
    }
}

/// `AUTH_NONE` to `AUTH_TLS`, and Sun's pseudo flavors of Kerberos.
const fn is_flavor(flavor: u32) -> bool {
    matches!(flavor, 0..=7 | 300_001)
}

const NFS: u32 = 100_003;
const NFS_ACL: u32 = 100_227;
const RPCSEC_GSS: u32 = 6;
const AUTH_TLS: u32 = 7;
const GSS_DATA: u32 = 0;
const GSS_PRIVACY: u32 = 3;
const SYSTEM_ERR: u32 = 5;
const VERSION_MAX: u32 = 64;
const PROCEDURE_MAX: u32 = 255;
const AUTH_BYTES_MAX: u32 = 400;
const LAST_FRAGMENT: u32 = 1 << 31;
const CALL_BYTES_MIN: usize = 40;
const REPLY_BYTES_MIN: usize = 20;
const RECORD_BYTES_MAX: usize = 1 << 23;
const MESSAGES_MAX: u32 = 64;
const DATAGRAM_BYTES_WHOLE: usize = 2000;
/// Value of `upgrade` for RPC with TLS (RFC 9289 section 4.1).
pub(super) const UPGRADE: &str = "rpc-auth-tls";

// Phases.
const SILENT: u8 = 0;
const SPOKE: u8 = 1;

// Flags.
/// The next fragment goes on with a record of the client; one bit further: of the server.
const CONTINUES: u16 = 1;
const TLS_ASKED: u16 = 1 << 2;
const SETTLED: u16 = 1 << 3;
const DATAGRAMS: u16 = 1 << 4;
const STREAM: u16 = 1 << 5;
