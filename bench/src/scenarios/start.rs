//! From the start of the process to an API that says it is ready, asked over TLS.

use anyhow::Result;
use async_trait::async_trait;

use super::Scenario;
use crate::{
    client::Call,
    cluster::Cluster,
    figures::{Figure, Goal, Unit},
    objects,
};

const PODS: usize = 10_000;
static FIGURES: [Figure; 1] = [Figure { name: "ready after", unit: Unit::Time, goal: Goal::Under(0.3) }];

/// On an empty directory.
pub struct Start;

/// On the state of 10,000 pods.
pub struct Restart;

#[async_trait]
impl Scenario for Start {
    fn name(&self) -> &'static str {
        "start"
    }

    fn work(&self) -> &'static str {
        "start to ready on an empty directory"
    }

    fn figures(&self) -> &'static [Figure] {
        &FIGURES
    }

    fn restarts(&self) -> bool {
        true
    }

    async fn prepare(&self, _: &mut Cluster) -> Result<()> {
        Ok(())
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        Ok(vec![cluster.start_empty().await?.as_secs_f64()])
    }
}

#[async_trait]
impl Scenario for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn work(&self) -> &'static str {
        "start to ready on the state of 10,000 pods of 6.7 KB"
    }

    fn figures(&self) -> &'static [Figure] {
        &FIGURES
    }

    fn restarts(&self) -> bool {
        true
    }

    async fn prepare(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.fill(PODS).await
    }

    async fn round(&self, cluster: &mut Cluster) -> Result<Vec<f64>> {
        cluster.stop().await?;
        let ready = cluster.start().await?;
        // Ready means with everything that was there.
        let last = Call::get(objects::path("pods", &objects::pod_name(PODS - 1)));
        cluster.access()?.connect().await?.drain(last).await?;
        Ok(vec![ready.as_secs_f64()])
    }
}
