//! IANA names of TLS code points: <https://www.iana.org/assignments/tls-parameters>.

use tls_parser::{TlsCipherEnc, TlsCipherSuite};

use crate::model::tls::KeyExchange;

/// Name of a cipher kind of `SSLv2`, as its specification has it.
pub const fn sslv2_cipher_name(kind: u32) -> Option<&'static str> {
    Some(match kind {
        0x01_0080 => "SSL_CK_RC4_128_WITH_MD5",
        0x02_0080 => "SSL_CK_RC4_128_EXPORT40_WITH_MD5",
        0x03_0080 => "SSL_CK_RC2_128_CBC_WITH_MD5",
        0x04_0080 => "SSL_CK_RC2_128_CBC_EXPORT40_WITH_MD5",
        0x05_0080 => "SSL_CK_IDEA_128_CBC_WITH_MD5",
        0x06_0040 => "SSL_CK_DES_64_CBC_WITH_MD5",
        0x07_00c0 => "SSL_CK_DES_192_EDE3_CBC_WITH_MD5",
        _ => return None,
    })
}

/// IANA name of a cipher suite.
pub fn cipher_name(id: u16) -> Option<&'static str> {
    TlsCipherSuite::from_id(id).map(|suite| suite.name).or_else(|| named(OTHER_SUITES, id))
}

/// Whether records under this suite are readable by anyone. RFC 9150's suites of TLS 1.3 only protect integrity.
pub fn is_null_cipher(id: u16) -> bool {
    TlsCipherSuite::from_id(id)
        .is_some_and(|suite| suite.enc == TlsCipherEnc::Null && !SIGNALLING.contains(&id))
}

/// IANA name of a key exchange group.
pub fn group_name(id: u16) -> Option<&'static str> {
    named(GROUPS, id)
}

/// How a cipher suite up to TLS 1.2 agrees on a key, by its name; `None` in TLS 1.3, whose suites leave it open.
pub fn key_exchange(cipher: u16) -> Option<KeyExchange> {
    let (method, _) = cipher_name(cipher)?.strip_prefix("TLS_")?.split_once("_WITH_")?;
    let method = method.split("_EXPORT").next()?;
    Some(match method {
        "NULL" => KeyExchange::Null,
        "RSA" => KeyExchange::Rsa,
        "DH_DSS" | "DH_RSA" => KeyExchange::Dh,
        "DHE_DSS" | "DHE_RSA" => KeyExchange::Dhe,
        "DH_anon" => KeyExchange::DhAnon,
        "ECDH_ECDSA" | "ECDH_RSA" => KeyExchange::Ecdh,
        "ECDHE_ECDSA" | "ECDHE_RSA" => KeyExchange::Ecdhe,
        "ECDH_anon" => KeyExchange::EcdhAnon,
        "PSK" => KeyExchange::Psk,
        "RSA_PSK" => KeyExchange::RsaPsk,
        "DHE_PSK" | "PSK_DHE" => KeyExchange::DhePsk,
        "ECDHE_PSK" => KeyExchange::EcdhePsk,
        "KRB5" => KeyExchange::Krb5,
        "SRP_SHA" | "SRP_SHA_DSS" | "SRP_SHA_RSA" => KeyExchange::Srp,
        "ECCPWD" => KeyExchange::Eccpwd,
        "ECJPAKE" => KeyExchange::Ecjpake,
        "GOSTR341112_256" => KeyExchange::Gost,
        _ => return None,
    })
}

/// How a `ServerHello` of TLS 1.3 agrees on a key: by its group, if any, and a pre-shared key.
pub(super) const fn key_exchange_1_3(group: Option<u16>, psk: bool) -> Option<KeyExchange> {
    let Some(group) = group else {
        return if psk { Some(KeyExchange::Psk) } else { None };
    };
    Some(match (group, psk) {
        (0x0100..=0x01ff, false) => KeyExchange::Dhe,
        (0x0100..=0x01ff, true) => KeyExchange::DhePsk,
        (0x0200..=0x0202, false) => KeyExchange::Mlkem,
        (0x0200..=0x0202, true) => KeyExchange::MlkemPsk,
        (0x11eb..=0x11ee, false) => KeyExchange::EcdheMlkem,
        (0x11eb..=0x11ee, true) => KeyExchange::EcdheMlkemPsk,
        (0x6399 | 0x639a, false) => KeyExchange::EcdheKyber,
        (0x6399 | 0x639a, true) => KeyExchange::EcdheKyberPsk,
        (1..=41, false) => KeyExchange::Ecdhe,
        (1..=41, true) => KeyExchange::EcdhePsk,
        _ => return None,
    })
}

/// IANA name of a signature scheme; those of the pairs that TLS 1.2 began with follow the same pattern.
pub fn signature_name(id: u16) -> Option<&'static str> {
    named(SIGNATURES, id)
}

/// IANA name of a compression method.
pub fn compression_name(id: u8) -> Option<&'static str> {
    named(COMPRESSIONS, id)
}

