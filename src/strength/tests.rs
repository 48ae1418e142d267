//! What each profile says of the sessions one meets.

use std::sync::LazyLock;

use super::*;
use crate::model::certificate::{Key, Signature};

const V1_0: Option<TlsVersion> = Some(TlsVersion(0x0301));
const V1_2: Option<TlsVersion> = Some(TlsVersion(0x0303));
const V1_3: Option<TlsVersion> = Some(TlsVersion(0x0304));

fn profile(name: &str) -> &'static Profile {
    Profile::by_name(name).unwrap()
}

fn said(seen: &Observed<'_>, name: &str) -> String {
    let judgement = judge(seen, profile(name));
    let reasons: Vec<_> = judgement.reasons.iter().map(|fault| fault.name()).collect();
    format!("{}: {}", judgement.strength.map_or("-", Strength::name), reasons.join(" "))
}

/// A session of which all was seen that is in clear, without a fault but those of its suite, group and version.
fn session(version: Option<TlsVersion>, cipher: u16, group: u16) -> Observed<'static> {
    let hellos = hellos(version, cipher, group);
    if version.is_some_and(TlsVersion::is_1_3) {
        return hellos;
    }
    Observed {
        dh_bits: Some(4096),
        compression: Some(0),
        server_signature: Some(RSA_PKCS1_SHA384),
        chain: Some(&CHAIN),
        ..hellos
    }
}

/// A session of which no more was seen than version, suite and group.
fn hellos(version: Option<TlsVersion>, cipher: u16, group: u16) -> Observed<'static> {
    Observed { version, cipher: Some(cipher), group: Some(group), ..Observed::default() }
}

static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let links = vec![link("rsa", 4096, "sha384", false)];
    Chain { sent: 1, links, ..Chain::default() }
});
const RSA_PKCS1_SHA384: u16 = 0x0501;

#[test]
fn the_default_profile_tells_good_from_legacy_from_weak_from_none() {
    for (version, cipher, expected) in [
        (V1_3, 0x1301, "good: "),
        (V1_2, 0xc02f, "good: "),
        (V1_2, 0xc027, "good: "),
        (V1_3, 0x1303, "legacy: cipher_not_allowed"),
        (V1_2, 0xc013, "legacy: cbc_sha1"),
        (V1_2, 0x009c, "legacy: static_rsa no_forward_secrecy"),
        (V1_2, 0x002f, "legacy: cbc_sha1 static_rsa no_forward_secrecy"),
        (V1_2, 0x00a8, "legacy: no_forward_secrecy"),
        (V1_2, 0xc031, "legacy: no_forward_secrecy"),
        (V1_0, 0xc013, "weak: version_below_tls_1_2 cbc_sha1"),
        (V1_2, 0x0005, "weak: rc4 static_rsa no_forward_secrecy"),
        (V1_2, 0x000a, "weak: triple_des cbc_sha1 static_rsa no_forward_secrecy"),
        (V1_2, 0x0009, "weak: des cbc_sha1 static_rsa no_forward_secrecy"),
        (V1_2, 0x0003, "weak: export_cipher rc4 static_rsa no_forward_secrecy"),
        (V1_2, 0x006d, "weak: no_server_identity"),
        (V1_2, 0xc018, "weak: no_server_identity cbc_sha1"),
        (V1_2, 0x003b, "none: null_cipher static_rsa no_forward_secrecy"),
        (V1_2, 0xc006, "none: null_cipher"),
        (V1_3, 0xc0b4, "none: null_cipher"),
        (V1_3, 0xc0b5, "none: null_cipher"),
    ] {
        let seen = session(version, cipher, 0x0017);
        assert_eq!(said(&seen, "nist-800-52r2"), expected, "{cipher:04x}");
    }
}

