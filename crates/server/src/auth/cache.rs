//! A bounded memory of what a credential came to.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// A map that forgets what was not used for long when it is full. Two halves: what is used moves to the young one;
/// when that is full, the old one is dropped and the young one becomes old. So each step is one or two look-ups.
pub struct Cache<K, V> {
    halves: Mutex<(HashMap<K, V>, HashMap<K, V>)>,
    half: usize,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// A cache of at most `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Cache { halves: Mutex::default(), half: (capacity / 2).max(1) }
    }

    /// What is kept for `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = halves.0.get(key) {
            return Some(value.clone());
        }
        let (key, value) = halves.1.remove_entry(key)?;
        self.put(&mut halves, key, value.clone());
        Some(value)
    }

    /// Keeps `value` for `key`.
    pub fn insert(&self, key: K, value: V) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.1.remove(&key);
        self.put(&mut halves, key, value);
    }

    /// Forgets `key`.
    pub fn remove(&self, key: &K) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.0.remove(key);
        halves.1.remove(key);
    }

    /// Forgets all that `keep` does not ask to keep.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.0.retain(|key, value| keep(key, value));
        halves.1.retain(|key, value| keep(key, value));
    }

    fn put(&self, halves: &mut (HashMap<K, V>, HashMap<K, V>), key: K, value: V) {
        if halves.0.len() >= self.half && !halves.0.contains_key(&key) {
            halves.1 = std::mem::take(&mut halves.0);
        }
        halves.0.insert(key, value);
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_forgets_what_was_not_used() {
        let cache = Cache::new(4);
        for key in 0..100 {
            cache.insert(key, key);
            assert_eq!(cache.get(&0), Some(0), "what is used stays");
        }
        let kept = (0..100).filter(|key| cache.get(key).is_some()).count();
        assert!(kept <= 4, "{kept}");
        cache.remove(&0);
        assert_eq!(cache.get(&0), None);
    }
}
