//! SASL mechanisms, and how text protocols carry their messages. RFC 4422.
use super::table::starts;
use crate::model::Credentials;

/// What a line of the client is within a SASL exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::detect) enum Response {
    Message,
    Abort,
    /// Part of a message.
    Part,
    Command,
}

/// A SASL mechanism: what it exposes, and with which message of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::detect) struct Mechanism {
    pub(in crate::detect) name: &'static str,
    pub(super) kind: Credentials,
    pub(super) messages: u32,
}

impl Mechanism {
    /// What the client has exposed after so many messages.
    pub(in crate::detect) fn exposes(&self, messages: u32) -> Option<Credentials> {
        (messages >= self.messages).then_some(self.kind)
    }
}

/// Looks up a mechanism by its registered name.
pub(in crate::detect) fn mechanism(name: &[u8]) -> Option<Mechanism> {
    MECHANISMS.iter().find(|known| known.name.as_bytes().eq_ignore_ascii_case(name)).copied()
}

/// Whether `partial` begins a mechanism's name.
pub(in crate::detect) fn may_be_mechanism(partial: &[u8]) -> bool {
    MECHANISMS.iter().any(|known| starts(known.name.as_bytes(), partial))
}

const fn sasl(name: &'static str, kind: Credentials, messages: u32) -> Mechanism {
    Mechanism { name, kind, messages }
}

/// IANA, SASL Mechanisms; and those that large mail systems add.
pub(super) const MECHANISMS: &[Mechanism] = &[
    sasl("PLAIN", Credentials::SASL_PLAIN, 1),
    // Name first, then password.
    sasl("LOGIN", Credentials::SASL_PLAIN, 2),
    sasl("CRAM-MD5", Credentials::PASSWORD_HASH_CHALLENGE, 1),
    sasl("DIGEST-MD5", Credentials::PASSWORD_HASH_CHALLENGE, 1),
    sasl("SCRAM-SHA-1", Credentials::PASSWORD_HASH_CHALLENGE, 2),
    sasl("SCRAM-SHA-1-PLUS", Credentials::PASSWORD_HASH_CHALLENGE, 2),
    sasl("SCRAM-SHA-256", Credentials::PASSWORD_HASH_CHALLENGE, 2),
    sasl("SCRAM-SHA-256-PLUS", Credentials::PASSWORD_HASH_CHALLENGE, 2),
    sasl("SCRAM-SHA-512", Credentials::PASSWORD_HASH_CHALLENGE, 2),
    sasl("NTLM", Credentials::PASSWORD_HASH_CHALLENGE, 2),
    sasl("XOAUTH2", Credentials::BEARER_TOKEN, 1),
    sasl("OAUTHBEARER", Credentials::BEARER_TOKEN, 1),
    sasl("X-OAUTH2", Credentials::BEARER_TOKEN, 1),
    sasl("GSSAPI", Credentials::NONE, 1),
    sasl("GSS-SPNEGO", Credentials::NONE, 1),
    sasl("GS2-KRB5", Credentials::NONE, 1),
    sasl("KERBEROS_V4", Credentials::NONE, 1),
    sasl("EXTERNAL", Credentials::NONE, 1),
    LITERALS,
    sasl("ANONYMOUS", Credentials::NONE, 1),
];

/// Name and password as IMAP literals, which like SASL the server asks for.
pub(in crate::detect) const LITERALS: Mechanism =
    sasl("LOGIN {", Credentials::PASSWORD_CLEARTEXT, 2);

/// Base64 on a line of its own, `*` to give up (RFC 4954 section 4, RFC 9051 section 6.2.2).
pub(in crate::detect) fn response(line: &[u8]) -> Response {
    let line = line.trim_ascii_end();
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    let command = [&b"QUIT"[..], b"NOOP", b"RSET", b"CAPA", b"STLS", b"DATA"];
    match line {
        b"*" => Response::Abort,
        _ if command.iter().any(|word| word.eq_ignore_ascii_case(line)) => Response::Command,
        _ if line.iter().all(base64) => Response::Message,
        _ => Response::Command,
    }
}
