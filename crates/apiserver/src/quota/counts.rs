//! The tallies of one namespace's quotas, and how far they have followed the store.
//!
//! A count starts from a snapshot and goes on from the changes after it. Changes may be seen twice, or be older than
//! the snapshot: an object is counted by its key, so that once all changes are seen its last state counts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use api::quota::{Counted, last_second};
use serde_json::Value;
use store::{Entry, EventKind, Snapshot, Store, Watch, WatchError};

use super::{QUOTAS, tally::Tally};
use crate::engine::object::Stored;

/// The topic of what can cease to count by itself.
const PODS: &str = "pods";
/// Objects that are counted before others get their turn.
const OBJECTS_AT_ONCE: usize = 256;

#[derive(Debug, Default)]
pub struct Counts {
    /// By the key of the quota; with its revision.
    tallies: BTreeMap<Arc<str>, (u64, Tally)>,
    /// By topic.
    cursors: HashMap<String, Watch>,
    /// Pods that are being deleted, by the second after which they count no longer.
    ending: BTreeSet<(i64, Arc<str>)>,
}

/// A quota that cannot be read, or the end of the store.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    #[error("the stored quota {0:?} cannot be decoded")]
    Damaged(Arc<str>),
    #[error("the server is shutting down")]
    Closed,
}

impl Counts {
    pub fn tallies(&self) -> impl Iterator<Item = (&Arc<str>, &Tally)> {
        self.tallies.iter().map(|(key, (_, tally))| (key, tally))
    }

    /// When a pod next ceases to count although nothing changes.
    pub fn next_second(&self) -> Option<i64> {
        self.ending.first().map(|(last, _)| last.saturating_add(1))
    }

    /// Brings the tallies in step with the store: those quotas, and the objects in these topics (of all, where there
    /// is none given).
    pub async fn follow(
        &mut self,
        store: &Store,
        namespace: &str,
        topic: Option<&str>,
        now_seconds: i64,
    ) -> Result<(), CountError> {
        self.take_quotas(store, namespace, now_seconds).await?;
        if topic.is_none_or(|topic| topic == PODS) {
            self.end(&store.snapshot(), now_seconds).await;
        }
        let topics: Vec<String> =
            self.cursors.keys().filter(|of| topic.is_none_or(|topic| topic == *of)).cloned().collect();
        for topic in topics {
            self.catch_up(store, namespace, &topic, now_seconds).await?;
        }
        Ok(())
    }

    /// Follows the quotas themselves: counts for new ones, forgets those that are gone.
    async fn take_quotas(&mut self, store: &Store, namespace: &str, now_seconds: i64) -> Result<(), CountError> {
        let snapshot = store.snapshot();
        let prefix = format!("{QUOTAS}/{namespace}/");
        self.tallies.retain(|key, _| snapshot.get(key).is_some());
        for entry in snapshot.range(&prefix, None) {
            let known = self.tallies.get_mut(&entry.key);
            if known.as_ref().is_some_and(|(revision, _)| *revision == entry.modified) {
                continue;
            }
            let quota = Stored::of(entry).and_then(|stored| stored.decode().ok());
            let quota = Arc::new(quota.ok_or_else(|| CountError::Damaged(Arc::clone(&entry.key)))?);
            if let Some((revision, tally)) = known
                && tally.succeed(&quota)
            {
                *revision = entry.modified;
                continue;
            }
            // Whole, or not at all: a request may be dropped while it counts.
            let mut tally = Tally::new(quota);
            for topic in tally.topics() {
                self.cursor(store, namespace, &topic, &snapshot)?;
                count(&mut tally, &mut self.ending, &snapshot, &format!("{topic}/{namespace}/"), now_seconds).await;
            }
            self.tallies.insert(Arc::clone(&entry.key), (entry.modified, tally));
        }
        let needed: BTreeSet<String> = self.tallies().flat_map(|(_, tally)| tally.topics()).collect();
        self.cursors.retain(|topic, _| needed.contains(topic));
        Ok(())
    }

