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
    /// Records that had been durable are not there.
    #[error(
        "{} holds whole records up to byte {offset} only ({what}), but {records} more had been durable after them",
        segment.display()
    )]
    Lost { segment: PathBuf, offset: u64, what: &'static str, records: u64 },
    /// The file that marks the end is missing, or holds no mark, while there are segments.
    #[error(
        "{} is missing or not whole: it tells how far the records beside it had been durable, and without it nothing \
         shows whether any of them are lost",
        .0.display()
    )]
    Unmarked(PathBuf),
    /// The last of several segments is not what follows the one before it.
    #[error("{} {what}", segment.display())]
    Astray { segment: PathBuf, what: &'static str },
    /// A file was removed or replaced by somebody else.
    #[error("{} is not there any more", .0.display())]
    Gone(PathBuf),
    #[error("{} holds a journal already", .0.display())]
    Exists(PathBuf),
    /// The record was dropped, or its segment is missing.
    #[error("record {sequence} is not in the journal; the next one there is {next}")]
    Missing { sequence: u64, next: u64 },
    #[error("{size} bytes are more than the journal's limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    /// The cause is part of the message, and so not a source beside it.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
}

impl JournalError {
    /// Whether what was durable is not there, or is not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Lost { .. } | Self::Unmarked(_) | Self::Astray { .. } => true,
            Self::Gone(_) | Self::Missing { .. } => true,
            Self::Exists(_) | Self::TooLarge { .. } | Self::Io { .. } => false,
        }
    }
}

/// Says which operation on which path an [`io::Error`] came from.
pub(crate) trait Context<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, JournalError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, JournalError> {
        self.map_err(|cause| JournalError::Io { action, path: path.to_owned(), cause })
    }
}
