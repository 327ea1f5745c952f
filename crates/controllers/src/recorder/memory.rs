//! What has been told: how much may still be told of an object, which events have been written and can be counted on, and
//! which have become so many of one sort that they are combined (the figures are kube-controller-manager's).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use stdx::clock::until;

use super::waiting::{Same, Seen};
use crate::plan::Event;

/// An object may have this many events at once, and one more every five minutes.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// How long an event that comes again is counted rather than written anew.
const REPEATS: Duration = Duration::from_secs(600);
/// From so many messages about one object for one reason on, within ten minutes of each other, they become one event.
const SIMILAR: usize = 10;
const COMBINED: &str = "(combined from similar events): ";
/// Objects and events that are remembered; past that the memory starts afresh.
const REMEMBERED: usize = 4096;

#[derive(Default)]
pub struct Memory {
    budgets: BTreeMap<Box<str>, Budget>,
    similar: BTreeMap<(Box<str>, &'static str), Similar>,
    written: BTreeMap<Same, Written>,
}

struct Budget {
    left: f64,
    as_of: Timestamp,
}

struct Similar {
    messages: BTreeSet<Box<str>>,
    last: Timestamp,
}

struct Written {
    name: String,
    count: u32,
    last: Timestamp,
}

impl Memory {
    /// The event as it is to be told, if it is.
    pub fn admit(&mut self, mut event: Event, now: Timestamp) -> Option<(Event, Same)> {
        if self.budgets.len() + self.similar.len() + self.written.len() > REMEMBERED {
            *self = Self::default();
        }
        let uid = &event.about.uid;
        let budget = self.budgets.entry(uid.clone()).or_insert(Budget { left: BURST, as_of: now });
        let passed = until(now, budget.as_of).as_secs_f64();
        budget.left = (budget.left + passed / REFILL.as_secs_f64()).min(BURST);
        budget.as_of = now;
        if budget.left < 1.0 {
            return None;
        }
        budget.left -= 1.0;
        let fresh = || Similar { messages: BTreeSet::new(), last: now };
        let similar = self.similar.entry((uid.clone(), event.reason)).or_insert_with(fresh);
        if until(now, similar.last) > REPEATS {
            *similar = fresh();
        }
        similar.last = now;
        let message = Box::from(&*event.message);
        if similar.messages.len() < SIMILAR {
            similar.messages.insert(Box::clone(&message));
        }
        let combined = similar.messages.len() == SIMILAR;
        let same = (uid.clone(), event.reason, (!combined).then_some(message));
        if combined {
            event.message.insert_str(0, COMBINED);
        }
        Some((event, same))
    }

    /// The name under which an event like this was written before, if it was lately, and how often it has been seen now.
    pub fn written_as(&mut self, seen: &Seen) -> Option<(String, u32)> {
        let written = self.written.get_mut(&seen.same)?;
        if until(seen.first, written.last) >= REPEATS {
            return None;
        }
        (written.count, written.last) = (written.count + seen.count, seen.last);
        Some((written.name.clone(), written.count))
    }

    pub fn written(&mut self, seen: &Seen, name: String) {
        self.written.insert(seen.same.clone(), Written { name, count: seen.count, last: seen.last });
    }
}
