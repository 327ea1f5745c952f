//! A large deployment: from its creation until it reports every replica ready.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use async_trait::async_trait;

use super::{Compared, Scenario};
use crate::{
    cluster::Cluster,
    figures::{Figure, Goal, Unit},
    workloads,
};

const NODES: usize = 1_000;
const REPLICAS: usize = 5_000;

/// Counts deployments of all rounds: those of earlier rounds stay.
static MADE: AtomicUsize = AtomicUsize::new(0);

pub struct Deployment;

#[async_trait]
impl Scenario for Deployment {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn work(&self) -> &'static str {
        "a Deployment of 5,000 replicas among 1,000 nodes, from its creation until all are reported ready"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "time", unit: Unit::Time, goal: Goal::Under(3.0) },
            Figure { name: "control plane CPU", unit: Unit::Time, goal: Goal::None },
        ]
    }

    fn rounds(&self) -> usize {
        3
    }

    fn compares(&self) -> Compared {
        Compared::Cluster { nodes: NODES }
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        workloads::prepare(cluster, NODES).await
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        let name = format!("large-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let before = cluster.cpu()?;
        let time = workloads::run(&cluster.access()?, &name, REPLICAS).await?;
        Ok(vec![time.as_secs_f64(), (cluster.cpu()? - before).as_secs_f64()])
    }

    async fn clear(&self, cluster: &mut Cluster) -> Result<()> {
        workloads::clear(cluster, NODES).await
    }
}
