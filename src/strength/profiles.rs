//! The policies: small tables, each with its source and date. `cleartap profiles` prints them.

use super::{Fault, Strength};

/// A named, dated policy.
#[derive(Debug)]
pub struct Profile {
    /// Name on the command line.
    pub name: &'static str,
    /// What it is called by its publisher.
    pub title: &'static str,
    /// Where it is published.
    pub source: &'static str,
    /// When it was published.
    pub dated: &'static str,
    /// How the table was drawn from it.
    pub note: &'static str,
    /// Ciphers it allows.
    pub ciphers: &'static [&'static str],
    /// Cipher suites it lists (IANA TLS Cipher Suites), where it names every one; `None`: all of its ciphers.
    pub suites: Option<&'static [u16]>,
    /// Groups it lists (IANA TLS Supported Groups); `None`: it does not say.
    pub groups: Option<&'static [u16]>,
    /// Smallest Diffie-Hellman prime in bits.
    pub dh_bits_min: u16,
    /// Smallest RSA key in bits.
    pub rsa_bits_min: u32,
    /// Smallest curve in bits.
    pub ec_bits_min: u32,
    /// Faults it forbids, besides those that are weak by any measure ([`Profile::ALWAYS_WEAK`]).
    pub weak: &'static [Fault],
    /// Faults it advises against.
    pub legacy: &'static [Fault],
}

impl Profile {
    /// The profile used unless another is asked for.
    pub const DEFAULT: &'static Self = &NIST_800_52R2;

    /// Weak by every profile.
    pub const ALWAYS_WEAK: &'static [Fault] = &[
        Fault::NoServerIdentity,
        Fault::ExportCipher,
        Fault::Rc4,
        Fault::Rc2,
        Fault::Des,
        Fault::TripleDes,
        Fault::VersionBelowTls12,
        Fault::Compression,
        Fault::DhTooSmall,
        Fault::RsaTooSmall,
        Fault::EcTooSmall,
        Fault::SignatureMd5,
        Fault::SignatureSha1,
    ];

    /// The profile of this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PROFILES.iter().copied().find(|profile| profile.name == name)
    }

    /// What a fault makes of a session.
    pub fn grade(&self, fault: Fault) -> Strength {
        if fault == Fault::NullCipher {
            Strength::None
        } else if Self::ALWAYS_WEAK.contains(&fault) || self.weak.contains(&fault) {
            Strength::Weak
        } else if self.legacy.contains(&fault) {
            Strength::Legacy
        } else {
            Strength::Good
        }
    }
}

const SECP256R1: u16 = 0x0017;
const SECP384R1: u16 = 0x0018;
const SECP521R1: u16 = 0x0019;
const X25519: u16 = 0x001d;
const MLKEM1024: u16 = 0x0202;
const SECP384R1_MLKEM1024: u16 = 0x11ed;
const X25519_MLKEM768: u16 = 0x11ec;

/// Every profile, the default first.
pub static PROFILES: &[&Profile] =
    &[&NIST_800_52R2, &PCI_4_0_1, &AWS_FSBP, &MOZILLA_INTERMEDIATE, &FIPS, &CNSA_2_0];

const NIST_800_52R2: Profile = Profile {
    name: "nist-800-52r2",
    title: "NIST SP 800-52 Revision 2, servers",
    source: "https://doi.org/10.6028/NIST.SP.800-52r2",
    dated: "2019-08",
    note: "Section 3.3.1: suites of approved algorithms only. RSA key transport (appendix D), CBC with HMAC-SHA1 and what \
               lacks forward secrecy count as legacy. ChaCha20 is not approved, so an agency may not use it; it is not \
               broken either: legacy here, weak by fips. Groups are not judged: the text is older than those in use.",
    ciphers: &["aes"],
    suites: None,
    groups: None,
    dh_bits_min: 2048,
    rsa_bits_min: 2048,
    ec_bits_min: 224,
    weak: &[],
    legacy: &[
        Fault::CbcSha1,
        Fault::StaticRsa,
        Fault::NoForwardSecrecy,
        Fault::CipherNotAllowed,
        Fault::DsaKey,
    ],
};

const PCI_4_0_1: Profile = Profile {
    name: "pci-4.0.1",
    title: "PCI DSS 4.0.1, strong cryptography (requirements 2.2.7, 4.2.1, glossary)",
    source: "https://www.pcisecuritystandards.org/document_library/",
    dated: "2024-06",
    note: "The standard asks for industry-tested algorithms with at least 112 bits of effective strength, names no \
               suites and points to NIST: early TLS, 3DES (disallowed by SP 800-131A r2 since 2024) and smaller keys \
               are out; what lacks forward secrecy counts as legacy. ChaCha20 has 256 bits and is an IETF standard \
               (RFC 8439): good.",
    ciphers: &["aes", "chacha20-poly1305", "camellia", "aria"],
    suites: None,
    groups: None,
    dh_bits_min: 2048,
    rsa_bits_min: 2048,
    ec_bits_min: 224,
    weak: &[],
    legacy: &[Fault::CbcSha1, Fault::StaticRsa, Fault::NoForwardSecrecy, Fault::CipherNotAllowed],
};