/// IANA name of an alert.
pub fn alert_name(description: u8) -> Option<&'static str> {
    named(ALERTS, description)
}

fn named<K: PartialEq + Copy>(table: &[(K, &'static str)], key: K) -> Option<&'static str> {
    table.iter().find(|(k, _)| *k == key).map(|(_, name)| *name)
}

/// `TLS_EMPTY_RENEGOTIATION_INFO_SCSV` and `TLS_FALLBACK_SCSV`: signals, never negotiated.
const SIGNALLING: [u16; 2] = [0x00ff, 0x5600];

/// RFC 9189, RFC 9367 and Thread's EC J-PAKE, which tls-parser's table does not have.
const OTHER_SUITES: &[(u16, &str)] = &[
    (0xc100, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC"),
    (0xc101, "TLS_GOSTR341112_256_WITH_MAGMA_CTR_OMAC"),
    (0xc102, "TLS_GOSTR341112_256_WITH_28147_CNT_IMIT"),
    (0xc103, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_MGM_L"),
    (0xc104, "TLS_GOSTR341112_256_WITH_MAGMA_MGM_L"),
    (0xc105, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_MGM_S"),
    (0xc106, "TLS_GOSTR341112_256_WITH_MAGMA_MGM_S"),
    (0xc0ff, "TLS_ECJPAKE_WITH_AES_128_CCM_8"),
];

const GROUPS: &[(u16, &str)] = &[
    (1, "sect163k1"),
    (2, "sect163r1"),
    (3, "sect163r2"),
    (4, "sect193r1"),
    (5, "sect193r2"),
    (6, "sect233k1"),
    (7, "sect233r1"),
    (8, "sect239k1"),
    (9, "sect283k1"),
    (10, "sect283r1"),
    (11, "sect409k1"),
    (12, "sect409r1"),
    (13, "sect571k1"),
    (14, "sect571r1"),
    (15, "secp160k1"),
    (16, "secp160r1"),
    (17, "secp160r2"),
    (18, "secp192k1"),
    (19, "secp192r1"),
    (20, "secp224k1"),
    (21, "secp224r1"),
    (22, "secp256k1"),
    (23, "secp256r1"),
    (24, "secp384r1"),
    (25, "secp521r1"),
    (26, "brainpoolP256r1"),
    (27, "brainpoolP384r1"),
    (28, "brainpoolP512r1"),
    (29, "x25519"),
    (30, "x448"),
    (31, "brainpoolP256r1tls13"),
    (32, "brainpoolP384r1tls13"),
    (33, "brainpoolP512r1tls13"),
    (34, "GC256A"),
    (35, "GC256B"),
    (36, "GC256C"),
    (37, "GC256D"),
    (38, "GC512A"),
    (39, "GC512B"),
    (40, "GC512C"),
    (41, "curveSM2"),
    (0x0100, "ffdhe2048"),
    (0x0101, "ffdhe3072"),
    (0x0102, "ffdhe4096"),
    (0x0103, "ffdhe6144"),
    (0x0104, "ffdhe8192"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
    (0x11ee, "curveSM2MLKEM768"),
    (0x6399, "X25519Kyber768Draft00"),
    (0x639a, "SecP256r1Kyber768Draft00"),
    (0xff01, "arbitrary_explicit_prime_curves"),
    (0xff02, "arbitrary_explicit_char2_curves"),
];

/// RFC 3749, RFC 3943.
const COMPRESSIONS: &[(u8, &str)] = &[(0, "NULL"), (1, "DEFLATE"), (64, "LZS")];

const SIGNATURES: &[(u16, &str)] = &[
    (0x0101, "rsa_pkcs1_md5"),
    (0x0102, "dsa_md5"),
    (0x0103, "ecdsa_md5"),
    (0x0201, "rsa_pkcs1_sha1"),
    (0x0202, "dsa_sha1"),
    (0x0203, "ecdsa_sha1"),
    (0x0301, "rsa_pkcs1_sha224"),
    (0x0302, "dsa_sha224"),
    (0x0303, "ecdsa_sha224"),
    (0x0401, "rsa_pkcs1_sha256"),
    (0x0402, "dsa_sha256"),
    (0x0403, "ecdsa_secp256r1_sha256"),
    (0x0420, "rsa_pkcs1_sha256_legacy"),
    (0x0501, "rsa_pkcs1_sha384"),
    (0x0502, "dsa_sha384"),
    (0x0503, "ecdsa_secp384r1_sha384"),
    (0x0520, "rsa_pkcs1_sha384_legacy"),
    (0x0601, "rsa_pkcs1_sha512"),
    (0x0602, "dsa_sha512"),
    (0x0603, "ecdsa_secp521r1_sha512"),
    (0x0620, "rsa_pkcs1_sha512_legacy"),
    (0x0704, "eccsi_sha256"),
    (0x0705, "iso_ibs1"),
    (0x0706, "iso_ibs2"),
    (0x0707, "iso_chinese_ibs"),
    (0x0708, "sm2sig_sm3"),
    (0x0709, "gostr34102012_256a"),
    (0x070a, "gostr34102012_256b"),
    (0x070b, "gostr34102012_256c"),
    (0x070c, "gostr34102012_256d"),
    (0x070d, "gostr34102012_512a"),
    (0x070e, "gostr34102012_512b"),
    (0x070f, "gostr34102012_512c"),
    (0x0804, "rsa_pss_rsae_sha256"),
    (0x0805, "rsa_pss_rsae_sha384"),
    (0x0806, "rsa_pss_rsae_sha512"),
    (0x0807, "ed25519"),
    (0x0808, "ed448"),
    (0x0809, "rsa_pss_pss_sha256"),
    (0x080a, "rsa_pss_pss_sha384"),
    (0x080b, "rsa_pss_pss_sha512"),
    (0x081a, "ecdsa_brainpoolP256r1tls13_sha256"),
    (0x081b, "ecdsa_brainpoolP384r1tls13_sha384"),
    (0x081c, "ecdsa_brainpoolP512r1tls13_sha512"),
    (0x0904, "mldsa44"),
    (0x0905, "mldsa65"),
    (0x0906, "mldsa87"),
];

const ALERTS: &[(u8, &str)] = &[
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (21, "decryption_failed"),
    (22, "record_overflow"),
    (30, "decompression_failure"),
    (40, "handshake_failure"),
    (41, "no_certificate"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (52, "too_many_cids_requested"),
    (60, "export_restriction"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (90, "user_canceled"),
    (100, "no_renegotiation"),
    (109, "missing_extension"),
    (110, "unsupported_extension"),
    (111, "certificate_unobtainable"),
    (112, "unrecognized_name"),
    (113, "bad_certificate_status_response"),
    (114, "bad_certificate_hash_value"),
    (115, "unknown_psk_identity"),
    (116, "certificate_required"),
    (117, "general_error"),
    (120, "no_application_protocol"),
    (121, "ech_required"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tls::is_post_quantum;

    #[test]
    fn names_are_those_of_iana() {
        for (id, name) in [
            (0x0005, "TLS_RSA_WITH_RC4_128_SHA"),
            (0x1301, "TLS_AES_128_GCM_SHA256"),
            (0x1305, "TLS_AES_128_CCM_8_SHA256"),
            (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
            (0xc0b4, "TLS_SHA256_SHA256"),
            (0xc100, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC"),
        ] {
            assert_eq!(cipher_name(id), Some(name));
        }
        assert_eq!(cipher_name(0x0a0a), None);
        assert_eq!(group_name(0x11ec), Some("X25519MLKEM768"));
        assert_eq!(group_name(0x0a0a), None);
        assert_eq!(alert_name(40), Some("handshake_failure"));
        assert_eq!(alert_name(1), None);
    }

    #[test]
    fn tables_are_sorted_and_without_duplicates() {
        assert!(GROUPS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(ALERTS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(SIGNATURES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn every_suite_up_to_tls_1_2_names_its_key_exchange() {
        for id in 0..=u16::MAX {
            let named = cipher_name(id).is_some_and(|name| name.contains("_WITH_"));
            assert_eq!(key_exchange(id).is_some(), named, "{id:04x}");
        }
        for (id, method) in [
            (0x0003, "RSA"),
            (0x0018, "DH_anon"),
            (0x002d, "DHE_PSK"),
            (0x0033, "DHE"),
            (0x00ac, "RSA_PSK"),
            (0xc004, "ECDH"),
            (0xc018, "ECDH_anon"),
            (0xc02f, "ECDHE"),
            (0xc0aa, "DHE_PSK"),
        ] {
            assert_eq!(key_exchange(id).map(KeyExchange::name), Some(method), "{id:04x}");
        }
    }

    #[test]
    fn every_group_names_its_key_exchange() {
        for (id, name) in GROUPS.iter().filter(|(id, _)| *id < 0xff00) {
            let pure = key_exchange_1_3(Some(*id), false).unwrap().name();
            let psk = key_exchange_1_3(Some(*id), true).unwrap().name();
            assert_eq!(psk, format!("{pure}_PSK"), "{name}");
            assert_eq!(pure.contains("MLKEM") || pure.contains("KYBER"), is_post_quantum(*id));
        }
    }

    #[test]
    fn null_suites_are_all_found_and_nothing_else() {
        let found: Vec<u16> = (0..=u16::MAX).filter(|id| is_null_cipher(*id)).collect();
        let expected = [
            0x0000, 0x0001, 0x0002, 0x002c, 0x002d, 0x002e, 0x003b, 0x00b0, 0x00b1, 0x00b4, 0x00b5,
            0x00b8, 0x00b9, 0xc001, 0xc006, 0xc00b, 0xc010, 0xc015, 0xc039, 0xc03a, 0xc03b, 0xc0b4,
            0xc0b5,
        ];
        assert_eq!(found, expected);
    }
}
