//! A map by job id, for lookups and for reading it in pieces. Pure.

use crate::event::JobId;

/// Each id can use a few slots. Values move only when the table grows. So a reader finds every
/// value that stays, even if others are added or removed between two pieces.
pub(super) struct IdMap<T> {
    /// Empty, or a power of two.
    slots: Vec<Option<(JobId, T)>>,
    /// How many times the table grew.
    pub(super) growths: u32,
}

/// The number of consecutive slots for an id.
const REACH: usize = 8;

impl<T> IdMap<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            growths: 0,
        }
    }

    #[inline]
    fn of(&self, id: JobId) -> impl Iterator<Item = usize> + use<T> {
        let mask = self.slots.len().wrapping_sub(1);
        let reach = REACH.min(self.slots.len());
        // 2^64 divided by the golden ratio spreads consecutive ids evenly (Knuth, TAOCP 3, 6.4).
        let hash = id.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (0..reach).map(move |step| (hash as usize).wrapping_add(step) & mask)
    }

    fn slot(&self, id: JobId) -> Option<usize> {
        let is_here = |slot: &usize| matches!(&self.slots[*slot], Some((of, _)) if *of == id);
        self.of(id).find(is_here)
    }

    pub(super) fn get(&self, id: JobId) -> Option<&T> {
        let (_, value) = self.slots[self.slot(id)?].as_ref()?;
        Some(value)
    }

    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut T> {
        let slot = self.slot(id)?;
        let (_, value) = self.slots[slot].as_mut()?;
        Some(value)
    }

    /// Inserts an id that is not in the map.
    pub(super) fn insert(&mut self, id: JobId, value: T) {
        loop {
            if let Some(free) = self.of(id).find(|slot| self.slots[*slot].is_none()) {
                self.slots[free] = Some((id, value));
                return;
            }
            self.grow();
        }
    }

    pub(super) fn remove(&mut self, id: JobId) -> Option<T> {
        let slot = self.slot(id)?;
        let (_, value) = self.slots[slot].take()?;
        Some(value)
    }

    #[cold]
    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(REACH);
        let before = std::mem::take(&mut self.slots);
        self.slots.resize_with(slots, || None);
        self.growths += 1;
        for (id, value) in before.into_iter().flatten() {
            self.insert(id, value);
        }
    }

    /// A piece of the table from this slot on, and the start of the next piece.
    pub(super) fn piece(
        &self,
        from: usize,
        slots: usize,
    ) -> (impl Iterator<Item = &T>, Option<usize>) {
        let to = (from + slots).min(self.slots.len());
        let piece = self.slots[from.min(to)..to].iter();
        let next = (to < self.slots.len()).then_some(to);
        (piece.flatten().map(|(_, value)| value), next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn id(id: u64) -> JobId {
        JobId::from_u64(id + 1).unwrap()
    }

    fn all(slots: &IdMap<u64>, piece: usize) -> Vec<u64> {
        let (mut all, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let (values, after) = slots.piece(from, piece);
            all.extend(values);
            next = after;
        }
        all.sort_unstable();
        all
    }

    proptest! {
        /// It behaves like a map under any inserts and removals, and its pieces are the whole.
        #[test]
        fn slots_are_a_map(acts in prop::collection::vec((0..400_u64, any::<bool>()), 0..600), piece in 1..40_usize) {
            let (mut slots, mut map) = (IdMap::new(), BTreeMap::new());
            for (key, comes) in acts {
                if !comes {
                    prop_assert_eq!(slots.remove(id(key)), map.remove(&key));
                } else if map.insert(key, key).is_none() {
                    slots.insert(id(key), key);
                }
                prop_assert_eq!(slots.get(id(key)), map.get(&key));
            }
            prop_assert_eq!(all(&slots, piece), map.into_values().collect::<Vec<_>>());
        }
    }

    /// Consecutive ids fill the table well before it grows, and so do a few remaining ids of many.
    #[test]
    fn it_does_not_grow_early() {
        for every in [1, 7, 100] {
            let mut slots = IdMap::new();
            for key in 0..10_000 * every {
                slots.insert(id(key), key);
                if key % every != 0 {
                    slots.remove(id(key));
                }
            }
            assert_eq!(all(&slots, 100).len(), 10_000);
            assert!(slots.slots.len() <= 1 << 16, "{} slots", slots.slots.len());
        }
    }
}
