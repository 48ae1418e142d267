//! Public keys and signature algorithms (RFC 3279, 4055, 5480, 5758, 8410, 9688, 9814, 9881).

use x509_parser::{
    asn1_rs::{Any, FromDer, Tag, oid},
    signature_algorithm::RsaSsaPssParams,
    x509::{AlgorithmIdentifier, SubjectPublicKeyInfo},
};

use super::{next, sequence};
use crate::model::certificate::{Key, Reason, Reasons, Signature};

/// Reads an encoded `SubjectPublicKeyInfo`.
pub(super) fn key(encoded: &[u8], reasons: &mut Reasons) -> Key {
    let Ok((_, info)) = SubjectPublicKeyInfo::from_der(encoded) else {
        reasons.add(Reason::KeyUnreadable);
        return Key::default();
    };
    let Some(kind) = named(KEYS, info.algorithm.algorithm.as_bytes()) else {
        reasons.add(Reason::KeyUnknown);
        return Key::default();
    };
    let parameters = info.algorithm.parameters.as_ref();
    let mut key = Key { kind: Some(kind), bits: fixed_bits(kind), curve: None };
    match kind {
        "rsa" | "rsa-pss" => key.bits = modulus_bits(&info.subject_public_key.data),
        "dsa" | "dh" => key.bits = parameters.and_then(prime_bits),
        "ec" => {
            let curve = parameters.filter(|any| any.tag() == Tag::Oid);
            let known = curve.and_then(|any| CURVES.iter().find(|(oid, ..)| *oid == any.data));
            key.curve = known.map(|row| row.1);
            key.bits = known.map(|row| row.2).or_else(|| parameters.and_then(field_bits));
            if known.is_none() {
                reasons.add(Reason::KeyUnknown);
            }
            return key;
        }
        _ => return key,
    }
    if key.bits.is_none() {
        reasons.add(Reason::KeyUnreadable);
    }
    key
}

/// Reads an encoded `AlgorithmIdentifier` of a signature; `None` if it is not known.
pub(super) fn signature(encoded: &[u8]) -> Option<Signature> {
    let (_, identifier) = AlgorithmIdentifier::from_der(encoded).ok()?;
    let oid = identifier.algorithm.as_bytes();
    if oid == RSASSA_PSS {
        let parameters = identifier.parameters.as_ref();
        let parameters = parameters.and_then(|any| RsaSsaPssParams::try_from(any).ok());
        let hash = parameters.and_then(|pss| named(HASHES, pss.hash_algorithm_oid().as_bytes()));
        return Some(Signature { algorithm: Some("rsassa-pss"), hash });
    }
    let (_, algorithm, hash) = SIGNATURES.iter().find(|(known, ..)| *known == oid)?;
    Some(Signature { algorithm: Some(algorithm), hash: *hash })
}

