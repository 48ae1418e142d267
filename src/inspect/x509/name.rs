//! Distinguished names as RFC 4514 strings, in ASCII: attributes that say who answers for a server, nothing personal.

use x509_parser::{
    asn1_rs::{FromDer, Tag, oid},
    x509::AttributeTypeAndValue,
};

use super::{next, sequence};
use crate::model::{
    Name,
    certificate::{Reason, Reasons},
    name::NAME_BYTES_MAX,
};

/// A name as text.
#[derive(Default)]
pub(super) struct Text {
    /// RFC 4514, escaped and cut.
    pub(super) rendered: Option<Name>,
    /// Most specific common name.
    pub(super) common_name: Option<String>,
    /// There is no attribute at all.
    pub(super) is_empty: bool,
}

/// Reads an encoded name; `None` if it cannot be read wholly. (x509-parser's own reader of whole names stops silently at
/// the first part it cannot read.)
pub(super) fn read(mut encoded: &[u8], reasons: &mut Reasons) -> Option<Text> {
    let (mut rest, _) = sequence(&mut encoded)?;
    let mut text = Text { is_empty: rest.is_empty(), ..Text::default() };
    let mut rdns = Vec::new();
    while !rest.is_empty() {
        rdns.push(next(&mut rest).filter(|any| any.tag() == Tag::Set)?.data);
    }
    let mut out = String::new();
    // RFC 4514 section 2.1: the last one first.
    for mut rdn in rdns.into_iter().rev() {
        let mut separator = ",";
        while !rdn.is_empty() {
            let (rest, attribute) = AttributeTypeAndValue::from_der(rdn).ok()?;
            rdn = rest;
            let Some(key) = keyword(attribute.attr_type().as_bytes()) else {
                reasons.add(Reason::NameAttributesLeftOut);
                continue;
            };
            let value = value(&attribute, reasons);
            if key == "CN" && text.common_name.is_none() {
                text.common_name = value.as_deref().ok().map(str::to_owned);
            }
            if !push(&mut out, separator, key, &value) {
                reasons.add(Reason::NameCut);
            }
            separator = "+";
        }
    }
    text.rendered = Some(Name::from_escaped(out));
    Some(text)
}

/// RFC 4514 section 3; what is not here may name a person.
fn keyword(oid: &[u8]) -> Option<&'static str> {
    KEYWORDS.iter().find(|(known, _)| *known == oid).map(|(_, key)| *key)
}

/// The text of an attribute, or its bytes where they are not text of the declared type.
fn value(attribute: &AttributeTypeAndValue<'_>, reasons: &mut Reasons) -> Result<String, Vec<u8>> {
    let any = attribute.attr_value();
    // Longer than any name that is kept, and no more: the rest would be cut.
    let bytes = any.data.get(..VALUE_BYTES_MAX).unwrap_or(any.data);
    let text = match any.tag() {
        Tag::Utf8String => utf8(bytes, any.data.len()),
        Tag::PrintableString | Tag::NumericString | Tag::Ia5String | Tag::VisibleString => {
            bytes.is_ascii().then(|| bytes.iter().copied().map(char::from).collect())
        }
        // In practice Latin-1.
        Tag::T61String => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString => {
            let (pairs, odd) = bytes.as_chunks::<2>();
            let units = pairs.iter().copied().map(u16::from_be_bytes);
            odd.is_empty()
                .then(|| char::decode_utf16(units).collect::<Result<_, _>>().ok())
                .flatten()
        }
        Tag::UniversalString => {
            let (quads, odd) = bytes.as_chunks::<4>();
            let chars = quads.iter().copied().map(|quad| char::from_u32(u32::from_be_bytes(quad)));
            odd.is_empty().then(|| chars.collect()).flatten()
        }
        _ => None,
    };
    text.ok_or_else(|| {
        reasons.add(Reason::NameNotText);
        bytes.to_vec()
    })
}

/// UTF-8; the last character may be cut where the value was.
fn utf8(bytes: &[u8], whole: usize) -> Option<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if error.error_len().is_none() && bytes.len() < whole => {
            let valid = bytes.get(..error.valid_up_to())?;
            std::str::from_utf8(valid).ok().map(str::to_owned)
        }
        Err(_) => None,
    }
}

/// Appends `key=value` as far as there is room; returns whether all of it had room.
fn push(out: &mut String, separator: &str, key: &str, value: &Result<String, Vec<u8>>) -> bool {
    let separator = if out.is_empty() { "" } else { separator };
    let head = format!("{separator}{key}=");
    if out.len().saturating_add(head.len()) > NAME_BYTES_MAX {
        return false;
    }
    out.push_str(&head);
    let bytes = match value {
        Ok(text) => text.as_bytes(),
        Err(bytes) => bytes,
    };
    let last = bytes.len().saturating_sub(1);
    for (at, byte) in bytes.iter().enumerate() {
        let piece = escaped(*byte, at == 0, at == last);
        if out.len().saturating_add(piece.len()) > NAME_BYTES_MAX {
            return false;
        }
        out.push_str(&piece);
    }
    true
}

/// RFC 4514 section 2.4; bytes outside printable ASCII always as hexadecimal pairs.
fn escaped(byte: u8, first: bool, last: bool) -> String {
    match byte {
        b' ' if first || last => "\\ ".to_owned(),
        b'#' if first => "\\#".to_owned(),
        b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => format!("\\{}", char::from(byte)),
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("\\{byte:02X}"),
    }
}

/// Most bytes of a value that are looked at.
const VALUE_BYTES_MAX: usize = 4 * NAME_BYTES_MAX;

const KEYWORDS: &[(&[u8], &str)] = &[
    (&oid!(raw 2.5.4.3), "CN"),
    (&oid!(raw 2.5.4.10), "O"),
    (&oid!(raw 2.5.4.11), "OU"),
    (&oid!(raw 2.5.4.7), "L"),
    (&oid!(raw 2.5.4.8), "ST"),
    (&oid!(raw 2.5.4.6), "C"),
    (&oid!(raw 0.9.2342.19200300.100.1.25), "DC"),
];
