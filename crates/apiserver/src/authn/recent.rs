//! A bounded memory of what was found out at some cost. What is not asked for again is forgotten: of two
//! generations the older is dropped when the younger is full.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

type Generation<V> = HashMap<Box<[u8]>, Arc<V>>;

#[derive(Debug)]
pub(super) struct Recent<V> {
    /// The younger, then the older.
    generations: Mutex<[Generation<V>; 2]>,
    capacity: usize,
}

impl<V> Recent<V> {
    /// At most twice `capacity` values are held.
    pub fn new(capacity: usize) -> Self {
        Self { generations: Mutex::new([HashMap::new(), HashMap::new()]), capacity }
    }

    pub fn get(&self, key: &[u8]) -> Option<Arc<V>> {
        let mut generations = self.generations.lock();
        let [young, old] = &mut *generations;
        if let Some(value) = young.get(key) {
            return Some(Arc::clone(value));
        }
        let (key, value) = old.remove_entry(key)?;
        let kept = Arc::clone(&value);
        drop(generations);
        self.put(key, value);
        Some(kept)
    }

    pub fn insert(&self, key: &[u8], value: V) -> Arc<V> {
        let value = Arc::new(value);
        self.put(key.into(), Arc::clone(&value));
        value
    }

    fn put(&self, key: Box<[u8]>, value: Arc<V>) {
        let [young, old] = &mut *self.generations.lock();
        if young.len() >= self.capacity {
            *old = std::mem::take(young);
        }
        young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let recent = Recent::new(4);
        recent.insert(b"used", 0);
        for number in 0..100_u32 {
            recent.insert(&number.to_be_bytes(), number);
            assert!(recent.get(b"used").is_some());
        }
        assert!(recent.get(&0_u32.to_be_bytes()).is_none());
        let generations = recent.generations.lock();
        assert!(generations.iter().all(|generation| generation.len() <= 4));
    }
}
