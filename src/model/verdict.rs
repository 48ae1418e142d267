//! The verdict and its vocabulary (names as they stand in records).

use super::{evidence::Evidence, hostname::Hostname, tls::TlsFacts};

/// Declares a field-less enum together with its record names.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }
        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// Name in records.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// What an observer of the flow could read.
    Encryption {
        /// Nothing proves either way.
        Unknown = "unknown",
        /// Grammar proves a protocol in clear.
        Plaintext = "plaintext",
        /// Part of the session's own data is sealed and part is clear.
        Partial = "partial",
        /// TLS records.
        Tls = "tls",
        /// DTLS records.
        Dtls = "dtls",
        /// QUIC.
        Quic = "quic",
        /// SSH.
        Ssh = "ssh",
        /// `WireGuard`.
        Wireguard = "wireguard",
        /// ESP, AH or IKE.
        Ipsec = "ipsec",
        /// Encrypted by other means: GSS sealing, SMB3, Oracle NNE, ...
        OtherEncrypted = "other-encrypted",
    }
}

words! {
    /// What became of the conversation.
    Outcome {
        /// Not enough seen to tell.
        Unknown = "unknown",
        /// Only one side spoke.
        Attempt = "attempt",
        /// The server rejected it.
        Refused = "refused",
        /// Both sides exchanged this protocol, or it ran on.
        Established = "established",
    }
}

words! {
    /// How the protocol was proven.
    Confidence {
        /// Readable text that fits no protocol.
        Heuristic = "heuristic",
        /// From other flows of that server.
        Inferred = "inferred",
        /// Grammar in the middle of a stream.
        Midstream = "midstream",
        /// Grammar of one side, from its start.
        OneSide = "one_side",
        /// Grammar of both sides.
        BothSides = "both_sides",
    }
}

words! {
    /// Where the application name comes from.
    AppSource {
        /// The protocol's own bytes.
        Payload = "payload",
        /// The clear preamble that led to TLS.
        Upgrade = "upgrade",
        /// ALPN.
        Alpn = "alpn",
        /// Other flows of that server.
        Inferred = "inferred",
    }
}

words! {
    /// Why the session is in clear.
    PlaintextReason {
        /// The client asked for encryption and the server said no, or the server does not offer it.
        ServerRefused = "server_refused",
        /// The server offered encryption and the client did not take it.
        ClientDeclined = "client_declined",
        /// The client never asked; whether the server could is not visible.
        ClientNeverAsked = "client_never_asked",
        /// The protocol has no upgrade within the connection.
        NoInBandUpgrade = "no_in_band_upgrade",
        /// TLS with a NULL cipher.
        NullCipher = "null_cipher",
    }
}

words! {
    /// Why nothing can be said.
    UnknownReason {
        /// No payload byte was seen.
        NoPayload = "no_payload",
        /// Too few bytes to tell.
        TooShort = "too_short",
        /// No grammar recognised it, and it does not look random.
        Binary = "binary",
        /// Looks random: encrypted or compressed.
        HighEntropy = "high_entropy",
        /// The first bytes were lost.
        GapAtStart = "gap_at_start",
        /// Joined late, and the bytes seen prove nothing.
        MidstreamOpaque = "midstream_opaque",
        /// A memory bound was reached first.
        Memory = "memory",
    }
}

/// Set of credential kinds seen in clear. Kinds only: the secret itself is never kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Credentials(u16);

/// Credential kinds and their record names, in bit order.
const CREDENTIAL_NAMES: [&str; 7] = [
    "password_cleartext",
    "password_hash_challenge",
    "basic_auth",
    "bearer_token",
    "session_secret",
    "sasl_plain",
    "community_string",
];

impl Credentials {
    /// None seen.
    pub const NONE: Self = Self(0);
    /// A password readable as sent.
    pub const PASSWORD_CLEARTEXT: Self = Self(1);
    /// A challenge-response or salted hash (MD5, SCRAM, `mysql_native_password`).
    pub const PASSWORD_HASH_CHALLENGE: Self = Self(1 << 1);
    /// HTTP Basic.
    pub const BASIC_AUTH: Self = Self(1 << 2);
    /// A bearer token or API key.
    pub const BEARER_TOKEN: Self = Self(1 << 3);
    /// A session cookie or session token.
    pub const SESSION_SECRET: Self = Self(1 << 4);
    /// SASL PLAIN or LOGIN.
    pub const SASL_PLAIN: Self = Self(1 << 5);
    /// An SNMP community.
    pub const COMMUNITY_STRING: Self = Self(1 << 6);
    /// Every kind.
    pub const ALL: Self = Self((1 << CREDENTIAL_NAMES.len()) - 1);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing was seen.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The kinds of these record names.
    pub fn named(names: &[&str]) -> Self {
        let bit = |name: &&str| CREDENTIAL_NAMES.iter().position(|known| known == name);
        Self(names.iter().filter_map(bit).fold(0, |set, bit| set | 1 << bit))
    }

    /// Record names, in fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        CREDENTIAL_NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| *name)
    }
}

/// Most layers one flow may stack.
pub const LAYERS_MAX: usize = 4;

/// What is said of a flow. It may only gain: the engine holds that law.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What an observer could read.
    pub encryption: Encryption,
    /// What became of it.
    pub outcome: Outcome,
    /// Registry name of the application protocol.
    pub app: Option<&'static str>,
    /// Where `app` comes from.
    pub app_source: Option<AppSource>,
    /// Protocol names of the stack, outermost first.
    pub layers: Vec<&'static str>,
    /// How TLS was reached in-band.
    pub upgrade: Option<&'static str>,
    /// Why it is in clear.
    pub plaintext_reason: Option<PlaintextReason>,
    /// Credential kinds seen in clear.
    pub credentials: Credentials,
    /// How it was proven; `None` while unknown.
    pub confidence: Option<Confidence>,
    /// Why nothing can be said; set only while unknown.
    pub unknown_reason: Option<UnknownReason>,
    /// The proof.
    pub evidence: Vec<Evidence>,
    /// TLS facts, for `tls` and for refused or attempted handshakes.
    pub tls: Option<Box<TlsFacts>>,
    /// Host that a request in clear was for.
    pub host: Option<Hostname>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            encryption: Encryption::Unknown,
            outcome: Outcome::Unknown,
            app: None,
            app_source: None,
            layers: Vec::new(),
            upgrade: None,
            plaintext_reason: None,
            credentials: Credentials::NONE,
            confidence: None,
            unknown_reason: None,
            evidence: Vec::new(),
            tls: None,
            host: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_list_their_names_in_fixed_order() {
        let both = Credentials::BASIC_AUTH.with(Credentials::PASSWORD_CLEARTEXT);
        assert_eq!(both.names().collect::<Vec<_>>(), ["password_cleartext", "basic_auth"]);
        assert!(both.contains(Credentials::BASIC_AUTH) && !both.contains(Credentials::SASL_PLAIN));
    }
}
