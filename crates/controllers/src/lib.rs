//! What keeps the cluster as its objects say: one module a controller, each a pure step from what is known to what is to
//! be done ([`plan::Plan`]), and one shell that runs them all ([`driver`]).
//!
//! Not here: scheduling, and anything on a node.

pub mod attempts;
#[cfg(test)]
mod cases;
pub mod driver;
pub mod plan;
pub mod recorder;

pub mod account_tokens;
pub mod authority;
mod backing;
pub mod bootstrap_tokens;
pub mod certificates;
mod claim;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
pub mod endpoint_slice;
pub mod endpoints;
pub mod garbage_collector;
pub mod job;
pub mod lookup;
mod errands;
pub mod mirroring;
pub mod namespace;
pub mod node_lifecycle;
pub mod node_ranges;
pub mod pod_garbage;
mod pods;
pub mod replica_set;
mod replicas;
pub mod replication_controller;
mod resources;
mod revisions;
pub mod stateful_set;
#[cfg(test)]
mod stories;
pub mod taint_eviction;
mod template_hash;
pub mod ttl_after_finished;
pub mod root_certificate;
pub mod volumes;

use std::sync::Arc;

use client::{Caches, Requests};
use stdx::{Clock, Random};
use tokio::task::JoinSet;

use authority::Authority;
use driver::{Controller, Shell};

/// The name under which controllers write, as those of a stock cluster.
const MANAGER: &str = "kube-controller-manager";
/// The account that makes volumes of directories.
const LOCAL_PATH: &str = "local-path-provisioner";

/// Runs every controller until the tasks are dropped. `connect` gives each a client of its own account, by the name that it
/// has in a stock cluster.
pub fn start(
    caches: &Caches,
    connect: &dyn Fn(&str) -> kube::Client,
    (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut shell = |name: &'static str, account: &str| {
        let requests = Requests::new(connect(account), MANAGER);
        let (recorder, writing) = recorder::Recorder::new(requests.clone(), name, Arc::clone(clock));
        tasks.spawn(writing);
        Shell { caches: caches.clone(), requests, recorder, clock: Arc::clone(clock), random: Arc::clone(random) }
    };
    let namespaces = shell(namespace::NAME, namespace::NAME);
    let collector = shell(garbage_collector::NAME, garbage_collector::ACCOUNT);
    let all = all(clock);
    let shells: Vec<Shell> = all.iter().map(|controller| shell(controller.name(), controller.account())).collect();
    for (controller, shell) in all.into_iter().zip(shells) {
        tasks.spawn(driver::run(controller, shell));
    }
    tasks.spawn(garbage_collector::run(collector));
    tasks.spawn(namespace::run(namespaces));
    tasks
}

/// The controllers that the one driver runs.
fn all(clock: &Arc<dyn Clock>) -> Vec<Arc<dyn Controller>> {
    vec![
        Arc::new(replica_set::ReplicaSets),
        Arc::new(deployment::Deployments),
        Arc::new(replication_controller::ReplicationControllers),
        Arc::new(stateful_set::StatefulSets),
        Arc::new(daemon_set::DaemonSets),
        Arc::new(disruption::Budgets),
        Arc::new(disruption::StaleTargets),
        Arc::new(node_lifecycle::NodeLifecycle::new(Arc::clone(clock))),
        Arc::new(taint_eviction::TaintEviction::new(Arc::clone(clock))),
        Arc::new(pod_garbage::PodGarbage::new(Arc::clone(clock))),
        Arc::new(node_ranges::NodeRanges::default()),
        Arc::new(job::Jobs),
        Arc::new(job::OrphanedPods),
        Arc::new(cron_job::CronJobs),
        Arc::new(ttl_after_finished::TtlAfterFinished),
        Arc::new(endpoint_slice::EndpointSlices),
        Arc::new(endpoints::EndpointsObjects),
        Arc::new(mirroring::Mirroring),
        Arc::new(certificates::Approval),
        Arc::new(certificates::Cleaning),
        Arc::new(certificates::Signing(Arc::clone(authority))),
        Arc::new(root_certificate::RootCertificates(Arc::clone(authority))),
        Arc::new(account_tokens::AccountTokens(Arc::clone(authority))),
        Arc::new(volumes::VolumeBinder),
        Arc::new(volumes::ClaimProtection),
        Arc::new(volumes::VolumeProtection),
        Arc::new(volumes::AttributesProtection),
        Arc::new(volumes::LocalPath),
        Arc::new(bootstrap_tokens::BootstrapTokens),
    ]
}
