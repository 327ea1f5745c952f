//! The store as its callers see it: a view to read, a backend to commit to.

use std::{path::Path, sync::Arc};

use journal::JournalError;
use stdx::Clock;
use tokio::{runtime::Handle, task::AbortHandle};

use crate::{
    CommitError, Committed, Config, HistoryLimits, OpenError, ReadError, Revision, Snapshot, Transaction, Watch,
    backend::{Backend, VERSION_FILE, local::Local, memory::Memory},
    view::View,
};

/// Cheap to clone. Dropping the last clone without [`Store::close`] is like a crash.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    view: Arc<View>,
    backend: Box<dyn Backend>,
    pacer: AbortHandle,
}

impl Store {
    /// Opens the state in a directory of its own. Reads what is there, which takes a moment, so it blocks;
    /// wake-ups of watchers run on the current tokio runtime.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let runtime = Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        let (backend, view) = Local::open(config)?;
        Ok(Self::start(&runtime, Box::new(backend), view))
    }

    /// A store that nothing survives, for tests and trials: it commits at once, in the caller's own thread.
    pub fn in_memory(clock: Arc<dyn Clock>, history: HistoryLimits) -> Result<Self, OpenError> {
        let runtime = Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        let view = Arc::new(View::empty(clock, history));
        Ok(Self::start(&runtime, Box::new(Memory::new(Arc::clone(&view))), view))
    }

    fn start(runtime: &Handle, backend: Box<dyn Backend>, view: Arc<View>) -> Self {
        let pacer = runtime.spawn(View::pace(Arc::downgrade(&view))).abort_handle();
        Self(Arc::new(Inner { view, backend, pacer }))
    }

    /// Returns once the transaction is durable, as far as it asks to be, and can be read. Cancelling does not
    /// undo it.
    pub async fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        self.0.backend.commit(transaction).await
    }

    /// The latest state.
    pub fn snapshot(&self) -> Snapshot {
        self.0.view.snapshot()
    }

    /// The state at a revision of the history. Its cost grows with the changes since, unless it was asked for lately.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, ReadError> {
        self.0.view.snapshot_at(revision)
    }

    /// The changes after a revision to keys under a prefix, which lies within one topic: `pods/`,
    /// `pods/default/`, or a whole key.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, ReadError> {
        Watch::new(Arc::clone(&self.0.view), prefix, after)
    }

    pub fn revision(&self) -> Revision {
        self.0.view.with_current(Snapshot::revision)
    }

    /// The revision of the last change in a topic.
    pub fn topic_revision(&self, topic: &str) -> Revision {
        self.0.view.with_current(|current| current.topic_revision(topic))
    }

    /// The oldest revision [`Store::snapshot_at`] can read.
    pub fn oldest_revision(&self) -> Revision {
        self.0.view.history(|history, _| history.oldest())
    }

    /// Whether the state still lies where it was opened: somebody may have removed or replaced its directory. Cheap,
    /// and no promise that the next commit finds room.
    pub fn check(&self) -> Result<(), JournalError> {
        self.0.backend.check()
    }

    /// What the state takes on disk.
    pub fn stored_bytes(&self) -> u64 {
        self.0.backend.stored_bytes()
    }

    /// Whether there is a state in a directory, or what is left of one.
    pub fn is_in(dir: &Path) -> bool {
        [VERSION_FILE, "journal"].iter().any(|name| dir.join(name).exists())
    }

    /// Writes down what was volatile and lets go of the directory. Commits and watches fail from here on,
    /// for all clones; reading goes on.
    pub async fn close(self) {
        self.0.backend.close().await;
        self.0.view.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.view.close();
        self.pacer.abort();
    }
}
