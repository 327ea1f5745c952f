//! What is stored and what watchers see of it.

use std::{io::Write, sync::Arc};

use bytes::Bytes;

/// The number of a commit. Revisions rise; not every one of them is used.
pub type Revision = u64;

/// One version of one key. Keys look like `pods/default/nginx`; the first segment is the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    pub created: Revision,
    pub modified: Revision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Put,
    Delete,
}

/// One change of one key, shared by all its watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub revision: Revision,
    pub kind: EventKind,
    /// The new version, or the final state of what was deleted.
    pub entry: Arc<Entry>,
    pub previous: Option<Arc<Entry>>,
}

/// A value with at most one hole, which takes the decimal revision of the commit that stores it.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Bytes,
    hole: Option<usize>,
}

impl Template {
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), hole: None }
    }

    /// The revision goes between `bytes[..offset]` and `bytes[offset..]`; an offset past the end is the end.
    pub fn with_revision_at(bytes: impl Into<Bytes>, offset: usize) -> Self {
        let bytes = bytes.into();
        let hole = Some(offset.min(bytes.len()));
        Self { bytes, hole }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The value, in memory of exactly its size.
    pub fn fill(&self, revision: Revision) -> Bytes {
        let Some(hole) = self.hole else { return Bytes::copy_from_slice(&self.bytes) };
        let digits = revision.checked_ilog10().unwrap_or(0) as usize + 1;
        let mut value = Vec::with_capacity(self.bytes.len() + digits);
        value.extend_from_slice(&self.bytes[..hole]);
        // Writing to a Vec does not fail.
        let _ = write!(value, "{revision}");
        value.extend_from_slice(&self.bytes[hole..]);
        value.into()
    }
}

/// The topic of a key, or of a prefix that lies within one.
pub(crate) fn topic_of(key: &str) -> &str {
    key.split_once('/').map_or(key, |(topic, _)| topic)
}
