//! Who holds how much of what was made and not sent yet, and who is to give something back when no more fits. Ends
//! nothing itself: it names what is to be ended.
//!
//! It is not the newcomer who pays but the user who holds most, with what has waited longest. Where the newcomer is that
//! user he is refused, and where all of it moves and has not been there for long. What nothing was taken from for long is
//! given up first, whoever's it is: many users that hold little each shut nobody out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

/// What was taken from so lately is not ended for others. For what is small, past twice the bound that is no excuse.
pub const GRACE: Duration = Duration::from_secs(1);

/// What takes longer than this is ended for others although it moves: who takes a little now and then shuts nobody out.
pub const LASTS: Duration = Duration::from_secs(30);

/// What nothing was taken from for so long makes room for anybody.
pub const GIVEN_UP: Duration = Duration::from_secs(5);

/// Among how many of those who hold most it is looked for.
const LOOKED_AT: usize = 64;

/// What can tell when something of it was taken last.
pub trait Taken {
    fn last_taken(&self) -> Instant;
}

/// The account of all users. Everything costs the logarithm of what there is; what moves a claim back in its user's row
/// is that the reader took a piece of it.
#[derive(Debug)]
pub struct Ledger<S> {
    bound: usize,
    held: usize,
    next: u64,
    users: HashMap<Arc<str>, Holder<S>>,
    by_bytes: BTreeSet<(usize, Arc<str>)>,
}

#[derive(Debug)]
struct Holder<S> {
    bytes: usize,
    /// In the order in which they came.
    claims: BTreeMap<u64, Entry<S>>,
    /// By when something was taken last, as far as that was looked at.
    by_age: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Entry<S> {
    bytes: usize,
    began: Instant,
    since: Instant,
    stream: S,
}

/// Whether a claim may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The reader can come back for it.
    Refusable,
    /// It is small, or tells what has been done already.
    Granted,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

impl<S: Taken> Ledger<S> {
    pub fn within(bound: usize) -> Self {
        Self { bound, held: 0, next: 0, users: HashMap::new(), by_bytes: BTreeSet::new() }
    }

    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether so much is left, without anybody's paying for it.
    pub fn has_left(&self, bytes: usize) -> bool {
        self.held + bytes <= self.bound
    }

    /// Whether a claim of the user that is as large as this would be refused.
    pub fn would_refuse(&self, user: &str, bytes: usize) -> bool {
        !self.has_left(bytes) && self.held >= self.bound / 2 && !self.is_topped(user, bytes)
    }

    /// Takes out what has been given up, as far as it is in the way of so much more.
    pub fn give_up(&mut self, bytes: usize, now: Instant) -> Vec<S> {
        let mut ending = Vec::new();
        let Some(until) = now.checked_sub(GIVEN_UP).filter(|_| !self.has_left(bytes)) else { return ending };
        let users: Vec<_> = self.by_bytes.iter().rev().take(LOOKED_AT).map(|(_, name)| Arc::clone(name)).collect();
        for user in users {
            while !self.has_left(bytes)
                && let Some(stream) = self.take_idle(&user, until)
            {
                ending.push(stream);
            }
        }
        ending
    }

    /// Enters a claim and gives its number; the streams are to be ended either way. What is past the bound afterwards is
    /// paid for by the claims to come: an answer may be larger than everything, as long as less than half is held.
    pub fn enter(
        &mut self,
        user: &Arc<str>,
        bytes: usize,
        need: Need,
        stream: S,
        now: Instant,
    ) -> (Vec<S>, Result<u64, Refused>) {
        let mut ending = self.give_up(bytes, now);
        if need == Need::Refusable && self.would_refuse(user, bytes) {
            return (ending, Err(Refused));
        }
        while !self.has_left(bytes) {
            let payer = match self.most_of_others(user) {
                Some((_, name)) if self.is_topped(user, bytes) => Arc::clone(name),
                // What was done for him already is told at the cost of what he leaves lying.
                _ if need == Need::Granted => Arc::clone(user),
                _ => break,
            };
            let is_spared = need == Need::Refusable || self.held <= 2 * self.bound;
            let until = if is_spared { now.checked_sub(GRACE) } else { Some(now) };
            let idle = until.and_then(|until| self.take_idle(&payer, until));
            let Some(stream) = idle.or_else(|| self.take_lasting(&payer, now)) else { break };
            ending.push(stream);
        }
        if need == Need::Refusable && !self.has_left(bytes) && self.held >= self.bound / 2 {
            return (ending, Err(Refused));
        }
        let number = self.next;
        self.next += 1;
        self.held += bytes;
        self.change(user, |holder| {
            holder.bytes += bytes;
            holder.by_age.insert((now, number));
            holder.claims.insert(number, Entry { bytes, began: now, since: now, stream });
        });
        (ending, Ok(number))
    }

