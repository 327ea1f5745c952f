//! What can go wrong with a journal.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum JournalError {
    /// Bytes that had been durable are not what was written.
    #[error("{} is damaged at byte {offset}: {what}", segment.display())]
    Corrupt { segment: PathBuf, offset: u64, what: &'static str },
    /// The record was dropped, or its segment is missing.
    #[error("record {sequence} is not in the journal; the next one there is {next}")]
    Missing { sequence: u64, next: u64 },
    #[error("{size} bytes are more than the journal's limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// Says which operation on which path an [`io::Error`] came from.
pub(crate) trait Context<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, JournalError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, JournalError> {
        self.map_err(|source| JournalError::Io { action, path: path.to_owned(), source })
    }
}
