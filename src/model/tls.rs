//! What a passive observer can know of a TLS handshake. Code points stay integers, so that an odd one is still reported.

use std::sync::Arc;

use super::{
    certificate::Chain,
    fingerprint::{Ja3, Ja4},
    flow::Side,
    name::Name,
};

/// A protocol version as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsVersion(pub u16);

impl TlsVersion {
    /// `SSLv2`.
    pub const SSLV2: Self = Self(0x0002);

    /// Record name, or `None` for a value we have no name for.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x0002 => "SSLv2",
            0x0300 => "SSLv3",
            0x0301 => "TLSv1.0",
            0x0302 => "TLSv1.1",
            0x0303 => "TLSv1.2",
            0x0100 => "DTLSv0.9",
            0xfeff => "DTLSv1.0",
            0xfefd => "DTLSv1.2",
            0xfefc => "DTLSv1.3",
            _ if self.is_1_3() => "TLSv1.3",
            _ => return None,
        })
    }

    /// Whether this is TLS 1.3: final, drafts 14 to 28 (section 4.2.1 of the drafts), or the variants that Google
    /// (0x7e..) and Facebook (0xfb..) rolled out before the RFC; or DTLS 1.3.
    pub const fn is_1_3(self) -> bool {
        matches!(self.0, 0x0304 | 0x7e01..=0x7e03 | 0x7f0e..=0x7f1c | 0xfb17..=0xfb1c | 0xfefc)
    }

    /// Order in time: drafts count as their version, and DTLS counts down.
    pub const fn rank(self) -> u16 {
        match self.0 {
            0xfefc..=0xfeff => !self.0,
            _ if self.is_1_3() => 0x0304,
            version => version,
        }
    }
}

/// The five bytes before the body of every record (RFC 8446 section 5.1, RFC 5246 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Content type.
    pub kind: u8,
    /// Record version: the negotiated one only up to TLS 1.2, and not in a first `ClientHello`.
    pub version: u16,
    /// Length of the body.
    pub length: u16,
}

impl RecordHeader {
    /// Size on the wire.
    pub const BYTES: usize = 5;
    /// `change_cipher_spec`.
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// `alert`.
    pub const ALERT: u8 = 21;
    /// `handshake`.
    pub const HANDSHAKE: u8 = 22;
    /// `application_data`.
    pub const APPLICATION_DATA: u8 = 23;
    /// `heartbeat` (RFC 6520).
    pub const HEARTBEAT: u8 = 24;
    /// Longest body: 2^14 and the 2048 bytes that protection may add up to TLS 1.2.
    pub const LENGTH_MAX: u16 = (1 << 14) + 2048;

    /// Reads a header; `None` if it cannot be one.
    pub const fn read(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let [kind, major, minor, high, low] = bytes;
        let header = Self {
            kind,
            version: u16::from_be_bytes([major, minor]),
            length: u16::from_be_bytes([high, low]),
        };
        let length_min = if kind == Self::APPLICATION_DATA { 0 } else { 1 };
        let fits = matches!(kind, Self::CHANGE_CIPHER_SPEC..=Self::HEARTBEAT)
            && matches!(header.version, 0x0300..=0x0304)
            && header.length >= length_min
            && header.length <= Self::LENGTH_MAX;
        if fits { Some(header) } else { None }
    }

    /// Whether it is an alert of the size that protection gives it: 2 bytes under the tags, paddings and nonces in use.
    /// A session that ends says only this.
    pub const fn is_sealed_alert(self) -> bool {
        self.kind == Self::ALERT
            && matches!(self.version, 0x0301..=0x0303)
            && matches!(self.length, 18 | 19 | 22 | 24 | 26 | 32 | 40 | 48 | 64 | 80)
    }

