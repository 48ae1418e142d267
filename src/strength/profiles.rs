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
    /// Ciphers it lists.
    pub ciphers: &'static [&'static str],
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
    note: "Section 3.3.1: suites of approved algorithms only (ChaCha20 is none); RSA key transport (appendix D) and \
               CBC with HMAC-SHA1 count as legacy. Groups are not judged: the text is older than those in use; see fips.",
    ciphers: &["aes"],
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
    note: "The standard asks for at least 112 bits of effective strength and names no suites: early TLS, 3DES and \
               smaller keys are out; what lacks forward secrecy counts as legacy.",
    ciphers: &["aes", "chacha20-poly1305", "camellia", "aria"],
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
    note: "What ELBSecurityPolicy-TLS13-1-2-2021-06 negotiates is good: TLS 1.2 and 1.3, ECDHE, AES with GCM or with \
               CBC and HMAC-SHA2, ChaCha20. The wider Ext policies count as legacy.",
    ciphers: &["aes", "chacha20-poly1305"],
    groups: None,
    dh_bits_min: 2048,
    rsa_bits_min: 2048,
    ec_bits_min: 256,
    weak: &[],
    legacy: &[Fault::CbcSha1, Fault::StaticRsa, Fault::NoForwardSecrecy, Fault::CipherNotAllowed],
};

const MOZILLA_INTERMEDIATE: Profile = Profile {
    name: "mozilla-intermediate",
    title: "Mozilla Server Side TLS, intermediate",
    source: "https://wiki.mozilla.org/Security/Server_Side_TLS",
    dated: "2023-03 (version 5.7), with X25519MLKEM768 of the versions after it",
    note: "AEAD suites with ECDHE or DHE; curves X25519, P-256, P-384; primes of 2048 bits.",
    ciphers: &["aes", "chacha20-poly1305"],
    groups: Some(&[X25519, SECP256R1, SECP384R1, X25519_MLKEM768, 0x0100]),
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
    title: "Approved algorithms of FIPS 140-3 modules (SP 800-140C, SP 800-56A r3, SP 800-131A r2, FIPS 203)",
    source: "https://csrc.nist.gov/projects/cryptographic-module-validation-program",
    dated: "2024-08",
    note: "That a module was validated cannot be seen on the wire; that an algorithm is not approved can. X25519 alone \
               is not; X25519MLKEM768 is, by its ML-KEM half (SP 800-56C r2).",
    ciphers: &["aes"],
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
    weak: &[Fault::CipherNotAllowed, Fault::GroupNotAllowed, Fault::StaticRsa],
    legacy: &[Fault::CbcSha1, Fault::NoForwardSecrecy, Fault::DsaKey],
};

const CNSA_2_0: Profile = Profile {
    name: "cnsa-2.0",
    title: "NSA Commercial National Security Algorithm Suite 2.0",
    source: "https://media.defense.gov/2022/Sep/07/2003071836/-1/-1/0/CSI_CNSA_2.0_FAQ_.PDF",
    dated: "2024-12 (FAQ 2.1)",
    note: "AES-256, SHA-384, ML-KEM-1024, ML-DSA-87. Until 2033 the suite before it (RFC 9151: P-384, 3072 bits) \
               counts as legacy, not_post_quantum; all else is weak.",
    ciphers: &["aes"],
    groups: Some(&[SECP384R1, 0x0101, 0x0102, 0x0103, 0x0104, MLKEM1024, SECP384R1_MLKEM1024]),
    dh_bits_min: 3072,
    rsa_bits_min: 3072,
    ec_bits_min: 384,
    weak: &[
        Fault::CbcSha1,
        Fault::Cbc,
        Fault::StaticRsa,
        Fault::NoForwardSecrecy,
        Fault::ShortTag,
        Fault::CipherNotAllowed,
        Fault::CipherKeyBelow256,
        Fault::HashBelowSha384,
        Fault::GroupNotAllowed,
        Fault::DsaKey,
    ],
    legacy: &[Fault::NotPostQuantum],
};
