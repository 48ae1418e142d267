//! Certificates in a record.

use serde::Serialize;

use crate::model::{
    Name, Timestamp,
    certificate::{AltName, Certificate, Chain, Link, NameMatch, Reason, UtcTime, Validity},
    tls::TlsFacts,
};

/// What the certificates of a session say; null is "not visible" (TLS 1.3 hides them), never "no".
#[derive(Clone, Debug, Serialize)]
pub struct CertificatesRecord {
    /// Day the server's certificate ends, `YYYY-MM-DD`.
    pub cert_not_after: Option<String>,
    /// The server's certificate.
    pub certificate: Option<Box<CertificateRecord>>,
    /// The client's certificate.
    pub client_certificate: Option<Box<ClientCertificateRecord>>,
}

impl CertificatesRecord {
    /// The certificates of a session, as judged at `now`.
    pub fn new(facts: &TlsFacts, now: Timestamp) -> Self {
        let server = facts.certificates.as_deref();
        let end = server.and_then(|chain| chain.leaf.as_ref()?.not_after);
        let sni = facts.sni.as_ref();
        let client = facts.client_certificates.as_deref();
        Self {
            cert_not_after: end.map(UtcTime::date),
            certificate: server.and_then(|c| CertificateRecord::new(c, sni, now)).map(Box::new),
            client_certificate: client
                .and_then(|c| ClientCertificateRecord::new(c, now))
                .map(Box::new),
        }
    }
}

/// A server's certificate; null is "not readable", never "no".
#[derive(Clone, Debug, Serialize)]
pub struct CertificateRecord {
    /// Subject, RFC 4514.
    pub subject: Option<Name>,
    /// Issuer, RFC 4514.
    pub issuer: Option<Name>,
    /// Subject alternative names: DNS names and addresses.
    pub san: Vec<String>,
    /// How many of those were sent.
    pub san_count: u32,
    /// Serial number in hexadecimal.
    pub serial: Option<String>,
    /// First moment of validity.
    pub not_before: Option<String>,
    /// Last moment of validity.
    pub not_after: Option<String>,
    /// Type of the public key.
    pub key_type: Option<&'static str>,
    /// Its size.
    pub key_bits: Option<u32>,
    /// Its named curve.
    pub key_curve: Option<&'static str>,
    /// Algorithm of the issuer's signature.
    pub signature_algorithm: Option<&'static str>,
    /// Subject and issuer are the same.
    pub self_signed: Option<bool>,
    /// It is a certificate authority's.
    pub ca: Option<bool>,
    /// SHA-256 of the certificate.
    pub fingerprint_sha256: Option<String>,
    /// Certificates sent.
    pub chain_length: u32,
    /// Whether they lead to a root.
    pub chain_complete: Option<bool>,
    /// Earliest end of validity in the chain.
    pub chain_not_after: Option<String>,
    /// Smallest RSA key in the chain.
    pub chain_rsa_bits_min: Option<u32>,
    /// Its end had passed.
    pub expired: Option<bool>,
    /// Its beginning had not come.
    pub not_yet_valid: Option<bool>,
    /// Whole days until it ends.
    pub days_left: Option<i64>,
    /// It names the server the client asked for.
    pub name_covers_sni: Option<bool>,
    /// By what: `san` or `common_name`.
    pub name_covered_by: Option<&'static str>,
    /// Authority of Amazon RDS.
    pub rds_ca: Option<RdsCaRecord>,
    /// What was odd or unreadable.
    pub reasons: Vec<&'static str>,
}

/// An authority of Amazon RDS.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RdsCaRecord {
    /// Identifier in the RDS API.
    pub id: &'static str,
    /// Day its root expires.
    pub expires: Option<&'static str>,
    /// RDS renews server certificates by itself.
    pub rotates_server_certificates: bool,
}

