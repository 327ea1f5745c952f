//! Resident memory, of a server without objects and of one with many.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use tokio::time::sleep;

use super::Scenario;
use crate::{
    cluster::Cluster,
    figures::{Figure, Goal, Unit},
};

const PODS: usize = 10_000;
/// Long enough for what is only held for a moment to be given back.
const SETTLE: Duration = Duration::from_secs(5);

pub struct Memory;

#[async_trait]
impl Scenario for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn work(&self) -> &'static str {
        "resident memory 5 s after the start and 5 s after 10,000 pods of 6.7 KB were created"
    }

    fn figures(&self) -> &'static [Figure] {
        &[
            Figure { name: "empty", unit: Unit::Memory, goal: Goal::Under(40e6) },
            Figure { name: "with 10,000 pods", unit: Unit::Memory, goal: Goal::Under(120e6) },
        ]
    }

    fn rounds(&self) -> usize {
        1
    }

    fn restarts(&self) -> bool {
        true
    }

    async fn prepare(&self, _: &mut Cluster) -> Result<()> {
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        cluster.start_empty().await?;
        sleep(SETTLE).await;
        let empty = cluster.resident()?;
        cluster.fill(PODS).await?;
        sleep(SETTLE).await;
        Ok(vec![empty as f64, cluster.resident()? as f64])
    }
}
