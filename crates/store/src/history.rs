//! The changes of the recent past: one log a topic, shared by all watchers of the topic, within limits
//! that hold over all topics.
//!
//! The newest changes hold their events as they are (raw); older ones hold the value they replaced in
//! packed form, and `lineage` makes events of them again.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use imbl::Vector;
use tokio::time::Instant;

use crate::{Entry, Event, EventKind, HistoryLimits, ReadError, Revision, bell::Bell, entry::topic_of, pack::Packed};

/// What a change costs besides its values, roughly: itself, its slot and its moment.
const CHANGE_BYTES: usize = 200;

#[derive(Debug)]
pub(crate) struct Change {
    pub revision: Revision,
    pub kind: EventKind,
    pub key: Arc<str>,
    /// Of the entry, as are those of `before`.
    pub created: Revision,
    pub before: Option<Before>,
    /// The value this change left, where the next change of the key does not lead back to it: a
    /// deletion's final state, and what a lost volatile write came after.
    pub own: OnceLock<Packed>,
    /// The revision of the next change of the key; 0 while this is the latest.
    pub next: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Before {
    pub created: Revision,
    pub modified: Revision,
    pub value: Packed,
}

#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub change: Arc<Change>,
    pub event: Option<Arc<Event>>,
}

pub(crate) type Changes = Vector<Slot>;