    /// Has a cursor that sees all changes after the snapshot.
    fn cursor(&mut self, store: &Store, namespace: &str, topic: &str, snapshot: &Snapshot) -> Result<(), CountError> {
        if !self.cursors.contains_key(topic) {
            let watch = store.watch(&format!("{topic}/{namespace}/"), snapshot.revision());
            self.cursors.insert(topic.to_owned(), watch.map_err(|_| CountError::Closed)?);
        }
        Ok(())
    }

    async fn catch_up(
        &mut self,
        store: &Store,
        namespace: &str,
        topic: &str,
        now_seconds: i64,
    ) -> Result<(), CountError> {
        let mut batch = Vec::new();
        while let Some(cursor) = self.cursors.get_mut(topic) {
            match cursor.try_next(&mut batch) {
                Ok(_) if batch.is_empty() => return Ok(()),
                Ok(_) => {}
                Err(WatchError::Lagged { .. }) => {
                    self.recount(store, namespace, topic, now_seconds).await?;
                    continue;
                }
                Err(WatchError::Closed) => return Err(CountError::Closed),
            }
            let counted = Counted::at(topic);
            for event in batch.drain(..) {
                match event.kind {
                    EventKind::Put => {
                        let tallies = self.tallies.values_mut().map(|(_, tally)| tally);
                        recharge(tallies, &mut self.ending, counted, &event.entry, now_seconds);
                    }
                    EventKind::Delete => {
                        self.tallies.values_mut().for_each(|(_, tally)| tally.remove(&event.entry.key));
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts the objects of a topic anew: what happened to them meanwhile is no longer known.
    async fn recount(
        &mut self,
        store: &Store,
        namespace: &str,
        topic: &str,
        now_seconds: i64,
    ) -> Result<(), CountError> {
        // Until the count is finished the old cursor stays, and says again that it has fallen behind.
        let snapshot = store.snapshot();
        let prefix = format!("{topic}/{namespace}/");
        for (_, tally) in self.tallies.values_mut() {
            tally.clear(&prefix);
            if tally.topics().contains(topic) {
                count(tally, &mut self.ending, &snapshot, &prefix, now_seconds).await;
            }
        }
        self.cursors.remove(topic);
        self.cursor(store, namespace, topic, &snapshot)
    }

    /// Counts no longer what should be gone by now.
    async fn end(&mut self, snapshot: &Snapshot, now_seconds: i64) {
        let mut pods = 0;
        while let Some((last, key)) = self.ending.first().cloned()
            && last < now_seconds
        {
            if let Some(entry) = snapshot.get(&key) {
                let tallies = self.tallies.values_mut().map(|(_, tally)| tally);
                recharge(tallies, &mut self.ending, Counted::of(PODS), entry, now_seconds);
            }
            self.ending.remove(&(last, key));
            pods += 1;
            if pods % OBJECTS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn count(
    tally: &mut Tally,
    ending: &mut BTreeSet<(i64, Arc<str>)>,
    snapshot: &Snapshot,
    prefix: &str,
    now_seconds: i64,
) {
    let counted = Counted::at(prefix.split('/').next().unwrap_or_default());
    for (index, entry) in snapshot.range(prefix, None).enumerate() {
        recharge([&mut *tally], ending, counted, entry, now_seconds);
        if index % OBJECTS_AT_ONCE == OBJECTS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// Counts one object as it is in this entry.
fn recharge<'t>(
    tallies: impl IntoIterator<Item = &'t mut Tally>,
    ending: &mut BTreeSet<(i64, Arc<str>)>,
    counted: Counted<'_>,
    entry: &Entry,
    now_seconds: i64,
) {
    let mut object = Value::Null;
    if counted.reads_objects() {
        match Stored::of(entry).and_then(|stored| stored.decode().ok()) {
            Some(decoded) => object = decoded,
            None => tracing::warn!(key = &*entry.key, "cannot be decoded; counts as one object of its kind"),
        }
    }
    for tally in tallies {
        let charge = tally.charge(counted, &object, now_seconds);
        tally.set(&entry.key, charge);
    }
    if counted == Counted::of(PODS)
        && let Some(last) = last_second(&object).filter(|last| *last >= now_seconds)
    {
        ending.insert((last, Arc::clone(&entry.key)));
    }
}