    /// Whether it can be a link of a chain of records that proves TLS without its beginning: narrower than the grammar,
    /// by the sizes that records of a running session have (the shortest tag is that of CCM with 8 bytes).
    pub const fn runs_on(self) -> bool {
        let length = match self.kind {
            Self::CHANGE_CIPHER_SPEC => self.length == 1,
            Self::ALERT => self.length == 2 || (self.length >= 10 && self.length <= 96),
            Self::HANDSHAKE => self.length >= 4,
            Self::APPLICATION_DATA => self.length >= 9,
            _ => false,
        };
        length && matches!(self.version, 0x0301..=0x0303)
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

impl TlsFacts {
    /// A certificate alone does not say whose it is.
    pub(crate) fn forget_certificates(&mut self) {
        (self.certificates, self.client_certificates) = (None, None);
        (self.client_cert_seen, self.client_cert_requested) = (None, None);
    }

    /// Memory held besides itself, in bytes.
    pub fn memory(&self) -> usize {
        let names = self.alpn_offered.iter().chain(&self.alpn).chain(&self.sni);
        let chains = self.certificates.iter().chain(&self.client_certificates);
        let lists = [
            self.alpn_offered.capacity().saturating_mul(size_of::<Name>()),
            self.versions_offered.capacity().saturating_mul(size_of::<TlsVersion>()),
            self.groups_offered.capacity().saturating_mul(size_of::<u16>()),
        ];
        names
            .map(|name| name.as_str().len())
            .chain(chains.map(|chain| chain.memory()))
            .chain(lists)
            .fold(0, usize::saturating_add)
    }
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

/// How the two sides agree on a key: by the cipher suite up to TLS 1.2, by group and pre-shared key in TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyExchange {
    /// None at all.
    Null,
    /// Encrypted to the key of the server's certificate.
    Rsa,
    /// Diffie-Hellman with the key of a certificate.
    Dh,
    /// Diffie-Hellman with a fresh key.
    Dhe,
    /// The same without authentication.
    DhAnon,
    /// Elliptic curves, with the key of a certificate.
    Ecdh,
    /// Elliptic curves, with a fresh key.
    Ecdhe,
    /// The same without authentication.
    EcdhAnon,
    /// Elliptic curves and ML-KEM.
    EcdheMlkem,
    /// Elliptic curves and Kyber, the draft of ML-KEM.
    EcdheKyber,
    /// ML-KEM alone.
    Mlkem,
    /// A pre-shared key alone.
    Psk,
    /// A pre-shared key and `RSA`.
    RsaPsk,
    /// A pre-shared key and `DHE`.
    DhePsk,
    /// A pre-shared key and `ECDHE`.
    EcdhePsk,
    /// A pre-shared key (a resumed session's, too) and `ECDHE_MLKEM`.
    EcdheMlkemPsk,
    /// A pre-shared key and `ECDHE_KYBER`.
    EcdheKyberPsk,
    /// A pre-shared key and `MLKEM`.
    MlkemPsk,
    /// Kerberos.
    Krb5,
    /// Secure Remote Password.
    Srp,
    /// Dragonfly with elliptic curves.
    Eccpwd,
    /// J-PAKE with elliptic curves.
    Ecjpake,
    /// VKO of GOST R 34.10-2012.
    Gost,
}

impl KeyExchange {
    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Rsa => "RSA",
            Self::Dh => "DH",
            Self::Dhe => "DHE",
            Self::DhAnon => "DH_anon",
            Self::Ecdh => "ECDH",
            Self::Ecdhe => "ECDHE",
            Self::EcdhAnon => "ECDH_anon",
            Self::EcdheMlkem => "ECDHE_MLKEM",
            Self::EcdheKyber => "ECDHE_KYBER",
            Self::Mlkem => "MLKEM",
            Self::Psk => "PSK",
            Self::RsaPsk => "RSA_PSK",
            Self::DhePsk => "DHE_PSK",
            Self::EcdhePsk => "ECDHE_PSK",
            Self::EcdheMlkemPsk => "ECDHE_MLKEM_PSK",
            Self::EcdheKyberPsk => "ECDHE_KYBER_PSK",
            Self::MlkemPsk => "MLKEM_PSK",
            Self::Krb5 => "KRB5",
            Self::Srp => "SRP",
            Self::Eccpwd => "ECCPWD",
            Self::Ecjpake => "ECJPAKE",
            Self::Gost => "GOST",
        }
    }
}

/// How a session was resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resumption {
    /// By a session id that the server remembered.
    SessionId,
    /// By a ticket (RFC 5077).
    SessionTicket,
    /// By a pre-shared key alone (TLS 1.3): without forward secrecy.
    Psk,
    /// By a pre-shared key and a fresh exchange (TLS 1.3).
    PskDhe,
}

impl Resumption {
    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionId => "session_id",
            Self::SessionTicket => "session_ticket",
            Self::Psk => "psk",
            Self::PskDhe => "psk_dhe",
        }
    }
}

/// Whether a group is post-quantum: ML-KEM and its hybrids, and the Kyber draft
/// (IANA TLS Supported Groups).
pub const fn is_post_quantum(group: u16) -> bool {
    matches!(group, 0x0200..=0x0202 | 0x11eb..=0x11ee | 0x6399 | 0x639a)
}

/// Why a certificate that was sent in clear was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateCut {
    /// The message is longer than is kept of one.
    Size,
    /// The memory of all sessions together was used up.
    Memory,
    /// A part of it was not seen.
    Loss,
}

