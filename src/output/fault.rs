//! Why a delivery failed, and so what to do about it.

use std::fmt;

/// Why a request was not taken. The text holds codes and status only: what a server writes may repeat what it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Throttled, unavailable, timed out, cut: the same request may be taken later.
    Later(String),
    /// Credentials that are expired, unknown or not allowed to: later, with new ones.
    Credentials(String),
    /// The request itself is refused, whoever sends it.
    Invalid(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Later(told) | Self::Credentials(told) | Self::Invalid(told)) = self;
        f.write_str(told)
    }
}