/// A client's certificate, without its subject: where it logs in to a database that is the user's name.
#[derive(Clone, Debug, Serialize)]
pub struct ClientCertificateRecord {
    /// Issuer, RFC 4514.
    pub issuer: Option<Name>,
    /// Last moment of validity.
    pub not_after: Option<String>,
    /// Type of the public key.
    pub key_type: Option<&'static str>,
    /// Its size.
    pub key_bits: Option<u32>,
    /// SHA-256 of the certificate.
    pub fingerprint_sha256: Option<String>,
    /// Certificates sent.
    pub chain_length: u32,
    /// Its end had passed.
    pub expired: Option<bool>,
    /// Whole days until it ends.
    pub days_left: Option<i64>,
    /// What was odd or unreadable.
    pub reasons: Vec<&'static str>,
}

impl CertificateRecord {
    /// The server's `chain` as judged at `now`, for a client that asked for `sni`; `None` if it holds no certificate. One that
    /// cannot be read leaves its reasons.
    pub fn new(chain: &Chain, sni: Option<&Name>, now: Timestamp) -> Option<Self> {
        let leaf = leaf(chain)?;
        let validity = leaf.validity(now);
        let covered = sni.and_then(|name| chain.covers(name.as_str()));
        let rsa = |link: &Link| link.key.bits.filter(|_| link.key.kind == Some("rsa"));
        Some(Self {
            san: leaf.san.iter().map(AltName::to_string).collect(),
            san_count: leaf.san_sent,
            not_before: leaf.not_before.map(|t| t.to_string()),
            not_after: leaf.not_after.map(|t| t.to_string()),
            key_type: leaf.key.kind,
            key_bits: leaf.key.bits,
            key_curve: leaf.key.curve,
            signature_algorithm: leaf.signature.algorithm,
            self_signed: leaf.self_signed,
            ca: leaf.ca,
            fingerprint_sha256: fingerprint(chain),
            chain_length: chain.sent,
            chain_complete: chain.complete,
            chain_not_after: earliest(chain).map(|t| t.to_string()),
            chain_rsa_bits_min: chain.links.iter().filter_map(rsa).min(),
            expired: validity.map(|v| v == Validity::Expired),
            not_yet_valid: validity.map(|v| v == Validity::NotYetValid),
            days_left: leaf.days_left(now),
            name_covers_sni: covered.map(|by| by != NameMatch::No),
            name_covered_by: match covered {
                Some(NameMatch::AltName) => Some("san"),
                Some(NameMatch::CommonName) => Some("common_name"),
                Some(NameMatch::No) | None => None,
            },
            rds_ca: chain.rds_ca.map(|ca| RdsCaRecord {
                id: ca.id,
                expires: ca.expires,
                rotates_server_certificates: ca.rotates_server_certificates,
            }),
            reasons: chain.reasons.names().collect(),
            subject: leaf.subject,
            issuer: leaf.issuer,
            serial: leaf.serial,
        })
    }
}

impl ClientCertificateRecord {
    /// The client's `chain` as judged at `now`.
    pub fn new(chain: &Chain, now: Timestamp) -> Option<Self> {
        let leaf = leaf(chain)?;
        Some(Self {
            not_after: leaf.not_after.map(|t| t.to_string()),
            key_type: leaf.key.kind,
            key_bits: leaf.key.bits,
            fingerprint_sha256: fingerprint(chain),
            chain_length: chain.sent,
            expired: leaf.validity(now).map(|v| v == Validity::Expired),
            days_left: leaf.days_left(now),
            reasons: chain.reasons.names().collect(),
            issuer: leaf.issuer,
        })
    }
}

/// The peer's certificate, empty if it cannot be read; `None` if none was given.
fn leaf(chain: &Chain) -> Option<Certificate> {
    let given = chain.leaf.is_some() || !chain.reasons.has(Reason::NoCertificate);
    given.then(|| chain.leaf.clone().unwrap_or_default())
}

fn fingerprint(chain: &Chain) -> Option<String> {
    Some(hex::encode(chain.leaf.as_ref()?.fingerprint_sha256))
}

/// When the first certificate of the chain ends; `None` if that cannot be told of one of them.
fn earliest(chain: &Chain) -> Option<UtcTime> {
    let all_read = usize::try_from(chain.sent).is_ok_and(|sent| sent == chain.links.len());
    let ends: Option<Vec<_>> = chain.links.iter().map(|link| link.not_after).collect();
    ends.filter(|_| all_read)?.into_iter().min()
}
