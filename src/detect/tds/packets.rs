//! Packets of TDS 7 and their insides.
//! <https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-tds/>
use super::super::store::{Flaw, Read, all, byte, expect, need, size};
use crate::bytes::Cursor;

/// Type, end-of-message flag and body length of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) last: bool,
    pub(super) body: usize,
    /// Server process that answers.
    spid: u16,
    /// Packet number of the message, modulo 256.
    id: u8,
}

impl Header {
    /// Reads a header of one of `kinds`.
    pub(super) fn read(c: &mut Cursor<'_>, kinds: &[u8]) -> Read<Self> {
        let kind = byte(c, |kind| kinds.contains(&kind))?;
        // End of message, ignore, event, reset connection with or without its transaction.
        let status = byte(c, |status| status & 0xe0 == 0)?;
        let length = usize::from(c.u16_be()?);
        let body = length.checked_sub(HEADER_BYTES).filter(|_| length <= PACKET_BYTES_MAX);
        let (spid, id) = (c.u16_be()?, c.u8()?);
        expect(c, &[0])?;
        Ok(Self { kind, last: status & 1 != 0, body: body.ok_or(Flaw::Bad)?, spid, id })
    }

    /// Whether `next` may be the packet after this one; not everybody numbers them.
    pub(super) const fn goes_on(&self, next: &Self) -> bool {
        let numbered = next.id == self.id || next.id == self.id.wrapping_add(1);
        next.spid == self.spid && numbered
    }
}

/// The options of a PRELOGIN message or of its answer; returns the value of ENCRYPTION.
pub(super) fn prelogin(c: &mut Cursor<'_>, body: usize) -> Read<Option<u8>> {
    let start = *c;
    let mut encryption = None;
    let mut tokens = 0_usize;
    loop {
        // VERSION comes first.
        let token = byte(c, |token| {
            if tokens == 0 { token == 0 } else { (1..=7).contains(&token) || token == 0xff }
        })?;
        if token == 0xff {
            break;
        }
        let (offset, length) = (usize::from(c.u16_be()?), usize::from(c.u16_be()?));
        need(length <= OPTION_BYTES_MAX && offset.saturating_add(length) <= body)?;
        need(offset > tokens.saturating_mul(5) || length == 0)?;
        need(match token {
            0 => length == 6,
            1 => length >= 1,
            4 | 6 => length <= 1,
            _ => true,
        })?;
        if token == 1 {
            encryption = Some(offset);
        }
        tokens = tokens.saturating_add(1);
        need(tokens <= 8)?;
    }
    let Some(offset) = encryption else { return Ok(None) };
    let mut value = start;
    value.skip(offset)?;
    Ok(Some(byte(&mut value, |value| matches!(value, 0..=3 | 0x80..=0x83))?))
}

/// What a LOGIN7 message shows: whether there is a password, and whether it logs in by SSPI or a token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Login {
    pub(super) password: bool,
    pub(super) sspi: bool,
}

/// The fixed part of LOGIN7.
pub(super) fn login7(c: &mut Cursor<'_>, header: Header) -> Read<Login> {
    let length = size(c.u32_le()?);
    need(length >= LOGIN_BYTES && (length == header.body || !header.last && length > header.body))?;
    // 7.0, 7.1, 7.1 revision 1, 7.2, 7.3, 7.4, 8.0.
    let version = c.u32_le()?;
    need(matches!(
        version,
        0x7000_0000 | 0x0700_0000 | 0x7100_0000
            ..=0x7100_0001 | 0x0800_0000 | 0x7209_0002 | 0x730a_0003 | 0x730b_0003 | 0x7400_0004
    ))?;
    need((512..=0x1_0000).contains(&c.u32_le()?))?;
    c.skip(13)?;
    let integrated = c.u8()? & 0x80 != 0;
    // Up to the offset and length of the password.
    c.skip(20)?;
    let password = c.u16_le()? > 0;
    Ok(Login { password, sspi: integrated })
}

/// The login record of TDS 5 and 4.2 (Sybase): names in fixed fields, each behind its text a length.
pub(super) fn old_login(c: &mut Cursor<'_>, header: Header) -> Read<Login> {
    need(header.body >= 504)?;
    let mut lengths = [0_u8; 4];
    for length in &mut lengths {
        let text = all(c, 30, |b| b == 0 || b >= b' ')?;
        *length = byte(c, |n| n <= 30)?;
        let filled = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        need(filled <= usize::from(*length))?;
        need(text.iter().skip(usize::from(*length)).all(|b| *b == 0))?;
    }
    let [host, user, password, _] = lengths;
    need(host > 0 || user > 0)?;
    // The byte orders of numbers and characters.
    byte(c, |b| matches!(b, 2 | 3))?;
    byte(c, |b| matches!(b, 0 | 1))?;
    byte(c, |b| matches!(b, 6 | 7))?;
    Ok(Login { password: password > 0, sspi: false })
}