/// When and where the changes of one commit happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub revision: Revision,
    /// The journal's sequence number at the time: at or before the commit's own record.
    pub sequence: u64,
    pub at_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Log {
    pub changes: Changes,
    /// How many of the newest hold their event.
    raw: usize,
    /// The revision of the newest change that was dropped.
    pub dropped: Revision,
    pub bell: Bell,
    /// Changed since its watchers, if it has any, were last woken.
    pub dirty: bool,
    /// When its watchers may be woken again.
    pub rests_until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct History {
    limits: HistoryLimits,
    logs: Vec<Log>,
    topics: HashMap<Arc<str>, usize>,
    /// All changes in order: their moment and their log.
    order: VecDeque<(Moment, usize)>,
    raw: usize,
    raw_bytes: usize,
    packed_bytes: usize,
    /// Changes up to here were never in this history, or have been dropped.
    oldest: Revision,
    /// Changes up to here were never in this history.
    base: Revision,
    /// Revisions that may have been given out before the state was left without being closed, and of which nothing was
    /// written down: nobody can be told what came after one of them.
    pub lost: Range<Revision>,
    /// Set while older changes are still to be prepended.
    pub loading: bool,
}

impl Change {
    pub fn new(event: &Event) -> Self {
        let before = event.previous.as_ref().map(|previous| Before {
            created: previous.created,
            modified: previous.modified,
            value: Packed::by_successor(&previous.value, previous.modified, &event.entry.value),
        });
        Self::recorded(event.kind, &event.entry, before, event.revision)
    }

    /// A change as the journal has it: `entry` is what it left.
    pub fn recorded(kind: EventKind, entry: &Entry, before: Option<Before>, revision: Revision) -> Self {
        let own = match kind {
            EventKind::Put => OnceLock::new(),
            EventKind::Delete => Packed::alone(&entry.value).into(),
        };
        let (key, created) = (Arc::clone(&entry.key), entry.created);
        Self { revision, kind, key, created, before, own, next: AtomicU64::new(0) }
    }

    fn packed_bytes(&self) -> usize {
        let before = self.before.as_ref().map_or(0, |before| before.value.bytes.len());
        CHANGE_BYTES + before + self.own.get().map_or(0, |own| own.bytes.len())
    }
}

/// What an event keeps in memory that the current state does not.
fn raw_bytes(event: &Event) -> usize {
    let deleted = if event.kind == EventKind::Delete { event.entry.value.len() } else { 0 };
    CHANGE_BYTES + deleted + event.previous.as_ref().map_or(0, |previous| previous.value.len())
}

/// The index of the first change after `revision`.
pub(crate) fn first_after(changes: &Changes, revision: Revision) -> usize {
    let order = |slot: &Slot| slot.change.revision.cmp(&revision).then(std::cmp::Ordering::Less);
    changes.binary_search_by(order).unwrap_or_else(|index| index)
}

pub(crate) fn index_of(changes: &Changes, revision: Revision, key: &str) -> Option<usize> {
    (first_after(changes, revision.checked_sub(1)?)..changes.len())
        .take_while(|index| changes[*index].change.revision == revision)
        .find(|index| *changes[*index].change.key == *key)
}

impl History {
    /// Changes up to `base` are not in it.
    pub fn new(limits: HistoryLimits, base: Revision) -> Self {
        Self {
            limits,
            logs: Vec::new(),
            topics: HashMap::new(),
            order: VecDeque::new(),
            raw: 0,
            raw_bytes: 0,
            packed_bytes: 0,
            oldest: base,
            base,
            lost: 0..0,
            loading: false,
        }
    }

    /// Whether what was at a revision, and came after it, is known where all since `oldest` is kept.
    pub fn check(&self, revision: Revision, oldest: Revision) -> Result<(), ReadError> {
        let oldest = if self.lost.contains(&revision) { self.lost.end } else { oldest };
        if revision < oldest { Err(ReadError::Compacted { oldest }) } else { Ok(()) }
    }

    /// The oldest revision that can be read.
    pub fn oldest(&self) -> Revision {
        self.oldest
    }

    /// The oldest revision a topic can be watched from.
    pub fn oldest_of(&self, log: usize) -> Revision {
        self.base.max(self.logs[log].dropped)
    }

    /// The journal's sequence number at the oldest change kept.
    pub fn oldest_sequence(&self) -> Option<u64> {
        self.order.front().map(|(moment, _)| moment.sequence)
    }

    pub fn log(&self, index: usize) -> &Log {
        &self.logs[index]
    }

    pub fn logs_mut(&mut self) -> &mut [Log] {
        &mut self.logs
    }

    pub fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &Log)> {
        self.topics.iter().map(|(topic, index)| (topic, &self.logs[*index]))
    }

    /// The log of a topic, made where there was none.
    pub fn topic(&mut self, topic: &str) -> usize {
        if let Some(index) = self.topics.get(topic) {
            return *index;
        }
        let log =
            Log { changes: Changes::new(), raw: 0, dropped: 0, bell: Bell::default(), dirty: false, rests_until: None };
        self.logs.push(log);
        self.topics.insert(topic.into(), self.logs.len() - 1);
        self.logs.len() - 1
    }

    /// Whether there are now watchers to be woken who were not before.
    pub fn push(&mut self, moment: Moment, change: Change, event: Option<Arc<Event>>) -> bool {
        let index = self.topic(topic_of(&change.key));
        let log = &mut self.logs[index];
        if let Some(before) = &change.before
            && let Some(previous) = index_of(&log.changes, before.modified, &change.key)
        {
            log.changes[previous].change.next.store(change.revision, Ordering::Release);
        }
        self.packed_bytes += change.packed_bytes();
        if let Some(event) = &event {
            self.raw_bytes += raw_bytes(event);
            self.raw += 1;
            log.raw += 1;
        }
        let rouses = !log.dirty && log.bell.listeners() > 0;
        log.dirty |= rouses;
        log.changes.push_back(Slot { change: Arc::new(change), event });
        self.order.push_back((moment, index));
        rouses
    }

    /// Keeps the value of an entry whose successor's change will not lead back to it.
    pub fn detach(&mut self, entry: &Entry) {
        let index = self.topic(topic_of(&entry.key));
        let changes = &self.logs[index].changes;
        if let Some(found) = index_of(changes, entry.modified, &entry.key) {
            let own = &changes[found].change.own;
            if own.get().is_none() {
                self.packed_bytes += own.get_or_init(|| Packed::alone(&entry.value)).bytes.len();
            }
        }
    }

    /// Puts older changes, which are in order, before all others; `floor` is the new base. `false` where
    /// there is no room for more.
    pub fn prepend(&mut self, floor: Revision, older: Vec<(Moment, Change)>) -> bool {
        if self.oldest > self.base {
            return false;
        }
        for (moment, change) in older.into_iter().rev() {
            let index = self.topic(topic_of(&change.key));
            self.packed_bytes += change.packed_bytes();
            self.logs[index].changes.push_front(Slot { change: Arc::new(change), event: None });
            self.order.push_front((moment, index));
        }
        (self.oldest, self.base) = (floor, floor);
        self.raw_bytes + self.packed_bytes < self.limits.max_bytes
    }

    /// Packs and drops what the limits exclude.
    pub fn trim(&mut self, now_ms: i64) {
        while self.raw_bytes > self.limits.raw_bytes && self.raw > 0 {
            self.pack_oldest();
        }
        let max_age_ms = duration_ms(self.limits.max_age);
        while let Some((moment, _)) = self.order.front()
            && (self.raw_bytes + self.packed_bytes > self.limits.max_bytes || now_ms - moment.at_ms > max_age_ms)
        {
            self.drop_oldest();
        }
    }

    fn pack_oldest(&mut self) {
        let (_, index) = self.order[self.order.len() - self.raw];
        let log = &mut self.logs[index];
        let position = log.changes.len() - log.raw;
        if let Some(event) = log.changes.get_mut(position).and_then(|slot| slot.event.take()) {
            self.raw_bytes -= raw_bytes(&event);
        }
        log.raw -= 1;
        self.raw -= 1;
    }

    fn drop_oldest(&mut self) {
        if self.raw == self.order.len() {
            self.pack_oldest();
        }
        let Some((moment, index)) = self.order.pop_front() else { return };
        let log = &mut self.logs[index];
        if let Some(slot) = log.changes.pop_front() {
            self.packed_bytes = self.packed_bytes.saturating_sub(slot.change.packed_bytes());
        }
        log.dropped = moment.revision;
        self.oldest = self.oldest.max(moment.revision);
    }
}

pub(crate) fn duration_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
