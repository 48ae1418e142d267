//! Chains read before, by the bytes they were read from.

use std::sync::Arc;

use hashbrown::HashMap;

use super::read;
use crate::model::certificate::Chain;

/// Bounded: when it is full it begins anew.
#[derive(Debug, Default)]
pub(super) struct Memo {
    chains: HashMap<Box<[u8]>, Arc<Chain>, foldhash::fast::RandomState>,
    bytes: usize,
}

impl Memo {
    pub(super) fn chain(&mut self, message: &[u8]) -> Arc<Chain> {
        if let Some(known) = self.chains.get(message) {
            return Arc::clone(known);
        }
        let chain = Arc::new(read(message));
        let bytes = message.len().saturating_add(chain.memory());
        if bytes > CHAIN_BYTES_MAX {
            return chain;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > BYTES_MAX {
            self.chains.clear();
            self.bytes = bytes;
        }
        self.chains.insert(message.into(), Arc::clone(&chain));
        chain
    }
}

/// Memory of all chains remembered, with their messages.
const BYTES_MAX: usize = 4 << 20;
/// A chain larger than this is read each time.
const CHAIN_BYTES_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_read_and_is_bounded() {
        let mut memo = Memo::default();
        for round in 0..2 {
            for n in 0..20_000_u32 {
                let message = [&[0, 1, 0][..], &[n.to_be_bytes(); 64].concat()].concat();
                assert_eq!(*memo.chain(&message), read(&message), "{round} {n}");
                assert!(memo.bytes <= BYTES_MAX);
                assert!(memo.chains.len() < BYTES_MAX / 256);
            }
        }
        let long = vec![0; CHAIN_BYTES_MAX + 1];
        let before = memo.chains.len();
        assert_eq!(*memo.chain(&long), read(&long));
        assert_eq!(memo.chains.len(), before);
    }
}
