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
mod errands;
pub mod garbage_collector;
pub mod job;
pub mod lookup;
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
pub mod root_certificate;
pub mod stateful_set;
#[cfg(test)]
mod stories;
pub mod taint_eviction;
mod template_hash;
pub mod ttl_after_finished;
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

/// What every part is given: the time, and chance.
type Given<'a> = (&'a Arc<dyn Clock>, &'a Arc<dyn Random>);
/// Gives each part a client of its own account, by the name that it has in a stock cluster.
type Connect<'a> = &'a dyn Fn(&str) -> kube::Client;

/// Runs every controller until the tasks are dropped, but those of [`start_with_authority`].
pub fn start(caches: &Caches, connect: Connect<'_>, given: Given<'_>) -> JoinSet<()> {
    let clock = given.0;
    let all: Vec<Arc<dyn Controller>> = vec![
        Arc::new(replica_set::ReplicaSets),
        Arc::new(deployment::Deployments),
        Arc::new(replication_controller::ReplicationControllers),
        Arc::new(stateful_set::StatefulSets),
        Arc::new(daemon_set::DaemonSets),
        Arc::new(job::Jobs),
        Arc::new(job::OrphanedPods),
        Arc::new(cron_job::CronJobs),
        Arc::new(ttl_after_finished::TtlAfterFinished),
        Arc::new(disruption::Budgets),
        Arc::new(disruption::StaleTargets),
        Arc::new(node_lifecycle::NodeLifecycle::new(Arc::clone(clock))),
        Arc::new(taint_eviction::TaintEviction::new(Arc::clone(clock))),
        Arc::new(pod_garbage::PodGarbage::new(Arc::clone(clock))),
        Arc::new(node_ranges::NodeRanges::default()),
        Arc::new(endpoint_slice::EndpointSlices),
        Arc::new(endpoints::EndpointsObjects),
        Arc::new(mirroring::Mirroring),
        Arc::new(certificates::Approval),
        Arc::new(certificates::Cleaning),
        Arc::new(bootstrap_tokens::BootstrapTokens),
        Arc::new(volumes::VolumeBinder),
        Arc::new(volumes::ClaimProtection),
        Arc::new(volumes::VolumeProtection),
        Arc::new(volumes::AttributesProtection),
        Arc::new(volumes::LocalPath),
    ];
    let mut tasks = run(all, caches, connect, given);
    let mut shell =
        |name, account: &str| shell(&mut tasks, (name, Requests::new(connect(account), MANAGER)), caches, given);
    let collector = shell(garbage_collector::NAME, garbage_collector::ACCOUNT);
    let namespaces = shell(namespace::NAME, namespace::NAME);
    tasks.spawn(garbage_collector::run(collector));
    tasks.spawn(namespace::run(namespaces));
    let (caches, requests) = (caches.clone(), Requests::new(connect(LOCAL_PATH), MANAGER));
    tasks.spawn(async move { volumes::keep_default_class(&caches, &requests).await });
    tasks
}

/// Runs those controllers that sign, or hand out what is signed, with the cluster's authority.
pub fn start_with_authority(
    caches: &Caches,
    connect: Connect<'_>,
    given: Given<'_>,
    authority: &Arc<dyn Authority>,
) -> JoinSet<()> {
    let all: Vec<Arc<dyn Controller>> = vec![
        Arc::new(certificates::Signing(Arc::clone(authority))),
        Arc::new(root_certificate::RootCertificates(Arc::clone(authority))),
        Arc::new(account_tokens::AccountTokens(Arc::clone(authority))),
    ];
    run(all, caches, connect, given)
}

fn run(all: Vec<Arc<dyn Controller>>, caches: &Caches, connect: Connect<'_>, given: Given<'_>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for controller in all {
        let requests = Requests::new(connect(controller.account()), MANAGER);
        let shell = shell(&mut tasks, (controller.name(), requests), caches, given);
        tasks.spawn(driver::run(controller, shell));
    }
    tasks
}

/// The shell of one controller; its recorder runs among the tasks.
fn shell(
    tasks: &mut JoinSet<()>,
    (name, requests): (&'static str, Requests),
    caches: &Caches,
    (clock, random): Given<'_>,
) -> Shell {
    let (recorder, writing) = recorder::Recorder::new(requests.clone(), name, Arc::clone(clock));
    tasks.spawn(writing);
    Shell { caches: caches.clone(), requests, recorder, clock: Arc::clone(clock), random: Arc::clone(random) }
}
