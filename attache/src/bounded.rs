//! A map that never holds more than it may, and forgets what was put into it longest ago.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Two halves: when the younger is full, it takes the place of the older, which is forgotten. So the bound costs no list
/// of who was used when.
#[derive(Debug)]
pub(crate) struct Bounded<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V> Bounded<K, V> {
    /// A map of at most `most` entries, which takes no memory while it is empty.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (most / 2).max(1),
        }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_newest_and_never_more_than_it_may() {
        let mut map = Bounded::new(100);
        for n in 0..1000_u32 {
            map.insert(n, n);
            map.insert(n / 2, n);
            assert!(map.young.len() + map.old.len() <= 100);
            for known in n.saturating_sub(20)..=n {
                assert!(map.get(&known).is_some(), "{known} at {n}");
            }
        }
        map.remove(&999);
        assert_eq!(map.get(&999), None);
    }
}