#[test]
fn every_version_below_tls_1_2_is_weak_by_every_profile() {
    for version in [0x0002, 0x0300, 0x0301, 0x0302, 0x0100, 0xfeff] {
        for profile in PROFILES {
            let seen = session(Some(TlsVersion(version)), 0xc030, 0x0018);
            let judgement = judge(&seen, profile);
            assert_eq!(judgement.strength, Some(Strength::Weak), "{version:04x} {}", profile.name);
            assert!(judgement.reasons.contains(&Fault::VersionBelowTls12));
        }
    }
    for version in [0xfefd, 0xfefc, 0x7f1c] {
        let seen = session(Some(TlsVersion(version)), 0xc030, 0x0018);
        assert_eq!(judge(&seen, Profile::DEFAULT).strength, Some(Strength::Good), "{version:04x}");
    }
}

#[test]
fn profiles_differ_where_their_sources_do() {
    let chacha = session(V1_3, 0x1303, 0x001d);
    let x25519 = session(V1_3, 0x1301, 0x001d);
    let hybrid = session(V1_3, 0x1302, 0x11ec);
    let cnsa1 = session(V1_3, 0x1302, 0x0018);
    let cnsa2 = session(V1_3, 0x1302, 0x0202);
    let cbc = session(V1_2, 0xc028, 0x0018);
    let chacha_1_2 = session(V1_2, 0xcca8, 0x0017);
    let ccm = session(V1_3, 0x1304, 0x0017);
    let dhe = Observed { group: None, ..session(V1_2, 0x009f, 0) };
    let rsa = Observed { group: None, server_signature: None, ..session(V1_2, 0x009d, 0) };
    let rsa_sha256 = Observed { group: None, server_signature: None, ..session(V1_2, 0x009c, 0) };
    for (seen, profile, expected) in [
        (&chacha, "pci-4.0.1", "good: "),
        (&chacha, "mozilla-intermediate", "good: "),
        (&chacha, "aws-fsbp", "good: "),
        (&chacha, "fips", "weak: cipher_not_allowed group_not_allowed"),
        (&x25519, "fips", "weak: group_not_allowed"),
        (&hybrid, "fips", "good: "),
        (&hybrid, "mozilla-intermediate", "good: "),
        (&hybrid, "cnsa-2.0", "weak: group_not_allowed"),
        (&cnsa1, "cnsa-2.0", "legacy: not_post_quantum"),
        (&cnsa2, "cnsa-2.0", "good: "),
        (&cbc, "mozilla-intermediate", "legacy: cbc"),
        (&chacha, "nist-800-52r2", "legacy: cipher_not_allowed"),
        (
            &chacha,
            "cnsa-2.0",
            "weak: cipher_not_allowed hash_below_sha384 group_not_allowed not_post_quantum",
        ),
        (&cbc, "aws-fsbp", "legacy: cbc"),
        (&chacha_1_2, "aws-fsbp", "legacy: cipher_not_allowed"),
        (&chacha_1_2, "mozilla-intermediate", "good: "),
        (&chacha_1_2, "pci-4.0.1", "good: "),
        (&ccm, "aws-fsbp", "legacy: cipher_not_allowed"),
        (&ccm, "mozilla-intermediate", "legacy: cipher_not_allowed"),
        (&ccm, "nist-800-52r2", "good: "),
        (&dhe, "aws-fsbp", "legacy: cipher_not_allowed"),
        (&dhe, "mozilla-intermediate", "good: "),
        (&dhe, "cnsa-2.0", "legacy: not_post_quantum"),
        (&rsa, "cnsa-2.0", "legacy: static_rsa no_forward_secrecy not_post_quantum"),
        (&rsa, "fips", "weak: static_rsa no_forward_secrecy"),
        (
            &rsa_sha256,
            "cnsa-2.0",
            "weak: cipher_key_below_256 hash_below_sha384 static_rsa no_forward_secrecy not_post_quantum",
        ),
        (&cbc, "cnsa-2.0", "weak: cbc not_post_quantum"),
    ] {
        assert_eq!(said(seen, profile), expected, "{profile}");
    }
}