impl CertificateCut {
    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Memory => "memory",
            Self::Loss => "loss",
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

#[allow(clippy::struct_excessive_bools, reason = "independent facts, each set by name")]
/// Facts of one TLS layer. `None` means not visible, never "no".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// Negotiated version.
    pub version: Option<TlsVersion>,
    /// Highest version the client offered.
    pub version_offered: Option<TlsVersion>,
    /// The first versions the client offered, in its order.
    pub versions_offered: Vec<TlsVersion>,
    /// Negotiated cipher suite.
    pub cipher: Option<u16>,
    /// Cipher kind the client chose in `SSLv2` (three bytes).
    pub cipher_sslv2: Option<u32>,
    /// Number of cipher suites the client offered.
    pub ciphers_offered: Option<u16>,
    /// How the key was agreed on.
    pub key_exchange: Option<KeyExchange>,
    /// Named group of the key exchange.
    pub group: Option<u16>,
    /// The first groups the client offered, in its order.
    pub groups_offered: Vec<u16>,
    /// Whether the group used is post-quantum, hybrids included.
    pub pq: Option<bool>,
    /// Whether the client offered such a group.
    pub pq_offered: Option<bool>,
    /// Size of the prime in a finite-field key exchange up to TLS 1.2.
    pub dh_bits: Option<u16>,
    /// Algorithm the server signed its key exchange with (`SignatureScheme`, TLS 1.2 only).
    pub signature_algorithm: Option<u16>,
    /// Compression method.
    pub compression: Option<u8>,
    /// Server name the client asked for.
    pub sni: Option<Name>,
    /// Protocol the server chose (hidden in TLS 1.3).
    pub alpn: Option<Name>,
    /// Protocols the client offered.
    pub alpn_offered: Vec<Name>,
    /// The client offered more protocols than are kept.
    pub alpn_cut: bool,
    /// Whether a `ClientHello` was read.
    pub client_hello: bool,
    /// Whether a `ServerHello` was read.
    pub server_hello: bool,
    /// Whether the server asked for a second hello.
    pub hello_retry_request: Option<bool>,
    /// Whether the server could have chosen a newer version, as its random says.
    pub downgrade_sentinel: Option<bool>,
    /// Whether the session was resumed; `None` when it cannot be told.
    pub resumed: Option<bool>,
    /// How it was.
    pub resumption: Option<Resumption>,
    /// Whether the client offered early data.
    pub early_data_offered: Option<bool>,
    /// `Some(true)` where early data was seen.
    pub early_data_sent: Option<bool>,
    /// `Some(false)` where the server's answer rules it out; that it was accepted is hidden.
    pub early_data_accepted: Option<bool>,
    /// Whether the server takes part in secure renegotiation (RFC 5746; up to TLS 1.2).
    pub secure_renegotiation: Option<bool>,
    /// `Some(true)` where a second handshake was seen (up to TLS 1.2).
    pub renegotiated: Option<bool>,
    /// Whether the master secret is bound to the handshake (RFC 7627; up to TLS 1.2).
    pub extended_master_secret: Option<bool>,
    /// Whether the client sent `encrypted_client_hello` (genuine or GREASE): the server name is then the outer one.
    pub ech_offered: Option<bool>,
    /// Whether that was GREASE: only a second hello shows it.
    pub ech_grease: Option<bool>,
    /// Whether a non-empty client certificate was on the wire; `None` when hidden or not seen.
    pub client_cert_seen: Option<bool>,
    /// Whether the server asked for one.
    pub client_cert_requested: Option<bool>,
    /// Fingerprint of the first `ClientHello`.
    pub ja3: Option<Ja3>,
    /// Fingerprint of the first `ClientHello`.
    pub ja4: Option<Ja4>,
    /// The server's certificates as sent (hidden in TLS 1.3).
    pub certificates: Option<Arc<Chain>>,
    /// Why they were not read although they were sent in clear.
    pub certificate_cut: Option<CertificateCut>,
    /// The client's certificates as sent.
    pub client_certificates: Option<Arc<Chain>>,
    /// Why they were not read although they were sent in clear.
    pub client_certificate_cut: Option<CertificateCut>,
    /// Client's first clear alert, or the server's.
    pub alert: Option<TlsAlert>,
    /// How the handshake ended.
    pub outcome: Option<HandshakeOutcome>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_header_is_bounded_in_every_field() {
        for (bytes, fits) in [
            ([0x16, 3, 1, 0x02, 0x00], true),
            ([0x18, 3, 4, 0x00, 0x01], true),
            ([0x17, 3, 3, 0x00, 0x00], true),
            ([0x17, 3, 3, 0x48, 0x00], true),
            ([0x17, 3, 3, 0x48, 0x01], false),
            ([0x16, 3, 3, 0x00, 0x00], false),
            ([0x13, 3, 3, 0x00, 0x01], false),
            ([0x19, 3, 3, 0x00, 0x01], false),
            ([0x16, 2, 3, 0x00, 0x01], false),
            ([0x16, 3, 5, 0x00, 0x01], false),
        ] {
            assert_eq!(RecordHeader::read(bytes).is_some(), fits, "{bytes:02x?}");
        }
    }

    #[test]
    fn drafts_and_experiments_are_tls_1_3() {
        for version in [0x0304, 0x7e02, 0x7f12, 0x7f1c, 0xfb1a] {
            assert_eq!(TlsVersion(version).name(), Some("TLSv1.3"), "{version:04x}");
        }
        assert_eq!(TlsVersion(0x0303).name(), Some("TLSv1.2"));
        assert_eq!(TlsVersion(0x0a0a).name(), None);
    }
}
