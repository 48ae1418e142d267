//! Why a delivery failed, and so what to do about it.

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
