//! Events that wait to be written: warnings before others, one that comes again while it waits counted with it. What is too
//! much costs the oldest of those that say that all went well.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use crate::plan::Event;

/// Events that may wait, some 300 bytes each: a burst of so many pods is told of in full.
const MOST: usize = 1 << 16;

/// What makes two events one that is counted: the object, the reason, and the message, where that is not combined of several.
pub type Same = (Box<str>, &'static str, Option<Box<str>>);

/// An event that has been seen so often since it was last written.
#[derive(Debug)]
pub struct Seen {
    pub event: Event,
    pub same: Same,
    pub count: u32,
    pub first: Timestamp,
    pub last: Timestamp,
}

#[derive(Default)]
pub struct Waiting {
    warnings: Line,
    others: Line,
}

/// Events in the order in which they came.
#[derive(Default)]
struct Line {
    events: VecDeque<Seen>,
    /// The number of the first.
    start: usize,
    numbers: HashMap<Same, usize>,
}

impl Waiting {
    /// Lets an event wait; the one that is lost to make room for it, if one is.
    pub fn push(&mut self, (event, same): (Event, Same), now: Timestamp) -> Option<Seen> {
        let line = if event.warning { &mut self.warnings } else { &mut self.others };
        line.push(event, same, now);
        if self.warnings.events.len() + self.others.events.len() <= MOST {
            return None;
        }
        self.others.pop().or_else(|| self.warnings.pop())
    }

    pub fn pop(&mut self) -> Option<Seen> {
        self.warnings.pop().or_else(|| self.others.pop())
    }
}

impl Line {
    fn push(&mut self, event: Event, same: Same, now: Timestamp) {
        let number = self.numbers.get(&same).and_then(|number| number.checked_sub(self.start));
        if let Some(seen) = number.and_then(|at| self.events.get_mut(at)) {
            (seen.event, seen.count, seen.last) = (event, seen.count + 1, now);
        } else {
            self.numbers.insert(same.clone(), self.start + self.events.len());
            self.events.push_back(Seen { event, same, count: 1, first: now, last: now });
        }
    }

    fn pop(&mut self) -> Option<Seen> {
        let seen = self.events.pop_front()?;
        self.start += 1;
        self.numbers.remove(&seen.same);
        Some(seen)
    }
}
