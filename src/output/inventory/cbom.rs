//! The inventory as a Cryptography Bill of Materials: CycloneDX 1.6 JSON (<https://cyclonedx.org/docs/1.6/json/>).
//!
//! Each server is a service; what it negotiated are cryptographic assets that it depends on: a protocol for each version,
//! with its suites, their algorithms, the groups, and the certificates shown. Counts are properties under `cleartap:`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sha1::{Digest as _, Sha1};
use tls_parser::{TlsCipherEnc, TlsCipherEncMode, TlsCipherMac, TlsCipherSuite};

use super::{Inventory, Server, ServerKey, Shown};

impl Inventory {
    /// The bill of materials as one JSON object. The same inventory gives the same bytes, serial number included.
    pub fn cbom(&self) -> serde_json::Result<String> {
        let mut bill = Bill::default();
        self.servers.iter().for_each(|(key, server)| bill.server(key, server));
        let timestamp = self.now.map(|now| now.to_string());
        let mut whole = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "tools": { "components": [{
                    "type": "application",
                    "name": env!("CARGO_PKG_NAME"),
                    "version": env!("CARGO_PKG_VERSION"),
                }] },
                "lifecycles": [{ "phase": "operations" }],
                "properties": [
                    property("cleartap:flows_not_listed", &self.flows_not_listed),
                    property("cleartap:certificates_not_listed", &self.certificates_not_listed),
                ],
            },
            "components": bill.components.into_values().collect::<Vec<_>>(),
            "services": bill.services,
            "dependencies": bill.dependencies,
        });
        if let (Some(time), Some(metadata)) = (timestamp, whole.pointer_mut("/metadata")) {
            insert(metadata, "timestamp", json!(time));
        }
        let serial = serial_number(&serde_json::to_vec(&whole)?);
        insert(&mut whole, "serialNumber", json!(serial));
        serde_json::to_string_pretty(&whole)
    }
}

#[derive(Default)]
struct Bill {
    /// By `bom-ref`.
    components: BTreeMap<String, Value>,
    services: Vec<Value>,
    dependencies: Vec<Value>,
}

impl Bill {
    fn server(&mut self, key: &ServerKey, server: &Server) {
        let endpoint = std::net::SocketAddr::new(key.address, key.port);
        let name = key.sni.as_ref().map_or_else(|| endpoint.to_string(), ToString::to_string);
        let service = format!("service:{}/{name}@{endpoint}", key.scope);
        let mut needs = BTreeSet::new();
        for version in server.versions.keys() {
            needs.insert(self.protocol(&service, version, server));
        }
        for group in server.groups.keys() {
            needs.insert(self.group(group));
        }
        for (fingerprint, shown) in &server.certificates {
            needs.insert(self.certificate(fingerprint, shown));
        }
        self.services.push(json!({
            "bom-ref": service,
            "name": name,
            "endpoints": [format!("tls://{endpoint}")],
            "trustZone": key.scope,
            "properties": properties(server),
        }));
        self.depend(&service, &needs);
    }

    /// One version spoken by a server, with the suites it chose.
    fn protocol(&mut self, service: &str, version: &str, server: &Server) -> String {
        let reference = format!("protocol:{version}/{service}");
        let mut needs = BTreeSet::new();
        let mut suites = Vec::new();
        for (_, cipher) in server.suites.iter().filter(|(v, _)| *v == version) {
            let Some(suite) = TlsCipherSuite::from_name(cipher) else {
                suites.push(json!({ "name": cipher }));
                continue;
            };
            let algorithms = self.algorithms(suite);
            let [high, low] = suite.id.0.to_be_bytes();
            suites.push(json!({
                "name": cipher,
                "identifiers": [format!("0x{high:02X}"), format!("0x{low:02X}")],
                "algorithms": algorithms,
            }));
            needs.extend(algorithms);
        }
        let number = version.trim_start_matches(|c: char| !c.is_ascii_digit());
        let component = json!({
            "type": "cryptographic-asset",
            "bom-ref": reference,
            "name": version,
            "cryptoProperties": {
                "assetType": "protocol",
                "protocolProperties": { "type": "tls", "version": number, "cipherSuites": suites },
            },
        });
        self.components.insert(reference.clone(), component);
        self.depend(&reference, &needs);
        reference
    }

    /// The algorithms of a suite: its cipher, and its MAC where the cipher does not authenticate.
    fn algorithms(&mut self, suite: &TlsCipherSuite) -> Vec<String> {
        let mut list = Vec::new();
        if let Some(cipher) = cipher(suite) {
            list.push(self.algorithm(cipher));
        }
        if let Some(mac) = mac(suite) {
            list.push(self.algorithm(mac));
        }
        list
    }

