//! The backend of a store that nothing survives. It needs no thread and no disk, so that it works under a
//! paused clock.

use std::sync::Arc;

use journal::JournalError;
use parking_lot::Mutex;

use crate::{
    CommitError, Committed, Transaction,
    backend::{Backend, Pending, sequencer::decide},
    history::Moment,
    view::View,
};

const MAX_TRANSACTION_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(crate) struct Memory {
    view: Arc<View>,
    /// Held while committing; `true` once closed.
    closed: Mutex<bool>,
}

impl Memory {
    pub fn new(view: Arc<View>) -> Self {
        Self { view, closed: Mutex::new(false) }
    }

    fn commit_now(&self, transaction: &Transaction) -> Result<Committed, CommitError> {
        transaction.check_shape(MAX_TRANSACTION_BYTES)?;
        let closed = self.closed.lock();
        if *closed {
            return Err(CommitError::Closed);
        }
        let mut state = self.view.snapshot();
        let moment = Moment { revision: state.revision + 1, sequence: 0, at_ms: self.view.now_ms() };
        let decided = decide(&mut state, transaction, moment)?;
        self.view.publish(state, [decided.commit]);
        Ok(decided.committed)
    }
}

impl Backend for Memory {
    fn commit(&self, transaction: Transaction) -> Pending<'_, Result<Committed, CommitError>> {
        Box::pin(async move { self.commit_now(&transaction) })
    }

    fn check(&self) -> Result<(), JournalError> {
        Ok(())
    }

    fn stored_bytes(&self) -> u64 {
        0
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async { *self.closed.lock() = true })
    }
}
