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
pub mod cluster_info;
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

/// Gives each part a client of its own account, by the name that it has in a stock cluster.
type Connect<'a> = &'a dyn Fn(&str) -> kube::Client;

/// What controllers are handed: the time, chance, and what the cluster is to be like.
pub struct Setting {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// Without one nobody signs, or hands out what is signed.
    pub authority: Option<Arc<dyn Authority>>,
    /// Out of each of these every node gets addresses for its pods.
    pub pod_ranges: Vec<node_ranges::Range>,
}

impl Setting {
    /// Of a cluster without an authority, and with the usual addresses.
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random, authority: None, pod_ranges: vec![node_ranges::Range::usual()] }
    }
}

/// Every controller that the one shell runs, by the name of the folder of its golden cases or stories.
fn all(setting: &Setting) -> Vec<(&'static str, Arc<dyn Controller>)> {
    let clock = || Arc::clone(&setting.clock);
    let mut all: Vec<(&'static str, Arc<dyn Controller>)> = vec![
        ("replica_set", Arc::new(replica_set::ReplicaSets)),
        ("deployment", Arc::new(deployment::Deployments)),
        ("replication_controller", Arc::new(replication_controller::ReplicationControllers)),
        ("stateful_set", Arc::new(stateful_set::StatefulSets)),
        ("daemon_set", Arc::new(daemon_set::DaemonSets)),
        ("job", Arc::new(job::Jobs)),
        ("orphaned_pod", Arc::new(job::OrphanedPods)),
        ("cron_job", Arc::new(cron_job::CronJobs)),
        ("ttl_after_finished", Arc::new(ttl_after_finished::TtlAfterFinished)),
        ("disruption", Arc::new(disruption::Budgets)),
        ("disruption_target", Arc::new(disruption::StaleTargets)),
        ("node_lifecycle", Arc::new(node_lifecycle::NodeLifecycle::new(clock()))),
        ("taint_eviction", Arc::new(taint_eviction::TaintEviction::new(clock()))),
        ("pod_garbage", Arc::new(pod_garbage::PodGarbage::new(clock()))),
        ("node_ranges", Arc::new(node_ranges::NodeRanges::new(setting.pod_ranges.clone()))),
        ("endpoint_slice", Arc::new(endpoint_slice::EndpointSlices)),
        ("endpoints", Arc::new(endpoints::EndpointsObjects)),
        ("mirroring", Arc::new(mirroring::Mirroring)),
        ("certificates_approve", Arc::new(certificates::Approval)),
        ("certificates_clean", Arc::new(certificates::Cleaning)),
        ("bootstrap_tokens", Arc::new(bootstrap_tokens::BootstrapTokens)),
        ("cluster_info", Arc::new(cluster_info::ClusterInfoSigning)),
        ("volumes", Arc::new(volumes::VolumeBinder)),
        ("volumes_claim_protection", Arc::new(volumes::ClaimProtection)),
        ("volumes_volume_protection", Arc::new(volumes::VolumeProtection)),
        ("volumes_attributes_protection", Arc::new(volumes::AttributesProtection)),
        ("volumes_local_path", Arc::new(volumes::LocalPath)),
        ("volumes_ephemeral", Arc::new(volumes::EphemeralVolumes)),
        ("volumes_expansion", Arc::new(volumes::Expansion)),
    ];
    if let Some(authority) = &setting.authority {
        let authority = || Arc::clone(authority);
        let signing: [(&'static str, Arc<dyn Controller>); 3] = [
            ("certificates_sign", Arc::new(certificates::Signing(authority()))),
            ("root_certificate", Arc::new(root_certificate::RootCertificates(authority()))),
            ("account_tokens", Arc::new(account_tokens::AccountTokens(authority()))),
        ];
        all.extend(signing);
    }
    all
}

/// Runs every controller until the tasks are dropped.
pub fn start(caches: &Caches, connect: Connect<'_>, setting: &Setting) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let mut shell = |name, account: &str| {
        let requests = Requests::new(connect(account), MANAGER);
        let (clock, random) = (Arc::clone(&setting.clock), Arc::clone(&setting.random));
        let (recorder, writing) = recorder::Recorder::new(requests.clone(), name, Arc::clone(&clock));
        tasks.spawn(writing);
        Shell { caches: caches.clone(), requests, recorder, clock, random }
    };
    let all: Vec<_> = all(setting)
        .into_iter()
        .map(|(_, controller)| {
            let shell = shell(controller.name(), controller.account());
            (controller, shell)
        })
        .collect();
    let collector = shell(garbage_collector::NAME, garbage_collector::ACCOUNT);
    let namespaces = shell(namespace::NAME, namespace::NAME);
    for (controller, shell) in all {
        tasks.spawn(driver::run(controller, shell));
    }
    tasks.spawn(garbage_collector::run(collector));
    tasks.spawn(namespace::run(namespaces));
    let (caches, requests) = (caches.clone(), Requests::new(connect(LOCAL_PATH), MANAGER));
    tasks.spawn(async move { volumes::keep_default_class(&caches, &requests).await });
    tasks
}
