//! Resident memory of a whole cluster with many pods.

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

const NODES: usize = 1_000;
const DEPLOYMENTS: usize = 10;
const REPLICAS: usize = 5_000;
/// Long enough for what is only held for a moment to be given back.
const SETTLE: Duration = Duration::from_secs(5);

pub struct ClusterMemory;

#[async_trait]
impl Scenario for ClusterMemory {
    fn name(&self) -> &'static str {
        "cluster-memory"
    }

    fn work(&self) -> &'static str {
        "resident memory of the control plane 5 s after 1,000 nodes, and 5 s after 50,000 pods of ten Deployments on them"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "with 1,000 nodes", unit: Unit::Memory, goal: Goal::None },
            Figure { name: "with 50,000 pods", unit: Unit::Memory, goal: Goal::Under(600e6) },
        ]
    }

    fn rounds(&self) -> usize {
        1
    }

    fn compares(&self) -> Compared {
        Compared::Cluster { nodes: NODES }
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        workloads::prepare(cluster, NODES).await
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        sleep(SETTLE).await;
        let nodes = cluster.resident()?;
        for number in 0..DEPLOYMENTS {
            workloads::run(&cluster.access()?, &format!("part-{number}"), REPLICAS).await?;
        }
        sleep(SETTLE).await;
        Ok(vec![nodes as f64, cluster.resident()? as f64])
    }

    async fn clear(&self, cluster: &mut Cluster) -> Result<()> {
        workloads::clear(cluster, NODES).await
    }
}