fn named(table: &[(&[u8], &'static str)], oid: &[u8]) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name)
}

/// Sizes that come with the name.
fn fixed_bits(kind: &str) -> Option<u32> {
    Some(match kind {
        "ed25519" | "x25519" | "gost-2001" | "gost-2012-256" => 256,
        "ed448" | "x448" => 456,
        "gost-2012-512" => 512,
        _ => return None,
    })
}

/// Size of the modulus of an `RSAPublicKey`.
fn modulus_bits(mut key: &[u8]) -> Option<u32> {
    let (mut body, _) = sequence(&mut key)?;
    integer_bits(&next(&mut body)?)
}

/// Size of the prime that begins the parameters of DSA and Diffie-Hellman.
fn prime_bits(parameters: &Any<'_>) -> Option<u32> {
    let mut body = parameters.data;
    (parameters.tag() == Tag::Sequence).then_some(())?;
    integer_bits(&next(&mut body)?)
}

/// Size of the prime field of a curve that is spelled out (RFC 3279 section 2.3.5): a version, then type and prime.
fn field_bits(parameters: &Any<'_>) -> Option<u32> {
    let mut body = parameters.data;
    (parameters.tag() == Tag::Sequence).then_some(())?;
    let _version = next(&mut body)?;
    let (mut field, _) = sequence(&mut body)?;
    let kind = next(&mut field)?;
    (kind.tag() == Tag::Oid && kind.data == PRIME_FIELD).then_some(())?;
    integer_bits(&next(&mut field)?)
}

/// Significant bits of a positive INTEGER. Counted here: x509-parser counts whole bytes less one.
fn integer_bits(any: &Any<'_>) -> Option<u32> {
    if any.tag() != Tag::Integer || any.data.first().is_none_or(|b| *b >= 0x80) {
        return None;
    }
    let zeros = any.data.iter().take_while(|b| **b == 0).count();
    let digits = any.data.get(zeros..)?;
    let bits = u32::try_from(digits.len()).ok()?.checked_mul(8)?;
    bits.checked_sub(digits.first()?.leading_zeros())
}

const PRIME_FIELD: &[u8] = &oid!(raw 1.2.840.10045.1.1);
const RSASSA_PSS: &[u8] = &oid!(raw 1.2.840.113549.1.1.10);

const KEYS: &[(&[u8], &str)] = &[
    (&oid!(raw 1.2.840.113549.1.1.1), "rsa"),
    (&oid!(raw 1.2.840.113549.1.1.10), "rsa-pss"),
    (&oid!(raw 1.2.840.10040.4.1), "dsa"),
    (&oid!(raw 1.2.840.10045.2.1), "ec"),
    (&oid!(raw 1.3.101.110), "x25519"),
    (&oid!(raw 1.3.101.111), "x448"),
    (&oid!(raw 1.3.101.112), "ed25519"),
    (&oid!(raw 1.3.101.113), "ed448"),
    (&oid!(raw 2.16.840.1.101.3.4.3.17), "ml-dsa-44"),
    (&oid!(raw 2.16.840.1.101.3.4.3.18), "ml-dsa-65"),
    (&oid!(raw 2.16.840.1.101.3.4.3.19), "ml-dsa-87"),
    (&oid!(raw 2.16.840.1.101.3.4.3.20), "slh-dsa-sha2-128s"),
    (&oid!(raw 2.16.840.1.101.3.4.3.21), "slh-dsa-sha2-128f"),
    (&oid!(raw 2.16.840.1.101.3.4.3.22), "slh-dsa-sha2-192s"),
    (&oid!(raw 2.16.840.1.101.3.4.3.23), "slh-dsa-sha2-192f"),
    (&oid!(raw 2.16.840.1.101.3.4.3.24), "slh-dsa-sha2-256s"),
    (&oid!(raw 2.16.840.1.101.3.4.3.25), "slh-dsa-sha2-256f"),
    (&oid!(raw 2.16.840.1.101.3.4.3.26), "slh-dsa-shake-128s"),
    (&oid!(raw 2.16.840.1.101.3.4.3.27), "slh-dsa-shake-128f"),
    (&oid!(raw 2.16.840.1.101.3.4.3.28), "slh-dsa-shake-192s"),
    (&oid!(raw 2.16.840.1.101.3.4.3.29), "slh-dsa-shake-192f"),
    (&oid!(raw 2.16.840.1.101.3.4.3.30), "slh-dsa-shake-256s"),
    (&oid!(raw 2.16.840.1.101.3.4.3.31), "slh-dsa-shake-256f"),
    (&oid!(raw 2.16.840.1.101.3.4.4.1), "ml-kem-512"),
    (&oid!(raw 2.16.840.1.101.3.4.4.2), "ml-kem-768"),
    (&oid!(raw 2.16.840.1.101.3.4.4.3), "ml-kem-1024"),
    (&oid!(raw 1.2.643.2.2.19), "gost-2001"),
    (&oid!(raw 1.2.643.7.1.1.1.1), "gost-2012-256"),
    (&oid!(raw 1.2.643.7.1.1.1.2), "gost-2012-512"),
    (&oid!(raw 1.2.840.10046.2.1), "dh"),
    (&oid!(raw 1.2.840.113549.1.3.1), "dh"),
];

/// Named curve, its name in the TLS registry, bits of its field.
const CURVES: &[(&[u8], &str, u32)] = &[
    (&oid!(raw 1.2.840.10045.3.1.1), "secp192r1", 192),
    (&oid!(raw 1.2.840.10045.3.1.7), "secp256r1", 256),
    (&oid!(raw 1.3.132.0.1), "sect163k1", 163),
    (&oid!(raw 1.3.132.0.2), "sect163r1", 163),
    (&oid!(raw 1.3.132.0.8), "secp160r1", 160),
    (&oid!(raw 1.3.132.0.9), "secp160k1", 160),
    (&oid!(raw 1.3.132.0.10), "secp256k1", 256),
    (&oid!(raw 1.3.132.0.15), "sect163r2", 163),
    (&oid!(raw 1.3.132.0.16), "sect283k1", 283),
    (&oid!(raw 1.3.132.0.17), "sect283r1", 283),
    (&oid!(raw 1.3.132.0.26), "sect233k1", 233),
    (&oid!(raw 1.3.132.0.27), "sect233r1", 233),
    (&oid!(raw 1.3.132.0.30), "secp160r2", 160),
    (&oid!(raw 1.3.132.0.31), "secp192k1", 192),
    (&oid!(raw 1.3.132.0.32), "secp224k1", 224),
    (&oid!(raw 1.3.132.0.33), "secp224r1", 224),
    (&oid!(raw 1.3.132.0.34), "secp384r1", 384),
    (&oid!(raw 1.3.132.0.35), "secp521r1", 521),
    (&oid!(raw 1.3.132.0.36), "sect409k1", 409),
    (&oid!(raw 1.3.132.0.37), "sect409r1", 409),
    (&oid!(raw 1.3.132.0.38), "sect571k1", 571),
    (&oid!(raw 1.3.132.0.39), "sect571r1", 571),
    (&oid!(raw 1.3.36.3.3.2.8.1.1.7), "brainpoolP256r1", 256),
    (&oid!(raw 1.3.36.3.3.2.8.1.1.11), "brainpoolP384r1", 384),
    (&oid!(raw 1.3.36.3.3.2.8.1.1.13), "brainpoolP512r1", 512),
    (&oid!(raw 1.2.156.10197.1.301), "curveSM2", 256),
];

const SIGNATURES: &[(&[u8], &str, Option<&str>)] = &[
    (&oid!(raw 1.2.840.113549.1.1.2), "md2WithRSAEncryption", Some("md2")),
    (&oid!(raw 1.2.840.113549.1.1.3), "md4WithRSAEncryption", Some("md4")),
    (&oid!(raw 1.2.840.113549.1.1.4), "md5WithRSAEncryption", Some("md5")),
    (&oid!(raw 1.2.840.113549.1.1.5), "sha1WithRSAEncryption", Some("sha1")),
    (&oid!(raw 1.2.840.113549.1.1.11), "sha256WithRSAEncryption", Some("sha256")),
    (&oid!(raw 1.2.840.113549.1.1.12), "sha384WithRSAEncryption", Some("sha384")),
    (&oid!(raw 1.2.840.113549.1.1.13), "sha512WithRSAEncryption", Some("sha512")),
    (&oid!(raw 1.2.840.113549.1.1.14), "sha224WithRSAEncryption", Some("sha224")),
    (&oid!(raw 1.3.14.3.2.3), "md5WithRSA", Some("md5")),
    (&oid!(raw 1.3.14.3.2.29), "sha1WithRSA", Some("sha1")),
    (&oid!(raw 1.3.14.3.2.27), "dsaWithSHA1", Some("sha1")),
    (&oid!(raw 1.2.840.10040.4.3), "dsa-with-SHA1", Some("sha1")),
    (&oid!(raw 2.16.840.1.101.3.4.3.1), "dsa-with-SHA224", Some("sha224")),
    (&oid!(raw 2.16.840.1.101.3.4.3.2), "dsa-with-SHA256", Some("sha256")),
    (&oid!(raw 2.16.840.1.101.3.4.3.3), "dsa-with-SHA384", Some("sha384")),
    (&oid!(raw 2.16.840.1.101.3.4.3.4), "dsa-with-SHA512", Some("sha512")),
    (&oid!(raw 1.2.840.10045.4.1), "ecdsa-with-SHA1", Some("sha1")),
    (&oid!(raw 1.2.840.10045.4.3.1), "ecdsa-with-SHA224", Some("sha224")),
    (&oid!(raw 1.2.840.10045.4.3.2), "ecdsa-with-SHA256", Some("sha256")),
    (&oid!(raw 1.2.840.10045.4.3.3), "ecdsa-with-SHA384", Some("sha384")),
    (&oid!(raw 1.2.840.10045.4.3.4), "ecdsa-with-SHA512", Some("sha512")),
    (&oid!(raw 2.16.840.1.101.3.4.3.9), "ecdsa-with-SHA3-224", Some("sha3-224")),
    (&oid!(raw 2.16.840.1.101.3.4.3.10), "ecdsa-with-SHA3-256", Some("sha3-256")),
    (&oid!(raw 2.16.840.1.101.3.4.3.11), "ecdsa-with-SHA3-384", Some("sha3-384")),
    (&oid!(raw 2.16.840.1.101.3.4.3.12), "ecdsa-with-SHA3-512", Some("sha3-512")),
    (&oid!(raw 2.16.840.1.101.3.4.3.13), "rsassa-pkcs1-v1-5-with-sha3-224", Some("sha3-224")),
    (&oid!(raw 2.16.840.1.101.3.4.3.14), "rsassa-pkcs1-v1-5-with-sha3-256", Some("sha3-256")),
    (&oid!(raw 2.16.840.1.101.3.4.3.15), "rsassa-pkcs1-v1-5-with-sha3-384", Some("sha3-384")),
    (&oid!(raw 2.16.840.1.101.3.4.3.16), "rsassa-pkcs1-v1-5-with-sha3-512", Some("sha3-512")),
    (&oid!(raw 1.3.101.112), "ed25519", None),
    (&oid!(raw 1.3.101.113), "ed448", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.17), "ml-dsa-44", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.18), "ml-dsa-65", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.19), "ml-dsa-87", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.20), "slh-dsa-sha2-128s", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.21), "slh-dsa-sha2-128f", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.22), "slh-dsa-sha2-192s", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.23), "slh-dsa-sha2-192f", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.24), "slh-dsa-sha2-256s", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.25), "slh-dsa-sha2-256f", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.26), "slh-dsa-shake-128s", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.27), "slh-dsa-shake-128f", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.28), "slh-dsa-shake-192s", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.29), "slh-dsa-shake-192f", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.30), "slh-dsa-shake-256s", None),
    (&oid!(raw 2.16.840.1.101.3.4.3.31), "slh-dsa-shake-256f", None),
    (&oid!(raw 1.2.643.2.2.3), "gost-2001-with-gost94", Some("gost94")),
    (&oid!(raw 1.2.643.7.1.1.3.2), "gost-2012-256-with-streebog-256", Some("streebog-256")),
    (&oid!(raw 1.2.643.7.1.1.3.3), "gost-2012-512-with-streebog-512", Some("streebog-512")),
    (&oid!(raw 1.2.156.10197.1.501), "sm2-with-sm3", Some("sm3")),
];

const HASHES: &[(&[u8], &str)] = &[
    (&oid!(raw 1.3.14.3.2.26), "sha1"),
    (&oid!(raw 2.16.840.1.101.3.4.2.1), "sha256"),
    (&oid!(raw 2.16.840.1.101.3.4.2.2), "sha384"),
    (&oid!(raw 2.16.840.1.101.3.4.2.3), "sha512"),
    (&oid!(raw 2.16.840.1.101.3.4.2.4), "sha224"),
    (&oid!(raw 2.16.840.1.101.3.4.2.7), "sha3-224"),
    (&oid!(raw 2.16.840.1.101.3.4.2.8), "sha3-256"),
    (&oid!(raw 2.16.840.1.101.3.4.2.9), "sha3-384"),
    (&oid!(raw 2.16.840.1.101.3.4.2.10), "sha3-512"),
];
