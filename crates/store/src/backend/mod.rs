//! Where the order of commits comes from (wall W7).
//!
//! A backend decides which transactions happen and at which revisions, and publishes every commit, in
//! order, into the one [`View`] that all reading is served from. That need not be its own commits only:
//! with etcd behind it, preconditions become compares of a transaction, the server assigns the
//! revisions, and what other writers did arrives on the same watch that the own commits come back on;
//! `commit` then returns once the view has reached the revision the server named. What etcd cannot do
//! is fill a template's hole, so such a backend stores the template and fills it on the way in.

mod checkpoint;
mod codec;
pub(crate) mod local;
pub(crate) mod memory;
mod past;
mod record;
mod recovery;
mod sequencer;

pub(crate) use recovery::VERSION_FILE;

use std::{fmt::Debug, pin::Pin};

use journal::JournalError;

use crate::{CommitError, Committed, Transaction};

pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) trait Backend: Debug + Send + Sync {
    /// Returns after the commit was published into the view.
    fn commit(&self, transaction: Transaction) -> Pending<'_, Result<Committed, CommitError>>;

    /// Whether what is committed is kept where it was opened.
    fn check(&self) -> Result<(), JournalError>;

    /// What is kept on disk, in bytes.
    fn stored_bytes(&self) -> u64;

    /// Finishes what was begun; later commits fail with [`CommitError::Closed`].
    fn close(&self) -> Pending<'_, ()>;
}
