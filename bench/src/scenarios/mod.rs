//! What is measured, one file each.

mod cluster_idle;
mod cluster_memory;
mod creates;
mod definitions;
mod deployment;
mod fan_out;
mod get;
mod list;
mod memory;
mod scheduling;
mod start;

use anyhow::Result;
use async_trait::async_trait;

use crate::{cluster::Cluster, figures::Figure};

#[async_trait]
pub trait Scenario: Sync {
    fn name(&self) -> &'static str;

    /// The work, in words.
    fn work(&self) -> &'static str;

    fn figures(&self) -> &'static [Figure];

    /// How often each side is measured; the sides take turns.
    fn rounds(&self) -> usize {
        5
    }

    /// Whether it starts and stops the server itself, and so cannot measure one that is given.
    fn restarts(&self) -> bool {
        false
    }

    fn compares(&self) -> Compared {
        Compared::Server
    }

    /// Brings a server that was started without state to where the rounds begin.
    async fn prepare(&self, cluster: &mut Cluster) -> Result<()>;

    /// Does the work once; a value for each figure, in their order.
    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>>;

    /// Takes the load out of a cluster that goes on living.
    async fn clear(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.clear().await
    }
}

/// What is measured, and what stands beside it.
#[derive(Debug, Clone, Copy)]
pub enum Compared {
    /// The API server alone, beside a stock one with its store.
    Server,
    /// The API server and the scheduler, beside the same with a stock scheduler.
    Scheduler,
    /// Everything, beside a stock control plane; each with so many nodes that run nothing. Coracle plays them in its own
    /// process, where they count; those of others are a process that does not.
    Cluster { nodes: usize },
}

impl Compared {
    /// What Coracle is told to do and to leave.
    pub fn parts(self) -> Vec<String> {
        match self {
            Self::Server => vec!["--without=controllers".to_owned(), "--without=scheduler".to_owned()],
            Self::Scheduler => vec!["--without=controllers".to_owned()],
            Self::Cluster { nodes } => vec![format!("--fake-nodes={nodes}")],
        }
    }
}

pub static ALL: [&dyn Scenario; 12] = [
    &list::List,
    &fan_out::FanOut,
    &creates::Creates,
    &get::Get,
    &definitions::Definitions,
    &memory::Memory,
    &scheduling::Scheduling,
    &deployment::Deployment,
    &cluster_memory::ClusterMemory,
    &cluster_idle::ClusterIdle,
    &start::Start,
    &start::Restart,
];