    fn group(&mut self, name: &str) -> String {
        self.algorithm(group(name))
    }

    fn algorithm(&mut self, algorithm: Algorithm) -> String {
        let reference = format!("algorithm:{}", algorithm.name);
        let mut about = json!({ "primitive": algorithm.primitive });
        let optional = [
            ("parameterSetIdentifier", algorithm.parameter.map(Value::from)),
            ("curve", algorithm.curve.map(Value::from)),
            ("mode", algorithm.mode.map(Value::from)),
            ("classicalSecurityLevel", algorithm.classical_bits.map(Value::from)),
            ("nistQuantumSecurityLevel", algorithm.quantum_level.map(Value::from)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                insert(&mut about, name, value);
            }
        }
        let component = json!({
            "type": "cryptographic-asset",
            "bom-ref": reference,
            "name": algorithm.name,
            "cryptoProperties": { "assetType": "algorithm", "algorithmProperties": about },
        });
        self.components.insert(reference.clone(), component);
        reference
    }

    fn certificate(&mut self, fingerprint: &str, shown: &Shown) -> String {
        let reference = format!("certificate:{fingerprint}");
        let certificate = &shown.certificate;
        let mut about = json!({ "certificateFormat": "X.509" });
        let optional = [
            ("subjectName", certificate.subject.as_ref().map(|name| json!(name))),
            ("issuerName", certificate.issuer.as_ref().map(|name| json!(name))),
            ("notValidBefore", certificate.not_before.as_ref().map(|time| json!(time))),
            ("notValidAfter", certificate.not_after.as_ref().map(|time| json!(time))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                insert(&mut about, name, value);
            }
        }
        if let Some(name) = certificate.signature_algorithm {
            let signature = self.algorithm(Algorithm::new(name.to_owned(), "signature"));
            insert(&mut about, "signatureAlgorithmRef", json!(signature));
        }
        if let Some(kind) = certificate.key_type {
            insert(
                &mut about,
                "subjectPublicKeyRef",
                json!(self.key(fingerprint, kind, certificate.key_bits)),
            );
        }
        let name = certificate
            .subject
            .as_ref()
            .map_or_else(|| fingerprint.to_owned(), ToString::to_string);
        let component = json!({
            "type": "cryptographic-asset",
            "bom-ref": reference,
            "name": name,
            "hashes": [{ "alg": "SHA-256", "content": fingerprint }],
            "cryptoProperties": { "assetType": "certificate", "certificateProperties": about },
        });
        self.components.insert(reference.clone(), component);
        reference
    }

    fn key(&mut self, fingerprint: &str, kind: &str, bits: Option<u32>) -> String {
        let reference = format!("key:{fingerprint}");
        let algorithm = self.algorithm(Algorithm::new(kind.to_owned(), "signature"));
        let mut about = json!({ "type": "public-key", "algorithmRef": algorithm });
        if let Some(bits) = bits {
            insert(&mut about, "size", json!(bits));
        }
        let component = json!({
            "type": "cryptographic-asset",
            "bom-ref": reference,
            "name": kind,
            "cryptoProperties": {
                "assetType": "related-crypto-material",
                "relatedCryptoMaterialProperties": about,
            },
        });
        self.components.insert(reference.clone(), component);
        reference
    }

    fn depend(&mut self, reference: &str, needs: &BTreeSet<String>) {
        self.dependencies.push(json!({ "ref": reference, "dependsOn": needs }));
    }
}

/// What CycloneDX tells of an algorithm; absent where it does not apply or is not settled.
struct Algorithm {
    name: String,
    primitive: &'static str,
    parameter: Option<String>,
    curve: Option<String>,
    mode: Option<&'static str>,
    classical_bits: Option<u16>,
    /// NIST category 1 to 5; 0: none.
    quantum_level: Option<u8>,
}

impl Algorithm {
    const fn new(name: String, primitive: &'static str) -> Self {
        let (parameter, curve, mode, classical_bits, quantum_level) =
            (None, None, None, None, None);
        Self { name, primitive, parameter, curve, mode, classical_bits, quantum_level }
    }
}

