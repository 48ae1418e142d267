//! Small numbers for vantages, so that a flow need not carry addresses.

use hashbrown::HashMap;

use crate::model::Vantage;

/// Index of a vantage; 0 is "no encapsulation".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VantageId(pub u16);

impl VantageId {
    /// Whether it stands for vantages that found no room in the table.
    pub const fn is_crowded_out(self) -> bool {
        self.0 == OTHERS.0
    }
}

/// All vantages that found no room in the table.
const OTHERS: VantageId = VantageId(u16::MAX);

/// Vantages seen, in order of appearance. Bounded: one number, which names none, stands for all that came too late.
#[derive(Debug)]
pub struct VantageTable {
    ids: HashMap<Vantage, VantageId, foldhash::fast::RandomState>,
    list: Vec<Option<Vantage>>,
    /// Segments of vantages that found no room: copies of them are not told apart.
    pub crowded_out: u64,
}

impl Default for VantageTable {
    fn default() -> Self {
        Self { ids: HashMap::default(), list: vec![None], crowded_out: 0 }
    }
}

impl VantageTable {
    /// The number of `vantage`.
    pub fn intern(&mut self, vantage: Option<Vantage>) -> VantageId {
        let Some(vantage) = vantage else { return VantageId(0) };
        let id = self.ids.get(&vantage).copied().unwrap_or_else(|| self.add(vantage));
        self.crowded_out += u64::from(id.is_crowded_out());
        id
    }

    fn add(&mut self, vantage: Vantage) -> VantageId {
        let id = u16::try_from(self.list.len()).map_or(OTHERS, VantageId);
        if id != OTHERS {
            self.list.push(Some(vantage));
            self.ids.insert(vantage, id);
        }
        id
    }

    /// The vantage of a number.
    pub fn get(&self, id: VantageId) -> Option<Vantage> {
        self.list.get(usize::from(id.0)).copied().flatten()
    }

    /// How many vantages were seen.
    pub fn len(&self) -> usize {
        self.list.len() - 1
    }

    /// Whether none was seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_named_nobody() {
        let mut table = VantageTable::default();
        let vantage = |vni| Some(Vantage { source: [10, 0, 0, 1].into(), vni });
        for vni in 0..65_534 {
            table.intern(vantage(vni));
        }
        assert_eq!((table.len(), table.crowded_out), (65_534, 0));
        let late = table.intern(vantage(70_000));
        assert_eq!((table.get(late), table.crowded_out), (None, 1));
        assert_eq!(table.intern(vantage(3)), VantageId(4));
    }
}
