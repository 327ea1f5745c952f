//! What was tried and may have to be tried again, but not at once: the time between doubles with each attempt.
//!
//! The work queue backs off from what the server refuses; this is for what is carried out and comes to nothing, as when a
//! node turns down the same pod again and again. Kept in memory: after a restart everything may be tried at once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use client::Key;
use jiff::Timestamp;
use stdx::clock::until;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(900);

/// The attempts for one key, by names that its controller gives.
#[derive(Debug, Clone, Default)]
pub struct Attempts(BTreeMap<Box<str>, Attempt>);

#[derive(Debug, Clone, Copy)]
struct Attempt {
    last: Timestamp,
    /// Between the last attempt and the next.
    pause: Duration,
}

/// The attempts for all keys of a controller. Bounded by what is tried within half an hour.
#[derive(Debug, Default)]
pub struct AttemptsByKey(HashMap<Key, Attempts>);

impl Attempt {
    fn passed(&self, now: Timestamp) -> Duration {
        until(now, self.last)
    }
}

impl Attempts {
    /// How long this must not be tried again.
    pub fn pause(&self, name: &str, now: Timestamp) -> Option<Duration> {
        let attempt = self.0.get(name)?;
        let left = attempt.pause.saturating_sub(attempt.passed(now));
        (!left.is_zero()).then_some(left)
    }
}

impl AttemptsByKey {
    pub fn of(&self, key: &Key) -> Attempts {
        self.0.get(key).cloned().unwrap_or_default()
    }

    /// Takes in what is tried now. What went well for long enough is forgotten.
    pub fn note(&mut self, key: &Key, names: &[Box<str>], now: Timestamp) {
        if names.is_empty() {
            return;
        }
        self.0.retain(|_, attempts| {
            attempts.0.retain(|_, attempt| attempt.passed(now) < LONGEST * 2);
            !attempts.0.is_empty()
        });
        let attempts = self.0.entry(key.clone()).or_default();
        for name in names {
            let pause = attempts.0.get(name).map_or(FIRST, |before| (before.pause * 2).min(LONGEST));
            attempts.0.insert(name.clone(), Attempt { last: now, pause });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_attempts_doubles_until_all_is_quiet() {
        let (key, mut attempts) = (Key::new("a", "b"), AttemptsByKey::default());
        let mut now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert_eq!(attempts.of(&key).pause("n1", now), None);
            attempts.note(&key, &["n1".into()], now);
            let pause = attempts.of(&key).pause("n1", now).unwrap();
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        now += LONGEST * 2;
        attempts.note(&key, &["n1".into()], now);
        assert_eq!(attempts.of(&key).pause("n1", now), Some(FIRST));
        assert_eq!(attempts.of(&Key::new("a", "c")).pause("n1", now), None);
    }
}
