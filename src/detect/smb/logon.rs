//! What session setups show, and what a negotiation offers.
use crate::{
    bytes::{Cursor, Short, find, holds},
    model::Credentials,
};

/// What a security blob carries: an NTLM response (MS-NLMP section 2.2.1.3) or a Kerberos ticket (RFC 4121 section 4.1).
pub(super) fn credentials(body: &[u8]) -> Credentials {
    if is_ntlm_response(body) || holds(body, AP_REQ) {
        Credentials::PASSWORD_HASH_CHALLENGE
    } else {
        Credentials::NONE
    }
}

/// An AUTHENTICATE message of someone: an anonymous one has no response in it.
fn is_ntlm_response(body: &[u8]) -> bool {
    let Some(message) = find(body, b"NTLMSSP\0\x03\0\0\0").and_then(|at| body.get(at..)) else {
        return false;
    };
    let mut c = Cursor::new(message);
    c.skip(20).and_then(|()| c.u16_le()).is_ok_and(|length| length > 0)
}

/// A session setup of SMB 1 ([MS-CIFS] section 2.2.4.53, and [MS-SMB] 2.2.4.6 with a security blob).
pub(super) fn smb1(body: &[u8]) -> Credentials {
    let Ok((ansi, unicode)) = passwords(body) else { return credentials(body) };
    match ansi.max(unicode) {
        // One zero stands for none.
        0 | 1 => Credentials::NONE,
        24.. => Credentials::PASSWORD_HASH_CHALLENGE,
        _ => Credentials::PASSWORD_CLEARTEXT,
    }
}

/// Lengths of both passwords in a setup without a blob, which has 13 words.
fn passwords(body: &[u8]) -> Result<(u16, u16), Short> {
    let mut c = Cursor::new(body);
    if c.u8()? != 13 {
        return Err(Short);
    }
    c.skip(14)?;
    Ok((c.u16_le()?, c.u16_le()?))
}

/// Whether a negotiation's response ([MS-SMB2] section 2.2.4) offers encryption.
pub(super) fn offers_encryption(body: &[u8]) -> Result<bool, Short> {
    let mut c = Cursor::new(body);
    c.skip(4)?;
    let (dialect, contexts) = (c.u16_le()?, c.u16_le()?);
    c.skip(16)?;
    let capabilities = c.u32_le()?;
    if dialect != 0x0311 {
        return Ok((0x0300..0x0311).contains(&dialect) && capabilities & ENCRYPTION_CAPABLE != 0);
    }
    // Offsets count from the header.
    c.skip(32)?;
    let at = usize::try_from(c.u32_le()?).unwrap_or(usize::MAX);
    let mut c = Cursor::new(body.get(at.saturating_sub(HEADER_BYTES)..).ok_or(Short)?);
    for _ in 0..contexts.min(CONTEXTS_MAX) {
        let (kind, length) = (c.u16_le()?, usize::from(c.u16_le()?));
        c.skip(4)?;
        if kind == ENCRYPTION_CAPABILITIES {
            return Ok(length >= 4);
        }
        c.skip(length.next_multiple_of(8).min(c.left()))?;
    }
    Ok(false)
}

/// OID of Kerberos and the token id of an AP-REQ.
const AP_REQ: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01\x00";
const ENCRYPTION_CAPABLE: u32 = 0x40;
const ENCRYPTION_CAPABILITIES: u16 = 2;
const CONTEXTS_MAX: u16 = 8;
const HEADER_BYTES: usize = 64;
