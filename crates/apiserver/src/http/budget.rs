//! Bytes that requests hold together: within a bound, of which one user may take half.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use api::status::Status;

use super::load::{Shares, too_many};

#[derive(Debug)]
pub struct Budget {
    shares: Shares,
    held: Arc<Held>,
}

/// Bytes held now, by all and by the users of each share.
#[derive(Debug)]
struct Held {
    bound: usize,
    all: AtomicUsize,
    by_share: Box<[AtomicUsize]>,
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    held: Arc<Held>,
    share: usize,
    bytes: usize,
}

impl Budget {
    pub fn within(bound: usize) -> Self {
        let by_share = (0..Shares::COUNT).map(|_| AtomicUsize::new(0)).collect();
        Self { shares: Shares::default(), held: Arc::new(Held { bound, all: AtomicUsize::new(0), by_share }) }
    }

    /// A claim of nothing yet.
    pub fn claim(&self, user: &str) -> Claim {
        Claim { held: Arc::clone(&self.held), share: self.shares.of(user), bytes: 0 }
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.held.all.load(Relaxed)
    }

    /// Somebody who has another share than `user`.
    #[cfg(test)]
    pub fn other_than(&self, user: &str) -> String {
        let mut names = (0..).map(|number| format!("user-{number}"));
        names.find(|name| self.shares.of(name) != self.shares.of(user)).unwrap_or_default()
    }
}

impl Claim {
    /// Counts `more` bytes, whether or not they are within the bound; tells whether they are.
    pub fn grow(&mut self, more: usize) -> Result<(), Status> {
        let Held { bound, all, by_share } = &*self.held;
        self.bytes += more;
        let all = all.fetch_add(more, Relaxed) + more;
        let of_share = by_share[self.share].fetch_add(more, Relaxed) + more;
        if all > *bound || of_share > bound / 2 { Err(too_many()) } else { Ok(()) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.held.all.fetch_sub(self.bytes, Relaxed);
        self.held.by_share[self.share].fetch_sub(self.bytes, Relaxed);
    }
}