#[test]
fn sizes_of_the_key_exchange_are_measured_against_the_profile() {
    for (bits, name, expected) in [
        (1024, "nist-800-52r2", "weak: dh_too_small"),
        (2047, "nist-800-52r2", "weak: dh_too_small"),
        (2048, "nist-800-52r2", "good: "),
        (2048, "cnsa-2.0", "weak: dh_too_small not_post_quantum"),
        (3072, "cnsa-2.0", "legacy: not_post_quantum"),
    ] {
        let seen = Observed { group: None, dh_bits: Some(bits), ..session(V1_2, 0x009f, 0x0017) };
        assert_eq!(said(&seen, name), expected, "{bits}");
    }
}

#[test]
fn compression_and_signatures_of_the_key_exchange_count() {
    let good = session(V1_2, 0xc030, 0x0017);
    for (compression, signature, expected) in [
        (0, 0x0401, "good: "),
        (1, 0x0401, "weak: compression"),
        (0, 0x0201, "weak: signature_sha1"),
        (0, 0x0203, "weak: signature_sha1"),
        (0, 0x0101, "weak: signature_md5"),
        (0, 0x0804, "good: "),
    ] {
        let seen =
            Observed { compression: Some(compression), server_signature: Some(signature), ..good };
        assert_eq!(said(&seen, "nist-800-52r2"), expected);
    }
}

fn link(kind: &'static str, bits: u32, hash: &'static str, self_signed: bool) -> Link {
    Link {
        key: Key { kind: Some(kind), bits: Some(bits), curve: None },
        signature: Signature { algorithm: Some("any"), hash: Some(hash) },
        self_signed,
        ..Link::default()
    }
}

#[test]
fn every_link_of_the_chain_counts_but_not_the_signature_of_a_root_on_itself() {
    let good = link("rsa", 2048, "sha256", false);
    for (links, expected) in [
        (vec![good], "good: "),
        (vec![link("rsa", 1024, "sha256", false)], "weak: rsa_too_small"),
        (vec![good, link("rsa", 1024, "sha256", false)], "weak: rsa_too_small"),
        (vec![link("rsa", 2048, "sha1", true)], "weak: signature_sha1"),
        (vec![good, link("rsa", 2048, "md5", false)], "weak: signature_md5"),
        (vec![good, link("rsa", 4096, "sha1", true)], "good: "),
        (vec![link("ec", 192, "sha256", false)], "weak: ec_too_small"),
        (vec![link("dsa", 2048, "sha256", false)], "legacy: dsa_key"),
        (vec![link("ml-dsa-65", 0, "sha256", false)], "good: "),
    ] {
        let sent = u32::try_from(links.len()).unwrap();
        let chain = Chain { sent, links, ..Chain::default() };
        let seen = Observed { chain: Some(&chain), ..session(V1_2, 0xc02f, 0x0017) };
        assert_eq!(said(&seen, "nist-800-52r2"), expected);
        assert!(!judge(&seen, Profile::DEFAULT).unjudged.contains(&"certificate"));
    }
}

#[test]
fn what_is_hidden_is_not_judged_and_said() {
    let unjudged = |seen: &Observed<'_>| judge(seen, Profile::DEFAULT).unjudged;
    let full = session(V1_3, 0x1301, 0x001d);
    assert_eq!(unjudged(&full), ["server_signature", "certificate"]);
    assert_eq!(unjudged(&session(V1_2, 0xc02f, 0x0017)), [""; 0]);
    let anonymous = Observed { compression: Some(0), ..hellos(V1_2, 0xc018, 0x0017) };
    assert_eq!(unjudged(&anonymous), [""; 0]);
    let rsa = Observed { compression: Some(0), ..hellos(V1_2, 0x009c, 0x0017) };
    assert_eq!(unjudged(&rsa), ["certificate"]);
    let dhe = Observed {
        version: V1_2,
        cipher: Some(0x009e),
        compression: Some(0),
        ..Observed::default()
    };
    assert_eq!(unjudged(&dhe), ["dh_size", "server_signature", "certificate"]);
    let nothing = judge(&Observed::default(), Profile::DEFAULT);
    assert_eq!(nothing.strength, None);
    assert_eq!(nothing.unjudged, ["version", "compression", "cipher", "certificate"]);
    let unknown = judge(&session(V1_2, 0x0a0a, 0x0017), Profile::DEFAULT);
    assert_eq!(unknown.strength, None, "a suite nobody knows is not good");
    let old = judge(&Observed { version: V1_0, ..Observed::default() }, Profile::DEFAULT);
    assert_eq!(old.strength, Some(Strength::Weak), "one fault suffices");
}