/// A request joined late: stream headers of 7.2 and later, or a statement in UTF-16.
pub(super) fn request(c: &mut Cursor<'_>, header: Header) -> Read<()> {
    need(header.body >= 12)?;
    let mut headers = *c;
    let total = headers.u32_le()?;
    if (18..=512).contains(&total) {
        need(size(total) < header.body)?;
        let length = headers.u32_le()?;
        need((6..=total.saturating_sub(4)).contains(&length))?;
        let kind = headers.u16_le()?;
        need(kind == 2 && length == 18 || matches!(kind, 1 | 3) && length > 18)?;
        if kind == 2 {
            headers.skip(8)?;
            need((1..=0xffff).contains(&headers.u32_le()?))?;
        }
        return Ok(());
    }
    // Before 7.2: a statement, or the name of a procedure behind its length.
    let characters = match header.kind {
        BATCH => header.body / 2,
        RPC => {
            let name = usize::from(c.u16_le()?);
            need((6..=128).contains(&name) && name.saturating_mul(2) < header.body)?;
            name
        }
        _ => return Err(Flaw::Bad),
    };
    need(header.kind == RPC || header.body.is_multiple_of(2))?;
    for _ in 0..STATEMENT_CHARACTERS.min(characters) {
        byte(c, |b| matches!(b, b'\t' | b'\r' | b'\n' | b' '..=b'~'))?;
        expect(c, &[0])?;
    }
    Ok(())
}

/// How a response goes on after the header: with what token it begins.
pub(super) fn first_token(c: &mut Cursor<'_>) -> Read<u8> {
    byte(c, |token| TOKENS.contains(&token))
}

/// Whether the body of a whole response ends with a DONE that says so.
pub(super) fn ends_done(body: &[u8]) -> bool {
    [13, 9].into_iter().any(|length| {
        let Some(done) = body.len().checked_sub(length).and_then(|at| body.get(at..)) else {
            return false;
        };
        let mut c = Cursor::new(done);
        let sound = |c: &mut Cursor<'_>| -> Read<()> {
            byte(c, |token| (DONE..=DONE_IN_PROC).contains(&token))?;
            // Final: no more results follow.
            need(c.u16_le()? & !0x0136 == 0)?;
            c.skip(2)?;
            // Fewer than 2^32 rows.
            if length == 13 {
                c.skip(4)?;
                expect(c, &[0; 4])?;
            }
            Ok(())
        };
        sound(&mut c).is_ok()
    })
}

/// What the answer to a login says, token by token: `Some(true)` logged in, `Some(false)` an error.
pub(super) fn login_answer(body: &[u8]) -> Option<bool> {
    let mut c = Cursor::new(body);
    loop {
        match c.u8().ok()? {
            LOGIN_ACK => return Some(true),
            ERROR => return Some(false),
            ENVIRONMENT | INFORMATION | SSPI_TOKEN => {
                let length = c.u16_le().ok()?;
                c.skip(usize::from(length)).ok()?;
            }
            _ => return None,
        }
    }
}

pub(super) const BATCH: u8 = 0x01;
pub(super) const OLD_LOGIN: u8 = 0x02;
pub(super) const RPC: u8 = 0x03;
pub(super) const RESPONSE: u8 = 0x04;
pub(super) const TOKEN: u8 = 0x08;
pub(super) const TRANSACTION: u8 = 0x0e;
pub(super) const LOGIN7: u8 = 0x10;
pub(super) const SSPI: u8 = 0x11;
pub(super) const PRELOGIN: u8 = 0x12;

const DONE: u8 = 0xfd;
const DONE_IN_PROC: u8 = 0xff;
const LOGIN_ACK: u8 = 0xad;
const ERROR: u8 = 0xaa;
const INFORMATION: u8 = 0xab;
const ENVIRONMENT: u8 = 0xe3;
const SSPI_TOKEN: u8 = 0xed;
/// COLMETADATA, ORDER, ERROR, INFO, RETURNVALUE, LOGINACK, RETURNSTATUS, ENVCHANGE, SSPI, FEDAUTHINFO, the DONEs.
const TOKENS: &[u8] = &[
    0x81,
    0xa9,
    ERROR,
    INFORMATION,
    0xac,
    LOGIN_ACK,
    0x79,
    ENVIRONMENT,
    SSPI_TOKEN,
    0xee,
    DONE,
    0xfe,
    DONE_IN_PROC,
];
pub(super) const HEADER_BYTES: usize = 8;
const PACKET_BYTES_MAX: usize = 0x7fff;
const OPTION_BYTES_MAX: usize = 512;
const LOGIN_BYTES: usize = 86;
const STATEMENT_CHARACTERS: usize = 8;