fn cipher(suite: &TlsCipherSuite) -> Option<Algorithm> {
    let name = match suite.enc {
        TlsCipherEnc::Null => return None,
        TlsCipherEnc::Des => "DES",
        TlsCipherEnc::TripleDes => "3DES",
        TlsCipherEnc::Rc2 => "RC2",
        TlsCipherEnc::Rc4 => "RC4",
        TlsCipherEnc::Aria => "ARIA",
        TlsCipherEnc::Idea => "IDEA",
        TlsCipherEnc::Seed => "SEED",
        TlsCipherEnc::Aes => "AES",
        TlsCipherEnc::Camellia => "Camellia",
        TlsCipherEnc::Chacha20_Poly1305 => "ChaCha20-Poly1305",
        TlsCipherEnc::Sm4 => "SM4",
        TlsCipherEnc::Aegis => "AEGIS",
    };
    let (mode, primitive) = match suite.enc_mode {
        TlsCipherEncMode::Gcm => (Some("gcm"), "ae"),
        TlsCipherEncMode::Ccm => (Some("ccm"), "ae"),
        TlsCipherEncMode::Cbc => (Some("cbc"), "block-cipher"),
        TlsCipherEncMode::Null if suite.enc == TlsCipherEnc::Rc4 => (None, "stream-cipher"),
        TlsCipherEncMode::Null => (None, "ae"),
    };
    let bits = suite.enc_size;
    let spelt = match mode {
        Some(mode) => format!("{name}-{bits}-{}", mode.to_uppercase()),
        None if suite.enc == TlsCipherEnc::Rc4 => format!("{name}-{bits}"),
        None => name.to_owned(),
    };
    // NIST's categories are defined by key search on AES (FIPS 203 appendix A).
    let quantum_level = match (suite.enc, bits) {
        (TlsCipherEnc::Aes, 128) => Some(1),
        (TlsCipherEnc::Aes, 192) => Some(3),
        (TlsCipherEnc::Aes, 256) => Some(5),
        _ => None,
    };
    Some(Algorithm {
        parameter: Some(bits.to_string()),
        mode,
        quantum_level,
        ..Algorithm::new(spelt, primitive)
    })
}

fn mac(suite: &TlsCipherSuite) -> Option<Algorithm> {
    let name = match suite.mac {
        TlsCipherMac::Null | TlsCipherMac::Aead => return None,
        TlsCipherMac::HmacMd5 => "HMAC-MD5",
        TlsCipherMac::HmacSha1 => "HMAC-SHA1",
        TlsCipherMac::HmacSha256 => "HMAC-SHA256",
        TlsCipherMac::HmacSha384 => "HMAC-SHA384",
        TlsCipherMac::HmacSha512 => "HMAC-SHA512",
    };
    Some(Algorithm::new(name.to_owned(), "mac"))
}

/// A named group: key agreement on a curve or in a finite field, ML-KEM, or both combined.
fn group(name: &str) -> Algorithm {
    let kem = ["512", "768", "1024"].into_iter().zip([1, 3, 5]).find(|(size, _)| {
        (name.contains("MLKEM") || name.contains("Kyber")) && name.contains(size)
    });
    if let Some((size, level)) = kem {
        let alone = name.starts_with("MLKEM");
        return Algorithm {
            parameter: Some(size.to_owned()),
            quantum_level: Some(level),
            ..Algorithm::new(name.to_owned(), if alone { "kem" } else { "combiner" })
        };
    }
    let field = name.strip_prefix("ffdhe");
    Algorithm {
        parameter: field.map(str::to_owned),
        curve: field.is_none().then(|| name.to_owned()),
        // Shor's algorithm solves both kinds of discrete logarithm.
        quantum_level: Some(0),
        ..Algorithm::new(name.to_owned(), "key-agree")
    }
}

fn properties(server: &Server) -> Vec<Value> {
    let mut list = vec![
        property("cleartap:flows", &server.flows),
        property("cleartap:certificate_unknown_flows", &server.certificate_unknown),
        property("cleartap:pq_flows", &server.pq.yes),
        property("cleartap:pq_offered_flows", &server.pq_offered.yes),
    ];
    let maps = [
        ("cleartap:app", &server.apps),
        ("cleartap:outcome", &server.outcomes),
        ("cleartap:version_offered", &server.versions_offered),
        ("cleartap:strength", &server.strength),
        ("cleartap:strength_reason", &server.strength_reasons),
    ];
    for (name, values) in maps {
        list.extend(
            values.iter().map(|(value, flows)| property(name, &format!("{value}={flows}"))),
        );
    }
    list
}

fn property(name: &str, value: &dyn ToString) -> Value {
    json!({ "name": name, "value": value.to_string() })
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        let _before: Option<Value> = Map::insert(object, name.to_owned(), value);
    }
}

/// A UUID made of the content (RFC 9562 section 5.8, version 8).
fn serial_number(content: &[u8]) -> String {
    let digest = Sha1::digest(content);
    let mut bytes = [0_u8; 16];
    for (byte, from) in bytes.iter_mut().zip(digest) {
        *byte = from;
    }
    let number = u128::from_be_bytes(bytes);
    let version = number & !(0xf << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{version:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}
