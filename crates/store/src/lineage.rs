//! The way back: the versions of a key that are no longer current, and the state of a past revision.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use crate::{
    Entry, Event, Revision, Snapshot,
    history::{Change, Changes, first_after, index_of},
    unpacked::Unpacked,
};

/// The changes of one topic together with the state they led to.
pub(crate) struct Lineage<'a> {
    pub changes: &'a Changes,
    pub current: &'a Snapshot,
    pub unpacked: &'a Unpacked,
}

impl Lineage<'_> {
    /// The event of a change. `None` would mean that a link is missing, as it is for no change in a history.
    pub fn event(&self, index: usize) -> Option<Arc<Event>> {
        let slot = self.changes.get(index)?;
        if let Some(event) = &slot.event {
            return Some(Arc::clone(event));
        }
        let change = &slot.change;
        let entry = self.left(index)?;
        let previous = match &change.before {
            Some(before) => {
                Some(self.unpacked.entry(&change.key, before.modified, || self.replaced(index, &entry.value))?)
            }
            None => None,
        };
        Some(Arc::new(Event { revision: change.revision, kind: change.kind, entry, previous }))
    }

    /// The entry that a change left: the final state of what it deleted.
    fn left(&self, index: usize) -> Option<Arc<Entry>> {
        let change = &self.changes.get(index)?.change;
        let Change { created, revision: modified, .. } = **change;
        self.unpacked.entry(&change.key, modified, || {
            Some(Arc::new(Entry { key: Arc::clone(&change.key), value: self.value(index)?, created, modified }))
        })
    }

    /// The entry that a change replaced; `None` inside where it created the key.
    fn before(&self, index: usize) -> Option<Option<Arc<Entry>>> {
        let slot = self.changes.get(index)?;
        match (&slot.event, &slot.change.before) {
            (Some(event), _) => Some(event.previous.clone()),
            (None, None) => Some(None),
            (None, Some(before)) => {
                let make = || match before.value.needs_successor {
                    true => self.replaced(index, &self.value(index)?),
                    false => self.replaced(index, &[]),
                };
                self.unpacked.entry(&slot.change.key, before.modified, make).map(Some)
            }
        }
    }

    fn replaced(&self, index: usize, successor: &[u8]) -> Option<Arc<Entry>> {
        let change = &self.changes[index].change;
        let before = change.before.as_ref()?;
        let value = before.value.unpack(successor)?;
        Some(Arc::new(Entry {
            key: Arc::clone(&change.key),
            value,
            created: before.created,
            modified: before.modified,
        }))
    }

    /// The value a change left: forward along the key's changes to one that is known, then back again.
    fn value(&self, index: usize) -> Option<Bytes> {
        let mut at = index;
        let mut way = Vec::new();
        let mut value = loop {
            let slot = self.changes.get(at)?;
            if let Some(event) = &slot.event {
                break event.entry.value.clone();
            }
            if let Some(own) = slot.change.own.get() {
                break own.unpack(&[])?;
            }
            let Some(next) = self.next(&slot.change) else {
                break self.current.get(&slot.change.key)?.value.clone();
            };
            at = index_of(self.changes, next, &slot.change.key)?;
            let slot = &self.changes[at];
            if let Some(event) = &slot.event {
                break event.previous.as_ref()?.value.clone();
            }
            let before = slot.change.before.as_ref()?;
            if !before.value.needs_successor {
                break before.value.unpack(&[])?;
            }
            way.push(before);
        };
        for before in way.into_iter().rev() {
            value = before.value.unpack(&value)?;
        }
        Some(value)
    }

    /// The next change of the key that is part of `current`; there may be later ones by now.
    fn next(&self, change: &Change) -> Option<Revision> {
        let next = change.next.load(Ordering::Acquire);
        (next != 0 && next <= self.current.revision).then_some(next)
    }
}

/// The state at `revision`, from the current one and all changes since.
pub(crate) fn rewind(
    current: &Snapshot,
    logs: &[(Arc<str>, Changes)],
    revision: Revision,
    unpacked: &Unpacked,
) -> Option<Snapshot> {
    let mut past = current.clone();
    past.revision = revision;
    for (topic, changes) in logs {
        let lineage = Lineage { changes, current, unpacked };
        let first = first_after(changes, revision);
        let mut seen = HashSet::new();
        let past = past.topic_mut(topic);
        // The first change of a key after the revision replaced what the key was at the revision.
        for index in first..changes.len() {
            let key = &changes[index].change.key;
            if seen.insert(&**key) {
                match lineage.before(index)? {
                    Some(entry) => drop(past.entries.insert(Arc::clone(key), entry)),
                    None => drop(past.entries.remove(key)),
                }
            }
        }
        // Where all kept changes are later, the one before is not known; it was not after the revision.
        past.revision = first.checked_sub(1).map_or(past.revision.min(revision), |last| changes[last].change.revision);
    }
    Some(past)
}
