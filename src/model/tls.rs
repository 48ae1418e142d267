//! What a passive observer can know of a TLS handshake. Code points stay integers, so that an odd one is still reported.

use super::{flow::Side, name::Name};

/// A protocol version as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsVersion(pub u16);

impl TlsVersion {
    /// Record name, or `None` for a value we have no name for.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0002 => "SSLv2",
            0x0300 => "SSLv3",
            0x0301 => "TLSv1.0",
            0x0302 => "TLSv1.1",
            0x0303 => "TLSv1.2",
            // Drafts 14 to 28 and Facebook's variant of TLS 1.3 (RFC 8446 section 4.2.1 of the drafts).
            0x0304 | 0x7f0e..=0x7f1c | 0xfb17..=0xfb1c => "TLSv1.3",
            0xfeff => "DTLSv1.0",
            0xfefd => "DTLSv1.2",
            0xfefc => "DTLSv1.3",
            _ => return None,
        })
    }

    /// Whether this is TLS 1.3, final or draft.
    pub const fn is_1_3(self) -> bool {
        matches!(self.0, 0x0304 | 0x7f0e..=0x7f1c | 0xfb17..=0xfb1c)
    }
}

/// How the handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandshakeOutcome {
    /// Both sides sent protected records, or the flow was joined after the handshake.
    Completed,
    /// A fatal alert ended it.
    Alert,
    /// It stopped half-way.
    Abandoned,
    /// Still going on, or the end was not seen.
    Unknown,
}

impl HandshakeOutcome {
    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Alert => "alert",
            Self::Abandoned => "abandoned",
            Self::Unknown => "unknown",
        }
    }
}

/// An alert readable in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsAlert {
    /// Who sent it.
    pub side: Side,
    /// 1 warning, 2 fatal.
    pub level: u8,
    /// RFC 8446 section 6.
    pub description: u8,
}

/// Facts of one TLS layer. `None` means not visible, never "no".
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// Negotiated version.
    pub version: Option<TlsVersion>,
    /// Highest version the client offered.
    pub version_offered: Option<TlsVersion>,
    /// Negotiated cipher suite.
    pub cipher: Option<u16>,
    /// Key exchange group (named group code point).
    pub group: Option<u16>,
    /// Server name the client asked for.
    pub sni: Option<Name>,
    /// Protocol the server chose (hidden in TLS 1.3).
    pub alpn: Option<Name>,
    /// Protocols the client offered.
    pub alpn_offered: Vec<Name>,
    /// Whether a `ClientHello` was read.
    pub client_hello: bool,
    /// Whether a `ServerHello` was read.
    pub server_hello: bool,
    /// Whether the server asked for a second hello.
    pub hello_retry_request: bool,
    /// Whether the session was resumed; `None` when it cannot be told.
    pub resumed: Option<bool>,
    /// Whether the client offered early data.
    pub early_data_offered: Option<bool>,
    /// Whether a non-empty client certificate was on the wire; `None` when hidden or not seen.
    pub client_cert_seen: Option<bool>,
    /// Client's first clear alert, or the server's.
    pub alert: Option<TlsAlert>,
    /// How the handshake ended.
    pub outcome: Option<HandshakeOutcome>,
}
