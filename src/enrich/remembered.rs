//! A bounded memory of what was learnt: what was learnt first is forgotten first, and counted.

use std::{collections::VecDeque, hash::Hash};

use hashbrown::HashMap;

/// At most `MAX` entries.
#[derive(Debug)]
pub(super) struct Remembered<K, V, const MAX: usize> {
    known: HashMap<K, V, foldhash::fast::RandomState>,
    /// Keys in the order they were learnt.
    learnt: VecDeque<K>,
    /// Entries forgotten to make room.
    pub(super) forgotten: u64,
}

impl<K, V, const MAX: usize> Default for Remembered<K, V, MAX> {
    fn default() -> Self {
        Self { known: HashMap::default(), learnt: VecDeque::new(), forgotten: 0 }
    }
}

impl<K: Clone + Eq + Hash, V, const MAX: usize> Remembered<K, V, MAX> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.known.get_mut(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Remembers something of a key that is not known.
    pub(super) fn learn(&mut self, key: K, value: V) {
        if self.learnt.len() >= MAX
            && let Some(first) = self.learnt.pop_front()
        {
            self.known.remove(&first);
            self.forgotten += 1;
        }
        self.learnt.push_back(key.clone());
        self.known.insert(key, value);
    }
}
