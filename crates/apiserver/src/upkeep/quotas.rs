//! The status of ResourceQuotas: what is used, as `quota` counts it. Written where it has changed; many changes in a
//! short time become one write.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api::{quota::hard, status::Status};
use futures_util::{
    FutureExt, StreamExt,
    future::{pending, select_all},
    stream,
};
use serde_json::Value;
use store::{Event, Watch, WatchError};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{RETRY_INTERVAL, name_of, write_status};
use crate::{
    cluster::Cluster,
    engine::Engine,
    quota::{QUOTAS, Report},
};

/// Statuses that are written at once, so that they share the syncs of the journal.
const WRITES_AT_ONCE: usize = 32;
/// Between two looks: four times as long as the first took, so that under load statuses are a small part of the work.
const SHARE: u32 = 4;
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Keeps the statuses in step until `stop`.
pub async fn keep_in_step(engine: Arc<Engine>, stop: CancellationToken) {
    let mut keeper = Keeper { engine, watches: BTreeMap::new(), stale: BTreeSet::new(), due: BTreeMap::new() };
    loop {
        let started = Instant::now();
        let result = keeper.look().await;
        if let Err(status) = &result {
            tracing::warn!(message = status.message, "the status of quotas is not in step; trying again");
        }
        let pause = match result {
            Ok(()) => (started.elapsed() * SHARE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
            Err(_) => RETRY_INTERVAL,
        };
        let wait = async {
            sleep(pause).await;
            keeper.next_change().await
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ended = wait => if ended { return },
        }
    }
}

struct Keeper {
    engine: Arc<Engine>,
    /// By topic: the quotas, and all that they count.
    watches: BTreeMap<String, Watch>,
    /// Namespaces to look at.
    stale: BTreeSet<String>,
    /// Namespaces to look at in a certain second although nothing changes.
    due: BTreeMap<String, i64>,
}

impl Keeper {
    /// Writes the statuses of stale namespaces that are not what they should be.
    async fn look(&mut self) -> Result<(), Status> {
        self.follow_what_counts();
        let now_seconds = self.engine.now_seconds();
        let due = self.due.extract_if(.., |_, second| *second <= now_seconds).map(|(namespace, _)| namespace);
        self.stale.extend(due);
        let mut writes = Vec::new();
        while let Some(namespace) = self.stale.first().cloned() {
            let reported = self.engine.usage.report(&namespace).await;
            let (reports, next_second) = reported.map_err(|error| Status::internal(error.to_string()))?;
            self.stale.remove(&namespace);
            match next_second {
                Some(second) => self.due.insert(namespace, second),
                None => self.due.remove(&namespace),
            };
            writes.extend(reports.into_iter().filter(|report| report.quota["status"] != report.status));
        }
        let engine = &*self.engine;
        let writes = writes.into_iter().map(|report| async move { (write(engine, &report).await, report.quota) });
        let mut writes = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE);
        let mut result = Ok(());
        while let Some((written, quota)) = writes.next().await {
            if written.is_err() {
                self.stale.insert(namespace_of(&quota).to_owned());
            }
            result = result.and(written);
        }
        result
    }

    /// Has a watch for each topic that counts; where one is new, everything may have changed before it.
    fn follow_what_counts(&mut self) {
        let quotas = Cluster::list(&*self.engine, QUOTAS, None);
        let names = quotas.iter().flat_map(|quota| hard(quota)).map(|(name, _)| name);
        let mut topics: BTreeSet<String> = names.map(|name| api::quota::Counted::of(name).topic()).collect();
        topics.insert(QUOTAS.to_owned());
        self.watches.retain(|topic, _| topics.contains(topic));
        for topic in topics {
            if self.watches.contains_key(&topic) {
                continue;
            }
            // The watch begins before the look, so that no change falls between the two.
            let Ok(watch) = self.engine.store.watch(&format!("{topic}/"), self.engine.store.revision()) else {
                continue;
            };
            self.watches.insert(topic, watch);
            self.stale.extend(quotas.iter().map(|quota| namespace_of(quota).to_owned()));
        }
    }

    /// Waits until a namespace is stale; true at the end of the store.
    async fn next_change(&mut self) -> bool {
        if self.watches.is_empty() {
            return true;
        }
        let now_seconds = self.engine.now_seconds();
        let first_due = self.due.values().min().copied();
        let watches = self.watches.iter_mut().map(|(topic, watch)| {
            let next = async move {
                let mut batch = Vec::new();
                let result = watch.next(&mut batch).await;
                (topic.clone(), result, batch)
            };
            next.boxed()
        });
        let due = async {
            match first_due {
                Some(second) => sleep(Duration::from_secs(u64::try_from(second - now_seconds).unwrap_or(0))).await,
                None => pending().await,
            }
        };
        let (topic, result, batch) = tokio::select! {
            biased;
            () = due => return false,
            (first, ..) = select_all(watches) => first,
        };
        self.mark(&batch);
        match result {
            Ok(_) => self.drain(),
            // What was missed is not known: begun anew, it looks at everything.
            Err(WatchError::Lagged { .. }) => {
                self.watches.remove(&topic);
            }
            Err(WatchError::Closed) => return true,
        }
        false
    }

    /// Takes in what else has happened, so that one look is enough for all of it.
    fn drain(&mut self) {
        let mut batch = Vec::new();
        let mut lagged = Vec::new();
        for (topic, watch) in &mut self.watches {
            loop {
                let before = batch.len();
                match watch.try_next(&mut batch) {
                    Ok(_) if batch.len() == before => break,
                    Ok(_) => {}
                    Err(_) => {
                        lagged.push(topic.clone());
                        break;
                    }
                }
            }
        }
        lagged.iter().for_each(|topic| drop(self.watches.remove(topic)));
        self.mark(&batch);
    }

    fn mark(&mut self, batch: &[Arc<Event>]) {
        for event in batch {
            if let Some(namespace) = event.entry.key.split('/').nth(1)
                && !self.stale.contains(namespace)
            {
                self.stale.insert(namespace.to_owned());
            }
        }
    }
}

async fn write(engine: &Engine, report: &Report) -> Result<(), Status> {
    let (quota, status) = (&report.quota, &report.status);
    let edit = |now: &Value| if now["spec"] == quota["spec"] { status.clone() } else { now["status"].clone() };
    write_status(engine, QUOTAS, namespace_of(quota), name_of(quota), edit).await
}

fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}
