//! Pods that wait: for their turn, for their back-off to end, or for something that can help them.
//!
//! Not here: what can help ([`crate::core`]), and why they were refused.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use client::Key;
use jiff::{SignedDuration, Timestamp};

const FIRST_BACK_OFF: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_BACK_OFF: SignedDuration = SignedDuration::from_secs(10);
/// A pod that nothing has helped for so long is tried all the same.
const LONGEST_REST: SignedDuration = SignedDuration::from_mins(5);

/// The more important first, then who came first.
type Turn = (Reverse<i32>, u64, Key);

#[derive(Default)]
pub struct Queue {
    entries: HashMap<Key, Entry>,
    active: BTreeSet<Turn>,
    /// By when the back-off ends.
    backing_off: BTreeSet<(Timestamp, Key)>,
    /// Those of them who may go before, where nobody has a turn.
    early: BTreeSet<Turn>,
    /// By when they came to rest.
    resting: BTreeSet<(Timestamp, Key)>,
    arrivals: u64,
}

struct Entry {
    priority: i32,
    arrival: u64,
    attempts: u32,
    tried: Timestamp,
    /// The last attempt came to nothing for a reason that is nobody's wish: wait the back-off out.
    after_error: bool,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Active,
    BackingOff(Timestamp),
    Resting(Timestamp),
    /// It is being tried, or bound.
    Out,
}

impl Queue {
    /// A pod that is new, or so different that it is as good as new.
    pub fn add(&mut self, key: &Key, priority: i32) {
        self.remove(key);
        self.arrivals += 1;
        let entry = Entry {
            priority,
            arrival: self.arrivals,
            attempts: 0,
            tried: Timestamp::UNIX_EPOCH,
            after_error: false,
            place: Place::Active,
        };
        self.active.insert(entry.turn(key));
        self.entries.insert(key.clone(), entry);
    }

    pub fn remove(&mut self, key: &Key) {
        self.take_out(key);
        self.entries.remove(key);
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    pub fn is_resting(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| matches!(entry.place, Place::Resting(_)))
    }

    /// The next pod to try. Where none has its turn, those that back off have theirs early.
    pub fn pop(&mut self, now: Timestamp) -> Option<Key> {
        self.rouse(now);
        let (_, _, key) = self.active.first().or_else(|| self.early.first())?;
        let key = key.clone();
        self.take_out(&key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.attempts += 1;
            entry.tried = now;
        }
        Some(key)
    }

    /// The pod was refused: it rests until something helps it.
    pub fn rest(&mut self, key: &Key, now: Timestamp) {
        self.take_out(key);
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.place, entry.after_error) = (Place::Resting(now), false);
            self.resting.insert((now, key.clone()));
        }
    }

    /// Something went wrong with the pod: it is tried again after its back-off.
    pub fn back_off(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.after_error = true;
        }
        self.take_out(key);
        self.put_back(key, None);
    }

    /// Something may have helped the pod.
    pub fn wake(&mut self, key: &Key, now: Timestamp) {
        if self.is_resting(key) {
            self.take_out(key);
            self.put_back(key, Some(now));
        }
    }

    /// When something is to be done if nothing happens until then.
    pub fn due(&self) -> Option<Timestamp> {
        let rested = self.resting.first().map(|(since, _)| *since + LONGEST_REST);
        let backed_off = self.backing_off.first().map(|(until, _)| *until);
        rested.into_iter().chain(backed_off).min()
    }

    /// Pods waiting for their turn, backing off, and resting.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.active.len(), self.backing_off.len(), self.resting.len())
    }

    fn rouse(&mut self, now: Timestamp) {
        while let Some((since, key)) = self.resting.first().cloned() {
            if since + LONGEST_REST > now {
                break;
            }
            self.wake(&key, now);
        }
        while let Some((until, key)) = self.backing_off.first().cloned() {
            if until > now {
                break;
            }
            self.take_out(&key);
            self.put_back(&key, Some(now));
        }
    }

    fn put_back(&mut self, key: &Key, now: Option<Timestamp>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let until = entry.tried + entry.back_off();
        if now.is_some_and(|now| until <= now) {
            entry.place = Place::Active;
            self.active.insert(entry.turn(key));
        } else {
            entry.place = Place::BackingOff(until);
            self.backing_off.insert((until, key.clone()));
            if !entry.after_error {
                self.early.insert(entry.turn(key));
            }
        }
    }

    fn take_out(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match std::mem::replace(&mut entry.place, Place::Out) {
            Place::Active => {
                self.active.remove(&entry.turn(key));
            }
            Place::BackingOff(until) => {
                self.backing_off.remove(&(until, key.clone()));
                self.early.remove(&entry.turn(key));
            }
            Place::Resting(since) => {
                self.resting.remove(&(since, key.clone()));
            }
            Place::Out => {}
        }
    }
}

