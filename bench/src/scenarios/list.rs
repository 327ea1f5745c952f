//! LIST of all pods in one answer.

use anyhow::Result;
use async_trait::async_trait;
use tokio::time::Instant;

use super::Scenario;
use crate::{
    client::Call,
    cluster::Cluster,
    figures::{Figure, Goal, Unit},
};

const PODS: usize = 10_000;
/// Lists in a round, one after another: the kernel counts processor time in steps of 10 ms.
const LISTS: u32 = 5;

pub struct List;

#[async_trait]
impl Scenario for List {
    fn name(&self) -> &'static str {
        "list"
    }

    fn work(&self) -> &'static str {
        "LIST of 10,000 pods of 6.7 KB, one answer of 67 MB"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "time", unit: Unit::Time, goal: Goal::TimesLess(10.0) },
            Figure { name: "server CPU", unit: Unit::Time, goal: Goal::TimesLess(10.0) },
        ]
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.fill(PODS).await?;
        self.round(cluster).await?;
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        let mut connection = cluster.access()?.connect().await?;
        let (started, used) = (Instant::now(), cluster.cpu()?);
        let mut bytes = 0;
        for _ in 0..LISTS {
            bytes = connection.drain(Call::get("/api/v1/pods")).await?;
        }
        let (elapsed, used) = (started.elapsed(), cluster.cpu()? - used);
        let size = bytes / PODS as u64;
        anyhow::ensure!((6_300..7_000).contains(&size), "a pod is listed in {size} bytes, not 6.7 KB");
        Ok(vec![(elapsed / LISTS).as_secs_f64(), (used / LISTS).as_secs_f64()])
    }
}
