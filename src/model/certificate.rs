//! Certificates as they were sent.

/// The certificates of one `Certificate` message, the sender's own first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// How many were sent.
    pub count: u16,
}

impl Chain {
    /// Memory held, in bytes.
    pub const fn memory(&self) -> usize {
        size_of::<Self>()
    }
}
