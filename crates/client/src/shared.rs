//! What many objects have in common is in memory once: labels, owners, conditions, the shapes of pods.
//!
//! Of fifty thousand pods of ten templates each of these takes ten places. A value that only one object has costs its place in
//! a table more.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    ops::Deref,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde::{Deserialize, Deserializer};

/// How many more entries than after the last sweep make the next one worth it.
const SLACK: usize = 1024;

/// The values of one type that somebody has. It keeps none of them alive.
pub struct Table<T: ?Sized> {
    hasher: RandomState,
    known: Mutex<Known<T>>,
}

struct Known<T: ?Sized> {
    /// By their hashes.
    values: HashMap<u64, Vec<Weak<T>>>,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Table<T> {
    fn default() -> Self {
        let known = Known { values: HashMap::new(), sweep_at: SLACK };
        Self { hasher: RandomState::new(), known: Mutex::new(known) }
    }
}

impl<T: ?Sized + Hash + Eq> Table<T> {
    /// The value in memory that is equal to this one: another's, or this one from now on.
    pub fn shared(&self, value: Arc<T>) -> Arc<T> {
        let hash = self.hasher.hash_one(&*value);
        // The table holds nothing that a panic could leave half done.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.values.len() > known.sweep_at {
            known.values.retain(|_, equal| equal.iter().any(|value| value.strong_count() > 0));
            known.sweep_at = known.values.len() * 2 + SLACK;
        }
        let equal = known.values.entry(hash).or_default();
        if let Some(known) = equal.iter().filter_map(Weak::upgrade).find(|known| **known == *value) {
            return known;
        }
        equal.retain(|value| value.strong_count() > 0);
        if equal.capacity() == 0 {
            equal.reserve_exact(1);
        }
        equal.push(Arc::downgrade(&value));
        value
    }
}

/// What [`Shared`] lists are of. Implemented by [`common!`](crate::common).
pub trait Common: Hash + Eq + Sized + 'static {
    fn table() -> &'static Table<[Self]>;
}

/// Gives types tables of lists of them.
#[macro_export]
macro_rules! common {
    ($($of:ty),* $(,)?) => {$(
        impl $crate::shared::Common for $of {
            fn table() -> &'static $crate::shared::Table<[Self]> {
                static TABLE: std::sync::LazyLock<$crate::shared::Table<[$of]>> =
                    std::sync::LazyLock::new(Default::default);
                &TABLE
            }
        }
    )*};
}

/// A list of which equal ones are one in memory. It is read and never written.
pub struct Shared<T>(Option<Arc<[T]>>);

impl<T: Common> From<Vec<T>> for Shared<T> {
    fn from(list: Vec<T>) -> Self {
        Self((!list.is_empty()).then(|| T::table().shared(list.into())))
    }
}

impl<T: Common> FromIterator<T> for Shared<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}

impl<'de, T: Common + Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

impl<T> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'a, T> IntoIterator for &'a Shared<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(this), Some(other)) => Arc::ptr_eq(this, other) || this == other,
            (this, other) => this.is_none() == other.is_none(),
        }
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
    struct Mark(u64);

    common!(Mark);

    #[test]
    fn equal_lists_are_one_as_long_as_somebody_has_them() {
        let list = |numbers: &[u64]| Shared::from_iter(numbers.iter().copied().map(Mark));
        let (one, same, other) = (list(&[1, 2]), list(&[1, 2]), list(&[2, 1]));
        assert!(std::ptr::eq(&*one, &*same) && one == same);
        assert!(one != other && other == list(&[2, 1]));
        assert_eq!((size_of::<Shared<Mark>>(), list(&[]).len()), (16, 0));
        let read: Shared<Mark> = serde_json::from_str("[1, 2]").unwrap();
        assert!(std::ptr::eq(&*read, &*one));
        assert!(serde_json::from_str::<Shared<Mark>>("null").is_err());
    }

    #[test]
    fn what_nobody_has_takes_few_places() {
        let table = Table::<u64>::default();
        let held: Vec<_> = (0..3000).map(|number| table.shared(Arc::new(number))).collect();
        (3000..100_000).for_each(|number| drop(table.shared(Arc::new(number))));
        let places = table.known.lock().unwrap().values.len();
        assert!((held.len()..=2 * held.len() + SLACK + 1).contains(&places), "{places}");
    }
}