#[test]
fn what_was_missed_up_to_tls_1_2_may_be_worse_so_only_weak_and_none_stand() {
    let legacy = session(V1_2, 0xc013, 0x0017);
    assert_eq!(said(&legacy, "nist-800-52r2"), "legacy: cbc_sha1");
    for (seen, expected) in [
        (Observed { chain: None, ..legacy }, "-: cbc_sha1"),
        (Observed { server_signature: None, ..legacy }, "-: cbc_sha1"),
        (Observed { compression: None, ..legacy }, "-: cbc_sha1"),
        (Observed { group: None, ..legacy }, "-: cbc_sha1"),
        (Observed { dh_bits: None, ..session(V1_2, 0x009f, 0x0017) }, "-: "),
        (hellos(V1_2, 0xc02f, 0x0017), "-: "),
        (hellos(V1_2, 0x0005, 0x0017), "weak: rc4 static_rsa no_forward_secrecy"),
        (hellos(V1_2, 0xc006, 0x0017), "none: null_cipher"),
        (Observed { resumed: true, ..hellos(V1_2, 0xc02f, 0x0017) }, "good: "),
        (hellos(V1_3, 0x1301, 0x001d), "good: "),
    ] {
        assert_eq!(said(&seen, "nist-800-52r2"), expected);
    }
}

#[test]
fn a_session_on_an_earlier_key_alone_has_no_forward_secrecy() {
    // Whether the key is that of a session or was agreed upon outside does not matter.
    for resumed in [true, false] {
        let psk = Observed {
            version: V1_3,
            cipher: Some(0x1301),
            psk_only: true,
            resumed,
            ..Observed::default()
        };
        assert_eq!(said(&psk, "nist-800-52r2"), "legacy: no_forward_secrecy");
    }
    let psk_dhe = Observed { resumed: true, ..session(V1_3, 0x1301, 0x001d) };
    assert_eq!(said(&psk_dhe, "nist-800-52r2"), "good: ");
}

#[test]
fn every_profile_is_complete() {
    for profile in PROFILES {
        assert!(profile.source.starts_with("https://"), "{}", profile.name);
        assert!(profile.dated.starts_with("20") && !profile.note.is_empty(), "{}", profile.name);
        let listed = profile.weak.iter().chain(profile.legacy);
        let twice = listed.filter(|f| Profile::ALWAYS_WEAK.contains(f)).count();
        assert_eq!(twice, 0, "{}", profile.name);
        assert!(profile.weak.iter().all(|f| !profile.legacy.contains(f)), "{}", profile.name);
        assert!(profile.note.contains("ChaCha20"), "{} says why", profile.name);
        for id in profile.suites.unwrap_or_default() {
            let suite = Suite::by_id(*id).unwrap();
            assert!(profile.ciphers.contains(&suite.family()) && !suite.is_broken(), "{id:04x}");
        }
    }
    assert_eq!(Profile::by_name("nist-800-52r2").unwrap().name, Profile::DEFAULT.name);
    assert!(Profile::by_name("nist").is_none());
}

#[test]
fn every_suite_that_can_be_negotiated_gets_a_verdict() {
    for id in 0..=u16::MAX {
        let Some(suite) = Suite::by_id(id) else { continue };
        let seen = session(V1_2, id, 0x0017);
        let judgement = judge(&seen, Profile::DEFAULT);
        let expected_none = suite.family() == "null";
        assert_eq!(judgement.strength == Some(Strength::None), expected_none, "{id:04x}");
        let anonymous = judgement.reasons.contains(&Fault::NoServerIdentity);
        assert!(!anonymous || judgement.strength >= Some(Strength::Weak), "{id:04x}");
    }
}
