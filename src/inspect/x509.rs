//! Certificates (RFC 5280) as TLS up to 1.2 sends them in clear, read with x509-parser.
//!
//! A certificate is taken apart field by field, so that one that cannot be read costs that field and not the rest; what
//! is odd is said by reason. Work is bounded: at most [`CHAIN_BYTES_MAX`] bytes and [`CHAIN_CERTIFICATES_MAX`]
//! certificates of a message are read, each in one pass, and no structure is followed deeper than its grammar goes.

mod algorithms;
mod certificate;
mod date;
mod extensions;
mod memo;
mod name;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, sync::Arc};

use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

use self::{certificate::Parsed, memo::Memo};
use crate::{
    bytes::Cursor,
    model::certificate::{
        CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX, Chain, Link, RdsCa, Reason, Reasons,
    },
};

thread_local! {
    /// Of a pure function: what it says does not depend on it.
    static MEMO: RefCell<Memo> = RefCell::default();
}

/// Reads the body of a Certificate message of TLS 1.2 and before (RFC 5246 section 7.4.2). Never fails: what cannot be
/// read is missing, with its reason.
///
/// Servers send the same chain again and again: those read last are remembered.
pub fn read_chain(message: &[u8]) -> Arc<Chain> {
    MEMO.with_borrow_mut(|memo| memo.chain(message))
}

fn read(message: &[u8]) -> Chain {
    let mut chain =
        Chain { bytes: u32::try_from(message.len()).unwrap_or(u32::MAX), ..Chain::default() };
    let read = message.get(..CHAIN_BYTES_MAX).unwrap_or(message);
    if message.len() > CHAIN_BYTES_MAX {
        chain.reasons.add(Reason::MessageTooLong);
    }
    let parsed = certificates(read, message.len(), &mut chain);
    judged(chain, parsed)
}

/// Reads a certificate that stands alone (`SSLv2`): a chain of one.
pub fn read_certificate(der: &[u8]) -> Chain {
    let bytes = u32::try_from(der.len()).unwrap_or(u32::MAX);
    let mut chain = Chain { bytes, sent: 1, ..Chain::default() };
    let parsed = vec![Parsed::read(der, true, &mut chain.reasons)];
    judged(chain, parsed)
}

/// The chain that the certificates read make.
fn judged(mut chain: Chain, parsed: Vec<Parsed<'_>>) -> Chain {
    chain.links = links(&parsed);
    chain.rds_ca = parsed.iter().find_map(|p| RdsCa::by_issuer(p.issuer_name.as_deref()?));
    chain.complete = complete(&parsed, &mut chain.reasons);
    chain.leaf = parsed.into_iter().next().and_then(|leaf| leaf.facts);
    chain
}

/// Reads the list; an entry that is not a certificate keeps its place.
fn certificates<'a>(read: &'a [u8], whole: usize, chain: &mut Chain) -> Vec<Parsed<'a>> {
    let mut parsed = Vec::new();
    let mut message = Cursor::new(read);
    let Ok(list) = message.u24_be() else {
        chain.reasons.add(Reason::ListLengthWrong);
        return parsed;
    };
    let claimed = usize::try_from(list).unwrap_or(usize::MAX);
    if Some(claimed) != whole.checked_sub(LENGTH_BYTES) {
        chain.reasons.add(Reason::ListLengthWrong);
    }
    if claimed == 0 {
        chain.reasons.add(Reason::NoCertificate);
    }
    let mut list = Cursor::new(message.rest().get(..claimed).unwrap_or_else(|| message.rest()));
    while !list.is_empty() {
        let entry = list.u24_be().ok().and_then(|n| list.take(usize::try_from(n).ok()?).ok());
        let Some(der) = entry else {
            chain.reasons.add(Reason::CertificateCut);
            break;
        };
        chain.sent = chain.sent.saturating_add(1);
        if parsed.len() < CHAIN_CERTIFICATES_MAX {
            parsed.push(Parsed::read(der, parsed.is_empty(), &mut chain.reasons));
        } else {
            chain.reasons.add(Reason::TooManyCertificates);
        }
    }
    parsed
}

fn links(parsed: &[Parsed<'_>]) -> Vec<Link> {
    let nexts = parsed.iter().skip(1).map(Some).chain([None]);
    let linked = parsed.iter().zip(nexts).map(|(one, next)| Link {
        issued_by_next: next.is_some_and(|next| one.is_issued_by(next)),
        ..one.link
    });
    linked.collect()
}

/// Follows the names from the first certificate upwards.
fn complete(parsed: &[Parsed<'_>], reasons: &mut Reasons) -> Option<bool> {
    let mut left: Vec<(usize, &Parsed<'_>)> = parsed.iter().enumerate().collect();
    let mut current = left.first().copied()?;
    current.1.issuer?;
    left.remove(0);
    loop {
        let (at, certificate) = current;
        if certificate.link.self_signed {
            return Some(true);
        }
        // The first of those left that fits: the next one, if the order is right.
        let Some(found) = left.iter().position(|(_, other)| certificate.is_issued_by(other)) else {
            break;
        };
        let issuer = left.remove(found);
        if issuer.0 != at.saturating_add(1) {
            reasons.add(Reason::OrderOdd);
        }
        current = issuer;
    }
    let (at, last) = current;
    if last.issuer_name.as_deref().is_some_and(is_known_root) {
        return Some(true);
    }
    let all_read = parsed.iter().all(|p| p.issuer.is_some())
        && !reasons.has(Reason::CertificateCut)
        && !reasons.has(Reason::TooManyCertificates);
    if left.is_empty() || !all_read {
        return None;
    }
    reasons.add(Reason::ChainBroken);
    (at == 0).then_some(false)
}

/// Roots of Amazon RDS and of Amazon Trust Services, which servers leave out.
fn is_known_root(common_name: &str) -> bool {
    KNOWN_ROOTS.contains(&common_name)
        || RdsCa::by_issuer(common_name).is_some() && common_name.contains(" Root ")
}

/// The next element of `bytes`, which move on.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<Any<'a>> {
    let (rest, any) = Any::from_der(bytes).ok()?;
    *bytes = rest;
    Some(any)
}

/// The next element, which must be a SEQUENCE: its content, and the whole of it.
fn sequence<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let before = *bytes;
    let any =
        next(bytes).filter(|any| any.class() == Class::Universal && any.tag() == Tag::Sequence)?;
    let whole = before.get(..before.len().saturating_sub(bytes.len()))?;
    Some((any.data, whole))
}

/// Bytes of a length in the message.
const LENGTH_BYTES: usize = 3;

/// Amazon Trust Services: certificates of RDS Proxy, load balancers and AWS endpoints end here.
const KNOWN_ROOTS: [&str; 5] = [
    "Amazon Root CA 1",
    "Amazon Root CA 2",
    "Amazon Root CA 3",
    "Amazon Root CA 4",
    "Starfield Services Root Certificate Authority - G2",
];
