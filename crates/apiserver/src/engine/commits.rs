//! What commits to the store cost, under the names that dashboards know: there the store is etcd.

use std::{sync::Arc, time::Duration};

use api::resource::Resource;
use store::{CommitError, Committed, Transaction};
use tokio::time::Instant;

use super::{Engine, claims::Claim};
use crate::metrics::{histogram::Histogram, labelled::Labelled};

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

    pub fn write_metrics(&self, out: &mut String) {
        self.0.write(out, "etcd_request_duration_seconds", "How long writes to the store took, in seconds.");
        self.0.write_totals(out, "etcd_requests_total", "Writes to the store.");
    }
}

impl Engine {
    /// Commits what an `operation` (`create`, `update`, `delete`) on a resource comes to.
    pub(super) async fn commit(
        &self,
        operation: &str,
        resource: &Resource,
        transaction: Transaction,
    ) -> Result<Committed, CommitError> {
        self.commit_claimed(operation, resource, transaction, None).await
    }

    /// The same for what was given addresses and ports.
    pub(super) async fn commit_claimed(
        &self,
        operation: &str,
        resource: &Resource,
        transaction: Transaction,
        claim: Option<&Arc<Claim>>,
    ) -> Result<Committed, CommitError> {
        let started = Instant::now();
        let result = match claim {
            Some(claim) => Arc::clone(claim).commit(self.store.clone(), transaction).await,
            None => self.store.commit(transaction).await,
        };
        self.commits.observe(operation, resource, started.elapsed());
        result
    }
}
