//! One [`PodShape`] in memory for all pods that want the same.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use super::PodShape;

/// How many more entries than after the last sweep make the next one worth it.
const SLACK: usize = 1024;

#[derive(Default)]
struct Table {
    /// By their hashes.
    shapes: HashMap<u64, Vec<Weak<PodShape>>>,
    sweep_at: usize,
}

static TABLE: LazyLock<(RandomState, Mutex<Table>)> = LazyLock::new(Default::default);

/// The shape in memory that is equal to this one: another's, or this one from now on.
pub(super) fn shared(shape: PodShape) -> Arc<PodShape> {
    let (hasher, table) = &*TABLE;
    let hash = hasher.hash_one(&shape);
    // The table holds nothing that a panic could leave half done.
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    if table.shapes.len() > table.sweep_at {
        table.shapes.retain(|_, equal| equal.iter().any(|shape| shape.strong_count() > 0));
        table.sweep_at = table.shapes.len() * 2 + SLACK;
    }
    let equal = table.shapes.entry(hash).or_default();
    if let Some(known) = equal.iter().filter_map(Weak::upgrade).find(|known| **known == shape) {
        return known;
    }
    equal.retain(|shape| shape.strong_count() > 0);
    let shape = Arc::new(shape);
    equal.push(Arc::downgrade(&shape));
    shape
}