const AWS_FSBP: Profile = Profile {
    name: "aws-fsbp",
    title: "AWS Foundational Security Best Practices, ELB.17 and its recommended security policies",
    source: "https://docs.aws.amazon.com/securityhub/latest/userguide/elb-controls.html",
    dated: "2025-09",
    note: "ELB.17 passes the policies TLS13-1-2-Res and TLS13-1-3 of 2021-06, 2023-04 (FIPS) and 2025-09 (PQ) only. \
               What they negotiate is good: TLS 1.3, and ECDHE with AES-GCM in TLS 1.2. Suites of the wider policies \
               (CBC) and others count as legacy. ChaCha20 is in them in TLS 1.3: good; in no policy in TLS 1.2: legacy.",
    ciphers: &["aes", "chacha20-poly1305"],
    suites: Some(&[0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xc02f, 0xc030]),
    groups: None,
    dh_bits_min: 2048,
    rsa_bits_min: 2048,
    ec_bits_min: 256,
    weak: &[],
    legacy: &[
        Fault::CbcSha1,
        Fault::Cbc,
        Fault::StaticRsa,
        Fault::NoForwardSecrecy,
        Fault::CipherNotAllowed,
    ],
};

const MOZILLA_INTERMEDIATE: Profile = Profile {
    name: "mozilla-intermediate",
    title: "Mozilla Server Side TLS, intermediate",
    source: "https://ssl-config.mozilla.org/guidelines/5.7.json",
    dated: "2023-05 (version 5.7), with X25519MLKEM768 of version 6.0 (2026-04)",
    note: "GCM and ChaCha20 suites with ECDHE or DHE (version 6.0 leaves DHE out); curves X25519, P-256, P-384; primes \
               of 2048 bits. ChaCha20 is listed in TLS 1.2 and 1.3: good.",
    ciphers: &["aes", "chacha20-poly1305"],
    suites: Some(&[
        0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9, 0x009e, 0x009f,
        0xccaa,
    ]),
    groups: Some(&[X25519, SECP256R1, SECP384R1, X25519_MLKEM768]),
    dh_bits_min: 2048,
    rsa_bits_min: 2048,
    ec_bits_min: 256,
    weak: &[],
    legacy: &[
        Fault::CbcSha1,
        Fault::Cbc,
        Fault::StaticRsa,
        Fault::NoForwardSecrecy,
        Fault::ShortTag,
        Fault::CipherNotAllowed,
        Fault::GroupNotAllowed,
        Fault::DsaKey,
    ],
};

const FIPS: Profile = Profile {
    name: "fips",
    title: "Approved algorithms of FIPS 140-3 modules (SP 800-140C, SP 800-56A r3, SP 800-131A r2, FIPS 186-5, FIPS 203)",
    source: "https://csrc.nist.gov/projects/cryptographic-module-validation-program",
    dated: "2024-08",
    note: "That a module was validated cannot be seen on the wire; that an algorithm is not approved can. ChaCha20 and \
               X25519 alone are not: weak. X25519MLKEM768 is, by its ML-KEM half (SP 800-56C r2). RSA key transport is \
               disallowed since 2024 (SP 800-131A r2), signing with DSA since FIPS 186-5; HMAC-SHA1 may be used until \
               2030: legacy.",
    ciphers: &["aes"],
    suites: None,
    groups: Some(&[
        SECP256R1,
        SECP384R1,
        SECP521R1,
        0x0015,
        0x0100,
        0x0101,
        0x0102,
        0x0103,
        0x0104,
        0x0200,
        0x0201,
        MLKEM1024,
        0x11eb,
        X25519_MLKEM768,
        SECP384R1_MLKEM1024,
    ]),
    dh_bits_min: 2048,
    rsa_bits_min: 2048,
    ec_bits_min: 224,
    weak: &[Fault::CipherNotAllowed, Fault::GroupNotAllowed, Fault::StaticRsa, Fault::DsaKey],
    legacy: &[Fault::CbcSha1, Fault::NoForwardSecrecy],
};

const CNSA_2_0: Profile = Profile {
    name: "cnsa-2.0",
    title: "NSA Commercial National Security Algorithm Suite 2.0",
    source: "https://media.defense.gov/2022/Sep/07/2003071836/-1/-1/0/CSI_CNSA_2.0_FAQ_.PDF",
    dated: "2024-12 (FAQ 2.1)",
    note: "AES-256, SHA-384, ML-KEM-1024, ML-DSA-87. Until 2033 the suite before it (RFC 9151: P-384, 3072 bits, \
               AES-256-GCM, RSA key transport included) counts as legacy, not_post_quantum; all else is weak. ChaCha20 \
               has 256 bits but is in neither: weak.",
    ciphers: &["aes"],
    suites: Some(&[0x1302, 0xc02c, 0xc030, 0x009d, 0x009f]),
    groups: Some(&[SECP384R1, 0x0101, 0x0102, 0x0103, 0x0104, MLKEM1024, SECP384R1_MLKEM1024]),
    dh_bits_min: 3072,
    rsa_bits_min: 3072,
    ec_bits_min: 384,
    weak: &[
        Fault::CbcSha1,
        Fault::Cbc,
        Fault::ShortTag,
        Fault::CipherNotAllowed,
        Fault::CipherKeyBelow256,
        Fault::HashBelowSha384,
        Fault::GroupNotAllowed,
        Fault::DsaKey,
    ],
    legacy: &[Fault::StaticRsa, Fault::NoForwardSecrecy, Fault::NotPostQuantum],
};
