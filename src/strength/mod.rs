//! How good the TLS of a flow is by a named, dated policy. Pure: facts and a [`Profile`] in, a [`Judgement`] out.
//!
//! A fault is what was seen; a profile says which faults make a session weak and which make it legacy. What could not be
//! seen is not judged, and is named in [`Judgement::unjudged`]. Dates and names of certificates are not strength: they
//! stand in the record beside it.
#![forbid(unsafe_code)]

mod profiles;
mod suite;
#[cfg(test)]
mod tests;

pub use profiles::{PROFILES, Profile};

use suite::{Suite, sslv2_faults};

use crate::model::{
    certificate::{Chain, Link},
    tls::{KeyExchange, TlsFacts, TlsVersion, is_post_quantum},
};

/// Verdict of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// As the profile wants it, as far as could be seen.
    Good,
    /// Not recommended by the profile, but not broken.
    Legacy,
    /// Forbidden by the profile, or broken.
    Weak,
    /// No encryption.
    None,
}

impl Strength {
    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Legacy => "legacy",
            Self::Weak => "weak",
            Self::None => "none",
        }
    }
}

/// What a profile says of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict; `None` where what was missed could make it worse.
    pub strength: Option<Strength>,
    /// Faults the profile minds, the worst first.
    pub reasons: Vec<Fault>,
    /// What could not be seen.
    pub unjudged: Vec<&'static str>,
}

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Something that speaks against a session; each profile says how much.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $variant,)* }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Stable identifier in records.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

faults! {
    /// The cipher suite does not encrypt; TLS 1.3's integrity-only suites (RFC 9150) included.
    NullCipher = "null_cipher",
    /// An anonymous key exchange: anyone may be the server.
    NoServerIdentity = "no_server_identity",
    /// A cipher suite weakened for export.
    ExportCipher = "export_cipher",
    /// RC4 (RFC 7465).
    Rc4 = "rc4",
    /// RC2.
    Rc2 = "rc2",
    /// Single DES.
    Des = "des",
    /// Triple DES: blocks of 64 bits.
    TripleDes = "triple_des",
    /// A version before TLS 1.2 or DTLS 1.2 (RFC 8996).
    VersionBelowTls12 = "version_below_tls_1_2",
    /// Compression within TLS (CRIME).
    Compression = "compression",
    /// A Diffie-Hellman prime smaller than the profile wants.
    DhTooSmall = "dh_too_small",
    /// An RSA key in the chain smaller than the profile wants.
    RsaTooSmall = "rsa_too_small",
    /// An elliptic curve in the chain smaller than the profile wants.
    EcTooSmall = "ec_too_small",
    /// A signature with MD5 or MD2.
    SignatureMd5 = "signature_md5",
    /// A signature with SHA-1.
    SignatureSha1 = "signature_sha1",
    /// Encryption with CBC, authenticated with HMAC-SHA1 or HMAC-MD5.
    CbcSha1 = "cbc_sha1",
    /// Encryption with CBC, otherwise authenticated.
    Cbc = "cbc",
    /// The key is encrypted to the server's RSA key.
    StaticRsa = "static_rsa",
    /// Who learns the server's key later can read what was recorded.
    NoForwardSecrecy = "no_forward_secrecy",
    /// A tag of 8 bytes.
    ShortTag = "short_tag",
    /// A cipher that the profile does not list.
    CipherNotAllowed = "cipher_not_allowed",
    /// A cipher key of less than 256 bits.
    CipherKeyBelow256 = "cipher_key_below_256",
    /// A hash shorter than SHA-384 in cipher suite or signature.
    HashBelowSha384 = "hash_below_sha384",
    /// A key exchange group that the profile does not list.
    GroupNotAllowed = "group_not_allowed",
    /// A DSA key in the chain.
    DsaKey = "dsa_key",
    /// Key exchange or certificate would not withstand a quantum computer.
    NotPostQuantum = "not_post_quantum",
}

