//! Authentication of PostgreSQL: what the server asks for, and what the client's answer gives away.
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>
use super::super::sql;
use crate::model::Credentials;

/// What kind of secret a `p` message holds, by the server's request or else by its own text.
pub(super) fn credentials(method: u32, shown: &[u8], length: usize) -> Credentials {
    let bearer = shown.starts_with(b"OAUTHBEARER\0");
    match method {
        CLEARTEXT => Credentials::PASSWORD_CLEARTEXT,
        SASL | UNSEEN if bearer => Credentials::BEARER_TOKEN,
        CRYPT | MD5 | SASL => Credentials::PASSWORD_HASH_CHALLENGE,
        UNSEEN if shown.starts_with(b"SCRAM-SHA-") || is_md5(shown) => {
            Credentials::PASSWORD_HASH_CHALLENGE
        }
        // One readable string is a password as it is: SASL names a mechanism first, GSS tokens are binary.
        UNSEEN if shown.len() == length && is_password(shown) => Credentials::PASSWORD_CLEARTEXT,
        _ => Credentials::NONE,
    }
}

/// `md5` and 32 hexadecimal digits, NUL-terminated.
fn is_md5(body: &[u8]) -> bool {
    matches!(body, [b'm', b'd', b'5', digits @ .., 0]
        if digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// Readable text with a NUL at its end and none before.
fn is_password(body: &[u8]) -> bool {
    matches!(body, [text @ .., 0] if !text.is_empty() && sql::is_text(text))
}

/// Our own word for a request that asks for a secret; `None` for the other codes.
pub(super) const fn request_name(code: u32) -> Option<&'static str> {
    Some(match code {
        CLEARTEXT => "Authentication 3",
        CRYPT => "Authentication 4",
        MD5 => "Authentication 5",
        SASL => "Authentication 10",
        REDSHIFT_DIGEST => "Authentication 13",
        REDSHIFT_IDP => "Authentication 14",
        _ => return None,
    })
}

/// What a client must have sent, judged by the request and its success alone.
pub(super) const fn given(method: u32) -> Credentials {
    match method {
        CLEARTEXT => Credentials::PASSWORD_CLEARTEXT,
        CRYPT | MD5 | REDSHIFT_DIGEST => Credentials::PASSWORD_HASH_CHALLENGE,
        REDSHIFT_IDP => Credentials::BEARER_TOKEN,
        // SASL: the mechanism is the client's choice.
        _ => Credentials::NONE,
    }
}

/// No request seen yet (the code of `AuthenticationOk`, which asks for nothing).
pub(super) const UNSEEN: u32 = 0;
/// `AuthenticationCleartextPassword`.
pub(super) const CLEARTEXT: u32 = 3;
/// `AuthenticationCryptPassword`, before PostgreSQL 8.4.
pub(super) const CRYPT: u32 = 4;
/// `AuthenticationMD5Password`.
pub(super) const MD5: u32 = 5;
/// `AuthenticationSASL`.
pub(super) const SASL: u32 = 10;
/// Redshift: a digest of the password.
pub(super) const REDSHIFT_DIGEST: u32 = 13;
/// Redshift: the token of an identity provider.
pub(super) const REDSHIFT_IDP: u32 = 14;
