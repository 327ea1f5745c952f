//! How a store is opened.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use journal::{Disk, JournalError, SystemDisk};
use stdx::{Clock, Random, SystemClock, SystemRandom};
use thiserror::Error;

/// How much of the past is kept; what any one limit excludes is dropped.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    pub max_age: Duration,
    /// Memory for superseded values and for the changes themselves.
    pub max_bytes: usize,
    /// Of `max_bytes`, what may hold superseded values as they were; older ones are compressed.
    pub raw_bytes: usize,
    /// Disk for the journal that the history is read from after a restart.
    pub max_journal_bytes: u64,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(3600),
            max_bytes: 64 << 20,
            raw_bytes: 4 << 20,
            max_journal_bytes: 512 << 20,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Config {
    pub dir: PathBuf,
    pub history: HistoryLimits,
    /// A checkpoint is due after the journal has grown by this, or by the size of the last checkpoint if that is more.
    pub checkpoint_bytes: u64,
    pub segment_bytes: u64,
    pub max_transaction_bytes: usize,
    /// Whether to go on with what is left where the end of the journal is lost, instead of refusing to open.
    pub accept_loss: bool,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub disk: Arc<dyn Disk>,
}

impl Config {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            history: HistoryLimits::default(),
            checkpoint_bytes: 32 << 20,
            segment_bytes: 8 << 20,
            max_transaction_bytes: 16 << 20,
            accept_loss: false,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::default()),
            disk: Arc::new(SystemDisk),
        }
    }
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error("{} holds state of version {found:?}, which this program does not know", dir.display())]
    Version { dir: PathBuf, found: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A file of the store's own is not what was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    /// The cause is part of the message, and so not a source beside it.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
    #[error("a store needs a tokio runtime to be opened in")]
    NoRuntime,
}

impl OpenError {
    /// Whether what was durable is not there, or is not what was written.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. }) || matches!(self, Self::Journal(error) if error.is_damage())
    }

    /// Damage that [`Config::accept_loss`] gets past.
    pub fn is_lost_end(&self) -> bool {
        matches!(
            self,
            Self::Journal(JournalError::Lost { .. } | JournalError::Unmarked(_) | JournalError::Astray { .. })
        )
    }
}
