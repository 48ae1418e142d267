//! The extensions that matter here (RFC 5280 section 4.2.1): alternative names, basic constraints, key identifiers.

use x509_parser::{
    asn1_rs::{Any, Class, FromDer, Tag, oid},
    extensions::{AuthorityKeyIdentifier, BasicConstraints},
};

use super::{next, sequence};
use crate::model::{
    Name,
    certificate::{AltName, Reason, Reasons, SAN_BYTES_MAX, SAN_NAMES_MAX},
};

/// What the extensions say.
pub(super) struct Extensions<'a> {
    pub(super) san: Vec<AltName>,
    pub(super) san_sent: u32,
    san_bytes: usize,
    pub(super) ca: Option<bool>,
    pub(super) key_id: Option<&'a [u8]>,
    pub(super) issuer_key_id: Option<&'a [u8]>,
}

impl Default for Extensions<'_> {
    /// No extension: no alternative name, no authority.
    fn default() -> Self {
        Self {
            san: Vec::new(),
            san_sent: 0,
            san_bytes: 0,
            ca: Some(false),
            key_id: None,
            issuer_key_id: None,
        }
    }
}

impl<'a> Extensions<'a> {
    /// Reads the content of `[3]`; `names`: also the alternative names.
    pub(super) fn read(mut bytes: &'a [u8], names: bool, reasons: &mut Reasons) -> Self {
        let mut found = Self::default();
        let list = sequence(&mut bytes).filter(|_| bytes.is_empty());
        let Some((mut list, _)) = list else {
            reasons.add(Reason::ExtensionsUnreadable);
            found.ca = None;
            return found;
        };
        while !list.is_empty() {
            let Some((id, value)) = extension(&mut list) else {
                reasons.add(Reason::ExtensionsUnreadable);
                break;
            };
            if found.take(id, value, names, reasons).is_none() {
                reasons.add(Reason::ExtensionsUnreadable);
            }
        }
        found
    }

    /// Takes one extension; `None` if it cannot be read.
    fn take(
        &mut self,
        id: &[u8],
        value: &'a [u8],
        names: bool,
        reasons: &mut Reasons,
    ) -> Option<()> {
        match id {
            SUBJECT_ALT_NAME if names => self.names(value, reasons)?,
            BASIC_CONSTRAINTS => {
                self.ca = BasicConstraints::from_der(value).ok().map(|(_, basic)| basic.ca);
                self.ca?;
            }
            SUBJECT_KEY_ID => {
                let mut value = value;
                let any = next(&mut value).filter(|any| any.tag() == Tag::OctetString)?;
                self.key_id = Some(any.data);
            }
            AUTHORITY_KEY_ID => {
                let (_, authority) = AuthorityKeyIdentifier::from_der(value).ok()?;
                self.issuer_key_id = authority.key_identifier.map(|id| id.0);
            }
            _ => {}
        }
        Some(())
    }

    /// Section 4.2.1.6.
    fn names(&mut self, mut value: &[u8], reasons: &mut Reasons) -> Option<()> {
        let (mut names, _) = sequence(&mut value)?;
        while !names.is_empty() {
            let any = next(&mut names)?;
            let Some(name) = alt_name(&any, reasons) else { continue };
            self.san_sent = self.san_sent.saturating_add(1);
            let room = SAN_BYTES_MAX.saturating_sub(self.san_bytes);
            if self.san.len() < SAN_NAMES_MAX && any.data.len() <= room {
                self.san_bytes = self.san_bytes.saturating_add(any.data.len());
                self.san.push(name);
            } else {
                reasons.add(Reason::SanCut);
            }
        }
        Some(())
    }
}

/// A name of the kinds that name a server; `None` for the others, and for what is none by its bytes.
fn alt_name(any: &Any<'_>, reasons: &mut Reasons) -> Option<AltName> {
    if any.class() != Class::ContextSpecific {
        reasons.add(Reason::SanOdd);
        return None;
    }
    match any.tag().0 {
        DNS_NAME => {
            // RFC 1035 section 2.3.4: 255 bytes with their lengths.
            let fits =
                (1..=253).contains(&any.data.len()) && any.data.iter().all(u8::is_ascii_graphic);
            if !fits {
                reasons.add(Reason::SanOdd);
            }
            Some(AltName::Dns(Name::from_wire(any.data)))
        }
        IP_ADDRESS => {
            let v4 = <[u8; 4]>::try_from(any.data).map(|ip| AltName::Ip(ip.into()));
            let v6 = || <[u8; 16]>::try_from(any.data).map(|ip| AltName::Ip(ip.into()));
            let ip = v4.or_else(|_| v6()).ok();
            if ip.is_none() {
                reasons.add(Reason::SanOdd);
            }
            ip
        }
        _ => None,
    }
}

/// The next extension: its identifier and value.
fn extension<'a>(list: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (mut body, _) = sequence(list)?;
    let id = next(&mut body).filter(|any| any.tag() == Tag::Oid)?;
    let mut value = next(&mut body)?;
    if value.tag() == Tag::Boolean {
        value = next(&mut body)?;
    }
    (value.tag() == Tag::OctetString).then_some((id.data, value.data))
}

/// `dNSName` of a `GeneralName`.
const DNS_NAME: u32 = 2;
/// `iPAddress` of a `GeneralName`.
const IP_ADDRESS: u32 = 7;

const SUBJECT_KEY_ID: &[u8] = &oid!(raw 2.5.29.14);
const SUBJECT_ALT_NAME: &[u8] = &oid!(raw 2.5.29.17);
const BASIC_CONSTRAINTS: &[u8] = &oid!(raw 2.5.29.19);
const AUTHORITY_KEY_ID: &[u8] = &oid!(raw 2.5.29.35);
