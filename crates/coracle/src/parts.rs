//! The parts of the control plane that are clients of the server in this process.

use std::sync::Arc;

use apiserver::{
    identity::{AUTHENTICATED, User},
    server::Running,
};
use clap::{Args, ValueEnum};
use client::{Caches, Calls, Requests, caches::Topic};
use controllers::{Setting, driver::outlive, node_ranges::Range};
use stdx::{Clock, Random};
use tokio::task::JoinSet;

use crate::{authority::ClusterAuthority, pod_ranges::PodRanges};

/// A part that can be left to somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Controllers,
    Scheduler,
}

/// Which parts there are to be.
#[derive(Debug, Args)]
pub struct Parts {
    /// A part of the control plane to leave to somebody else's; may be given several times
    #[arg(long, value_name = "PART")]
    without: Vec<Part>,
    /// Play so many nodes in this process, that run nothing and say they do; `coracle fake-nodes` plays them in another
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    fake_nodes: usize,
    #[command(flatten)]
    pub pod_ranges: PodRanges,
}

/// Starts the parts. None of them ends by itself.
pub fn start(
    running: &Running,
    parts: &Parts,
    pod_ranges: Vec<Range>,
    given: (&Arc<dyn Clock>, &Arc<dyn Random>),
) -> JoinSet<()> {
    let mut tasks = start_control(running, &parts.without, pod_ranges, given);
    if parts.fake_nodes > 0 {
        let config = fakenodes::Config { count: parts.fake_nodes, ..fakenodes::Config::default() };
        let client = client::in_process(running.in_process(User::controller("fake-nodes")));
        let nodes = fakenodes::start(Requests::new(client, "fake-nodes"), config, Arc::clone(given.0));
        tasks.spawn(async move {
            match nodes.await {
                Ok(nodes) => outlive(nodes).await,
                Err(error) => tracing::error!("fake nodes cannot be registered: {error}"),
            }
        });
    }
    tasks
}

fn start_control(
    running: &Running,
    without: &[Part],
    pod_ranges: Vec<Range>,
    given: (&Arc<dyn Clock>, &Arc<dyn Random>),
) -> JoinSet<()> {
    if [Part::Controllers, Part::Scheduler].iter().all(|part| without.contains(part)) {
        return JoinSet::new();
    }
    let calls = Calls::default();
    let as_user = |user: User| -> kube::Client { client::in_process(calls.counted(running.in_process(user))) };
    let connect = |account: &str| as_user(User::controller(account));
    let (caches, mut tasks) = Caches::start(&Requests::new(connect("coracle"), "coracle"), Topic::ALL);
    let queues = caches.queues.clone();
    let (calls, host) = (calls.clone(), running.address.to_string());
    running.server.add_metrics(Box::new(move |out| {
        queues.write_metrics(out);
        calls.write_metrics(out, &host);
    }));
    if !without.contains(&Part::Controllers) {
        let setting = Setting {
            clock: Arc::clone(given.0),
            random: Arc::clone(given.1),
            authority: Some(Arc::new(ClusterAuthority(Arc::clone(&running.server.pki)))),
            pod_ranges,
        };
        tasks.spawn(outlive(controllers::start(&caches, &connect, &setting)));
    }
    if !without.contains(&Part::Scheduler) {
        let user = User { name: "system:kube-scheduler".into(), groups: vec![AUTHENTICATED.into()], ..User::default() };
        tasks.spawn(outlive(scheduler::start(as_user(user), &caches, given)));
    }
    tasks
}
