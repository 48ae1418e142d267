//! Reads the body of a `Certificate` message up to TLS 1.2 (RFC 5246 section 7.4.2).

use crate::{bytes::Cursor, model::certificate::Chain};

/// What the certificates in `message` say: a list's length in three bytes, then certificates, each behind its length in
/// three bytes.
pub fn read_chain(message: &[u8]) -> Chain {
    let mut cursor = Cursor::new(message);
    let mut chain = Chain::default();
    if cursor.skip(3).is_err() {
        return chain;
    }
    while let Ok(length) = cursor.u24_be()
        && cursor.skip(usize::try_from(length).unwrap_or(usize::MAX)).is_ok()
    {
        chain.count = chain.count.saturating_add(1);
    }
    chain
}