/// What is judged, as far as it was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed<'a> {
    /// Negotiated version.
    pub version: Option<TlsVersion>,
    /// Negotiated cipher suite.
    pub cipher: Option<u16>,
    /// Cipher kind of `SSLv2`.
    pub cipher_sslv2: Option<u32>,
    /// Key exchange group.
    pub group: Option<u16>,
    /// Size of the prime of a finite-field key exchange.
    pub dh_bits: Option<u16>,
    /// Compression method.
    pub compression: Option<u8>,
    /// `SignatureScheme` of the server's key exchange.
    pub server_signature: Option<u16>,
    /// The server's certificates.
    pub chain: Option<&'a Chain>,
    /// TLS 1.3 without a share of the server: the key is a pre-shared one alone.
    pub psk_only: bool,
    /// The session was resumed.
    pub resumed: bool,
}

impl<'a> From<&'a TlsFacts> for Observed<'a> {
    fn from(facts: &'a TlsFacts) -> Self {
        let answered = facts.server_hello;
        Self {
            version: facts.version.filter(|_| answered),
            cipher: facts.cipher.filter(|_| answered),
            cipher_sslv2: facts.cipher_sslv2.filter(|_| answered),
            group: facts.group.filter(|_| answered),
            dh_bits: facts.dh_bits,
            compression: facts.compression.filter(|_| answered),
            server_signature: facts.signature_algorithm,
            chain: facts.certificates.as_deref(),
            psk_only: answered && facts.key_exchange == Some(KeyExchange::Psk),
            resumed: facts.resumed == Some(true),
        }
    }
}

/// Judges what was seen by `profile`.
pub fn judge(seen: &Observed<'_>, profile: &Profile) -> Judgement {
    let mut findings = Findings { profile, faults: Vec::new(), unjudged: Vec::new() };
    let suite = seen.cipher.and_then(Suite::by_id);
    findings.version(seen);
    findings.cipher(seen, suite.as_ref());
    findings.key_exchange(seen, suite.as_ref());
    findings.server_signature(seen, suite.as_ref());
    findings.certificates(seen, suite.as_ref());
    findings.judgement(seen, suite.is_some())
}

struct Findings<'p> {
    profile: &'p Profile,
    faults: Vec<Fault>,
    unjudged: Vec<&'static str>,
}

