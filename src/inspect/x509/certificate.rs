//! One certificate.

use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::{Any, Class, Tag};

use super::{
    algorithms, date,
    extensions::Extensions,
    name::{self, Text},
    next, sequence,
};
use crate::model::certificate::{
    Certificate, Link, Reason, Reasons, SERIAL_BYTES_MAX, Signature, UtcTime,
};

/// What is kept of a certificate while its chain is read. Where the structure is not that of a certificate, all is empty.
#[derive(Default)]
pub(super) struct Parsed<'a> {
    /// The facts; only of the first certificate.
    pub(super) facts: Option<Certificate>,
    /// What the chain depends on.
    pub(super) link: Link,
    /// Subject as encoded.
    subject: Option<&'a [u8]>,
    /// Issuer as encoded.
    pub(super) issuer: Option<&'a [u8]>,
    /// Most specific common name of the issuer.
    pub(super) issuer_name: Option<String>,
    key_id: Option<&'a [u8]>,
    issuer_key_id: Option<&'a [u8]>,
}

/// The fields of a `TBSCertificate`, each as encoded.
struct Fields<'a> {
    serial: Any<'a>,
    signature: &'a [u8],
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
    key: &'a [u8],
    extensions: Option<&'a [u8]>,
    algorithm: &'a [u8],
}

impl<'a> Parsed<'a> {
    /// Reads a certificate; `leaf`: with all its facts.
    pub(super) fn read(der: &'a [u8], leaf: bool, reasons: &mut Reasons) -> Self {
        let mut rest = der;
        let fields = sequence(&mut rest)
            .and_then(|(body, whole)| Some((Fields::read(body, reasons)?, whole)));
        let Some((fields, whole)) = fields else {
            reasons.add(Reason::NotX509);
            return Self::default();
        };
        if !rest.is_empty() {
            reasons.add(Reason::TrailingBytes);
        }
        let mut parsed =
            Self { subject: Some(fields.subject), issuer: Some(fields.issuer), ..Self::default() };
        let issuer = name::read(fields.issuer, reasons).unwrap_or_else(|| {
            reasons.add(Reason::IssuerUnreadable);
            Text::default()
        });
        let extensions = fields
            .extensions
            .map_or_else(Extensions::default, |bytes| Extensions::read(bytes, leaf, reasons));
        (parsed.key_id, parsed.issuer_key_id) = (extensions.key_id, extensions.issuer_key_id);
        let [not_before, not_after] = validity(fields.validity, reasons);
        parsed.link = Link {
            not_after,
            key: algorithms::key(fields.key, reasons),
            signature: signature(&fields, reasons),
            self_signed: parsed.is_self_signed(),
            issued_by_next: false,
        };
        if issuer.is_empty {
            reasons.add(Reason::IssuerEmpty);
        }
        if leaf {
            parsed.facts = Some(Certificate {
                issuer: issuer.rendered,
                serial: serial(&fields.serial, reasons),
                not_before,
                not_after,
                key: parsed.link.key,
                signature: parsed.link.signature,
                self_signed: (!issuer.is_empty).then_some(parsed.link.self_signed),
                ca: extensions.ca,
                fingerprint_sha256: Sha256::digest(whole).into(),
                san: extensions.san,
                san_sent: extensions.san_sent,
                ..subject(fields.subject, reasons)
            });
        }
        parsed.issuer_name = issuer.common_name;
        parsed
    }

    /// Whether `other`'s subject is this one's issuer, and their key identifiers (if any) agree.
    pub(super) fn is_issued_by(&self, other: &Parsed<'_>) -> bool {
        self.issuer.is_some()
            && self.issuer == other.subject
            && agree(self.issuer_key_id, other.key_id)
    }

    fn is_self_signed(&self) -> bool {
        // An empty name (a SEQUENCE of nothing) identifies nobody.
        self.issuer.is_some_and(|name| name.len() > 2)
            && self.issuer == self.subject
            && agree(self.issuer_key_id, self.key_id)
    }
}

