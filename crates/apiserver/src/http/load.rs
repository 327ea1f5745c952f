//! How much is done at once: reads, writes and watches, each within a bound of its own, of which one user
//! may take half.
//!
//! A request waits a while for its turn; then it is told to come back (429), as upstream does past its
//! limits on requests in flight.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use api::status::Status;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

const MAX_READS: usize = 400;
const MAX_WRITES: usize = 200;
const MAX_WATCHES: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(10);
const SHARES: usize = 256;

#[derive(Debug)]
pub struct Load {
    reads: Places,
    writes: Places,
    watches: Places,
    shares: Shares,
}

/// Which share is a user's: users are spread over a fixed number, so that nothing has to be kept for each. Two
/// users may find themselves in one, and cannot arrange for it.
#[derive(Debug, Clone, Default)]
pub struct Shares(RandomState);

/// Places of one sort, all of them and half of them for each share.
#[derive(Debug)]
pub struct Places {
    bound: usize,
    pub all: Arc<Semaphore>,
    pub by_share: Box<[Arc<Semaphore>]>,
}

/// A place among those that are served; given back when dropped.
#[derive(Debug)]
pub struct Place {
    _of_share: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Default for Load {
    fn default() -> Self {
        Self::within(MAX_READS, MAX_WRITES, MAX_WATCHES)
    }
}

impl Load {
    fn within(reads: usize, writes: usize, watches: usize) -> Self {
        Self {
            reads: Places::new(reads),
            writes: Places::new(writes),
            watches: Places::new(watches),
            shares: Shares::default(),
        }
    }

    /// Waits for a place for a request with this verb; for a watch, which keeps it, there is no waiting.
    pub async fn place(&self, verb: &str, user: &str) -> Result<Place, Status> {
        let share = self.shares.of(user);
        let place = match verb {
            "watch" => self.watches.take(share),
            "get" | "list" => self.reads.wait(share).await,
            _ => self.writes.wait(share).await,
        };
        place.ok_or_else(too_many)
    }

    /// Reads and writes that have a place now.
    pub fn in_flight(&self) -> [usize; 2] {
        [&self.reads, &self.writes].map(|places| places.bound - places.all.available_permits())
    }
}

/// What a client that asks for too much at once is told.
pub fn too_many() -> Status {
    Status::too_many_requests("Too many requests, please try again later.", 1)
}

impl Shares {
    pub const COUNT: usize = SHARES;

    pub fn of(&self, user: &str) -> usize {
        self.0.hash_one(user) as usize % SHARES
    }
}

impl Places {
    pub fn new(count: usize) -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self { bound: count, all: of(count), by_share: (0..SHARES).map(|_| of(count.div_ceil(2))).collect() }
    }

    fn take(&self, share: usize) -> Option<Place> {
        let of_share = Arc::clone(&self.by_share[share]).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _of_share: of_share, _of_all: of_all })
    }

    async fn wait(&self, share: usize) -> Option<Place> {
        timeout(PATIENCE, self.turn(share)).await.ok()?
    }

    /// First one of the share, then one of all: whoever waits for the latter is not behind a crowd of one user.
    pub async fn turn(&self, share: usize) -> Option<Place> {
        let of_share = Arc::clone(&self.by_share[share]).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _of_share: of_share, _of_all: of_all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two users whose shares differ.
    fn two_users(load: &Load) -> (String, String) {
        let user = |number: usize| format!("user-{number}");
        let other = (1..).map(user).find(|name| load.shares.of(name) != load.shares.of(&user(0))).unwrap();
        (user(0), other)
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_the_bound_is_told_to_come_back() {
        let load = Load::within(1, 1, 1);
        let (one, other) = two_users(&load);
        for verb in ["get", "create", "watch"] {
            let place = load.place(verb, &one).await.unwrap();
            for user in [&one, &other] {
                let refusal = load.place(verb, user).await.unwrap_err();
                assert_eq!((refusal.code, refusal.retry_after_seconds), (429, Some(1)), "{verb}");
            }
            drop(place);
            assert!(load.place(verb, &one).await.is_ok(), "{verb}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_leaves_half_to_the_others() {
        let load = Load::within(4, 4, 4);
        let (one, other) = two_users(&load);
        for verb in ["get", "create", "watch"] {
            let mut held = Vec::new();
            for (user, is_served) in [(&one, true), (&one, true), (&one, false), (&other, true), (&other, true)] {
                let place = load.place(verb, user).await;
                assert_eq!(place.is_ok(), is_served, "{verb} {user}");
                held.push(place);
            }
        }
    }
}
