//! What to look at next: each key once, never two at a time, later again after a failure.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// A key that fails is tried again after 5 ms, then twice as long each time, up to a quarter of an hour.
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LONGEST_RETRY: Duration = Duration::from_secs(900);

/// Keys to work on. Cheap to clone; clones are the same queue. Bounded by the number of keys.
pub struct WorkQueue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    news: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or to go there once it is no longer worked on.
    waiting: BTreeSet<K>,
    working: BTreeSet<K>,
    later: BinaryHeap<Reverse<(Instant, K)>>,
    /// When a key is due that is in `later`; entries of the heap that differ are stale.
    due: BTreeMap<K, Instant>,
    failures: BTreeMap<K, u32>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Ord + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            working: BTreeSet::new(),
            later: BinaryHeap::new(),
            due: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), news: Notify::new() }) }
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    pub fn add(&self, key: K) {
        self.shared.state.lock().add(key);
        self.shared.news.notify_one();
    }

    /// Adds the key after a while. An earlier time that is already set stays.
    pub fn add_after(&self, key: K, wait: Duration) {
        self.shared.state.lock().add_at(key, Instant::now() + wait);
        self.shared.news.notify_one();
    }

    /// The next key. It is worked on until [`Self::done`] is called with it; meanwhile it is not given out again.
    pub async fn next(&self) -> K {
        loop {
            let told = self.shared.news.notified();
            let due = {
                let mut state = self.shared.state.lock();
                state.ripen(Instant::now());
                if let Some(key) = state.take() {
                    // Others may wait for what is left.
                    if !state.ready.is_empty() {
                        self.shared.news.notify_one();
                    }
                    return key;
                }
                state.later.peek().map(|Reverse((due, _))| *due)
            };
            match due {
                None => told.await,
                Some(due) => tokio::select! {
                    biased;
                    () = told => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// The key's work is over; what was added meanwhile is up next.
    pub fn done(&self, key: &K) {
        let mut state = self.shared.state.lock();
        state.working.remove(key);
        if state.waiting.contains(key) {
            state.ready.push_back(key.clone());
            self.shared.news.notify_one();
        }
    }

    /// The key's work went well: its next failure counts as its first.
    pub fn forget_failures(&self, key: &K) {
        self.shared.state.lock().failures.remove(key);
    }

    /// The key's work failed: adds it again after its back-off, which is returned.
    pub fn retry(&self, key: K) -> Duration {
        let mut state = self.shared.state.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let wait = FIRST_RETRY.saturating_mul(1 << (*failures).min(30)).min(LONGEST_RETRY);
        *failures += 1;
        state.add_at(key, Instant::now() + wait);
        self.shared.news.notify_one();
        wait
    }

    /// Whether there is nothing to work on now or later.
    pub fn is_idle(&self) -> bool {
        let state = self.shared.state.lock();
        state.waiting.is_empty() && state.working.is_empty() && state.due.is_empty()
    }
}

impl<K: Ord + Clone> State<K> {
    fn add(&mut self, key: K) {
        if self.waiting.insert(key.clone()) && !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: K, due: Instant) {
        if self.due.get(&key).is_some_and(|set| *set <= due) {
            return;
        }
        self.due.insert(key.clone(), due);
        self.later.push(Reverse((due, key)));
    }

    /// Moves what is due to what is ready.
    fn ripen(&mut self, now: Instant) {
        while let Some(Reverse((due, _))) = self.later.peek() {
            if *due > now {
                return;
            }
            let Some(Reverse((due, key))) = self.later.pop() else { return };
            if self.due.get(&key) == Some(&due) {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}
