//! What a passive observer can know of the certificates a peer sent in clear (TLS 1.2 and before).
//!
//! Signatures are not verified: that needs the whole public-key arithmetic and a trust store, and neither belongs into a
//! sensor. `self_signed` and `complete` rest on names and key identifiers alone.

mod judge;
mod rds;

use std::{fmt, net::IpAddr};

pub use judge::{NameMatch, Validity};
pub use rds::RdsCa;

use super::{Timestamp, name::Name, time::civil};

/// Most certificates of one chain that are read; the rest is only counted.
pub const CHAIN_CERTIFICATES_MAX: usize = 16;
/// Most bytes of a Certificate message that are read.
pub const CHAIN_BYTES_MAX: usize = 64 << 10;
/// Most subject alternative names kept; the rest is only counted.
pub const SAN_NAMES_MAX: usize = 100;
/// Most bytes of subject alternative names kept.
pub const SAN_BYTES_MAX: usize = 8 << 10;
/// Most bytes of a serial number kept (RFC 5280 section 4.1.2.2 allows 20).
pub const SERIAL_BYTES_MAX: usize = 32;

/// A Certificate message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Certificates on the wire; those beyond [`CHAIN_CERTIFICATES_MAX`] are counted but not read.
    pub sent: u32,
    /// Size of the message body in bytes.
    pub bytes: u32,
    /// The peer's own certificate: the first one.
    pub leaf: Option<Certificate>,
    /// Every certificate that was read, in the order sent, the peer's own one first.
    pub links: Vec<Link>,
    /// Whether the links lead from the peer's certificate to a self-signed one or to the name of a root we know;
    /// `None` when the last issuer is not known to us: a root may be left out (RFC 5246 section 7.4.2).
    pub complete: Option<bool>,
    /// The Amazon RDS certificate authority it hangs from.
    pub rds_ca: Option<RdsCa>,
    /// What was odd or could not be read.
    pub reasons: Reasons,
}

impl Chain {
    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        let leaf = self.leaf.as_ref().map_or(0, Certificate::heap_bytes);
        let links = self.links.capacity().saturating_mul(size_of::<Link>());
        size_of::<Self>().saturating_add(leaf).saturating_add(links)
    }
}

/// The facts of one certificate; `None` is "not readable", and then [`Chain::reasons`] says why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Subject, RFC 4514, allow-listed attributes only.
    pub subject: Option<Name>,
    /// Issuer, likewise.
    pub issuer: Option<Name>,
    /// Most specific common name of the subject.
    pub common_name: Option<Name>,
    /// DNS names and addresses of the subject alternative name.
    pub san: Vec<AltName>,
    /// How many of those were sent.
    pub san_sent: u32,
    /// Serial number in upper-case hexadecimal, as sent.
    pub serial: Option<String>,
    /// First moment of validity.
    pub not_before: Option<UtcTime>,
    /// Last moment of validity.
    pub not_after: Option<UtcTime>,
    /// Public key.
    pub key: Key,
    /// Algorithm of the issuer's signature.
    pub signature: Signature,
    /// Subject and issuer are the same name, and their key identifiers (if any) agree.
    pub self_signed: Option<bool>,
    /// Basic constraints name it a certificate authority.
    pub ca: Option<bool>,
    /// SHA-256 of the certificate as sent.
    pub fingerprint_sha256: [u8; 32],
}

impl Certificate {
    fn heap_bytes(&self) -> usize {
        let names = [&self.subject, &self.issuer, &self.common_name];
        let names = names.into_iter().flatten().map(|name| name.as_str().len());
        let dns = self.san.iter().map(|name| match name {
            AltName::Dns(name) => name.as_str().len(),
            AltName::Ip(_) => 0,
        });
        let serial = self.serial.as_ref().map_or(0, String::len);
        let table = self.san.capacity().saturating_mul(size_of::<AltName>());
        names.chain(dns).fold(serial.saturating_add(table), usize::saturating_add)
    }
}

/// A subject alternative name of the kinds that name a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AltName {
    /// `dNSName`.
    Dns(Name),
    /// `iPAddress`.
    Ip(IpAddr),
}

impl fmt::Display for AltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => name.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// A public key; `None` where it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// `rsa`, `rsa-pss`, `dsa`, `ec`, `ed25519`, `ml-dsa-65`, ...
    pub kind: Option<&'static str>,
    /// Size: of the modulus, of the prime, of the curve's field.
    pub bits: Option<u32>,
    /// Named curve, as the TLS registry spells it.
    pub curve: Option<&'static str>,
}

/// A signature algorithm; `None` where it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Name as its standard spells it: `sha256WithRSAEncryption`, `ecdsa-with-SHA384`, ...
    pub algorithm: Option<&'static str>,
    /// Hash: `sha1`, `sha256`, ...; `None` too where the algorithm has its own.
    pub hash: Option<&'static str>,
}

/// One certificate of a chain, as far as strength and expiry of the chain depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Last moment of validity.
    pub not_after: Option<UtcTime>,
    /// Public key.
    pub key: Key,
    /// Algorithm of the issuer's signature.
    pub signature: Signature,
    /// Subject and issuer are the same.
    pub self_signed: bool,
    /// Its issuer is the subject of the next one sent.
    pub issued_by_next: bool,
}

