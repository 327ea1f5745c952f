//! What commits to the store cost, under the names that dashboards know: there the store is etcd.

use std::{sync::Arc, time::Duration};

use api::resource::Resource;
use store::{CommitError, Committed, Transaction};
use tokio::time::Instant;

use super::{Engine, claims::Claim};
use crate::{
    metrics::{histogram::Histogram, labelled::Labelled},
    quota::Reservation,
};

/// Upper bounds in seconds.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// By resource and operation.
#[derive(Debug, Default)]
pub struct Commits(Labelled<Histogram>);

impl Commits {
    fn observe(&self, operation: &str, resource: &Resource, elapsed: Duration) {
        let (group, plural) = (&resource.group, &resource.plural);
        let labels = format_args!("group=\"{group}\",operation=\"{operation}\",resource=\"{plural}\"");
        self.0.observe(labels, &SECONDS, elapsed);
    }

    /// Forgets the writes of resources that are gone, by group and plural.
    pub fn retain(&self, exists: impl Fn(&str, &str) -> bool) {
        self.0.retain(|labels| match labels.split('"').collect::<Vec<_>>()[..] {
            [_, group, _, _, _, plural, ..] => exists(group, plural),
            _ => true,
        });
    }

    pub fn write_metrics(&self, out: &mut String) {
        self.0.write(out, "etcd_request_duration_seconds", "How long writes to the store took, in seconds.");
        self.0.write_totals(out, "etcd_requests_total", "Writes to the store.");
    }
}

/// What was given to a write. It is held until the last of its clones is gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Holds {
    /// Its addresses and ports.
    pub claim: Option<Arc<Claim>>,
    /// Its room in the quotas.
    pub reservation: Option<Arc<Reservation>>,
}

impl Holds {
    /// Carries out the write. What it was given is held until its end, even where nobody waits for that any more:
    /// such a write may still be stored. `None` where it was cut off.
    async fn through<T: Send + 'static>(self, write: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let write = tokio::spawn(async move {
            let result = write.await;
            // What was stored can be seen before this is given up.
            drop(self);
            result
        });
        write.await.ok()
    }

    fn is_empty(&self) -> bool {
        self.claim.is_none() && self.reservation.is_none()
    }
}

impl Engine {
    /// Commits what an `operation` (`create`, `update`, `delete`) on a resource comes to.
    pub(super) async fn commit(
        &self,
        operation: &str,
        resource: &Resource,
        transaction: Transaction,
        holds: &Holds,
    ) -> Result<Committed, CommitError> {
        let started = Instant::now();
        let result = if holds.is_empty() {
            self.store.commit(transaction).await
        } else {
            let store = self.store.clone();
            let write = async move { store.commit(transaction).await };
            holds.clone().through(write).await.unwrap_or(Err(CommitError::Closed))
        };
        self.commits.observe(operation, resource, started.elapsed());
        result
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::sync::oneshot;

    use super::*;
    use crate::engine::{claims::Claims, testing::engine};

    #[tokio::test]
    async fn what_a_write_was_given_is_held_until_it_has_ended() {
        let claims = Claims::default();
        let claim = claims.open(&*engine(Vec::new()).await).claim("services/default/web".to_owned(), &Value::Null);
        let standing = Arc::downgrade(&claim);
        let holds = Holds { claim: Some(claim), reservation: None };
        let (end, ended) = oneshot::channel::<()>();
        let client = tokio::spawn(holds.through(ended));
        tokio::task::yield_now().await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        assert!(standing.upgrade().is_some(), "nobody waits for it, and it may still be stored");
        end.send(()).unwrap();
        while standing.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }
}
