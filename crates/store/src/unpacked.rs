//! Entries that were unpacked from the history and are still in somebody's hands: whoever else needs one gets the
//! same. It keeps none of them alive.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::{Entry, Revision};

/// The table is not searched for what has been let go of before it has so many places.
const LEAST_SWEPT: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Unpacked(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<(Arc<str>, Revision), Weak<Entry>>,
    /// Places in use after the last sweep.
    swept: usize,
}

impl Unpacked {
    /// The entry of a key that was modified at a revision, made where nobody has it. Two who ask at once may both make it.
    pub fn entry(
        &self,
        key: &Arc<str>,
        modified: Revision,
        make: impl FnOnce() -> Option<Arc<Entry>>,
    ) -> Option<Arc<Entry>> {
        let place = (Arc::clone(key), modified);
        if let Some(entry) = self.0.lock().entries.get(&place).and_then(Weak::upgrade) {
            return Some(entry);
        }
        let made = make()?;
        self.0.lock().insert(place, &made);
        Some(made)
    }
}

impl Table {
    fn insert(&mut self, place: (Arc<str>, Revision), entry: &Arc<Entry>) {
        // At most half of the places are dead ones, and a sweep is paid for by the insertions since the last.
        if self.entries.len() >= LEAST_SWEPT.max(2 * self.swept) {
            self.entries.retain(|_, entry| entry.strong_count() > 0);
            self.entries.shrink_to(2 * self.entries.len());
            self.swept = self.entries.len();
        }
        self.entries.insert(place, Arc::downgrade(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &Arc<str>, modified: Revision) -> Arc<Entry> {
        Arc::new(Entry { key: Arc::clone(key), value: vec![1; 100].into(), created: 1, modified })
    }

    #[test]
    fn an_entry_is_made_once_as_long_as_somebody_has_it() {
        let (unpacked, key): (Unpacked, Arc<str>) = (Unpacked::default(), "pods/a".into());
        let made = unpacked.entry(&key, 5, || Some(entry(&key, 5))).unwrap();
        let again = unpacked.entry(&key, 5, || panic!("it is there")).unwrap();
        assert!(Arc::ptr_eq(&made, &again));
        assert_eq!(unpacked.entry(&key, 6, || None), None);
        drop((made, again));
        assert_eq!(unpacked.entry(&key, 5, || None), None);
    }

    #[test]
    fn what_nobody_has_takes_few_places() {
        let (unpacked, key): (Unpacked, Arc<str>) = (Unpacked::default(), "pods/a".into());
        let places = || unpacked.0.lock().entries.len();
        let held: Vec<_> = (0..1000).filter_map(|at| unpacked.entry(&key, at, || Some(entry(&key, at)))).collect();
        assert_eq!(places(), held.len());
        for at in 1000..100_000 {
            unpacked.entry(&key, at, || Some(entry(&key, at)));
            assert!(places() <= 2 * held.len() + LEAST_SWEPT, "{}", places());
        }
        drop(held);
        (0..3000).for_each(|at| drop(unpacked.entry(&key, at, || Some(entry(&key, at)))));
        assert!(places() <= 2 * LEAST_SWEPT, "{}", places());
    }
}