    /// Gives back a claim; one that was ended has been given back.
    pub fn leave(&mut self, user: &Arc<str>, number: u64) -> Option<S> {
        let is_known = self.users.get(user).is_some_and(|holder| holder.claims.contains_key(&number));
        if is_known { self.remove(user, number) } else { None }
    }

    fn most_of_others(&self, user: &str) -> Option<&(usize, Arc<str>)> {
        self.by_bytes.iter().rev().find(|(_, name)| **name != *user)
    }

    /// Whether somebody else holds more than the user will.
    fn is_topped(&self, user: &str, bytes: usize) -> bool {
        let own = self.users.get(user).map_or(0, |holder| holder.bytes) + bytes;
        self.most_of_others(user).is_some_and(|(most, _)| *most > own)
    }

    /// Takes out what of a user has waited longest, if not since a later time than `until`.
    fn take_idle(&mut self, user: &Arc<str>, until: Instant) -> Option<S> {
        let holder = self.users.get_mut(user)?;
        loop {
            let &(since, number) = holder.by_age.first()?;
            let entry = holder.claims.get_mut(&number)?;
            let last = entry.stream.last_taken();
            if last <= since {
                return if since > until { None } else { self.remove(user, number) };
            }
            // Each piece that is taken can cause one turn of this.
            entry.since = last;
            holder.by_age.pop_first();
            holder.by_age.insert((last, number));
        }
    }

    /// Takes out what of a user has been there longest, if that is long.
    fn take_lasting(&mut self, user: &Arc<str>, now: Instant) -> Option<S> {
        let (&number, entry) = self.users.get(user)?.claims.first_key_value()?;
        if now.duration_since(entry.began) < LASTS { None } else { self.remove(user, number) }
    }

    fn remove(&mut self, user: &Arc<str>, number: u64) -> Option<S> {
        let mut removed = None;
        self.change(user, |holder| {
            let Some(entry) = holder.claims.remove(&number) else { return };
            holder.by_age.remove(&(entry.since, number));
            holder.bytes -= entry.bytes;
            removed = Some(entry);
        });
        let entry = removed?;
        self.held -= entry.bytes;
        Some(entry.stream)
    }

