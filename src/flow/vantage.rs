//! Small numbers for vantages, so that a flow need not carry addresses.

use hashbrown::HashMap;

use crate::model::Vantage;

/// Index of a vantage; 0 is "no encapsulation".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VantageId(pub u16);

/// Vantages seen, in order of appearance. Bounded: the last number stands for all that came after.
#[derive(Debug)]
pub struct VantageTable {
    ids: HashMap<Vantage, VantageId, foldhash::fast::RandomState>,
    list: Vec<Option<Vantage>>,
    last: Option<(Vantage, VantageId)>,
}

impl Default for VantageTable {
    fn default() -> Self {
        Self { ids: HashMap::default(), list: vec![None], last: None }
    }
}

impl VantageTable {
    /// The number of `vantage`.
    pub fn intern(&mut self, vantage: Option<Vantage>) -> VantageId {
        let Some(vantage) = vantage else { return VantageId(0) };
        if let Some((last, id)) = self.last
            && last == vantage
        {
            return id;
        }
        let id = self.ids.get(&vantage).copied().unwrap_or_else(|| self.add(vantage));
        self.last = Some((vantage, id));
        id
    }

    fn add(&mut self, vantage: Vantage) -> VantageId {
        let Ok(number) = u16::try_from(self.list.len()) else { return VantageId(u16::MAX) };
        self.list.push(Some(vantage));
        self.ids.insert(vantage, VantageId(number));
        VantageId(number)
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
