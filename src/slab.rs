//! Places in blocks, for what is many: it grows without moving what is there, so that it never needs twice its size.
#![forbid(unsafe_code)]

/// Places by number, handed out in order.
#[derive(Clone, Debug)]
pub struct Slab<S> {
    blocks: Vec<Vec<S>>,
}

impl<S> Default for Slab<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Slab<S> {
    /// None yet.
    pub const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let whole = self.blocks.len().saturating_sub(1) * BLOCK_SLOTS;
        whole + self.blocks.last().map_or(0, Vec::len)
    }

    /// The place of a number.
    pub fn get(&self, at: usize) -> Option<&S> {
        self.blocks.get(at / BLOCK_SLOTS)?.get(at % BLOCK_SLOTS)
    }

    /// The place of a number.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut S> {
        self.blocks.get_mut(at / BLOCK_SLOTS)?.get_mut(at % BLOCK_SLOTS)
    }

    /// One more, numbered by what [`Slab::len`] was.
    pub fn push(&mut self, slot: S) {
        if let Some(block) = self.blocks.last_mut().filter(|block| block.len() < BLOCK_SLOTS) {
            block.push(slot);
            return;
        }
        let mut block = Vec::with_capacity(BLOCK_SLOTS);
        block.push(slot);
        self.blocks.push(block);
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &S> {
        self.blocks.iter().flatten()
    }

    /// All of them, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.blocks.iter_mut().flatten()
    }
}

/// Places in a block.
const BLOCK_SLOTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_on_over_blocks() {
        let mut slab = Slab::new();
        for at in 0..3 * BLOCK_SLOTS + 5 {
            assert_eq!((slab.len(), slab.get(at)), (at, None));
            slab.push(at);
            assert_eq!(slab.get(at), Some(&at));
            assert_eq!(slab.get_mut(at).copied(), Some(at));
        }
        assert!(slab.iter().copied().eq(0..3 * BLOCK_SLOTS + 5));
        assert!(slab.iter_mut().map(|at| *at).eq(0..3 * BLOCK_SLOTS + 5));
    }
}
