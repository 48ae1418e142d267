//! A bounded memory of what was learnt: what was learnt first is forgotten first, and counted.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::{Equivalent, HashTable};

/// At most `MAX` entries, each once in memory: the table that finds them holds places, five bytes each.
#[derive(Debug)]
pub(super) struct Remembered<K, V, const MAX: usize> {
    places: HashTable<u32>,
    /// In the order they were learnt; when there are `MAX`, the next one takes the place of the first.
    entries: Vec<(K, V)>,
    first: usize,
    hasher: foldhash::fast::RandomState,
    /// Entries forgotten to make room.
    pub(super) forgotten: u64,
}

impl<K, V, const MAX: usize> Default for Remembered<K, V, MAX> {
    fn default() -> Self {
        let hasher = foldhash::fast::RandomState::default();
        Self { places: HashTable::new(), entries: Vec::new(), first: 0, hasher, forgotten: 0 }
    }
}

impl<K: Eq + Hash, V, const MAX: usize> Remembered<K, V, MAX> {
    pub(super) fn get<Q: Hash + Equivalent<K>>(&self, key: &Q) -> Option<&V> {
        let (_, value) = self.entries.get(self.find(key)?)?;
        Some(value)
    }

    pub(super) fn get_mut<Q: Hash + Equivalent<K>>(&mut self, key: &Q) -> Option<&mut V> {
        let at = self.find(key)?;
        let (_, value) = self.entries.get_mut(at)?;
        Some(value)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Remembers something of a key that is not known.
    pub(super) fn learn(&mut self, key: K, value: V) {
        let hash = self.hasher.hash_one(&key);
        let at = if self.entries.len() < MAX {
            self.entries.push((key, value));
            self.entries.len() - 1
        } else {
            self.replace_first(key, value)
        };
        let Self { places, entries, hasher, .. } = self;
        let rehash = |at: &u32| entries.get(index(*at)).map_or(0, |(key, _)| hasher.hash_one(key));
        places.insert_unique(hash, u32::try_from(at).unwrap_or(u32::MAX), rehash);
    }

    fn replace_first(&mut self, key: K, value: V) -> usize {
        let at = self.first;
        if let Some(entry) = self.entries.get_mut(at) {
            let hash = self.hasher.hash_one(&entry.0);
            if let Ok(place) = self.places.find_entry(hash, |place| index(*place) == at) {
                place.remove();
            }
            *entry = (key, value);
        }
        self.first = (at + 1) % MAX;
        self.forgotten += 1;
        at
    }

    fn find<Q: Hash + Equivalent<K>>(&self, key: &Q) -> Option<usize> {
        let is_it = |at: &u32| self.entries.get(index(*at)).is_some_and(|(k, _)| key.equivalent(k));
        self.places.find(self.hasher.hash_one(key), is_it).map(|at| index(*at))
    }
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_forgotten_first_and_the_rest_is_found() {
        let mut known = Remembered::<u32, u32, 3>::default();
        for n in 0..8 {
            known.learn(n, 10 * n);
        }
        let found: Vec<Option<&u32>> = (0..8).map(|n| known.get(&n)).collect();
        let none = [None; 5];
        assert_eq!(found, [&none[..], &[Some(&50), Some(&60), Some(&70)]].concat());
        assert_eq!((known.len(), known.forgotten), (3, 5));
        *known.get_mut(&6).unwrap() = 1;
        assert_eq!(known.get(&6), Some(&1));
    }
}