/// Key identifiers are optional; two that are given must be the same.
fn agree(one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    one.is_none() || other.is_none() || one == other
}

impl<'a> Fields<'a> {
    /// RFC 5280 section 4.1.
    fn read(mut certificate: &'a [u8], reasons: &mut Reasons) -> Option<Self> {
        let (mut tbs, _) = sequence(&mut certificate)?;
        let (_, algorithm) = sequence(&mut certificate)?;
        next(&mut certificate).filter(|any| any.tag() == Tag::BitString)?;
        if !certificate.is_empty() {
            reasons.add(Reason::TrailingBytes);
        }
        let mut serial = next(&mut tbs)?;
        if is_tagged(&serial, 0) {
            serial = next(&mut tbs)?;
        }
        let (_, signature) = sequence(&mut tbs)?;
        let (_, issuer) = sequence(&mut tbs)?;
        let (validity, _) = sequence(&mut tbs)?;
        let (_, subject) = sequence(&mut tbs)?;
        let (_, key) = sequence(&mut tbs)?;
        let mut extensions = None;
        while !tbs.is_empty() {
            let Some(any) = next(&mut tbs) else {
                reasons.add(Reason::ExtensionsUnreadable);
                break;
            };
            match any.tag().0 {
                _ if any.class() != Class::ContextSpecific => reasons.add(Reason::TrailingBytes),
                1 | 2 => {}
                3 => extensions = Some(any.data),
                _ => reasons.add(Reason::TrailingBytes),
            }
        }
        Some(Self { serial, signature, issuer, validity, subject, key, extensions, algorithm })
    }
}

fn is_tagged(any: &Any<'_>, tag: u32) -> bool {
    any.class() == Class::ContextSpecific && any.tag().0 == tag
}

fn subject(encoded: &[u8], reasons: &mut Reasons) -> Certificate {
    let Some(text) = name::read(encoded, reasons) else {
        reasons.add(Reason::SubjectUnreadable);
        return Certificate::default();
    };
    Certificate {
        subject: text.rendered,
        common_name: text.common_name.map(|name| crate::model::Name::from_wire(name.as_bytes())),
        ..Certificate::default()
    }
}

/// Section 4.1.2.2: a positive integer of at most 20 bytes.
fn serial(any: &Any<'_>, reasons: &mut Reasons) -> Option<String> {
    if any.class() != Class::Universal || any.tag() != Tag::Integer || any.data.is_empty() {
        reasons.add(Reason::SerialOdd);
        return None;
    }
    let digits = match any.data {
        [0, digits @ ..] if !digits.is_empty() => digits,
        digits => digits,
    };
    if any.data.first().is_some_and(|b| *b >= 0x80) || digits.iter().all(|b| *b == 0) {
        reasons.add(Reason::SerialOdd);
    }
    if digits.len() > 20 {
        reasons.add(Reason::SerialTooLong);
    }
    let digits = digits.get(..SERIAL_BYTES_MAX).unwrap_or(digits);
    Some(hex::encode_upper(digits))
}

/// Section 4.1.2.5.
fn validity(mut body: &[u8], reasons: &mut Reasons) -> [Option<UtcTime>; 2] {
    let dates = [date::read(&mut body, reasons), date::read(&mut body, reasons)];
    if let [Some(begin), Some(end)] = dates
        && end < begin
    {
        reasons.add(Reason::ValidityReversed);
    }
    if dates[1] == Some(UtcTime::NO_END) {
        reasons.add(Reason::NoExpiry);
    }
    dates
}

fn signature(fields: &Fields<'_>, reasons: &mut Reasons) -> Signature {
    if fields.signature != fields.algorithm {
        reasons.add(Reason::SignatureAlgorithmsDiffer);
        return Signature::default();
    }
    algorithms::signature(fields.algorithm).unwrap_or_else(|| {
        reasons.add(Reason::SignatureUnknown);
        Signature::default()
    })
}
