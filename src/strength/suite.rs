//! What a cipher suite is made of: tls-parser's table of the IANA registry, and the few it does not have.

use tls_parser::{
    TlsCipherAu, TlsCipherEnc, TlsCipherEncMode, TlsCipherKx, TlsCipherMac, TlsCipherSuite, TlsPRF,
};

use super::Fault;

/// A cipher suite.
pub(super) struct Suite(&'static TlsCipherSuite);

impl Suite {
    /// `None` if it is not known what it is made of.
    pub(super) fn by_id(id: u16) -> Option<Self> {
        TlsCipherSuite::from_id(id).filter(|_| !SIGNALLING.contains(&id)).map(Self)
    }

    pub(super) const fn id(&self) -> u16 {
        self.0.id.0
    }

    /// The faults that lie in the suite alone.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let Self(suite) = self;
        let export = suite.name.contains("_EXPORT");
        let cbc = suite.enc_mode == TlsCipherEncMode::Cbc;
        let old_mac = matches!(suite.mac, TlsCipherMac::HmacMd5 | TlsCipherMac::HmacSha1);
        let no_secrecy = !matches!(
            suite.kx,
            TlsCipherKx::Dhe
                | TlsCipherKx::Ecdhe
                | TlsCipherKx::Aecdh
                | TlsCipherKx::Eccpwd
                | TlsCipherKx::Srp
                | TlsCipherKx::Tls13
        ) && !self.is_anonymous();
        [
            (Fault::NullCipher, suite.enc == TlsCipherEnc::Null),
            (Fault::NoServerIdentity, self.is_anonymous()),
            (Fault::ExportCipher, export),
            (Fault::Rc4, suite.enc == TlsCipherEnc::Rc4),
            (Fault::Rc2, suite.enc == TlsCipherEnc::Rc2),
            (Fault::Des, suite.enc == TlsCipherEnc::Des),
            (Fault::TripleDes, suite.enc == TlsCipherEnc::TripleDes),
            (Fault::CbcSha1, cbc && old_mac),
            (Fault::Cbc, cbc && !old_mac),
            (Fault::StaticRsa, suite.kx == TlsCipherKx::Rsa && suite.au != TlsCipherAu::Psk),
            (Fault::NoForwardSecrecy, no_secrecy),
            (
                Fault::ShortTag,
                suite.name.ends_with("CCM_8") || suite.name.ends_with("CCM_8_SHA256"),
            ),
        ]
        .into_iter()
        .filter_map(|(fault, found)| found.then_some(fault))
        .collect()
    }

    /// Whether its cipher has a fault of its own name.
    pub(super) const fn is_broken(&self) -> bool {
        matches!(
            self.0.enc,
            TlsCipherEnc::Null
                | TlsCipherEnc::Rc4
                | TlsCipherEnc::Rc2
                | TlsCipherEnc::Des
                | TlsCipherEnc::TripleDes
        )
    }

    /// Family of the cipher, as profiles list it.
    pub(super) const fn family(&self) -> &'static str {
        match self.0.enc {
            TlsCipherEnc::Null => "null",
            TlsCipherEnc::Des => "des",
            TlsCipherEnc::TripleDes => "3des",
            TlsCipherEnc::Rc2 => "rc2",
            TlsCipherEnc::Rc4 => "rc4",
            TlsCipherEnc::Aria => "aria",
            TlsCipherEnc::Idea => "idea",
            TlsCipherEnc::Seed => "seed",
            TlsCipherEnc::Aes => "aes",
            TlsCipherEnc::Camellia => "camellia",
            TlsCipherEnc::Chacha20_Poly1305 => "chacha20-poly1305",
            TlsCipherEnc::Sm4 => "sm4",
            TlsCipherEnc::Aegis => "aegis",
        }
    }

    /// The table has 128 for `ChaCha20`, whose keys have 256 (RFC 8439).
    pub(super) const fn key_bits(&self) -> u16 {
        match self.0.enc {
            TlsCipherEnc::Chacha20_Poly1305 => 256,
            _ => self.0.enc_size,
        }
    }

    /// Whether it derives keys with SHA-384 or longer.
    pub(super) const fn hash_is_384(&self) -> bool {
        matches!(self.0.prf, TlsPRF::Sha384 | TlsPRF::Sha512)
    }

    /// Diffie-Hellman over a prime field, with a fresh key.
    pub(super) fn uses_prime(&self) -> bool {
        self.0.kx == TlsCipherKx::Dhe || self.0.kx == TlsCipherKx::Dh && self.is_anonymous()
    }

    /// Diffie-Hellman over a curve, with a fresh key.
    pub(super) const fn uses_curve(&self) -> bool {
        matches!(self.0.kx, TlsCipherKx::Ecdhe | TlsCipherKx::Aecdh)
    }

    /// The server signs its share of the key exchange.
    pub(super) fn signs_key_exchange(&self) -> bool {
        let fresh = matches!(self.0.kx, TlsCipherKx::Dhe | TlsCipherKx::Ecdhe | TlsCipherKx::Tls13);
        fresh && self.has_certificate()
    }

    /// The server shows who it is with a certificate (TLS 1.3: unless it resumes).
    pub(super) fn has_certificate(&self) -> bool {
        let without = matches!(
            self.0.au,
            TlsCipherAu::Null
                | TlsCipherAu::Psk
                | TlsCipherAu::Krb5
                | TlsCipherAu::Srp
                | TlsCipherAu::Eccpwd
        );
        // RSA_PSK: the key is encrypted to a certificate.
        !without || self.0.kx == TlsCipherKx::Rsa
    }

    /// Neither side has to show who it is.
    fn is_anonymous(&self) -> bool {
        self.0.name.contains("_anon_")
    }
}

/// The faults of a cipher kind of `SSLv2`: the key always goes encrypted to the server's RSA key.
pub(super) fn sslv2_faults(kind: u32) -> impl Iterator<Item = Fault> {
    let cipher: &[Fault] = match kind {
        0x01_0080 => &[Fault::Rc4],
        0x02_0080 => &[Fault::ExportCipher, Fault::Rc4],
        0x03_0080 => &[Fault::Rc2],
        0x04_0080 => &[Fault::ExportCipher, Fault::Rc2],
        0x06_0040 => &[Fault::Des],
        0x07_00c0 => &[Fault::TripleDes],
        // IDEA, and what nobody knows.
        _ => &[Fault::CipherNotAllowed],
    };
    cipher.iter().copied().chain([Fault::StaticRsa, Fault::NoForwardSecrecy])
}

/// `TLS_EMPTY_RENEGOTIATION_INFO_SCSV` and `TLS_FALLBACK_SCSV`: signals, never negotiated.
const SIGNALLING: [u16; 2] = [0x00ff, 0x5600];