impl Findings<'_> {
    fn add(&mut self, fault: Fault, found: bool) {
        if found && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn version(&mut self, seen: &Observed<'_>) {
        match seen.version {
            None => self.unjudged.push("version"),
            Some(version) => {
                let old = matches!(version.0, 0x0002 | 0x0300..=0x0302 | 0x0100 | 0xfeff);
                self.add(Fault::VersionBelowTls12, old);
            }
        }
        let compressed = seen.compression.is_some_and(|method| method != 0);
        self.add(Fault::Compression, compressed);
        let may_compress = seen.version.is_none_or(|v| !v.is_1_3() && v != TlsVersion::SSLV2);
        if seen.compression.is_none() && may_compress {
            self.unjudged.push("compression");
        }
    }

    fn cipher(&mut self, seen: &Observed<'_>, suite: Option<&Suite>) {
        let Some(suite) = suite else {
            match seen.cipher_sslv2 {
                Some(kind) => self.faults.extend(sslv2_faults(kind)),
                None => self.unjudged.push("cipher"),
            }
            return;
        };
        self.faults.extend(suite.faults());
        let broken = suite.is_broken();
        let listed = self.profile.ciphers.contains(&suite.family());
        self.add(Fault::CipherKeyBelow256, suite.key_bits() < 256 && !broken);
        self.add(Fault::HashBelowSha384, !suite.hash_is_384());
        // Of a suite that is not in a list it may already be said why.
        let unlisted = self.profile.suites.is_some_and(|suites| !suites.contains(&suite.id()));
        let not_allowed = self.profile.grade(Fault::CipherNotAllowed);
        let told = self.faults.iter().any(|fault| self.profile.grade(*fault) >= not_allowed);
        self.add(Fault::CipherNotAllowed, !broken && (!listed || unlisted && !told));
        self.add(Fault::NoForwardSecrecy, seen.psk_only);
    }

    fn key_exchange(&mut self, seen: &Observed<'_>, suite: Option<&Suite>) {
        let Some(suite) = suite else { return };
        let is_1_3 = seen.version.is_some_and(TlsVersion::is_1_3);
        if suite.uses_prime() {
            match seen.dh_bits {
                Some(bits) => self.add(Fault::DhTooSmall, bits < self.profile.dh_bits_min),
                None if !seen.resumed => self.unjudged.push("dh_size"),
                None => {}
            }
        }
        match seen.group {
            Some(group) => {
                let listed = self.profile.groups.is_none_or(|groups| groups.contains(&group));
                self.add(Fault::GroupNotAllowed, !listed);
                self.add(Fault::NotPostQuantum, !is_post_quantum(group));
            }
            None if is_1_3 && seen.psk_only => {}
            // A resumed session of TLS 1.2 exchanges no key.
            None if is_1_3 || suite.uses_curve() && !seen.resumed => self.unjudged.push("group"),
            None => self.add(Fault::NotPostQuantum, !seen.resumed),
        }
    }

    /// RFC 5246 section 7.4.3: TLS 1.2 names the algorithm.
    fn server_signature(&mut self, seen: &Observed<'_>, suite: Option<&Suite>) {
        let signs = suite.is_some_and(Suite::signs_key_exchange);
        match seen.server_signature {
            Some(scheme) => {
                let [hash, signature] = scheme.to_be_bytes();
                self.add(Fault::SignatureMd5, hash == 1 && signature <= 3);
                self.add(Fault::SignatureSha1, hash == 2 && signature <= 3);
            }
            None if signs && !seen.resumed => self.unjudged.push("server_signature"),
            None => {}
        }
    }

    fn certificates(&mut self, seen: &Observed<'_>, suite: Option<&Suite>) {
        let Some(chain) = seen.chain.filter(|chain| !chain.links.is_empty()) else {
            if suite.is_none_or(Suite::has_certificate) {
                self.unjudged.push("certificate");
            }
            return;
        };
        for (at, link) in chain.links.iter().enumerate() {
            self.key(link);
            // Nobody checks the signature a root made on itself.
            if at == 0 || !link.self_signed {
                self.add(
                    Fault::SignatureMd5,
                    matches!(link.signature.hash, Some("md2" | "md4" | "md5")),
                );
                self.add(Fault::SignatureSha1, link.signature.hash == Some("sha1"));
                self.add(
                    Fault::HashBelowSha384,
                    matches!(link.signature.hash, Some("sha224" | "sha256")),
                );
            }
        }
        let unread = |link: &Link| link.key.kind.is_none() || link.signature.algorithm.is_none();
        let read = u32::try_from(chain.links.len()).unwrap_or(u32::MAX);
        if read < chain.sent || chain.links.iter().any(unread) {
            self.unjudged.push("certificate");
        }
    }

    fn key(&mut self, link: &Link) {
        let Some(kind) = link.key.kind else { return };
        let below = |least: u32| link.key.bits.is_some_and(|bits| bits < least);
        match kind {
            "rsa" | "rsa-pss" => self.add(Fault::RsaTooSmall, below(self.profile.rsa_bits_min)),
            "ec" => self.add(Fault::EcTooSmall, below(self.profile.ec_bits_min)),
            "dsa" => self.add(Fault::DsaKey, true),
            _ => {}
        }
        let post_quantum = kind.starts_with("ml-dsa") || kind.starts_with("slh-dsa");
        self.add(Fault::NotPostQuantum, !post_quantum);
    }

    fn judgement(self, seen: &Observed<'_>, known: bool) -> Judgement {
        let Self { profile, mut faults, unjudged } = self;
        faults.retain(|fault| profile.grade(*fault) > Strength::Good);
        // Faults are declared the worst first.
        faults.sort_by_key(|fault| (std::cmp::Reverse(profile.grade(*fault)), *fault));
        let worst = faults.first().map(|fault| profile.grade(*fault));
        // Up to TLS 1.2 a whole view shows all there is: what was missed may yet be worse than what was seen.
        let missed = !unjudged.is_empty()
            && !seen.resumed
            && seen.version.is_none_or(|version| !version.is_1_3());
        let strength = match worst {
            Some(grade) if grade >= Strength::Weak => Some(grade),
            _ if missed => None,
            grade => grade.or_else(|| (seen.version.is_some() && known).then_some(Strength::Good)),
        };
        Judgement { strength, reasons: faults, unjudged }
    }
}
