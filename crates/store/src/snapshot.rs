//! The state at one revision.

use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;

use crate::{Entry, Revision, entry::topic_of};

#[derive(Debug, Clone, Default)]
pub(crate) struct Topic {
    /// Of its last change.
    pub revision: Revision,
    pub entries: OrdMap<Arc<str>, Arc<Entry>>,
}

/// All entries at one revision. A clone is a pointer copy; what changes later does not show.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) topics: OrdMap<Arc<str>, Topic>,
}

impl Snapshot {
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision of the topic's last change up to here; 0 where it never had one.
    pub fn topic_revision(&self, topic: &str) -> Revision {
        self.topics.get(topic).map_or(0, |topic| topic.revision)
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.topics.get(topic_of(key))?.entries.get(key)
    }

    /// The entries whose keys start with `prefix`, which lies within one topic (`pods/`, `pods/default/`),
    /// in the order of keys, from the one after the key `after` on.
    pub fn range<'a>(&'a self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let bounds = (start, Bound::Unbounded);
        let found = self.topics.get(topic_of(prefix)).map(|topic| topic.entries.range::<_, str>(bounds));
        let prefix: Box<str> = prefix.into();
        found.into_iter().flatten().map(|(_, entry)| entry).take_while(move |entry| entry.key.starts_with(&*prefix))
    }

    /// How many entries there are under a prefix. A whole topic (`pods/`) is not counted one by one.
    pub fn count(&self, prefix: &str) -> usize {
        match prefix.strip_suffix('/') {
            Some(topic) if !topic.contains('/') => self.topics.get(topic).map_or(0, |topic| topic.entries.len()),
            _ => self.range(prefix, None).count(),
        }
    }

    /// The topics that have, or had, entries.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|topic| &**topic)
    }

    pub(crate) fn topic_mut(&mut self, topic: &str) -> &mut Topic {
        self.topics.entry(topic.into()).or_default()
    }

    pub(crate) fn put(&mut self, entry: Arc<Entry>) {
        let topic = self.topic_mut(topic_of(&entry.key));
        topic.revision = topic.revision.max(entry.modified);
        topic.entries.insert(Arc::clone(&entry.key), entry);
    }

    pub(crate) fn remove(&mut self, key: &str, revision: Revision) {
        let topic = self.topic_mut(topic_of(key));
        topic.revision = topic.revision.max(revision);
        topic.entries.remove(key);
    }
}
