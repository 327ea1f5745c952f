//! What to look at next: each key once, never two at a time, later again after a failure. What a queue tells of itself
//! is in `measures`.

mod measures;

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub use measures::Queues;

use measures::{Measured, Measures, Now};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::ApiError;

/// When a key that fails is tried again: after a first wait, then after twice as long each time, up to a longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

/// The longest wait after failures that say nothing about the key: once the server is back, nobody waits long.
const LONGEST_WHILE_AWAY: Duration = Duration::from_secs(10);

impl Backoff {
    /// This pace for a failure after which the server is asked again soon, since it gave no answer ([`ApiError::is_away`]).
    pub fn after(self, is_away: bool) -> Self {
        let longest = if is_away { self.longest.min(LONGEST_WHILE_AWAY) } else { self.longest };
        Self { longest, ..self }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(5), longest: Duration::from_secs(900) }
    }
}

/// Keys to work on. Cheap to clone; clones are the same queue. Bounded by the number of keys.
pub struct WorkQueue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    news: Notify,
    measures: Measures,
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or to go there once it is no longer worked on; with since when.
    waiting: BTreeMap<K, Instant>,
    /// With since when.
    working: BTreeMap<K, Instant>,
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
            waiting: BTreeMap::new(),
            working: BTreeMap::new(),
            later: BinaryHeap::new(),
            due: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        let measures = Measures::default();
        Self { shared: Arc::new(Shared { state: Mutex::new(state), news: Notify::new(), measures }) }
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    pub fn add(&self, key: K) {
        self.shared.add(&mut self.shared.state.lock(), key, Instant::now());
        self.shared.news.notify_one();
    }

    /// Adds the key after a while. An earlier time that is already set stays.
    pub fn add_after(&self, key: K, wait: Duration) {
        self.shared.measures.retried();
        self.shared.state.lock().add_at(key, Instant::now() + wait);
        self.shared.news.notify_one();
    }

    /// The next key. It is worked on until [`Self::done`] is called with it; meanwhile it is not given out again.
    pub async fn next(&self) -> K {
        loop {
            let told = self.shared.news.notified();
            let due = {
                let mut state = self.shared.state.lock();
                let now = Instant::now();
                while let Some(key) = state.ripe(now) {
                    self.shared.add(&mut state, key, now);
                }
                if let Some((key, since)) = state.take(now) {
                    self.shared.measures.taken(now - since);
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
        if let Some(since) = state.working.remove(key) {
            self.shared.measures.done(since.elapsed());
        }
        if state.waiting.contains_key(key) {
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
        self.retry_at(key, Backoff::default())
    }

    /// As [`Self::retry`], after this answer of the server, or none.
    pub fn retry_after(&self, key: K, error: &ApiError) -> Duration {
        self.retry_at(key, Backoff::default().after(error.is_away()))
    }

    /// As [`Self::retry`], at a pace of its own. Failures beyond the longest wait are not counted: a later one of another
    /// pace goes on from there.
    pub fn retry_at(&self, key: K, pace: Backoff) -> Duration {
        let mut state = self.shared.state.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let grown = pace.first.saturating_mul(1 << (*failures).min(30));
        let wait = grown.min(pace.longest);
        if grown < pace.longest {
            *failures += 1;
        }
        self.shared.measures.retried();
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

impl<K: Ord + Clone> Shared<K> {
    fn add(&self, state: &mut State<K>, key: K, now: Instant) {
        if !state.waiting.contains_key(&key) {
            self.measures.added();
            state.add(key, now);
        }
    }
}

impl<K: Send> Measured for Shared<K> {
    fn measures(&self) -> &Measures {
        &self.measures
    }

    fn now(&self) -> Now {
        let state = self.state.lock();
        Now { depth: state.ready.len(), working: state.working.values().map(Instant::elapsed).collect() }
    }
}

impl<K: Ord + Clone> State<K> {
    /// A key that is not waiting yet.
    fn add(&mut self, key: K, now: Instant) {
        self.waiting.insert(key.clone(), now);
        if !self.working.contains_key(&key) {
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

    /// A key that is due.
    fn ripe(&mut self, now: Instant) -> Option<K> {
        while self.later.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Reverse((due, key)) = self.later.pop()?;
            if self.due.get(&key) == Some(&due) {
                self.due.remove(&key);
                return Some(key);
            }
        }
        None
    }

    /// The next key, and since when it waits.
    fn take(&mut self, now: Instant) -> Option<(K, Instant)> {
        let key = self.ready.pop_front()?;
        let since = self.waiting.remove(&key).unwrap_or(now);
        self.working.insert(key.clone(), now);
        Some((key, since))
    }
}
