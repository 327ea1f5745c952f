//! What a cluster costs in which nothing happens but that nodes say they are there.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use tokio::time::sleep;

use super::{Compared, Scenario};
use crate::{
    cluster::Cluster,
    figures::{Figure, Goal, Unit},
    workloads,
};

const NODES: usize = 100;
const REPLICAS: usize = 3_000;
/// What follows from the start of the pods is over.
const SETTLE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(60);

pub struct ClusterIdle;

#[async_trait]
impl Scenario for ClusterIdle {
    fn name(&self) -> &'static str {
        "cluster-idle"
    }

    fn work(&self) -> &'static str {
        "processor time of the control plane in a quiet minute, with 100 nodes and 3,000 pods"
    }

    fn figures(&self) -> &'static [Figure] {
        &[Figure { name: "of a core", unit: Unit::Share, goal: Goal::Under(0.01) }]
    }

    fn rounds(&self) -> usize {
        1
    }

    fn compares(&self) -> Compared {
        Compared::Cluster { nodes: NODES }
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        workloads::prepare(cluster, NODES).await?;
        workloads::run(&cluster.access()?, "quiet", REPLICAS).await?;
        sleep(SETTLE).await;
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        let before = cluster.cpu()?;
        sleep(LOOK).await;
        Ok(vec![(cluster.cpu()? - before).as_secs_f64() / LOOK.as_secs_f64()])
    }

    async fn clear(&self, cluster: &mut Cluster) -> Result<()> {
        workloads::clear(cluster, NODES).await
    }
}
