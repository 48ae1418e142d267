//! The words that rules may use, as JSON Schema says them to editors and as compiling checks them.

use std::sync::LazyLock;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::classes::NAMES;
use crate::model::{Confidence, Credentials, Encryption, Outcome, PlaintextReason};

/// Values of `boundary`.
pub(super) const BOUNDARIES: &[&str] =
    &["east_west", "cross_scope", "aws_endpoint", "internet", "link_local", "unknown"];
/// Values of `transport`.
pub(super) const TRANSPORTS: &[&str] = &["tcp", "udp", "esp"];
/// Values of `tls.strength`.
pub(super) const STRENGTHS: &[&str] = &["good", "legacy", "weak", "none"];
/// Values of `tls.version`.
pub(super) const TLS_VERSIONS: &[&str] = &[
    "SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3", "DTLSv0.9", "DTLSv1.0",
    "DTLSv1.2", "DTLSv1.3",
];

/// An absent value.
pub(super) const NONE: &str = "none";
/// Some value, whichever.
pub(super) const ANY: &str = "any";

pub(super) fn apps() -> Vec<&'static str> {
    static SORTED: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let mut names: Vec<_> = NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        names.sort_unstable();
        names.push(NONE);
        names
    });
    SORTED.clone()
}

pub(super) fn encryptions() -> Vec<&'static str> {
    Encryption::ALL.iter().map(|word| word.name()).collect()
}

pub(super) fn outcomes() -> Vec<&'static str> {
    Outcome::ALL.iter().map(|word| word.name()).collect()
}

pub(super) fn confidences() -> Vec<&'static str> {
    Confidence::ALL.iter().map(|word| word.name()).chain([NONE]).collect()
}

pub(super) fn reasons() -> Vec<&'static str> {
    PlaintextReason::ALL.iter().map(|word| word.name()).chain([NONE]).collect()
}

pub(super) fn credentials() -> Vec<&'static str> {
    Credentials::ALL.names().chain([NONE, ANY]).collect()
}

/// A list of words out of those given.
macro_rules! schemas {
    ($($schema:ident = $words:expr;)+) => { $(
        pub(super) fn $schema(_: &mut SchemaGenerator) -> Schema {
            let words: Vec<&str> = $words;
            json_schema!({ "type": "array", "items": { "type": "string", "enum": words } })
        }
    )+ };
}

schemas! {
    app_schema = apps();
    boundary_schema = BOUNDARIES.to_vec();
    confidence_schema = confidences();
    credentials_schema = credentials();
    encryption_schema = encryptions();
    outcome_schema = outcomes();
    reason_schema = reasons();
    strength_schema = STRENGTHS.to_vec();
    tls_version_schema = TLS_VERSIONS.to_vec();
    transport_schema = TRANSPORTS.to_vec();
}
