//! What callers ask of the store, and the answers other than data.

use std::sync::Arc;

use journal::JournalError;
use thiserror::Error;

use crate::{Entry, Revision, Template, entry::topic_of};

/// What a key must be for a transaction to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Modified(Revision),
    Present,
}

#[derive(Debug, Clone)]
pub enum Operation {
    Put {
        key: Arc<str>,
        value: Template,
    },
    /// `last` is the final state, shown to watchers with the deletion's revision. The key must be there.
    Delete {
        key: Arc<str>,
        last: Template,
    },
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before it is acknowledged.
    #[default]
    Durable,
    /// For heartbeats: does not reach the disk by itself, and after a crash may be gone. A
    /// transaction that creates or deletes a key is durable whatever it says.
    Volatile,
}

/// Happens as a whole at one revision, or not at all. No key may be operated on twice.
#[derive(Debug, Default, Clone)]
pub struct Transaction {
    pub expects: Vec<(Arc<str>, Expect)>,
    pub operations: Vec<Operation>,
    pub durability: Durability,
}

#[derive(Debug, Clone)]
pub struct Committed {
    pub revision: Revision,
    /// One for each operation, in order.
    pub entries: Vec<Arc<Entry>>,
}

#[derive(Debug, Clone, Error)]
pub enum CommitError {
    #[error("{key} is not what the transaction expects")]
    Conflict { key: Arc<str>, actual: Option<Arc<Entry>> },
    /// Nothing was stored, and it may work later; only a crash right after may still bring the transaction to light.
    #[error("the state cannot be made durable: {0}")]
    Storage(Arc<JournalError>),
    #[error("a transaction of {size} bytes is more than the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("{0} is not a key, or is operated on twice")]
    Malformed(Arc<str>),
    #[error("the store is closed")]
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The oldest revision that can still be read.
    #[error("the revision is no longer kept; the oldest one is {oldest}")]
    Compacted { oldest: Revision },
    #[error("the revision is later than the current one, {current}")]
    Future { current: Revision },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WatchError {
    /// Events the watcher has not read are no longer kept.
    #[error("the watch fell behind the history, which starts after revision {oldest}")]
    Lagged { oldest: Revision },
    #[error("the store is closed")]
    Closed,
}

impl Operation {
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    fn template(&self) -> &Template {
        match self {
            Self::Put { value, .. } => value,
            Self::Delete { last, .. } => last,
        }
    }
}

impl Transaction {
    pub(crate) fn size(&self) -> usize {
        self.operations.iter().map(|operation| operation.key().len() + operation.template().len()).sum()
    }

    pub(crate) fn check_shape(&self, limit: usize) -> Result<(), CommitError> {
        let size = self.size();
        if size > limit {
            return Err(CommitError::TooLarge { size, limit });
        }
        let is_key = |key: &str| topic_of(key).len() + 1 < key.len() && !key.starts_with('/');
        let mut keys: Vec<&Arc<str>> = self.operations.iter().map(Operation::key).collect();
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        match keys.iter().find(|key| !is_key(key)).copied().or(twice) {
            Some(key) => Err(CommitError::Malformed(Arc::clone(key))),
            None => Ok(()),
        }
    }
}
