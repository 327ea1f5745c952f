//! A watcher: a cursor into a topic's log, and a wake-up.

use std::sync::Arc;

use crate::{
    Event, ReadError, Revision, WatchError, bell::Listener, entry::topic_of, history::first_after, lineage::Lineage,
    view::View,
};

/// Events handed out at once, at most,
const BATCH: usize = 256;
/// and no more than it takes for their values to reach this: each watcher copies its batch, into a chunk that is
/// small enough for the allocator to have one at hand.
const BATCH_BYTES: usize = 56 * 1024;

#[derive(Debug)]
pub struct Watch {
    view: Arc<View>,
    log: usize,
    prefix: Box<str>,
    /// All events up to here have been handed out.
    cursor: Revision,
    bell: Listener,
}

impl Watch {
    pub(crate) fn new(view: Arc<View>, prefix: &str, after: Revision) -> Result<Self, ReadError> {
        let (log, bell) = view.history(|history, current| {
            let log = history.topic(topic_of(prefix));
            if after > current.revision {
                return Err(ReadError::Future { current: current.revision });
            }
            history.check(after, history.oldest_of(log))?;
            Ok((log, history.log(log).bell.listener()))
        })?;
        Ok(Self { view, log, prefix: prefix.into(), cursor: after, bell })
    }

    /// Waits for events and appends some of them, in order. Returns the revision up to which all have
    /// been handed out. Cancelling loses nothing.
    pub async fn next(&mut self, batch: &mut Vec<Arc<Event>>) -> Result<Revision, WatchError> {
        let before = batch.len();
        loop {
            self.bell.listen();
            let revision = self.try_next(batch)?;
            if batch.len() > before {
                return Ok(revision);
            }
            if self.view.is_closed() {
                return Err(WatchError::Closed);
            }
            self.bell.rung().await;
        }
    }

    /// Like [`Watch::next`] without waiting. Where there are no events, the revision still advances: that is
    /// a bookmark's.
    pub fn try_next(&mut self, batch: &mut Vec<Arc<Event>>) -> Result<Revision, WatchError> {
        let (oldest, revision, news) = self.view.history(|history, current| {
            let changes = &history.log(self.log).changes;
            // All that a quiet watcher needs is the revision.
            let news = changes.back().is_some_and(|slot| slot.change.revision > self.cursor);
            (history.oldest_of(self.log), current.revision, news.then(|| (changes.clone(), current.clone())))
        });
        if self.cursor < oldest {
            return Err(WatchError::Lagged { oldest });
        }
        if let Some((changes, current)) = news {
            let lineage = Lineage { changes: &changes, current: &current, unpacked: &self.view.unpacked };
            let (full, mut bytes) = (batch.len() + BATCH, 0);
            for index in first_after(&changes, self.cursor)..changes.len() {
                let change = &changes[index].change;
                // A commit's events are not torn apart: the cursor lies between revisions.
                let is_full = batch.len() >= full || bytes >= BATCH_BYTES;
                if is_full && change.revision > self.cursor {
                    return Ok(self.cursor);
                }
                if change.key.starts_with(&*self.prefix) {
                    let lagged = WatchError::Lagged { oldest: revision };
                    let event = lineage.event(index).ok_or(lagged)?;
                    bytes += event.entry.value.len();
                    batch.push(event);
                }
                self.cursor = change.revision;
            }
        }
        self.cursor = revision;
        Ok(revision)
    }
}
