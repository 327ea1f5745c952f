//! How much is done at once: reads, writes and watches, each within a bound of its own.
//!
//! A request waits a while for its turn; then it is told to come back (429), as upstream does past its
//! limits on requests in flight.

use std::{sync::Arc, time::Duration};

use api::status::Status;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

const MAX_READS: usize = 400;
const MAX_WRITES: usize = 200;
const MAX_WATCHES: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Load {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    /// Of reads and writes.
    bounds: [usize; 2],
}

/// A place among those that are served; given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Default for Load {
    fn default() -> Self {
        Self::within(MAX_READS, MAX_WRITES, MAX_WATCHES)
    }
}

impl Load {
    fn within(reads: usize, writes: usize, watches: usize) -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Self {
            reads: semaphore(reads),
            writes: semaphore(writes),
            watches: semaphore(watches),
            bounds: [reads, writes],
        }
    }

    /// Waits for a place for a request with this verb; for a watch, which keeps it, there is no waiting.
    pub async fn place(&self, verb: &str) -> Result<Place, Status> {
        let refused = || Status::too_many_requests("Too many requests, please try again later.", 1);
        let permit = match verb {
            "watch" => Arc::clone(&self.watches).try_acquire_owned().map_err(|_| refused())?,
            "get" | "list" => self.wait(&self.reads).await.ok_or_else(refused)?,
            _ => self.wait(&self.writes).await.ok_or_else(refused)?,
        };
        Ok(Place { _permit: permit })
    }

    /// Reads and writes that have a place now.
    pub fn in_flight(&self) -> [usize; 2] {
        [self.bounds[0] - self.reads.available_permits(), self.bounds[1] - self.writes.available_permits()]
    }

    async fn wait(&self, semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        timeout(PATIENCE, Arc::clone(semaphore).acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn more_than_the_bound_is_told_to_come_back() {
        let load = Load::within(1, 1, 1);
        for verb in ["get", "create", "watch"] {
            let place = load.place(verb).await.unwrap();
            let refusal = load.place(verb).await.unwrap_err();
            assert_eq!((refusal.code, refusal.retry_after_seconds), (429, Some(1)), "{verb}");
            drop(place);
            assert!(load.place(verb).await.is_ok(), "{verb}");
        }
    }
}
