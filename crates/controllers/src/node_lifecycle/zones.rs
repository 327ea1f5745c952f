//! How fast nodes that do not answer may be emptied. The more of a zone are missing, the likelier it is that the zone is cut
//! off and its nodes are well (the page on nodes, "Rate limits on eviction").

use std::time::Duration;

use client::objects::Node;
use jiff::Timestamp;
use stdx::clock::until;

/// A node every ten seconds.
const TURN: Duration = Duration::from_secs(10);
/// In a large zone of which much is missing.
const SLOW_TURN: Duration = Duration::from_secs(100);
/// More nodes than this make a large zone.
const LARGE: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Normal,
    /// At least 55 % and more than two are missing.
    Partial,
    /// All are missing.
    Full,
}

#[derive(Default)]
pub struct Zone {
    ready: usize,
    missing: usize,
    state: State,
    last_turn: Option<Timestamp>,
}

impl Zone {
    pub fn add(&mut self, is_ready: bool) {
        *(if is_ready { &mut self.ready } else { &mut self.missing }) += 1;
    }

    pub fn remove(&mut self, is_ready: bool) {
        let count = if is_ready { &mut self.ready } else { &mut self.missing };
        *count = count.saturating_sub(1);
    }

    pub fn is_empty(&self) -> bool {
        self.ready + self.missing == 0
    }

    /// Whether no node of it is there.
    pub fn is_down(&self) -> bool {
        self.ready == 0
    }

    /// Sees how the zone is. True if that has changed.
    pub fn settle(&mut self) -> bool {
        let (ready, missing) = (self.ready, self.missing);
        let state = match () {
            () if ready == 0 && missing > 0 => State::Full,
            () if missing > 2 && missing * 100 >= (ready + missing) * 55 => State::Partial,
            () => State::Normal,
        };
        std::mem::replace(&mut self.state, state) != state
    }

    /// Whether it is the next node's turn now; if not, when, if ever.
    pub fn take_turn(&mut self, now: Timestamp) -> Result<(), Option<Duration>> {
        let pause = match self.state {
            // A zone that is all gone, while others are not, is treated as any other.
            State::Normal | State::Full => TURN,
            State::Partial if self.ready + self.missing > LARGE => SLOW_TURN,
            State::Partial => return Err(None),
        };
        let due = self.last_turn.and_then(|last| last.checked_add(pause).ok());
        match due.filter(|due| *due > now) {
            Some(due) => Err(Some(until(due, now))),
            None => {
                self.last_turn = Some(now);
                Ok(())
            }
        }
    }
}

/// The zone a node is in; empty where it does not say.
pub fn of(node: &Node) -> Box<str> {
    let label =
        |names: [&str; 2]| names.into_iter().find_map(|name| node.metadata.labels.get(name)).unwrap_or_default();
    let region = label(["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"]);
    let zone = label(["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"]);
    if region.is_empty() && zone.is_empty() { "".into() } else { format!("{region}/{zone}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(ready: usize, missing: usize) -> Zone {
        let mut zone = Zone { ready, missing, ..Zone::default() };
        zone.settle();
        zone
    }

    #[test]
    fn the_state_follows_the_share_that_is_missing() {
        for (ready, missing, state) in [
            (0, 0, State::Normal),
            (0, 1, State::Full),
            (1, 2, State::Normal),
            (2, 3, State::Partial),
            (3, 3, State::Normal),
            (9, 11, State::Partial),
            (10, 10, State::Normal),
        ] {
            assert_eq!(zone(ready, missing).state, state, "{ready} ready, {missing} missing");
        }
    }

    #[test]
    fn turns_come_as_fast_as_the_zone_allows() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (ready, missing, pause) in
            [(5, 1, Some(10)), (0, 4, Some(10)), (20, 30, None), (20, 31, Some(100)), (1, 3, None)]
        {
            let mut zone = zone(ready, missing);
            let first = zone.take_turn(start);
            assert_eq!(first.is_ok(), pause.is_some(), "{ready} ready, {missing} missing");
            assert_eq!(zone.take_turn(start), Err(pause.map(Duration::from_secs)), "{ready} ready, {missing} missing");
            if let Some(pause) = pause {
                assert_eq!(zone.take_turn(start + Duration::from_secs(pause)), Ok(()));
            }
        }
    }
}