    /// Changes what a user holds, and his place among all. Who holds nothing is forgotten.
    fn change(&mut self, user: &Arc<str>, change: impl FnOnce(&mut Holder<S>)) {
        let empty = || Holder { bytes: 0, claims: BTreeMap::new(), by_age: BTreeSet::new() };
        let holder = self.users.entry(Arc::clone(user)).or_insert_with(empty);
        let before = holder.bytes;
        change(holder);
        let (after, is_empty) = (holder.bytes, holder.claims.is_empty());
        self.by_bytes.remove(&(before, Arc::clone(user)));
        if is_empty {
            self.users.remove(user);
        } else {
            self.by_bytes.insert((after, Arc::clone(user)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    /// A stream's name, and when something of it was taken.
    #[derive(Debug, Clone)]
    struct Stream(u32, Rc<Cell<Instant>>);

    impl Taken for Stream {
        fn last_taken(&self) -> Instant {
            self.1.get()
        }
    }

    struct Trial {
        ledger: Ledger<Stream>,
        start: Instant,
        since: Duration,
        streams: Vec<Stream>,
    }

    impl Trial {
        fn new(bound: usize) -> Self {
            Self { ledger: Ledger::within(bound), start: Instant::now(), since: Duration::ZERO, streams: Vec::new() }
        }

        fn now(&self) -> Instant {
            self.start + self.since
        }

        /// A claim half a second after all before; the numbers of the streams to be ended.
        fn enter(&mut self, user: &str, bytes: usize, need: Need) -> Result<Vec<u32>, Refused> {
            self.since += Duration::from_millis(500);
            let stream = Stream(self.streams.len() as u32, Rc::new(Cell::new(self.start)));
            self.streams.push(stream.clone());
            let (ending, entered) = self.ledger.enter(&user.into(), bytes, need, stream, self.now());
            entered.map(|_| ending.iter().map(|stream| stream.0).collect())
        }
    }

    #[test]
    fn who_holds_most_pays() {
        use Need::{Granted, Refusable};
        let mut trial = Trial::new(100);
        // user, bytes, need, and which claims, counted from 0, are ended for it
        for (number, (user, bytes, need, expect)) in [
            ("a", 30, Refusable, Ok(vec![])),
            ("b", 20, Refusable, Ok(vec![])),
            ("a", 30, Refusable, Ok(vec![])),
            // Not the newcomer pays, nor who came last.
            ("b", 30, Refusable, Ok(vec![0])),
            // Who holds most is refused, also where the claim makes him that.
            ("b", 30, Refusable, Err(Refused)),
            ("c", 60, Refusable, Err(Refused)),
            // A small answer, or one to what is done, costs what its own user left lying.
            ("b", 40, Granted, Ok(vec![1])),
            ("c", 1, Granted, Ok(vec![3])),
            // Not more than it has to, and as often as it has to.
            ("c", 29, Refusable, Ok(vec![])),
            ("d", 30, Refusable, Ok(vec![6])),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(trial.enter(user, bytes, need), expect, "{number}");
            assert!(trial.ledger.held() <= 100, "{number}");
        }
    }

    #[test]
    fn what_is_taken_from_goes_last() {
        let mut trial = Trial::new(100);
        for _ in 0..4 {
            assert_eq!(trial.enter("a", 25, Need::Refusable), Ok(vec![]));
        }
        for taken in [0, 1] {
            trial.since += Duration::from_secs(1);
            trial.streams[taken].1.set(trial.now());
        }
        for ended in [2, 3, 0] {
            let newcomer = format!("before {ended}");
            assert_eq!(trial.enter(&newcomer, 24, Need::Refusable), Ok(vec![ended]));
        }
    }

    #[test]
    fn what_moves_and_is_not_there_for_long_is_ended_for_nobody_who_can_come_back() {
        let mut trial = Trial::new(100);
        for _ in 0..2 {
            assert_eq!(trial.enter("a", 50, Need::Refusable), Ok(vec![]));
        }
        for _ in 0..(LASTS.as_secs() - 1) * 2 {
            trial.streams.iter().for_each(|stream| stream.1.set(trial.now()));
            assert_eq!(trial.enter("b", 30, Need::Refusable), Err(Refused));
        }
        trial.streams.iter().for_each(|stream| stream.1.set(trial.now()));
        trial.since += Duration::from_secs(1);
        assert_eq!(trial.enter("b", 30, Need::Refusable), Ok(vec![0]));
    }

    #[test]
    fn what_is_small_ends_nothing_that_moves() {
        let mut trial = Trial::new(100);
        assert_eq!(trial.enter("a", 60, Need::Refusable), Ok(vec![]));
        assert_eq!(trial.enter("a", 40, Need::Refusable), Ok(vec![]));
        for stream in &trial.streams {
            stream.1.set(trial.now());
        }
        assert_eq!(trial.enter("b", 10, Need::Granted), Ok(vec![]));
        assert_eq!(trial.ledger.held(), 110);
        // It does not move any more.
        trial.since += Duration::from_secs(2);
        assert_eq!(trial.enter("b", 1, Need::Granted), Ok(vec![0]));
        trial.since += GRACE;
        // What was done is told. Past twice the bound all that counts is the bound.
        assert_eq!(trial.enter("b", 160, Need::Granted), Ok(vec![2, 3]));
        for (held, ended) in [(200, vec![]), (210, vec![4])] {
            assert_eq!(trial.ledger.held(), held);
            for moving in [1, 4] {
                trial.streams[moving].1.set(trial.now());
            }
            assert_eq!(trial.enter("c", 10, Need::Granted), Ok(ended));
        }
    }

    #[test]
    fn many_that_hold_little_shut_nobody_out() {
        let mut trial = Trial::new(1_000);
        for number in 0..100 {
            assert_eq!(trial.enter(&format!("user-{number}"), 10, Need::Refusable), Ok(vec![]));
            trial.since = Duration::ZERO;
        }
        // All of it moved lately: nobody holds more than the newcomer would.
        assert_eq!(trial.enter("newcomer", 20, Need::Refusable), Err(Refused));
        trial.since += GIVEN_UP;
        trial.streams[99].1.set(trial.now());
        assert_eq!(trial.ledger.give_up(20, trial.now()).len(), 2);
        assert_eq!(trial.enter("newcomer", 20, Need::Refusable), Ok(vec![]));
        // As much as can be had, and nothing that moves.
        let ended = trial.enter("another", 300, Need::Refusable).unwrap();
        assert!(ended.len() == 30 && !ended.contains(&99), "{ended:?}");
    }

    #[test]
    fn an_answer_may_be_larger_than_everything() {
        let mut trial = Trial::new(100);
        assert_eq!(trial.enter("a", 40, Need::Refusable), Ok(vec![]));
        assert_eq!(trial.enter("b", 300, Need::Refusable), Ok(vec![]));
        assert_eq!(trial.enter("c", 300, Need::Refusable), Err(Refused));
        assert_eq!(trial.enter("c", 30, Need::Refusable), Ok(vec![1]));
    }

    #[test]
    fn all_is_given_back() {
        let mut trial = Trial::new(100);
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        for (user, bytes) in [("a", 70), ("a", 20), ("b", 30)] {
            trial.enter(user, bytes, Need::Refusable).unwrap();
        }
        // The first was ended already, and nothing is given back twice.
        for (user, number) in [(&a, 0), (&a, 1), (&a, 1), (&b, 2), (&b, 1)] {
            trial.ledger.leave(user, number);
        }
        let Ledger { held, users, by_bytes, .. } = &trial.ledger;
        assert!(*held == 0 && users.is_empty() && by_bytes.is_empty(), "{:?}", trial.ledger);
    }
}
