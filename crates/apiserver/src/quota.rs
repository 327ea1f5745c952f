//! What namespaces use of their quotas: counted once, kept from the store's changes from then on, so that a decision costs
//! what the quotas of its namespace cost, however many objects there are.
//!
//! Admission decides by it, and `upkeep` reports it in the quotas' status. A write that was allowed counts from the
//! decision on: writers at the same time cannot overrun a quota together. What an object uses is `api::quota`'s.

mod counts;
mod tally;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use api::quota::{Amounts, Counted, exceeded, increase};
use parking_lot::Mutex;
use serde_json::Value;
use stdx::Clock;
use store::Store;

use counts::{CountError, Counts};

/// The topic of quotas.
pub const QUOTAS: &str = "resourcequotas";

/// The usage of all quotas of a server.
pub struct Usage {
    store: Store,
    clock: Arc<dyn Clock>,
    namespaces: Mutex<HashMap<Box<str>, Arc<Namespace>>>,
    promises: AtomicU64,
}

#[derive(Debug, Default)]
struct Namespace {
    /// Whoever counts keeps the others waiting, not their threads.
    counts: tokio::sync::Mutex<Counts>,
    promised: Mutex<Vec<Arc<Promise>>>,
}

/// A write that was allowed and may not yet be stored. Of what it uses, a quota counts what it limits by then: it may
/// have been changed meanwhile.
#[derive(Debug)]
struct Promise {
    number: u64,
    key: Arc<str>,
    usage: Amounts,
    /// The keys of the quotas that count it.
    quotas: Vec<Arc<str>>,
}

/// How far a decision has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It knows what is promised.
    Promised,
    /// It knows what is stored, too.
    Followed,
}

/// A write of an object, in its stored form; `old` is what it replaces, or Null.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    pub topic: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub new: &'a Value,
    pub old: &'a Value,
    /// Nothing will be stored.
    pub dry_run: bool,
}

/// A quota and the status that it should have.
#[derive(Debug)]
pub struct Report {
    pub quota: Arc<Value>,
    pub status: Value,
}

impl Usage {
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, namespaces: Mutex::default(), promises: AtomicU64::new(0) }
    }

    /// Whether the quotas leave room for a write; if not, why. What it uses counts as long as the reservation is there.
    pub async fn admit(&self, write: Write<'_>) -> Result<Option<Reservation>, String> {
        self.admit_in_steps(write, |_| future::ready(())).await
    }

    /// `after`: what happens once a step is done.
    async fn admit_in_steps<F: Future<Output = ()>>(
        &self,
        write: Write<'_>,
        after: impl Fn(Step) -> F,
    ) -> Result<Option<Reservation>, String> {
        if !self.has_quotas(write.namespace) {
            return Ok(None);
        }
        let namespace = self.namespace(write.namespace);
        let mut counts = namespace.counts.lock().await;
        let now = self.clock.now();
        // The promises first: a write whose promise is gone by now is in the store by the time that is followed. One
        // that is stored meanwhile is seen twice and, by its key, counted once.
        let promised = namespace.promised.lock().clone();
        after(Step::Promised).await;
        let followed = counts.follow(&self.store, write.namespace, Some(write.topic), now.as_second()).await;
        followed.map_err(|error| error.to_string())?;
        after(Step::Followed).await;
        let key: Arc<str> = format!("{}/{}/{}", write.topic, write.namespace, write.name).into();
        let quotas = decide(&counts, &promised, &write, &key, now.as_second())?;
        if quotas.is_empty() || write.dry_run {
            return Ok(None);
        }
        let usage = Counted::at(write.topic).usage(write.new, now.as_second());
        let number = self.promises.fetch_add(1, Ordering::Relaxed);
        namespace.promised.lock().push(Arc::new(Promise { number, key, usage, quotas }));
        drop(counts);
        Ok(Some(Reservation { namespace, number }))
    }

    /// What the quotas of a namespace should say, and the second at which that may change by itself.
    pub async fn report(&self, name: &str) -> Result<(Vec<Report>, Option<i64>), CountError> {
        if !self.has_quotas(name) {
            // Nobody else counts for it: who began to has a hold on it.
            self.namespaces.lock().retain(|of, namespace| **of != *name || Arc::strong_count(namespace) > 1);
            return Ok((Vec::new(), None));
        }
        let namespace = self.namespace(name);
        let mut counts = namespace.counts.lock().await;
        counts.follow(&self.store, name, None, self.clock.now().as_second()).await?;
        let report = |tally: &tally::Tally| Report { quota: Arc::clone(tally.quota()), status: tally.status() };
        Ok((counts.tallies().map(|(_, tally)| report(tally)).collect(), counts.next_second()))
    }

    fn has_quotas(&self, namespace: &str) -> bool {
        self.store.snapshot().range(&format!("{QUOTAS}/{namespace}/"), None).next().is_some()
    }

    fn namespace(&self, name: &str) -> Arc<Namespace> {
        let mut namespaces = self.namespaces.lock();
        match namespaces.get(name) {
            Some(namespace) => Arc::clone(namespace),
            None => Arc::clone(namespaces.entry(name.into()).or_default()),
        }
    }
}

/// The quotas that a write is to be counted by: none where it adds nothing.
fn decide(
    counts: &Counts,
    promised: &[Arc<Promise>],
    write: &Write<'_>,
    key: &Arc<str>,
    now_seconds: i64,
) -> Result<Vec<Arc<str>>, String> {
    let counted = Counted::at(write.topic);
    let mut quotas = Vec::new();
    for (quota_key, tally) in counts.tallies() {
        let quota = &**tally.quota();
        if !counted.is_counted_by(quota, write.new) {
            continue;
        }
        if let Some(unstated) = counted.unstated(quota, write.new) {
            let name = quota["metadata"]["name"].as_str().unwrap_or_default();
            return Err(format!("failed quota: {name}: {unstated}"));
        }
        let increase = increase(counted, quota, write.new, write.old, now_seconds);
        if increase.is_empty() {
            continue;
        }
        // Of several writes of one object one is stored: what another is to use is no matter of this.
        let others = promised.iter().filter(|promise| promise.key != *key && promise.quotas.contains(quota_key));
        let others = others.map(|promise| (&*promise.key, &promise.usage));
        if let Some(problem) = exceeded(quota, &tally.used_after(others), &increase) {
            return Err(problem);
        }
        quotas.push(Arc::clone(quota_key));
    }
    Ok(quotas)
}

/// Room for one write that was allowed. Given back when it is dropped, which is to be once the write has ended: what
/// was stored can be seen by then.
#[derive(Debug)]
pub struct Reservation {
    namespace: Arc<Namespace>,
    number: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.namespace.promised.lock().retain(|promise| promise.number != self.number);
    }
}
