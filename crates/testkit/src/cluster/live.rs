//! An API server in this process and one part of the control plane beside it, in real time: for tests that are the rest of
//! the cluster themselves.

use std::{sync::Arc, time::Duration};

use apiserver::{
    identity::{AUTHENTICATED, User},
    server::{Config, Running, Server},
};
use client::{Caches, Requests, caches::Topic};
use controllers::{Setting, driver::outlive};
use stdx::{Clock, Random, SystemClock, SystemRandom};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::come_about;

/// What is waited for on a busy machine comes about within this time, or never.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Controllers,
    Scheduler,
}

/// A server, and what a test sees of it.
pub struct Live {
    pub requests: Requests,
    pub caches: Caches,
    pub tasks: JoinSet<()>,
    running: Running,
    _directory: TempDir,
}

impl Live {
    pub async fn start(part: Part) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom::default());
        let config = Config::new(directory.path());
        let running = Server::start(config, Arc::clone(&clock), Arc::clone(&random)).await.unwrap();
        let connect = |account: &str| client::in_process(running.in_process(User::controller(account)));
        let requests = Requests::new(connect("test"), "test");
        let (caches, mut tasks) = Caches::start(&requests, Topic::ALL);
        // As in a process of its own: what the part has just written is not known to the test.
        let (own, followers) = Caches::start(&requests, Topic::ALL);
        tasks.spawn(outlive(followers));
        tasks.spawn(outlive(match part {
            Part::Controllers => controllers::start(&own, &connect, &Setting::new(clock, random)),
            Part::Scheduler => {
                // With no more rights than a stock scheduler has.
                let name = "system:kube-scheduler".into();
                let user = User { name, groups: vec![AUTHENTICATED.into()], ..User::default() };
                scheduler::start(client::in_process(running.in_process(user)), &own, (&clock, &random))
            }
        }));
        caches.synced(Topic::ALL).await;
        Self { requests, caches, tasks, running, _directory: directory }
    }

    /// Returns once `holds`, which is asked again after every change.
    pub async fn until(&self, what: &str, holds: impl Fn(&Caches) -> bool) {
        if !come_about(&self.caches, PATIENCE, holds).await {
            panic!("{what} did not come about: {} pods", self.caches.pods.len());
        }
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.running.stop().await;
    }
}
