//! Compiled patterns that are kept for their next use, whatever they stand in: within a bound of bytes for all, past which
//! those go that were not used for longest. Where all are in use, it is the newcomer that is not kept.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use parking_lot::RwLock;

use super::{Pattern, compile};

/// Of all programs and their texts. An ordinary one takes 2 to 20 KB.
const MAX_KEPT_BYTES: usize = 64 << 20;

static KEPT: LazyLock<RwLock<Kept>> = LazyLock::new(|| RwLock::new(Kept::within(MAX_KEPT_BYTES)));

/// The compiled pattern, if it was used lately. Equal patterns are one, wherever they stand.
pub fn known(pattern: &str) -> Option<Arc<Pattern>> {
    KEPT.read().get(pattern)
}

/// Compiles a pattern where it is not known, and keeps it. What stands in schemas is compiled when it is first used.
pub fn remember(pattern: &str) -> Result<Arc<Pattern>, String> {
    if let Some(compiled) = known(pattern) {
        return Ok(compiled);
    }
    let compiled = Arc::new(compile(pattern)?);
    KEPT.write().add(pattern, &compiled);
    Ok(compiled)
}

struct Kept {
    bound: usize,
    bytes: usize,
    slots: HashMap<Arc<str>, Slot>,
    /// Whose turn it is to go; who was used since his last turn has another.
    turns: VecDeque<Arc<str>>,
}

struct Slot {
    pattern: Arc<Pattern>,
    was_used: AtomicBool,
}

impl Kept {
    fn within(bound: usize) -> Self {
        Self { bound, bytes: 0, slots: HashMap::new(), turns: VecDeque::new() }
    }

    fn get(&self, text: &str) -> Option<Arc<Pattern>> {
        let slot = self.slots.get(text)?;
        slot.was_used.store(true, Relaxed);
        Some(Arc::clone(&slot.pattern))
    }

    fn add(&mut self, text: &str, pattern: &Arc<Pattern>) {
        if self.slots.contains_key(text) {
            return;
        }
        let text: Arc<str> = text.into();
        let needed = size(&text, pattern);
        let mut spared = 0;
        while self.bytes + needed > self.bound {
            // What is in use by turns and does not fit together is kept in part, instead of driving each other out.
            if spared >= needed {
                return;
            }
            let Some(first) = self.turns.pop_front() else { break };
            let Some(slot) = self.slots.get(&first) else { continue };
            let bytes = size(&first, &slot.pattern);
            if slot.was_used.swap(false, Relaxed) {
                spared += bytes;
                self.turns.push_back(first);
            } else {
                self.slots.remove(&first);
                self.bytes -= bytes;
            }
        }
        self.bytes += needed;
        self.turns.push_back(Arc::clone(&text));
        self.slots.insert(text, Slot { pattern: Arc::clone(pattern), was_used: AtomicBool::new(true) });
    }
}

/// With its places in both collections.
fn size(text: &Arc<str>, pattern: &Pattern) -> usize {
    pattern.size() + text.len() + size_of::<Slot>() + 4 * size_of::<Arc<str>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_goes_first() {
        let text = |number: usize| format!("^x{number:03}$");
        let compiled = |number: usize| Arc::new(compile(&text(number)).unwrap());
        let each = (0..100).map(|number| size(&text(number).as_str().into(), &compiled(number))).max().unwrap();
        let mut kept = Kept::within(10 * each + each / 2);
        for number in 0..100 {
            kept.add(&text(number), &compiled(number));
            kept.add(&text(number), &compiled(number));
            assert!(kept.bytes <= kept.bound && kept.slots.len() == kept.turns.len());
            // This one is in use all the time.
            assert!(kept.get(&text(0)).is_some(), "{number}");
        }
        let left: Vec<usize> = (0..100).filter(|number| kept.get(&text(*number)).is_some()).collect();
        assert!(left.len() >= 9 && left[1..].iter().all(|number| *number >= 70), "{left:?}");
    }

    /// As by a schema that is used over and over, and does not fit.
    #[test]
    fn of_what_is_used_by_turns_a_part_stays() {
        let text = |number: usize| format!("^x{number:03}$");
        let compiled: Vec<_> = (0..60).map(|number| Arc::new(compile(&text(number)).unwrap())).collect();
        let each = size(&text(0).as_str().into(), &compiled[0]);
        let mut kept = Kept::within(40 * each + each / 2);
        let mut found = 0;
        for number in (0..10).flat_map(|_| 0..60) {
            match kept.get(&text(number)) {
                Some(_) => found += 1,
                None => kept.add(&text(number), &compiled[number]),
            }
            assert!(kept.bytes <= kept.bound && kept.slots.len() == kept.turns.len());
        }
        assert!(found >= 200, "{found} of 600");
    }
}
