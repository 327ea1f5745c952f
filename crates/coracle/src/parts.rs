//! The parts of the control plane that are clients of the server in this process.

use std::sync::Arc;

use apiserver::{identity::User, server::Running};
use clap::ValueEnum;
use client::{Caches, Requests, caches::Topic};
use controllers::authority::Authority;
use stdx::{Clock, Random};
use tokio::task::JoinSet;

use crate::authority::ClusterAuthority;

/// A part that can be left to somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Controllers,
}

/// Starts every part but those `without`. None of them ends by itself.
pub fn start(running: &Running, without: &[Part], given: (&Arc<dyn Clock>, &Arc<dyn Random>)) -> JoinSet<()> {
    if without.contains(&Part::Controllers) {
        return JoinSet::new();
    }
    let connect = |account: &str| -> kube::Client { client::in_process(running.in_process(User::controller(account))) };
    let (caches, mut tasks) = Caches::start(&Requests::new(connect("coracle"), "coracle"), Topic::ALL);
    let authority: Arc<dyn Authority> = Arc::new(ClusterAuthority(Arc::clone(&running.server.pki)));
    let controllers = controllers::start(&caches, &connect, given);
    let with_authority = controllers::start_with_authority(&caches, &connect, given, &authority);
    for mut controllers in [controllers, with_authority] {
        tasks.spawn(async move {
            while let Some(ended) = controllers.join_next().await {
                if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }
    tasks
}
