//! State by key, of so many keys at most: the one that was idle for longest makes room for the next.
//!
//! One that is pinned is in use, and never goes. Pure, without a clock: what was touched last is youngest.

use std::collections::HashMap;
use std::hash::Hash;

use slab::Slab;

/// No place.
const NOWHERE: usize = usize::MAX;

/// The table.
#[derive(Debug)]
pub(super) struct Keyed<K, V> {
    places: HashMap<K, usize>,
    slots: Slab<Slot<K, V>>,
    /// Both ends of the chain of those that are idle.
    oldest: usize,
    youngest: usize,
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    pins: u32,
    older: usize,
    younger: usize,
}

impl<K: Clone + Eq + Hash, V> Keyed<K, V> {
    pub(super) fn new() -> Self {
        Self {
            places: HashMap::new(),
            slots: Slab::new(),
            oldest: NOWHERE,
            youngest: NOWHERE,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The key's place, pinned until it is unpinned as often. `None` where `cap` keys are in use.
    pub(super) fn pin(&mut self, key: &K, cap: usize, new: impl FnOnce() -> V) -> Option<usize> {
        if let Some(place) = self.places.get(key).copied() {
            if self.slots[place].pins == 0 {
                self.unchain(place);
            }
            self.slots[place].pins += 1;
            return Some(place);
        }
        // More than one where the cap has become smaller.
        while self.slots.len() >= cap {
            let oldest = self.oldest;
            if oldest == NOWHERE {
                return None;
            }
            self.unchain(oldest);
            let slot = self.slots.remove(oldest);
            self.places.remove(&slot.key);
        }
        let place = self.slots.insert(Slot {
            key: key.clone(),
            value: new(),
            pins: 1,
            older: NOWHERE,
            younger: NOWHERE,
        });
        self.places.insert(key.clone(), place);
        Some(place)
    }

    /// One more pin, where there is one already.
    pub(super) fn pin_again(&mut self, place: usize) {
        self.slots[place].pins += 1;
    }

    /// Takes one pin out. A slot without pins is idle, and the youngest of those.
    pub(super) fn unpin(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        slot.pins -= 1;
        if slot.pins > 0 {
            return;
        }
        slot.older = self.youngest;
        slot.younger = NOWHERE;
        match self.slots.get_mut(self.youngest) {
            Some(before) => before.younger = place,
            None => self.oldest = place,
        }
        self.youngest = place;
    }

    /// What a pinned place holds.
    pub(super) fn at(&mut self, place: usize) -> &mut V {
        &mut self.slots[place].value
    }

    pub(super) fn values(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().map(|(_, slot)| &mut slot.value)
    }

    fn unchain(&mut self, place: usize) {
        let Slot { older, younger, .. } = self.slots[place];
        match self.slots.get_mut(older) {
            Some(slot) => slot.younger = younger,
            None => self.oldest = younger,
        }
        match self.slots.get_mut(younger) {
            Some(slot) => slot.older = older,
            None => self.youngest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Touches a key: it is idle again at once.
    fn touch(table: &mut Keyed<u8, u8>, key: u8, cap: usize) {
        let place = table.pin(&key, cap, || key).unwrap();
        assert_eq!(*table.at(place), key);
        table.unpin(place);
    }

    fn keys(table: &Keyed<u8, u8>) -> Vec<u8> {
        let mut keys: Vec<u8> = table.places.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn the_one_that_was_idle_for_longest_goes() {
        let mut table = Keyed::new();
        for key in [1, 2, 3] {
            touch(&mut table, key, 3);
        }
        touch(&mut table, 1, 3);
        touch(&mut table, 4, 3);
        assert_eq!(keys(&table), [1, 3, 4]);
        // A smaller cap is kept to from the next new key on.
        touch(&mut table, 5, 2);
        assert_eq!(keys(&table), [4, 5]);
    }

    #[test]
    fn one_in_use_stays_and_where_all_are_there_is_no_room() {
        let mut table = Keyed::new();
        let used = table.pin(&1, 2, || 1).unwrap();
        let again = table.pin(&1, 2, || 9).unwrap();
        assert_eq!((used, *table.at(used)), (again, 1));
        touch(&mut table, 2, 2);
        touch(&mut table, 3, 2);
        assert_eq!(keys(&table), [1, 3]);
        let other = table.pin(&3, 2, || 3).unwrap();
        assert_eq!(table.pin(&4, 2, || 4), None);
        table.unpin(used);
        assert_eq!(table.pin(&4, 2, || 4), None);
        table.unpin(used);
        table.unpin(other);
        touch(&mut table, 4, 2);
        assert_eq!(keys(&table), [3, 4]);
    }

    proptest! {
        #[test]
        fn never_more_than_the_cap_and_never_without_one_in_use(
            acts in prop::collection::vec((0u8..12, any::<bool>()), 0..300),
        ) {
            let mut table = Keyed::new();
            let mut held: Vec<usize> = Vec::new();
            for (key, hold) in acts {
                match table.pin(&key, 6, || key) {
                    Some(place) if hold => held.push(place),
                    Some(place) => table.unpin(place),
                    None => {
                        prop_assert!(table.oldest == NOWHERE && table.youngest == NOWHERE);
                        table.unpin(held.remove(usize::from(key) % held.len()));
                    }
                }
                prop_assert!(table.len() <= 6 && table.places.len() == table.len());
                let mut idle = 0;
                let mut place = table.oldest;
                while place != NOWHERE {
                    prop_assert_eq!(table.slots[place].pins, 0);
                    idle += 1;
                    place = table.slots[place].younger;
                }
                let pinned = table.slots.iter().filter(|(_, slot)| slot.pins > 0).count();
                prop_assert_eq!(idle + pinned, table.len());
                prop_assert!(held.iter().all(|place| table.slots[*place].pins > 0));
            }
        }
    }
}