/// Seconds since the Unix epoch, as certificates have them: years 0 to 9999 (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime(pub i64);

impl UtcTime {
    /// `99991231235959Z`: no well-defined end (RFC 5280 section 4.1.2.5).
    pub const NO_END: Self = Self(253_402_300_799);

    /// The second of a packet.
    pub fn of(packet: Timestamp) -> Self {
        Self(i64::try_from(packet.seconds()).unwrap_or(i64::MAX))
    }

    /// `2026-11-23`.
    pub fn date(self) -> String {
        let (year, month, day) = civil(self.0.div_euclid(SECONDS_PER_DAY));
        format!("{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for UtcTime {
    /// RFC 3339 in UTC: `2026-11-23T13:30:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.0.rem_euclid(SECONDS_PER_DAY);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{}T{h:02}:{m:02}:{s:02}Z", self.date())
    }
}

/// Seconds in a day.
const SECONDS_PER_DAY: i64 = 86_400;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What was odd about a chain, or could not be read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order of records.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in records.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// The list of certificates is empty: no certificate was given.
    NoCertificate = "no_certificate",
    /// The message is longer than is read.
    MessageTooLong = "message_too_long",
    /// More certificates than are read.
    TooManyCertificates = "too_many_certificates",
    /// The length of the list is not the rest of the message.
    ListLengthWrong = "list_length_wrong",
    /// A certificate claims more bytes than there are.
    CertificateCut = "certificate_cut",
    /// The outer structure of a certificate is not that of RFC 5280.
    NotX509 = "not_x509",
    /// Bytes after the end of a certificate or within one of its structures.
    TrailingBytes = "trailing_bytes",
    /// The subject cannot be read.
    SubjectUnreadable = "subject_unreadable",
    /// The issuer cannot be read.
    IssuerUnreadable = "issuer_unreadable",
    /// The issuer has no attribute at all.
    IssuerEmpty = "issuer_empty",
    /// Attributes that are not on our list were left out of subject or issuer.
    NameAttributesLeftOut = "name_attributes_left_out",
    /// A name holds bytes that are not text of its declared type.
    NameNotText = "name_not_text",
    /// A name was longer than is kept.
    NameCut = "name_cut",
    /// The serial number is missing, negative or zero.
    SerialOdd = "serial_odd",
    /// The serial number is longer than RFC 5280 allows.
    SerialTooLong = "serial_too_long",
    /// A date cannot be read: no such day, no time zone, not a date.
    DateUnreadable = "date_unreadable",
    /// A date is not written as RFC 5280 demands, but can be read.
    DateNotCanonical = "date_not_canonical",
    /// A date is before 1970.
    DateBefore1970 = "date_before_1970",
    /// The certificate has no well-defined end (`99991231235959Z`).
    NoExpiry = "no_expiry",
    /// It ends before it begins.
    ValidityReversed = "validity_reversed",
    /// The public key cannot be read.
    KeyUnreadable = "key_unreadable",
    /// The type of the public key or its curve is not known.
    KeyUnknown = "key_unknown",
    /// The algorithm of the signature is not known.
    SignatureUnknown = "signature_unknown",
    /// The two places that name the algorithm of the signature differ.
    SignatureAlgorithmsDiffer = "signature_algorithms_differ",
    /// The extensions, or one that is needed, cannot be read.
    ExtensionsUnreadable = "extensions_unreadable",
    /// More alternative names than are kept.
    SanCut = "san_cut",
    /// An alternative name that is no DNS name or address by its bytes.
    SanOdd = "san_odd",
    /// A certificate is not issued by the next one sent, though its issuer is among them.
    OrderOdd = "order_odd",
    /// A certificate's issuer is not among those sent, though others follow.
    ChainBroken = "chain_broken",
}

/// A set of [`Reason`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u32);

impl Reasons {
    /// Adds one.
    pub const fn add(&mut self, reason: Reason) {
        self.0 |= 1 << reason as u32;
    }

    /// Whether `reason` is in the set.
    pub const fn has(self, reason: Reason) -> bool {
        self.0 >> reason as u32 & 1 == 1
    }

    /// Whether nothing was odd.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names in records, in fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Reason::ALL.iter().filter(move |reason| self.has(**reason)).map(|reason| reason.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_printed_from_year_0_to_9999() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (-631_152_000, "1950-01-01T00:00:00Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_294_967_296, "2106-02-07T06:28:16Z"),
            (UtcTime::NO_END.0, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(UtcTime(seconds).to_string(), text);
        }
        assert_eq!(UtcTime(951_782_400).date(), "2000-02-29");
    }

    #[test]
    fn every_reason_fits_the_set_and_has_its_own_name() {
        let mut all = Reasons::default();
        for reason in Reason::ALL {
            assert!(!all.has(*reason));
            all.add(*reason);
        }
        let mut names: Vec<_> = all.names().collect();
        assert_eq!(names.len(), Reason::ALL.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
