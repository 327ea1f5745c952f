//! What readers see: the current state, the history, and the wake-ups of watchers. Backends publish into it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use stdx::Clock;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    Event, HistoryLimits, ReadError, Revision, Snapshot,
    history::{Change, Changes, History, Moment},
    lineage::rewind,
    pack::Packed,
    unpacked::Unpacked,
};

/// So many watchers of a topic are woken by every commit. The more there are beyond them, the less often
/// all are woken: each costs a write to its connection, however many events go into it. This bounds what
/// waking the watchers of a topic costs to a share of one processor.
const PROMPT_WATCHERS: usize = 16;
const REST_PER_WATCHER: Duration = Duration::from_micros(250);
const MAX_REST: Duration = Duration::from_millis(50);
/// Past snapshots kept for those who read on at the same revision: the next page of a list.
const PAST_SNAPSHOTS: usize = 4;
/// A past snapshot keeps superseded values alive, so one that nobody has read for this long goes.
const PAST_IDLE_MS: i64 = 30_000;

/// The changes of one commit, ready to be seen.
#[derive(Debug)]
pub(crate) struct Commit {
    pub moment: Moment,
    pub changes: Vec<(Change, Arc<Event>)>,
}

/// A change read from the journal after a restart, with the value it left.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub moment: Moment,
    pub change: Change,
    pub value: Bytes,
}

#[derive(Debug)]
pub(crate) struct View {
    current: ArcSwap<Snapshot>,
    /// Locked also while `current` is replaced: under the lock the two belong together.
    history: Mutex<History>,
    /// With the time of their last use.
    past: Mutex<VecDeque<(i64, Snapshot)>>,
    pub unpacked: Unpacked,
    roused: Arc<Notify>,
    closed: AtomicBool,
    pub clock: Arc<dyn Clock>,
}

impl View {
    pub fn new(clock: Arc<dyn Clock>, current: Snapshot, history: History) -> Self {
        Self {
            current: ArcSwap::from_pointee(current),
            history: Mutex::new(history),
            past: Mutex::default(),
            unpacked: Unpacked::default(),
            roused: Arc::default(),
            closed: AtomicBool::new(false),
            clock,
        }
    }

    pub fn empty(clock: Arc<dyn Clock>, limits: HistoryLimits) -> Self {
        Self::new(clock, Snapshot::default(), History::new(limits, 0))
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.current.load())
    }

    pub fn with_current<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(&self.current.load())
    }

    /// Shows commits, which are in order and have led to `current`, to readers and watchers.
    pub fn publish(&self, current: Snapshot, commits: impl IntoIterator<Item = Commit>) {
        let now_ms = self.now_ms();
        let (oldest, rouses) = {
            let mut history = self.history.lock();
            let mut rouses = false;
            for commit in commits {
                for (change, event) in commit.changes {
                    rouses |= history.push(commit.moment, change, Some(event));
                }
            }
            history.trim(now_ms);
            self.current.store(Arc::new(current));
            (history.oldest(), rouses)
        };
        self.past.lock().retain(|(used_ms, past)| past.revision >= oldest && now_ms - used_ms < PAST_IDLE_MS);
        if rouses {
            self.roused.notify_one();
        }
    }

    pub fn history<T>(&self, read: impl FnOnce(&mut History, &Snapshot) -> T) -> T {
        let mut history = self.history.lock();
        read(&mut history, &self.current.load())
    }

    /// Gives the history the changes before its oldest ones. `false` where it wants no older ones.
    pub fn prepend(&self, floor: Revision, older: Vec<Loaded>) -> bool {
        self.with_current(|current| settle(&older, current));
        self.history(|history, current| {
            settle(&older, current);
            history.prepend(floor, older.into_iter().map(|loaded| (loaded.moment, loaded.change)).collect())
        })
    }

    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, ReadError> {
        let current = self.snapshot();
        if revision >= current.revision {
            let future = ReadError::Future { current: current.revision };
            return if revision == current.revision { Ok(current) } else { Err(future) };
        }
        let now_ms = self.now_ms();
        if let Some((used_ms, past)) = self.past.lock().iter_mut().find(|(_, past)| past.revision == revision) {
            *used_ms = now_ms;
            return Ok(past.clone());
        }
        let (current, logs) = self.history(|history, current| {
            history.check(revision, history.oldest())?;
            let changed = history.topics().filter(|(topic, _)| current.topic_revision(topic) > revision);
            let logs: Vec<(Arc<str>, Changes)> =
                changed.map(|(topic, log)| (Arc::clone(topic), log.changes.clone())).collect();
            Ok((current.clone(), logs))
        })?;
        let past = rewind(&current, &logs, revision, &self.unpacked)
            .ok_or(ReadError::Compacted { oldest: current.revision })?;
        let mut kept = self.past.lock();
        if kept.len() == PAST_SNAPSHOTS {
            kept.pop_front();
        }
        kept.push_back((now_ms, past.clone()));
        Ok(past)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.history(|history, _| history.logs_mut().iter().for_each(|log| log.bell.ring()));
    }

    /// Wakes the watchers of the topics that have changed and do not rest; when the next one has rested.
    fn wake(&self, now: Instant) -> Option<Instant> {
        let mut history = self.history.lock();
        let mut next = None;
        for log in history.logs_mut().iter_mut().filter(|log| log.dirty) {
            if let Some(rested) = log.rests_until.filter(|rested| *rested > now) {
                next = next.into_iter().chain([rested]).min();
                continue;
            }
            log.dirty = false;
            log.bell.ring();
            log.rests_until = Some(now + rest_after(log.bell.listeners()));
        }
        next
    }

    /// Wakes watchers: at once after a quiet time of their topic, and then at intervals.
    pub async fn pace(view: Weak<Self>) {
        let mut next = None;
        while let Some(roused) = view.upgrade().map(|view| Arc::clone(&view.roused)) {
            tokio::select! {
                biased;
                () = roused.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            next = view.upgrade().and_then(|view| view.wake(Instant::now()));
        }
    }
}

/// How long a topic is left alone after so many watchers were woken.
fn rest_after(watchers: usize) -> Duration {
    let beyond = u32::try_from(watchers.saturating_sub(PROMPT_WATCHERS)).unwrap_or(u32::MAX);
    REST_PER_WATCHER.saturating_mul(beyond).min(MAX_REST)
}

/// Gives changes their own values where neither the next change nor the current state leads to them.
fn settle(older: &[Loaded], current: &Snapshot) {
    for Loaded { change, value, .. } in older {
        let is_current = || current.get(&change.key).is_some_and(|entry| entry.modified == change.revision);
        if change.own.get().is_none() && change.next.load(Ordering::Acquire) == 0 && !is_current() {
            change.own.get_or_init(|| Packed::alone(value));
        }
    }
}