impl Entry {
    fn turn(&self, key: &Key) -> Turn {
        (Reverse(self.priority), self.arrival, key.clone())
    }

    fn back_off(&self) -> SignedDuration {
        let doublings = self.attempts.saturating_sub(1).min(10);
        (FIRST_BACK_OFF * (1 << doublings)).min(LONGEST_BACK_OFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn key(name: &str) -> Key {
        Key::new("default", name)
    }

    #[test]
    fn the_important_go_first_then_the_early() {
        let mut queue = Queue::default();
        for (name, priority) in [("b", 0), ("a", 0), ("c", 9)] {
            queue.add(&key(name), priority);
        }
        let order: Vec<Key> = std::iter::from_fn(|| queue.pop(at(0))).collect();
        assert_eq!(order, ["c", "b", "a"].map(key));
    }

    #[test]
    fn a_pod_that_is_woken_waits_its_back_off_out_unless_nobody_else_waits() {
        let mut queue = Queue::default();
        queue.add(&key("a"), 0);
        assert_eq!(queue.pop(at(0)), Some(key("a")));
        queue.rest(&key("a"), at(0));
        assert_eq!(queue.pop(at(100)), None);
        queue.wake(&key("a"), at(0));
        queue.add(&key("b"), -5);
        assert_eq!(queue.pop(at(0)), Some(key("b")));
        assert_eq!(queue.pop(at(0)), Some(key("a")));
    }

    #[test]
    fn the_important_go_first_also_before_their_back_off_ends() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 0), ("c", 9)] {
            queue.add(&key(name), priority);
        }
        while let Some(key) = queue.pop(at(0)) {
            queue.rest(&key, at(0));
        }
        for name in ["a", "b", "c"] {
            queue.wake(&key(name), at(0));
        }
        let order: Vec<Key> = std::iter::from_fn(|| queue.pop(at(0))).collect();
        assert_eq!(order, ["c", "a", "b"].map(key));
        // Who failed waits, however important.
        queue.back_off(&key("c"));
        queue.rest(&key("b"), at(0));
        queue.wake(&key("b"), at(0));
        assert_eq!([queue.pop(at(0)), queue.pop(at(0))], [Some(key("b")), None]);
    }

    #[test]
    fn after_an_error_the_back_off_doubles_to_ten_seconds() {
        let mut queue = Queue::default();
        queue.add(&key("a"), 0);
        let mut now = 0;
        for wait in [1, 2, 4, 8, 10, 10] {
            assert_eq!(queue.pop(at(now)), Some(key("a")));
            queue.back_off(&key("a"));
            assert_eq!(queue.pop(at(now + wait - 1)), None);
            assert_eq!(queue.due(), Some(at(now + wait)));
            now += wait;
        }
    }

    #[test]
    fn who_rests_for_five_minutes_is_tried_again() {
        let mut queue = Queue::default();
        queue.add(&key("a"), 0);
        queue.pop(at(0));
        queue.rest(&key("a"), at(0));
        assert_eq!(queue.due(), Some(at(300)));
        assert_eq!(queue.pop(at(299)), None);
        assert_eq!(queue.pop(at(300)), Some(key("a")));
    }
}
