//! Dates (RFC 5280 section 4.1.2.5): `UTCTime` to 2049, `GeneralizedTime` from 2050, both to the second and in UTC.

use x509_parser::{
    asn1_rs::{Any, FromDer, Tag},
    time::ASN1Time,
};

use super::next;
use crate::model::certificate::{Reason, Reasons, UtcTime};

/// Reads the next element as a date. What is written otherwise but says a moment is taken, with its reason.
pub(super) fn read(bytes: &mut &[u8], reasons: &mut Reasons) -> Option<UtcTime> {
    let before = *bytes;
    let Some(any) = next(bytes) else {
        reasons.add(Reason::DateUnreadable);
        return None;
    };
    let date = ASN1Time::from_der(before).ok().filter(|_| has_zone(any.data));
    let Some(date) = date.map(|(_, date)| UtcTime(date.timestamp())) else {
        reasons.add(Reason::DateUnreadable);
        return None;
    };
    if !is_canonical(&any, date) {
        reasons.add(Reason::DateNotCanonical);
    }
    if date.0 < 0 {
        reasons.add(Reason::DateBefore1970);
    }
    Some(date)
}

/// Local time of an unknown place is no moment.
fn has_zone(text: &[u8]) -> bool {
    text.iter().any(|b| matches!(b, b'Z' | b'+' | b'-'))
}

fn is_canonical(any: &Any<'_>, date: UtcTime) -> bool {
    let digits = match any.tag() {
        Tag::UtcTime => 12,
        Tag::GeneralizedTime if date >= YEAR_2050 => 14,
        _ => return false,
    };
    any.data
        .strip_suffix(b"Z")
        .is_some_and(|text| text.len() == digits && text.iter().all(u8::is_ascii_digit))
}

/// 2050-01-01.
const YEAR_2050: UtcTime = UtcTime(2_524_608_000);
